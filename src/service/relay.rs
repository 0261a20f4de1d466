//! Sends what is due on a way: one host after the other is tried until one takes the session.

use std::rc::Rc;

use crate::mail::Domain;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::conclude;
use crate::service::connect;
use crate::service::conversation::Conversation;
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
    loop {
        let target = match targets.next().await {
            Ok(target) => target,
            Err(End::Never(reason)) => return never(service, next, first, reason).await,
            Err(End::Failed(failed)) => {
                attempt::give_back(service, next, first);
                return conclude::way_failed(service, next, failed.held, &failed.reason).await;
            }
        };
        match host(service, &live, out, next, (&target, &domain), first).await {
            None => return,
            Some(Unsent {
                attempt,
                failed,
                last,
            }) => {
                if last {
                    attempt::give_back(service, next, attempt);
                    return conclude::way_failed(service, next, failed.held, &failed.reason).await;
                }
                passed_over(service, next, &target, &failed);
                targets.on_failure(failed);
                first = attempt;
            }
        }
    }
}

/// Says why another host is tried; what the last one of a way came to is told of the way as a whole.
fn passed_over(service: &Service, next: Next, target: &Target, failed: &Failed) {
    emit(&Event::HostFailed {
        way: &service.way_name(next),
        host: &format!("{}:{}", target.peer.name, target.peer.port),
        why: &failed.reason.to_string(),
    });
}

/// A host took nothing.
struct Unsent {
    attempt: Attempt,
    failed: Failed,
    /// Another host would do no better.
    last: bool,
}

/// Sends what is due to one host; once more without TLS when that is allowed and TLS does not work.
async fn host(
    service: &Rc<Service>,
    live: &Live,
    out: &Out,
    next: Next,
    (target, domain): (&Target, &Domain),
    mut attempt: Attempt,
) -> Option<Unsent> {
    let wish = attempt.message.stored.accept.envelope.tls;
    let unsent = |attempt, failed| {
        Some(Unsent {
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
        let (stream, client, name) = match connect::connect(service, out, target, &plan).await {
            Ok(open) => open,
            Err(failed) => return unsent(attempt, failed),
        };
        service.ways.borrow_mut().way(next).host = name;
        let conversation = Conversation::new(service, (live, out), next, target, &plan);
        let outcome;
        (attempt, outcome) = conversation.run(stream, client, attempt).await?;
        if conversation.is_broken() && plan.or_without {
            plan = plan.without(out);
            continue;
        }
        // Another host would get the same password: one login for each step of the waits (promise G3).
        let held = matches!(outcome, Outcome::Hold(_));
        let reason = outcome.reason().clone();
        return Some(Unsent {
            attempt,
            failed: Failed { held, reason },
            last: held,
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
