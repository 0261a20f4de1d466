//! SASL (RFC 4422) as SMTP carries it (RFC 4954): what the mechanisms say, in base64.
//!
//! CRAM-MD5 (RFC 2195) is offered only where the owner says so: see [`cram`].

use crate::base::limits;
use crate::smtp::sasl::codec::NotBase64;
use crate::smtp::sasl::codec::decode;
use crate::smtp::sasl::codec::encode;

pub mod codec;
pub mod cram;
#[cfg(feature = "sso")]
pub mod gssapi;
mod md;
pub mod mechanism;
#[cfg(feature = "ntlm")]
pub mod ntlm;
pub mod proof;
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

/// The same in the standard's words (RFC 7628 s3.1).
pub fn oauthbearer(name: &str, token: &str) -> String {
    let name = name.replace('=', "=3D").replace(',', "=2C");
    encode(format!("n,a={name},\x01auth=Bearer {token}\x01\x01").as_bytes())
}

/// What a client says to a failed OAUTHBEARER, in base64 (RFC 7628 s3.2.3).
pub const OAUTHBEARER_END: &str = "AQ==";

/// The answer to a challenge of CRAM-MD5 (RFC 2195 s2), in base64.
pub fn cram_md5(name: &str, password: &str, challenge: &[u8]) -> String {
    let digest = md::hmac_md5(password.as_bytes(), &[challenge]);
    encode(format!("{name} {}", md::hex(&digest)).as_bytes())
}

/// Eight bytes of what nobody has seen before.
#[cfg(feature = "ntlm")]
pub fn eight_of(nonce: &str) -> [u8; 8] {
    let digest = md::md5(nonce.as_bytes());
    digest.first_chunk().copied().unwrap_or_default()
}

/// What EXTERNAL says (RFC 4422 appendix A): whom the certificate stands for, or nothing, in base64.
pub fn external(name: &str) -> String {
    if name.is_empty() {
        "=".to_owned()
    } else {
        encode(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::codec::{NotBase64, decode_text, encode};
    use super::{cram_md5, external, oauthbearer, plain, read_plain};

    #[test]
    fn answers_of_the_standards() {
        // RFC 2195 s2.
        assert_eq!(
            cram_md5(
                "tim",
                "tanstaaftanstaaf",
                b"<1896.697170952@postoffice.reston.mci.net>"
            ),
            "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
        );
        assert_eq!(
            (external("").as_str(), external("a").as_str()),
            ("=", "YQ==")
        );
        assert_eq!(
            oauthbearer("a,b=c", "t"),
            encode(b"n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01")
        );
    }

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
