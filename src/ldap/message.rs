//! Requests and responses (RFC 4511 s4): those that mail needs, written and read.

use std::fmt;

use crate::base::Escaped;
use crate::base::limits;
use crate::ldap::ber;
use crate::ldap::ber::Malformed;
use crate::ldap::ber::Reader;
use crate::ldap::filter::Filter;

/// How much of the tree below the base is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The entry that is the base.
    Base,
    /// That, and all below.
    Subtree,
}

/// A search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The name of the entry where it begins.
    pub base: String,
    /// How far it goes.
    pub scope: Scope,
    /// What is wanted.
    pub filter: Filter,
    /// Which attributes of it.
    pub attributes: Vec<String>,
    /// Entries at most; zero is the server's own limit.
    pub most: u32,
}

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// To be nobody.
    Anonymous,
    /// To be this entry, by its password.
    Simple {
        /// The entry's name, or what else the server takes for one.
        name: &'a str,
        /// Never empty: that would be [`Request::Anonymous`] to many servers (RFC 4513 s5.1.2).
        password: &'a str,
    },
    /// To be who the certificate or the socket says (SASL EXTERNAL, RFC 4422 appendix A).
    External,
    /// To go on inside TLS (RFC 4511 s4.14).
    StartTls,
    /// To search.
    Search(&'a Search),
    /// Nothing more.
    Unbind,
}

const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

impl Request<'_> {
    /// The message, under this number.
    pub fn write(&self, id: u32) -> Vec<u8> {
        let mut content = Vec::new();
        ber::put_number(&mut content, ber::INTEGER, id);
        match self {
            Self::Anonymous => bind(&mut content, "", 0x80, b""),
            Self::Simple { name, password } => bind(&mut content, name, 0x80, password.as_bytes()),
            Self::External => {
                let mut sasl = Vec::new();
                ber::put(&mut sasl, ber::OCTETS, b"EXTERNAL");
                // Empty credentials: to be who we are already.
                ber::put(&mut sasl, ber::OCTETS, b"");
                bind(&mut content, "", 0xA3, &sasl);
            }
            Self::StartTls => {
                let mut name = Vec::new();
                ber::put(&mut name, 0x80, START_TLS);
                ber::put(&mut content, 0x77, &name);
            }
            Self::Search(search) => search.write(&mut content),
            Self::Unbind => ber::put(&mut content, 0x42, b""),
        }
        let mut out = Vec::new();
        ber::put(&mut out, ber::SEQUENCE, &content);
        out
    }
}

fn bind(out: &mut Vec<u8>, name: &str, tag: u8, proof: &[u8]) {
    let mut content = Vec::new();
    ber::put_number(&mut content, ber::INTEGER, 3);
    ber::put(&mut content, ber::OCTETS, name.as_bytes());
    ber::put(&mut content, tag, proof);
    ber::put(out, 0x60, &content);
}

impl Search {
    fn write(&self, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        ber::put(&mut content, ber::OCTETS, self.base.as_bytes());
        let scope = match self.scope {
            Scope::Base => 0,
            Scope::Subtree => 2,
        };
        ber::put_number(&mut content, ber::ENUMERATED, scope);
        // Aliases are followed by nobody but the owner of the tree: never.
        ber::put_number(&mut content, ber::ENUMERATED, 0);
        ber::put_number(&mut content, ber::INTEGER, self.most);
        // How long it may take is our own affair: no limit here.
        ber::put_number(&mut content, ber::INTEGER, 0);
        ber::put(&mut content, ber::BOOLEAN, &[0]);
        self.filter.write(&mut content);
        let mut names = Vec::new();
        for name in &self.attributes {
            ber::put(&mut names, ber::OCTETS, name.as_bytes());
        }
        ber::put(&mut content, ber::SEQUENCE, &names);
        ber::put(out, 0x63, &content);
    }
}

/// An entry that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub dn: String,
    /// Its attributes as the server calls them, options included, each with its values. Values that are no text are
    /// left out.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Entry {
    /// The values of an attribute, by its name without options.
    pub fn values(&self, wanted: &str) -> impl Iterator<Item = &str> {
        let is = |name: &str| {
            let base = name.split(';').next().unwrap_or(name);
            base.eq_ignore_ascii_case(wanted)
        };
        let found = self.attributes.iter().filter(move |(name, _)| is(name));
        found.flat_map(|(_, values)| values.iter().map(String::as_str))
    }
}

/// How an operation ended (RFC 4511 s4.1.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code; zero is success.
    pub code: i32,
    /// What the server says about it.
    pub text: String,
}

/// The operation succeeded.
pub const SUCCESS: i32 = 0;
/// More entries were found than asked for.
pub const SIZE_LIMIT: i32 = 4;
/// There is no such entry.
pub const NO_SUCH_OBJECT: i32 = 32;
/// The name is no name.
pub const BAD_DN: i32 = 34;
/// The server will not do that, or not for this account.
pub const UNWILLING: i32 = 53;
/// Name or password is wrong.
pub const BAD_CREDENTIALS: i32 = 49;

impl Outcome {
    /// Whether it may pass by itself: the server is busy, starting, or ran out of something. Anything else stays until
    /// somebody changes the setup.
    pub const fn may_pass(&self) -> bool {
        // operationsError, timeLimitExceeded, adminLimitExceeded, busy, unavailable, unwillingToPerform, loopDetect,
        // other
        matches!(self.code, 1 | 3 | 11 | 51 | 52 | 53 | 54 | 80)
    }

