//! Which files of the pickup folder are taken, and why the others stay.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Stat;
use rustix::io::Errno;

/// How names end that our own `sendmail` renames in when they are whole.
pub const OWN_SUFFIX: &[u8] = b".mailroot";

/// Whether lines of a pickup file carry an extra dot (FEATURES 2.1: writers disagree).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dots {
    /// Every byte is the message's.
    #[default]
    Never,
    /// One leading dot of each line is removed; a lone dot is the end.
    Always,
}

/// What the owner has decided about pickup files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Largest file taken, in bytes.
    pub size: u64,
    /// See [`Dots`].
    pub dots: Dots,
    /// How long a file must stand still to be taken without an event.
    pub settle: Duration,
}

/// Why a file stays where it is.
#[derive(Debug)]
pub enum Left {
    /// It is not there (any more).
    Gone,
    /// Its name starts with a dot: still being written.
    DotName,
    /// A link, folder, pipe, socket or device.
    NotAFile,
    /// It has a second name, so somebody else may still change or keep it.
    SecondName,
    /// Larger than the owner allows.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// It changed while it was looked at; another scan will take it.
    Moving,
    /// The service may not read it.
    Unreadable,
    /// The system refused.
    Io(io::Error),
}

impl Left {
    /// Whether the reason may pass while the file stays as it is: no room, no descriptor, a disk that is read-only.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Io(_))
    }

    /// Whether the owner should be told, once a file.
    pub const fn is_worth_a_word(&self) -> bool {
        !matches!(self, Self::Gone | Self::DotName | Self::Moving)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the file is gone"),
            Self::DotName => f.write_str("its name starts with a dot; rename it when it is whole"),
            Self::NotAFile => f.write_str("it is not a plain file; remove it"),
            Self::SecondName => f.write_str("it has a second link; copy or rename it instead"),
            Self::TooLarge { size, limit } => {
                write!(f, "it has {size} bytes and {limit} are allowed")
            }
            Self::Moving => f.write_str("it is still being written"),
            Self::Unreadable => {
                f.write_str("the service may not read it; make it readable or run as root")
            }
            Self::Io(err) => err.fmt(f),
        }
    }
}

impl std::error::Error for Left {}

impl From<Errno> for Left {
    fn from(err: Errno) -> Self {
        match err {
            Errno::NOENT => Self::Gone,
            Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::NODEV => Self::NotAFile,
            Errno::ACCESS | Errno::PERM => Self::Unreadable,
            other => Self::Io(other.into()),
        }
    }
}

/// What a file looked like; unchanged means nobody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) changed: (i64, i64),
    /// When its owner, mode, name or number of links changed: what stays for one of those may go now.
    pub(super) touched: (i64, i64),
}

impl Look {
    /// What the system says of it.
    pub(super) fn at(stat: &Stat) -> Self {
        // The types differ between targets; a lossless way exists on each.
        #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
        Self {
            inode: stat.st_ino.try_into().unwrap_or(u64::MAX),
            size: stat.st_size.try_into().unwrap_or(u64::MAX),
            changed: (
                stat.st_mtime.try_into().unwrap_or(i64::MAX),
                stat.st_mtime_nsec.try_into().unwrap_or(i64::MAX),
            ),
            touched: (
                stat.st_ctime.try_into().unwrap_or(i64::MAX),
                stat.st_ctime_nsec.try_into().unwrap_or(i64::MAX),
            ),
        }
    }
}

/// Whether a file that an event named can be claimed. An empty one cannot: something will still be written to it, or
/// a scan takes it.
pub fn is_ready(folder: &Path, name: &OsStr, rules: &Rules) -> Result<(), Left> {
    match check(folder, name, rules) {
        Ok(stat) if stat.st_size == 0 => Err(Left::Moving),
        Ok(_) => Ok(()),
        Err((_, left)) => Err(left),
    }
}

/// Looks at a name without following it.
pub(super) fn check(
    folder: &Path,
    name: &OsStr,
    rules: &Rules,
) -> Result<Stat, (Option<Look>, Left)> {
    if name.as_bytes().starts_with(b".") {
        return Err((None, Left::DotName));
    }
    let stat = rustix::fs::statat(
        rustix::fs::CWD,
        folder.join(name),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|err| (None, err.into()))?;
    check_stat(&stat, name, rules).map_err(|left| (Some(Look::at(&stat)), left))?;
    Ok(stat)
}

/// The size does not count for what our own `sendmail` said yes to: that is taken and, when it is too large, returned
/// to its sender (promise G2).
pub(super) fn check_stat(stat: &Stat, name: &OsStr, rules: &Rules) -> Result<(), Left> {
    let size = Look::at(stat).size;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Err(Left::NotAFile)
    } else if stat.st_nlink != 1 {
        Err(Left::SecondName)
    } else if size > rules.size && !name.as_bytes().ends_with(OWN_SUFFIX) {
        Err(Left::TooLarge {
            size,
            limit: rules.size,
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Dots, Left, Rules, is_ready};
    use crate::disk::folders::Folders;
    use std::fs;
    use std::time::Duration;

    pub(in super::super) const RULES: Rules = Rules {
        size: 1000,
        dots: Dots::Never,
        settle: Duration::from_secs(5),
    };

    pub(in super::super) fn folders() -> (tempfile::TempDir, Folders) {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        (dir, folders)
    }

    #[test]
    fn an_event_for_an_empty_file_is_too_early() {
        let (_dir, folders) = folders();
        fs::write(folders.pickup.join("f"), "").unwrap();
        let ready = || is_ready(&folders.pickup, "f".as_ref(), &RULES);
        assert!(matches!(ready(), Err(Left::Moving)));
        fs::write(folders.pickup.join("f"), "x").unwrap();
        assert!(ready().is_ok());
    }
}
