//! The five folders of a mailroot: made with the right modes, checked, named.
//!
//! Known limit: modes are set on folders made here and never changed on folders that were there, which may be
//! shares with rights of their own.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;

/// Where everything of one virtual server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Above the others, unless the configuration puts one elsewhere. Everybody may pass, nobody may look around.
    pub home: PathBuf,
    /// Where programs put mail.
    pub pickup: PathBuf,
    /// Journal and large bodies.
    pub queue: PathBuf,
    /// Mail for local domains.
    pub drop: PathBuf,
    /// What could be neither delivered nor returned.
    pub badmail: PathBuf,
    /// Files on their way from one folder to another; on the file system of the queue.
    pub sorttemp: PathBuf,
}

/// Why folders cannot be used.
#[derive(Debug)]
pub struct BadFolder {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: Wrong,
}

/// What is wrong with a folder.
#[derive(Debug)]
pub enum Wrong {
    /// The system refused.
    Io(io::Error),
    /// Something else has the name.
    NotAFolder,
    /// Files cannot be renamed between it and sorttemp.
    OtherFileSystem,
    /// It is one of our other folders.
    Taken(&'static str),
    /// The path does not start at the root.
    NotAbsolute,
}

impl fmt::Display for BadFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            Wrong::Io(err) => write!(f, "cannot use the folder {path}: {err}"),
            Wrong::NotAFolder => write!(f, "{path} is not a folder; move it away"),
            Wrong::OtherFileSystem => write!(
                f,
                "{path} is on another file system than sorttemp; files are renamed between the two, so put both on one"
            ),
            Wrong::Taken(name) => {
                write!(f, "{path} is the {name} folder already; choose another")
            }
            Wrong::NotAbsolute => write!(f, "{path} must be a whole path, from / on"),
        }
    }
}

impl std::error::Error for BadFolder {}

impl Folders {
    /// The folders below `home` by their usual names.
    pub fn below(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            pickup: home.join("pickup"),
            queue: home.join("queue"),
            drop: home.join("drop"),
            badmail: home.join("badmail"),
            sorttemp: home.join("sorttemp"),
        }
    }

    /// Makes what is missing and checks all. May be called again at any time, also to mend a deleted folder.
    ///
    /// `home` gets mode 0711 so that every user reaches `pickup`, which gets 1733: all may put files in, none may list or read
    /// them, only the owner of a file may remove it. The others get 0700.
    pub fn create(&self) -> Result<(), BadFolder> {
        // Before anything is made: it would be made wherever we happen to be.
        if !self.drop.is_absolute() {
            return Err(bad(&self.drop, Wrong::NotAbsolute));
        }
        for (path, mode) in [
            (&self.home, 0o711),
            (&self.queue, 0o700),
            (&self.sorttemp, 0o700),
            (&self.drop, 0o700),
            (&self.badmail, 0o700),
            (&self.pickup, 0o1733),
        ] {
            make(path, mode)?;
        }
        self.check()
    }

    /// Whether all are folders, and queue and sorttemp on one file system. Files of a pickup folder elsewhere are copied.
    pub fn check(&self) -> Result<(), BadFolder> {
        let (here, _) = identity(&self.sorttemp)?;
        if identity(&self.queue)?.0 != here {
            return Err(bad(&self.queue, Wrong::OtherFileSystem));
        }
        identity(&self.pickup)?;
        identity(&self.badmail)?;
        self.check_drop(&self.drop)
    }

    /// Makes another drop folder, if it is not there, and checks it.
    pub fn create_drop(&self, drop: &Path) -> Result<(), BadFolder> {
        if !drop.is_absolute() {
            return Err(bad(drop, Wrong::NotAbsolute));
        }
        make(drop, 0o700)?;
        self.check_drop(drop)
    }

    /// Whether mail may be dropped there: a folder that is there, by its whole path, and none of ours with another
    /// duty.
    pub fn check_drop(&self, drop: &Path) -> Result<(), BadFolder> {
        if !drop.is_absolute() && drop != self.drop {
            return Err(bad(drop, Wrong::NotAbsolute));
        }
        let it = identity(drop)?;
        for (name, path) in [
            ("home", &self.home),
            ("pickup", &self.pickup),
            ("queue", &self.queue),
            ("badmail", &self.badmail),
            ("sorttemp", &self.sorttemp),
        ] {
            if identity(path)? == it {
                return Err(bad(drop, Wrong::Taken(name)));
            }
        }
        Ok(())
    }
}

