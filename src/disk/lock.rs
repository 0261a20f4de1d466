//! One service a home: an advisory lock that the kernel drops when its owner dies.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::disk::fault::OpenError;

/// A `mailroot queue list` holds the lock for the moment in which it looks whether a service runs; a service that
/// starts then tries again.
const TRIES: u8 = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// Held while it lives.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "closing it is what releases the lock")] OwnedFd);

impl HomeLock {
    /// Takes the lock file at `path`, and writes our process id into it for whoever comes second.
    pub fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |error: Errno| OpenError::Io("open the lock of the home", error.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let mut tries = TRIES;
        while !lock(&file, FlockOperation::NonBlockingLockExclusive)? {
            tries -= 1;
            if tries == 0 {
                return Err(OpenError::Locked(pid(file)));
            }
            std::thread::sleep(PAUSE);
        }
        let pid = rustix::process::getpid().as_raw_nonzero();
        let mut file = std::fs::File::from(file);
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(format!("{pid}\n").as_bytes()));
        written.map_err(|error| OpenError::Io("write the lock of the home", error))?;
        Ok(Self(file.into()))
    }

    /// Looks whether a service runs on the home, without writing or keeping anything.
    pub fn check(path: &Path) -> Result<(), OpenError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match fs::open(path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                return Err(OpenError::Io("open the lock of the home", error.into()));
            }
        };
        if lock(&file, FlockOperation::NonBlockingLockShared)? {
            Ok(())
        } else {
            Err(OpenError::Locked(pid(file)))
        }
    }
}

fn lock(file: &OwnedFd, how: FlockOperation) -> Result<bool, OpenError> {
    match fs::flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(OpenError::Io("lock the home", io::Error::from(error))),
    }
}

fn pid(file: OwnedFd) -> Option<u32> {
    let mut text = String::new();
    std::fs::File::from(file)
        .take(16)
        .read_to_string(&mut text)
        .ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::HomeLock;
    use crate::disk::fault::OpenError;

    #[test]
    fn the_second_one_hears_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        HomeLock::check(&path).unwrap();
        let held = HomeLock::take(&path).unwrap();
        let us = std::process::id();
        for refused in [HomeLock::take(&path).map(drop), HomeLock::check(&path)] {
            match refused {
                Err(OpenError::Locked(pid)) => assert_eq!(pid, Some(us)),
                other => panic!("{other:?}"),
            }
        }
        drop(held);
        HomeLock::check(&path).unwrap();
        HomeLock::take(&path).unwrap();
    }
}
