//! NTLMv2 as a server.
//!
//! What is kept of a password, the NT hash, is as good as the password to who steals it. So it is kept only for users
//! whose owner asked for it, and the mechanism is offered only where a listener says so. The clock does not matter: a
//! challenge is fresh, so an old answer to another one is worth nothing.
//!
//! Refused: NTLM version 1 and LAN Manager, which are broken in hours, and logins without a name.

use std::fmt;

use crate::base::Wall;
use crate::base::limits;
use crate::smtp::sasl::md;
use crate::smtp::sasl::md::Digest;
use crate::smtp::sasl::ntlm::message;
use crate::smtp::sasl::ntlm::message::Av;
use crate::smtp::sasl::ntlm::message::Fields;
use crate::smtp::sasl::scram::NotAVerifier;

/// The mark in front, as Dovecot writes it: a file of its users can be taken over.
const MARK: &str = "{NTLM}";

/// What we do, of what a client asks for.
const OURS: u32 = message::REQUEST_TARGET
    | message::NTLM
    | message::ALWAYS_SIGN
    | message::EXTENDED
    | message::VERSION;

/// What the version field says: no product, and the revision of NTLM that all have since 2003.
const REVISION: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 15];

/// Where the payload of our challenge begins.
const CHALLENGE_HEAD: u32 = 56;

/// Where the client's flags stand in its last message, and its integrity code, when there is one.
const FLAGS_AT: usize = 60;
const CODE_AT: usize = 72;
const CODE_END: usize = 88;

/// From 1601, where Windows begins to count, to 1970, in milliseconds.
const SINCE_1601: u64 = 11_644_473_600_000;

/// A message cannot be read, or asks for what is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNtlm;

/// Why an answer is no login, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Neither name nor answer.
    Anonymous,
    /// A version that is broken.
    Weak,
    /// Made with another password.
    Wrong,
    /// Made with the right one, and changed on its way.
    Changed,
}

impl Refusal {
    /// The sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Anonymous => "an NTLM login without a name",
            Self::Weak => {
                "the client speaks NTLM version 1 or LAN Manager, which is not safe; let it speak NTLMv2 (on Windows: \
                 LmCompatibilityLevel 3 or more)"
            }
            Self::Wrong => "wrong name or password, or no NT hash: mailroot passwd --ntlm",
            Self::Changed => "the integrity code of the NTLM messages does not match",
        }
    }
}

/// What a server keeps of a password for NTLM.
#[derive(Clone, PartialEq, Eq)]
pub struct NtHash(Digest);

/// Shows nothing.
impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(secret)")
    }
}

impl NtHash {
    /// Computes it from a password.
    pub fn derive(password: &str) -> Self {
        Self(message::nt_hash(password))
    }

    /// Whether the text says to be one.
    pub fn is_marked(text: &str) -> bool {
        text.starts_with(MARK)
    }

    /// Reads `{NTLM}` and 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, NotAVerifier> {
        let digits = text.strip_prefix(MARK).ok_or(NotAVerifier)?;
        let bytes = md::from_hex(digits).ok_or(NotAVerifier)?;
        Digest::try_from(bytes).map(Self).map_err(|_| NotAVerifier)
    }

    /// The text form; not `Display`, so that it is never printed by accident.
    pub fn to_text(&self) -> String {
        format!("{MARK}{}", md::hex(&self.0))
    }
}

/// The exchange after the client's first message.
#[derive(Debug)]
pub struct Begun {
    /// That message.
    negotiate: Vec<u8>,
    flags: u32,
}

impl Begun {
    /// Reads the first message.
    pub fn read(negotiate: &[u8]) -> Result<Self, NotNtlm> {
        let flags = message::open(negotiate, 1)
            .and_then(|rest| rest.first_chunk().copied())
            .map(u32::from_le_bytes)
            .filter(|_| negotiate.len() <= limits::NTLM_MESSAGE)
            .filter(|flags| flags & (message::UNICODE | message::OEM) != 0)
            .ok_or(NotNtlm)?;
        Ok(Self {
            negotiate: negotiate.to_vec(),
            flags,
        })
    }

