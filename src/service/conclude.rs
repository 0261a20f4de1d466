//! Writes down what an attempt came to, and does what follows from it.

use std::rc::Rc;
use std::time::Duration;

use crate::base::MsgId;
use crate::config::hooks::On;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::mail::report::Action;
use crate::net::random;
use crate::policy::route::Next;
use crate::queue::Progress;
use crate::queue::Stage;
use crate::queue::progress::TOLD_DELAY;
use crate::queue::schedule::NEVER;
use crate::queue::schedule::Waiting;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::event::Event;
use crate::service::fold::Follows;
use crate::service::fold::Life;
use crate::service::fold::fold;
use crate::service::hooks;
use crate::service::log::emit;
use crate::service::notices;
use crate::service::shared::Service;

/// Writes down what an attempt came to, and does what follows: report, retry, or the end.
pub async fn conclude(
    service: &Rc<Service>,
    next: Next,
    mut attempt: Attempt,
    outcomes: Vec<(usize, Outcome)>,
) {
    let live = service.live();
    service.watch_clock();
    let id = attempt.id;
    let life = Life {
        age: attempt.age,
        over: attempt.expires <= service.now(),
        notice: live.config.delivery.delay_notice,
    };
    let attempts = attempt
        .message
        .stored
        .progress
        .as_ref()
        .map_or(0, |p| p.attempts);
    let chance = random::chance();
    let wait = live.config.delivery.waits.after(attempts, chance);
    tell(service, next, &attempt, &outcomes, life, wait);

    let envelope = &attempt.message.stored.accept.envelope;
    let simple =
        envelope.recipients.len() == 1 && matches!(outcomes.as_slice(), [(_, Outcome::Done(_))]);
    let follows = {
        let mut active = service.active.borrow_mut();
        let progress = active.progress(id, Progress::new(envelope.recipients.len()));
        progress.wait = wait;
        fold(progress, envelope, outcomes, attempt.done, life)
    };
    let written = if simple && follows.report.is_empty() {
        // The commonest end needs no record of how it came about.
        service.journal.done(id);
        true
    } else {
        record(service, &mut attempt, &follows).await
    };
    if follows.over && written {
        emit(&Event::Completed { id });
    }
    service.memory.ring();
    let back = service.leave(id);
    if back && (follows.again || !written) {
        let expires = if follows.held {
            // A fault of the setup costs no message its time.
            NEVER
        } else if attempt.expires == NEVER {
            // It is mended.
            service.expires(next, life.age)
        } else {
            attempt.expires
        };
        let waiting = Waiting {
            due: service.now().after(wait),
            id,
            expires,
        };
        service.ways.borrow_mut().add(next, waiting);
    }
}

/// Gives up what was held until its time was up, and is in our hands since it was taken off its way.
pub async fn unfetched(service: &Rc<Service>, all: Vec<(Next, Waiting)>) {
    let why = Reason::ours(
        Status::new(4, 4, 7),
        "it was held until the host of its domain would fetch it, and that did not come",
    );
    for (next, waiting) in all {
        late_or_expired(service, next, waiting, &why).await;
        service.leave(waiting.id);
    }
}

/// Concludes a message that was not tried for this reason: gives it up when its time is up, else tells of the delay.
async fn late_or_expired(service: &Rc<Service>, next: Next, waiting: Waiting, why: &Reason) {
    let Some(attempt) = attempt::load(service, next, waiting).await else {
        return;
    };
    let all = attempt.recipients.iter();
    let outcomes = all.map(|&at| (at, Outcome::Later(why.clone()))).collect();
    conclude(service, next, attempt, outcomes).await;
}

/// Journals the progress, together with the report that some recipients need. False when what nobody delivers could
/// be neither reported nor put into badmail: then those recipients wait again.
async fn record(service: &Rc<Service>, attempt: &mut Attempt, follows: &Follows) -> bool {
    let id = attempt.id;
    let progress = service
        .active
        .borrow_mut()
        .progress(id, Progress::default())
        .clone();
    let kept = follows.unreported.is_empty()
        || notices::to_badmail(service, attempt, &progress, &follows.unreported).await;
    if kept && !follows.report.is_empty() {
        if notices::report(service, attempt, &progress, follows).await {
            return true;
        }
    } else if kept {
        let done = follows.over;
        end_or_progress(service, id, &progress, done);
        return true;
    }
    // The disk is full, say. The failure will be found and told again; nothing is dropped (promise G2). That it was
    // delivered cannot be told again without delivering it again: that report is lost, and the log has said so.
    let mut active = service.active.borrow_mut();
    let progress = active.progress(id, progress);
    let reported = follows.report.iter();
    let failed = reported.filter(|(_, of)| *of == Action::Failed);
    let failed = failed.map(|(at, _)| at).chain(&follows.unreported);
    let mut all_well = true;
    for &at in failed {
        all_well = false;
        if let Some(reason) = progress.reason(at).cloned() {
            progress.set(at, Stage::Waiting, reason);
        }
    }
    if follows.tells_delay() {
        progress.told &= !TOLD_DELAY;
    }
    end_or_progress(service, id, progress, follows.over && all_well);
    all_well
}

