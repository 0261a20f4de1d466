//! TLS, both roles, over a live socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailroot::base::Wall;
use mailroot::mail::Domain;
use mailroot::net::clock::{TrustedClock, build_date};
use mailroot::net::listen::{Listener, Place};
use mailroot::net::ready::Watched;
use mailroot::net::stream::Stream;
use mailroot::net::tls::error::TlsError;
use mailroot::net::tls::own::armour;
use mailroot::net::tls::{Identity, Pin, Tls, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{LocalExecutor, future};
use tempfile::TempDir;

use crate::run;

pub const WAIT: Duration = Duration::from_secs(20);

/// An authority, and the files of the servers that it vouches for.
pub struct Authority {
    pub folder: TempDir,
    pub issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's files and what it could be pinned by.
pub struct Made {
    pub identity: Identity,
    certificate: Pin,
    pub key: Pin,
}

fn sha256(bytes: &[u8]) -> Pin {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    Pin(digest.as_ref().try_into().unwrap())
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("ca.pem"),
            armour("CERTIFICATE", issuer.der()),
        )
        .unwrap();
        Self { folder, issuer }
    }

    pub fn ca(&self) -> Trust {
        Trust::CaFile(self.folder.path().join("ca.pem"))
    }

    fn write(&self, certificate: &rcgen::Certificate, key: &KeyPair) -> Made {
        let number = std::fs::read_dir(self.folder.path()).unwrap().count();
        let place = |kind| self.folder.path().join(format!("{kind}-{number}.pem"));
        let identity = Identity {
            chain: place("chain"),
            key: place("key"),
        };
        std::fs::write(&identity.chain, armour("CERTIFICATE", certificate.der())).unwrap();
        std::fs::write(&identity.key, armour("PRIVATE KEY", &key.serialize_der())).unwrap();
        Made {
            identity,
            certificate: sha256(certificate.der()),
            key: sha256(&key.subject_public_key_info()),
        }
    }

    /// A server's certificate, from the first day of one year to the first day of another.
    pub fn vouch(&self, name: &str, from: i32, to: i32) -> Made {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&certificate, &key)
    }

    /// What `openssl req -x509` makes: its own authority, and says so.
    pub fn self_signed(&self, name: &str) -> Made {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.write(&certificate, &key)
    }
}

pub fn now() -> Arc<TrustedClock> {
    Arc::new(TrustedClock::new())
}

pub fn boot_in_1970() -> Arc<TrustedClock> {
    Arc::new(TrustedClock::reading(|| Wall::from_secs(60)))
}

pub fn host(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Two ends of one TCP connection, the client's first.
pub async fn pair(executor: &LocalExecutor<'static>) -> (Stream, Stream) {
    let place = Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&place, false).unwrap();
    let addr = listener.local_addr().unwrap();
    let accepted = executor.spawn(async move { listener.accept().await.0 });
    let tcp = std::net::TcpStream::connect(addr).unwrap();
    tcp.set_nonblocking(true).unwrap();
    (Stream::tcp(Watched::new(tcp).unwrap()), accepted.await)
}

/// Shakes hands, and when that went well sends a line each way.
pub async fn meet(
    executor: &LocalExecutor<'static>,
    clock: &Arc<TrustedClock>,
    server: &Identity,
    trust: Trust,
    name: &str,
) -> Result<(Stream, Stream), TlsError> {
    let (client, served) = pair(executor).await;
    let server = Tls::new(now()).server(server).unwrap();
    let answering = executor.spawn(async move {
        let mut stream = server.start(served, WAIT).await?;
        stream.write_all(b"220 hello\r\n").await.unwrap();
        stream.flush().await.unwrap();
        Ok::<_, TlsError>(stream)
    });
    let route = Tls::new(Arc::clone(clock)).client(trust, None);
    let mut stream = route.start(client, &host(name), WAIT).await?;
    let mut room = [0; 11];
    stream.read_exact(&mut room).await.unwrap();
    assert_eq!(&room, b"220 hello\r\n");
    Ok((stream, answering.await?))
}

