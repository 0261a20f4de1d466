//! Claims files of a pickup folder that is on another file system than sorttemp: a mount of its own, a share, a tmpfs.
//!
//! A rename cannot cross, so the file gets a name of ours in its own folder first, where nobody else takes it, and is
//! copied. At every moment it is there under one of three names, and whoever cuts the power finds it again: under
//! its own, under ours (put back by [`mend`]), or whole in sorttemp (promises G1, G2).

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::Uid;

use crate::base::MsgId;
use crate::disk::folders::sync_folder;
use crate::disk::pickup::rules::Left;
use crate::disk::pickup::rules::Rules;
use crate::disk::pickup::rules::check_stat;

/// Brings a file into sorttemp as the claim `path`. When that fails it has its own name again.
pub fn bring(
    folder: &Path,
    name: &OsStr,
    id: MsgId,
    path: &Path,
    rules: &Rules,
) -> Result<(), Left> {
    let ours = folder.join(format!(".{id}.claim"));
    rustix::fs::rename(folder.join(name), &ours)?;
    copy(&ours, name, path, rules).inspect_err(|_| {
        let _ = put_back(&ours, &folder.join(name));
    })?;
    let gone = fs::remove_file(&ours);
    // Back after a power cut it would be another message.
    gone.and_then(|()| sync_folder(folder)).map_err(Left::Io)
}

/// A whole and durable copy, with the owner that the file has.
fn copy(from: &Path, name: &OsStr, to: &Path, rules: &Rules) -> Result<(), Left> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::open(from, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&source)?;
    // Something else may have been put under the name since it was looked at.
    check_stat(&stat, name, rules)?;
    let temp = to.with_extension("part");
    let copied = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temp)
        .and_then(|mut file| {
            io::copy(&mut source, &mut file)?;
            // Only root may; else the message has the service for its writer.
            let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            let _ = rustix::fs::fchown(file.as_fd(), Some(user), Some(group));
            file.sync_all()?;
            fs::rename(&temp, to)?;
            sync_folder(to.parent().unwrap_or(to))
        });
    if copied.is_err() {
        let _ = fs::remove_file(&temp);
        let _ = fs::remove_file(to);
    }
    copied.map_err(Left::Io)
}

/// Gives a file its name again, or another one when that is taken.
fn put_back(ours: &Path, name: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    match rustix::fs::renameat_with(cwd, ours, cwd, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(_) => Ok(rustix::fs::rename(ours, visible(ours))?),
    }
}

/// Our name for a file without its dot, so that scans see it.
fn visible(ours: &Path) -> PathBuf {
    let name = ours.file_name().unwrap_or_default().as_encoded_bytes();
    let name = name.strip_prefix(b".").unwrap_or(name);
    ours.with_file_name(String::from_utf8_lossy(name).as_ref())
}

/// What a crash left under a name of ours in the pickup folder: scans see it again, but for what is whole in sorttemp.
/// To be called before the claims there are dealt with.
pub fn mend(folder: &Path, sorttemp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| {
            let stem = name.strip_prefix('.')?.strip_suffix(".claim")?;
            stem.parse::<MsgId>().ok()
        });
        let Some(id) = id else { continue };
        let ours = folder.join(&name);
        if sorttemp.join(format!("{id}.claim")).exists() {
            fs::remove_file(&ours)?;
            sync_folder(folder)?;
        } else {
            rustix::fs::rename(&ours, visible(&ours))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{bring, mend};
    use crate::base::MsgId;
    use crate::disk::pickup::rules::tests::{RULES, folders};
    use std::fs;

    fn names(folder: &std::path::Path) -> Vec<String> {
        let all = fs::read_dir(folder).unwrap();
        let mut all: Vec<_> = all
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_file_is_brought_whole_or_keeps_its_name() {
        let (_dir, folders) = folders();
        let id = MsgId::from_number(7);
        let path = folders.sorttemp.join("7.claim");
        fs::write(folders.pickup.join("f"), "text").unwrap();
        bring(&folders.pickup, "f".as_ref(), id, &path, &RULES).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(names(&folders.pickup).len(), 0);
        assert_eq!(names(&folders.sorttemp), ["7.claim"]);
        // There is no room for it.
        fs::write(folders.pickup.join("g"), "text").unwrap();
        let nowhere = folders.sorttemp.join("gone/8.claim");
        assert!(bring(&folders.pickup, "g".as_ref(), id, &nowhere, &RULES).is_err());
        assert_eq!(names(&folders.pickup), ["g"]);
        // Somebody put a link to what he may not read under the name.
        fs::hard_link(&path, folders.pickup.join("h")).unwrap();
        let to = folders.sorttemp.join("9.claim");
        assert!(bring(&folders.pickup, "h".as_ref(), id, &to, &RULES).is_err());
        assert!(!to.exists());
        assert_eq!(names(&folders.pickup), ["g", "h"]);
    }

    #[test]
    fn what_a_crash_left_is_seen_again_once() {
        let (_dir, folders) = folders();
        for name in [".1.claim", ".2.claim", ".other", ".x y.claim"] {
            fs::write(folders.pickup.join(name), name).unwrap();
        }
        fs::write(folders.sorttemp.join("2.claim"), "whole").unwrap();
        mend(&folders.pickup, &folders.sorttemp).unwrap();
        assert_eq!(names(&folders.pickup), [".other", ".x y.claim", "1.claim"]);
        assert_eq!(names(&folders.sorttemp), ["2.claim"]);
    }
}
