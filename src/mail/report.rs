//! Delivery reports: `multipart/report` as RFC 3461 to RFC 3464 and RFC 6522 want it, written around the original.
//!
//! A report is three pieces: [`Report::head`], the original through [`Original`] in steps, [`Report::tail`]. So the
//! original is never whole in memory. It has the null sender, so that nobody answers it (RFC 3464 s2).

use std::fmt;
use std::fmt::Write;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::mail::address::Address;
use crate::mail::date::Date;
use crate::mail::domain::Domain;
use crate::mail::envelope::Body;
use crate::mail::envelope::Envelope;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Recipient;
use crate::mail::envelope::Ret;
use crate::mail::outcome::Reason;
use crate::mail::report::remedy::remedy;
use crate::mail::report::text::clean;
use crate::mail::report::text::fold;
use crate::mail::report::text::from_xtext;
use crate::mail::trace;
use crate::mail::words;

mod action;
mod original;
mod remedy;
mod text;

pub use action::Action;
pub use original::Original;

/// One recipient of the original and its fate.
#[derive(Clone, Debug)]
pub struct Fate<'a> {
    /// Who.
    pub recipient: &'a Recipient,
    /// What became of it.
    pub action: Action,
    /// Why; its peer and text become the diagnostic.
    pub reason: &'a Reason,
    /// When it was tried last.
    pub last_attempt: Option<Wall>,
    /// Until when it will be tried, for `Delayed`.
    pub retry_until: Option<Wall>,
}

/// Everything a report says.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Its own name in the queue.
    pub id: MsgId,
    /// Keeps its boundary and message id apart from any other.
    pub random: u64,
    /// Now; `None` while the clock is not believed, which leaves the Date field for delivery time.
    pub at: Option<Wall>,
    /// Our name.
    pub hostname: &'a Domain,
    /// Who it says it is from; the envelope sender is always empty.
    pub from: &'a Address,
    /// The sender of the original, who gets the report.
    pub to: &'a Address,
    /// ENVID of the original, still as xtext.
    pub envid: Option<&'a str>,
    /// The HELO name or address the original came from.
    pub received_from: Option<&'a str>,
    /// When the original came.
    pub arrival: Option<Wall>,
    /// Subject of the original, as it came.
    pub subject: &'a str,
    /// Message id of the original, with angle brackets.
    pub message_id: &'a str,
    /// Who and why; at least one.
    pub fates: &'a [Fate<'a>],
    /// How much of the original is returned; reports of success and delay return headers at most.
    pub ret: Ret,
    /// The original came with SMTPUTF8, so its sender reads UTF-8 (RFC 6533).
    pub utf8: bool,
    /// The original has 8-bit bytes, which matters when it is returned in full.
    pub eight: bool,
}

