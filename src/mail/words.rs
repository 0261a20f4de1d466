//! Text in header fields: encoded words (RFC 2047) and display names (RFC 5322 s3.4).

use base64ct::Base64;
use base64ct::Encoding;

use crate::mail::address::Address;

/// Bytes of text in one encoded word: `=?utf-8?B?` and `?=` around base64 of it stay below the 75 characters of
/// RFC 2047 s2.
const STEP: usize = 45;

/// A text for an unstructured field such as Subject. Control characters become spaces; when it is not all ASCII it
/// becomes encoded words, folded.
pub fn text(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if flat.is_ascii() {
        return fold(&flat);
    }
    let mut words = String::new();
    let mut rest = flat.as_str();
    while !rest.is_empty() {
        let mut at = rest.len().min(STEP);
        while !rest.is_char_boundary(at) {
            at = at.saturating_sub(1);
        }
        let Some((word, behind)) = rest.split_at_checked(at) else {
            break;
        };
        if !words.is_empty() {
            words.push_str("\r\n ");
        }
        words.push_str("=?utf-8?B?");
        words.push_str(&Base64::encode_string(word.as_bytes()));
        words.push_str("?=");
        rest = behind;
    }
    words
}

/// A mailbox for From and the like: the name quoted or encoded as it needs, then the address.
pub fn mailbox(name: &str, address: &Address) -> String {
    let name = name.trim();
    if name.is_empty() {
        return address.to_string();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if name.chars().all(plain) && !name.contains("=?") {
        format!("{name} <{address}>")
    } else if name.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\" <{address}>")
    } else {
        format!("{} <{address}>", text(name))
    }
}

/// ASCII text in lines of some 78 characters where it has spaces to fold at.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut length = 9;
    for (at, word) in text.split(' ').enumerate() {
        // Only between words that are words: a line of nothing but spaces would end a header for some readers.
        let wraps = length > 20 && !word.is_empty() && !folded.ends_with(' ');
        if at > 0 && wraps && word.len().saturating_add(length) > 77 {
            folded.push_str("\r\n");
            length = 0;
        }
        if at > 0 {
            folded.push(' ');
        }
        folded.push_str(word);
        length = length.saturating_add(word.len()).saturating_add(1);
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::{mailbox, text};
    use crate::mail::Address;
    use crate::mail::header::unfold;
    use crate::mail::list;

    #[test]
    fn subjects_are_plain_or_encoded() {
        assert_eq!(text("disk full on /dev/sda"), "disk full on /dev/sda");
        assert_eq!(text("a\r\nBcc: x"), "a  Bcc: x");
        assert_eq!(text("\u{fc}ber"), "=?utf-8?B?w7xiZXI=?=");
        let long = text(&"\u{20ac}".repeat(100));
        assert!(
            long.split("\r\n")
                .all(|line| line.len() <= 76 && line.is_ascii())
        );
        let words = "word ".repeat(60);
        let folded = text(&words);
        assert!(folded.split("\r\n").all(|line| line.len() <= 80));
        assert_eq!(unfold(folded.as_bytes()), words.trim());
    }

    #[test]
    fn names_read_back_as_they_were() {
        let address = Address::parse("root@nas.lan").unwrap();
        for name in [
            "",
            "Cron Daemon",
            "O'Neil",
            "Do Not, Reply",
            "a \"b\" \\c",
            "J\u{f6}rg M\u{fc}ller",
            "=?utf-8?q?x?=",
        ] {
            let value = mailbox(name, &address);
            assert!(value.is_ascii());
            let back = list::mailbox(value.as_bytes(), None).unwrap();
            assert_eq!(back.address.as_ref(), Some(&address), "{value}");
            if !name.starts_with("=?") {
                assert_eq!(back.name, name, "{value}");
            }
        }
    }
}
