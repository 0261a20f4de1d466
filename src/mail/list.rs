//! Address lists of a header: who sent it and who is to get it, for mail that comes without an envelope.
//!
//! Trust: none. mail-parser reads one field at a time, out of a block that is capped, by `parse_headers` only (its
//! full parse can be made to overflow the stack); every address that comes out is parsed again by ours.

use std::fmt;

use mail_parser::HeaderName;
use mail_parser::HeaderValue;
use mail_parser::MessageParser;

use crate::base::Escaped;
use crate::base::limits;
use crate::mail::address::Address;
use crate::mail::address::BadAddress;
use crate::mail::domain::Domain;
use crate::mail::header::Field;
use crate::mail::header::fields;
use crate::mail::header::unfold;

/// A mailbox with the name that stood beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Display name or comment, decoded; empty when there was none.
    pub name: String,
    /// Where it leads; `None` is the null address `<>`.
    pub address: Option<Address>,
}

/// A part of a list that is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// The text, cut to a readable length.
    pub text: String,
    /// What is wrong with it.
    pub why: BadAddress,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot read the address \"{}\": {}",
            Escaped(self.text.as_bytes()),
            self.why
        )
    }
}

impl std::error::Error for BadEntry {}

/// The addresses of one field value, groups opened. `undisclosed-recipients:;` is no address and no error.
///
/// A bare local name gets `default_domain`. An entry that cannot be read is an error in its place, so that the good
/// ones beside it still count where the caller wants them to.
pub fn mailboxes(value: &[u8], default_domain: Option<&Domain>) -> Vec<Result<Mailbox, BadEntry>> {
    let value = value.trim_ascii();
    // What most programs write; and a bare quoted local part, which mail-parser takes apart.
    let inside = value
        .strip_prefix(b"<")
        .and_then(|text| text.strip_suffix(b">"));
    let plain = std::str::from_utf8(inside.unwrap_or(value));
    let plain = plain.map(|text| Address::parse_with(text, default_domain));
    if let Ok(Ok(address)) = plain {
        return vec![Ok(Mailbox {
            name: String::new(),
            address: Some(address),
        })];
    }
    if let Some(name) = name_before_null(value) {
        return vec![Ok(Mailbox {
            name,
            address: None,
        })];
    }
    // mail-parser takes a quoted local part that opens an entry of a list for the name in front of one.
    if find_text(value, b"\"@")
        && let Some(entries) = entries(value)
    {
        let all = entries.into_iter().filter(|entry| !entry.is_empty());
        return all
            .flat_map(|entry| mailboxes(entry, default_domain))
            .collect();
    }
    let mut block = Vec::with_capacity(value.len().saturating_add(8));
    block.extend_from_slice(b"To: ");
    let room = limits::HEADER_BLOCK.saturating_sub(8);
    push_flat(&mut block, value.get(..room).unwrap_or(value));
    block.extend_from_slice(b"\r\n\r\n");
    let parser = MessageParser::new()
        .header_address(HeaderName::To)
        .default_header_ignore();
    let Some(message) = parser.parse_headers(&block) else {
        return Vec::new();
    };
    let Some(HeaderValue::Address(list)) = message.header(HeaderName::To) else {
        return Vec::new();
    };
    // mail-parser takes the quotes off a local part that needs them; they go on again only where they stood.
    // A search of the whole block each, so not for every entry of a hostile list.
    let tries = std::cell::Cell::new(0_u8);
    let was_quoted = |local: &str| {
        tries.set(tries.get().saturating_add(1));
        if tries.get() > 64 {
            return false;
        }
        let quoted = format!("\"{}\"@", escape_quoted(local));
        find_text(&block, quoted.as_bytes())
    };
    let entry = |entry: &mail_parser::Addr<'_>| {
        let name = entry.name().unwrap_or("").trim();
        match entry
            .address()
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            Some(text) => Some(one(name, text, default_domain, was_quoted)),
            // A lone word is a bare local name; anything longer was meant as something else.
            None if name.is_empty() => None,
            None => Some(one("", name, default_domain, was_quoted)),
        }
    };
    match list {
        mail_parser::Address::List(list) => list.iter().filter_map(entry).collect(),
        mail_parser::Address::Group(groups) => groups
            .iter()
            .flat_map(|group| {
                // An address before the colon is not the name of a group.
                let lost = group
                    .name
                    .as_deref()
                    .filter(|name| name.contains('@'))
                    .map(|name| {
                        Err(BadEntry {
                            text: short(name),
                            why: BadAddress::LocalPart,
                        })
                    });
                lost.into_iter()
                    .chain(group.addresses.iter().filter_map(entry))
            })
            .collect(),
    }
}

