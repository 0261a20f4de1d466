//! One lookup as a machine: which server is asked what, over what, until when; and what it all comes to.
//!
//! The driver asks [`Lookup::next`] for an order, carries it out, and reports with one of the `on_*` methods, until
//! the order is [`Order::End`]. Servers are asked in order, the whole list once an attempt. A server that has said
//! something that is no answer is not asked again; one that kept silent is.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::Tick;
use crate::base::limits;
use crate::dns::message;
use crate::dns::message::Answer;
use crate::dns::message::End;
use crate::dns::message::Fault;
use crate::dns::message::Kind;
use crate::dns::message::NotAName;
use crate::dns::message::Query;
use crate::dns::message::Reading;
use crate::dns::message::Said;
use crate::dns::mx::Mx;
use crate::mail::Domain;

/// Why a name led nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// There is no such name.
    NoSuchName(Domain),
    /// The name exists and has no address.
    NoData(Domain),
    /// The domain says that it takes no mail (RFC 7505).
    NullMx(Domain),
    /// Not a name that DNS can be asked for.
    NotAName(Domain),
    /// Nobody could tell. It passes; it says nothing about the name.
    Failed(Domain, Fault),
}

impl LookupError {
    /// Whether asking again cannot help. For a recipient's domain this means `Never`; for a smart host of the
    /// configuration it is a fault of the setup, which means `Hold`.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Failed(..))
    }

    /// The name that was asked for.
    pub fn name(&self) -> &Domain {
        match self {
            Self::NoSuchName(name)
            | Self::NoData(name)
            | Self::NullMx(name)
            | Self::NotAName(name)
            | Self::Failed(name, _) => name,
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName(name) => write!(f, "there is no host or domain called {name}"),
            Self::NoData(name) => write!(f, "{name} exists and has no address"),
            Self::NullMx(name) => write!(f, "{name} says that it takes no mail"),
            Self::NotAName(name) => write!(f, "{name} is {NotAName}"),
            Self::Failed(name, fault) => write!(f, "cannot look up {name}: {fault}"),
        }
    }
}

impl std::error::Error for LookupError {}

/// Whom to ask, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name servers in order; those past [`limits::DNS_SERVERS`] are left out.
    pub servers: Vec<SocketAddr>,
    /// How often the whole list is gone through, 1 at least.
    pub attempts: u8,
    /// How long one server may take over one answer.
    pub timeout: Duration,
}

/// What carries a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// One datagram.
    Udp,
    /// A connection, with a length before each message (RFC 1035 s4.2.2).
    Tcp,
}

/// What the driver does next.
#[derive(Clone, Debug)]
pub enum Order {
    /// Send the query and report what comes back until the deadline.
    Ask(Ask),
    /// It is over.
    End(Result<Answer, Fault>),
}

/// One question to one server.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The server.
    pub server: SocketAddr,
    /// What carries it.
    pub over: Over,
    /// What to send, and what its answer is held against.
    pub query: Query,
    /// When to report silence.
    pub until: Tick,
}

/// Whether the driver goes on waiting for the same question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was the answer: ask for the next order.
    Taken,
    /// A stray or a forgery: read on.
    Ignored,
}

/// One lookup of one kind of record.
#[derive(Debug)]
pub struct Lookup {
    name: Domain,
    kind: Kind,
    plan: Plan,
    /// Aliases followed so far, over all answers.
    hops: usize,
    /// The least TTL of the answers that led here.
    ttl: u32,
    /// Whether DNSSEC vouches for all of them.
    authentic: bool,
    /// One bit a server: it has said something that is no answer.
    spent: u8,
    attempt: u8,
    at: usize,
    over: Over,
    edns: bool,
    worst: Fault,
    end: Option<Result<Answer, Fault>>,
}

const _: () = assert!(limits::DNS_SERVERS <= 8, "`spent` is eight bits");

