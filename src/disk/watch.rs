//! Hears of files that were closed or renamed in a folder, so that pickup needs no polling.
//!
//! Known limits: events get lost (overflow, network file systems, overlays), and some kernels have none; whoever
//! waits here rescans now and then besides, and rescans at once when told to.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::inotify;
use rustix::fs::inotify::CreateFlags;
use rustix::fs::inotify::ReadFlags;
use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;
use smol::Async;

use crate::base::limits;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// These files were closed after writing or renamed in. The names are bare and may be any bytes; the files may
    /// be gone again.
    Files(Vec<OsString>),
    /// Something was missed: scan the folder.
    Rescan,
    /// The folder was removed, renamed or unmounted: make it again, then [`Watch::renew`].
    Gone,
}

/// A watch on one folder.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    live: Option<Live>,
    /// Files that were made and not closed yet, as far as events tell.
    begun: HashSet<OsString>,
}

#[derive(Debug)]
struct Live {
    events: Async<OwnedFd>,
    /// Device and inode of what is watched, to notice that the path leads elsewhere now.
    identity: (u64, u64),
}

impl Watch {
    /// A watch on `folder`. When the system offers none this is no error: [`Watch::is_live`] is false, nothing is
    /// ever heard, and the caller's rescans do the work.
    pub fn new(folder: &Path) -> Self {
        let mut watch = Self {
            folder: folder.to_owned(),
            live: None,
            begun: HashSet::new(),
        };
        watch.renew();
        watch
    }

    /// Whether events come; without them rescan often.
    pub const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Watches whatever the path leads to now, for instance after the folder was made again. Rescan afterwards.
    pub fn renew(&mut self) -> bool {
        self.live = live(&self.folder).ok();
        self.begun.clear();
        self.live.is_some()
    }

    /// Whether the path still leads to the folder that is watched; for the regular rescan, since a folder that was
    /// replaced by a rename far above it tells nobody.
    pub fn is_current(&self) -> bool {
        match (&self.live, identity(&self.folder)) {
            (Some(live), Ok(now)) => live.identity == now,
            (None, _) => true,
            (Some(_), Err(_)) => false,
        }
    }

    /// Files that somebody has made since this was asked last, and not closed: for [`crate::disk::pickup::Scanner`],
    /// which may find them standing still.
    pub fn take_begun(&mut self) -> HashSet<OsString> {
        std::mem::take(&mut self.begun)
    }

    /// Waits for something to be heard. Dropping the future loses nothing: events stay in the kernel until they
    /// are returned.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(live) = &self.live else {
                return std::future::pending().await;
            };
            if live.events.readable().await.is_err() {
                self.live = None;
                return Heard::Rescan;
            }
            match read(live.events.get_ref(), &mut self.begun) {
                Ok(Some(Heard::Gone)) => {
                    self.live = None;
                    return Heard::Gone;
                }
                Ok(Some(heard)) => return heard,
                Ok(None) => {}
                Err(_) => {
                    self.live = None;
                    return Heard::Rescan;
                }
            }
        }
    }
}

fn live(folder: &Path) -> io::Result<Live> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let flags = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&fd, folder, flags)?;
    Ok(Live {
        events: Async::new(fd)?,
        identity: identity(folder)?,
    })
}

fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::metadata(folder)?;
    Ok((meta.dev(), meta.ino()))
}

/// One read's worth of events; `None` when there was nothing worth a word.
fn read(fd: &OwnedFd, begun: &mut HashSet<OsString>) -> Result<Option<Heard>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); limits::WATCH_BUFFER];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut names = Vec::new();
    let mut lost = false;
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => continue,
            Err(err) => return Err(err),
        };
        let what = event.events();
        let ends =
            ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
        if what.intersects(ends) {
            return Ok(Some(Heard::Gone));
        }
        lost |= what.contains(ReadFlags::QUEUE_OVERFLOW);
        if let Some(name) = event.file_name()
            && !name.to_bytes().starts_with(b".")
        {
            let name = OsString::from_vec(name.to_bytes().to_vec());
            if what.contains(ReadFlags::CREATE) {
                // With no room for it, it is taken when it stands still.
                if begun.len() < limits::PICKUP_WATCHED {
                    begun.insert(name);
                }
            } else {
                begun.remove(&name);
                if what.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
                    names.push(name);
                }
            }
        }
        // The next read would take events out of the kernel that have no room here.
        if reader.is_buffer_empty() {
            break;
        }
    }
    Ok(match (lost, names.is_empty()) {
        (true, _) => Some(Heard::Rescan),
        (false, true) => None,
        (false, false) => Some(Heard::Files(names)),
    })
}

#[cfg(test)]
mod tests {
    use super::{Heard, Watch};
    use std::fs;

    #[test]
    fn finished_files_are_heard_of_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pickup");
        fs::create_dir(&folder).unwrap();
        smol::block_on(async {
            let mut watch = Watch::new(&folder);
            assert!(watch.is_live() && watch.is_current());
            let open = fs::File::create(folder.join("open")).unwrap();
            fs::write(folder.join(".hidden"), "x").unwrap();
            fs::write(folder.join("closed"), "x").unwrap();
            fs::rename(folder.join(".hidden"), folder.join("renamed")).unwrap();
            assert_eq!(
                watch.next().await,
                Heard::Files(vec!["closed".into(), "renamed".into()])
            );
            assert!(watch.take_begun().iter().eq(["open"]));
            drop(open);
            assert_eq!(watch.next().await, Heard::Files(vec!["open".into()]));
            assert!(watch.take_begun().is_empty());
        });
    }

    #[test]
    fn a_folder_that_goes_and_comes_back_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pickup");
        fs::create_dir(&folder).unwrap();
        smol::block_on(async {
            let mut watch = Watch::new(&folder);
            fs::remove_dir(&folder).unwrap();
            assert_eq!(watch.next().await, Heard::Gone);
            assert!(!watch.is_live() && !watch.renew());
            fs::create_dir(&folder).unwrap();
            assert!(watch.renew());
            fs::write(folder.join("a"), "x").unwrap();
            assert_eq!(watch.next().await, Heard::Files(vec!["a".into()]));

            fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
            fs::create_dir(&folder).unwrap();
            assert!(!watch.is_current());
            assert_eq!(watch.next().await, Heard::Gone);
        });
    }

    #[test]
    fn without_events_nothing_is_heard_and_nothing_breaks() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&dir.path().join("missing"));
        assert!(!watch.is_live());
        smol::block_on(async {
            let quiet = smol::future::poll_once(watch.next()).await;
            assert_eq!(quiet, None);
        });
    }
}
