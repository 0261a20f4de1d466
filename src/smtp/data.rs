//! Message bodies on the wire: the DATA reader, the BDAT check and the outbound stuffer.
//!
//! Input is hostile. Nothing is buffered: kept text is handed back as slices of the input, so a body of any size
//! costs one byte of state. Long stretches without a line end are passed over eight bytes at a time.

use crate::smtp::line::Stray;

/// Where the reader stands inside the current line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first byte of a line. A body starts here too, so a lone dot ends an empty body.
    LineStart,
    /// Inside a line.
    Text,
    /// After CR; only LF may follow.
    Cr,
    /// After a dot that opened the line. It is never kept.
    Dot,
    /// After such a dot and CR; only LF may follow, and it ends the body.
    DotCr,
}

/// What [`Data::take`] found at the front of its input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Body text, to be stored as it is. Empty when all input was taken without any.
    Text(&'a [u8]),
    /// The final dot. Bytes after it are the next command.
    End,
}

/// The reader for one body after DATA: finds its end and undoes dot-stuffing (RFC 5321 s4.5.2).
#[derive(Debug)]
pub struct Data {
    at: At,
}

impl Default for Data {
    fn default() -> Self {
        Self { at: At::LineStart }
    }
}

impl Data {
    /// Takes one piece off the front of `input`. Ask again until it gives empty text or the end.
    pub fn take<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Stray> {
        let all = *input;
        let (mut kept, mut here) = (0..0, 0);
        while let Some(&byte) = all.get(here) {
            let (next, keep) = match (self.at, byte) {
                (At::LineStart, b'.') => (At::Dot, false),
                (At::Dot, b'\r') => (At::DotCr, false),
                (At::DotCr, b'\n') if kept.is_empty() => {
                    *input = all.get(here + 1..).unwrap_or_default();
                    return Ok(Piece::End);
                }
                (At::Cr, b'\n') => (At::LineStart, true),
                (At::Cr | At::DotCr, _) | (_, b'\n' | 0) => return Err(Stray),
                (_, b'\r') => (At::Cr, true),
                _ => (At::Text, true),
            };
            if !keep && !kept.is_empty() {
                break;
            }
            let mut after = here + 1;
            if next == At::Text {
                after += plain(all.get(after..).unwrap_or_default());
            }
            if keep {
                if kept.is_empty() {
                    kept.start = here;
                }
                kept.end = after;
            }
            self.at = next;
            here = after;
        }
        *input = all.get(here..).unwrap_or_default();
        Ok(Piece::Text(all.get(kept).unwrap_or_default()))
    }
}

/// Checks the lines of a body that came by BDAT without BINARYMIME: it may leave by DATA, where a stray CR or LF
/// would smuggle (RFC 3030 s2 asks for CRLF lines there as well).
#[derive(Debug, Default)]
pub struct Chunks {
    /// The last byte seen was CR.
    cr: bool,
}

impl Chunks {
    /// Looks at the next bytes of the body.
    pub fn check(&mut self, mut text: &[u8]) -> Result<(), Stray> {
        while let Some((&byte, rest)) = text.split_first() {
            match (self.cr, byte) {
                (true, b'\n') => self.cr = false,
                (true, _) | (false, b'\n' | 0) => return Err(Stray),
                (false, b'\r') => self.cr = true,
                (false, _) => {
                    text = rest.get(plain(rest)..).unwrap_or_default();
                    continue;
                }
            }
            text = rest;
        }
        Ok(())
    }

    /// The body ended here.
    pub fn end(&self) -> Result<(), Stray> {
        if self.cr { Err(Stray) } else { Ok(()) }
    }
}

/// How many bytes at the front are neither CR, LF nor NUL.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    let mut rest = text;
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let eight = u64::from_ne_bytes(*eight);
        // Not zero when some byte is below 14: all three wanted bytes are, and in text little else.
        if eight.wrapping_sub(ONES.wrapping_mul(14)) & !eight & HIGH != 0
            && let Some(found) = special(rest.get(..8).unwrap_or_default())
        {
            return at + found;
        }
        at += 8;
        rest = after;
    }
    at + special(rest).unwrap_or(rest.len())
}