    /// The exchange after our challenge, and the challenge. `nonce` is fresh random bytes.
    pub fn challenge(self, nonce: [u8; 8], hostname: &str, now: Wall) -> (Challenged, Vec<u8>) {
        let short = short_name(hostname);
        let mut target = Vec::new();
        // A server that is in no domain is its own.
        message::write_av(&mut target, Av::Domain, &message::wide(&short));
        message::write_av(&mut target, Av::Computer, &message::wide(&short));
        message::write_av(&mut target, Av::DnsComputer, &message::wide(hostname));
        let time = now.as_millis().saturating_add(SINCE_1601);
        let time = time.saturating_mul(10_000).to_le_bytes();
        message::write_av(&mut target, Av::Timestamp, &time);
        message::write_av(&mut target, Av::End, &[]);

        let unicode = self.flags & message::UNICODE != 0;
        let text = if unicode {
            message::UNICODE
        } else {
            message::OEM
        };
        let flags = (self.flags & OURS)
            | (message::NTLM | message::TARGET_IS_SERVER | message::TARGET_INFO | text);
        let name = if unicode {
            message::wide(&short)
        } else {
            short.into_bytes()
        };
        let message = Fields::new(message::front(2), CHALLENGE_HEAD)
            .field(&name)
            .map(|out| out.raw(&flags.to_le_bytes()).raw(&nonce).raw(&[0; 8]))
            .and_then(|out| out.field(&target))
            .map(|out| out.raw(&REVISION).end())
            // A host name is far too short for this.
            .unwrap_or_default();
        let next = Challenged {
            negotiate: self.negotiate,
            challenge: message.clone(),
            nonce,
        };
        (next, message)
    }
}

/// The exchange after our challenge.
#[derive(Debug)]
pub struct Challenged {
    negotiate: Vec<u8>,
    challenge: Vec<u8>,
    nonce: [u8; 8],
}

impl Challenged {
    /// Reads the client's last message.
    pub fn answer(self, authenticate: &[u8]) -> Result<Answer, NotNtlm> {
        self.read(authenticate).ok_or(NotNtlm)
    }

    fn read(self, authenticate: &[u8]) -> Option<Answer> {
        message::open(authenticate, 3)?;
        if authenticate.len() > limits::NTLM_MESSAGE {
            return None;
        }
        let flags = authenticate.get(FLAGS_AT..)?.first_chunk().copied()?;
        let unicode = u32::from_le_bytes(flags) & message::UNICODE != 0;
        let text = |at| read_text(message::field(authenticate, at)?, unicode);
        let domain = text(28)?;
        let user = text(36)?;
        let response = message::field(authenticate, 20)?;
        let proof = match response.split_first_chunk::<16>() {
            // Version 1 has 24 bytes here, LAN Manager fewer or none.
            Some((proof, blob)) if response.len() > 24 => {
                let pairs = blob.strip_prefix(&[1, 1]).and_then(|rest| rest.get(26..))?;
                let flags = message::find_av(pairs, Av::Flags);
                let flags = flags.and_then(|value| value.first_chunk().copied());
                let coded = flags.map_or(0, u32::from_le_bytes) & message::HAS_CODE != 0;
                Some(Response {
                    proof: *proof,
                    blob: blob.to_vec(),
                    code: if coded {
                        Some(self.code(authenticate)?)
                    } else {
                        None
                    },
                })
            }
            _ => None,
        };
        Some(Answer {
            user,
            domain,
            nonce: self.nonce,
            proof,
        })
    }

    /// The integrity code, and what it is made over.
    fn code(&self, authenticate: &[u8]) -> Option<Code> {
        let (head, rest) = authenticate.split_at_checked(CODE_AT)?;
        let (code, rest) = rest.split_first_chunk::<16>()?;
        // Every field points behind it.
        for at in [12, 20, 28, 36, 44, 52] {
            let [length @ .., a, b, c, d] = *head.get(at..)?.first_chunk::<8>()?;
            let offset = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
            if offset < CODE_END && length != [0; 4] {
                return None;
            }
        }
        Some(Code {
            code: *code,
            over: [&self.negotiate, &self.challenge, head, &[0; 16], rest].concat(),
        })
    }
}

/// What a client answered to our challenge; whether it is right depends on what is kept of the user's password.
#[derive(Clone)]
pub struct Answer {
    user: String,
    domain: String,
    nonce: [u8; 8],
    /// `None` is an older version.
    proof: Option<Response>,
}

#[derive(Clone)]
struct Response {
    proof: Digest,
    blob: Vec<u8>,
    code: Option<Code>,
}

#[derive(Clone)]
struct Code {
    code: Digest,
    over: Vec<u8>,
}

/// Shows nothing that passwords could be guessed from.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({:?})", self.user)
    }
}

