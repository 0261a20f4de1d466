//! Cuts the peer's bytes into lines that end with CRLF (RFC 5321 s2.3.8).
//!
//! Input is hostile. A line that lies whole inside the input is handed back as a slice of it; only a line that is
//! cut by the end of a block is held, and only until its end has come: most connections that are open hold nothing. A
//! line over the limit is swallowed to its end and reported once, so the dialog stays in step.

use crate::base::limits;

/// A CR without LF, an LF without CR, or a NUL.
///
/// RFC 5321 s2.3.8 forbids the first two, s4.5.2 the third. Guessing what the sender meant is what makes mail
/// smuggling possible, so the session ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray;

/// What [`Lines::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its CRLF.
    Whole(&'a [u8]),
    /// A line over the limit came to its end; nothing of it was kept.
    TooLong,
}

/// The reader of a session's command lines.
pub type Commands = Lines<{ limits::COMMAND_LINE }>;

/// The reader of the lines of a SASL exchange.
pub type LongLines = Lines<{ limits::AUTH_LINE }>;

/// Where the reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Inside a line, or before its first byte; what came of it is held.
    #[default]
    Text,
    /// After CR; only LF may follow.
    Cr,
    /// Inside a line that is too long.
    Swallow,
    /// After CR in such a line.
    SwallowCr,
    /// The held line was handed out; it is forgotten before the next byte is taken.
    Given,
}

/// The reader of lines of at most `MOST` bytes, CRLF included.
#[derive(Debug, Default)]
pub struct Lines<const MOST: usize> {
    /// The beginning of a line that was cut, at most `MOST` bytes.
    held: Vec<u8>,
    at: At,
}

impl<const MOST: usize> Lines<MOST> {
    /// Takes one line off the front of `input`; `None` when the input ends first, which is then taken whole.
    pub fn take<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Line<'a>>, Stray> {
        if self.at == At::Given {
            self.held = Vec::new();
            self.at = At::Text;
        }
        let all = *input;
        let mut start = 0;
        loop {
            let rest = all.get(start..).unwrap_or_default();
            match self.at {
                At::Text | At::Swallow => {
                    let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
                    let (text, byte, after) = match end {
                        Some(end) => (rest.get(..end), rest.get(end), start + end + 1),
                        None => (Some(rest), None, all.len()),
                    };
                    let text = text.unwrap_or_default();
                    let whole = self.at == At::Text && self.held.is_empty();
                    match byte {
                        // The common case: the line and its end lie in one block.
                        Some(b'\r') if whole && text.len() + 2 <= MOST => match all.get(after) {
                            Some(b'\n') => {
                                *input = all.get(after + 1..).unwrap_or_default();
                                return Ok(Some(Line::Whole(text)));
                            }
                            Some(_) => return Err(Stray),
                            None => {
                                self.held.extend_from_slice(text);
                                self.at = At::Cr;
                            }
                        },
                        Some(b'\r') | None => {
                            if self.at == At::Text && !self.room_for(text) {
                                self.held = Vec::new();
                                self.at = At::Swallow;
                            }
                            if self.at == At::Text {
                                self.held.extend_from_slice(text);
                            }
                            if byte.is_some() {
                                self.at = match self.at {
                                    At::Text => At::Cr,
                                    _ => At::SwallowCr,
                                };
                            }
                        }
                        Some(_) => return Err(Stray),
                    }
                    start = after;
                }
                At::Cr | At::SwallowCr => match rest.first() {
                    Some(b'\n') => {
                        *input = rest.get(1..).unwrap_or_default();
                        if self.at == At::SwallowCr {
                            self.at = At::Text;
                            return Ok(Some(Line::TooLong));
                        }
                        self.at = At::Given;
                        return Ok(Some(Line::Whole(&self.held)));
                    }
                    Some(_) => return Err(Stray),
                    None => {}
                },
                At::Given => return Ok(None),
            }
            if start >= all.len() {
                *input = &[];
                return Ok(None);
            }
        }
    }

    /// Forgets a line that was begun: what came before a TLS handshake is not believed (RFC 3207 s6).
    pub fn clear(&mut self) {
        self.held = Vec::new();
        self.at = At::Text;
    }

    fn room_for(&self, text: &[u8]) -> bool {
        self.held.len().saturating_add(text.len()) <= MOST.saturating_sub(2)
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Lines, Stray};
    use crate::base::limits;

    /// Feeds `input` in blocks of `step` bytes; over-long lines show as `!`.
    fn read<const MOST: usize>(input: &[u8], step: usize) -> Result<Vec<String>, Stray> {
        let (mut lines, mut got) = (Lines::<MOST>::default(), Vec::new());
        for block in input.chunks(step) {
            let mut rest = block;
            while let Some(line) = lines.take(&mut rest)? {
                got.push(match line {
                    Line::Whole(text) => String::from_utf8_lossy(text).into_owned(),
                    Line::TooLong => "!".to_owned(),
                });
            }
            assert!(rest.is_empty());
        }
        Ok(got)
    }

    #[test]
    fn lines_come_out_the_same_at_every_block_size() {
        let ok = |lines: &[&str]| Ok(lines.iter().map(|l| (*l).to_owned()).collect());
        for (input, want) in [
            ("NOOP\r\n", ok(&["NOOP"])),
            ("\r\n", ok(&[""])),
            ("a\r\n\r\nb\r\n", ok(&["a", "", "b"])),
            ("a\r\nrest", ok(&["a"])),
            ("12345678\r\n", ok(&["12345678"])),
            ("123456789\r\nb\r\n", ok(&["!", "b"])),
            ("1234567890123456789012345\r\nb\r\n", ok(&["!", "b"])),
            ("123456789\r\n123456789\r\n", ok(&["!", "!"])),
            ("a\nb\r\n", Err(Stray)),
            ("a\rb\r\n", Err(Stray)),
            ("a\r\r\n", Err(Stray)),
            ("a\0b\r\n", Err(Stray)),
            ("\n", Err(Stray)),
            ("123456789012\nb\r\n", Err(Stray)),
            ("123456789012\rb\r\n", Err(Stray)),
        ] {
            for step in 1..=input.len() {
                let got = read::<10>(input.as_bytes(), step);
                assert_eq!(got, want, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_long_line_is_bounded_too() {
        let fits = format!("{}\r\n", "a".repeat(limits::AUTH_LINE - 2));
        let over = format!("{}\r\n", "a".repeat(limits::AUTH_LINE - 1));
        for step in [1, 511, 4096, 20_000] {
            let got = read::<{ limits::AUTH_LINE }>(fits.as_bytes(), step).unwrap();
            assert_eq!(got.first().map(String::len), Some(limits::AUTH_LINE - 2));
            assert_eq!(
                read::<{ limits::AUTH_LINE }>(over.as_bytes(), step).unwrap(),
                ["!"]
            );
        }
    }

    #[test]
    fn nothing_is_held_between_two_lines() {
        let mut lines = Lines::<100>::default();
        for block in ["NO", "OP\r", "\nNOOP\r\n"] {
            let mut rest = block.as_bytes();
            while lines.take(&mut rest).unwrap().is_some() {}
        }
        assert_eq!(lines.held.capacity(), 0);
    }
}
