//! Signs one message: the whole of it is shown once, then comes the field for its top.

use std::fmt;
use std::fmt::Write;

use base64ct::Base64;
use base64ct::Encoding;
use ring::rand::SecureRandom;

use crate::base::Wall;
use crate::base::limits;
use crate::mail::dkim::canon;
use crate::mail::dkim::canon::Body;
use crate::mail::dkim::canon::Form;
use crate::mail::dkim::canon::Forms;
use crate::mail::dkim::key::Key;
use crate::mail::domain::Domain;
use crate::mail::header;
use crate::mail::list;

/// Whose mail is signed, and with what.
#[derive(Debug)]
pub struct Signer {
    /// Mail from this domain, and from those below it for which there is no closer signer.
    pub domain: Domain,
    /// Under which name the key is published.
    pub selector: Domain,
    /// The canonical forms.
    pub forms: Forms,
    /// The key.
    pub key: Key,
}

/// How a field is covered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    /// All that are there, and the absence of any more: nobody can put another in front and keep the signature.
    Sealed,
    /// The same where there is one. A relay on the way may add the first, and must not break the signature by it.
    SealedIfThere,
    /// All that are there.
    There,
}

/// What is signed (RFC 6376 s5.4.1), with what a relay may rightly add left open. Fields that relays do add or change
/// (Received, Return-Path, Bcc) are not signed.
const SIGNED: &[(&str, Cover)] = &[
    ("From", Cover::Sealed),
    ("Subject", Cover::Sealed),
    ("Reply-To", Cover::Sealed),
    ("Cc", Cover::Sealed),
    ("To", Cover::SealedIfThere),
    ("Sender", Cover::SealedIfThere),
    ("Date", Cover::SealedIfThere),
    ("Message-ID", Cover::SealedIfThere),
    ("In-Reply-To", Cover::SealedIfThere),
    ("References", Cover::SealedIfThere),
    ("MIME-Version", Cover::SealedIfThere),
    ("Content-Type", Cover::SealedIfThere),
    ("Content-Transfer-Encoding", Cover::SealedIfThere),
    ("Content-ID", Cover::There),
    ("Content-Description", Cover::There),
    ("Auto-Submitted", Cover::There),
    ("Resent-From", Cover::There),
    ("Resent-Sender", Cover::There),
    ("Resent-Date", Cover::There),
    ("Resent-To", Cover::There),
    ("Resent-Cc", Cover::There),
    ("Resent-Message-ID", Cover::There),
    ("List-Id", Cover::There),
    ("List-Help", Cover::There),
    ("List-Unsubscribe", Cover::There),
    ("List-Unsubscribe-Post", Cover::There),
    ("List-Subscribe", Cover::There),
    ("List-Post", Cover::There),
    ("List-Owner", Cover::There),
    ("List-Archive", Cover::There),
];

/// How many signatures a message gets at most: one for each algorithm, and one more while keys change.
const MOST: usize = 4;

/// A message that passes.
pub struct Signing<'a> {
    signers: &'a [Signer],
    /// The header block, until its end; then without the empty line.
    block: Vec<u8>,
    stage: Stage,
    /// Who signs, by place; known once the header has passed.
    chosen: Vec<usize>,
    relaxed: Option<Body>,
    simple: Option<Body>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Body,
    /// Nobody signs it.
    Unsigned,
}

impl fmt::Debug for Signing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signing({:?})", self.stage)
    }
}

impl<'a> Signing<'a> {
    /// Begins; `signers` are all there are.
    pub fn new(signers: &'a [Signer]) -> Self {
        Self {
            signers,
            block: Vec::new(),
            stage: if signers.is_empty() {
                Stage::Unsigned
            } else {
                Stage::Header
            },
            chosen: Vec::new(),
            relaxed: None,
            simple: None,
        }
    }

