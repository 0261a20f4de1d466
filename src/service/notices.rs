//! What the service itself has to say: delivery reports, and badmail for what can be neither delivered nor returned.

use std::collections::HashSet;
use std::rc::Rc;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::badmail::Badmail;
use crate::disk::badmail::Caps;
use crate::disk::badmail::Entry;
use crate::disk::badmail::Verdict;
use crate::disk::journal::Joined;
use crate::disk::lines;
use crate::disk::stored::StoredBody;
use crate::mail::Address;
use crate::mail::Envelope;
use crate::mail::Reason;
use crate::mail::Recipient;
use crate::mail::Status;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Ret;
use crate::mail::envelope::TlsWish;
use crate::mail::header::Facts;
use crate::mail::header::Plan;
use crate::mail::header::Walker;
use crate::mail::report::Action;
use crate::mail::report::Fate;
use crate::mail::report::Report;
use crate::mail::trace::Origin;
use crate::net::clock;
use crate::net::random;
use crate::queue::Accept;
use crate::queue::Dates;
use crate::queue::Door;
use crate::queue::Progress;
use crate::queue::schedule::NEVER;
use crate::service::attempt::Attempt;
use crate::service::event::Event;
use crate::service::fold::Follows;
use crate::service::hooks;
use crate::service::intake::Intake;
use crate::service::intake::Taken;
use crate::service::log::emit;
use crate::service::shared::Service;
use crate::service::show;

/// The badmail folder as configured.
pub fn badmail(service: &Service) -> Badmail {
    let live = service.live();
    let caps = &live.config.badmail;
    let caps = Caps {
        bytes: caps.bytes,
        // A message has three files.
        count: usize::try_from(caps.files / 3).unwrap_or(usize::MAX),
        age: Some(caps.age),
    };
    Badmail::new(&service.folders.badmail, caps)
}

/// Reports to the sender what follows. Writes the message's progress (or its end) in the same stroke as the report.
/// False when it could not be made durable.
pub async fn report(
    service: &Rc<Service>,
    attempt: &mut Attempt,
    progress: &Progress,
    follows: &Follows,
) -> bool {
    let id = attempt.id;
    let Some(sender) = attempt.message.stored.accept.envelope.sender.clone() else {
        return false;
    };
    let joined = if follows.over {
        Joined::Done(id)
    } else {
        Joined::Progress(id, progress.clone())
    };
    match write(service, attempt, progress, follows, &sender, joined).await {
        Ok(report) => {
            let mut of: Vec<&str> = Vec::new();
            for (_, action) in &follows.report {
                if !of.contains(&action.word()) {
                    of.push(action.word());
                }
            }
            emit(&Event::Reported {
                id,
                report,
                to: &sender.to_string(),
                of: &of.join(","),
            });
            true
        }
        Err(why) => {
            emit(&Event::Trouble {
                what: "report",
                why: &why,
            });
            false
        }
    }
}

/// Subject and message id of the original, and whether it is 8-bit as far as its first block tells.
async fn facts_of(body: &mut StoredBody) -> Result<Facts, String> {
    let (mut block, mut unused) = (Vec::new(), Vec::new());
    body.read(0, &mut block)
        .await
        .map_err(|error| error.to_string())?;
    let mut walker = Walker::new(Plan::default());
    walker.feed(&block, &mut unused);
    Ok(walker.facts().clone())
}

async fn write(
    service: &Rc<Service>,
    attempt: &mut Attempt,
    progress: &Progress,
    follows: &Follows,
    sender: &Address,
    joined: Joined,
) -> Result<MsgId, String> {
    let envelope = &attempt.message.stored.accept.envelope;
    let now = service.clock.believed();
    // What waited for the setup to be mended has no end yet.
    let left = attempt.expires.since(service.now());
    let ends = attempt.expires < NEVER && left < limits::FOREVER / 2;
    // A recipient that waits on another way may not have been tried.
    let untried = Reason::ours(Status::new(4, 4, 7), "it has not been tried yet");
    let fates: Vec<Fate<'_>> = follows
        .report
        .iter()
        .filter_map(|&(at, action)| {
            let reason = progress.reason(at);
            Some(Fate {
                recipient: envelope.recipients.get(at)?,
                action,
                reason: reason.unwrap_or(&untried),
                last_attempt: now.filter(|_| reason.is_some()),
                retry_until: now
                    .filter(|_| action == Action::Delayed && ends)
                    .map(|now| now.after(left)),
            })
        })
        .collect();
    let accept = &attempt.message.stored.accept;
    let body = &mut attempt.message.body;
    compose(service, accept, body, sender, &fates, Some(joined)).await
}

