//! Who may connect, and who may relay.

use std::fmt;
use std::net::IpAddr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// The text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNetwork {
    /// Not an IP address in front of the slash.
    Address,
    /// More bits than the address has, or no number.
    Bits,
    /// Bits are set behind the prefix, so one of the two numbers is a slip.
    HostBits,
}

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "not an IP address; write 192.168.1.0/24, 192.168.1.7 or fd00::/8",
            Self::Bits => "the number behind the slash is not a prefix length of this address",
            Self::HostBits => {
                "the address has bits set behind the prefix; write the network's first address"
            }
        })
    }
}

impl std::error::Error for BadNetwork {}

impl Network {
    /// Reads `192.168.1.0/24`, `fd00::/8`, or a single address.
    pub fn parse(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| BadNetwork::Address)?;
        let most = width(base);
        let bits = match bits {
            None => most,
            Some(text) => match text.parse::<u8>() {
                Ok(bits) if bits <= most && !text.starts_with('+') => bits,
                _ => return Err(BadNetwork::Bits),
            },
        };
        if masked(base, bits) != number(base) {
            return Err(BadNetwork::HostBits);
        }
        Ok(Self { base, bits })
    }

    /// Whether the address lies inside. IPv4 addresses mapped into IPv6 count as IPv4: a listener on `[::]` sees
    /// its IPv4 clients that way.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.base.is_ipv4() && masked(ip, self.bits) == number(self.base)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The address as a number, its first bit the highest.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(ip: IpAddr, bits: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    number(ip) & mask
}

/// A list of networks; an empty one contains nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// The list of these.
    pub fn new(list: Vec<Network>) -> Self {
        Self(list)
    }

    /// 127.0.0.0/8 and ::1.
    pub fn loopback() -> Self {
        let list = ["127.0.0.0/8", "::1"];
        Self(list.iter().filter_map(|n| Network::parse(n).ok()).collect())
    }

    /// Whether it contains nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them contains the address.
    pub fn contain(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadNetwork, Network, Networks};

    #[test]
    fn networks() {
        for (text, inside, outside) in [
            ("192.168.1.0/24", "192.168.1.255", "192.168.2.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ] {
            let network = Network::parse(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(
                !network.contains(outside.parse().unwrap()),
                "{text} {outside}"
            );
        }
        for (text, why) in [
            ("", BadNetwork::Address),
            ("lan", BadNetwork::Address),
            ("10.0.0.0/33", BadNetwork::Bits),
            ("10.0.0.0/+8", BadNetwork::Bits),
            ("10.0.0.0/", BadNetwork::Bits),
            ("10.0.0.1/8", BadNetwork::HostBits),
        ] {
            assert_eq!(Network::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn an_absent_list_is_nobody() {
        assert!(!Networks::default().contain("127.0.0.1".parse().unwrap()));
        assert!(Networks::loopback().contain("::1".parse().unwrap()));
    }
}