    /// Takes the next bytes of the message as it will be sent, before dots are stuffed. Says whether more is wanted:
    /// of a message that nobody signs no more than its header is.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        if self.stage == Stage::Header {
            // The end may lie across two pieces.
            let from = self.block.len().saturating_sub(3);
            let before = self.block.len();
            self.block.extend_from_slice(rest);
            let tail = self.block.get(from..).unwrap_or_default();
            let end = tail.windows(4).position(|four| four == b"\r\n\r\n");
            // A message without a header begins with the empty line.
            let end = match end {
                _ if self.block.starts_with(b"\r\n") => Some((0, 2)),
                Some(at) => Some((from.saturating_add(at).saturating_add(2), 2)),
                None if self.block.len() > limits::HEADER_BLOCK => {
                    self.stage = Stage::Unsigned;
                    self.block = Vec::new();
                    return false;
                }
                None => return true,
            };
            let Some((end, blank)) = end else {
                return true;
            };
            let body = end.saturating_add(blank).saturating_sub(before);
            rest = rest.get(body..).unwrap_or_default();
            self.block.truncate(end);
            self.choose();
        }
        if self.stage == Stage::Unsigned {
            return false;
        }
        for body in [&mut self.relaxed, &mut self.simple].into_iter().flatten() {
            body.feed(rest);
        }
        true
    }

    /// The author's domain chooses: all signers of that very domain, else those of the closest above it.
    fn choose(&mut self) {
        self.stage = Stage::Unsigned;
        let Some(author) = author(&self.block) else {
            return;
        };
        let reach = |signer: &Signer| {
            let text = signer.domain.as_str();
            (signer.domain == author || author.is_below(text)).then_some(text.len())
        };
        let Some(closest) = self.signers.iter().filter_map(reach).max() else {
            return;
        };
        let all = self.signers.iter().enumerate();
        let mine = all.filter(|(_, signer)| reach(signer) == Some(closest));
        self.chosen = mine.map(|(at, _)| at).take(MOST).collect();
        let forms: Vec<Form> = self
            .chosen
            .iter()
            .filter_map(|&at| self.signers.get(at))
            .map(|signer| signer.forms.body)
            .collect();
        let body = |form| forms.contains(&form).then(|| Body::new(form));
        (self.relaxed, self.simple) = (body(Form::Relaxed), body(Form::Simple));
        self.stage = Stage::Body;
    }

    /// The fields for the top of the message, each with its line end; empty when nobody signs it. `at` is the time, where
    /// it is known. A signature that cannot be made is left out: unsigned mail is mail.
    pub fn finish(mut self, at: Option<Wall>, random: &dyn SecureRandom) -> String {
        if self.stage == Stage::Header {
            // A header and nothing else.
            let lacking = if self.block.ends_with(b"\r\n") {
                "\r\n"
            } else {
                "\r\n\r\n"
            };
            self.feed(lacking.as_bytes());
        }
        let hash = |body: Option<Body>| body.map(|body| Base64::encode_string(&body.finish()));
        let (relaxed, simple) = (hash(self.relaxed.take()), hash(self.simple.take()));
        let mut out = String::new();
        for signer in self.chosen.iter().filter_map(|&at| self.signers.get(at)) {
            let body = match signer.forms.body {
                Form::Relaxed => &relaxed,
                Form::Simple => &simple,
            };
            let Some(body) = body else {
                continue;
            };
            let (names, mut text) = cover(signer.forms.header, &self.block);
            let field = unsigned_field(signer, at, &names, body);
            canon::header(signer.forms.header, field.as_bytes(), false, &mut text);
            let Some(signature) = signer.key.sign(&text, random) else {
                continue;
            };
            out.push_str(&field);
            wrapped(&Base64::encode_string(&signature), 74, &mut out);
            out.push_str("\r\n");
        }
        out
    }
}

/// The domain of the first address in the only From field. With two of them nobody can say whose message it is.
fn author(block: &[u8]) -> Option<Domain> {
    let mut from = header::fields(block).filter(|field| field.0.eq_ignore_ascii_case(b"From"));
    let (Some(field), None) = (from.next(), from.next()) else {
        return None;
    };
    let mailboxes = list::mailboxes(field.1, None).into_iter();
    let address = mailboxes.flatten().find_map(|mailbox| mailbox.address)?;
    Some(address.domain().clone())
}

