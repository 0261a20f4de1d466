//! What stands in a claimed pickup file: its envelope, then its message, in steps.
//!
//! Trust: none; the file is as hostile as any peer. Every line that is held is bounded, the message never is whole
//! in memory. PICKUP.md says what the lines mean.

use std::fmt;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use crate::base::limits;
use crate::disk::pickup::Claim;
use crate::disk::pickup::Dots;
use crate::mail::address::Address;
use crate::mail::domain::Domain;
use crate::mail::envelope::Envelope;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Recipient;
use crate::mail::envelope::Ret;
use crate::mail::header::Plan;
use crate::mail::header::Walker;
use crate::mail::list;
use crate::mail::list::BadEntry;
use crate::mail::list::Mailbox;
use crate::mail::words;

/// The envelope of a pickup file, and what is needed to read the message behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Sender and recipients, with the default domain on bare names.
    pub envelope: Envelope,
    /// The display name that stood beside the sender; empty when there was none.
    pub sender_name: String,
    /// Where the message starts in the file.
    start: u64,
    dots: Dots,
}

impl Given {
    /// The `From` of a message that has none: its sender as he is called by now, with the name that was given; for the
    /// null sender us.
    pub fn from_field(&self, sender: Option<&Address>, hostname: &Domain) -> String {
        match sender {
            Some(address) => words::mailbox(&self.sender_name, address),
            None => format!("MAILER-DAEMON@{hostname}"),
        }
    }
}

/// Why a file is no message. It goes to badmail.
#[derive(Debug)]
pub enum Malformed {
    /// Nothing in it.
    Empty,
    /// No `X-Sender` line and no readable `Sender` or `From` field.
    NoSender,
    /// No `X-Receiver` line and nobody in `To`, `Cc`, `Bcc`.
    NoRecipient,
    /// More recipients, or a longer envelope, than any message may have.
    TooMany,
    /// An address that cannot be read.
    Address(BadEntry),
    /// An envelope line with a value that cannot be read.
    Line(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::NoSender => f.write_str(
                "there is no sender: the file has neither an X-Sender line at its top nor a From field",
            ),
            Self::NoRecipient => f.write_str(
                "there is no recipient: the file has neither an X-Receiver line at its top nor anybody in To, Cc or Bcc",
            ),
            Self::TooMany => write!(
                f,
                "there are too many recipients; {} are allowed",
                limits::RECIPIENTS
            ),
            Self::Address(bad) => bad.fmt(f),
            Self::Line(name) => write!(f, "the {name} line cannot be read"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Why an envelope could not be had.
#[derive(Debug)]
pub enum Fault {
    /// The file is at fault.
    Malformed(Malformed),
    /// The disk is; try again later.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Io(err) => err.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<io::Error> for Fault {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// The envelope lines that are understood at the very top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Sender,
    Receiver,
    Notify,
    Orcpt,
    Ret,
    Envid,
    DotStuffed,
}

const LINES: [(&str, Line); 7] = [
    ("X-Sender", Line::Sender),
    ("X-Receiver", Line::Receiver),
    ("X-Notify", Line::Notify),
    ("X-Orcpt", Line::Orcpt),
    ("X-Ret", Line::Ret),
    ("X-Envid", Line::Envid),
    ("X-Dot-Stuffed", Line::DotStuffed),
];

/// What the lines at the top said.
#[derive(Debug, Default)]
struct Top {
    sender: Option<Mailbox>,
    recipients: Vec<Recipient>,
    /// NOTIFY for the recipients that follow.
    notify: Notify,
    ret: Option<Ret>,
    envid: Option<String>,
    stuffed: Option<bool>,
    /// Bytes of all lines.
    length: u64,
    /// Bytes of addresses kept, against [`limits::ENVELOPE`].
    kept: usize,
}

/// Reads the envelope of a claimed file: the lines at its top, and what they do not say from the header.
pub fn envelope(claim: &Claim, dots: Dots, default_domain: &Domain) -> Result<Given, Fault> {
    if claim.size() == 0 {
        return Err(Malformed::Empty.into());
    }
    let mut file = claim.file();
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let top = read_top(&mut reader, default_domain)?;
    let dots = match top.stuffed {
        Some(true) => Dots::Always,
        Some(false) => Dots::Never,
        None => dots,
    };
    let mut envelope = Envelope {
        sender: None,
        recipients: top.recipients,
        ret: top.ret,
        envid: top.envid,
        ..Envelope::default()
    };
    let mut sender = top.sender;
    if sender.is_none() || envelope.recipients.is_empty() {
        reader.seek(SeekFrom::Start(top.length))?;
        let block = header_block(&mut reader)?;
        if block.is_empty() && top.length == 0 {
            return Err(Malformed::NoSender.into());
        }
        let people = list::people(&block, Some(default_domain));
        if sender.is_none() {
            let bad = people.bad_sender;
            sender = Some(
                people
                    .sender
                    .ok_or_else(|| bad.map_or(Malformed::NoSender, Malformed::Address))?,
            );
        }
        if envelope.recipients.is_empty() {
            // A list with one bad address is refused whole: half a delivery is nobody's intent (promise G2).
            if let Some(bad) = people.bad_recipient {
                return Err(Malformed::Address(bad).into());
            }
            if people.too_many {
                return Err(Malformed::TooMany.into());
            }
            envelope.recipients = people.recipients.into_iter().map(Recipient::new).collect();
        }
    }
    if envelope.recipients.is_empty() {
        return Err(Malformed::NoRecipient.into());
    }
    let sender = sender.ok_or(Malformed::NoSender)?;
    envelope.sender = sender.address;
    envelope.utf8 = !envelope.sender.iter().all(Address::is_ascii)
        || !envelope.recipients.iter().all(|to| to.address.is_ascii());
    Ok(Given {
        envelope,
        sender_name: sender.name,
        start: top.length,
        dots,
    })
}

/// Reads the envelope lines and leaves the count of their bytes.
fn read_top(reader: &mut impl BufRead, default_domain: &Domain) -> Result<Top, Fault> {
    let mut top = Top::default();
    // The byte order mark that editors put before everything.
    let has_mark = reader.fill_buf()?.starts_with(b"\xef\xbb\xbf");
    if has_mark {
        reader.consume(3);
        top.length = 3;
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        read_line(reader, &mut line)?;
        let colon = line.iter().position(|&byte| byte == b':');
        let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) else {
            return Ok(top);
        };
        let name = name.trim_ascii_end();
        let known = LINES
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        let Some((known, kind)) = known else {
            return Ok(top);
        };
        if !line.ends_with(b"\n") && line.len() >= limits::PICKUP_LINE {
            return Err(Malformed::Line(known).into());
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        top.take(*kind, value, default_domain)?;
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        top.length = top.length.saturating_add(length);
        if *kind == Line::DotStuffed {
            return Ok(top);
        }
    }
}

/// A line with its folds, of which no more than [`limits::PICKUP_LINE`] bytes are read.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let room = limits::PICKUP_LINE.saturating_sub(line.len());
        let room = u64::try_from(room).unwrap_or(0);
        reader.by_ref().take(room).read_until(b'\n', line)?;
        // A blank line has no folds.
        let over = line.len() >= limits::PICKUP_LINE || line.first() == Some(&b'\n');
        if over || line.starts_with(b"\r\n") {
            return Ok(());
        }
        if !matches!(reader.fill_buf()?.first(), Some(b' ' | b'\t')) {
            return Ok(());
        }
    }
}

impl Top {
    fn take(&mut self, kind: Line, value: &[u8], default_domain: &Domain) -> Result<(), Fault> {
        match kind {
            // The first one counts, as a program's own line stands before one that a library added.
            Line::Sender if self.sender.is_some() => {}
            Line::Sender => {
                let mailbox = list::mailbox(value, Some(default_domain));
                self.sender = Some(mailbox.map_err(Malformed::Address)?);
            }
            Line::Receiver => {
                for entry in list::mailboxes(value, Some(default_domain)) {
                    if let Some(address) = entry.map_err(Malformed::Address)?.address {
                        self.receiver(address)?;
                    }
                }
            }
            Line::Notify => self.notify = notify(value).ok_or(Malformed::Line("X-Notify"))?,
            Line::Orcpt => {
                let text = word(value).ok_or(Malformed::Line("X-Orcpt"))?;
                if let Some(last) = self.recipients.last_mut() {
                    last.orcpt = Some(text);
                }
            }
            Line::Ret => {
                self.ret = Some(match value.to_ascii_lowercase().as_slice() {
                    b"full" => Ret::Full,
                    b"hdrs" => Ret::Headers,
                    _ => return Err(Malformed::Line("X-Ret").into()),
                });
            }
            Line::Envid => self.envid = Some(word(value).ok_or(Malformed::Line("X-Envid"))?),
            Line::DotStuffed => {
                self.stuffed = Some(match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(Malformed::Line("X-Dot-Stuffed").into()),
                });
            }
        }
        Ok(())
    }

