//! Everything a server refuses, and what the peer hears of it. The only place where these codes are written: replies
//! of RFC 5321 s4.2, statuses of RFC 3463 and the registry of RFC 5248.

use std::fmt;

use crate::mail::address::Address;
use crate::mail::address::BadAddress;
use crate::mail::status::Status;

/// Why a command or a message is refused.
///
/// The first group is the machine's own; the second is for the driver's verdicts, one sentence a limit, so that the
/// owner can tell from the peer's log which setting it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No such command.
    Unknown,
    /// A command of another protocol, as a browser sends it: the connection closes.
    Foreign,
    /// A command line over the limit.
    LineTooLong,
    /// A stray CR, LF or NUL in a command: the connection closes.
    StrayLine,
    /// A stray CR, LF or NUL in a message.
    StrayBody,
    /// A command that is not UTF-8.
    NotText,
    /// A command whose arguments cannot be read.
    Syntax(&'static str),
    /// A parameter of MAIL or RCPT that cannot be read.
    BadParameter,
    /// A parameter of MAIL or RCPT that is not known or was not offered.
    UnknownParameter,
    /// The sender's address.
    Sender(BadAddress),
    /// A recipient's address.
    Recipient(BadAddress),
    /// An address outside ASCII without SMTPUTF8 (RFC 6531 s3.4).
    NeedsUtf8,
    /// Not now: the text says what has to come first.
    Order(&'static str),
    /// The command exists and is not done here, for this reason.
    NotHere(&'static str),
    /// TLS has to come first (RFC 3207 s4).
    NeedsTls,
    /// AUTH has to come first (RFC 4954 s6).
    NeedsAuth,
    /// AUTH is not taken without TLS (RFC 4954 s4).
    AuthNeedsTls,
    /// A mechanism that is not offered.
    Mechanism,
    /// A SASL answer that cannot be read.
    AuthSyntax,
    /// The peer cancelled the exchange (RFC 4954 s4).
    AuthCancelled,
    /// Wrong name or password; never says which.
    AuthFailed,
    /// More recipients than one message may have.
    TooManyRecipients,
    /// All recipients were refused, or none was given.
    NoRecipients,
    /// Over the limit for one message.
    TooBig,
    /// Over the limit for one session: the connection closes.
    SessionTooBig,
    /// More messages than one session may send: the connection closes.
    TooManyMessages,
    /// More errors than one session may make: the connection closes.
    TooManyErrors,
    /// The peer was silent for too long: the connection closes.
    Silent,
    /// The same inside a message.
    Stalled,
    /// The session lasted as long as one may: the connection closes.
    SessionOver,
    /// The service stops: the connection closes.
    Stopping,

    /// Verdict: the server takes nobody for now, by order of its owner.
    Paused,
    /// Verdict: this peer may not use this server.
    NoAccess,
    /// Verdict: this peer may not send to that recipient.
    NoRelay,
    /// Verdict: no such mailbox in a local domain.
    NoMailbox,
    /// Verdict: this sender address may not be used.
    NoSender,
    /// Verdict: too many connections of all peers together.
    TooManyConnections,
    /// Verdict: too many connections of this peer.
    TooManyOfPeer,
    /// Verdict: too many messages of this peer in a short time.
    TooFast,
    /// Verdict: too many failed logins.
    TooManyLogins,
    /// Verdict: the disk is full.
    Full,
    /// Verdict: the queue is full.
    QueueFull,
    /// Verdict: the drop folder of a local domain is full.
    DropFull,
    /// Verdict: storing failed, or something else of ours.
    Ours,
    /// Verdict: the message went around in a circle.
    Loop,
    /// Verdict: this peer may not start the queue of that domain (RFC 1985 s5.3).
    NodeNotAllowed,
    /// Verdict: the queue of that domain was started a moment ago (RFC 1985 s5.3).
    NodeTooSoon,
    /// Verdict: this peer may not have the mail of that domain (RFC 2645 s5.2.1).
    TurnRefused,
    /// Verdict: somebody else is having it (RFC 2645 s5.2.1).
    TurnNotNow,
    /// Verdict: there is no mail for that domain (RFC 2645 s5.2.1).
    NothingHeld,
    /// Verdict: any other reply. Boxed because it is rare.
    Told(Box<Told>),
}

/// A reply in the driver's words. Its text holds no control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    code: u16,
    status: Status,
    text: String,
}

impl Told {
    /// A refusal with this code (400 to 599) and text; control characters in the text become spaces and what is
    /// over 400 bytes is cut.
    pub fn new(code: u16, status: Status, text: &str) -> Self {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            code: code.clamp(400, 599),
            status,
            text: text.chars().take(400).map(printable).collect(),
        }
    }
}

