//! The messages of Kerberos that a service reads and writes (RFC 4120 s5), and the frame that GSSAPI puts around them
//! (RFC 2743 s3.1, RFC 4121 s4.1).

use crate::base::Wall;
use crate::base::limits;
use crate::mail::date;
use crate::smtp::sasl::gssapi::cipher::Etype;
use crate::smtp::sasl::gssapi::cipher::Key;
use crate::smtp::sasl::gssapi::der;
use crate::smtp::sasl::gssapi::der::Fields;

/// The mechanism, 1.2.840.113554.1.2.2, in its element.
const MECHANISM: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];

/// What stands before the message in its frame.
const REQUEST: [u8; 2] = [1, 0];
const REPLY: [u8; 2] = [2, 0];

/// The frame of a mechanism of GSSAPI around one of its messages.
const FRAME: u8 = der::application(0);

/// The message of a client's first token; `None` when it is of another mechanism or another kind.
pub fn unframe(token: &[u8]) -> Option<&[u8]> {
    let body = der::inside(token, FRAME)?;
    body.strip_prefix(&MECHANISM)?.strip_prefix(&REQUEST)
}

/// The token around a reply.
fn frame(reply: &[u8]) -> Option<Vec<u8>> {
    der::element(FRAME, &[&MECHANISM, &REPLY, reply])
}

/// Something encrypted.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The number of its type.
    pub etype: i64,
    /// The version of the key.
    pub version: Option<u32>,
    /// The rest.
    pub bytes: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::of(bytes)?;
        Some(Self {
            etype: fields.integer(0)?,
            // Some write it as a negative number, or count in more than four bytes.
            version: fields.integer(1).and_then(|one| u32::try_from(one).ok()),
            bytes: fields.octets(2)?,
        })
    }
}

/// Who somebody is, in the form `first/second@REALM`, and the parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal<'a> {
    /// The parts of the name.
    pub parts: Vec<&'a str>,
    /// The realm.
    pub realm: &'a str,
}

impl<'a> Principal<'a> {
    fn read(realm: &'a str, name: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::of(name)?;
        let mut list = der::inside(fields.field(1)?, der::SEQUENCE)?;
        let (mut parts, mut size) = (Vec::new(), realm.len());
        while !list.is_empty() {
            let part = der::text(&mut list)?;
            size = size.saturating_add(part.len());
            parts.push(part);
        }
        // What would read as another name, or cannot be shown, is none.
        let plain = |text: &&str| {
            !text.is_empty() && !text.contains(|c: char| c.is_control() || "/@\\".contains(c))
        };
        let good = parts.iter().all(plain) && plain(&realm);
        (good && !parts.is_empty() && size <= limits::PRINCIPAL).then_some(Self { parts, realm })
    }

    /// The text form.
    pub fn text(&self) -> String {
        format!("{}@{}", self.parts.join("/"), self.realm)
    }
}

/// What a client shows: AP-REQ (RFC 4120 s5.5.1).
#[derive(Debug)]
pub struct Request<'a> {
    /// The ticket is made with a key of another ticket, not with the service's.
    pub user_to_user: bool,
    /// Whom the ticket is for.
    pub service: Principal<'a>,
    /// The ticket, made with the service's key.
    pub ticket: Sealed<'a>,
    /// What proves that the client has the ticket's key.
    pub authenticator: Sealed<'a>,
}

impl<'a> Request<'a> {
    /// Reads one.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::of(der::inside(message, der::application(14))?)?;
        let version = fields.integer(0)?;
        let kind = fields.integer(1)?;
        let options = fields.flags(2)?;
        let mut ticket = Fields::of(der::inside(fields.field(3)?, der::application(1))?)?;
        let authenticator = Sealed::read(fields.field(4)?)?;
        let known = (version, kind, ticket.integer(0)?) == (5, 14, 5);
        let realm = ticket.text(1)?;
        let service = Principal::read(realm, ticket.field(2)?)?;
        known.then_some(Self {
            user_to_user: options & 0x4000_0000 != 0,
            service,
            ticket: Sealed::read(ticket.field(3)?)?,
            authenticator,
        })
    }
}

/// What the realm says in a ticket (RFC 4120 s5.3).
#[derive(Debug)]
pub struct Ticket<'a> {
    /// Its flags.
    pub flags: u32,
    /// The key that the client has, too; `None` when it is of a type that is not taken.
    pub key: Option<Key>,
    /// Who the client is.
    pub client: Principal<'a>,
    /// From when it holds.
    pub from: Wall,
    /// Until when.
    pub until: Wall,
}

