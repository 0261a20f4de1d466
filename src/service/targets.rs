//! The hosts that a session tries, one after the other, until one takes it: those named in the route, or the mail
//! exchangers of the domain.
//!
//! Exchangers are looked up preference by preference, so that a domain whose first one answers costs one look-up.
//! Trust: what they are called and where they are is said by whoever runs the domain. An address of a private network
//! is not connected to unless the route allows it, and mail never goes back to this host (RFC 5321 s5.1).

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::config::model::Peer;
use crate::config::model::Via;
use crate::dns::LookupError;
use crate::dns::Mx;
use crate::dns::mx;
use crate::mail::Domain;
use crate::mail::Reason;
use crate::mail::Status;
use crate::net::local;
use crate::net::random;
use crate::service::live::Out;
use crate::service::shared::Service;
use crate::smtp::outcome::Role;

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name and port.
    pub peer: Peer,
    /// Configured, or found in DNS.
    pub role: Role,
    /// Its addresses; empty when they are still to be looked up.
    pub addresses: Vec<IpAddr>,
    /// Its place among the hosts named in the route.
    pub place: Option<usize>,
}

/// Why there is no further host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All were tried, or cannot be.
    Failed(Failed),
    /// The domain takes no mail, or is none: nothing that is tried again can help.
    Never(Reason),
}

/// Why nothing can be sent now, and whether the setup is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// It is: no message expires over it.
    pub held: bool,
    /// Why.
    pub reason: Reason,
}

impl Failed {
    /// The peer or the network is at fault: `4.4.detail`.
    pub fn later(detail: u16, text: String) -> Self {
        Self {
            held: false,
            reason: Reason::ours(Status::new(4, 4, detail), text),
        }
    }

    /// The setup is at fault: `4.subject.detail`.
    pub fn hold(subject: u16, detail: u16, text: String) -> Self {
        Self {
            held: true,
            reason: Reason::ours(Status::new(4, subject, detail), text),
        }
    }
}

/// The hosts of one session.
pub struct Targets<'a> {
    service: &'a Service,
    out: &'a Out,
    domain: Domain,
    /// Ready to be tried.
    ready: VecDeque<Target>,
    stage: Stage,
    /// Why the last one was not to be had.
    last: Option<Failed>,
    /// Why there is no exchanger, when that cannot change soon.
    none: Option<Reason>,
}

/// What comes after those that are ready.
#[derive(Debug)]
enum Stage {
    /// The exchangers of the domain, not looked up yet.
    Exchangers,
    /// The rest of them, best first.
    Rest(Vec<Mx>),
    /// The hosts named in the route.
    Named,
    /// Nothing.
    Over,
}

impl<'a> Targets<'a> {
    /// The hosts for mail to this domain over this route.
    pub fn new(service: &'a Service, out: &'a Out, domain: &Domain) -> Self {
        let stage = match out.route.via {
            Via::SmartHost | Via::Lmtp => Stage::Named,
            Via::Hold if !out.route.hosts.is_empty() => Stage::Named,
            Via::Mx | Via::MxThenSmartHost | Via::Hold => Stage::Exchangers,
        };
        Self {
            service,
            out,
            domain: domain.clone(),
            ready: VecDeque::new(),
            stage,
            last: None,
            none: None,
        }
    }

    /// A host that was given could not be had: why. A fault of the setup counts before what may be a matter of minutes, so
    /// that no message expires over it (promise G3).
    pub fn on_failure(&mut self, failed: Failed) {
        if failed.held || !self.last.as_ref().is_some_and(|last| last.held) {
            self.last = Some(failed);
        }
    }

    /// Whether there may be a further host.
    pub fn may_have_more(&self) -> bool {
        let named = self.out.route.via == Via::MxThenSmartHost;
        !self.ready.is_empty()
            || match &self.stage {
                Stage::Exchangers | Stage::Named => true,
                Stage::Rest(rest) => !rest.is_empty() || named,
                Stage::Over => false,
            }
    }

