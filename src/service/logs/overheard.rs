//! What a client says and what it is told, as the log has it: commands with their replies.
//!
//! It listens to the bytes that the server machine takes and gives, so the machine need not know of the log. What might be
//! a password or a message is never looked at: behind AUTH nothing is until it is answered for good, behind DATA nothing
//! until the message is over, and a chunk of BDAT is as long as it says.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::base::Tick;
use crate::base::limits;
use crate::service::logs::exchange::Exchange;
use crate::service::logs::exchange::Side;

/// Longest name of a client that is kept.
const NAME: usize = 255;

/// One conversation with a client.
#[derive(Debug)]
pub struct Overheard {
    peer: Option<IpAddr>,
    local: Option<IpAddr>,
    port: u16,
    /// What it calls itself.
    name: String,
    mode: Mode,
    /// The command that is not over.
    line: Vec<u8>,
    /// Commands that wait for their replies.
    waiting: VecDeque<Said>,
    /// Lines of a reply that is not over, in bytes.
    sent: u64,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Commands,
    /// Part of a login.
    Secret,
    Message,
    /// So many bytes of a message.
    Chunk(u64),
}

#[derive(Debug)]
struct Said {
    verb: String,
    text: String,
    received: u64,
    sent: u64,
    at: Tick,
}

impl Overheard {
    /// A client at this address that came to this address of ours; none for a Unix socket.
    pub const fn new(peer: Option<IpAddr>, local: Option<IpAddr>, port: u16) -> Self {
        Self {
            peer,
            local,
            port,
            name: String::new(),
            mode: Mode::Commands,
            line: Vec::new(),
            waiting: VecDeque::new(),
            sent: 0,
        }
    }

