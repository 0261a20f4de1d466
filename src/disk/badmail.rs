//! Keeps what could be neither delivered nor returned, with the reason, in three files a message.
//!
//! `<id>.bdr` says in text, `<id>.bdp` in JSON why; `<id>.bad` is the message, with its envelope at the top where it
//! had one, so that any pickup folder sends it again. The message comes last, so where it stands the reason stands
//! too; the caller lets go of its own copy only after [`Draft::finish`] (promise G2).
//! Capped by bytes, count and age: the oldest go first, the newest never.

use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::disk::folders::sync_folder;
use crate::disk::pickup::Claim;

/// Why a message is bad.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// When that was found.
    pub at: Wall,
    /// One sentence: what happened.
    pub reason: String,
    /// Where the message came from, for instance `pickup file report.eml of uid 1000`.
    pub origin: String,
    /// The reverse path; empty is the null sender, `None` is not known.
    pub sender: Option<String>,
    /// Who did not get it.
    pub recipients: Vec<String>,
    /// The enhanced status, when there is one.
    pub status: String,
    /// What the remote server said last.
    pub remote: String,
}

/// How much badmail is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of all files.
    pub bytes: u64,
    /// Messages.
    pub count: usize,
    /// Older ones go.
    pub age: Option<Duration>,
}

/// A badmail folder.
#[derive(Clone, Debug)]
pub struct Badmail {
    folder: PathBuf,
    caps: Caps,
}

/// A message in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub stem: String,
    /// Bytes of its three files.
    pub size: u64,
    /// Since when it is here, in seconds since 1970.
    pub at: Wall,
}

impl Badmail {
    /// The badmail folder at `folder`.
    pub fn new(folder: &Path, caps: Caps) -> Self {
        Self {
            folder: folder.to_owned(),
            caps,
        }
    }

    /// Whether a message may have this name: nothing that could lead out of the folder.
    pub fn is_id(stem: &str) -> bool {
        is_stem(stem)
    }

