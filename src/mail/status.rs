//! Enhanced status codes (RFC 3463): three numbers that say what a reply code cannot.

use std::fmt;
use std::str::FromStr;

/// A status such as `4.2.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    class: u8,
    subject: u16,
    detail: u16,
}

impl Status {
    /// The status `class.subject.detail`.
    ///
    /// For statuses written in code; text from a peer goes through [`Status::from_str`], which checks the bounds.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self {
            class,
            subject,
            detail,
        }
    }

    /// 2 success, 4 temporary, 5 permanent (RFC 3463 s3.1).
    pub const fn class(self) -> u8 {
        self.class
    }

    /// What it is about, for instance 7 for security (RFC 3463 s3.1).
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The last number.
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// The same subject and detail in another class: a `5.7.1` that we hold as `4.7.1`.
    #[must_use]
    pub const fn with_class(self, class: u8) -> Self {
        Self { class, ..self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The text is not an enhanced status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAStatus;

impl FromStr for Status {
    type Err = NotAStatus;

    /// RFC 3463 s2: class 2, 4 or 5; subject and detail of one to three digits.
    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        let mut parts = text.split('.');
        let mut number = |most: usize| {
            let part = parts.next().ok_or(NotAStatus)?;
            let fits = !part.is_empty() && part.len() <= most;
            if !fits || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(NotAStatus);
            }
            part.parse::<u16>().map_err(|_| NotAStatus)
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        let class = match class {
            2 => 2,
            4 => 4,
            5 => 5,
            _ => return Err(NotAStatus),
        };
        match parts.next() {
            None => Ok(Self::new(class, subject, detail)),
            Some(_) => Err(NotAStatus),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn statuses() {
        for text in ["2.0.0", "4.7.1", "5.999.12"] {
            assert_eq!(text.parse::<Status>().unwrap().to_string(), text);
        }
        for text in [
            "", "3.0.0", "5.1", "5.1.1.1", "5.1.1000", "5..1", "5.+1.1", "5.1.1 ",
        ] {
            assert!(text.parse::<Status>().is_err(), "{text:?}");
        }
    }
}
