//! What a client may do: connect, send so fast, send there, log in. Each refusal names its setting in the log.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::future;

use crate::disk::fault::Refused;
use crate::mail::Address;
use crate::mail::Status;
use crate::net::Peer;
use crate::net::clock;
use crate::net::random;
use crate::policy::access::Networks;
use crate::policy::aliases::Aliases;
use crate::policy::rewrite::Standing;
use crate::queue::Door;
use crate::service::event::Event;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::shared::Service;
use crate::service::users::Users;
use crate::smtp::fault::Fault;
use crate::smtp::fault::Told;
use crate::smtp::sasl::Verifier;
use crate::smtp::sasl::codec;
#[cfg(feature = "sso")]
use crate::smtp::sasl::gssapi::accept::Accepted;
#[cfg(feature = "sso")]
use crate::smtp::sasl::gssapi::accept::Random;
use crate::smtp::sasl::proof::Proof;
use crate::smtp::server::settings::Session;
use crate::smtp::server::settings::Settings;

/// Whom a session is with, as far as policy cares.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Where it calls from.
    pub ip: IpAddr,
    /// By which door.
    pub door: Door,
    /// A process of this box that we know by other means than its address.
    pub trusted: bool,
    /// Whether it may relay for being what it is, without a login.
    pub relays: bool,
}

impl Client {
    /// Who is at the other end of a connection to a listener with this list of who may relay.
    pub fn of(peer: Peer, relay: &Networks) -> Self {
        let (ip, trusted) = match peer {
            Peer::Ip(address) => (address.ip(), false),
            Peer::Local => (IpAddr::V4(Ipv4Addr::LOCALHOST), true),
        };
        Self {
            ip,
            door: Door::Smtp,
            trusted,
            relays: trusted || relay.contain(ip),
        }
    }
}

/// Whether the client may connect at all; otherwise the setting that says no.
pub fn may_connect(live: &Live, who: Client) -> Result<(), &'static str> {
    let access = &live.config.access;
    if who.trusted {
        Ok(())
    } else if access.deny.contain(who.ip) {
        Err("access.deny names this address")
    } else if !access.connect.contain(who.ip) {
        Err("access.connect does not name this address")
    } else {
        Ok(())
    }
}

/// Whether the client may begin another message.
pub fn may_begin(service: &Service, live: &Live, who: Client) -> Result<(), Fault> {
    let Some(most) = live.config.limits.messages_per_minute else {
        return Ok(());
    };
    let mut rates = service.rates.borrow_mut();
    if who.trusted || rates.take(who.ip, most, clock::tick()) {
        return Ok(());
    }
    emit(&Event::Refused {
        door: "smtp",
        origin: &who.ip.to_string(),
        why: &format!("limits.messages_per_minute: this client has sent its {most}"),
    });
    Err(Fault::TooFast)
}

/// What the log says to who wants to relay.
const NO_RELAY: &str =
    "the relay list does not name this client: listen.relay, or access.relay without one";

/// The limits of one session that the owner was told of.
pub type Limits = heapless::Vec<&'static str, 4>;

/// Tells the owner, once a session for each, which limit a client has reached.
pub fn limit_reached(who: Client, fault: &Fault, told: &mut Limits) {
    let (key, quiet) = match fault {
        Fault::TooBig => ("limits.message_bytes", false),
        Fault::SessionTooBig => ("limits.session_bytes", false),
        Fault::TooManyErrors => ("limits.errors", false),
        Fault::TooManyMessages => ("limits.messages_per_connection", false),
        Fault::TooManyRecipients => ("limits.recipients", false),
        // Monitors and forgotten connections end like this every day.
        Fault::SessionOver => ("limits.session_timeout", true),
        Fault::Silent => ("limits.command_timeout", true),
        Fault::Stalled => ("limits.data_timeout", true),
        _ => return,
    };
    if told.contains(&key) || told.push(key).is_err() {
        return;
    }
    let client = who.ip.to_string();
    let why = format!("{key} is reached");
    emit(&if quiet {
        Event::SessionFailed {
            client: &client,
            why: &why,
        }
    } else {
        Event::Refused {
            door: "smtp",
            origin: &client,
            why: &why,
        }
    });
}

/// Tells the owner, once a session, that the queue takes nothing.
pub fn queue_refuses(who: Client, refused: &Refused, told: &mut Limits) {
    let key = "the queue";
    if !told.contains(&key) && told.push(key).is_ok() {
        emit(&Event::Refused {
            door: "smtp",
            origin: &who.ip.to_string(),
            why: &refused.to_string(),
        });
    }
}

