//! Sends what is due on a way: one host after the other is tried until one takes the session.

use std::rc::Rc;

use crate::base::limits;
use crate::mail::Domain;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::conclude;
use crate::service::connect;
use crate::service::conversation::Conversation;
use crate::service::conversation::Unsent;
use crate::service::event::Event;
use crate::service::live::Live;
use crate::service::live::Out;
use crate::service::log::emit;
use crate::service::secure;
use crate::service::shared::Service;
use crate::service::targets::End;
use crate::service::targets::Failed;
use crate::service::targets::Target;
use crate::service::targets::Targets;

/// Sends what is due on a way, until nothing is. One host after the other is tried until one takes the session.
pub async fn session(service: &Rc<Service>, next: Next) {
    // A session without a message is a connection for nothing.
    let Some(attempt) = attempt::take(service, next).await else {
        return;
    };
    let live = service.live();
    let (Some(out), Some(domain)) = (live.out(next), attempt.domain().cloned()) else {
        // A reload has taken the route away; rerouting will put the message elsewhere.
        attempt::give_back(service, next, attempt);
        return;
    };
    let mut targets = Targets::new(service, out, &domain);
    let mut first = attempt;
    // What the last host said that put the first message off, and how many have.
    let (mut put_off, mut sessions) = (None, 0_usize);
    loop {
        let target = match (targets.next().await, put_off.take()) {
            (Ok(target), said) => {
                put_off = said;
                target
            }
            // Some host was well: it is the message that waits, not the way.
            (Err(_), Some(outcomes)) => return later(service, next, first, outcomes).await,
            (Err(End::Never(reason)), None) => return never(service, next, first, reason).await,
            (Err(End::Failed(failed)), None) => {
                attempt::give_back(service, next, first);
                return conclude::way_failed(service, next, failed.held, &failed.reason).await;
            }
        };
        sessions = sessions.saturating_add(1);
        let others = sessions < limits::HOSTS_TRIED && targets.may_have_more();
        match host(service, &live, out, next, (&target, &domain, others), first).await {
            None => return,
            Some(Rest::PutOff(attempt, outcomes)) => {
                if let Some(outcome) = outcomes.first() {
                    let reason = outcome.reason().clone();
                    let failed = Failed {
                        held: false,
                        reason,
                    };
                    passed_over(service, next, &target, &failed);
                }
                put_off = Some(outcomes);
                first = attempt;
            }
            Some(Rest::Unsent {
                attempt,
                failed,
                last,
            }) => {
                if !last {
                    passed_over(service, next, &target, &failed);
                    targets.on_failure(failed);
                    first = attempt;
                    continue;
                }
                if let Some(outcomes) = put_off.take() {
                    passed_over(service, next, &target, &failed);
                    return later(service, next, attempt, outcomes).await;
                }
                attempt::give_back(service, next, attempt);
                return conclude::way_failed(service, next, failed.held, &failed.reason).await;
            }
        }
    }
}

/// No host takes the message now.
async fn later(service: &Rc<Service>, next: Next, attempt: Attempt, outcomes: Vec<Outcome>) {
    let places = attempt.recipients.clone();
    let outcomes = places.into_iter().zip(outcomes).collect();
    conclude::conclude(service, next, attempt, outcomes).await;
}

/// Says why another host is tried; what the last one of a way came to is told of the way as a whole.
fn passed_over(service: &Service, next: Next, target: &Target, failed: &Failed) {
    emit(&Event::HostFailed {
        way: &service.way_name(next),
        host: &format!("{}:{}", target.peer.name, target.peer.port),
        why: &failed.reason.to_string(),
    });
}

/// What a host did not take.
enum Rest {
    /// Anything.
    Unsent {
        attempt: Attempt,
        failed: Failed,
        /// Another host would do no better.
        last: bool,
    },
    /// The first message, for now.
    PutOff(Attempt, Vec<Outcome>),
}

/// Sends what is due to one host, while there may be `others`; once more without TLS when that is allowed and TLS does not
/// work.
async fn host(
    service: &Rc<Service>,
    live: &Live,
    out: &Out,
    next: Next,
    (target, domain, others): (&Target, &Domain, bool),
    mut attempt: Attempt,
) -> Option<Rest> {
    let wish = attempt.message.stored.accept.envelope.tls;
    let unsent = |attempt, failed| {
        Some(Rest::Unsent {
            attempt,
            failed,
            last: false,
        })
    };
    let mut plan = match secure::plan(service, live, out, (target, domain), wish).await {
        Ok(plan) => plan,
        Err(failed) => return unsent(attempt, failed),
    };
    loop {
        let (stream, mut client, name) = match connect::connect(service, out, target, &plan).await {
            Ok(open) => open,
            Err(failed) => return unsent(attempt, failed),
        };
        service.ways.borrow_mut().way(next).host = name;
        let conversation = Conversation::new(service, (live, out), next, target, &plan);
        let conversation = conversation.with_others(others);
        let outcome;
        (attempt, outcome) = match conversation.run(stream, &mut client, attempt).await? {
            Unsent::Refused(attempt, outcome) => (attempt, outcome),
            Unsent::PutOff(attempt, outcomes) => return Some(Rest::PutOff(attempt, outcomes)),
        };
        if conversation.is_broken() && plan.or_without {
            plan = plan.without(out);
            continue;
        }
        let held = matches!(outcome, Outcome::Hold(_));
        let reason = outcome.reason().clone();
        return Some(Rest::Unsent {
            attempt,
            failed: Failed { held, reason },
            // Another host would get the same password: one login for each step of the waits (promise G3).
            last: held && client.has_tried_login(),
        });
    }
}

/// What waits on the way cannot be delivered: its domain takes no mail.
async fn never(service: &Rc<Service>, next: Next, first: Attempt, reason: Reason) {
    let mut more = Some(first);
    while let Some(attempt) = more {
        let all = attempt.recipients.iter();
        let outcomes = all.map(|&at| (at, Outcome::Never(reason.clone())));
        let outcomes = outcomes.collect();
        conclude::conclude(service, next, attempt, outcomes).await;
        more = attempt::take(service, next).await;
    }
}
