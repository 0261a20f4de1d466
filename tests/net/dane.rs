//! TLSA records against real handshakes, and certificates that we show ourselves.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use mailroot::dns::tlsa::Tlsa;
use mailroot::net::tls::error::TlsError;
use mailroot::net::tls::own::armour;
use mailroot::net::tls::{Identity, Tls, Trust};
use ring::digest::{SHA256, SHA512, digest};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use smol::io::{AsyncReadExt, AsyncWriteExt};

use crate::run;
use crate::tls::{Authority, WAIT, boot_in_1970, host, meet, now, pair};

/// The record of these numbers for a certificate.
fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
    let key = ParsedCertificate::try_from(certificate)
        .unwrap()
        .subject_public_key_info();
    let part: &[u8] = if selector == 0 { certificate } else { &key };
    let data = match matching {
        0 => part.to_vec(),
        1 => digest(&SHA256, part).as_ref().to_vec(),
        _ => digest(&SHA512, part).as_ref().to_vec(),
    };
    Tlsa {
        usage,
        selector,
        matching,
        data,
    }
}

fn first(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&identity.chain).unwrap()
}

#[test]
fn what_tlsa_records_allow_and_what_they_do_not() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let theirs = Authority::new("theirs");
        let authority = ours.issuer.der().clone();
        let good = ours.vouch("mx.example", 2020, 2049);
        let old = ours.vouch("mx.example", 2020, 2021);
        let other = ours.vouch("other.example", 2020, 2049);
        let own = ours.self_signed("whatever.example");
        // With the authority behind the server's own certificate, as a DANE-TA server has to show it.
        let whole = |made: &Identity| {
            let mut text = std::fs::read_to_string(&made.chain).unwrap();
            text.push_str(&armour("CERTIFICATE", ours.issuer.der()));
            let chain = made.chain.with_extension("whole");
            std::fs::write(&chain, text).unwrap();
            Identity {
                chain,
                key: made.key.clone(),
            }
        };
        let (good_whole, old_whole) = (whole(&good.identity), whole(&old.identity));
        let other_whole = whole(&other.identity);
        let names = &["mx.example"][..];
        let both = &["mx.example", "other.example"][..];
        let (leaf, elder) = (first(&good.identity), first(&old.identity));
        for (case, server, records, names, want) in [
            (
                "EE, whole",
                &good.identity,
                vec![record(3, 0, 0, &leaf)],
                names,
                "ok",
            ),
            (
                "EE, key, SHA-256",
                &good.identity,
                vec![record(3, 1, 1, &leaf)],
                names,
                "ok",
            ),
            (
                "EE, key, SHA-512",
                &good.identity,
                vec![record(3, 1, 2, &leaf)],
                names,
                "ok",
            ),
            (
                "EE: dates and issuer do not matter",
                &old.identity,
                vec![record(3, 1, 1, &elder)],
                names,
                "ok",
            ),
            (
                "EE: names do not matter",
                &own.identity,
                vec![record(3, 1, 1, &first(&own.identity))],
                names,
                "ok",
            ),
            (
                "EE of another server",
                &good.identity,
                vec![record(3, 1, 1, &elder)],
                names,
                "not one that",
            ),
            (
                "one of several is enough",
                &good.identity,
                vec![record(3, 1, 1, &elder), record(3, 1, 1, &leaf)],
                names,
                "ok",
            ),
            (
                "the authority's as EE",
                &good_whole,
                vec![record(3, 1, 1, &authority)],
                names,
                "not one that",
            ),
            (
                "TA, whole, SHA-256",
                &good_whole,
                vec![record(2, 0, 1, &authority)],
                names,
                "ok",
            ),
            (
                "TA, key, SHA-512",
                &good_whole,
                vec![record(2, 1, 2, &authority)],
                names,
                "ok",
            ),
            (
                "TA in DNS and not shown",
                &good.identity,
                vec![record(2, 0, 0, &authority)],
                names,
                "ok",
            ),
            (
                "TA hashed and not shown",
                &good.identity,
                vec![record(2, 0, 1, &authority)],
                names,
                "not one that",
            ),
            (
                "TA, expired",
                &old_whole,
                vec![record(2, 0, 1, &authority)],
                names,
                "expired",
            ),
            (
                "TA, wrong name",
                &other_whole,
                vec![record(2, 0, 1, &authority)],
                names,
                "wrong name",
            ),
            (
                "TA, the other of two names",
                &other_whole,
                vec![record(2, 0, 1, &authority)],
                both,
                "ok",
            ),
            (
                "TA of others",
                &good_whole,
                vec![record(2, 0, 1, theirs.issuer.der())],
                names,
                "not one that",
            ),
            (
                "TA shown but not the issuer",
                &whole(&own.identity),
                vec![record(2, 0, 1, &authority)],
                names,
                "self-signed",
            ),
            (
                "the server's own as TA",
                &good.identity,
                vec![record(2, 1, 1, &leaf)],
                names,
                "not one that",
            ),
        ] {
            let names = names.iter().map(|name| host(name)).collect();
            let trust = Trust::Dane(records, names);
            let got = match meet(&executor, &now(), server, trust, "mx.example").await {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(want) || got.contains(want), "{case}: {got}");
        }
    });
}

