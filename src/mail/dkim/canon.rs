//! The canonical forms of RFC 6376 s3.4: what a message is reduced to before it is hashed, so that what relays do to
//! white space on its way breaks no signature.

use std::fmt;
use std::str::FromStr;

use ring::digest;

/// One of the two algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Every byte counts.
    Simple,
    /// White space may be added, removed and folded, within lines and at their ends.
    #[default]
    Relaxed,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        })
    }
}

/// The two forms of a signature, as its `c=` tag has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// Of the header.
    pub header: Form,
    /// Of the body.
    pub body: Form,
}

impl fmt::Display for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.header, self.body)
    }
}

/// The text is not a pair of forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoForms;

impl FromStr for Forms {
    type Err = NoForms;

    fn from_str(text: &str) -> Result<Self, NoForms> {
        let form = |word| match word {
            "simple" => Ok(Form::Simple),
            "relaxed" => Ok(Form::Relaxed),
            _ => Err(NoForms),
        };
        let (header, body) = text.split_once('/').ok_or(NoForms)?;
        Ok(Self {
            header: form(header)?,
            body: form(body)?,
        })
    }
}

/// Appends a header field, given with its line end, in canonical form (RFC 6376 s3.4.1, s3.4.2). Without `last`, the
/// line end stays off: so the signature's own field is hashed.
pub fn header(form: Form, field: &[u8], line_end: bool, out: &mut Vec<u8>) {
    let field = field.strip_suffix(b"\r\n").unwrap_or(field);
    match form {
        Form::Simple => out.extend_from_slice(field),
        Form::Relaxed => relaxed_header(field, out),
    }
    if line_end {
        out.extend_from_slice(b"\r\n");
    }
}

fn relaxed_header(field: &[u8], out: &mut Vec<u8>) {
    let colon = field.iter().position(|&b| b == b':');
    let (name, value) = field.split_at(colon.unwrap_or(field.len()));
    out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let mut space = false;
    let mut begun = false;
    for &byte in value.get(1..).unwrap_or_default() {
        match byte {
            // Unfolding takes the line ends away; the white space behind them stays.
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = true,
            _ => {
                if space && begun {
                    out.push(b' ');
                }
                (space, begun) = (false, true);
                out.push(byte);
            }
        }
    }
}

/// How many bytes are collected before they are hashed.
const STEP: usize = 1024;

/// Hashes a body in canonical form (RFC 6376 s3.4.3, s3.4.4) as it passes.
pub struct Body {
    form: Form,
    hash: digest::Context,
    /// What is canonical and not hashed yet.
    ready: Vec<u8>,
    /// Line ends that count only when something follows.
    line_ends: u64,
    /// White space that counts only when something follows on its line.
    space: bool,
    /// A CR that may begin a line end.
    cr: bool,
    /// Anything but empty lines has passed.
    begun: bool,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({})", self.form)
    }
}

impl Body {
    /// An empty body so far.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            hash: digest::Context::new(&digest::SHA256),
            ready: Vec::with_capacity(STEP),
            line_ends: 0,
            space: false,
            cr: false,
            begun: false,
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.cr {
                self.cr = false;
                if byte == b'\n' {
                    self.space = false;
                    self.line_ends = self.line_ends.saturating_add(1);
                    continue;
                }
                // A CR alone is a byte like any other.
                self.put(b'\r');
            }
            match byte {
                b'\r' => self.cr = true,
                b' ' | b'\t' if self.form == Form::Relaxed => self.space = true,
                _ => self.put(byte),
            }
        }
    }

    /// SHA-256 of it all.
    pub fn finish(mut self) -> [u8; 32] {
        if self.cr {
            self.put(b'\r');
        }
        // However many line ends the body ended in, none included, it ends in one; an empty one has that in the
        // simple form only.
        if self.begun || self.form == Form::Simple {
            self.ready.extend_from_slice(b"\r\n");
        }
        self.hash.update(&self.ready);
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.hash.finish().as_ref()) {
            *to = *from;
        }
        out
    }

    fn put(&mut self, byte: u8) {
        while self.line_ends > 0 {
            self.line_ends -= 1;
            self.push(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.push(b" ");
        }
        self.begun = true;
        self.push(&[byte]);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.ready.extend_from_slice(bytes);
        if self.ready.len() >= STEP {
            self.hash.update(&self.ready);
            self.ready.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Form, Forms, header};
    use ring::digest;

    fn canonical(form: Form, field: &str) -> String {
        let mut out = Vec::new();
        header(form, field.as_bytes(), true, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn headers_as_the_standard_has_them() {
        // RFC 6376 s3.4.5.
        assert_eq!(canonical(Form::Relaxed, "A: X\r\n"), "a:X\r\n");
        assert_eq!(
            canonical(Form::Relaxed, "B : Y\t\r\n\tZ  \r\n"),
            "b:Y Z\r\n"
        );
        for field in ["A: X\r\n", "B : Y\t\r\n\tZ  \r\n"] {
            assert_eq!(canonical(Form::Simple, field), field);
        }
        assert_eq!(canonical(Form::Relaxed, "Empty:\r\n"), "empty:\r\n");
        assert_eq!(canonical(Form::Relaxed, "Empty: \r\n \r\n"), "empty:\r\n");
    }

    #[test]
    fn bodies_as_the_standard_has_them_in_whatever_pieces_they_come() {
        for (form, body, want) in [
            // RFC 6376 s3.4.5.
            (Form::Relaxed, " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            (
                Form::Simple,
                " C \r\nD \t E\r\n\r\n\r\n",
                " C \r\nD \t E\r\n",
            ),
            (Form::Relaxed, "", ""),
            (Form::Simple, "", "\r\n"),
            (Form::Relaxed, "\r\n\r\n", ""),
            (Form::Simple, "\r\n\r\n", "\r\n"),
            (Form::Relaxed, " \t\r\n \r\n", ""),
            (Form::Simple, " \r\n\r\n", " \r\n"),
            (Form::Relaxed, "no end", "no end\r\n"),
            (Form::Simple, "no end", "no end\r\n"),
            (Form::Relaxed, "a\r\n\r\n \t\r\nb \t", "a\r\n\r\n\r\nb\r\n"),
            (Form::Relaxed, "a\rb\nc\r", "a\rb\nc\r\r\n"),
            (Form::Simple, "a\r\r\nb\r", "a\r\r\nb\r\r\n"),
        ] {
            let want = digest::digest(&digest::SHA256, want.as_bytes());
            for size in 1..=body.len().max(1) {
                let mut hash = Body::new(form);
                for piece in body.as_bytes().chunks(size) {
                    hash.feed(piece);
                }
                assert_eq!(hash.finish(), want.as_ref(), "{form} {body:?} by {size}");
            }
        }
    }

    #[test]
    fn millions_of_empty_lines_take_no_memory() {
        let mut hash = Body::new(Form::Relaxed);
        let lines = b"\r\n".repeat(100_000);
        for _ in 0..10 {
            hash.feed(&lines);
        }
        hash.feed(b"x");
        assert!(hash.ready.capacity() < 4096);
    }

    #[test]
    fn forms_are_read_and_said() {
        for text in [
            "relaxed/relaxed",
            "simple/relaxed",
            "relaxed/simple",
            "simple/simple",
        ] {
            assert_eq!(text.parse::<Forms>().unwrap().to_string(), text);
        }
        assert_eq!(Forms::default().to_string(), "relaxed/relaxed");
        assert!("relaxed".parse::<Forms>().is_err());
    }
}
