//! What an owner decides about a server, and what a session knows of its client.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use crate::mail::address::Address;
use crate::mail::domain::Domain;

/// How a server behaves. One value serves all its sessions, behind an `Rc`; a reload makes a new one for new sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in the greeting, in EHLO and for a bare `postmaster`.
    pub hostname: Domain,
    /// What the greeting says after the name; without control characters.
    pub greeting: String,
    /// Completes bare local parts; without it they are refused.
    pub default_domain: Option<Domain>,
    /// What replies show behind local parts that were completed with `localhost`, where another is to find the domain
    /// that they get; a bare `postmaster` is completed like all others then. Without it nothing of that.
    pub shown_domain: Option<Domain>,
    /// Most bytes of one message; `None` is no limit.
    pub message_size: Option<u64>,
    /// Most bytes of all messages of one session; then the connection closes.
    pub session_size: Option<u64>,
    /// Most recipients of one message.
    pub recipients: usize,
    /// Most messages of one session; then the connection closes.
    pub messages: usize,
    /// Most errors of one session; then the connection closes.
    pub errors: usize,
    /// How long each reply to an error waits; zero for not at all.
    pub tarpit: Duration,
    /// STARTTLS is offered: there is a certificate.
    pub starttls: bool,
    /// Nothing but STARTTLS is taken before TLS.
    pub require_tls: bool,
    /// What AUTH offers.
    pub auth: Mechanisms,
    /// AUTH is offered without TLS: right for loopback only.
    pub auth_without_tls: bool,
    /// MAIL is refused before AUTH.
    pub require_auth: bool,
    /// The optional parts of the protocol.
    pub extensions: Extensions,
    /// How long the client may be silent.
    pub timeouts: Timeouts,
}

impl Settings {
    /// What completes a bare `postmaster`.
    pub fn postmaster(&self) -> &Domain {
        match (&self.default_domain, &self.shown_domain) {
            (Some(domain), Some(_)) => domain,
            _ => &self.hostname,
        }
    }

    /// An address as replies show it.
    pub fn shown<'a>(&self, address: &'a Address) -> Cow<'a, Address> {
        match &self.shown_domain {
            Some(domain) if address.domain().is_localhost() => {
                let known = address.is_postmaster();
                Cow::Owned(address.at(if known { &self.hostname } else { domain }.clone()))
            }
            _ => Cow::Borrowed(address),
        }
    }

    /// What AUTH offers on a connection that is encrypted, or not.
    pub fn offered(&self, tls: bool) -> Mechanisms {
        if tls || (self.auth_without_tls && !self.require_tls) {
            return self.auth;
        }
        Mechanisms {
            // Who turned it on has devices without TLS; the password does not cross the wire.
            cram_md5: self.auth.cram_md5 && !self.require_tls,
            ntlm: self.auth.ntlm && !self.require_tls,
            ..Mechanisms::default()
        }
    }

    /// A server of this name with usual limits, without TLS and AUTH.
    pub fn new(hostname: Domain) -> Self {
        Self {
            hostname,
            greeting: "mailroot ESMTP ready".to_owned(),
            default_domain: None,
            shown_domain: None,
            message_size: Some(32 << 20),
            session_size: None,
            recipients: 1000,
            messages: 10_000,
            errors: 20,
            tarpit: Duration::ZERO,
            starttls: false,
            require_tls: false,
            auth: Mechanisms::default(),
            auth_without_tls: false,
            require_auth: false,
            extensions: Extensions::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// SASL mechanisms, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// RFC 4616.
    pub plain: bool,
    /// The old one of Outlook, without a standard.
    pub login: bool,
    /// RFC 2195. Also without TLS.
    pub cram_md5: bool,
    /// NTLMv2. Also without TLS; only where the feature `ntlm` is.
    pub ntlm: bool,
    /// RFC 4752, with Kerberos; only where the feature `sso` is.
    pub gssapi: bool,
    /// RFC 7677; its PLUS form as well on a connection that can be bound to.
    pub scram_sha_256: bool,
}

impl Mechanisms {
    /// Whether it is one of them; PLUS is for the connection to know.
    pub fn has(self, name: &str) -> bool {
        match name {
            "PLAIN" => self.plain,
            "LOGIN" => self.login,
            "CRAM-MD5" => self.cram_md5,
            "NTLM" => self.ntlm,
            "GSSAPI" => self.gssapi,
            "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS" => self.scram_sha_256,
            _ => false,
        }
    }

    /// Whether there is any.
    pub fn any(self) -> bool {
        self.plain || self.login || self.cram_md5 || self.ntlm || self.gssapi || self.scram_sha_256
    }
}

/// The optional parts of the protocol; each is offered and taken only when it is on.
#[derive(Clone, Copy, Debug)]
pub struct Extensions {
    /// BDAT (RFC 3030).
    pub chunking: bool,
    /// BODY=BINARYMIME (RFC 3030); needs `chunking`.
    pub binary: bool,
    /// Addresses outside ASCII (RFC 6531).
    pub utf8: bool,
    /// Delivery reports on request (RFC 3461).
    pub dsn: bool,
    /// ETRN (RFC 1985).
    pub etrn: bool,
    /// ATRN (RFC 2645).
    pub atrn: bool,
    /// LIMITS (RFC 9422).
    pub limits: bool,
    /// REQUIRETLS (RFC 8689); offered under TLS.
    pub require_tls: bool,
}

/// On is what the store keeps and the client machine can send; ETRN and ATRN need domains that are held.
impl Default for Extensions {
    fn default() -> Self {
        Self {
            chunking: true,
            binary: false,
            utf8: true,
            dsn: true,
            etrn: false,
            atrn: false,
            limits: true,
            require_tls: true,
        }
    }
}

/// How long a server waits (RFC 5321 s4.5.3.2.7 asks for five minutes).
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a whole command, from the reply before it: a line that trickles in does not make it longer.
    pub command: Duration,
    /// For the next block of a message.
    pub data: Duration,
    /// For the whole session; `None` is no limit.
    pub session: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(300),
            data: Duration::from_secs(180),
            session: None,
        }
    }
}

/// What is known of the client: for policy, for the trace header, for the log.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Its address; `None` when it speaks through a pipe or a Unix socket.
    pub peer: Option<IpAddr>,
    /// The name it gave in HELO or EHLO; empty before. No control characters, at most 255 bytes, else as it came.
    pub hello: String,
    /// It said EHLO.
    pub esmtp: bool,
    /// The connection is encrypted.
    pub tls: bool,
    /// The name it authenticated as.
    pub login: Option<String>,
}

impl Session {
    /// The protocol for the trace header's `with` (RFC 3848, RFC 6531 s4.3).
    pub fn protocol(&self, utf8: bool) -> &'static str {
        match (utf8, self.esmtp, self.tls, self.login.is_some()) {
            (true, _, false, false) => "UTF8SMTP",
            (true, _, false, true) => "UTF8SMTPA",
            (true, _, true, false) => "UTF8SMTPS",
            (true, _, true, true) => "UTF8SMTPSA",
            (false, false, _, _) => "SMTP",
            (false, true, false, false) => "ESMTP",
            (false, true, false, true) => "ESMTPA",
            (false, true, true, false) => "ESMTPS",
            (false, true, true, true) => "ESMTPSA",
        }
    }
}
