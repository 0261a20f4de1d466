//! Sockets that the service manager opened for us (sd_listen_fds(3)).
//!
//! They come as bare numbers, and a number is no file: taking one over by its number would need `unsafe`. The kernel
//! hands out a proper second descriptor of any file of a process one may trace, ourselves included (pidfd_getfd(2),
//! since Linux 5.6).

use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

/// The first number that is handed over.
const FIRST: RawFd = 3;

/// Most sockets that are taken.
const MOST: RawFd = 64;

/// What is handed over to this process, each with its name. The variables are left as they are: a child that is not
/// meant sees by the process id that it is not.
pub fn sockets() -> Result<Vec<(String, OwnedFd)>, String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let own = rustix::process::getpid();
    if variable("LISTEN_PID") != own.as_raw_nonzero().to_string() {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS");
    let count: RawFd = match count.parse() {
        Ok(count) if (0..=MOST).contains(&count) => count,
        _ => return Err(format!("LISTEN_FDS is no number from 0 to {MOST}")),
    };
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let failed = |errno: Errno| match errno {
        Errno::NOSYS => {
            "the sockets of the service manager need Linux 5.6; write addresses in [[listen]]"
                .to_owned()
        }
        Errno::BADF => "LISTEN_FDS counts more files than were handed over".to_owned(),
        errno => format!("cannot take over the sockets of the service manager: {errno}"),
    };
    let this = rustix::process::pidfd_open(own, PidfdFlags::empty()).map_err(failed)?;
    let mut list = Vec::new();
    for number in FIRST..FIRST.saturating_add(count) {
        let file = rustix::process::pidfd_getfd(&this, number, PidfdGetfdFlags::empty());
        let name = names.next().filter(|name| !name.is_empty());
        list.push((name.unwrap_or("unknown").to_owned(), file.map_err(failed)?));
    }
    Ok(list)
}
