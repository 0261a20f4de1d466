//! Cuts the peer's bytes into lines that end with CRLF (RFC 5321 s2.3.8).
//!
//! Input is hostile. A line that lies whole inside the input is handed back as a slice of it; only a line that is
//! cut by the end of a block is held, in a buffer of fixed size. A longer line is swallowed to its end and reported
//! once, so the dialog stays in step.

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

/// Where a cut line is held until its end comes.
pub trait Hold {
    /// Longest line, CRLF included.
    const MOST: usize;

    /// Adds `more`; false when it does not fit.
    fn add(&mut self, more: &[u8]) -> bool;

    /// What is held.
    fn held(&self) -> &[u8];

    /// Forgets it.
    fn clear(&mut self);
}

impl<const N: usize> Hold for heapless::Vec<u8, N> {
    const MOST: usize = N;

    fn add(&mut self, more: &[u8]) -> bool {
        self.extend_from_slice(more).is_ok()
    }

    fn held(&self) -> &[u8] {
        self
    }

    fn clear(&mut self) {
        self.clear();
    }
}

/// Holds one line of a SASL exchange. It costs nothing while no such line is cut, so that connections which never
/// authenticate do not pay for the 12 KiB of RFC 4954 s4.
#[derive(Debug, Default)]
pub struct LongLine(Vec<u8>);

impl Hold for LongLine {
    const MOST: usize = limits::AUTH_LINE;

    fn add(&mut self, more: &[u8]) -> bool {
        let fits = self.0.len().saturating_add(more.len()) <= Self::MOST;
        if fits {
            self.0.extend_from_slice(more);
        }
        fits
    }

    fn held(&self) -> &[u8] {
        &self.0
    }

    fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// The buffer of a session's command lines.
pub type Commands = Lines<heapless::Vec<u8, { limits::COMMAND_LINE }>>;

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

/// The reader.
#[derive(Debug, Default)]
pub struct Lines<H> {
    hold: H,
    at: At,
}

impl<H: Hold> Lines<H> {
    /// Takes one line off the front of `input`; `None` when the input ends first, which is then taken whole.
    pub fn take<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Line<'a>>, Stray> {
        if self.at == At::Given {
            self.hold.clear();
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
                    let whole = self.at == At::Text && self.hold.held().is_empty();
                    match byte {
                        // The common case: the line and its end lie in one block.
                        Some(b'\r') if whole && text.len() + 2 <= H::MOST => match all.get(after) {
                            Some(b'\n') => {
                                *input = all.get(after + 1..).unwrap_or_default();
                                return Ok(Some(Line::Whole(text)));
                            }
                            Some(_) => return Err(Stray),
                            None => {
                                self.hold.add(text);
                                self.at = At::Cr;
                            }
                        },
                        Some(b'\r') | None => {
                            if self.at == At::Text && !self.room_for(text) {
                                self.hold.clear();
                                self.at = At::Swallow;
                            }
                            if self.at == At::Text {
                                self.hold.add(text);
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
                        return Ok(Some(Line::Whole(self.hold.held())));
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
        self.hold.clear();
        self.at = At::Text;
    }

    fn room_for(&self, text: &[u8]) -> bool {
        self.hold.held().len().saturating_add(text.len()) <= H::MOST.saturating_sub(2)
    }
}

#[cfg(test)]
mod tests {
    use super::{Hold, Line, Lines, LongLine, Stray};

    /// Feeds `input` in blocks of `step` bytes; over-long lines show as `!`.
    fn read<H: Hold + Default>(input: &[u8], step: usize) -> Result<Vec<String>, Stray> {
        let (mut lines, mut got) = (Lines::<H>::default(), Vec::new());
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
                let got = read::<heapless::Vec<u8, 10>>(input.as_bytes(), step);
                assert_eq!(got, want, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_long_line_is_bounded_too() {
        let fits = format!("{}\r\n", "a".repeat(LongLine::MOST - 2));
        let over = format!("{}\r\n", "a".repeat(LongLine::MOST - 1));
        for step in [1, 511, 4096, 20_000] {
            let got = read::<LongLine>(fits.as_bytes(), step).unwrap();
            assert_eq!(got.first().map(String::len), Some(LongLine::MOST - 2));
            assert_eq!(read::<LongLine>(over.as_bytes(), step).unwrap(), ["!"]);
        }
    }
}
