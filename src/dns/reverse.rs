//! The names under which addresses are looked up: `4.3.2.1.in-addr.arpa` (RFC 1035 s3.5) and its like for IPv6
//! (RFC 3596 s2.5).

use std::fmt::Write;
use std::net::IpAddr;

use crate::mail::Domain;

/// The name whose PTR records say what the address is called.
pub fn name(ip: IpAddr) -> Option<Domain> {
    let mut text = String::with_capacity(73);
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            for byte in v4.octets().iter().rev() {
                let _ = write!(text, "{byte}.");
            }
            text.push_str("in-addr.arpa");
        }
        IpAddr::V6(v6) => {
            for byte in v6.octets().iter().rev() {
                let _ = write!(text, "{:x}.{:x}.", byte & 0xF, byte >> 4);
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
    fn reverse_names() {
        for (ip, want) in [
            ("192.0.2.17", "17.2.0.192.in-addr.arpa"),
            ("::ffff:192.0.2.17", "17.2.0.192.in-addr.arpa"),
            (
                "4321:0:1:2:3:4:567:89ab",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa",
            ),
        ] {
            assert_eq!(name(ip.parse().unwrap()).unwrap().as_str(), want);
        }
    }
}
