//! The pickup folder: watch, scan, claim, and hand each file to the intake.
//!
//! Order, so that a power cut neither loses nor doubles a file (promises G1, G2): claim (rename to sorttemp), sync
//! sorttemp, journal, unlink the claim. A claim that a crash left is looked up in the journal at the next start.

use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::accounts::user_name;
use crate::disk::badmail::Verdict;
use crate::disk::envelope;
use crate::disk::envelope::Given;
use crate::disk::envelope::Malformed;
use crate::disk::folders::sync_folder;
use crate::disk::letter::Letter;
use crate::disk::pickup;
use crate::disk::pickup::Claim;
use crate::disk::pickup::Dots;
use crate::disk::pickup::Left;
use crate::disk::pickup::Rules;
use crate::disk::pickup::Scanner;
use crate::disk::watch::Heard;
use crate::disk::watch::Watch;
use crate::mail::Domain;
use crate::mail::header::Field;
use crate::mail::header::Plan;
use crate::mail::trace::Origin;
use crate::queue::Door;
use crate::service::arrival;
use crate::service::event::Event;
use crate::service::intake::Intake;
use crate::service::intake::NotTaken;
use crate::service::log::emit;
use crate::service::notices;
use crate::service::shared::Service;

/// Files taken in one stroke: one sync of the folder and, mostly, one of the journal for all of them.
const BATCH: usize = 16;

/// How long the folder is left alone after the queue refused a file.
const PAUSE: Duration = Duration::from_secs(30);

/// What became of a claimed file.
#[derive(Debug)]
enum Took {
    /// It is in the queue or in badmail.
    Done,
    /// A program still writes to it.
    Moving(Claim),
    /// The queue or the disk would not, for now.
    Refused(Claim),
}

/// Takes what comes into the folder, until the service ends.
pub async fn serve(service: Rc<Service>, claims: Vec<(MsgId, bool)>) {
    if !service.live().config.pickup.enabled {
        return;
    }
    let mut watch = Watch::new(&service.folders.pickup);
    put_right(&service).await;
    let mut scanner = Scanner::new(&service.folders.pickup);
    leftovers(&service, claims).await;
    let mut scan = true;
    while !service.ending.has_begun() {
        if service.pause.is_on() {
            // What was heard of meanwhile is found by the scan.
            future::or(service.pause.over(), service.ending.begun()).await;
            scan = true;
            continue;
        }
        scanner.on_begun(watch.take_begun());
        if scan {
            scanner = scan_all(&service, scanner).await;
        }
        // While the queue takes nothing, files stay where their writers see them.
        while service.parked.get() > 0 && rest(&service, PAUSE).await {}
        let rescan = service.live().config.pickup.rescan;
        let wait = match (watch.is_live(), scanner.is_waiting()) {
            (_, true) | (false, _) => rescan.min(limits::PICKUP_SETTLE),
            (true, false) => rescan,
        };
        let alarm = async {
            Timer::after(wait).await;
            Some(Heard::Rescan)
        };
        let ended = async {
            service.ending.begun().await;
            None
        };
        let heard = async { Some(watch.next().await) };
        match future::or(ended, future::or(heard, alarm)).await {
            None => break,
            Some(Heard::Files(names)) if service.pause.is_on() => scanner.on_closed(&names),
            Some(Heard::Files(names)) => {
                scanner.on_closed(&names);
                let names = ready(&service, names, &mut scanner).await;
                scan = !take_all(&service, names, &mut scanner).await;
            }
            Some(Heard::Rescan) => {
                scan = true;
                if !watch.is_current() {
                    mend(&service, &mut watch).await;
                }
            }
            Some(Heard::Gone) => {
                scan = true;
                mend(&service, &mut watch).await;
            }
        }
    }
}

/// Waits a while; true when the service is still to run.
async fn rest(service: &Service, wait: Duration) -> bool {
    let alarm = async {
        Timer::after(wait).await;
        true
    };
    let ended = async {
        service.ending.begun().await;
        false
    };
    future::or(ended, alarm).await
}

/// Gives files their names again that were being copied out of the folder when the service died.
async fn put_right(service: &Service) {
    let folders = service.folders.clone();
    let mended = move || pickup::mend(&folders.pickup, &folders.sorttemp);
    if let Err(error) = service.worker.run(mended).await {
        trouble(&error.to_string());
    }
}

