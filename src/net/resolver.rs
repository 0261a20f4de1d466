//! Finds the addresses and mail exchangers of names: drives [`crate::dns::lookup`] over sockets.
//!
//! In this order: address literals, `localhost`, the hosts file, the cache, the name servers. Every query has its own
//! connected socket, so the kernel drops what other hosts send, and its own random id and port.
//!
//! Nothing is asked and no timer runs unless somebody waits for an answer.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use smol::future;

use crate::base::limits;
use crate::dns::cache::Cache;
use crate::dns::cache::Known;
use crate::dns::hosts;
use crate::dns::lookup;
use crate::dns::lookup::Lookup;
use crate::dns::lookup::LookupError;
use crate::dns::lookup::Order;
use crate::dns::lookup::Plan;
use crate::dns::message::Fault;
use crate::dns::message::Kind;
use crate::dns::message::Said;
use crate::dns::mx::Mx;
use crate::dns::reverse;
use crate::dns::tlsa::Tlsa;
use crate::mail::Domain;
use crate::net::clock;
use crate::net::random;
use crate::net::resolver::exchange::exchange;
use crate::net::resolver::system::ResolvConf;
use crate::net::resolver::system::System;
use crate::net::resolver::system::find_in_hosts;
use crate::net::within::within;

mod exchange;
mod system;

/// Where names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name servers, with port; when empty, those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take over one answer; by default what `resolv_conf` says, else five seconds.
    pub timeout: Option<Duration>,
    /// How often all servers are asked; by default what `resolv_conf` says, else twice.
    pub attempts: Option<u8>,
    /// `/etc/resolv.conf`. Read again when it changes; without one, or without a server in it, the name server is
    /// this box, as in the C library.
    pub resolv_conf: PathBuf,
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// Whether a name server on another host is believed when it says that DNSSEC vouches for an answer: anybody on
    /// the way there could say so. One on this host always is, and those of `resolv_conf` are when it says so
    /// (`options trust-ad`).
    pub trust_ad: bool,
}

/// Records of one kind, and how far they may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<T> {
    /// The records; whether there may be none depends on who was asked.
    pub list: Vec<T>,
    /// DNSSEC vouches for them, or for that there are none.
    pub authentic: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: None,
            attempts: None,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
            trust_ad: false,
        }
    }
}

/// The resolver of a service. Single-threaded, shared by `Rc`; several lookups may be under way at once.
#[derive(Debug)]
pub struct Resolver {
    settings: RefCell<Settings>,
    cache: RefCell<Cache>,
    resolv_conf: ResolvConf,
    /// The server that answered last is asked first, so that a dead one in front costs its timeout once.
    first: Cell<usize>,
}