/// Writes a report about a message and puts it on its way.
async fn compose(
    service: &Rc<Service>,
    accept: &Accept,
    body: &mut StoredBody,
    sender: &Address,
    fates: &[Fate<'_>],
    joined: Option<Joined>,
) -> Result<MsgId, String> {
    let live = service.live();
    let Accept {
        arrived,
        dates,
        door,
        origin,
        envelope,
        ..
    } = accept;
    let from = (*door == Door::Smtp).then(|| came_from(origin));
    let now = service.clock.believed();
    let facts = facts_of(body).await?;
    let full = live.config.delivery.report_full;
    let report = Report {
        id: service.journal.next_id(),
        random: random::number().unwrap_or(0),
        at: now,
        hostname: &live.config.hostname,
        from: &live.config.delivery.report_from,
        to: sender,
        envid: envelope.envid.as_deref(),
        received_from: from,
        // A date from before this program was built is that of a clock that had not been set.
        arrival: (*dates == Dates::Good && *arrived >= clock::build_date()).then_some(*arrived),
        subject: &facts.subject,
        message_id: &facts.message_id,
        fates,
        ret: match (envelope.tls, envelope.ret) {
            // RFC 8689 s5: what had to be kept secret on its way there is not sent back whole.
            (TlsWish::Required, _) => Ret::Headers,
            (_, Some(ret)) => ret,
            (_, None) if full => Ret::Full,
            (_, None) => Ret::Headers,
        },
        utf8: envelope.utf8,
        eight: facts.body_8bit,
    };
    let origin = String::from("this host");
    let (mut intake, _) = Intake::begin(
        service,
        report.id,
        Door::Notice,
        origin,
        Origin::Own,
        Plan::default(),
    );
    let failed = |error: std::io::Error| error.to_string();
    intake.put(report.head().as_bytes()).await.map_err(failed)?;
    let mut original = report.original();
    let (mut block, mut out, mut offset) = (Vec::new(), Vec::new(), 0);
    while offset < body.len() {
        body.read(offset, &mut block).await.map_err(failed)?;
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        let more = original.feed(&block, &mut out);
        intake.put(&out).await.map_err(failed)?;
        out.clear();
        if !more {
            break;
        }
    }
    intake.put(report.tail().as_bytes()).await.map_err(failed)?;
    let required = envelope.tls == TlsWish::Required;
    let mut envelope: Envelope = report.envelope();
    if required {
        envelope.tls = TlsWish::Required;
    }
    let trouble = |fate: &Fate<'_>| matches!(fate.action, Action::Failed | Action::Delayed);
    if let Some(copy) = &live.config.delivery.report_copy_to
        && copy != sender
        && fates.iter().any(trouble)
    {
        envelope.recipients.push(Recipient {
            notify: Notify::Never,
            ..Recipient::new(copy.clone())
        });
    }
    let taken = intake
        .finish(service, envelope, &Facts::default(), joined)
        .await
        .map_err(|why| why.to_string())?;
    service.schedule(taken.id, &taken.ways);
    Ok(taken.id)
}

/// Tells the sender of a message that has just been accepted, and is not on its ways yet, of recipients that became several.
/// Should that fail, the log says so, and no delivery is the worse for it.
pub async fn expanded(service: &Rc<Service>, taken: &Taken) {
    if !taken.expanded.is_empty() {
        // Boxed: few messages have such recipients, and all that come in would wait with room for it.
        Box::pin(tell_expanded(service, taken)).await;
    }
}

async fn tell_expanded(service: &Rc<Service>, taken: &Taken) {
    let id = taken.id;
    let told = match service.journal.load(id).await {
        Ok(mut message) => {
            let accept = &message.stored.accept;
            let Some(sender) = accept.envelope.sender.clone() else {
                return;
            };
            let reason = Reason::ours(Status::new(2, 1, 5), "an alias of several addresses");
            let fates = taken.expanded.iter().map(|recipient| Fate {
                recipient,
                action: Action::Expanded,
                reason: &reason,
                last_attempt: None,
                retry_until: None,
            });
            let fates: Vec<Fate<'_>> = fates.collect();
            let report = compose(service, accept, &mut message.body, &sender, &fates, None).await;
            report.map(|report| (report, sender))
        }
        Err(error) => Err(error.to_string()),
    };
    match told {
        Ok((report, sender)) => emit(&Event::Reported {
            id,
            report,
            to: &sender.to_string(),
            of: Action::Expanded.word(),
        }),
        Err(why) => emit(&Event::Trouble {
            what: "report",
            why: &why,
        }),
    }
}

/// The name that a client gave itself, else its address: an origin is `192.0.2.7 (nas)`, perhaps with more behind it.
fn came_from(origin: &str) -> &str {
    let named = origin
        .split_once(" (")
        .and_then(|(_, rest)| rest.split_once(')'));
    named.map_or_else(
        || origin.split(' ').next().unwrap_or(origin),
        |(name, _)| name,
    )
}

/// Keeps a message in badmail for those recipients that were given up without anybody to tell. False when it could
/// not be made durable.
pub async fn to_badmail(
    service: &Rc<Service>,
    attempt: &Attempt,
    progress: &Progress,
    given_up: &[usize],
) -> bool {
    let id = attempt.id;
    let Accept {
        door,
        origin,
        envelope,
        ..
    } = &attempt.message.stored.accept;
    let recipients = given_up.iter();
    let recipients = recipients.filter_map(|&at| envelope.recipients.get(at));
    let reason = given_up.first().and_then(|&at| progress.reason(at));
    let sender = envelope.sender.as_ref();
    let verdict = Verdict {
        at: service.clock.raw(),
        reason: reason.map_or_else(
            || String::from("it could not be delivered"),
            |reason| reason.text.clone(),
        ),
        origin: format!("{} {origin}", show::door(*door)),
        sender: Some(sender.map_or_else(String::new, ToString::to_string)),
        recipients: recipients.map(|to| to.address.to_string()).collect(),
        status: reason.map_or_else(String::new, |reason| reason.status.to_string()),
        remote: reason.map_or_else(String::new, ToString::to_string),
    };
    let why = verdict.reason.clone();
    // Only those who did not get it: moved into a pickup folder it reaches nobody twice.
    let those: HashSet<usize> = given_up.iter().copied().collect();
    let top = lines::of(envelope, |at| those.contains(&at));
    let (badmail, mut body) = (badmail(service), attempt.message.body.clone());
    let job = move || {
        let kept = keep(&badmail, id, &top, &mut body, &verdict);
        (body, kept)
    };
    let (body, kept) = service.worker.run(job).await;
    match kept {
        Ok(()) => {
            emit(&Event::Badmail { id, why: &why });
            hooks::kept(service, id, envelope, body, &why);
            prune(service).await;
            true
        }
        Err(error) => {
            emit(&Event::Trouble {
                what: "badmail",
                why: &error.to_string(),
            });
            false
        }
    }
}

/// Removes the oldest bad messages while there are more than the caps allow, and says which.
pub async fn prune(service: &Service) {
    let (badmail, now) = (badmail(service), service.clock.raw());
    let pruned = service.worker.run(move || badmail.prune(now)).await;
    pruned_are(&pruned);
}

/// Says which bad messages went. Too much of it is a nuisance, not a reason to keep mail in the queue.
pub fn pruned_are(pruned: &std::io::Result<Vec<Entry>>) {
    match pruned {
        Ok(gone) => {
            for Entry { stem, size, .. } in gone {
                emit(&Event::BadmailPruned { stem, bytes: *size });
            }
        }
        Err(error) => emit(&Event::Trouble {
            what: "badmail",
            why: &error.to_string(),
        }),
    }
}

/// Writes a queued message to badmail, with the lines of its envelope at the top. Blocks.
fn keep(
    badmail: &Badmail,
    id: MsgId,
    top: &str,
    body: &mut StoredBody,
    verdict: &Verdict,
) -> std::io::Result<()> {
    let mut draft = badmail.begin(id)?;
    draft.append(top.as_bytes())?;
    let (mut block, mut offset) = (Vec::new(), 0);
    while offset < body.len() {
        // What cannot be read back is left out: the rest is better than nothing.
        if body.read_blocking(offset, &mut block).is_err() {
            break;
        }
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        draft.append(&block)?;
    }
    draft.finish(verdict).map(drop)
}