    /// What the code means, for those that owners meet.
    const fn word(&self) -> &'static str {
        match self.code {
            0 => "success",
            1 => "operations error; it may want a bind first",
            3 => "time limit exceeded",
            4 => "size limit exceeded",
            7 => "authentication method not supported",
            8 => "stronger authentication required",
            10 => "referral; the base is on another server",
            11 => "administrative limit exceeded",
            13 => "confidentiality required; it wants TLS",
            32 => "no such object; the base is not there, or may not be read",
            34 => "invalid name",
            48 => "inappropriate authentication",
            49 => "invalid credentials",
            50 => "insufficient access rights",
            51 => "busy",
            52 => "unavailable",
            53 => "unwilling to perform",
            _ => "error",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.word())?;
        if !self.text.is_empty() {
            let text: String = self.text.chars().take(200).collect();
            write!(f, ": {}", Escaped(text.trim().as_bytes()))?;
        }
        Ok(())
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// How a bind ended.
    Bound(Outcome),
    /// One entry.
    Entry(Entry),
    /// There may be more on other servers. They are not asked.
    Reference,
    /// How a search ended.
    Found(Outcome),
    /// How an extended operation ended, or with number zero why the server hangs up.
    Extended(Outcome),
    /// What needs no answer.
    Other,
}

/// Reads one whole message: its number, and what it says.
pub fn read(bytes: &[u8]) -> Result<(i32, Response), Malformed> {
    let mut message = Reader::new(Reader::new(bytes).expect(ber::SEQUENCE)?);
    let id = message.number(ber::INTEGER)?;
    let (tag, content) = message.any()?;
    let mut reader = Reader::new(content);
    let response = match tag {
        0x61 => Response::Bound(outcome(&mut reader)?),
        0x64 => Response::Entry(entry(&mut reader)?),
        0x65 => Response::Found(outcome(&mut reader)?),
        0x73 => Response::Reference,
        0x78 => Response::Extended(outcome(&mut reader)?),
        0x79 => Response::Other,
        _ => return Err(Malformed),
    };
    Ok((id, response))
}

fn outcome(reader: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    let code = reader.number(ber::ENUMERATED)?;
    reader.expect(ber::OCTETS)?;
    Ok(Outcome {
        code,
        text: reader.text(ber::OCTETS)?,
    })
}

fn entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let dn = reader.text(ber::OCTETS)?;
    let mut list = Reader::new(reader.expect(ber::SEQUENCE)?);
    let (mut attributes, mut left) = (Vec::new(), limits::LDAP_VALUES);
    while !list.is_empty() {
        let mut attribute = Reader::new(list.expect(ber::SEQUENCE)?);
        let name = attribute.text(ber::OCTETS)?;
        let mut set = Reader::new(attribute.expect(ber::SET)?);
        let mut values = Vec::new();
        left = left.checked_sub(1).ok_or(Malformed)?;
        while !set.is_empty() {
            left = left.checked_sub(1).ok_or(Malformed)?;
            if let Ok(value) = std::str::from_utf8(set.expect(ber::OCTETS)?) {
                values.push(value.to_owned());
            }
        }
        attributes.push((name, values));
    }
    Ok(Entry { dn, attributes })
}

#[cfg(test)]
mod tests {
    use super::{Entry, Outcome, Request, Response, Scope, Search, read};
    use crate::ldap::filter::Filter;

    #[test]
    fn requests_are_as_the_standard_wants_them() {
        let bind = Request::Simple {
            name: "cn=a",
            password: "pw",
        };
        assert_eq!(
            bind.write(1),
            b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw"
        );
        assert_eq!(
            Request::Anonymous.write(2),
            b"\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\0\x80\0"
        );
        assert_eq!(
            Request::External.write(3),
            b"\x30\x18\x02\x01\x03\x60\x13\x02\x01\x03\x04\0\xa3\x0c\x04\x08EXTERNAL\x04\0"
        );
        assert_eq!(
            Request::StartTls.write(4),
            b"\x30\x1d\x02\x01\x04\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
        );
        assert_eq!(
            Request::Unbind.write(300),
            b"\x30\x06\x02\x02\x01\x2c\x42\0"
        );
        let search = Search {
            base: "dc=x".to_owned(),
            scope: Scope::Subtree,
            filter: Filter::Present("cn".to_owned()),
            attributes: vec!["mail".to_owned()],
            most: 3,
        };
        assert_eq!(
            Request::Search(&search).write(5),
            b"\x30\x26\x02\x01\x05\x63\x21\x04\x04dc=x\x0a\x01\x02\x0a\x01\0\x02\x01\x03\x02\x01\0\x01\x01\0\x87\x02cn\x30\x06\x04\x04mail"
                .as_slice()
        );
    }

    #[test]
    fn responses_are_read() {
        let entry = b"\x30\x1b\x02\x01\x05\x64\x16\x04\x04cn=a\x30\x0e\x30\x0c\x04\x04mail\x31\x04\x04\x02ab";
        let want = Entry {
            dn: "cn=a".to_owned(),
            attributes: vec![("mail".to_owned(), vec!["ab".to_owned()])],
        };
        assert_eq!(read(entry), Ok((5, Response::Entry(want.clone()))));
        assert_eq!(want.values("MAIL").collect::<Vec<_>>(), ["ab"]);
        let done = b"\x30\x0c\x02\x01\x05\x65\x07\x0a\x01\x31\x04\0\x04\0";
        let wrong = Outcome {
            code: 49,
            text: String::new(),
        };
        assert_eq!(read(done), Ok((5, Response::Found(wrong.clone()))));
        assert!(!wrong.may_pass());
        assert_eq!(wrong.to_string(), "49 (invalid credentials)");
        for cut in 0..entry.len() {
            assert!(read(&entry[..cut]).is_err(), "cut at {cut}");
        }
    }
}
