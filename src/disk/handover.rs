//! Gives the folders of a home to the user that the service becomes, while it still is root.
//!
//! What the service wrote as root before goes to that user; files of others stay theirs and become readable for it.
//! Nothing is followed and nothing with a second name is touched: below a home that belongs to the user, it could put
//! links to files of root there. Known limit: where the kernel lets users link to files of others (the setting
//! `fs.protected_hardlinks` is off), a home that belongs to the user already is left as it is.

use std::fs;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::fs::Uid;
use rustix::io::Errno;

use crate::disk::accounts::Account;
use crate::disk::folders::BadFolder;
use crate::disk::folders::Folders;

/// Folders below the home that are looked into: drop/mailbox/folder/new is the deepest of ours.
const DEPTH: u8 = 5;

/// Makes the folders of a home that are missing, `drops` among them, and gives all to the account. Blocks.
pub fn home(folders: &Folders, drops: &[&Path], to: &Account) -> Result<(), String> {
    let said = |bad: BadFolder| bad.to_string();
    folders.create().map_err(said)?;
    for drop in drops {
        folders.create_drop(drop).map_err(said)?;
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: Errno| format!("cannot give {path} to the user of the service: {error}")
    };
    let home = &folders.home;
    let fd = open_folder(home).map_err(failed(home))?;
    let stat = rustix::fs::fstat(&fd).map_err(failed(home))?;
    let first = stat.st_uid == 0;
    let work = Work { to, deep: first };
    if first || links_are_protected() {
        work.pickup(&folders.pickup)
            .map_err(failed(&folders.pickup))?;
        work.claims(&folders.sorttemp)
            .map_err(failed(&folders.sorttemp))?;
        work.below(&fd, DEPTH).map_err(failed(home))?;
        // What somebody ran as root since then may have left files of root among the service's own.
        for path in [&folders.queue, &folders.sorttemp] {
            open_folder(path)
                .and_then(|fd| work.below(&fd, 0))
                .map_err(failed(path))?;
        }
    }
    for drop in drops.iter().filter(|drop| !drop.starts_with(home)) {
        folder(drop, to).map_err(failed(drop))?;
    }
    // The last, so that what was cut short is begun again.
    if first {
        give(&fd, to).map_err(failed(home))?;
    }
    Ok(())
}

/// Gives a folder elsewhere to the account, with what is in it: one that is root's and nobody else's. One that is not
/// there is made. Any other stays as it is, for it may have further duties. Blocks.
pub fn folder(path: &Path, to: &Account) -> Result<(), Errno> {
    let made = match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    let fd = open_folder(path)?;
    let stat = rustix::fs::fstat(&fd)?;
    if stat.st_uid == 0 && (made || stat.st_mode & 0o077 == 0) {
        Work { to, deep: true }.below(&fd, DEPTH)?;
        give(&fd, to)?;
    }
    Ok(())
}

struct Work<'a> {
    to: &'a Account,
    /// Whether folders are looked into that belong to the account.
    deep: bool,
}

impl Work<'_> {
    /// What is in a folder, in folders of it as well.
    fn below(&self, folder: &OwnedFd, depth: u8) -> Result<(), Errno> {
        each(folder, |name, stat| {
            if stat.st_uid != 0 && !(self.deep && is(stat, FileType::Directory)) {
                return Ok(());
            }
            if is(stat, FileType::Directory) {
                let inner = open_at(folder, name, OFlags::DIRECTORY)?;
                // The pickup folder is dealt with, and what is in it belongs to those who put it there.
                let shared = stat.st_mode & 0o1002 != 0;
                if let Some(depth) = depth.checked_sub(1)
                    && !shared
                {
                    self.below(&inner, depth)?;
                }
                if stat.st_uid == 0 && !shared {
                    give(&inner, self.to)?;
                }
            } else if is(stat, FileType::RegularFile) && !name.to_bytes().ends_with(b".claim") {
                let file = open_at(folder, name, OFlags::empty())?;
                let stat = rustix::fs::fstat(&file)?;
                if stat.st_uid == 0 && stat.st_nlink == 1 {
                    give(&file, self.to)?;
                }
            }
            Ok(())
        })
    }

    /// The folder, if it is root's, and the right to read what waits in it. In this order: `sendmail` looks at the
    /// folder after it has put its file there.
    fn pickup(&self, path: &Path) -> Result<(), Errno> {
        let fd = open_folder(path)?;
        if rustix::fs::fstat(&fd)?.st_uid == 0 {
            give(&fd, self.to)?;
        }
        self.let_read(&fd)
    }

    /// What was claimed and not journaled keeps its owner, who is named in the message.
    fn claims(&self, path: &Path) -> Result<(), Errno> {
        self.let_read(&open_folder(path)?)
    }

    /// Lets the account's group read files of others.
    fn let_read(&self, folder: &OwnedFd) -> Result<(), Errno> {
        each(folder, |name, stat| {
            if !is(stat, FileType::RegularFile) || stat.st_uid == self.to.uid {
                return Ok(());
            }
            let file = open_at(folder, name, OFlags::empty())?;
            let stat = rustix::fs::fstat(&file)?;
            let mode = stat.st_mode & 0o777;
            let reads = mode & 0o004 != 0 || (stat.st_gid == self.to.gid && mode & 0o040 != 0);
            if reads || stat.st_nlink != 1 {
                return Ok(());
            }
            rustix::fs::fchown(&file, None, Some(Gid::from_raw(self.to.gid)))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode((mode & 0o700) | 0o040))
        })
    }
}

