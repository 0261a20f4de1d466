//! The certificate that clients are shown: made when there is none and that was asked for, and read again when its
//! files have changed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::config::model;
use crate::disk::stamp::Stamp;
use crate::mail::Domain;
use crate::net::tls;
use crate::net::tls::Identity;
use crate::net::tls::Tls;
use crate::net::tls::own;
use crate::service::event::Event;
use crate::service::log::emit;

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
            own::make(&identity, hostname).map_err(|error| {
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

fn missing(identity: &Identity) -> bool {
    let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    Stamp::of(&identity.chain).is_err_and(gone)
}

fn stamps(identity: &Identity) -> Stamps {
    let chain = Stamp::of(&identity.chain).ok();
    (chain, Stamp::of(&identity.key).ok())
}
