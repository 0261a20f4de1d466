//! What a server does with each command, by the state of the session.

use std::mem;

use crate::mail::envelope::Body;
use crate::mail::status::Status;
use crate::smtp::command::Command;
use crate::smtp::command::Mail;
use crate::smtp::command::Rcpt;
use crate::smtp::fault::Fault;
use crate::smtp::server::Server;
use crate::smtp::server::State;
use crate::smtp::server::hello;
use crate::smtp::server::login::Login;
use crate::smtp::server::transaction::Part;
use crate::smtp::server::transaction::Transaction;

impl Server {
    pub(super) fn on_command(&mut self, command: Result<Command, Fault>) {
        let state = mem::replace(&mut self.state, State::Idle);
        let draft = state.has_draft();
        let command = match command {
            Ok(command) => command,
            Err(fault) => {
                self.state = state;
                // A part whose length cannot be read leaves no way to tell where the next command begins.
                if matches!(fault, Fault::Syntax(usage) if usage.starts_with("BDAT")) {
                    self.refuse(&fault, None);
                    self.end(&Fault::TooManyErrors);
                } else {
                    self.refuse(&fault, None);
                }
                return;
            }
        };
        match (state, command) {
            (_, Command::Quit) => {
                self.abort |= draft;
                let name = &self.settings.hostname;
                let ok = Status::new(2, 0, 0);
                let text = format_args!("{name} Service closing transmission channel");
                self.out.full(221, ok, text);
                self.state = State::Over;
            }
            (_, Command::Rset) => {
                self.abort |= draft;
                self.say_ok((2, 0, 0), format_args!("Resetting"));
            }
            (_, Command::Ehlo(name)) => {
                self.abort |= draft;
                self.session.hello = name;
                self.session.esmtp = true;
                let plus = self.exporter.is_some();
                hello::write(&mut self.out, &self.settings, &self.session, plus);
            }
            (_, Command::Helo(name)) => {
                self.abort |= draft;
                self.session.hello = name;
                self.session.esmtp = false;
                hello::helo(&mut self.out, &self.settings, &self.session);
            }
            (state, Command::Noop) => {
                self.say_ok((2, 0, 0), format_args!("OK"));
                self.state = state;
            }
            (state, Command::Help) => {
                hello::help(&mut self.out);
                self.state = state;
            }
            (state, Command::Expn) => {
                self.state = state;
                self.refuse(&Fault::NotHere("EXPN is not available"), None);
            }
            (state, Command::Turn) => {
                self.state = state;
                let reason = "TURN is insecure and not available; use ETRN or ATRN";
                self.refuse(&Fault::NotHere(reason), None);
            }
            (state, Command::Lhlo) => {
                self.state = state;
                self.refuse(&Fault::NotHere("this is SMTP, not LMTP; use EHLO"), None);
            }
            (state, Command::Vrfy) => {
                self.state = state;
                if self.may_proceed() {
                    let text = "Cannot VRFY user, but will take message and attempt delivery";
                    let status = Status::new(2, 1, 5);
                    self.out.full(252, status, format_args!("{text}"));
                }
            }
            (state, command) => self.on_step(state, command),
        }
    }

