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
use crate::disk::badmail::Verdict;
use crate::disk::folders::sync_folder;
use crate::disk::folders::user_name;
use crate::disk::letter;
use crate::disk::letter::Given;
use crate::disk::letter::Letter;
use crate::disk::letter::Malformed;
use crate::disk::pickup;
use crate::disk::pickup::Claim;
use crate::disk::pickup::Dots;
use crate::disk::pickup::Left;
use crate::disk::pickup::Rules;
use crate::disk::pickup::Scanner;
use crate::disk::watch::Heard;
use crate::disk::watch::Watch;
use crate::mail::header::Field;
use crate::mail::header::Plan;
use crate::mail::trace::Origin;
use crate::queue::Door;
use crate::service::Service;
use crate::service::event::Event;
use crate::service::intake::Intake;
use crate::service::intake::NotTaken;
use crate::service::log::emit;
use crate::service::notices;
use crate::service::show;

/// Files taken in one stroke: one sync of the folder and, mostly, one of the journal for all of them.
const BATCH: usize = 16;

/// How long a file must stand still when no event says that it was closed.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the folder is left alone after the queue refused a file.
const PAUSE: Duration = Duration::from_secs(30);

/// What one round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Round {
    /// Everything that was ready has been dealt with.
    #[default]
    Done,
    /// The queue takes nothing now; the files are back in the folder.
    Refused,
}