impl Answer {
    /// Who it says to be; empty for nobody. The domain does not matter here, as Windows fills in what it likes.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether it was made with this password. Takes as long for a wrong one.
    pub fn check(&self, hash: &NtHash) -> Result<(), Refusal> {
        if self.user.is_empty() {
            return Err(Refusal::Anonymous);
        }
        let response = self.proof.as_ref().ok_or(Refusal::Weak)?;
        let key = message::key(&hash.0, &self.user, &self.domain);
        let proof = md::hmac_md5(&key, &[&self.nonce, &response.blob]);
        let session = md::hmac_md5(&key, &[&proof]);
        let code = response.code.as_ref();
        let unchanged = code.is_none_or(|code| {
            let right = md::hmac_md5(&session, &[&code.over]);
            md::same(&right, &code.code)
        });
        if !md::same(&proof, &response.proof) {
            Err(Refusal::Wrong)
        } else if unchanged {
            Ok(())
        } else {
            Err(Refusal::Changed)
        }
    }
}

/// The name that a Windows machine would have: what stands before the first dot, at most 15 bytes.
fn short_name(hostname: &str) -> String {
    let first = hostname.split('.').next().unwrap_or_default();
    first.to_ascii_uppercase().chars().take(15).collect()
}

/// A name in the client's text form; outside ASCII only UTF-16 is read.
fn read_text(bytes: &[u8], unicode: bool) -> Option<String> {
    let text = if unicode {
        let (units, []) = bytes.as_chunks::<2>() else {
            return None;
        };
        char::decode_utf16(units.iter().copied().map(u16::from_le_bytes))
            .collect::<Result<String, _>>()
            .ok()?
    } else {
        let text = std::str::from_utf8(bytes).ok()?;
        text.is_ascii().then(|| text.to_owned())?
    };
    (text.len() <= limits::CREDENTIAL && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{Answer, Begun, Challenged, NotNtlm, NtHash, Refusal};
    use crate::base::Wall;
    use crate::smtp::sasl::md::{from_hex, hex, hmac_md5};
    use crate::smtp::sasl::ntlm::client;
    use crate::smtp::sasl::ntlm::message::{self, Av, Fields, find_av, wide};

    fn bytes(text: &str) -> Vec<u8> {
        from_hex(&text.replace(char::is_whitespace, "")).unwrap()
    }

    /// The last message of MS-NLMP 4.2.4.3.
    const AUTHENTICATE: &str = "4e544c4d5353500003000000180018006c00000054005400840000000c000c00\
        48000000080008005400000010001000 5c00000010001000d8000000358288e2 050128 0a0000000f\
        44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200\
        86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa 68cd0ab851e51c96aabc927bebef6a1c\
        01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000\
        02000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000\
        c5dad2544fc9799094ce1ce90bc9d03e";

    fn challenged(nonce: [u8; 8]) -> Challenged {
        let begun = Begun::read(&client::negotiate()).unwrap();
        begun.challenge(nonce, "nas.lan", Wall::from_secs(0)).0
    }

    /// The answer of MS-NLMP 4.2.4 after these bytes of it were changed.
    fn published(change: impl Fn(&mut Vec<u8>)) -> Result<Answer, NotNtlm> {
        let mut message = bytes(AUTHENTICATE);
        change(&mut message);
        challenged([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]).answer(&message)
    }

    #[test]
    fn the_answer_of_the_specification_is_right() {
        let hash = NtHash::derive("Password");
        assert_eq!(hash.to_text(), "{NTLM}a4f49c406510bdcab6824ee7c30fd852");
        assert_eq!(NtHash::parse(&hash.to_text()), Ok(hash.clone()));
        for text in ["", "{NTLM}", "{NTLM}a4", "a4f49c406510bdcab6824ee7c30fd852"] {
            assert!(NtHash::parse(text).is_err(), "{text}");
        }
        let answer = published(|_| ()).unwrap();
        assert_eq!(answer.user(), "User");
        assert_eq!(answer.check(&hash), Ok(()));
        assert_eq!(
            answer.check(&NtHash::derive("password")),
            Err(Refusal::Wrong)
        );
        let other = challenged([9; 8]).answer(&bytes(AUTHENTICATE)).unwrap();
        assert_eq!(other.check(&hash), Err(Refusal::Wrong), "another challenge");
        let changed = published(|message| message[0x54] = b'u').unwrap();
        assert_eq!(changed.check(&hash), Ok(()), "names have no case");
        let changed = published(|message| message[0xb4] = b'd').unwrap();
        assert_eq!(changed.check(&hash), Err(Refusal::Wrong));
    }

    #[test]
    fn older_versions_and_nobody_are_refused() {
        let hash = NtHash::derive("Password");
        let weak = published(|message| message[20] = 24).unwrap();
        assert_eq!(weak.check(&hash), Err(Refusal::Weak));
        let none = published(|message| message[20] = 0).unwrap();
        assert_eq!(none.check(&hash), Err(Refusal::Weak));
        let nobody = published(|message| message[36] = 0).unwrap();
        assert_eq!(nobody.check(&hash), Err(Refusal::Anonymous));
    }

    #[test]
    fn the_challenge_speaks_the_clients_text_and_tells_who_we_are() {
        for (flags, name) in [
            (0xe208_8207_u32, wide("NAS-OF-THE-HOUS")),
            (6, b"NAS-OF-THE-HOUS".to_vec()),
        ] {
            let mut first = message::front(1);
            first.extend(flags.to_le_bytes());
            let begun = Begun::read(&first).unwrap();
            let (_, got) = begun.challenge([7; 8], "nas-of-the-house.lan", Wall::from_secs(1));
            assert_eq!(message::field(&got, 12), Some(name.as_slice()));
            let target = message::field(&got, 40).unwrap();
            assert_eq!(
                find_av(target, Av::DnsComputer).unwrap(),
                wide("nas-of-the-house.lan")
            );
            // One second after 1970, in Windows' words.
            assert_eq!(
                hex(find_av(target, Av::Timestamp).unwrap()),
                "8016d7d5deb19d01"
            );
            let said = u32::from_le_bytes(*got[20..].first_chunk().unwrap());
            assert_eq!(said & 0x4000_0030, 0, "no signing, no sealing, no key");
            assert_eq!(said & 1, flags & 1);
        }
    }

    /// What a client with an integrity code sends.
    fn coded(flags_value: [u8; 4], garble: usize) -> (Challenged, Vec<u8>) {
        let negotiate = client::negotiate();
        let begun = Begun::read(&negotiate).unwrap();
        let (challenged, challenge) = begun.challenge([7; 8], "nas.lan", Wall::from_secs(1));
        let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
        blob.extend([5; 20]);
        message::write_av(&mut blob, Av::Flags, &flags_value);
        message::write_av(&mut blob, Av::End, &[]);
        let key = message::key(&message::nt_hash("pear"), "tim", "");
        let proof = hmac_md5(&key, &[&[7; 8], &blob]);
        let response = [proof.as_slice(), &blob].concat();
        let mut out = Fields::new(message::front(3), 88).field(&[0; 24]).unwrap();
        for field in [response.as_slice(), &[], &wide("tim"), &[], &[]] {
            out = out.field(field).unwrap();
        }
        let flags = message::UNICODE | message::NTLM;
        let mut last = out
            .raw(&flags.to_le_bytes())
            .raw(&[0; 8])
            .raw(&[0; 16])
            .end();
        let session = hmac_md5(&key, &[&proof]);
        let code = hmac_md5(&session, &[&negotiate, &challenge, &last]);
        last[72..88].copy_from_slice(&code);
        last[garble] ^= 1;
        (challenged, last)
    }

    #[test]
    fn an_integrity_code_that_is_promised_must_match() {
        let hash = NtHash::derive("pear");
        for (flags, garble, want) in [
            // The room of a field, which nobody reads.
            ([2, 0, 0, 0], 14, Err(Refusal::Changed)),
            ([2, 0, 0, 0], 72, Err(Refusal::Changed)),
            ([2, 0, 0, 0], 61, Err(Refusal::Changed)),
            ([0, 0, 0, 0], 72, Ok(())),
        ] {
            let (challenged, last) = coded(flags, garble);
            let answer = challenged.answer(&last).unwrap();
            assert_eq!(answer.check(&hash), want, "{flags:?} {garble}");
        }
        let (challenged, mut last) = coded([2, 0, 0, 0], 72);
        last[72] ^= 1;
        let answer = challenged.answer(&last).unwrap();
        assert_eq!(answer.check(&hash), Ok(()));
        assert_eq!(answer.check(&NtHash::derive("peat")), Err(Refusal::Wrong));
        // A field that points at the code.
        let (challenged, mut last) = coded([2, 0, 0, 0], 72);
        last[16] = 80;
        assert!(challenged.answer(&last).is_err());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let first = client::negotiate();
        for cut in 0..16 {
            assert!(Begun::read(&first[..cut]).is_err(), "{cut}");
        }
        assert!(Begun::read(&[first.as_slice(), &[0; 4096]].concat()).is_err());
        let last = bytes(AUTHENTICATE);
        for cut in 0..last.len() - 16 {
            assert!(challenged([1; 8]).answer(&last[..cut]).is_err(), "{cut}");
        }
        assert!(published(|message| message.resize(4097, 0)).is_err());
        assert!(
            published(|message| message[36] = 7).is_err(),
            "half a letter"
        );
        assert!(
            published(|message| message[0x94] = 2).is_err(),
            "another version"
        );
        assert!(
            published(|message| message[0x55] = 0xd8).is_err(),
            "half a pair"
        );
    }
}