/// Makes folders that somebody removed; that nothing can be made has been told by then.
async fn mend_folders(service: &Service) {
    let folders = service.folders.clone();
    let _ = service.worker.run(move || folders.create()).await;
}

fn trouble(why: &str) {
    emit(&Event::Trouble {
        what: "pickup",
        why,
    });
}

/// Makes the folder again after somebody removed or replaced it, and says so.
async fn mend(service: &Service, watch: &mut Watch) {
    let folders = service.folders.clone();
    let make = move || {
        let there = folders.pickup.is_dir();
        folders.create().map(|()| there)
    };
    match service.worker.run(make).await {
        Ok(true) => trouble("the folder was replaced by another; that one is watched from now on"),
        Ok(false) => trouble("the folder was removed; it has been made again"),
        Err(error) => trouble(&error.to_string()),
    }
    watch.renew();
}

fn rules(service: &Service) -> Rules {
    let live = service.live();
    Rules {
        size: live.config.limits.message_bytes,
        dots: if live.config.pickup.dot_stuffed {
            Dots::Always
        } else {
            Dots::Never
        },
        settle: limits::PICKUP_SETTLE,
    }
}

/// Which of the files that an event named can be claimed. The others are left to the scans.
async fn ready(service: &Service, names: Vec<OsString>, scanner: &mut Scanner) -> Vec<OsString> {
    let (folder, rules) = (service.folders.pickup.clone(), rules(service));
    let check = move || {
        let mut left = Vec::new();
        let ready =
            names
                .into_iter()
                .filter(|name| match pickup::is_ready(&folder, name, &rules) {
                    Ok(()) => true,
                    Err(Left::Gone | Left::DotName | Left::Moving) => false,
                    Err(why) => {
                        left.push((name.clone(), why));
                        false
                    }
                });
        let ready: Vec<OsString> = ready.collect();
        (ready, left)
    };
    let (ready, mut left) = service.worker.run(check).await;
    // Each is told once.
    left.retain(|(name, why)| scanner.set_aside(name, why.may_pass()));
    complain(&left);
    ready
}

fn complain(left: &[(OsString, Left)]) {
    for (name, why) in left {
        emit(&Event::PickupWaits {
            file: &pickup::shown(name),
            why: &why.to_string(),
        });
    }
}

/// Reads the folder to its end, and takes what stands still.
async fn scan_all(service: &Rc<Service>, mut scanner: Scanner) -> Scanner {
    loop {
        let (rules, now) = (rules(service), service.now());
        let step = move || {
            let step = scanner.step(&rules, now);
            (scanner, step)
        };
        let (back, step) = service.worker.run(step).await;
        scanner = back;
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                trouble(&format!("cannot read the folder: {error}"));
                return scanner;
            }
        };
        complain(&step.left);
        if !take_all(service, step.ready, &mut scanner).await
            || step.over
            || service.ending.has_begun()
        {
            return scanner;
        }
    }
}

/// Takes these files, some at a time. False when the queue takes no more for now.
async fn take_all(service: &Rc<Service>, names: Vec<OsString>, scanner: &mut Scanner) -> bool {
    for batch in names.chunks(BATCH) {
        if service.parked.get() > 0 || service.pause.is_on() {
            return false;
        }
        let named: Vec<(OsString, MsgId)> = batch
            .iter()
            .map(|name| (name.clone(), service.journal.next_id()))
            .collect();
        let (folders, rules) = (service.folders.clone(), rules(service));
        let claim = move || {
            let mut claims = Vec::new();
            let mut left = Vec::new();
            for (name, id) in named {
                match pickup::claim(&folders.pickup, &name, &folders.sorttemp, id, &rules) {
                    Ok(claim) => claims.push(claim),
                    Err(Left::Gone) => {}
                    Err(why) => left.push((name, why)),
                }
            }
            let synced = sync_folder(&folders.sorttemp);
            (claims, left, synced)
        };
        let (claims, mut left, synced) = service.worker.run(claim).await;
        if let ([_, (_, why), ..], true) = (left.as_slice(), claims.is_empty())
            && left.iter().all(|(_, why)| why.may_pass())
        {
            // Not the files are at fault: said once, and the rest would fare no better.
            trouble(&format!("no file can be taken, so all wait: {why}"));
            mend_folders(service).await;
            return false;
        }
        // Each is told once.
        left.retain(|(name, why)| scanner.set_aside(name, why.may_pass()));
        complain(&left);
        if let Err(error) = synced {
            // Journaled now, they might come back under their old names after a power cut.
            emit(&Event::Trouble {
                what: "sorttemp",
                why: &format!("cannot be synced, so pickup files wait: {error}"),
            });
            for claim in claims {
                park(service, Took::Refused(claim));
            }
            return false;
        }
        take_claims(service, claims).await;
    }
    service.parked.get() == 0
}

