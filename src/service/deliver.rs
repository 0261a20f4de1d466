//! Opens sessions on the ways as they allow, until the service ends.
//!
//! A session ([`crate::service::relay`], [`crate::service::dropping`] or the directory's) takes one message after the other from
//! [`crate::service::attempt`] and gives each to [`crate::service::conclude`]. A message is in exactly one of three
//! places: in the schedule, in a session, or gone from the journal.

use std::rc::Rc;

use smol::future;

use crate::net::within::Patience;
use crate::policy::route::Next;
use crate::service::conclude;
use crate::service::dropping;
use crate::service::fair;
use crate::service::relay;
#[cfg(feature = "ldap")]
use crate::service::resolving;
use crate::service::shared::Service;

/// Opens sessions whenever something is due, until the service ends.
pub async fn dispatch(service: Rc<Service>) {
    let mut patience = Patience::new();
    while !service.ending.has_begun() {
        let now = service.now();
        let live = service.live();
        let pace = |route| live.pace(route);
        let (wishes, open) = {
            let mut ways = service.ways.borrow_mut();
            let wishes = ways.wanted(now, |next| live.sessions(next), pace);
            (wishes, ways.open())
        };
        // Those that have none and have not failed.
        let waits = wishes.iter().filter(|wish| wish.open == 0 && !wish.probe);
        let waits: Vec<Next> = waits.map(|wish| wish.next).collect();
        let most = usize::try_from(live.config.delivery.connections).unwrap_or(1);
        let given = fair::share(wishes, open, |route| live.sessions_total(route), most);
        let crowded = waits.iter().any(|next| !given.contains(next));
        service.ways.borrow_mut().set_crowded(crowded);
        for next in given {
            service.ways.borrow_mut().begin(next);
            let task = session(Rc::clone(&service), next);
            service.tasks.spawn(task).detach();
        }
        let unfetched = service.ways.borrow_mut().take_unfetched(now);
        if !unfetched.is_empty() {
            for (_, waiting) in &unfetched {
                service.active.borrow_mut().enter(waiting.id);
            }
            let held = Rc::clone(&service);
            let task = async move { conclude::unfetched(&held, unfetched).await };
            service.tasks.spawn(task).detach();
        }
        let wakes = service.ways.borrow().wakes(now, pace);
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
        #[cfg(feature = "ldap")]
        Next::Directory => resolving::session(&service).await,
        // Nothing waits there without one.
        #[cfg(not(feature = "ldap"))]
        Next::Directory => {}
        Next::Drop(at) => dropping::session(&service, at).await,
        Next::Route(_) | Next::Domain(..) | Next::Held(..) => {
            relay::session(&service, next).await;
        }
    }
    service.ways.borrow_mut().end(next, service.now());
    service.due.ring();
    service.idle.ring();
}