impl Resolver {
    /// Nothing is read or asked yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: RefCell::new(settings),
            cache: RefCell::new(Cache::new()),
            resolv_conf: ResolvConf::default(),
            first: Cell::new(0),
        }
    }

    /// Asks by other settings from now on.
    pub fn apply(&self, settings: Settings) {
        self.settings.replace(settings);
        self.forget();
    }

    /// Forgets all answers: after a reload, or when the network has changed.
    pub fn forget(&self) {
        self.cache.borrow_mut().clear();
        self.resolv_conf.forget();
        self.first.set(0);
    }

    /// The addresses of a host, IPv6 first; one at least.
    pub async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, LookupError> {
        Ok(self.host(host).await?.list)
    }

    /// The same, and whether DNSSEC vouches for them: what stands in a file of this box or is a literal does not
    /// come from DNS, so nobody vouches for it.
    pub async fn host(&self, host: &Domain) -> Result<Records<IpAddr>, LookupError> {
        let local = |list| Records {
            list,
            authentic: false,
        };
        // A bare address is a good host name to `Domain`, and people write one where a host is asked for.
        if let Some(ip) = host.ip().or_else(|| host.as_str().parse().ok()) {
            return Ok(local(vec![ip]));
        }
        if let Some(known) = hosts::localhost(host.as_str()).or_else(|| self.in_hosts(host)) {
            return Ok(local(known));
        }
        let (v4, v6) = self.both(host).await?;
        // Of a kind that nobody could tell no address is used, so it takes nothing away.
        let vouched = |known: &Known| known.end.is_err() || known.authentic;
        let authentic = vouched(&v4) && vouched(&v6);
        let list = lookup::addresses(host, v4.end, v6.end)?;
        Ok(Records { list, authentic })
    }

    /// The mail exchangers of a domain in order of preference; the domain itself when it has none (RFC 5321 s5.1).
    /// Shuffle and cut them with [`crate::dns::mx`], then ask for their addresses.
    pub async fn mx(&self, domain: &Domain) -> Result<Records<Mx>, LookupError> {
        if domain.ip().is_some() || hosts::localhost(domain.as_str()).is_some() {
            let host = domain.clone();
            let list = vec![Mx {
                preference: 0,
                host,
            }];
            let authentic = false;
            return Ok(Records { list, authentic });
        }
        let mut known = self.one(domain, Kind::Mx).await?;
        if known.end == Ok(Said::NoSuchName) && self.in_hosts(domain).is_some() {
            // A host that only this box knows is its own exchanger.
            known.end = Ok(Said::NoData);
        }
        let list = lookup::exchangers(domain, known.end)?;
        let authentic = known.authentic;
        Ok(Records { list, authentic })
    }

    /// What DNS says about the certificate of a server on this TCP port (RFC 6698 s3). None is an answer; that
    /// nobody could tell is an error, and means `Later` (RFC 7672 s2.1.2).
    pub async fn tlsa(&self, host: &Domain, port: u16) -> Result<Records<Tlsa>, LookupError> {
        let name = Domain::parse(&format!("_{port}._tcp.{host}"))
            .map_err(|_| LookupError::NotAName(host.clone()))?;
        self.list(&name, Kind::Tlsa, |said| match said {
            Said::Tlsa(list) => Some(list),
            _ => None,
        })
        .await
    }

    /// The texts of a name, the strings of each joined. None is an answer.
    pub async fn txt(&self, name: &Domain) -> Result<Records<String>, LookupError> {
        self.list(name, Kind::Txt, |said| match said {
            Said::Texts(list) => Some(list),
            _ => None,
        })
        .await
    }

    /// What the owner of an address calls it. None is an answer. Whether the name agrees, its addresses say.
    pub async fn ptr(&self, ip: IpAddr) -> Result<Records<Domain>, LookupError> {
        let name = reverse::name(ip).ok_or_else(|| LookupError::NotAName(Domain::from_ip(ip)))?;
        self.list(&name, Kind::Ptr, |said| match said {
            Said::Names(list) => Some(list),
            _ => None,
        })
        .await
    }

    /// Records of one kind, where none is an answer.
    async fn list<T>(
        &self,
        name: &Domain,
        kind: Kind,
        read: impl FnOnce(Said) -> Option<Vec<T>>,
    ) -> Result<Records<T>, LookupError> {
        let known = self.one(name, kind).await?;
        match known.end {
            Ok(said) => Ok(Records {
                list: read(said).unwrap_or_default(),
                authentic: known.authentic,
            }),
            Err(fault) => Err(LookupError::Failed(name.clone(), fault)),
        }
    }

    /// The name of an address, when one of its names leads back to it: what whoever has the address says of it alone
    /// is worth nothing. None is no such name, or nobody could tell.
    pub async fn name_of(&self, ip: IpAddr) -> Option<Domain> {
        let ip = ip.to_canonical();
        if ip.is_loopback() {
            return Domain::parse("localhost").ok();
        }
        let named = find_in_hosts(&self.settings.borrow().hosts, |line| {
            hosts::name_in(line, ip).map(Domain::parse)
        });
        if let Some(Ok(name)) = named {
            return Some(name);
        }
        for name in self.ptr(ip).await.ok()?.list {
            if name.as_str().parse::<IpAddr>().is_ok() {
                continue;
            }
            let there = self.addresses(&name).await;
            if there.is_ok_and(|list| list.contains(&ip)) {
                return Some(name);
            }
        }
        None
    }

    /// Asks for A and AAAA at once. When one of them is there, the other is waited for a moment only.
    async fn both(&self, host: &Domain) -> Result<(Known, Known), LookupError> {
        let mut v4 = pin!(self.one(host, Kind::A));
        let mut v6 = pin!(self.one(host, Kind::Aaaa));
        let first = future::or(async { Ok(v4.as_mut().await) }, async {
            Err(v6.as_mut().await)
        });
        match first.await {
            Ok(v4) => {
                let v4 = v4?;
                let v6 = self.rest(&v4, host, Kind::Aaaa, v6).await?;
                Ok((v4, v6))
            }
            Err(v6) => {
                let v6 = v6?;
                let v4 = self.rest(&v6, host, Kind::A, v4).await?;
                Ok((v4, v6))
            }
        }
    }

    /// The other of two lookups. When addresses are there already, silence about the other kind is remembered, so
    /// that it costs its moment once.
    async fn rest(
        &self,
        one: &Known,
        host: &Domain,
        kind: Kind,
        other: impl Future<Output = Result<Known, LookupError>>,
    ) -> Result<Known, LookupError> {
        if !matches!(one.end, Ok(Said::Addresses(_))) {
            return other.await;
        }
        within(limits::DNS_GRACE, other).await.unwrap_or_else(|_| {
            let now = clock::tick();
            self.cache.borrow_mut().keep_silence(host, kind, now);
            Ok(failed(Fault::Silent))
        })
    }

    /// One kind of record: out of the cache, else from the name servers.
    async fn one(&self, name: &Domain, kind: Kind) -> Result<Known, LookupError> {
        let ascii = name.to_ascii();
        let name = ascii.as_deref().unwrap_or(name);
        if let Some(known) = self.cache.borrow().find(name, kind, clock::tick()) {
            return Ok(known.clone());
        }
        let not_a_name = |_| LookupError::NotAName(name.clone());
        let system = self.system();
        let trust_ad = system.trust_ad;
        let plan = system.plan;
        let servers = plan.servers.len();
        let base = self.first.get();
        let mut lookup = Lookup::new(name.clone(), kind, turned(plan, base)).map_err(not_a_name)?;
        // Every server whose answer led here must be one that is believed.
        let mut believed = true;
        loop {
            let id = match random::number() {
                Ok(number) => u16::try_from(number & 0xFFFF).unwrap_or(0),
                Err(_) => return Ok(failed(Fault::NoServer)),
            };
            let ask = match lookup.next(clock::tick(), id) {
                Order::Ask(ask) => ask,
                Order::End(Err(fault)) => return Ok(failed(fault)),
                Order::End(Ok(mut answer)) => {
                    let answered = base.saturating_add(lookup.server());
                    self.first.set(answered.checked_rem(servers).unwrap_or(0));
                    answer.authentic &= believed;
                    self.cache
                        .borrow_mut()
                        .keep(name, kind, &answer, clock::tick());
                    return Ok(Known {
                        end: Ok(answer.said),
                        authentic: answer.authentic,
                    });
                }
            };
            let left = ask.until.since(clock::tick());
            match within(left, exchange(&ask, &mut lookup)).await {
                Ok(Ok(())) => believed &= trust_ad || ask.server.ip().is_loopback(),
                Ok(Err(fault)) => lookup.on_unreachable(fault),
                Err(_) => lookup.on_silence(),
            }
        }
    }

    /// Whom to ask: what `resolv.conf` says, and what our own settings say over it.
    fn system(&self) -> System {
        let System {
            mut plan,
            mut trust_ad,
        } = self.resolv_conf.read(&self.settings.borrow().resolv_conf);
        let settings = self.settings.borrow();
        if !settings.servers.is_empty() {
            plan.servers.clone_from(&settings.servers);
            trust_ad = false;
        }
        plan.servers.truncate(limits::DNS_SERVERS);
        plan.timeout = settings.timeout.unwrap_or(plan.timeout);
        plan.attempts = settings.attempts.unwrap_or(plan.attempts).max(1);
        System {
            plan,
            trust_ad: trust_ad || settings.trust_ad,
        }
    }

    /// What the hosts file gives for a name.
    fn in_hosts(&self, host: &Domain) -> Option<Vec<IpAddr>> {
        let mut found = Vec::new();
        find_in_hosts(&self.settings.borrow().hosts, |line| {
            hosts::line(line, host.as_str(), &mut found);
            None::<()>
        });
        (!found.is_empty()).then_some(found)
    }
}

