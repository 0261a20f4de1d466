//! The file of keys that a service shares with its realm, as MIT Kerberos writes it (format 5.2).

use std::fmt;

use crate::base::limits;
use crate::smtp::sasl::gssapi::cipher::Etype;
use crate::smtp::sasl::gssapi::cipher::Key;

/// The services whose tickets are taken, as clients name mail: everybody else, and Windows.
const SERVICES: [&str; 2] = ["smtp", "smtpsvc"];

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKeytab {
    /// It does not begin as such a file does.
    Foreign,
    /// It ends inside an entry, or an entry cannot be read.
    Damaged,
    /// It has no entry for mail.
    NoService,
    /// What it has for mail are keys of DES or RC4 alone.
    Weak,
}

impl fmt::Display for BadKeytab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "this is no keytab; export one from the realm: ktadd -k FILE smtp/HOST",
            Self::Damaged => "the keytab is damaged; export it from the realm again",
            Self::NoService => {
                "the keytab has no key of the service smtp; add one: ktadd -k FILE smtp/HOST"
            }
            Self::Weak => {
                "the keytab has keys of DES and RC4 alone for the service smtp, which are not safe; let the realm make keys of AES"
            }
        })
    }
}

/// A key of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    realm: String,
    service: Vec<String>,
    version: u32,
    key: Key,
}

/// The keys for mail of a keytab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keytab(Vec<Entry>);

/// What a ticket says it is made with.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The realm of the service.
    pub realm: &'a str,
    /// The parts of its name.
    pub service: &'a [&'a str],
    /// The version of its key; `None` is any.
    pub version: Option<u32>,
    /// The type of its key.
    pub etype: Etype,
}

impl Keytab {
    /// Reads a file. Entries of other services and other encryption types are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadKeytab> {
        let mut rest = bytes.strip_prefix(&[5, 2]).ok_or(BadKeytab::Foreign)?;
        let (mut keys, mut weak) = (Vec::new(), false);
        while !rest.is_empty() {
            let (size, after) = rest.split_first_chunk::<4>().ok_or(BadKeytab::Damaged)?;
            let size = i32::from_be_bytes(*size);
            let length = usize::try_from(size.unsigned_abs()).map_err(|_| BadKeytab::Damaged)?;
            let (entry, after) = after.split_at_checked(length).ok_or(BadKeytab::Damaged)?;
            rest = after;
            // A negative size is a hole where an entry was removed; zero is the end of a file with room left.
            match size {
                0 => break,
                ..0 => continue,
                _ => {}
            }
            let entry = Read(entry).entry().ok_or(BadKeytab::Damaged)?;
            match entry {
                Found::Other => {}
                Found::Weak => weak = true,
                Found::Key(entry) if keys.len() < limits::KEYTAB_KEYS => keys.push(entry),
                Found::Key(_) => {}
            }
        }
        match keys.is_empty() {
            false => Ok(Self(keys)),
            true if weak => Err(BadKeytab::Weak),
            true => Err(BadKeytab::NoService),
        }
    }

    /// The keys that may open a ticket. The version is only believed when there is a key of it: realms that were moved
    /// to other software count anew.
    pub fn find<'a>(&'a self, wanted: Wanted<'a>) -> impl Iterator<Item = &'a Key> {
        let fits = move |entry: &&Entry| {
            let same = |(a, b): (&String, &&str)| a.eq_ignore_ascii_case(b);
            entry.realm == wanted.realm
                && entry.key.etype() == wanted.etype
                && entry.service.len() == wanted.service.len()
                && entry.service.iter().zip(wanted.service).all(same)
        };
        let dated = move |entry: &Entry| wanted.version.is_none_or(|one| one == entry.version);
        let has = self.0.iter().filter(fits).any(dated);
        let all = self.0.iter().filter(fits);
        all.filter(move |entry| !has || dated(entry))
            .map(|entry| &entry.key)
    }
}

enum Found {
    Key(Entry),
    /// For mail, and of a type that is not taken.
    Weak,
    Other,
}

struct Read<'a>(&'a [u8]);

