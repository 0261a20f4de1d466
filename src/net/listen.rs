//! Listening sockets that survive a full house.
//!
//! Out of file descriptors, a listener would spin: the connection that cannot be taken keeps the socket readable. It
//! holds one descriptor in reserve, gives it up to take and close that connection, and pauses.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;
use smol::Timer;

use crate::base::limits;
use crate::net::ready::Watched;
use crate::net::stream::Peer;
use crate::net::stream::Stream;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address and port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix socket with these permission bits.
    Unix(PathBuf, u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => fmt::Display::fmt(addr, f),
            Self::Unix(path, _) => fmt::Display::fmt(&path.display(), f),
        }
    }
}

/// Why a place cannot be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// The place.
    pub place: Place,
    /// What the kernel said.
    pub errno: Errno,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.place)?;
        match (self.errno, &self.place) {
            (Errno::ADDRINUSE, Place::Tcp(addr)) => write!(
                f,
                "another program has the port; `ss -ltnp 'sport = :{}'` names it",
                addr.port()
            ),
            (Errno::ADDRINUSE, Place::Unix(..)) => {
                f.write_str("a running program listens there already")
            }
            (Errno::ACCESS | Errno::PERM, Place::Tcp(addr)) => write!(
                f,
                "port {} needs root or the capability CAP_NET_BIND_SERVICE; start as root or take a port above 1023",
                addr.port()
            ),
            (Errno::ACCESS | Errno::PERM, Place::Unix(..)) => f.write_str(
                "the folder cannot be written; give it to the user that mailroot runs as",
            ),
            (Errno::ADDRNOTAVAIL, _) => f.write_str(
                "this box does not have the address (yet); `ip address` shows what it has",
            ),
            (Errno::AFNOSUPPORT, _) => {
                f.write_str("this kernel has no IPv6; take the listener out")
            }
            (Errno::NOENT, _) => f.write_str("the folder does not exist"),
            (errno, _) => fmt::Display::fmt(&errno, f),
        }
    }
}

impl std::error::Error for ListenError {}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    reserve: std::cell::RefCell<Option<File>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(Watched<TcpListener>),
    Unix(Watched<UnixListener>),
}

impl Listener {
    /// Listens. An IPv6 listener takes IPv6 only, except on the wildcard address with `both`: then IPv4 comes in
    /// there too (ask for that when no IPv4 listener has the same port).
    pub fn bind(place: &Place, both: bool) -> Result<Self, ListenError> {
        let fail = |errno| ListenError {
            place: place.clone(),
            errno,
        };
        let socket = match place {
            Place::Tcp(addr) => tcp(*addr, both).map_err(fail)?,
            Place::Unix(path, mode) => unix(path, *mode).map_err(fail)?,
        };
        Ok(Self {
            socket,
            reserve: std::cell::RefCell::new(reserve()),
        })
    }

