//! Turns the `[[route]]` sections into the routing table and its routes, and finds what is wrong between their keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use crate::config::endpoint::Host;
use crate::config::endpoint::Tls;
use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::config::model::Login;
use crate::config::model::Peer;
use crate::config::model::Proof;
use crate::config::model::Route;
use crate::config::model::Timeouts;
use crate::config::model::Via;
use crate::config::settings::Block;
use crate::config::settings::Settings;
use crate::mail::Domain;
use crate::policy::route::Pattern;
use crate::policy::route::Routes;
use crate::policy::route::Rule;
use crate::policy::route::Way;
use crate::smtp::sasl::mechanism;
use crate::smtp::sasl::mechanism::Mechanism;
use crate::smtp::sasl::mechanism::Mechanisms;
use crate::smtp::sasl::mechanism::Wants;

/// Reads the routes, and notes what is wrong with them.
pub struct RouteReader<'a> {
    /// Gets what is wrong.
    pub faults: &'a mut Vec<Fault>,
    /// What a route says in HELO when it has no name of its own.
    pub hostname: &'a Domain,
    /// Where relative paths begin.
    pub home: &'a Path,
}

impl RouteReader<'_> {
    /// The routing table, in which local domains have the drop folders with these numbers, and the routes that it names.
    /// `None` when schema and model disagree.
    pub fn routes(
        &mut self,
        settings: &Settings,
        local: BTreeMap<Domain, usize>,
    ) -> Option<(Routes, Vec<Route>)> {
        let block = settings.one("users")?;
        let users = block.get::<PathBuf>("file").is_some()
            || block.get::<bool>("directory").unwrap_or(false);
        let (mut rules, mut routes) = (Vec::<Rule>::new(), Vec::new());
        for block in settings.all("route") {
            let to: Vec<Pattern> = block.get("to")?;
            if to.is_empty() {
                self.blame(block.place_of("to"), Complaint::EmptyList("route.to"));
            }
            let known = |one| rules.iter().any(|rule| rule.to.contains(one));
            if to.iter().any(known) && !block.spoiled {
                self.blame(block.place_of("to"), Complaint::PatternTwice);
            }
            let at = routes.len();
            let (via, way) = match block.get::<&str>("via")? {
                "mx" => (Via::Mx, Way::Apart(at)),
                "lmtp" => (Via::Lmtp, Way::Together(at)),
                "mx-then-smart-host" => (Via::MxThenSmartHost, Way::Apart(at)),
                "hold" => (Via::Hold, Way::Hold(at)),
                "drop" => (Via::SmartHost, Way::Drop(0)),
                _ => (Via::SmartHost, Way::Together(at)),
            };
            if !cfg!(feature = "mx") && !matches!(via, Via::SmartHost | Via::Lmtp) {
                self.blame(block.place_of("via"), Complaint::NotBuilt("mx"));
            }
            if way == Way::Drop(0) {
                self.useless(block, "drop", |name| !matches!(name, "to" | "via"));
            } else {
                let route = self.route(block, via)?;
                if route.via != Via::Hold && !route.fetched_by.is_empty() {
                    self.useless(block, via.word(), |name| name == "fetched_by");
                } else if !route.fetched_by.is_empty() && !users {
                    self.blame(block.place_of("fetched_by"), Complaint::NoUsers);
                }
                routes.push(route);
            }
            rules.push(Rule { to, way });
        }
        Some((Routes::new(local, rules), routes))
    }

    /// Keys that mean nothing on a way of this kind.
    fn useless(&mut self, block: &Block, via: &'static str, is: impl Fn(&str) -> bool) {
        for entry in &block.entries {
            if is(entry.row.name()) {
                let complaint = Complaint::UselessWith(entry.row.key, via);
                self.blame(entry.place.clone(), complaint);
            }
        }
    }

    fn route(&mut self, block: &Block, via: Via) -> Option<Route> {
        let home = self.home;
        let implicit: Option<bool> = block.get("implicit_tls");
        let peer = |host: Host| {
            let guess = host.port == Some(465);
            let implicit_tls = implicit.unwrap_or(guess);
            let usual = match via {
                _ if implicit_tls => 465,
                Via::Hold => 25,
                Via::Lmtp => 24,
                Via::SmartHost | Via::Mx | Via::MxThenSmartHost => 587,
            };
            Peer {
                name: host.name,
                port: host.port.unwrap_or(usual),
                socket: host.socket,
                implicit_tls,
            }
        };
        let hosts = block.get::<Vec<Host>>("hosts")?;
        let near = |host: &Host| host.socket.is_some() || host.name.is_localhost();
        let tls = match via {
            // A mail store on this host has no certificate, and nobody listens in between.
            Via::Lmtp if block.entry("tls").is_none() && hosts.iter().all(near) => Tls::Off,
            _ => block.get("tls")?,
        };
        if !cfg!(feature = "mx") && matches!(tls, Tls::Dane | Tls::DaneOnly) {
            self.blame(block.place_of("tls"), Complaint::NotBuilt("mx"));
        }
        if via != Via::Lmtp && hosts.iter().any(|host| host.socket.is_some()) {
            self.blame(block.place_of("hosts"), Complaint::SocketWithoutLmtp);
        }
        // Few exchangers have a certificate that says their name, and their domain's owner did not promise one.
        let exchanger_tls = match via {
            Via::Mx if block.entry("tls").is_some() => tls,
            Via::Hold if block.entry("tls").is_some() && hosts.is_empty() => tls,
            _ => Tls::Dane,
        };
        let file = |name| block.get(name).map(|file: PathBuf| home.join(file));
        let identity = file("certificate").map(|chain| {
            let key = file("key").unwrap_or_else(|| chain.clone());
            (chain, key)
        });
        if identity.is_none() && block.entry("key").is_some() {
            self.blame(block.place_of("key"), Complaint::KeyAlone);
        }
        let route = Route {
            via,
            hosts: hosts.into_iter().map(peer).collect(),
            fetched_by: block.get("fetched_by")?,
            mx_port: block.get("mx_port")?,
            private_addresses: block.get("private_addresses")?,
            source: block.get("source")?,
            tls,
            exchanger_tls,
            mta_sts: block.get("mta_sts")?,
            identity,
            ca: file("ca"),
            login: login(block, home)?,
            connections: block.get("connections")?,
            connections_total: block
                .get::<u32>("connections_total")?
                .max(block.get("connections")?),
            messages_per_connection: block.get("messages_per_connection")?,
            messages_per_minute: block.or_off("messages_per_minute")?,
            expire: block.get("expire"),
            ehlo: block.get("ehlo")?,
            helo: block.get("helo").unwrap_or_else(|| self.hostname.clone()),
            timeouts: Timeouts {
                connect: block.get("connect_timeout")?,
                greeting: block.get("greeting_timeout")?,
                command: block.get("command_timeout")?,
                data: block.get("data_timeout")?,
                end: block.get("final_timeout")?,
            },
        };
        if !block.spoiled {
            self.check_route(block, &route);
        }
        Some(route)
    }

    /// What is wrong between the keys of a route.
    fn check_route(&mut self, block: &Block, route: &Route) {
        let weak = matches!(route.tls, Tls::Off | Tls::Opportunistic);
        let clear = route.tls == Tls::Off;
        let needs_hosts = matches!(route.via, Via::SmartHost | Via::MxThenSmartHost | Via::Lmtp);
        let families = |v4: bool| {
            let same = route.source.iter().filter(|ip| ip.is_ipv4() == v4);
            same.count()
        };
        if route.via == Via::Lmtp {
            self.useless(block, "lmtp", |name| name == "ehlo");
        }
        if route.via == Via::Mx {
            let of_hosts = [
                "hosts",
                "implicit_tls",
                "user",
                "password_file",
                "password_env",
                "token_file",
                "auth",
                "insecure_auth",
            ];
            self.useless(block, "mx", |name| of_hosts.contains(&name));
        }
        let password = ["password_file", "password_env", "token_file"];
        let password: Vec<_> = password
            .iter()
            .filter_map(|name| block.entry(name))
            .collect();
        let rules = [
            (
                needs_hosts && route.hosts.is_empty(),
                "hosts",
                Complaint::NoHosts,
            ),
            (
                families(true) > 1 || families(false) > 1,
                "source",
                Complaint::TwoSources,
            ),
            (
                !route.ehlo && (!weak || route.login.is_some()),
                "ehlo",
                Complaint::HeloCannot,
            ),
            (
                weak && route.hosts.iter().any(|host| host.implicit_tls),
                "implicit_tls",
                Complaint::ImplicitWithoutTls,
            ),
            (
                route.ca.is_some() && !matches!(route.tls, Tls::Verify | Tls::Dane),
                "ca",
                Complaint::UselessCa,
            ),
            (
                clear && route.login.as_ref().is_some_and(|login| !login.insecure),
                "user",
                Complaint::LoginInClear,
            ),
        ];
        for (wrong, name, complaint) in rules {
            if wrong {
                self.blame(block.place_of(name), complaint);
            }
        }
        match password.as_slice() {
            [_, second, ..] => self.blame(second.place.clone(), Complaint::TwoPasswords),
            [one] if route.login.is_none() => {
                self.blame(one.place.clone(), Complaint::PasswordWithoutUser);
            }
            _ => {}
        }
        if let Some(login) = &route.login {
            let (wants, with) = match login.proof {
                Proof::PasswordFile(_) | Proof::PasswordVariable(_) => {
                    (Wants::Password, "a password")
                }
                Proof::TokenFile(_) => (Wants::Token, "a token"),
                Proof::Certificate => (Wants::Certificate, "a certificate"),
            };
            let fits = |one: &&Mechanism| one.wants() == wants && login.only.has(**one);
            if login.proof == Proof::Certificate && route.identity.is_none() {
                self.blame(
                    block.place_of("auth"),
                    Complaint::ExternalWithoutCertificate,
                );
            }
            if !login.only.is_empty() && mechanism::ALL.iter().find(fits).is_none() {
                self.blame(block.place_of("auth"), Complaint::UselessAuth(with));
            }
        }
    }

    fn blame(&mut self, place: Place, complaint: Complaint) {
        self.faults.push(Fault { place, complaint });
    }
}

fn login(block: &Block, home: &Path) -> Option<Option<Login>> {
    let Some(user) = block.get("user") else {
        return Some(None);
    };
    let mut only = Mechanisms::default();
    for name in block.get::<Vec<&str>>("auth")? {
        only.add(Mechanism::named(name)?);
    }
    let path = |name| block.get(name).map(|file: PathBuf| home.join(file));
    let proof = if let Some(file) = path("password_file") {
        Proof::PasswordFile(file)
    } else if let Some(file) = path("token_file") {
        Proof::TokenFile(file)
    } else if let Some(name) = block.get("password_env") {
        Proof::PasswordVariable(name)
    } else if only == Mechanisms::of(&[Mechanism::External]) {
        Proof::Certificate
    } else {
        Proof::PasswordVariable("MAILROOT_PASSWORD".to_owned())
    };
    Some(Some(Login {
        user,
        proof,
        only,
        insecure: block.get("insecure_auth")?,
    }))
}