    /// Commands that mean something only in their place.
    fn on_step(&mut self, state: State, command: Command) {
        match (state, command) {
            (state, Command::Bdat { size, last }) => self.on_bdat(state, size, last),
            (state @ State::Parted(..), _) => {
                self.state = state;
                self.refuse(
                    &Fault::Order("only BDAT, RSET or QUIT may follow BDAT"),
                    None,
                );
            }
            (State::Idle, Command::Mail(mail)) => self.on_mail(*mail),
            (State::Idle, Command::StartTls) => self.on_starttls(),
            (State::Idle, Command::Auth { mechanism, initial }) => {
                let (settings, session) = (&self.settings, &self.session);
                match Login::begin(settings, session, &mechanism, initial, self.exporter) {
                    Ok((login, step)) => {
                        self.state = State::Login(login);
                        self.login_step(step);
                    }
                    Err(fault) => self.refuse(&fault, None),
                }
            }
            (State::Idle, Command::Etrn { domain, below }) => {
                if !self.settings.extensions.etrn {
                    self.refuse(&Fault::NotHere("ETRN is not available"), None);
                } else if self.may_proceed() {
                    self.state = State::AskEtrn(domain, below);
                }
            }
            (State::Idle, Command::Atrn(domains)) => {
                if !self.settings.extensions.atrn {
                    self.refuse(&Fault::NotHere("ATRN is not available"), None);
                } else if !self.may_proceed() {
                    // It has said why.
                } else if self.session.login.is_none() {
                    self.refuse(&Fault::NeedsAuth, None);
                } else {
                    self.state = State::AskAtrn(domains);
                }
            }
            (State::Open(open), Command::Rcpt(rcpt)) => self.on_rcpt(open, *rcpt),
            (State::Open(open), Command::Data) => {
                if open.envelope.body == Body::Binary {
                    self.state = State::Open(open);
                    self.refuse(&Fault::Order("BINARYMIME needs BDAT"), None);
                } else if open.envelope.recipients.is_empty() {
                    self.state = State::Open(open);
                    self.refuse(&Fault::NoRecipients, None);
                } else {
                    self.state = State::AskBegin(open, Part::Dot);
                }
            }
            (state, command) => {
                self.state = state;
                let first = match command {
                    Command::Rcpt(_) | Command::Data => "need MAIL command",
                    Command::Mail(_) => "nested MAIL command",
                    _ => "not during a mail transaction",
                };
                if self.may_proceed() {
                    self.refuse(&Fault::Order(first), None);
                }
            }
        }
    }

    fn on_mail(&mut self, mail: Mail) {
        if !self.may_proceed() {
            return;
        }
        if self.messages >= self.settings.messages {
            return self.end(&Fault::TooManyMessages);
        }
        match Transaction::begin(mail, &self.settings, self.session.tls) {
            Ok(open) => self.state = State::AskMail(open),
            Err(fault) => self.refuse(&fault, None),
        }
    }

    fn on_rcpt(&mut self, mut open: Transaction, rcpt: Rcpt) {
        let postmaster = rcpt.bare_postmaster;
        match open.recipient(rcpt, &self.settings) {
            Ok(recipient) if postmaster => {
                // RFC 5321 s4.5.1: "SMTP systems are expected to make every reasonable effort to accept mail
                // directed to Postmaster from any other system".
                let shown = self.settings.shown(&recipient.address);
                self.say_ok((2, 1, 5), format_args!("{shown}"));
                open.envelope.recipients.push(recipient);
                self.state = State::Open(open);
            }
            Ok(recipient) => self.state = State::AskRcpt(open, recipient),
            Err(fault) => {
                self.state = State::Open(open);
                self.refuse(&fault, None);
            }
        }
    }

    fn on_bdat(&mut self, state: State, size: u64, last: bool) {
        let part = Part::Chunk { left: size, last };
        let fault = match state {
            State::Parted(open, chunks) => {
                self.state = State::Part(open, chunks, part);
                return;
            }
            _ if !self.settings.extensions.chunking => Fault::NotHere("BDAT is not available"),
            State::Open(open) if open.envelope.recipients.is_empty() => Fault::NoRecipients,
            State::Open(open) => {
                self.state = State::AskBegin(open, part);
                return;
            }
            _ => self.missing().unwrap_or(Fault::Order("need MAIL command")),
        };
        // The bytes are on their way whatever we say (RFC 3030 s2).
        self.state = State::DrainPart(size, fault);
    }

    fn on_starttls(&mut self) {
        if self.session.tls {
            self.refuse(&Fault::Order("TLS is active already"), None);
        } else if !self.settings.starttls {
            self.refuse(&Fault::NotHere("STARTTLS is not available"), None);
        } else {
            let ok = Status::new(2, 0, 0);
            self.out.full(220, ok, format_args!("Ready to start TLS"));
            self.lines.clear();
            self.state = State::Handshake;
        }
    }

    /// Whether the client said what has to be said first; refuses it otherwise.
    fn may_proceed(&mut self) -> bool {
        let missing = self.missing();
        if let Some(fault) = &missing {
            self.refuse(fault, None);
        }
        missing.is_none()
    }

    /// What has to be said before any mail.
    fn missing(&self) -> Option<Fault> {
        if self.session.hello.is_empty() {
            Some(Fault::Order("send EHLO or HELO first"))
        } else if self.settings.require_tls && !self.session.tls {
            Some(Fault::NeedsTls)
        } else if self.settings.require_auth && self.session.login.is_none() {
            Some(Fault::NeedsAuth)
        } else {
            None
        }
    }
}
