//! What no two virtual servers may share: name, folders, control socket, addresses.
//!
//! The home's lock and the kernel would refuse most of it, too, but they cannot say whose it is; and which of two
//! servers runs must not depend on which thread was faster.

use std::fs;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::config::Config;
use crate::config::endpoint::At;
use crate::disk::folders::Folders;

/// A place in the file system, whatever it is called.
#[derive(Clone, Debug)]
struct Spot {
    /// As it was written.
    shown: PathBuf,
    /// Without links.
    path: PathBuf,
    /// Device and number, when it exists.
    identity: Option<(u64, u64)>,
}

impl Spot {
    fn new(path: &Path) -> Self {
        let identity = fs::metadata(path).ok();
        Self {
            shown: path.to_owned(),
            path: resolved(path),
            identity: identity.map(|found| (found.dev(), found.ino())),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.path == other.path || (self.identity.is_some() && self.identity == other.identity)
    }
}

/// The path with every link of what exists followed.
pub fn resolved(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(path), ..) => path,
        (Err(_), Some(parent), Some(name)) => resolved(parent).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

/// What one server takes for itself.
#[derive(Clone, Debug)]
pub struct Claim {
    name: String,
    home: Spot,
    folders: Vec<Spot>,
    control: Spot,
    listen: Vec<(At, Option<Spot>)>,
    /// Whether a listener for all of IPv6 on this port takes IPv4 as well.
    own_v4: Vec<u16>,
}

impl Claim {
    /// What a configuration takes.
    pub fn of(config: &Config) -> Self {
        let folders = Folders::below(&config.home);
        let all = [
            &folders.pickup,
            &folders.queue,
            &folders.badmail,
            &folders.sorttemp,
        ];
        let all = all.into_iter().chain(config.drops().map(|at| &at.drop));
        let listen = config.listen.iter().map(|listen| match &listen.address {
            at @ At::Unix(path) => (at.clone(), Some(Spot::new(path))),
            at => (at.clone(), None),
        });
        let tcp = config.listen.iter().filter_map(|at| at.address.tcp());
        let v4 = tcp.filter(SocketAddr::is_ipv4);
        Self {
            name: config.name.clone(),
            home: Spot::new(&config.home),
            folders: all.map(|path| Spot::new(path)).collect(),
            control: Spot::new(&config.control.socket),
            listen: listen.collect(),
            own_v4: v4.map(|at| at.port()).collect(),
        }
    }

    /// The first thing that both take, as it is called here.
    pub fn shared(&self, other: &Self) -> Option<String> {
        if self.home.is(&other.home) {
            return Some(format!("home {}", self.home.shown.display()));
        }
        if self.name == other.name {
            return Some(format!("the name '{}'", self.name.escape_debug()));
        }
        let taken = |mine: &&Spot| other.folders.iter().any(|theirs| theirs.is(mine));
        if let Some(folder) = self.folders.iter().find(taken) {
            return Some(format!("the folder {}", folder.shown.display()));
        }
        if self.control.is(&other.control) {
            let path = self.control.shown.display();
            return Some(format!("the control socket {path}"));
        }
        let pairs = self
            .listen
            .iter()
            .flat_map(|mine| other.listen.iter().map(move |theirs| (mine, theirs)));
        for ((mine, spot), (theirs, their_spot)) in pairs {
            let both = match (mine, theirs) {
                (At::Tcp(mine), At::Tcp(theirs)) => {
                    mine.port() == theirs.port()
                        && mine.port() != 0
                        && (self.covers(*mine, theirs.ip()) || other.covers(*theirs, mine.ip()))
                }
                (At::Given(mine), At::Given(theirs)) => mine == theirs,
                _ => match (spot, their_spot) {
                    (Some(mine), Some(theirs)) => mine.is(theirs),
                    _ => false,
                },
            };
            if both && mine == theirs {
                return Some(format!("the address {mine}"));
            } else if both {
                return Some(format!("the address {mine}, which overlaps with {theirs},"));
            }
        }
        None
    }

