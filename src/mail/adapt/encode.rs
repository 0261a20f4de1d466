//! Writers of quoted-printable and base64 (RFC 2045 s6.7 and s6.8), fed piece by piece.

use base64ct::Base64;
use base64ct::Encoding;

use crate::base::limits;

/// Most characters of a line (RFC 2045 s6.7 rule 5 and s6.8).
const LINE: usize = 76;

/// Bytes of a full line of base64.
const BYTES: usize = LINE / 4 * 3;

/// Quoted-printable.
#[derive(Debug, Default)]
pub struct Quoted {
    column: usize,
    /// A blank that may turn out to end its line, where it has to be encoded.
    blank: Option<u8>,
}

impl Quoted {
    /// Text without line ends; CR and LF in it are not line ends.
    pub fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for &byte in text {
            if let Some(blank) = self.blank.take() {
                self.put(&[blank], out);
            }
            match byte {
                b' ' | b'\t' => self.blank = Some(byte),
                b'=' => self.put(&hex(byte), out),
                b'!'..=b'~' => self.put(&[byte], out),
                _ => self.put(&hex(byte), out),
            }
        }
    }

    /// A line ends here.
    pub fn line_end(&mut self, out: &mut Vec<u8>) {
        self.end(out);
        out.extend_from_slice(b"\r\n");
    }

    /// The text ends here.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.put(&hex(blank), out);
        }
        self.column = 0;
    }

    fn put(&mut self, sign: &[u8], out: &mut Vec<u8>) {
        // One column stays free for the sign of a soft line end.
        if self.column.saturating_add(sign.len()) >= LINE {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        out.extend_from_slice(sign);
        self.column = self.column.saturating_add(sign.len());
    }
}

/// What quoted-printable writes for a byte.
pub fn hex(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    [b'=', digit(byte >> 4), digit(byte & 15)]
}

/// Mends quoted-printable: breaks lines that are too long, and encodes what should have been.
#[derive(Debug, Default)]
pub struct Softened {
    column: usize,
    /// Hexadecimal digits still to come behind a `=`.
    digits: u8,
}

impl Softened {
    /// Text without line ends: a piece of a `long` line, or a whole one, which becomes long when much of it is encoded. Only
    /// long lines are broken.
    pub fn text(&mut self, text: &[u8], long: bool, out: &mut Vec<u8>) {
        let grown = text
            .iter()
            .filter(|byte| !is_plain(**byte))
            .count()
            .saturating_mul(2);
        let long = long || text.len().saturating_add(grown) > limits::TEXT_LINE;
        for &byte in text {
            if self.digits > 0 {
                self.digits -= 1;
            } else if long && self.column >= LINE - 4 {
                out.extend_from_slice(b"=\r\n");
                self.column = 0;
            }
            if byte == b'=' {
                self.digits = 2;
            }
            let before = out.len();
            if is_plain(byte) {
                out.push(byte);
            } else {
                out.extend_from_slice(&hex(byte));
            }
            let wrote = out.len().saturating_sub(before);
            self.column = self.column.saturating_add(wrote);
        }
    }

    /// A line ends here.
    pub fn line_end(&mut self) {
        (self.column, self.digits) = (0, 0);
    }
}

/// What quoted-printable that somebody else wrote may have as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}

/// Base64, from bytes or from base64 with lines that are too long.
#[derive(Debug, Default)]
pub struct Based {
    /// What makes no full line yet.
    held: Vec<u8>,
    /// Characters of the line under way, when they come encoded.
    column: usize,
    begun: bool,
}

impl Based {
    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.held.push(byte);
            if self.held.len() == BYTES {
                self.write(out);
            }
        }
    }

    /// Base64 that was written by somebody else; what is not of its alphabet means nothing (RFC 2045 s6.8).
    pub fn again(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let signs = text
            .iter()
            .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        for &sign in signs {
            if self.column == LINE {
                out.extend_from_slice(b"\r\n");
                self.column = 0;
            }
            out.push(sign);
            self.column += 1;
        }
    }

    /// The text ends here; no line end is written.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            self.write(out);
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        if self.begun {
            out.extend_from_slice(b"\r\n");
        }
        self.begun = true;
        let mut line = [0; LINE];
        // A full line of bytes fits exactly.
        let text = Base64::encode(&self.held, &mut line).unwrap_or_default();
        out.extend_from_slice(text.as_bytes());
        self.held.clear();
    }
}

