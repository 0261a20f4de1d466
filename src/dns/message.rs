//! DNS questions and answers: builds a query, and reads what came back into a short list of meanings.
//!
//! Trust: an answer is a stranger's bytes. Its header counts are held against its length before simple-dns sees it
//! (twelve bytes that claim 65,535 records would make it allocate nine megabytes), its id and question must be ours,
//! and every name in it is read by [`Domain::parse`] before anybody else sees it. What cannot be read is a fault of
//! the server, never a statement about the name.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use simple_dns::CLASS;
use simple_dns::Name;
use simple_dns::Packet;
use simple_dns::PacketFlag;
use simple_dns::QCLASS;
use simple_dns::QTYPE;
use simple_dns::Question;
use simple_dns::RCODE;
use simple_dns::ResourceRecord;
use simple_dns::TYPE;
use simple_dns::rdata::OPT;
use simple_dns::rdata::RData;

use crate::base::limits;
use crate::dns::mx::Mx;
use crate::dns::tlsa::Tlsa;
use crate::mail::Domain;

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// The name of an address.
    Ptr,
    /// What is said about a certificate.
    Tlsa,
    /// Text.
    Txt,
}

impl Kind {
    fn record(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Mx => TYPE::MX,
            Self::Ptr => TYPE::PTR,
            // RFC 6698 s7.1; simple-dns hands over the data of types it does not know.
            Self::Tlsa => TYPE::Unknown(52),
            Self::Txt => TYPE::TXT,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ptr => "PTR",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
        })
    }
}

/// The text cannot be asked for: a literal, a name with UTF-8 in it, or one longer than DNS carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a name that DNS can be asked for; write it in its ASCII form (xn--...)")
    }
}

impl std::error::Error for NotAName {}

/// A query as it goes out, and what its answer must repeat.
#[derive(Clone, Debug)]
pub struct Query {
    bytes: Vec<u8>,
    question_end: usize,
    kind: Kind,
}

/// Header bytes of every message (RFC 1035 s4.1.1).
const HEADER: usize = 12;

impl Query {
    /// A recursive query with this id. With `edns` the answer may have [`limits::DNS_UDP`] bytes; without, 512
    /// (servers that answer EDNS with an error are asked again without, RFC 6891 s7).
    pub fn new(id: u16, name: &Domain, kind: Kind, edns: bool) -> Result<Self, NotAName> {
        if !name.is_ascii() || name.ip().is_some() {
            return Err(NotAName);
        }
        let mut packet = Packet::new_query(id);
        // RFC 6840 s5.7: AD in a question asks for AD in the answer, without the signatures themselves.
        packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::AUTHENTIC_DATA);
        if edns {
            *packet.opt_mut() = Some(OPT {
                opt_codes: Vec::new(),
                udp_packet_size: limits::DNS_UDP,
                version: 0,
            });
        }
        packet.questions.push(Question::new(
            Name::new(name.as_str()).map_err(|_| NotAName)?,
            QTYPE::TYPE(kind.record()),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        let bytes = packet.build_bytes_vec().map_err(|_| NotAName)?;
        // On the wire a name has one length byte more than its text has dots, and the root's zero.
        let question_end = HEADER + name.as_str().len() + 2 + 4;
        Ok(Self {
            bytes,
            question_end,
            kind,
        })
    }

    /// The message to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn question(&self) -> &[u8] {
        self.bytes.get(HEADER..self.question_end).unwrap_or(&[])
    }
}

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The statement.
    pub said: Said,
    /// Seconds it may be kept: the least TTL on the way to it.
    pub ttl: u32,
    /// The server says that DNSSEC vouches for all of it (RFC 6840 s5.8). Whether the server and the way to it are to
    /// be believed is for who asked to know.
    pub authentic: bool,
}

