//! The encryption types of Kerberos that are made of AES: with HMAC-SHA1 (RFC 3962) and with HMAC-SHA2 (RFC 8009).
//!
//! AES comes from a crate of its own, as `ring` has it only inside AEAD; the hashes come from `ring`.

use std::fmt;

use aes::Aes128;
use aes::Aes256;
use aes::cipher::BlockCipherDecrypt;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;
use ring::hmac;

/// Bytes of a block, and of the random start that each encrypted text has.
pub const BLOCK: usize = 16;

type Block = [u8; BLOCK];

/// An encryption type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etype {
    /// aes128-cts-hmac-sha1-96.
    Aes128Sha1,
    /// aes256-cts-hmac-sha1-96.
    Aes256Sha1,
    /// aes128-cts-hmac-sha256-128.
    Aes128Sha256,
    /// aes256-cts-hmac-sha384-192.
    Aes256Sha384,
}

use Etype::Aes128Sha1;
use Etype::Aes128Sha256;
use Etype::Aes256Sha1;
use Etype::Aes256Sha384;

impl Etype {
    /// By its number (RFC 3961 s8, RFC 8009 s5); `None` for those that are not taken.
    pub fn of(number: i64) -> Option<Self> {
        Some(match number {
            17 => Aes128Sha1,
            18 => Aes256Sha1,
            19 => Aes128Sha256,
            20 => Aes256Sha384,
            _ => return None,
        })
    }

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Aes128Sha1 => 17,
            Aes256Sha1 => 18,
            Aes128Sha256 => 19,
            Aes256Sha384 => 20,
        }
    }

    fn key_size(self) -> usize {
        match self {
            Aes128Sha1 | Aes128Sha256 => 16,
            Aes256Sha1 | Aes256Sha384 => 32,
        }
    }

    /// Bytes of a checksum.
    pub fn checksum_size(self) -> usize {
        match self {
            Aes128Sha1 | Aes256Sha1 => 12,
            Aes128Sha256 => 16,
            Aes256Sha384 => 24,
        }
    }

    fn hash(self) -> hmac::Algorithm {
        match self {
            Aes128Sha1 | Aes256Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Aes128Sha256 => hmac::HMAC_SHA256,
            Aes256Sha384 => hmac::HMAC_SHA384,
        }
    }

    /// Whether the code is over what is encrypted, not over what it says.
    fn seals_first(self) -> bool {
        matches!(self, Aes128Sha256 | Aes256Sha384)
    }
}

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    etype: Etype,
    bytes: Vec<u8>,
}

/// Shows nothing of it.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.etype)
    }
}

/// What a derived key is for.
#[derive(Clone, Copy)]
enum Use {
    Checksum = 0x99,
    Encryption = 0xaa,
    Integrity = 0x55,
}

