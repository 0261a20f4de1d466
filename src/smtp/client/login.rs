//! One AUTH exchange on the client's side (RFC 4954 s4).
//!
//! What is offered strongest is used, and nothing weaker is tried when that fails: somebody in the middle could make
//! it fail.

use crate::smtp::client::capability::Capabilities;
use crate::smtp::client::settings::Login;
use crate::smtp::client::settings::Secret;
use crate::smtp::reply::Reply;
use crate::smtp::sasl;
use crate::smtp::sasl::codec;
use crate::smtp::sasl::scram::Binding;
use crate::smtp::sasl::scram::Exporter;
use crate::smtp::sasl::scram::ScramClient;

/// Why no exchange can begin, or what ended it besides a refusal.
pub type Obstacle = &'static str;

/// What follows from a 334.
#[derive(Debug)]
pub enum Answer {
    /// Send this line.
    Line(String),
    /// The exchange cannot go on.
    Stop(Obstacle),
}

/// Where the exchange stands.
#[derive(Debug)]
pub enum Exchange {
    /// The secret was sent: only yes or no can follow.
    Sent,
    /// The initial response is too long for the command line; it goes after the first 334.
    Initial(String),
    /// LOGIN, before the name.
    Name,
    /// LOGIN, before the password.
    Password,
    /// SCRAM, after our first message.
    Scram(ScramClient),
    /// SCRAM, after our proof: this is what the server has to say.
    Proof(String),
    /// SCRAM, both sides have proved themselves.
    Proved,
}

impl Exchange {
    /// Chooses the strongest mechanism that is offered and allowed. Also gives the AUTH command, without CRLF.
    pub fn begin(
        login: &Login,
        offer: &Capabilities,
        clear_allowed: bool,
        nonce: &str,
        exporter: Option<Exporter>,
    ) -> Result<(Self, String), Obstacle> {
        let offer = &offer.auth;
        let scram = |mechanism, binding| {
            let (scram, first) = ScramClient::begin(&login.name, nonce, binding);
            let initial = codec::encode(first.as_bytes());
            (mechanism, initial, Self::Scram(scram))
        };
        let (mechanism, initial, then) = match &login.secret {
            Secret::Token(token) if offer.xoauth2 => {
                if !clear_allowed {
                    return Err("AUTH needs TLS; set the route's TLS, or allow plain text");
                }
                let initial = sasl::xoauth2(&login.name, token);
                ("XOAUTH2", initial, Self::Sent)
            }
            Secret::Password(_) if offer.scram_sha_256 || offer.scram_sha_256_plus => {
                match (exporter, offer.scram_sha_256_plus) {
                    (Some(exporter), true) => scram("SCRAM-SHA-256-PLUS", Binding::Used(exporter)),
                    (Some(_), false) => scram("SCRAM-SHA-256", Binding::Unused),
                    // RFC 5802 s6: a server that offers only PLUS wants what this connection cannot give.
                    (None, _) if !offer.scram_sha_256 => {
                        return Err("the peer wants a login bound to TLS 1.3, which this is not");
                    }
                    (None, _) => scram("SCRAM-SHA-256", Binding::None),
                }
            }
            Secret::Password(_) if (offer.plain || offer.login) && !clear_allowed => {
                return Err("AUTH needs TLS; set the route's TLS, or allow plain text");
            }
            Secret::Password(password) if offer.plain => {
                let initial = sasl::plain(&login.name, password);
                ("PLAIN", initial, Self::Sent)
            }
            Secret::Password(_) if offer.login => {
                return Ok((Self::Name, "AUTH LOGIN".to_owned()));
            }
            _ if offer.any => return Err("the peer offers no AUTH mechanism that fits the login"),
            _ => return Err("the peer does not offer AUTH; check port and TLS of the route"),
        };
        // RFC 4954 s4: a command line that would be too long goes without its initial response.
        if initial.len() > 480 && matches!(then, Self::Sent) {
            return Ok((Self::Initial(initial), format!("AUTH {mechanism}")));
        }
        Ok((then, format!("AUTH {mechanism} {initial}")))
    }

    /// The peer said 334.
    pub fn on_challenge(&mut self, login: &Login, reply: &Reply) -> Answer {
        let password = match &login.secret {
            Secret::Password(secret) | Secret::Token(secret) => secret.as_str(),
        };
        let challenge = || codec::decode_text(reply.text().as_bytes());
        let (next, answer) = match self {
            Self::Initial(initial) => (Self::Sent, std::mem::take(initial)),
            Self::Name => (Self::Password, codec::encode(login.name.as_bytes())),
            Self::Password => (Self::Sent, codec::encode(password.as_bytes())),
            // XOAUTH2 explains a failure in a challenge and wants an empty line for it.
            Self::Sent => (Self::Sent, String::new()),
            Self::Scram(scram) => {
                let Ok(said) = challenge() else {
                    return Answer::Stop("the peer's SCRAM message cannot be read");
                };
                match scram.answer(&said, password) {
                    Ok((last, wanted)) => (Self::Proof(wanted), codec::encode(last.as_bytes())),
                    Err(_) => return Answer::Stop("the peer's SCRAM message cannot be accepted"),
                }
            }
            Self::Proof(wanted) => {
                if challenge().as_ref() != Ok(wanted) {
                    return Answer::Stop("the peer could not prove that it knows the password");
                }
                (Self::Proved, String::new())
            }
            Self::Proved => return Answer::Stop("the peer's AUTH never ends"),
        };
        *self = next;
        Answer::Line(answer)
    }

    /// Whether a 235 may be believed: with SCRAM the peer has to prove itself first.
    pub fn may_end(&self) -> bool {
        matches!(self, Self::Sent | Self::Proved)
    }
}