/// The names for the `h=` tag, and what they stand for in canonical form.
fn cover(form: Form, block: &[u8]) -> (Vec<&'static str>, Vec<u8>) {
    let fields: Vec<(&[u8], &[u8])> = raw_fields(block).collect();
    let (mut names, mut text) = (Vec::new(), Vec::with_capacity(block.len()));
    for (name, how) in SIGNED {
        let mut there = false;
        // RFC 6376 s5.4.2: from the bottom up.
        for (_, field) in fields
            .iter()
            .rev()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
        {
            there = true;
            names.push(*name);
            canon::header(form, field, true, &mut text);
        }
        if *how == Cover::Sealed || (there && *how == Cover::SealedIfThere) {
            names.push(*name);
        }
    }
    (names, text)
}

/// Each field of a block with its name, folded lines and line end as they are.
fn raw_fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let tail = rest.get(end..).unwrap_or_default();
            let line = tail.windows(2).position(|two| two == b"\r\n");
            end = match line {
                Some(at) => end.saturating_add(at).saturating_add(2),
                None => rest.len(),
            };
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, behind) = rest.split_at_checked(end)?;
        rest = behind;
        let colon = field.iter().position(|&b| b == b':').unwrap_or(0);
        Some((
            field.get(..colon).unwrap_or_default().trim_ascii_end(),
            field,
        ))
    })
}

/// The signature's own field up to its signature, without a line end.
fn unsigned_field(signer: &Signer, at: Option<Wall>, names: &[&str], body: &str) -> String {
    let mut field = format!(
        "DKIM-Signature: v=1; a={}; c={};\r\n\td={}; s={};",
        signer.key.algorithm(),
        signer.forms,
        signer.domain,
        signer.selector,
    );
    if let Some(at) = at {
        // Writing into a String cannot fail.
        let _ = write!(field, " t={};", at.as_secs());
    }
    field.push_str("\r\n\th=");
    let mut length = 10_usize;
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            field.push(':');
        }
        if length.saturating_add(name.len()) > 74 {
            field.push_str("\r\n\t ");
            length = 9;
        }
        field.push_str(name);
        length = length.saturating_add(name.len()).saturating_add(1);
    }
    let _ = write!(field, ";\r\n\tbh={body};\r\n\tb=");
    field
}

