//! A connection to a directory: opened, secured, asked. The machine behind it is [`crate::ldap::Client`].
//!
//! Each step and each answer has one limit on its time, so a server that stalls costs that and no more.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use smol::io::AsyncReadExt;
use smol::io::AsyncWriteExt;

use crate::config::endpoint::Directory;
use crate::config::endpoint::Host;
use crate::ldap::Client;
use crate::ldap::client::Answer;
use crate::ldap::message;
use crate::ldap::message::Request;
use crate::net::dial::Dial;
use crate::net::ready::Watched;
use crate::net::resolver::Resolver;
use crate::net::stream::Stream;
use crate::net::tls;
use crate::net::within::within;

/// How to reach and secure a directory.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Names to addresses.
    pub resolver: &'a Resolver,
    /// Whom to believe, and who we are.
    pub tls: &'a tls::Client,
    /// The port of servers that name none.
    pub port: Option<u16>,
    /// Whether a connection in clear text goes on inside TLS before anything is said on it.
    pub start_tls: bool,
    /// How long each step may take.
    pub wait: Duration,
}

/// Why a directory cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// It will not pass by itself: somebody has to mend the setup.
    pub setup: bool,
    /// A connection that was good before has ended: another may do.
    pub ended: bool,
    /// What happened, in one sentence.
    pub text: String,
}

impl Failure {
    /// It may pass.
    pub fn later(text: impl fmt::Display) -> Self {
        Self {
            setup: false,
            ended: false,
            text: text.to_string(),
        }
    }

    /// It stays until somebody mends it.
    pub fn setup(text: impl fmt::Display) -> Self {
        Self {
            setup: true,
            ..Self::later(text)
        }
    }

    fn ended(text: impl fmt::Display) -> Self {
        Self {
            ended: true,
            ..Self::later(text)
        }
    }

    /// The server has refused an operation.
    pub fn refused(what: &str, outcome: &message::Outcome) -> Self {
        Self {
            setup: !outcome.may_pass(),
            ..Self::later(format_args!("{what}: {outcome}"))
        }
    }

    fn at(self, server: &str) -> Self {
        Self {
            text: format!("{server}: {}", self.text),
            ..self
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    client: Client,
    wait: Duration,
    /// What the server is called.
    pub server: String,
}

impl Connection {
    /// Opens a connection, as secure as it is to be, and says nothing on it that matters.
    pub async fn open(access: Access<'_>, server: &Directory) -> Result<Self, Failure> {
        let name = server.to_string();
        Self::unnamed(access, server)
            .await
            .map(|(stream, client)| Self {
                stream,
                client,
                wait: access.wait,
                server: name.clone(),
            })
            .map_err(|failure| failure.at(&name))
    }

    async fn unnamed(access: Access<'_>, server: &Directory) -> Result<(Stream, Client), Failure> {
        let (host, implicit) = match server {
            Directory::Tcp(host) => (host, false),
            Directory::Tls(host) => (host, true),
            Directory::Unix(path) => {
                let stream = unix(path).map_err(Failure::later)?;
                return Ok((stream, Client::default()));
            }
        };
        let usual = if implicit { 636 } else { 389 };
        let port = host.port.or(access.port).unwrap_or(usual);
        let stream = dial(access, host, port).await?;
        let mut client = Client::default();
        if implicit {
            return Ok((encrypt(access, host, stream).await?, client));
        }
        if !access.start_tls {
            return Ok((stream, client));
        }
        let mut stream = stream;
        let asked = ask(&mut stream, &mut client, &Request::StartTls);
        let answer = within(access.wait, asked).await.map_err(Failure::later)??;
        if answer.outcome.code != message::SUCCESS {
            return Err(Failure::refused("StartTLS", &answer.outcome));
        }
        Ok((encrypt(access, host, stream).await?, client))
    }

    /// Whether what is said on it can be read by others on the way.
    pub fn is_clear(&self) -> bool {
        !self.stream.is_tls()
            && self
                .stream
                .local_addr()
                .is_some_and(|at| !at.ip().is_loopback())
    }

    /// Asks, and waits for the whole answer.
    pub async fn ask(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        let asked = ask(&mut self.stream, &mut self.client, request);
        match within(self.wait, asked).await {
            Ok(answer) => answer,
            Err(late) => Err(Failure::later(late)),
        }
        .map_err(|failure| failure.at(&self.server))
    }

    /// Waits until the server says something unasked, or hangs up.
    pub async fn hung_up(&mut self) {
        let mut byte = [0];
        let _ = self.stream.read(&mut byte).await;
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let bye = self.client.ask(&Request::Unbind);
        let said = async {
            // The server may be gone, which is what we want.
            let _ = self.stream.write_all(&bye).await;
            let _ = self.stream.flush().await;
            self.stream.end().await;
        };
        let _ = within(crate::base::limits::GOODBYE, said).await;
    }
}

async fn dial(access: Access<'_>, host: &Host, port: u16) -> Result<Stream, Failure> {
    // A name that is not there may be a slip of the pen, or a name server that lies: no mail is lost over either.
    let found = access.resolver.addresses(&host.name).await;
    let found = found.map_err(|error| Failure {
        setup: error.is_permanent(),
        ..Failure::later(error)
    })?;
    let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, port));
    let addresses: Vec<SocketAddr> = addresses.collect();
    let dial = Dial {
        timeout: access.wait,
        source: Vec::new(),
    };
    let (stream, _) = dial.connect(&addresses).await.map_err(Failure::later)?;
    Ok(stream)
}

async fn encrypt(access: Access<'_>, host: &Host, stream: Stream) -> Result<Stream, Failure> {
    let shaken = access.tls.start(stream, &host.name, access.wait).await;
    shaken.map_err(|error| Failure {
        setup: error.is_setup(),
        ..Failure::later(error)
    })
}

async fn ask(
    stream: &mut Stream,
    client: &mut Client,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let question = client.ask(request);
    stream.write_all(&question).await.map_err(Failure::ended)?;
    stream.flush().await.map_err(Failure::ended)?;
    let mut block = [0; 2048];
    let mut count = 0;
    loop {
        let input = block.get(..count).unwrap_or_default();
        match client.feed(input) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(broken) => return Err(Failure::ended(broken)),
        }
        count = match stream.read(&mut block).await {
            Ok(0) => return Err(Failure::ended("the connection was closed")),
            Ok(count) => count,
            Err(error) => return Err(Failure::ended(error)),
        };
    }
}

fn unix(path: &Path) -> Result<Stream, std::io::Error> {
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A Unix socket is connected at once or not at all.
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(Stream::unix(Watched::new(UnixStream::from(fd))?))
}
