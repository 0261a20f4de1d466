//! What becomes of a message once it is durable: it goes on its ways, perhaps after programs of the owner have seen it.
//!
//! Whoever sent it has its yes by then or soon, and waits for no program. While one runs the message is on no way, and
//! other mail goes on. A program that ends with `REFUSED` has the message returned to its sender, or put into badmail
//! when it has none. With any other end it goes on; so it does when the program is missing, fails or takes too long (its turn
//! may take as long again), when too many messages wait for it, and when the service was started anew meanwhile: a broken program costs no mail
//! (promise G3), and nobody should take it for a lock.

use std::rc::Rc;

use crate::base::MsgId;
use crate::config::hooks::On;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::policy::route::Next;
use crate::queue::schedule::Waiting;
use crate::service::attempt;
use crate::service::conclude;
use crate::service::hooks;
use crate::service::hooks::Facts;
use crate::service::intake::Taken;
use crate::service::shared::Service;

/// EX_DATAERR of sysexits.h: the message is at fault.
const REFUSED: i32 = 65;

/// Puts a message that was just taken in on its ways, when the programs that want to see it first have.
pub fn arrived(service: &Rc<Service>, taken: Taken) {
    let live = service.live();
    if !cfg!(feature = "hooks") || !live.hooks.iter().any(|hook| hook.wants(On::Arrival)) {
        return service.schedule(taken.id, &taken.ways);
    }
    // It stays in our hands meanwhile, so nobody else puts it on its ways.
    let for_task = Rc::clone(service);
    let seeing = async move {
        let refused = ask(&for_task, taken.id).await;
        go_on(&for_task, taken, refused).await;
    };
    service.tasks.spawn(Box::pin(seeing)).detach();
}

/// Has each program see it; why it is refused, if it is.
async fn ask(service: &Rc<Service>, id: MsgId) -> Option<Reason> {
    let live = service.live();
    let envelope = service.journal.load(id).await.ok()?.stored.accept.envelope;
    let facts = Facts::message(service, On::Arrival, id, &envelope);
    for hook in live.hooks.iter().filter(|hook| hook.wants(On::Arrival)) {
        // Read in its turn: a thousand that wait hold no bodies.
        let body = async || {
            service
                .journal
                .load(id)
                .await
                .ok()
                .map(|message| message.body)
        };
        let place = (&service.worker, service.folders.home.as_path());
        let ended = hooks::run(place, hook, &facts, body).await;
        if let Some(ended) = ended.filter(|ended| ended.code == REFUSED) {
            let text = match ended.said.as_str() {
                "" => String::from("refused by a program of this host"),
                said => format!("refused: {said}"),
            };
            return Some(Reason::ours(Status::new(5, 7, 1), text));
        }
    }
    None
}

async fn go_on(service: &Rc<Service>, taken: Taken, refused: Option<Reason>) {
    let id = taken.id;
    let Ok(message) = service.journal.load(id).await else {
        // Removed meanwhile; or it cannot be read, and whoever tries it finds out and says so.
        return service.schedule(id, &taken.ways);
    };
    let Some(reason) = refused.filter(|_| !service.journal.is_held(id)) else {
        // What is held is put on its ways by its release.
        if service.leave(id) {
            service.schedule_stored(id, &message.stored);
        }
        return;
    };
    let live = service.live();
    let envelope = &message.stored.accept.envelope;
    let all = envelope.recipients.iter();
    let mut ways: Vec<Next> = all.map(|to| live.next(to.address.domain())).collect();
    ways.sort_unstable();
    ways.dedup();
    for next in ways {
        let due = service.now();
        let expires = due.after(live.expire(next));
        let waiting = Waiting { due, id, expires };
        if let Some(attempt) = attempt::load(service, next, waiting).await {
            let all = attempt.recipients.iter();
            let outcomes = all.map(|&at| (at, Outcome::Never(reason.clone())));
            let outcomes = outcomes.collect();
            conclude::conclude(service, next, attempt, outcomes).await;
        }
    }
    service.leave(id);
}
