//! Puts a message into the pickup folder, as any local user: whole or not at all, durable before yes (promise G1).
//!
//! The file is written under a dot-name, synced, renamed, and the rename is made durable. Works with the service
//! down, and needs no more rights than the folder gives everybody: it cannot be listed or read.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fs::File;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::io;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::disk::pickup::OWN_SUFFIX;

/// A file that is being written. Dropped before [`Submission::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Submission {
    folder: PathBuf,
    temp: PathBuf,
    name: OsString,
    file: File,
}

impl Submission {
    /// Begins a file in this pickup folder.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        loop {
            // Random without waiting: early in a boot the kernel's own generator may block for minutes.
            let stem = format!("{:016x}", RandomState::new().build_hasher().finish());
            let mut name = stem.clone().into_bytes();
            name.extend_from_slice(OWN_SUFFIX);
            let temp = folder.join(format!(".{stem}.tmp"));
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::open(&temp, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => {
                    return Ok(Self {
                        folder: folder.to_owned(),
                        temp,
                        name: OsString::from_vec(name),
                        file: File::from(fd),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// The next bytes.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the file durable under its final name.
    pub fn finish(self) -> io::Result<()> {
        let owner = self.let_read()?;
        self.file.sync_all()?;
        std::fs::rename(&self.temp, self.folder.join(&self.name))?;
        // A service that gives up root gives away the folder, and then looks for files that it could not read. Whoever
        // came in between sees the new owner here.
        if rustix::fs::stat(&self.folder)?.st_uid != owner {
            self.let_read()?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = rustix::fs::open(&self.folder, flags, Mode::empty())
            .and_then(|folder| rustix::fs::fsync(&folder));
        match synced {
            Ok(()) => Ok(()),
            // A folder that may not be listed cannot be opened to be synced: the file system as a whole can.
            Err(_) => match rustix::fs::syncfs(&self.file) {
                Err(Errno::NOSYS) => {
                    rustix::fs::sync();
                    Ok(())
                }
                other => Ok(other?),
            },
        }
    }
}

impl Submission {
    /// The service owns the folder. When it is neither us nor root it needs the right to read; others still have to
    /// guess 64 random bits, since nobody may list the folder. Answers who owns it.
    fn let_read(&self) -> io::Result<u32> {
        let owner = rustix::fs::stat(&self.folder)?.st_uid;
        let us = rustix::process::geteuid().as_raw();
        if owner != 0 && owner != us {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(0o644))?;
        }
        Ok(owner)
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        // After the rename there is nothing under this name.
        let _ = std::fs::remove_file(&self.temp);
    }
}

#[cfg(test)]
mod tests {
    use super::Submission;
    use crate::disk::folders::Folders;
    use std::fs;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let names = || -> Vec<String> {
            let list = fs::read_dir(&folders.pickup).unwrap();
            list.map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let mut file = Submission::begin(&folders.pickup).unwrap();
        file.append(b"half").unwrap();
        assert!(names().iter().all(|name| name.starts_with('.')));
        drop(file);
        assert!(names().is_empty());
        let mut file = Submission::begin(&folders.pickup).unwrap();
        file.append(b"whole").unwrap();
        file.finish().unwrap();
        let [name] = names().try_into().unwrap();
        assert!(name.ends_with(".mailroot") && !name.starts_with('.'));
        assert_eq!(
            fs::read_to_string(folders.pickup.join(name)).unwrap(),
            "whole"
        );
        assert!(Submission::begin(&dir.path().join("none")).is_err());
    }
}
