//! Message ids: one number a message, unique for the life of a journal, written in base 32.

use std::fmt;
use std::str::FromStr;

/// Crockford's alphabet: no I, L, O, U, so an id survives being read out over the telephone.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The name of a message in the queue, in file names, logs and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(u64);

impl MsgId {
    /// The id with this number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number inside, for records.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The id that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = heapless::String::<13>::new();
        let mut left = 13;
        while left > 0 {
            left -= 1;
            let digit = usize::try_from(self.0 >> (left * 5) & 31).unwrap_or(0);
            if (digit != 0 || !text.is_empty() || left == 0)
                && let Some(&byte) = DIGITS.get(digit)
            {
                text.push(char::from(byte)).map_err(|_| fmt::Error)?;
            }
        }
        f.pad(&text)
    }
}

/// The text is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a message id; `mailroot queue list` shows them")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for MsgId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.is_empty() || text.len() > 13 {
            return Err(NotAnId);
        }
        let mut number: u64 = 0;
        for byte in text.bytes() {
            let byte = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let digit = DIGITS.iter().position(|&d| d == byte).ok_or(NotAnId)?;
            number = number
                .checked_mul(32)
                .and_then(|n| n.checked_add(u64::try_from(digit).unwrap_or(0)))
                .ok_or(NotAnId)?;
        }
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::MsgId;

    #[test]
    fn ids_come_back_as_they_went() {
        for number in [0, 1, 31, 32, 0x1234_5678_9ABC, u64::MAX - 1, u64::MAX] {
            let id = MsgId::from_number(number);
            assert_eq!(id.to_string().parse::<MsgId>().unwrap(), id);
        }
        assert_eq!(MsgId::from_number(33).to_string(), "11");
        assert_eq!("iL".parse::<MsgId>().unwrap().number(), 33);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "U", "../x", "ZZZZZZZZZZZZZ", "00000000000000", "A B"] {
            assert!(text.parse::<MsgId>().is_err(), "{text:?}");
        }
    }
}
