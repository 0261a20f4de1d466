//! A command or a reply of a dialogue, as the log has it.

use std::net::IpAddr;

/// Who said it to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client, to us; our reply is in it.
    Client,
    /// We, to a host that mail goes to.
    Command,
    /// Such a host, to us.
    Reply,
}

impl Side {
    /// For the forms of our own.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Command => "command",
            Self::Reply => "reply",
        }
    }
}

/// A command or a reply. Never with a password or a message in it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Who said it.
    pub side: Side,
    /// The address of the other end; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// What a client calls itself, or the name of the host.
    pub name: &'a str,
    /// Our own address.
    pub local: Option<IpAddr>,
    /// The port of whoever is the server.
    pub port: u16,
    /// The verb in capitals; empty for a reply.
    pub verb: &'a str,
    /// What follows the verb; the Message-ID with DATA; a reply with its code.
    pub text: &'a str,
    /// The code of the reply; 0 for a command of ours.
    pub code: u16,
    /// Bytes from the other end.
    pub received: u64,
    /// Bytes to it.
    pub sent: u64,
    /// From the command to its reply, in milliseconds.
    pub millis: u64,
}
