//! TLS in both roles: whom to trust, with which clock, and what a failed handshake means in a sentence.
//!
//! Nothing is loaded until the first handshake that needs it. The built-in roots live in the binary's read-only
//! pages; of the system's bundle only what they lack is kept.

pub mod dane;
pub mod error;
mod judge;
#[cfg(feature = "self-signed")]
pub mod own;
pub mod pin;

pub use pin::Pin;

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::server::ServerSessionMemoryCache;

use crate::base::Stamp;
use crate::base::kept;
use crate::base::limits;
use crate::dns::tlsa::Tlsa;
use crate::mail::Domain;
use crate::net::clock::TrustedClock;
use crate::net::stream::Stream;
use crate::net::tls::error::TlsError;
use crate::net::tls::judge::Judge;
use crate::net::tls::judge::Rule;
use crate::net::within::within;

/// Whom a client believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The built-in roots, and those of the system where it has any. The name must match.
    Roots,
    /// The certificates of this PEM file alone: an authority's, or the server's own. The name must match.
    CaFile(PathBuf),
    /// This certificate or key alone. Name and dates do not matter.
    Pin(Pin),
    /// Whom TLSA records name (RFC 7672): a server, or an authority that vouches for it under one of these names.
    /// [`dane::usable`] records only, one at least.
    Dane(Vec<Tlsa>, Vec<Domain>),
    /// Anybody: the line is encrypted and nobody is proved. For opportunistic TLS (RFC 7435) and for `require`.
    Anybody,
}

/// A certificate chain with its key, for showing who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate first, then those that lead to the authority.
    pub chain: PathBuf,
    /// PEM file with the key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What all TLS of a service shares: the provider, the clock, the roots.
#[derive(Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    clock: Arc<TrustedClock>,
    roots: RefCell<Option<Arc<WebPkiServerVerifier>>>,
}

impl Tls {
    /// Certificates are held against this clock. Cheap: nothing is loaded yet.
    pub fn new(clock: Arc<TrustedClock>) -> Rc<Self> {
        Rc::new(Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            clock,
            roots: RefCell::new(None),
        })
    }

    /// The clock that certificates are held against.
    pub fn clock(&self) -> &Arc<TrustedClock> {
        &self.clock
    }

    /// TLS for one route: keep it, so that sessions can be resumed. Files are read at the first handshake.
    pub fn client(self: &Rc<Self>, trust: Trust, identity: Option<Identity>) -> Client {
        Client {
            tls: Rc::clone(self),
            trust,
            identity,
            config: RefCell::new(None),
        }
    }

    /// TLS for a listener, from its certificate and key. The files are read now, so that a bad one is an error of
    /// the start or the reload, and not of the first client.
    pub fn server(self: &Rc<Self>, identity: &Identity) -> Result<Server, TlsError> {
        let (chain, key) = load(identity)?;
        self.server_from(chain, key)
            .map_err(|error| TlsError::BadFile {
                path: identity.key.clone(),
                what: error.to_string(),
            })
    }

    /// TLS for a listener, from a certificate and key already in memory (one made at the first run, for instance).
    pub fn server_from(
        self: &Rc<Self>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Server, rustls::Error> {
        let clock: Arc<TrustedClock> = Arc::clone(&self.clock);
        let mut config = ServerConfig::builder_with_details(Arc::clone(&self.provider), clock)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        // One ticket, few sessions: mail clients seldom come back, and a session is a kilobyte of idle memory.
        config.send_tls13_tickets = 1;
        config.session_storage = ServerSessionMemoryCache::new(limits::TLS_SESSIONS);
        Ok(Server {
            tls: Rc::clone(self),
            config: Arc::new(config),
        })
    }

    /// Drops the roots, so that a changed system bundle is read again. Clients in use keep what they have.
    pub fn forget_roots(&self) {
        *self.roots.borrow_mut() = None;
    }

    fn rule(&self, trust: &Trust) -> Result<Rule, TlsError> {
        Ok(match trust {
            Trust::Roots => Rule::Chain(self.roots()?, Vec::new()),
            Trust::CaFile(path) => {
                let certificates = certificates(path)?;
                let mut store = RootCertStore::empty();
                let (taken, _) = store.add_parsable_certificates(certificates.iter().cloned());
                if taken == 0 {
                    return Err(TlsError::BadFile {
                        path: path.clone(),
                        what: "it holds no certificate that can be read".to_owned(),
                    });
                }
                Rule::Chain(self.verifier(store)?, certificates)
            }
            Trust::Pin(pin) => Rule::Pin(*pin),
            Trust::Dane(records, names) => {
                let names: Result<Vec<_>, _> = names.iter().map(server_name).collect();
                Rule::Dane(records.clone(), names?)
            }
            Trust::Anybody => Rule::Anybody,
        })
    }

    fn roots(&self) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        if let Some(roots) = &*self.roots.borrow() {
            return Ok(Arc::clone(roots));
        }
        let verifier = self.verifier(all_roots())?;
        *self.roots.borrow_mut() = Some(Arc::clone(&verifier));
        Ok(verifier)
    }

    fn verifier(&self, store: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))
    }

    fn client_config(
        &self,
        trust: &Trust,
        identity: Option<&Identity>,
    ) -> Result<ClientConfig, TlsError> {
        let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
        let judge = Judge {
            rule: self.rule(trust)?,
            clock: Arc::clone(&self.clock),
            provider: Arc::clone(&self.provider),
        };
        let clock: Arc<TrustedClock> = Arc::clone(&self.clock);
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), clock)
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                private(&identity.key)?;
                let (chain, key) = load(identity)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsError::BadFile {
                        path: identity.key.clone(),
                        what: error.to_string(),
                    })?
            }
        };
        config.resumption = Resumption::in_memory_sessions(limits::TLS_SESSIONS);
        Ok(config)
    }
}

