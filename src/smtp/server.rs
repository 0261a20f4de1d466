//! The server machine: one SMTP session, told what happened, answering what to do.
//!
//! It never says yes to a message by itself: the 250 after the dot is written only from [`Server::on_stored`]
//! (promise G1). A draft that was begun ends in exactly one [`Order::Commit`] or [`Order::Abort`].
//! Replies to pipelined commands are gathered and written at once, when there is nothing more to read.

use std::mem;
use std::net::IpAddr;
use std::rc::Rc;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::Wall;
use crate::base::limits;
use crate::mail::address::Address;
use crate::mail::domain::Domain;
use crate::mail::envelope::Body;
use crate::mail::envelope::Recipient;
use crate::mail::status::Status;
use crate::smtp::command::Command;
use crate::smtp::command::Defaults;
use crate::smtp::data::Chunks;
use crate::smtp::data::Data;
use crate::smtp::data::Piece;
use crate::smtp::fault::Fault;
use crate::smtp::line::Commands;
use crate::smtp::line::Line;
use crate::smtp::reply::Out;
#[cfg(feature = "sso")]
use crate::smtp::sasl::gssapi::accept::Accepted;
use crate::smtp::sasl::scram::Exporter;
use crate::smtp::sasl::scram::Verifier;
use crate::smtp::server::login::Login;
use crate::smtp::server::login::Question;
use crate::smtp::server::login::Step;
use crate::smtp::server::settings::Session;
use crate::smtp::server::settings::Settings;
use crate::smtp::server::transaction::Part;
use crate::smtp::server::transaction::Transaction;

mod commands;
mod hello;
pub mod login;
pub mod order;
pub mod settings;
pub mod transaction;

pub use order::Order;
pub use order::Started;

/// Where a session stands.
#[derive(Debug)]
enum State {
    /// Waits for a command; no transaction is open.
    Idle,
    /// MAIL is with the driver.
    AskMail(Transaction),
    /// MAIL was accepted; waits for a command.
    Open(Transaction),
    /// RCPT is with the driver.
    AskRcpt(Transaction, Recipient),
    /// DATA, or the first BDAT, is with the driver.
    AskBegin(Transaction, Part),
    /// After 354.
    Data(Transaction, Data),
    /// After 354, when the message is refused already: reads on to its end, so that the dialog stays in step.
    DrainData(Data, Fault),
    /// Inside a BDAT part.
    Part(Transaction, Chunks, Part),
    /// Inside a BDAT part that is refused already.
    DrainPart(u64, Fault),
    /// Between BDAT parts; waits for a command.
    Parted(Transaction, Chunks),
    /// The message is with the driver.
    Storing(Transaction),
    /// Between STARTTLS and the end of the handshake.
    Handshake,
    /// Inside AUTH.
    Login(Login),
    /// ETRN is with the driver.
    AskEtrn(Domain, bool),
    /// ATRN is with the driver.
    AskAtrn(Vec<Domain>),
    /// ATRN was accepted.
    Turned,
    /// The last reply is or was written.
    Over,
}

impl State {
    fn has_draft(&self) -> bool {
        matches!(
            self,
            Self::Data(..) | Self::Part(..) | Self::Parted(..) | Self::Storing(..)
        )
    }
}

/// One session.
#[derive(Debug)]
pub struct Server {
    settings: Rc<Settings>,
    session: Session,
    /// For SCRAM-SHA-256-PLUS.
    exporter: Option<Exporter>,
    state: State,
    lines: Commands,
    out: Out,
    /// The driver was given `out`; it is cleared before anything is added.
    sent: bool,
    /// A draft is to be dropped.
    abort: bool,
    /// Replies wait in the tarpit.
    pause: bool,
    /// No new transaction begins.
    stopping: bool,
    /// When the wait for the current command ends; `None` while none is waited for.
    command_end: Option<Tick>,
    session_end: Option<Tick>,
    /// What is waited for now ends with the session.
    last_wait: bool,
    /// The limit that was reached last, until the driver has taken it.
    limit: Option<Fault>,
    errors: usize,
    /// Recipients refused because there were too many.
    overshoot: usize,
    failed_logins: usize,
    messages: usize,
    bytes: u64,
}

