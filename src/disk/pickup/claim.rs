//! Makes a pickup file ours: by a rename to sorttemp, which a crash does not undo.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::base::MsgId;
use crate::disk::pickup::across;
use crate::disk::pickup::rules::Left;
use crate::disk::pickup::rules::Look;
use crate::disk::pickup::rules::Rules;
use crate::disk::pickup::rules::check;
use crate::disk::pickup::rules::check_stat;

/// A file that is ours: in sorttemp, open, of a known size.
#[derive(Debug)]
pub struct Claim {
    id: MsgId,
    path: PathBuf,
    name: OsString,
    file: File,
    look: Look,
    uid: u32,
}

/// Takes a file out of the folder by renaming it to `sorttemp/<id>.claim`, or by a copy when that is on another file
/// system.
///
/// It is opened before, to see that we may, and again after, since only then nobody can put something else under the
/// name; links are not followed. When that was tried in between, it goes back and nothing is claimed. What cannot be claimed
/// is never moved, so no event follows from trying; tell [`crate::disk::pickup::scan::Scanner::set_aside`] about it, and the owner once.
pub fn claim(
    folder: &Path,
    name: &OsStr,
    sorttemp: &Path,
    id: MsgId,
    rules: &Rules,
) -> Result<Claim, Left> {
    check(folder, name, rules).map_err(|(_, left)| left)?;
    let from = folder.join(name);
    open(from.clone(), name, id, rules)?;
    let path = sorttemp.join(format!("{id}.claim"));
    match rustix::fs::rename(&from, &path) {
        Err(Errno::XDEV) => across::bring(folder, name, id, &path, rules)?,
        // Which of the two is not there makes all the difference.
        Err(Errno::NOENT) if fs::symlink_metadata(&from).is_ok() => {
            return Err(Left::Io(Errno::NOENT.into()));
        }
        other => other?,
    }
    open(path.clone(), name, id, rules).inspect_err(|_| put_back(&path, folder, name))
}

fn open(path: PathBuf, name: &OsStr, id: MsgId, rules: &Rules) -> Result<Claim, Left> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    check_stat(&stat, name, rules)?;
    Ok(Claim {
        id,
        path,
        name: name.to_owned(),
        file,
        look: Look::at(&stat),
        uid: stat.st_uid,
    })
}

/// Back to where it was, unless the name has been taken since; then under the claim's name, so that nothing is
/// overwritten.
fn put_back(path: &Path, folder: &Path, name: &OsStr) {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    let cwd = rustix::fs::CWD;
    if rustix::fs::renameat_with(cwd, path, cwd, folder.join(name), flags).is_err()
        && let Some(own) = path.file_name()
    {
        // When this fails as well the claim stays in sorttemp and `leftovers` finds it at the next start.
        let _ = rustix::fs::renameat_with(cwd, path, cwd, folder.join(own), flags);
    }
}

/// The claims that a crash left in sorttemp.
pub fn leftovers(sorttemp: &Path) -> io::Result<Vec<MsgId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(sorttemp)? {
        let name = entry?.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_suffix(".claim"))
            .and_then(|stem| stem.parse::<MsgId>().ok());
        ids.extend(id);
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Opens a claim that a crash left, under the id it has or a new one. Its size was allowed when it was claimed.
pub fn reopen(sorttemp: &Path, old: MsgId, new: MsgId, rules: &Rules) -> Result<Claim, Left> {
    let from = sorttemp.join(format!("{old}.claim"));
    let path = sorttemp.join(format!("{new}.claim"));
    if from != path {
        rustix::fs::rename(&from, &path)?;
    }
    let rules = Rules {
        size: u64::MAX,
        ..*rules
    };
    open(path, OsStr::new(&format!("{old}.claim")), new, &rules)
}

/// Removes a claim by its id, when its message is known to be in the journal.
pub fn forget(sorttemp: &Path, id: MsgId) -> io::Result<()> {
    match fs::remove_file(sorttemp.join(format!("{id}.claim"))) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Claim {
    /// The id it was claimed under.
    pub const fn id(&self) -> MsgId {
        self.id
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name it had, any bytes.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Who owned it.
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// Its size in bytes, envelope lines included.
    pub const fn size(&self) -> u64 {
        self.look.size
    }

    /// The open file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Whether nobody has written to it since it was claimed. To be asked when the message has been read and before
    /// it is journaled: when a program still had it open and wrote on, wait for [`Rules::settle`],
    /// [`Claim::refresh`], and read again.
    pub fn stood_still(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| Look::at(&stat) == self.look)
    }

    /// Takes the file as it is now for its state.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.look = Look::at(&rustix::fs::fstat(&self.file)?);
        Ok(())
    }

    /// Its message is in the journal: the file goes.
    pub fn finish(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Puts it back for a later try, never onto another file. The folder's watch hears of that: the caller has to
    /// leave this one event aside, or a file that is still written to passes for one that was renamed in whole.
    pub fn put_back(self, folder: &Path) {
        put_back(&self.path, folder, &self.name);
    }
}

/// A file name for a log line or a reason file.
pub fn shown(name: &OsStr) -> String {
    crate::base::Escaped(&name.to_owned().into_vec()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{claim, forget, leftovers, reopen, shown};
    use crate::base::MsgId;
    use crate::disk::pickup::rules::tests::{RULES, folders};
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_may_be_any_bytes() {
        let (_dir, folders) = folders();
        let long = [b'n'; 255];
        let names: [&[u8]; 5] = [b"\xff\xfe", b"new\nline", b"-rf *", &long, b"\x1b[31m"];
        for (number, name) in (1..).zip(names) {
            let name = OsStr::from_bytes(name);
            fs::write(folders.pickup.join(name), "x").unwrap();
            let id = MsgId::from_number(number);
            let claim = claim(&folders.pickup, name, &folders.sorttemp, id, &RULES).unwrap();
            assert_eq!(claim.name(), name);
            assert!(
                shown(claim.name())
                    .bytes()
                    .all(|b| (b' '..=b'~').contains(&b))
            );
            claim.finish().unwrap();
        }
        assert_eq!(fs::read_dir(&folders.pickup).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&folders.sorttemp).unwrap().count(), 0);
    }

    #[test]
    fn claims_survive_a_crash_and_go_back_when_asked() {
        let (_dir, folders) = folders();
        let (one, two) = (MsgId::from_number(1), MsgId::from_number(2));
        for (name, id) in [("a", one), ("b", two)] {
            fs::write(folders.pickup.join(name), name).unwrap();
            claim(
                &folders.pickup,
                name.as_ref(),
                &folders.sorttemp,
                id,
                &RULES,
            )
            .unwrap();
        }
        fs::write(folders.sorttemp.join("else.tmp"), "").unwrap();
        assert_eq!(leftovers(&folders.sorttemp).unwrap(), [one, two]);
        forget(&folders.sorttemp, one).unwrap();
        forget(&folders.sorttemp, one).unwrap();
        let again = reopen(&folders.sorttemp, two, MsgId::from_number(9), &RULES).unwrap();
        assert_eq!(
            leftovers(&folders.sorttemp).unwrap(),
            [MsgId::from_number(9)]
        );
        // Put back it never lands on another file.
        fs::write(folders.pickup.join("b"), "new").unwrap();
        fs::write(folders.pickup.join("2.claim"), "new").unwrap();
        again.put_back(&folders.pickup);
        assert_eq!(
            fs::read_to_string(folders.pickup.join("2.claim")).unwrap(),
            "new"
        );
        assert_eq!(
            fs::read_to_string(folders.pickup.join("9.claim")).unwrap(),
            "b"
        );
    }
}
