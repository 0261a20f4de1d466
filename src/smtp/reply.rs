//! Replies: those we write, gathered for one write, and those we read from a peer (RFC 5321 s4.2).
//!
//! A peer's replies are read with patience: lines may end with a bare LF and may be longer than the standard
//! allows; what is over the limit is cut. Only the number of lines ends it.

use std::fmt;
use std::fmt::Write;

use crate::base::limits;
use crate::mail::address::Address;
use crate::mail::status::Status;
use crate::smtp::fault::Fault;

/// Replies that wait to be written, in order.
///
/// Invariant: whole lines only, at most [`limits::REPLIES_OUT`] bytes. [`Out::is_tight`] is asked before each command,
/// so a reply always finds room. Between replies it holds no memory: most connections that are open wait.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
}

/// Bytes that hold most replies to one command.
const USUAL: usize = 64;

/// Adds text as long as there is room for it.
struct Bounded<'a>(&'a mut Vec<u8>);

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len().saturating_add(text.len()) > limits::REPLIES_OUT {
            return Err(fmt::Error);
        }
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Out {
    /// `code text`, for replies that carry no status: the greeting, the answer to EHLO, and 3yz (RFC 2034 s4).
    pub fn plain(&mut self, code: u16, text: fmt::Arguments<'_>) {
        self.line(format_args!("{code} {text}"));
    }

    /// `code-text`: more lines follow.
    pub fn more(&mut self, code: u16, text: fmt::Arguments<'_>) {
        self.line(format_args!("{code}-{text}"));
    }

    /// `code status text`.
    pub fn full(&mut self, code: u16, status: Status, text: fmt::Arguments<'_>) {
        self.line(format_args!("{code} {status} {text}"));
    }

    /// The reply to a fault that is about `address`, where it is about one.
    pub fn fault(&mut self, fault: &Fault, address: Option<&Address>) {
        let (code, status) = fault.code();
        self.full(code, status, format_args!("{}", fault.text(address)));
    }

    /// What is to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it has to be written before the next command is looked at.
    pub fn is_tight(&self) -> bool {
        self.bytes.len() > limits::REPLIES_OUT - limits::REPLY_ROOM
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(USUAL);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        let before = self.bytes.len();
        if self.bytes.capacity() == 0 {
            // Written piece by piece, it would grow four times.
            self.bytes.reserve(USUAL);
        }
        if Bounded(&mut self.bytes)
            .write_fmt(format_args!("{text}\r\n"))
            .is_err()
        {
            // Cannot happen while callers ask `is_tight`; half a reply would be worse than a short one.
            self.bytes.truncate(before);
            self.bytes.extend_from_slice(b"451 4.3.0\r\n");
        }
    }
}

/// The peer does not speak SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// A line that does not open with a code from 200 to 599.
    Code,
    /// More lines than any honest reply has.
    TooLong,
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code => "the peer's reply does not begin with a reply code",
            Self::TooLong => "the peer's reply never ends",
        })
    }
}

/// One line of a peer's reply.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplyLine<'a> {
    /// 200 to 599.
    pub code: u16,
    /// Whether the reply ends with it.
    pub last: bool,
    /// What follows the code; may hold any byte but LF.
    pub text: &'a [u8],
}

/// Cuts a peer's bytes into reply lines.
#[derive(Debug, Default)]
pub struct ReplyLines {
    /// A line that is cut by the end of a block.
    held: heapless::Vec<u8, { limits::REPLY_LINE }>,
    /// The held line was handed out.
    given: bool,
    /// Lines of the reply so far.
    count: usize,
}

impl ReplyLines {
    /// Takes one line off the front of `input`; `None` when the input ends first, which is then taken whole.
    pub fn take<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<ReplyLine<'a>>, BadReply> {
        if self.given {
            self.held.clear();
            self.given = false;
        }
        let Some(end) = input.iter().position(|&b| b == b'\n') else {
            self.hold(input);
            *input = &[];
            return Ok(None);
        };
        let (front, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
        *input = rest.get(1..).unwrap_or_default();
        let line = if self.held.is_empty() {
            front.get(..limits::REPLY_LINE).unwrap_or(front)
        } else {
            self.hold(front);
            self.given = true;
            &self.held
        };
        let line = split(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(BadReply::Code)?;
        self.count = if line.last {
            0
        } else {
            self.count.saturating_add(1)
        };
        if self.count >= limits::REPLY_LINES {
            return Err(BadReply::TooLong);
        }
        Ok(Some(line))
    }

    /// Whether part of a reply was read.
    pub fn is_midway(&self) -> bool {
        self.count > 0 || (!self.given && !self.held.is_empty())
    }

    /// Keeps what fits.
    fn hold(&mut self, text: &[u8]) {
        let room = self.held.capacity().saturating_sub(self.held.len());
        let _ = self
            .held
            .extend_from_slice(text.get(..room).unwrap_or(text));
    }
}

/// Code, continuation mark and text. A code alone is a last line (RFC 5321 s4.2).
fn split(line: &[u8]) -> Option<ReplyLine<'_>> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    let code = std::str::from_utf8(code).ok()?;
    let digits = code.bytes().all(|b| b.is_ascii_digit());
    let code = code
        .parse::<u16>()
        .ok()
        .filter(|code| digits && (200..600).contains(code))?;
    let (last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return None,
    };
    Some(ReplyLine { code, last, text })
}

