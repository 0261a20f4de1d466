//! The client machine: one connection to a peer, carrying many messages, told what happened, answering what to do.
//!
//! It never falls back: where TLS or a login is set and the peer does not take it, no message is sent (promise
//! G5) and the outcome is a fault of the setup (promise G3).

use std::io::Write;
use std::mem;

use crate::base::Tick;
use crate::mail::outcome::Outcome;
use crate::mail::status::Status;
use crate::smtp::client::capability::Capabilities;
use crate::smtp::client::login::Answer;
use crate::smtp::client::login::Exchange;
use crate::smtp::client::login::Footing;
use crate::smtp::client::order::Order;
use crate::smtp::client::settings::Dialect;
use crate::smtp::client::settings::Settings;
use crate::smtp::client::settings::StartTls;
use crate::smtp::client::state::State;
use crate::smtp::client::state::Then;
use crate::smtp::client::transfer::Message;
use crate::smtp::client::transfer::Next;
use crate::smtp::client::transfer::Transfer;
use crate::smtp::data::Stuffer;
use crate::smtp::outcome;
use crate::smtp::outcome::Phase;
use crate::smtp::outcome::Role;
use crate::smtp::reply::BadReply;
use crate::smtp::reply::Reply;
use crate::smtp::reply::ReplyLine;
use crate::smtp::reply::ReplyLines;
use crate::smtp::sasl::scram::Exporter;

pub mod capability;
mod login;
pub mod order;
pub mod settings;
mod state;
pub mod transfer;

/// One connection.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    state: State,
    offer: Capabilities,
    tls: bool,
    /// For SCRAM-SHA-256-PLUS.
    exporter: Option<Exporter>,
    nonce: String,
    lines: ReplyLines,
    reply: Reply,
    /// Lines of the current reply so far.
    reply_lines: usize,
    out: Vec<u8>,
    /// The driver was given `out`.
    sent: bool,
    /// When the wait for the current reply ends; `None` while none is waited for.
    reply_end: Option<Tick>,
    messages: usize,
    /// AUTH was said.
    login_tried: bool,
    /// The connection ended among the commands of a message.
    cut_short: bool,
}

impl Client {
    /// A connection that was just opened, encrypted already when `tls` is set. `nonce` is fresh random text of
    /// printable ASCII without commas, 18 characters or more, for SCRAM.
    pub fn new(settings: Settings, tls: bool, nonce: String) -> Self {
        Self {
            settings,
            state: State::Greeting,
            offer: Capabilities::default(),
            tls,
            exporter: None,
            nonce,
            lines: ReplyLines::default(),
            reply: Reply::default(),
            reply_lines: 0,
            out: Vec::new(),
            sent: false,
            reply_end: None,
            messages: 0,
            login_tried: false,
            cut_short: false,
        }
    }

    /// The next message.
    pub fn on_message(&mut self, message: Message) {
        if let State::Ready { open } = self.state {
            self.messages = self.messages.saturating_add(1);
            let transfer = Transfer::begin(message, &self.offer, &self.settings, open);
            self.talk(transfer, open);
        }
    }

    /// The next message cannot be brought into a form that this peer takes: it is over for so many recipients.
    pub fn on_unfit(&mut self, recipients: usize, status: Status, text: &str) {
        if let State::Ready { open } = self.state {
            let outcome = outcome::unfit(status, text, &self.settings.peer);
            let outcomes = vec![outcome; recipients];
            self.state = State::Finished(outcomes, Then::Ready { open });
        }
    }

    /// There is no more message.
    pub fn on_quit(&mut self) {
        if matches!(self.state, State::Ready { .. }) {
            self.quit();
        }
    }

