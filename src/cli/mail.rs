//! `mail -s subject address...`: the command that smartd, zed, apcupsd and scripts call, without a mailbox to read.
//!
//! Writes a header around standard input and submits it as `sendmail` does, with the same exit codes.

use std::ffi::OsString;
use std::io;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use lexopt::Arg;

use crate::base::limits;
use crate::cli::sendmail;
use crate::cli::sendmail::Fault;
use crate::cli::sendmail::Order;
use crate::mail::header::Field;
use crate::mail::words;

/// A letter as the arguments want it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Note {
    order: Order,
    /// The header, CRLF line ends, its blank line included.
    header: String,
    /// `-E`: no letter without a text.
    skip_empty: bool,
}

/// Runs it.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let done = parse(args).and_then(|note| {
        let home = sendmail::home(&note.order)?;
        submit(&note, &home, &sendmail::login(), &mut io::stdin().lock())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            sendmail::complain(&fault);
            ExitCode::from(fault.code())
        }
    }
}

/// Writes the letter into the pickup folder of `home`.
pub fn submit(note: &Note, home: &Path, user: &str, input: &mut dyn Read) -> Result<(), Fault> {
    let mut first = [0_u8; 1];
    let count = loop {
        match input.read(&mut first) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            other => break other.map_err(Fault::Input)?,
        }
    };
    if count == 0 && note.skip_empty {
        return Ok(());
    }
    let first = first.get(..count).unwrap_or_default();
    let mut whole = note.header.as_bytes().chain(first).chain(input);
    sendmail::submit(&note.order, home, user, &mut whole)
}

/// Reads the arguments, without the program's name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Note, Fault> {
    let mut note = Note::default();
    note.order.dots_are_text = true;
    let (mut to, mut cc, mut bcc) = (Vec::new(), Vec::new(), Vec::new());
    let mut subject = None;
    let mut extra = String::new();
    let mut has_type = false;
    let mut args = lexopt::Parser::from_args(args);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Short('s') | Arg::Long("subject") => {
                subject = Some(args.value()?.to_string_lossy().into_owned());
            }
            Arg::Short('r') => note.order.set_sender(&args.value()?)?,
            Arg::Short('a') | Arg::Long("append") => {
                let line = args.value()?.to_string_lossy().into_owned();
                let (name, value) = line
                    .split_once(':')
                    .filter(|(name, _)| is_name(name))
                    .ok_or_else(|| {
                        Fault::Usage(
                            "-a takes a header field such as \"X-Host: nas\"; files cannot be attached".into(),
                        )
                    })?;
                has_type |= Field::named(name.as_bytes()) == Some(Field::ContentType);
                extra.push_str(&format!("{name}: {}\r\n", words::text(value.trim())));
            }
            Arg::Short('A') | Arg::Long("attach") => {
                return Err(Fault::Usage("files cannot be attached".into()));
            }
            Arg::Short('c') | Arg::Long("cc") => sendmail::recipients(&args.value()?, &mut cc)?,
            Arg::Short('b') | Arg::Long("bcc") => sendmail::recipients(&args.value()?, &mut bcc)?,
            Arg::Short('E') => note.skip_empty = true,
            Arg::Long("home") => note.order.home = Some(args.value()?.into()),
            // Taken and of no effect here.
            Arg::Short('S') => {
                args.value()?;
            }
            Arg::Short('i' | 'I' | 'n' | 'v' | 'd' | '~' | 'w') => {}
            Arg::Value(value) => match value.to_str().and_then(|text| text.strip_prefix("-f")) {
                // Behind `--` stand flags for sendmail.
                Some("") => note.order.set_sender(&args.value()?)?,
                Some(sender) => note.order.set_sender(&sender.into())?,
                None => sendmail::recipients(&value, &mut to)?,
            },
            other => return Err(other.unexpected().into()),
        }
    }
    let none = to.is_empty() && cc.is_empty() && bcc.is_empty();
    if none {
        return Err(Fault::Usage(
            "who is it for? There is no mailbox to read here; mail is sent with `mail -s SUBJECT ADDRESS...`".into(),
        ));
    }
    let header = &mut note.header;
    for (name, list) in [("To", &to), ("Cc", &cc)] {
        if !list.is_empty() {
            header.push_str(&format!("{name}: {}\r\n", list.join(",\r\n ")));
        }
    }
    if to.is_empty() && cc.is_empty() {
        header.push_str("To: undisclosed-recipients:;\r\n");
    }
    if let Some(subject) = subject {
        let cut: String = subject.chars().take(limits::FIELD_KEPT).collect();
        header.push_str(&format!("Subject: {}\r\n", words::text(&cut)));
    }
    header.push_str(&extra);
    if !has_type {
        header.push_str(
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
        );
    }
    header.push_str("\r\n");
    for list in [to, cc, bcc] {
        note.order.add_recipients(list);
    }
    Ok(note)
}

