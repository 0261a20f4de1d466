//! Writes mail for local domains into a drop folder: one `.eml` a message, or into Maildirs.
//!
//! A file appears whole or not at all: it is written elsewhere, synced, renamed, and the folder is synced
//! (promise G2: the journal may forget the message after that). Writing the same message again after a crash gives
//! the same file, not a second one.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::disk::folders::sync_folder;
use crate::disk::maildir;
use crate::mail::address::Address;
use crate::mail::domain::Domain;
use crate::mail::outcome::Reason;
use crate::mail::status::Status;
use crate::mail::trace;

/// How much may lie in a drop folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// How mail lies in a drop folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A file for each message, `ID.eml`, with its envelope in front.
    Eml,
    /// A Maildir, or one for each mailbox; the files have this host's name.
    Maildir(Domain),
}

/// A message to be dropped.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Its name.
    pub id: MsgId,
    /// When it came.
    pub came: Wall,
    /// Its sender; `None` is nobody.
    pub sender: Option<&'a Address>,
    /// Those of its recipients who share the file.
    pub receivers: &'a [&'a Address],
    /// The mailbox whose Maildir gets it; `None` is the folder itself.
    pub mailbox: Option<&'a str>,
    /// Bytes.
    pub size: u64,
}

/// A drop folder.
#[derive(Debug)]
pub struct DropFolder {
    folder: PathBuf,
    form: Form,
    /// Where files are written: sorttemp, or the drop folder itself when that is on another file system.
    temp: PathBuf,
    quota: Option<Quota>,
    mode: u32,
    /// What lay there when it was last counted, and what came since: never too little.
    used: Option<Quota>,
}

/// Why a message could not be dropped.
#[derive(Debug)]
pub enum Fault {
    /// The quota is used up.
    Full,
    /// The system refused; the path says where.
    Io(PathBuf, io::Error),
}

impl Fault {
    /// What the schedule and, by `LMTP` or a bounce, the sender hear.
    pub fn reason(&self) -> Reason {
        let status = match self {
            Self::Full => Status::new(4, 2, 2),
            Self::Io(_, err) if is_full(err) => Status::new(4, 3, 1),
            Self::Io(..) => Status::new(4, 3, 0),
        };
        Reason {
            code: Some(match self {
                Self::Full => 452,
                Self::Io(_, err) if is_full(err) => 452,
                Self::Io(..) => 451,
            }),
            ..Reason::ours(status, self.to_string())
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the drop folder is full; collect mail or raise its quota"),
            Self::Io(path, err) => write!(f, "cannot write to {}: {err}", path.display()),
        }
    }
}

impl std::error::Error for Fault {}

impl DropFolder {
    /// A drop folder that is there already; `mode` is that of the files (0600 unless other users collect them).
    pub fn new(
        folder: &Path,
        sorttemp: &Path,
        form: Form,
        quota: Option<Quota>,
        mode: u32,
    ) -> io::Result<Self> {
        let same = fs::metadata(folder)?.dev() == fs::metadata(sorttemp)?.dev();
        Ok(Self {
            folder: folder.to_owned(),
            form,
            temp: if same { sorttemp } else { folder }.to_owned(),
            quota,
            mode,
            used: None,
        })
    }

    /// Whether a message of this size fits. What others collected since the last count is found out before it is
    /// refused.
    pub fn room_for(&mut self, size: u64) -> Result<(), Fault> {
        let Some(quota) = self.quota else {
            return Ok(());
        };
        let fits = |used: &Quota| {
            used.bytes.saturating_add(size) <= quota.bytes && used.files < quota.files
        };
        if self.used.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let used = self.count();
        let used = used.map_err(|err| Fault::Io(self.folder.clone(), err))?;
        self.used = Some(used);
        if fits(&used) {
            Ok(())
        } else {
            Err(Fault::Full)
        }
    }

    /// What lies here. Files that vanish while they are counted are not there.
    fn count(&self) -> io::Result<Quota> {
        let mut used = Quota { bytes: 0, files: 0 };
        match self.form {
            Form::Eml => count(&self.folder, &mut used)?,
            Form::Maildir(_) => {
                for folder in maildir::filled(&self.folder)? {
                    count(&folder, &mut used)?;
                }
            }
        }
        Ok(used)
    }

