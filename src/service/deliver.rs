//! Takes what is due for a way, has it tried, and writes down what came of it.
//!
//! The dispatcher opens sessions as the ways allow; a session ([`crate::service::relay`] or
//! [`crate::service::dropping`]) takes one message after the other with [`take`] and gives each back with
//! [`conclude`]. A message is in exactly one of three places: in the schedule, in a session, or gone from the journal.

use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future;

use crate::base::MsgId;
use crate::base::Tick;
use crate::disk::fault::LoadError;
use crate::disk::stored::StoredMessage;
use crate::mail::Outcome;
use crate::net::random;
use crate::policy::route::Next;
use crate::queue::Progress;
use crate::queue::Stage;
use crate::queue::schedule::Waiting;
use crate::service::Service;
use crate::service::dropping;
use crate::service::event::Event;
use crate::service::fold::Follows;
use crate::service::fold::Life;
use crate::service::fold::fold;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::notices;
use crate::service::relay;
use crate::service::standing;

/// How long a message waits whose record could not be read for a reason that may pass.
const UNREADABLE_WAIT: Duration = Duration::from_secs(60);

/// Opens sessions whenever something is due, until the service ends.
pub async fn dispatch(service: Rc<Service>) {
    while !service.ending.has_begun() {
        let now = service.now();
        let live = service.live();
        let wanted = service
            .ways
            .borrow_mut()
            .wanted(now, |next| live.sessions(next));
        for (next, count) in wanted {
            for _ in 0..count {
                service.ways.borrow_mut().way(next).sessions += 1;
                let task = session(Rc::clone(&service), next);
                service.tasks.spawn(task).detach();
            }
        }
        let wakes = service.ways.borrow().wakes(now);
        let heard = future::or(service.due.heard(), service.ending.begun());
        match wakes {
            None => heard.await,
            Some(at) => {
                let alarm = async {
                    Timer::after(at.since(now)).await;
                };
                future::or(heard, alarm).await;
            }
        }
    }
}

async fn session(service: Rc<Service>, next: Next) {
    match next {
        Next::Drop => dropping::session(&service).await,
        Next::Route(at) => relay::session(&service, at).await,
    }
    let mut ways = service.ways.borrow_mut();
    let way = ways.way(next);
    way.sessions = way.sessions.saturating_sub(1);
    service.due.ring();
    service.idle.ring();
}

/// A message in a session's hands.
#[derive(Debug)]
pub struct Attempt {
    /// Which.
    pub id: MsgId,
    /// The message.
    pub message: StoredMessage,
    /// The recipients to try on this way, by place in the envelope; never empty.
    pub recipients: Vec<usize>,
    expires: Tick,
    /// Running time in the queue at the start of this attempt.
    age: Duration,
}

/// The next message of a way that is due, loaded; `None` when nothing is due now.
pub async fn take(service: &Rc<Service>, next: Next) -> Option<Attempt> {
    loop {
        let waiting = {
            if service.ending.has_begun() {
                return None;
            }
            let now = service.now();
            let mut ways = service.ways.borrow_mut();
            let waiting = ways.take(next, now)?;
            ways.ring_lingering(next, now);
            waiting
        };
        if let Some(attempt) = load(service, next, waiting).await {
            return Some(attempt);
        }
    }
}

