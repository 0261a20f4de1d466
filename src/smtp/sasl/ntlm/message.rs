//! What both sides of NTLM have in common: the form of the messages, and the key made of account and password.

use crate::smtp::sasl::md;
use crate::smtp::sasl::md::Digest;

/// What each message begins with.
pub const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// Text is UTF-16 (MS-NLMP 2.2.2.5, as are all of these).
pub const UNICODE: u32 = 0x0000_0001;
/// Text is in the code page of who writes it.
pub const OEM: u32 = 0x0000_0002;
/// The server is asked for its name.
pub const REQUEST_TARGET: u32 = 0x0000_0004;
/// NTLM, and no older LAN Manager.
pub const NTLM: u32 = 0x0000_0200;
/// A word of habit: nothing is signed.
pub const ALWAYS_SIGN: u32 = 0x0000_8000;
/// The server's name is its own, not that of a domain.
pub const TARGET_IS_SERVER: u32 = 0x0002_0000;
/// Extended session security: what NTLMv2 goes with.
pub const EXTENDED: u32 = 0x0008_0000;
/// There is target information.
pub const TARGET_INFO: u32 = 0x0080_0000;
/// The version field is filled in.
pub const VERSION: u32 = 0x0200_0000;

/// The ids of target information (MS-NLMP 2.2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Av {
    /// There is no more.
    End = 0,
    /// The server's short name.
    Computer = 1,
    /// The short name of its domain.
    Domain = 2,
    /// The server's name in DNS.
    DnsComputer = 3,
    /// Flags, of which one says that there is an integrity code.
    Flags = 6,
    /// The server's time, in tenths of microseconds since 1601.
    Timestamp = 7,
}

/// The flag of [`Av::Flags`]: the message carries an integrity code.
pub const HAS_CODE: u32 = 2;

/// Writes one pair of target information; a value that is too long for one is left out.
pub fn write_av(out: &mut Vec<u8>, id: Av, value: &[u8]) {
    if let Ok(length) = u16::try_from(value.len()) {
        out.extend_from_slice(&(id as u16).to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value);
    }
}

/// The value of the first pair of this id; `None` when there is none before the end, or before what cannot be read.
pub fn find_av(mut pairs: &[u8], id: Av) -> Option<&[u8]> {
    while let Some(([a, b, c, d], after)) = pairs.split_first_chunk::<4>() {
        let kind = u16::from_le_bytes([*a, *b]);
        let length = usize::from(u16::from_le_bytes([*c, *d]));
        let (value, next) = after.split_at_checked(length)?;
        if kind == id as u16 {
            return Some(value);
        }
        if kind == Av::End as u16 {
            return None;
        }
        pairs = next;
    }
    None
}

/// What comes behind the signature, when the message is of this kind.
pub fn open(message: &[u8], kind: u32) -> Option<&[u8]> {
    let rest = message.strip_prefix(SIGNATURE)?;
    let (found, rest) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*found) == kind).then_some(rest)
}

/// The bytes that a field of eight bytes at `at` points to (MS-NLMP 2.2.2: length, room, offset).
pub fn field(message: &[u8], at: usize) -> Option<&[u8]> {
    let field = message.get(at..)?.first_chunk::<8>()?;
    let [low, high, _, _, offset @ ..] = *field;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let from = usize::try_from(u32::from_le_bytes(offset)).ok()?;
    message.get(from..from.checked_add(length)?)
}

/// Builds the fields of a message and what they point to.
#[derive(Debug)]
pub struct Fields {
    head: Vec<u8>,
    payload: Vec<u8>,
    start: u32,
}

impl Fields {
    /// A message that begins with `head` and whose payload begins `start` bytes behind its front.
    pub fn new(head: Vec<u8>, start: u32) -> Self {
        Self {
            head,
            payload: Vec::new(),
            start,
        }
    }

    /// A field with these bytes; `None` when there are more than one can have.
    #[must_use]
    pub fn field(mut self, bytes: &[u8]) -> Option<Self> {
        let length = u16::try_from(bytes.len()).ok()?.to_le_bytes();
        let at = self
            .start
            .checked_add(u32::try_from(self.payload.len()).ok()?)?;
        self.head.extend_from_slice(&length);
        self.head.extend_from_slice(&length);
        self.head.extend_from_slice(&at.to_le_bytes());
        self.payload.extend_from_slice(bytes);
        Some(self)
    }

    /// Bytes that stand in the head as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.head.extend_from_slice(bytes);
        self
    }

    /// The message.
    pub fn end(mut self) -> Vec<u8> {
        self.head.append(&mut self.payload);
        self.head
    }
}

/// The front of a message of this kind.
pub fn front(kind: u32) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&kind.to_le_bytes());
    out
}

/// NTOWFv1 (MS-NLMP 3.3.1), which NTLMv2 starts from: the hash of a password.
pub fn nt_hash(password: &str) -> Digest {
    md::md4(&wide(password))
}

/// NTOWFv2 (MS-NLMP 3.3.2): the key made of account and password.
pub fn key(hash: &Digest, user: &str, domain: &str) -> Digest {
    md::hmac_md5(hash, &[&wide(&user.to_uppercase()), &wide(domain)])
}

/// UTF-16, low byte first.
pub fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::{Av, Fields, field, find_av, front, open, write_av};

    #[test]
    fn pairs_are_found_and_nothing_behind_the_end() {
        let mut pairs = Vec::new();
        write_av(&mut pairs, Av::Computer, b"ab");
        write_av(&mut pairs, Av::Domain, b"");
        write_av(&mut pairs, Av::End, b"");
        write_av(&mut pairs, Av::Timestamp, b"12345678");
        write_av(&mut pairs, Av::Flags, &[0; 70_000]);
        assert_eq!(find_av(&pairs, Av::Computer), Some(&b"ab"[..]));
        assert_eq!(find_av(&pairs, Av::Domain), Some(&b""[..]));
        assert_eq!(find_av(&pairs, Av::Timestamp), None);
        assert_eq!(find_av(&[1, 0, 9, 0, 1], Av::Computer), None);
    }

    #[test]
    fn fields_point_to_what_they_were_given() {
        let message = Fields::new(front(9), 28).field(b"one").unwrap();
        let message = message.field(b"").unwrap().end();
        assert_eq!(field(&message, 12), Some(&b"one"[..]));
        assert_eq!(field(&message, 20), Some(&b""[..]));
        assert_eq!(field(&message, 25), None);
        assert!(open(&message, 9).is_some() && open(&message, 8).is_none());
        assert!(Fields::new(front(9), 0).field(&[0; 70_000]).is_none());
        assert!(
            Fields::new(front(9), u32::MAX)
                .raw(b"x")
                .field(b"")
                .is_some()
        );
    }
}
