//! Which part of the file system the service may touch after its start: what its configurations name, and where such
//! a box has its name servers, certificates and accounts.
//!
//! Files are replaced by others under their name and folders are mounted, so what is named is in reach together with the
//! folder that it is in, which for a service that is not root adds nothing that it may write. The other way round it
//! costs mail: a certificate that was renewed and cannot be read.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::config::Config;
use crate::config::model::Sandbox;
use crate::config::named::Use;
use crate::disk::folders::Folders;
use crate::disk::landlock;
use crate::disk::landlock::Rules;
use crate::service::claims::resolved as real;

/// Where any service may read: settings of the box, its authorities, what programs need, and what makes them known.
const READ: &[&str] = &[
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run",
    "/var/run",
    "/proc",
    "/dev/urandom",
    "/dev/random",
    // Where /etc/ssl leads to on SUSE, NixOS and Guix.
    "/var/lib/ca-certificates",
    "/nix/store",
    "/gnu/store",
];

/// Where programs of hooks are, and what they are made of.
const PROGRAMS: &[&str] = &["/bin", "/sbin", "/usr", "/lib", "/lib64"];

/// What leads to other places on many boxes, and is read again and again.
const LINKS: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Links that are followed from one file.
const STEPS: usize = 8;

/// What is in reach; nothing when all is.
static REACH: OnceLock<Vec<(PathBuf, u64)>> = OnceLock::new();

/// How it went.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing else is in reach any more.
    Entered,
    /// Everything is, for this reason.
    Open(String),
}

