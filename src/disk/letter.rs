//! The message of a claimed pickup file, in steps: without its envelope lines and without extra dots.
//!
//! Trust: none; the file is as hostile as any peer. The message never is whole in memory.

use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use crate::base::limits;
use crate::disk::envelope::Given;
use crate::disk::pickup::Claim;
use crate::disk::pickup::Dots;
use crate::mail::header::Plan;
use crate::mail::header::Walker;

/// Gives the message of a claimed file in steps: without its envelope lines, without extra dots, walked by the
/// plan given (`Bcc` out, line ends mended, missing fields in).
#[derive(Debug)]
pub struct Letter {
    claim: Claim,
    dots: Undot,
    walker: Walker,
    block: Vec<u8>,
    over: bool,
}

impl Letter {
    /// Starts at the first byte behind the envelope lines. An error of the disk gives the claim back with it.
    pub fn new(claim: Claim, given: &Given, plan: Plan) -> Result<Self, (Claim, io::Error)> {
        if let Err(error) = claim.file().seek(SeekFrom::Start(given.start)) {
            return Err((claim, error));
        }
        Ok(Self {
            claim,
            dots: Undot::new(given.dots),
            walker: Walker::new(plan),
            block: Vec::new(),
            over: false,
        })
    }

    /// Appends the next part of the message to `out`, at most some [`limits::BODY_STEP`] bytes; says whether there
    /// may be more. Ask [`Claim::stood_still`] at the end.
    pub fn step(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.over {
            return Ok(false);
        }
        self.block.resize(limits::BODY_STEP, 0);
        let count = loop {
            match self.claim.file().read(&mut self.block) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.block.truncate(count);
        self.dots.remove(&mut self.block);
        self.walker.feed(&self.block, out);
        if count == 0 || self.dots.at == AtDot::Over {
            self.over = true;
            self.walker.finish(out);
        }
        Ok(!self.over)
    }

    /// What was learnt of the message so far.
    pub const fn walker(&self) -> &Walker {
        &self.walker
    }

    /// The file it comes from, for asking [`Claim::stood_still`] and for its end.
    pub fn into_claim(self) -> Claim {
        self.claim
    }
}

/// Removes one leading dot of each line, and ends at a lone one.
#[derive(Debug)]
struct Undot {
    at: AtDot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtDot {
    /// Every byte counts.
    Off,
    LineStart,
    /// Behind a dot that was removed.
    Dot,
    /// Behind a removed dot and a CR, which is held.
    DotCr,
    Text,
    /// Behind the lone dot: nothing counts.
    Over,
}

impl Undot {
    const fn new(dots: Dots) -> Self {
        Self {
            at: match dots {
                Dots::Never => AtDot::Off,
                Dots::Always => AtDot::LineStart,
            },
        }
    }