/// Local domains are open to whoever may connect; everything else is relaying (promise G5). A name without a domain is
/// for those of this host, but the postmaster's (RFC 5321 s4.5.1).
pub fn may_send(
    live: &Live,
    aliases: &Aliases,
    who: Client,
    session: &Session,
    to: &Address,
) -> Result<(), Fault> {
    let access = &live.config.access;
    let domain = to.domain();
    let may_relay = who.relays || (access.relay_logins && session.login.is_some());
    let verdict = match live.config.rewrite.standing(aliases, to) {
        // The directory knows who exists, and says so later.
        Standing::Unknown if !live.is_looked_up(domain) => Err((
            Fault::NoMailbox,
            "neither the mailboxes of its domain nor an alias name it",
        )),
        // RFC 5321 s3.6.1 and s4.1.1.3: nobody has to relay for whom a local part names.
        Standing::Here { listed: false } | Standing::Unknown if !may_relay && is_routed(to) => {
            Err((
                Fault::NoRelay,
                "a path in the local part is relaying; no relay list names this client",
            ))
        }
        Standing::Here { .. } | Standing::Unknown => Ok(()),
        _ if may_relay => Ok(()),
        Standing::Bare if to.is_postmaster() => Ok(()),
        _ if access.relay_domains.iter().any(|one| one.matches(domain)) => Ok(()),
        Standing::Bare | Standing::Elsewhere => Err((Fault::NoRelay, NO_RELAY)),
    };
    verdict.map_err(|(fault, why)| {
        emit(&Event::RecipientRefused {
            client: &who.ip.to_string(),
            to: &to.to_string(),
            why,
        });
        fault
    })
}

/// Whether a local part asks to be sent on: `user%host`, `host!user`, `user@host`.
fn is_routed(to: &Address) -> bool {
    to.local().contains(['%', '!', '@'])
}

/// Checks a password; the answer takes longer with each failure.
pub async fn check_password(
    service: &Service,
    live: &Live,
    who: Client,
    name: String,
    password: String,
) -> Result<(), Fault> {
    let users = wait_for_turn(service, live, who, &name).await?;
    if is_password(service, live, users, who, &name, password).await? {
        service.guard.borrow_mut().forgive(who.ip);
        return Ok(());
    }
    failed(who, &name, "wrong name or password");
    Err(Fault::AuthFailed)
}

/// Whether this is the password of a user: as the file says it for those who are in it, else as the directory does.
async fn is_password(
    service: &Service,
    live: &Live,
    users: Option<Arc<Users>>,
    who: Client,
    name: &str,
    password: String,
) -> Result<bool, Fault> {
    #[cfg(feature = "ldap")]
    if let Some(directory) = live
        .directory
        .as_ref()
        .filter(|_| live.config.directory_users)
    {
        let known = match users.clone() {
            Some(users) => {
                let asked = name.to_owned();
                let known = service.worker.run(move || users.knows(&asked));
                known.await.map_err(|why| unusable(&why))?
            }
            None => false,
        };
        if !known {
            let checked = directory.check(service.reach(), name, &password).await;
            return checked.map_err(|failure| {
                // No password was tried, so none was wrong.
                service.guard.borrow_mut().withdraw(who.ip);
                unusable(&failure.text)
            });
        }
    }
    #[cfg(not(feature = "ldap"))]
    let _ = (live, who);
    let Some(users) = users else {
        return Ok(false);
    };
    let asked = name.to_owned();
    let checked = service.worker.run(move || users.check(&asked, &password));
    checked.await.map_err(|why| unusable(&why))
}

/// The file of users; without one nobody can prove who he is by more than a password.
fn file(users: Option<Arc<Users>>) -> Result<Arc<Users>, Fault> {
    users.ok_or(Fault::AuthFailed)
}

/// Finds a verifier and a nonce for it; also these come later after each failure.
pub async fn find_verifier(
    service: &Service,
    live: &Live,
    who: Client,
    name: String,
) -> Result<(Verifier, String), Fault> {
    let users = file(wait_for_turn(service, live, who, &name).await?)?;
    let found = service.worker.run(move || users.find(&name));
    let verifier = found.await.map_err(|why| unusable(&why))?;
    Ok((verifier, nonce()?))
}

/// Text that nobody has seen before.
pub fn nonce() -> Result<String, Fault> {
    let mut nonce = [0; 18];
    random::fill(&mut nonce).map_err(|error| unusable(&error.to_string()))?;
    Ok(codec::encode(&nonce))
}