    /// Whether what listens on `at` gets what is sent to `ip`, when the port is the same.
    fn covers(&self, at: SocketAddr, ip: IpAddr) -> bool {
        let (own, ip) = (at.ip().to_canonical(), ip.to_canonical());
        own == ip
            || (own.is_unspecified()
                && (own.is_ipv4() == ip.is_ipv4()
                    || (own.is_ipv6() && !self.own_v4.contains(&at.port()))))
    }
}

/// What the servers of this process have taken, each with its number and the file that says so.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Vec<Taken>>);

/// Whose it is, which file says so, and what it is.
type Taken = (usize, String, Claim);

fn free(all: &[Taken], number: usize, file: &str, claim: &Claim) -> Result<(), String> {
    let others = all.iter().filter(|(other, ..)| *other != number);
    for (_, theirs, taken) in others {
        if let Some(what) = claim.shared(taken) {
            return Err(format!("{file}: {}", sentence(&what, theirs)));
        }
    }
    Ok(())
}

impl Claims {
    /// Takes what a configuration needs for server `number`, in place of what that one had; or says what is taken
    /// already, and by which file. A server that is stopped keeps what it has.
    pub fn take(&self, number: usize, file: &str, config: &Config) -> Result<(), String> {
        let claim = Claim::of(config);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free(&all, number, file, &claim)?;
        all.retain(|(other, ..)| *other != number);
        all.push((number, file.to_owned(), claim));
        Ok(())
    }

    /// Whether it could be taken; nothing is.
    pub fn check(&self, number: usize, file: &str, config: &Config) -> Result<(), String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free(&all, number, file, &Claim::of(config))
    }

    /// Gives back what a server had.
    pub fn give_back(&self, number: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, ..)| *other != number);
    }
}

/// Says that something is taken.
pub fn sentence(what: &str, file: &str) -> String {
    format!("{what} is also that of {file}; two servers cannot share it")
}

#[cfg(test)]
mod tests {
    use super::Claim;
    use crate::config;
    use crate::config::{File, Flags};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn claim(text: &str) -> Claim {
        let file = File { name: "f", text };
        let (config, _) = config::load(Some(file), &Flags::default(), "box").unwrap();
        Claim::of(&config)
    }

    #[test]
    fn addresses_overlap_as_the_kernel_sees_it() {
        let listen = |name: &str, list: &[&str]| {
            let mut text = format!("name = '{name}'\nhome = '/{name}'\n");
            for at in list {
                text.push_str(&format!("[[listen]]\naddress = '{at}'\n"));
            }
            claim(&text)
        };
        for (one, other, both) in [
            (&["127.0.0.1:25"][..], &["127.0.0.1:25"][..], true),
            (&["127.0.0.1:25"], &["127.0.0.1:26"], false),
            (&["127.0.0.1:25"], &["127.0.0.2:25"], false),
            (&["0.0.0.0:25"], &["127.0.0.1:25"], true),
            (&["0.0.0.0:25"], &["[::1]:25"], false),
            (&["[::]:25"], &["[::1]:25"], true),
            (&["[::]:25"], &["127.0.0.1:25"], true),
            (&["[::]:25"], &["0.0.0.0:25"], true),
            // With an IPv4 listener beside it, the one for IPv6 takes nothing else.
            (&["[::]:25", "127.0.0.1:25"], &["127.0.0.2:25"], false),
            (&["127.0.0.1:0"], &["127.0.0.1:0"], false),
            (&["systemd:smtp"], &["systemd:smtp"], true),
            (&["systemd:smtp"], &["systemd:lan"], false),
            (&["/run/x.sock"], &["/run/x.sock"], true),
            (&["/run/x.sock"], &["/run/y.sock"], false),
        ] {
            let (a, b) = (listen("a", one), listen("b", other));
            assert_eq!(a.shared(&b).is_some(), both, "{one:?} {other:?}");
            assert_eq!(b.shared(&a).is_some(), both, "{other:?} {one:?}");
        }
    }

    #[test]
    fn folders_are_the_same_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(path("real")).unwrap();
        symlink(path("real"), path("link")).unwrap();
        let at = |name: &str, home: &str, more: &str| {
            claim(&format!(
                "name = '{name}'\nhome = '{home}'\nlisten = []\n{more}"
            ))
        };
        let real = at("a", &path("real/home"), "");
        let says = |claim: &Claim, what: &str| {
            let shared = claim.shared(&real).unwrap_or_default();
            assert!(shared.contains(what), "{shared}");
        };
        says(&at("b", &path("link/home"), ""), "link/home");
        says(&at("b", &path("real/../link/home"), ""), "home ");
        says(&at("a", &path("other"), ""), "the name 'a'");
        let drop = format!("[local]\ndrop = '{}'\n", path("link/home/pickup"));
        says(&at("b", &path("other"), &drop), "the folder ");
        let control = format!("[control]\nsocket = '{}'\n", path("link/home/control.sock"));
        says(&at("b", &path("other"), &control), "the control socket ");
        assert_eq!(at("b", &path("other"), "").shared(&real), None);
    }
}
