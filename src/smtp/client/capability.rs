//! What a peer offers in its answer to EHLO.

use crate::smtp::sasl::mechanism::Mechanism;
use crate::smtp::sasl::mechanism::Mechanisms;

/// The offer. Before EHLO, and after HELO, it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// SIZE (RFC 1870): the most bytes it takes; zero or no number is "no fixed limit".
    pub size: Option<u64>,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// AUTH (RFC 4954).
    pub auth: Offered,
    /// LIMITS MAILMAX (RFC 9422): messages of one session.
    pub mail_max: Option<usize>,
    /// LIMITS RCPTMAX (RFC 9422): recipients of one message.
    pub rcpt_max: Option<usize>,
}

/// The mechanisms of AUTH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Those that we know.
    pub known: Mechanisms,
    /// One that is bound to the connection, known or not.
    pub plus: bool,
    /// Any at all, known or not.
    pub any: bool,
}

impl Capabilities {
    /// Takes one line of the answer, without its code. Lines that are not known, or not understood, say nothing.
    pub fn add(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return;
        };
        // Some servers write "AUTH=LOGIN" for clients older than the standard.
        let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        let Some(word) = words.next() else {
            return;
        };
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("SIZE") {
            self.size = words.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
        } else if is("AUTH") {
            for word in words {
                self.auth.any = true;
                self.auth.plus |= word.to_ascii_uppercase().ends_with("-PLUS");
                if let Some(known) = Mechanism::named(word) {
                    self.auth.known.add(known);
                }
            }
        } else if is("LIMITS") {
            while let (Some(key), Some(value)) = (words.next(), words.next()) {
                let value = value.parse().ok().filter(|&n| n > 0);
                if key.eq_ignore_ascii_case("MAILMAX") {
                    self.mail_max = value;
                } else if key.eq_ignore_ascii_case("RCPTMAX") {
                    self.rcpt_max = value;
                }
            }
        } else {
            self.pipelining |= is("PIPELINING");
            self.eight_bit |= is("8BITMIME");
            self.starttls |= is("STARTTLS");
            self.chunking |= is("CHUNKING");
            self.binary |= is("BINARYMIME");
            self.utf8 |= is("SMTPUTF8");
            self.dsn |= is("DSN");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Capabilities;
    use crate::smtp::sasl::mechanism::{Mechanism, Mechanisms};

    #[test]
    fn offers() {
        let mut got = Capabilities::default();
        for line in [
            "SIZE 1000",
            "pipelining",
            "8bitmime",
            "AUTH PLAIN XOAUTH2",
            "AUTH=LOGIN",
            "LIMITS MAILMAX=5 RCPTMAX=0 X=",
            "TURN",
            "",
            "  ",
        ] {
            got.add(line.as_bytes());
        }
        got.add(b"\xff");
        assert_eq!(
            (got.size, got.mail_max, got.rcpt_max),
            (Some(1000), Some(5), None)
        );
        assert!(got.pipelining && got.eight_bit && !got.starttls);
        let want = [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2];
        assert_eq!(got.auth.known, Mechanisms::of(&want));
        assert!(got.auth.any && !got.auth.plus);
        for (line, want) in [
            ("SIZE", None),
            ("SIZE 0", None),
            ("SIZE x", None),
            ("SIZE 99999999999999999999", None),
        ] {
            got.add(line.as_bytes());
            assert_eq!(got.size, want, "{line}");
        }
    }
}