impl Fault {
    /// The code and the enhanced status of the reply.
    pub fn code(&self) -> (u16, Status) {
        let (code, (class, subject, detail)) = match self {
            Self::Unknown => (500, (5, 5, 1)),
            Self::Foreign => (554, (5, 5, 1)),
            Self::LineTooLong | Self::StrayLine | Self::NotText => (500, (5, 5, 2)),
            Self::StrayBody => (554, (5, 6, 0)),
            Self::Syntax(_) | Self::BadParameter => (501, (5, 5, 4)),
            Self::UnknownParameter => (555, (5, 5, 4)),
            Self::Sender(_) => (501, (5, 1, 7)),
            Self::Recipient(_) => (501, (5, 1, 3)),
            Self::NeedsUtf8 => (553, (5, 6, 7)),
            Self::Order(_) => (503, (5, 5, 1)),
            Self::NotHere(_) => (502, (5, 5, 1)),
            Self::NeedsTls => (530, (5, 7, 0)),
            Self::NeedsAuth => (530, (5, 7, 0)),
            Self::AuthNeedsTls => (538, (5, 7, 11)),
            Self::Mechanism => (504, (5, 5, 4)),
            Self::AuthSyntax => (501, (5, 5, 2)),
            Self::AuthCancelled => (501, (5, 7, 0)),
            Self::AuthFailed => (535, (5, 7, 8)),
            Self::TooManyRecipients => (452, (4, 5, 3)),
            Self::NoRecipients => (554, (5, 5, 1)),
            Self::TooBig => (552, (5, 3, 4)),
            Self::SessionTooBig => (421, (4, 3, 4)),
            Self::TooManyMessages => (421, (4, 5, 3)),
            Self::TooManyErrors => (421, (4, 7, 0)),
            Self::Silent | Self::Stalled | Self::SessionOver => (421, (4, 4, 2)),
            Self::Stopping | Self::Paused => (421, (4, 3, 2)),
            Self::NoAccess => (554, (5, 7, 1)),
            Self::NoRelay | Self::NoSender => (550, (5, 7, 1)),
            Self::NoMailbox => (550, (5, 1, 1)),
            Self::TooManyConnections => (421, (4, 3, 2)),
            Self::TooManyOfPeer | Self::TooManyLogins => (421, (4, 7, 0)),
            Self::TooFast => (451, (4, 7, 1)),
            Self::Full | Self::QueueFull => (452, (4, 3, 1)),
            Self::DropFull => (452, (4, 2, 2)),
            Self::Ours => (451, (4, 3, 0)),
            Self::Loop => (554, (5, 4, 6)),
            Self::NodeNotAllowed => (459, (4, 7, 1)),
            Self::NodeTooSoon => (458, (4, 7, 0)),
            Self::TurnRefused => (450, (4, 7, 1)),
            Self::TurnNotNow => (451, (4, 3, 2)),
            Self::NothingHeld => (453, (4, 2, 0)),
            Self::Told(told) => return (told.code, told.status),
        };
        (code, Status::new(class, subject, detail))
    }

    /// Whether the connection ends with this reply.
    pub fn closes(&self) -> bool {
        let (code, _) = self.code();
        code == 421 || matches!(self, Self::Foreign | Self::StrayLine | Self::NoAccess)
    }

    /// Whether the peer spends its error budget with it. What is our fault, and a full list of recipients, is free.
    pub fn counts(&self) -> bool {
        let (code, _) = self.code();
        // The other two ask for names that are none of the peer's business.
        (code >= 500 && !matches!(self, Self::TooBig))
            || matches!(self, Self::NodeNotAllowed | Self::TurnRefused)
    }

    /// Whether a limit of the owner's speaks through it, so that the owner should hear of it as well.
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::TooBig
                | Self::SessionTooBig
                | Self::SessionOver
                | Self::Silent
                | Self::Stalled
                | Self::TooManyErrors
                | Self::TooManyMessages
                | Self::TooManyRecipients
        )
    }

    /// The sentence of the reply, about `address` where it is about one.
    pub fn text<'a>(&'a self, address: Option<&'a Address>) -> FaultText<'a> {
        FaultText {
            fault: self,
            address,
        }
    }
}

/// The sentence of a fault.
pub struct FaultText<'a> {
    fault: &'a Fault,
    address: Option<&'a Address>,
}