impl<'a> Read<'a> {
    fn chunk<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (chunk, rest) = self.0.split_first_chunk::<SIZE>()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes(self.chunk()?));
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.counted()?.to_vec()).ok()
    }

    fn entry(mut self) -> Option<Found> {
        let count = u16::from_be_bytes(self.chunk()?);
        let realm = self.text()?;
        let service = (0..count)
            .map(|_| self.text())
            .collect::<Option<Vec<_>>>()?;
        let [_, _, _, _, _, _, _, _, version] = self.chunk::<9>()?;
        let etype = i64::from(u16::from_be_bytes(self.chunk()?));
        let bytes = self.counted()?;
        // A byte soon was not enough.
        let version = match self.chunk::<4>().map(u32::from_be_bytes) {
            Some(long) if long != 0 => long,
            _ => u32::from(version),
        };
        let for_mail = |name: &String| SERVICES.iter().any(|one| one.eq_ignore_ascii_case(name));
        if !service.first().is_some_and(for_mail) {
            return Some(Found::Other);
        }
        let Some(etype) = Etype::of(etype) else {
            return Some(Found::Weak);
        };
        let key = Key::new(etype, bytes)?;
        Some(Found::Key(Entry {
            realm,
            service,
            version,
            key,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadKeytab, Keytab, Wanted};
    use crate::smtp::sasl::gssapi::cipher::Etype;

    /// An entry as `ktutil` writes it.
    fn entry(name: &[&str], version: u8, etype: u16, key: &[u8]) -> Vec<u8> {
        let counted = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            [length.as_slice(), bytes].concat()
        };
        let mut body = u16::try_from(name.len()).unwrap().to_be_bytes().to_vec();
        body.extend(counted(b"TEST.EXAMPLE"));
        name.iter()
            .for_each(|part| body.extend(counted(part.as_bytes())));
        body.extend([0, 0, 0, 1, 0, 0, 0, 0, version]);
        body.extend(etype.to_be_bytes());
        body.extend(counted(key));
        let size = u32::try_from(body.len()).unwrap().to_be_bytes();
        [size.as_slice(), &body].concat()
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        [[5, 2].as_slice(), &entries.concat()].concat()
    }

    #[test]
    fn keys_are_found_by_service_type_and_version() {
        let name = ["smtp", "nas.test.example"];
        let hole = [(-8_i32).to_be_bytes().as_slice(), &[0xff; 8]].concat();
        let mut long = entry(&name, 1, 20, &[4; 32]);
        // The version again, with more room.
        long.extend(300_u32.to_be_bytes());
        let size = u32::try_from(long.len() - 4).unwrap().to_be_bytes();
        long[..4].copy_from_slice(&size);
        let keytab = Keytab::parse(&file(&[
            entry(&["host", "nas.test.example"], 1, 18, &[9; 32]),
            entry(&name, 1, 18, &[1; 32]),
            hole,
            entry(&name, 2, 18, &[2; 32]),
            entry(&name, 2, 17, &[3; 16]),
            entry(&name, 2, 23, &[3; 16]),
            long,
        ]))
        .unwrap();
        let count = |realm, service: &[&str], version, etype| {
            let wanted = Wanted {
                realm,
                service,
                version,
                etype,
            };
            keytab.find(wanted).count()
        };
        let upper = ["SMTP", "NAS.test.example"];
        assert_eq!(count("TEST.EXAMPLE", &name, Some(1), Etype::Aes256Sha1), 1);
        assert_eq!(count("TEST.EXAMPLE", &upper, None, Etype::Aes256Sha1), 2);
        assert_eq!(count("TEST.EXAMPLE", &name, Some(7), Etype::Aes256Sha1), 2);
        assert_eq!(
            count("TEST.EXAMPLE", &name, Some(300), Etype::Aes256Sha384),
            1
        );
        assert_eq!(
            count("TEST.EXAMPLE", &name[..1], None, Etype::Aes256Sha1),
            0
        );
        assert_eq!(count("OTHER.EXAMPLE", &name, None, Etype::Aes256Sha1), 0);
        assert_eq!(
            count("TEST.EXAMPLE", &["host", name[1]], None, Etype::Aes256Sha1),
            0
        );
    }

    #[test]
    fn what_is_no_keytab_is_told() {
        let good = file(&[entry(&["smtp", "x"], 1, 18, &[1; 32])]);
        assert!(Keytab::parse(&good).is_ok());
        for cut in 0..good.len() {
            let want = match cut {
                0 | 1 => BadKeytab::Foreign,
                2 => BadKeytab::NoService,
                _ => BadKeytab::Damaged,
            };
            assert_eq!(Keytab::parse(&good[..cut]), Err(want), "{cut}");
        }
        for (bad, want) in [
            (
                file(&[entry(&["smtp", "x"], 1, 23, &[1; 16])]),
                BadKeytab::Weak,
            ),
            (
                file(&[entry(&["host", "x"], 1, 18, &[1; 32])]),
                BadKeytab::NoService,
            ),
            (
                file(&[entry(&["smtp", "x"], 1, 18, &[1; 16])]),
                BadKeytab::Damaged,
            ),
            (vec![5, 1, 0], BadKeytab::Foreign),
        ] {
            assert_eq!(Keytab::parse(&bad), Err(want));
        }
    }
}
