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
        match answer.said {
            Said::Alias { target, hops } => {
                self.hops = self.hops.saturating_add(hops);
                if self.hops > limits::DNS_ALIASES {
                    self.end = Some(Err(Fault::Aliases));
                    return;
                }
                self.name = target;
                self.ttl = ttl;
                self.over = Over::Udp;
            }
            said => self.end = Some(Ok(Answer { said, ttl })),
        }
    }
}

/// One kind's end, as the cache and the machine give it.
pub type End = Result<Said, Fault>;

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
