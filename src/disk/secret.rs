//! Reads the file that holds a password.
//!
//! Never: reads one that others can read, since a password that leaked is worse than mail that waits (promise G3).

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Cursor;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::kept;
use crate::config::secret;
use crate::config::secret::BadSecret;
use crate::config::secret::Secret;

/// Why no password came out of a file.
#[derive(Debug)]
pub enum BadFile {
    /// It cannot be opened or read.
    Io(PathBuf, io::Error),
    /// It is a folder, a pipe or a device.
    NotAFile(PathBuf),
    /// Its group or everybody may read, write or run it.
    Open(PathBuf, u32),
    /// What is in it is no password.
    Secret(PathBuf, BadSecret),
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::NotAFile(path) => write!(f, "{} is not a regular file", path.display()),
            Self::Open(path, mode) => write!(
                f,
                "{path} can be used by others (mode {mode:03o}); run: chmod 600 {path}",
                path = path.display()
            ),
            Self::Secret(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for BadFile {}

impl BadFile {
    /// Whether the file may be good and only this user is kept from it.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Io(_, error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A file that only its owner can use, open.
#[derive(Debug)]
pub enum Private {
    /// As it is.
    File(File),
    /// As it was when the service gave up root, which alone may read it.
    Kept(Cursor<Arc<[u8]>>),
}

impl Read for Private {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Kept(bytes) => bytes.read(buffer),
        }
    }
}

/// Opens a file that only its owner can use. Links are followed: secrets are often mounted as links.
pub fn open(path: &Path) -> Result<Private, BadFile> {
    match open_file(path) {
        Err(bad) if bad.is_private() => match kept::bytes(path) {
            Some(bytes) => Ok(Private::Kept(Cursor::new(bytes))),
            None => Err(bad),
        },
        other => other.map(Private::File),
    }
}

fn open_file(path: &Path) -> Result<File, BadFile> {
    let failed = |error| BadFile::Io(path.to_owned(), error);
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|error| failed(error.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(BadFile::NotAFile(path.to_owned()));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(BadFile::Open(path.to_owned(), stat.st_mode & 0o777));
    }
    Ok(File::from(file))
}

/// Longest key file.
const LONGEST_KEY: u64 = 64 * 1024;

/// The text of a file with a private key in it. Bytes that are no UTF-8 are replaced: keys stand in ASCII.
pub fn key(path: &Path) -> Result<String, BadFile> {
    let mut bytes = Vec::new();
    open(path)?
        .take(LONGEST_KEY)
        .read_to_end(&mut bytes)
        .map_err(|error| BadFile::Io(path.to_owned(), error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The password in such a file.
pub fn read(path: &Path) -> Result<Secret, BadFile> {
    let file = open(path)?;
    // Two bytes more than the longest: its line end, and one to see that it is longer.
    let most = u64::try_from(secret::LONGEST)
        .unwrap_or(u64::MAX)
        .saturating_add(3);
    let mut bytes = Vec::new();
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| BadFile::Io(path.to_owned(), error))?;
    Secret::parse(&bytes).map_err(|why| BadFile::Secret(path.to_owned(), why))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{BadFile, read};
    use crate::config::secret::BadSecret;

    #[test]
    fn only_a_private_file_gives_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "hunter2\n").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match read(&path) {
                Ok(secret) => assert!(good && secret.reveal() == "hunter2"),
                Err(why) => {
                    assert!(!good && matches!(why, BadFile::Open(..)));
                    assert!(why.to_string().contains("chmod 600 "), "{why}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_password_file_is_refused() {
        assert!(matches!(
            read(Path::new("/dev/null")),
            Err(BadFile::NotAFile(_))
        ));
        assert!(matches!(read(Path::new("/")), Err(BadFile::NotAFile(_))));
        assert!(matches!(read(Path::new("/none/x")), Err(BadFile::Io(..))));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (bytes, want) in [
            (vec![], BadSecret::Empty),
            (vec![b'x'; 10_000], BadSecret::TooLong),
            (b"a\nb".to_vec(), BadSecret::Control),
        ] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read(&path), Err(BadFile::Secret(_, why)) if why == want));
        }
    }
}
