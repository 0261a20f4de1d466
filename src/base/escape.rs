//! The one place where text from a stranger is made safe for a log line or a terminal.

use std::fmt;
use std::fmt::Write;

/// Prints bytes with everything that is not printable ASCII as `\xNN`, and the backslash doubled.
///
/// One byte in makes at most four characters out, so a bounded input stays bounded.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        let all: Vec<u8> = (0..=255).collect();
        let text = Escaped(&all).to_string();
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)));
        assert_eq!(
            Escaped(b"a\r\n\x1b[0m\\").to_string(),
            "a\\x0d\\x0a\\x1b[0m\\\\"
        );
    }
}
