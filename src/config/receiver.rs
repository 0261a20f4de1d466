//! Where syslog is received.

use std::fmt;
use std::path::PathBuf;

use crate::config::endpoint::Host;

/// A receiver of syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A datagram socket of this box.
    Unix(PathBuf),
    /// Over UDP.
    Udp(Host),
    /// Over TCP.
    Tcp(Host),
}

/// Its port where none is written.
pub const SYSLOG_PORT: u16 = 514;

impl Receiver {
    /// Reads `udp://host:port`, `tcp://host:port` or the path of a socket.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once("://") {
            Some(("udp", host)) => Host::parse(host).map(Self::Udp),
            Some(("tcp", host)) => Host::parse(host).map(Self::Tcp),
            None if text.starts_with('/') => Some(Self::Unix(PathBuf::from(text))),
            Some(_) | None => None,
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Udp(host) => write!(f, "udp://{host}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Receiver;

    #[test]
    fn receivers_of_syslog() {
        for good in [
            "/dev/log",
            "udp://192.0.2.1",
            "udp://[2001:db8::1]:5514",
            "tcp://logs.example:601",
        ] {
            assert_eq!(Receiver::parse(good).unwrap().to_string(), good);
        }
        for bad in ["dev/log", "tls://logs.example", "udp://", "tcp://a:0", ""] {
            assert_eq!(Receiver::parse(bad), None, "{bad}");
        }
    }
}
