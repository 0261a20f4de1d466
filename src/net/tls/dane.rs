//! What TLSA records demand of a certificate (RFC 6698, RFC 7671), as far as mail uses them (RFC 7672).
//!
//! Pure: told the records and a certificate, it answers. Whether the records may be believed was found out before.

use ring::digest;

use crate::dns::tlsa::Tlsa;

/// A certificate and its public key, both in DER.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The whole certificate.
    pub certificate: &'a [u8],
    /// Its SubjectPublicKeyInfo.
    pub key: &'a [u8],
}

/// DANE-TA: the record speaks of an authority (RFC 7672 s3.1.2).
const AUTHORITY: u8 = 2;
/// DANE-EE: the record speaks of the server's own certificate (RFC 7672 s3.1.1).
const SERVER: u8 = 3;

const WHOLE: u8 = 0;
const KEY: u8 = 1;

const EXACT: u8 = 0;
const SHA_256: u8 = 1;
const SHA_512: u8 = 2;

/// The records that can be used. The usages 0 and 1 mean public authorities, which mail servers do not have in common
/// (RFC 7672 s3.1.3). Of several hashes of the same thing only those of the strongest kind count (RFC 7671 s9).
pub fn usable(records: &[Tlsa]) -> Vec<Tlsa> {
    let hash = |record: &Tlsa| match record.matching {
        SHA_256 => record.data.len() == 32,
        SHA_512 => record.data.len() == 64,
        _ => false,
    };
    let good = |record: &&Tlsa| {
        matches!(record.usage, AUTHORITY | SERVER)
            && matches!(record.selector, WHOLE | KEY)
            && (record.matching == EXACT || hash(record))
    };
    let good: Vec<&Tlsa> = records.iter().filter(good).collect();
    let same =
        |one: &Tlsa, other: &Tlsa| (one.usage, one.selector) == (other.usage, other.selector);
    let beaten = |record: &Tlsa| {
        let stronger = |other: &&Tlsa| other.matching == SHA_512 && same(record, other);
        record.matching == SHA_256 && good.iter().any(stronger)
    };
    let best = good.iter().filter(|record| !beaten(record));
    best.map(|record| (*record).clone()).collect()
}

/// Whether a record names the server's own certificate: then nothing else matters, not its name and not its dates
/// (RFC 7672 s3.1.1).
pub fn names_server(records: &[Tlsa], shown: Shown<'_>) -> bool {
    let own = |record: &&Tlsa| record.usage == SERVER;
    records.iter().filter(own).any(|r| fits(r, shown))
}

/// Whether a record names this certificate of the chain as the authority.
pub fn names_authority(records: &[Tlsa], shown: Shown<'_>) -> bool {
    let authority = |record: &&Tlsa| record.usage == AUTHORITY;
    records.iter().filter(authority).any(|r| fits(r, shown))
}

/// The authorities that stand in the records as whole certificates: a server need not show them (RFC 7671 s5.2.2).
pub fn authorities(records: &[Tlsa]) -> impl Iterator<Item = &[u8]> {
    let whole = |r: &&Tlsa| (r.usage, r.selector, r.matching) == (AUTHORITY, WHOLE, EXACT);
    records.iter().filter(whole).map(|r| r.data.as_slice())
}

/// Whether any record speaks of authorities at all.
pub fn wants_authority(records: &[Tlsa]) -> bool {
    records.iter().any(|record| record.usage == AUTHORITY)
}

fn fits(record: &Tlsa, shown: Shown<'_>) -> bool {
    let part = match record.selector {
        WHOLE => shown.certificate,
        KEY => shown.key,
        _ => return false,
    };
    match record.matching {
        EXACT => record.data == part,
        SHA_256 => record.data == digest::digest(&digest::SHA256, part).as_ref(),
        SHA_512 => record.data == digest::digest(&digest::SHA512, part).as_ref(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Shown, authorities, names_authority, names_server, usable, wants_authority};
    use crate::dns::tlsa::Tlsa;
    use ring::digest::{SHA256, SHA512, digest};

    const CERTIFICATE: &[u8] = b"a certificate";
    const KEY: &[u8] = b"its key";
    const SHOWN: Shown<'_> = Shown {
        certificate: CERTIFICATE,
        key: KEY,
    };

    fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
        Tlsa {
            usage,
            selector,
            matching,
            data: data.to_vec(),
        }
    }

    /// The data that a right record of these numbers has for a certificate and its key.
    fn right(selector: u8, matching: u8) -> Vec<u8> {
        let part = if selector == 0 { CERTIFICATE } else { KEY };
        match matching {
            0 => part.to_vec(),
            1 => digest(&SHA256, part).as_ref().to_vec(),
            _ => digest(&SHA512, part).as_ref().to_vec(),
        }
    }

    #[test]
    fn every_combination_fits_what_it_names_and_nothing_else() {
        for usage in [2, 3] {
            for selector in [0, 1] {
                for matching in [0, 1, 2] {
                    let data = right(selector, matching);
                    let good = vec![record(usage, selector, matching, &data)];
                    let case = format!("{usage} {selector} {matching}");
                    assert_eq!(usable(&good), good, "{case}");
                    assert_eq!(names_server(&good, SHOWN), usage == 3, "{case}");
                    assert_eq!(names_authority(&good, SHOWN), usage == 2, "{case}");
                    assert_eq!(wants_authority(&good), usage == 2, "{case}");
                    let whole = (usage, selector, matching) == (2, 0, 0);
                    assert_eq!(authorities(&good).count(), usize::from(whole), "{case}");
                    for at in 0..data.len() {
                        let mut wrong = data.clone();
                        wrong[at] ^= 1;
                        let wrong = [record(usage, selector, matching, &wrong)];
                        assert!(!names_server(&wrong, SHOWN), "{case} byte {at}");
                        assert!(!names_authority(&wrong, SHOWN), "{case} byte {at}");
                    }
                    let short = [record(usage, selector, matching, &data[1..])];
                    assert!(!names_server(&short, SHOWN) && !names_authority(&short, SHOWN));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_used_is_left_out() {
        let sha = right(1, 1);
        for (usage, selector, matching, data) in [
            (0, 1, 1, &sha[..]),
            (1, 1, 1, &sha[..]),
            (4, 1, 1, &sha[..]),
            (255, 1, 1, &sha[..]),
            (3, 2, 1, &sha[..]),
            (3, 1, 3, &sha[..]),
            (3, 1, 1, &sha[1..]),
            (3, 1, 2, &sha[..]),
        ] {
            let one = [record(usage, selector, matching, data)];
            assert_eq!(usable(&one), [], "{usage} {selector} {matching}");
        }
    }

    #[test]
    fn the_strongest_hash_of_a_kind_counts_alone() {
        let strong = record(3, 1, 2, &[7; 64]);
        let (weak, other) = (record(3, 1, 1, &right(1, 1)), record(2, 1, 1, &right(1, 1)));
        let exact = record(3, 1, 0, KEY);
        let all = [weak.clone(), strong.clone(), other.clone(), exact.clone()];
        assert_eq!(usable(&all), [strong, other, exact]);
        assert_eq!(usable(std::slice::from_ref(&weak)), [weak]);
    }
}
