//! Base64 as SASL messages use it (RFC 4954 s4).

use base64ct::Base64;
use base64ct::Encoding;

use crate::base::limits;

/// Text in base64 that holds no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

/// Bytes as base64.
pub fn encode(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Bytes from base64; `=` alone is an empty message (RFC 4954 s4).
pub fn decode(text: &[u8]) -> Result<Vec<u8>, NotBase64> {
    if text == b"=" {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(text).map_err(|_| NotBase64)?;
    Base64::decode_vec(text).map_err(|_| NotBase64)
}

/// Text from base64: UTF-8 without NUL and not over the limit.
pub fn decode_text(text: &[u8]) -> Result<String, NotBase64> {
    let text = String::from_utf8(decode(text)?).map_err(|_| NotBase64)?;
    if text.len() > limits::CREDENTIAL || text.contains('\0') {
        return Err(NotBase64);
    }
    Ok(text)
}
