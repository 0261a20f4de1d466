//! The file of users: a line for each, `name:verifier`. What a verifier is does not matter here.
//!
//! Never: reads one that others can read, or leaves half of one behind.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::base::limits;
use crate::disk::folders::sync_folder;
use crate::disk::secret;
use crate::disk::secret::BadFile;

const HEAD: &str =
    "# The users of mailroot; `mailroot passwd` writes this file. A line is NAME:VERIFIER.\n";

/// Why there are no users.
#[derive(Debug)]
pub enum BadUsers {
    /// The file cannot be read, or others can.
    File(BadFile),
    /// It is larger than any such file.
    TooLarge(PathBuf),
    /// A line that is no user, counted from one.
    Line(PathBuf, usize),
    /// It cannot be written.
    Write(PathBuf, io::Error),
}

impl fmt::Display for BadUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => why.fmt(f),
            Self::TooLarge(path) => write!(f, "{} is larger than 2 MiB", path.display()),
            Self::Line(path, line) => write!(
                f,
                "{}:{line}: this is no user; write users with `mailroot passwd`",
                path.display()
            ),
            Self::Write(path, error) => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BadUsers {}

impl BadUsers {
    /// Whether the file may be good and only this user is kept from it.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::File(why) if why.is_private())
    }

    /// Whether there is no such file yet.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File(BadFile::Io(_, error)) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Names and what is kept of their passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<String, String>);

/// Shows the names alone.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether a user can have this name: it has to fit in a line, and must not look like a comment.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && c != ':';
    !name.is_empty()
        && name.len() <= limits::CREDENTIAL
        && name.trim() == name
        && !name.starts_with('#')
        && name.chars().all(plain)
}

impl Users {
    /// Reads the text of a file; the error is the number of the line that is none.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut users = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = at.saturating_add(1);
            let (name, verifier) = line.split_once(':').ok_or(number)?;
            let twice = users.insert(name.to_owned(), verifier.to_owned()).is_some();
            if !is_name(name) || verifier.is_empty() || twice {
                return Err(number);
            }
        }
        Ok(Self(users))
    }

    /// Reads the file. Blocks.
    pub fn read(path: &Path) -> Result<Self, BadUsers> {
        let file = secret::open(path).map_err(BadUsers::File)?;
        let mut text = String::new();
        let most = limits::USERS_FILE;
        file.take(most.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(|error| BadUsers::File(BadFile::Io(path.to_owned(), error)))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > most {
            return Err(BadUsers::TooLarge(path.to_owned()));
        }
        Self::parse(&text).map_err(|line| BadUsers::Line(path.to_owned(), line))
    }

    /// Writes the file anew, whole or not at all; it keeps its owner. Blocks.
    pub fn write(&self, path: &Path) -> Result<(), BadUsers> {
        self.replace(path)
            .map_err(|error| BadUsers::Write(path.to_owned(), error))
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        // What an interrupted run left behind may belong to somebody else.
        let _ = std::fs::remove_file(&new);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        if let Ok(old) = rustix::fs::stat(path) {
            let owner = rustix::fs::Uid::from_raw(old.st_uid);
            let group = rustix::fs::Gid::from_raw(old.st_gid);
            rustix::fs::fchown(&file, Some(owner), Some(group))?;
        }
        let mut text = HEAD.to_owned();
        for (name, verifier) in &self.0 {
            text.push_str(&format!("{name}:{verifier}\n"));
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
            _ => sync_folder(Path::new(".")),
        }
    }

    /// Gives a user this verifier.
    pub fn put(&mut self, name: &str, verifier: String) {
        self.0.insert(name.to_owned(), verifier);
    }

    /// Takes a user out; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Each name with its verifier, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadUsers, Users, is_name};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_back_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        assert!(Users::read(&path).unwrap_err().is_missing());
        let mut users = Users::default();
        users.put("tim@example.com", "a$b:c".to_owned());
        users.put("j\u{f6}rg k", "x".to_owned());
        users.write(&path).unwrap();
        assert_eq!(Users::read(&path).unwrap(), users);
        assert_eq!(
            format!("{users:?}"),
            "{\"j\u{f6}rg k\", \"tim@example.com\"}"
        );
        assert!(users.remove("tim@example.com") && !users.remove("tim@example.com"));
        users.write(&path).unwrap();
        assert_eq!(Users::read(&path).unwrap().iter().count(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let why = Users::read(&path).unwrap_err().to_string();
        assert!(why.contains("chmod 600"), "{why}");
    }

    #[test]
    fn lines_that_are_no_users_are_named() {
        for (text, want) in [
            ("# x\n\na:b\n", Ok(1)),
            ("a:b\r\nc:d\r\n", Ok(2)),
            ("a", Err(1)),
            ("a:b\n:c", Err(2)),
            ("a:b\na:c", Err(2)),
            ("a:", Err(1)),
        ] {
            assert_eq!(
                Users::parse(text).map(|users| users.0.len()),
                want,
                "{text:?}"
            );
        }
        let line = BadUsers::Line("/u".into(), 2).to_string();
        assert!(line.starts_with("/u:2: "), "{line}");
        for name in ["", " a", "a:b", "#a", "a\nb", &"x".repeat(2000)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
