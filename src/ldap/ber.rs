//! The elements of a message: a tag, a length, and so many bytes (the rules of BER as RFC 4511 s5.1 narrows them).
//!
//! Tags of LDAP take one byte and lengths are always said. Anything else ends the reading.

use std::fmt;

/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;
/// ENUMERATED.
pub const ENUMERATED: u8 = 0x0A;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the server says is no LDAP")
    }
}

impl std::error::Error for Malformed {}

/// The length of the element at the front of `input`, header included, once its header is there. At most `most` bytes.
pub fn frame(input: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match header(input)? {
        None => Ok(None),
        Some((SEQUENCE, head, len)) => {
            let whole = head.checked_add(len).ok_or(Malformed)?;
            if whole > most {
                return Err(Malformed);
            }
            Ok(Some(whole))
        }
        Some(_) => Err(Malformed),
    }
}

/// Tag, bytes of the header, bytes of the content; `None` while the header is not whole.
fn header(input: &[u8]) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let Some(&tag) = input.first() else {
        return Ok(None);
    };
    if tag & 0x1F == 0x1F {
        // A tag of several bytes: none of ours.
        return Err(Malformed);
    }
    let Some(&first) = input.get(1) else {
        return Ok(None);
    };
    if first < 0x80 {
        return Ok(Some((tag, 2, usize::from(first))));
    }
    // 0x80 is a length that is not said.
    let count = usize::from(first & 0x7F);
    if !(1..=4).contains(&count) {
        return Err(Malformed);
    }
    let Some(digits) = input.get(2..2_usize.saturating_add(count)) else {
        return Ok(None);
    };
    let len = digits
        .iter()
        .fold(0_u32, |sum, digit| sum << 8 | u32::from(*digit));
    let len = usize::try_from(len).map_err(|_| Malformed)?;
    Ok(Some((tag, 2_usize.saturating_add(count), len)))
}

/// Takes elements off the front of the content of another.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: its tag and content.
    pub fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (tag, head, len) = header(self.0)?.ok_or(Malformed)?;
        let (_, rest) = self.0.split_at_checked(head).ok_or(Malformed)?;
        let (content, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub fn expect(&mut self, wanted: u8) -> Result<&'a [u8], Malformed> {
        match self.any()? {
            (tag, content) if tag == wanted => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// A number that fits 31 bits and is not negative, under this tag.
    pub fn number(&mut self, tag: u8) -> Result<i32, Malformed> {
        let digits = self.expect(tag)?;
        if digits.is_empty() || digits.len() > 5 || digits.first().is_some_and(|d| *d >= 0x80) {
            return Err(Malformed);
        }
        let value = digits
            .iter()
            .fold(0_u64, |sum, digit| sum << 8 | u64::from(*digit));
        i32::try_from(value).map_err(|_| Malformed)
    }

    /// A text under this tag; bytes that are no UTF-8 are replaced.
    pub fn text(&mut self, tag: u8) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.expect(tag)?).into_owned())
    }
}

/// Appends one element.
pub fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    if len < 0x80 {
        out.extend(u8::try_from(len));
    } else {
        let digits = len.to_be_bytes();
        let skip = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = digits.get(skip..).unwrap_or_default();
        out.extend(u8::try_from(digits.len()).map(|count| 0x80 | count));
        out.extend_from_slice(digits);
    }
    out.extend_from_slice(content);
}

/// Appends a number that is not negative.
pub fn put_number(out: &mut Vec<u8>, tag: u8, value: u32) {
    let digits = value.to_be_bytes();
    let skip = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(skip.min(3)..).unwrap_or_default();
    let mut content = Vec::with_capacity(5);
    if digits.first().is_some_and(|first| *first >= 0x80) {
        // Else it would be negative.
        content.push(0);
    }
    content.extend_from_slice(digits);
    put(out, tag, &content);
}

#[cfg(test)]
mod tests {
    use super::{INTEGER, Malformed, OCTETS, Reader, SEQUENCE, frame, put, put_number};

    #[test]
    fn what_is_written_reads_back() {
        for value in [0, 1, 127, 128, 255, 256, 65_535, 0x7FFF_FFFF] {
            let mut out = Vec::new();
            put_number(&mut out, INTEGER, value);
            let got = Reader::new(&out).number(INTEGER).unwrap();
            assert_eq!(u32::try_from(got).unwrap(), value);
        }
        for len in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![b'x'; len];
            let mut out = Vec::new();
            put(&mut out, OCTETS, &content);
            out.push(0);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.any(), Ok((OCTETS, content.as_slice())));
            assert!(!reader.is_empty());
        }
    }

    #[test]
    fn elements_that_are_none_are_refused() {
        for bytes in [
            &b""[..],
            b"\x04",
            b"\x04\x02a",
            b"\x04\x80ab",
            b"\x04\x85\0\0\0\0\x01a",
            b"\x1f\x81\x01a",
            b"\x04\x84\xff\xff\xff\xffa",
        ] {
            assert_eq!(Reader::new(bytes).any(), Err(Malformed), "{bytes:?}");
        }
        for bytes in [
            &b"\x02\0"[..],
            b"\x02\x01\xff",
            b"\x02\x06\0\0\0\0\0\x01",
            b"\x02\x05\0\xff\xff\xff\xff",
        ] {
            assert_eq!(
                Reader::new(bytes).number(INTEGER),
                Err(Malformed),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_frame_is_known_with_its_header_and_bounded() {
        let mut out = Vec::new();
        put(&mut out, SEQUENCE, &[0; 300]);
        for cut in 0..4 {
            assert_eq!(frame(&out[..cut], 1000), Ok(None), "{cut}");
        }
        assert_eq!(frame(&out[..4], 1000), Ok(Some(304)));
        assert_eq!(frame(&out, 303), Err(Malformed));
        assert_eq!(frame(b"\x04\x01", 1000), Err(Malformed));
    }
}
