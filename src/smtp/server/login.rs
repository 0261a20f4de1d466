//! One AUTH exchange on the server's side (RFC 4954 s4).
//!
//! The machine never sees whether a user exists: it asks the driver about a whole name and password, or for a
//! verifier, and says the same sentence to every failure.

use std::mem;

use crate::base::Wall;
use crate::smtp::command::Secret;
use crate::smtp::fault::Fault;
use crate::smtp::line::Line;
use crate::smtp::line::LongLines;
use crate::smtp::sasl;
use crate::smtp::sasl::codec;
use crate::smtp::sasl::cram;
#[cfg(feature = "sso")]
use crate::smtp::sasl::gssapi::accept;
#[cfg(feature = "sso")]
use crate::smtp::sasl::gssapi::accept::Accepted;
#[cfg(feature = "ntlm")]
use crate::smtp::sasl::ntlm::server as ntlm;
use crate::smtp::sasl::proof::Proof;
use crate::smtp::sasl::scram::Binding;
use crate::smtp::sasl::scram::Exporter;
use crate::smtp::sasl::scram::ScramFault;
use crate::smtp::sasl::scram::ScramProof;
use crate::smtp::sasl::scram::ScramServer;
use crate::smtp::sasl::scram::Verifier;
use crate::smtp::server::settings::Session;
use crate::smtp::server::settings::Settings;

/// What follows from a line.
#[derive(Debug)]
pub enum Step {
    /// The driver is asked; see [`Login::question`].
    Wait,
    /// Say this after 334, and read a line.
    Challenge(String),
    /// The client has proved who it is.
    Done,
    /// It has not.
    Failed(Fault),
}

