//! NTLMv2 as a client (MS-NLMP), for Exchange on the premises: two messages around the server's challenge.
//!
//! Limits: no signing and sealing, which SMTP does not use; no message integrity code and no channel binding, so a
//! server with "extended protection" refuses it. The time is the server's own, which every Windows since Vista sends.

use crate::smtp::sasl::md;
use crate::smtp::sasl::md::Digest;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// Unicode, request for the target, NTLM, always sign, extended session security (MS-NLMP 2.2.2.5).
const FLAGS: u32 = 0x0000_0001 | 0x0000_0004 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000;

/// Where the payload of our last message begins: signature, type, six fields, flags.
const HEAD: u32 = 64;

/// The id of the server's time in its target information.
const AV_TIMESTAMP: u16 = 7;

/// The server's challenge cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAChallenge;

/// The first message: what we can do.
pub fn negotiate() -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&FLAGS.to_le_bytes());
    // Neither domain nor workstation.
    out.extend_from_slice(&[0; 16]);
    out
}

/// The last message: the answer to the server's `challenge`. The account may be `DOMAIN\user`; `nonce` is eight
/// fresh random bytes.
pub fn authenticate(
    challenge: &[u8],
    account: &str,
    password: &str,
    nonce: [u8; 8],
) -> Result<Vec<u8>, NotAChallenge> {
    let challenge = Challenge::read(challenge).ok_or(NotAChallenge)?;
    let (domain, user) = account.split_once('\\').unwrap_or(("", account));
    let key = owf(user, domain, password);
    let blob = blob(challenge.time(), nonce, challenge.target);
    let proof = md::hmac_md5(&key, &[&challenge.nonce, &blob]);
    let response = [proof.as_slice(), &blob].concat();
    // MS-NLMP 3.1.5.1.2: with the server's time in it there is no second, weaker response.
    let lan_manager = if challenge.time().is_some() {
        vec![0; 24]
    } else {
        let proof = md::hmac_md5(&key, &[&challenge.nonce, &nonce]);
        [proof.as_slice(), &nonce].concat()
    };

    let (mut head, mut payload) = (SIGNATURE.to_vec(), Vec::new());
    head.extend_from_slice(&3_u32.to_le_bytes());
    let mut field = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).map_err(|_| NotAChallenge)?;
        let at = u32::try_from(payload.len()).map_err(|_| NotAChallenge)?;
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&HEAD.saturating_add(at).to_le_bytes());
        payload.extend_from_slice(bytes);
        Ok(())
    };
    field(&lan_manager)?;
    field(&response)?;
    field(&wide(domain))?;
    field(&wide(user))?;
    // Neither workstation nor session key.
    field(&[])?;
    field(&[])?;
    head.extend_from_slice(&(FLAGS & challenge.flags).to_le_bytes());
    head.extend_from_slice(&payload);
    Ok(head)
}

/// The server's message.
struct Challenge<'a> {
    nonce: [u8; 8],
    flags: u32,
    /// What it says of itself: pairs of id and value.
    target: &'a [u8],
}

impl<'a> Challenge<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(SIGNATURE)?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*kind) != 2 {
            return None;
        }
        let (_name, rest) = rest.split_first_chunk::<8>()?;
        let (flags, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let target = match rest.split_first_chunk::<8>() {
            None => &[],
            Some((_reserved, rest)) => match rest.split_first_chunk::<8>() {
                None => &[],
                Some(([low, high, _, _, offset @ ..], _)) => {
                    let length = usize::from(u16::from_le_bytes([*low, *high]));
                    let from = usize::try_from(u32::from_le_bytes(*offset)).ok()?;
                    bytes.get(from..from.checked_add(length)?)?
                }
            },
        };
        Some(Self {
            nonce: *nonce,
            flags: u32::from_le_bytes(*flags),
            target,
        })
    }

    /// The server's time.
    fn time(&self) -> Option<[u8; 8]> {
        let mut rest = self.target;
        while let Some(([a, b, c, d], after)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_le_bytes([*c, *d]));
            let (value, next) = after.split_at_checked(length)?;
            if u16::from_le_bytes([*a, *b]) == AV_TIMESTAMP {
                return value.first_chunk().copied();
            }
            rest = next;
        }
        None
    }
}