#[test]
fn the_clock_of_a_box_that_boots_in_1970_does_not_stop_dane() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let made = ours.vouch("mx.example", 2025, 2049);
        let trust = Trust::Dane(
            vec![record(2, 0, 0, ours.issuer.der())],
            vec![host("mx.example")],
        );
        let clock = boot_in_1970();
        meet(&executor, &clock, &made.identity, trust, "mx.example")
            .await
            .unwrap();
    });
}

#[test]
fn our_own_certificate_is_shown_renewed_and_kept_secret() {
    run(async |executor| {
        let ours = Authority::new("ours");
        let server = ours.vouch("mail.example", 2020, 2049);
        let (one, two) = (
            ours.vouch("box.example", 2020, 2049),
            ours.vouch("box.example", 2020, 2049),
        );
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ours.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![first(&server.identity)],
                PrivateKeyDer::from_pem_file(&server.identity.key).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let mine = Identity {
            chain: ours.folder.path().join("mine.pem"),
            key: ours.folder.path().join("mine.key"),
        };
        let put = |made: &Identity, mode: u32| {
            std::fs::copy(&made.chain, &mine.chain).unwrap();
            let _ = std::fs::remove_file(&mine.key);
            std::fs::copy(&made.key, &mine.key).unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&mine.key, mode).unwrap();
        };
        let tls = Tls::new(now());
        let route = tls.client(ours.ca(), Some(mine.clone()));
        let bare = tls.client(ours.ca(), None);
        let talk = async |route: &mailroot::net::tls::Client| {
            let (client, served) = pair(&executor).await;
            let config = Arc::clone(&config);
            let answering = executor.spawn(async move {
                let mut stream = served.start_server(config).await.ok()?;
                stream.write_all(b"220 hello\r\n").await.ok()?;
                stream.flush().await.ok()?;
                Some(stream)
            });
            let mut stream = route.start(client, &host("mail.example"), WAIT).await?;
            let mut room = [0; 11];
            // In TLS 1.3 the server's refusal comes after our side of the handshake is over.
            let read = stream.read_exact(&mut room).await;
            let done = answering.await.is_some();
            Ok::<bool, TlsError>(read.is_ok() && done)
        };
        put(&one.identity, 0o600);
        assert!(talk(&route).await.unwrap());
        assert!(!talk(&bare).await.unwrap());
        // Renewed: the next handshake shows it, without a restart.
        put(&two.identity, 0o600);
        assert!(talk(&route).await.unwrap());
        std::fs::write(&mine.key, "spoilt").unwrap();
        let error = talk(&route).await.unwrap_err().to_string();
        assert!(error.contains("holds no private key"), "{error}");
        put(&two.identity, 0o640);
        let error = talk(&route).await.unwrap_err().to_string();
        assert!(
            error.contains("can be used by others (mode 640)"),
            "{error}"
        );
    });
}