impl Server {
    /// A session with the client at `peer`, encrypted from the start when `tls` is set (RFC 8314 s3). It greets first.
    pub fn new(settings: Rc<Settings>, peer: Option<IpAddr>, tls: bool, now: Tick) -> Self {
        let mut out = Out::default();
        out.plain(
            220,
            format_args!("{} {}", settings.hostname, settings.greeting),
        );
        Self {
            session: Session {
                peer,
                tls,
                ..Session::default()
            },
            exporter: None,
            state: State::Idle,
            lines: Commands::default(),
            out,
            sent: false,
            abort: false,
            pause: false,
            stopping: false,
            command_end: None,
            session_end: settings.timeouts.session.map(|wait| now.after(wait)),
            last_wait: false,
            limit: None,
            errors: 0,
            overshoot: 0,
            failed_logins: 0,
            messages: 0,
            bytes: 0,
            settings,
        }
    }

    /// A session that is refused in its greeting, for instance with [`Fault::TooManyConnections`].
    pub fn refused(settings: Rc<Settings>, peer: Option<IpAddr>, fault: &Fault, now: Tick) -> Self {
        let mut server = Self::new(settings, peer, false, now);
        server.out.clear();
        server.say_fault(fault);
        server.state = State::Over;
        server
    }

    /// The driver's answer to any question but those that have an `on_*` of their own.
    pub fn on_verdict(&mut self, verdict: Result<(), Fault>) {
        self.freshen();
        match mem::replace(&mut self.state, State::Idle) {
            State::AskMail(open) => match verdict {
                Ok(()) => {
                    match &open.envelope.sender {
                        Some(sender) => {
                            let sender = self.settings.shown(sender);
                            self.say_ok((2, 1, 0), format_args!("{sender} Sender OK"));
                        }
                        None => self.say_ok((2, 1, 0), format_args!("<> Sender OK")),
                    }
                    self.state = State::Open(open);
                }
                Err(fault) => self.refuse(&fault, open.envelope.sender.as_ref()),
            },
            State::AskRcpt(mut open, recipient) => match verdict {
                Ok(()) => {
                    let shown = self.settings.shown(&recipient.address);
                    self.say_ok((2, 1, 5), format_args!("{shown}"));
                    open.envelope.recipients.push(recipient);
                    self.state = State::Open(open);
                }
                Err(fault) => {
                    self.state = State::Open(open);
                    let shown = self.settings.shown(&recipient.address);
                    self.refuse(&fault, Some(&shown));
                }
            },
            State::AskBegin(open, part) => match (verdict, part) {
                (Ok(()), Part::Dot) => {
                    self.out.plain(
                        354,
                        format_args!("Start mail input; end with <CRLF>.<CRLF>"),
                    );
                    self.state = State::Data(open, Data::default());
                }
                (Ok(()), part) => self.state = State::Part(open, Chunks::default(), part),
                (Err(fault), Part::Dot) => self.refuse(&fault, None),
                (Err(fault), Part::Chunk { left, .. }) => {
                    self.state = State::DrainPart(left, fault);
                }
            },
            State::Login(login) => match (login.question(), verdict) {
                (Some(Question::Password(..) | Question::Proof(..)), Ok(())) => {
                    self.logged_in(login);
                }
                // With SCRAM nobody but the client's proof can say yes.
                (_, Ok(())) => self.refuse(&Fault::AuthFailed, None),
                (_, Err(fault)) => self.refuse(&fault, None),
            },
            State::AskEtrn(domain, below) => match verdict {
                Ok(()) => {
                    self.state = State::AskEtrn(domain, below);
                    self.on_etrn(Started::Queue);
                }
                Err(fault) => self.refuse(&fault, None),
            },
            State::AskAtrn(_) => match verdict {
                Ok(()) => {
                    self.say_ok((2, 0, 0), format_args!("OK now reversing the connection"));
                    self.state = State::Turned;
                }
                Err(fault) => self.refuse(&fault, None),
            },
            other => self.state = other,
        }
    }

