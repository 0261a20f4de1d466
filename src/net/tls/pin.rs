//! Pins: a certificate or key by its fingerprint.

use std::fmt;

/// SHA-256 of a certificate, or of its public key (SPKI).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Reads 64 hex digits; colons between bytes are allowed, as `openssl x509 -fingerprint` prints them.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte| char::from(byte).to_digit(16);
        let mut digits = text.bytes().filter(|&byte| byte != b':');
        let mut pin = [0; 32];
        for byte in &mut pin {
            let (high, low) = (digit(digits.next()?)?, digit(digits.next()?)?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        digits.next().is_none().then_some(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}
