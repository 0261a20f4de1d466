//! Whether a file is still the one that was read: for files that are read again when they change.

use rustix::fs::Stat;

/// What tells one state of a file from the next: who it is, how long, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, u64),
}

impl From<Stat> for Stamp {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the kernel's types differ between targets"
    )]
    fn from(stat: Stat) -> Self {
        Self {
            device: stat.st_dev.try_into().unwrap_or(u64::MAX),
            inode: stat.st_ino.try_into().unwrap_or(u64::MAX),
            size: stat.st_size.try_into().unwrap_or(u64::MAX),
            written: (
                stat.st_mtime.try_into().unwrap_or(i64::MAX),
                stat.st_mtime_nsec.try_into().unwrap_or(u64::MAX),
            ),
        }
    }
}

impl Stamp {
    /// Its length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// When it was written, in seconds and billionths.
    pub const fn written(&self) -> (i64, u64) {
        self.written
    }
}