impl fmt::Display for FaultText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.fault {
            Fault::Unknown => "Unrecognized command",
            Fault::Foreign => "This is a mail server; closing the connection",
            Fault::LineTooLong => "Command line too long",
            Fault::StrayLine => {
                "Lines end with CR LF; bare CR, bare LF or NUL closes the connection"
            }
            Fault::StrayBody => "Bare CR, bare LF or NUL in the message; lines end with CR LF",
            Fault::NotText => "The command is not UTF-8 text",
            Fault::Syntax(usage) => return write!(f, "Invalid arguments; usage: {usage}"),
            Fault::BadParameter => "Invalid parameter value",
            Fault::UnknownParameter => "Unsupported parameter",
            Fault::Sender(bad) => return write!(f, "Invalid sender address: {bad}"),
            Fault::Recipient(bad) => return write!(f, "Invalid recipient address: {bad}"),
            Fault::NeedsUtf8 => "The address needs SMTPUTF8",
            Fault::Order(first) => return write!(f, "Bad sequence of commands: {first}"),
            Fault::NotHere(reason) => reason,
            Fault::NeedsTls => "Must issue a STARTTLS command first",
            Fault::NeedsAuth => "Authentication required",
            Fault::AuthNeedsTls => "Encryption required for authentication; issue STARTTLS first",
            Fault::Mechanism => "Unrecognized authentication type",
            Fault::AuthSyntax => "Cannot decode the authentication response",
            Fault::AuthCancelled => "Authentication cancelled",
            Fault::AuthFailed => "Authentication unsuccessful",
            Fault::TooManyRecipients => "Too many recipients",
            Fault::NoRecipients => "No valid recipients",
            Fault::TooBig => "Message size exceeds fixed maximum message size",
            Fault::SessionTooBig => "Session size exceeds fixed maximum session size",
            Fault::TooManyMessages => "Too many messages in this session; please reconnect",
            Fault::TooManyErrors => "Too many errors; closing the connection",
            Fault::Silent => "Timeout; closing the connection",
            Fault::Stalled => "Timeout inside the message; closing the connection",
            Fault::SessionOver => "The session has lasted too long; closing the connection",
            Fault::Stopping => "Service stopping; please try later",
            Fault::Paused => "Service paused; please try later",
            Fault::NoAccess => "Access denied; see [access] of this server",
            Fault::NoRelay => return about(f, "Unable to relay for", self.address),
            Fault::NoMailbox => return about(f, "User unknown:", self.address),
            Fault::NoSender => return about(f, "Sender not allowed:", self.address),
            Fault::TooManyConnections => "Too many connections; please try later",
            Fault::TooManyOfPeer => "Too many connections from your address; please try later",
            Fault::TooFast => "Too many messages from your address; please try later",
            Fault::TooManyLogins => "Too many failed logins; please try later",
            Fault::Full => "Insufficient system storage; please try later",
            Fault::QueueFull => "The queue is full; please try later",
            Fault::DropFull => "Mailbox full; please try later",
            Fault::Ours => "Local error in processing; please try later",
            Fault::Loop => "Too many hops; the message is in a loop",
            Fault::NodeNotAllowed => "Node not allowed: you may not start its queue",
            Fault::NodeTooSoon => "Unable to queue messages for node: it was tried a moment ago",
            Fault::TurnRefused => "ATRN request refused",
            Fault::TurnNotNow => "Unable to process ATRN request now",
            Fault::NothingHeld => "You have no mail",
            Fault::Told(told) => &told.text,
        };
        f.write_str(text)
    }
}

fn about(f: &mut fmt::Formatter<'_>, text: &str, address: Option<&Address>) -> fmt::Result {
    f.write_str(text)?;
    match address {
        Some(address) => write!(f, " {address}"),
        None => f.write_str(" this address"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Told};
    use crate::mail::address::Address;
    use crate::mail::status::Status;

    #[test]
    fn a_verdict_cannot_break_the_dialog() {
        let told = Told::new(250, Status::new(4, 7, 1), "a\r\n250 b\0c");
        let fault = Fault::Told(Box::new(told));
        assert_eq!(fault.code().0, 400);
        assert_eq!(fault.text(None).to_string(), "a  250 b c");
    }

    #[test]
    fn a_refusal_names_the_address() {
        let address = Address::parse("\"a b\"@c.example").unwrap();
        assert_eq!(
            Fault::NoRelay.text(Some(&address)).to_string(),
            "Unable to relay for \"a b\"@c.example"
        );
    }
}
