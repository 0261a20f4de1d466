//! As much of DER (X.690) as the messages of Kerberos need, read from strangers and written.

/// Tags of the universal class.
pub const INTEGER: u8 = 0x02;
pub const BITS: u8 = 0x03;
pub const OCTETS: u8 = 0x04;
pub const SEQUENCE: u8 = 0x30;
const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;
pub const TIME: u8 = 0x18;
pub const GENERAL_STRING: u8 = 0x1b;

/// The tag of an application's own type.
pub const fn application(number: u8) -> u8 {
    0x60 | number
}

/// One element off the front: its tag and what is in it.
pub fn take<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [tag, first, rest @ ..] = *input else {
        return None;
    };
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let join = |sum: usize, digit: &u8| (sum << 8) | usize::from(*digit);
            (digits.iter().fold(0, join), rest)
        }
        // Of no definite length, or longer than any message.
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((*tag, value))
}

/// What is in the element of this tag at the front.
pub fn inside(mut input: &[u8], tag: u8) -> Option<&[u8]> {
    take(&mut input).and_then(|(found, value)| (found == tag).then_some(value))
}

/// The fields of a sequence, each in an element of its number, in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Of the sequence at the front.
    pub fn of(input: &'a [u8]) -> Option<Self> {
        inside(input, SEQUENCE).map(Self)
    }

    /// The field of this number; fields before it, unless asked for, are lost.
    pub fn field(&mut self, number: u8) -> Option<&'a [u8]> {
        loop {
            let mut rest = self.0;
            let (tag, value) = take(&mut rest)?;
            if tag > 0xa0 | number {
                return None;
            }
            self.0 = rest;
            if tag == 0xa0 | number {
                return Some(value);
            }
        }
    }

    /// An integer in the field of this number.
    pub fn integer(&mut self, number: u8) -> Option<i64> {
        let digits = inside(self.field(number)?, INTEGER)?;
        let (first, _) = digits.split_first().filter(|_| digits.len() <= 5)?;
        let start = if first & 0x80 == 0 { 0 } else { -1 };
        Some(
            digits
                .iter()
                .fold(start, |sum, digit| (sum << 8) | i64::from(*digit)),
        )
    }

    /// Bytes in the field of this number.
    pub fn octets(&mut self, number: u8) -> Option<&'a [u8]> {
        inside(self.field(number)?, OCTETS)
    }

    /// The first 32 of the flags in the field of this number.
    pub fn flags(&mut self, number: u8) -> Option<u32> {
        let bits = inside(self.field(number)?, BITS)?;
        bits.get(1..)?
            .first_chunk()
            .copied()
            .map(u32::from_be_bytes)
    }

    /// Text in the field of this number.
    pub fn text(&mut self, number: u8) -> Option<&'a str> {
        text(&mut self.field(number)?)
    }
}

/// Text off the front: what Kerberos calls a string is in practice UTF-8.
pub fn text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let (tag, value) = take(input)?;
    let known = matches!(tag, GENERAL_STRING | UTF8_STRING | IA5_STRING);
    std::str::from_utf8(value).ok().filter(|_| known)
}

/// An element of this tag with these parts in it; `None` for one that is longer than any message.
pub fn element(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let value = parts.concat();
    let mut out = vec![tag];
    match value.len() {
        short @ 0..=0x7f => out.push(u8::try_from(short).ok()?),
        long => {
            let [high, low] = u16::try_from(long).ok()?.to_be_bytes();
            out.extend([0x82, high, low]);
        }
    }
    out.extend(value);
    Some(out)
}

/// The field of this number with an integer in it.
pub fn integer(number: u8, value: u32) -> Option<Vec<u8>> {
    // One byte more, so that it is never negative; leading zeros fall off.
    let digits = u64::from(value).to_be_bytes();
    let zeros = digits
        .windows(2)
        .take_while(|two| matches!(two, [0, 0..0x80]))
        .count();
    let digits = element(INTEGER, &[digits.get(zeros..)?])?;
    element(0xa0 | number, &[&digits])
}

#[cfg(test)]
mod tests {
    use super::{Fields, INTEGER, SEQUENCE, element, inside, integer, take};

    #[test]
    fn integers_come_back() {
        for (value, want) in [
            (0, "a003020100"),
            (127, "a00302017f"),
            (128, "a00402020080"),
            (0x7fff_ffff, "a00602047fffffff"),
            (u32::MAX, "a007020500ffffffff"),
        ] {
            let made = integer(0, value).unwrap();
            let hex: String = made.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, want);
            let whole = element(SEQUENCE, &[&made]).unwrap();
            assert_eq!(
                Fields::of(&whole).unwrap().integer(0),
                Some(i64::from(value))
            );
        }
        let negative = [0x30, 5, 0xa0, 3, 2, 1, 0xef];
        assert_eq!(Fields::of(&negative).unwrap().integer(0), Some(-17));
    }

    #[test]
    fn lengths_are_believed_only_when_they_fit() {
        let long = element(4, &[&[7; 300]]).unwrap();
        assert_eq!(inside(&long, 4), Some(&[7; 300][..]));
        for bad in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81],
            &[4, 0x82, 1],
            &[4, 0x84, 0, 0, 0, 0],
            &[4, 0x83, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(take(&mut &bad[..]), None, "{bad:?}");
        }
        assert!(element(4, &[&[0; 70_000]]).is_none());
    }

    #[test]
    fn fields_may_be_missing_but_not_out_of_order() {
        let (one, three) = (integer(1, 1).unwrap(), integer(3, 3).unwrap());
        let whole = element(SEQUENCE, &[&one, &three]).unwrap();
        let mut fields = Fields::of(&whole).unwrap();
        assert_eq!(fields.integer(0), None);
        assert_eq!(fields.integer(1), Some(1));
        assert_eq!(fields.integer(2), None);
        assert_eq!(fields.integer(3), Some(3));
        assert_eq!(fields.integer(4), None);
        assert!(inside(&whole, INTEGER).is_none());
    }
}