/// The one mailbox of a value such as `X-Sender:` has; the first when there are several.
pub fn mailbox(value: &[u8], default_domain: Option<&Domain>) -> Result<Mailbox, BadEntry> {
    let first = mailboxes(value, default_domain).into_iter().next();
    first.unwrap_or_else(|| {
        Err(BadEntry {
            text: short(&unfold(value)),
            why: BadAddress::Empty,
        })
    })
}

/// What a header block says about who and whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// `Resent-Sender`, `Resent-From`, `Sender` or `From`, in that order of preference, and its first mailbox.
    pub sender: Option<Mailbox>,
    /// `To`, `Cc` and `Bcc`, or, when any of them stands there, `Resent-To`, `Resent-Cc` and `Resent-Bcc`
    /// (RFC 5322 s3.6.6: who resends means these). Each address once, in order.
    pub recipients: Vec<Address>,
    /// The first thing among the recipients that could not be read.
    pub bad_recipient: Option<BadEntry>,
    /// The first thing among the senders that could not be read.
    pub bad_sender: Option<BadEntry>,
    /// There are more recipients than [`limits::RECIPIENTS`].
    pub too_many: bool,
}

/// Reads the senders and recipients of a header block.
///
/// A field that stands there twice (which RFC 5322 s3.6 forbids, and scripts do) counts twice; of the `Resent-` fields only the
/// first of each name counts, because the later ones are from an earlier resending.
pub fn people(block: &[u8], default_domain: Option<&Domain>) -> People {
    const SENDERS: [Field; 4] = [
        Field::ResentSender,
        Field::ResentFrom,
        Field::Sender,
        Field::From,
    ];
    const RESENT: [Field; 3] = [Field::ResentTo, Field::ResentCc, Field::ResentBcc];
    const PLAIN: [Field; 3] = [Field::To, Field::Cc, Field::Bcc];

    let known =
        || fields(block).filter_map(|(name, value)| Field::named(name).map(|field| (field, value)));
    let resent = known().any(|(field, _)| RESENT.contains(&field));
    let mut people = People::default();

    for wanted in SENDERS.iter().skip(if resent { 0 } else { 2 }) {
        let Some((_, value)) = known().find(|(field, _)| field == wanted) else {
            continue;
        };
        match mailbox(value, default_domain) {
            Ok(mailbox) => {
                people.sender = Some(mailbox);
                break;
            }
            Err(bad) => people.bad_sender = people.bad_sender.or(Some(bad)),
        }
    }

    let mut seen = std::collections::HashSet::new();
    for wanted in if resent { RESENT } else { PLAIN } {
        let values = known().filter(|(field, _)| *field == wanted);
        for (_, value) in values.take(if resent { 1 } else { usize::MAX }) {
            for entry in mailboxes(value, default_domain) {
                match entry.map(|mailbox| mailbox.address) {
                    Ok(Some(address)) if people.recipients.len() >= limits::RECIPIENTS => {
                        people.too_many |= !seen.contains(&address);
                    }
                    Ok(Some(address)) => {
                        if seen.insert(address.clone()) {
                            people.recipients.push(address);
                        }
                    }
                    Ok(None) => {}
                    Err(bad) => people.bad_recipient = people.bad_recipient.or(Some(bad)),
                }
            }
        }
    }
    people
}

