//! The hosts file: names that need no name server.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use crate::base::limits;

/// Adds the addresses that one line of a hosts file gives for `name`. Comments and what cannot be read are passed
/// over.
pub fn line(line: &str, name: &str, found: &mut Vec<IpAddr>) {
    let text = line.split('#').next().unwrap_or("");
    let mut words = text.split_ascii_whitespace();
    let Some(first) = words.next() else { return };
    if !words.any(|word| {
        word.strip_suffix('.')
            .unwrap_or(word)
            .eq_ignore_ascii_case(name)
    }) {
        return;
    }
    // A link-local address may carry its interface; without a socket address to put it into, it is of no use.
    if let Ok(ip) = first.parse::<IpAddr>()
        && found.len() < limits::DNS_ADDRESSES
        && !found.contains(&ip)
    {
        found.push(ip);
    }
}

/// The name that one line of a hosts file gives for an address, the first one of the line.
pub fn name_in(line: &str, ip: IpAddr) -> Option<&str> {
    let text = line.split('#').next()?;
    let mut words = text.split_ascii_whitespace();
    let here = words.next()?.parse::<IpAddr>().ok()?;
    let name = words.next()?;
    (here == ip).then(|| name.strip_suffix('.').unwrap_or(name))
}

/// What `localhost` and the names below it are, whatever any file or server says (RFC 6761 s6.3).
pub fn localhost(name: &str) -> Option<Vec<IpAddr>> {
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local.then(|| {
        vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::{line, localhost, name_in};

    #[test]
    fn hosts_lines() {
        for (text, name, want) in [
            ("192.0.2.1 mail.lan mail", "mail", "192.0.2.1"),
            ("192.0.2.1\tMail.LAN", "mail.lan", "192.0.2.1"),
            (
                "  2001:db8::1  mail.lan. # the new one",
                "mail.lan",
                "2001:db8::1",
            ),
            ("192.0.2.1 other # mail.lan", "mail.lan", ""),
            ("# 192.0.2.1 mail.lan", "mail.lan", ""),
            ("mail.lan 192.0.2.1", "mail.lan", ""),
            ("fe80::1%eth0 mail.lan", "mail.lan", ""),
            ("192.0.2.1", "192.0.2.1", ""),
            ("", "mail", ""),
            ("192.0.2.1 mail.lan\r", "mail.lan", "192.0.2.1"),
        ] {
            let mut found = Vec::new();
            line(text, name, &mut found);
            let got: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(got.join(" "), want, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_has_both_addresses_once() {
        let mut found = Vec::new();
        for text in ["127.0.0.1 nas", "::1 nas", "127.0.0.1 nas"] {
            line(text, "nas", &mut found);
        }
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn an_address_has_the_first_name_of_its_line() {
        let ip = "192.0.2.1".parse().unwrap();
        for (text, want) in [
            ("192.0.2.1 mail.lan mail", Some("mail.lan")),
            ("192.0.2.1\tmail.lan. # new", Some("mail.lan")),
            ("192.0.2.1", None),
            ("192.0.2.1 # mail", None),
            ("192.0.2.2 mail", None),
            ("# 192.0.2.1 mail", None),
            ("", None),
        ] {
            assert_eq!(name_in(text, ip), want, "{text:?}");
        }
    }

    #[test]
    fn localhost_needs_no_file() {
        assert!(localhost("localhost").is_some() && localhost("a.localhost").is_some());
        assert!(localhost("notlocalhost").is_none());
    }
}
