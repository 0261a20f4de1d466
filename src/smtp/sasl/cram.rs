//! CRAM-MD5 (RFC 2195) on the server's side, for devices that know nothing better.
//!
//! What is kept of a password for it is as good as the password to who steals it and speaks CRAM-MD5, which SCRAM's
//! verifier is not. So it is kept only for users whose owner asked for it, and offered only where a listener says so.

use std::fmt;

use crate::smtp::sasl::md;
use crate::smtp::sasl::md::HmacMd5;
use crate::smtp::sasl::scram::NotAVerifier;

/// The mark in front, as Dovecot writes it: a file of its users can be taken over.
const MARK: &str = "{CRAM-MD5}";

/// What a server keeps of a password for CRAM-MD5.
#[derive(Clone, PartialEq, Eq)]
pub struct Cram(HmacMd5);

/// Shows nothing.
impl fmt::Debug for Cram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cram(secret)")
    }
}

impl Cram {
    /// Computes it from a password.
    pub fn derive(password: &str) -> Self {
        Self(HmacMd5::new(password.as_bytes()))
    }

    /// Reads `{CRAM-MD5}` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, NotAVerifier> {
        let digits = text.strip_prefix(MARK).ok_or(NotAVerifier)?;
        let both = md::from_hex(digits).ok_or(NotAVerifier)?;
        let both = both.try_into().map_err(|_| NotAVerifier)?;
        Ok(Self(HmacMd5::from_bytes(&both)))
    }

    /// The text form; not `Display`, so that it is never printed by accident.
    pub fn to_text(&self) -> String {
        format!("{MARK}{}", md::hex(&self.0.to_bytes()))
    }

    /// Whether this is the signature of the challenge, in hexadecimal digits. Takes as long for a wrong one.
    pub fn check(&self, challenge: &str, digest: &str) -> bool {
        let given = md::from_hex(digest).and_then(|bytes| bytes.try_into().ok());
        let right = self.0.sign(challenge.as_bytes());
        given.is_some_and(|given| md::same(&right, &given))
    }
}

/// Name and digest of a client's answer.
pub fn read(answer: &str) -> Option<(String, String)> {
    let (name, digest) = answer.rsplit_once(' ')?;
    let good = digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    (good && !name.is_empty()).then(|| (name.to_owned(), digest.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::{Cram, read};

    /// RFC 2195 s2, and what `doveadm pw -s CRAM-MD5` writes for "test".
    #[test]
    fn the_example_of_the_standard_and_the_form_of_another_server() {
        let cram = Cram::derive("tanstaaftanstaaf");
        let challenge = "<1896.697170952@postoffice.reston.mci.net>";
        let digest = "b913a602c7eda7a495b4e6e7334d3890";
        assert!(cram.check(challenge, digest));
        assert!(!cram.check(challenge, "b913a602c7eda7a495b4e6e7334d3891"));
        assert!(!cram.check(challenge, ""));
        assert!(!cram.check("<1896.697170953@postoffice.reston.mci.net>", digest));
        assert_eq!(Cram::parse(&cram.to_text()), Ok(cram));
        assert_eq!(
            Cram::derive("test").to_text(),
            "{CRAM-MD5}e02d374fde0dc75a17a557039a3a5338c7743304777dccd376f332bee68d2cf6"
        );
        for text in ["", "{CRAM-MD5}", "e02d", "{CRAM-MD5}e02d37"] {
            assert!(Cram::parse(text).is_err(), "{text}");
        }
        assert!(Cram::parse(&format!("{{CRAM-MD5}}{}", "+1".repeat(32))).is_err());
    }

    #[test]
    fn answers() {
        let digest = "B913a602c7eda7a495b4e6e7334d3890";
        let name = |text: &str| read(text).map(|(name, _)| name);
        assert_eq!(name(&format!("tim {digest}")).as_deref(), Some("tim"));
        assert_eq!(name(&format!("a b {digest}")).as_deref(), Some("a b"));
        for text in [
            "",
            "tim",
            digest,
            &format!(" {digest}"),
            "tim 12",
            &format!("tim {digest}0"),
        ] {
            assert_eq!(name(text), None, "{text}");
        }
    }
}
