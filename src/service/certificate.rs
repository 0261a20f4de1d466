//! The certificate that clients are shown: made when there is none and that was asked for, and read again when its
//! files have changed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use rustix::io::Errno;

use crate::base::Stamp;
use crate::config::model;
#[cfg(feature = "self-signed")]
use crate::disk::small;
use crate::mail::Domain;
use crate::net::tls;
use crate::net::tls::Identity;
use crate::net::tls::Tls;
#[cfg(feature = "self-signed")]
use crate::net::tls::own;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::privileges;

/// What tells that one of both files has changed.
type Stamps = (Option<Stamp>, Option<Stamp>);

/// A certificate in use.
#[derive(Debug)]
pub struct Certificate {
    tls: Rc<Tls>,
    identity: Identity,
    state: RefCell<(Stamps, tls::Server)>,
}

impl Certificate {
    /// Reads it, or makes it for `hostname`; the error says what to do. Blocks: for the start and the reload.
    pub fn open(
        tls: &Rc<Tls>,
        certificate: &model::Certificate,
        hostname: &Domain,
    ) -> Result<Self, String> {
        let identity = Identity {
            chain: certificate.chain.clone(),
            key: certificate.key.clone(),
        };
        if certificate.self_signed && missing(&identity) {
            make(&identity, hostname).map_err(|error| {
                let path = identity.chain.display();
                format!("no certificate can be made in {path}: {error}")
            })?;
        }
        let stamps = stamps(&identity);
        let server = tls.server(&identity).map_err(|error| error.to_string())?;
        Ok(Self {
            tls: Rc::clone(tls),
            identity,
            state: RefCell::new((stamps, server)),
        })
    }

    /// The certificate for the next handshake. When its files have changed they are read; when they are no good what
    /// was read before stays in use, and the log says so once.
    pub fn server(&self) -> tls::Server {
        let now = stamps(&self.identity);
        let mut state = self.state.borrow_mut();
        if state.0 != now {
            state.0 = now;
            match self.tls.server(&self.identity) {
                Ok(server) => {
                    state.1 = server;
                    // What is read of a file that only root may read is what it was at the start.
                    let own = [&self.identity.chain, &self.identity.key];
                    if own.into_iter().any(|path| privileges::is_old(path)) {
                        return state.1.clone();
                    }
                    emit(&Event::CertificateRead {
                        file: &self.identity.chain.display().to_string(),
                    });
                }
                Err(error) => emit(&Event::Trouble {
                    what: "certificate",
                    why: &format!("the one read before stays in use: {error}"),
                }),
            }
        }
        state.1.clone()
    }
}

/// Makes a key and a certificate for this name and writes them where `identity` says, each whole or not at all: one
/// cut by a power failure would keep the service from starting. Nobody's key is written over.
#[cfg(feature = "self-signed")]
fn make(identity: &Identity, name: &Domain) -> io::Result<()> {
    let (certificate, key) = own::pem(name).map_err(io::Error::other)?;
    if identity.chain == identity.key {
        return small::create(&identity.key, &(key + &certificate), 0o600);
    }
    small::create(&identity.key, &key, 0o600)?;
    small::create(&identity.chain, &certificate, 0o600)
}

/// The configuration has refused it before.
#[cfg(not(feature = "self-signed"))]
fn make(_: &Identity, _: &Domain) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn missing(identity: &Identity) -> bool {
    rustix::fs::stat(&identity.chain).is_err_and(|error| error == Errno::NOENT)
}

fn stamps(identity: &Identity) -> Stamps {
    let chain = rustix::fs::stat(&identity.chain).map(Stamp::from).ok();
    (chain, rustix::fs::stat(&identity.key).map(Stamp::from).ok())
}

#[cfg(test)]
mod tests {
    use super::make;
    use crate::mail::Domain;
    use crate::net::TrustedClock;
    use crate::net::tls::{Identity, Tls};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    #[test]
    fn what_is_made_can_be_used_and_is_not_made_twice() {
        let tls = Tls::new(Arc::new(TrustedClock::new()));
        for (name, chain) in [
            ("nas.example.com", "a.pem"),
            ("[192.0.2.1]", "b.pem"),
            (&format!("{}.example", "x".repeat(60)), "key.pem"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let identity = Identity {
                chain: folder.path().join(chain),
                key: folder.path().join("key.pem"),
            };
            let name = Domain::parse(name).unwrap();
            make(&identity, &name).unwrap();
            tls.server(&identity).unwrap();
            let mode = std::fs::metadata(&identity.key)
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(make(&identity, &name).is_err());
            let files = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(files, if chain == "key.pem" { 1 } else { 2 });
        }
    }
}
