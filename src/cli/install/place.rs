//! Files put in their places.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::install::account::Account;
use crate::cli::install::failure::Failure;
use crate::cli::install::failure::failed_at;

/// Makes the folder of a file.
pub fn parent(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(failed_at("make the folder", folder))
}

/// Gives a file another name.
pub fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(failed_at("rename", from))
}

/// Gives a file, or the link itself, to the account.
pub fn own(path: &Path, account: Account) -> Result<(), Failure> {
    std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))
        .map_err(failed_at("change the owner of", path))
}

/// Writes a whole file or none: a program that runs from it goes on with the old one.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    parent(path)?;
    let temp = path.with_extension("new-mailroot");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temp)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()
        });
    written.map_err(failed_at("write", path))?;
    rename(&temp, path)
}
