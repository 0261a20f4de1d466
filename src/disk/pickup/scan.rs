//! Looks through the pickup folder for files that stand still, a few names a step.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;

use crate::base::Tick;
use crate::base::limits;
use crate::disk::pickup::rules::Left;
use crate::disk::pickup::rules::Look;
use crate::disk::pickup::rules::OWN_SUFFIX;
use crate::disk::pickup::rules::Rules;
use crate::disk::pickup::rules::check;

/// Looks for files that stand still, a few names a step.
#[derive(Debug)]
pub struct Scanner {
    folder: PathBuf,
    entries: Option<fs::ReadDir>,
    /// Files that may still be written to, and those that were complained about.
    watched: HashMap<OsString, Watched>,
    /// Files that their writers have made and not closed, as far as anybody knows.
    begun: HashSet<OsString>,
    /// Counts the rounds, to forget at the end of one what was not seen in it.
    round: u32,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    look: Look,
    /// Since when it looks like that; `None` when it stays and that was said.
    since: Option<Tick>,
    /// Of one that stays: the next scan offers it all the same.
    again: bool,
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
            begun: HashSet::new(),
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
            let watched = &self.watched;
            self.begun.retain(|name| watched.contains_key(name));
        }
        Ok(step)
    }

    /// These were made and not closed yet: they have to stand still for [`limits::PICKUP_OPEN`].
    pub fn on_begun(&mut self, names: HashSet<OsString>) {
        let room = limits::PICKUP_WATCHED.saturating_sub(self.begun.len());
        self.begun.extend(names.into_iter().take(room));
    }

    /// These were closed.
    pub fn on_closed(&mut self, names: &[OsString]) {
        for name in names {
            self.begun.remove(name);
        }
    }

    /// Whether a file is waiting to have stood still, so that another round soon is worth it.
    pub fn is_waiting(&self) -> bool {
        self.watched.values().any(|watched| watched.since.is_some())
    }

    /// For what could not be claimed: offers a name no more until the file changes, or, when the reason `may_pass`, with
    /// the next scan. Says whether that is news.
    pub fn set_aside(&mut self, name: &OsStr, may_pass: bool) -> bool {
        let path = self.folder.join(name);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(rustix::fs::CWD, path, flags) {
            Ok(stat) => self.watch(name, Look::at(&stat), None, may_pass),
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
                    touched: (0, 0),
                });
                let again = left.may_pass();
                if self.watch(&name, look, None, again) {
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
            if watched.again {
                step.ready.push(name);
            }
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
        let settle = if self.begun.contains(&name) {
            rules.settle.max(limits::PICKUP_OPEN)
        } else {
            rules.settle
        };
        let stood = stands_since.is_some_and(|since| now.since(since) >= settle);
        if stood {
            self.watched.remove(&name);
            step.ready.push(name);
        } else {
            self.watch(&name, look, Some(stands_since.unwrap_or(now)), false);
        }
    }

    /// Remembers a name; says whether that is news.
    fn watch(&mut self, name: &OsStr, look: Look, since: Option<Tick>, again: bool) -> bool {
        let round = self.round;
        let now = Watched {
            look,
            since,
            again,
            round,
        };
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

#[cfg(test)]
mod tests {
    use super::Scanner;
    use crate::base::{MsgId, Tick, limits};
    use crate::disk::pickup::claim::{claim, shown};
    use crate::disk::pickup::rules::is_ready;
    use crate::disk::pickup::rules::tests::{RULES, folders};
    use std::ffi::{OsStr, OsString};
    use std::fs;

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
    fn a_writer_that_thinks_has_longer() {
        let (_dir, folders) = folders();
        for name in ["thinks", "gone"] {
            fs::write(folders.pickup.join(name), "half").unwrap();
        }
        let mut scanner = Scanner::new(&folders.pickup);
        let open: Vec<OsString> = vec!["thinks".into(), "lost".into(), "gone".into()];
        scanner.on_begun(open.into_iter().collect());
        assert!(round(&mut scanner, 0).0.is_empty());
        scanner.on_closed(&["gone".into()]);
        assert_eq!(round(&mut scanner, 5_000).0, ["gone"]);
        fs::remove_file(folders.pickup.join("gone")).unwrap();
        assert!(round(&mut scanner, 59_999).0.is_empty());
        assert!(scanner.is_waiting());
        assert_eq!(round(&mut scanner, 60_000).0, ["thinks"]);
    }

    #[test]
    fn what_the_disk_would_not_do_is_tried_with_every_scan_and_told_once() {
        let (_dir, folders) = folders();
        fs::write(folders.pickup.join("f.mailroot"), "x").unwrap();
        let mut scanner = Scanner::new(&folders.pickup);
        for at in 0..3 {
            assert_eq!(round(&mut scanner, at).0, ["f.mailroot"]);
            assert_eq!(scanner.set_aside("f.mailroot".as_ref(), true), at == 0);
        }
    }

    #[test]
    fn a_file_is_taken_when_its_second_name_goes() {
        let (dir, folders) = folders();
        let (here, there) = (folders.pickup.join("f.mailroot"), dir.path().join("f"));
        fs::write(&there, "x").unwrap();
        fs::hard_link(&there, &here).unwrap();
        let mut scanner = Scanner::new(&folders.pickup);
        assert_eq!(round(&mut scanner, 0).1.len(), 1);
        assert!(round(&mut scanner, 1).0.is_empty());
        fs::remove_file(there).unwrap();
        assert_eq!(round(&mut scanner, 2).0, ["f.mailroot"]);
    }

    #[test]
    fn what_was_set_aside_comes_again_when_it_changes() {
        let (_dir, folders) = folders();
        let path = folders.pickup.join("f.mailroot");
        fs::write(&path, "x").unwrap();
        let mut scanner = Scanner::new(&folders.pickup);
        assert_eq!(round(&mut scanner, 0).0, ["f.mailroot"]);
        assert!(scanner.set_aside("f.mailroot".as_ref(), false));
        assert!(!scanner.set_aside("f.mailroot".as_ref(), false));
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