    /// Where a message goes.
    fn goal(&self, letter: &Letter<'_>) -> io::Result<Goal> {
        let id = letter.id;
        Ok(match &self.form {
            Form::Eml => {
                if !self.folder.is_dir() {
                    // Somebody took it away.
                    DirBuilder::new().mode(0o700).create(&self.folder)?;
                }
                Goal {
                    temp: self.temp.join(format!(".{id}.drop")),
                    folder: self.folder.clone(),
                    name: (id.to_string(), String::from(".eml")),
                }
            }
            Form::Maildir(hostname) => {
                let mailbox = letter.mailbox.map(maildir::folder_name);
                let mailbox = match mailbox {
                    Some(name) => {
                        if !self.folder.is_dir() {
                            DirBuilder::new().mode(0o700).create(&self.folder)?;
                        }
                        self.folder.join(name)
                    }
                    None => self.folder.clone(),
                };
                maildir::make(&mailbox)?;
                let name = maildir::file_name(id, letter.came, hostname);
                Goal {
                    temp: mailbox.join("tmp").join(format!("{}{}", name.0, name.1)),
                    folder: mailbox.join("new"),
                    name,
                }
            }
        })
    }

    /// Begins a file with what stands in front of the message; the message with its trace follows by
    /// [`Dropping::append`].
    pub fn begin(&mut self, letter: Letter<'_>) -> Result<Dropping<'_>, Fault> {
        self.room_for(letter.size)?;
        let goal = self.goal(&letter);
        let goal = goal.map_err(|err| Fault::Io(self.folder.clone(), err))?;
        let failed = |err| Fault::Io(goal.temp.clone(), err);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode)
            .open(&goal.temp)
            .map_err(failed)?;
        let plain = self.form == Form::Eml;
        let mut dropping = Dropping {
            goal,
            lines: (!plain).then(Lines::default),
            drop: self,
            file,
            size: 0,
        };
        let mut top = match letter.sender {
            _ if !plain => trace::return_path(letter.sender),
            Some(address) => format!("X-Sender: {address}\r\n"),
            None => "X-Sender: <>\r\n".to_owned(),
        };
        let name = if plain { "X-Receiver" } else { "Delivered-To" };
        for address in letter.receivers {
            top.push_str(&format!("{name}: {address}\r\n"));
            if top.len() >= limits::BODY_STEP {
                dropping.append(top.as_bytes())?;
                top.clear();
            }
        }
        if plain {
            // So that a pickup folder whose files are stuffed by rule takes this one as it is.
            top.push_str("X-Dot-Stuffed: no\r\n");
            top.push_str(&trace::return_path(letter.sender));
        }
        dropping.append(top.as_bytes())?;
        Ok(dropping)
    }
}

/// Where a file is written, and where it goes.
#[derive(Debug)]
struct Goal {
    temp: PathBuf,
    folder: PathBuf,
    /// Its name, in two parts between which a number can stand.
    name: (String, String),
}

/// Turns CRLF into LF, as files of text on this system have it. Other CR stay.
#[derive(Debug, Default)]
struct Lines {
    /// The last byte was a CR and is not written yet.
    cr: bool,
}

impl Lines {
    fn turn(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len().saturating_add(1));
        for &byte in bytes {
            if std::mem::take(&mut self.cr) && byte != b'\n' {
                out.push(b'\r');
            }
            if byte == b'\r' {
                self.cr = true;
            } else {
                out.push(byte);
            }
        }
        out
    }

    fn end(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.cr) {
            b"\r"
        } else {
            b""
        }
    }
}

/// A drop file that is being written. Dropped before [`Dropping::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Dropping<'a> {
    drop: &'a mut DropFolder,
    goal: Goal,
    /// How line ends are turned, where they are.
    lines: Option<Lines>,
    file: File,
    size: u64,
}

