//! What a server machine tells its driver to do.

use crate::base::Tick;
use crate::mail::domain::Domain;
use crate::mail::envelope::Envelope;
use crate::mail::envelope::Recipient;
use crate::smtp::sasl::proof::Proof;
use crate::smtp::server::settings::Session;

/// One thing for the driver to do. A question is asked again until it is answered.
#[derive(Debug)]
pub enum Order<'a> {
    /// Write these bytes, in one write. When that fails: [`Server::on_closed`](super::Server::on_closed).
    Send(&'a [u8]),
    /// All input was taken. Read more, or call [`Server::on_deadline`](super::Server::on_deadline) at this tick; at the end of the stream
    /// [`Server::on_closed`](super::Server::on_closed).
    Read(Tick),
    /// Do nothing until this tick (the tarpit), then go on.
    Pause(Tick),
    /// May this sender begin a message? Answer with [`Server::on_verdict`](super::Server::on_verdict).
    AskMail {
        /// Who asks.
        session: &'a Session,
        /// With the sender and what MAIL said; no recipients yet.
        envelope: &'a Envelope,
        /// Bytes of the message as announced; zero when nothing was said.
        announced: u64,
    },
    /// May it send to this recipient? Answer with [`Server::on_verdict`](super::Server::on_verdict).
    AskRcpt {
        /// Who asks.
        session: &'a Session,
        /// With the recipients taken so far.
        envelope: &'a Envelope,
        /// The one in question.
        recipient: &'a Recipient,
    },
    /// The message begins: open a draft, or say why not. Answer with [`Server::on_verdict`](super::Server::on_verdict).
    Begin {
        /// Who sends, for the trace header.
        session: &'a Session,
        /// Complete.
        envelope: &'a Envelope,
    },
    /// Add these bytes to the draft. When that fails: [`Server::on_trouble`](super::Server::on_trouble); else there is nothing to answer.
    Body(&'a [u8]),
    /// The message is complete: make it durable. Answer with [`Server::on_stored`](super::Server::on_stored).
    Commit {
        /// As in [`Order::Begin`].
        envelope: &'a Envelope,
        /// Bytes of the body, without what the driver added.
        size: u64,
    },
    /// Drop the draft.
    Abort,
    /// Everything was written: begin the handshake. Unread input was dropped (RFC 3207 s4.2). Answer with
    /// [`Server::on_tls`](super::Server::on_tls), or [`Server::on_closed`](super::Server::on_closed) when it failed.
    StartTls,
    /// Is this the password of that user? Answer with [`Server::on_verdict`](super::Server::on_verdict); a wrong one is
    /// [`Fault::AuthFailed`](crate::smtp::fault::Fault::AuthFailed).
    CheckPassword {
        /// As given; may be no user at all.
        name: &'a str,
        /// As given.
        password: &'a str,
    },
    /// Look up the verifier of that user. Answer with [`Server::on_verifier`](super::Server::on_verifier).
    FindVerifier {
        /// As given; may be no user at all.
        name: &'a str,
    },
    /// Make something that nobody has seen before. Answer with [`Server::on_challenge`](super::Server::on_challenge).
    MakeChallenge,
    /// Is this that user's answer to the challenge? Answer as to [`Order::CheckPassword`].
    CheckProof {
        /// As given; may be no user at all.
        name: &'a str,
        /// The challenge, and what was made of it.
        proof: &'a Proof,
    },
    /// Does this token, a ticket of Kerberos, let somebody in? Answer with [`Server::on_ticket`](super::Server::on_ticket),
    /// or as to [`Order::CheckPassword`] when it does not.
    #[cfg(feature = "sso")]
    CheckTicket {
        /// As given; may be anything.
        token: &'a [u8],
    },
    /// Start the queue for a domain (RFC 1985). Answer with [`Server::on_etrn`](super::Server::on_etrn), or
    /// [`Server::on_verdict`](super::Server::on_verdict) when it is refused.
    Etrn {
        /// Who asks.
        session: &'a Session,
        /// The domain.
        domain: &'a Domain,
        /// Its subdomains as well.
        below: bool,
    },
    /// May this client take the mail for these domains, all of its own when there is none (RFC 2645)? Answer with
    /// [`Server::on_verdict`](super::Server::on_verdict); after a yes comes [`Order::TurnAround`].
    Atrn {
        /// Who asks.
        session: &'a Session,
        /// The domains.
        domains: &'a [Domain],
    },
    /// Everything was written: the connection now belongs to a client machine that waits for a greeting. Input that
    /// was not taken yet came before we said so, and is not to be believed.
    TurnAround,
    /// Close the connection. There is no other order after it.
    Close,
}

/// What ETRN has started (RFC 1985 s5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The usual tries, at once.
    Queue,
    /// Nothing: nothing waits.
    Nothing,
    /// What waits is on its way already.
    Pending,
    /// So many messages.
    Messages(usize),
}
