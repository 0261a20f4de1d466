//! MD5 (RFC 1321), HMAC over it (RFC 2104), and with the feature `ntlm` MD4 (RFC 1320): what old mechanisms are made
//! of. Nothing of ours is protected by them.
//!
//! Why not a crate: `md-5`, `md4` and `hmac` bring eight more for what are two tables and a loop; `ring` has none of
//! them any more.

/// What both hashes give.
pub type Digest = [u8; 16];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Bytes that are hashed at a time.
const BLOCK: usize = 64;

/// The whole part of 2^32 times the sine of 1, 2, 3, ... (RFC 1321 s3.4).
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// MD5.
pub fn md5(text: &[u8]) -> Digest {
    hash(text, md5_round)
}

fn md5_round([mut a, mut b, mut c, mut d]: [u32; 4], words: &[u32]) -> [u32; 4] {
    // By round: how far each of four steps turns, and which word it takes (a factor and an addend, modulo 16).
    const ROUNDS: [([u32; 4], usize, usize); 4] = [
        ([7, 12, 17, 22], 1, 0),
        ([5, 9, 14, 20], 5, 1),
        ([4, 11, 16, 23], 3, 5),
        ([6, 10, 15, 21], 7, 0),
    ];
    let mut sines = SINES.iter();
    for (round, (turns, factor, addend)) in ROUNDS.iter().enumerate() {
        for step in 0..16 {
            let mixed = match round {
                0 => (b & c) | (!b & d),
                1 => (d & b) | (!d & c),
                2 => b ^ c ^ d,
                _ => c ^ (b | !d),
            };
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(sines.next().copied().unwrap_or(0))
                .wrapping_add(word(words, step * factor + addend));
            let turn = turns.get(step % 4).copied().unwrap_or(0);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(turn)));
        }
    }
    [a, b, c, d]
}

/// MD4.
#[cfg(feature = "ntlm")]
pub fn md4(text: &[u8]) -> Digest {
    // By round: how far each of four steps turns, what is added, and the order of the words.
    const ROUNDS: [([u32; 4], u32, [usize; 16]); 3] = [
        (
            [3, 7, 11, 19],
            0,
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        ),
        (
            [3, 5, 9, 13],
            0x5a82_7999,
            [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
        ),
        (
            [3, 9, 11, 15],
            0x6ed9_eba1,
            [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15],
        ),
    ];
    hash(text, |[mut a, mut b, mut c, mut d], words| {
        for (round, (turns, addend, order)) in ROUNDS.iter().enumerate() {
            for (at, turn) in order.iter().zip(turns.iter().cycle()) {
                let mixed = match round {
                    0 => (b & c) | (!b & d),
                    1 => (b & c) | (b & d) | (c & d),
                    _ => b ^ c ^ d,
                };
                let sum = a
                    .wrapping_add(mixed)
                    .wrapping_add(*addend)
                    .wrapping_add(word(words, *at));
                (a, d, c, b) = (d, c, b, sum.rotate_left(*turn));
            }
        }
        [a, b, c, d]
    })
}

/// Whether both are the same. Takes as long when they are not.
pub fn same(a: &Digest, b: &Digest) -> bool {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits; `None` when there is anything else, or half a byte.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let value = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let byte = |[high, low]: &[u8; 2]| Some(value(*high)? << 4 | value(*low)?);
    pairs.iter().map(byte).collect()
}

/// HMAC with MD5 over the parts, one behind the other.
pub fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> Digest {
    HmacMd5::new(key).sign(&parts.concat())
}

/// HMAC with MD5 after it has taken its key: the two states that make it (RFC 2104 s4). They are as good as the key
/// for signing, and the key cannot be computed from them.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacMd5 {
    inner: [u32; 4],
    outer: [u32; 4],
}

impl HmacMd5 {
    /// With this key.
    pub fn new(key: &[u8]) -> Self {
        let short = if key.len() > BLOCK {
            md5(key).to_vec()
        } else {
            key.to_vec()
        };
        let masked = |mask: u8| {
            let filled = short.iter().copied().chain(std::iter::repeat(0));
            let block: Vec<u8> = filled.take(BLOCK).map(|b| b ^ mask).collect();
            blocks(START, &block, md5_round)
        };
        Self {
            inner: masked(0x36),
            outer: masked(0x5c),
        }
    }

