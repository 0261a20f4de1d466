//! How TLS is used with one host: as the route says, and for hosts that were found in DNS as their domain says
//! (DANE, MTA-STS).
//!
//! Trust: TLSA records count only when a name server that may be believed says that DNSSEC vouches for them and for
//! every name on the way to them (RFC 7672 s2.2). What the route itself demands is never made less by anybody else.

use std::ops::Deref;
use std::rc::Rc;

use crate::config::Tls;
use crate::dns::LookupError;
use crate::dns::tlsa::Tlsa;
use crate::mail::Domain;
use crate::mail::envelope::TlsWish;
use crate::net::tls::Client;
use crate::net::tls::Trust;
use crate::net::tls::dane;
use crate::policy::sts::Mode;
use crate::service::event::Event;
use crate::service::live::Live;
use crate::service::live::Out;
use crate::service::log::emit;
use crate::service::shared::Service;
use crate::service::sts;
use crate::service::targets::Failed;
use crate::service::targets::Target;
use crate::smtp::client::settings::StartTls;
use crate::smtp::outcome::Role;

/// How TLS is used with one host.
#[derive(Debug)]
pub struct Plan<'a> {
    /// When it begins.
    pub starttls: StartTls,
    /// With whom; nobody when it never begins.
    pub client: Means<'a>,
    /// Whether it proves who the host is.
    pub proved: bool,
    /// Without TLS is better than not at all: when a handshake fails the host is tried without (RFC 7435 s3). Only for
    /// hosts that were found in DNS and whose domain promises nothing.
    pub or_without: bool,
    /// Good for the first message alone, whose sender wants it less strict than others.
    pub once: bool,
    /// Who asks for it, behind a sentence about a failure; empty for the route itself.
    pub because: String,
}

/// What shakes hands.
#[derive(Debug)]
pub enum Means<'a> {
    /// Kept with the route or the configuration.
    Kept(&'a Client),
    /// Made for this host.
    Made(Box<Client>),
}

impl Deref for Means<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        match self {
            Self::Kept(client) => client,
            Self::Made(client) => client,
        }
    }
}

impl<'a> Plan<'a> {
    fn new(starttls: StartTls, client: &'a Client, proved: bool) -> Self {
        Self {
            starttls,
            client: Means::Kept(client),
            proved,
            or_without: false,
            once: false,
            because: String::new(),
        }
    }

    /// Without TLS, or without beginning it.
    pub fn never(out: &'a Out) -> Self {
        Self::new(StartTls::Never, &out.exchanger_tls, false)
    }

    /// The same host again, without TLS.
    pub fn without(&self, out: &'a Out) -> Self {
        Self {
            once: self.once,
            ..Self::never(out)
        }
    }
}

/// What TLSA records say about a host.
#[derive(Debug, PartialEq, Eq)]
enum Records {
    /// Nothing that can be believed.
    None,
    /// That it has TLS, in words that cannot be used (RFC 7672 s2.1.1).
    Unusable,
    /// Whom to trust.
    Usable(Vec<Tlsa>),
}

/// How TLS is used with a host, for mail to this domain whose sender wishes so.
pub async fn plan<'a>(
    service: &Rc<Service>,
    live: &'a Live,
    out: &'a Out,
    (target, domain): (&Target, &Domain),
    wish: TlsWish,
) -> Result<Plan<'a>, Failed> {
    let found = target.role == Role::Exchanger;
    let (mode, client) = if found {
        (out.route.exchanger_tls, &out.exchanger_tls)
    } else {
        (out.route.tls, &out.tls)
    };
    let required = StartTls::Required;
    // RFC 8689 s3: what the domain says is passed over, what the owner says is not.
    let lenient = wish == TlsWish::Optional && found;
    match mode {
        Tls::Off => return Ok(Plan::new(StartTls::Never, client, false)),
        Tls::Verify | Tls::Pin(_) => return Ok(Plan::new(required, client, true)),
        Tls::Opportunistic if !found => {
            return Ok(Plan::new(StartTls::IfOffered, client, false));
        }
        Tls::Require if !found => return Ok(Plan::new(required, client, false)),
        Tls::Dane | Tls::DaneOnly if !cfg!(feature = "mx") => {
            return Ok(Plan::new(required, client, true));
        }
        Tls::Dane if lenient => {}
        Tls::Dane | Tls::DaneOnly => match records(service, target, domain).await? {
            Records::Usable(records) => {
                return Ok(by_records(service, out, target, domain, records));
            }
            Records::Unusable if mode == Tls::Dane => {
                let anybody = service.tls.client(Trust::Anybody, out.identity.clone());
                return Ok(Plan {
                    client: Means::Made(Box::new(anybody)),
                    because: format!("; the TLSA records of {} ask for TLS", target.peer.name),
                    ..Plan::new(required, client, false)
                });
            }
            Records::None | Records::Unusable if mode == Tls::DaneOnly => {
                let text = format!(
                    "{} has no TLSA records that can be used and that DNSSEC vouches for, and the route goes by nothing \
                     else (tls = \"dane-only\"); the name server has to validate, and to be on this host or trusted with \
                     dns.trust_ad",
                    target.peer.name
                );
                return Err(if found {
                    Failed::later(7, text)
                } else {
                    Failed::hold(7, 5, text)
                });
            }
            // The owner named the host, so its certificate is to be good.
            _ if !found => return Ok(Plan::new(required, client, true)),
            _ => {}
        },
        Tls::Opportunistic | Tls::Require => {}
    }
    if cfg!(feature = "mx")
        && out.route.mta_sts
        && !lenient
        && let Some(plan) = by_policy(service, live, (target, domain)).await?
    {
        return Ok(plan);
    }
    let skipped = lenient && (out.route.mta_sts || mode == Tls::Dane);
    Ok(if mode == Tls::Require {
        Plan {
            once: skipped,
            ..Plan::new(required, client, false)
        }
    } else {
        Plan {
            or_without: true,
            once: skipped,
            ..Plan::new(StartTls::IfOffered, client, false)
        }
    })
}

