//! Connects to the first of several addresses that answers.
//!
//! Names never come here: async-net would hand them to a blocking pool that keeps waking an idle box. Ask
//! [`crate::net::resolver::Resolver`] first.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;

use crate::net::ready::Watched;
use crate::net::stream::Stream;
use crate::net::within::within;

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// How long each address may take.
    pub timeout: Duration,
    /// The addresses of this box to connect from, at most one of each family; a family without one is left to the
    /// kernel.
    pub source: Vec<IpAddr>,
}

/// Why one address was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host is there and nothing listens on the port, or a firewall says so.
    Refused,
    /// Nothing came back in time.
    TimedOut,
    /// The network behind our router, or the host in it, cannot be reached.
    NoRoute,
    /// This box has no network, or none of that family.
    NoNetwork,
    /// The configured source address is not (or not now) one of this box's.
    Source,
    /// This box's own firewall, or its sandbox, forbids it.
    Forbidden,
    /// Out of sockets or memory.
    NoRoom,
    /// Anything else, as the kernel says it.
    Other(Errno),
}

impl Fault {
    fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::CONNREFUSED | Errno::CONNRESET => Self::Refused,
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::HOSTUNREACH | Errno::HOSTDOWN => Self::NoRoute,
            Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => Self::NoNetwork,
            Errno::ADDRNOTAVAIL => Self::Source,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Self::NoRoom,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused; nothing listens there",
            Self::TimedOut => "no answer in time; a firewall or provider may block the port",
            Self::NoRoute => "no route to the host",
            Self::NoNetwork => "no network",
            Self::Source => "this box does not have the source address",
            Self::Forbidden => "forbidden by this box's own firewall",
            Self::NoRoom => "out of sockets or memory",
            Self::Other(errno) => return fmt::Display::fmt(errno, f),
        })
    }
}

/// Why none of the addresses was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// Each address that was tried, and why it failed; empty when there was none to try.
    pub tried: Vec<(SocketAddr, Fault)>,
}

impl DialError {
    /// Whether the box itself is cut off: every address failed before anything left it.
    pub fn is_no_network(&self) -> bool {
        !self.tried.is_empty()
            && self
                .tried
                .iter()
                .all(|(_, fault)| *fault == Fault::NoNetwork)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return f.write_str("there is no address to connect to");
        }
        // An address family that the box does not have is no news when another one failed for a better reason.
        let news = |fault: &Fault| *fault != Fault::NoNetwork || self.is_no_network();
        let mut parts = self.tried.iter().filter(|(_, fault)| news(fault));
        if let Some((addr, fault)) = parts.next() {
            write!(f, "cannot connect to {addr}: {fault}")?;
        }
        parts.try_for_each(|(addr, fault)| write!(f, "; to {addr}: {fault}"))
    }
}

impl std::error::Error for DialError {}

impl Dial {
    /// Connects to the first address that answers, in the order given.
    pub async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<(Stream, SocketAddr), DialError> {
        let mut tried = Vec::new();
        for &addr in addresses {
            let fault = match within(self.timeout, self.one(addr)).await {
                Ok(Ok(stream)) => return Ok((stream, addr)),
                Ok(Err(fault)) => fault,
                Err(_) => Fault::TimedOut,
            };
            tried.push((addr, fault));
        }
        Err(DialError { tried })
    }

    /// Connects to a Unix socket of this host.
    pub async fn local(&self, path: &Path) -> Result<Stream, Fault> {
        match within(self.timeout, unix(path)).await {
            Ok(connected) => connected.map_err(Fault::from_errno),
            Err(_) => Err(Fault::TimedOut),
        }
    }

    async fn one(&self, addr: SocketAddr) -> Result<Stream, Fault> {
        let source = self
            .source
            .iter()
            .find(|source| source.is_ipv4() == addr.is_ipv4());
        let stream = begin(addr, source.copied()).map_err(Fault::from_errno)?;
        let fault =
            |error: io::Error| Fault::from_errno(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        stream.connected().await;
        match stream.get_ref().take_error().map_err(fault)? {
            Some(error) => Err(fault(error)),
            None => Ok(Stream::tcp(stream)),
        }
    }
}

async fn unix(path: &Path) -> Result<Stream, Errno> {
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // It connects at once, or says that its queue is full (EAGAIN), which the next attempt finds out.
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    Watched::new(UnixStream::from(fd))
        .map(Stream::unix)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Sends the SYN.
fn begin(addr: SocketAddr, source: Option<IpAddr>) -> Result<Watched<TcpStream>, Errno> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(source) = source {
        rustix::net::bind(&fd, &SocketAddr::new(source, 0))?;
    }
    sockopt::set_tcp_nodelay(&fd, true)?;
    match rustix::net::connect(&fd, &addr) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    Watched::connecting(TcpStream::from(fd))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
