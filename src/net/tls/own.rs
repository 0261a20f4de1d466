//! A certificate of our own making, so that TLS works before anybody has bought or fetched one.
//!
//! Its dates are fixed and wide: a box whose clock reads 1970 could not choose better ones, and a client that checks
//! dates checks authorities as well, of which this certificate has none.

use base64ct::Base64;
use base64ct::Encoding;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use crate::mail::Domain;

/// A new certificate for this name and its key, in PEM.
pub fn pem(name: &Domain) -> Result<(String, String), rcgen::Error> {
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

/// A certificate or key as the text that files hold (RFC 7468 s2).
pub fn armour(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are one line of 64 characters.
    for line in der.chunks(48) {
        text.push_str(&Base64::encode_string(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
