//! Who sent a claimed pickup file and who gets it: the lines at its top, and what they do not say from its header.
//!
//! Trust: none; the file is as hostile as any peer. Every line that is held is bounded. PICKUP.md says what the lines
//! mean.

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
use crate::mail::xtext::is_envid;
use crate::mail::xtext::is_orcpt;

/// The envelope of a pickup file, and what is needed to read the message behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Sender and recipients, with the default domain on bare names.
    pub envelope: Envelope,
    /// The display name that stood beside the sender; empty when there was none.
    pub sender_name: String,
    /// Where the message starts in the file.
    pub(super) start: u64,
    pub(super) dots: Dots,
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
    /// In UTF-16, as some programs write text when nobody tells them otherwise.
    Utf16,
    /// No `X-Sender` line and no readable `Sender` or `From` field.
    NoSender,
    /// No `X-Receiver` line and nobody in `To`, `Cc`, `Bcc`.
    NoRecipient,
    /// More recipients, or a longer envelope, than any message may have.
    TooMany,
    /// Recipients have to be taken from a header that is larger than is read: some of them would be missed.
    HeaderTooLarge,
    /// An address that cannot be read.
    Address(BadEntry),
    /// An envelope line with a value that cannot be read.
    Line(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::Utf16 => f.write_str(
                "the file is in UTF-16; write it in UTF-8 or ASCII (PowerShell: -Encoding utf8)",
            ),
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
            Self::HeaderTooLarge => write!(
                f,
                "the header is larger than the {} bytes in which recipients are looked for; name them in X-Receiver \
                 lines at the top",
                limits::HEADER_BLOCK
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
    if matches!(reader.fill_buf()?, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(Malformed::Utf16.into());
    }
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
        let (block, cut) = header_block(&mut reader)?;
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
            if cut {
                // Who stands behind the cut would get nothing, and nobody would know (promise G2).
                return Err(Malformed::HeaderTooLarge.into());
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
                let text = word(value, is_orcpt).ok_or(Malformed::Line("X-Orcpt"))?;
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
            Line::Envid => {
                let text = word(value, is_envid).ok_or(Malformed::Line("X-Envid"))?;
                self.envid = Some(text);
            }
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

/// A value that will stand in a command, when it is what may stand there: a server would refuse the whole message for it.
fn word(value: &[u8], fits: fn(&str) -> bool) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    fits(text).then(|| text.to_owned())
}

/// The first bytes of a message up to the end of its header, at most [`limits::HEADER_BLOCK`] of them, and whether there
/// are more.
fn header_block(reader: &mut impl Read) -> io::Result<(Vec<u8>, bool)> {
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
            return Ok((walker.block().to_vec(), walker.facts().cut));
        }
    }
}
