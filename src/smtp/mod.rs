//! The protocol: lines, commands, replies, body readers, SASL, the server and client machines.
//!
//! Both machines are plain values. A driver owns the connection and the clock and asks for the next order, handing
//! in what it has read; the machine cuts what it takes off the front. Every order is carried out before the next is
//! asked for; orders that are questions stay the same until they are answered.
//!
//! A whole driver for the server, over anything that reads and writes, with a store in memory:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::rc::Rc;
//! use mailroot::base::{MsgId, Tick};
//! use mailroot::smtp::fault::Fault;
//! use mailroot::smtp::server::{Order, Server, settings::Settings};
//!
//! fn serve(stream: &mut (impl Read + Write), settings: Rc<Settings>, store: &mut Vec<Vec<u8>>) {
//!     let mut server = Server::new(settings, None, false, now());
//!     let (mut block, mut at, mut end) = ([0; 4096], 0, 0);
//!     let mut draft = Vec::new();
//!     loop {
//!         let mut input = &block[at..end];
//!         let order = server.next_order(now(), &mut input);
//!         at = end - input.len();
//!         match order {
//!             Order::Send(bytes) => {
//!                 if stream.write_all(bytes).is_err() {
//!                     server.on_closed();
//!                 }
//!             }
//!             Order::Read(_deadline) => match stream.read(&mut block) {
//!                 Ok(0) | Err(_) => server.on_closed(),
//!                 Ok(read) => (at, end) = (0, read),
//!             },
//!             Order::AskRcpt { recipient, .. } => {
//!                 let local = recipient.address.domain().as_str() == "example.com";
//!                 let verdict = if local { Ok(()) } else { Err(Fault::NoRelay) };
//!                 server.on_verdict(verdict);
//!             }
//!             Order::AskMail { .. } => server.on_verdict(Ok(())),
//!             Order::Begin { session, envelope } => {
//!                 draft.clear();
//!                 let with = session.protocol(envelope.utf8);
//!                 draft.extend_from_slice(format!("Received: with {with}\r\n").as_bytes());
//!                 server.on_verdict(Ok(()));
//!             }
//!             Order::Body(bytes) => draft.extend_from_slice(bytes),
//!             Order::Commit { .. } => {
//!                 store.push(std::mem::take(&mut draft));
//!                 server.on_stored(Ok(MsgId::from_number(7)));
//!             }
//!             Order::Abort => draft.clear(),
//!             Order::Close => return,
//!             other => unreachable!("was not offered: {other:?}"),
//!         }
//!     }
//! }
//! # fn now() -> Tick { Tick::from_millis(0) }
//! # struct Pipe<'a>(&'a [u8], Vec<u8>);
//! # impl Read for Pipe<'_> {
//! #     fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> { self.0.read(to) }
//! # }
//! # impl Write for Pipe<'_> {
//! #     fn write(&mut self, from: &[u8]) -> std::io::Result<usize> { self.1.write(from) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
//! # }
//! # let settings = Settings::new(mailroot::mail::Domain::parse("mx.example.com").unwrap());
//! # let mut store = Vec::new();
//! # let talk = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n";
//! # let mut pipe = Pipe(talk, Vec::new());
//! # serve(&mut pipe, Rc::new(settings), &mut store);
//! # assert_eq!(store, [b"Received: with ESMTP\r\nhi\r\n"]);
//! # let said = String::from_utf8(pipe.1).unwrap();
//! # assert!(said.ends_with("221 2.0.0 mx.example.com Service closing transmission channel\r\n"), "{said}");
//! ```
//!
//! And for the client:
//!
//! ```
//! use std::io::{Read, Write};
//! use mailroot::base::Tick;
//! use mailroot::mail::Outcome;
//! use mailroot::smtp::client::{Client, order::Order, settings::Settings, transfer::Message};
//!
//! /// Sends one message; `Err` is about the route, `Ok` about each recipient.
//! fn deliver(
//!     stream: &mut (impl Read + Write),
//!     settings: Settings,
//!     message: Message,
//!     body: &[u8],
//! ) -> Result<Vec<Outcome>, Outcome> {
//!     let mut client = Client::new(settings, false, "eighteen-or-more-random".to_owned());
//!     let (mut block, mut at, mut end) = ([0; 4096], 0, 0);
//!     let (mut message, mut result) = (Some(message), Ok(Vec::new()));
//!     loop {
//!         let mut input = &block[at..end];
//!         let order = client.next_order(now(), &mut input);
//!         at = end - input.len();
//!         match order {
//!             Order::Send(bytes) => {
//!                 if stream.write_all(bytes).is_err() {
//!                     client.on_write_failed();
//!                 }
//!             }
//!             Order::Read(_deadline) => match stream.read(&mut block) {
//!                 Ok(0) | Err(_) => client.on_closed(),
//!                 Ok(read) => (at, end) = (0, read),
//!             },
//!             Order::Ready => match message.take() {
//!                 Some(message) => client.on_message(message),
//!                 None => client.on_quit(),
//!             },
//!             Order::SendBody { opening, mut stuffer } => {
//!                 let mut out = opening.to_vec();
//!                 stuffer.push(body, &mut out); // block by block when it is large
//!                 stuffer.end(&mut out);
//!                 match stream.write_all(&out) {
//!                     Ok(()) => client.on_body_sent(),
//!                     Err(_) => client.on_write_failed(),
//!                 }
//!             }
//!             Order::Finished(outcomes) => result = Ok(outcomes),
//!             Order::Refused(outcome) => result = Err(outcome),
//!             Order::StartTls => client.on_tls_failed("no TLS here", false),
//!             Order::Close => return result,
//!         }
//!     }
//! }
//! # fn now() -> Tick { Tick::from_millis(0) }
//! ```
//!
//! Why one call that takes input and gives an order: body text goes through as slices of the driver's own buffer, the
//! replies of pipelined commands go out in one write, and a driver has no decision to make.

pub mod client;
pub mod command;
pub mod data;
pub mod fault;
pub mod line;
pub mod outcome;
pub mod reply;
pub mod sasl;
pub mod server;
