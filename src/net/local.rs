//! Which addresses are this box's own.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// Whether an address is one of this box's: whether a socket can be bound to it. Doubt is no.
pub fn is_ours(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let family = if ip.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .and_then(|fd| rustix::net::bind(&fd, &SocketAddr::new(ip, 0)))
        .is_ok()
}

/// Whether an address leads to this box, or to a network that is not the internet: loopback, private, link-local,
/// shared, documentation, multicast and reserved ones (RFC 6890).
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                // Shared by the customers of a carrier, protocol assignments, benchmarks.
                || (a == 100 && b & 0xC0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && b & 0xFE == 18)
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            let inner = |high: u16, low: u16| {
                let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
                is_private(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            };
            match (a, b) {
                // What a network without IPv4 makes of an IPv4 address (RFC 6052 s2.1).
                (0x64, 0xFF9B) if [c, d, e, f] == [0; 4] => inner(g, h),
                // IPv4 inside IPv6 (RFC 3056 s2).
                (0x2002, _) => inner(b, c),
                // Documentation.
                (0x2001, 0xDB8) => true,
                // Global unicast (RFC 4291 s2.4).
                _ => a & 0xE000 != 0x2000,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_ours, is_private};

    #[test]
    fn the_internet_and_everything_else() {
        for (ip, private) in [
            ("8.8.8.8", false),
            ("100.63.0.1", false),
            ("100.64.0.1", true),
            ("127.0.0.9", true),
            ("0.0.0.0", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("169.254.169.254", true),
            ("198.19.0.1", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("2a00:1450::1", false),
            ("2001:db8::1", true),
            ("64:ff9b::808:808", false),
            ("64:ff9b::a00:1", true),
            ("64:ff9b:1::808:808", true),
            ("2002:808:808::1", false),
            ("2002:7f00:1::1", true),
            ("::1", true),
            ("::", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:8.8.8.8", false),
            ("fe80::1", true),
            ("fd00::1", true),
            ("ff02::1", true),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }

    #[test]
    fn loopback_is_ours_and_the_neighbours_are_not() {
        assert!(is_ours("127.0.0.1".parse().unwrap()));
        for ip in ["192.0.2.1", "0.0.0.0", "2001:db8::7"] {
            assert!(!is_ours(ip.parse().unwrap()), "{ip}");
        }
    }
}
