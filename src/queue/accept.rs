//! What is written down of a message when it is accepted: how it came, its envelope, and where its body is.

use std::time::Duration;

use crate::base::Wall;
use crate::mail::address::Address;
use crate::mail::domain::Domain;
use crate::mail::envelope::Body;
use crate::mail::envelope::Envelope;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Recipient;
use crate::mail::envelope::Ret;
use crate::mail::envelope::TlsWish;
use crate::queue::field::Fields;
use crate::queue::field::Malformed;
use crate::queue::field::put_display;
use crate::queue::field::put_text;

/// By which door a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The listener.
    Smtp,
    /// A file in `pickup/`.
    Pickup,
    /// `sendmail -bs`; a plain `sendmail` writes a pickup file.
    Sendmail,
    /// Our own reports, digests and heartbeats.
    Notice,
}

/// How much a message matters, when not all can go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// May wait, and is refused first when the queue fills.
    Low,
    /// Everything that says nothing.
    #[default]
    Normal,
    /// Has a share of the quota kept for it.
    High,
}

/// The part of a message that is not its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// When it came, as the box believed.
    pub arrived: Wall,
    /// How it came.
    pub door: Door,
    /// From where, for the operator: `192.0.2.7 (nas)` or `uid 1000`.
    pub origin: String,
    /// How much it matters.
    pub priority: Priority,
    /// Bytes of the header block at the front of the body, with the empty line, when known.
    pub header: Option<u32>,
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// How long this home had been run in all when it came, to the millisecond; zero when that was not written down.
    /// What it reads now, less this, is the message's age, whatever the calendar did in between.
    pub running: Duration,
    /// What is to be put right in it once the clock is known.
    pub dates: Dates,
}

/// How far a message's dates can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dates {
    /// As far as their writers.
    #[default]
    Good,
    /// Our trace field holds a guess: the clock was not known when it came.
    Guessed,
    /// That, and the message has no `Date:`.
    Missing,
}

/// Where the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyAt<'a> {
    /// Behind the envelope in the same record.
    Inline(&'a [u8]),
    /// In `queue/<id>.body`.
    File {
        /// Bytes.
        len: u64,
        /// CRC-32 of all of them.
        crc: u32,
    },
}

const UTF8: u8 = 1;
const RET_FULL: u8 = 2;
const RET_HEADERS: u8 = 4;
const HAS_HEADER: u8 = 8;
const HAS_ENVID: u8 = 16;
const HAS_SENDER: u8 = 32;
const HAS_MORE: u8 = 64;

const TLS_REQUIRED: u8 = 1;
const TLS_OPTIONAL: u8 = 2;
const DATES_GUESSED: u8 = 4;
const DATE_MISSING: u8 = 8;
const RESOLVED: u8 = 16;

/// Room for the hosts of recipients, in a stretch whose length has 16 bits.
const HOSTS: usize = 65_000;

const NOTIFY_SUCCESS: u8 = 1;
const NOTIFY_FAILURE: u8 = 2;
const NOTIFY_DELAY: u8 = 4;
const NOTIFY_NEVER: u8 = 8;
const HAS_ORCPT: u8 = 16;
/// Tells a NOTIFY that was said from the same wishes as every sender has who says nothing.
const NOTIFY_SAID: u8 = 32;