fn special(text: &[u8]) -> Option<usize> {
    text.iter().position(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// Writes a body for the peer: doubles the dots that open a line and sets the final dot (RFC 5321 s4.5.2), or, for
/// BDAT, leaves every byte alone.
///
/// The body is text with CRLF lines, as the journal keeps it; nothing else about it is changed.
#[derive(Debug)]
pub struct Stuffer {
    form: Form,
    /// How many bytes of a CRLF the last bytes were: 2 is the start of a line, where a body starts as well.
    ended: u8,
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Dots,
    Bare,
}

impl Stuffer {
    /// For DATA.
    pub fn dots() -> Self {
        Self {
            form: Form::Dots,
            ended: 2,
        }
    }

    /// For BDAT.
    pub fn bare() -> Self {
        Self {
            form: Form::Bare,
            ended: 2,
        }
    }

    /// Whether blocks may be written as they are, without [`Stuffer::push`].
    pub fn is_bare(&self) -> bool {
        self.form == Form::Bare
    }

    /// Appends the next block of the body to `out`: at most twice its length.
    pub fn push(&mut self, block: &[u8], out: &mut Vec<u8>) {
        if self.is_bare() {
            out.extend_from_slice(block);
            return;
        }
        out.reserve(block.len().saturating_add(64));
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if self.ended == 2 && first == b'.' {
                out.push(b'.');
            }
            let end = match (self.ended, first) {
                (1, b'\n') => 1,
                _ => {
                    let cr = plain(rest);
                    match (rest.get(cr), rest.get(cr + 1)) {
                        (Some(b'\r'), Some(b'\n')) => cr + 2,
                        (Some(_), _) => cr + 1,
                        (None, _) => rest.len(),
                    }
                }
            };
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.ended = match (self.ended, line) {
                (1, [b'\n']) | (_, [.., b'\r', b'\n']) => 2,
                (_, [.., b'\r']) => 1,
                _ => 0,
            };
            out.extend_from_slice(line);
            rest = after;
        }
    }

    /// Appends what ends the body. Write it together with the last block: a dot in a packet of its own costs a
    /// round trip of delayed acknowledgement with some peers.
    pub fn end(self, out: &mut Vec<u8>) {
        if self.form == Form::Dots {
            out.extend_from_slice(match self.ended {
                2 => b".\r\n",
                1 => b"\n.\r\n",
                _ => b"\r\n.\r\n",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunks, Data, Piece, Stray, Stuffer, plain};

    /// Feeds `input` in blocks of `step` bytes; the number is where the body ended.
    fn read(input: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>), Stray> {
        let (mut data, mut text, mut at) = (Data::default(), Vec::new(), 0);
        for block in input.chunks(step) {
            let mut rest = block;
            loop {
                let before = rest.len();
                let piece = data.take(&mut rest)?;
                at += before - rest.len();
                match piece {
                    Piece::Text([]) if rest.is_empty() => break,
                    Piece::Text(kept) => text.extend_from_slice(kept),
                    Piece::End => return Ok((text, Some(at))),
                }
            }
        }
        Ok((text, None))
    }

    #[test]
    fn a_body_ends_at_its_dot_and_nowhere_else() {
        let ok = |text: &str, end| Ok((text.as_bytes().to_vec(), end));
        for (input, want) in [
            ("hi\r\n.\r\n", ok("hi\r\n", Some(7))),
            (".\r\n", ok("", Some(3))),
            ("..\r\n.\r\n", ok(".\r\n", Some(7))),
            ("...\r\n.\r\n", ok("..\r\n", Some(8))),
            (".x\r\n.\r\nQUIT\r\n", ok("x\r\n", Some(7))),
            ("a.b\r\n.\r\n", ok("a.b\r\n", Some(8))),
            ("\r\n\r\n.\r\n", ok("\r\n\r\n", Some(7))),
            (
                "a line longer than eight bytes\r\n.\r\n",
                ok("a line longer than eight bytes\r\n", Some(35)),
            ),
            ("hi\r\n", ok("hi\r\n", None)),
            ("hi\r\n.", ok("hi\r\n", None)),
            ("hi\r\n.\r", ok("hi\r\n", None)),
            ("hi\r\n.\r\r\n", Err(Stray)),
            ("hi\r\n.\rx", Err(Stray)),
            ("hi\n.\r\n", Err(Stray)),
            ("hi\r\n.\n", Err(Stray)),
            ("hi\n.\n", Err(Stray)),
            ("hi\r.\r\n", Err(Stray)),
            ("hi\r.\r", Err(Stray)),
            ("hi\r\n\n.\r\n", Err(Stray)),
            ("hi\0\r\n.\r\n", Err(Stray)),
            ("0123456789abcdef\nhi\r\n.\r\n", Err(Stray)),
            ("0123456789abcdef\0hi\r\n.\r\n", Err(Stray)),
            ("\r\r\n", Err(Stray)),
            ("\n", Err(Stray)),
        ] {
            for step in 1..=input.len() {
                assert_eq!(read(input.as_bytes(), step), want, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_long_body_comes_in_large_slices() {
        let body = "0123456789 tab\there, and so on up to a usual length\r\n".repeat(1000);
        let whole = format!("{body}.\r\n");
        let (mut data, mut rest) = (Data::default(), whole.as_bytes());
        assert_eq!(data.take(&mut rest), Ok(Piece::Text(body.as_bytes())));
        assert_eq!(data.take(&mut rest), Ok(Piece::End));
        assert!(rest.is_empty());
    }

    #[test]
    fn the_fast_way_finds_what_the_slow_way_finds() {
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=255u8 {
                    let mut text = vec![b'a'; length];
                    text[place] = byte;
                    let want = if matches!(byte, b'\r' | b'\n' | 0) {
                        place
                    } else {
                        length
                    };
                    assert_eq!(plain(&text), want, "{byte} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn chunks_hold_whole_lines_only() {
        for (input, want) in [
            ("hi\r\nthere\r\n", Ok(())),
            ("no line end", Ok(())),
            ("", Ok(())),
            ("hi\nthere", Err(Stray)),
            ("hi\rthere", Err(Stray)),
            ("hi\r", Err(Stray)),
            ("0123456789abcdef\n", Err(Stray)),
            ("a\0", Err(Stray)),
        ] {
            for step in 1..=input.len().max(1) {
                let mut chunks = Chunks::default();
                let got = input
                    .as_bytes()
                    .chunks(step)
                    .try_for_each(|block| chunks.check(block))
                    .and_then(|()| chunks.end());
                assert_eq!(got, want, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_stuffed_reads_back_the_same() {
        for (body, want) in [
            ("hi\r\n", "hi\r\n.\r\n"),
            ("", ".\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..x\r\n.y\r\n", "...x\r\n..y\r\n.\r\n"),
            ("a.b\r\n", "a.b\r\n.\r\n"),
            ("\r\n.\r\n", "\r\n..\r\n.\r\n"),
            ("no end", "no end\r\n.\r\n"),
            ("no end\r", "no end\r\n.\r\n"),
            (
                "a long line of text without a dot\r\n.dot\r\n",
                "a long line of text without a dot\r\n..dot\r\n.\r\n",
            ),
        ] {
            for step in 1..=body.len().max(1) {
                let (mut stuffer, mut out) = (Stuffer::dots(), Vec::new());
                for block in body.as_bytes().chunks(step) {
                    stuffer.push(block, &mut out);
                }
                stuffer.end(&mut out);
                assert_eq!(String::from_utf8(out.clone()).unwrap(), want, "by {step}");
                let (mut text, end) = read(&out, step).unwrap();
                assert_eq!(end, Some(out.len()));
                text.truncate(body.len());
                assert_eq!(text, body.as_bytes());
            }
        }
    }
}