impl Key {
    /// With these bytes; `None` when they are not as many as the type has.
    pub fn new(etype: Etype, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == etype.key_size()).then(|| Self {
            etype,
            bytes: bytes.to_vec(),
        })
    }

    /// Its type.
    pub fn etype(&self) -> Etype {
        self.etype
    }

    /// What was encrypted with this key for this use; `None` when it was not, or was changed since.
    pub fn decrypt(&self, usage: u32, sealed: &[u8]) -> Option<Vec<u8>> {
        let size = self.etype.checksum_size();
        let (body, code) = sealed.split_at_checked(sealed.len().checked_sub(size)?)?;
        let text = self.cipher(usage)?.decrypt(body)?;
        let right = self.code(usage, body, &text);
        same(&right, code).then(|| text.get(BLOCK..).map(<[u8]>::to_vec))?
    }

    /// Encrypts a text for this use; `start` is fresh random bytes.
    pub fn encrypt(&self, usage: u32, text: &[u8], start: Block) -> Option<Vec<u8>> {
        let text = [start.as_slice(), text].concat();
        let mut body = self.cipher(usage)?.encrypt(&text);
        let code = self.code(usage, &body, &text);
        body.extend(code);
        Some(body)
    }

    /// The checksum of a text for this use.
    pub fn checksum(&self, usage: u32, text: &[u8]) -> Vec<u8> {
        self.mac(&self.derive(usage, Use::Checksum), &[text])
    }

    /// The integrity code that goes with an encrypted text (RFC 3961 s5.3, RFC 8009 s5).
    fn code(&self, usage: u32, body: &[u8], text: &[u8]) -> Vec<u8> {
        let key = self.derive(usage, Use::Integrity);
        if self.etype.seals_first() {
            self.mac(&key, &[&[0; BLOCK], body])
        } else {
            self.mac(&key, &[text])
        }
    }

    fn mac(&self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut out = mac(self.etype.hash(), key, parts);
        out.truncate(self.etype.checksum_size());
        out
    }

    fn cipher(&self, usage: u32) -> Option<Aes> {
        Aes::new(&self.derive(usage, Use::Encryption))
    }

    /// The key for one use (RFC 3961 s5.3, RFC 8009 s5).
    fn derive(&self, usage: u32, purpose: Use) -> Vec<u8> {
        let [a, b, c, d] = usage.to_be_bytes();
        let constant = [a, b, c, d, purpose as u8];
        let size = match (self.etype, purpose) {
            (Aes256Sha384, Use::Checksum | Use::Integrity) => 24,
            (etype, _) => etype.key_size(),
        };
        if self.etype.seals_first() {
            let bits = u32::try_from(size * 8).unwrap_or(0).to_be_bytes();
            let parts = [&[0, 0, 0, 1], constant.as_slice(), &[0], &bits];
            let mut out = mac(self.etype.hash(), &self.bytes, &parts);
            out.truncate(size);
            out
        } else {
            derive_simple(&self.bytes, &constant, size)
        }
    }
}

/// DK of the simplified profile (RFC 3961 s5.1), with AES.
fn derive_simple(key: &[u8], constant: &[u8], size: usize) -> Vec<u8> {
    let Some(aes) = Aes::new(key) else {
        return Vec::new();
    };
    let mut block = fold(constant).to_be_bytes();
    let mut out = Vec::with_capacity(size);
    while out.len() < size {
        block = aes.seal(block);
        out.extend(block);
    }
    out.truncate(size);
    out
}

fn mac(hash: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hash, key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}

/// Whether both are the same. Takes as long when they are not.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// The 128-fold of RFC 3961 s5.1: copies of the text, each turned by 13 bits more, cut into blocks, and their sum with
/// the carry brought around.
fn fold(text: &[u8]) -> u128 {
    let bits = text.len() * 8;
    if bits == 0 {
        return 0;
    }
    let bit = |at: usize| {
        let turned = (at % bits + bits - (at / bits * 13) % bits) % bits;
        let byte = text.get(turned / 8).copied().unwrap_or(0);
        u128::from(byte >> (7 - turned % 8) & 1)
    };
    // The least common multiple of both lengths; both are whole bytes.
    let mut whole = 128;
    while whole % bits != 0 {
        whole += 128;
    }
    (0..whole / 128).fold(0, |sum: u128, block| {
        let value = (0..128).fold(0, |value, at| value << 1 | bit(block * 128 + at));
        let (sum, carry) = sum.overflowing_add(value);
        sum + u128::from(carry)
    })
}

