//! A queued message as text or JSON, for `queue list`, `queue show` and `mailq`.

use std::fmt::Write;
use std::time::Duration;

use crate::base::Escaped;
use crate::base::MsgId;
use crate::base::Wall;
use crate::mail::Address;
use crate::queue::Accept;
use crate::queue::Door;
use crate::queue::Progress;
use crate::queue::Stage;
use crate::service::event::Json;

/// How a way stands that a message waits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayShown {
    /// As a sentence.
    pub text: String,
    /// As a JSON object.
    pub json: String,
    /// There is nothing to say against it.
    pub works: bool,
}

/// What is known of a queued message.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Its name.
    pub id: MsgId,
    /// Bytes of its body.
    pub bytes: u64,
    /// How it came.
    pub accept: &'a Accept,
    /// How far it is; one that was never tried has none.
    pub progress: Option<&'a Progress>,
    /// Why it is held, when it is.
    pub hold: Option<&'a str>,
    /// How the ways stand that it waits on; empty when nobody runs to tell.
    pub ways: Vec<WayShown>,
    /// When it is tried next; `None` when it is held, being tried now, or nobody runs to try it.
    pub due: Option<Duration>,
}

/// The sender as it stands in MAIL.
pub fn path(sender: Option<&Address>) -> String {
    sender.map_or_else(|| String::from("<>"), ToString::to_string)
}

/// By which door, as a word.
pub const fn door(door: Door) -> &'static str {
    match door {
        Door::Smtp => "smtp",
        Door::Pickup => "pickup",
        Door::Sendmail => "sendmail",
        Door::Notice => "notice",
    }
}

/// A duration as an owner reads it: the two largest units.
pub fn span(wait: Duration) -> String {
    let secs = wait.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", secs % 60),
        (0, 0, _) => format!("{minutes}m{}s", secs % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// The heading over [`Shown::line`].
pub const HEADING: &str =
    "ID          SIZE      ARRIVED               TRIES  NEXT     FROM -> TO\n";

impl Shown<'_> {
    fn tries(&self) -> u32 {
        self.progress.map_or(0, |p| p.attempts)
    }

    fn next(&self) -> String {
        match (self.hold, self.due) {
            (Some(_), _) => String::from("held"),
            (None, Some(due)) if due.is_zero() => String::from("now"),
            (None, Some(due)) => span(due),
            (None, None) => String::from("-"),
        }
    }

    /// Recipients that still wait, by place in the envelope.
    fn waiting(&self) -> Vec<usize> {
        match self.progress {
            Some(progress) => progress.waiting().collect(),
            None => (0..self.accept.envelope.recipients.len()).collect(),
        }
    }

    /// Why it is still here: the hold, or what the last attempt came to.
    fn why(&self) -> Option<String> {
        if let Some(hold) = self.hold {
            return Some(format!("held: {hold}"));
        }
        let tried = self.progress.and_then(|progress| {
            let reason = progress.waiting().find_map(|at| progress.reason(at))?;
            Some(reason.to_string())
        });
        // One that was never tried waits for its way.
        tried.or_else(|| {
            let way = self.ways.iter().find(|way| !way.works)?;
            Some(way.text.clone())
        })
    }

    /// One line of a list, and the reason on a second one when there is one.
    pub fn line(&self) -> String {
        let envelope = &self.accept.envelope;
        let waiting = self.waiting();
        let first = waiting
            .first()
            .and_then(|&at| envelope.recipients.get(at))
            .map_or_else(String::new, |r| r.address.to_string());
        let more = match waiting.len() {
            0 | 1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let people = format!("{} -> {first}{more}", path(envelope.sender.as_ref()));
        let mut line = format!(
            "{:<11} {:<9} {}  {:<6} {:<8} {}\n",
            self.id,
            self.bytes,
            self.accept.arrived,
            self.tries(),
            self.next(),
            Escaped(people.as_bytes()),
        );
        if let Some(why) = self.why() {
            let _ = writeln!(line, "            {}", Escaped(why.as_bytes()));
        }
        line
    }

    /// Everything about one message.
    pub fn detail(&self) -> String {
        let envelope = &self.accept.envelope;
        let mut text = format!(
            "id: {}\narrived: {} by {}\nfrom: {}\nsize: {} bytes\ntries: {}\nnext: {}\n",
            self.id,
            self.accept.arrived,
            Escaped(format!("{} ({})", door(self.accept.door), self.accept.origin).as_bytes()),
            Escaped(path(envelope.sender.as_ref()).as_bytes()),
            self.bytes,
            self.tries(),
            self.next(),
        );
        if let Some(hold) = self.hold {
            let _ = writeln!(text, "held: {}", Escaped(hold.as_bytes()));
        }
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            let to = recipient.address.to_string();
            let stage = self.stage(at);
            let _ = write!(text, "to: {} ({stage})", Escaped(to.as_bytes()));
            if let Some(reason) = self.progress.and_then(|p| p.reason(at)) {
                let _ = write!(text, ": {reason}");
            }
            text.push('\n');
        }
        text.push_str(&self.way_lines());
        text
    }

    fn way_lines(&self) -> String {
        let mut text = String::new();
        for way in &self.ways {
            let _ = writeln!(text, "way: {}", way.text);
        }
        text
    }

    fn stage(&self, at: usize) -> &'static str {
        match self.progress.map_or(Stage::Waiting, |p| p.stage(at)) {
            Stage::Waiting => "waiting",
            Stage::Delivered => "delivered",
            Stage::Failed => "failed",
        }
    }

    /// The same as one JSON object on a line.
    pub fn json(&self) -> String {
        let envelope = &self.accept.envelope;
        let mut out = format!(
            "{{\"id\":\"{}\",\"arrived\":\"{}\",\"door\":\"{}\",\"origin\":{},\"from\":{},\"bytes\":{},\"tries\":{}",
            self.id,
            self.accept.arrived,
            door(self.accept.door),
            Json(&self.accept.origin),
            Json(&path(envelope.sender.as_ref())),
            self.bytes,
            self.tries(),
        );
        if let Some(due) = self.due {
            let _ = write!(out, ",\"next_secs\":{}", due.as_secs());
        }
        if let Some(hold) = self.hold {
            let _ = write!(out, ",\"held\":{}", Json(hold));
        }
        out.push_str(",\"recipients\":[");
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let to = recipient.address.to_string();
            let _ = write!(
                out,
                "{comma}{{\"to\":{},\"stage\":\"{}\"",
                Json(&to),
                self.stage(at)
            );
            if let Some(reason) = self.progress.and_then(|p| p.reason(at)) {
                let _ = write!(out, ",\"status\":\"{}\"", reason.status);
                if let Some(code) = reason.code {
                    let _ = write!(out, ",\"code\":{code}");
                }
                let _ = write!(
                    out,
                    ",\"text\":{},\"peer\":{}",
                    Json(&reason.text),
                    Json(&reason.peer)
                );
            }
            out.push('}');
        }
        out.push(']');
        if !self.ways.is_empty() {
            let ways: Vec<&str> = self.ways.iter().map(|way| way.json.as_str()).collect();
            let _ = write!(out, ",\"ways\":[{}]", ways.join(","));
        }
        out.push_str("}\n");
        out
    }
}

