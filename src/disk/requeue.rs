//! Sends a bad message again: a copy with its envelope goes into the pickup folder, then its three files go.
//!
//! They go only when the copy is durable, so a crash leaves the one, the other or both (promises G1, G2): never lost,
//! at worst sent twice.

use std::fmt;
use std::io;
use std::io::Read;
use std::path::Path;

use crate::base::limits;
use crate::disk::badmail::Badmail;
use crate::disk::badmail::Verdict;
use crate::disk::lines;
use crate::disk::submit::Submission;
use crate::mail::Address;
use crate::mail::Envelope;
use crate::mail::Recipient;

/// Why a message was not sent again. It is in badmail still.
#[derive(Debug)]
pub enum Fault {
    /// The message cannot be read.
    Read(io::Error),
    /// The envelope beside it cannot be read.
    Envelope(String),
    /// The pickup folder would not take it.
    Pickup(io::Error),
    /// It is on its way, and its files stay; sent again once more it would go twice.
    Remains(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Envelope(text) => write!(
                f,
                "its .bdr names '{}', which is no address; mend that line, or move the .bad into the pickup folder, \
                 where it goes to those in its header",
                text.escape_debug()
            ),
            Self::Pickup(error) => write!(f, "the pickup folder does not take it: {error}"),
            Self::Remains(error) => {
                write!(f, "it is sent again, but cannot be removed here: {error}")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// Puts the message into `pickup`, then removes it from badmail.
pub fn requeue(badmail: &Badmail, stem: &str, pickup: &Path) -> Result<(), Fault> {
    copy(badmail, stem, pickup)?;
    badmail.remove(stem).map_err(Fault::Remains)
}

/// Makes a durable copy in `pickup`.
fn copy(badmail: &Badmail, stem: &str, pickup: &Path) -> Result<(), Fault> {
    let mut message = badmail.open(stem).map_err(Fault::Read)?;
    let mut copy = Submission::begin(pickup).map_err(Fault::Pickup)?;
    let (mut block, mut first) = (vec![0; limits::BODY_STEP], true);
    loop {
        let got = match message.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(Fault::Read)?,
        };
        let Some(bytes) = block.get(..got).filter(|bytes| !bytes.is_empty()) else {
            return copy.finish().map_err(Fault::Pickup);
        };
        if first && !has_envelope(bytes) {
            let top = top(&badmail.verdict(stem).map_err(Fault::Read)?)?;
            copy.append(top.as_bytes()).map_err(Fault::Pickup)?;
        }
        first = false;
        copy.append(bytes).map_err(Fault::Pickup)?;
    }
}

/// Whether the file says itself whom it is for. What came by another door than the pickup folder begins with its trace.
fn has_envelope(start: &[u8]) -> bool {
    ["x-sender:", "x-receiver:"].iter().any(|name| {
        start
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// The lines for a message that says nothing itself; none when nothing is known, as of a pickup file that was no message.
fn top(verdict: &Verdict) -> Result<String, Fault> {
    let address = |text: &String| Address::parse(text).map_err(|_| Fault::Envelope(text.clone()));
    let Some(sender) = &verdict.sender else {
        return Ok(String::new());
    };
    if verdict.recipients.is_empty() {
        return Ok(String::new());
    }
    let sender = Some(sender).filter(|text| !text.is_empty());
    let recipients = verdict.recipients.iter();
    let recipients = recipients.map(|text| Ok(Recipient::new(address(text)?)));
    let envelope = Envelope {
        sender: sender.map(address).transpose()?,
        recipients: recipients.collect::<Result<_, Fault>>()?,
        ..Envelope::default()
    };
    Ok(lines::of(&envelope, |_| true))
}

#[cfg(test)]
mod tests {
    use super::{Fault, copy, requeue};
    use crate::base::{MsgId, Wall};
    use crate::disk::badmail::{Badmail, Caps, Verdict};
    use crate::disk::folders::Folders;
    use std::fs;
    use std::path::Path;

    fn home() -> (tempfile::TempDir, Folders, Badmail) {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let caps = Caps {
            bytes: u64::MAX,
            count: usize::MAX,
            age: None,
        };
        let badmail = Badmail::new(&folders.badmail, caps);
        (dir, folders, badmail)
    }

    fn put(badmail: &Badmail, body: &[u8], sender: Option<&str>, to: &[&str]) -> String {
        let mut draft = badmail.begin(MsgId::from_number(7)).unwrap();
        draft.append(body).unwrap();
        let verdict = Verdict {
            at: Wall::from_secs(1_795_305_600),
            reason: "nobody took it".into(),
            sender: sender.map(str::to_owned),
            recipients: to.iter().map(|&to| to.to_owned()).collect(),
            ..Verdict::default()
        };
        draft.finish(&verdict).unwrap()
    }

    fn files(folder: &Path) -> Vec<String> {
        let list = fs::read_dir(folder).unwrap();
        list.map(|e| fs::read_to_string(e.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn a_message_goes_back_with_the_envelope_that_is_known_of_it() {
        for (body, sender, to, want) in [
            (
                "Received: x\n\nb\n",
                Some("a@x.example"),
                &["b@x.example", "\"odd one\"@x.example"][..],
                "X-Sender: a@x.example\r\nX-Receiver: b@x.example\r\nX-Receiver: \"odd one\"@x.example\r\n\
                 X-Dot-Stuffed: no\r\nReceived: x\n\nb\n",
            ),
            (
                "Received: x\n\nb\n",
                Some(""),
                &["b@x.example"],
                "X-Sender: <>\r\nX-Receiver: b@x.example\r\nX-Dot-Stuffed: no\r\nReceived: x\n\nb\n",
            ),
            // It says so itself, as the service writes them.
            (
                "x-sender: <>\nrest",
                Some("a@x.example"),
                &["b@x.example"],
                "x-sender: <>\nrest",
            ),
            // A pickup file that was no message: as it was, or as its owner has mended it.
            ("Subject: s\n\nb\n", None, &[], "Subject: s\n\nb\n"),
            ("", None, &[], ""),
        ] {
            let (_dir, folders, badmail) = home();
            let stem = put(&badmail, body.as_bytes(), sender, to);
            requeue(&badmail, &stem, &folders.pickup).unwrap();
            assert_eq!(files(&folders.pickup), [want]);
            assert!(files(&folders.badmail).is_empty());
        }
    }

    #[test]
    fn whatever_fails_the_message_is_in_badmail_still() {
        let (_dir, folders, badmail) = home();
        let stem = put(&badmail, b"m", Some("not an address"), &["b@x.example"]);
        let fault = requeue(&badmail, &stem, &folders.pickup).unwrap_err();
        assert!(matches!(fault, Fault::Envelope(_)), "{fault}");
        assert!(files(&folders.pickup).is_empty());
        fs::remove_dir(&folders.pickup).unwrap();
        assert!(requeue(&badmail, &stem, &folders.pickup).is_err());
        assert_eq!(files(&folders.badmail).len(), 3);
        for stem in ["../pickup/x", "", "7-", "7/..", "8"] {
            assert!(requeue(&badmail, stem, &folders.pickup).is_err(), "{stem}");
        }
    }

    /// What a `kill -9` between the two steps leaves.
    #[test]
    fn a_copy_whose_original_was_not_removed_goes_twice_and_is_not_lost() {
        let (_dir, folders, badmail) = home();
        let stem = put(&badmail, b"m", Some(""), &["b@x.example"]);
        copy(&badmail, &stem, &folders.pickup).unwrap();
        assert_eq!(badmail.list().unwrap().len(), 1);
        requeue(&badmail, &stem, &folders.pickup).unwrap();
        assert_eq!(files(&folders.pickup).len(), 2);
        assert!(files(&folders.badmail).is_empty());
    }
}