impl Lookup {
    /// A lookup that has not begun.
    pub fn new(name: Domain, kind: Kind, mut plan: Plan) -> Result<Self, NotAName> {
        Query::new(0, &name, kind, false)?;
        plan.servers.truncate(limits::DNS_SERVERS);
        let worst = if plan.servers.is_empty() {
            Fault::NoServer
        } else {
            Fault::NoNetwork
        };
        Ok(Self {
            name,
            kind,
            plan,
            hops: 0,
            ttl: u32::MAX,
            authentic: true,
            spent: 0,
            attempt: 0,
            at: 0,
            over: Over::Udp,
            edns: true,
            worst,
            end: None,
        })
    }

    /// The next order. `id` is a fresh random number.
    pub fn next(&mut self, now: Tick, id: u16) -> Order {
        if let Some(end) = &self.end {
            return Order::End(end.clone());
        }
        loop {
            let Some(&server) = self.plan.servers.get(self.at) else {
                self.attempt = self.attempt.saturating_add(1);
                let all = (1_u16 << self.plan.servers.len().min(8)) - 1;
                if self.attempt >= self.plan.attempts || u16::from(self.spent) == all {
                    return Order::End(Err(self.worst));
                }
                self.at = 0;
                continue;
            };
            if self.spent & self.bit() != 0 {
                self.at = self.at.saturating_add(1);
                continue;
            }
            let Ok(query) = Query::new(id, &self.name, self.kind, self.edns) else {
                return Order::End(Err(Fault::Malformed));
            };
            return Order::Ask(Ask {
                server,
                over: self.over,
                query,
                until: now.after(self.plan.timeout),
            });
        }
    }

    /// A message came in from the server.
    pub fn on_message(&mut self, ask: &Ask, bytes: &[u8]) -> Heard {
        match message::read(&ask.query, bytes) {
            Reading::NotOurs if self.over == Over::Udp => return Heard::Ignored,
            Reading::NotOurs => self.pass(Fault::Malformed),
            Reading::Truncated if self.over == Over::Udp => self.over = Over::Tcp,
            Reading::Truncated => self.pass(Fault::Malformed),
            Reading::Unwilling if self.edns => {
                self.edns = false;
                self.over = Over::Udp;
            }
            Reading::Unwilling => self.pass(Fault::Unwilling),
            Reading::Fault(fault) => self.pass(fault),
            Reading::Answer(answer) => self.on_answer(answer),
        }
        Heard::Taken
    }

    /// The deadline has come.
    pub fn on_silence(&mut self) {
        self.worst = self.worst.max(Fault::Silent);
        self.turn();
    }

    /// The server cannot be reached, or the connection to it broke: [`Fault::NoNetwork`] or [`Fault::NotListening`].
    pub fn on_unreachable(&mut self, fault: Fault) {
        self.pass(fault);
    }

    /// Where in the list of servers the lookup stands: after its end, the one that answered.
    pub fn server(&self) -> usize {
        self.at
    }

    fn bit(&self) -> u8 {
        1_u8.checked_shl(u32::try_from(self.at).unwrap_or(u32::MAX))
            .unwrap_or(0)
    }

    /// This server is done with.
    fn pass(&mut self, fault: Fault) {
        self.worst = self.worst.max(fault);
        self.spent |= self.bit();
        self.turn();
    }

    /// On to the next server.
    fn turn(&mut self) {
        self.at = self.at.saturating_add(1);
        self.over = Over::Udp;
        self.edns = true;
    }

    fn on_answer(&mut self, answer: Answer) {
        let ttl = self.ttl.min(answer.ttl);
        let authentic = self.authentic && answer.authentic;
        match answer.said {
            Said::Alias { target, hops } => {
                self.hops = self.hops.saturating_add(hops);
                if self.hops > limits::DNS_ALIASES {
                    self.end = Some(Err(Fault::Aliases));
                    return;
                }
                self.name = target;
                self.ttl = ttl;
                self.authentic = authentic;
                self.over = Over::Udp;
            }
            said => {
                self.end = Some(Ok(Answer {
                    said,
                    ttl,
                    authentic,
                }));
            }
        }
    }
}