#[test]
fn whom_to_trust() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let others = Authority::new("others");
        let namesake = Authority::new("ours");
        let good = ours.vouch("mail.example", 2020, 2049);
        let literal = ours.vouch("192.0.2.1", 2020, 2049);
        let old = ours.vouch("mail.example", 2020, 2025);
        let early = ours.vouch("mail.example", 2060, 2070);
        let own = ours.self_signed("mail.example");
        let own_file = Trust::CaFile(own.identity.chain.clone());
        let wrong = Pin([7; 32]);
        let fails = |text: &str| Some(text.to_owned());
        let new_pin = format!("the new pin is {}", good.key);
        for (what, server, trust, name, want) in [
            ("our authority", &good, ours.ca(), "mail.example", None),
            ("in other letters", &good, ours.ca(), "MAIL.example", None),
            ("an address", &literal, ours.ca(), "[192.0.2.1]", None),
            (
                "another authority",
                &good,
                others.ca(),
                "mail.example",
                fails("unknown issuer: "),
            ),
            (
                "a namesake",
                &good,
                namesake.ca(),
                "mail.example",
                fails("did not sign it"),
            ),
            (
                "the public ones",
                &good,
                Trust::Roots,
                "mail.example",
                fails("unknown issuer: "),
            ),
            (
                "another name",
                &good,
                ours.ca(),
                "www.example",
                fails("wrong name: the certificate is for mail.example, not for www.example; "),
            ),
            (
                "another address",
                &literal,
                ours.ca(),
                "[192.0.2.2]",
                fails("wrong name: the certificate is for "),
            ),
            (
                "expired",
                &old,
                ours.ca(),
                "mail.example",
                fails("the server's certificate expired on 2025-01-01 (this box's clock reads 20"),
            ),
            (
                "not yet valid",
                &early,
                ours.ca(),
                "mail.example",
                fails(
                    "the server's certificate is valid from 2060-01-01 only (this box's clock reads 20",
                ),
            ),
            (
                "its certificate's pin",
                &good,
                Trust::Pin(good.certificate),
                "mail.example",
                None,
            ),
            (
                "its key's pin",
                &good,
                Trust::Pin(good.key),
                "mail.example",
                None,
            ),
            (
                "a pin needs no name",
                &good,
                Trust::Pin(good.key),
                "www.example",
                None,
            ),
            (
                "a pin needs no date",
                &old,
                Trust::Pin(old.key),
                "mail.example",
                None,
            ),
            (
                "another pin",
                &good,
                Trust::Pin(wrong),
                "mail.example",
                fails("the server is not the pinned one"),
            ),
            (
                "another pin says which",
                &good,
                Trust::Pin(wrong),
                "mail.example",
                fails(&new_pin),
            ),
            ("anybody", &old, Trust::Anybody, "www.example", None),
            (
                "its own certificate as CA file",
                &own,
                own_file.clone(),
                "mail.example",
                None,
            ),
            (
                "the same under another name",
                &own,
                own_file,
                "www.example",
                fails("wrong name: "),
            ),
        ] {
            let got = meet(&executor, &now(), &server.identity, trust, name).await;
            match (got, want) {
                (Ok((client, server)), None) => {
                    assert!(client.is_tls() && server.is_tls(), "{what}");
                    assert_eq!(client.session(), server.session());
                    assert_eq!(client.session().unwrap().version, "TLS1.3");
                    assert!(client.channel_binding().is_some());
                    assert_eq!(client.channel_binding(), server.channel_binding());
                    assert!(client.peer_certificate().is_some());
                }
                (Err(error), Some(want)) => {
                    assert!(error.to_string().contains(&want), "{what}: {error}");
                    assert!(
                        error.is_setup(),
                        "{what}: a fault of the setup holds the route"
                    );
                }
                (got, _) => panic!("{what}: {:?}", got.map(|_| "no error")),
            }
        }
    });
}

#[test]
fn a_box_that_boots_in_1970_verifies_and_learns_the_time() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let fresh = ours.vouch("mail.example", 2040, 2049);
        let clock = boot_in_1970();
        assert_eq!(clock.floor(), build_date());
        meet(
            &executor,
            &clock,
            &fresh.identity,
            ours.ca(),
            "mail.example",
        )
        .await
        .unwrap();
        assert_eq!(
            clock.floor().to_string(),
            "2040-01-01T00:00:00Z",
            "the certificate proves it"
        );
        let old = ours.vouch("mail.example", 2020, 2022);
        let error = meet(&executor, &clock, &old.identity, ours.ca(), "mail.example")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server's certificate expired on 2022-01-01 (this box's clock is wrong, it reads 1970-01-01; \
             set it, or let NTP through)"
        );
        let others = Authority::new("others");
        let stranger = others.vouch("mail.example", 2045, 2049);
        meet(
            &executor,
            &clock,
            &stranger.identity,
            ours.ca(),
            "mail.example",
        )
        .await
        .unwrap_err();
        assert_eq!(
            clock.floor().civil().year,
            2040,
            "a stranger's certificate proves nothing"
        );
        let elsewhere = ours.vouch("other.example", 2045, 2049);
        meet(
            &executor,
            &clock,
            &elsewhere.identity,
            ours.ca(),
            "mail.example",
        )
        .await
        .unwrap_err();
        assert_eq!(clock.floor().civil().year, 2040);
    });
}

