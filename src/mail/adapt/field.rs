//! The two fields that say what an entity is (RFC 2045 s5 and s6).

/// What an entity holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text: lines mean something.
    Text,
    /// Bytes.
    Data,
    /// Entities between boundaries.
    Multipart {
        /// `multipart/signed` (RFC 1847).
        signed: bool,
        /// `multipart/digest`: its parts are messages unless they say otherwise.
        digest: bool,
    },
    /// A message.
    Message,
    /// Entities that cannot be told apart.
    Closed,
}

/// How text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `7bit`, `8bit`, `binary`, or nothing said.
    Identity,
    /// Not at all, and it says more than it has to: `8bit`.
    Eight,
    /// Likewise: `binary`.
    Binary,
    /// `quoted-printable`.
    Quoted,
    /// `base64`.
    Base64,
    /// Something else.
    Unknown,
}

impl Encoding {
    /// Whether the text stands there as it is.
    pub fn is_identity(self) -> bool {
        matches!(self, Self::Identity | Self::Eight | Self::Binary)
    }
}

/// The name of a field, when the line is one (RFC 5322 s2.2).
pub fn name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// What stands behind the colon.
pub fn value(line: &[u8]) -> &[u8] {
    let colon = line.iter().position(|&b| b == b':');
    colon
        .and_then(|at| line.get(at.saturating_add(1)..))
        .unwrap_or_default()
}

/// Reads a `Content-Transfer-Encoding`.
pub fn encoding(value: &[u8]) -> Encoding {
    let value = value.trim_ascii();
    let word = value
        .split(|b| matches!(b, b' ' | b'\t' | b';' | b'('))
        .next();
    let is = |name: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    if value.is_empty() || is("7bit") {
        Encoding::Identity
    } else if is("8bit") {
        Encoding::Eight
    } else if is("binary") {
        Encoding::Binary
    } else if is("quoted-printable") {
        Encoding::Quoted
    } else if is("base64") {
        Encoding::Base64
    } else {
        Encoding::Unknown
    }
}

/// Reads a `Content-Type`: what it is, and the boundary if there is one. `digest`: around it is a multipart/digest.
pub fn content_type(value: &[u8], digest: bool) -> (Kind, Vec<u8>) {
    let mut params = Params(value);
    let word = params.next().unwrap_or_default().0.to_ascii_lowercase();
    let (major, minor) = match word.iter().position(|&b| b == b'/') {
        Some(slash) => word.split_at_checked(slash).unwrap_or((&word, b"")),
        None => (word.as_slice(), b"".as_slice()),
    };
    let kind = match (major.trim_ascii(), minor.trim_ascii()) {
        (b"", _) if digest => Kind::Message,
        (b"multipart", minor) => Kind::Multipart {
            signed: minor == b"/signed",
            digest: minor == b"/digest",
        },
        (b"message", b"/rfc822" | b"/news") => Kind::Message,
        (b"" | b"text" | b"message", _) => Kind::Text,
        _ => Kind::Data,
    };
    let boundary = params
        .find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))
        .map(|(_, value)| value)
        .unwrap_or_default();
    (kind, boundary)
}

/// What stands between semicolons, as name and value; quotes are undone, comments are not known.
struct Params<'a>(&'a [u8]);

impl Iterator for Params<'_> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (mut name, mut value, mut behind) = (Vec::new(), Vec::new(), false);
        let (mut quoted, mut escaped) = (false, false);
        let mut used = 0;
        for &byte in self.0 {
            used += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => {
                    escaped = true;
                    continue;
                }
                b'"' => {
                    quoted = !quoted;
                    continue;
                }
                b';' if !quoted => break,
                b'=' if !quoted && !behind => {
                    behind = true;
                    continue;
                }
                b' ' | b'\t' if !quoted => continue,
                _ => {}
            }
            if behind {
                value.push(byte);
            } else {
                name.push(byte);
            }
        }
        self.0 = self.0.get(used..).unwrap_or_default();
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Kind, content_type, encoding, name};

    #[test]
    fn types_and_boundaries() {
        let mixed = Kind::Multipart {
            signed: false,
            digest: false,
        };
        for (value, kind, boundary) in [
            ("", Kind::Text, ""),
            (" text/plain; charset=utf-8", Kind::Text, ""),
            (" TEXT/HTML", Kind::Text, ""),
            ("image/png; name=\"a;boundary=b\"", Kind::Data, ""),
            ("multipart/mixed; boundary=abc", mixed, "abc"),
            (
                "multipart/mixed;\tcharset=x; BOUNDARY=\"a b;\\\"c\" ; x=y",
                mixed,
                "a b;\"c",
            ),
            ("multipart/mixed; boundary = abc", mixed, "abc"),
            ("multipart/alternative", mixed, ""),
            ("message/rfc822", Kind::Message, ""),
            ("message/delivery-status", Kind::Text, ""),
            ("message/global", Kind::Text, ""),
            ("nonsense", Kind::Data, ""),
        ] {
            let got = content_type(value.as_bytes(), false);
            assert_eq!(got, (kind, boundary.as_bytes().to_vec()), "{value}");
        }
        let signed = content_type(b"Multipart/Signed; micalg=sha1; boundary=x", false).0;
        assert!(matches!(signed, Kind::Multipart { signed: true, .. }));
        assert_eq!(content_type(b"", true).0, Kind::Message);
        assert_eq!(content_type(b"text/plain", true).0, Kind::Text);
    }

    #[test]
    fn encodings_and_names() {
        for (value, want) in [
            ("", Encoding::Identity),
            (" 7bit ", Encoding::Identity),
            ("8BIT", Encoding::Eight),
            ("binary (really)", Encoding::Binary),
            ("Quoted-Printable", Encoding::Quoted),
            ("base64;", Encoding::Base64),
            ("x-uuencode", Encoding::Unknown),
        ] {
            assert_eq!(encoding(value.as_bytes()), want, "{value}");
        }
        assert_eq!(name(b"Subject : x"), Some(b"Subject".as_slice()));
        assert_eq!(
            (name(b"no field"), name(b": x"), name(b"a b: x")),
            (None, None, None)
        );
    }
}
