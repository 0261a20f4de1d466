//! xtext (RFC 3461 s4): how ENVID, ORCPT and AUTH carry any text in a command.

/// Whether it is xtext: printable ASCII without `+` and `=`, or `+` and two upper-case hexadecimal digits.
pub fn is_xtext(text: &str) -> bool {
    let mut bytes = text.bytes();
    let hex = |b: Option<u8>| matches!(b, Some(b'0'..=b'9' | b'A'..=b'F'));
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'+' => hex(bytes.next()) && hex(bytes.next()),
            b'=' => false,
            b'!'..=b'~' => true,
            _ => false,
        };
        if !good {
            return false;
        }
    }
    true
}

/// Whether it is an ENVID (RFC 3461 s4.4): one to 100 characters of xtext.
pub fn is_envid(text: &str) -> bool {
    (1..=100).contains(&text.len()) && is_xtext(text)
}

/// Whether it is an ORCPT (RFC 3461 s4.2): a kind of address, a semicolon and xtext, at most 500 characters.
pub fn is_orcpt(text: &str) -> bool {
    let atom = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let good = |(kind, address): (&str, &str)| {
        let kind = !kind.is_empty() && kind.chars().all(atom);
        kind && !address.is_empty() && is_xtext(address)
    };
    text.len() <= 500 && text.split_once(';').is_some_and(good)
}
