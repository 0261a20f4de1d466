//! Writes mail for local domains into the drop folder, one `.eml` a message.
//!
//! A file appears whole or not at all: it is written elsewhere, synced, renamed, and the folder is synced
//! (promise G2: the journal may forget the message after that). Writing the same message again after a crash gives
//! the same file, not a second one.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::folders::sync_folder;
use crate::mail::address::Address;
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

/// A drop folder.
#[derive(Debug)]
pub struct DropFolder {
    folder: PathBuf,
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
        quota: Option<Quota>,
        mode: u32,
    ) -> io::Result<Self> {
        let same = fs::metadata(folder)?.dev() == fs::metadata(sorttemp)?.dev();
        Ok(Self {
            folder: folder.to_owned(),
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
        let used = count(&self.folder).map_err(|err| Fault::Io(self.folder.clone(), err))?;
        self.used = Some(used);
        if fits(&used) {
            Ok(())
        } else {
            Err(Fault::Full)
        }
    }

    /// Begins a file with its envelope lines and `Return-Path:`; the message with its trace follows by
    /// [`Dropping::append`].
    pub fn begin(
        &mut self,
        id: MsgId,
        sender: Option<&Address>,
        receivers: &[&Address],
        size: u64,
    ) -> Result<Dropping<'_>, Fault> {
        self.room_for(size)?;
        let path = self.temp.join(format!(".{id}.drop"));
        let failed = |err| Fault::Io(path.clone(), err);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode)
            .open(&path)
            .map_err(failed)?;
        let mut dropping = Dropping {
            temp: path.clone(),
            drop: self,
            id,
            file,
            size: 0,
        };
        let mut top = match sender {
            Some(address) => format!("X-Sender: {address}\r\n"),
            None => "X-Sender: <>\r\n".to_owned(),
        };
        for address in receivers {
            top.push_str(&format!("X-Receiver: {address}\r\n"));
            if top.len() >= limits::BODY_STEP {
                dropping.append(top.as_bytes())?;
                top.clear();
            }
        }
        // So that a pickup folder whose files are stuffed by rule takes this one as it is.
        top.push_str("X-Dot-Stuffed: no\r\n");
        top.push_str(&trace::return_path(sender));
        dropping.append(top.as_bytes())?;
        Ok(dropping)
    }
}

/// A drop file that is being written. Dropped before [`Dropping::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Dropping<'a> {
    drop: &'a mut DropFolder,
    id: MsgId,
    temp: PathBuf,
    file: File,
    size: u64,
}

impl Dropping<'_> {
    /// The next bytes of the message, CRLF line ends.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.size = self
            .size
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let path = &self.temp;
        self.file
            .write_all(bytes)
            .map_err(|err| Fault::Io(path.clone(), err))
    }

    /// Makes the file durable under its name, which is returned.
    pub fn finish(self) -> Result<PathBuf, Fault> {
        self.put().map_err(|err| Fault::Io(self.temp.clone(), err))
    }

    fn put(&self) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        // An older file of this name is this very message from before a crash, and is replaced by the same bytes;
        // or it is from an earlier life of the journal, and must not be lost.
        let mut path = self.drop.folder.join(format!("{}.eml", self.id));
        let mut again: u32 = 1;
        while !self.may_take(&path)? {
            again = again.saturating_add(1);
            path = self.drop.folder.join(format!("{}-{again}.eml", self.id));
        }
        fs::rename(&self.temp, &path)?;
        sync_folder(&self.drop.folder)?;
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
        same_bytes(&mut File::open(path)?, &mut File::open(&self.temp)?)
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        // After `finish` it is gone already.
        if fs::remove_file(&self.temp).is_ok() {
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

/// What lies in a folder. Files that vanish while it is counted are not there.
fn count(folder: &Path) -> io::Result<Quota> {
    let mut used = Quota { bytes: 0, files: 0 };
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
    Ok(used)
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
    use super::{DropFolder, Fault, Quota, sweep};
    use crate::base::MsgId;
    use crate::mail::Address;
    use std::fs;
    use std::path::Path;

    fn folders(dir: &Path, quota: Option<Quota>) -> DropFolder {
        for name in ["drop", "sorttemp"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        DropFolder::new(&dir.join("drop"), &dir.join("sorttemp"), quota, 0o600).unwrap()
    }

    fn put(folder: &mut DropFolder, id: u64, body: &str) -> Result<String, Fault> {
        let a = Address::parse("a@x.example").unwrap();
        let b = Address::parse("\"b c\"@x.example").unwrap();
        let size = body.len().try_into().unwrap();
        let mut file = folder.begin(MsgId::from_number(id), None, &[&a, &b], size)?;
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
        drop(folder.begin(MsgId::from_number(1), None, &[], 0).unwrap());
        fs::write(dir.path().join("sorttemp/.2.drop"), "half").unwrap();
        sweep(&dir.path().join("sorttemp")).unwrap();
        for name in ["drop", "sorttemp"] {
            assert_eq!(fs::read_dir(dir.path().join(name)).unwrap().count(), 0);
        }
        fs::remove_dir(dir.path().join("drop")).unwrap();
        let fault = put(&mut folder, 1, "x").unwrap_err();
        assert_eq!(fault.reason().code, Some(451));
    }
}