/// Journals claimed files, all at once so that they share a sync.
async fn take_claims(service: &Rc<Service>, claims: Vec<Claim>) {
    let tasks: Vec<_> = claims
        .into_iter()
        .map(|claim| service.tasks.spawn(take_one(Rc::clone(service), claim)))
        .collect();
    for task in tasks {
        let took = task.await;
        park(service, took);
    }
}

/// Lets a file that could not be taken wait in a task of its own.
fn park(service: &Rc<Service>, took: Took) {
    if !matches!(took, Took::Done) {
        service
            .tasks
            .spawn(patient(Rc::clone(service), took))
            .detach();
    }
}

/// Tries a file again until it is taken. When the service ends first, the next start finds the claim.
async fn patient(service: Rc<Service>, mut took: Took) {
    loop {
        let (wait, count, mut claim) = match took {
            Took::Done => return,
            Took::Moving(claim) => (limits::PICKUP_SETTLE, 0, claim),
            Took::Refused(claim) => (PAUSE, 1, claim),
        };
        service.parked.set(service.parked.get() + count);
        let goes_on = rest(&service, wait).await;
        if goes_on {
            let refresh = move || {
                let refreshed = claim.refresh();
                (claim, refreshed)
            };
            let refreshed;
            (claim, refreshed) = service.worker.run(refresh).await;
            took = match refreshed {
                Ok(()) => take_one(Rc::clone(&service), claim).await,
                Err(_) => Took::Refused(claim),
            };
        } else {
            took = Took::Done;
        }
        service
            .parked
            .set(service.parked.get().saturating_sub(count));
    }
}

/// The claims that a crash left: those whose message is in the journal go, the others are taken now.
async fn leftovers(service: &Rc<Service>, claims: Vec<(MsgId, bool)>) {
    for (old, accepted) in claims {
        let (sorttemp, rules) = (service.folders.sorttemp.clone(), rules(service));
        if accepted {
            let forgotten = service
                .worker
                .run(move || pickup::forget(&sorttemp, old))
                .await;
            if let Err(error) = forgotten {
                emit(&Event::Trouble {
                    what: "sorttemp",
                    why: &error.to_string(),
                });
            }
            continue;
        }
        let new = service.journal.next_id();
        let reopen = move || {
            let claim =
                pickup::reopen(&sorttemp, old, new, &rules).map_err(|why| why.to_string())?;
            sync_folder(&sorttemp).map_err(|why| why.to_string())?;
            Ok::<_, String>(claim)
        };
        match service.worker.run(reopen).await {
            Ok(claim) => {
                take_claims(service, vec![claim]).await;
            }
            Err(why) => emit(&Event::PickupWaits {
                file: &format!("{old}.claim"),
                why: &why,
            }),
        }
    }
}

async fn take_one(service: Rc<Service>, claim: Claim) -> Took {
    let dots = rules(&service).dots;
    let read = move || {
        let given = envelope::envelope(&claim, dots, &Domain::localhost());
        let user = user_name(claim.uid());
        (claim, given, user)
    };
    let (claim, given, user) = service.worker.run(read).await;
    let who = match &user {
        Some(user) => format!("uid {} ({user})", claim.uid()),
        None => format!("uid {}", claim.uid()),
    };
    let most = service.live().config.limits.message_bytes;
    if claim.size() > most {
        // The scan leaves larger ones where they are, but what our own `sendmail` took is ours to answer for.
        let why = format!(
            "it has {} bytes and limits.message_bytes allows {most}",
            claim.size()
        );
        refuse(&service, claim, &why, "5.3.4", &who).await;
        return Took::Done;
    }
    match given {
        Ok(given) => store(&service, claim, given, user, who).await,
        Err(envelope::Fault::Malformed(why)) => {
            refuse(&service, claim, &why.to_string(), why_status(&why), &who).await;
            Took::Done
        }
        Err(envelope::Fault::Io(error)) => refused(claim, &error.to_string()),
    }
}

