//! From an address to the name that DNS has for it.

use std::fmt::Write;
use std::net::IpAddr;

use crate::mail::Domain;

/// The name under which the names of an address stand (RFC 1035 s3.5, RFC 3596 s2.5). None for an address that means
/// something on its own link only (RFC 6762 s4), or none at all: no name server could know it.
pub fn name(ip: IpAddr) -> Option<Domain> {
    let mut text = String::new();
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            if v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() {
                return None;
            }
            let [a, b, c, d] = v4.octets();
            let _ = write!(text, "{d}.{c}.{b}.{a}.in-addr.arpa");
        }
        IpAddr::V6(v6) => {
            if v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() {
                return None;
            }
            for byte in v6.octets().iter().rev() {
                let _ = write!(text, "{:x}.{:x}.", byte & 15, byte >> 4);
            }
            text.push_str("ip6.arpa");
        }
    }
    Domain::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn addresses_are_written_backwards() {
        for (ip, want) in [
            ("192.0.2.7", Some("7.2.0.192.in-addr.arpa")),
            ("::ffff:192.0.2.7", Some("7.2.0.192.in-addr.arpa")),
            (
                // The example of RFC 3596 s2.5.
                "4321:0:1:2:3:4:567:89ab",
                Some("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"),
            ),
            ("192.168.1.1", Some("1.1.168.192.in-addr.arpa")),
            ("169.254.1.1", None),
            ("fe80::1", None),
            ("0.0.0.0", None),
            ("::", None),
            ("ff02::1", None),
            ("224.0.0.1", None),
        ] {
            let asked = name(ip.parse().unwrap());
            assert_eq!(asked.as_ref().map(|name| name.as_str()), want, "{ip}");
        }
    }
}
