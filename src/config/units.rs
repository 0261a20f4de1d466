//! Waits and sizes as an owner writes them: `15m`, `1h30m`, `10MB`, `64KiB`.

use std::fmt;
use std::time::Duration;

/// The text is not a wait or not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadUnit {
    /// No number in front.
    Number,
    /// A number, and no unit behind it.
    Missing,
    /// A unit that is not known.
    Unknown,
    /// More than can be counted.
    TooLarge,
}

/// In words for a wait; `kind.rs` adds what a size is.
impl fmt::Display for BadUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "it does not begin with a number",
            Self::Missing => "it has no unit",
            Self::Unknown => "its unit is not known",
            Self::TooLarge => "it is too large to count",
        })
    }
}

impl std::error::Error for BadUnit {}

const WAITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// Reads `90s`, `15m`, `1h30m`, `2d`. Whole seconds only.
pub fn wait(text: &str) -> Result<Duration, BadUnit> {
    let mut rest = text.trim();
    let mut seconds = 0_u64;
    loop {
        let (number, behind) = number(rest)?;
        let end = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, next) = behind.split_at_checked(end).ok_or(BadUnit::Unknown)?;
        let unit = unit.trim();
        if unit.is_empty() {
            return Err(BadUnit::Missing);
        }
        let (_, factor) = WAITS
            .iter()
            .find(|(name, _)| unit.eq_ignore_ascii_case(name))
            .ok_or(BadUnit::Unknown)?;
        seconds = number
            .checked_mul(*factor)
            .and_then(|more| seconds.checked_add(more))
            .ok_or(BadUnit::TooLarge)?;
        rest = next;
        if rest.is_empty() {
            return Ok(Duration::from_secs(seconds));
        }
    }
}

/// Reads `10MB`, `64KiB`, `1GB` or a bare number of bytes. KB, MB and GB are powers of 1000; KiB, MiB and GiB of 1024.
pub fn size(text: &str) -> Result<u64, BadUnit> {
    let (number, unit) = number(text.trim())?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, factor) = SIZES
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))
        .ok_or(BadUnit::Unknown)?;
    number.checked_mul(*factor).ok_or(BadUnit::TooLarge)
}

/// The digits in front, and what follows them.
fn number(text: &str) -> Result<(u64, &str), BadUnit> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).ok_or(BadUnit::Number)?;
    if digits.is_empty() {
        return Err(BadUnit::Number);
    }
    Ok((digits.parse().map_err(|_| BadUnit::TooLarge)?, rest))
}

/// A wait, printed with the largest unit that fits it exactly.
#[derive(Clone, Copy, Debug)]
pub struct Wait(pub Duration);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (unit, factor) = WAITS
            .iter()
            .find(|(_, factor)| seconds != 0 && seconds.is_multiple_of(*factor))
            .unwrap_or(&("s", 1));
        write!(f, "{}{unit}", seconds / factor)
    }
}

/// A size, printed with the unit that fits it exactly in the fewest digits.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZES
            .iter()
            .filter(|(_, factor)| self.0.is_multiple_of(*factor) && self.0 != 0)
            .max_by_key(|(_, factor)| *factor)
            .unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::{BadUnit, Size, Wait, size, wait};
    use std::time::Duration;

    #[test]
    fn waits() {
        for (text, want) in [
            ("90s", Ok(90)),
            ("15m", Ok(900)),
            ("1h30m", Ok(5400)),
            ("1h 30m", Ok(5400)),
            ("2d", Ok(172_800)),
            (" 5 M ", Ok(300)),
            ("0s", Ok(0)),
            ("15", Err(BadUnit::Missing)),
            ("", Err(BadUnit::Number)),
            ("m", Err(BadUnit::Number)),
            ("-5m", Err(BadUnit::Number)),
            ("1.5h", Err(BadUnit::Unknown)),
            ("15min", Err(BadUnit::Unknown)),
            ("500ms", Err(BadUnit::Unknown)),
            ("5\u{fc}", Err(BadUnit::Unknown)),
            ("99999999999999999999s", Err(BadUnit::TooLarge)),
            ("9999999999999999d", Err(BadUnit::TooLarge)),
            ("18446744073709551615s1s", Err(BadUnit::TooLarge)),
        ] {
            assert_eq!(wait(text), want.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10MB", Ok(10_000_000)),
            ("64KiB", Ok(65_536)),
            ("64 kib", Ok(65_536)),
            ("1GB", Ok(1_000_000_000)),
            ("12345", Ok(12_345)),
            ("7B", Ok(7)),
            ("10M", Err(BadUnit::Unknown)),
            ("ten", Err(BadUnit::Number)),
            ("99999999999GiB", Err(BadUnit::TooLarge)),
        ] {
            assert_eq!(size(text), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for n in [
            0,
            1,
            59,
            60,
            900,
            5400,
            3600,
            86_400,
            65_536,
            25_000_000,
            1 << 30,
        ] {
            let duration = Duration::from_secs(n);
            assert_eq!(wait(&Wait(duration).to_string()), Ok(duration));
            assert_eq!(size(&Size(n).to_string()), Ok(n));
        }
        assert_eq!(Wait(Duration::from_secs(14_400)).to_string(), "4h");
        assert_eq!(Size(65_536).to_string(), "64KiB");
        assert_eq!(Size(25_000_000).to_string(), "25MB");
    }
}
