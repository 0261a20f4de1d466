//! Date fields: RFC 5322 s3.3 text from a wall time, and back.

use std::fmt;

use mail_parser::DateTime;

use crate::base::Wall;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A wall time that prints as a `Date:` value, for instance `Sun, 22 Nov 2026 00:00:00 +0000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    at: Wall,
    /// Minutes east of Greenwich, at most a day either way.
    offset: i16,
}

impl Date {
    /// The time in UTC, printed with `+0000`.
    pub const fn utc(at: Wall) -> Self {
        Self { at, offset: 0 }
    }

    /// The same instant in a zone that lies `offset` minutes east of Greenwich (negative: west).
    pub fn in_zone(at: Wall, offset: i16) -> Self {
        Self {
            at,
            offset: offset.clamp(-1439, 1439),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shift = u64::from(self.offset.unsigned_abs()).saturating_mul(60_000);
        let local = if self.offset < 0 {
            self.at.as_millis().saturating_sub(shift)
        } else {
            self.at.as_millis().saturating_add(shift)
        };
        let c = Wall::from_millis(local).civil();
        let name =
            |list: &[&'static str], at: u8| list.get(usize::from(at)).copied().unwrap_or("???");
        let zone = self.offset.unsigned_abs();
        write!(
            f,
            "{}, {} {} {:04} {:02}:{:02}:{:02} {}{:02}{:02}",
            name(&DAYS, c.weekday),
            c.day,
            name(&MONTHS, c.month.saturating_sub(1)),
            c.year,
            c.hour,
            c.minute,
            c.second,
            if self.offset < 0 { '-' } else { '+' },
            zone / 60,
            zone % 60,
        )
    }
}

/// Reads the value of a date field; `None` when it cannot be read or lies before 1970.
pub fn parse(value: &str) -> Option<Wall> {
    let date = DateTime::parse_rfc822(value).filter(DateTime::is_valid)?;
    u64::try_from(date.to_timestamp()).ok().map(Wall::from_secs)
}

/// Reads `20261122100000`, in UTC, as certificates and Kerberos (RFC 4120 s5.2.3) write it.
#[cfg(feature = "sso")]
pub fn from_digits(text: &str) -> Option<Wall> {
    let (rest, second) = pair(text)?;
    let (rest, minute) = pair(rest)?;
    let (rest, hour) = pair(rest)?;
    let (rest, day) = pair(rest)?;
    let (rest, month) = pair(rest)?;
    let (rest, years) = pair(rest)?;
    let ("", centuries) = pair(rest)? else {
        return None;
    };
    let date = DateTime {
        year: u16::from(centuries) * 100 + u16::from(years),
        month,
        day,
        hour,
        minute,
        second,
        tz_before_gmt: false,
        tz_hour: 0,
        tz_minute: 0,
    };
    let date = Some(date).filter(DateTime::is_valid)?;
    u64::try_from(date.to_timestamp()).ok().map(Wall::from_secs)
}

/// The last two digits of a text, and what stands before them.
#[cfg(feature = "sso")]
fn pair(text: &str) -> Option<(&str, u8)> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let good = digits.bytes().all(|digit| digit.is_ascii_digit());
    Some((rest, digits.parse().ok().filter(|_| good)?))
}

#[cfg(test)]
mod tests {
    use super::{Date, parse};
    use crate::base::Wall;

    #[cfg(feature = "sso")]
    #[test]
    fn digits_are_a_date() {
        let secs = |text| super::from_digits(text).map(Wall::as_secs);
        assert_eq!(secs("19700101000001"), Some(1));
        assert_eq!(secs("20261122100000"), Some(1_795_341_600));
        for text in [
            "",
            "2026112210000",
            "20261122100060",
            "202611221000+1",
            "120261122100000",
            "19691231235959",
        ] {
            assert_eq!(secs(text), None, "{text}");
        }
    }

    #[test]
    fn dates_come_back_as_they_went() {
        for (secs, offset, want) in [
            (0, 0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (1_795_305_600, 0, "Sun, 22 Nov 2026 00:00:00 +0000"),
            (1_795_305_600, 330, "Sun, 22 Nov 2026 05:30:00 +0530"),
            (1_795_305_600, -210, "Sat, 21 Nov 2026 20:30:00 -0330"),
            (2_147_483_648, 60, "Tue, 19 Jan 2038 04:14:08 +0100"),
        ] {
            let at = Wall::from_secs(secs);
            let text = Date::in_zone(at, offset).to_string();
            assert_eq!(text, want);
            assert_eq!(parse(&text), Some(at), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "yesterday", "Thu, 99 Foo 2026 00:00:00 +0000"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
