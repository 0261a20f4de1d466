//! Carries one question to a name server and its answer back, over UDP or TCP.

use std::io;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use smol::Async;
use smol::io::AsyncReadExt;
use smol::io::AsyncWriteExt;

use crate::base::limits;
use crate::dns::lookup::Ask;
use crate::dns::lookup::Heard;
use crate::dns::lookup::Lookup;
use crate::dns::lookup::Over;
use crate::dns::message::Fault;

/// A socket that does not block.
pub fn socket(family: AddressFamily, kind: SocketType) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    rustix::net::socket_with(family, kind, flags, None)
}

/// A socket that is connected, or on its way to be, to a server.
fn connected(server: SocketAddr, kind: SocketType) -> Result<std::os::fd::OwnedFd, Errno> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket(family, kind)?;
    match rustix::net::connect(&fd, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

/// Carries one question out. It ends when the lookup has taken an answer, or with why there is none.
pub async fn exchange(ask: &Ask, lookup: &mut Lookup) -> Result<(), Fault> {
    let done = match ask.over {
        Over::Udp => over_udp(ask, lookup).await,
        Over::Tcp => over_tcp(ask, lookup).await,
    };
    done.map_err(|error| match Errno::from_io_error(&error) {
        Some(
            Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::ADDRNOTAVAIL
            | Errno::AFNOSUPPORT,
        ) => Fault::NoNetwork,
        _ => Fault::NotListening,
    })
}

async fn over_udp(ask: &Ask, lookup: &mut Lookup) -> io::Result<()> {
    let fd = connected(ask.server, SocketType::DGRAM)?;
    let socket = Async::new_nonblocking(UdpSocket::from(fd))?;
    socket.send(ask.query.bytes()).await?;
    let mut room = [0; limits::DNS_UDP as usize];
    loop {
        let length = socket.recv(&mut room).await?;
        if lookup.on_message(ask, room.get(..length).unwrap_or(&[])) == Heard::Taken {
            return Ok(());
        }
    }
}

async fn over_tcp(ask: &Ask, lookup: &mut Lookup) -> io::Result<()> {
    let fd = connected(ask.server, SocketType::STREAM)?;
    let mut stream = Async::new_nonblocking(TcpStream::from(fd))?;
    stream.writable().await?;
    let query = ask.query.bytes();
    let length = u16::try_from(query.len()).unwrap_or(0);
    // Length and message in one segment: some servers answer the length alone with a reset (RFC 7766 s8).
    let mut message = Vec::with_capacity(query.len().saturating_add(2));
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(query);
    stream.write_all(&message).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    message.resize(usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(&mut message).await?;
    lookup.on_message(ask, &message);
    Ok(())
}
