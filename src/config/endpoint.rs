//! Where to listen, whom to connect to, and with how much TLS, as a setting says it.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mail::Domain;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// An address and a port; port 0 is one that the kernel chooses.
    Tcp(SocketAddr),
    /// A Unix socket; the path is absolute.
    Unix(PathBuf),
    /// What the service manager hands over under this name.
    Given(String),
}

/// A host to connect to, or a Unix socket of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name or address literal; `localhost` for a socket.
    pub name: Domain,
    /// Its port, when one was written.
    pub port: Option<u16>,
    /// The path of the socket.
    pub socket: Option<PathBuf>,
}

/// A directory to ask (RFC 4516 s2, of which only the place matters here).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// `ldap://host:port`.
    Tcp(Host),
    /// `ldaps://host:port`: inside TLS from the first byte.
    Tls(Host),
    /// `ldapi:///run/slapd/ldapi`: a Unix socket of this host.
    Unix(PathBuf),
}

/// How TLS is used with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// When the peer offers it; nothing is verified.
    Opportunistic,
    /// Always; nothing is verified.
    Require,
    /// Always, and the certificate must be good and for this name.
    Verify,
    /// Always, and the certificate must have this SHA-256 fingerprint.
    Pin([u8; 32]),
    /// As the host's TLSA records say, where there are any; else `Verify` for hosts that are named, `Opportunistic` for
    /// those that were found.
    Dane,
    /// As the host's TLSA records say, and never without them.
    DaneOnly,
}

impl Host {
    /// Reads `name`, `name:port`, `192.0.2.1:25`, `[192.0.2.1]:25`, `[2001:db8::1]:25`, a bare IP address, or the whole
    /// path of a Unix socket.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self {
                name: Domain::localhost(),
                port: None,
                socket: Some(PathBuf::from(text)),
            });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self {
                name: Domain::from_ip(ip),
                port: None,
                socket: None,
            });
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(inner) => {
                let (inner, behind) = inner.split_once(']')?;
                let ip = match inner.parse::<IpAddr>() {
                    Ok(ip) => ip,
                    Err(_) => Domain::parse(&format!("[{inner}]")).ok()?.ip()?,
                };
                let port = match behind {
                    "" => None,
                    _ => Some(behind.strip_prefix(':')?),
                };
                (Domain::from_ip(ip), port)
            }
            None => {
                let (name, port) = match text.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (text, None),
                };
                let name = match name.parse::<IpAddr>() {
                    Ok(ip) => Domain::from_ip(ip),
                    Err(_) => Domain::parse(name).ok()?,
                };
                (name, port)
            }
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port: &u16| *port != 0)?)
            }
            Some(_) => return None,
        };
        Some(Self {
            name,
            port,
            socket: None,
        })
    }
}

impl Directory {
    /// Reads a URL. The path of a socket stands as it is, or with its slashes as `%2F`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let host = || Host::parse(rest.strip_suffix('/').unwrap_or(rest));
        match scheme.to_ascii_lowercase().as_str() {
            "ldap" => host().map(Self::Tcp),
            "ldaps" => host().map(Self::Tls),
            "ldapi" => {
                let path = rest.replace("%2F", "/").replace("%2f", "/");
                let path = path.strip_suffix('/').unwrap_or(&path);
                path.starts_with('/')
                    .then(|| Self::Unix(PathBuf::from(path)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => write!(f, "ldap://{host}"),
            Self::Tls(host) => write!(f, "ldaps://{host}"),
            Self::Unix(path) => write!(f, "ldapi://{}", path.display()),
        }
    }
}

impl At {
    /// Reads `127.0.0.1:25`, `/run/mailroot/smtp` or `systemd:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("systemd:") {
            let good = |c: char| c.is_ascii_graphic() && c != ':';
            return (!name.is_empty() && name.chars().all(good))
                .then(|| Self::Given(name.to_owned()));
        }
        if text.starts_with('/') {
            return Some(Self::Unix(PathBuf::from(text)));
        }
        text.parse().ok().map(Self::Tcp)
    }

    /// The address and port, if that is what it is.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(at) => Some(*at),
            Self::Unix(_) | Self::Given(_) => None,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Given(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            return path.display().fmt(f);
        }
        match self.name.ip() {
            Some(IpAddr::V6(v6)) => write!(f, "[{v6}]")?,
            Some(IpAddr::V4(v4)) => v4.fmt(f)?,
            None => self.name.fmt(f)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Tls {
    /// Reads one of the words, or `pin:` and a fingerprint in hexadecimal, with or without colons.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "opportunistic" => Some(Self::Opportunistic),
            "require" => Some(Self::Require),
            "verify" => Some(Self::Verify),
            "dane" => Some(Self::Dane),
            "dane-only" => Some(Self::DaneOnly),
            _ => fingerprint(text.strip_prefix("pin:")?).map(Self::Pin),
        }
    }
}

/// 32 bytes in hexadecimal, perhaps with colons as openssl prints them.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut digits = text.chars().filter(|c| *c != ':');
    let mut bytes = [0; 32];
    for byte in &mut bytes {
        let high = digits.next()?.to_digit(16)?;
        let low = digits.next()?.to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Opportunistic => f.write_str("opportunistic"),
            Self::Require => f.write_str("require"),
            Self::Verify => f.write_str("verify"),
            Self::Dane => f.write_str("dane"),
            Self::DaneOnly => f.write_str("dane-only"),
            Self::Pin(bytes) => {
                f.write_str("pin:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}
