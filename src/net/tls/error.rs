//! What a failed handshake means, in a sentence that says what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::Error;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

use crate::base::Escaped;
use crate::base::Wall;
use crate::net::clock::TrustedClock;
use crate::net::tls::judge::NotInDns;
use crate::net::tls::judge::WrongPin;
use crate::net::tls::pin::Pin;

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate's time is over.
    Expired {
        /// When it ended.
        on: Option<Wall>,
        /// What the box's clock reads.
        clock: Reads,
    },
    /// The certificate's time has not come.
    NotYet {
        /// When it begins.
        from: Option<Wall>,
        /// What the box's clock reads.
        clock: Reads,
    },
    /// The certificate is somebody else's.
    WrongName {
        /// The host that was wanted.
        wanted: String,
        /// The names in the certificate, at most three.
        shown: Vec<String>,
    },
    /// No trusted authority vouches for the certificate.
    UnknownIssuer,
    /// The certificate vouches for itself.
    SelfSigned,
    /// Neither the certificate nor its key is the pinned one.
    WrongPin {
        /// What the key would have to be pinned as.
        key: Pin,
    },
    /// No TLSA record of the server's allows its certificate.
    NotInDns,
    /// The certificate is bad in another way.
    BadCertificate(String),
    /// The peer broke the handshake off, and says why.
    Alert(String),
    /// What came is not TLS.
    NotTls,
    /// The two ends have no version or cipher in common.
    NothingInCommon(String),
    /// The peer closed the connection.
    Closed,
    /// The handshake took too long.
    TooLate,
    /// The connection broke, or the peer breaks the protocol.
    Broken(String),
    /// A file of ours cannot be used.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Our setup cannot be used.
    Setup(String),
}

/// What the box's clock read at the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The reading.
    pub wall: Wall,
    /// Whether it can be true.
    pub believed: bool,
}

impl Reads {
    fn now(clock: &TrustedClock) -> Self {
        Self {
            wall: clock.raw(),
            believed: clock.believed().is_some(),
        }
    }
}

impl TlsError {
    /// Reads what [`Stream::start_client`](crate::net::stream::Stream::start_client) or its twin failed with.
    pub fn from_io(error: &io::Error, clock: &TrustedClock) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(inner) => Self::from_rustls(inner, clock),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Closed,
                io::ErrorKind::TimedOut => Self::TooLate,
                _ => Self::Broken(error.to_string()),
            },
        }
    }

    fn from_rustls(error: &Error, clock: &TrustedClock) -> Self {
        match error {
            Error::InvalidCertificate(bad) => Self::from_certificate(bad, clock),
            Error::NoCertificatesPresented => {
                Self::BadCertificate("the peer shows none".to_owned())
            }
            Error::AlertReceived(alert) => Self::Alert(alert_text(*alert)),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(what) => Self::NothingInCommon(format!("{what:?}")),
            other => Self::Broken(other.to_string()),
        }
    }

    fn from_certificate(bad: &CertificateError, clock: &TrustedClock) -> Self {
        let wall = |time: &UnixTime| Some(Wall::from_secs(time.as_secs()));
        let clock = Reads::now(clock);
        match bad {
            CertificateError::Expired => Self::Expired { on: None, clock },
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired {
                on: wall(not_after),
                clock,
            },
            CertificateError::NotValidYet => Self::NotYet { from: None, clock },
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYet {
                from: wall(not_before),
                clock,
            },
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Self::WrongName {
                wanted: name_text(expected),
                shown: presented
                    .iter()
                    .take(3)
                    .map(|name| plain_name(name))
                    .collect(),
            },
            CertificateError::NotValidForName => Self::WrongName {
                wanted: String::new(),
                shown: Vec::new(),
            },
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::BadSignature => {
                Self::BadCertificate("the authority that it names did not sign it".to_owned())
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<WrongPin>() {
                Some(wrong) => Self::WrongPin { key: wrong.key },
                // webpki's error, which rustls hands on as text: an authority's certificate where a server's is due.
                None if other.0.to_string() == "CaUsedAsEndEntity" => Self::SelfSigned,
                None if other.0.is::<NotInDns>() => Self::NotInDns,
                None => Self::BadCertificate(other.0.to_string()),
            },
            other => Self::BadCertificate(format!("{other:?}")),
        }
    }

    /// Whether the peer is not proved to be who the route expects, or our own setup is at fault: `Hold`, and tell
    /// the operator. Everything else passes: `Later`.
    pub fn is_setup(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::NotYet { .. }
            | Self::WrongName { .. }
            | Self::UnknownIssuer
            | Self::SelfSigned
            | Self::WrongPin { .. }
            | Self::NotInDns
            | Self::BadCertificate(_)
            | Self::NotTls
            | Self::NothingInCommon(_)
            | Self::BadFile { .. }
            | Self::Setup(_) => true,
            Self::Alert(_) | Self::Closed | Self::TooLate | Self::Broken(_) => false,
        }
    }
}

