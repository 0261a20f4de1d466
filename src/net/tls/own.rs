//! A certificate of our own making, so that TLS works before anybody has bought or fetched one.
//!
//! Its dates are fixed and wide: a box whose clock reads 1970 could not choose better ones, and a client that checks
//! dates checks authorities as well, of which this certificate has none.

use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64ct::Base64;
use base64ct::Encoding;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use crate::mail::Domain;
use crate::net::tls::Identity;

/// Makes a key and a certificate for this name and writes them where `identity` says. Files that are there already
/// are an error: nobody's key is written over.
pub fn make(identity: &Identity, name: &Domain) -> io::Result<()> {
    let (certificate, key) = pem(name).map_err(io::Error::other)?;
    if identity.chain == identity.key {
        return write(&identity.key, &(key + &certificate));
    }
    write(&identity.key, &key)?;
    write(&identity.chain, &certificate)
}

/// The certificate and its key, in PEM.
fn pem(name: &Domain) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    // An address literal is no host name; its address is one of the kinds of names there are.
    let name = name
        .ip()
        .map_or_else(|| name.as_str().to_owned(), |ip| ip.to_string());
    let mut parts = CertificateParams::new(vec![name.clone()])?;
    parts.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parts.not_after = rcgen::date_time_ymd(2049, 12, 31);
    parts.distinguished_name = DistinguishedName::new();
    // Longer ones than RFC 5280 allows are refused by some clients; the name that counts is the alternative one.
    let short: String = name.chars().take(64).collect();
    parts.distinguished_name.push(DnType::CommonName, short);
    parts.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parts.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = parts.self_signed(&key)?;
    Ok((
        armour("CERTIFICATE", certificate.der()),
        armour("PRIVATE KEY", &key.serialize_der()),
    ))
}

/// RFC 7468 s2.
fn armour(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are one line of 64 characters.
    for line in der.chunks(48) {
        text.push_str(&Base64::encode_string(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Whole or not at all: a certificate cut by a power failure would keep the service from starting.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // A link and no rename: it fails when the name is taken.
    let linked = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new)?;
    linked
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
