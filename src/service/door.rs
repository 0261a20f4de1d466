//! A listener at work: what it says to the server machine, and what comes before the first word of SMTP: the header
//! of a load balancer, and the handshake of implicit TLS.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use smol::future;
use smol::io::AsyncReadExt;

use crate::base::limits;
use crate::config::Config;
use crate::config::model::Begin;
use crate::config::model::Listen;
use crate::net::Peer;
use crate::net::Stream;
use crate::net::proxy::BadProxy;
use crate::net::proxy::HEAD;
use crate::net::proxy::Head;
use crate::net::proxy::Source;
use crate::net::tls;
use crate::net::within::within;
use crate::policy::access::Networks;
use crate::service::signal::Ending;
use crate::smtp::server::settings::Extensions;
use crate::smtp::server::settings::Mechanisms;
use crate::smtp::server::settings::Settings;

/// What is offered, but for what this listener does without.
fn extensions(listen: &Listen, all: Extensions) -> Extensions {
    let has = |name: &str| !listen.without.contains(&name);
    Extensions {
        chunking: all.chunking && has("CHUNKING"),
        binary: all.binary && has("BINARYMIME"),
        utf8: all.utf8 && has("SMTPUTF8"),
        dsn: all.dsn && has("DSN"),
        etrn: all.etrn && has("ETRN"),
        atrn: all.atrn && has("ATRN"),
        limits: all.limits && has("LIMITS"),
        ..all
    }
}

/// A listener at work.
#[derive(Debug)]
pub struct Door {
    /// Its settings.
    pub listen: Listen,
    /// Who may send to domains that are not local.
    pub relay: Networks,
    /// For programs of this host, which may log in without TLS.
    near: Rc<Settings>,
    /// For everybody else.
    far: Rc<Settings>,
}

impl Door {
    /// What this listener makes of what is said to all of them.
    pub fn new(listen: &Listen, config: &Config, base: &Settings) -> Self {
        let file = config.users.is_some();
        let on = file || config.directory_users;
        // A client takes the strongest; users of the directory have nothing but their password.
        let verifiers = file && !config.directory_users;
        let far = Settings {
            starttls: config.certificate.is_some() && listen.tls == Begin::StartTls,
            require_tls: listen.require_tls,
            require_auth: listen.require_auth,
            auth: Mechanisms {
                plain: on,
                login: on,
                cram_md5: file && listen.cram_md5,
                ntlm: file && listen.ntlm,
                scram_sha_256: verifiers,
                gssapi: config.tickets.is_some(),
            },
            auth_without_tls: listen.insecure_auth,
            extensions: extensions(listen, base.extensions),
            ..base.clone()
        };
        let near = Settings {
            auth_without_tls: true,
            ..far.clone()
        };
        Self {
            relay: listen
                .relay
                .as_ref()
                .unwrap_or(&config.access.relay)
                .clone(),
            listen: listen.clone(),
            near: Rc::new(near),
            far: Rc::new(far),
        }
    }

    /// What the server machine is told for a client at this address.
    pub fn settings(&self, ip: IpAddr) -> Rc<Settings> {
        Rc::clone(if ip.is_loopback() {
            &self.near
        } else {
            &self.far
        })
    }

    /// Whether TLS begins with the connection.
    pub fn is_implicit(&self) -> bool {
        self.listen.tls == Begin::Implicit
    }

    /// Who the connection is from: its other end, or whom a load balancer names.
    pub async fn peer(&self, stream: &mut Stream, peer: Peer) -> Result<Peer, String> {
        let ip = match peer {
            Peer::Ip(address) => address.ip(),
            Peer::Local => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        if !self.listen.proxy_from.contain(ip) {
            return Ok(peer);
        }
        let header = within(limits::PROXY_HEADER, header(stream)).await;
        match header.unwrap_or_else(|late| Err(late.to_string()))? {
            Source::Itself => Ok(peer),
            Source::Client(address) => Ok(Peer::Ip(address)),
            Source::Nameless => Err("the PROXY header names no IP address".to_owned()),
        }
    }
}

async fn header(stream: &mut Stream) -> Result<Source, String> {
    let said = |bad: BadProxy| bad.to_string();
    let mut bytes = [0; HEAD];
    let gone = |_| BadProxy::Missing.to_string();
    stream.read_exact(&mut bytes).await.map_err(gone)?;
    let head = Head::parse(&bytes).map_err(said)?;
    let mut rest = vec![0; head.rest()];
    let short = |_| BadProxy::Short.to_string();
    stream.read_exact(&mut rest).await.map_err(short)?;
    head.source(&rest).map_err(said)
}

/// Shakes hands, unless the service ends first or the client takes longer than for a command. The error is a
/// sentence.
pub async fn secure(
    ending: &Ending,
    server: tls::Server,
    stream: Stream,
    command: Duration,
) -> Result<Stream, String> {
    let shaken = async {
        let wait = command.min(limits::HANDSHAKE);
        let stream = server.start(stream, wait).await;
        stream.map_err(|error| format!("no TLS: {error}"))
    };
    let ended = async {
        ending.begun().await;
        Err("the service ends".to_owned())
    };
    future::or(shaken, ended).await
}