/// `Name <>` and `<>`: the null sender with whatever name stands before it.
fn name_before_null(value: &[u8]) -> Option<String> {
    let front = value.strip_suffix(b">")?.trim_ascii_end();
    let front = front.strip_suffix(b"<")?.trim_ascii();
    if front.iter().any(|byte| matches!(byte, b'<' | b',' | b':')) && !front.starts_with(b"\"") {
        return None;
    }
    let name = unfold(front);
    let bare = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
        .map(|name| name.replace("\\\"", "\"").replace("\\\\", "\\"));
    Some(bare.unwrap_or(name))
}

/// Appends a value on one line. Line ends become spaces, so that nothing in it can start a field of its own; so do
/// semicolons outside a group, which half the address books write between addresses.
fn push_flat(block: &mut Vec<u8>, value: &[u8]) {
    let (mut quoted, mut escaped, mut comment, mut angle, mut group) =
        (false, false, 0u32, false, false);
    for &byte in value {
        let mut put = if matches!(byte, b'\r' | b'\n' | 0) {
            b' '
        } else {
            byte
        };
        match put {
            _ if escaped => escaped = false,
            b'\\' if quoted || comment > 0 => escaped = true,
            b'"' if comment == 0 => quoted = !quoted,
            b'(' if !quoted => comment = comment.saturating_add(1),
            b')' if !quoted => comment = comment.saturating_sub(1),
            b'<' if !quoted && comment == 0 => angle = true,
            b'>' if !quoted && comment == 0 => angle = false,
            b':' if !quoted && comment == 0 && !angle => group = true,
            b';' if !quoted && comment == 0 && !angle => {
                if !group {
                    put = b',';
                }
                group = false;
            }
            _ => {}
        }
        block.push(put);
    }
}

/// The entries of a list of several, as they were written; none for one entry alone, and for a list with a group, whose
/// inside is another list.
fn entries(value: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped, mut comment, mut angle) = (false, false, 0_u32, false);
    let (mut all, mut start) = (Vec::new(), 0);
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted || comment > 0 => escaped = true,
            b'"' if comment == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => comment = comment.saturating_add(1),
            b')' => comment = comment.saturating_sub(1),
            _ if comment > 0 => {}
            b'<' | b'[' => angle = true,
            b'>' | b']' => angle = false,
            _ if angle => {}
            b':' | b';' => return None,
            b',' => {
                all.push(value.get(start..at)?.trim_ascii());
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
    all.push(value.get(start..)?.trim_ascii());
    (all.len() > 1).then_some(all)
}

/// A local part as it stands between quotes (RFC 5321 s4.1.2).
fn escape_quoted(local: &str) -> String {
    local.replace('\\', "\\\\").replace('"', "\\\"")
}

fn find_text(block: &[u8], text: &[u8]) -> bool {
    block
        .windows(text.len().max(1))
        .any(|window| window == text)
}

fn one(
    name: &str,
    text: &str,
    default_domain: Option<&Domain>,
    was_quoted: impl Fn(&str) -> bool,
) -> Result<Mailbox, BadEntry> {
    // RFC 5322 s4.4: a route in front of an address is read, and means nothing.
    let routed = text
        .strip_prefix('@')
        .and_then(|route| route.split_once(':'));
    let text = routed.map_or(text, |(_, address)| address);
    let parsed = Address::parse_with(text, default_domain).or_else(|why| {
        let parts = text.rsplit_once('@');
        match parts.filter(|(local, _)| was_quoted(local)) {
            Some((local, domain)) => {
                Address::parse(&format!("\"{}\"@{domain}", escape_quoted(local)))
            }
            None => Err(why),
        }
    });
    match parsed {
        // The mark of bytes that were no UTF-8: the address is not what was written.
        Ok(_) if text.contains(char::REPLACEMENT_CHARACTER) => Err(BadEntry {
            text: short(text),
            why: BadAddress::LocalPart,
        }),
        Ok(address) => Ok(Mailbox {
            name: name.chars().filter(|c| !c.is_control()).collect(),
            address: Some(address),
        }),
        Err(why) => Err(BadEntry {
            text: short(text),
            why,
        }),
    }
}

