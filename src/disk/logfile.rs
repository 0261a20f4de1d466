//! Log files in a folder: appended to, begun anew by time and by size, the oldest removed at a cap.
//!
//! They are named as IIS named its own: `exYYMMDD.log` for W3C's form, `in` for IIS's own, `nc` for NCSA's, and `ev` for
//! our events; a second file of the same day is `exYYMMDD-2.log`. While the clock is wrong nobody knows the day, and the
//! digits are zeros. Everything here blocks: it is for the file worker.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::base::Stamp;
use crate::base::Wall;
use crate::config::logs::Files;
use crate::config::logs::Form;
use crate::config::logs::Period;

/// What names of our files begin with: for those with a date, and for those that are numbered only.
const fn prefixes(form: Form) -> (&'static str, &'static str) {
    match form {
        Form::Text | Form::Json => ("ev", "events"),
        Form::W3c => ("ex", "extend"),
        Form::Iis => ("in", "inetsv"),
        Form::Ncsa => ("nc", "ncsa"),
    }
}

/// All forms, for telling our files from others.
const FORMS: [Form; 4] = [Form::Text, Form::W3c, Form::Iis, Form::Ncsa];

/// Log files of one form in one folder.
#[derive(Debug)]
pub struct LogFiles {
    plan: Files,
    form: Form,
    /// What W3C's form says of the fields of its lines.
    fields: Option<String>,
    open: Option<Open>,
    /// Bytes in all our files, as far as is known.
    total: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Its name without its number and ending.
    stem: String,
    number: u32,
    size: u64,
}

impl LogFiles {
    /// Nothing is touched before the first [`LogFiles::write`]. `fields` is the `#Fields` line of W3C's form.
    pub const fn new(plan: Files, form: Form, fields: Option<String>) -> Self {
        Self {
            plan,
            form,
            fields,
            open: None,
            total: 0,
        }
    }