/// What the response is about (MS-NLMP 3.3.2, "temp").
fn blob(time: Option<[u8; 8]>, nonce: [u8; 8], target: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 1, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&time.unwrap_or_default());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(target);
    out.extend_from_slice(&[0; 4]);
    out
}

/// NTOWFv2 (MS-NLMP 3.3.2): the key made of account and password.
fn owf(user: &str, domain: &str, password: &str) -> Digest {
    let secret = md::md4(&wide(password));
    md::hmac_md5(&secret, &[&wide(&user.to_uppercase()), &wide(domain)])
}

/// UTF-16, low byte first.
fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::{NotAChallenge, authenticate, blob, negotiate, owf, wide};
    use crate::smtp::sasl::md::hmac_md5;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap())
            .collect()
    }

    const TARGET: &str =
        "02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000";

    /// The challenge of MS-NLMP 4.2.4.3.
    const CHALLENGE: &str = "4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef \
        0000000000000000 2400240044000000 06007017 0000000f 530065007200760065007200 \
        02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000";

    /// MS-NLMP 4.2.4.
    #[test]
    fn the_numbers_of_the_specification() {
        let key = owf("User", "Domain", "Password");
        assert_eq!(hex(&key), "0c868a403bfd7a93a3001ef22ef02e3f");
        let challenge = bytes("0123456789abcdef");
        let blob = blob(None, [0xaa; 8], &bytes(TARGET));
        let proof = hmac_md5(&key, &[&challenge, &blob]);
        assert_eq!(hex(&proof), "68cd0ab851e51c96aabc927bebef6a1c");
        let lan_manager = hmac_md5(&key, &[&challenge, &[0xaa; 8]]);
        assert_eq!(hex(&lan_manager), "86c35097ac9cec102554764a57cccc19");
        assert_eq!(
            hex(&hmac_md5(&key, &[&proof])),
            "8de40ccadbc14a82f15cb0ad0de95ca3"
        );
    }

    #[test]
    fn the_answer_to_the_challenge_of_the_specification() {
        let got = authenticate(&bytes(CHALLENGE), "Domain\\User", "Password", [0xaa; 8]).unwrap();
        let text = hex(&got);
        assert!(
            text.starts_with("4e544c4d5353500003000000180018004000000054005400580000000c000c00")
        );
        assert!(text.contains(
            "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa68cd0ab851e51c96aabc927bebef6a1c0101"
        ));
        let names = [wide("Domain"), wide("User")].concat();
        assert!(got.ends_with(&names), "{text}");
        assert_eq!(negotiate().len(), 32);
    }

    #[test]
    fn with_the_time_of_the_server_there_is_one_response() {
        let mut timed = bytes(CHALLENGE);
        timed.truncate(timed.len() - 4);
        timed.extend(bytes("07000800 1122334455667788 00000000"));
        timed[40] = 0x30;
        timed[42] = 0x30;
        let got = hex(&authenticate(&timed, "me@office.example", "x", [1; 8]).unwrap());
        assert!(
            got.contains(&"0".repeat(48))
                && got.contains("010100000000000011223344556677880101010101010101"),
            "{got}"
        );
    }

    #[test]
    fn what_is_no_challenge_is_refused() {
        let whole = bytes(CHALLENGE);
        for cut in 0..whole.len() {
            // Cut behind the nonce it is one of an old server, without target information.
            let want = (32..48).contains(&cut);
            let got = authenticate(&whole[..cut], "u", "p", [0; 8]);
            assert_eq!(got.is_ok(), want, "{cut}");
        }
        let mut wrong = whole;
        wrong[8] = 3;
        assert_eq!(authenticate(&wrong, "u", "p", [0; 8]), Err(NotAChallenge));
    }
}