/// Breaks a header line that is too long in front of its blanks (RFC 5322 s2.2.3).
#[derive(Debug, Default)]
pub struct Folded {
    column: usize,
    blank: Option<u8>,
}

impl Folded {
    /// The next piece of the line.
    pub fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for &byte in text {
            let is_blank = matches!(byte, b' ' | b'\t');
            if let Some(blank) = self.blank.take() {
                // Never behind the last text of a line: a line of blanks would look like the end of the header.
                if !is_blank && self.column >= LINE {
                    out.extend_from_slice(b"\r\n");
                    self.column = 0;
                }
                out.push(blank);
                self.column = self.column.saturating_add(1);
            }
            if is_blank {
                self.blank = Some(byte);
            } else {
                out.push(byte);
                self.column = self.column.saturating_add(1);
            }
        }
    }

    /// The line is over.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.extend(self.blank.take());
        self.column = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Based, Folded, Quoted, Softened};

    fn quoted(text: &str) -> String {
        let (mut quoted, mut out) = (Quoted::default(), Vec::new());
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                quoted.line_end(&mut out);
            }
            quoted.text(line.as_bytes(), &mut out);
        }
        quoted.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quoted_printable() {
        for (text, want) in [
            ("", ""),
            ("a=b", "a=3Db"),
            ("caf\u{e9}", "caf=C3=A9"),
            ("end \nnext\t", "end=20\r\nnext=09"),
            ("a  b", "a  b"),
            ("\r\u{7f}", "=0D=7F"),
        ] {
            assert_eq!(quoted(text), want);
        }
        let long = "x".repeat(200);
        let got = quoted(&long);
        assert!(got.lines().all(|line| line.len() <= 76));
        assert_eq!(got.replace("=\r\n", ""), long);
        let wide = "\u{e9}".repeat(100);
        assert!(quoted(&wide).lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn base64_in_lines_of_76() {
        let (mut based, mut out) = (Based::default(), Vec::new());
        for byte in 0..=255_u8 {
            based.bytes(&[byte], &mut out);
        }
        based.end(&mut out);
        let text = String::from_utf8(out.clone()).unwrap();
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [76, 76, 76, 76, 40]);
        let one: Vec<u8> = out
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        let (mut again, mut mended) = (Based::default(), Vec::new());
        again.again(&one[..100], &mut mended);
        again.again(&one[100..], &mut mended);
        assert_eq!(mended, out);
    }

    #[test]
    fn long_lines_of_quoted_printable_are_broken_between_its_signs() {
        let line = "=C3=A9 ".repeat(200);
        let (mut soft, mut out) = (Softened::default(), Vec::new());
        for piece in line.as_bytes().chunks(7) {
            soft.text(piece, true, &mut out);
        }
        let got = String::from_utf8(out).unwrap();
        assert!(got.lines().all(|line| line.len() <= 76), "{got}");
        assert_eq!(got.replace("=\r\n", ""), line);
        let mut out = Vec::new();
        Softened::default().text(b"\xe9=41", false, &mut out);
        assert_eq!(out, b"=E9=41");
        // Short as it came, and long as it goes.
        let mut out = Vec::new();
        Softened::default().text(&[0xE9; 400], false, &mut out);
        let got = String::from_utf8(out).unwrap();
        assert!(got.lines().all(|line| line.len() <= 76), "{got}");
        assert_eq!(got.replace("=\r\n", ""), "=E9".repeat(400));
    }

    #[test]
    fn long_header_lines_are_folded_at_their_blanks() {
        let line = format!("To: {}", "someone@example.com, ".repeat(100));
        let (mut folded, mut out) = (Folded::default(), Vec::new());
        folded.text(line.as_bytes(), &mut out);
        folded.end(&mut out);
        let got = String::from_utf8(out).unwrap();
        assert!(got.lines().all(|line| line.len() < 120), "{got}");
        assert!(
            got.lines()
                .skip(1)
                .all(|line| line.starts_with(' ') && line.len() > 5)
        );
        assert_eq!(got.replace("\r\n", ""), line);
    }
}