    /// Takes over a socket that listens already: what a service manager hands over.
    pub fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let is_stream = sockopt::socket_type(&socket)? == SocketType::STREAM;
        if !is_stream || !sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::other(
                "it is not a listening stream socket; write ListenStream= and Accept=no in its unit",
            ));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = match sockopt::socket_domain(&socket)? {
            AddressFamily::UNIX => Socket::Unix(Watched::new(UnixListener::from(socket))?),
            _ => {
                sockopt::set_tcp_nodelay(&socket, true)?;
                Socket::Tcp(Watched::new(TcpListener::from(socket))?)
            }
        };
        Ok(Self {
            socket,
            reserve: std::cell::RefCell::new(reserve()),
        })
    }

    /// Listens on all of these, or on none.
    pub fn bind_all(places: &[Place]) -> Result<Vec<Self>, ListenError> {
        let has_v4 = |port| {
            places.iter().any(
                |place| matches!(place, Place::Tcp(addr) if addr.is_ipv4() && addr.port() == port),
            )
        };
        places
            .iter()
            .map(|place| match place {
                Place::Tcp(addr) => Self::bind(place, !has_v4(addr.port())),
                Place::Unix(..) => Self::bind(place, false),
            })
            .collect()
    }

    /// The address it got, with the port the kernel chose; none for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.get_ref().local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The next connection and who it is from. It never fails: what goes wrong with one connection is that
    /// connection's end, and when there is no room for another the listener pauses.
    pub async fn accept(&self) -> (Stream, Peer) {
        loop {
            match self.next().await {
                Ok(Some(accepted)) => return accepted,
                Ok(None) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.shed();
                    Timer::after(limits::ACCEPT_PAUSE).await;
                }
                // A connection that broke while it waited (ECONNABORTED, EPROTO, a network error that Linux hands on
                // from it): the next accept finds the next one.
                Err(
                    Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::PERM
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP,
                ) => {}
                Err(errno) => {
                    log::warn!("accept: {errno}");
                    Timer::after(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection. `None` is one that was gone before it could be used.
    async fn next(&self) -> Result<Option<(Stream, Peer)>, Errno> {
        match &self.socket {
            Socket::Tcp(tcp) => {
                let accepted = tcp.input(|tcp| rustix::net::acceptfrom_with(tcp, ACCEPTED));
                let (fd, addr) = accepted.await?;
                let stream = Watched::new(TcpStream::from(fd)).map_err(errno)?;
                let addr = addr.and_then(|addr| SocketAddr::try_from(addr).ok());
                Ok(addr.map(|addr| (Stream::tcp(stream), Peer::from_addr(addr))))
            }
            Socket::Unix(unix) => {
                let accepted = unix.input(|unix| rustix::net::accept_with(unix, ACCEPTED));
                let stream = Watched::new(UnixStream::from(accepted.await?)).map_err(errno)?;
                Ok(Some((Stream::unix(stream), Peer::Local)))
            }
        }
    }

    /// Takes one waiting connection with the reserved descriptor and closes it, so that its client knows at once.
    fn shed(&self) {
        let mut held = self.reserve.borrow_mut();
        *held = None;
        // Nobody waiting any more is as good.
        let _ = match &self.socket {
            Socket::Tcp(tcp) => rustix::net::accept_with(tcp.get_ref(), ACCEPTED),
            Socket::Unix(unix) => rustix::net::accept_with(unix.get_ref(), ACCEPTED),
        };
        *held = reserve();
    }
}

/// How connections are taken.
const ACCEPTED: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn open(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

fn tcp(addr: SocketAddr, both: bool) -> Result<Socket, Errno> {
    let fd = open(match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    })?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if let IpAddr::V6(ip) = addr.ip() {
        sockopt::set_ipv6_v6only(&fd, !(both && ip.is_unspecified()))?;
    }
    rustix::net::bind(&fd, &addr)?;
    rustix::net::listen(&fd, limits::LISTEN_BACKLOG)?;
    // Its connections inherit it, which saves each of them a call.
    sockopt::set_tcp_nodelay(&fd, true)?;
    Ok(Socket::Tcp(
        Watched::new(TcpListener::from(fd)).map_err(errno)?,
    ))
}

fn unix(path: &Path, mode: u32) -> Result<Socket, Errno> {
    let addr = SocketAddrUnix::new(path)?;
    let fd = open(AddressFamily::UNIX)?;
    match rustix::net::bind(&fd, &addr) {
        // What a stopped service left behind refuses connections; what a running one has takes them.
        Err(Errno::ADDRINUSE) if is_stale(path, &addr) => {
            rustix::fs::unlink(path)?;
            rustix::net::bind(&fd, &addr)?;
        }
        bound => bound?,
    }
    // Nobody can connect before `listen`, so nobody sees the permissions that the umask left.
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    rustix::net::listen(&fd, limits::LISTEN_BACKLOG)?;
    Ok(Socket::Unix(
        Watched::new(UnixListener::from(fd)).map_err(errno)?,
    ))
}

fn is_stale(path: &Path, addr: &SocketAddrUnix) -> bool {
    let is_socket = rustix::fs::lstat(path)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket());
    is_socket
        && open(AddressFamily::UNIX)
            .is_ok_and(|fd| rustix::net::connect(fd.as_fd(), addr) == Err(Errno::CONNREFUSED))
}
