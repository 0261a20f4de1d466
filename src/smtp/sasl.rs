//! SASL (RFC 4422) as SMTP carries it (RFC 4954): what the mechanisms say, in base64.
//!
//! Why no CRAM-MD5 (RFC 2195): a server can check it only with the password itself, or with the two MD5 states made
//! from it that are as good as the password; we keep SCRAM verifiers, from which neither can be computed, so offering
//! it would mean keeping something worse for all users. As a client we would need MD5 and HMAC over it (two crates,
//! since `ring` has no MD5 any more) for peers that offer CRAM-MD5 and neither SCRAM nor, under TLS, PLAIN or LOGIN;
//! none is known to us. A peer that did would change our mind, behind a cargo feature that is off by default.

use crate::base::limits;
use crate::smtp::sasl::codec::NotBase64;
use crate::smtp::sasl::codec::decode;
use crate::smtp::sasl::codec::encode;

pub mod codec;
pub mod scram;

pub use scram::Verifier;

/// What a PLAIN message says (RFC 4616 s2), in base64. No user acts for another here.
pub fn plain(name: &str, password: &str) -> String {
    encode(format!("\0{name}\0{password}").as_bytes())
}

/// Name and password of a PLAIN message in base64. An authorization identity other than the name is refused.
pub fn read_plain(text: &[u8]) -> Result<(String, String), NotBase64> {
    let text = String::from_utf8(decode(text)?).map_err(|_| NotBase64)?;
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(identity), Some(name), Some(password), None)
            if (identity.is_empty() || identity == name)
                && !name.is_empty()
                && text.len() <= 3 * limits::CREDENTIAL =>
        {
            Ok((name.to_owned(), password.to_owned()))
        }
        _ => Err(NotBase64),
    }
}

/// The initial response of XOAUTH2, in base64: an access token instead of a password.
pub fn xoauth2(name: &str, token: &str) -> String {
    encode(format!("user={name}\x01auth=Bearer {token}\x01\x01").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::codec::{NotBase64, decode_text, encode};
    use super::{plain, read_plain};

    #[test]
    fn plain_messages() {
        let read = |text: &str| read_plain(encode(text.as_bytes()).as_bytes());
        let ok = Ok(("tim".to_owned(), "tan".to_owned()));
        assert_eq!(read("\0tim\0tan"), ok);
        assert_eq!(read("tim\0tim\0tan"), ok);
        assert_eq!(read_plain(plain("tim", "tan").as_bytes()), ok);
        for text in [
            "",
            "tim",
            "\0tim",
            "\0\0tan",
            "root\0tim\0tan",
            "\0tim\0tan\0",
        ] {
            assert_eq!(read(text), Err(NotBase64), "{text:?}");
        }
        assert_eq!(read_plain(b"!!"), Err(NotBase64));
        assert_eq!(decode_text(b"="), Ok(String::new()));
        assert_eq!(decode_text(encode(b"a\0b").as_bytes()), Err(NotBase64));
    }
}