#[test]
fn a_live_connection_is_upgraded_and_nothing_said_before_counts() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let made = ours.vouch("mail.example", 2020, 2049);
        let (mut client, mut served) = pair(&executor).await;
        let server = Tls::new(now()).server(&made.identity).unwrap();
        let serving = executor.spawn(async move {
            let mut room = [0; 10];
            served.read_exact(&mut room).await.unwrap();
            assert_eq!(&room, b"STARTTLS\r\n");
            served.write_all(b"220 go\r\n").await.unwrap();
            served.flush().await.unwrap();
            let mut stream = server.start(served, WAIT).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        });
        client.write_all(b"STARTTLS\r\n").await.unwrap();
        let mut room = [0; 8];
        client.read_exact(&mut room).await.unwrap();
        let route = Tls::new(now()).client(ours.ca(), None);
        let mut client = route
            .start(client, &host("mail.example"), WAIT)
            .await
            .unwrap();
        // More than the buffers hold, so that writing has to wait for reading.
        let long = "x".repeat(300_000);
        client.write_all(long.as_bytes()).await.unwrap();
        client.close().await.unwrap();
        assert_eq!(serving.await, long);
    });
}

#[test]
fn peers_that_do_not_shake_hands() {
    run(async |executor| {
        let trust = || Tls::new(now()).client(Trust::Anybody, None);
        let name = host("mail.example");
        let (client, mut served) = pair(&executor).await;
        served.write_all(b"220 plain SMTP here\r\n").await.unwrap();
        let error = trust().start(client, &name, WAIT).await.unwrap_err();
        assert_eq!(error, TlsError::NotTls);
        drop(served);
        let (client, mut served) = pair(&executor).await;
        let hang_up = async {
            // The hello is read, so that hanging up is no reset.
            let mut room = [0; 4096];
            let _ = served.read(&mut room).await;
            drop(served);
        };
        let (got, ()) = future::zip(trust().start(client, &name, WAIT), hang_up).await;
        assert_eq!(got.unwrap_err(), TlsError::Closed);
        let (client, _silent) = pair(&executor).await;
        let error = trust()
            .start(client, &name, Duration::from_millis(30))
            .await
            .unwrap_err();
        assert_eq!(error, TlsError::TooLate);
        assert!(!error.is_setup(), "it passes");
        let ours = Authority::new("ours");
        let made = ours.vouch("mail.example", 2020, 2049);
        let server = Tls::new(now()).server(&made.identity).unwrap();
        let (mut client, served) = pair(&executor).await;
        client.write_all(b"EHLO there\r\n").await.unwrap();
        assert_eq!(
            server.start(served, WAIT).await.unwrap_err(),
            TlsError::NotTls
        );
    });
}

#[test]
fn a_second_connection_resumes_the_first_ones_session() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let made = ours.vouch("mail.example", 2020, 2049);
        let server = Tls::new(now()).server(&made.identity).unwrap();
        let route = Tls::new(now()).client(ours.ca(), None);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (client, served) = pair(&executor).await;
            let server = server.clone();
            let serving = executor.spawn(async move {
                let mut stream = server.start(served, WAIT).await.unwrap();
                stream.write_all(b"x").await.unwrap();
                stream.flush().await.unwrap();
                stream
            });
            let mut client = route
                .start(client, &host("mail.example"), WAIT)
                .await
                .unwrap();
            client.read_exact(&mut [0; 1]).await.unwrap();
            kinds.push(client.is_resumed());
            drop(serving.await);
        }
        assert_eq!(kinds, [false, true]);
    });
}

#[test]
fn bad_files_are_named() {
    let ours = Authority::new("ours");
    let (one, two) = (
        ours.vouch("a.example", 2020, 2049),
        ours.vouch("a.example", 2020, 2049),
    );
    let tls = Tls::new(now());
    let server = |chain: &PathBuf, key: &PathBuf| {
        let identity = Identity {
            chain: chain.clone(),
            key: key.clone(),
        };
        tls.server(&identity).map(|_| ()).unwrap_err().to_string()
    };
    let (chain, key) = (&one.identity.chain, &one.identity.key);
    let missing = ours.folder.path().join("missing.pem");
    for (got, want) in [
        (server(&missing, key), "missing.pem: No such file"),
        (server(chain, chain), "it holds no private key in PEM form"),
        (server(key, key), "it holds no certificate in PEM form"),
        (server(chain, &two.identity.key), "KeyMismatch"),
    ] {
        assert!(got.contains(want), "{got}");
    }
    run(async |executor| {
        let (client, _server) = pair(&executor).await;
        let route = tls.client(Trust::CaFile(missing), None);
        let error = route
            .start(client, &host("a.example"), WAIT)
            .await
            .unwrap_err();
        assert!(
            error.is_setup() && error.to_string().contains("missing.pem"),
            "{error}"
        );
    });
}

#[test]
fn pins_are_read_as_people_write_them() {
    let pin = Pin([0xAB; 32]);
    let colons = ["AB"; 32].join(":");
    for (text, want) in [
        (pin.to_string(), Some(pin)),
        (colons.clone(), Some(pin)),
        (format!("{colons}:"), Some(pin)),
        (format!("{colons}00"), None),
        (format!("{colons}zz"), None),
        ("ab".repeat(31), None),
        ("zz".repeat(32), None),
        (String::new(), None),
    ] {
        assert_eq!(Pin::parse(&text), want, "{text}");
    }
}