impl Accept {
    /// Appends the payload of an Accept record up to its body, which the caller appends.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let envelope = &self.envelope;
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(envelope.utf8, UTF8)
            | flag(envelope.ret == Some(Ret::Full), RET_FULL)
            | flag(envelope.ret == Some(Ret::Headers), RET_HEADERS)
            | flag(self.header.is_some(), HAS_HEADER)
            | flag(envelope.envid.is_some(), HAS_ENVID)
            | flag(envelope.sender.is_some(), HAS_SENDER)
            | flag(self.has_more(), HAS_MORE);
        out.extend_from_slice(&self.arrived.as_millis().to_le_bytes());
        out.push(match self.door {
            Door::Smtp => 0,
            Door::Pickup => 1,
            Door::Sendmail => 2,
            Door::Notice => 3,
        });
        out.push(match self.priority {
            Priority::Low => 0,
            Priority::Normal => 1,
            Priority::High => 2,
        });
        out.push(match envelope.body {
            Body::Seven => 0,
            Body::Eight => 1,
            Body::Binary => 2,
        });
        out.push(flags);
        out.extend_from_slice(&self.header.unwrap_or(0).to_le_bytes());
        put_text(out, &self.origin);
        if let Some(sender) = &envelope.sender {
            put_display(out, sender);
        }
        if let Some(envid) = &envelope.envid {
            put_text(out, envid);
        }
        let count = u16::try_from(envelope.recipients.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for recipient in envelope.recipients.iter().take(usize::from(count)) {
            let wish = recipient.notify;
            let notify = flag(wish.success(), NOTIFY_SUCCESS)
                | flag(wish.failure(), NOTIFY_FAILURE)
                | flag(wish.delay(), NOTIFY_DELAY)
                | match wish {
                    Notify::Unsaid => 0,
                    Notify::Never => NOTIFY_NEVER,
                    Notify::On { .. } => NOTIFY_SAID,
                };
            out.push(notify | flag(recipient.orcpt.is_some(), HAS_ORCPT));
            put_display(out, &recipient.address);
            if let Some(orcpt) = &recipient.orcpt {
                put_text(out, orcpt);
            }
        }
        if self.has_more() {
            self.write_more(out);
        }
        let length = out.len().saturating_sub(start).saturating_sub(4);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *place = length.to_le_bytes();
        }
    }

    fn has_more(&self) -> bool {
        self.running > Duration::ZERO
            || self.dates != Dates::Good
            || self.envelope.tls != TlsWish::Usual
            || self.envelope.resolved
    }

    /// What joined the format later: a counted stretch, of which readers take what they know.
    fn write_more(&self, out: &mut Vec<u8>) {
        let tls = match self.envelope.tls {
            TlsWish::Usual => 0,
            TlsWish::Required => TLS_REQUIRED,
            TlsWish::Optional => TLS_OPTIONAL,
        };
        let dates = match self.dates {
            Dates::Good => 0,
            Dates::Guessed => DATES_GUESSED,
            Dates::Missing => DATES_GUESSED | DATE_MISSING,
        };
        let running = u64::try_from(self.running.as_millis()).unwrap_or(u64::MAX);
        let resolved = if self.envelope.resolved { RESOLVED } else { 0 };
        let hosts = self.hosts();
        let length = u16::try_from(hosts.len()).unwrap_or(0).saturating_add(9);
        out.extend_from_slice(&length.to_le_bytes());
        out.push(tls | dates | resolved);
        out.extend_from_slice(&running.to_le_bytes());
        out.extend_from_slice(&hosts);
    }

    /// The hosts of recipients that have one, each with the place of its recipient. There are few: what does not fit
    /// is left out, and goes by its address.
    fn hosts(&self) -> Vec<u8> {
        if !self.envelope.resolved {
            return Vec::new();
        }
        let (mut out, mut count) = (vec![0, 0], 0_u16);
        for (at, recipient) in self.envelope.recipients.iter().enumerate() {
            let (Some(host), Ok(at)) = (&recipient.host, u16::try_from(at)) else {
                continue;
            };
            if out.len().saturating_add(host.as_str().len()) > HOSTS {
                break;
            }
            out.extend_from_slice(&at.to_le_bytes());
            put_text(&mut out, host.as_str());
            count = count.saturating_add(1);
        }
        if let Some(place) = out.first_chunk_mut::<2>() {
            *place = count.to_le_bytes();
        }
        out
    }

    /// Reads the payload of an Accept record, or of an AcceptFile record when `in_file`.
    pub fn read(payload: &[u8], in_file: bool) -> Result<(Self, BodyAt<'_>), Malformed> {
        let mut fields = Fields::new(payload);
        let length = usize::try_from(fields.u32()?).map_err(|_| Malformed)?;
        let meta = Fields::new(fields.bytes(length)?);
        let body = if in_file {
            let (len, crc) = (fields.u64()?, fields.u32()?);
            fields.end()?;
            BodyAt::File { len, crc }
        } else {
            BodyAt::Inline(fields.rest())
        };
        Ok((read_meta(meta)?, body))
    }

    /// Only where the body is, without a look at the envelope.
    pub fn body(payload: &[u8], in_file: bool) -> Result<BodyAt<'_>, Malformed> {
        let mut fields = Fields::new(payload);
        let length = usize::try_from(fields.u32()?).map_err(|_| Malformed)?;
        fields.bytes(length)?;
        if !in_file {
            return Ok(BodyAt::Inline(fields.rest()));
        }
        let (len, crc) = (fields.u64()?, fields.u32()?);
        Ok(BodyAt::File { len, crc })
    }
}

