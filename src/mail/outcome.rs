//! How an attempt to deliver ended, for one recipient.
//!
//! Doubt means `Later`: a broken peer must not cost mail. A fault of the setup (wrong password, refused sender, bad
//! certificate) means `Hold`, never `Never` (promise G3).

use std::fmt;

use crate::base::Escaped;
use crate::mail::status::Status;

/// The end of an attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop has taken responsibility.
    Done(Reason),
    /// Try again by the schedule.
    Later(Reason),
    /// It cannot be delivered; the sender is told.
    Never(Reason),
    /// The setup is at fault: the route waits, the message waits, the operator is told.
    Hold(Reason),
}

impl Outcome {
    /// Why.
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Done(reason) | Self::Later(reason) | Self::Never(reason) | Self::Hold(reason) => {
                reason
            }
        }
    }
}

/// Why an attempt ended as it did: for the report, the log and `mailroot queue show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The enhanced status; made from the reply code where the peer gave none.
    pub status: Status,
    /// The SMTP reply code, when a peer answered.
    pub code: Option<u16>,
    /// One sentence in our words or the peer's reply text, without line ends.
    pub text: String,
    /// The peer that said it, as `host [address]`; empty when it never came to a peer.
    pub peer: String,
}

impl Reason {
    /// A reason of our own, without a peer.
    pub fn ours(status: Status, text: impl Into<String>) -> Self {
        Self {
            status,
            code: None,
            text: text.into(),
            peer: String::new(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.peer.is_empty() {
            write!(f, "{} said: ", Escaped(self.peer.as_bytes()))?;
        }
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        write!(f, "{} {}", self.status, Escaped(self.text.as_bytes()))
    }
}
