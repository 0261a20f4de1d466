//! Mailboxes as they stand in MAIL and RCPT (RFC 5321 s4.1.2, RFC 6531 s3.3).

use std::fmt;

use crate::base::limits;
use crate::mail::domain::BadDomain;
use crate::mail::domain::Domain;

/// A mailbox: local part and domain.
///
/// Invariant: the local part is 1 to 64 bytes of text without CR, LF, NUL or other control characters, kept
/// without quotes; it is quoted again where it is printed, when it needs to be. So an address can be printed into
/// any command or header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local: String,
    domain: Domain,
}

/// Why a text is not a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    /// Nothing before the `@`, or no text at all.
    Empty,
    /// A bare local part; the caller may have a default domain to add.
    NoDomain,
    /// A local part over 64 bytes, or a path over 256.
    TooLong,
    /// Something in the local part that must be quoted, or may not stand there at all.
    LocalPart,
    /// What stands behind the `@`.
    Domain(BadDomain),
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no address"),
            Self::NoDomain => f.write_str("the address has no domain"),
            Self::TooLong => f.write_str("the address is too long"),
            Self::LocalPart => f.write_str("the part before the @ cannot be read"),
            Self::Domain(bad) => bad.fmt(f),
        }
    }
}

impl std::error::Error for BadAddress {}

impl Address {
    /// Reads `local@domain`; the local part may be a quoted string.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        Self::parse_with(text, None)
    }

    /// Reads `local@domain`, or a bare `local` that then gets `default_domain`.
    pub fn parse_with(text: &str, default_domain: Option<&Domain>) -> Result<Self, BadAddress> {
        let (local, rest) = if text.starts_with('"') {
            quoted(text)?
        } else {
            // The last @ splits: an unquoted local part cannot hold one, and `dot_string` refuses it if it does.
            let at = text.rfind('@').unwrap_or(text.len());
            let (local, rest) = text.split_at_checked(at).ok_or(BadAddress::LocalPart)?;
            (dot_string(local)?.to_owned(), rest)
        };
        if local.len() > limits::LOCAL_PART {
            return Err(BadAddress::TooLong);
        }
        let domain = match rest.strip_prefix('@') {
            Some(domain) => Domain::parse(domain).map_err(BadAddress::Domain)?,
            None if rest.is_empty() => default_domain.ok_or(BadAddress::NoDomain)?.clone(),
            None => return Err(BadAddress::LocalPart),
        };
        Ok(Self { local, domain })
    }

    /// The local part without quotes. May hold spaces and specials, never control characters.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The same local part at another domain.
    #[must_use]
    pub fn at(&self, domain: Domain) -> Self {
        Self {
            local: self.local.clone(),
            domain,
        }
    }

    /// Another local part at the same domain, if it is one.
    pub fn named(&self, local: &str) -> Option<Self> {
        Self::parse_with(local, Some(&self.domain)).ok()
    }

    /// It as an ORCPT (RFC 3461 s4.2); a name without a domain as it was written. None for one outside ASCII.
    pub fn orcpt(&self) -> Option<String> {
        if !self.is_ascii() {
            return None;
        }
        let text = self.to_string();
        let text = text.strip_suffix("@localhost").unwrap_or(&text);
        let mut orcpt = String::from("rfc822;");
        for c in text.chars() {
            if c.is_ascii_graphic() && c != '+' && c != '=' {
                orcpt.push(c);
            } else {
                orcpt.push_str(&format!("+{:02X}", u32::from(c)));
            }
        }
        Some(orcpt)
    }

    /// The same with its local part in lower case, for comparing: by RFC 5321 s2.4 only the domain's own host may, and
    /// it should.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self {
            local: self.local.to_lowercase(),
            domain: self.domain.clone(),
        }
    }

    /// Bytes of it as it is printed.
    pub fn printed_len(&self) -> usize {
        let quoted = match dot_string(&self.local) {
            Ok(_) => 0,
            Err(_) => {
                let escaped = self.local.bytes().filter(|b| matches!(b, b'"' | b'\\'));
                escaped.count().saturating_add(2)
            }
        };
        let domain = self.domain.as_str().len().saturating_add(1);
        self.local
            .len()
            .saturating_add(quoted)
            .saturating_add(domain)
    }

    /// Whether it can be sent to a peer without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.is_ascii()
    }

    /// Whether this is the postmaster of its domain, in any case (RFC 5321 s4.5.1).
    pub fn is_postmaster(&self) -> bool {
        self.local.eq_ignore_ascii_case("postmaster")
    }
}

/// `local@domain`, the local part quoted when it has to be (RFC 5321 s4.1.2).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if dot_string(&self.local).is_ok() && !has_odd_dots(&self.local) {
            write!(f, "{}@{}", self.local, self.domain)
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            write!(f, "\"@{}", self.domain)
        }
    }
}

