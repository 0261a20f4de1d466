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
}

impl Kind {
    fn record(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Mx => TYPE::MX,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
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
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
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
            return said(&wanted, kind, ttl.min(least));
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
        }),
        None => Reading::Fault(Fault::Malformed),
    }
}

fn said(records: &[&ResourceRecord<'_>], kind: Kind, ttl: u32) -> Reading {
    let said = match kind {
        Kind::A | Kind::Aaaa => {
            let addresses = records.iter().filter_map(|record| match &record.rdata {
                RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
                RData::AAAA(aaaa) => Some(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
                _ => None,
            });
            Said::Addresses(addresses.take(limits::DNS_ADDRESSES).collect())
        }
        Kind::Mx => {
            let null = |record: &&ResourceRecord<'_>| matches!(&record.rdata, RData::MX(mx) if mx.exchange.get_labels().is_empty());
            if records.iter().all(null) {
                Said::NullMx
            } else {
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
                Said::Exchangers(list)
            }
        }
    };
    match said {
        Said::Addresses(list) if list.is_empty() => Reading::Fault(Fault::Malformed),
        Said::Exchangers(list) if list.is_empty() => Reading::Fault(Fault::Malformed),
        said => Reading::Answer(Answer { said, ttl }),
    }
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