/// TLS of one route, as the client.
#[derive(Debug)]
pub struct Client {
    tls: Rc<Tls>,
    trust: Trust,
    identity: Option<Identity>,
    config: RefCell<Option<(Stamps, Arc<ClientConfig>)>>,
}

/// What tells that one of the files has changed; nothing for one that is not there.
type Stamps = Vec<Option<Stamp>>;

impl Client {
    /// Shakes hands on a stream that is still plain, within `wait`. `name` is the host that was configured (or the
    /// MX host), never one that an unproved answer gave.
    ///
    /// The caller must have thrown away what it had read and not used: those bytes came before the encryption.
    pub async fn start(
        &self,
        stream: Stream,
        name: &Domain,
        wait: Duration,
    ) -> Result<Stream, TlsError> {
        let config = self.config()?;
        let name = server_name(name)?;
        match within(wait, stream.start_client(config, name)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(TlsError::from_io(&error, &self.tls.clock)),
            Err(_) => Err(TlsError::TooLate),
        }
    }
}

impl Client {
    /// What was made of the files, made again when one of them has changed: certificates of clients are renewed, too.
    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let ca = match &self.trust {
            Trust::CaFile(path) => Some(path),
            _ => None,
        };
        let own = self.identity.iter().flat_map(|own| [&own.chain, &own.key]);
        let files = ca.into_iter().chain(own);
        let stamps: Stamps = files
            .map(|path| rustix::fs::stat(path).map(Stamp::from).ok())
            .collect();
        if let Some((known, config)) = &*self.config.borrow()
            && *known == stamps
        {
            return Ok(Arc::clone(config));
        }
        let identity = self.identity.as_ref();
        let made = Arc::new(self.tls.client_config(&self.trust, identity)?);
        *self.config.borrow_mut() = Some((stamps, Arc::clone(&made)));
        Ok(made)
    }
}

/// TLS of one listener, as the server.
#[derive(Clone, Debug)]
pub struct Server {
    tls: Rc<Tls>,
    config: Arc<ServerConfig>,
}

impl Server {
    /// Shakes hands on a stream that is still plain, within `wait`: after our 220 to STARTTLS has been flushed and
    /// everything that was read with that command has been thrown away, or at once for implicit TLS.
    pub async fn start(&self, stream: Stream, wait: Duration) -> Result<Stream, TlsError> {
        match within(wait, stream.start_server(Arc::clone(&self.config))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(TlsError::from_io(&error, &self.tls.clock)),
            Err(_) => Err(TlsError::TooLate),
        }
    }
}

/// A host as TLS names it: SNI for names, none for address literals.
fn server_name(host: &Domain) -> Result<ServerName<'static>, TlsError> {
    if let Some(ip) = host.ip() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    let name = host.to_ascii().map(|host| host.as_str().to_owned());
    let name = name.and_then(|name| ServerName::try_from(name).ok());
    name.ok_or_else(|| {
        TlsError::Setup(format!(
            "{host} cannot be asked for in TLS: it is no name of a host"
        ))
    })
}

/// The built-in roots and what the system has besides.
fn all_roots() -> RootCertStore {
    let mut store = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let mut system = RootCertStore::empty();
    system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let more = |anchor: &rustls::pki_types::TrustAnchor<'static>| {
        !webpki_roots::TLS_SERVER_ROOTS.iter().any(|built_in| {
            built_in.subject == anchor.subject
                && built_in.subject_public_key_info == anchor.subject_public_key_info
        })
    };
    store.roots.extend(system.roots.into_iter().filter(more));
    store.roots.shrink_to_fit();
    store
}

fn load(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&identity.chain)?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&identity.key)?).map_err(|_| TlsError::BadFile {
            path: identity.key.clone(),
            what: "it holds no private key in PEM form (one that has a password cannot be read)"
                .to_owned(),
        })?;
    Ok((chain, key))
}

/// Refuses a key that others can read, as a password would be.
fn private(path: &Path) -> Result<(), TlsError> {
    // That it cannot be read is found out when it is.
    let mode = rustix::fs::stat(path).map_or(0, |stat| stat.st_mode & 0o777);
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    let what = format!(
        "it can be used by others (mode {mode:03o}); run: chmod 600 {}",
        path.display()
    );
    Err(TlsError::BadFile { path, what })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        _ => Err(TlsError::BadFile {
            path: path.to_owned(),
            what: "it holds no certificate in PEM form".to_owned(),
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let bad = |what: String| TlsError::BadFile {
        path: path.to_owned(),
        what,
    };
    let mut bytes = Vec::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            // Only root may read it, and did so before that was given up.
            let private = error.kind() == std::io::ErrorKind::PermissionDenied;
            let kept = kept::bytes(path).filter(|_| private);
            return kept.map_or_else(|| Err(bad(error.to_string())), |kept| Ok(kept.to_vec()));
        }
    };
    let most = limits::PEM_FILE;
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| bad(error.to_string()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(bad(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}