/// Loads a message that was taken off the schedule; `None` when there is nothing to do for it on this way (any more).
async fn load(service: &Rc<Service>, next: Next, waiting: Waiting) -> Option<Attempt> {
    let id = waiting.id;
    service.active.borrow_mut().enter(id);
    let message = match service.journal.load(id).await {
        Ok(message) => message,
        Err(error) => {
            service.active.borrow_mut().leave(id);
            match &error {
                LoadError::Gone => {}
                LoadError::Damaged(_) => notices::damaged(service, id, &error),
                LoadError::Io(why) => {
                    emit(&Event::Trouble { what: "queue", why });
                    let due = service.now().after(UNREADABLE_WAIT);
                    service.ways.borrow_mut().add(next, Waiting { due, ..waiting });
                }
            }
            return None;
        }
    };
    let live = service.live();
    let stored = &message.stored;
    let envelope = &stored.accept.envelope;
    let (recipients, over, known_age) = {
        let mut active = service.active.borrow_mut();
        let loaded = stored
            .progress
            .clone()
            .unwrap_or_else(|| Progress::new(envelope.recipients.len()));
        let progress = active.progress(id, loaded);
        let (age, waiting) = standing(envelope, Some(progress));
        let over = waiting.is_empty();
        let mine = waiting.into_iter().filter(|&at| {
            let to = envelope.recipients.get(at);
            to.is_some_and(|to| live.next(to.address.domain()) == next)
        });
        (mine.collect::<Vec<_>>(), over, age)
    };
    if over {
        // Its last Done was lost in a crash after everything else was written.
        service.journal.done(id);
    }
    if recipients.is_empty() {
        service.active.borrow_mut().leave(id);
        return None;
    }
    // Marked only now: reading it back is what every start does as well.
    service.journal.begin(id);
    // What is left of its life is counted in ticks, so that no calendar matters.
    let left = waiting.expires.since(service.now());
    let age = live.expire().saturating_sub(left).max(known_age);
    Some(Attempt {
        id,
        message,
        recipients,
        expires: waiting.expires,
        age,
    })
}

/// Gives a message back untried: the session ended before its turn came.
pub fn give_back(service: &Service, next: Next, attempt: Attempt) {
    let id = attempt.id;
    let waiting = Waiting {
        due: service.now(),
        id,
        expires: attempt.expires,
    };
    let recipients = attempt.message.stored.accept.envelope.recipients.len();
    let mut active = service.active.borrow_mut();
    let progress = active.progress(id, Progress::new(recipients));
    // Ends what was begun: that it was not tried is not the message's fault.
    service.journal.progress(id, progress.clone());
    active.leave(id);
    service.ways.borrow_mut().add(next, waiting);
}

/// Writes down what an attempt came to, and does what follows: report, retry, or the end.
pub async fn conclude(
    service: &Rc<Service>,
    next: Next,
    mut attempt: Attempt,
    outcomes: Vec<(usize, Outcome)>,
) {
    let live = service.live();
    let id = attempt.id;
    let life = Life {
        age: attempt.age,
        expire: live.expire(),
    };
    let attempts = attempt.message.stored.progress.as_ref().map_or(0, |p| p.attempts);
    let chance = u32::try_from(random::below(0x7FFF_FFFF)).unwrap_or(0) << 1;
    let wait = live.config.delivery.waits.after(attempts, chance);
    tell(service, &live, next, &attempt, &outcomes, life, wait);

    let envelope = &attempt.message.stored.accept.envelope;
    let simple = envelope.recipients.len() == 1 && matches!(outcomes.as_slice(), [(_, Outcome::Done(_))]);
    let follows = {
        let mut active = service.active.borrow_mut();
        let progress = active.progress(id, Progress::new(envelope.recipients.len()));
        progress.wait = wait;
        fold(progress, envelope, outcomes, life)
    };
    let written = if simple {
        // The commonest end needs no record of how it came about.
        service.journal.done(id);
        true
    } else {
        record(service, &mut attempt, &follows).await
    };
    if follows.over && written {
        emit(&Event::Completed { id });
    }
    service.active.borrow_mut().leave(id);
    if follows.again || !written {
        let expires = if follows.held {
            // A fault of the setup costs no message its time.
            Tick::from_millis(u64::MAX)
        } else {
            service.now().after(life.expire.saturating_sub(life.age))
        };
        let waiting = Waiting {
            due: service.now().after(wait),
            id,
            expires,
        };
        service.ways.borrow_mut().add(next, waiting);
    }
}