/// Takes what comes into the folder, until the service ends.
pub async fn serve(service: Rc<Service>, claims: Vec<(MsgId, bool)>) {
    if !service.live().config.pickup.enabled {
        return;
    }
    let mut watch = Watch::new(&service.folders.pickup);
    let mut scanner = Scanner::new(&service.folders.pickup);
    leftovers(&service, claims).await;
    let mut scan = true;
    while !service.ending.has_begun() {
        let mut round = Round::Done;
        if scan {
            // Stillness tells whether what was put back is whole; what events there were are old by then.
            service.returned.borrow_mut().clear();
            (scanner, round) = scan_all(&service, scanner).await;
        }
        if round == Round::Refused && rest(&service, PAUSE).await {
            continue;
        }
        let rescan = service.live().config.pickup.rescan;
        let wait = match (watch.is_live(), scanner.is_waiting()) {
            (_, true) | (false, _) => rescan.min(SETTLE),
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
            Some(Heard::Files(names)) => {
                let names = ready(&service, names).await;
                scan = take_all(&service, names).await == Round::Refused;
                if scan {
                    rest(&service, PAUSE).await;
                }
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

/// Makes the folder again after somebody removed or replaced it.
async fn mend(service: &Service, watch: &mut Watch) {
    let folders = service.folders.clone();
    let made = service.worker.run(move || folders.create()).await;
    if let Err(error) = made {
        emit(&Event::Trouble {
            what: "pickup",
            why: &error.to_string(),
        });
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
        settle: SETTLE,
    }
}

/// Which of the files that an event named can be claimed. The others are left to the scans.
async fn ready(service: &Service, mut names: Vec<OsString>) -> Vec<OsString> {
    names.retain(|name| !service.returned.borrow_mut().remove(name));
    let (folder, rules) = (service.folders.pickup.clone(), rules(service));
    let check = move || {
        let mut left = Vec::new();
        let ready = names.into_iter().filter(|name| {
            match pickup::is_ready(&folder, name, &rules) {
                Ok(()) => true,
                Err(Left::Gone | Left::DotName | Left::Moving) => false,
                Err(why) => {
                    left.push((name.clone(), why));
                    false
                }
            }
        });
        let ready: Vec<OsString> = ready.collect();
        (ready, left)
    };
    let (ready, left) = service.worker.run(check).await;
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
async fn scan_all(service: &Rc<Service>, mut scanner: Scanner) -> (Scanner, Round) {
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
                emit(&Event::Trouble {
                    what: "pickup",
                    why: &format!("cannot read the folder: {error}"),
                });
                return (scanner, Round::Done);
            }
        };
        complain(&step.left);
        if take_all(service, step.ready).await == Round::Refused {
            return (scanner, Round::Refused);
        }
        if step.over || service.ending.has_begun() {
            return (scanner, Round::Done);
        }
    }
}

/// Takes these files, some at a time.
async fn take_all(service: &Rc<Service>, names: Vec<OsString>) -> Round {
    for batch in names.chunks(BATCH) {
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
        let (claims, left, synced) = service.worker.run(claim).await;
        complain(&left);
        if let Err(error) = synced {
            emit(&Event::Trouble {
                what: "sorttemp",
                why: &format!("cannot be synced, so no pickup file is taken: {error}"),
            });
            put_back(service, claims).await;
            return Round::Refused;
        }
        if take_claims(service, claims).await == Round::Refused {
            return Round::Refused;
        }
    }
    Round::Done
}

/// Puts files back. Each is noted: the event that this makes must not pass for the writer's.
async fn put_back(service: &Service, claims: Vec<Claim>) {
    let names = claims.iter().map(|claim| claim.name().to_owned());
    service.returned.borrow_mut().extend(names);
    let folder = service.folders.pickup.clone();
    let job = move || {
        for claim in claims {
            claim.put_back(&folder);
        }
    };
    service.worker.run(job).await;
}

/// The claims that a crash left: those whose message is in the journal go, the others are taken now.
async fn leftovers(service: &Rc<Service>, claims: Vec<(MsgId, bool)>) {
    for (old, accepted) in claims {
        let (sorttemp, rules) = (service.folders.sorttemp.clone(), rules(service));
        if accepted {
            let forgotten = service.worker.run(move || pickup::forget(&sorttemp, old)).await;
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
            let claim = pickup::reopen(&sorttemp, old, new, &rules).map_err(|why| why.to_string())?;
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

/// Journals claimed files, all at once so that they share a sync.
async fn take_claims(service: &Rc<Service>, claims: Vec<Claim>) -> Round {
    let tasks: Vec<_> = claims
        .into_iter()
        .map(|claim| service.tasks.spawn(take_one(Rc::clone(service), claim)))
        .collect();
    let mut round = Round::Done;
    for task in tasks {
        if task.await == Round::Refused {
            round = Round::Refused;
        }
    }
    round
}

async fn take_one(service: Rc<Service>, claim: Claim) -> Round {
    let dots = rules(&service).dots;
    let domain = service.live().config.default_domain.clone();
    let read = move || {
        let given = letter::envelope(&claim, dots, &domain);
        let user = user_name(claim.uid());
        (claim, given, user)
    };
    let (claim, given, user) = service.worker.run(read).await;
    let who = match &user {
        Some(user) => format!("uid {} ({user})", claim.uid()),
        None => format!("uid {}", claim.uid()),
    };
    match given {
        Ok(given) => store(&service, claim, given, user, who).await,
        Err(letter::Fault::Malformed(why)) => {
            refuse(&service, claim, &why.to_string(), why_status(&why), &who).await;
            Round::Done
        }
        Err(letter::Fault::Io(error)) => {
            wait(&service, claim, &error.to_string()).await;
            Round::Refused
        }
    }
}

const fn why_status(why: &Malformed) -> &'static str {
    match why {
        Malformed::Address(_) => "5.1.3",
        Malformed::TooMany => "5.5.3",
        _ => "5.6.0",
    }
}

/// Puts a file back for later.
async fn wait(service: &Service, claim: Claim, why: &str) {
    emit(&Event::PickupWaits {
        file: &pickup::shown(claim.name()),
        why,
    });
    put_back(service, vec![claim]).await;
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
    if let Err(error) = service.worker.run(job).await {
        emit(&Event::Trouble {
            what: "badmail",
            why: &error.to_string(),
        });
    }
}

/// Journals one message and removes its file.
async fn store(service: &Rc<Service>, claim: Claim, given: Given, user: Option<String>, who: String) -> Round {
    let origin = Origin::Pickup {
        uid: claim.uid(),
        user: user.as_deref(),
    };
    let plan = Plan {
        repair: true,
        without: &[Field::Bcc, Field::ResentBcc],
        from: Some(sender_field(&given)),
        ..Plan::default()
    };
    let (mut intake, plan) = Intake::begin(service, claim.id(), Door::Pickup, who.clone(), origin, plan);
    let mut letter = match Letter::new(claim, &given, plan) {
        Ok(letter) => letter,
        Err((claim, error)) => {
            wait(service, claim, &error.to_string()).await;
            return Round::Refused;
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
                wait(service, letter.into_claim(), &error.to_string()).await;
                return Round::Refused;
            }
        }
    }
    let facts = letter.walker().facts().clone();
    let claim = letter.into_claim();
    if !claim.stood_still() {
        wait(service, claim, "it is still being written to").await;
        return Round::Done;
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
            service.schedule(taken.id, &taken.ways);
            Round::Done
        }
        Err(NotTaken::Hops(most)) => {
            let why = NotTaken::Hops(most);
            refuse(service, claim, &why.to_string(), "5.4.6", &who).await;
            Round::Done
        }
        Err(why) => {
            wait(service, claim, &why.to_string()).await;
            Round::Refused
        }
    }
}

/// The From of a message that has none: who sends it.
fn sender_field(given: &Given) -> String {
    let address = show::path(given.envelope.sender.as_ref());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '-';
    match given.sender_name.as_str() {
        "" => address,
        name if name.chars().all(plain) => format!("{name} <{address}>"),
        _ => format!("<{address}>"),
    }
}
