//! Takes finished files out of the pickup folder: scan, claim, envelope, message.
//!
//! Trust: the folder is writable by every program on the box, so names, owners and contents are hostile. Links,
//! pipes, devices and files with a second name are left alone. Never: removes a file before its message is in the
//! journal (promise G1). The contract with the programs that write there is PICKUP.md.
//!
//! The order that keeps the promise, for the caller: [`claim`] (many), sync sorttemp once
//! ([`crate::disk::folders::sync_folder`]; without it a power cut can bring a file back under its old name after its
//! message was journaled), journal, then [`Claim::finish`]. At start [`leftovers`] lists the claims that a crash left;
//! those whose id the journal does not know go through [`reopen`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::io::Errno;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::limits;

/// How names end that our own `sendmail` renames in when they are whole.
pub const OWN_SUFFIX: &[u8] = b".mailroot";

/// Whether lines of a pickup file carry an extra dot (FEATURES 2.1: writers disagree).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dots {
    /// Every byte is the message's.
    #[default]
    Never,
    /// One leading dot of each line is removed; a lone dot is the end.
    Always,
}

/// What the owner has decided about pickup files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Largest file taken, in bytes.
    pub size: u64,
    /// See [`Dots`].
    pub dots: Dots,
    /// How long a file must stand still to be taken without an event.
    pub settle: Duration,
}

/// Why a file stays where it is.
#[derive(Debug)]
pub enum Left {
    /// It is not there (any more).
    Gone,
    /// Its name starts with a dot: still being written.
    DotName,
    /// A link, folder, pipe, socket or device.
    NotAFile,
    /// It has a second name, so somebody else may still change or keep it.
    SecondName,
    /// Larger than the owner allows.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// It changed while it was looked at; another scan will take it.
    Moving,
    /// The service may not read it.
    Unreadable,
    /// The system refused.
    Io(io::Error),
}

impl Left {
    /// Whether the owner should be told, once a file.
    pub const fn is_worth_a_word(&self) -> bool {
        !matches!(self, Self::Gone | Self::DotName | Self::Moving)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the file is gone"),
            Self::DotName => f.write_str("its name starts with a dot; rename it when it is whole"),
            Self::NotAFile => f.write_str("it is not a plain file; remove it"),
            Self::SecondName => f.write_str("it has a second link; copy or rename it instead"),
            Self::TooLarge { size, limit } => {
                write!(f, "it has {size} bytes and {limit} are allowed")
            }
            Self::Moving => f.write_str("it is still being written"),
            Self::Unreadable => {
                f.write_str("the service may not read it; make it readable or run as root")
            }
            Self::Io(err) => err.fmt(f),
        }
    }
}

impl std::error::Error for Left {}

impl From<Errno> for Left {
    fn from(err: Errno) -> Self {
        match err {
            Errno::NOENT => Self::Gone,
            Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::NODEV => Self::NotAFile,
            Errno::ACCESS | Errno::PERM => Self::Unreadable,
            other => Self::Io(other.into()),
        }
    }
}

/// What a file looked like; unchanged means nobody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Look {
    fn at(stat: &Stat) -> Self {
        // The types differ between targets; a lossless way exists on each.
        #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
        Self {
            inode: stat.st_ino.try_into().unwrap_or(u64::MAX),
            size: stat.st_size.try_into().unwrap_or(u64::MAX),
            changed: (
                stat.st_mtime.try_into().unwrap_or(i64::MAX),
                stat.st_mtime_nsec.try_into().unwrap_or(i64::MAX),
            ),
        }
    }
}

/// Looks for files that stand still, a few names a step.
#[derive(Debug)]
pub struct Scanner {
    folder: PathBuf,
    entries: Option<fs::ReadDir>,
    /// Files that may still be written to, and those that were complained about.
    watched: HashMap<OsString, Watched>,
    /// Counts the rounds, to forget at the end of one what was not seen in it.
    round: u32,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    look: Look,
    /// Since when it looks like that; `None` when it stays and that was said.
    since: Option<Tick>,
    round: u32,
}