/// AES in the mode of CBC that steals ciphertext (RFC 3962 s5), beginning with zeros.
enum Aes {
    Short(Box<Aes128>),
    Long(Box<Aes256>),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Some(Self::Short(Box::new(Aes128::new_from_slice(key).ok()?))),
            _ => Some(Self::Long(Box::new(Aes256::new_from_slice(key).ok()?))),
        }
    }

    fn seal(&self, block: Block) -> Block {
        let mut block = aes::Block::from(block);
        match self {
            Self::Short(aes) => aes.encrypt_block(&mut block),
            Self::Long(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }

    fn open(&self, block: Block) -> Block {
        let mut block = aes::Block::from(block);
        match self {
            Self::Short(aes) => aes.decrypt_block(&mut block),
            Self::Long(aes) => aes.decrypt_block(&mut block),
        }
        block.into()
    }

    /// A text of a block or more.
    fn encrypt(&self, text: &[u8]) -> Vec<u8> {
        let mut last = [0; BLOCK];
        let mut out: Vec<Block> = Vec::new();
        for piece in text.chunks(BLOCK) {
            last = self.seal(xor(last, piece));
            out.push(last);
        }
        // The last two change places, and the shorter one is cut.
        let cut = text.len().wrapping_sub(1) % BLOCK + 1;
        let count = out.len();
        if count > 1 {
            out.swap(count - 1, count - 2);
        }
        let mut out = out.concat();
        out.truncate(count.saturating_sub(1) * BLOCK + cut);
        out
    }

    /// The same backwards; `None` for less than a block.
    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (first, _) = sealed.split_first_chunk::<BLOCK>()?;
        let whole = (sealed.len() - 1) / BLOCK;
        if whole == 0 {
            return Some(self.open(*first).to_vec());
        }
        // All before the last whole block and what follows it is plain CBC.
        let (front, end) = sealed.split_at_checked((whole - 1) * BLOCK)?;
        let mut last = [0; BLOCK];
        let mut out = Vec::with_capacity(sealed.len());
        for piece in front.as_chunks::<BLOCK>().0 {
            out.extend(xor(last, &self.open(*piece)));
            last = *piece;
        }
        let (swapped, cut) = end.split_first_chunk::<BLOCK>()?;
        let opened = self.open(*swapped);
        let tail = xor(opened, cut);
        // What was stolen stands behind the cut.
        let mut stolen = opened;
        stolen
            .iter_mut()
            .zip(cut)
            .for_each(|(to, from)| *to = *from);
        out.extend(xor(last, &self.open(stolen)));
        out.extend(tail.get(..cut.len())?);
        Some(out)
    }
}

