//! Private keys for signatures, and what is published of them.

use std::fmt;

use base64ct::Base64;
use base64ct::Encoding;
use ring::rand::SecureRandom;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use ring::signature::RsaKeyPair;

use crate::mail::domain::Domain;

/// A private key. Its algorithm is the key's own.
pub enum Key {
    /// Ed25519 (RFC 8463): small and quick, and not yet read by every verifier.
    Ed25519(Ed25519KeyPair),
    /// RSA of 2048 bits or more (RFC 8301 s3.2).
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

/// Why a text is no key that can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// There is no PEM block with a private key in it.
    NotPem,
    /// The key is locked with a passphrase.
    Locked,
    /// It is of another algorithm, damaged, or RSA of fewer than 2048 or more than 4096 bits.
    Unusable,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "there is no private key in PEM form in it",
            Self::Locked => "the key has a passphrase, which nobody would be there to type",
            Self::Unusable => {
                "the key is neither Ed25519 nor RSA of 2048 to 4096 bits, or it is damaged"
            }
        })
    }
}

impl std::error::Error for BadKey {}

/// What comes before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 s7).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// `rsaEncryption` with no parameters, as a public key names its algorithm (RFC 8017 sA.1).
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

impl Key {
    /// Reads the first private key of a PEM file: PKCS #8 as `openssl genpkey` writes it, or PKCS #1 as `openssl
    /// genrsa` does.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let (mut label, mut text) = (None, String::new());
        for line in pem.lines().map(str::trim) {
            let begins = line.strip_prefix("-----BEGIN ");
            match (begins.and_then(|rest| rest.strip_suffix("-----")), label) {
                (Some("ENCRYPTED PRIVATE KEY"), None) => return Err(BadKey::Locked),
                (Some(name @ ("PRIVATE KEY" | "RSA PRIVATE KEY")), None) => label = Some(name),
                (None, Some(_)) if line.starts_with("-----END ") => break,
                (None, Some(_)) if line.starts_with("Proc-Type:") => return Err(BadKey::Locked),
                (None, Some(_)) => text.push_str(line),
                _ => {}
            }
        }
        let label = label.ok_or(BadKey::NotPem)?;
        let der = Base64::decode_vec(&text).map_err(|_| BadKey::NotPem)?;
        if label == "PRIVATE KEY"
            && let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
        {
            return Ok(Self::Ed25519(key));
        }
        let rsa = match label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der),
            _ => RsaKeyPair::from_der(&der),
        };
        rsa.map(|key| Self::Rsa(Box::new(key)))
            .map_err(|_| BadKey::Unusable)
    }

    /// The PEM of an Ed25519 key made from 32 random bytes.
    pub fn new_pem(seed: &[u8; 32]) -> String {
        let der = [&PKCS8_ED25519[..], &seed[..]].concat();
        let text = Base64::encode_string(&der);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// The `a=` tag of its signatures.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519-sha256",
            Self::Rsa(_) => "rsa-sha256",
        }
    }

    /// Signs the SHA-256 hash of the headers, given as what is hashed. RFC 8463 s3: Ed25519 signs the hash, not the
    /// text. `None` when the system has no random numbers.
    pub fn sign(&self, text: &[u8], random: &dyn SecureRandom) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(key) => {
                let hash = ring::digest::digest(&ring::digest::SHA256, text);
                Some(key.sign(hash.as_ref()).as_ref().to_vec())
            }
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, random, text, &mut signature)
                    .ok()?;
                Some(signature)
            }
        }
    }

    /// What is published: the text of the TXT record (RFC 6376 s3.6.1, RFC 8463 s4).
    pub fn record(&self) -> String {
        match self {
            Self::Ed25519(key) => {
                let key = Base64::encode_string(key.public_key().as_ref());
                format!("v=DKIM1; k=ed25519; p={key}")
            }
            Self::Rsa(key) => {
                let mut bits = vec![0];
                bits.extend_from_slice(key.public().as_ref());
                let mut inner = RSA_ENCRYPTION.to_vec();
                der(0x03, &bits, &mut inner);
                let mut whole = Vec::new();
                der(0x30, &inner, &mut whole);
                format!("v=DKIM1; k=rsa; p={}", Base64::encode_string(&whole))
            }
        }
    }
}

/// Where the record stands.
pub fn record_name(selector: &Domain, domain: &Domain) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// Appends a DER value with its tag and length.
fn der(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    let length = value.len().to_be_bytes();
    let first = length.iter().position(|&b| b != 0).unwrap_or(length.len());
    let length = length.get(first..).unwrap_or_default();
    match length {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // At most eight bytes.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::{BadKey, Key};
    use base64ct::{Base64, Encoding};

    /// RFC 8463 sA.1.
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

    #[test]
    fn a_key_of_ours_is_read_again_and_published_as_the_standard_says() {
        let seed = Base64::decode_vec(SEED).unwrap().try_into().unwrap();
        let key = Key::from_pem(&Key::new_pem(&seed)).unwrap();
        assert_eq!(
            key.record(),
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        );
        assert_eq!(format!("{key:?}"), "ed25519-sha256");
    }

    #[test]
    fn what_is_no_key_is_said() {
        let pem = |label: &str, text: &str| {
            format!("# a note\n-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        for (text, why) in [
            (String::new(), BadKey::NotPem),
            (pem("PUBLIC KEY", "AAAA"), BadKey::NotPem),
            (pem("PRIVATE KEY", "!"), BadKey::NotPem),
            (pem("PRIVATE KEY", "AAAA"), BadKey::Unusable),
            (pem("RSA PRIVATE KEY", "AAAA"), BadKey::Unusable),
            (pem("ENCRYPTED PRIVATE KEY", "AAAA"), BadKey::Locked),
            (
                pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
                BadKey::Locked,
            ),
        ] {
            assert_eq!(Key::from_pem(&text).err(), Some(why), "{text}");
        }
    }
}