/// The addresses of a name out of what was said about its A and AAAA records, IPv6 first.
///
/// One kind is enough. A "no" stands only when both are known: if one failed, nobody could tell.
pub fn addresses(name: &Domain, v4: End, v6: End) -> Result<Vec<IpAddr>, LookupError> {
    match (v4, v6) {
        (Ok(Said::Addresses(v4)), Ok(Said::Addresses(mut v6))) => {
            // Half the room for each, so that neither crowds the other out.
            let half = limits::DNS_ADDRESSES / 2;
            v6.truncate(half.max(limits::DNS_ADDRESSES.saturating_sub(v4.len())));
            v6.extend(v4);
            v6.truncate(limits::DNS_ADDRESSES);
            Ok(v6)
        }
        (Ok(Said::Addresses(list)), _) | (_, Ok(Said::Addresses(list))) => Ok(list),
        (Err(one), Err(other)) => Err(LookupError::Failed(name.clone(), one.max(other))),
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(LookupError::Failed(name.clone(), fault)),
        (Ok(Said::NoSuchName), Ok(_)) | (Ok(_), Ok(Said::NoSuchName)) => {
            Err(LookupError::NoSuchName(name.clone()))
        }
        (Ok(_), Ok(_)) => Err(LookupError::NoData(name.clone())),
    }
}

