//! Sends what is held for a host over the connection that it turned around (ATRN).

use std::rc::Rc;

use crate::config::model::Peer;
use crate::mail::Domain;
use crate::net::Stream;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::conclude;
use crate::service::connect;
use crate::service::conversation::Conversation;
use crate::service::conversation::Unsent;
use crate::service::secure::Plan;
use crate::service::shared::Service;
use crate::service::targets::Target;
use crate::smtp::client::Client;
use crate::smtp::client::settings;
use crate::smtp::client::settings::StartTls;
use crate::smtp::outcome::Role;

/// Sends what is held for these domains over a connection that their host opened and turned around (RFC 2645 s4): it
/// is the server from now on, and greets. `peer` is that host, as `name [address]`. What it does not take is held on.
///
/// Whether it may have that mail, and whether there is any ([`Service::held`]), is for the caller to know.
pub async fn turned(service: &Rc<Service>, domains: &[Domain], stream: Stream, peer: &str) {
    let live = service.live();
    let mut ways: Vec<Next> = domains.iter().map(|domain| live.next(domain)).collect();
    ways.retain(|next| next.is_held());
    ways.sort_unstable();
    ways.dedup();
    let fetch = Fetch::begin(service, ways);
    let mut rest = fetch.ways.clone();
    let first = loop {
        let Some(next) = rest.pop() else { return };
        if let Some(attempt) = attempt::take(service, next).await {
            break (next, attempt);
        }
    };
    let (next, attempt) = first;
    let (Some(out), Some(domain)) = (live.out(next), attempt.domain().cloned()) else {
        return attempt::give_back(service, next, attempt);
    };
    let target = Target {
        peer: Peer {
            name: domain,
            port: 0,
            socket: None,
            implicit_tls: false,
        },
        role: Role::Exchanger,
        addresses: Vec::new(),
        place: None,
    };
    let settings = settings::Settings {
        starttls: StartTls::Never,
        proved: false,
        ..connect::talker(&out.route, Role::Exchanger, peer.to_owned())
    };
    peer.clone_into(&mut service.ways.borrow_mut().way(next).host);
    let mut client = Client::new(settings, stream.is_tls(), connect::nonce());
    let plan = Plan::never(out);
    let conversation =
        Conversation::new(service, (&live, out), next, &target, &plan).for_all_of(rest);
    let unsent = conversation.run(stream, &mut client, attempt).await;
    if let Some(Unsent::Refused(attempt, outcome)) = unsent {
        let next = conversation.next();
        attempt::give_back(service, next, attempt);
        conclude::way_failed(service, next, false, outcome.reason()).await;
    }
}

/// Ways whose mail is being fetched, until this goes.
struct Fetch {
    service: Rc<Service>,
    ways: Vec<Next>,
}

impl Fetch {
    fn begin(service: &Rc<Service>, ways: Vec<Next>) -> Self {
        for next in &ways {
            service.ways.borrow_mut().fetch(*next, service.now());
        }
        Self {
            service: Rc::clone(service),
            ways,
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        for next in &self.ways {
            let now = self.service.now();
            self.service.ways.borrow_mut().end_fetch(*next, now);
        }
        self.service.due.ring();
    }
}
