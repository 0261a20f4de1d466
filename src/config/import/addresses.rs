//! Lists of addresses as the metabase has them: the binary `RelayIpList` and `IPSecurity`, and `address, mask` texts.

use std::net::Ipv4Addr;

/// What a binary list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressList {
    /// Nothing at all: in IIS "all except the list below" with nobody in it, so everybody.
    Everybody,
    /// Only these networks.
    Only(Vec<String>),
    /// A form that is not known; nobody is let in by guessing.
    Unknown,
}

/// Where the numbers stand in the form that administrators' scripts write: how many addresses, their mask, the first.
const COUNT: usize = 36;
const MASK: usize = 76;
const FIRST: usize = 80;

/// Reads the hexadecimal (or comma-separated decimal) text of a binary list.
///
/// The form that is known has a head of 76 bytes whose numbers at 36 and 44 count the addresses (the second counts the
/// mask, too), one mask, then four bytes an address. Anything else is [`AddressList::Unknown`].
pub fn binary(text: &str) -> AddressList {
    let text = text.trim();
    if text.is_empty() {
        return AddressList::Everybody;
    }
    let Some(bytes) = bytes(text) else {
        return AddressList::Unknown;
    };
    let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..)?.first_chunk().copied() };
    let known = [
        (0, 24_u32 | 0x8000_0000),
        (16, 1),
        (20, 76),
        (56, 76 | 0x8000_0000),
    ];
    let is_known = known
        .iter()
        .all(|(at, want)| word(*at).map(u32::from_le_bytes) == Some(*want));
    let count = word(COUNT).map(u32::from_le_bytes);
    let (Some(count), Some(mask), true) = (count, word(MASK), is_known) else {
        return AddressList::Unknown;
    };
    let addresses = bytes.get(FIRST..).unwrap_or_default();
    let (addresses, rest) = addresses.as_chunks::<4>();
    if !rest.is_empty() || u32::try_from(addresses.len()) != Ok(count) {
        return AddressList::Unknown;
    }
    let networks = addresses.iter().map(|address| network(*address, mask));
    match networks.collect() {
        Some(networks) => AddressList::Only(networks),
        None => AddressList::Unknown,
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.contains(',') {
        let numbers = text.split(',').map(|number| number.trim().parse());
        return numbers.collect::<Result<_, _>>().ok();
    }
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    rest.is_empty().then_some(bytes)
}

/// `192.168.1.0/24`; `None` when the mask has a hole.
fn network(address: [u8; 4], mask: [u8; 4]) -> Option<String> {
    let mask = u32::from_be_bytes(mask);
    let length = mask.leading_ones();
    if mask.count_ones() != length {
        return None;
    }
    let address = Ipv4Addr::from_bits(u32::from_be_bytes(address) & mask);
    Some(if length == 32 {
        address.to_string()
    } else {
        format!("{address}/{length}")
    })
}

/// Reads `address, mask` texts, one after the other. What cannot be read comes back as it was.
pub fn texts(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = text
        .split([',', ';', ' ', '\t', '\r', '\n'])
        .filter(|part| !part.is_empty())
        .collect();
    let mut networks = Vec::new();
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        let read = |text: &str| text.parse::<Ipv4Addr>().map(|ip| ip.octets());
        let address = read(part).map_err(|_| part.to_owned())?;
        // A mask follows where the next one looks like one: no host has such an address.
        let mask = parts
            .next_if(|next| next.starts_with("255.") || *next == "0.0.0.0")
            .unwrap_or("255.255.255.255");
        let mask = read(mask).map_err(|_| mask.to_owned())?;
        networks.push(network(address, mask).ok_or_else(|| part.to_owned())?);
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::{AddressList, binary, texts};

    /// As the scripts that were passed around for years put it together.
    fn list(addresses: &[[u8; 4]], mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![
            24, 0, 0, 128, 32, 0, 0, 128, 60, 0, 0, 128, 68, 0, 0, 128, 1, 0, 0, 0, 76, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 0,
            0, 0, 76, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        bytes[36] = u8::try_from(addresses.len()).unwrap();
        bytes[44] = bytes[36] + 1;
        bytes.extend(mask);
        bytes.extend(addresses.concat());
        bytes
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_is_guessed() {
        let one = [255, 255, 255, 255];
        let bytes = list(&[[127, 0, 0, 1], [192, 168, 1, 20]], one);
        let want = AddressList::Only(vec!["127.0.0.1".into(), "192.168.1.20".into()]);
        assert_eq!(binary(&hex(&bytes)), want);
        let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
        assert_eq!(binary(&decimal.join(", ")), want);
        let network = list(&[[10, 1, 2, 3]], [255, 255, 0, 0]);
        assert_eq!(
            binary(&hex(&network)),
            AddressList::Only(vec!["10.1.0.0/16".into()])
        );
        assert_eq!(binary(&hex(&list(&[], one))), AddressList::Only(vec![]));
        assert_eq!(binary(" "), AddressList::Everybody);
        let mut odd = list(&[[10, 1, 2, 3]], one);
        odd[16] = 0;
        for text in [
            hex(&odd),
            hex(&bytes[..bytes.len() - 1]),
            hex(&list(&[[10, 1, 2, 3]], [255, 0, 255, 0])),
            "zz".into(),
            "123".into(),
            "1,2,300".into(),
        ] {
            assert_eq!(binary(&text), AddressList::Unknown, "{text}");
        }
    }

    #[test]
    fn masks_follow_their_addresses() {
        assert_eq!(
            texts("192.168.1.0, 255.255.255.0\n10.0.0.5, 255.255.255.255").unwrap(),
            ["192.168.1.0/24", "10.0.0.5"]
        );
        assert_eq!(texts("127.0.0.1").unwrap(), ["127.0.0.1"]);
        assert_eq!(texts("").unwrap(), Vec::<String>::new());
        assert_eq!(texts("example.com").unwrap_err(), "example.com");
    }
}
