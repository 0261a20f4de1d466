//! Maildir: folders with `tmp`, `new` and `cur`, a file for each message, as many programs read it.
//!
//! A mailbox gets a folder only where its owner has named it, so that nobody who sends mail makes folders; and a name
//! becomes one that leads nowhere else.
//!
//! Files are written in `tmp` and renamed into `new`. Their names hold when the message came, its id and this host:
//! a message that is written again after a crash gets the same name.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use crate::base::MsgId;
use crate::base::Wall;
use crate::disk::folders::sync_folder;
use crate::mail::domain::Domain;

/// The folders of a Maildir.
const PARTS: [&str; 3] = ["tmp", "new", "cur"];

/// Tells our files from those that other programs write.
const MARK: &str = "mailroot-";

/// The name of a mailbox as that of a folder: what could lead elsewhere, hide, or mean something to a shell becomes
/// `%` and two digits, so that two mailboxes never share one. ASCII letters are small.
pub fn folder_name(mailbox: &str) -> String {
    let mut name = String::new();
    for (at, byte) in mailbox.bytes().enumerate() {
        let byte = byte.to_ascii_lowercase();
        let plain = byte.is_ascii_alphanumeric()
            || (at > 0 && matches!(byte, b'.' | b'-' | b'=' | b'@'))
            || matches!(byte, b'_' | b'+');
        if plain {
            name.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    if PARTS.contains(&name.as_str()) {
        // Where the folder above is a Maildir itself.
        name.insert(0, '%');
    }
    name
}

/// The name of a message's file, in two parts between which a number can stand.
pub fn file_name(id: MsgId, came: Wall, hostname: &Domain) -> (String, String) {
    let seconds = came.as_millis() / 1000;
    // The colon of an address stands for flags in Maildir.
    let host = hostname.as_str().replace(':', "\\072");
    (format!("{seconds}.{MARK}{id}"), format!(".{host}"))
}

/// Whether a file in `tmp` has the name of one of ours.
fn is_ours(name: &str) -> bool {
    let mut parts = name.splitn(3, '.').skip(1);
    parts.next().is_some_and(|part| part.starts_with(MARK)) && parts.next().is_some()
}

/// Makes what is missing of a Maildir.
pub fn make(path: &Path) -> io::Result<()> {
    let mut all = vec![path.to_owned()];
    all.extend(PARTS.map(|part| path.join(part)));
    let mut news = false;
    for folder in &all {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => news = true,
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(err) => return Err(err),
        }
    }
    if news {
        sync_folder(path)?;
        if let Some(parent) = path.parent() {
            sync_folder(parent)?;
        }
    }
    Ok(())
}

/// The Maildirs of a drop folder: itself, and those of its mailboxes.
fn each(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![root.to_owned()];
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.join("new").is_dir() {
            all.push(path);
        }
    }
    Ok(all)
}

/// The folders in which messages lie.
pub fn filled(root: &Path) -> io::Result<Vec<PathBuf>> {
    let all = each(root)?.into_iter();
    let all = all.flat_map(|one| [one.join("new"), one.join("cur")]);
    Ok(all.filter(|path| path.is_dir()).collect())
}

/// Removes half-written files of ours that a crash left; their messages are still in the journal. Those of other
/// programs stay.
pub fn sweep(root: &Path) -> io::Result<()> {
    for one in each(root)? {
        let tmp = one.join("tmp");
        if !tmp.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&tmp)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_ours) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{file_name, filled, folder_name, make, sweep};
    use crate::base::{MsgId, Wall};
    use crate::mail::Domain;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Component, Path};

    #[test]
    fn no_mailbox_leads_out_of_the_folder_and_no_two_share_one() {
        let names = [
            "tim",
            "info@b.lan",
            "a.b+c",
            "..",
            ".",
            ".hidden",
            "-rf",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a%2fb",
            "a b",
            "new",
            "cur",
            "%new",
            "j\u{f6}rg",
            "a\\b",
            "~root",
            "$HOME",
            "@x",
            "=y",
            "a:2,S",
        ];
        let folders: BTreeSet<String> = names.iter().map(|name| folder_name(name)).collect();
        assert_eq!(folders.len(), names.len(), "{folders:?}");
        for folder in &folders {
            let parts: Vec<Component<'_>> = Path::new(folder).components().collect();
            assert!(
                matches!(parts.as_slice(), [Component::Normal(_)]),
                "{folder}"
            );
            assert!(
                !folder.starts_with(['.', '-']) && folder.len() <= 255,
                "{folder}"
            );
        }
        assert_eq!(folder_name("Tim@B.lan"), "tim@b.lan");
        assert_eq!(folder_name("../x"), "%2e.%2fx");
        assert!(folder_name(&"\u{f6}".repeat(32)).len() <= 255);
    }

    #[test]
    fn what_a_crash_left_goes_and_what_others_write_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = dir.path().join("tim");
        make(dir.path()).unwrap();
        make(&mailbox).unwrap();
        make(&mailbox).unwrap();
        let host = Domain::parse("[IPv6:::1]").unwrap();
        let (front, end) = file_name(
            MsgId::from_number(255),
            Wall::from_millis(1_700_000_000_999),
            &host,
        );
        let ours = format!("{front}{end}");
        assert!(
            ours.starts_with("1700000000.mailroot-") && !ours.contains(':'),
            "{ours}"
        );
        for name in [ours.as_str(), "1700000000.M5P77.nas", "1700000000.77.nas"] {
            fs::write(mailbox.join("tmp").join(name), "half").unwrap();
        }
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(mailbox.join("tmp")).unwrap().count(), 2);
        assert_eq!(filled(dir.path()).unwrap().len(), 4);
    }
}
