//! A folder of a test's own, and what lies in folders.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder that goes when the test passed and stays when it failed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The home of a service in it.
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A file that its owner alone can read.
    pub fn secret(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.file_with_mode(name, text, 0o600)
    }

    /// A program of the shell.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        self.file_with_mode(name, format!("#!/bin/sh\n{text}\n"), 0o755)
    }

    fn file_with_mode(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The files of a folder, sorted by their names; none where there is no folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// What is in them, in the same order.
pub fn texts(folder: &Path) -> Vec<String> {
    let files = files(folder);
    files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}