/// What a step of a scan came to.
#[derive(Debug, Default)]
pub struct Step {
    /// Names that can be claimed.
    pub ready: Vec<OsString>,
    /// Names that stay, with the reason; each is told once while the file stays as it is.
    pub left: Vec<(OsString, Left)>,
    /// The folder has been read to its end; the next step starts over.
    pub over: bool,
}

impl Scanner {
    /// A scanner that has seen nothing yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            entries: None,
            watched: HashMap::new(),
            round: 0,
        }
    }

    /// Reads the next [`limits::PICKUP_STEP`] names. `now` is the tick of this step.
    pub fn step(&mut self, rules: &Rules, now: Tick) -> io::Result<Step> {
        let mut step = Step::default();
        let entries = match &mut self.entries {
            Some(entries) => entries,
            None => {
                self.round = self.round.wrapping_add(1);
                self.entries.insert(fs::read_dir(&self.folder)?)
            }
        };
        let mut names = Vec::new();
        for entry in entries.take(limits::PICKUP_STEP) {
            match entry {
                Ok(entry) => names.push(entry.file_name()),
                Err(err) => {
                    self.entries = None;
                    return Err(err);
                }
            }
        }
        if names.len() < limits::PICKUP_STEP {
            step.over = true;
            self.entries = None;
        }
        for name in names {
            self.look(name, rules, now, &mut step);
        }
        if step.over {
            let round = self.round;
            self.watched.retain(|_, watched| watched.round == round);
        }
        Ok(step)
    }

    /// Whether a file is waiting to have stood still, so that another round soon is worth it.
    pub fn is_waiting(&self) -> bool {
        self.watched.values().any(|watched| watched.since.is_some())
    }

    /// Offers a name no more until the file changes; for what could not be claimed. Says whether that is news.
    pub fn set_aside(&mut self, name: &OsStr) -> bool {
        let path = self.folder.join(name);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(rustix::fs::CWD, path, flags) {
            Ok(stat) => self.watch(name, Look::at(&stat), None),
            Err(_) => false,
        }
    }

    fn look(&mut self, name: OsString, rules: &Rules, now: Tick, step: &mut Step) {
        let stat = match check(&self.folder, &name, rules) {
            Ok(stat) => stat,
            Err((_, Left::Gone | Left::DotName)) => return,
            Err((look, left)) => {
                let look = look.unwrap_or(Look {
                    inode: 0,
                    size: 0,
                    changed: (0, 0),
                });
                if self.watch(&name, look, None) {
                    step.left.push((name, left));
                }
                return;
            }
        };
        let look = Look::at(&stat);
        if let Some(watched) = self.watched.get_mut(&name)
            && watched.look == look
            && watched.since.is_none()
        {
            watched.round = self.round;
            return;
        }
        if name.as_bytes().ends_with(OWN_SUFFIX) {
            step.ready.push(name);
            return;
        }
        let stands_since = match self.watched.get(&name) {
            Some(watched) if watched.look == look => watched.since,
            _ => None,
        };
        let stood = stands_since.is_some_and(|since| now.since(since) >= rules.settle);
        if stood {
            self.watched.remove(&name);
            step.ready.push(name);
        } else {
            self.watch(&name, look, Some(stands_since.unwrap_or(now)));
        }
    }

    /// Remembers a name; says whether that is news.
    fn watch(&mut self, name: &OsStr, look: Look, since: Option<Tick>) -> bool {
        let round = self.round;
        let now = Watched { look, since, round };
        if let Some(before) = self.watched.get_mut(name) {
            let before = std::mem::replace(before, now);
            return before.look != look || before.since.is_some() != since.is_some();
        }
        // What lies there for good may not take all the room from what is still being written.
        let room = if since.is_some() {
            limits::PICKUP_WATCHED
        } else {
            limits::PICKUP_WATCHED / 2
        };
        let fits = self.watched.len() < room;
        if fits {
            self.watched.insert(name.to_owned(), now);
        }
        fits
    }
}