    /// Begins a message.
    pub fn begin(&self, id: MsgId) -> io::Result<Draft<'_>> {
        let stem = self.free_stem(id)?;
        let temp = self.folder.join(format!(".{stem}.bad"));
        Ok(Draft {
            file: create(&temp)?,
            badmail: self,
            stem,
            temp,
        })
    }

    /// Moves a claimed pickup file here as it is.
    pub fn take(&self, claim: &Claim, verdict: &Verdict) -> io::Result<String> {
        let stem = self.free_stem(claim.id())?;
        self.write_reasons(&stem, verdict)?;
        // Programs may have left it readable for all or owned by anybody; the folder around it is 0700.
        let bad = self.folder.join(format!("{stem}.bad"));
        claim.file().sync_all()?;
        match fs::rename(claim.path(), &bad) {
            Err(err) if err.kind() == io::ErrorKind::CrossesDevices => {
                let temp = self.folder.join(format!(".{stem}.bad"));
                let mut to = create(&temp)?;
                io::copy(&mut File::open(claim.path())?, &mut to)?;
                to.sync_all()?;
                fs::rename(&temp, &bad)?;
                sync_folder(&self.folder)?;
                fs::remove_file(claim.path())?;
            }
            other => other?,
        }
        sync_folder(&self.folder)?;
        Ok(stem)
    }

    /// Lists the messages, oldest first.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".bad"));
            let Some(stem) = stem.filter(|stem| is_stem(stem)) else {
                continue;
            };
            let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else {
                continue;
            };
            let reason = |kind| {
                let path = self.folder.join(format!("{stem}.{kind}"));
                fs::symlink_metadata(path).ok()
            };
            let (text, json) = (reason("bdr"), reason("bdp"));
            let sizes = [&text, &json].into_iter().flatten().map(fs::Metadata::len);
            entries.push(Entry {
                stem: stem.to_owned(),
                size: sizes.fold(meta.len(), u64::saturating_add),
                at: since(text.as_ref().unwrap_or(&meta)),
            });
        }
        entries.sort_unstable_by(|a, b| (a.at, &a.stem).cmp(&(b.at, &b.stem)));
        Ok(entries)
    }

    /// The text of the reason.
    pub fn show(&self, stem: &str) -> io::Result<String> {
        let file = File::open(self.path(stem, "bdr")?)?;
        let cap = u64::try_from(limits::BADMAIL_REASON).unwrap_or(u64::MAX);
        let mut text = Vec::new();
        file.take(cap).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What the `.bdr` says, whose lines are as [`Verdict`] prints them; `at` is when it was written.
    pub fn verdict(&self, stem: &str) -> io::Result<Verdict> {
        let at = since(&fs::symlink_metadata(self.path(stem, "bdr")?)?);
        let text = self.show(stem)?;
        let all = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
        let first = |name| all(name).next().unwrap_or_default().to_owned();
        let path = |value: &str| value.trim_matches(['<', '>']).to_owned();
        Ok(Verdict {
            at,
            reason: first("Reason: "),
            origin: first("Origin: "),
            sender: all("Sender: ").next().map(path),
            recipients: all("Recipient: ").map(path).collect(),
            status: first("Status: "),
            remote: first("Remote server: "),
        })
    }

    /// Opens the message.
    pub fn open(&self, stem: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.path(stem, "bad")?, flags, Mode::empty())?;
        let file = File::from(file);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a plain file",
            ))
        }
    }

    /// Removes a message with its reasons.
    pub fn remove(&self, stem: &str) -> io::Result<()> {
        // The message first: a reason without a message is swept, a message without a reason would be a riddle.
        fs::remove_file(self.path(stem, "bad")?)?;
        for kind in ["bdr", "bdp"] {
            match fs::remove_file(self.path(stem, kind)?) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the oldest messages until the caps hold, never the newest; returns which went, so that it can be
    /// logged. `now` decides about age.
    pub fn prune(&self, now: Wall) -> io::Result<Vec<Entry>> {
        let mut entries = self.list()?;
        let newest = entries.pop();
        let newest_size = newest.as_ref().map_or(0, |entry| entry.size);
        let mut bytes = entries
            .iter()
            .fold(newest_size, |sum, entry| sum.saturating_add(entry.size));
        let mut count = entries.len().saturating_add(1);
        let mut gone = Vec::new();
        for entry in entries {
            let old = self.caps.age.is_some_and(|age| now.since(entry.at) > age);
            if bytes <= self.caps.bytes && count <= self.caps.count && !old {
                break;
            }
            self.remove(&entry.stem)?;
            bytes = bytes.saturating_sub(entry.size);
            count = count.saturating_sub(1);
            gone.push(entry);
        }
        Ok(gone)
    }

    /// Removes what a crash left half-written. Its messages are where they came from.
    pub fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            let half = name.strip_prefix('.').is_some_and(is_own);
            let orphan = [".bdr", ".bdp"]
                .iter()
                .filter_map(|kind| name.strip_suffix(kind))
                .any(|stem| is_stem(stem) && !self.folder.join(format!("{stem}.bad")).exists());
            if half || orphan {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn path(&self, stem: &str, kind: &str) -> io::Result<PathBuf> {
        if is_stem(stem) {
            Ok(self.folder.join(format!("{stem}.{kind}")))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not the name of a bad message; `mailroot badmail list` shows them",
            ))
        }
    }

    /// The id, or the id with a number when an earlier life of the journal used it.
    fn free_stem(&self, id: MsgId) -> io::Result<String> {
        let mut stem = id.to_string();
        let mut again: u32 = 1;
        while self.folder.join(format!("{stem}.bad")).try_exists()? {
            again = again.saturating_add(1);
            stem = format!("{id}-{again}");
        }
        Ok(stem)
    }

    fn write_reasons(&self, stem: &str, verdict: &Verdict) -> io::Result<()> {
        for (kind, text) in [("bdr", verdict.to_string()), ("bdp", verdict.json())] {
            let temp = self.folder.join(format!(".{stem}.{kind}"));
            let mut file = create(&temp)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temp, self.folder.join(format!("{stem}.{kind}")))?;
        }
        Ok(())
    }
}