/// Journals the progress, together with the report that some recipients need. False when a report that is due could
/// be neither queued nor put into badmail: then those recipients wait again.
async fn record(service: &Rc<Service>, attempt: &mut Attempt, follows: &Follows) -> bool {
    let id = attempt.id;
    let progress = service
        .active
        .borrow_mut()
        .progress(id, Progress::default())
        .clone();
    if follows.report.is_empty() {
        if follows.over {
            service.journal.done(id);
        } else {
            service.journal.progress(id, progress);
        }
        return true;
    }
    if notices::report(service, attempt, &progress, follows).await {
        return true;
    }
    // Neither reported nor in badmail (the disk is full, say): these recipients go back to waiting, so that the
    // failure is found and reported again. Nothing is dropped (promise G2).
    let mut active = service.active.borrow_mut();
    let progress = active.progress(id, progress);
    for &at in &follows.report {
        if let Some(reason) = progress.reason(at).cloned() {
            progress.set(at, Stage::Waiting, reason);
        }
    }
    service.journal.progress(id, progress.clone());
    false
}

/// Logs and counts the outcomes.
fn tell(
    service: &Service,
    live: &Live,
    next: Next,
    attempt: &Attempt,
    outcomes: &[(usize, Outcome)],
    life: Life,
    wait: Duration,
) {
    let way = live.name(next);
    let mut counts = service.counts.get();
    for (at, outcome) in outcomes {
        let Some(recipient) = attempt.message.stored.accept.envelope.recipients.get(*at) else {
            continue;
        };
        let (id, to, way) = (attempt.id, &recipient.address.to_string(), &way);
        let why = &outcome.reason().to_string();
        match outcome {
            Outcome::Done(_) => {
                counts.delivered = counts.delivered.wrapping_add(1);
                emit(&Event::Delivered {
                    id,
                    to,
                    way,
                    reply: why,
                });
            }
            Outcome::Later(_) if life.age < life.expire => {
                counts.deferred = counts.deferred.wrapping_add(1);
                emit(&Event::Deferred {
                    id,
                    to,
                    way,
                    why,
                    wait_secs: wait.as_secs(),
                });
            }
            Outcome::Hold(_) => {
                counts.deferred = counts.deferred.wrapping_add(1);
                emit(&Event::Deferred {
                    id,
                    to,
                    way,
                    why,
                    wait_secs: wait.as_secs(),
                });
            }
            Outcome::Later(_) | Outcome::Never(_) => {
                counts.failed = counts.failed.wrapping_add(1);
                emit(&Event::Failed { id, to, way, why });
            }
        }
    }
    service.counts.set(counts);
}

/// What a session tells of a way that failed before any transaction: the way waits as a whole, and what has expired
/// meanwhile is given up.
pub async fn way_failed(service: &Rc<Service>, next: Next, held: bool, why: &crate::mail::Reason) {
    let live = service.live();
    let chance = u32::try_from(random::below(0x7FFF_FFFF)).unwrap_or(0) << 1;
    let text = why.to_string();
    let (wait, expired) = service.ways.borrow_mut().on_failure(
        next,
        service.now(),
        &live.config.delivery.waits,
        chance,
        held,
        &text,
    );
    let (way, wait_secs) = (&live.name(next), wait.as_secs());
    let why_text = &text;
    if held {
        emit(&Event::WayHeld {
            way,
            why: why_text,
            wait_secs,
        });
    } else {
        emit(&Event::WayDown {
            way,
            why: why_text,
            wait_secs,
        });
    }
    for waiting in expired {
        let Some(attempt) = load(service, next, waiting).await else {
            continue;
        };
        let all = attempt.recipients.iter();
        let outcomes = all.map(|&at| (at, Outcome::Later(why.clone()))).collect();
        conclude(service, next, attempt, outcomes).await;
    }
}

/// What a session tells of a way that got as far as a transaction.
pub fn way_well(service: &Service, next: Next) {
    let news = service.ways.borrow_mut().way(next).health.on_success();
    if news {
        emit(&Event::WayWell {
            way: &service.live().name(next),
        });
        // One probe found out; the others may follow.
        service.due.ring();
    }
}