/// The mail exchangers of a domain out of what was said about its MX records.
///
/// A domain without any is its own exchanger (RFC 5321 s5.1), provided it has an address, which is looked up when it
/// is dialled.
pub fn exchangers(name: &Domain, mx: End) -> Result<Vec<Mx>, LookupError> {
    match mx {
        Ok(Said::Exchangers(list)) => Ok(list),
        Ok(Said::NullMx) => Err(LookupError::NullMx(name.clone())),
        Ok(Said::NoSuchName) => Err(LookupError::NoSuchName(name.clone())),
        Ok(_) => Ok(vec![Mx {
            preference: 0,
            host: name.clone(),
        }]),
        Err(fault) => Err(LookupError::Failed(name.clone(), fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Heard, Lookup, LookupError, Order, Over, Plan, addresses, exchangers};
    use crate::base::{Tick, limits};
    use crate::dns::message::{Fault, Kind, Said};
    use crate::mail::Domain;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn server(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 53))
    }

    fn lookup(servers: u8, attempts: u8) -> Lookup {
        let plan = Plan {
            servers: (1..=servers).map(server).collect(),
            attempts,
            timeout: Duration::from_secs(5),
        };
        Lookup::new(name("example.com"), Kind::A, plan).unwrap()
    }

    fn ask(lookup: &mut Lookup) -> Ask {
        match lookup.next(Tick::from_millis(1000), 0x1234) {
            Order::Ask(ask) => ask,
            Order::End(end) => panic!("ended: {end:?}"),
        }
    }

    fn end(lookup: &mut Lookup) -> Result<Said, Fault> {
        match lookup.next(Tick::from_millis(1000), 0x1234) {
            Order::Ask(ask) => panic!("asks {} still", ask.server),
            Order::End(end) => end.map(|answer| answer.said),
        }
    }

    /// An answer to the question with these flags, code and records.
    fn reply(ask: &Ask, high: u8, code: u8, records: &[u8], count: u8) -> Vec<u8> {
        let query = ask.query.bytes();
        let edns = query[11] == 1;
        let question = &query[12..query.len() - if edns { 11 } else { 0 }];
        let header = [
            query[0],
            query[1],
            0x81 | high,
            0x80 | code,
            0,
            1,
            0,
            count,
            0,
            0,
            0,
            0,
        ];
        [&header, question, records].concat()
    }

    const ADDRESS: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07";

    #[test]
    fn silent_servers_are_asked_in_order_and_again() {
        let mut lookup = lookup(2, 2);
        for n in [1, 2, 1, 2] {
            let ask = ask(&mut lookup);
            assert_eq!((ask.server, ask.over), (server(n), Over::Udp));
            assert_eq!(ask.until, Tick::from_millis(6000));
            lookup.on_silence();
        }
        assert_eq!(end(&mut lookup), Err(Fault::Silent));
    }

    #[test]
    fn a_server_that_has_spoken_is_not_asked_again() {
        let mut lookup = lookup(3, 3);
        let first = ask(&mut lookup);
        assert_eq!(
            lookup.on_message(&first, &reply(&first, 0, 5, &[], 0)),
            Heard::Taken
        );
        assert_eq!(ask(&mut lookup).server, server(2));
        lookup.on_unreachable(Fault::NotListening);
        for _ in 0..3 {
            assert_eq!(ask(&mut lookup).server, server(3));
            lookup.on_silence();
        }
        assert_eq!(
            end(&mut lookup),
            Err(Fault::Refused),
            "what tells most is reported"
        );
    }

    #[test]
    fn all_out_of_reach_ends_at_once() {
        let mut lookup = lookup(2, 5);
        for _ in 0..2 {
            ask(&mut lookup);
            lookup.on_unreachable(Fault::NoNetwork);
        }
        assert_eq!(end(&mut lookup), Err(Fault::NoNetwork));
        assert_eq!(end(&mut super::tests::lookup(0, 2)), Err(Fault::NoServer));
    }

    #[test]
    fn a_stray_is_waited_past_and_the_answer_taken() {
        let mut lookup = lookup(2, 1);
        let question = ask(&mut lookup);
        let mut stray = reply(&question, 0, 0, ADDRESS, 1);
        stray[0] ^= 1;
        assert_eq!(lookup.on_message(&question, &stray), Heard::Ignored);
        let good = reply(&question, 0, 0, ADDRESS, 1);
        assert_eq!(lookup.on_message(&question, &good), Heard::Taken);
        let want = Said::Addresses(vec!["192.0.2.7".parse().unwrap()]);
        assert_eq!(end(&mut lookup), Ok(want));
        assert_eq!(lookup.server(), 0);
    }

    #[test]
    fn truncation_goes_to_tcp_and_a_lie_there_to_the_next_server() {
        let mut lookup = lookup(2, 1);
        let first = ask(&mut lookup);
        lookup.on_message(&first, &reply(&first, 2, 0, &[], 0));
        let second = ask(&mut lookup);
        assert_eq!((second.server, second.over), (server(1), Over::Tcp));
        lookup.on_message(&second, &reply(&second, 2, 0, &[], 0));
        let third = ask(&mut lookup);
        assert_eq!((third.server, third.over), (server(2), Over::Udp));
        lookup.on_message(&third, &reply(&third, 2, 0, &[], 0));
        let fourth = ask(&mut lookup);
        assert_eq!(
            lookup.on_message(&fourth, b"what?"),
            Heard::Taken,
            "nobody else talks on this connection"
        );
        assert_eq!(end(&mut lookup), Err(Fault::Malformed));
    }

    #[test]
    fn a_server_that_dislikes_edns_is_asked_without() {
        let mut lookup = lookup(1, 1);
        let first = ask(&mut lookup);
        lookup.on_message(&first, &reply(&first, 0, 1, &[], 0));
        let second = ask(&mut lookup);
        assert_eq!(second.server, server(1));
        assert!(second.query.bytes().len() < first.query.bytes().len());
        lookup.on_message(&second, &reply(&second, 0, 1, &[], 0));
        assert_eq!(end(&mut lookup), Err(Fault::Unwilling));
    }

    #[test]
    fn aliases_over_several_answers_end() {
        let mut lookup = lookup(1, 1);
        // An alias to itself: the server leaves it to us each time.
        let mut asked = 0;
        let got = loop {
            match lookup.next(Tick::from_millis(0), 7) {
                Order::End(end) => break end,
                Order::Ask(ask) => {
                    asked += 1;
                    let target = [b"\x04next".as_slice(), b"\xc0\x0c"].concat();
                    let alias = [
                        b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x07",
                        target.as_slice(),
                    ]
                    .concat();
                    lookup.on_message(&ask, &reply(&ask, 0, 0, &alias, 1));
                }
            }
        };
        assert_eq!(got.map(|answer| answer.said), Err(Fault::Aliases));
        assert_eq!(asked, limits::DNS_ALIASES + 1);
    }

    #[test]
    fn addresses_of_both_kinds() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let v4 = || Ok(Said::Addresses(vec![ip("192.0.2.1")]));
        let v6 = || Ok(Said::Addresses(vec![ip("2001:db8::1")]));
        let host = name("a.example");
        for (a, aaaa, want) in [
            (v4(), v6(), Ok(vec![ip("2001:db8::1"), ip("192.0.2.1")])),
            (v4(), Ok(Said::NoData), Ok(vec![ip("192.0.2.1")])),
            (v4(), Err(Fault::Silent), Ok(vec![ip("192.0.2.1")])),
            (Err(Fault::Refused), v6(), Ok(vec![ip("2001:db8::1")])),
            (
                Ok(Said::NoData),
                Ok(Said::NoData),
                Err(LookupError::NoData(host.clone())),
            ),
            (
                Ok(Said::NoSuchName),
                Ok(Said::NoSuchName),
                Err(LookupError::NoSuchName(host.clone())),
            ),
            (
                Ok(Said::NoSuchName),
                Err(Fault::Silent),
                Err(LookupError::Failed(host.clone(), Fault::Silent)),
            ),
            (
                Err(Fault::Silent),
                Err(Fault::Refused),
                Err(LookupError::Failed(host.clone(), Fault::Refused)),
            ),
        ] {
            let got = addresses(&host, a, aaaa);
            assert_eq!(got, want);
            if let Err(error) = got {
                let passes = matches!(error, LookupError::Failed(..));
                assert_eq!(error.is_permanent(), !passes, "{error}");
            }
        }
        let crowd = |n: u8| {
            Ok(Said::Addresses(
                (0..n).map(|n| IpAddr::from([10, 0, 0, n])).collect(),
            ))
        };
        let crowd6 = |n: u16| {
            Ok(Said::Addresses(
                (0..n)
                    .map(|n| IpAddr::from([0, 0, 0, 0, 0, 0, 1, n]))
                    .collect(),
            ))
        };
        for (four, six, want) in [
            (16, 16, (8, 8)),
            (2, 16, (2, 14)),
            (16, 2, (14, 2)),
            (3, 4, (3, 4)),
        ] {
            let list = addresses(&host, crowd(four), crowd6(six)).unwrap();
            let v4 = list.iter().filter(|ip| ip.is_ipv4()).count();
            assert_eq!((v4, list.len() - v4), want);
        }
    }

    #[test]
    fn a_domain_without_exchangers_is_its_own() {
        let domain = name("example.com");
        let own = exchangers(&domain, Ok(Said::NoData)).unwrap();
        assert_eq!((own.len(), own[0].host.as_str()), (1, "example.com"));
        assert_eq!(
            exchangers(&domain, Ok(Said::NullMx)),
            Err(LookupError::NullMx(domain.clone()))
        );
        let passing = exchangers(&domain, Err(Fault::ServerFailure)).unwrap_err();
        assert!(!passing.is_permanent());
        assert_eq!(
            passing.to_string(),
            "cannot look up example.com: the name server could not find out (SERVFAIL)"
        );
    }
}