/// A bad message that is being written.
#[derive(Debug)]
pub struct Draft<'a> {
    badmail: &'a Badmail,
    stem: String,
    temp: PathBuf,
    file: File,
}

impl Draft<'_> {
    /// The next bytes of the message.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the three files durable; returns their common name.
    pub fn finish(self, verdict: &Verdict) -> io::Result<String> {
        self.file.sync_all()?;
        self.badmail.write_reasons(&self.stem, verdict)?;
        let bad = self.badmail.folder.join(format!("{}.bad", self.stem));
        fs::rename(&self.temp, bad)?;
        sync_folder(&self.badmail.folder)?;
        Ok(self.stem.clone())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Gone already when it was finished.
        let _ = fs::remove_file(&self.temp);
    }
}

/// Since when something is bad: when its reason was written. The message itself may be a pickup file of any age.
fn since(meta: &fs::Metadata) -> Wall {
    Wall::from_secs(u64::try_from(meta.mtime()).unwrap_or(0))
}

fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// `ID` or `ID-2`: nothing that could lead out of the folder.
fn is_stem(stem: &str) -> bool {
    let (id, again) = stem.split_once('-').unwrap_or((stem, "2"));
    id.parse::<MsgId>().is_ok()
        && !again.is_empty()
        && again.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name of one of our files.
fn is_own(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, kind)| is_stem(stem) && matches!(kind, "bad" | "bdr" | "bdp"))
}

/// The `.bdr`: one thing a line, safe to show on a terminal.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "This message could not be delivered and could not be returned.\n"
        )?;
        writeln!(f, "Reason: {}", Line(&self.reason))?;
        if !self.status.is_empty() {
            writeln!(f, "Status: {}", Line(&self.status))?;
        }
        if !self.remote.is_empty() {
            writeln!(f, "Remote server: {}", Line(&self.remote))?;
        }
        if !self.origin.is_empty() {
            writeln!(f, "Origin: {}", Line(&self.origin))?;
        }
        writeln!(f, "Time: {}", self.at)?;
        if let Some(sender) = &self.sender {
            writeln!(f, "Sender: <{}>", Line(sender))?;
        }
        for recipient in &self.recipients {
            writeln!(f, "Recipient: <{}>", Line(recipient))?;
        }
        Ok(())
    }
}

impl Verdict {
    /// The `.bdp`: the same as one JSON object.
    fn json(&self) -> String {
        let mut text = String::from("{\n");
        for (name, value) in [
            ("reason", &self.reason),
            ("status", &self.status),
            ("remote", &self.remote),
            ("origin", &self.origin),
            ("time", &self.at.to_string()),
        ] {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "  \"{name}\": {},", Json(value));
        }
        let _ = match &self.sender {
            Some(sender) => writeln!(text, "  \"sender\": {},", Json(sender)),
            None => writeln!(text, "  \"sender\": null,"),
        };
        text.push_str("  \"recipients\": [");
        for (at, recipient) in self.recipients.iter().enumerate() {
            let _ = write!(
                text,
                "{}{}",
                if at > 0 { ", " } else { "" },
                Json(recipient)
            );
        }
        text.push_str("]\n}\n");
        text
    }
}

/// Text on one line: control characters become `?`.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| f.write_char(if c.is_control() { '?' } else { c }))
    }
}

