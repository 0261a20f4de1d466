//! TLSA records: what DNS says about a server's certificate (RFC 6698 s2.1).

use crate::base::limits;

/// One TLSA record as it stands in DNS. The numbers are not judged here: an unknown one makes the record unusable,
/// which is not the same as absent (RFC 7672 s2.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// What it speaks of: 2 an authority, 3 the server's own certificate (RFC 6698 s2.1.1).
    pub usage: u8,
    /// What is compared: 0 the whole certificate, 1 its public key (RFC 6698 s2.1.2).
    pub selector: u8,
    /// In what form: 0 as it is, 1 SHA-256, 2 SHA-512 (RFC 6698 s2.1.3).
    pub matching: u8,
    /// The certificate, the key, or the hash.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// Reads the data of a record; `None` when it is cut short or larger than [`limits::DNS_TLSA_DATA`].
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (&[usage, selector, matching], rest) = data.split_first_chunk()?;
        let fits = !rest.is_empty() && rest.len() <= limits::DNS_TLSA_DATA;
        fits.then(|| Self {
            usage,
            selector,
            matching,
            data: rest.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Tlsa;
    use crate::base::limits;

    #[test]
    fn records() {
        let got = Tlsa::parse(&[3, 1, 1, 0xAB, 0xCD]).unwrap();
        assert_eq!((got.usage, got.selector, got.matching), (3, 1, 1));
        assert_eq!(got.data, [0xAB, 0xCD]);
        for bad in [
            vec![],
            vec![3, 1],
            vec![3, 1, 1],
            vec![0; limits::DNS_TLSA_DATA + 4],
        ] {
            assert_eq!(Tlsa::parse(&bad), None, "{} bytes", bad.len());
        }
    }
}