    /// What [`Order::Etrn`] has started.
    pub fn on_etrn(&mut self, started: Started) {
        self.freshen();
        let State::AskEtrn(domain, _) = &self.state else {
            return;
        };
        let ok = Status::new(2, 0, 0);
        match started {
            Started::Queue => {
                let text = format_args!("OK, queuing for node {domain} started");
                self.out.full(250, ok, text);
            }
            Started::Nothing => {
                let text = format_args!("OK, no messages waiting for node {domain}");
                self.out.full(251, ok, text);
            }
            Started::Pending => {
                let text = format_args!("OK, pending messages for node {domain} started");
                self.out.full(252, ok, text);
            }
            Started::Messages(count) => {
                let text = format_args!("OK, {count} pending messages for node {domain} started");
                self.out.full(253, ok, text);
            }
        }
        self.state = State::Idle;
    }

    /// The answer to [`Order::FindVerifier`]. For a user that does not exist give [`Verifier::decoy`], so that
    /// names cannot be guessed; `nonce` is fresh random text of printable ASCII without commas.
    pub fn on_verifier(&mut self, verifier: Verifier, nonce: &str) {
        self.freshen();
        if let State::Login(login) = &mut self.state {
            let step = login.on_verifier(verifier, nonce);
            self.login_step(step);
        }
    }

    /// The answer to [`Order::MakeChallenge`]: fresh random text of printable ASCII without `<`, `>` and `@`, and the
    /// time, which may be wrong.
    pub fn on_challenge(&mut self, nonce: &str, now: Wall) {
        self.freshen();
        if let State::Login(login) = &mut self.state {
            let step = login.on_challenge(nonce, self.settings.hostname.as_str(), now);
            self.login_step(step);
        }
    }

    /// The answer to [`Order::CheckTicket`] when it does let somebody in.
    #[cfg(feature = "sso")]
    pub fn on_ticket(&mut self, accepted: Accepted) {
        self.freshen();
        if let State::Login(login) = &mut self.state {
            let step = login.on_ticket(accepted);
            self.login_step(step);
        }
    }

    /// The draft could not take a block of the body. The rest is read and dropped; the reply comes at its end.
    pub fn on_trouble(&mut self, fault: Fault) {
        match mem::replace(&mut self.state, State::Idle) {
            State::Data(_, data) => {
                self.abort = true;
                self.state = State::DrainData(data, fault);
            }
            State::Part(_, _, part) => {
                self.abort = true;
                self.state = State::DrainPart(part.left(), fault);
            }
            other => self.state = other,
        }
    }

    /// The message is on stable storage under this id, or it is not and the draft is gone.
    pub fn on_stored(&mut self, stored: Result<MsgId, Fault>) {
        self.freshen();
        if matches!(self.state, State::Storing(_)) {
            self.state = State::Idle;
            match stored {
                Ok(id) => {
                    self.messages = self.messages.saturating_add(1);
                    self.say_ok((2, 6, 0), format_args!("{id} Queued mail for delivery"));
                }
                Err(fault) => self.refuse(&fault, None),
            }
        }
    }