fn read_meta(mut fields: Fields<'_>) -> Result<Accept, Malformed> {
    let arrived = Wall::from_millis(fields.u64()?);
    let door = match fields.u8()? {
        0 => Door::Smtp,
        1 => Door::Pickup,
        2 => Door::Sendmail,
        3 => Door::Notice,
        _ => return Err(Malformed),
    };
    let priority = match fields.u8()? {
        0 => Priority::Low,
        1 => Priority::Normal,
        2 => Priority::High,
        _ => return Err(Malformed),
    };
    let body = match fields.u8()? {
        0 => Body::Seven,
        1 => Body::Eight,
        2 => Body::Binary,
        _ => return Err(Malformed),
    };
    let flags = fields.u8()?;
    let header = fields.u32()?;
    let origin = fields.text()?.to_owned();
    let sender = if flags & HAS_SENDER == 0 {
        None
    } else {
        Some(address(&mut fields)?)
    };
    let envid = if flags & HAS_ENVID == 0 {
        None
    } else {
        Some(fields.text()?.to_owned())
    };
    let count = fields.u16()?;
    // Each takes three bytes at least, so a wrong count cannot make us reserve more than the record holds.
    let mut recipients = Vec::with_capacity(usize::from(count).min(fields.rest().len() / 3));
    for _ in 0..count {
        let bits = fields.u8()?;
        let address = address(&mut fields)?;
        let orcpt = if bits & HAS_ORCPT == 0 {
            None
        } else {
            Some(fields.text()?.to_owned())
        };
        let on = Notify::On {
            success: bits & NOTIFY_SUCCESS != 0,
            failure: bits & NOTIFY_FAILURE != 0,
            delay: bits & NOTIFY_DELAY != 0,
        };
        let notify = if bits & NOTIFY_NEVER != 0 {
            Notify::Never
        } else if bits & !HAS_ORCPT == NOTIFY_FAILURE | NOTIFY_DELAY {
            Notify::Unsaid
        } else {
            on
        };
        recipients.push(Recipient {
            address,
            notify,
            orcpt,
            host: None,
        });
    }
    let more = if flags & HAS_MORE == 0 {
        More::default()
    } else {
        more(&mut fields)?
    };
    fields.end()?;
    for (at, host) in more.hosts {
        let recipient = recipients.get_mut(usize::from(at)).ok_or(Malformed)?;
        recipient.host = Some(host);
    }
    Ok(Accept {
        arrived,
        running: more.running,
        dates: more.dates,
        door,
        origin,
        priority,
        header: (flags & HAS_HEADER != 0).then_some(header),
        envelope: Envelope {
            sender,
            recipients,
            body,
            utf8: flags & UTF8 != 0,
            ret: match flags & (RET_FULL | RET_HEADERS) {
                RET_FULL => Some(Ret::Full),
                RET_HEADERS => Some(Ret::Headers),
                _ => None,
            },
            envid,
            tls: more.tls,
            resolved: more.resolved,
        },
    })
}

/// What joined the format later.
#[derive(Default)]
struct More {
    tls: TlsWish,
    dates: Dates,
    running: Duration,
    resolved: bool,
    hosts: Vec<(u16, Domain)>,
}

