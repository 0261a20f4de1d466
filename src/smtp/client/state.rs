//! Where a connection to a peer stands, and what its end means there.

use std::time::Duration;

use crate::mail::outcome::Outcome;
use crate::smtp::client::login::Exchange;
use crate::smtp::client::settings::Settings;
use crate::smtp::client::transfer::Transfer;
use crate::smtp::outcome::Phase;

/// Where a connection stands.
#[derive(Debug)]
pub enum State {
    /// Waits for the greeting.
    Greeting,
    /// EHLO was sent.
    Ehlo,
    /// HELO was sent.
    Helo,
    /// STARTTLS was sent.
    StartTls,
    /// The handshake is with the driver.
    Handshake,
    /// AUTH was sent.
    Login(Exchange),
    /// Waits for a message. The peer may still hold a transaction that has to be reset.
    Ready { open: bool },
    /// Commands of a transaction.
    Talk(Transfer),
    /// The body is with the driver.
    Body(Transfer),
    /// The body was sent.
    Dot(Transfer),
    /// The body could not be sent whole; perhaps the peer says why.
    Cut(Transfer),
    /// A dot was sent for a message that nobody gets.
    EmptyDot(Transfer),
    /// The outcomes are to be told.
    Finished(Vec<Outcome>, Then),
    /// The refusal is to be told.
    Refused(Outcome, Then),
    /// QUIT was sent.
    Quit,
    /// Nothing more to do.
    Over,
}

/// What follows.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// The next message.
    Ready { open: bool },
    /// QUIT.
    Quit,
    /// Nothing: the connection is gone.
    Close,
}

impl State {
    /// How long the peer may take over the reply that is due.
    pub fn wait(&self, settings: &Settings) -> Duration {
        let timeouts = &settings.timeouts;
        match self {
            Self::Greeting => timeouts.greeting,
            Self::Talk(transfer) if transfer.phase() == Phase::Data => timeouts.data,
            Self::Dot(_) => timeouts.dot,
            Self::Quit | Self::Cut(_) => timeouts.quit,
            _ => timeouts.command,
        }
    }

    /// Whether a reply is due.
    pub fn waits(&self) -> bool {
        !matches!(
            self,
            Self::Handshake
                | Self::Ready { .. }
                | Self::Body(_)
                | Self::Finished(..)
                | Self::Refused(..)
                | Self::Over
        )
    }

    /// What was being asked: whatever ends the connection now ends this.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Greeting => Phase::Greeting,
            Self::Ehlo | Self::Helo => Phase::Hello,
            Self::StartTls | Self::Handshake => Phase::StartTls,
            Self::Login(_) => Phase::Login,
            Self::Talk(transfer) => transfer.phase(),
            Self::EmptyDot(_) => Phase::Rcpt,
            _ => Phase::Message,
        }
    }

    /// What is left to tell when the connection is of no more use.
    pub fn lost(self, outcome: &Outcome) -> Self {
        match self {
            Self::Greeting
            | Self::Ehlo
            | Self::Helo
            | Self::StartTls
            | Self::Handshake
            | Self::Login(_) => Self::Refused(outcome.clone(), Then::Close),
            Self::Talk(mut transfer)
            | Self::Body(mut transfer)
            | Self::Dot(mut transfer)
            | Self::Cut(mut transfer)
            | Self::EmptyDot(mut transfer) => {
                transfer.end_all(outcome);
                Self::Finished(transfer.into_outcomes(), Then::Close)
            }
            Self::Finished(outcomes, _) => Self::Finished(outcomes, Then::Close),
            Self::Refused(outcome, _) => Self::Refused(outcome, Then::Close),
            Self::Ready { .. } | Self::Quit | Self::Over => Self::Over,
        }
    }
}
