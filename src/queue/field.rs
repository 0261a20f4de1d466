//! Fixed-width little-endian fields and counted texts: the alphabet that record payloads are written in.
//!
//! Trust: bytes come from a disk that may have lost or flipped some; every read is checked and a short field ends
//! the decoding, never the program.

/// Takes fields off the front of a payload.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

/// The payload ends too early or holds a value that nothing of ours writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the record cannot be read")
    }
}

impl std::error::Error for Malformed {}

impl<'a> Fields<'a> {
    /// Starts at the front of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (front, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*front)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text behind its length in 16 bits.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let count = self.u16()?;
        std::str::from_utf8(self.bytes(usize::from(count))?).map_err(|_| Malformed)
    }

    /// Whatever is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Checks that nothing is left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends a text behind its length; what does not fit 16 bits is cut at a character.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = clip(text, usize::from(u16::MAX));
    let count = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends what `value` prints, without a string in between.
pub fn put_display(out: &mut Vec<u8>, value: &impl std::fmt::Display) {
    use std::io::Write;

    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    // Writing to a Vec cannot fail, and what is written here (addresses) is far below 64 KiB.
    let _ = write!(out, "{value}");
    let count = out.len().saturating_sub(start).saturating_sub(2);
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    out.truncate(start.saturating_add(2).saturating_add(usize::from(count)));
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *place = count.to_le_bytes();
    }
}

/// The longest front of `text` that has at most `most` bytes and ends at a character.
pub fn clip(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Fields, Malformed, clip, put_display, put_text};

    #[test]
    fn fields_come_back_and_short_ones_are_refused() {
        let mut out = vec![7];
        put_text(&mut out, "b\u{fc}ro");
        put_display(&mut out, &12345);
        for cut in 0..out.len() {
            let mut fields = Fields::new(&out[..cut]);
            let all = fields
                .u8()
                .and_then(|_| fields.text())
                .and_then(|_| fields.text());
            assert_eq!(all, Err(Malformed), "cut at {cut}");
        }
        let mut fields = Fields::new(&out);
        assert_eq!(fields.u8(), Ok(7));
        assert_eq!(fields.text(), Ok("b\u{fc}ro"));
        assert_eq!(fields.text(), Ok("12345"));
        assert_eq!(fields.end(), Ok(()));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(clip("a\u{fc}b", 2), "a");
        assert_eq!(clip("a\u{fc}b", 3), "a\u{fc}");
        assert_eq!(clip("ab", 9), "ab");
    }
}
