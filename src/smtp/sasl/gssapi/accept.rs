//! Whether a ticket lets a client in (RFC 4120 s3.2.3): opened with a key of ours, in time, for the first time, and
//! shown by who has its key.

use std::fmt;
use std::time::Duration;

use crate::base::Wall;
use crate::base::limits;
use crate::smtp::sasl::gssapi::cipher::Etype;
use crate::smtp::sasl::gssapi::keytab::Keytab;
use crate::smtp::sasl::gssapi::keytab::Wanted;
use crate::smtp::sasl::gssapi::layer::Context;
use crate::smtp::sasl::gssapi::messages;
use crate::smtp::sasl::gssapi::messages::Authenticator;
use crate::smtp::sasl::gssapi::messages::Request;
use crate::smtp::sasl::gssapi::messages::Ticket;
use crate::smtp::sasl::gssapi::replay;
use crate::smtp::sasl::gssapi::replay::Again;
use crate::smtp::sasl::gssapi::replay::Replays;

/// Fresh random bytes that one acceptance uses.
pub type Random = [u8; 20];

/// A client whose ticket is good.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Who it is: `tim@OFFICE.EXAMPLE`.
    pub principal: String,
    /// What proves us to the client, when it asks.
    pub reply: Option<Vec<u8>>,
    /// What the exchange ends with.
    pub context: Context,
}

/// Why a ticket is no login, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token of Kerberos, or one that cannot be read.
    Syntax,
    /// The ticket is made with a key that is not there.
    NoKey {
        /// Whom it is for.
        service: String,
        /// The number of its encryption type.
        etype: i64,
        /// The version of its key.
        version: Option<u32>,
    },
    /// The ticket is made with a key of DES, RC4, or something unknown, or holds one.
    Weak(i64),
    /// It is not made with our key of that name.
    WrongKey(String),
    /// What a client shows with the ticket is not made with its key, or names somebody else.
    Proof,
    /// It holds only in the future, or no more.
    Time {
        /// From when and until when it holds.
        ticket: (Wall, Wall),
        /// Our time.
        now: Wall,
    },
    /// The clocks differ.
    Skew {
        /// The client's.
        theirs: Wall,
        /// Our time.
        ours: Wall,
    },
    /// It comes again.
    Replay,
    /// It came through realms that nobody looked at.
    Transit(String),
    /// The list does not name this client.
    Stranger(String),
    /// There is no room to remember it by.
    Full,
}

impl Refusal {
    /// Whether the client is right to try again later: nothing is wrong with who it is.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Time { .. } | Self::Skew { .. } | Self::Full)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str(
                "no token of Kerberos, or one that cannot be read; SPNEGO and other mechanisms are not taken",
            ),
            Self::NoKey {
                service,
                etype,
                version,
            } => {
                write!(f, "users.keytab has no key of {service}, encryption type {etype}")?;
                if let Some(version) = version {
                    write!(f, ", version {version}")?;
                }
                f.write_str("; export it from the realm again")
            }
            Self::Weak(etype) => write!(
                f,
                "the ticket is of encryption type {etype}; only AES is taken (17 to 20): let the realm make such keys"
            ),
            Self::WrongKey(service) => write!(
                f,
                "the key of {service} in users.keytab does not open the ticket; the realm has another one: export it again"
            ),
            Self::Proof => f.write_str("the client has not shown that the ticket is its own"),
            Self::Time {
                ticket: (from, until),
                now,
            } => write!(
                f,
                "the ticket holds from {from} until {until}, and our clock says {now}; one of the clocks is wrong, or the client \
                 uses an old ticket"
            ),
            Self::Skew { theirs, ours } => {
                let apart = theirs.since(*ours).max(ours.since(*theirs)).as_secs();
                write!(
                    f,
                    "the clocks are {apart} seconds apart, and Kerberos allows {}: the client's says {theirs}, ours {ours}; set the \
                     wrong one",
                    limits::KERBEROS_SKEW.as_secs()
                )
            }
            Self::Replay => f.write_str("the same ticket and proof were shown before"),
            Self::Transit(who) => write!(f, "nobody looked at the realms that {who} came through"),
            Self::Stranger(who) => write!(f, "users.principals does not name {who}"),
            Self::Full => f.write_str("too many logins by Kerberos in ten minutes"),
        }
    }
}

