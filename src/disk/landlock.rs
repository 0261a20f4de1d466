//! Landlock, the kernel's own sandbox for files (landlock(7)): what a thread and all that it starts may do below which
//! folders, and nothing elsewhere, for good.

#![allow(
    unsafe_code,
    reason = "three system calls that no crate of ours has; a crate for them would cost more than this file"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::raw::c_int;
use std::os::raw::c_long;
use std::path::Path;
use std::ptr;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

/// Running a program.
pub const EXECUTE: u64 = 1;
/// Writing to a file that is there.
pub const WRITE: u64 = 1 << 1 | TRUNCATE;
/// Reading files and folders.
pub const READ: u64 = 1 << 2 | 1 << 3;
/// Making a socket and taking it away.
pub const SOCKET: u64 = REMOVE_FILE | 1 << 9;
/// Whatever becomes of files, folders, links and sockets in a folder; devices and pipes are nothing that we make.
pub const CHANGE: u64 = READ | WRITE | SOCKET | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 12 | REFER;
/// All that is forbidden where nothing else is said.
pub const ALL: u64 = CHANGE | EXECUTE | 1 << 6 | 1 << 10 | 1 << 11;

const REMOVE_FILE: u64 = 1 << 5;
/// Renaming from one folder to another. Kernels that do not know it (before 5.19) would always forbid that.
const REFER: u64 = 1 << 13;
/// Cutting a file short, since 6.2.
const TRUNCATE: u64 = 1 << 14;

/// What can be allowed for a single file.
const OF_A_FILE: u64 = EXECUTE | WRITE | 1 << 2;

/// The version of the first kernel that lets us rename between folders, and of that which knows [`TRUNCATE`].
const WITH_REFER: c_long = 2;
const WITH_TRUNCATE: c_long = 3;

/// `LANDLOCK_CREATE_RULESET_VERSION` and `LANDLOCK_RULE_PATH_BENEATH`.
const VERSION: u32 = 1;
const PATH_BENEATH: c_int = 1;

/// `struct landlock_ruleset_attr`, as much as we use of it.
#[repr(C)]
struct Handled {
    fs: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: c_int,
}

/// What is to be allowed.
#[derive(Debug)]
pub struct Rules {
    fd: OwnedFd,
    handled: u64,
}

fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

impl Rules {
    /// None yet. An error is a kernel without Landlock, or with one that is older than what is needed here.
    pub fn new() -> io::Result<Self> {
        let none: *const Handled = ptr::null();
        // SAFETY: with this flag the kernel takes no structure and answers with a number.
        let version =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
        let version = checked(version)?;
        if version < WITH_REFER {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let known = if version < WITH_TRUNCATE {
            !TRUNCATE
        } else {
            !0
        };
        let handled = Handled { fs: ALL & known };
        let size = size_of::<Handled>();
        // SAFETY: the structure lives as long as the call, which reads as many bytes of it as it has.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const handled,
                size,
                0_u32,
            )
        };
        let fd = c_int::try_from(checked(fd)?).map_err(io::Error::other)?;
        Ok(Self {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            handled: handled.fs,
        })
    }

    /// Allows this at a path: below it, if it is a folder.
    pub fn allow(&self, path: &Path, what: u64) -> io::Result<()> {
        let at = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mode = rustix::fs::fstat(&at)?.st_mode;
        let fits = match FileType::from_raw_mode(mode) {
            FileType::Directory => !0,
            _ => OF_A_FILE,
        };
        let rule = Beneath {
            allowed: what & fits & self.handled,
            parent: at.as_raw_fd(),
        };
        // SAFETY: the structure lives as long as the call, which only reads it, and so do both descriptors.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0_u32,
            )
        };
        checked(added).map(|_| ())
    }

    /// From now on nothing else is allowed to this thread, and to those that it starts.
    pub fn enter(self) -> io::Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        // SAFETY: the call takes numbers alone.
        let entered =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0_u32) };
        checked(entered).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::{CHANGE, READ, Rules};
    use std::fs;
    use std::io::ErrorKind;

    #[test]
    fn a_thread_that_has_entered_reaches_only_what_was_allowed() {
        let Ok(rules) = Rules::new() else {
            println!("skipped: this kernel has no Landlock, or an old one");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["home", "home/one", "home/two", "etc", "other"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("etc/file"), "old").unwrap();
        fs::write(at("other/file"), "old").unwrap();
        rules.allow(&at("home"), CHANGE).unwrap();
        rules.allow(&at("etc/file"), READ).unwrap();
        assert!(rules.allow(&at("none"), READ).is_err());
        let inside = std::thread::spawn({
            let folder = folder.path().to_owned();
            move || {
                let at = |name: &str| folder.join(name);
                rules.enter().unwrap();
                fs::write(at("home/one/a"), "new").unwrap();
                fs::rename(at("home/one/a"), at("home/two/b")).unwrap();
                fs::write(at("home/two/b"), "").unwrap();
                fs::remove_file(at("home/two/b")).unwrap();
                assert_eq!(fs::read_to_string(at("etc/file")).unwrap(), "old");
                let refused = |result: std::io::Result<()>| {
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
                };
                refused(fs::write(at("etc/file"), "new"));
                refused(fs::read(at("other/file")).map(drop));
                refused(fs::read_dir(at("other")).map(drop));
                refused(fs::remove_file(at("other/file")));
                refused(fs::create_dir(at("other/new")));
                refused(std::process::Command::new("/bin/true").status().map(drop));
            }
        });
        inside.join().unwrap();
        // Only that thread.
        assert_eq!(fs::read_to_string(at("other/file")).unwrap(), "old");
    }
}
