//! The disk as a trait of few calls, and the real one.
//!
//! The journal and its body files are written against [`Medium`] alone, so that `tests/crash.rs` can run the real
//! code on a disk that dies, tears, reorders and lies.
//!
//! What is assumed of a medium: what was synced stays until it is written again; a write tears between sectors of
//! 512 bytes at worst (records inside a torn sector are caught by their checksums); a rename is whole or not at all;
//! a name counts once its folder was synced.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use rustix::fs;
use rustix::fs::AtFlags;
use rustix::fs::Mode as Bits;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

/// A folder that the journal uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// `queue/`: segments and large bodies.
    Queue,
    /// `sorttemp/`: bodies on their way in, and claimed pickup files.
    Sorttemp,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing one, to read.
    Read,
    /// An existing one, to read and write.
    Write,
    /// A new, empty one; what was there is cut off.
    Create,
}

/// The few calls that keep mail.
pub trait Medium: Clone {
    /// An open file.
    type File;

    /// The names in a folder.
    fn list(&self, folder: Folder) -> io::Result<Vec<String>>;
    /// Opens a file; never follows a link.
    fn open(&self, folder: Folder, name: &str, access: Access) -> io::Result<Self::File>;
    /// Bytes in a file.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// Reads until `buf` is full or the file ends; says how much.
    fn read_at(&self, file: &Self::File, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the contents of `file` are on stable storage (fdatasync).
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Moves a file; replaces what has the new name.
    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()>;
    /// Removes a name.
    fn unlink(&self, folder: Folder, name: &str) -> io::Result<()>;
    /// Returns when the names in `folder` are on stable storage.
    fn sync_folder(&self, folder: Folder) -> io::Result<()>;
    /// Bytes that an unprivileged program can still write.
    fn free(&self) -> io::Result<u64>;
    /// Files that an unprivileged program can still make. File systems that make room for them as they come say
    /// nothing, which is read as any number.
    fn free_files(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// The folders of one home on a real file system.
#[derive(Clone, Debug)]
pub struct Disk {
    folders: Arc<Folders>,
    /// Reads fail rather than wait for the device.
    hasty: bool,
}

#[derive(Debug)]
struct Folders {
    queue: OwnedFd,
    sorttemp: OwnedFd,
    /// How often something was synced; wraps.
    syncs: AtomicU32,
}

impl Disk {
    /// Opens both folders of a home, making them when they are not there and `make` says so.
    pub fn open(queue: &Path, sorttemp: &Path, make: bool) -> io::Result<Self> {
        let folder = |path: &Path| {
            if make {
                match fs::mkdir(path, Bits::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(io::Error::from(error)),
                }
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs::open(path, flags, Bits::empty()).map_err(io::Error::from)
        };
        Ok(Self {
            folders: Arc::new(Folders {
                queue: folder(queue)?,
                sorttemp: folder(sorttemp)?,
                syncs: AtomicU32::new(0),
            }),
            hasty: false,
        })
    }

    /// The same folders, for the executor: a read of what is not in memory fails at once (RWF_NOWAIT), and so does
    /// every read where the kernel or the file system does not know how. The caller then asks a thread that may wait.
    #[must_use]
    pub fn hasty(&self) -> Self {
        Self {
            folders: Arc::clone(&self.folders),
            hasty: true,
        }
    }

    /// How often a file or folder was synced since this was opened; the number wraps.
    pub fn syncs(&self) -> u32 {
        self.folders.syncs.load(Ordering::Relaxed)
    }

    fn read_some(&self, file: &OwnedFd, buf: &mut [u8], at: u64) -> rustix::io::Result<usize> {
        if self.hasty {
            let mut parts = [io::IoSliceMut::new(buf)];
            rustix::io::preadv2(file, &mut parts, at, ReadWriteFlags::NOWAIT)
        } else {
            rustix::io::pread(file, buf, at)
        }
    }

    /// The open folder, for callers that need more than [`Medium`] offers.
    pub fn folder(&self, folder: Folder) -> &OwnedFd {
        match folder {
            Folder::Queue => &self.folders.queue,
            Folder::Sorttemp => &self.folders.sorttemp,
        }
    }
}

impl Medium for Disk {
    type File = OwnedFd;

    fn list(&self, folder: Folder) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(self.folder(folder))? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, folder: Folder, name: &str, access: Access) -> io::Result<OwnedFd> {
        let flags = OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
            };
        let bits = Bits::RUSR | Bits::WUSR;
        fs::openat(self.folder(folder), name, flags, bits).map_err(io::Error::from)
    }

    fn len(&self, file: &OwnedFd) -> io::Result<u64> {
        let size = fs::fstat(file)?.st_size;
        u64::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn read_at(&self, file: &OwnedFd, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match self.read_some(file, rest, at) {
                Ok(0) => break,
                Ok(count) => done = done.saturating_add(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, file: &OwnedFd, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            match rustix::io::pwrite(file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        self.folders.syncs.fetch_add(1, Ordering::Relaxed);
        // Not repeated on any error: after a failed sync the kernel may report the next one as good.
        fs::fdatasync(file).map_err(io::Error::from)
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        fs::renameat(self.folder(from.0), from.1, self.folder(to.0), to.1).map_err(io::Error::from)
    }

    fn unlink(&self, folder: Folder, name: &str) -> io::Result<()> {
        fs::unlinkat(self.folder(folder), name, AtFlags::empty()).map_err(io::Error::from)
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        self.folders.syncs.fetch_add(1, Ordering::Relaxed);
        match fs::fsync(self.folder(folder)) {
            // File systems that cannot sync a folder write names at once or in order.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn free(&self) -> io::Result<u64> {
        let at = fs::fstatvfs(&self.folders.queue)?;
        Ok(at.f_bavail.saturating_mul(at.f_frsize))
    }

    fn free_files(&self) -> io::Result<u64> {
        let at = fs::fstatvfs(&self.folders.queue)?;
        Ok(if at.f_files == 0 {
            u64::MAX
        } else {
            at.f_favail
        })
    }
}