/// Checks an answer to a challenge; it takes as long as a password after each failure.
pub async fn check_proof(
    service: &Service,
    live: &Live,
    who: Client,
    name: String,
    proof: Proof,
) -> Result<(), Fault> {
    let users = file(wait_for_turn(service, live, who, &name).await?)?;
    let asked = name.clone();
    let checked = service
        .worker
        .run(move || users.check_proof(&asked, &proof));
    match checked.await.map_err(|why| unusable(&why))? {
        Ok(()) => {
            service.guard.borrow_mut().forgive(who.ip);
            Ok(())
        }
        Err(why) => {
            failed(who, &name, why);
            Err(Fault::AuthFailed)
        }
    }
}

/// What a client is offered: NTLM only while there is somebody who could use it, as Windows programs choose it before
/// anything else and do not try another. When the file of users cannot be read, the login will tell.
pub async fn offer(service: &Service, live: &Live, settings: Rc<Settings>) -> Rc<Settings> {
    #[cfg(feature = "ntlm")]
    if let (true, Some(users)) = (settings.auth.ntlm, &live.users) {
        let users = Arc::clone(users);
        if service.worker.run(move || users.has_ntlm()).await == Ok(false) {
            let mut without = Settings::clone(&settings);
            without.auth.ntlm = false;
            return Rc::new(without);
        }
    }
    #[cfg(not(feature = "ntlm"))]
    let _ = (service, live);
    settings
}

/// An exchange that found a verifier has ended: well, or with a wrong proof.
pub fn proved(service: &Service, who: Client, name: &str, good: bool) {
    if good {
        service.guard.borrow_mut().forgive(who.ip);
    } else {
        failed(who, name, "wrong name or password");
    }
}

/// Whom a ticket of Kerberos lets in; this, too, takes longer after each failure. Where a clock is wrong, the client is
/// asked to try again later: a mail program that hears "no" for good gives up its mail.
#[cfg(feature = "sso")]
pub async fn check_ticket(
    service: &Service,
    live: &Live,
    who: Client,
    token: Vec<u8>,
) -> Result<Accepted, Fault> {
    let Some(tickets) = &live.tickets else {
        return Err(Fault::AuthFailed);
    };
    turn(service, who, "").await?;
    let mut fresh = Random::default();
    random::fill(&mut fresh).map_err(|error| unusable(&error.to_string()))?;
    let (tickets, now) = (Arc::clone(tickets), clock::wall());
    let checked = service
        .worker
        .run(move || tickets.check(&token, now, fresh));
    match checked.await.map_err(|why| unusable(&why))? {
        Ok(accepted) => Ok(accepted),
        Err(refusal) => {
            failed(who, "(ticket)", &refusal.to_string());
            Err(if refusal.is_ours() {
                not_now()
            } else {
                Fault::AuthFailed
            })
        }
    }
}

async fn wait_for_turn(
    service: &Service,
    live: &Live,
    who: Client,
    name: &str,
) -> Result<Option<Arc<Users>>, Fault> {
    if live.users.is_none() && !live.config.directory_users {
        return Err(Fault::AuthFailed);
    }
    turn(service, who, name).await?;
    Ok(live.users.clone())
}

/// Waits as long as earlier failures of this client ask for.
async fn turn(service: &Service, who: Client, name: &str) -> Result<(), Fault> {
    let turn = service.guard.borrow_mut().attempt(who.ip, clock::tick());
    match turn {
        Ok(Duration::ZERO) => {}
        Ok(wait) => {
            let waited = async {
                Timer::after(wait).await;
                Ok(())
            };
            let ended = async {
                service.ending.begun().await;
                Err(Fault::Stopping)
            };
            future::or(waited, ended).await?;
        }
        Err(_) => {
            failed(who, name, "too many failed logins from this address");
            return Err(Fault::TooManyLogins);
        }
    }
    Ok(())
}

fn failed(who: Client, user: &str, why: &str) {
    emit(&Event::LoginFailed {
        client: &who.ip.to_string(),
        user,
        why,
    });
}

/// The file of users cannot be used: our fault, and nobody gets in.
fn unusable(why: &str) -> Fault {
    emit(&Event::Trouble { what: "users", why });
    not_now()
}

fn not_now() -> Fault {
    let text = "Temporary authentication failure; please try later";
    Fault::Told(Box::new(Told::new(454, Status::new(4, 7, 0), text)))
}