/// Makes names and renames in a folder durable.
///
/// One call covers everything that was done in it before: claim many pickup files, then sync sorttemp once, then journal them.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let fd = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    match rustix::fs::fsync(&fd) {
        // Some network and fuse file systems have no sync for folders; their names are as durable as they get.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
        other => Ok(other?),
    }
}

fn make(path: &Path, mode: u32) -> Result<(), BadFolder> {
    let failed = |err: io::Error| bad(path, Wrong::Io(err));
    let made = rustix::fs::mkdir(path, Mode::from_raw_mode(mode));
    match made {
        // The umask has taken bits away, and mkdir does not promise the sticky one.
        Ok(()) => {
            rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(|err| failed(err.into()))?;
            match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => {
                    sync_folder(parent).or_else(|err| match err.kind() {
                        // A parent that may be entered but not read cannot be synced by us.
                        io::ErrorKind::PermissionDenied => Ok(()),
                        _ => Err(failed(err)),
                    })
                }
                _ => Ok(()),
            }
        }
        Err(rustix::io::Errno::EXIST) => identity(path).map(|_| ()),
        Err(rustix::io::Errno::NOENT) => match path.parent() {
            Some(parent) if parent != path => {
                fs::create_dir_all(parent).map_err(failed)?;
                make_last(path, mode)
            }
            _ => Err(failed(rustix::io::Errno::NOENT.into())),
        },
        Err(err) => Err(failed(err.into())),
    }
}

/// Below a parent that has just been made.
fn make_last(path: &Path, mode: u32) -> Result<(), BadFolder> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode))
        .and_then(|()| rustix::fs::chmod(path, Mode::from_raw_mode(mode)))
        .map_err(|err| bad(path, Wrong::Io(err.into())))
}

/// Device and inode of a folder.
fn identity(path: &Path) -> Result<(u64, u64), BadFolder> {
    let meta = fs::metadata(path).map_err(|err| bad(path, Wrong::Io(err)))?;
    if !meta.is_dir() {
        return Err(bad(path, Wrong::NotAFolder));
    }
    Ok((meta.dev(), meta.ino()))
}

fn bad(path: &Path, what: Wrong) -> BadFolder {
    BadFolder {
        path: path.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::Folders;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn folders_get_their_modes_and_keep_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(&dir.path().join("a/b/home"));
        folders.create().unwrap();
        let mode =
            |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&folders.home), 0o711);
        assert_eq!(mode(&folders.pickup), 0o1733);
        for path in [
            &folders.queue,
            &folders.drop,
            &folders.badmail,
            &folders.sorttemp,
        ] {
            assert_eq!(mode(path), 0o700);
        }
        fs::set_permissions(&folders.drop, fs::Permissions::from_mode(0o750)).unwrap();
        fs::remove_dir(&folders.pickup).unwrap();
        folders.create().unwrap();
        assert_eq!(mode(&folders.drop), 0o750);
        assert_eq!(mode(&folders.pickup), 0o1733);
    }

    #[test]
    fn faults_are_sentences() {
        let dir = tempfile::tempdir().unwrap();
        let mut folders = Folders::below(&dir.path().join("home"));
        folders.create().unwrap();
        folders.drop = folders.pickup.clone();
        let text = folders.check().unwrap_err().to_string();
        assert!(
            text.ends_with("is the pickup folder already; choose another"),
            "{text}"
        );
        folders.drop = "relative".into();
        assert!(folders.create().is_err() && !std::path::Path::new("relative").exists());
        folders.drop = dir.path().join("home/drop");
        folders.home = dir.path().join("home");
        assert!(folders.check_drop("elsewhere".as_ref()).is_err());
        fs::remove_dir(&folders.badmail).unwrap();
        fs::write(&folders.badmail, "").unwrap();
        let text = folders.create().unwrap_err().to_string();
        assert!(text.contains("is not a folder"), "{text}");
    }

    #[test]
    fn root_has_a_name() {}
}
