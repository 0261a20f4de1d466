//! What can go wrong with the queue, each with a sentence that says what to do.

use std::fmt;
use std::io;

/// Why a message was not accepted. Nothing of it is kept; all of these pass, so senders are told 4yz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `limits.queue_bytes` is reached.
    QueueBytes,
    /// `limits.queue_messages` is reached.
    QueueMessages,
    /// The disk has no room, or its last part is kept for noting what left.
    DiskFull,
    /// The file system has no more files (inodes) to give: `limits.free_files`.
    NoFiles,
    /// Envelope and texts do not fit a segment.
    TooLarge,
    /// Writing failed, and no fresh segment has been proved yet. With the error.
    Broken(String),
}

impl Refused {
    /// Whether it is a matter of room (452 4.3.1) and not of a failing disk (451 4.3.0).
    pub fn is_full(&self) -> bool {
        !matches!(self, Self::Broken(_))
    }

    /// What a failed call on a body file means.
    pub fn from_io(error: &io::Error) -> Self {
        if is_full(error) {
            Self::DiskFull
        } else {
            Self::Broken(error.to_string())
        }
    }
}

/// Whether an error only says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueBytes => f.write_str(
                "the queue is full (limits.queue_bytes); it drains when mail can leave again",
            ),
            Self::QueueMessages => f.write_str(
                "the queue is full (limits.queue_messages); it drains when mail can leave again",
            ),
            Self::DiskFull => {
                f.write_str("the disk is full; the last part is kept for noting what was delivered")
            }
            Self::NoFiles => f.write_str(
                "the file system can hold hardly any more files (limits.free_files); remove some",
            ),
            Self::TooLarge => {
                f.write_str("the envelope is too large to store; use fewer recipients")
            }
            Self::Broken(error) => write!(
                f,
                "the queue cannot be written ({error}); nothing is accepted until it can"
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// Why a journal was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another service has this home. With its process id, when it left one.
    Locked(Option<u32>),
    /// A segment was written by a later version. With the file and the version.
    Newer(String, u16),
    /// A call failed. With what it was about.
    Io(&'static str, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(Some(pid)) => write!(
                f,
                "process {pid} already runs on this home; stop it first or use another home"
            ),
            Self::Locked(None) => f.write_str(
                "another service already runs on this home; stop it first or use another home",
            ),
            Self::Newer(file, version) => write!(
                f,
                "{file} has format version {version}, which a later mailroot wrote; use that one, or drain the \
                 queue with it first"
            ),
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a message could not be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It is not in the queue (any more).
    Gone,
    /// What was synced once cannot be read any more. With what is wrong.
    Damaged(&'static str),
    /// A call failed.
    Io(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("there is no such message in the queue"),
            Self::Damaged(what) => write!(f, "{what}; the disk has lost or changed it"),
            Self::Io(error) => write!(f, "cannot read the queue: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}