/// When something was, in words next to a table.
pub fn ago(now: Wall, then: Wall) -> String {
    span(now.since(then))
}

#[cfg(test)]
mod tests {
    use super::{Shown, WayShown, span};
    use crate::base::{MsgId, Wall};
    use crate::mail::envelope::Recipient;
    use crate::mail::{Address, Envelope, Reason, Status};
    use crate::queue::{Accept, Dates, Door, Priority, Progress, Stage};
    use std::time::Duration;

    #[test]
    fn spans() {
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3700, "1h1m"),
            (90_000, "1d1h"),
        ] {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn a_message_shows_what_an_owner_asks_for() {
        let to = |text: &str| Recipient::new(Address::parse(text).unwrap());
        let accept = Accept {
            arrived: Wall::from_secs(1_795_305_600),
            door: Door::Smtp,
            origin: String::from("127.0.0.1 (nas)"),
            priority: Priority::Normal,
            header: None,
            envelope: Envelope {
                sender: Some(Address::parse("a@nas.lan").unwrap()),
                recipients: vec![to("b@x.example"), to("c@x.example")],
                ..Envelope::default()
            },
            running: Duration::ZERO,
            dates: Dates::Good,
        };
        let mut progress = Progress::new(2);
        progress.attempts = 3;
        let reason = Reason {
            code: Some(450),
            peer: String::from("mx.example"),
            ..Reason::ours(Status::new(4, 2, 0), "busy\u{1b}")
        };
        progress.set(
            0,
            Stage::Delivered,
            Reason::ours(Status::new(2, 0, 0), "ok"),
        );
        progress.set(1, Stage::Waiting, reason);
        let shown = Shown {
            id: MsgId::from_number(1_000_000),
            bytes: 1234,
            accept: &accept,
            progress: Some(&progress),
            hold: None,
            ways: vec![WayShown {
                text: String::from("x.example: down"),
                json: String::from("{}"),
                works: false,
            }],
            due: Some(Duration::from_secs(65)),
        };
        assert_eq!(
            shown.line(),
            "YGJ0        1234      2026-11-22T00:00:00Z  3      1m5s     a@nas.lan -> c@x.example\n            \
             mx.example said: 450 4.2.0 busy\\\\x1b\n"
        );
        let detail = shown.detail();
        assert!(
            detail.contains("to: b@x.example (delivered): 2.0.0 ok\n"),
            "{detail}"
        );
        assert!(detail.ends_with("way: x.example: down\n"), "{detail}");
        assert!(
            shown
                .json()
                .contains("\"stage\":\"waiting\",\"status\":\"4.2.0\",\"code\":450")
        );
    }
}