/// The ticket must not be used.
pub const INVALID: u32 = 1 << (31 - 7);
/// The realm looked at the realms that the client came through.
pub const TRANSIT_CHECKED: u32 = 1 << (31 - 12);

impl<'a> Ticket<'a> {
    /// Reads one that was opened.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::of(der::inside(text, der::application(3))?)?;
        let flags = fields.flags(0)?;
        let key = read_key(fields.field(1)?)?;
        let realm = fields.text(2)?;
        let client = Principal::read(realm, fields.field(3)?)?;
        let signed = time(fields.field(5)?)?;
        let from = match fields.field(6) {
            Some(from) => time(from)?,
            None => signed,
        };
        let until = time(fields.field(7)?)?;
        Some(Self {
            flags,
            key,
            client,
            from,
            until,
        })
    }
}

/// What a client says with the ticket's key (RFC 4120 s5.5.1).
#[derive(Debug)]
pub struct Authenticator<'a> {
    /// Who it is; the same as in the ticket.
    pub client: Principal<'a>,
    /// What it wants, in the words of RFC 4121 s4.1.1.
    pub flags: u32,
    /// Its time, as two fields.
    pub at: Wall,
    time: &'a [u8],
    micros: u32,
    /// A key for this session alone; `None` inside when it is of a type that is not taken.
    pub key: Option<Option<Key>>,
    /// The number of its first message.
    pub number: u32,
}

/// The client wants to know who we are.
pub const MUTUAL: u32 = 2;

impl<'a> Authenticator<'a> {
    /// Reads one that was opened.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::of(der::inside(text, der::application(2))?)?;
        let version = fields.integer(0)?;
        let realm = fields.text(1)?;
        let client = Principal::read(realm, fields.field(2)?)?;
        let mut checksum = Fields::of(fields.field(3)?)?;
        // The checksum of GSSAPI is none: length, channel binding, flags.
        if (version, checksum.integer(0)?) != (5, 0x8003) {
            return None;
        }
        let words = checksum.octets(1)?.strip_prefix(&[16, 0, 0, 0])?;
        let flags = words.get(16..)?.first_chunk().copied()?;
        let micros = u32::try_from(fields.integer(4)?).ok()?;
        let time_field = fields.field(5)?;
        let key = match fields.field(6) {
            Some(key) => Some(read_key(key)?),
            None => None,
        };
        // Some count below zero where the sign is meant as a digit.
        let number = fields.integer(7).unwrap_or(0) & i64::from(u32::MAX);
        Some(Self {
            client,
            flags: u32::from_le_bytes(flags),
            at: time(time_field)?,
            time: time_field,
            micros,
            key,
            number: u32::try_from(number).ok()?,
        })
    }

    /// The token that proves us to the client: AP-REP (RFC 4120 s5.5.2), with the number of our first message. It
    /// repeats the client's time under the ticket's key. `start` is fresh random bytes.
    pub fn reply(&self, key: &Key, number: u32, start: [u8; 16]) -> Option<Vec<u8>> {
        let part = der::element(
            der::SEQUENCE,
            &[
                &der::element(0xa0, &[self.time])?,
                &der::integer(1, self.micros)?,
                &der::integer(3, number)?,
            ],
        )?;
        let part = der::element(der::application(27), &[&part])?;
        let sealed = key.encrypt(12, &part, start)?;
        let sealed = der::element(
            der::SEQUENCE,
            &[
                &der::integer(0, key.etype().number())?,
                &der::element(0xa2, &[&der::element(der::OCTETS, &[&sealed])?])?,
            ],
        )?;
        let whole = der::element(
            der::SEQUENCE,
            &[
                &der::integer(0, 5)?,
                &der::integer(1, 15)?,
                &der::element(0xa2, &[&sealed])?,
            ],
        )?;
        frame(&der::element(der::application(15), &[&whole])?)
    }
}

/// A key (RFC 4120 s5.2.9); `None` inside when it is of a type that is not taken.
fn read_key(bytes: &[u8]) -> Option<Option<Key>> {
    let mut fields = Fields::of(bytes)?;
    let etype = fields.integer(0)?;
    let bytes = fields.octets(1)?;
    Some(match Etype::of(etype) {
        Some(etype) => Some(Key::new(etype, bytes)?),
        None => None,
    })
}

/// A time (RFC 4120 s5.2.3): `20261122100000Z`.
fn time(field: &[u8]) -> Option<Wall> {
    let text = std::str::from_utf8(der::inside(field, der::TIME)?).ok()?;
    date::from_digits(text.strip_suffix('Z')?)
}