impl Dropping<'_> {
    /// The next bytes of the message, CRLF line ends.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match &mut self.lines {
            None => self.write(bytes),
            Some(lines) => {
                let turned = lines.turn(bytes);
                self.write(&turned)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.size = self.size.saturating_add(count);
        let path = &self.goal.temp;
        self.file
            .write_all(bytes)
            .map_err(|err| Fault::Io(path.clone(), err))
    }

    /// Makes the file durable under its name, which is returned.
    pub fn finish(mut self) -> Result<PathBuf, Fault> {
        let rest = self.lines.as_mut().map_or(&b""[..], Lines::end);
        self.write(rest)?;
        self.put()
            .map_err(|err| Fault::Io(self.goal.temp.clone(), err))
    }

    fn put(&self) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        // An older file of this name is this very message from before a crash, and is replaced by the same bytes;
        // or it is from an earlier life of the journal, and must not be lost.
        let Goal { folder, name, .. } = &self.goal;
        let mut path = folder.join(format!("{}{}", name.0, name.1));
        let mut again: u32 = 1;
        while !self.may_take(&path)? {
            again = again.saturating_add(1);
            path = folder.join(format!("{}-{again}{}", name.0, name.1));
        }
        fs::rename(&self.goal.temp, &path)?;
        sync_folder(folder)?;
        Ok(path)
    }

    /// Whether nothing stands there, or the same.
    fn may_take(&self, path: &Path) -> io::Result<bool> {
        let meta = match fs::symlink_metadata(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        if !meta.is_file() || meta.len() != self.size {
            return Ok(false);
        }
        same_bytes(&mut File::open(path)?, &mut File::open(&self.goal.temp)?)
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        // After `finish` it is gone already.
        if fs::remove_file(&self.goal.temp).is_ok() {
            return;
        }
        if let Some(used) = &mut self.drop.used {
            used.bytes = used.bytes.saturating_add(self.size);
            used.files = used.files.saturating_add(1);
        }
    }
}

fn same_bytes(a: &mut File, b: &mut File) -> io::Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let step = u64::try_from(limits::BODY_STEP).unwrap_or(u64::MAX);
    loop {
        left.clear();
        right.clear();
        a.take(step).read_to_end(&mut left)?;
        b.take(step).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// Adds what lies in a folder.
fn count(folder: &Path, used: &mut Quota) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if let Ok(meta) = entry.metadata()
            && meta.is_file()
        {
            used.bytes = used.bytes.saturating_add(meta.len());
            used.files = used.files.saturating_add(1);
        }
    }
    Ok(())
}