/// Whether users can link to no file that they could not write.
fn links_are_protected() -> bool {
    let setting = fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    setting.is_ok_and(|text| text.trim() == "1")
}

fn give(fd: impl AsFd, to: &Account) -> Result<(), Errno> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(to.uid)), Some(Gid::from_raw(to.gid)))
}

/// Calls for each entry of a folder. One that is gone meanwhile, or turns out to be a link, is passed over.
fn each(
    folder: &OwnedFd,
    mut call: impl FnMut(&std::ffi::CStr, &Stat) -> Result<(), Errno>,
) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let looked = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        match looked.and_then(|stat| call(name, &stat)) {
            Ok(()) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is(stat: &Stat, what: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == what
}

/// The folder of this path, which is the owner's word and may be a link.
fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn open_at(folder: &OwnedFd, name: &std::ffi::CStr, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags | more, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::{folder, home};
    use crate::disk::accounts::Account;
    use crate::disk::folders::Folders;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    const TO: Account = Account {
        uid: 64_001,
        gid: 64_002,
        groups: Vec::new(),
    };

    fn owner(path: &Path) -> (u32, u32, u32) {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            println!("skipped: only root can give files away");
        }
        root
    }

    #[test]
    fn what_root_left_goes_over_and_what_others_put_there_becomes_readable() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(&dir.path().join("home"));
        folders.create().unwrap();
        let shadow = dir.path().join("shadow");
        fs::write(&shadow, "secret").unwrap();
        fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600)).unwrap();
        let put = |path: &Path, uid: u32| {
            fs::write(path, "x").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
        };
        put(&folders.queue.join("journal-1.seg"), 0);
        put(&folders.sorttemp.join("1.claim"), 1234);
        put(&folders.sorttemp.join("2.claim"), 0);
        put(&folders.pickup.join("theirs"), 1234);
        put(&folders.pickup.join("roots"), 0);
        fs::create_dir_all(folders.drop.join("box/new")).unwrap();
        put(&folders.drop.join("box/new/1"), 0);
        symlink(&shadow, folders.pickup.join("link")).unwrap();
        symlink(&shadow, folders.queue.join("link")).unwrap();
        symlink(dir.path(), folders.queue.join("up")).unwrap();
        fs::hard_link(&shadow, folders.pickup.join("hard")).unwrap();
        fs::hard_link(&shadow, folders.queue.join("hard")).unwrap();
        for _ in 0..2 {
            home(&folders, &[&folders.drop], &TO).unwrap();
            for path in [
                &folders.home,
                &folders.queue,
                &folders.badmail,
                &folders.pickup,
            ] {
                assert_eq!((owner(path).0, owner(path).1), (TO.uid, TO.gid), "{path:?}");
            }
            let segment = owner(&folders.queue.join("journal-1.seg"));
            assert_eq!(segment, (TO.uid, TO.gid, 0o600));
            assert_eq!(
                owner(&folders.drop.join("box/new/1")),
                (TO.uid, TO.gid, 0o600)
            );
            for (path, uid) in [
                (folders.pickup.join("theirs"), 1234),
                (folders.pickup.join("roots"), 0),
                (folders.sorttemp.join("1.claim"), 1234),
                (folders.sorttemp.join("2.claim"), 0),
            ] {
                assert_eq!(owner(&path), (uid, TO.gid, 0o640), "{path:?}");
            }
            assert_eq!(owner(&shadow), (0, 0, 0o600));
            assert_eq!(owner(dir.path()).0, 0);
        }
    }

    #[test]
    fn a_folder_elsewhere_goes_over_only_when_nobody_else_uses_it() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, mode, want) in [
            ("made", None, TO.uid),
            ("private", Some(0o700), TO.uid),
            ("shared", Some(0o755), 0),
        ] {
            let path = dir.path().join(name);
            if let Some(mode) = mode {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                fs::write(path.join("old"), "").unwrap();
            }
            folder(&path, &TO).unwrap();
            assert_eq!(owner(&path).0, want, "{name}");
            if mode.is_some() {
                assert_eq!(owner(&path.join("old")).0, want, "{name}");
            }
        }
        assert!(folder(&dir.path().join("no/such"), &TO).is_err());
    }
}
