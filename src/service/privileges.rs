//! Gives up root for good: before there is a second thread, and for all servers of the process at once.
//!
//! What needs root is done first: the homes are made and given away, and what only root can read of the files that the
//! configurations name is read and kept. Then go the groups, the user and every capability but one, and with
//! `no_new_privs` the way back through programs like `su`. Kept is CAP_NET_BIND_SERVICE, so that a server that is
//! stopped and started again gets its port below 1024; it can be inherited by nobody.
//!
//! The calls are the kernel's own and change one thread. They are right only while that is the only one: a C library
//! would change all threads, but needs `unsafe` to be called.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use rustix::fs::Access;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use rustix::thread::Gid;
use rustix::thread::Uid;

use crate::base::Stamp;
use crate::base::kept;
use crate::base::kept::Kept;
use crate::base::limits;
use crate::config::Config;
use crate::config::named::Use;
use crate::disk::accounts;
use crate::disk::accounts::Account;
use crate::disk::accounts::NoAccount;
use crate::disk::folders::Folders;
use crate::disk::handover;
use crate::disk::secret;
use crate::service::event::Event;
use crate::service::line::StartError;
use crate::service::log::emit;
use crate::service::sandbox;
use crate::service::sandbox::Outcome;

/// What root became.
#[derive(Debug)]
struct Became {
    user: String,
    group: Option<String>,
    account: Account,
}

/// Whom this process became; nothing when it stayed who it was.
static BECAME: OnceLock<Became> = OnceLock::new();

/// What is to be said as soon as there is a log.
static NOTES: Mutex<Vec<Note>> = Mutex::new(Vec::new());

enum Note {
    Changed,
    Stays(String),
    Sandbox(Outcome),
    Trouble(String),
}

fn note(note: Note) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    notes.push(note);
}

/// Becomes the user that the configurations name, if root has started us, and leaves in reach only the files that these
/// need and were read from. To be called once, before there are threads.
pub fn settle(configs: &[Config], files: &[PathBuf]) -> Result<(), StartError> {
    change_user(configs)?;
    note(Note::Sandbox(sandbox::enter(configs, files)));
    Ok(())
}

fn change_user(configs: &[Config]) -> Result<(), StartError> {
    let us = rustix::process::geteuid();
    let wanted = configs.iter().find_map(|config| {
        let user = config.user.as_ref()?;
        Some((user.clone(), config.group.clone()))
    });
    let Some((user, group)) = wanted else {
        if us.is_root() && !configs.is_empty() {
            let why = "it runs as root and goes on as root; user = \"mailroot\" in the configuration ends that \
                       (`mailroot install --prepare` makes this user), user = \"root\" ends these words";
            note(Note::Stays(why.to_owned()));
        }
        return Ok(());
    };
    let account = accounts::account(&user, group.as_deref()).map_err(|why| {
        let what = match why {
            NoAccount::User => "this host does not know the user",
            NoAccount::Group => "this host does not know the group of the user",
            NoAccount::OwnGroup => "no group is named, nor known, for the user",
        };
        StartError::Config(format!("{what} {user}"))
    })?;
    if !us.is_root() {
        if us.as_raw() != account.uid {
            let why = format!(
                "the configuration wants the user {user}, but only root could become another: it stays user number {us}"
            );
            note(Note::Stays(why));
        }
        return Ok(());
    }
    if account.uid == 0 {
        return Ok(());
    }
    hand_over(configs, &account)?;
    let files = private_files(configs);
    become_it(&account).map_err(|error| {
        StartError::Io(format!("cannot give up root for the user {user}: {error}"))
    })?;
    keep(files);
    let _ = BECAME.set(Became {
        user,
        group,
        account,
    });
    note(Note::Changed);
    Ok(())
}

/// Says what became of it, once.
pub fn announce() {
    let notes = {
        let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *notes)
    };
    for note in notes {
        match (note, BECAME.get()) {
            (Note::Changed, Some(became)) => emit(&Event::UserChanged {
                user: &became.user,
                uid: became.account.uid,
                gid: became.account.gid,
            }),
            (Note::Changed, None) => {}
            (Note::Stays(why), _) => emit(&Event::UserStays { why: &why }),
            (Note::Sandbox(Outcome::Entered), _) => emit(&Event::Sandbox {
                state: "on",
                why: "",
            }),
            (Note::Sandbox(Outcome::Open(why)), _) => emit(&Event::Sandbox {
                state: "off",
                why: &why,
            }),
            (Note::Trouble(why), _) => emit(&Event::Trouble {
                what: "privileges",
                why: &why,
            }),
        }
    }
}