impl Report<'_> {
    /// The envelope it travels with.
    pub fn envelope(&self) -> Envelope {
        let full = self.effective_ret() == Ret::Full;
        Envelope {
            sender: None,
            recipients: vec![Recipient {
                // RFC 3461 s6.1 asks for NEVER, which the null sender implies here.
                notify: Notify::Never,
                ..Recipient::new(self.to.clone())
            }],
            body: if self.utf8 || (self.eight && full) {
                Body::Eight
            } else {
                Body::Seven
            },
            utf8: self.utf8,
            ..Envelope::default()
        }
    }

    /// Only a failure returns the whole (RFC 3461 s4.3).
    pub fn effective_ret(&self) -> Ret {
        if self.worst() == Action::Failed {
            self.ret
        } else {
            Ret::Headers
        }
    }

    /// The filter through which the original goes.
    pub fn original(&self) -> Original {
        Original::new(self.effective_ret() == Ret::Full, self.utf8)
    }

    /// Everything up to the original. Lines end in CRLF.
    pub fn head(&self) -> String {
        let mut text = String::with_capacity(2048);
        // Writing into a String cannot fail.
        let _ = self.write_head(&mut text);
        text
    }

    /// What comes behind the original.
    pub fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary())
    }

    fn write_head(&self, text: &mut String) -> fmt::Result {
        let hostname = self.hostname;
        let boundary = self.boundary();
        let worst = self.worst();
        if let Some(at) = self.at {
            write!(text, "Date: {}\r\n", Date::utc(at))?;
        }
        let id = trace::message_id(self.id, self.random, hostname);
        write!(
            text,
            "From: Mail Delivery System <{}>\r\nTo: {}\r\n",
            self.from, self.to
        )?;
        let what = match worst {
            Action::Failed => "Undelivered mail",
            Action::Delayed => "Delayed mail",
            Action::Delivered | Action::Relayed | Action::Expanded => "Delivered mail",
        };
        // In ASCII whatever the original was: the way back may have no SMTPUTF8, and its want may be what is reported.
        let subject = clean(self.subject, true, 120);
        if subject.is_empty() {
            write!(text, "Subject: {what}\r\n")?;
        } else if subject.is_ascii() {
            write!(text, "Subject: {what}: {subject}\r\n")?;
        } else {
            let encoded = words::text(&format!("{what}: {subject}"));
            write!(text, "Subject: {encoded}\r\n")?;
        }
        write!(text, "Message-ID: {id}\r\n")?;
        let about = clean(self.message_id, false, limits::PATH);
        let whole = self.message_id.is_ascii() && !about.contains(' ');
        if whole && about.starts_with('<') && about.ends_with('>') {
            write!(text, "In-Reply-To: {about}\r\nReferences: {about}\r\n")?;
        }
        write!(
            text,
            "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n"
        )?;
        if self.envelope().body == Body::Eight {
            text.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        write!(
            text,
            "\r\nThis is a delivery report in the format of RFC 3464.\r\n\r\n--{boundary}\r\n"
        )?;
        self.write_human(text)?;
        write!(text, "\r\n--{boundary}\r\n")?;
        self.write_machine(text)?;
        let kind = match (self.effective_ret(), self.utf8) {
            (Ret::Full, false) => "message/rfc822",
            (Ret::Full, true) => "message/global",
            (Ret::Headers, false) => "text/rfc822-headers",
            (Ret::Headers, true) => "message/global-headers",
        };
        write!(text, "\r\n--{boundary}\r\nContent-Type: {kind}\r\n")?;
        if self.envelope().body == Body::Eight {
            text.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        text.push_str("\r\n");
        Ok(())
    }

    /// The part for people: what happened, to whom, why, and what to do.
    fn write_human(&self, text: &mut String) -> fmt::Result {
        let charset = if self.utf8 { "utf-8" } else { "us-ascii" };
        write!(text, "Content-Type: text/plain; charset={charset}\r\n")?;
        if self.utf8 {
            text.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        write!(
            text,
            "\r\nThis is the mail service of {}.\r\n",
            self.hostname
        )?;
        for (action, opening) in [
            (
                Action::Failed,
                "Your message could not be delivered to the following recipients:",
            ),
            (
                Action::Delayed,
                "Your message has not been delivered yet to the following recipients. You need not send it\r\n\
                 again; delivery is still being tried:",
            ),
            (
                Action::Delivered,
                "Your message was delivered to the following recipients:",
            ),
            (
                Action::Relayed,
                "Your message was handed on for the following recipients, to a server that does not report\r\n\
                 delivery:",
            ),
            (
                Action::Expanded,
                "Your message was sent on to the members of the following lists; their delivery is not reported:",
            ),
        ] {
            let mut fates = self
                .fates
                .iter()
                .filter(|fate| fate.action == action)
                .peekable();
            if fates.peek().is_none() {
                continue;
            }
            write!(text, "\r\n{opening}\r\n")?;
            for fate in fates {
                self.write_fate(text, fate)?;
            }
        }
        text.push_str("\r\nThe message was:\r\n");
        let subject = clean(self.subject, self.utf8, limits::FIELD_KEPT);
        if !subject.is_empty() {
            fold(text, "  Subject: ", &subject, "    ")?;
        }
        if let Some(arrival) = self.arrival {
            write!(text, "  Arrived: {}\r\n", Date::utc(arrival))?;
        }
        if self.effective_ret() == Ret::Headers {
            text.push_str("\r\nIts header is attached.\r\n");
        } else {
            text.push_str("\r\nIt is attached.\r\n");
        }
        Ok(())
    }

    fn write_fate(&self, text: &mut String, fate: &Fate<'_>) -> fmt::Result {
        write!(text, "\r\n  {}\r\n", self.shown(&fate.recipient.address))?;
        if matches!(fate.action, Action::Failed | Action::Delayed) {
            let said = self.diagnosis(fate.reason);
            if fate.reason.peer.is_empty() {
                fold(text, "    Reason: ", &said, "    ")?;
            } else {
                let peer = clean(&fate.reason.peer, self.utf8, limits::DOMAIN);
                fold(
                    text,
                    "    Reason: ",
                    &format!("{peer} said: {said}"),
                    "    ",
                )?;
            }
            fold(
                text,
                "    What to do: ",
                remedy(fate.action, fate.reason),
                "    ",
            )?;
        }
        if let Some(until) = fate.retry_until {
            write!(text, "    Tried until: {}\r\n", Date::utc(until))?;
        }
        Ok(())
    }

    /// The part for programs (RFC 3464 s2.2, s2.3).
    fn write_machine(&self, text: &mut String) -> fmt::Result {
        let kind = if self.utf8 {
            "message/global-delivery-status"
        } else {
            "message/delivery-status"
        };
        write!(text, "Content-Type: {kind}\r\n")?;
        if self.utf8 {
            text.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        write!(text, "\r\nReporting-MTA: dns; {}\r\n", self.hostname)?;
        if let Some(envid) = self.envid {
            let envid = clean(&from_xtext(envid), self.utf8, limits::FIELD_KEPT);
            write!(text, "Original-Envelope-Id: {envid}\r\n")?;
        }
        if let Some(from) = self.received_from {
            write!(
                text,
                "Received-From-MTA: dns; {}\r\n",
                clean(from, self.utf8, limits::DOMAIN)
            )?;
        }
        if let Some(arrival) = self.arrival {
            write!(text, "Arrival-Date: {}\r\n", Date::utc(arrival))?;
        }
        for fate in self.fates {
            text.push_str("\r\n");
            if let Some((kind, address)) = fate
                .recipient
                .orcpt
                .as_deref()
                .and_then(|orcpt| orcpt.split_once(';'))
            {
                // RFC 6533 s3: in utf-8 the address stays as xtext says it, else it is what was meant.
                let address = clean(&from_xtext(address), self.utf8, limits::FIELD_KEPT);
                let kind = clean(kind, false, 40);
                write!(text, "Original-Recipient: {kind}; {address}\r\n")?;
            }
            let address = &fate.recipient.address;
            let kind = if address.is_ascii() {
                "rfc822"
            } else {
                "utf-8"
            };
            write!(
                text,
                "Final-Recipient: {kind}; {}\r\nAction: {}\r\nStatus: {}\r\n",
                self.shown(address),
                fate.action.word(),
                self.status(fate),
            )?;
            if !fate.reason.peer.is_empty() {
                let peer = fate.reason.peer.split(' ').next().unwrap_or("");
                write!(
                    text,
                    "Remote-MTA: dns; {}\r\n",
                    clean(peer, self.utf8, limits::DOMAIN)
                )?;
            }
            if matches!(fate.action, Action::Failed | Action::Delayed) {
                let name = if fate.reason.code.is_some() {
                    "Diagnostic-Code: smtp; "
                } else {
                    "Diagnostic-Code: X-Mailroot; "
                };
                fold(text, name, &self.diagnosis(fate.reason), " ")?;
            }
            if let Some(at) = fate.last_attempt {
                write!(text, "Last-Attempt-Date: {}\r\n", Date::utc(at))?;
            }
            if let (Action::Delayed, Some(until)) = (fate.action, fate.retry_until) {
                write!(text, "Will-Retry-Until: {}\r\n", Date::utc(until))?;
            }
        }
        Ok(())
    }

    /// The reply with its codes, on one line.
    fn diagnosis(&self, reason: &Reason) -> String {
        let said = clean(&reason.text, self.utf8, limits::REPLY_TEXT);
        match reason.code {
            Some(code) => format!("{code} {} {said}", reason.status),
            None => said,
        }
    }

    /// RFC 3464 s2.3.4: the class agrees with the action.
    fn status(&self, fate: &Fate<'_>) -> crate::mail::status::Status {
        fate.reason.status.with_class(match fate.action {
            Action::Failed => 5,
            Action::Delayed => 4,
            Action::Delivered | Action::Relayed | Action::Expanded => 2,
        })
    }

    /// An address as the reader can read it: in a report in ASCII, other characters as `\x{20AC}` (RFC 6533 s3).
    fn shown(&self, address: &Address) -> String {
        let text = address.to_string();
        if self.utf8 || text.is_ascii() {
            return text;
        }
        let mut escaped = String::new();
        for c in text.chars() {
            let _ = if c.is_ascii() && c != '\\' {
                write!(escaped, "{c}")
            } else {
                write!(escaped, "\\x{{{:X}}}", u32::from(c))
            };
        }
        escaped
    }

    /// The action the subject speaks of.
    fn worst(&self) -> Action {
        for action in [
            Action::Failed,
            Action::Delayed,
            Action::Relayed,
            Action::Expanded,
        ] {
            if self.fates.iter().any(|fate| fate.action == action) {
                return action;
            }
        }
        Action::Delivered
    }

    /// `=_` cannot stand in quoted-printable or base64 (RFC 2045 s6.7).
    fn boundary(&self) -> String {
        format!("=_{}_{}", self.id, MsgId::from_number(self.random))
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Fate, Report, from_xtext};
    use crate::base::limits;
    use crate::base::{MsgId, Wall};
    use crate::mail::envelope::{Body, Ret};
    use crate::mail::{Address, Domain, Reason, Recipient, Status};

    struct Case {
        hostname: Domain,
        from: Address,
        to: Address,
        recipient: Recipient,
        reason: Reason,
    }

    impl Case {
        fn new() -> Self {
            let mut recipient = Recipient::new(Address::parse("bob@x.example").unwrap());
            recipient.orcpt = Some("rfc822;b+2Bob@y.example".into());
            Self {
                hostname: Domain::parse("nas.lan").unwrap(),
                from: Address::parse("MAILER-DAEMON@nas.lan").unwrap(),
                to: Address::parse("me@nas.lan").unwrap(),
                recipient,
                reason: Reason {
                    status: Status::new(5, 1, 1),
                    code: Some(550),
                    text: "no such user here, and this reply is long enough to be folded somewhere\r\nX: y"
                        .into(),
                    peer: "mx.x.example [192.0.2.1]".into(),
                },
            }
        }

        fn fate(&self, action: Action) -> Fate<'_> {
            Fate {
                recipient: &self.recipient,
                action,
                reason: &self.reason,
                last_attempt: Some(Wall::from_secs(1_795_305_600)),
                retry_until: Some(Wall::from_secs(1_795_392_000)),
            }
        }

        fn report<'a>(&'a self, fates: &'a [Fate<'a>]) -> Report<'a> {
            Report {
                id: MsgId::from_number(33),
                random: 5,
                at: Some(Wall::from_secs(1_795_305_600)),
                hostname: &self.hostname,
                from: &self.from,
                to: &self.to,
                envid: Some("job+2B7"),
                received_from: Some("cam.lan"),
                arrival: Some(Wall::from_secs(1_795_300_000)),
                subject: "disk full",
                message_id: "<1@cam.lan>",
                fates,
                ret: Ret::Headers,
                utf8: false,
                eight: false,
            }
        }
    }

    #[test]
    fn a_failure_report_reads_well_to_people_and_programs() {
        let case = Case::new();
        let fates = [case.fate(Action::Failed)];
        let report = case.report(&fates);
        let mut text = report.head().into_bytes();
        let mut original = report.original();
        assert!(original.feed(b"From: me\r\nSubject: d\xfcsk full\r", &mut text));
        assert!(!original.feed(b"\n\r\nbody\r\n", &mut text));
        text.extend_from_slice(report.tail().as_bytes());
        let want = "Date: Sun, 22 Nov 2026 00:00:00 +0000\r\n\
            From: Mail Delivery System <MAILER-DAEMON@nas.lan>\r\nTo: me@nas.lan\r\n\
            Subject: Undelivered mail: disk full\r\nMessage-ID: <11.5@nas.lan>\r\n\
            In-Reply-To: <1@cam.lan>\r\nReferences: <1@cam.lan>\r\nAuto-Submitted: auto-replied\r\n\
            MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\
            \tboundary=\"=_11_5\"\r\n\r\nThis is a delivery report in the format of RFC 3464.\r\n\r\n--=_11_5\r\n\
            Content-Type: text/plain; charset=us-ascii\r\n\r\nThis is the mail service of nas.lan.\r\n\r\n\
            Your message could not be delivered to the following recipients:\r\n\r\n  bob@x.example\r\n\
            \x20   Reason: mx.x.example [192.0.2.1] said: 550 5.1.1 no such user here, and\r\n\
            \x20   this reply is long enough to be folded somewhere??X: y\r\n\
            \x20   What to do: Check the address for mistakes and send the message again.\r\n\
            \x20   Tried until: Mon, 23 Nov 2026 00:00:00 +0000\r\n\r\nThe message was:\r\n\
            \x20 Subject: disk full\r\n  Arrived: Sat, 21 Nov 2026 22:26:40 +0000\r\n\r\nIts header is attached.\r\n\
            \r\n--=_11_5\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; nas.lan\r\n\
            Original-Envelope-Id: job+7\r\nReceived-From-MTA: dns; cam.lan\r\n\
            Arrival-Date: Sat, 21 Nov 2026 22:26:40 +0000\r\n\r\nOriginal-Recipient: rfc822; b+ob@y.example\r\n\
            Final-Recipient: rfc822; bob@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
            Remote-MTA: dns; mx.x.example\r\n\
            Diagnostic-Code: smtp; 550 5.1.1 no such user here, and this reply is long\r\n \
            enough to be folded somewhere??X: y\r\nLast-Attempt-Date: Sun, 22 Nov 2026 00:00:00 +0000\r\n\
            \r\n--=_11_5\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: me\r\nSubject: d?sk full\r\n\
            \r\n--=_11_5--\r\n";
        assert_eq!(String::from_utf8(text).unwrap(), want);
        let envelope = report.envelope();
        assert_eq!(envelope.sender, None);
        assert_eq!(envelope.body, Body::Seven);
    }

    #[test]
    fn the_class_of_a_status_agrees_with_the_action() {
        let case = Case::new();
        for (action, subject, status, word) in [
            (Action::Failed, "Undelivered", "5.1.1", "failed"),
            (Action::Delayed, "Delayed", "4.1.1", "delayed"),
            (Action::Delivered, "Delivered", "2.1.1", "delivered"),
            (Action::Relayed, "Delivered", "2.1.1", "relayed"),
        ] {
            let fates = [case.fate(action)];
            let mut report = case.report(&fates);
            report.ret = Ret::Full;
            let text = report.head();
            assert!(
                text.contains(&format!("Subject: {subject} mail: ")),
                "{text}"
            );
            assert!(
                text.contains(&format!("\r\nAction: {word}\r\nStatus: {status}\r\n")),
                "{text}"
            );
            assert_eq!(text.contains("Will-Retry-Until"), action == Action::Delayed);
            assert_eq!(
                report.effective_ret() == Ret::Full,
                action == Action::Failed
            );
        }
    }

    #[test]
    fn ascii_readers_get_ascii_and_utf8_readers_utf8() {
        let mut case = Case::new();
        case.recipient.address = Address::parse("j\u{f6}rg@x.example").unwrap();
        case.reason.text = "gibt\u{b4}s nicht".into();
        let fates = [case.fate(Action::Failed)];
        let mut report = case.report(&fates);
        report.subject = "\u{fc}ber";
        let text = report.head();
        assert!(text.is_ascii());
        assert!(
            text.contains("Final-Recipient: utf-8; j\\x{F6}rg@x.example\r\n"),
            "{text}"
        );
        report.utf8 = true;
        let text = report.head();
        assert!(
            text.contains("Final-Recipient: utf-8; j\u{f6}rg@x.example\r\n"),
            "{text}"
        );
        assert!(text.contains("message/global-delivery-status"));
        assert!(text.contains("Subject: =?utf-8?B?VW5kZWxpdmVyZWQgbWFpbDogw7xiZXI=?=\r\n"));
        assert_eq!(report.envelope().body, Body::Eight);
    }

    #[test]
    fn a_whole_original_passes_untouched_and_a_header_is_capped() {
        let case = Case::new();
        let fates = [case.fate(Action::Failed)];
        let mut report = case.report(&fates);
        let mut out = Vec::new();
        let mut original = report.original();
        let line = [b'x'; 1000];
        while original.feed(&line, &mut out) {}
        assert_eq!(out.len(), limits::HEADER_BLOCK);
        report.ret = Ret::Full;
        report.eight = true;
        out.clear();
        assert!(report.original().feed(b"a\r\n\r\n\xfc\0", &mut out));
        assert_eq!(out, b"a\r\n\r\n\xfc\0");
        assert_eq!(report.envelope().body, Body::Eight);
        assert!(
            report
                .head()
                .contains("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n")
        );
    }

    #[test]
    fn no_line_of_the_head_is_over_long_or_bare() {
        let mut case = Case::new();
        case.reason.text = "word ".repeat(300);
        let fates = [case.fate(Action::Failed)];
        let mut report = case.report(&fates);
        let long = "x".repeat(5000);
        report.subject = &long;
        report.message_id = "<a\r\nBcc: b@c>";
        for line in report.head().split("\r\n") {
            assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{line}");
            assert!(!line.starts_with("Bcc"));
        }
    }

    #[test]
    fn xtext_is_undone() {
        for (text, want) in [
            ("a+2Bb", "a+b"),
            ("+", "+"),
            ("+zz", "+zz"),
            ("a+3Db+20", "a=b "),
        ] {
            assert_eq!(from_xtext(text), want);
        }
    }
}