/// A statement about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Addresses, one at least, at most [`limits::DNS_ADDRESSES`].
    Addresses(Vec<IpAddr>),
    /// Mail exchangers, one at least, at most [`limits::DNS_EXCHANGERS`], in order of preference.
    Exchangers(Vec<Mx>),
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// Names of an address, one at least, at most [`limits::DNS_NAMES`].
    Names(Vec<Domain>),
    /// What is said about a certificate: one record at least, at most [`limits::DNS_TLSA`].
    Tlsa(Vec<Tlsa>),
    /// Texts, one at least, at most [`limits::DNS_TEXTS`]; those that are not UTF-8 or too long are left out.
    Texts(Vec<String>),
    /// The name is another's alias and the server stopped there: ask for that one. `hops` aliases were followed.
    Alias {
        /// The name to ask for.
        target: Domain,
        /// How many aliases led there inside this answer.
        hops: usize,
    },
    /// The name exists and has nothing of this kind.
    NoData,
    /// There is no such name.
    NoSuchName,
}

/// Why there is no statement. All of these pass: they say nothing about the name.
///
/// In order of how much they tell, so that of several servers' faults the greatest is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nobody could be asked: no server is configured.
    NoServer,
    /// The box has no route to any server.
    NoNetwork,
    /// Nothing came back in time.
    Silent,
    /// The host is there and nothing answers on its port.
    NotListening,
    /// What came back cannot be read.
    Malformed,
    /// Aliases lead in a circle, or on for ever.
    Aliases,
    /// The server does not answer such questions (FORMERR, NOTIMP or a code nobody knows).
    Unwilling,
    /// SERVFAIL: the server could not find out.
    ServerFailure,
    /// REFUSED: the server does not serve this box, or not this name.
    Refused,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoServer => "no name server is configured",
            Self::NoNetwork => "there is no route to the name server; the network is down",
            Self::Silent => "the name server does not answer",
            Self::NotListening => "nothing answers at the name server's address",
            Self::Malformed => "the name server's answer cannot be read",
            Self::Aliases => "its aliases do not end",
            Self::Unwilling => "the name server does not take the question",
            Self::ServerFailure => "the name server could not find out (SERVFAIL)",
            Self::Refused => "the name server refuses to answer (REFUSED)",
        })
    }
}

/// How a lookup of one kind of record ended.
pub type End = Result<Said, Fault>;

/// What a message that came in is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not the answer to this query: a stray or a forgery. Go on waiting.
    NotOurs,
    /// The answer did not fit: ask again over TCP.
    Truncated,
    /// The server dislikes the query itself: ask again without EDNS, if it had it.
    Unwilling,
    /// The server's fault.
    Fault(Fault),
    /// A statement.
    Answer(Answer),
}

/// Reads a message that came in after `query` was sent, from its server or one that pretends to be it.
pub fn read(query: &Query, message: &[u8]) -> Reading {
    let Some(header) = message.first_chunk::<HEADER>() else {
        return Reading::NotOurs;
    };
    let [id0, id1, high, low, q0, q1, an0, an1, ns0, ns1, ar0, ar1] = *header;
    let [questions, answers, authorities, additionals] =
        [[q0, q1], [an0, an1], [ns0, ns1], [ar0, ar1]]
            .map(|pair| usize::from(u16::from_be_bytes(pair)));
    if query.bytes.first_chunk() != Some(&[id0, id1]) {
        return Reading::NotOurs;
    }
    let echo = message.get(HEADER..query.question_end).unwrap_or(&[]);
    let echoed = questions == 1 && echo.eq_ignore_ascii_case(query.question());
    // An error may come as a bare header.
    let bare = questions == 0 && low & 0x0F != 0 && answers == 0;
    // QR must say answer and the opcode must be a plain query's.
    if high & 0xF8 != 0x80 || (!echoed && !bare) {
        return Reading::NotOurs;
    }
    // Before anything is parsed: a cut answer may end in the middle of a record.
    if high & 0x02 != 0 {
        return Reading::Truncated;
    }
    let records = answers + authorities + additionals;
    if questions * 5 + records * 11 > message.len() - HEADER {
        return Reading::Fault(Fault::Malformed);
    }
    // simple-dns refuses a question about a type that it does not know, so such an answer is read as one to another
    // question; that the question was ours is known by now.
    let mut copy = Vec::new();
    let message = if query.kind == Kind::Tlsa && echoed {
        copy.extend_from_slice(message);
        let kind = query.question_end.saturating_sub(4)..query.question_end.saturating_sub(2);
        if let Some(place) = copy.get_mut(kind) {
            place.copy_from_slice(&u16::from(TYPE::A).to_be_bytes());
        }
        &copy
    } else {
        message
    };
    let Ok(packet) = Packet::parse(message) else {
        return Reading::Fault(Fault::Malformed);
    };
    match packet.rcode() {
        RCODE::NoError | RCODE::NameError if !bare => statement(&packet, query.kind),
        RCODE::ServerFailure => Reading::Fault(Fault::ServerFailure),
        RCODE::Refused => Reading::Fault(Fault::Refused),
        RCODE::FormatError | RCODE::NotImplemented | RCODE::BADVERS => Reading::Unwilling,
        _ => Reading::Fault(Fault::Unwilling),
    }
}

