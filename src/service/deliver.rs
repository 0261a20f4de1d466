//! Opens sessions on the ways as they allow, until the service ends.
//!
//! A session ([`crate::service::relay`] or [`crate::service::dropping`]) takes one message after the other from
//! [`crate::service::attempt`] and gives each to [`crate::service::conclude`]. A message is in exactly one of three
//! places: in the schedule, in a session, or gone from the journal.

use std::rc::Rc;

use smol::future;

use crate::net::within::Patience;
use crate::policy::route::Next;
use crate::service::dropping;
use crate::service::relay;
use crate::service::shared::Service;

/// Opens sessions whenever something is due, until the service ends.
pub async fn dispatch(service: Rc<Service>) {
    let mut patience = Patience::new();
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
                // That time is up is a reason to look, as a ring is.
                let _ = patience.wait(at.since(now), heard).await;
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