    /// The next host to try, or how it ends.
    pub async fn next(&mut self) -> Result<Target, End> {
        loop {
            if let Some(target) = self.ready.pop_front() {
                return Ok(target);
            }
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Exchangers if cfg!(feature = "mx") => self.exchangers().await?,
                Stage::Rest(rest) if cfg!(feature = "mx") => self.group(rest).await?,
                Stage::Named => self.named(),
                Stage::Exchangers | Stage::Rest(_) | Stage::Over => return Err(self.end()),
            }
        }
    }

    fn end(&mut self) -> End {
        if let Some(failed) = self.last.take() {
            return End::Failed(failed);
        }
        match self.none.take() {
            Some(reason) => End::Never(reason),
            None => End::Failed(Failed::hold(3, 5, String::from("the route has no host"))),
        }
    }

    /// The hosts named in the route: first the one that stands in for those before it, while it is kept.
    fn named(&mut self) {
        let first = self.out.stand_in.get().first(self.service.now());
        let named = self.out.route.hosts.iter().enumerate();
        let mut all: Vec<(usize, &Peer)> = named.collect();
        // Stable: the others keep their order.
        all.sort_by_key(|(at, _)| *at != first);
        self.ready
            .extend(all.into_iter().map(|(place, peer)| Target {
                peer: peer.clone(),
                role: Role::SmartHost,
                addresses: Vec::new(),
                place: Some(place),
            }));
    }

    /// What comes when the exchangers end in this way: the named hosts, if they are there for that.
    fn or_named(&mut self, end: End) -> Result<(), End> {
        if self.out.route.via != Via::MxThenSmartHost {
            return Err(end);
        }
        self.stage = Stage::Named;
        Ok(())
    }

    async fn exchangers(&mut self) -> Result<(), End> {
        match self.service.resolver.mx(&self.domain).await {
            Ok(found) => self.stage = Stage::Rest(found.list),
            Err(LookupError::NullMx(domain)) => {
                // RFC 7505 s4.1. The named hosts could do no better.
                let text = format!("{domain} says that it takes no mail (null MX)");
                return Err(End::Never(Reason::ours(Status::new(5, 1, 10), text)));
            }
            Err(error) => {
                let end = match &error {
                    LookupError::Failed(..) => End::Failed(Failed::later(3, error.to_string())),
                    _ => End::Never(Reason::ours(Status::new(5, 1, 2), error.to_string())),
                };
                self.or_named(end)?;
            }
        }
        Ok(())
    }

    /// Makes the exchangers of the best preference ready.
    async fn group(&mut self, mut rest: Vec<Mx>) -> Result<(), End> {
        let Some(best) = rest.iter().map(|mx| mx.preference).min() else {
            if self.out.route.via == Via::MxThenSmartHost {
                self.stage = Stage::Named;
            }
            return Ok(());
        };
        let (group, later): (Vec<Mx>, Vec<Mx>) =
            rest.drain(..).partition(|mx| mx.preference == best);
        let port = self.out.route.mx_port;
        let mut found = Vec::new();
        for host in mx::order(group, random::below) {
            match self.service.resolver.addresses(&host).await {
                Ok(addresses) if self.service.is_us(&host, &addresses, port) => {
                    return self.stop_at_us(&host);
                }
                Ok(addresses) => found.push((host, addresses)),
                Err(error) => self.unknown(&host, &error),
            }
        }
        for (host, addresses) in found {
            self.ready_if_public(host, addresses);
        }
        self.stage = Stage::Rest(later);
        Ok(())
    }

    /// This host is among the exchangers: those that are not better than it are none for us (RFC 5321 s5.1).
    fn stop_at_us(&mut self, host: &Domain) -> Result<(), End> {
        self.none = None;
        if self.last.is_some() {
            // Better ones were tried; they will be back.
            return match self.last.take() {
                Some(failed) => self.or_named(End::Failed(failed)),
                None => Ok(()),
            };
        }
        let domain = &self.domain;
        let text = format!(
            "the best mail exchanger of {domain} is this host ({host}), so mail to it would come back; write \
             {domain} into local.domains, or give it a [[route]] of its own"
        );
        self.or_named(End::Failed(Failed::hold(4, 6, text)))
    }

    /// The addresses of an exchanger are not known.
    fn unknown(&mut self, host: &Domain, error: &LookupError) {
        if !error.is_permanent() {
            self.last = Some(Failed::later(3, error.to_string()));
            return;
        }
        // RFC 5321 s5.1: records of which none can be used are an error.
        let text = if *host == self.domain {
            format!("{error}, and no mail exchanger")
        } else {
            format!(
                "the mail exchanger of {} leads nowhere: {error}",
                self.domain
            )
        };
        self.none = Some(Reason::ours(Status::new(5, 4, 4), text));
    }

    fn ready_if_public(&mut self, host: Domain, mut addresses: Vec<IpAddr>) {
        if !self.out.route.private_addresses {
            addresses.retain(|ip| !local::is_private(*ip));
        }
        if addresses.is_empty() {
            let text = format!(
                "the mail exchanger {host} has an address of a private network or of this host only; if that is \
                 meant, write private_addresses = true in the route"
            );
            self.last = Some(Failed::later(4, text));
            return;
        }
        let route = &self.out.route;
        self.ready.push_back(Target {
            peer: Peer {
                name: host,
                port: route.mx_port,
                socket: None,
                implicit_tls: false,
            },
            role: Role::Exchanger,
            addresses,
            place: None,
        });
    }
}

impl Target {
    /// A session with this host got as far as a transaction.
    pub fn on_success(&self, service: &Service, out: &Out) {
        if let Some(place) = self.place {
            let mut stand_in = out.stand_in.get();
            stand_in.on_success(place, service.now());
            out.stand_in.set(stand_in);
        }
    }
}
