//! Small files of ours in the home: read whole, and written so that a power cut leaves the old one or the new one.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The text of a file of at most `most` bytes; nothing when there is none. Blocks.
pub fn read(path: &Path, most: u64) -> io::Result<String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Puts a file with this text in its place, for our eyes only. Blocks.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    replace_with(path, text, 0o600)
}

/// The same with this mode. Blocks.
pub fn replace_with(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, |new| std::fs::rename(new, path))
}

/// The same with this mode, and only where nothing has the name yet. Blocks.
pub fn create(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, |new| {
        let linked = std::fs::hard_link(new, path);
        let _ = std::fs::remove_file(new);
        match linked {
            // Memory cards know no links.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            }
            other => other,
        }
    })
}

fn write(
    path: &Path,
    text: &str,
    mode: u32,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    place(&new)?;
    match path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::{create, read, replace};

    #[test]
    fn a_small_file_is_there_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        assert_eq!(read(&path, 100).unwrap(), "");
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(read(&path, 100).unwrap(), "two");
        assert_eq!(read(&path, 2).unwrap(), "tw");
        assert!(create(&path, "three", 0o644).is_err());
        assert_eq!(read(&path, 100).unwrap(), "two");
        std::fs::remove_file(&path).unwrap();
        create(&path, "three", 0o644).unwrap();
        assert_eq!(read(&path, 100).unwrap(), "three");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
