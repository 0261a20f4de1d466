//! The header that a load balancer puts in front of a connection: the PROXY protocol, version 2.
//!
//! Never: looks past the length that the header gives, or believes a header from a peer that was not named.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// The first bytes of every header; they can begin nothing that SMTP or TLS says.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Length of the part that every header has.
pub const HEAD: usize = 16;

/// Longest rest that is read. Addresses take 36 bytes, or 216 of a Unix socket; behind them stand notes for which
/// we have no use.
pub const REST: usize = 4096;

/// Why a connection cannot be taken as its load balancer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadProxy {
    /// It speaks version 1, the line of text.
    Text,
    /// No header.
    Missing,
    /// A version or a command that does not exist.
    Unknown(u8),
    /// A rest over the longest.
    TooLong(u16),
    /// A rest too short for the addresses it announces.
    Short,
}

impl fmt::Display for BadProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str(
                "the load balancer speaks version 1 of the PROXY protocol; set it to version 2 (send-proxy-v2)",
            ),
            Self::Missing => f.write_str(
                "listen.proxy_from names this address, and it did not begin with the PROXY protocol",
            ),
            Self::Unknown(byte) => write!(f, "the PROXY header is of an unknown kind ({byte:#04x})"),
            Self::TooLong(len) => write!(f, "the PROXY header announces {len} bytes"),
            Self::Short => f.write_str("the PROXY header is too short for its addresses"),
        }
    }
}

impl std::error::Error for BadProxy {}

/// Whom the connection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The load balancer itself, which looks whether we are well.
    Itself,
    /// A client.
    Client(SocketAddr),
    /// A client without an IP address.
    Nameless,
}

/// The part that every header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    itself: bool,
    family: u8,
    rest: u16,
}

impl Head {
    /// Reads it.
    pub fn parse(bytes: &[u8; HEAD]) -> Result<Self, BadProxy> {
        let [.., kind, family, high, low] = *bytes;
        if !bytes.starts_with(&SIGNATURE) {
            return Err(if bytes.starts_with(b"PROXY ") {
                BadProxy::Text
            } else {
                BadProxy::Missing
            });
        }
        let rest = u16::from_be_bytes([high, low]);
        if usize::from(rest) > REST {
            return Err(BadProxy::TooLong(rest));
        }
        match kind {
            0x20 | 0x21 => Ok(Self {
                itself: kind == 0x20,
                family: family >> 4,
                rest,
            }),
            _ => Err(BadProxy::Unknown(kind)),
        }
    }

    /// How many bytes follow.
    pub fn rest(&self) -> usize {
        usize::from(self.rest)
    }

    /// Reads what follows.
    pub fn source(&self, rest: &[u8]) -> Result<Source, BadProxy> {
        if self.itself {
            return Ok(Source::Itself);
        }
        // Source, destination, source port; the destination is us.
        let (ip, port): (IpAddr, _) = match self.family {
            1 => {
                let (ip, rest) = rest.split_first_chunk::<4>().ok_or(BadProxy::Short)?;
                (Ipv4Addr::from(*ip).into(), rest.get(4..6))
            }
            2 => {
                let (ip, rest) = rest.split_first_chunk::<16>().ok_or(BadProxy::Short)?;
                (Ipv6Addr::from(*ip).into(), rest.get(16..18))
            }
            _ => return Ok(Source::Nameless),
        };
        let port = port.and_then(<[u8]>::first_chunk).ok_or(BadProxy::Short)?;
        let port = u16::from_be_bytes(*port);
        Ok(Source::Client(SocketAddr::new(ip.to_canonical(), port)))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadProxy, HEAD, Head, SIGNATURE, Source};

    fn header(kind: u8, family: u8, rest: &[u8]) -> Result<Source, BadProxy> {
        let mut head = SIGNATURE.to_vec();
        head.extend([kind, family]);
        head.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        let head = Head::parse(&<[u8; HEAD]>::try_from(head).unwrap())?;
        assert_eq!(head.rest(), rest.len());
        head.source(rest)
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x9c, 0x40, 0, 25];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[15] = 7;
        v6[33] = 9;
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let with_notes = [&v4[..], &[4, 0, 1, 0]].concat();
        let client = |text: &str| Ok(Source::Client(text.parse().unwrap()));
        for (kind, family, rest, want) in [
            (0x21, 0x11, &v4[..], client("192.0.2.1:40000")),
            (0x21, 0x11, &with_notes, client("192.0.2.1:40000")),
            (0x21, 0x21, &v6, client("[2001:db8::7]:9")),
            (0x21, 0x21, &mapped, client("192.0.2.1:0")),
            (0x21, 0x00, &[], Ok(Source::Nameless)),
            (0x21, 0x31, &[0; 216], Ok(Source::Nameless)),
            (0x20, 0x00, &[], Ok(Source::Itself)),
            (0x20, 0x11, &v4, Ok(Source::Itself)),
            (0x21, 0x11, &v4[..9], Err(BadProxy::Short)),
            (0x21, 0x11, &[], Err(BadProxy::Short)),
            (0x21, 0x21, &v6[..33], Err(BadProxy::Short)),
            (0x22, 0x11, &v4, Err(BadProxy::Unknown(0x22))),
            (0x11, 0x11, &v4, Err(BadProxy::Unknown(0x11))),
            (0x21, 0x11, &[0; 5000], Err(BadProxy::TooLong(5000))),
        ] {
            assert_eq!(header(kind, family, rest), want, "{kind:#x} {family:#x}");
        }
    }

    #[test]
    fn what_is_no_header_is_told_apart() {
        for (bytes, want) in [
            (b"PROXY TCP4 192.0", BadProxy::Text),
            (b"EHLO a.example\r\n", BadProxy::Missing),
            (&[0; 16], BadProxy::Missing),
        ] {
            assert_eq!(Head::parse(bytes), Err(want));
            assert!(want.to_string().is_ascii());
        }
    }
}