    /// Appends whole lines. After an error nothing of what was not written is kept, and the next call tries anew.
    /// Answers with how many lines could not be written, and why.
    pub fn write(&mut self, lines: &[u8], now: Option<Wall>) -> Result<(), (u64, io::Error)> {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.part(rest, now) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => {
                    self.open = None;
                    let lost = rest.iter().filter(|byte| **byte == b'\n').count();
                    return Err((u64::try_from(lost).unwrap_or(u64::MAX), error));
                }
            }
        }
        Ok(())
    }

    /// Writes as many lines as the file takes, one at least; answers with their bytes.
    fn part(&mut self, lines: &[u8], now: Option<Wall>) -> io::Result<usize> {
        let stem = self.stem(now);
        let first = line_end(lines);
        let most = self.most();
        // Somebody removed it, or it is yesterday's, or full.
        let over = |open: &Open| {
            open.stem != stem || open.is_removed() || open.size.saturating_add(size(first)) > most
        };
        if self.open.as_ref().is_some_and(over) {
            self.open = None;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(stem, size(first), now)?,
        };
        let room = usize::try_from(most.saturating_sub(open.size)).unwrap_or(usize::MAX);
        let fits = lines.get(..room).unwrap_or(lines);
        let end = match fits.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at.saturating_add(1),
            None => first,
        };
        let part = lines.get(..end).unwrap_or(lines);
        self.make_room(&open, size(part.len()))?;
        self.append(&mut open, part)?;
        self.open = Some(open);
        Ok(part.len())
    }

    /// How long a file may get: never so long that it cannot be kept when the others are gone.
    fn most(&self) -> u64 {
        let half = self.plan.total_bytes / 2;
        self.plan.file_bytes.unwrap_or(u64::MAX).min(half)
    }

    fn append(&mut self, open: &mut Open, bytes: &[u8]) -> io::Result<()> {
        while let Err(error) = (&open.file).write_all(bytes) {
            // What is there of a line that was cut is taken back.
            let cut = open.file.set_len(open.size);
            let full = matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOSPC | Errno::DQUOT)
            );
            if !full || cut.is_err() || !self.remove_oldest(open)? {
                return Err(error);
            }
        }
        open.size = open.size.saturating_add(size(bytes.len()));
        self.total = self.total.saturating_add(size(bytes.len()));
        Ok(())
    }

    /// Opens the newest file of this stem, or the one after it when it has no room for `first` bytes more.
    fn begin(&mut self, stem: String, first: u64, now: Option<Wall>) -> io::Result<Open> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.plan.directory)?;
        let all = self.list()?;
        self.total = all.iter().map(|one| one.size).sum();
        let mut number = all
            .iter()
            .filter_map(|one| self.number(&stem, &one.name))
            .max()
            .unwrap_or(1);
        let mut open = self.open(&stem, number)?;
        if open.size > 0 && open.size.saturating_add(first) > self.most() {
            number = number.saturating_add(1);
            open = self.open(&stem, number)?;
        }
        if open.size > 0 {
            let mut last = [b'\n'];
            open.file.read_at(&mut last, open.size.saturating_sub(1))?;
            if last != [b'\n'] {
                // A power cut or a full disk ended it inside a line.
                self.append(&mut open, b"\n")?;
            }
        }
        if let Some(fields) = &self.fields {
            let version = env!("CARGO_PKG_VERSION");
            let mut head = format!("#Software: mailroot {version}\n#Version: 1.0\n");
            if let Some(now) = now {
                let date = now.to_string().replace('T', " ").replace('Z', "");
                head.push_str(&format!("#Date: {date}\n"));
            }
            head.push_str(fields);
            self.make_room(&open, size(head.len()))?;
            self.append(&mut open, head.as_bytes())?;
        }
        Ok(open)
    }

    fn open(&self, stem: &str, number: u32) -> io::Result<Open> {
        let flags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).bits();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(i32::try_from(flags).unwrap_or(0))
            .open(self.plan.directory.join(self.name(stem, number)))?;
        let size = file.metadata()?.len();
        Ok(Open {
            file,
            stem: stem.to_owned(),
            number,
            size,
        })
    }

    fn stem(&self, now: Option<Wall>) -> String {
        let (dated, numbered) = prefixes(self.form);
        let digits = match self.plan.period {
            Period::Never => return numbered.to_owned(),
            Period::Hourly => 8,
            Period::Daily | Period::Weekly => 6,
            Period::Monthly => 4,
        };
        let Some(now) = now else {
            return format!("{dated}{}", "0".repeat(digits));
        };
        let c = now.civil();
        let (year, month) = (c.year % 100, c.month);
        let rest = match self.plan.period {
            Period::Hourly => format!("{:02}{:02}", c.day, c.hour),
            Period::Daily => format!("{:02}", c.day),
            Period::Weekly => format!("{:02}", c.day.saturating_sub(1) / 7 + 1),
            Period::Monthly | Period::Never => String::new(),
        };
        format!("{dated}{year:02}{month:02}{rest}")
    }

    fn name(&self, stem: &str, number: u32) -> String {
        match (self.plan.period, number) {
            (Period::Never, _) => format!("{stem}{number}.log"),
            (_, 1) => format!("{stem}.log"),
            _ => format!("{stem}-{number}.log"),
        }
    }

    /// The number of a file of this stem.
    fn number(&self, stem: &str, name: &str) -> Option<u32> {
        let rest = name.strip_prefix(stem)?.strip_suffix(".log")?;
        match (self.plan.period, rest) {
            (Period::Never, _) => rest.parse().ok(),
            (_, "") => Some(1),
            _ => rest.strip_prefix('-')?.parse().ok(),
        }
    }

    /// Removes the oldest files until so many bytes more are within the cap.
    fn make_room(&mut self, open: &Open, more: u64) -> io::Result<()> {
        while self.total.saturating_add(more) > self.plan.total_bytes {
            if !self.remove_oldest(open)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes the oldest file that is not the open one; answers whether there was one.
    fn remove_oldest(&mut self, open: &Open) -> io::Result<bool> {
        let keep = self.name(&open.stem, open.number);
        let mut all = self.list()?;
        self.total = all.iter().map(|one| one.size).sum();
        all.retain(|one| one.name != keep);
        let Some(oldest) = all
            .into_iter()
            .min_by_key(|one| (one.written, one.name.clone()))
        else {
            return Ok(false);
        };
        std::fs::remove_file(self.plan.directory.join(&oldest.name))?;
        self.total = self.total.saturating_sub(oldest.size);
        Ok(true)
    }

    /// Our files, in no order.
    fn list(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.plan.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !is_ours(&name) || !entry.file_type()?.is_file() {
                continue;
            }
            // Gone since: then it does not count.
            let path: PathBuf = entry.path();
            if let Ok(stamp) = rustix::fs::stat(&path).map(Stamp::from) {
                found.push(Found {
                    name,
                    size: stamp.size(),
                    written: stamp.written(),
                });
            }
        }
        Ok(found)
    }
}

#[derive(Debug)]
struct Found {
    name: String,
    size: u64,
    written: (i64, u64),
}

impl Open {
    fn is_removed(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The length of the first line, its end included.
fn line_end(lines: &[u8]) -> usize {
    lines
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(lines.len(), |at| at.saturating_add(1))
}

/// Whether a name is one that we give.
fn is_ours(name: &str) -> bool {
    let digits = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    };
    let Some(stem) = name.strip_suffix(".log") else {
        return false;
    };
    FORMS.into_iter().any(|form| {
        let (dated, numbered) = prefixes(form);
        [dated, numbered]
            .into_iter()
            .any(|prefix| stem.strip_prefix(prefix).is_some_and(digits))
    })
}

#[cfg(test)]
mod tests {
    use super::{LogFiles, is_ours};
    use crate::base::Wall;
    use crate::config::logs::{Files, Form, Period};
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    const NOON: u64 = 1_795_348_800; // 2026-11-22T12:00:00Z

    fn plan(directory: &Path, period: Period, file: u64, total: u64) -> Files {
        Files {
            directory: directory.join("logs"),
            period,
            file_bytes: Some(file),
            total_bytes: total,
        }
    }