/// The statement of a readable answer without an error.
fn statement(packet: &Packet<'_>, kind: Kind) -> Reading {
    let Some(question) = packet.questions.first() else {
        return Reading::Fault(Fault::Malformed);
    };
    let mut name = &question.qname;
    let authentic = packet.has_flags(PacketFlag::AUTHENTIC_DATA);
    let mut ttl = u32::MAX;
    let mut hops = 0;
    loop {
        let here = || {
            packet
                .answers
                .iter()
                .filter(|record| record.class == CLASS::IN && record.name == *name)
        };
        let wanted: Vec<&ResourceRecord<'_>> = here()
            .filter(|record| record.rdata.type_code() == kind.record())
            .collect();
        if !wanted.is_empty() {
            let least = wanted.iter().map(|record| record.ttl).min().unwrap_or(0);
            return match said(&wanted, kind) {
                Some(said) => Reading::Answer(Answer {
                    said,
                    ttl: ttl.min(least),
                    authentic,
                }),
                None => Reading::Fault(Fault::Malformed),
            };
        }
        let alias = here().find_map(|record| match &record.rdata {
            RData::CNAME(target) => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, alias_ttl)) = alias else {
            break;
        };
        (name, ttl, hops) = (target, ttl.min(alias_ttl), hops + 1);
        if hops > limits::DNS_ALIASES {
            return Reading::Fault(Fault::Aliases);
        }
    }
    // RFC 2308 s5: a "no" may be kept for the lesser of the SOA record's own TTL and its minimum field.
    let soa = packet
        .name_servers
        .iter()
        .find_map(|record| match &record.rdata {
            RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
            _ => None,
        });
    let answer = |said| {
        Reading::Answer(Answer {
            said,
            ttl: ttl.min(soa.unwrap_or(0)),
            authentic,
        })
    };
    if packet.rcode() == RCODE::NameError {
        return answer(Said::NoSuchName);
    }
    if hops == 0 || soa.is_some() {
        return answer(Said::NoData);
    }
    match domain(name) {
        Some(target) => Reading::Answer(Answer {
            said: Said::Alias { target, hops },
            ttl,
            authentic,
        }),
        None => Reading::Fault(Fault::Malformed),
    }
}

