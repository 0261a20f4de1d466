//! The directory protocol LDAPv3 as a client speaks it, and what mail asks a directory.
//!
//! - [`ber`]: elements of a message, read and written.
//! - [`filter`]: what is searched for. A value never becomes syntax.
//! - [`message`]: requests and responses (RFC 4511).
//! - [`client`]: one connection as a machine: what to send, and what came back.
//! - [`schema`]: which attributes of a directory mean what to mail.
//! - [`cache`]: what addresses have become, for a while.
//! - [`expand`]: one address to those that get its mail, as a machine that asks for searches.
//!
//! Trust: a server that is not who it should be, or was broken into, can say anything. What it says is bounded in
//! bytes, values, searches and depth, and can neither panic nor hold more than [`crate::base::limits`] allow.

pub mod ber;
pub mod cache;
pub mod client;
pub mod expand;
pub mod filter;
pub mod message;
pub mod schema;

pub use client::Client;