/// A field name that a caller may set; not those that the envelope is made of.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && !["to", "cc", "bcc", "subject"].contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::{parse, submit};
    use crate::disk::folders::Folders;
    use std::ffi::OsString;
    use std::fs;

    /// The file that a command line and an input make, or the exit code and the sentence.
    fn sent(args: &[&str], mut input: &[u8]) -> Result<String, (u8, String)> {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        parse(args.iter().map(OsString::from))
            .and_then(|note| submit(&note, dir.path(), "root", &mut input))
            .map_err(|fault| (fault.code(), fault.to_string()))?;
        let file = fs::read_dir(&folders.pickup).unwrap().next();
        Ok(file.map_or(String::new(), |file| {
            fs::read_to_string(file.unwrap().path()).unwrap()
        }))
    }

    #[test]
    fn letters_as_monitors_write_them() {
        let tail = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
        for (args, input, want) in [
            (
                // smartd, zed, apcupsd.
                &["-s", "SMART error (disk) on nas", "root"][..],
                "bad\n.\nsectors\n",
                format!(
                    "X-Sender: <root>\nX-Receiver: <root>\nX-Dot-Stuffed: no\nTo: root\r\n\
                     Subject: SMART error (disk) on nas\r\n{tail}\r\nbad\n.\nsectors\n"
                ),
            ),
            (
                &[
                    "-r",
                    "UPS <ups@x.example>",
                    "-s",
                    "\u{fc}ber",
                    "-c",
                    "c@x.example",
                    "-b",
                    "b@x.example",
                    "-a",
                    "X-Host: nas",
                    "a@x.example",
                    "d@x.example",
                ],
                "x",
                format!(
                    "X-Sender: \"UPS\" <ups@x.example>\nX-Receiver: <a@x.example>\n\
                     X-Receiver: <d@x.example>\nX-Receiver: <c@x.example>\nX-Receiver: <b@x.example>\nX-Dot-Stuffed: no\n\
                     To: a@x.example,\r\n d@x.example\r\nCc: c@x.example\r\nSubject: =?utf-8?B?w7xiZXI=?=\r\n\
                     X-Host: nas\r\n{tail}\r\nx"
                ),
            ),
            (
                &["-s", "s", "a@x.example", "--", "-fme@x.example"],
                "",
                format!(
                    "X-Sender: <me@x.example>\nX-Receiver: <a@x.example>\nX-Dot-Stuffed: no\nTo: a@x.example\r\n\
                     Subject: s\r\n{tail}\r\n"
                ),
            ),
            (&["-E", "-s", "s", "a@x.example"], "", String::new()),
        ] {
            assert_eq!(sent(args, input.as_bytes()).unwrap(), want, "{args:?}");
        }
    }

    #[test]
    fn faults_have_codes() {
        for (args, code) in [
            (&[][..], 64),
            (&["-s", "x"], 64),
            (&["-A", "/etc/passwd", "a@x.example"], 64),
            (&["-a", "/etc/passwd", "a@x.example"], 64),
            (&["-a", "Bcc: a@b", "a@x.example"], 64),
            (&["two words"], 67),
        ] {
            assert_eq!(sent(args, b"x").unwrap_err().0, code, "{args:?}");
        }
    }
}
