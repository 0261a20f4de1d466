//! One connection, whatever carries it: TCP or a Unix socket, plain or inside TLS in either role.
//!
//! TCP_NODELAY is always on: what is written in one call goes out in one segment. Inside TLS a write is buffered
//! until `flush`, so every reply and every command ends with one.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use futures_rustls::TlsAcceptor;
use futures_rustls::TlsConnector;
use futures_rustls::client;
use futures_rustls::server;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;
use smol::io::AsyncWriteExt;

use crate::base::limits;
use crate::net::ready::Watched;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address. IPv4 is always written as IPv4, however the listener was bound.
    Ip(SocketAddr),
    /// A process of this box.
    Local,
}

impl Peer {
    /// A peer by its address as a socket gives it.
    pub fn from_addr(addr: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

/// `192.0.2.1`, `2001:db8::1` or `local`: for logs and trace fields, without the port.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => fmt::Display::fmt(&addr.ip(), f),
            Self::Local => f.pad("local"),
        }
    }
}

/// What carries the bytes.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(Watched<TcpStream>),
    /// A Unix socket.
    Unix(Watched<UnixStream>),
}

/// A connection.
///
/// The TLS states are boxed: most connections of a relay on loopback never have one, and moving a stream into its
/// task stays cheap.
#[derive(Debug)]
pub enum Stream {
    /// In clear text.
    Plain(Socket),
    /// Inside TLS, begun by us.
    Client(Box<client::TlsStream<Socket>>),
    /// Inside TLS, begun by the peer.
    Server(Box<server::TlsStream<Socket>>),
}

/// A user of this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The number of the user's first group.
    pub gid: u32,
}

/// What was agreed in a handshake, for trace fields and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// `TLS1.2` or `TLS1.3`.
    pub version: &'static str,
    /// The cipher suite as rustls calls it.
    pub cipher: &'static str,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // rustls writes TLS13_ where the registry has TLS_.
        let cipher = self.cipher;
        match cipher.strip_prefix("TLS13_") {
            Some(rest) => write!(f, "{} TLS_{rest}", self.version),
            None => write!(f, "{} {cipher}", self.version),
        }
    }
}

impl Stream {
    /// A TCP connection, with TCP_NODELAY set.
    pub const fn tcp(stream: Watched<TcpStream>) -> Self {
        Self::Plain(Socket::Tcp(stream))
    }

    /// A connection over a Unix socket.
    pub const fn unix(stream: Watched<UnixStream>) -> Self {
        Self::Plain(Socket::Unix(stream))
    }

    /// Ends the connection. In clear text closing it says all; inside TLS the peer is told first that nothing was
    /// cut off.
    pub async fn end(mut self) {
        if self.is_tls() {
            // The peer may be gone already.
            let _ = self.close().await;
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Client(tls) => tls.get_ref().0,
            Self::Server(tls) => tls.get_ref().0,
        }
    }

    /// Who is at the other end; an error when the connection is gone already.
    pub fn peer(&self) -> io::Result<Peer> {
        match self.socket() {
            Socket::Tcp(tcp) => tcp.get_ref().peer_addr().map(Peer::from_addr),
            Socket::Unix(_) => Ok(Peer::Local),
        }
    }

    /// Our own address; none for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.socket() {
            Socket::Tcp(tcp) => tcp.get_ref().local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Whether the bytes are encrypted.
    pub const fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    fn state(&self) -> Option<&rustls::CommonState> {
        match self {
            Self::Plain(_) => None,
            Self::Client(tls) => Some(tls.get_ref().1),
            Self::Server(tls) => Some(tls.get_ref().1),
        }
    }

    /// What was agreed in the handshake; none in clear text.
    pub fn session(&self) -> Option<Session> {
        let state = self.state()?;
        Some(Session {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS1.2",
                _ => "TLS",
            },
            cipher: state
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
        })
    }

    /// Whether the handshake took up an earlier session; then nobody showed a certificate again.
    pub fn is_resumed(&self) -> bool {
        self.state()
            .is_some_and(|state| state.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// The peer's own certificate, when it showed one.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.state()?.peer_certificates()?.first()
    }

    /// The user and group of the process at the other end of a Unix socket.
    pub fn user(&self) -> Option<User> {
        let Socket::Unix(unix) = self.socket() else {
            return None;
        };
        let credentials = rustix::net::sockopt::socket_peercred(unix.get_ref().as_fd()).ok()?;
        Some(User {
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
        })
    }

    /// Key material that only the two ends know, for the `tls-exporter` channel binding (RFC 9266) of SCRAM-PLUS.
    /// None in clear text, and below TLS 1.3, where it takes more than the version to be safe (RFC 9266 s2).
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        const LABEL: &[u8] = b"EXPORTER-Channel-Binding";
        if self.state()?.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None;
        }
        let made = match self {
            Self::Plain(_) => return None,
            Self::Client(tls) => tls
                .get_ref()
                .1
                .export_keying_material([0; 32], LABEL, Some(b"")),
            Self::Server(tls) => tls
                .get_ref()
                .1
                .export_keying_material([0; 32], LABEL, Some(b"")),
        };
        made.ok()
    }

    /// Begins TLS as the client (after the peer's 220 to STARTTLS, or at once), on a stream that is still plain.
    ///
    /// The caller must have thrown away what it had read and not used: those bytes came before the encryption. The
    /// error is best read through [`crate::net::tls::error::TlsError::from_io`]. There is no deadline here; wrap it.
    pub async fn start_client(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let Self::Plain(socket) = self else {
            return Err(io::Error::other("TLS inside TLS"));
        };
        let connect = TlsConnector::from(config).connect_with(name, socket, |session| {
            session.set_buffer_limit(Some(limits::TLS_BUFFER));
        });
        Ok(Self::Client(Box::new(connect.await?)))
    }

    /// Begins TLS as the server (after our 220 to STARTTLS has been flushed, or at once), as [`Stream::start_client`].
    pub async fn start_server(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        let Self::Plain(socket) = self else {
            return Err(io::Error::other("TLS inside TLS"));
        };
        let accept = TlsAcceptor::from(config).accept_with(socket, |session| {
            session.set_buffer_limit(Some(limits::TLS_BUFFER));
        });
        Ok(Self::Server(Box::new(accept.await?)))
    }
}

/// Passes a poll on to whatever carries the bytes.
macro_rules! pass {
    ($this:expr, $($carrier:ident)+, $inner:ident => $poll:expr) => {
        match $this.get_mut() {
            $(Self::$carrier($inner) => {
                let $inner = Pin::new($inner);
                $poll
            })+
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        pass!(self, Tcp Unix, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        pass!(self, Tcp Unix, inner => inner.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pass!(self, Tcp Unix, inner => inner.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass!(self, Tcp Unix, inner => inner.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass!(self, Tcp Unix, inner => inner.poll_close(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        pass!(self, Plain Client Server, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        pass!(self, Plain Client Server, inner => inner.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pass!(self, Plain Client Server, inner => inner.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass!(self, Plain Client Server, inner => inner.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass!(self, Plain Client Server, inner => inner.poll_close(cx))
    }
}
