//! Passwords: read once, never printed.

use std::fmt;

/// A password. Its Debug form prints nothing, it has no Display, and it is told apart by nobody.
///
/// Invariant: 1 to [`LONGEST`] bytes without NUL, CR and LF, so it can be given to any SASL mechanism.
#[derive(Clone)]
pub struct Secret(String);

/// Longest password taken: app passwords have 16 characters, tokens of providers reach 2 KiB.
pub const LONGEST: usize = 4096;

/// Why a text is not a password. Never holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSecret {
    /// Nothing there.
    Empty,
    /// Over the longest.
    TooLong,
    /// Not UTF-8 (RFC 4616 s2 wants UTF-8).
    Charset,
    /// A NUL or a line end inside.
    Control,
}

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the password is empty",
            Self::TooLong => "the password is longer than 4096 bytes",
            Self::Charset => "the password is not UTF-8",
            Self::Control => "the password has a line end or a NUL inside: one line only",
        })
    }
}

impl std::error::Error for BadSecret {}

impl Secret {
    /// Takes a password as it stands in a file or a variable: one line, whose line end does not count.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSecret> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(BadSecret::Empty);
        }
        if bytes.len() > LONGEST {
            return Err(BadSecret::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadSecret::Charset)?;
        if text.contains(['\0', '\r', '\n']) {
            return Err(BadSecret::Control);
        }
        Ok(Self(text.to_owned()))
    }

    /// The password itself, for the one who logs in with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::{BadSecret, LONGEST, Secret};

    #[test]
    fn one_line_is_a_password() {
        for (bytes, want) in [
            (&b"hunter2"[..], Ok("hunter2")),
            (b"hunter2\n", Ok("hunter2")),
            (b"hunter2\r\n", Ok("hunter2")),
            (b" a b \n", Ok(" a b ")),
            (b"", Err(BadSecret::Empty)),
            (b"\n", Err(BadSecret::Empty)),
            (b"a\nb\n", Err(BadSecret::Control)),
            (b"a\0", Err(BadSecret::Control)),
            (b"\xff", Err(BadSecret::Charset)),
            (&[b'x'; LONGEST + 1], Err(BadSecret::TooLong)),
        ] {
            let got = Secret::parse(bytes);
            assert_eq!(got.as_ref().map(Secret::reveal), want.as_ref().copied());
        }
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let secret = Secret::parse(b"hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