#[cfg(test)]
mod tests {
    use super::{Client, may_connect, may_send};
    use crate::config::{Config, File, Flags, load};
    use crate::mail::Address;
    use crate::net::tls::Tls;
    use crate::net::{Peer, TrustedClock};
    use crate::policy::access::{Network, Networks};
    use crate::policy::aliases::Aliases;
    use crate::service::live::Live;
    use crate::smtp::fault::Fault;
    use crate::smtp::server::settings::Session;
    use std::rc::Rc;
    use std::sync::Arc;

    fn live(text: &str) -> Rc<Live> {
        let file = File { name: "f", text };
        let config: Config = load(Some(file), &Flags::default(), "box").unwrap().0;
        Live::new(config, &Tls::new(Arc::new(TrustedClock::new()))).unwrap()
    }

    fn client(ip: &str) -> Client {
        let relay = Networks::new(vec![Network::parse("10.0.0.0/8").unwrap()]);
        Client::of(Peer::from_addr(format!("{ip}:1").parse().unwrap()), &relay)
    }

    #[test]
    fn a_denied_network_stays_out_whatever_is_allowed() {
        let live = live("[access]\nconnect = ['10.0.0.0/8']\ndeny = ['10.1.0.0/16']");
        for (ip, good) in [("10.0.0.1", true), ("10.1.2.3", false), ("11.0.0.1", false)] {
            assert_eq!(may_connect(&live, client(ip)).is_ok(), good, "{ip}");
        }
        assert!(may_connect(&live, Client::of(Peer::Local, &Networks::default())).is_ok());
    }

    #[test]
    fn a_login_relays_unless_the_owner_says_otherwise() {
        let logged_in = Session {
            login: Some("tim".to_owned()),
            ..Session::default()
        };
        let to = Address::parse("x@else.example").unwrap();
        for (logins, want) in [("true", Ok(())), ("false", Err(Fault::NoRelay))] {
            let live = live(&format!("[access]\nrelay_logins = {logins}"));
            let none = Aliases::default();
            assert_eq!(
                may_send(&live, &none, client("192.0.2.1"), &logged_in, &to),
                want
            );
            assert_eq!(
                may_send(&live, &none, client("10.0.0.1"), &logged_in, &to),
                Ok(())
            );
        }
    }

    #[test]
    fn who_may_send_where() {
        let live = live(
            "[access]\nrelay_domains = ['office.example']\n\
             [local]\ndomains = ['nas.lan', 'two.lan']\nmailboxes = ['Alerts', 'info@two.lan', 'a%b']",
        );
        let logged_in = Session {
            login: Some("tim".to_owned()),
            ..Session::default()
        };
        let anybody = Session::default();
        for (ip, session, to, want) in [
            ("192.0.2.1", &anybody, "alerts@nas.lan", Ok(())),
            ("192.0.2.1", &anybody, "ALERTS@two.lan", Ok(())),
            ("192.0.2.1", &anybody, "info@two.lan", Ok(())),
            ("192.0.2.1", &anybody, "info@nas.lan", Err(Fault::NoMailbox)),
            (
                "10.0.0.1",
                &logged_in,
                "info@nas.lan",
                Err(Fault::NoMailbox),
            ),
            ("192.0.2.1", &anybody, "PostMaster@nas.lan", Ok(())),
            ("192.0.2.1", &anybody, "a%b@nas.lan", Ok(())),
            ("192.0.2.1", &anybody, "x@else.example", Err(Fault::NoRelay)),
            ("192.0.2.1", &anybody, "x@office.example", Ok(())),
            (
                "192.0.2.1",
                &anybody,
                "x@a.office.example",
                Err(Fault::NoRelay),
            ),
            ("192.0.2.1", &logged_in, "x@else.example", Ok(())),
            ("10.0.0.1", &anybody, "x@else.example", Ok(())),
            // What an alias names exists, wherever it leads.
            ("192.0.2.1", &anybody, "sales@nas.lan", Ok(())),
            ("192.0.2.1", &anybody, "sales@box", Err(Fault::NoRelay)),
            // Bare names are for those of this host, but one.
            (
                "192.0.2.1",
                &anybody,
                "sales@localhost",
                Err(Fault::NoRelay),
            ),
            ("10.0.0.1", &anybody, "sales@localhost", Ok(())),
            ("192.0.2.1", &anybody, "postmaster@localhost", Ok(())),
        ] {
            let aliases = Aliases::parse(b"sales: x@else.example").unwrap();
            let to = Address::parse(to).unwrap();
            let got = may_send(&live, &aliases, client(ip), session, &to);
            assert_eq!(got, want, "{ip} {to}");
        }
    }
}