/// Leaves in reach what these configurations need, which were read from these files. To be called while there is one
/// thread.
pub fn enter(configs: &[Config], files: &[PathBuf]) -> Outcome {
    let wanted = |what| configs.iter().any(|config| config.sandbox == what);
    let hooks = configs.iter().any(|config| !config.hooks.is_empty());
    let on = wanted(Sandbox::On);
    let why = if wanted(Sandbox::Off) {
        "sandbox = \"off\""
    } else if !on && hooks {
        "there are hooks, whose programs may need any file; sandbox = \"on\" is for those that do not"
    } else if !on && rustix::process::geteuid().is_root() {
        "it is root"
    } else {
        ""
    };
    if !why.is_empty() || configs.is_empty() {
        return Outcome::Open(why.to_owned());
    }
    let reach = match reach(configs, files) {
        Ok(reach) => reach,
        // A disk that is not there yet: whoever needs it tries again, and must be able to.
        Err((path, error)) => {
            return Outcome::Open(format!("{} is not there yet: {error}", path.display()));
        }
    };
    let rules = Rules::new().and_then(|rules| {
        for (path, what) in &reach {
            match rules.allow(path, *what) {
                // Gone a moment later.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        rules.enter()
    });
    match rules {
        Ok(()) => {
            let _ = REACH.set(reach);
            Outcome::Entered
        }
        Err(error) => Outcome::Open(format!("the kernel cannot: {error}")),
    }
}

/// Whether everything that a configuration names is in reach. The error says what to do.
pub fn check(config: &Config) -> Result<(), String> {
    let Some(reach) = REACH.get() else {
        return Ok(());
    };
    let far = config.named().into_iter().find(|(path, what)| {
        let path = real(path);
        let wants = wants(*what);
        !reach
            .iter()
            .any(|(root, has)| path.starts_with(root) && has & wants == wants)
    });
    far.map_or(Ok(()), |(path, what)| {
        let doing = match what {
            Use::Secret | Use::Read => "read",
            Use::Make | Use::Folder | Use::Socket => "write to",
            Use::Run => "run",
        };
        Err(format!(
            "the service has locked itself out of what its configuration did not name at its start, and cannot {doing} \
             {}; restart it, or write sandbox = \"off\" and restart it",
            path.display()
        ))
    })
}

/// The rights that something is named for.
const fn wants(what: Use) -> u64 {
    match what {
        Use::Secret | Use::Read => landlock::READ,
        Use::Make | Use::Folder => landlock::CHANGE,
        Use::Socket => landlock::SOCKET,
        Use::Run => landlock::READ | landlock::EXECUTE,
    }
}

/// Paths without links, and the rights below each. The error is a folder of mail that cannot be had.
fn reach(
    configs: &[Config],
    files: &[PathBuf],
) -> Result<Vec<(PathBuf, u64)>, (PathBuf, io::Error)> {
    let mut reach = Reach {
        all: Vec::new(),
        is_root: rustix::process::geteuid().is_root(),
    };
    for path in READ {
        reach.put(Path::new(path), landlock::READ);
    }
    reach.put(Path::new("/dev/null"), landlock::READ | landlock::WRITE);
    for path in LINKS {
        reach.chain(Path::new(path));
    }
    // Another place for authorities, as rustls-native-certs reads these.
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        for path in std::env::split_paths(&std::env::var_os(name).unwrap_or_default()) {
            if path.is_absolute() {
                reach.put(&path, landlock::READ);
                reach.chain(&path);
            }
        }
    }
    for path in files {
        reach.put(path, landlock::READ);
        reach.chain(path);
    }
    for config in configs {
        let folders = Folders {
            drop: config.local.drop.clone(),
            ..Folders::below(&config.home)
        };
        folders
            .create()
            .map_err(|bad| (bad.path.clone(), io::Error::other(bad.to_string())))?;
        for (path, what) in config.named() {
            match what {
                Use::Secret | Use::Read => reach.chain(path),
                Use::Folder => {
                    reach.put(path, landlock::CHANGE);
                    reach.around(path, landlock::CHANGE);
                }
                Use::Make => {
                    reach.chain(path);
                    reach.beside(path, landlock::CHANGE);
                }
                Use::Socket => reach.beside(path, landlock::SOCKET),
                Use::Run => {
                    reach.put(path, landlock::READ | landlock::EXECUTE);
                    for path in PROGRAMS {
                        reach.put(Path::new(path), landlock::READ | landlock::EXECUTE);
                    }
                }
            }
        }
    }
    Ok(reach.all)
}

struct Reach {
    all: Vec<(PathBuf, u64)>,
    is_root: bool,
}

impl Reach {
    fn put(&mut self, path: &Path, what: u64) {
        let path = real(path);
        match self.all.iter_mut().find(|(known, _)| *known == path) {
            Some((_, has)) => *has |= what,
            None => self.all.push((path, what)),
        }
    }

    /// The folder that something is in, or the nearest above it that is there, but never all there is.
    fn beside(&mut self, path: &Path, what: u64) {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let mut folder = real(parent.unwrap_or(Path::new(".")));
        while !folder.exists() && folder.pop() {}
        if folder.parent().is_some() {
            self.put(&folder, what);
        } else {
            self.put(path, what);
        }
    }

    /// The same for who may write there only what the box allows to everybody.
    fn around(&mut self, path: &Path, what: u64) {
        if !self.is_root {
            self.beside(path, what);
            self.beside(&real(path), what);
        }
    }

    /// A file that is read, whatever takes its place: its folder, and that of each link on the way to it.
    fn chain(&mut self, path: &Path) {
        let mut path = path.to_owned();
        for _ in 0..STEPS {
            self.beside(&path, landlock::READ);
            let parent = path.parent().map(Path::to_owned).unwrap_or_default();
            // The folder's own name may be a link, and what it leads to is replaced as well.
            if let Ok(target) = fs::read_link(&parent) {
                let above = parent.parent().unwrap_or(&parent).join(target);
                self.beside(&above, landlock::READ);
            }
            match fs::read_link(&path) {
                Ok(target) => path = parent.join(target),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{reach, real};
    use crate::config::{File, Flags, load};
    use crate::disk::landlock;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_named_is_in_reach_with_what_may_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(dir.path()).unwrap().join(name);
        for name in ["live", "archive", "conf"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("archive/key1.pem"), "").unwrap();
        symlink("../archive/key1.pem", at("live/key.pem")).unwrap();
        fs::create_dir(at("far")).unwrap();
        symlink(at("far/not/yet"), at("conf/later.pem")).unwrap();
        let text = format!(
            "home = '{0}/spool/home'\n[tls]\ncertificate = '{0}/live/key.pem'\nkey = '{0}/conf/later.pem'\n",
            dir.path().display()
        );
        let file = File {
            name: "f",
            text: &text,
        };
        let config = load(Some(file), &Flags::default(), "box").unwrap().0;
        let all = reach(&[config], &[at("conf/m.toml")]).unwrap();
        let has = |path: &std::path::Path| {
            let mut found = all.iter().filter(|(root, _)| path.starts_with(root));
            found.any(|(_, what)| what & landlock::READ == landlock::READ)
        };
        assert!(has(&at("live/key2.pem")) && has(&at("archive/key2.pem")));
        assert!(has(&at("far/not/yet")) && !has(&at("none")));
        assert!(has(&at("conf/other.toml")) && has("/etc/resolv.conf".as_ref()));
        assert!(!has("/root".as_ref()) && !has("/home".as_ref()) && !has("/".as_ref()));
        let home = all
            .iter()
            .find(|(path, _)| *path == at("spool/home"))
            .unwrap();
        assert_eq!(home.1 & landlock::CHANGE, landlock::CHANGE);
        assert_eq!(home.1 & landlock::EXECUTE, 0);
        assert_eq!(real(&at("live/key.pem")), at("archive/key1.pem"));
        assert_eq!(real(&at("none/at/all")), at("none/at/all"));
    }
}
