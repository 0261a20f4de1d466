//! What is searched for.
//!
//! A filter is a tree and goes out as one (RFC 4511 s4.5.1.7), so whatever stands in a value is never read as syntax.
//! Only people see its text (RFC 4515), in which hostile values are escaped.

use std::fmt;

use crate::ldap::ber;

/// A condition on entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of these.
    And(Vec<Filter>),
    /// One of these at least.
    Or(Vec<Filter>),
    /// The attribute has this value, by the rule of the attribute.
    Equal(String, String),
    /// The attribute has a value.
    Present(String),
}

impl Filter {
    /// That one of these attributes has this value.
    pub fn any_equal<'a>(attributes: impl IntoIterator<Item = &'a str>, value: &str) -> Self {
        let equal = |name: &str| Self::Equal(name.to_owned(), value.to_owned());
        Self::Or(attributes.into_iter().map(equal).collect())
    }

    /// Appends it as an element.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        match self {
            Self::And(all) | Self::Or(all) => {
                all.iter().for_each(|one| one.write(&mut content));
                let tag = if matches!(self, Self::And(_)) {
                    0xA0
                } else {
                    0xA1
                };
                ber::put(out, tag, &content);
            }
            Self::Equal(name, value) => {
                ber::put(&mut content, ber::OCTETS, name.as_bytes());
                ber::put(&mut content, ber::OCTETS, value.as_bytes());
                ber::put(out, 0xA3, &content);
            }
            Self::Present(name) => ber::put(out, 0x87, name.as_bytes()),
        }
    }
}

/// As RFC 4515 s3 writes it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(all) | Self::Or(all) => {
                f.write_str(if matches!(self, Self::And(_)) {
                    "(&"
                } else {
                    "(|"
                })?;
                all.iter().try_for_each(|one| one.fmt(f))?;
                f.write_str(")")
            }
            Self::Equal(name, value) => {
                write!(f, "({name}=")?;
                for byte in value.bytes() {
                    // RFC 4515 s3: these five must be escaped, others may be.
                    if byte.is_ascii_graphic() && !b"*()\\".contains(&byte) {
                        write!(f, "{}", char::from(byte))?;
                    } else {
                        write!(f, "\\{byte:02x}")?;
                    }
                }
                f.write_str(")")
            }
            Self::Present(name) => write!(f, "({name}=*)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn a_hostile_value_stays_a_value() {
        let filter = Filter::And(vec![
            Filter::Present("objectClass".to_owned()),
            Filter::any_equal(["mail", "uid"], "*)(uid=*\0\\ a"),
        ]);
        assert_eq!(
            filter.to_string(),
            "(&(objectClass=*)(|(mail=\\2a\\29\\28uid=\\2a\\00\\5c\\20a)(uid=\\2a\\29\\28uid=\\2a\\00\\5c\\20a)))"
        );
        let mut out = Vec::new();
        Filter::Equal("a".to_owned(), "*)".to_owned()).write(&mut out);
        assert_eq!(out, b"\xa3\x07\x04\x01a\x04\x02*)");
    }
}