fn is_full(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Removes half-written drop files that a crash left in a folder used for writing; their messages are still in the
/// journal.
pub fn sweep(temp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temp)? {
        let name = entry?.file_name();
        let name: &OsStr = &name;
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") && bytes.ends_with(b".drop") {
            fs::remove_file(temp.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DropFolder, Fault, Form, Letter, Quota, sweep};
    use crate::base::{MsgId, Wall};
    use crate::mail::{Address, Domain};
    use std::fs;
    use std::path::{Path, PathBuf};

    fn folders(dir: &Path, quota: Option<Quota>) -> DropFolder {
        for name in ["drop", "sorttemp"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let (drop, temp) = (dir.join("drop"), dir.join("sorttemp"));
        DropFolder::new(&drop, &temp, Form::Eml, quota, 0o600).unwrap()
    }

    fn letter(id: u64, size: u64) -> Letter<'static> {
        Letter {
            id: MsgId::from_number(id),
            came: Wall::from_millis(1_700_000_000_000),
            sender: None,
            receivers: &[],
            mailbox: None,
            size,
        }
    }

    fn put(folder: &mut DropFolder, id: u64, body: &str) -> Result<String, Fault> {
        let a = Address::parse("a@x.example").unwrap();
        let b = Address::parse("\"b c\"@x.example").unwrap();
        let size = body.len().try_into().unwrap();
        let mut file = folder.begin(Letter {
            receivers: &[&a, &b],
            ..letter(id, size)
        })?;
        file.append(body.as_bytes())?;
        let path = file.finish()?;
        Ok(path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_drop_file_holds_envelope_return_path_and_message() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = folders(dir.path(), None);
        assert_eq!(
            put(&mut folder, 33, "To: x\r\n\r\n.hi\r\n").unwrap(),
            "11.eml"
        );
        assert_eq!(
            fs::read_to_string(dir.path().join("drop/11.eml")).unwrap(),
            "X-Sender: <>\r\nX-Receiver: a@x.example\r\nX-Receiver: \"b c\"@x.example\r\nX-Dot-Stuffed: no\r\n\
             Return-Path: <>\r\nTo: x\r\n\r\n.hi\r\n"
        );
        assert_eq!(
            fs::read_dir(dir.path().join("sorttemp")).unwrap().count(),
            0
        );
    }

    #[test]
    fn the_same_message_again_is_one_file_and_another_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = folders(dir.path(), None);
        assert_eq!(put(&mut folder, 1, "one").unwrap(), "1.eml");
        assert_eq!(put(&mut folder, 1, "one").unwrap(), "1.eml");
        assert_eq!(put(&mut folder, 1, "two").unwrap(), "1-2.eml");
        assert_eq!(put(&mut folder, 1, "two").unwrap(), "1-2.eml");
        assert_eq!(fs::read_dir(dir.path().join("drop")).unwrap().count(), 2);
    }

    #[test]
    fn a_full_folder_says_452_4_2_2_until_mail_is_collected() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Quota {
            bytes: 100_000,
            files: 2,
        };
        let mut folder = folders(dir.path(), Some(quota));
        put(&mut folder, 1, "one").unwrap();
        put(&mut folder, 2, "two").unwrap();
        let fault = put(&mut folder, 3, "three").unwrap_err();
        assert!(matches!(fault, Fault::Full));
        assert_eq!(fault.reason().code, Some(452));
        assert_eq!(fault.reason().status.to_string(), "4.2.2");
        fs::remove_file(dir.path().join("drop/1.eml")).unwrap();
        put(&mut folder, 3, "three").unwrap();
        assert!(matches!(folder.room_for(100_001), Err(Fault::Full)));
    }

    #[test]
    fn what_was_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = folders(dir.path(), None);
        drop(folder.begin(letter(1, 0)).unwrap());
        fs::write(dir.path().join("sorttemp/.2.drop"), "half").unwrap();
        sweep(&dir.path().join("sorttemp")).unwrap();
        for name in ["drop", "sorttemp"] {
            assert_eq!(fs::read_dir(dir.path().join(name)).unwrap().count(), 0);
        }
        // Taken away, it is made again, unless something else has its name.
        fs::remove_dir(dir.path().join("drop")).unwrap();
        assert_eq!(put(&mut folder, 1, "x").unwrap(), "1.eml");
        fs::remove_dir_all(dir.path().join("drop")).unwrap();
        fs::write(dir.path().join("drop"), "").unwrap();
        let fault = put(&mut folder, 1, "x").unwrap_err();
        assert_eq!(fault.reason().code, Some(451));
    }

    #[test]
    fn a_maildir_gets_lines_as_this_system_has_them_and_the_same_message_once() {
        let dir = tempfile::tempdir().unwrap();
        let (drop, temp) = (dir.path().join("drop"), dir.path().join("sorttemp"));
        fs::create_dir(&temp).unwrap();
        fs::create_dir(&drop).unwrap();
        let form = Form::Maildir(Domain::parse("nas.lan").unwrap());
        let quota = Quota {
            bytes: 1000,
            files: 3,
        };
        let mut folder = DropFolder::new(&drop, &temp, form, Some(quota), 0o600).unwrap();
        let to = Address::parse("tim@nas.lan").unwrap();
        let mut put = |mailbox, id, text: &[u8]| -> Result<PathBuf, Fault> {
            let mut file = folder.begin(Letter {
                receivers: &[&to],
                mailbox,
                ..letter(id, 10)
            })?;
            for byte in text.chunks(1) {
                file.append(byte)?;
            }
            file.finish()
        };
        let path = put(Some("../Tim"), 1, b"To: x\r\n\r\na\rb\r\r\n\r").unwrap();
        assert_eq!(path.parent(), Some(drop.join("%2e.%2ftim/new").as_path()));
        let want = "Return-Path: <>\nDelivered-To: tim@nas.lan\nTo: x\n\na\rb\r\n\r";
        assert_eq!(fs::read_to_string(&path).unwrap(), want);
        assert_eq!(
            put(Some("../Tim"), 1, b"To: x\r\n\r\na\rb\r\r\n\r").unwrap(),
            path
        );
        assert_ne!(put(Some("../Tim"), 1, b"other").unwrap(), path);
        let own = put(None, 2, b"x").unwrap();
        assert_eq!(own.parent(), Some(drop.join("new").as_path()));
        // Read mail counts until it is taken away.
        fs::rename(&own, drop.join("cur/read:2,S")).unwrap();
        assert!(matches!(put(None, 3, b"x"), Err(Fault::Full)));
        fs::remove_file(drop.join("cur/read:2,S")).unwrap();
        put(None, 3, b"x").unwrap();
    }
}