    /// The signature of a text.
    pub fn sign(&self, text: &[u8]) -> Digest {
        let inner = bytes(last(self.inner, BLOCK, text, md5_round));
        bytes(last(self.outer, BLOCK, &inner, md5_round))
    }

    /// The outer state, then the inner one.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut out = [0; 32];
        let both = bytes(self.outer).into_iter().chain(bytes(self.inner));
        for (to, from) in out.iter_mut().zip(both) {
            *to = from;
        }
        out
    }

    /// What [`HmacMd5::to_bytes`] gave.
    pub fn from_bytes(both: &[u8; 32]) -> Self {
        let state = |at: usize| {
            let mut state = [0; 4];
            let words = both.chunks_exact(4).skip(at);
            let words = words.filter_map(|four| four.first_chunk().copied());
            for (to, from) in state.iter_mut().zip(words) {
                *to = u32::from_le_bytes(from);
            }
            state
        };
        Self {
            outer: state(0),
            inner: state(4),
        }
    }
}

/// What both have in common: padding, blocks, and the sum of the states.
fn hash(text: &[u8], round: impl Fn([u32; 4], &[u32]) -> [u32; 4]) -> Digest {
    bytes(last(START, 0, text, round))
}

/// The end of a text of which so many bytes, whole blocks, are in the state already.
fn last(
    state: [u32; 4],
    before: usize,
    text: &[u8],
    round: impl Fn([u32; 4], &[u32]) -> [u32; 4],
) -> [u32; 4] {
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % BLOCK != BLOCK - 8 {
        padded.push(0);
    }
    let bits = u64::try_from(text.len().saturating_add(before)).unwrap_or(u64::MAX);
    padded.extend_from_slice(&bits.wrapping_mul(8).to_le_bytes());
    blocks(state, &padded, round)
}

fn blocks(
    mut state: [u32; 4],
    text: &[u8],
    round: impl Fn([u32; 4], &[u32]) -> [u32; 4],
) -> [u32; 4] {
    for block in text.chunks_exact(BLOCK) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .filter_map(|four| four.first_chunk().copied().map(u32::from_le_bytes))
            .collect();
        let mixed = round(state, &words);
        for (old, new) in state.iter_mut().zip(mixed) {
            *old = old.wrapping_add(new);
        }
    }
    state
}

fn bytes(state: [u32; 4]) -> Digest {
    let mut out = [0; 16];
    let bytes = state.iter().flat_map(|word| word.to_le_bytes());
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = from;
    }
    out
}

fn word(words: &[u32], at: usize) -> u32 {
    words.get(at % 16).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{from_hex, hex, hmac_md5, md5, same};

    #[test]
    fn digits_and_comparison() {
        assert_eq!(from_hex("00aFf0"), Some(vec![0, 0xaf, 0xf0]));
        for text in ["0", "0g", "+1", "\u{e9}"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
        assert!(same(&[1; 16], &[1; 16]) && !same(&[1; 16], &[3; 16]));
    }

    const LONG: &str =
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890";

    /// RFC 1321 appendix A.5.
    #[test]
    fn md5_of_the_standard() {
        for (text, want) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "abcdefghijklmnopqrstuvwxyz",
                "c3fcd3d76192e4007dfb496cca67e13b",
            ),
            (LONG, "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            assert_eq!(hex(&md5(text.as_bytes())), want, "{text}");
        }
    }

    /// RFC 1320 appendix A.5.
    #[cfg(feature = "ntlm")]
    #[test]
    fn md4_of_the_standard() {
        for (text, want) in [
            ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
            ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
            ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
            ("message digest", "d9130a8164549fe818874806e1c7014b"),
            (LONG, "e33b4ddc9c38f2199c3e7b164fcc0536"),
        ] {
            assert_eq!(hex(&super::md4(text.as_bytes())), want, "{text}");
        }
    }

    /// RFC 2202 s2.
    #[test]
    fn hmac_of_the_standard() {
        for (key, text, want) in [
            (
                vec![0x0b; 16],
                "Hi There",
                "9294727a3638bb1c13f48ef8158bfc9d",
            ),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "750c783e6ab0b503eaa86e310a5db738",
            ),
            (
                vec![0xaa; 80],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
        ] {
            let (front, back) = text.as_bytes().split_at(3);
            assert_eq!(hex(&hmac_md5(&key, &[front, back])), want, "{text}");
        }
    }
}
