//! The user that the service runs as, in the account files below a root folder.
//!
//! The files are written directly: an image that is being built has no `useradd` of its own that could run here.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The numbers of system users that nobody assigned (Debian and OpenWrt agree on this part of the range).
const FREE: std::ops::Range<u32> = 200..900;

/// A user's and its group's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The account with this name, and whether it was made now. `home` is its home directory.
pub fn provide(root: &Path, name: &str, home: &str) -> io::Result<(Account, bool)> {
    let etc = root.join("etc");
    fs::create_dir_all(&etc)?;
    let passwd = read(&etc.join("passwd"))?;
    if let Some(account) = find(&passwd, name) {
        return Ok((account, false));
    }
    let group = read(&etc.join("group"))?;
    let number = match number_of(&group, name) {
        Some(gid) => gid,
        None => {
            let gid = unused(&[&passwd, &group])?;
            append(&etc.join("group"), &group, &format!("{name}:x:{gid}:\n"))?;
            gid
        }
    };
    let taken: BTreeSet<u32> = numbers(&passwd).collect();
    let uid = if taken.contains(&number) {
        unused(&[&passwd, &group])?
    } else {
        number
    };
    let shadow = etc.join("shadow");
    if let Ok(text) = fs::read_to_string(&shadow)
        && number_of(&text, name).is_none()
        && !text
            .lines()
            .any(|line| line.split(':').next() == Some(name))
    {
        append(&shadow, &text, &format!("{name}:!:::::::\n"))?;
    }
    let line = format!("{name}:x:{uid}:{number}:mailroot:{home}:/bin/false\n");
    append(&etc.join("passwd"), &passwd, &line)?;
    Ok((Account { uid, gid: number }, true))
}

/// The text of a file; a file that is not there is empty.
fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { uid, gid })
}

fn number_of(text: &str, name: &str) -> Option<u32> {
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn numbers(text: &str) -> impl Iterator<Item = u32> {
    text.lines()
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
}

fn unused(files: &[&str]) -> io::Result<u32> {
    let taken: BTreeSet<u32> = files.iter().flat_map(|text| numbers(text)).collect();
    let mut free = FREE;
    free.find(|number| !taken.contains(number))
        .ok_or_else(|| io::Error::other("no number for a system user is free"))
}

/// Writes the file anew with the line at its end: a crash leaves the old one or the new one.
fn append(path: &Path, text: &str, line: &str) -> io::Result<()> {
    let temp = path.with_extension("mailroot");
    let before = fs::metadata(path).ok();
    let mode = before.as_ref().map_or(0o644, |meta| meta.mode() & 0o7777);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temp)?;
    file.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        file.write_all(b"\n")?;
    }
    file.write_all(line.as_bytes())?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    if let Some(meta) = before {
        // Fails where we are not root; then the file is ours as it was before.
        let _ = std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()));
    }
    file.sync_all()?;
    fs::rename(&temp, path)
}

#[cfg(test)]
mod tests {
    use super::{Account, provide};
    use std::fs;

    #[test]
    fn an_account_is_made_once_and_takes_no_number_of_others() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nups:x:200:200::/:/bin/false";
        fs::write(etc.join("passwd"), passwd).unwrap();
        fs::write(etc.join("group"), "root:x:0:\nups:x:200:\nlp:x:201:\n").unwrap();
        fs::write(etc.join("shadow"), "root:!:::::::\n").unwrap();
        let wanted = Account { uid: 202, gid: 202 };
        let made = provide(root.path(), "mailroot", "/var/spool/mailroot").unwrap();
        assert_eq!(made, (wanted, true));
        let again = provide(root.path(), "mailroot", "/var/spool/mailroot").unwrap();
        assert_eq!(again, (wanted, false));
        let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
        assert!(
            passwd.contains("/bin/false\nmailroot:x:202:202:"),
            "{passwd}"
        );
        let shadow = fs::read_to_string(etc.join("shadow")).unwrap();
        assert!(shadow.ends_with("mailroot:!:::::::\n"), "{shadow}");
    }

    #[test]
    fn an_empty_image_gets_its_first_files() {
        let root = tempfile::tempdir().unwrap();
        assert!(provide(root.path(), "mailroot", "/m").unwrap().1);
        assert!(!root.path().join("etc/shadow").exists());
    }
}