    /// The handshake is done, the certificate is as the route wants it.
    pub fn on_tls(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.tls = true;
            self.offer = Capabilities::default();
            self.introduce();
        }
    }

    /// The `tls-exporter` value of the connection (RFC 9266), when TLS has one: then SCRAM-SHA-256-PLUS is used with a
    /// peer that offers it. To be told right behind [`Client::on_tls`], or behind [`Client::new`] on a connection that
    /// begins with TLS.
    pub fn on_exporter(&mut self, exporter: Exporter) {
        if self.tls {
            self.exporter = Some(exporter);
        }
    }

    /// The handshake failed. `certificate` tells a certificate that is refused, which is a fault of the setup, from
    /// a connection that broke.
    pub fn on_tls_failed(&mut self, text: &str, certificate: bool) {
        let peer = &self.settings.peer;
        let outcome = if certificate {
            self.setup_fault(Status::new(4, 7, 5), text)
        } else {
            Outcome::Later(outcome::ours(Status::new(4, 7, 5), text, peer))
        };
        self.state = State::Refused(outcome, Then::Close);
    }

    /// The body was written to its end.
    pub fn on_body_sent(&mut self) {
        self.out.clear();
        self.state = match mem::replace(&mut self.state, State::Over) {
            State::Body(transfer) => State::Dot(transfer),
            other => other,
        };
    }

    /// A write failed. The peer may have said why before it closed, so what it sent is read before it is judged.
    pub fn on_write_failed(&mut self) {
        self.out.clear();
        self.sent = false;
        match mem::replace(&mut self.state, State::Over) {
            State::Body(transfer) | State::Dot(transfer) => self.state = State::Cut(transfer),
            other => {
                self.state = other;
                self.on_closed();
            }
        }
    }

    /// The body could not be read: the connection has to close without the final dot, and nobody has the message.
    pub fn on_body_failed(&mut self, reason: &str) {
        let reason = outcome::ours(Status::new(4, 3, 0), reason, "");
        self.lose(&Outcome::Later(reason));
    }

    /// The stream ended, or the connection broke.
    pub fn on_closed(&mut self) {
        self.lose_with(outcome::CLOSED);
    }

    /// The tick of [`Order::Read`] came without input.
    pub fn on_deadline(&mut self) {
        self.lose_with(outcome::SILENT);
    }

    /// What to do next. `input` is what was read and not yet taken; what this call takes is cut off its front.
    pub fn next_order(&mut self, now: Tick, input: &mut &[u8]) -> Order<'_> {
        if mem::take(&mut self.sent) {
            self.out.clear();
        }
        while self.out.is_empty() && self.state.waits() {
            match self.take_reply(input) {
                Ok(true) => self.on_reply(input),
                Ok(false) => break,
                Err(bad) => {
                    let text = bad.to_string();
                    let reason = outcome::ours(Status::new(4, 5, 0), &text, &self.settings.peer);
                    self.lose(&Outcome::Later(reason));
                }
            }
        }
        if matches!(self.state, State::Ready { .. }) && !input.is_empty() {
            // Nothing was asked, so it is a farewell, or the peer is out of step.
            *input = &[];
            self.state = if self.messages == 0 {
                // It took nothing yet: without a refusal the next connection would follow at once, and the next login.
                let text = "the peer spoke without being asked";
                let reason = outcome::ours(Status::new(4, 5, 0), text, &self.settings.peer);
                State::Refused(Outcome::Later(reason), Then::Close)
            } else {
                State::Over
            };
        }
        if !self.out.is_empty() && !matches!(self.state, State::Body(_)) {
            self.sent = true;
            return Order::Send(&self.out);
        }
        match mem::replace(&mut self.state, State::Over) {
            State::Finished(outcomes, then) => {
                self.follow(then);
                return Order::Finished(outcomes);
            }
            State::Refused(outcome, then) => {
                self.follow(then);
                return Order::Refused(outcome);
            }
            other => self.state = other,
        }
        match &self.state {
            State::Ready { .. } => Order::Ready,
            State::Handshake => Order::StartTls,
            State::Body(transfer) => {
                let stuffer = if transfer.is_chunked() {
                    Stuffer::bare()
                } else {
                    Stuffer::dots()
                };
                Order::SendBody {
                    opening: &self.out,
                    stuffer,
                }
            }
            State::Over | State::Finished(..) | State::Refused(..) => Order::Close,
            waiting => {
                let wait = waiting.wait(&self.settings);
                Order::Read(*self.reply_end.get_or_insert_with(|| now.after(wait)))
            }
        }
    }

    /// What the peer offers; empty before EHLO.
    pub fn offer(&self) -> &Capabilities {
        &self.offer
    }

    /// Whether a login was tried.
    pub fn has_tried_login(&self) -> bool {
        self.login_tried
    }

    /// Whether the connection ended among the commands of a message, of which the peer has nothing therefore.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Reads lines until a reply is whole.
    fn take_reply(&mut self, input: &mut &[u8]) -> Result<bool, BadReply> {
        if self.reply_lines == 0 {
            self.reply.clear();
        }
        while let Some(line) = self.lines.take(input)? {
            let ReplyLine { code, last, text } = line;
            if matches!(self.state, State::Ehlo) && code == 250 && self.reply_lines > 0 {
                self.offer.add(text);
            }
            self.reply.add(&line);
            if last {
                self.reply_lines = 0;
                self.reply_end = None;
                return Ok(true);
            }
            self.reply_lines = self.reply_lines.saturating_add(1);
        }
        Ok(false)
    }

    /// A whole reply is in `reply`.
    fn on_reply(&mut self, input: &mut &[u8]) {
        let class = self.reply.class();
        // RFC 5321 s3.8: it may come at any time and ends the session.
        if self.reply.code == 421 && !matches!(self.state, State::Quit | State::Cut(_)) {
            let outcome = self.judged(self.state.phase());
            return self.lose(&outcome);
        }
        match mem::replace(&mut self.state, State::Over) {
            State::Greeting if class == 2 => self.introduce(),
            State::Greeting => self.refused(Phase::Greeting),
            State::Ehlo if self.reply.code == 250 => self.introduced(),
            State::Ehlo if class == 5 && !self.needs_ehlo() && !self.is_lmtp() => {
                self.offer = Capabilities::default();
                self.say_hello("HELO");
                self.state = State::Helo;
            }
            State::Helo if self.reply.code == 250 => self.state = State::Ready { open: false },
            // Another yes is not for this: a greeting said twice would look like a peer without STARTTLS.
            hello @ (State::Ehlo | State::Helo) if class == 2 => {
                self.state = hello;
                self.astray();
            }
            State::Ehlo | State::Helo => self.refused(Phase::Hello),
            State::StartTls if self.reply.code == 220 => {
                // What came in the clear behind the 220 was put there by somebody else.
                if input.is_empty() && !self.lines.is_midway() {
                    self.state = State::Handshake;
                } else {
                    *input = &[];
                    let text = "the peer sent text between STARTTLS and the handshake";
                    let peer = &self.settings.peer;
                    let reason = outcome::ours(Status::new(4, 7, 5), text, peer);
                    self.state = State::Refused(Outcome::Later(reason), Then::Close);
                }
            }
            State::StartTls if self.settings.starttls == StartTls::IfOffered => self.log_in(),
            State::StartTls => self.refused(Phase::StartTls),
            State::Login(exchange) => self.on_login_reply(exchange),
            State::Talk(mut transfer) => match transfer.on_reply(&self.reply, &self.settings) {
                Next::Talk => self.talk(transfer, false),
                Next::Body => {
                    self.out.clear();
                    transfer.write_opening(&mut self.out);
                    self.state = State::Body(transfer);
                }
                // It would answer with as many replies as it took recipients, which is none.
                Next::EmptyDot if self.is_lmtp() => {
                    self.state = State::Talk(transfer);
                    self.astray();
                }
                Next::EmptyDot => {
                    self.say(format_args!(".\r\n"));
                    self.state = State::EmptyDot(transfer);
                }
                Next::Astray => {
                    self.state = State::Talk(transfer);
                    self.astray();
                }
                Next::Over { open } => self.transaction_over(transfer, open),
            },
            State::Dot(transfer) if !self.is_about_message(transfer.is_chunked()) => {
                self.state = State::Dot(transfer);
                self.astray();
            }
            State::Dot(mut transfer) if self.is_lmtp() => {
                if transfer.on_recipient_reply(&self.reply, &self.settings) {
                    self.state = State::Dot(transfer);
                } else {
                    self.transaction_over(transfer, false);
                }
            }
            State::Dot(mut transfer) => {
                transfer.on_message_reply(&self.reply, &self.settings);
                self.transaction_over(transfer, false);
            }
            State::Cut(mut transfer) => {
                // A yes to half a message is none, and a no may be for one recipient.
                if matches!(class, 4 | 5) && !self.is_lmtp() {
                    transfer.on_message_reply(&self.reply, &self.settings);
                }
                self.state = State::Cut(transfer);
                self.lose_with(outcome::CLOSED);
            }
            State::EmptyDot(transfer) => self.transaction_over(transfer, class != 2),
            State::Quit => {}
            other => self.state = other,
        }
    }

    /// Whether the reply can be that to a message. RFC 5321 s4.3.2 knows 250 for one that was taken; another yes belongs
    /// to something else. With BDAT, where nothing is asked before the message, so does one about an address: a reply too
    /// many to RCPT. Behind DATA the 354 has shown that both sides are in step, and a peer that says of the message what
    /// others say of an address has it all the same.
    fn is_about_message(&self, chunked: bool) -> bool {
        let about_address = self.reply.status.is_some_and(|s| s.subject() == 1);
        let about_address = about_address && chunked && !self.is_lmtp();
        match self.reply.class() {
            2 => self.reply.code >= 250 && !about_address,
            class => class != 3,
        }
    }

    /// Says who we are.
    fn introduce(&mut self) {
        let dialect = self.settings.dialect;
        if dialect == Dialect::Smtp && self.needs_ehlo() {
            let text = "the route says HELO, and with that there is neither TLS nor a login";
            return self.give_up(Status::new(4, 3, 5), text);
        }
        self.say_hello(dialect.hello());
        self.state = match dialect {
            Dialect::Smtp => State::Helo,
            Dialect::Esmtp | Dialect::Lmtp => State::Ehlo,
        };
    }

    fn is_lmtp(&self) -> bool {
        self.settings.dialect == Dialect::Lmtp
    }

    /// EHLO was answered.
    fn introduced(&mut self) {
        let wanted = self.settings.starttls;
        if self.tls || wanted == StartTls::Never {
            return self.log_in();
        }
        if self.offer.starttls {
            self.say(format_args!("STARTTLS\r\n"));
            self.state = State::StartTls;
        } else if wanted == StartTls::Required {
            let text = "the peer does not offer STARTTLS, and the route requires TLS";
            self.give_up(Status::new(4, 7, 10), text);
        } else {
            self.log_in();
        }
    }

    fn log_in(&mut self) {
        let Some(login) = &self.settings.login else {
            self.state = State::Ready { open: false };
            return;
        };
        let clear_allowed = self.tls || self.settings.login_without_tls;
        let footing = Footing {
            clear_allowed,
            exporter: self.exporter,
            nonce: &self.nonce,
        };
        match Exchange::begin(login, &self.offer.auth, footing) {
            Ok((exchange, command)) => {
                self.login_tried = true;
                self.say(format_args!("{command}\r\n"));
                self.state = State::Login(exchange);
            }
            Err(text) => self.give_up(Status::new(4, 7, 8), text),
        }
    }

    fn on_login_reply(&mut self, mut exchange: Exchange) {
        match (self.reply.code, &self.settings.login) {
            (334, Some(login)) => match exchange.on_challenge(login, &self.reply) {
                Answer::Line(line) => {
                    self.say(format_args!("{line}\r\n"));
                    self.state = State::Login(exchange);
                }
                Answer::Stop(text) => self.give_up(Status::new(4, 7, 8), text),
            },
            (200..=299, _) if !matches!(self.reply.code, 235 | 250) => {
                self.state = State::Login(exchange);
                self.astray();
            }
            (200..=299, _) if exchange.may_end() => {
                // Long tokens do not stay in memory.
                self.out = Vec::new();
                self.state = State::Ready { open: false };
            }
            (200..=299, _) => {
                let text = "the peer did not prove that it knows the password";
                self.give_up(Status::new(4, 7, 8), text);
            }
            _ => {
                // Which one it was is half of the way to what is wrong.
                let outcome = match self.judged(Phase::Login) {
                    Outcome::Hold(mut reason) => {
                        reason.text = format!("{} (AUTH {})", reason.text, exchange.mechanism());
                        Outcome::Hold(reason)
                    }
                    other => other,
                };
                self.state = State::Refused(outcome, Then::Quit);
            }
        }
    }

    /// Goes on with a transaction, or ends it when nobody is left to ask for.
    fn talk(&mut self, mut transfer: Transfer, open: bool) {
        transfer.write(&self.offer, &self.settings, &mut self.out);
        if transfer.is_over() {
            self.finish(transfer, open);
        } else {
            self.state = State::Talk(transfer);
        }
    }

    /// A transaction ended; another follows when recipients are left.
    fn transaction_over(&mut self, mut transfer: Transfer, open: bool) {
        if transfer.again(&self.offer, &self.settings, open) {
            self.talk(transfer, open);
        } else {
            self.finish(transfer, open);
        }
    }

    fn finish(&mut self, transfer: Transfer, open: bool) {
        let most = self.offer.mail_max.unwrap_or(usize::MAX);
        let then = if self.messages >= most.min(self.settings.messages) {
            Then::Quit
        } else {
            Then::Ready { open }
        };
        self.state = State::Finished(transfer.into_outcomes(), then);
    }

    fn follow(&mut self, then: Then) {
        match then {
            Then::Ready { open } => self.state = State::Ready { open },
            Then::Quit => self.quit(),
            Then::Close => self.state = State::Over,
        }
    }

    fn quit(&mut self) {
        self.say(format_args!("QUIT\r\n"));
        self.state = State::Quit;
    }

    /// The peer's reply ends the connection before the first message.
    fn refused(&mut self, phase: Phase) {
        self.state = State::Refused(self.judged(phase), Then::Quit);
    }

    /// Our own setup ends it.
    fn give_up(&mut self, status: Status, text: &str) {
        self.state = State::Refused(self.setup_fault(status, text), Then::Quit);
    }

    /// What was found by MX has no setup that could be mended.
    fn setup_fault(&self, status: Status, text: &str) -> Outcome {
        let peer = &self.settings.peer;
        match self.settings.role {
            Role::SmartHost => outcome::setup(status, text, peer),
            Role::Exchanger => Outcome::Later(outcome::ours(status, text, peer)),
        }
    }

    fn judged(&self, phase: Phase) -> Outcome {
        let settings = &self.settings;
        outcome::judge(settings.role, phase, &self.reply, &settings.peer)
    }

    /// The peer's replies do not belong to our commands; a yes among them would prove nothing.
    fn astray(&mut self) {
        let text = format!("out of step: {} {}", self.reply.code, self.reply.text());
        let reason = outcome::ours(Status::new(4, 5, 0), &text, &self.settings.peer);
        self.lose(&Outcome::Later(reason));
    }

    fn lose_with(&mut self, what: &str) {
        let outcome = outcome::lost(self.state.phase(), what, &self.settings.peer);
        self.lose(&outcome);
    }

    /// The connection is of no more use.
    fn lose(&mut self, outcome: &Outcome) {
        self.out.clear();
        self.sent = false;
        self.cut_short = matches!(self.state, State::Talk(_) | State::EmptyDot(_));
        self.state = mem::replace(&mut self.state, State::Over).lost(outcome);
    }

    /// HELO would not do.
    fn needs_ehlo(&self) -> bool {
        let needs_tls = self.settings.starttls == StartTls::Required && !self.tls;
        needs_tls || self.settings.login.is_some()
    }

    fn say_hello(&mut self, verb: &str) {
        let command = format!("{verb} {}\r\n", self.settings.hello);
        self.out.extend_from_slice(command.as_bytes());
    }

    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a `Vec` cannot fail.
        let _ = self.out.write_fmt(text);
    }
}