/// Whether a file that an event named can be claimed. An empty one cannot: something will still be written to it, or
/// a scan takes it.
pub fn is_ready(folder: &Path, name: &OsStr, rules: &Rules) -> Result<(), Left> {
    match check(folder, name, rules) {
        Ok(stat) if stat.st_size == 0 => Err(Left::Moving),
        Ok(_) => Ok(()),
        Err((_, left)) => Err(left),
    }
}

/// Looks at a name without following it.
fn check(folder: &Path, name: &OsStr, rules: &Rules) -> Result<Stat, (Option<Look>, Left)> {
    if name.as_bytes().starts_with(b".") {
        return Err((None, Left::DotName));
    }
    let stat = rustix::fs::statat(
        rustix::fs::CWD,
        folder.join(name),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|err| (None, err.into()))?;
    check_stat(&stat, name, rules).map_err(|left| (Some(Look::at(&stat)), left))?;
    Ok(stat)
}

/// The size does not count for what our own `sendmail` said yes to: that is taken and, when it is too large, returned
/// to its sender (promise G2).
fn check_stat(stat: &Stat, name: &OsStr, rules: &Rules) -> Result<(), Left> {
    let size = Look::at(stat).size;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Err(Left::NotAFile)
    } else if stat.st_nlink != 1 {
        Err(Left::SecondName)
    } else if size > rules.size && !name.as_bytes().ends_with(OWN_SUFFIX) {
        Err(Left::TooLarge {
            size,
            limit: rules.size,
        })
    } else {
        Ok(())
    }
}

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