fn end_or_progress(service: &Service, id: MsgId, progress: &Progress, done: bool) {
    if done {
        service.journal.done(id);
    } else {
        service.journal.progress(id, progress.clone());
    }
}

/// Whether a recipient with this outcome waits for another attempt.
fn tried_again(outcome: &Outcome, life: Life) -> bool {
    match outcome {
        Outcome::Done(_) | Outcome::Never(_) => false,
        Outcome::Later(_) => !life.over,
        Outcome::Hold(_) => true,
    }
}

/// Logs and counts the outcomes.
fn tell(
    service: &Service,
    next: Next,
    attempt: &Attempt,
    outcomes: &[(usize, Outcome)],
    life: Life,
    wait: Duration,
) {
    let way = service.way_name(next);
    let mut counts = service.counts.get();
    for (at, outcome) in outcomes {
        let Some(recipient) = attempt.message.stored.accept.envelope.recipients.get(*at) else {
            continue;
        };
        let (id, to, way) = (attempt.id, &recipient.address.to_string(), &way);
        let why = &outcome.reason().to_string();
        match outcome {
            // Sent on, and told so.
            Outcome::Done(_) if next == Next::Directory => {}
            Outcome::Done(_) => {
                counts.delivered = counts.delivered.wrapping_add(1);
                emit(&Event::Delivered {
                    id,
                    to,
                    way,
                    reply: why,
                });
            }
            _ if !tried_again(outcome, life) => {
                counts.failed = counts.failed.wrapping_add(1);
                emit(&Event::Failed { id, to, way, why });
            }
            _ => {
                counts.deferred = counts.deferred.wrapping_add(1);
                emit(&Event::Deferred {
                    id,
                    to,
                    way,
                    why,
                    wait_secs: wait.as_secs(),
                });
            }
        }
    }
    service.counts.set(counts);
}

/// What a session tells of a way that failed before any transaction: the way waits as a whole, what has expired
/// meanwhile is given up, and who waits for long is told.
pub async fn way_failed(service: &Rc<Service>, next: Next, held: bool, why: &Reason) {
    let live = service.live();
    service.watch_clock();
    let chance = random::chance();
    let text = why.to_string();
    let before = {
        let mut ways = service.ways.borrow_mut();
        let health = &ways.way(next).health;
        (health.down_for(service.now()).is_some(), health.is_held())
    };
    if before.1 && !held {
        service.spare(next);
    }
    let (wait, mut gone) = service.ways.borrow_mut().on_failure(
        next,
        service.now(),
        &live.config.delivery.waits,
        chance,
        held,
        &text,
    );
    let (way, wait_secs) = (&service.way_name(next), wait.as_secs());
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
    if before != (true, held) {
        // Each probe is an event; that it still fails is no news for a program.
        let on = if held { On::Held } else { On::Down };
        hooks::way(service, on, way, why_text);
    }
    service.health.ring();
    // What waits for this way waits longer than its owner wants it to be in memory alone.
    service.journal.hurry_memory();
    service.memory.ring();
    let late = match live.config.delivery.delay_notice {
        Some(notice) if !held => {
            let left = live.expire(next).saturating_sub(notice);
            service
                .ways
                .borrow_mut()
                .take_late(next, service.now(), left)
        }
        _ => Vec::new(),
    };
    // Off the schedule they are in our hands, all of them from now on: a reload would else put them on ways, too.
    for waiting in gone.iter().chain(&late) {
        service.active.borrow_mut().enter(waiting.id);
    }
    for waiting in late {
        if !attempt::tells_nobody(service, waiting.id).await {
            gone.push(waiting);
        } else if service.leave(waiting.id) {
            service.ways.borrow_mut().add(next, waiting);
        }
    }
    for waiting in gone {
        late_or_expired(service, next, waiting, why).await;
        service.leave(waiting.id);
    }
}