/// Whether a configuration asks for nothing that went with root. The error says what to do.
pub fn check(config: &Config) -> Result<(), String> {
    sandbox::check(config)?;
    let Some(became) = BECAME.get() else {
        return Ok(());
    };
    let Became { user, group, .. } = became;
    let other = |wanted: &String| wanted != user || config.group != *group;
    if config.user.as_ref().is_some_and(other) {
        return Err(format!(
            "this process is the user {user} since its start, and cannot become another; restart it, or write \
             user and group as they were"
        ));
    }
    let named = config.named().into_iter();
    let closed = named
        .filter(|(_, what)| matches!(what, Use::Secret | Use::Read))
        .map(|(path, _)| path)
        .find(|path| is_closed(path) && kept::bytes(path).is_none());
    closed.map_or(Ok(()), |path| {
        let path = path.display();
        Err(format!(
            "{path} cannot be read by the user {user}, who the service is since its start; run: chown {user} {path}, or \
             restart the service"
        ))
    })
}

/// Says which files of a configuration have changed that only root can read.
pub fn tell_old(config: &Config) {
    let Some(Became { user, .. }) = BECAME.get() else {
        return;
    };
    let named = config.named();
    for (path, _) in kept::all() {
        if !is_old(path) {
            continue;
        }
        if named.iter().any(|(name, _)| *name == path) {
            let path = path.display();
            let why = format!(
                "{path} has changed, but only root can read it: what was in it at the start stays in use; run: \
                 chown {user} {path}, and reload; or restart the service"
            );
            emit(&Event::Trouble {
                what: "privileges",
                why: &why,
            });
        }
    }
}

/// Whether a file has changed that only root can read, so that what is known of it is old.
pub fn is_old(path: &Path) -> bool {
    let now = rustix::fs::stat(path).map(Stamp::from).ok();
    let mut kept = kept::all().filter(|(name, _)| *name == path);
    kept.any(|(_, kept)| now.is_some() && now != kept.stamp && is_closed(path))
}

/// What to add to a refusal of the system, if it may come from having given up root.
pub fn remedy(error: &io::Error) -> String {
    match (BECAME.get(), error.kind()) {
        (Some(Became { user, .. }), io::ErrorKind::PermissionDenied) => format!(
            "; the service is the user {user} since its start: give that user the right, or restart the service"
        ),
        _ => String::new(),
    }
}

/// Whether it is there, and not for us.
fn is_closed(path: &Path) -> bool {
    let read = rustix::fs::access(path, Access::READ_OK);
    read == Err(rustix::io::Errno::ACCESS)
}

/// Gives away the homes. A server without one fails by itself; when all do there is nothing to start for.
fn hand_over(configs: &[Config], to: &Account) -> Result<(), StartError> {
    let mut failed = Vec::new();
    for config in configs {
        let folders = Folders {
            drop: config.local.drop.clone(),
            ..Folders::below(&config.home)
        };
        let drops: Vec<&Path> = config.drops().map(|at| at.drop.as_path()).collect();
        failed.extend(handover::home(&folders, &drops, to).err());
        for (path, what) in config.named() {
            let path = match (what, path.parent()) {
                (Use::Folder, _) if path == config.home || drops.contains(&path) => continue,
                (Use::Folder, _) => path,
                (Use::Socket, Some(parent)) if !parent.exists() => parent,
                _ => continue,
            };
            if path.starts_with(&config.home) && path.exists() {
                continue;
            }
            if let Err(error) = handover::folder(path, to) {
                let path = path.display();
                note(Note::Trouble(format!(
                    "cannot give {path} to the user of the service: {error}"
                )));
            }
        }
    }
    if !failed.is_empty() && failed.len() == configs.len() {
        return Err(StartError::Io(failed.remove(0)));
    }
    failed.into_iter().map(Note::Trouble).for_each(note);
    Ok(())
}