/// Takes a file out of the folder by renaming it to `sorttemp/<id>.claim`.
///
/// It is opened before, to see that we may, and again after, since only then nobody can put something else under the
/// name; links are not followed. When that was tried in between, it goes back and nothing is claimed. What cannot be claimed
/// is never moved, so no event follows from trying; tell [`Scanner::set_aside`] about it, and the owner once.
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
    rustix::fs::rename(&from, &path)?;
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
    use super::{Dots, Left, Rules, Scanner, claim, forget, is_ready, leftovers, reopen, shown};
    use crate::base::{MsgId, Tick, limits};
    use crate::disk::folders::Folders;
    use std::ffi::{OsStr, OsString};
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    const RULES: Rules = Rules {
        size: 1000,
        dots: Dots::Never,
        settle: Duration::from_secs(5),
    };

    fn folders() -> (tempfile::TempDir, Folders) {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        (dir, folders)
    }

    /// A whole round: what is ready, and what stays with its reason.
    fn round(scanner: &mut Scanner, at: u64) -> (Vec<OsString>, Vec<String>) {
        let (mut ready, mut left) = (Vec::new(), Vec::new());
        loop {
            let mut step = scanner.step(&RULES, Tick::from_millis(at)).unwrap();
            ready.append(&mut step.ready);
            left.extend(
                step.left
                    .iter()
                    .map(|(name, why)| format!("{}: {why}", shown(name))),
            );
            if step.over {
                ready.sort();
                left.sort();
                return (ready, left);
            }
        }
    }

    #[test]
    fn a_file_is_taken_when_it_stood_still() {
        let (_dir, folders) = folders();
        let path = folders.pickup.join("slow");
        fs::write(&path, "half").unwrap();
        let mut scanner = Scanner::new(&folders.pickup);
        assert!(round(&mut scanner, 0).0.is_empty());
        assert!(scanner.is_waiting());
        assert!(round(&mut scanner, 4_999).0.is_empty());
        fs::write(&path, "half and more").unwrap();
        assert!(round(&mut scanner, 5_000).0.is_empty());
        assert!(round(&mut scanner, 9_000).0.is_empty());
        assert_eq!(round(&mut scanner, 10_000).0, ["slow"]);
        assert!(!scanner.is_waiting());
        // Our own sendmail renames whole files in: no waiting.
        fs::write(folders.pickup.join("0123.mailroot"), "x").unwrap();
        assert!(
            round(&mut scanner, 10_000)
                .0
                .contains(&"0123.mailroot".into())
        );
    }

    #[test]
    fn what_is_no_plain_file_stays_and_is_told_once() {
        let (dir, folders) = folders();
        let at = |name: &str| folders.pickup.join(name);
        let secret = dir.path().join("secret");
        fs::write(&secret, "not for mail").unwrap();
        std::os::unix::fs::symlink(&secret, at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        fs::hard_link(&secret, at("second")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("large"), [b'x'; 1001]).unwrap();
        fs::write(at(".writing"), "x").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let mut scanner = Scanner::new(&folders.pickup);
        let (ready, left) = round(&mut scanner, 0);
        assert!(ready.is_empty());
        assert_eq!(
            left,
            [
                "dangling: it is not a plain file; remove it",
                "folder: it is not a plain file; remove it",
                "large: it has 1001 bytes and 1000 are allowed",
                "link: it is not a plain file; remove it",
                "pipe: it is not a plain file; remove it",
                "second: it has a second link; copy or rename it instead",
                "socket: it is not a plain file; remove it",
            ]
        );
        assert_eq!(round(&mut scanner, 100_000), (vec![], vec![]));
        assert!(!scanner.is_waiting());
        for name in [
            "link", "dangling", "second", "folder", "large", "pipe", "socket", ".writing", "none",
        ] {
            let name = OsStr::new(name);
            assert!(is_ready(&folders.pickup, name, &RULES).is_err());
            let id = MsgId::from_number(1);
            assert!(claim(&folders.pickup, name, &folders.sorttemp, id, &RULES).is_err());
        }
        assert_eq!(fs::read_dir(&folders.sorttemp).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "not for mail");
    }

    #[test]
    fn an_event_for_an_empty_file_is_too_early() {
        let (_dir, folders) = folders();
        fs::write(folders.pickup.join("f"), "").unwrap();
        let ready = || is_ready(&folders.pickup, "f".as_ref(), &RULES);
        assert!(matches!(ready(), Err(Left::Moving)));
        fs::write(folders.pickup.join("f"), "x").unwrap();
        assert!(ready().is_ok());
    }

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

    #[test]
    fn what_was_set_aside_comes_again_when_it_changes() {
        let (_dir, folders) = folders();
        let path = folders.pickup.join("f.mailroot");
        fs::write(&path, "x").unwrap();
        let mut scanner = Scanner::new(&folders.pickup);
        assert_eq!(round(&mut scanner, 0).0, ["f.mailroot"]);
        assert!(scanner.set_aside("f.mailroot".as_ref()));
        assert!(!scanner.set_aside("f.mailroot".as_ref()));
        assert!(round(&mut scanner, 100_000).0.is_empty());
        fs::write(&path, "xy").unwrap();
        assert_eq!(round(&mut scanner, 100_000).0, ["f.mailroot"]);
    }

    #[test]
    fn thousands_of_files_come_in_steps_and_each_once() {
        let (_dir, folders) = folders();
        let many = limits::PICKUP_WATCHED + limits::PICKUP_STEP;
        for number in 0..many {
            fs::write(folders.pickup.join(number.to_string()), "x").unwrap();
        }
        let mut scanner = Scanner::new(&folders.pickup);
        let mut taken = std::collections::HashSet::new();
        let mut at = 0;
        while taken.len() < many {
            let step = scanner.step(&RULES, Tick::from_millis(at)).unwrap();
            assert!(step.ready.len() <= limits::PICKUP_STEP);
            for name in step.ready {
                fs::remove_file(folders.pickup.join(&name)).unwrap();
                assert!(taken.insert(name));
            }
            at += 1000;
            assert!(at < 1_000_000);
        }
    }

    #[test]
    fn a_missing_folder_is_an_error_and_a_new_one_is_read() {
        let (_dir, folders) = folders();
        let mut scanner = Scanner::new(&folders.pickup);
        fs::remove_dir(&folders.pickup).unwrap();
        assert!(scanner.step(&RULES, Tick::default()).is_err());
        folders.create().unwrap();
        assert!(scanner.step(&RULES, Tick::default()).unwrap().over);
    }
}