/// TLS as TLSA records ask for it.
fn by_records<'a>(
    service: &Service,
    out: &'a Out,
    target: &Target,
    domain: &Domain,
    records: Vec<Tlsa>,
) -> Plan<'a> {
    // RFC 7672 s3.2.2: an authority may have vouched for the exchanger or for the domain.
    let mut names = vec![target.peer.name.clone()];
    if target.role == Role::Exchanger && *domain != target.peer.name {
        names.push(domain.clone());
    }
    let trust = Trust::Dane(records, names);
    let made = service.tls.client(trust, out.identity.clone());
    Plan {
        client: Means::Made(Box::new(made)),
        because: format!("; the TLSA records of {} ask for it", target.peer.name),
        ..Plan::new(StartTls::Required, &out.tls, true)
    }
}

/// Looks for TLSA records where they can be believed. Everything but the last question has been asked before, so the
/// answers come out of the cache.
async fn records(service: &Service, target: &Target, domain: &Domain) -> Result<Records, Failed> {
    let host = &target.peer.name;
    let resolver = &service.resolver;
    let failed = |error: LookupError| Failed::later(3, error.to_string());
    if target.role == Role::Exchanger && !resolver.mx(domain).await.map_err(failed)?.authentic {
        return Ok(Records::None);
    }
    // RFC 7672 s2.2.2: a host whose addresses nobody vouches for has no TLSA records worth asking for.
    if !resolver.host(host).await.map_err(failed)?.authentic {
        return Ok(Records::None);
    }
    // RFC 7672 s2.1.2: that nobody could tell is not that there is none.
    let found = resolver
        .tlsa(host, target.peer.port)
        .await
        .map_err(failed)?;
    Ok(judge(&found.list, found.authentic))
}

fn judge(list: &[Tlsa], authentic: bool) -> Records {
    if !authentic || list.is_empty() {
        return Records::None;
    }
    let usable = dane::usable(list);
    if usable.is_empty() {
        Records::Unusable
    } else {
        Records::Usable(usable)
    }
}

/// TLS as the domain's policy of MTA-STS asks for it, if it has one that is enforced.
async fn by_policy<'a>(
    service: &Service,
    live: &'a Live,
    (target, domain): (&Target, &Domain),
) -> Result<Option<Plan<'a>>, Failed> {
    let Some(policy) = sts::policy(service, domain).await else {
        return Ok(None);
    };
    let host = &target.peer.name;
    let listed = policy.lists(host);
    let why = || format!("the MTA-STS policy of {domain} does not list the exchanger {host}");
    match policy.mode {
        Mode::Enforce if listed => Ok(Some(Plan {
            because: format!("; the MTA-STS policy of {domain} asks for it"),
            ..Plan::new(StartTls::Required, &live.sts_tls, true)
        })),
        Mode::Enforce => Err(Failed::later(7, why())),
        Mode::Testing if !listed => {
            emit(&Event::StsTesting {
                domain: domain.as_str(),
                why: &why(),
            });
            Ok(None)
        }
        Mode::Testing | Mode::None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{Records, judge};
    use crate::dns::tlsa::Tlsa;

    #[test]
    fn records_count_only_when_they_are_vouched_for() {
        let good = Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: vec![0; 32],
        };
        let odd = Tlsa {
            usage: 1,
            ..good.clone()
        };
        let both = [odd.clone(), good.clone()];
        assert_eq!(judge(&[], true), Records::None);
        assert_eq!(judge(&both, false), Records::None);
        assert_eq!(judge(&[odd], true), Records::Unusable);
        assert_eq!(judge(&both, true), Records::Usable(vec![good]));
    }
}
