//! What an owner decides about one route, as far as the dialog goes.

use std::fmt;
use std::time::Duration;

use crate::mail::domain::Domain;
use crate::smtp::outcome::Role;
use crate::smtp::sasl::mechanism::Mechanisms;

/// How a client behaves on one connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name we give in EHLO.
    pub hello: Domain,
    /// The peer, as `host [address]`, for reasons.
    pub peer: String,
    /// Configured or found by MX.
    pub role: Role,
    /// What it speaks.
    pub dialect: Dialect,
    /// STARTTLS. With implicit TLS (RFC 8314 s3) the connection is encrypted before the client begins, and this says nothing.
    pub starttls: StartTls,
    /// TLS proves who the peer is: by an authority, a pin, or TLSA records. Without it no message goes here whose
    /// sender requires TLS (RFC 8689 s4.2.1).
    pub proved: bool,
    /// How we authenticate; `None` is not at all.
    pub login: Option<Login>,
    /// Mechanisms that show the secret may be used without TLS: right for loopback only.
    pub login_without_tls: bool,
    /// Most messages of one connection; then QUIT.
    pub messages: usize,
    /// Most recipients of one transaction; a message with more is sent in several.
    pub recipients: usize,
    /// PIPELINING and CHUNKING are used when offered.
    pub pipelining: bool,
    /// BDAT is used when offered.
    pub chunking: bool,
    /// How long to wait for the peer.
    pub timeouts: Timeouts,
}

impl Settings {
    /// A client with usual limits, TLS required, without AUTH.
    pub fn new(hello: Domain, peer: String) -> Self {
        Self {
            hello,
            peer,
            role: Role::SmartHost,
            dialect: Dialect::Esmtp,
            starttls: StartTls::Required,
            proved: true,
            login: None,
            login_without_tls: false,
            messages: 100,
            recipients: 100,
            pipelining: true,
            chunking: true,
            timeouts: Timeouts::default(),
        }
    }
}

/// How a peer is greeted, and how it answers to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// EHLO, and HELO for a peer that does not know it, where nothing is needed that HELO has not.
    Esmtp,
    /// HELO at once, for a peer that stumbles over EHLO.
    Smtp,
    /// LHLO, and a reply for each recipient behind the message (RFC 2033 s4).
    Lmtp,
}

impl Dialect {
    /// The command that begins it.
    pub const fn hello(self) -> &'static str {
        match self {
            Self::Esmtp => "EHLO",
            Self::Smtp => "HELO",
            Self::Lmtp => "LHLO",
        }
    }
}

/// When STARTTLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Always; without it nothing is sent (promise G5).
    Required,
    /// When offered. A failed handshake still ends the connection; trying again without is the caller's decision.
    IfOffered,
    /// Never.
    Never,
}

/// Who we are to the peer.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub name: String,
    /// What proves it.
    pub secret: Secret,
    /// The only mechanisms that may be used; none named is all that fit.
    pub only: Mechanisms,
}

impl Login {
    /// With any mechanism that fits the secret.
    pub fn new(name: String, secret: Secret) -> Self {
        Self {
            name,
            secret,
            only: Mechanisms::default(),
        }
    }
}

/// What proves who we are.
#[derive(Clone)]
pub enum Secret {
    /// For SCRAM, CRAM-MD5, NTLM, PLAIN and LOGIN.
    Password(String),
    /// An OAuth 2 access token, for XOAUTH2 and OAUTHBEARER.
    Token(String),
    /// The certificate shown in the handshake, for EXTERNAL.
    Certificate,
}

/// Shows no secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.name)
    }
}

/// How long a client waits for each reply (RFC 5321 s4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// s4.5.3.2.1: 5 minutes.
    pub greeting: Duration,
    /// EHLO, STARTTLS, AUTH, RSET, MAIL and RCPT: s4.5.3.2.2 and 3, 5 minutes.
    pub command: Duration,
    /// s4.5.3.2.4: 2 minutes.
    pub data: Duration,
    /// s4.5.3.2.6: 10 minutes. Shorter makes duplicates.
    pub dot: Duration,
    /// The reply to QUIT, which nobody needs.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(300),
            command: Duration::from_secs(300),
            data: Duration::from_secs(120),
            dot: Duration::from_secs(600),
            quit: Duration::from_secs(5),
        }
    }
}
