//! Users of a service, as `mailroot passwd` writes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{must, program};

/// Adds a user to the file of users `users` in this folder; answers the file.
pub fn user(folder: &Path, name: &str, password: &str) -> PathBuf {
    user_with(folder, name, password, &[])
}

/// The same with these options of `mailroot passwd`.
pub fn user_with(folder: &Path, name: &str, password: &str, options: &[&str]) -> PathBuf {
    let file = folder.join("users");
    let mut command = program();
    command.arg("passwd").args(options);
    command.arg("--users").arg(&file).arg(name);
    must(&mut command, format!("{password}\n").as_bytes());
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    file
}
