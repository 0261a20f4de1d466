//! Whether a file is still the one that was read: for files that are read again when they change.

use std::io;
use std::path::Path;

/// What tells one state of a file from the next: who it is, how long, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    written: (i64, u64),
}

impl Stamp {
    /// The stamp of the file that is there now.
    #[expect(
        clippy::useless_conversion,
        reason = "the kernel's types differ between targets"
    )]
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::stat(path)?;
        Ok(Self {
            inode: u64::from(stat.st_ino),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            written: (i64::from(stat.st_mtime), u64::from(stat.st_mtime_nsec)),
        })
    }
}