/// A JSON string (RFC 8259 s7).
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::{Badmail, Caps, Verdict};
    use crate::base::{MsgId, Wall};
    use std::fs;
    use std::io::Read;
    use std::time::Duration;

    const CAPS: Caps = Caps {
        bytes: 1_000_000,
        count: 100,
        age: None,
    };

    fn verdict() -> Verdict {
        Verdict {
            at: Wall::from_secs(1_795_305_600),
            reason: "the report \"could\" not be\nreturned".into(),
            origin: "our own report".into(),
            sender: Some(String::new()),
            recipients: vec!["a@x.example".into(), "b@x.example".into()],
            status: "5.1.1".into(),
            remote: "550 no\\such".into(),
        }
    }

    fn put(badmail: &Badmail, id: u64, body: &[u8]) -> String {
        let mut draft = badmail.begin(MsgId::from_number(id)).unwrap();
        draft.append(body).unwrap();
        draft.finish(&verdict()).unwrap()
    }

    #[test]
    fn three_files_tell_the_story() {
        let dir = tempfile::tempdir().unwrap();
        let badmail = Badmail::new(dir.path(), CAPS);
        assert_eq!(put(&badmail, 33, b"message"), "11");
        assert_eq!(
            badmail.show("11").unwrap(),
            "This message could not be delivered and could not be returned.\n\n\
             Reason: the report \"could\" not be?returned\nStatus: 5.1.1\nRemote server: 550 no\\such\n\
             Origin: our own report\nTime: 2026-11-22T00:00:00Z\nSender: <>\n\
             Recipient: <a@x.example>\nRecipient: <b@x.example>\n"
        );
        assert_eq!(
            fs::read_to_string(dir.path().join("11.bdp")).unwrap(),
            "{\n  \"reason\": \"the report \\\"could\\\" not be\\u000areturned\",\n  \"status\": \"5.1.1\",\n\
             \x20 \"remote\": \"550 no\\\\such\",\n  \"origin\": \"our own report\",\n\
             \x20 \"time\": \"2026-11-22T00:00:00Z\",\n  \"sender\": \"\",\n\
             \x20 \"recipients\": [\"a@x.example\", \"b@x.example\"]\n}\n"
        );
        let told = badmail.verdict("11").unwrap();
        let want = Verdict {
            at: told.at,
            reason: "the report \"could\" not be?returned".into(),
            ..verdict()
        };
        assert_eq!(told, want);
        let mut text = String::new();
        badmail
            .open("11")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "message");
        // The same id again never overwrites.
        assert_eq!(put(&badmail, 33, b"other"), "11-2");
        badmail.remove("11").unwrap();
        let stems: Vec<_> = badmail
            .list()
            .unwrap()
            .into_iter()
            .map(|e| e.stem)
            .collect();
        assert_eq!(stems, ["11-2"]);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let badmail = Badmail::new(dir.path(), CAPS);
        for stem in ["../x", "", "a/b", "1-", "1-x", "-2", "1.bad"] {
            assert!(badmail.show(stem).is_err(), "{stem}");
            assert!(badmail.remove(stem).is_err(), "{stem}");
        }
    }

    #[test]
    fn the_oldest_go_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut badmail = Badmail::new(dir.path(), CAPS);
        for id in 1..=5 {
            let stem = put(&badmail, id, &[b'x'; 1000]);
            let file = fs::File::options()
                .write(true)
                .open(dir.path().join(format!("{stem}.bdr")))
                .unwrap();
            let at = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 + id * 100);
            file.set_modified(at).unwrap();
        }
        let gone = |badmail: &Badmail, now: u64| -> Vec<String> {
            let gone = badmail.prune(Wall::from_secs(now)).unwrap();
            gone.into_iter().map(|entry| entry.stem).collect()
        };
        assert!(gone(&badmail, 1_000_900).is_empty());
        badmail.caps.count = 4;
        assert_eq!(gone(&badmail, 1_000_900), ["1"]);
        badmail.caps.age = Some(Duration::from_secs(100));
        assert_eq!(gone(&badmail, 1_000_301), ["2"]);
        badmail.caps.bytes = 10;
        assert_eq!(gone(&badmail, 1_000_301), ["3", "4"]);
        assert!(gone(&badmail, 9_000_000).is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_a_crash_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let badmail = Badmail::new(dir.path(), CAPS);
        put(&badmail, 1, b"whole");
        drop(badmail.begin(MsgId::from_number(2)).unwrap());
        for name in [".3.bad", ".4.bdr", "5.bdr", "5.bdp"] {
            fs::write(dir.path().join(name), "half").unwrap();
        }
        fs::write(dir.path().join("notes.txt"), "the owner's").unwrap();
        badmail.sweep().unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["1.bad", "1.bdp", "1.bdr", "notes.txt"]);
    }
}
