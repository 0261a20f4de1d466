//! Domains and address literals, as they stand behind the `@` (RFC 5321 s4.1.2, s4.1.3; RFC 6531 s3.3).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use crate::base::limits;
use crate::mail::idna;

/// A host name or an address literal. ASCII letters are lower case, so equal domains are equal values.
///
/// Invariant: 1 to 255 bytes, no CR, LF, NUL, space or control character, safe in any command, header or log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// Why a text is not a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDomain {
    /// Nothing there, or an empty label as in `a..b`.
    EmptyLabel,
    /// Over 255 bytes, or a label over 63.
    TooLong,
    /// A byte that cannot stand in a host name.
    Character,
    /// Brackets without a good address inside.
    Literal,
}

impl fmt::Display for BadDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "the domain has an empty part",
            Self::TooLong => "the domain is too long",
            Self::Character => "the domain has a character that cannot stand there",
            Self::Literal => "the brackets do not hold an IP address",
        })
    }
}

impl std::error::Error for BadDomain {}

impl Domain {
    /// Reads a domain or a literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    ///
    /// Underscores and leading or trailing hyphens are taken: they are wrong by RFC 5321 s2.3.5 and common in the
    /// names devices give themselves. A single trailing dot is dropped. UTF-8 labels are taken as they are
    /// (RFC 6531 s3.3); who needs ASCII asks [`Domain::is_ascii`].
    pub fn parse(text: &str) -> Result<Self, BadDomain> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(BadDomain::Literal)?;
            return literal(inner).map(Self::from_ip).ok_or(BadDomain::Literal);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > limits::DOMAIN {
            return Err(BadDomain::TooLong);
        }
        for label in text.split('.') {
            if label.is_empty() {
                return Err(BadDomain::EmptyLabel);
            }
            if label.len() > 63 {
                return Err(BadDomain::TooLong);
            }
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || wide(c);
            if !label.chars().all(fits) {
                return Err(BadDomain::Character);
            }
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The literal for an address.
    pub fn from_ip(ip: IpAddr) -> Self {
        Self(match ip {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        })
    }

    /// `localhost`, which no mail leaves for: what stands behind a name that was written without a domain, until the
    /// rewriting of addresses has found a better one.
    pub fn localhost() -> Self {
        Self(String::from("localhost"))
    }

    /// Whether it means the host itself, whatever that is called: `localhost`, a name below it (RFC 6761 s6.3), the
    /// `localhost.localdomain` of many systems, or the loopback address. The other addresses of that network may be given
    /// to hosts of their own.
    pub fn is_localhost(&self) -> bool {
        let name = self.0.as_str();
        matches!(name, "localhost" | "localhost.localdomain")
            || self.is_below("localhost")
            || self.ip().is_some_and(|ip| {
                let ip = ip.to_canonical();
                ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
            })
    }

    /// The text, as it is printed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, when this is a literal.
    pub fn ip(&self) -> Option<IpAddr> {
        literal(self.0.strip_prefix('[')?.strip_suffix(']')?)
    }

    /// Whether every label is ASCII, so that it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// The name as DNS and certificates know it: labels in other scripts as their A-labels. `None` when one of them
    /// grows too long.
    pub fn to_ascii(&self) -> Option<Cow<'_, Self>> {
        if self.is_ascii() {
            return Some(Cow::Borrowed(self));
        }
        let labels: Option<Vec<String>> = self.0.split('.').map(idna::a_label).collect();
        Self::parse(&labels?.join(".")).ok().map(Cow::Owned)
    }

    /// Whether this name lies below `parent`: `a.example.com` below `example.com`, never the name itself.
    pub fn is_below(&self, parent: &str) -> bool {
        self.0
            .strip_suffix(parent)
            .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    }
}

/// What a UTF-8 label may hold besides ASCII: no white space, no control characters (RFC 6531 s3.3 defers to
/// IDNA; a look-alike is the reader's problem, a line end would be ours).
fn wide(c: char) -> bool {
    !c.is_ascii() && !c.is_whitespace() && !c.is_control()
}

fn literal(inner: &str) -> Option<IpAddr> {
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => {
            inner.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{BadDomain, Domain};

    #[test]
    fn domains() {
        for (text, want) in [
            ("Example.COM", Ok("example.com")),
            ("example.com.", Ok("example.com")),
            ("nas", Ok("nas")),
            ("my_nas.lan", Ok("my_nas.lan")),
            ("b\u{fc}ro.example", Ok("b\u{fc}ro.example")),
            ("[192.0.2.1]", Ok("[192.0.2.1]")),
            ("[IPV6:2001:DB8::1]", Ok("[IPv6:2001:db8::1]")),
            ("", Err(BadDomain::EmptyLabel)),
            (".", Err(BadDomain::EmptyLabel)),
            ("a..b", Err(BadDomain::EmptyLabel)),
            ("a b", Err(BadDomain::Character)),
            ("a\r\nb", Err(BadDomain::Character)),
            ("a\0b", Err(BadDomain::Character)),
            ("a\u{a0}b", Err(BadDomain::Character)),
            ("[300.0.0.1]", Err(BadDomain::Literal)),
            ("[192.0.2.1", Err(BadDomain::Literal)),
            ("[IPv6:nonsense]", Err(BadDomain::Literal)),
        ] {
            let got = Domain::parse(text);
            assert_eq!(
                got.as_ref().map(Domain::as_str),
                want.as_ref().copied(),
                "{text:?}"
            );
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(BadDomain::TooLong));
        assert_eq!(Domain::parse(&"a.".repeat(130)), Err(BadDomain::TooLong));
    }

    #[test]
    fn below_means_a_whole_label() {
        let name = Domain::parse("a.example.com").unwrap();
        assert!(name.is_below("example.com"));
        assert!(name.is_below("com"));
        assert!(!name.is_below("a.example.com"));
        assert!(!name.is_below("xample.com"));
    }
}