/// A local part that needs no quotes. Dots may stand anywhere: real mailboxes exist with a dot at the end.
fn dot_string(local: &str) -> Result<&str, BadAddress> {
    let fits = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~.".contains(c)
            || (!c.is_ascii() && !c.is_whitespace() && !c.is_control())
    };
    if local.is_empty() {
        Err(BadAddress::Empty)
    } else if local.chars().all(fits) {
        Ok(local)
    } else {
        Err(BadAddress::LocalPart)
    }
}

/// Dots that RFC 5321 s4.1.2 lets stand in quotes only. They are read without, and a strict peer wants to see them.
fn has_odd_dots(local: &str) -> bool {
    local.starts_with('.') || local.ends_with('.') || local.contains("..")
}

/// A quoted string at the front of `text`, without its quotes, and the rest.
fn quoted(text: &str) -> Result<(String, &str), BadAddress> {
    let mut chars = text.strip_prefix('"').ok_or(BadAddress::LocalPart)?.chars();
    let mut local = String::new();
    loop {
        match chars.next().ok_or(BadAddress::LocalPart)? {
            '"' => break,
            '\\' => local.push(
                chars
                    .next()
                    .filter(|c| !c.is_control())
                    .ok_or(BadAddress::LocalPart)?,
            ),
            c if c.is_control() => return Err(BadAddress::LocalPart),
            c => local.push(c),
        }
    }
    if local.is_empty() {
        return Err(BadAddress::Empty);
    }
    Ok((local, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{Address, BadAddress};
    use crate::mail::domain::{BadDomain, Domain};

    #[test]
    fn the_printed_length_is_that_of_what_is_printed() {
        for text in [
            "a@b.example",
            "\"two words\"@b.example",
            "\"a\\\"b\\\\c\"@[192.0.2.1]",
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.printed_len(), address.to_string().len(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, want) in [
            ("a@b.example", Ok("a@b.example")),
            ("A.B+c@B.Example", Ok("A.B+c@b.example")),
            ("a.@b.example", Ok("\"a.\"@b.example")),
            ("\"a..b\"@c.example", Ok("\"a..b\"@c.example")),
            (".a@c.example", Ok("\".a\"@c.example")),
            ("\"a b\"@b.example", Ok("\"a b\"@b.example")),
            ("\"plain\"@b.example", Ok("plain@b.example")),
            ("\"a\\\"b\\\\\"@b.example", Ok("\"a\\\"b\\\\\"@b.example")),
            ("\"a@b\"@c.example", Ok("\"a@b\"@c.example")),
            ("a@[192.0.2.1]", Ok("a@[192.0.2.1]")),
            (
                "j\u{f6}rg@b\u{fc}ro.example",
                Ok("j\u{f6}rg@b\u{fc}ro.example"),
            ),
            ("a%b@c.example", Ok("a%b@c.example")),
            ("a!b@c.example", Ok("a!b@c.example")),
            ("", Err(BadAddress::Empty)),
            ("@b.example", Err(BadAddress::Empty)),
            ("\"\"@b.example", Err(BadAddress::Empty)),
            ("root", Err(BadAddress::NoDomain)),
            ("\"root\"", Err(BadAddress::NoDomain)),
            ("a@b@c.example", Err(BadAddress::LocalPart)),
            ("a b@c.example", Err(BadAddress::LocalPart)),
            ("a\r\n@c.example", Err(BadAddress::LocalPart)),
            ("\"a\r\n\"@c.example", Err(BadAddress::LocalPart)),
            ("\"a\\\r\"@c.example", Err(BadAddress::LocalPart)),
            ("\"a\"b@c.example", Err(BadAddress::LocalPart)),
            ("\"a@c.example", Err(BadAddress::LocalPart)),
            ("a@", Err(BadAddress::Domain(BadDomain::EmptyLabel))),
            ("a@b c", Err(BadAddress::Domain(BadDomain::Character))),
        ] {
            let got = Address::parse(text).map(|a| a.to_string());
            assert_eq!(got, want.map(str::to_owned), "{text:?}");
        }
        assert_eq!(
            Address::parse(&format!("{}@b", "a".repeat(65))),
            Err(BadAddress::TooLong)
        );
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for text in ["a@b", "\"a b\"@b", "\"\\\\\\\"\"@b", "\"a@b\"@[IPv6:::1]"] {
            let address = Address::parse(text).unwrap();
            assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }
    }

    #[test]
    fn a_bare_name_gets_the_default_domain() {
        let home = Domain::parse("nas.lan").unwrap();
        let root = Address::parse_with("root", Some(&home)).unwrap();
        assert_eq!(root.to_string(), "root@nas.lan");
    }
}
