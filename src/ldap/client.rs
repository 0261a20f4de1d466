//! One connection to a directory as a machine: one question at a time, and its answer.
//!
//! ```text
//! ask(Request) -> bytes to send;  feed(bytes that came) -> the answer, when it is whole
//! ```
//!
//! Never: reads on behind the answer to StartTLS. What came in clear text behind it is somebody's on the way
//! (RFC 4511 s4.14.1), and the connection is given up.

use std::fmt;

use crate::base::limits;
use crate::ldap::ber;
use crate::ldap::ber::Malformed;
use crate::ldap::message;
use crate::ldap::message::Entry;
use crate::ldap::message::Outcome;
use crate::ldap::message::Request;
use crate::ldap::message::Response;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What a search has found.
    pub entries: Vec<Entry>,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// What came cannot be read.
    Malformed,
    /// More came than an answer may have.
    TooLarge,
    /// An answer to what was not asked.
    Unasked,
    /// The server says goodbye.
    Goodbye(Outcome),
    /// Clear text behind the answer to StartTLS.
    Injected,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => Malformed.fmt(f),
            Self::TooLarge => f.write_str("its answer is larger than any that mail needs"),
            Self::Unasked => f.write_str("it answers what was not asked"),
            Self::Goodbye(why) => write!(f, "it hangs up: {why}"),
            Self::Injected => f.write_str("somebody on the way put data in front of TLS"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Bind,
    Tls,
    Search,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// The number of the question.
    id: u32,
    asked: Asked,
    /// What has come and is no whole message yet.
    input: Vec<u8>,
    entries: Vec<Entry>,
    /// What the answer has taken so far, in bytes.
    taken: usize,
    /// And in values.
    values: usize,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            id: 0,
            asked: Asked::Nothing,
            input: Vec::new(),
            entries: Vec::new(),
            taken: 0,
            values: 0,
        }
    }
}

impl Client {
    /// The bytes of a question. The one before must have been answered.
    pub fn ask(&mut self, request: &Request<'_>) -> Vec<u8> {
        // RFC 4511 s4.1.1.1: never zero. A connection of two thousand million questions does not last that long.
        self.id = if self.id >= 0x7FFF_FFFF {
            1
        } else {
            self.id.saturating_add(1)
        };
        self.asked = match request {
            Request::Anonymous | Request::Simple { .. } | Request::External => Asked::Bind,
            Request::StartTls => Asked::Tls,
            Request::Search(_) => Asked::Search,
            Request::Unbind => Asked::Nothing,
        };
        self.entries.clear();
        (self.taken, self.values) = (0, 0);
        request.write(self.id)
    }

    /// Takes what came. Answers `None` while the answer is not whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Broken> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > limits::LDAP_ANSWER {
            return Err(Broken::TooLarge);
        }
        self.input.extend_from_slice(bytes);
        let mut at = 0;
        let answer = loop {
            let rest = self.input.get(at..).unwrap_or_default();
            let Some(len) = ber::frame(rest, limits::LDAP_ANSWER)? else {
                break None;
            };
            let Some(message) = rest.get(..len) else {
                break None;
            };
            let (id, response) = message::read(message)?;
            at = at.saturating_add(len);
            if let Some(outcome) = self.heard(id, response)? {
                break Some(outcome);
            }
        };
        self.input.drain(..at);
        if self.input.is_empty() {
            // What a large answer needed is given back.
            self.input = Vec::new();
        }
        let Some(outcome) = answer else {
            return Ok(None);
        };
        if self.asked == Asked::Tls && !self.input.is_empty() {
            return Err(Broken::Injected);
        }
        self.asked = Asked::Nothing;
        Ok(Some(Answer {
            outcome,
            entries: std::mem::take(&mut self.entries),
        }))
    }

    /// One message; the outcome when it is the last of the answer.
    fn heard(&mut self, id: i32, response: Response) -> Result<Option<Outcome>, Broken> {
        match (id, response) {
            // RFC 4511 s4.4: what is said unasked has the number zero, and is a goodbye.
            (0, Response::Extended(why)) => Err(Broken::Goodbye(why)),
            (id, response) if u32::try_from(id) == Ok(self.id) => match (self.asked, response) {
                (Asked::Bind, Response::Bound(outcome))
                | (Asked::Tls, Response::Extended(outcome))
                | (Asked::Search, Response::Found(outcome)) => Ok(Some(outcome)),
                (Asked::Search, Response::Entry(entry)) => {
                    let values = entry
                        .attributes
                        .iter()
                        .map(|(_, all)| all.len().saturating_add(1));
                    self.values = values
                        .fold(self.values, usize::saturating_add)
                        .saturating_add(1);
                    if self.values > limits::LDAP_VALUES {
                        return Err(Broken::TooLarge);
                    }
                    self.entries.push(entry);
                    Ok(None)
                }
                (Asked::Search, Response::Reference) | (_, Response::Other) => Ok(None),
                _ => Err(Broken::Unasked),
            },
            _ => Err(Broken::Unasked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Broken, Client};
    use crate::ldap::filter::Filter;
    use crate::ldap::message::{Request, Scope, Search};

    const DONE: &[u8] = b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\0\x04\0\x04\0";
    const ENTRY: &[u8] =
        b"\x30\x1b\x02\x01\x01\x64\x16\x04\x04cn=a\x30\x0e\x30\x0c\x04\x04mail\x31\x04\x04\x02ab";
    const REFERENCE: &[u8] = b"\x30\x0a\x02\x01\x01\x73\x05\x04\x03x:y";

    fn search() -> Search {
        Search {
            base: String::new(),
            scope: Scope::Base,
            filter: Filter::Present("cn".to_owned()),
            attributes: Vec::new(),
            most: 0,
        }
    }

    #[test]
    fn an_answer_is_whole_at_its_last_message_whatever_the_blocks() {
        let all = [ENTRY, REFERENCE, ENTRY, DONE].concat();
        for step in 1..=all.len() {
            let mut client = Client::default();
            client.ask(&Request::Search(&search()));
            let mut got = None;
            for block in all.chunks(step) {
                assert!(got.is_none());
                got = client.feed(block).unwrap();
            }
            let got = got.unwrap();
            assert_eq!((got.outcome.code, got.entries.len()), (0, 2), "by {step}");
        }
    }

    #[test]
    fn what_was_not_asked_and_what_comes_behind_starttls_ends_the_connection() {
        let mut client = Client::default();
        assert_eq!(client.feed(DONE), Err(Broken::Unasked));
        let mut client = Client::default();
        client.ask(&Request::Anonymous);
        assert_eq!(client.feed(DONE), Err(Broken::Unasked));
        let mut client = Client::default();
        client.ask(&Request::StartTls);
        let yes = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0";
        assert_eq!(client.feed(&[yes, DONE].concat()), Err(Broken::Injected));
        let mut client = Client::default();
        client.ask(&Request::StartTls);
        assert_eq!(client.feed(yes).unwrap().unwrap().outcome.code, 0);
        let bye = b"\x30\x0c\x02\x01\0\x78\x07\x0a\x01\x34\x04\0\x04\0";
        client.ask(&Request::Anonymous);
        assert!(matches!(client.feed(bye), Err(Broken::Goodbye(why)) if why.code == 52));
    }

    #[test]
    fn an_answer_without_end_is_cut_off() {
        let mut client = Client::default();
        client.ask(&Request::Search(&search()));
        let many = ENTRY.repeat(100);
        let end = (0..1000).find_map(|_| client.feed(&many).err());
        assert_eq!(end, Some(Broken::TooLarge));
    }
}