/// Whether a list of principals names one: by its whole name, or `*@REALM` for everybody of that realm whose name has
/// one part.
pub fn is_named(list: &[String], principal: &str) -> bool {
    list.iter().any(|one| match one.strip_prefix("*@") {
        Some(realm) => principal
            .split_once('@')
            .is_some_and(|(name, of)| of == realm && !name.contains('/')),
        None => one == principal,
    })
}

/// Whether the name that a client acts for is its own: nothing, the whole principal, or that without its realm.
pub fn is_own(principal: &str, name: &str) -> bool {
    let local = principal.split_once('@').map(|(local, _)| local);
    name.is_empty() || name == principal || Some(name) == local
}

/// Looks at a client's first token.
pub fn accept(
    token: &[u8],
    keys: &Keytab,
    allowed: &[String],
    seen: &mut Replays,
    now: Wall,
    random: Random,
) -> Result<Accepted, Refusal> {
    let request = messages::unframe(token).and_then(Request::read);
    let request = request
        .filter(|request| !request.user_to_user)
        .ok_or(Refusal::Syntax)?;
    let text = open(&request, keys)?;
    let ticket = Ticket::read(&text).ok_or(Refusal::Proof)?;
    let weak = Refusal::Weak(request.authenticator.etype);
    let session = ticket.key.as_ref().ok_or_else(|| weak.clone())?;
    let proof = Some(session)
        .filter(|key| i64::from(key.etype().number()) == request.authenticator.etype)
        .and_then(|key| key.decrypt(11, request.authenticator.bytes))
        .ok_or(Refusal::Proof)?;
    let proof = Authenticator::read(&proof).ok_or(Refusal::Proof)?;
    if proof.client != ticket.client || ticket.flags & messages::INVALID != 0 {
        return Err(Refusal::Proof);
    }
    let key = match &proof.key {
        Some(key) => key.as_ref().ok_or(weak)?,
        None => session,
    };

    let skew = limits::KERBEROS_SKEW;
    if proof.at.since(now) > skew || now.since(proof.at) > skew {
        let (theirs, ours) = (proof.at, now);
        return Err(Refusal::Skew { theirs, ours });
    }
    if ticket.from.since(now) > skew || now.since(ticket.until) > Duration::ZERO {
        let ticket = (ticket.from, ticket.until);
        return Err(Refusal::Time { ticket, now });
    }
    let principal = ticket.client.text();
    if ticket.client.realm != request.service.realm && ticket.flags & messages::TRANSIT_CHECKED == 0
    {
        return Err(Refusal::Transit(principal));
    }
    if !is_named(allowed, &principal) {
        return Err(Refusal::Stranger(principal));
    }
    // Last, so that nobody fills it who would not get in.
    let until = replay::end(proof.at);
    seen.note(request.authenticator.bytes, now, until)
        .map_err(|again| match again {
            Again::Seen => Refusal::Replay,
            Again::Full => Refusal::Full,
        })?;

    let [number @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = random;
    let [_, _, _, _, start @ ..] = random;
    let (send, reply) = if proof.flags & messages::MUTUAL != 0 {
        // Thirty bits, as others have it: a sign would be misread.
        let number = u32::from_be_bytes(number) & 0x3fff_ffff;
        let reply = proof.reply(session, number, start).ok_or(Refusal::Syntax)?;
        (number, Some(reply))
    } else {
        (proof.number, None)
    };
    Ok(Accepted {
        context: Context::new(key.clone(), send, proof.number),
        principal,
        reply,
    })
}

/// What is in the ticket.
fn open(request: &Request<'_>, keys: &Keytab) -> Result<Vec<u8>, Refusal> {
    let sealed = request.ticket;
    let etype = Etype::of(sealed.etype).ok_or(Refusal::Weak(sealed.etype))?;
    let wanted = Wanted {
        realm: request.service.realm,
        service: &request.service.parts,
        version: sealed.version,
        etype,
    };
    let mut found = keys.find(wanted).peekable();
    if found.peek().is_none() {
        return Err(Refusal::NoKey {
            service: request.service.text(),
            etype: sealed.etype,
            version: sealed.version,
        });
    }
    found
        .find_map(|key| key.decrypt(2, sealed.bytes))
        .ok_or_else(|| Refusal::WrongKey(request.service.text()))
}

#[cfg(test)]
mod tests {
    use super::{Accepted, Refusal, accept, is_named, is_own};
    use crate::base::Wall;
    use crate::smtp::sasl::gssapi::cipher::{Etype, Key};
    use crate::smtp::sasl::gssapi::der::{self, application, element, integer};
    use crate::smtp::sasl::gssapi::keytab::Keytab;
    use crate::smtp::sasl::gssapi::replay::Replays;

    /// Ten in the morning, and the same in Kerberos' words.
    const NOW: Wall = Wall::from_secs(1_795_341_600);

    fn at(number: u8, value: &[u8]) -> Vec<u8> {
        element(0xa0 | number, &[value]).unwrap()
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        element(der::SEQUENCE, &[&parts.concat()]).unwrap()
    }

    fn text(value: &str) -> Vec<u8> {
        element(der::GENERAL_STRING, &[value.as_bytes()]).unwrap()
    }

    fn octets(value: &[u8]) -> Vec<u8> {
        element(der::OCTETS, &[value]).unwrap()
    }

    fn name(parts: &[&str]) -> Vec<u8> {
        let parts: Vec<_> = parts.iter().map(|part| text(part)).collect();
        sequence(&[integer(0, 1).unwrap(), at(1, &sequence(&parts))])
    }

    fn sealed(key: &Key, usage: u32, text: &[u8]) -> Vec<u8> {
        let bytes = key.encrypt(usage, text, [3; 16]).unwrap();
        let etype = integer(0, key.etype().number()).unwrap();
        sequence(&[etype, integer(1, 2).unwrap(), at(2, &octets(&bytes))])
    }

    fn key(etype: i64, byte: u8) -> Key {
        let size = if etype % 2 == 0 { 32 } else { 16 };
        Key::new(Etype::of(etype).unwrap(), &vec![byte; size]).unwrap()
    }

    /// What a client shows, and how it may be wrong.
    #[derive(Clone)]
    struct Shown {
        etype: i64,
        service: &'static str,
        service_byte: u8,
        realm: &'static str,
        client: &'static [&'static str],
        claims: &'static [&'static str],
        flags: u32,
        times: [&'static str; 2],
        made: &'static str,
        session_etype: u32,
        checksum: u32,
        wants: u32,
        options: u8,
    }

    const GOOD: Shown = Shown {
        etype: 18,
        service: "smtp",
        service_byte: 1,
        realm: "OFFICE.EXAMPLE",
        client: &["tim"],
        claims: &["tim"],
        flags: 0,
        times: ["20261122090000Z", "20261122190000Z"],
        made: "20261122100001Z",
        session_etype: 18,
        checksum: 0x8003,
        wants: 2,
        options: 0x20,
    };

    impl Shown {
        fn token(&self) -> Vec<u8> {
            let session = key(18, 9);
            let session_key = |etype| {
                let etype = integer(0, etype).unwrap();
                sequence(&[etype, at(1, &octets(&[9; 32]))])
            };
            let time = |text: &str| element(der::TIME, &[text.as_bytes()]).unwrap();
            let bits = |bits: [u8; 4]| element(der::BITS, &[&[0], &bits]).unwrap();
            let ticket = sequence(&[
                at(0, &bits(self.flags.to_be_bytes())),
                at(1, &session_key(self.session_etype)),
                at(2, &text(self.realm)),
                at(3, &name(self.client)),
                at(4, &sequence(&[integer(0, 1).unwrap(), at(1, &octets(b""))])),
                at(5, &time(self.times[0])),
                at(7, &time(self.times[1])),
            ]);
            let ticket = element(application(3), &[&ticket]).unwrap();
            let service = key(self.etype, self.service_byte);
            let ticket = sequence(&[
                integer(0, 5).unwrap(),
                at(1, &text("OFFICE.EXAMPLE")),
                at(2, &name(&[self.service, "nas.office.example"])),
                at(3, &sealed(&service, 2, &ticket)),
            ]);
            let ticket = element(application(1), &[&ticket]).unwrap();
            let words = [
                [16, 0, 0, 0].as_slice(),
                &[0; 16],
                &self.wants.to_le_bytes(),
            ]
            .concat();
            let checksum = integer(0, self.checksum).unwrap();
            let proof = sequence(&[
                integer(0, 5).unwrap(),
                at(1, &text(self.realm)),
                at(2, &name(self.claims)),
                at(3, &sequence(&[checksum, at(1, &octets(&words))])),
                integer(4, 7).unwrap(),
                at(5, &time(self.made)),
                integer(7, 77).unwrap(),
            ]);
            let proof = element(application(2), &[&proof]).unwrap();
            let request = sequence(&[
                integer(0, 5).unwrap(),
                integer(1, 14).unwrap(),
                at(2, &bits([self.options, 0, 0, 0])),
                at(3, &ticket),
                at(4, &sealed(&session, 11, &proof)),
            ]);
            let request = element(application(14), &[&request]).unwrap();
            let mechanism = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2, 1, 0];
            element(application(0), &[&mechanism, &request]).unwrap()
        }
    }

    /// A keytab with a key of each type for mail, version 2.
    fn keys() -> Keytab {
        let mut file = vec![5, 2];
        for etype in [17_u16, 18, 19, 20] {
            let counted = |bytes: &[u8]| {
                let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                [length.as_slice(), bytes].concat()
            };
            let size = if etype % 2 == 0 { 32 } else { 16 };
            let body = [
                [0, 2].as_slice(),
                &counted(b"OFFICE.EXAMPLE"),
                &counted(b"smtp"),
                &counted(b"nas.office.example"),
                &[0, 0, 0, 1, 0, 0, 0, 0, 2],
                &etype.to_be_bytes(),
                &counted(&vec![1; size]),
            ]
            .concat();
            file.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
            file.extend(body);
        }
        Keytab::parse(&file).unwrap()
    }

    fn show(shown: &Shown, seen: &mut Replays) -> Result<Accepted, Refusal> {
        let allowed = ["*@OFFICE.EXAMPLE", "eve@ELSE.EXAMPLE"].map(str::to_owned);
        accept(&shown.token(), &keys(), &allowed, seen, NOW, [6; 20])
    }

    #[test]
    fn a_good_ticket_lets_in_once_with_each_type_of_key() {
        for etype in [17, 18, 19, 20] {
            let mut seen = Replays::default();
            let shown = Shown { etype, ..GOOD };
            let got = show(&shown, &mut seen).unwrap();
            assert_eq!(got.principal, "tim@OFFICE.EXAMPLE");
            let reply = got.reply.unwrap();
            assert_eq!(reply[0], 0x60);
            assert_eq!(show(&shown, &mut seen).unwrap_err(), Refusal::Replay);
        }
        // Who does not ask who we are is not told.
        let shown = Shown { wants: 0, ..GOOD };
        let got = show(&shown, &mut Replays::default()).unwrap();
        assert!(got.reply.is_none());
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let eve = Shown {
            realm: "ELSE.EXAMPLE",
            client: &["eve"],
            claims: &["eve"],
            ..GOOD
        };
        for (shown, want) in [
            (
                Shown {
                    service: "host",
                    ..GOOD
                },
                "has no key of host/nas",
            ),
            (
                Shown {
                    service_byte: 2,
                    ..GOOD
                },
                "does not open the ticket",
            ),
            (
                Shown {
                    claims: &["root"],
                    ..GOOD
                },
                "not shown that the ticket",
            ),
            (
                Shown {
                    client: &["root"],
                    ..GOOD
                },
                "not shown that the ticket",
            ),
            (
                Shown {
                    flags: 0x0100_0000,
                    ..GOOD
                },
                "not shown that the ticket",
            ),
            (
                Shown {
                    checksum: 7,
                    ..GOOD
                },
                "not shown that the ticket",
            ),
            (
                Shown {
                    session_etype: 23,
                    ..GOOD
                },
                "only AES",
            ),
            (
                Shown {
                    options: 0x40,
                    ..GOOD
                },
                "no token of Kerberos",
            ),
            (
                Shown {
                    made: "20261122100501Z",
                    ..GOOD
                },
                "301 seconds apart",
            ),
            (
                Shown {
                    made: "19700101000100Z",
                    ..GOOD
                },
                "the client's says 1970-01-01T00:01:00Z",
            ),
            (
                Shown {
                    times: ["20261122100501Z", "20261122190000Z"],
                    ..GOOD
                },
                "holds from 2026-11-22T10:05:01Z",
            ),
            (
                Shown {
                    times: ["20261122010000Z", "20261122095959Z"],
                    ..GOOD
                },
                "until 2026-11-22T09:59:59Z",
            ),
            (
                Shown {
                    client: &["tim", "admin"],
                    claims: &["tim", "admin"],
                    ..GOOD
                },
                "does not name tim/admin@OFFICE.EXAMPLE",
            ),
            (
                Shown {
                    client: &["t@m"],
                    claims: &["t@m"],
                    ..GOOD
                },
                "not shown that the ticket",
            ),
            (eve.clone(), "nobody looked at the realms"),
        ] {
            let why = show(&shown, &mut Replays::default()).unwrap_err();
            assert!(why.to_string().contains(want), "{want}: {why}");
        }
        let checked = Shown {
            flags: 1 << 19,
            ..eve
        };
        assert!(show(&checked, &mut Replays::default()).is_ok());
    }

    #[test]
    fn a_token_that_was_cut_or_changed_lets_in_nobody_else() {
        let token = GOOD.token();
        for at in 0..token.len() {
            let keys = keys();
            let allowed = ["*@OFFICE.EXAMPLE".to_owned()];
            let mut changed = token.clone();
            changed[at] ^= 4;
            for bytes in [&token[..at], &changed] {
                let got = accept(
                    bytes,
                    &keys,
                    &allowed,
                    &mut Replays::default(),
                    NOW,
                    [6; 20],
                );
                // Some of it is read by nobody, and a version that is not there is any.
                if let Ok(got) = got {
                    assert_eq!(got.principal, "tim@OFFICE.EXAMPLE", "{at}");
                    assert_eq!(bytes.len(), token.len(), "{at}");
                }
            }
        }
    }

    #[test]
    fn lists_and_names() {
        let list = ["tim@A", "*@B", "x/y@A"].map(str::to_owned);
        for (principal, want) in [
            ("tim@A", true),
            ("Tim@A", false),
            ("tom@A", false),
            ("x/y@A", true),
            ("tom@B", true),
            ("tom/x@B", false),
            ("*@A", false),
        ] {
            assert_eq!(is_named(&list, principal), want, "{principal}");
            assert!(!is_named(&[], principal));
        }
        for (name, want) in [
            ("", true),
            ("tim", true),
            ("tim@A", true),
            ("tom", false),
            ("@A", false),
        ] {
            assert_eq!(is_own("tim@A", name), want, "{name}");
        }
    }
}
