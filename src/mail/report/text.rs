//! Text of strangers, made fit for a report: on one line, folded, out of xtext.

use std::fmt;
use std::fmt::Write;

/// Text from a stranger on one line: no control characters, ASCII unless the reader knows UTF-8, cut to a length in
/// characters.
pub(super) fn clean(text: &str, utf8: bool, most: usize) -> String {
    text.trim()
        .chars()
        .take(most)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '?',
            c if !c.is_ascii() && !utf8 => '?',
            c => c,
        })
        .collect()
}

/// Writes a line that is broken at spaces to stay near 76 characters; a word is never broken.
pub(super) fn fold(text: &mut String, first: &str, value: &str, indent: &str) -> fmt::Result {
    text.push_str(first);
    let mut length = first.len();
    for (at, word) in value.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && length.saturating_add(width) > 76 {
            write!(text, "\r\n{indent}")?;
            length = indent.len();
            // A fold is itself white space in a field; in text the indent is.
            if indent.len() == 1 {
                text.push_str(word);
                length = length.saturating_add(width);
                continue;
            }
        } else if at > 0 {
            text.push(' ');
        }
        text.push_str(word);
        length = length.saturating_add(width).saturating_add(1);
    }
    text.push_str("\r\n");
    Ok(())
}

/// RFC 3461 s4: `+2B` is a plus sign. What is no xtext stays as it is.
pub(super) fn from_xtext(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let code = behind
            .get(..2)
            .filter(|_| first == b'+')
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