    fn read(directory: &Path) -> BTreeMap<String, String> {
        fs::read_dir(directory.join("logs"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect()
    }

    #[test]
    fn each_period_has_its_names() {
        for (period, form, name) in [
            (Period::Hourly, Form::W3c, "ex26112212.log"),
            (Period::Daily, Form::W3c, "ex261122.log"),
            (Period::Weekly, Form::Iis, "in261104.log"),
            (Period::Monthly, Form::Ncsa, "nc2611.log"),
            (Period::Never, Form::W3c, "extend1.log"),
            (Period::Never, Form::Iis, "inetsv1.log"),
            (Period::Never, Form::Ncsa, "ncsa1.log"),
            (Period::Daily, Form::Json, "ev261122.log"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut files = LogFiles::new(plan(folder.path(), period, 1000, 9000), form, None);
            files.write(b"one\n", Some(Wall::from_secs(NOON))).unwrap();
            let all = read(folder.path());
            assert_eq!(all.keys().collect::<Vec<_>>(), [name]);
            assert!(is_ours(name));
        }
        for other in [
            "ex.log",
            "exit1.log",
            "ex261122.txt",
            "notes.log",
            "ex-1.log",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_new_day_and_a_full_file_begin_the_next_and_a_restart_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let make = || {
            let plan = plan(folder.path(), Period::Daily, 20, 9000);
            LogFiles::new(plan, Form::Ncsa, None)
        };
        let mut files = make();
        let now = |days: u64| Some(Wall::from_secs(NOON + days * 86_400));
        // Seven bytes a line: two in a file.
        files.write(b"line 1\nline 2\nline 3\n", now(0)).unwrap();
        files.write(b"line 4\n", now(0)).unwrap();
        files.write(b"line 5\n", now(1)).unwrap();
        drop(files);
        make().write(b"line 6\nline 7\n", now(1)).unwrap();
        // The clock is wrong, and then set back.
        make().write(b"line 8\n", None).unwrap();
        make().write(b"line 9\n", now(0)).unwrap();
        let want = [
            ("nc000000.log", "line 8\n"),
            ("nc261122-2.log", "line 3\nline 4\n"),
            ("nc261122-3.log", "line 9\n"),
            ("nc261122.log", "line 1\nline 2\n"),
            ("nc261123-2.log", "line 7\n"),
            ("nc261123.log", "line 5\nline 6\n"),
        ];
        let want = want.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(read(folder.path()), BTreeMap::from(want));
    }

    #[test]
    fn the_oldest_go_at_the_cap_and_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path(), Period::Daily, 1000, 5000);
        fs::create_dir(folder.path().join("logs")).unwrap();
        let foreign = folder.path().join("logs/foreign.log");
        fs::write(&foreign, vec![b'x'; 9000]).unwrap();
        let mut files = LogFiles::new(plan, Form::W3c, None);
        let line = [&b"x".repeat(99)[..], b"\n"].concat();
        for day in 0..20 {
            let now = Some(Wall::from_secs(NOON + day * 86_400));
            for _ in 0..9 {
                files.write(&line, now).unwrap();
                let all = read(folder.path());
                let ours = all.iter().filter(|(name, _)| is_ours(name));
                let sum: usize = ours.map(|(_, text)| text.len()).sum();
                assert!(sum <= 5000, "{sum}");
            }
        }
        let all = read(folder.path());
        assert!(all.contains_key("foreign.log") && all.contains_key("ex261211.log"));
        assert!(!all.contains_key("ex261122.log"));
        assert!(all.len() >= 5, "{:?}", all.keys());
    }

    #[test]
    fn a_line_that_was_cut_off_stays_alone_and_a_removed_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let fields = Some("#Fields: time\n".to_owned());
        let plan = plan(folder.path(), Period::Daily, 2000, 9000);
        let mut files = LogFiles::new(plan.clone(), Form::W3c, fields.clone());
        let now = Some(Wall::from_secs(NOON));
        files.write(b"one\n", now).unwrap();
        let path = folder.path().join("logs/ex261122.log");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        let head =
            "#Software: mailroot 0.1.0\n#Version: 1.0\n#Date: 2026-11-22 12:00:00\n#Fields: time\n";
        fs::write(&path, format!("{head}one\ntw")).unwrap();
        LogFiles::new(plan, Form::W3c, fields)
            .write(b"three\n", now)
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{head}one\ntw\n{head}three\n"));
        fs::remove_file(&path).unwrap();
        files.write(b"four\n", now).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{head}four\n"));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path(), Period::Daily, 2000, 9000);
        let at = folder.path().join("logs");
        fs::write(&at, "in the way").unwrap();
        let mut files = LogFiles::new(plan, Form::Iis, None);
        let now = Some(Wall::from_secs(NOON));
        let (lost, _) = files.write(b"one\ntwo\n", now).unwrap_err();
        assert_eq!(lost, 2);
        fs::remove_file(&at).unwrap();
        files.write(b"three\n", now).unwrap();
        assert_eq!(read(folder.path())["in261122.log"], "three\n");
    }
}