    /// The machine has taken these bytes.
    pub fn heard(&mut self, mut bytes: &[u8], now: Tick) {
        while !bytes.is_empty() {
            match self.mode {
                Mode::Secret => return,
                Mode::Message => return self.count(bytes.len()),
                Mode::Chunk(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.count(here);
                    bytes = bytes.get(here..).unwrap_or_default();
                    let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                    self.mode = match left {
                        0 => Mode::Commands,
                        left => Mode::Chunk(left),
                    };
                }
                Mode::Commands => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let here = end.map_or(bytes.len(), |at| at.saturating_add(1));
                    let part = bytes.get(..here).unwrap_or_default();
                    let room = limits::LOG_TEXT.saturating_sub(self.line.len());
                    self.line
                        .extend_from_slice(part.get(..room).unwrap_or(part));
                    bytes = bytes.get(here..).unwrap_or_default();
                    if end.is_some() {
                        self.command(now);
                        self.line.clear();
                    }
                }
            }
        }
    }

    fn count(&mut self, bytes: usize) {
        if let Some(last) = self.waiting.back_mut() {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            last.received = last.received.saturating_add(bytes);
        }
    }

    /// A command is whole.
    fn command(&mut self, now: Tick) {
        let (verb, text) = command(&self.line);
        let whole = self.line.trim_ascii_end().len();
        let (mut received, mut kept) = (u64::try_from(whole).unwrap_or(u64::MAX), text.as_str());
        match verb.as_str() {
            "AUTH" => {
                // The name of the mechanism; what follows may be a password.
                kept = text.split(' ').next().unwrap_or_default();
                self.mode = Mode::Secret;
            }
            "DATA" => {
                (received, kept) = (0, "");
                self.mode = Mode::Message;
            }
            "BDAT" => {
                let size = text.split(' ').next().unwrap_or_default();
                received = 0;
                self.mode = match size.parse() {
                    Ok(0) | Err(_) => Mode::Commands,
                    Ok(size) => Mode::Chunk(size),
                };
            }
            _ => {}
        }
        let text = kept.to_owned();
        self.waiting.push_back(Said {
            verb,
            text,
            received,
            sent: 0,
            at: now,
        });
    }

    /// A message is whole, with this Message-ID; what follows are commands again.
    pub fn message_over(&mut self, message_id: &str) {
        if self.mode == Mode::Message {
            self.mode = Mode::Commands;
        }
        if let Some(last) = self.waiting.back_mut() {
            cut(message_id, limits::LOG_TEXT).clone_into(&mut last.text);
        }
    }

    /// The client is told this: whole replies.
    pub fn told(&mut self, bytes: &[u8], now: Tick, mut log: impl FnMut(&Exchange<'_>)) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            self.sent = self.sent.saturating_add(length);
            if line.get(3) == Some(&b'-') {
                continue;
            }
            let code = code(line);
            let sent = std::mem::take(&mut self.sent);
            self.reply(code, sent, now, &mut log);
        }
    }

    fn reply(&mut self, code: u16, sent: u64, now: Tick, log: &mut impl FnMut(&Exchange<'_>)) {
        if let Some(first) = self.waiting.front_mut() {
            first.sent = first.sent.saturating_add(sent);
            if code == 334 || code == 354 {
                // Go on: the command is not over.
                return;
            }
        } else if code < 400 {
            // The greeting, which IIS did not write either.
            return;
        }
        let Some(said) = self.waiting.pop_front() else {
            // Refused at the door, or out of time.
            let nothing = Said {
                verb: String::new(),
                text: String::new(),
                received: 0,
                sent,
                at: now,
            };
            return self.write(&nothing, code, now, log);
        };
        match said.verb.as_str() {
            "AUTH" | "DATA" => self.mode = Mode::Commands,
            "HELO" | "EHLO" if code == 250 => {
                let name = said.text.split(' ').next().unwrap_or_default();
                cut(name, NAME).clone_into(&mut self.name);
            }
            _ => {}
        }
        self.write(&said, code, now, log);
    }

    fn write(&self, said: &Said, code: u16, now: Tick, log: &mut impl FnMut(&Exchange<'_>)) {
        log(&Exchange {
            side: Side::Client,
            peer: self.peer,
            name: &self.name,
            local: self.local,
            port: self.port,
            verb: &said.verb,
            text: &said.text,
            code,
            received: said.received,
            sent: said.sent,
            millis: u64::try_from(now.since(said.at).as_millis()).unwrap_or(u64::MAX),
        });
    }
}

/// A command line taken apart: its verb in capitals, empty when that is none, and what follows it.
pub fn command(line: &[u8]) -> (String, String) {
    let line = String::from_utf8_lossy(line.trim_ascii());
    let (verb, text) = line.split_once(' ').unwrap_or((&line, ""));
    let good = verb.len() <= 12 && verb.bytes().all(|byte| byte.is_ascii_alphabetic());
    let verb = if good { verb } else { "" };
    (verb.to_ascii_uppercase(), text.trim().to_owned())
}

/// The code in front of a reply's line; 0 when there is none.
pub fn code(line: &[u8]) -> u16 {
    let digits = line
        .get(..3)
        .and_then(|code| std::str::from_utf8(code).ok());
    digits.and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The front of a text, at most so many bytes.
pub fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Overheard;
    use crate::base::Tick;

    /// Plays what the machine took and gave, and answers with the lines of the log.
    fn play(story: &[(&str, &str)]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut overheard = Overheard::new(Some("192.0.2.7".parse().unwrap()), None, 25);
        for (at, (who, what)) in story.iter().enumerate() {
            let now = Tick::from_millis(u64::try_from(at).unwrap());
            match *who {
                "C" => overheard.heard(what.as_bytes(), now),
                "S" => overheard.told(what.as_bytes(), now, |x| {
                    lines.push(format!(
                        "{} {} {} {} in={} out={}",
                        x.name, x.verb, x.text, x.code, x.received, x.sent
                    ));
                }),
                _ => overheard.message_over(what),
            }
        }
        lines
    }

    #[test]
    fn commands_meet_their_replies_one_by_one_and_in_groups() {
        let lines = play(&[
            ("S", "220 box ESMTP\r\n"),
            ("C", "ehlo "),
            ("C", "cam.lan\r\n"),
            ("S", "250-box\r\n250 SIZE 10\r\n"),
            (
                "C",
                "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
            ),
            ("S", "250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n"),
            (
                "C",
                "Subject: secret\r\n\r\nMAIL FROM:<in@the.body>\r\n.\r\n",
            ),
            ("over", "<1@x>"),
            ("C", "QUIT\r\n"),
            ("S", "250 taken\r\n221 bye\r\n"),
        ]);
        assert_eq!(
            lines,
            [
                "cam.lan EHLO cam.lan 250 in=12 out=22",
                "cam.lan MAIL FROM:<a@b> 250 in=15 out=8",
                "cam.lan RCPT TO:<c@d> 250 in=13 out=8",
                "cam.lan RCPT TO:<e@f> 550 in=13 out=8",
                "cam.lan DATA <1@x> 250 in=47 out=19",
                "cam.lan QUIT  221 in=4 out=9",
            ]
        );
    }

    #[test]
    fn passwords_and_messages_are_never_seen() {
        let lines = play(&[
            ("C", "AUTH PLAIN c2VjcmV0\r\n"),
            ("S", "535 no\r\n"),
            ("C", "AUTH LOGIN\r\nc2VjcmV0\r\nc2VjcmV0\r\n"),
            ("S", "334 VXNl\r\n334 UGFz\r\n235 ok\r\n"),
            ("C", "AUTH LOGIN\r\n"),
            ("S", "334 VXNl\r\n"),
            ("C", "c2VjcmV0\r"),
            ("C", "\nc2VjcmV0\r\n"),
            ("S", "334 UGFz\r\n"),
            ("S", "535 no\r\n"),
            ("C", "BDAT 8\r\nsecret\r\nBDAT 8 LAST\r\nsec"),
            ("C", "ret\r\nRSET\r\n"),
            ("S", "250 ok\r\n250 ok\r\n250 ok\r\n"),
            ("C", "DATA\r\n"),
            ("S", "503 no\r\n"),
            ("C", "NOOP\r\n"),
            ("S", "250 ok\r\n"),
            ("S", "421 too slow\r\n"),
        ]);
        assert!(
            !lines
                .iter()
                .any(|line| line.contains("c2V") || line.contains("sec"))
        );
        assert_eq!(
            lines,
            [
                " AUTH PLAIN 535 in=19 out=8",
                " AUTH LOGIN 235 in=10 out=28",
                " AUTH LOGIN 535 in=10 out=28",
                " BDAT 8 250 in=8 out=8",
                " BDAT 8 LAST 250 in=8 out=8",
                " RSET  250 in=4 out=8",
                " DATA  503 in=0 out=8",
                " NOOP  250 in=4 out=8",
                "   421 in=0 out=14",
            ]
        );
    }

    #[test]
    fn noise_is_bounded() {
        let long = "x".repeat(9000);
        let lines = play(&[
            ("C", &format!("{long}\r\n\x00\u{fffd} y\r\n")),
            ("S", "500 what\r\n500 what\r\n"),
        ]);
        assert_eq!(lines, ["   500 in=1024 out=10", "  y 500 in=6 out=10"]);
    }
}
