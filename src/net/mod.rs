//! The world of sockets and clocks: the clock reader, listeners, dialler, TLS, resolver, signals, and
//! news of the network.
//!
//! Everything is for one thread: [`ready::block_on`] over a `LocalExecutor`. Nothing here polls, and no timer runs
//! unless somebody waits, so an idle box is never woken. No name ever goes to async-net, which would look it up on a
//! blocking pool.
//!
//! Out, through STARTTLS or implicit TLS:
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//! use std::time::Duration;
//! use mailroot::mail::Domain;
//! use mailroot::net::clock::TrustedClock;
//! use mailroot::net::dial::Dial;
//! use mailroot::net::resolver::{Resolver, Settings};
//! use mailroot::net::tls::{Tls, Trust};
//! use smol::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(TrustedClock::new()); // then clock.raise(newest Clock record of the journal)
//! let tls = Tls::new(Arc::clone(&clock));
//! let resolver = Resolver::new(Settings::default());
//! let route = tls.client(Trust::Roots, None); // keep it with the route: it resumes sessions
//! let dial = Dial { timeout: Duration::from_secs(30), source: Vec::new() };
//! mailroot::net::ready::block_on(async {
//!     let host = Domain::parse("smtp.example.com")?;
//!     let ips = resolver.addresses(&host).await?;
//!     let targets: Vec<SocketAddr> = ips.into_iter().map(|ip| SocketAddr::new(ip, 465)).collect();
//!     let (stream, _addr) = dial.connect(&targets).await?;
//!     let mut stream = route.start(stream, &host, Duration::from_secs(30)).await?;
//!     stream.write_all(b"EHLO box.example\r\n").await?;
//!     stream.flush().await?; // TLS buffers until then
//!     let mut room = [0; 512];
//!     let _read = stream.read(&mut room).await?;
//!     Ok(())
//! })?
//! # }
//! ```
//!
//! In: [`listen::Listener::bind_all`], then [`listen::Listener::accept`] in a loop, each connection in a task of its
//! own; [`tls::Server::start`] upgrades a stream. Waits inside a conversation go through one
//! [`within::Patience`], single ones through [`within::within`].

pub mod bell;
pub mod clock;
pub mod connection;
pub mod dial;
pub mod files;
pub mod given;
pub mod http;
pub mod https;
#[cfg(feature = "ldap")]
pub mod ldap;
pub mod listen;
pub mod local;
pub mod manager;
pub mod netlink;
pub mod proxy;
pub mod random;
pub mod ready;
pub mod resolver;
pub mod signals;
pub mod stream;
pub mod tls;
pub mod within;

pub use clock::TrustedClock;
pub use resolver::Resolver;
pub use stream::Peer;
pub use stream::Stream;