const fn why_status(why: &Malformed) -> &'static str {
    match why {
        Malformed::Address(_) => "5.1.3",
        Malformed::TooMany => "5.5.3",
        _ => "5.6.0",
    }
}

/// Says why a file waits.
fn refused(claim: Claim, why: &str) -> Took {
    emit(&Event::PickupWaits {
        file: &pickup::shown(claim.name()),
        why,
    });
    Took::Refused(claim)
}

/// Puts a file that is no message into badmail.
async fn refuse(service: &Rc<Service>, claim: Claim, why: &str, status: &str, who: &str) {
    let file = pickup::shown(claim.name());
    emit(&Event::PickupBad { file: &file, why });
    let verdict = Verdict {
        at: service.clock.raw(),
        reason: why.to_owned(),
        origin: format!("pickup file {file} of {who}"),
        sender: None,
        recipients: Vec::new(),
        status: status.to_owned(),
        remote: String::new(),
    };
    let badmail = notices::badmail(service);
    // A claim that cannot be moved stays in sorttemp: the next start looks at it again.
    let job = move || badmail.take(&claim, &verdict);
    match service.worker.run(job).await {
        Ok(_) => notices::prune(service).await,
        Err(error) => emit(&Event::Trouble {
            what: "badmail",
            why: &error.to_string(),
        }),
    }
}

/// Journals one message and removes its file.
async fn store(
    service: &Rc<Service>,
    claim: Claim,
    given: Given,
    user: Option<String>,
    who: String,
) -> Took {
    let live = service.live();
    let rules = &live.config.rewrite;
    let sender = given.envelope.sender.as_ref();
    // What we write for a message that says nothing has the domain that its sender gets.
    let sender = sender.map(|from| rules.sender(from, true).into_owned());
    let origin = Origin::Pickup {
        uid: claim.uid(),
        user: user.as_deref(),
    };
    let plan = Plan {
        repair: true,
        // Return-Path is for who delivers to say (RFC 5321 s4.4); a file from a drop folder has that of its delivery there.
        without: &[Field::Bcc, Field::ResentBcc, Field::ReturnPath],
        from: Some(given.from_field(sender.as_ref(), &live.config.hostname)),
        ..Plan::default()
    };
    let (mut intake, plan) =
        Intake::begin(service, claim.id(), Door::Pickup, who.clone(), origin, plan);
    let mut letter = match Letter::new(claim, &given, plan) {
        Ok(letter) => letter,
        Err((claim, error)) => {
            return refused(claim, &error.to_string());
        }
    };
    loop {
        let step = move || {
            let mut out = Vec::new();
            let more = letter.step(&mut out);
            (letter, out, more)
        };
        let (back, out, more) = service.worker.run(step).await;
        letter = back;
        let fed = match more {
            Ok(more) => intake.put(&out).await.map(|()| more),
            Err(error) => Err(error),
        };
        match fed {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                return refused(letter.into_claim(), &error.to_string());
            }
        }
    }
    let facts = letter.walker().facts().clone();
    let claim = letter.into_claim();
    if !claim.stood_still() {
        return Took::Moving(claim);
    }
    match intake.finish(service, given.envelope, &facts, None).await {
        Ok(taken) => {
            // The claim goes before the message does: a claim whose message is gone would be taken in again.
            if let Err(error) = service.worker.run(move || claim.finish()).await {
                emit(&Event::Trouble {
                    what: "sorttemp",
                    why: &error.to_string(),
                });
            }
            notices::expanded(service, &taken).await;
            arrival::arrived(service, taken);
            Took::Done
        }
        Err(why @ (NotTaken::Hops(_) | NotTaken::TooMany)) => {
            let status = why.status().to_string();
            refuse(service, claim, &why.to_string(), &status, &who).await;
            Took::Done
        }
        Err(why) => refused(claim, &why.to_string()),
    }
}