    fn remove(&mut self, block: &mut Vec<u8>) {
        if self.at == AtDot::Off {
            return;
        }
        // At most the held CR is added, and then the dot before it has gone.
        let mut kept = Vec::with_capacity(block.len().saturating_add(1));
        for &byte in block.iter() {
            if self.at == AtDot::DotCr && byte != b'\n' {
                kept.push(b'\r');
                self.at = AtDot::Text;
            }
            let (next, keep) = match (self.at, byte) {
                (AtDot::Over, _) | (AtDot::Dot | AtDot::DotCr, b'\n') => (AtDot::Over, false),
                (AtDot::LineStart, b'.') => (AtDot::Dot, false),
                (AtDot::Dot, b'\r') => (AtDot::DotCr, false),
                (_, b'\n') => (AtDot::LineStart, true),
                _ => (AtDot::Text, true),
            };
            self.at = next;
            if keep {
                kept.push(byte);
            }
        }
        *block = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::Letter;
    use crate::base::MsgId;
    use crate::base::limits;
    use crate::disk::envelope::{Fault, Given, envelope};
    use crate::disk::folders::Folders;
    use crate::disk::pickup::{Claim, Dots, Rules, claim};
    use crate::mail::Domain;
    use crate::mail::envelope::{Notify, Ret};
    use crate::mail::header::{Field, Plan};
    use std::fs;
    use std::time::Duration;

    pub(super) const RULES: Rules = Rules {
        size: 100_000_000,
        dots: Dots::Never,
        settle: Duration::from_secs(5),
    };

    fn take(folders: &Folders, bytes: &[u8]) -> Claim {
        fs::write(folders.pickup.join("f"), bytes).unwrap();
        let id = MsgId::from_number(1);
        claim(&folders.pickup, "f".as_ref(), &folders.sorttemp, id, &RULES).unwrap()
    }

    fn read(claim: Claim, given: &Given) -> String {
        let plan = Plan {
            repair: true,
            without: &[Field::Bcc, Field::ResentBcc],
            ..Plan::default()
        };
        let mut letter = Letter::new(claim, given, plan).unwrap();
        let mut out = Vec::new();
        while letter.step(&mut out).unwrap() {}
        assert!(letter.into_claim().stood_still());
        String::from_utf8(out).unwrap()
    }

    /// Sender, recipients and message, or the reason.
    fn story(bytes: &[u8], dots: Dots) -> Result<(String, String, String), String> {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let claim = take(&folders, bytes);
        let home = Domain::parse("nas.lan").unwrap();
        let given = envelope(&claim, dots, &home).map_err(|fault| fault.to_string())?;
        let sender = given.envelope.sender.as_ref();
        let sender = format!(
            "{}<{}>",
            given.sender_name,
            sender.map_or(String::new(), ToString::to_string)
        );
        let list: Vec<_> = given
            .envelope
            .recipients
            .iter()
            .map(|to| to.address.to_string())
            .collect();
        Ok((sender, list.join(" "), read(claim, &given)))
    }

    #[test]
    fn files_as_real_programs_write_them() {
        for (file, sender, recipients, message) in [
            // .NET SpecifiedPickupDirectory.
            (
                "X-Sender: \"Do Not Reply\" <noreply@x.example>\r\nX-Receiver: \"A, B\" <a@x.example>\r\n\
                 X-Receiver: c@x.example\r\nMIME-Version: 1.0\r\nFrom: \"Do Not Reply\" <noreply@x.example>\r\n\
                 To: \"A, B\" <a@x.example>\r\nDate: d\r\nSubject: s\r\n\r\nbody\r\n",
                "Do Not Reply<noreply@x.example>",
                "a@x.example c@x.example",
                "MIME-Version: 1.0\r\nFrom: \"Do Not Reply\" <noreply@x.example>\r\nTo: \"A, B\" <a@x.example>\r\n\
                 Date: d\r\nSubject: s\r\n\r\nbody\r\n",
            ),
            // PHP and PowerShell: other case, bare LF, folds.
            (
                "x-sender: root\nX-RECEIVER:\n  a@x.example\nx-receiver : =?utf-8?q?J=C3=B6rg?= <j@x.example>\nFrom: r\n\nx\n",
                "<root@nas.lan>",
                "a@x.example j@x.example",
                "From: r\r\n\r\nx\r\n",
            ),
            // CDO and by hand: no envelope lines.
            (
                "From: Joe <joe@x.example>\nTo: a@x.example\nCc: b@x.example\nBcc: c@x.example,\n d@x.example\n\nx",
                "Joe<joe@x.example>",
                "a@x.example b@x.example c@x.example d@x.example",
                "From: Joe <joe@x.example>\r\nTo: a@x.example\r\nCc: b@x.example\r\n\r\nx\r\n",
            ),
            // Half an envelope: the other half is in the header.
            (
                "X-Receiver: a@x.example\nFrom: f@x.example\nTo: b@x.example\n\nx\n",
                "<f@x.example>",
                "a@x.example",
                "From: f@x.example\r\nTo: b@x.example\r\n\r\nx\r\n",
            ),
            (
                "X-Sender: <>\nFrom: f@x.example\nTo: b@x.example\n\nx\n",
                "<>",
                "b@x.example",
                "From: f@x.example\r\nTo: b@x.example\r\n\r\nx\r\n",
            ),
            // Further down they are the message's own.
            (
                "From: f@x.example\nX-Sender: other@x.example\nTo: b@x.example\n\nx\n",
                "<f@x.example>",
                "b@x.example",
                "From: f@x.example\r\nX-Sender: other@x.example\r\nTo: b@x.example\r\n\r\nx\r\n",
            ),
            // A byte order mark, and nothing but an envelope.
            (
                "\u{feff}X-Sender: a@x.example\r\nX-Receiver: b@x.example\r\nSubject: s\r\n",
                "<a@x.example>",
                "b@x.example",
                "Subject: s\r\n\r\n",
            ),
            (
                "X-Sender: a@x.example\nX-Receiver: b@x.example",
                "<a@x.example>",
                "b@x.example",
                "\r\n",
            ),
            (
                "X-Sender: a@x.example\nX-Receiver: b@x.example\n\njust text\n",
                "<a@x.example>",
                "b@x.example",
                "\r\njust text\r\n",
            ),
        ] {
            let (s, r, m) = story(file.as_bytes(), Dots::Never).unwrap();
            assert_eq!((s.as_str(), r.as_str()), (sender, recipients), "{file:?}");
            assert_eq!(m, message, "{file:?}");
        }
    }

    #[test]
    fn malformed_files_have_a_reason() {
        for (file, reason) in [
            (&b""[..], "the file is empty"),
            (b"\xff\xfeF\0r\0o\0m\0:\0", "the file is in UTF-16"),
            (b"\xfe\xff\0F\0r\0o\0m\0:", "the file is in UTF-16"),
            (b"To: a@x.example\n\nx\n", "there is no sender"),
            (b"\n\n\n", "there is no sender"),
            (b"just text", "there is no sender"),
            (
                b"From: two words\nTo: b@x.example\n\nx\n",
                "cannot read the address \"two words\"",
            ),
            (b"From: a@x.example\n\nx\n", "there is no recipient"),
            (
                b"From: a@x.example\nTo: undisclosed-recipients:;\n\nx\n",
                "there is no recipient",
            ),
            (
                b"From: a@x.example\nTo: two words\n\nx\n",
                "cannot read the address \"two words\"",
            ),
            (
                b"From: a@x.example\nTo: ok@x.example, two words\n\nx\n",
                "cannot read the address \"two words\"",
            ),
            (
                b"X-Sender: two words\nTo: b@x.example\n\n",
                "cannot read the address \"two words\"",
            ),
            (
                b"X-Receiver: b@..\nFrom: a@x.example\n\n",
                "cannot read the address \"b@..\"",
            ),
            (
                b"X-Receiver: \xff@x\nFrom: a@x.example\n\n",
                "cannot read the address",
            ),
            (
                b"X-Ret: some\nFrom: a@x.example\n\n",
                "the X-Ret line cannot be read",
            ),
            (
                b"X-Notify: often\nFrom: a@x.example\n\n",
                "the X-Notify line cannot be read",
            ),
            (
                b"X-Envid: a=b\nX-Receiver: b@x.example\nFrom: a@x.example\n\n",
                "the X-Envid line cannot be read",
            ),
            (
                b"X-Receiver: b@x.example\nX-Orcpt: b@x.example\nFrom: a@x.example\n\n",
                "the X-Orcpt line cannot be read",
            ),
            (b"\0\0\0\0", "there is no sender"),
        ] {
            let got = story(file, Dots::Never).unwrap_err();
            assert!(got.starts_with(reason), "{got}");
        }
        let mut long = b"X-Sender: ".to_vec();
        long.resize(limits::PICKUP_LINE * 2, b'x');
        let got = story(&long, Dots::Never).unwrap_err();
        assert_eq!(got, "the X-Sender line cannot be read");
        let many = "X-Receiver: a@x.example\n".repeat(limits::RECIPIENTS + 1);
        let got = story(many.as_bytes(), Dots::Never).unwrap_err();
        assert!(got.starts_with("there are too many recipients"), "{got}");
        // Who stands in the part that is not read may not be forgotten in silence.
        let big = "x".repeat(limits::HEADER_BLOCK);
        let file =
            format!("From: a@x.example\nTo: b@x.example\nX-Big: {big}\nBcc: c@x.example\n\n");
        let got = story(file.as_bytes(), Dots::Never).unwrap_err();
        assert!(got.starts_with("the header is larger than"), "{got}");
        let file = format!("X-Receiver: b@x.example\n{file}");
        let (_, to, _) = story(file.as_bytes(), Dots::Never).unwrap();
        assert_eq!(to, "b@x.example");
    }

    #[test]
    fn dots_go_only_where_the_owner_or_the_file_says_so() {
        let file = "Subject: s\n\n..two\n.one\nno\n.\r\nafter\n";
        let envelope = "X-Sender: a@x.example\nX-Receiver: b@x.example\n";
        let message = |dots, end: &str| {
            let text = format!("{envelope}{end}{file}");
            story(text.as_bytes(), dots).unwrap().2
        };
        let as_it_is = "Subject: s\r\n\r\n..two\r\n.one\r\nno\r\n.\r\nafter\r\n";
        let unstuffed = "Subject: s\r\n\r\n.two\r\none\r\nno\r\n";
        assert_eq!(message(Dots::Never, ""), as_it_is);
        assert_eq!(message(Dots::Always, ""), unstuffed);
        assert_eq!(message(Dots::Always, "X-Dot-Stuffed: no\n"), as_it_is);
        assert_eq!(message(Dots::Never, "x-dot-stuffed: YES\n"), unstuffed);
    }

    #[test]
    fn no_line_of_the_message_is_taken_for_the_envelope_behind_its_end() {
        let file = b"X-Sender: a@x.example\nX-Receiver: b@x.example\nX-Dot-Stuffed: no\n\
                     X-Receiver: c@x.example\nSubject: s\n\nx\n";
        let (_, to, text) = story(file, Dots::Never).unwrap();
        assert_eq!(to, "b@x.example");
        assert_eq!(text, "X-Receiver: c@x.example\r\nSubject: s\r\n\r\nx\r\n");
    }

    #[test]
    fn delivery_notices_are_asked_for_at_the_top() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let claim = take(
            &folders,
            b"X-Sender: \"A, B\" <a@x.example>\nX-Ret: HDRS\nX-Envid: id+2B1\nX-Notify: never\nX-Receiver: b@x.example\n\
              X-Notify: success,delay\nX-Receiver: c@x.example\nX-Orcpt: rfc822;orig@x.example\n\nx",
        );
        let home = Domain::parse("nas.lan").unwrap();
        let given = envelope(&claim, Dots::Never, &home).unwrap();
        assert_eq!(
            given.from_field(given.envelope.sender.as_ref(), &home),
            "\"A, B\" <a@x.example>"
        );
        let envelope = given.envelope;
        assert_eq!(envelope.ret, Some(Ret::Headers));
        assert_eq!(envelope.envid.as_deref(), Some("id+2B1"));
        let [b, c] = envelope.recipients.as_slice() else {
            panic!("two recipients");
        };
        assert_eq!(b.notify, Notify::Never);
        assert_eq!(
            c.notify,
            Notify::On {
                success: true,
                failure: false,
                delay: true
            }
        );
        assert_eq!(c.orcpt.as_deref(), Some("rfc822;orig@x.example"));
    }

