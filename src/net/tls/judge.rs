//! Decides whether a server's certificate is good enough for a route.
//!
//! Whatever the rule, the handshake's signature is always checked: it proves that the peer has the certificate's
//! key, without which a pin would prove nothing.

use std::fmt;
use std::sync::Arc;

use ring::digest;
use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::OtherError;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::server::ParsedCertificate;

use crate::base::Wall;
use crate::dns::tlsa::Tlsa;
use crate::net::clock::TrustedClock;
use crate::net::clock::unix;
use crate::net::tls::dane;
use crate::net::tls::dane::Shown;
use crate::net::tls::pin::Pin;

/// What makes a certificate good.
#[derive(Debug)]
pub enum Rule {
    /// A chain to a root, the name, the dates; or being one of these certificates, and the name.
    ///
    /// The second is for the owner who puts the server's self-signed certificate into the CA file: those commonly
    /// say that they are an authority, which a chain refuses in a server's own certificate.
    Chain(Arc<WebPkiServerVerifier>, Vec<CertificateDer<'static>>),
    /// The digest of the certificate or of its key.
    Pin(Pin),
    /// One of these records names the certificate, or an authority that vouches for it under one of the names.
    Dane(Vec<Tlsa>, Vec<ServerName<'static>>),
    /// Nothing.
    Anybody,
}

/// The verifier of one route.
#[derive(Debug)]
pub struct Judge {
    /// What makes a certificate good.
    pub rule: Rule,
    /// Whether "not valid yet" can be the clock's fault.
    pub clock: Arc<TrustedClock>,
    /// What signatures are checked with.
    pub provider: Arc<CryptoProvider>,
}

/// The certificate and its key have other digests than the pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPin {
    /// What the peer's key would have to be pinned as.
    pub key: Pin,
}

impl fmt::Display for WrongPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's key has the pin {}", self.key)
    }
}

impl std::error::Error for WrongPin {}

/// No TLSA record allows the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInDns;

impl fmt::Display for NotInDns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no TLSA record allows it")
    }
}

impl std::error::Error for NotInDns {}

/// SHA-256.
pub fn pin_of(bytes: &[u8]) -> Pin {
    let mut pin = [0; 32];
    let made = digest::digest(&digest::SHA256, bytes);
    pin.iter_mut()
        .zip(made.as_ref())
        .for_each(|(to, from)| *to = *from);
    Pin(pin)
}

/// Dates of a chain that are still ahead of the floor: each step moves past one of them.
const CHAIN_DATES: usize = 8;

impl Judge {
    /// While the clock cannot be believed, the true time is the floor or anything after it. So a certificate from
    /// after the floor is no fault: the chain is judged at the first moment at which all of it is valid. A chain
    /// that passes proves that this moment has come, which raises the floor.
    fn chain(
        &self,
        verifier: &WebPkiServerVerifier,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |at| verifier.verify_server_cert(end, others, name, ocsp, at);
        let mut at = now;
        for _ in 0..CHAIN_DATES {
            match check(at) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before > at && self.may_wait() => at = not_before,
                Err(Error::InvalidCertificate(
                    bad @ (CertificateError::Expired | CertificateError::ExpiredContext { .. }),
                )) => {
                    return self.ahead(now, check).ok_or(Error::InvalidCertificate(bad));
                }
                Ok(good) => {
                    if at > now {
                        self.clock.raise(Wall::from_secs(at.as_secs()));
                    }
                    return Ok(good);
                }
                bad => return bad,
            }
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    }

    /// RFC 7672 s3.1. The authority is the certificate that a record names, wherever it stands above the server's; the
    /// names and dates below it are checked as ever.
    fn dane(
        &self,
        (records, names): (&[Tlsa], &[ServerName<'static>]),
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end)?.subject_public_key_info();
        let own = Shown {
            certificate: end,
            key: &key,
        };
        if dane::names_server(records, own) {
            return Ok(ServerCertVerified::assertion());
        }
        let why = OtherError(Arc::new(NotInDns));
        let mut error = Error::InvalidCertificate(CertificateError::Other(why));
        if !dane::wants_authority(records) {
            return Err(error);
        }
        let in_dns = dane::authorities(records).map(|der| CertificateDer::from(der.to_vec()));
        let named = others.iter().filter(|other| {
            let parsed = ParsedCertificate::try_from(*other);
            parsed.is_ok_and(|parsed| {
                let shown = Shown {
                    certificate: other,
                    key: &parsed.subject_public_key_info(),
                };
                dane::names_authority(records, shown)
            })
        });
        let mut store = RootCertStore::empty();
        let (taken, _) =
            store.add_parsable_certificates(in_dns.chain(named.map(|c| c.clone().into_owned())));
        if taken == 0 {
            return Err(error);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(store),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        for name in names {
            match self.chain(&verifier, end, others, name, ocsp, now) {
                Ok(good) => return Ok(good),
                Err(bad) => error = bad,
            }
        }
        Err(error)
    }

    /// Whether a certificate from the future is no fault.
    fn may_wait(&self) -> bool {
        self.clock.holds() && self.clock.believed().is_none()
    }

    /// The chain is over by the floor. When the floor is only a note of ours and the clock reads less, but no less
    /// than is proved, the chain is judged by the clock: what passes then shows that the note was wrong.
    fn ahead(
        &self,
        now: UnixTime,
        check: impl Fn(UnixTime) -> Result<ServerCertVerified, Error>,
    ) -> Option<ServerCertVerified> {
        let raw = self.clock.raw();
        if unix(raw) >= now || raw < self.clock.proved() {
            return None;
        }
        let good = check(unix(raw)).ok()?;
        self.clock.correct();
        Some(good)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.rule {
            Rule::Chain(_, exact) if exact.iter().any(|good| good == end) => {
                verify_server_name(&ParsedCertificate::try_from(end)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            Rule::Chain(verifier, _) => self.chain(verifier, end, others, name, ocsp, now),
            Rule::Pin(pin) => {
                let key = pin_of(&ParsedCertificate::try_from(end)?.subject_public_key_info());
                if key == *pin || pin_of(end) == *pin {
                    return Ok(ServerCertVerified::assertion());
                }
                let why = OtherError(Arc::new(WrongPin { key }));
                Err(Error::InvalidCertificate(CertificateError::Other(why)))
            }
            Rule::Dane(records, names) => self.dane((records, names), end, others, ocsp, now),
            Rule::Anybody => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
