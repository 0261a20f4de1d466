//! NTLMv2 as a client: two messages around the server's challenge. The time is the server's own, which every Windows
//! since Vista sends; there is no message integrity code.

use crate::smtp::sasl::md;
use crate::smtp::sasl::ntlm::message;
use crate::smtp::sasl::ntlm::message::Av;
use crate::smtp::sasl::ntlm::message::Fields;

const FLAGS: u32 = message::UNICODE
    | message::REQUEST_TARGET
    | message::NTLM
    | message::ALWAYS_SIGN
    | message::EXTENDED;

/// Where the payload of our last message begins: signature, type, six fields, flags.
const HEAD: u32 = 64;

/// The server's challenge cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAChallenge;

/// The first message: what we can do.
pub fn negotiate() -> Vec<u8> {
    let mut out = message::front(1);
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
    let key = message::key(&message::nt_hash(password), user, domain);
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
    let (domain, user) = (message::wide(domain), message::wide(user));
    // Neither workstation nor session key.
    let fields = [lan_manager.as_slice(), &response, &domain, &user, &[], &[]];
    let mut out = Fields::new(message::front(3), HEAD);
    for bytes in fields {
        out = out.field(bytes).ok_or(NotAChallenge)?;
    }
    Ok(out.raw(&(FLAGS & challenge.flags).to_le_bytes()).end())
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
        let rest = message::open(bytes, 2)?;
        let (_name, rest) = rest.split_first_chunk::<8>()?;
        let (flags, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, _) = rest.split_first_chunk::<8>()?;
        // Old servers end before the field.
        let target = match bytes.len() {
            ..48 => &[],
            _ => message::field(bytes, 40)?,
        };
        Some(Self {
            nonce: *nonce,
            flags: u32::from_le_bytes(*flags),
            target,
        })
    }

    /// The server's time.
    fn time(&self) -> Option<[u8; 8]> {
        let value = message::find_av(self.target, Av::Timestamp)?;
        value.first_chunk().copied()
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

#[cfg(test)]
mod tests {
    use super::{NotAChallenge, authenticate, blob, negotiate};
    use crate::smtp::sasl::md::hmac_md5;
    use crate::smtp::sasl::ntlm::message::{key, nt_hash, wide};

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
        let hash = nt_hash("Password");
        assert_eq!(hex(&hash), "a4f49c406510bdcab6824ee7c30fd852");
        let key = key(&hash, "User", "Domain");
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