    #[test]
    fn a_large_message_moves_in_steps() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let mut file = b"From: a@x.example\nTo: b@x.example\n\n".to_vec();
        for at in 0..200_000 {
            file.extend_from_slice(format!("line {at}\n").as_bytes());
        }
        let claim = take(&folders, &file);
        let home = Domain::parse("nas.lan").unwrap();
        let Ok(given) = envelope(&claim, Dots::Never, &home) else {
            panic!("good file");
        };
        let plan = Plan {
            repair: true,
            ..Plan::default()
        };
        let mut letter = Letter::new(claim, &given, plan).unwrap();
        let (mut out, mut all) = (Vec::new(), Vec::new());
        while letter.step(&mut out).unwrap() {
            // LF alone became CRLF, so a step may grow, but never beyond twice.
            assert!(out.len() <= 2 * limits::BODY_STEP + 64);
            all.append(&mut out);
        }
        all.append(&mut out);
        assert_eq!(all.iter().filter(|&&b| b == b'\r').count(), 200_003);
        assert!(all.ends_with(b"line 199999\r\n"));
        let mut claim = letter.into_claim();
        assert!(claim.stood_still());
        fs::write(claim.path(), "changed while it was read").unwrap();
        assert!(!claim.stood_still());
        claim.refresh().unwrap();
        assert!(claim.stood_still());
    }

    #[test]
    fn faults_say_whose_they_are() {
        let fault = Fault::from(std::io::Error::other("disk on fire"));
        assert_eq!(fault.to_string(), "disk on fire");
    }
}