    /// The handshake is done; the session begins anew (RFC 3207 s4.2).
    pub fn on_tls(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.state = State::Idle;
            self.exporter = None;
            self.session = Session {
                peer: self.session.peer,
                tls: true,
                ..Session::default()
            };
        }
    }

    /// The `tls-exporter` value of the connection (RFC 9266), when TLS has one: then SCRAM-SHA-256-PLUS is offered.
    /// To be told right behind [`Server::on_tls`], or behind [`Server::new`] on a connection that begins with TLS.
    pub fn on_exporter(&mut self, exporter: Exporter) {
        if self.session.tls {
            self.exporter = Some(exporter);
        }
    }

    /// The tick of [`Order::Read`] came without input.
    pub fn on_deadline(&mut self) {
        self.freshen();
        let fault = match &self.state {
            _ if self.last_wait => Fault::SessionOver,
            State::Data(..) | State::DrainData(..) | State::Part(..) | State::DrainPart(..) => {
                Fault::Stalled
            }
            _ => Fault::Silent,
        };
        self.end(&fault);
    }

    /// Others need the place of this connection.
    pub fn on_crowded(&mut self) {
        self.freshen();
        self.end(&Fault::TooManyConnections);
    }

    /// The service stops. What is under way may end; no new message begins.
    pub fn on_shutdown(&mut self) {
        self.stopping = true;
    }

    /// The connection is gone. What comes next is at most [`Order::Abort`], then [`Order::Close`].
    pub fn on_closed(&mut self) {
        self.out.clear();
        self.abort |= self.state.has_draft() && !matches!(self.state, State::Storing(_));
        self.state = State::Over;
    }

    /// What to do next. `input` is what was read and not yet taken; what this call takes is cut off its front.
    ///
    /// Call it in a loop, with an input buffer of any size; see the module [`crate::smtp`] for the whole loop.
    pub fn next_order<'a, 'i: 'a>(&'a mut self, now: Tick, input: &mut &'i [u8]) -> Order<'a> {
        self.freshen();
        if mem::take(&mut self.abort) {
            return Order::Abort;
        }
        if let Some(body) = self.advance(input) {
            return Order::Body(body);
        }
        if mem::take(&mut self.abort) {
            return Order::Abort;
        }
        if self.waits_for_peer() && !self.out.is_empty() {
            if mem::take(&mut self.pause) {
                return Order::Pause(now.after(self.settings.tarpit));
            }
            self.sent = true;
            return Order::Send(self.out.bytes());
        }
        let timeouts = &self.settings.timeouts;
        let command_end = match &self.state {
            State::Idle | State::Open(_) | State::Parted(..) | State::Login(_) => *self
                .command_end
                .get_or_insert_with(|| now.after(timeouts.command)),
            _ => now,
        };
        let wait_end = match &self.state {
            State::Data(..) | State::DrainData(..) | State::Part(..) | State::DrainPart(..) => {
                now.after(timeouts.data)
            }
            _ => command_end,
        };
        self.last_wait = self.session_end.is_some_and(|end| end <= wait_end);
        let wait_end = self.session_end.map_or(wait_end, |end| end.min(wait_end));
        let session = &self.session;
        match &self.state {
            State::Idle | State::Open(_) | State::Parted(..) => Order::Read(wait_end),
            State::Data(..) | State::DrainData(..) | State::Part(..) | State::DrainPart(..) => {
                Order::Read(wait_end)
            }
            State::AskMail(open) => Order::AskMail {
                session,
                envelope: &open.envelope,
                announced: open.announced,
            },
            State::AskRcpt(open, recipient) => Order::AskRcpt {
                session,
                envelope: &open.envelope,
                recipient,
            },
            State::AskBegin(open, _) => Order::Begin {
                session,
                envelope: &open.envelope,
            },
            State::Storing(open) => Order::Commit {
                envelope: &open.envelope,
                size: open.size,
            },
            State::Handshake => {
                *input = &[];
                Order::StartTls
            }
            State::AskEtrn(domain, below) => Order::Etrn {
                session,
                domain,
                below: *below,
            },
            State::AskAtrn(domains) => Order::Atrn { session, domains },
            State::Turned => Order::TurnAround,
            State::Login(login) => match login.question() {
                Some(Question::Password(name, password)) => Order::CheckPassword { name, password },
                Some(Question::Verifier(name)) => Order::FindVerifier { name },
                Some(Question::Challenge) => Order::MakeChallenge,
                #[cfg(feature = "sso")]
                Some(Question::Ticket(token)) => Order::CheckTicket { token },
                Some(Question::Proof(name, proof)) => Order::CheckProof { name, proof },
                None => Order::Read(wait_end),
            },
            State::Over => Order::Close,
        }
    }

    /// What is known of the client.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The limit that was reached since this was asked last, for the owner to hear of.
    pub fn take_limit(&mut self) -> Option<Fault> {
        self.limit.take()
    }

    /// How many logins failed because the password, or the proof of it, was wrong.
    pub fn failed_logins(&self) -> usize {
        self.failed_logins
    }

    /// Whether a transaction or a message is under way, so that a stop should wait for it.
    pub fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle | State::Over)
    }

    /// Takes input until something has to be done about it; body text comes back.
    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Option<&'i [u8]> {
        loop {
            match &mut self.state {
                State::Idle if self.stopping => self.end(&Fault::Stopping),
                State::Idle | State::Open(_) | State::Parted(..) => {
                    if self.out.is_tight() || self.pause {
                        return None;
                    }
                    let defaults = Defaults {
                        domain: self.settings.default_domain.as_ref(),
                        postmaster: self.settings.postmaster(),
                    };
                    let command = match self.lines.take(input) {
                        Ok(None) => return None,
                        Ok(Some(Line::Whole(line))) => Command::parse(line, defaults),
                        Ok(Some(Line::TooLong)) => Err(Fault::LineTooLong),
                        Err(_) => Err(Fault::StrayLine),
                    };
                    self.command_end = None;
                    self.on_command(command);
                }
                State::Login(login) if login.reads() => {
                    let step = login.take(input)?;
                    self.command_end = None;
                    self.login_step(step);
                }
                State::Data(open, data) => match data.take(input) {
                    Ok(Piece::Text([])) if input.is_empty() => return None,
                    Ok(Piece::Text([])) => {}
                    Ok(Piece::Text(text)) => match open.count(text, &self.settings, self.bytes) {
                        Ok(()) => return Some(text),
                        Err(fault) => return self.too_much(fault),
                    },
                    Ok(Piece::End) => self.complete(),
                    Err(_) => {
                        self.end(&Fault::StrayBody);
                        return None;
                    }
                },
                State::DrainData(data, _) => match data.take(input) {
                    Ok(Piece::Text(_)) if input.is_empty() => return None,
                    Ok(Piece::Text(_)) => {}
                    Ok(Piece::End) => self.drained(),
                    Err(_) => self.end(&Fault::StrayBody),
                },
                State::Part(open, chunks, part) => {
                    let text = part.take(input);
                    if text.is_empty() && part.left() > 0 {
                        return None;
                    }
                    let binary = open.envelope.body == Body::Binary;
                    if !binary && chunks.check(text).is_err() {
                        return self.too_much(Fault::StrayBody);
                    }
                    match open.count(text, &self.settings, self.bytes) {
                        Ok(()) if text.is_empty() => self.part_done(),
                        Ok(()) => return Some(text),
                        Err(fault) => return self.too_much(fault),
                    }
                }
                State::DrainPart(left, _) => {
                    let taken =
                        usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    *input = input.get(taken..).unwrap_or_default();
                    *left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
                    if *left > 0 {
                        return None;
                    }
                    self.drained();
                }
                _ => return None,
            }
        }
    }

    /// The final dot, or the end of the last part.
    fn complete(&mut self) {
        match mem::replace(&mut self.state, State::Idle) {
            State::Data(open, _) | State::Part(open, _, _) => {
                self.bytes = self.bytes.saturating_add(open.size);
                self.state = State::Storing(open);
            }
            other => self.state = other,
        }
    }

    /// The end of a part.
    fn part_done(&mut self) {
        match mem::replace(&mut self.state, State::Idle) {
            State::Part(open, chunks, Part::Chunk { last: false, .. }) => {
                self.say_ok((2, 0, 0), format_args!("{} octets so far", open.size));
                self.state = State::Parted(open, chunks);
            }
            State::Part(open, chunks, part) => {
                if open.envelope.body != Body::Binary && chunks.end().is_err() {
                    self.abort = true;
                    return self.refuse(&Fault::StrayBody, None);
                }
                self.state = State::Part(open, chunks, part);
                self.complete();
            }
            other => self.state = other,
        }
    }

    /// The end of a message or part that was refused before it came.
    fn drained(&mut self) {
        if let State::DrainData(_, fault) | State::DrainPart(_, fault) =
            mem::replace(&mut self.state, State::Idle)
        {
            self.refuse(&fault, None);
        }
    }

    /// The body may not go on.
    fn too_much<'i>(&mut self, fault: Fault) -> Option<&'i [u8]> {
        if fault.closes() {
            self.end(&fault);
        } else {
            self.on_trouble(fault);
        }
        None
    }

    fn login_step(&mut self, step: Step) {
        match step {
            Step::Wait => {}
            Step::Challenge(text) => self.out.plain(334, format_args!("{text}")),
            Step::Done => {
                if let State::Login(login) = mem::replace(&mut self.state, State::Idle) {
                    self.logged_in(login);
                }
            }
            Step::Failed(fault) => {
                self.state = State::Idle;
                let wrong = usize::from(fault == Fault::AuthFailed);
                self.failed_logins = self.failed_logins.saturating_add(wrong);
                self.refuse(&fault, None);
            }
        }
    }

    fn logged_in(&mut self, login: Login) {
        self.session.login = Some(login.into_name());
        let ok = Status::new(2, 7, 0);
        self.out
            .full(235, ok, format_args!("Authentication successful"));
    }

    fn say_ok(&mut self, (class, subject, detail): (u8, u16, u16), text: std::fmt::Arguments<'_>) {
        let status = Status::new(class, subject, detail);
        self.out.full(250, status, text);
    }

    fn say_fault(&mut self, fault: &Fault) {
        self.out.fault(fault, None);
    }

    /// Says why not, and ends the session when that follows from it.
    fn refuse(&mut self, fault: &Fault, address: Option<&Address>) {
        if fault.closes() {
            return self.end(fault);
        }
        if *fault == Fault::TooManyRecipients {
            self.overshoot = self.overshoot.saturating_add(1);
            if self.overshoot > limits::OVERSHOOT {
                return self.end(&Fault::TooManyErrors);
            }
        }
        self.out.fault(fault, address);
        self.note(fault);
        if fault.counts() {
            self.errors = self.errors.saturating_add(1);
            self.pause |= !self.settings.tarpit.is_zero();
            if self.errors > self.settings.errors {
                self.end(&Fault::TooManyErrors);
            }
        }
    }

    /// The last reply.
    fn end(&mut self, fault: &Fault) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.abort |= self.state.has_draft();
        self.state = State::Over;
        self.say_fault(fault);
        self.note(fault);
    }

    fn note(&mut self, fault: &Fault) {
        if fault.is_limit() {
            self.limit = Some(fault.clone());
        }
    }

    /// Forgets what was written.
    fn freshen(&mut self) {
        if mem::take(&mut self.sent) {
            self.out.clear();
        }
    }

    /// Whether the next thing to come is from the peer, or nothing: then what was said has to be written first.
    fn waits_for_peer(&self) -> bool {
        match &self.state {
            State::AskMail(_)
            | State::AskRcpt(..)
            | State::AskBegin(..)
            | State::Storing(_)
            | State::AskEtrn(..)
            | State::AskAtrn(_) => false,
            State::Login(login) => login.reads(),
            _ => true,
        }
    }
}