/// Enough of a text to find it again.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::{mailbox, mailboxes, people};
    use crate::base::dice::Dice;
    use crate::mail::domain::Domain;

    fn shown(value: &str) -> Vec<String> {
        let home = Domain::parse("nas.lan").unwrap();
        mailboxes(value.as_bytes(), Some(&home))
            .into_iter()
            .map(|entry| match entry {
                Ok(mailbox) => {
                    let address = mailbox.address.map_or(String::new(), |a| a.to_string());
                    format!("{}<{address}>", mailbox.name)
                }
                Err(bad) => format!("! {}", bad.text),
            })
            .collect()
    }

    #[test]
    fn lists_as_programs_write_them() {
        for (value, want) in [
            ("a@b.c", vec!["<a@b.c>"]),
            (" <a@b.c> ", vec!["<a@b.c>"]),
            ("Joe <a@b.c>, x@y.z", vec!["Joe<a@b.c>", "<x@y.z>"]),
            ("\"Do Not, Reply\" <a@b.c>", vec!["Do Not, Reply<a@b.c>"]),
            ("=?utf-8?B?SsO2cmc=?= <j@b.c>", vec!["J\u{f6}rg<j@b.c>"]),
            ("=?utf-8?Q?a=40evil=2C?= <j@b.c>", vec!["a@evil,<j@b.c>"]),
            ("a@b.c (a comment)", vec!["a comment<a@b.c>"]),
            ("a@b.c,\r\n\td@e.f\r\n", vec!["<a@b.c>", "<d@e.f>"]),
            ("a@b.c,\n d@e.f", vec!["<a@b.c>", "<d@e.f>"]),
            ("root", vec!["<root@nas.lan>"]),
            ("root, pi", vec!["<root@nas.lan>", "<pi@nas.lan>"]),
            ("Admin <root>", vec!["Admin<root@nas.lan>"]),
            ("a@b.c;d@e.f", vec!["<a@b.c>", "<d@e.f>"]),
            ("friends: a@b.c, d@e.f;", vec!["<a@b.c>", "<d@e.f>"]),
            ("g: a@b.c;, x@y.z", vec!["<a@b.c>", "<x@y.z>"]),
            ("undisclosed-recipients:;", vec![]),
            ("undisclosed recipients: ;", vec![]),
            ("", vec![]),
            (",,a@b.c,,", vec!["<a@b.c>"]),
            ("<>", vec!["<>"]),
            ("Cron <>", vec!["Cron<>"]),
            ("\"Cron \\\"D\\\"\" <>", vec!["Cron \"D\"<>"]),
            ("\"a b\"@c.d", vec!["<\"a b\"@c.d>"]),
            ("<\"a@b\"@c.d>", vec!["<\"a@b\"@c.d>"]),
            ("\"a b\"@c.d, e@f.g", vec!["<\"a b\"@c.d>", "<e@f.g>"]),
            (
                "Joe <\"a b\"@c.d>, \"Do, it\" <x@y.z>, <\"p@q\"@c.d>",
                vec!["Joe<\"a b\"@c.d>", "Do, it<x@y.z>", "<\"p@q\"@c.d>"],
            ),
            ("Joe <@r.s,@t.u:a@b.c>", vec!["Joe<a@b.c>"]),
            (
                "a@b.c, x <u@[IPv6:::1]>",
                vec!["<a@b.c>", "x<u@[IPv6:::1]>"],
            ),
            ("j\u{f6}rg@b\u{fc}ro.de", vec!["<j\u{f6}rg@b\u{fc}ro.de>"]),
            ("a@[192.0.2.1]", vec!["<a@[192.0.2.1]>"]),
            ("a@b..c", vec!["! a@b..c"]),
            ("not an address", vec!["! not an address"]),
            ("good@b.c, two words", vec!["<good@b.c>", "! two words"]),
        ] {
            assert_eq!(shown(value), want, "{value:?}");
        }
    }

    #[test]
    fn no_field_can_be_slipped_in() {
        let got = shown("a@b.c\r\nBcc: evil@x.y");
        assert_eq!(got.first().map(String::as_str), Some("! a@b.c  Bcc"));
        assert!(mailbox(b"", None).is_err());
        assert!(mailbox(b"root", None).is_err());
        assert!(mailbox(b"\xff\xfe@x", None).is_err());
    }

    #[test]
    fn envelopes_come_from_headers() {
        for (block, sender, recipients) in [
            (
                "From: a@x\r\nTo: b@x, c@x\r\nCc: d@x\r\nBcc: b@x, e@x\r\n",
                "a@x",
                "b@x c@x d@x e@x",
            ),
            ("from: a@x\r\nsender: s@x\r\nto: b@x\r\n", "s@x", "b@x"),
            (
                "From: a@x, aa@x\r\nTo: b@x\r\nTo: c@x\r\n",
                "a@x",
                "b@x c@x",
            ),
            (
                "Resent-From: r@x\r\nResent-To: rt@x\r\nResent-Bcc: rb@x\r\nResent-To: old@x\r\nFrom: a@x\r\nTo: b@x\r\n",
                "r@x",
                "rt@x rb@x",
            ),
            ("Resent-From: r@x\r\nFrom: a@x\r\nTo: b@x\r\n", "a@x", "b@x"),
            ("Resent-To: rt@x\r\nFrom: a@x\r\nTo: b@x\r\n", "a@x", "rt@x"),
            (
                "Sender: not an address\r\nFrom: a@x\r\nTo: b@x\r\n",
                "a@x",
                "b@x",
            ),
            ("Subject: none\r\n", "", ""),
        ] {
            let people = people(block.as_bytes(), None);
            let got = people
                .sender
                .and_then(|m| m.address)
                .map_or(String::new(), |a| a.to_string());
            assert_eq!(got, sender, "{block:?}");
            let list: Vec<_> = people.recipients.iter().map(ToString::to_string).collect();
            assert_eq!(list.join(" "), recipients, "{block:?}");
        }
    }

    #[test]
    fn hostile_lists_end() {
        for text in [
            "<", "(", "\"", "\\", "a:", "<<<>>>", "=?", "@", ",", ";", "\u{0}",
        ] {
            let long = text.repeat(70_000 / text.len());
            let _ = mailboxes(long.as_bytes(), None);
            let _ = people(format!("To: {long}\r\n").as_bytes(), None);
        }
    }

    #[test]
    fn what_comes_out_of_noise_is_an_address_or_an_error() {
        const PIECES: [&str; 18] = [
            "a@b.c",
            "<",
            ">",
            "\"",
            "(",
            ")",
            ",",
            ";",
            ":",
            "\\",
            "=?utf-8?q?",
            "?=",
            " ",
            "\r\n ",
            "@",
            "\u{fc}",
            "x",
            "\0",
        ];
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let value: String = (0..dice.pick(16))
                .map(|_| PIECES[dice.pick(PIECES.len())])
                .collect();
            for mailbox in mailboxes(value.as_bytes(), None).into_iter().flatten() {
                assert!(
                    !mailbox.name.contains(|c: char| c.is_control()),
                    "{value:?}"
                );
                if let Some(address) = mailbox.address {
                    assert!(
                        !address.to_string().contains(['\r', '\n', '\0']),
                        "{value:?}"
                    );
                }
            }
        }
    }
}