/// What records of the kind say together; `None` when not one of them can be read.
fn said(records: &[&ResourceRecord<'_>], kind: Kind) -> Option<Said> {
    let data = records.iter().map(|record| &record.rdata);
    match kind {
        Kind::A | Kind::Aaaa => {
            let addresses = data.filter_map(|data| match data {
                RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
                RData::AAAA(aaaa) => Some(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
                _ => None,
            });
            some(addresses, limits::DNS_ADDRESSES).map(Said::Addresses)
        }
        Kind::Mx => exchangers(records),
        Kind::Ptr => {
            let names = data.filter_map(|data| match data {
                RData::PTR(ptr) => domain(&ptr.0),
                _ => None,
            });
            some(names, limits::DNS_NAMES).map(Said::Names)
        }
        Kind::Tlsa => {
            let all = data.filter_map(|data| match data {
                RData::NULL(_, data) => Tlsa::parse(data.get_data()),
                _ => None,
            });
            some(all, limits::DNS_TLSA).map(Said::Tlsa)
        }
        Kind::Txt => {
            let texts = data.filter_map(|data| match data {
                RData::TXT(text) => String::try_from(text.clone()).ok(),
                _ => None,
            });
            let texts = texts.filter(|text| text.len() <= limits::DNS_TEXT);
            // A domain may have many texts that concern others; that none can be read is no fault of the server.
            Some(some(texts, limits::DNS_TEXTS).map_or(Said::NoData, Said::Texts))
        }
    }
}

/// At most so many, and one at least.
fn some<T>(all: impl Iterator<Item = T>, most: usize) -> Option<Vec<T>> {
    let list: Vec<T> = all.take(most).collect();
    (!list.is_empty()).then_some(list)
}

fn exchangers(records: &[&ResourceRecord<'_>]) -> Option<Said> {
    let null = |record: &&ResourceRecord<'_>| matches!(&record.rdata, RData::MX(mx) if mx.exchange.get_labels().is_empty());
    if records.iter().all(null) {
        return Some(Said::NullMx);
    }
    let mut list: Vec<Mx> = records
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::MX(mx) => Some(Mx {
                preference: mx.preference,
                host: domain(&mx.exchange)?,
            }),
            _ => None,
        })
        .collect();
    list.sort_by_key(|mx| mx.preference);
    list.truncate(limits::DNS_EXCHANGERS);
    (!list.is_empty()).then_some(Said::Exchangers(list))
}

/// A name out of a message as a domain; none for the root and for what no host is called.
fn domain(name: &Name<'_>) -> Option<Domain> {
    let mut text = String::new();
    for label in name.as_bytes() {
        if !text.is_empty() {
            text.push('.');
        }
        let label = std::str::from_utf8(label).ok()?;
        if !label.is_ascii() || label.contains('.') {
            return None;
        }
        text.push_str(label);
    }
    // A bracket would make it a literal, which no record can hold.
    Domain::parse(&text)
        .ok()
        .filter(|domain| domain.ip().is_none())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Fault, Kind, NotAName, Query, Reading, Said, read};
    use crate::base::limits;
    use crate::dns::mx::Mx;
    use crate::dns::tlsa::Tlsa;
    use crate::mail::Domain;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn query(kind: Kind) -> Query {
        Query::new(0x1234, &name("example.com"), kind, true).unwrap()
    }

    fn wire(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = wire(owner);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&1_u16.to_be_bytes());
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn mx(preference: u16, host: &str) -> Vec<u8> {
        [preference.to_be_bytes().to_vec(), wire(host)].concat()
    }

    fn soa(minimum: u32) -> Vec<u8> {
        let numbers = [1, 2, 3, 4, minimum].map(u32::to_be_bytes);
        [
            wire("ns.example.com"),
            wire("root.example.com"),
            numbers.concat(),
        ]
        .concat()
    }

    const A: u16 = 1;
    const CNAME: u16 = 5;
    const SOA: u16 = 6;
    const MX: u16 = 15;
    const TLSA: u16 = 52;
    const TXT: u16 = 16;
    const PTR: u16 = 12;

    /// An answer to [`query`] with this code.
    fn reply(query: &Query, code: u8, answers: &[Vec<u8>], authorities: &[Vec<u8>]) -> Vec<u8> {
        let count = |list: &[Vec<u8>]| u16::try_from(list.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x12, 0x34, 0x81, 0x80 | code, 0, 1];
        bytes.extend_from_slice(&count(answers));
        bytes.extend_from_slice(&count(authorities));
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(query.question());
        bytes.extend(answers.concat());
        bytes.extend(authorities.concat());
        bytes
    }

    fn yes(said: Said, ttl: u32) -> Reading {
        Reading::Answer(Answer {
            said,
            ttl,
            authentic: false,
        })
    }

    #[test]
    fn a_query_is_what_the_rfc_draws() {
        let bytes = query(Kind::Mx).bytes().to_vec();
        assert_eq!(
            &bytes[..12],
            b"\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01"
        );
        assert_eq!(&bytes[12..29], b"\x07example\x03com\x00\x00\x0f\x00\x01");
        // The OPT record: root, type 41, 1232 bytes, no flags.
        assert_eq!(
            &bytes[29..],
            b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
        );
        let plain = Query::new(1, &name("example.com"), Kind::A, false).unwrap();
        assert_eq!(plain.bytes().len(), 29);
        assert_eq!(plain.question().len(), 17);
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for text in ["[192.0.2.1]", "b\u{fc}ro.example", &"abc.".repeat(63)] {
            let asked = Query::new(1, &name(text), Kind::A, true).map(|_| ());
            let want = if text.len() < 250 {
                Err(NotAName)
            } else {
                Ok(())
            };
            assert_eq!(asked, want, "{text}");
        }
        let long = format!("{}abc", "a.".repeat(126));
        assert_eq!(
            Query::new(1, &name(&long), Kind::A, true).map(|_| ()),
            Err(NotAName)
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn statements() {
        let a = |ttl| record("example.com", A, ttl, &[192, 0, 2, 1]);
        let address = Said::Addresses(vec!["192.0.2.1".parse().unwrap()]);
        let list = |rows: &[(u16, &str)]| {
            let mx = |&(preference, host): &(u16, &str)| Mx {
                preference,
                host: name(host),
            };
            Said::Exchangers(rows.iter().map(mx).collect())
        };
        let alias = |owner: &str, to: &str| record(owner, CNAME, 30, &wire(to));
        let cases = [
            (
                "an address",
                Kind::A,
                0,
                vec![a(60)],
                vec![],
                yes(address.clone(), 60),
            ),
            (
                "in other letters",
                Kind::A,
                0,
                vec![record("EXAMPLE.com", A, 60, &[192, 0, 2, 1])],
                vec![],
                yes(address.clone(), 60),
            ),
            (
                "the least ttl",
                Kind::A,
                0,
                vec![
                    alias("example.com", "x.example"),
                    record("x.example", A, 60, &[192, 0, 2, 1]),
                ],
                vec![],
                yes(address, 30),
            ),
            (
                "somebody else's",
                Kind::A,
                0,
                vec![record("evil.example", A, 60, &[192, 0, 2, 1])],
                vec![],
                yes(Said::NoData, 0),
            ),
            (
                "nothing",
                Kind::A,
                0,
                vec![],
                vec![record("com", SOA, 900, &soa(60))],
                yes(Said::NoData, 60),
            ),
            (
                "no such name",
                Kind::A,
                3,
                vec![],
                vec![record("com", SOA, 50, &soa(60))],
                yes(Said::NoSuchName, 50),
            ),
            (
                "an alias to no name",
                Kind::A,
                3,
                vec![alias("example.com", "x.example")],
                vec![],
                yes(Said::NoSuchName, 0),
            ),
            (
                "an alias that is left to us",
                Kind::A,
                0,
                vec![alias("example.com", "x.example")],
                vec![],
                yes(
                    Said::Alias {
                        target: name("x.example"),
                        hops: 1,
                    },
                    30,
                ),
            ),
            (
                "an alias without data",
                Kind::A,
                0,
                vec![alias("example.com", "x.example")],
                vec![record("example", SOA, 900, &soa(60))],
                yes(Said::NoData, 30),
            ),
            (
                "a circle",
                Kind::A,
                0,
                vec![
                    alias("example.com", "x.example"),
                    alias("x.example", "example.com"),
                ],
                vec![],
                Reading::Fault(Fault::Aliases),
            ),
            (
                "exchangers in order",
                Kind::Mx,
                0,
                vec![
                    record("example.com", MX, 60, &mx(20, "B.example")),
                    record("example.com", MX, 90, &mx(10, "a.example")),
                ],
                vec![],
                yes(list(&[(10, "a.example"), (20, "b.example")]), 60),
            ),
            (
                "null MX",
                Kind::Mx,
                0,
                vec![record("example.com", MX, 60, &mx(0, ""))],
                vec![],
                yes(Said::NullMx, 60),
            ),
            (
                "null MX among others is no null MX",
                Kind::Mx,
                0,
                vec![
                    record("example.com", MX, 60, &mx(0, "")),
                    record("example.com", MX, 60, &mx(5, "a.example")),
                ],
                vec![],
                yes(list(&[(5, "a.example")]), 60),
            ),
            (
                "hosts that are none",
                Kind::Mx,
                0,
                vec![record("example.com", MX, 60, &mx(0, "a b\r\n.example"))],
                vec![],
                Reading::Fault(Fault::Malformed),
            ),
            (
                "a literal as host",
                Kind::Mx,
                0,
                vec![record("example.com", MX, 60, &mx(0, "[192\u{2e}0]"))],
                vec![],
                Reading::Fault(Fault::Malformed),
            ),
            (
                "names of an address",
                Kind::Ptr,
                0,
                vec![
                    alias("example.com", "0/25.example"),
                    record("0/25.example", PTR, 60, &wire("Cam.example")),
                    record("0/25.example", PTR, 60, &wire("a b\r\n.example")),
                    record("0/25.example", PTR, 60, &wire("")),
                ],
                vec![],
                yes(Said::Names(vec![name("cam.example")]), 30),
            ),
            (
                "more names than are looked at",
                Kind::Ptr,
                0,
                vec![record("example.com", PTR, 60, &wire("a.example")); 40],
                vec![],
                yes(Said::Names(vec![name("a.example"); limits::DNS_NAMES]), 60),
            ),
            (
                "an unknown record beside it",
                Kind::A,
                0,
                vec![record("example.com", TLSA, 60, &[3, 1, 1, 0]), a(60)],
                vec![],
                yes(Said::Addresses(vec!["192.0.2.1".parse().unwrap()]), 60),
            ),
            (
                "two TLSA records and one that is cut short",
                Kind::Tlsa,
                0,
                vec![
                    record("example.com", TLSA, 60, &[3, 1, 1, 7, 8]),
                    record("example.com", TLSA, 60, &[3, 1]),
                    record("example.com", TLSA, 60, &[2, 0, 2, 9]),
                ],
                vec![],
                yes(
                    Said::Tlsa(vec![
                        Tlsa::parse(&[3, 1, 1, 7, 8]).unwrap(),
                        Tlsa::parse(&[2, 0, 2, 9]).unwrap(),
                    ]),
                    60,
                ),
            ),
            (
                "TLSA that cannot be read is not none",
                Kind::Tlsa,
                0,
                vec![record("example.com", TLSA, 60, &[3])],
                vec![],
                Reading::Fault(Fault::Malformed),
            ),
            (
                "texts, their strings joined",
                Kind::Txt,
                0,
                vec![
                    record("example.com", TXT, 60, b"\x06v=STSv\x051; id"),
                    record("example.com", TXT, 60, b"\x01\xff"),
                    record(
                        "example.com",
                        TXT,
                        60,
                        &[b"\x80".as_slice(), &[b'x'; 128]].concat().repeat(9),
                    ),
                ],
                vec![],
                yes(Said::Texts(vec![String::from("v=STSv1; id")]), 60),
            ),
            (
                "only texts of others",
                Kind::Txt,
                0,
                vec![record("example.com", TXT, 60, b"\x01\xff")],
                vec![],
                yes(Said::NoData, 60),
            ),
            (
                "names",
                Kind::Ptr,
                0,
                vec![record("example.com", PTR, 60, &wire("Nas.example"))],
                vec![],
                yes(Said::Names(vec![name("nas.example")]), 60),
            ),
            (
                "SERVFAIL",
                Kind::A,
                2,
                vec![],
                vec![],
                Reading::Fault(Fault::ServerFailure),
            ),
            (
                "REFUSED",
                Kind::A,
                5,
                vec![],
                vec![],
                Reading::Fault(Fault::Refused),
            ),
            (
                "REFUSED with an answer",
                Kind::A,
                5,
                vec![a(60)],
                vec![],
                Reading::Fault(Fault::Refused),
            ),
            ("FORMERR", Kind::A, 1, vec![], vec![], Reading::Unwilling),
            (
                "a code nobody knows",
                Kind::A,
                11,
                vec![],
                vec![],
                Reading::Fault(Fault::Unwilling),
            ),
        ];
        for (what, kind, code, answers, authorities, want) in cases {
            let query = query(kind);
            let bytes = reply(&query, code, &answers, &authorities);
            assert_eq!(read(&query, &bytes), want, "{what}");
            // However it is cut: never a different statement, never a panic.
            for end in 0..bytes.len() {
                let got = read(&query, &bytes[..end]);
                assert!(
                    matches!(got, Reading::NotOurs | Reading::Fault(Fault::Malformed)),
                    "{what} cut at {end}: {got:?}"
                );
            }
        }
    }

    #[test]
    fn what_the_server_vouches_for_is_told() {
        let asked = query(Kind::A);
        let mut bytes = reply(
            &asked,
            0,
            &[record("example.com", A, 60, &[192, 0, 2, 1])],
            &[],
        );
        for (flag, want) in [(0x80, false), (0xA0, true), (0x90, false)] {
            bytes[3] = flag;
            match read(&asked, &bytes) {
                Reading::Answer(answer) => assert_eq!(answer.authentic, want, "{flag:x}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn lists_are_cut_to_their_limits() {
        let asked = query(Kind::A);
        let many: Vec<_> = (0..200)
            .map(|n| record("example.com", A, 60, &[10, 0, 0, n]))
            .collect();
        match read(&asked, &reply(&asked, 0, &many, &[])) {
            Reading::Answer(Answer {
                said: Said::Addresses(list),
                ..
            }) => {
                assert_eq!(list.len(), limits::DNS_ADDRESSES);
            }
            other => panic!("{other:?}"),
        }
        let asked = query(Kind::Mx);
        let many: Vec<_> = (0..100)
            .map(|n| {
                record(
                    "example.com",
                    MX,
                    60,
                    &mx(100 - n, &format!("h{n}.example")),
                )
            })
            .collect();
        match read(&asked, &reply(&asked, 0, &many, &[])) {
            Reading::Answer(Answer {
                said: Said::Exchangers(list),
                ..
            }) => {
                assert_eq!(list.len(), limits::DNS_EXCHANGERS);
                assert_eq!(list[0].preference, 1, "the best are kept");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn forgeries_and_strays_are_not_ours() {
        let asked = query(Kind::A);
        let good = reply(
            &asked,
            0,
            &[record("example.com", A, 60, &[192, 0, 2, 1])],
            &[],
        );
        assert!(matches!(read(&asked, &good), Reading::Answer(_)));
        for (what, at, byte) in [
            ("another id", 0, 0x13),
            ("another id", 1, 0x35),
            ("a query", 2, 0x01),
            ("another opcode", 2, 0x91),
            ("no question", 5, 0),
            ("two questions", 5, 2),
            ("another name", 13, b'f'),
            ("another type", 26, 28),
            ("another class", 28, 3),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(read(&asked, &bad), Reading::NotOurs, "{what}");
        }
    }

    #[test]
    fn an_error_may_be_a_bare_header_and_an_answer_may_not() {
        let asked = query(Kind::A);
        for (code, want) in [
            (0, Reading::NotOurs),
            (1, Reading::Unwilling),
            (3, Reading::Fault(Fault::Unwilling)),
            (4, Reading::Unwilling),
            (5, Reading::Fault(Fault::Refused)),
        ] {
            let bytes = [0x12, 0x34, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(read(&asked, &bytes), want, "code {code}");
        }
    }

    #[test]
    fn truncation_shows_before_anything_is_parsed() {
        let asked = query(Kind::A);
        let mut bytes = reply(&asked, 0, &[], &[]);
        bytes[2] |= 0x02;
        bytes[7] = 1;
        bytes.extend_from_slice(b"\xc0\x0c\x00\x01");
        assert_eq!(read(&asked, &bytes), Reading::Truncated);
    }

    #[test]
    fn counts_that_the_length_cannot_hold_are_not_believed() {
        let asked = query(Kind::A);
        for at in [6, 8, 10] {
            let mut bytes = reply(&asked, 0, &[], &[]);
            bytes[at] = 0xFF;
            bytes[at + 1] = 0xFF;
            assert_eq!(read(&asked, &bytes), Reading::Fault(Fault::Malformed));
        }
        let bomb = [0x12, 0x34, 0x81, 0x82, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(read(&asked, &bomb), Reading::Fault(Fault::Malformed));
    }

    #[test]
    fn every_byte_may_be_anything() {
        let asked = query(Kind::Mx);
        let good = reply(
            &asked,
            0,
            &[
                record("example.com", CNAME, 60, &wire("x.example")),
                record("x.example", MX, 60, &mx(1, "a.example")),
            ],
            &[record("com", SOA, 50, &soa(60))],
        );
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = read(&asked, &bad);
            }
        }
    }
}