/// The files that the configurations name, as root reads them. What cannot be read is missed by whoever needs it.
fn private_files(configs: &[Config]) -> BTreeMap<PathBuf, Kept> {
    let named = configs.iter().flat_map(Config::named);
    let files = named.filter_map(|(path, what)| {
        let kept = match what {
            Use::Secret => {
                let stamp = rustix::fs::stat(path).map(Stamp::from).ok();
                let file = secret::open(path).ok()?;
                Kept {
                    stamp,
                    bytes: all_of(file)?,
                }
            }
            Use::Read | Use::Make => regular(path)?,
            Use::Folder | Use::Socket | Use::Run => return None,
        };
        Some((path.to_owned(), kept))
    });
    files.collect()
}

fn regular(path: &Path) -> Option<Kept> {
    // A pipe would let us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let bytes = all_of(fs::File::from(file))?;
    Some(Kept {
        stamp: Some(Stamp::from(stat)),
        bytes,
    })
}

/// A whole file; nothing of one that is larger than any that is read here.
fn all_of(file: impl Read) -> Option<std::sync::Arc<[u8]>> {
    let most = limits::USERS_FILE;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .ok()?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|size| size <= most);
    fits.then(|| bytes.into())
}

/// Keeps of these files what we cannot read any more.
fn keep(mut files: BTreeMap<PathBuf, Kept>) {
    files.retain(|path, _| is_closed(path));
    kept::put(files);
}

/// Becomes the account, and makes sure that nothing leads back.
fn become_it(to: &Account) -> io::Result<()> {
    alone()?;
    let port = CapabilitySet::NET_BIND_SERVICE;
    // What is not in the bounding set comes with no program. A container may not let us, and needs it less.
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if one != port {
            let _ = rustix::thread::remove_capability_from_bounding_set(one);
        }
    }
    // Without it a port below 1024 is refused later, with a sentence.
    let _ = rustix::thread::set_keep_capabilities(true);
    let groups = to.groups.iter().copied().filter(|gid| *gid != 0);
    let groups: Vec<Gid> = groups.map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let _ = rustix::thread::set_keep_capabilities(false);
    let left = rustix::thread::capabilities(None)?.permitted & port;
    let sets = CapabilitySets {
        effective: left,
        permitted: left,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)?;
    is_final(to)
}

/// Nobody else runs who would stay root.
fn alone() -> io::Result<()> {
    // Where /proc is missing there is nobody to ask, and still no thread.
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(io::Error::other("there are threads already"));
    }
    Ok(())
}

/// Asks the kernel, and tries the way back.
fn is_final(to: &Account) -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let (euid, egid) = (rustix::process::geteuid(), rustix::process::getegid());
    let is_it = uid.as_raw() == to.uid && gid.as_raw() == to.gid && euid == uid && egid == gid;
    let left = rustix::thread::capabilities(None)?;
    let few = CapabilitySet::NET_BIND_SERVICE.contains(left.permitted | left.inheritable);
    let back = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()
        || (to.gid != 0
            && rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_ok());
    if is_it && few && !back && rustix::thread::no_new_privs()? {
        Ok(())
    } else {
        Err(io::Error::other(
            "the system says yes, but there is a way back to root",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{all_of, check, regular, remedy};
    use crate::base::limits;
    use crate::config::{File, Flags, load};
    use std::io;

    #[test]
    fn files_are_kept_whole_or_not_at_all() {
        let most = usize::try_from(limits::USERS_FILE).unwrap();
        assert_eq!(all_of(&b"key"[..]).unwrap().as_ref(), b"key");
        assert_eq!(all_of(vec![b'x'; most].as_slice()).unwrap().len(), most);
        assert!(all_of(vec![b'x'; most + 1].as_slice()).is_none());
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(regular(&pipe).is_none() && regular(folder.path()).is_none());
    }

    #[test]
    fn a_process_that_gave_up_nothing_refuses_nothing() {
        let text = "user = 'nobody at all'\n[aliases]\nfile = '/etc/shadow'";
        let file = File { name: "f", text };
        let config = load(Some(file), &Flags::default(), "box").unwrap().0;
        assert_eq!(check(&config), Ok(()));
        assert_eq!(remedy(&io::ErrorKind::PermissionDenied.into()), "");
    }
}
