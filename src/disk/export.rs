//! Writes queued messages as files that the pickup folder understands (see `PICKUP.md`).
//!
//! A file names only the recipients that still wait, so nobody gets the message twice when it is put into a pickup
//! folder again. It is there whole and durable or not at all, and never replaces another.
//!
//! Limit: age and tries are not written down; a message that is taken in again begins anew.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::base::MsgId;
use crate::disk::body::Stored;
use crate::disk::fault::LoadError;
use crate::disk::folders::sync_folder;
use crate::disk::lines;
use crate::disk::peek::Peek;
use crate::mail::envelope::Body;
use crate::queue::progress::Stage;

/// Why a message was not written.
#[derive(Debug)]
pub enum Fault {
    /// It cannot be read back.
    Load(LoadError),
    /// A file of that name is there already.
    Exists(PathBuf),
    /// The system refused; the path says where.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Exists(path) => write!(f, "{} is there already", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Fault {}

/// A message that was written.
#[derive(Debug)]
pub struct Exported {
    /// Where.
    pub path: PathBuf,
    /// Its body is BINARYMIME: a pickup folder would mend its bare CR and LF.
    pub binary: bool,
}

/// Writes one message into `folder` as `<id>.eml`.
pub fn export(peek: &Peek, id: MsgId, folder: &Path) -> Result<Exported, Fault> {
    let path = folder.join(format!("{id}.eml"));
    let temp = folder.join(format!(".{id}.export"));
    let failed = |error| Fault::Io(path.clone(), error);
    match fs::symlink_metadata(&path) {
        Ok(_) => return Err(Fault::Exists(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let stored = peek.stored(id).map_err(Fault::Load)?;
    let written = write(peek, id, &stored, &temp);
    let written = written.and_then(|()| {
        fs::rename(&temp, &path)
            .and_then(|()| sync_folder(folder))
            .map_err(failed)
    });
    if let Err(fault) = written {
        // Under its dot-name it is no message to anybody.
        let _ = fs::remove_file(&temp);
        return Err(fault);
    }
    Ok(Exported {
        path,
        binary: stored.accept.envelope.body == Body::Binary,
    })
}

fn write(peek: &Peek, id: MsgId, stored: &Stored, temp: &Path) -> Result<(), Fault> {
    let failed = |error| Fault::Io(temp.to_owned(), error);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temp)
        .map_err(failed)?;
    file.write_all(envelope(stored).as_bytes())
        .map_err(failed)?;
    peek.load(id, |bytes| file.write_all(bytes))
        .map_err(Fault::Load)?;
    file.sync_all().map_err(failed)
}

/// The lines at the top: the envelope without the recipients that are dealt with.
fn envelope(stored: &Stored) -> String {
    lines::of(&stored.accept.envelope, |at| {
        let stage = stored.progress.as_ref().map(|p| p.stage(at));
        stage.is_none_or(|stage| stage == Stage::Waiting)
    })
}

#[cfg(test)]
mod tests {
    use super::envelope;
    use crate::base::Wall;
    use crate::disk::body::Stored;
    use crate::mail::Address;
    use crate::mail::envelope::{Envelope, Notify, Recipient};
    use crate::mail::outcome::Reason;
    use crate::mail::status::Status;
    use crate::queue::accept::Dates;
    use crate::queue::{Accept, Door, Priority, Progress, Stage};
    use std::time::Duration;

    /// Taken in again, it must not reach anybody twice.
    #[test]
    fn only_those_who_wait_are_named_with_what_their_sender_wanted() {
        let to = |text: &str, notify| Recipient {
            notify,
            ..Recipient::new(Address::parse(text).unwrap())
        };
        let delay = Notify::On {
            success: false,
            failure: false,
            delay: true,
        };
        let mut progress = Progress::new(5);
        for (at, stage) in [(0, Stage::Delivered), (2, Stage::Failed)] {
            progress.set(at, stage, Reason::ours(Status::new(2, 0, 0), "ok"));
        }
        let stored = Stored {
            accept: Accept {
                arrived: Wall::default(),
                door: Door::Smtp,
                origin: String::new(),
                priority: Priority::Normal,
                header: None,
                running: Duration::ZERO,
                dates: Dates::Good,
                envelope: Envelope {
                    recipients: vec![
                        to("a@x.example", Notify::Never),
                        to("b@x.example", Notify::Never),
                        to("c@x.example", Notify::Unsaid),
                        to("d@x.example", delay),
                        to("e@x.example", Notify::Unsaid),
                    ],
                    ..Envelope::default()
                },
            },
            progress: Some(progress),
            hold: None,
            body_len: 0,
            body_crc: None,
        };
        assert_eq!(
            envelope(&stored),
            "X-Sender: <>\r\nX-Notify: never\r\nX-Receiver: b@x.example\r\nX-Notify: delay\r\n\
             X-Receiver: d@x.example\r\nX-Notify: default\r\nX-Receiver: e@x.example\r\nX-Dot-Stuffed: no\r\n"
        );
    }
}