fn more(fields: &mut Fields<'_>) -> Result<More, Malformed> {
    let length = fields.u16()?;
    let mut fields = Fields::new(fields.bytes(usize::from(length))?);
    let flags = fields.u8()?;
    let tls = match flags & (TLS_REQUIRED | TLS_OPTIONAL) {
        TLS_REQUIRED => TlsWish::Required,
        TLS_OPTIONAL => TlsWish::Optional,
        _ => TlsWish::Usual,
    };
    let dates = match (flags & DATES_GUESSED != 0, flags & DATE_MISSING != 0) {
        (_, true) => Dates::Missing,
        (true, false) => Dates::Guessed,
        (false, false) => Dates::Good,
    };
    let running = Duration::from_millis(fields.u64()?);
    let (resolved, mut hosts) = (flags & RESOLVED != 0, Vec::new());
    for _ in 0..if resolved { fields.u16()? } else { 0 } {
        let at = fields.u16()?;
        let host = Domain::parse(fields.text()?).map_err(|_| Malformed)?;
        hosts.push((at, host));
    }
    Ok(More {
        tls,
        dates,
        running,
        resolved,
        hosts,
    })
}

fn address(fields: &mut Fields<'_>) -> Result<Address, Malformed> {
    Address::parse(fields.text()?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::{Accept, BodyAt, Dates, Door, Priority};
    use crate::base::Wall;
    use crate::mail::address::Address;
    use crate::mail::domain::Domain;
    use crate::mail::envelope::{Body, Envelope, Notify, Recipient, Ret, TlsWish};
    use std::time::Duration;

    fn full() -> Accept {
        let to = |text: &str| Address::parse(text).unwrap();
        Accept {
            arrived: Wall::from_millis(1_795_305_600_123),
            door: Door::Pickup,
            origin: "uid 1000".to_owned(),
            priority: Priority::High,
            header: Some(80),
            envelope: Envelope {
                sender: Some(to("\"a b\"@nas.lan")),
                recipients: vec![
                    Recipient::new(to("x@[192.0.2.1]")),
                    Recipient {
                        address: to("j\u{f6}rg@b\u{fc}ro.example"),
                        notify: Notify::Never,
                        orcpt: Some("rfc822;a+2Bb@c".to_owned()),
                        host: None,
                    },
                ],
                body: Body::Eight,
                utf8: true,
                ret: Some(Ret::Headers),
                envid: Some("q+20z".to_owned()),
                tls: TlsWish::Required,
                resolved: false,
            },
            running: Duration::from_millis(86_400_001),
            dates: Dates::Missing,
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let mut out = Vec::new();
        full().write(&mut out);
        let at = out.len() - 11;
        out[at] = 12;
        out.extend_from_slice(b"new");
        let length = u32::try_from(out.len() - 4).unwrap();
        out[..4].copy_from_slice(&length.to_le_bytes());
        out.extend_from_slice(b"body");
        assert_eq!(
            Accept::read(&out, false),
            Ok((full(), BodyAt::Inline(b"body")))
        );
    }

    #[test]
    fn what_was_accepted_comes_back_with_its_body() {
        let mut bare = full();
        bare.envelope = Envelope {
            recipients: vec![Recipient::new(Address::parse("a@b").unwrap())],
            ..Envelope::default()
        };
        bare.header = None;
        (bare.running, bare.dates) = (Duration::ZERO, Dates::Good);
        let mut resolved = full();
        resolved.envelope.resolved = true;
        resolved.envelope.recipients[1].host = Domain::parse("imap.example").ok();
        for accept in [full(), bare, resolved] {
            let mut out = Vec::new();
            accept.write(&mut out);
            let meta = out.len();
            out.extend_from_slice(b"body");
            assert_eq!(
                Accept::read(&out, false),
                Ok((accept.clone(), BodyAt::Inline(b"body")))
            );
            for cut in 0..meta {
                assert!(Accept::read(&out[..cut], false).is_err(), "cut at {cut}");
            }
            out.truncate(meta);
            out.extend_from_slice(&70_000_u64.to_le_bytes());
            out.extend_from_slice(&5_u32.to_le_bytes());
            let at = BodyAt::File {
                len: 70_000,
                crc: 5,
            };
            assert_eq!(Accept::read(&out, true), Ok((accept, at)));
            assert_eq!(Accept::body(&out, true), Ok(at));
            for cut in 0..out.len() {
                assert!(Accept::read(&out[..cut], true).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_or_read_but_never_a_panic() {
        let mut out = Vec::new();
        full().write(&mut out);
        for at in 0..out.len() {
            for bit in 0..8 {
                let mut bad = out.clone();
                bad[at] ^= 1 << bit;
                let _ = Accept::read(&bad, false);
                let _ = Accept::read(&bad, true);
            }
        }
    }
}