fn failed(fault: Fault) -> Known {
    Known {
        end: Err(fault),
        authentic: false,
    }
}

/// The plan with another of its servers in front.
fn turned(mut plan: Plan, first: usize) -> Plan {
    let turn = first.checked_rem(plan.servers.len()).unwrap_or(0);
    plan.servers.rotate_left(turn);
    plan
}

#[cfg(test)]
mod tests {
    use super::{Resolver, Settings};
    use crate::base::limits;
    use std::time::Duration;

    fn servers(plan: &super::Plan) -> String {
        let list: Vec<String> = plan.servers.iter().map(ToString::to_string).collect();
        list.join(" ")
    }

    #[test]
    fn a_changed_resolv_conf_is_read_again_and_a_missing_one_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let resolver = Resolver::new(Settings {
            resolv_conf: path.clone(),
            ..Settings::default()
        });
        assert_eq!(servers(&resolver.system().plan), "127.0.0.1:53");
        std::fs::write(&path, "nameserver 192.0.2.1").unwrap();
        assert_eq!(servers(&resolver.system().plan), "192.0.2.1:53");
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.2").unwrap();
        assert_eq!(
            servers(&resolver.system().plan),
            "192.0.2.1:53 192.0.2.2:53"
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(servers(&resolver.system().plan), "127.0.0.1:53");
    }

    #[test]
    fn settings_win_over_the_system() {
        let settings = Settings {
            servers: (1..=9).map(|n| ([192, 0, 2, n], 5353).into()).collect(),
            timeout: Some(Duration::from_secs(7)),
            attempts: Some(0),
            ..Settings::default()
        };
        let resolver = Resolver::new(settings);
        let plan = resolver.system().plan;
        assert_eq!(plan.servers.len(), limits::DNS_SERVERS);
        assert_eq!(plan.servers[0].port(), 5353);
        assert_eq!((plan.attempts, plan.timeout), (1, Duration::from_secs(7)));
        resolver.apply(Settings {
            servers: vec![([192, 0, 2, 77], 53).into()],
            trust_ad: true,
            ..Settings::default()
        });
        let system = resolver.system();
        assert_eq!(servers(&system.plan), "192.0.2.77:53");
        assert!(system.trust_ad);
    }
}
