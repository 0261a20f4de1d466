//! What is said between us and a host that mail goes to, as the log has it: commands and replies, each on its own.
//!
//! It listens to the bytes that the client machine gives and takes. Messages do not come by here, and of a login only the
//! mechanism and the last reply are kept.

use std::net::IpAddr;

use crate::base::Tick;
use crate::base::limits;
use crate::service::logs::exchange::Exchange;
use crate::service::logs::exchange::Side;
use crate::service::logs::overheard::code;
use crate::service::logs::overheard::command;
use crate::service::logs::overheard::cut;

/// One conversation with a host.
#[derive(Debug)]
pub struct Spoken {
    peer: Option<IpAddr>,
    local: Option<IpAddr>,
    port: u16,
    name: String,
    /// Whether what we say is part of a login.
    secret: bool,
    /// The line of a reply that is not over, and the lines before it.
    line: Vec<u8>,
    reply: String,
    received: u64,
    /// When we last said something.
    at: Tick,
}

impl Spoken {
    /// With the host of this name at this address and port.
    pub fn new(
        name: &str,
        (peer, port): (Option<IpAddr>, u16),
        local: Option<IpAddr>,
        now: Tick,
    ) -> Self {
        Self {
            peer,
            local,
            port,
            name: name.to_owned(),
            secret: false,
            line: Vec::new(),
            reply: String::new(),
            received: 0,
            at: now,
        }
    }

    /// We say this: whole lines.
    pub fn said(&mut self, bytes: &[u8], now: Tick, mut log: impl FnMut(&Exchange<'_>)) {
        self.at = now;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.secret {
                continue;
            }
            let (verb, text) = command(line);
            let mut kept = text.as_str();
            if verb == "AUTH" {
                self.secret = true;
                kept = text.split(' ').next().unwrap_or_default();
            }
            let sent = u64::try_from(line.trim_ascii_end().len()).unwrap_or(u64::MAX);
            log(&Exchange {
                side: Side::Command,
                verb: &verb,
                text: cut(kept, limits::LOG_TEXT),
                sent,
                ..self.exchange()
            });
        }
    }

    /// The machine has taken these bytes.
    pub fn heard(&mut self, bytes: &[u8], now: Tick, mut log: impl FnMut(&Exchange<'_>)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.received = self.received.saturating_add(length);
            let room = limits::LOG_TEXT.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(part.get(..room).unwrap_or(part));
            if part.last() != Some(&b'\n') {
                return;
            }
            let line = std::mem::take(&mut self.line);
            let code = code(&line);
            let text = String::from_utf8_lossy(line.trim_ascii());
            if !self.reply.is_empty() {
                self.reply.push(' ');
            }
            let room = limits::LOG_TEXT.saturating_sub(self.reply.len());
            self.reply.push_str(cut(&text, room));
            if line.get(3) == Some(&b'-') {
                continue;
            }
            let mut reply = std::mem::take(&mut self.reply);
            if code != 334 {
                self.secret = false;
            } else if self.secret {
                // A challenge is made from the password, with some mechanisms.
                cut(&reply, 3).to_owned().clone_into(&mut reply);
            }
            log(&Exchange {
                text: &reply,
                code,
                received: std::mem::take(&mut self.received),
                millis: u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX),
                ..self.exchange()
            });
        }
    }

    /// What all lines have.
    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            side: Side::Reply,
            peer: self.peer,
            name: &self.name,
            local: self.local,
            port: self.port,
            verb: "",
            text: "",
            code: 0,
            received: 0,
            sent: 0,
            millis: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spoken;
    use crate::base::Tick;

    #[test]
    fn both_sides_are_heard_and_no_password_is() {
        let now = Tick::from_millis(0);
        let mut spoken = Spoken::new("mx.example", (None, 25), None, now);
        let mut lines = Vec::new();
        let story = [
            ("S", "220 mx.example ES"),
            ("S", "MTP\r\n"),
            ("C", "EHLO box\r\n"),
            ("S", "250-mx.example\r\n250-SIZE 10\r\n250 AUTH LOGIN\r\n"),
            ("C", "AUTH SCRAM-SHA-256 c2VjcmV0\r\n"),
            ("S", "334 c2VjcmV0\r\n"),
            ("C", "c2VjcmV0\r\n"),
            ("S", "235 2.7.0 welcome\r\n"),
            ("C", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
            ("S", "250 ok\r\n250 ok\r\n354 go\r\n"),
        ];
        for (who, what) in story {
            let log = |x: &super::Exchange<'_>| {
                let line = format!("{}/{}/{}", x.side.word(), x.verb, x.text);
                lines.push(format!("{line} {} {}/{}", x.code, x.received, x.sent));
            };
            match who {
                "C" => spoken.said(what.as_bytes(), now, log),
                _ => spoken.heard(what.as_bytes(), now, log),
            }
        }
        assert_eq!(
            lines,
            [
                "reply//220 mx.example ESMTP 220 22/0",
                "command/EHLO/box 0 0/8",
                "reply//250-mx.example 250-SIZE 10 250 AUTH LOGIN 250 45/0",
                "command/AUTH/SCRAM-SHA-256 0 0/27",
                "reply//334 334 14/0",
                "reply//235 2.7.0 welcome 235 19/0",
                "command/MAIL/FROM:<a@b> 0 0/15",
                "command/RCPT/TO:<c@d> 0 0/13",
                "command/DATA/ 0 0/4",
                "reply//250 ok 250 8/0",
                "reply//250 ok 250 8/0",
                "reply//354 go 354 8/0",
            ]
        );
    }
}