/// Base64 in lines.
fn wrapped(text: &str, width: usize, out: &mut String) {
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at.checked_rem(width) == Some(0) {
            out.push_str("\r\n\t ");
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::{Signer, Signing, cover, raw_fields};
    use crate::base::Wall;
    use crate::mail::Domain;
    use crate::mail::dkim::canon::{self, Body, Form, Forms};
    use crate::mail::dkim::key::Key;
    use base64ct::{Base64, Encoding};
    use ring::rand::SystemRandom;

    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const HEADER: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
         Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
         Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n";
    const BODY: &str = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

    fn key() -> Key {
        let seed = Base64::decode_vec(SEED).unwrap().try_into().unwrap();
        Key::from_pem(&Key::new_pem(&seed)).unwrap()
    }

    fn signer(domain: &str, selector: &str) -> Signer {
        Signer {
            domain: Domain::parse(domain).unwrap(),
            selector: Domain::parse(selector).unwrap(),
            forms: Forms::default(),
            key: key(),
        }
    }

    fn sign(signers: &[Signer], text: &str, size: usize) -> String {
        let mut signing = Signing::new(signers);
        for piece in text.as_bytes().chunks(size) {
            if !signing.feed(piece) {
                break;
            }
        }
        signing.finish(Some(Wall::from_secs(1_528_637_909)), &SystemRandom::new())
    }

    /// RFC 8463 sA: its message, its key, its signature.
    #[test]
    fn the_signature_of_the_standard_comes_out() {
        let mut body = Body::new(Form::Relaxed);
        body.feed(BODY.as_bytes());
        let hash = Base64::encode_string(&body.finish());
        assert_eq!(hash, "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
        let own = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
             i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : \
             message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
        let mut text = Vec::new();
        for name in ["From", "To", "Subject", "Date", "Message-ID"] {
            let mut fields = raw_fields(HEADER.as_bytes());
            let (_, field) = fields.find(|(known, _)| *known == name.as_bytes()).unwrap();
            canon::header(Form::Relaxed, field, true, &mut text);
        }
        canon::header(Form::Relaxed, own.as_bytes(), false, &mut text);
        let signature = key().sign(&text, &SystemRandom::new()).unwrap();
        assert_eq!(
            Base64::encode_string(&signature),
            "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
        );
    }

    #[test]
    fn the_field_is_the_same_in_whatever_pieces_the_message_comes() {
        let signers = [signer("football.example.com", "brisbane")];
        let message = format!("{HEADER}\r\n{BODY}");
        let whole = sign(&signers, &message, message.len());
        for size in 1..60 {
            assert_eq!(sign(&signers, &message, size), whole);
        }
        assert!(
            whole.starts_with(
                "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n\td=football.example.com; s=brisbane; \
                 t=1528637909;\r\n\th=From:From:Subject:Subject:Reply-To:Cc:To:To:Date:Date:Message-ID:\r\n\t \
                 Message-ID;\r\n\tbh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n\tb="
            ),
            "{whole}"
        );
        assert!(whole.ends_with("==\r\n"));
        assert!(whole.lines().all(|line| line.len() <= 84), "{whole}");
    }

    #[test]
    fn the_authors_domain_chooses_the_signers() {
        let signers = [
            signer("example.com", "a"),
            signer("football.example.com", "b"),
            signer("football.example.com", "c"),
            signer("ball.example.com", "d"),
        ];
        let selectors = |from: &str| -> String {
            let message = format!("From: {from}\r\n\r\nx\r\n");
            let fields = sign(&signers, &message, 7);
            fields
                .split(" s=")
                .skip(1)
                .filter_map(|rest| rest.chars().next())
                .collect()
        };
        assert_eq!(selectors("joe@football.example.com"), "bc");
        assert_eq!(
            selectors("\"Joe, S\" <joe@deep.football.example.com>"),
            "bc"
        );
        assert_eq!(selectors("joe@example.com"), "a");
        assert_eq!(selectors("joe@other.example.com"), "a");
        assert_eq!(selectors("joe@example.net"), "");
        assert_eq!(selectors("joe@myexample.com"), "");
        assert_eq!(selectors("joe"), "");
        // Two authors in two fields: nobody can say whose it is.
        assert_eq!(selectors("joe@example.com\r\nFrom: eve@example.com"), "");
    }

    #[test]
    fn a_field_that_stands_twice_is_covered_from_the_bottom_up() {
        let (names, text) = cover(
            Form::Relaxed,
            b"From: a@b\r\nSubject: 1\r\nX: y\r\nSubject:\r\n 2\r\n",
        );
        assert_eq!(
            names,
            [
                "From", "From", "Subject", "Subject", "Subject", "Reply-To", "Cc"
            ]
        );
        assert_eq!(text, b"from:a@b\r\nsubject:2\r\nsubject:1\r\n");
    }

    #[test]
    fn a_message_that_nobody_can_sign_goes_unsigned() {
        let signers = [signer("football.example.com", "b")];
        let huge = format!(
            "From: joe@football.example.com\r\n{}\r\n\r\nx",
            "X: y\r\n".repeat(20_000)
        );
        for message in [
            "",
            "no header at all",
            "\r\n\r\nFrom: joe@football.example.com\r\n",
            &huge,
        ] {
            assert_eq!(sign(&signers, message, 100), "");
        }
        assert_eq!(sign(&[], &format!("{HEADER}\r\n{BODY}"), 10), "");
        // A header alone is a message.
        let bare = sign(&signers, HEADER, 10);
        assert!(
            bare.contains("bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
            "{bare}"
        );
        assert_eq!(sign(&signers, HEADER.trim_end(), 10), bare);
    }
}