    fn receiver(&mut self, address: Address) -> Result<(), Malformed> {
        let length = address
            .local()
            .len()
            .saturating_add(address.domain().as_str().len());
        self.kept = self.kept.saturating_add(length).saturating_add(16);
        if self.recipients.len() >= limits::RECIPIENTS || self.kept > limits::ENVELOPE {
            return Err(Malformed::TooMany);
        }
        self.recipients.push(Recipient {
            notify: self.notify,
            ..Recipient::new(address)
        });
        Ok(())
    }
}

/// NOTIFY as RFC 3461 s4.1 writes it.
fn notify(value: &[u8]) -> Option<Notify> {
    let text = std::str::from_utf8(value).ok()?;
    if text.eq_ignore_ascii_case("never") {
        return Some(Notify::Never);
    }
    if text.eq_ignore_ascii_case("default") {
        return Some(Notify::Unsaid);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in text.split(',').map(str::trim) {
        match word.to_ascii_lowercase().as_str() {
            "success" => success = true,
            "failure" => failure = true,
            "delay" => delay = true,
            _ => return None,
        }
    }
    Some(Notify::On {
        success,
        failure,
        delay,
    })
}

/// A value that will stand in a command: printable ASCII without spaces, of a path's length at most.
fn word(value: &[u8]) -> Option<String> {
    let fits = !value.is_empty() && value.len() <= limits::PATH.saturating_mul(2);
    let text = std::str::from_utf8(value).ok()?;
    (fits && value.iter().all(u8::is_ascii_graphic)).then(|| text.to_owned())
}

/// The first bytes of a message up to the end of its header, at most [`limits::HEADER_BLOCK`] of them.
fn header_block(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut walker = Walker::new(Plan {
        repair: true,
        capture: true,
        ..Plan::default()
    });
    let mut block = vec![0; 4096];
    let mut unused = Vec::new();
    loop {
        let count = match reader.read(&mut block) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        walker.feed(block.get(..count).unwrap_or_default(), &mut unused);
        unused.clear();
        if count == 0 {
            walker.finish(&mut unused);
        }
        if count == 0 || walker.facts().header_over || walker.facts().cut {
            return Ok(walker.block().to_vec());
        }
    }
}

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
    use super::{Fault, Given, Letter, envelope};
    use crate::base::MsgId;
    use crate::base::limits;
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