/// Both, as if the second had zeros behind it.
fn xor(mut block: Block, other: &[u8]) -> Block {
    for (to, from) in block.iter_mut().zip(other) {
        *to ^= from;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::{Aes, Etype, Key, Use, derive_simple, fold};
    use crate::smtp::sasl::md::{from_hex, hex};
    use ring::pbkdf2;
    use std::num::NonZeroU32;

    fn bytes(text: &str) -> Vec<u8> {
        from_hex(&text.replace(' ', "")).unwrap()
    }

    /// RFC 3961 appendix A.1.
    #[test]
    fn folds_of_the_standard() {
        assert_eq!(
            format!("{:x}", fold(b"kerberos")),
            "6b65726265726f737b9b5b2b93132b93"
        );
    }

    /// RFC 3962 appendix B: string to key, which ends in a derived key.
    #[test]
    fn keys_of_the_standard() {
        for (rounds, size, want) in [
            (1, 16, "42263c6e89f4fc28b8df68ee09799f15"),
            (
                1,
                32,
                "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161",
            ),
            (2, 16, "c651bf29e2300ac27fa469d693bdda13"),
            (
                1200,
                32,
                "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a",
            ),
        ] {
            let mut key = vec![0; size];
            let rounds = NonZeroU32::new(rounds).unwrap();
            let salt = b"ATHENA.MIT.EDUraeburn";
            pbkdf2::derive(
                pbkdf2::PBKDF2_HMAC_SHA1,
                rounds,
                salt,
                b"password",
                &mut key,
            );
            assert_eq!(
                hex(&derive_simple(&key, b"kerberos", size)),
                want,
                "{rounds}"
            );
        }
    }

    /// RFC 3962 appendix B: CBC with ciphertext stealing.
    #[test]
    fn ciphertexts_of_the_standard() {
        let aes = Aes::new(b"chicken teriyaki").unwrap();
        let text = b"I would like the General Gau's Chicken, please, and wonton soup.";
        for (length, want) in [
            (17, "c6353568f2bf8cb4d8a580362da7ff7f97"),
            (
                31,
                "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5",
            ),
            (
                32,
                "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584",
            ),
            (
                47,
                "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5",
            ),
            (
                48,
                "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8",
            ),
            (
                64,
                "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a84807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8",
            ),
        ] {
            let text = &text[..length];
            assert_eq!(hex(&aes.encrypt(text)), want, "{length}");
            assert_eq!(aes.decrypt(&bytes(want)).unwrap(), text, "{length}");
        }
        assert_eq!(aes.decrypt(&[0; 15]), None);
        let one = aes.encrypt(&[7; 16]);
        assert_eq!(aes.decrypt(&one).unwrap(), [7; 16]);
    }

    /// RFC 8009 appendix A.
    #[test]
    fn keys_and_texts_of_the_newer_standard() {
        let short = Key::new(
            Etype::Aes128Sha256,
            &bytes("3705D96080C17728A0E800EAB6E0D23C"),
        )
        .unwrap();
        let long = Key::new(
            Etype::Aes256Sha384,
            &bytes("6D404D37FAF79F9DF0D33568D320669800EB4836472EA8A026D16B7182460C52"),
        )
        .unwrap();
        for (key, purpose, want) in [
            (&short, Use::Checksum, "b31a018a48f54776f403e9a396325dc3"),
            (&short, Use::Encryption, "9b197dd1e8c5609d6e67c3e37c62c72e"),
            (&short, Use::Integrity, "9fda0e56ab2d85e1569a688696c26a6c"),
            (
                &long,
                Use::Checksum,
                "ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d",
            ),
            (
                &long,
                Use::Encryption,
                "56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49",
            ),
            (
                &long,
                Use::Integrity,
                "69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f",
            ),
        ] {
            assert_eq!(hex(&key.derive(2, purpose)), want);
        }
        let text = bytes("000102030405");
        let start = bytes("7BCA285E2FD4130FB55B1A5C83BC5B24")
            .try_into()
            .unwrap();
        let sealed =
            bytes("84D7F30754ED987BAB0BF3506BEB09CFB55402CEF7E6877CE99E247E52D16ED4421DFDF8976C");
        assert_eq!(short.encrypt(2, &text, start).unwrap(), sealed);
        assert_eq!(short.decrypt(2, &sealed).unwrap(), text);
        assert_eq!(short.decrypt(3, &sealed), None);
        let text = bytes("000102030405060708090A0B0C0D0E0F1011121314");
        assert_eq!(
            hex(&short.checksum(2, &text)),
            "d78367186643d67b411cba9139fc1dee"
        );
        assert_eq!(
            hex(&long.checksum(2, &text)),
            "45ee791567eefca37f4ac1e0222de80d43c3bfa06699672a"
        );
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        for (etype, size) in [(17, 16), (18, 32), (19, 16), (20, 32)] {
            let key = Key::new(Etype::of(etype).unwrap(), &vec![5; size]).unwrap();
            assert_eq!(i64::from(key.etype().number()), etype);
            for length in [0, 1, 15, 16, 17, 100] {
                let text = vec![9; length];
                let sealed = key.encrypt(11, &text, [1; 16]).unwrap();
                assert_eq!(key.decrypt(11, &sealed), Some(text));
                for at in 0..sealed.len() {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1;
                    assert_eq!(key.decrypt(11, &changed), None, "{etype} {length} {at}");
                    assert_eq!(key.decrypt(11, &sealed[..at]), None);
                }
            }
            assert!(Key::new(key.etype(), &[0; 8]).is_none());
        }
        // DES and RC4.
        for etype in [1, 3, 16, 23, 24, 0, -1] {
            assert_eq!(Etype::of(etype), None);
        }
    }
}
