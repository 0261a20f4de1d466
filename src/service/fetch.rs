//! Mail that is held until its host asks for it: ETRN sends it to the hosts of the route (RFC 1985), ATRN over the
//! connection of who asks (RFC 2645). ETRN gives nothing to who asks for it, so an address may be enough for it; ATRN
//! hands the mail over, so it takes a login that the route names.

use std::rc::Rc;

use crate::config::model::Via;
use crate::mail::Domain;
use crate::net::Stream;
use crate::policy::route::Next;
use crate::service::event::Event;
use crate::service::gate::Client;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::shared::Service;
use crate::service::turned;
use crate::smtp::fault::Fault;
use crate::smtp::server::Started;
use crate::smtp::server::settings::Session;

/// Whether the route of this way names who has logged in.
fn is_named(live: &Live, next: Next, session: &Session) -> bool {
    let (Some(out), Some(login)) = (live.out(next), &session.login) else {
        return false;
    };
    next.is_held() && out.route.fetched_by.contains(login)
}

/// Starts the queue of a domain, with `below` of its subdomains too.
pub fn etrn(
    service: &Service,
    who: Client,
    session: &Session,
    domain: &Domain,
    below: bool,
) -> Result<Started, Fault> {
    // Not that of the connection: the ways are counted anew by a reload.
    let live = service.live();
    let next = live.next(domain);
    let known = who.trusted || live.config.access.etrn.contain(who.ip);
    let may = |next: Next| next.is_own() && (known || is_named(&live, next, session));
    let queues: Vec<(Next, Domain)> = if below {
        let ways = service.ways.borrow();
        let inside = |of: &Domain| of == domain || of.is_below(domain.as_str());
        let all = ways.domains().filter(|(next, of)| inside(of) && may(*next));
        all.map(|(next, of)| (next, of.clone())).collect()
    } else {
        vec![(next, domain.clone())]
    };
    // With `below` the domain itself need have no queue; that nobody may start any is for strangers only.
    if queues.iter().any(|(next, _)| !may(*next)) || (queues.is_empty() && !known) {
        emit(&Event::Refused {
            door: "smtp",
            origin: &who.ip.to_string(),
            why: &format!(
                "ETRN {domain}: it has no queue of its own, or neither access.etrn nor route.fetched_by names this client"
            ),
        });
        return Err(Fault::NodeNotAllowed);
    }
    let (mut messages, mut under_way, mut soon) = (0_usize, false, false);
    for (next, domain) in &queues {
        let waiting = service.ways.borrow().len(*next);
        if service.ways.borrow().is_taken(*next) {
            under_way = true;
        } else if waiting > 0 {
            let now = service.now();
            if service.triggers.borrow_mut().take(who.ip, domain, now) {
                messages = messages.saturating_add(service.release(domain, false));
            } else {
                soon = true;
            }
        }
    }
    if messages > 0 {
        tell(who, session, "ETRN", domain, messages);
    }
    match (messages, under_way, soon) {
        (0, false, false) => Ok(Started::Nothing),
        (0, true, _) => Ok(Started::Pending),
        (0, false, true) => Err(Fault::NodeTooSoon),
        (count, ..) if queues.iter().all(|(next, _)| next.is_held()) => {
            Ok(Started::Messages(count))
        }
        // Some of it was to be tried again anyway.
        _ => Ok(Started::Queue),
    }
}

fn tell(who: Client, session: &Session, by: &str, domain: &Domain, messages: usize) {
    emit(&Event::Fetched {
        client: &who.ip.to_string(),
        user: session.login.as_deref().unwrap_or_default(),
        by,
        domain: domain.as_str(),
        messages,
    });
}

/// Held mail that is somebody's for now. What was not taken is held again when this is dropped.
pub struct Fetch {
    service: Rc<Service>,
    /// The ways, each with its domain.
    ways: Vec<(Next, Domain)>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let now = self.service.now();
        let mut ways = self.service.ways.borrow_mut();
        for (next, _) in &self.ways {
            ways.end_fetch(*next, now);
        }
        drop(ways);
        self.service.due.ring();
    }
}

/// Gives who has logged in the mail of these domains, or without any of all that are his.
pub fn atrn(
    service: &Rc<Service>,
    who: Client,
    session: &Session,
    domains: &[Domain],
) -> Result<Fetch, Fault> {
    let live = service.live();
    let mut all: Vec<(Next, Domain)> = Vec::new();
    if domains.is_empty() {
        let ways = service.ways.borrow();
        let mine = ways
            .domains()
            .filter(|(next, _)| is_named(&live, *next, session));
        all.extend(mine.map(|(next, of)| (next, of.clone())));
    }
    for domain in domains {
        let next = live.next(domain);
        if all.iter().all(|(known, _)| *known != next) {
            all.push((next, domain.clone()));
        }
    }
    let refused = |why: &str, fault| {
        emit(&Event::Refused {
            door: "smtp",
            origin: &who.ip.to_string(),
            why: &format!("ATRN: {why}"),
        });
        Err(fault)
    };
    let login = session.login.as_ref();
    let mut outs = live.outs.iter().filter(|out| out.route.via == Via::Hold);
    let has_any = login.is_some_and(|name| outs.any(|out| out.route.fetched_by.contains(name)));
    if !has_any || all.iter().any(|(next, _)| !is_named(&live, *next, session)) {
        return refused(
            "no route.fetched_by names this user for it",
            Fault::TurnRefused,
        );
    }
    let now = service.now();
    let mut ways = service.ways.borrow_mut();
    if all.iter().any(|(next, _)| ways.is_taken(*next)) {
        return refused("it is on its way to somebody already", Fault::TurnNotNow);
    }
    all.retain(|(next, _)| ways.len(*next) > 0);
    if all.is_empty() {
        return Err(Fault::NothingHeld);
    }
    for (next, domain) in &all {
        let messages = ways.fetch(*next, now);
        tell(who, session, "ATRN", domain, messages);
    }
    Ok(Fetch {
        service: Rc::clone(service),
        ways: all,
    })
}

/// Sends it, over the connection of who has fetched it.
pub async fn deliver(stream: Stream, who: Client, user: &str, fetch: Fetch) {
    let peer = format!("{user} [{}]", who.ip);
    let domains: Vec<Domain> = fetch.ways.iter().map(|(_, of)| of.clone()).collect();
    turned::turned(&fetch.service, &domains, stream, &peer).await;
}