/// What the driver has to answer.
#[derive(Debug)]
pub enum Question<'a> {
    /// Is this the password?
    Password(&'a str, &'a str),
    /// What is kept of that user's password?
    Verifier(&'a str),
    /// Something nobody has seen before.
    Challenge,
    /// Whom does this token let in?
    #[cfg(feature = "sso")]
    Ticket(&'a [u8]),
    /// Is this that user's answer to the challenge?
    Proof(&'a str, &'a Proof),
}

#[derive(Debug)]
enum State {
    /// PLAIN without an initial response.
    Plain,
    /// LOGIN, before the name.
    Name,
    /// LOGIN, before the password.
    Password(String),
    /// Name and password are with the driver.
    AskPassword(String, Secret),
    /// CRAM-MD5, before the challenge, which is the driver's to make.
    AskChallenge,
    /// After it.
    Challenged(String),
    /// NTLM without an initial response.
    #[cfg(feature = "ntlm")]
    Ntlm,
    /// Before our challenge, for which the driver has the nonce.
    #[cfg(feature = "ntlm")]
    AskNtlm(ntlm::Begun),
    /// After it.
    #[cfg(feature = "ntlm")]
    NtlmChallenged(ntlm::Challenged),
    /// GSSAPI without an initial response.
    #[cfg(feature = "sso")]
    Gssapi,
    /// The client's token is with the driver.
    #[cfg(feature = "sso")]
    AskTicket(Vec<u8>),
    /// After our token: the client says an empty line to it.
    #[cfg(feature = "sso")]
    TicketTaken(Box<Accepted>),
    /// After our offer of layers.
    #[cfg(feature = "sso")]
    LayerOffered(Box<Accepted>),
    /// Name and proof are with the driver.
    AskProof(String, Proof),
    /// SCRAM without an initial response.
    First(Binding),
    /// The name is with the driver.
    AskVerifier(ScramServer),
    /// After our challenge.
    Proof(String, ScramProof),
    /// After our own proof: the client says an empty line to it.
    Proved(String),
    /// Nothing more to come.
    Over,
}

/// The exchange.
#[derive(Debug)]
pub struct Login {
    state: State,
    lines: LongLines,
}

impl Login {
    /// Begins with what AUTH said, on a connection with this `exporter`, if it has one.
    pub fn begin(
        settings: &Settings,
        session: &Session,
        mechanism: &str,
        initial: Option<Secret>,
        exporter: Option<Exporter>,
    ) -> Result<(Self, Step), Fault> {
        if session.hello.is_empty() {
            return Err(Fault::Order("send EHLO or HELO first"));
        }
        if session.login.is_some() {
            return Err(Fault::Order("authenticated already"));
        }
        if !settings.auth.any() {
            return Err(Fault::NotHere("AUTH is not available"));
        }
        let offered = settings.offered(session.tls);
        if !offered.any() || (settings.auth.has(mechanism) && !offered.has(mechanism)) {
            return Err(Fault::AuthNeedsTls);
        }
        let (state, challenge) = match mechanism {
            "PLAIN" if offered.plain => (State::Plain, ""),
            "LOGIN" if offered.login => (State::Name, "Username:"),
            // The server speaks first (RFC 4954 s4).
            "CRAM-MD5" if offered.cram_md5 && initial.is_some() => return Err(Fault::AuthSyntax),
            "CRAM-MD5" if offered.cram_md5 => {
                let login = Self {
                    state: State::AskChallenge,
                    lines: LongLines::default(),
                };
                return Ok((login, Step::Wait));
            }
            #[cfg(feature = "ntlm")]
            "NTLM" if offered.ntlm => (State::Ntlm, ""),
            #[cfg(feature = "sso")]
            "GSSAPI" if offered.gssapi => (State::Gssapi, ""),
            "SCRAM-SHA-256" if offered.scram_sha_256 => {
                let binding = exporter.map_or(Binding::None, |_| Binding::Unused);
                (State::First(binding), "")
            }
            "SCRAM-SHA-256-PLUS" if offered.scram_sha_256 => match exporter {
                Some(exporter) => (State::First(Binding::Used(exporter)), ""),
                None => return Err(Fault::Mechanism),
            },
            _ => return Err(Fault::Mechanism),
        };
        let mut login = Self {
            state,
            lines: LongLines::default(),
        };
        let step = match initial {
            Some(Secret(text)) => login.on_line(text.as_bytes()),
            None => Step::Challenge(codec::encode(challenge.as_bytes())),
        };
        Ok((login, step))
    }

    /// The driver found the verifier.
    pub fn on_verifier(&mut self, verifier: Verifier, nonce: &str) -> Step {
        match mem::replace(&mut self.state, State::Over) {
            State::AskVerifier(server) => {
                let name = server.name().to_owned();
                let (proof, message) = server.challenge(verifier, nonce);
                self.state = State::Proof(name, proof);
                Step::Challenge(codec::encode(message.as_bytes()))
            }
            other => {
                self.state = other;
                Step::Wait
            }
        }
    }

    /// The driver made something new, in printable ASCII.
    pub fn on_challenge(&mut self, nonce: &str, hostname: &str, now: Wall) -> Step {
        // Only NTLM tells the time.
        let _ = now;
        let (state, challenge) = match mem::replace(&mut self.state, State::Over) {
            State::AskChallenge => {
                let challenge = format!("<{nonce}@{hostname}>");
                let text = codec::encode(challenge.as_bytes());
                (State::Challenged(challenge), text)
            }
            #[cfg(feature = "ntlm")]
            State::AskNtlm(begun) => {
                let (next, message) = begun.challenge(sasl::eight_of(nonce), hostname, now);
                (State::NtlmChallenged(next), codec::encode(&message))
            }
            other => {
                self.state = other;
                return Step::Wait;
            }
        };
        self.state = state;
        Step::Challenge(challenge)
    }

    /// The driver says that a token lets somebody in.
    #[cfg(feature = "sso")]
    pub fn on_ticket(&mut self, accepted: Accepted) -> Step {
        if !matches!(self.state, State::AskTicket(_)) {
            return Step::Wait;
        }
        let accepted = Box::new(accepted);
        match &accepted.reply {
            Some(reply) => {
                let reply = codec::encode(reply);
                self.state = State::TicketTaken(accepted);
                Step::Challenge(reply)
            }
            None => self.offer(accepted),
        }
    }

    /// Offers the layers that there are.
    #[cfg(feature = "sso")]
    fn offer(&mut self, accepted: Box<Accepted>) -> Step {
        let offer = codec::encode(&accepted.context.offer());
        self.state = State::LayerOffered(accepted);
        Step::Challenge(offer)
    }

    /// Takes the next line off the front of `input`; `None` when it is not whole yet.
    pub fn take(&mut self, input: &mut &[u8]) -> Option<Step> {
        let text = match self.lines.take(input) {
            Ok(None) => return None,
            Ok(Some(Line::Whole(text))) => text.to_vec(),
            Ok(Some(Line::TooLong)) => return Some(Step::Failed(Fault::AuthSyntax)),
            Err(_) => return Some(Step::Failed(Fault::StrayLine)),
        };
        Some(self.on_line(&text))
    }

    /// What the driver has to answer now.
    pub fn question(&self) -> Option<Question<'_>> {
        match &self.state {
            State::AskPassword(name, password) => Some(Question::Password(name, &password.0)),
            State::AskVerifier(server) => Some(Question::Verifier(server.name())),
            State::AskChallenge => Some(Question::Challenge),
            #[cfg(feature = "ntlm")]
            State::AskNtlm(_) => Some(Question::Challenge),
            #[cfg(feature = "sso")]
            State::AskTicket(token) => Some(Question::Ticket(token)),
            State::AskProof(name, proof) => Some(Question::Proof(name, proof)),
            _ => None,
        }
    }

    /// Whether it waits for a line.
    pub fn reads(&self) -> bool {
        self.question().is_none()
    }

    /// Who has logged in.
    pub fn into_name(self) -> String {
        match self.state {
            State::AskPassword(name, _) | State::AskProof(name, ..) | State::Proved(name) => name,
            _ => String::new(),
        }
    }

    fn on_line(&mut self, text: &[u8]) -> Step {
        if text == b"*" {
            return Step::Failed(Fault::AuthCancelled);
        }
        let step = match mem::replace(&mut self.state, State::Over) {
            State::Plain => sasl::read_plain(text).map(|(name, password)| {
                self.state = State::AskPassword(name, Secret(password));
                Step::Wait
            }),
            State::Name => codec::decode_text(text).map(|name| {
                self.state = State::Password(name);
                Step::Challenge(codec::encode(b"Password:"))
            }),
            State::Password(name) => codec::decode_text(text).map(|password| {
                self.state = State::AskPassword(name, Secret(password));
                Step::Wait
            }),
            State::Challenged(challenge) => {
                codec::decode_text(text).map(|answer| match cram::read(&answer) {
                    Some((name, digest)) => {
                        let proof = Proof::Cram { challenge, digest };
                        self.state = State::AskProof(name, proof);
                        Step::Wait
                    }
                    None => Step::Failed(Fault::AuthSyntax),
                })
            }
            #[cfg(feature = "ntlm")]
            State::Ntlm => codec::decode(text).map(|message| match ntlm::Begun::read(&message) {
                Ok(begun) => {
                    self.state = State::AskNtlm(begun);
                    Step::Wait
                }
                Err(_) => Step::Failed(Fault::AuthSyntax),
            }),
            #[cfg(feature = "ntlm")]
            State::NtlmChallenged(challenged) => {
                codec::decode(text).map(|message| match challenged.answer(&message) {
                    Ok(answer) => {
                        let name = answer.user().to_owned();
                        self.state = State::AskProof(name, Proof::Ntlm(Box::new(answer)));
                        Step::Wait
                    }
                    Err(_) => Step::Failed(Fault::AuthSyntax),
                })
            }
            #[cfg(feature = "ntlm")]
            State::AskNtlm(_) => Ok(Step::Failed(Fault::AuthSyntax)),
            #[cfg(feature = "sso")]
            State::Gssapi => codec::decode(text).map(|token| {
                self.state = State::AskTicket(token);
                Step::Wait
            }),
            #[cfg(feature = "sso")]
            State::TicketTaken(accepted) => codec::decode(text).map(|rest| match rest.as_slice() {
                [] => self.offer(accepted),
                _ => Step::Failed(Fault::AuthSyntax),
            }),
            #[cfg(feature = "sso")]
            State::LayerOffered(accepted) => codec::decode(text).map(|choice| {
                let principal = accepted.principal;
                match accepted.context.choice(&choice) {
                    Ok(name) if accept::is_own(&principal, &name) => {
                        self.state = State::Proved(principal);
                        Step::Done
                    }
                    _ => Step::Failed(Fault::AuthFailed),
                }
            }),
            #[cfg(feature = "sso")]
            State::AskTicket(_) => Ok(Step::Failed(Fault::AuthSyntax)),
            State::First(binding) => {
                codec::decode_text(text).map(|message| {
                    match ScramServer::begin(&message, binding) {
                        Ok(server) => {
                            self.state = State::AskVerifier(server);
                            Step::Wait
                        }
                        Err(fault) => Step::Failed(scram(fault)),
                    }
                })
            }
            State::Proof(name, proof) => {
                codec::decode_text(text).map(|message| match proof.check(&message) {
                    Ok(answer) => {
                        self.state = State::Proved(name);
                        Step::Challenge(codec::encode(answer.as_bytes()))
                    }
                    Err(fault) => Step::Failed(scram(fault)),
                })
            }
            State::Proved(name) => {
                self.state = State::Proved(name);
                Ok(Step::Done)
            }
            State::AskPassword(..)
            | State::AskVerifier(_)
            | State::AskChallenge
            | State::AskProof(..)
            | State::Over => Ok(Step::Failed(Fault::AuthSyntax)),
        };
        step.unwrap_or(Step::Failed(Fault::AuthSyntax))
    }
}

fn scram(fault: ScramFault) -> Fault {
    match fault {
        ScramFault::Syntax | ScramFault::Unsupported => Fault::AuthSyntax,
        ScramFault::Proof => Fault::AuthFailed,
    }
}