fn name_text(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// webpki writes a name as `DnsName("host")`; only what is inside the quotes is for people.
fn plain_name(shown: &str) -> String {
    let inner = shown
        .split_once('"')
        .and_then(|(_, rest)| rest.rsplit_once('"'));
    inner.map_or(shown, |(name, _)| name).to_owned()
}

fn alert_text(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a client certificate".to_owned(),
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "it finds no version or cipher in common".to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::BadCertificate => {
            "it does not trust our certificate".to_owned()
        }
        AlertDescription::CertificateExpired => "it takes our certificate for expired".to_owned(),
        AlertDescription::UnrecognisedName => "it does not know the name we asked for".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The day, for people.
struct Day(Wall);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.0.civil();
        write!(f, "{:04}-{:02}-{:02}", c.year, c.month, c.day)
    }
}

/// Adds what the clock reads, loudly when it cannot be true.
impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = Day(self.wall);
        if self.believed {
            write!(f, "this box's clock reads {day}")
        } else {
            write!(
                f,
                "this box's clock is wrong, it reads {day}; set it, or let NTP through"
            )
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { on: Some(on), clock } => {
                write!(f, "the server's certificate expired on {} ({clock})", Day(*on))
            }
            Self::Expired { on: None, clock } => {
                write!(f, "the server's certificate has expired ({clock})")
            }
            Self::NotYet { from: Some(from), clock } => {
                write!(f, "the server's certificate is valid from {} only ({clock})", Day(*from))
            }
            Self::NotYet { from: None, clock } => {
                write!(f, "the server's certificate is not valid yet ({clock})")
            }
            Self::WrongName { wanted, shown } => {
                f.write_str("wrong name: the certificate is for ")?;
                for (place, name) in shown.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Escaped(name.as_bytes()))?;
                }
                if shown.is_empty() {
                    f.write_str("no host at all")?;
                }
                if !wanted.is_empty() {
                    write!(f, ", not for {wanted}")?;
                }
                f.write_str("; configure the host by the name in the certificate, or pin the certificate")
            }
            Self::UnknownIssuer => f.write_str(
                "unknown issuer: no trusted authority vouches for the certificate; name its CA file or pin it",
            ),
            Self::SelfSigned => f.write_str(
                "self-signed: the certificate vouches for itself and no authority does; name it as the CA file or pin it",
            ),
            Self::WrongPin { key } => write!(
                f,
                "the server is not the pinned one; if its key was changed on purpose, the new pin is {key}"
            ),
            Self::NotInDns => f.write_str(
                "the certificate is not one that the server's TLSA records in DNS allow; either its operator changed the \
                 certificate and not the records, or this is not the server",
            ),
            Self::BadCertificate(what) => {
                write!(f, "the certificate cannot be used: {}", Escaped(what.as_bytes()))
            }
            Self::Alert(what) => write!(f, "the peer broke TLS off: {what}"),
            Self::NotTls => f.write_str(
                "the peer does not speak TLS there; implicit TLS is for port 465, STARTTLS for 25 and 587",
            ),
            Self::NothingInCommon(what) => {
                write!(f, "the peer has no TLS 1.2 or 1.3 cipher that we take ({what})")
            }
            Self::Closed => f.write_str("the peer closed the connection in the TLS handshake"),
            Self::TooLate => f.write_str("the TLS handshake took too long"),
            Self::Broken(what) => write!(f, "TLS broke: {what}"),
            Self::BadFile { path, what } => write!(f, "cannot use {}: {what}", path.display()),
            Self::Setup(what) => write!(f, "cannot set TLS up: {what}"),
        }
    }
}

impl std::error::Error for TlsError {}