/// A whole reply of a peer, its text bounded and printable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599; that of the last line.
    pub code: u16,
    /// The enhanced status, when the peer gave one of the class of its code (RFC 2034 s4).
    pub status: Option<Status>,
    /// All lines joined by a space, without statuses and control characters, cut to the limit.
    text: heapless::String<{ limits::REPLY_TEXT }>,
}

impl Reply {
    /// Joins a line.
    pub fn add(&mut self, line: &ReplyLine<'_>) {
        self.code = line.code;
        let mut text = line.text;
        if let Some((status, rest)) = status(line) {
            self.status = Some(status);
            text = rest;
        }
        if !self.text.is_empty() && !text.is_empty() {
            let _ = self.text.push(' ');
        }
        for piece in text.utf8_chunks() {
            for c in piece.valid().chars() {
                let c = if c.is_control() { ' ' } else { c };
                if self.text.push(c).is_err() {
                    return;
                }
            }
            if !piece.invalid().is_empty() {
                let _ = self.text.push('?');
            }
        }
    }

    /// Makes room for the next reply.
    pub fn clear(&mut self) {
        self.code = 0;
        self.status = None;
        self.text.clear();
    }

    /// What it says, without code and status.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// The first digit of the code.
    pub fn class(&self) -> u16 {
        self.code / 100
    }
}

/// The enhanced status that opens a line, and the text behind it.
fn status<'a>(line: &ReplyLine<'a>) -> Option<(Status, &'a [u8])> {
    let end = line
        .text
        .iter()
        .take(12)
        .position(|&b| b == b' ')
        .unwrap_or(line.text.len());
    let (word, rest) = line.text.split_at_checked(end)?;
    let status: Status = std::str::from_utf8(word).ok()?.parse().ok()?;
    (u16::from(status.class()) == line.code / 100)
        .then(|| (status, rest.strip_prefix(b" ").unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::{BadReply, Out, Reply, ReplyLines};
    use crate::base::limits;
    use crate::mail::status::Status;
    use crate::smtp::fault::Fault;

    /// All replies of `input`, fed in blocks of `step` bytes, as `code status text`.
    fn read(input: &[u8], step: usize) -> Result<Vec<String>, BadReply> {
        let (mut lines, mut reply, mut got) = (ReplyLines::default(), Reply::default(), Vec::new());
        for block in input.chunks(step) {
            let mut rest = block;
            while let Some(line) = lines.take(&mut rest)? {
                reply.add(&line);
                if line.last {
                    let status = reply.status.map_or("-".to_owned(), |s| s.to_string());
                    got.push(format!("{} {status} {}", reply.code, reply.text()));
                    reply.clear();
                }
            }
        }
        Ok(got)
    }

    #[test]
    fn replies_of_peers() {
        for (input, want) in [
            ("250 OK\r\n", Ok("250 - OK")),
            ("250 OK\n", Ok("250 - OK")),
            ("250\r\n", Ok("250 - ")),
            ("250 2.1.0 Sender OK\r\n", Ok("250 2.1.0 Sender OK")),
            ("250 2.1.0\r\n", Ok("250 2.1.0 ")),
            (
                "550-5.7.1 one\r\n550 5.7.1 two\r\n",
                Ok("550 5.7.1 one two"),
            ),
            ("550 2.1.0 wrong class\r\n", Ok("550 - 2.1.0 wrong class")),
            ("550-a\r\n250 b\r\n", Ok("250 - a b")),
            ("250 a\tb\x1b[0m\r\n", Ok("250 - a b [0m")),
            ("250 1\r\n251 2\r\n", Ok("250 - 1|251 - 2")),
            ("hello\r\n", Err(BadReply::Code)),
            ("\r\n", Err(BadReply::Code)),
            ("25\r\n", Err(BadReply::Code)),
            ("+25 x\r\n", Err(BadReply::Code)),
            ("250x\r\n", Err(BadReply::Code)),
            ("999 x\r\n", Err(BadReply::Code)),
            ("100 x\r\n", Err(BadReply::Code)),
        ] {
            for step in 1..=input.len() {
                let got = read(input.as_bytes(), step).map(|all| all.join("|"));
                assert_eq!(got, want.map(str::to_owned), "{input:?} by {step}");
            }
        }
        assert_eq!(read(b"250 \xff\xfe\r\n", 3).unwrap(), ["250 - ??"]);
    }

    #[test]
    fn a_peer_that_never_stops_is_bounded() {
        let long = format!("250 {}\r\n250 x\r\n", "a".repeat(100_000));
        for step in [1, 1000, 200_000] {
            let got = read(long.as_bytes(), step).unwrap();
            assert_eq!(got[0].len(), "250 - ".len() + limits::REPLY_TEXT);
            assert_eq!(got[1], "250 - x");
        }
        let endless = "250-x\r\n".repeat(limits::REPLY_LINES);
        assert_eq!(read(endless.as_bytes(), 4096), Err(BadReply::TooLong));
    }

    #[test]
    fn a_reply_that_does_not_fit_is_replaced_whole() {
        let mut out = Out::default();
        let long = "a".repeat(limits::REPLIES_OUT);
        out.full(250, Status::new(2, 0, 0), format_args!("{long}"));
        assert_eq!(out.bytes(), b"451 4.3.0\r\n");
        out.clear();
        out.fault(&Fault::Full, None);
        assert_eq!(
            out.bytes(),
            b"452 4.3.1 Insufficient system storage; please try later\r\n"
        );
    }
}
