//! One message on its way through a client: which commands were sent, which were answered, and what became of each
//! recipient.

use std::io::Write;

use crate::base::limits;
use crate::mail::envelope::Body;
use crate::mail::envelope::Envelope;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Recipient;
use crate::mail::envelope::Ret;
use crate::mail::envelope::TlsWish;
use crate::mail::outcome::Outcome;
use crate::mail::status::Status;
use crate::smtp::client::capability::Capabilities;
use crate::smtp::client::settings::Settings;
use crate::smtp::outcome;
use crate::smtp::outcome::Phase;
use crate::smtp::reply::Reply;

/// A message to send.
#[derive(Debug)]
pub struct Message {
    /// With the recipients that this peer shall get; at least one.
    pub envelope: Envelope,
    /// Exact length in bytes of what the driver will write at [`SendBody`](crate::smtp::client::order::Order::SendBody),
    /// before stuffing.
    pub size: u64,
}

/// A command of a transaction, in the order in which they are sent and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Ends what an earlier transaction left open.
    Rset,
    /// MAIL.
    Mail,
    /// RCPT of the recipient with this place in the batch.
    Rcpt(usize),
    /// DATA, or BDAT with the whole message.
    Data,
    /// All said.
    End,
}

/// What a whole transaction came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// More commands or replies.
    Talk,
    /// The message itself.
    Body,
    /// A dot for a message nobody gets: the peer opened DATA although it took no recipient.
    EmptyDot,
    /// The reply cannot belong to the command: nothing this peer says can be told apart any more.
    Astray,
    /// The transaction is over without a message. `open` when the peer still holds it.
    Over {
        /// RSET has to come before the next one.
        open: bool,
    },
}

/// The message and where it stands.
#[derive(Debug)]
pub struct Transfer {
    message: Message,
    /// One for each recipient; `None` while it is not known.
    outcomes: Vec<Option<Outcome>>,
    /// Places of the recipients of this transaction.
    batch: Vec<usize>,
    /// Which of the batch were accepted, by place.
    accepted: Vec<usize>,
    /// MAIL was refused.
    mail_refused: bool,
    /// The message goes by BDAT.
    chunked: bool,
    to_send: Step,
    to_read: Step,
}

impl Transfer {
    /// Begins. Recipients that this peer cannot take by its own offer are judged at once.
    pub fn begin(message: Message, offer: &Capabilities, settings: &Settings, rset: bool) -> Self {
        let envelope = &message.envelope;
        let peer = settings.peer.as_str();
        let ascii = |r: &Recipient| r.address.is_ascii();
        let unfit = |subject, detail, text| {
            Some(outcome::unfit(Status::new(5, subject, detail), text, peer))
        };
        let too_big = offer.size.is_some_and(|most| message.size > most);
        let utf8_sender = envelope.sender.as_ref().is_some_and(|a| !a.is_ascii());
        let binary = envelope.body == Body::Binary && !(offer.binary && offer.chunking);
        let kept = offer.require_tls && settings.proved;
        let unprotected = envelope.tls == TlsWish::Required && !kept;
        let outcomes = envelope.recipients.iter().map(|recipient| {
            if too_big {
                unfit(3, 4, "the message is larger than the peer takes")
            } else if unprotected {
                unfit(7, 30, "the sender requires TLS on the whole way, and the peer does not promise it (REQUIRETLS)")
            } else if binary {
                unfit(6, 3, "the peer does not take BINARYMIME")
            } else if !offer.utf8 && (utf8_sender || !ascii(recipient)) {
                unfit(6, 7, "the peer does not take addresses outside ASCII")
            } else {
                None
            }
        });
        let mut transfer = Self {
            outcomes: outcomes.collect(),
            batch: Vec::new(),
            accepted: Vec::new(),
            mail_refused: false,
            chunked: envelope.body == Body::Binary || (settings.chunking && offer.chunking),
            to_send: Step::End,
            to_read: Step::End,
            message,
        };
        transfer.again(offer, settings, rset);
        transfer
    }

    /// Begins a transaction for recipients that are left; false when there is none.
    pub fn again(&mut self, offer: &Capabilities, settings: &Settings, rset: bool) -> bool {
        let most = offer
            .rcpt_max
            .unwrap_or(usize::MAX)
            .min(settings.recipients);
        let left = self.outcomes.iter().enumerate();
        self.batch = left
            .filter(|(_, outcome)| outcome.is_none())
            .map(|(place, _)| place)
            .take(most.max(1))
            .collect();
        self.accepted.clear();
        self.mail_refused = false;
        self.to_send = match (self.batch.is_empty(), rset) {
            (true, _) => Step::End,
            (false, true) => Step::Rset,
            (false, false) => Step::Mail,
        };
        self.to_read = self.to_send;
        !self.batch.is_empty()
    }

    /// Appends to `out` what can be sent now; one command, or as many as go together when the peer takes that.
    pub fn write(&mut self, offer: &Capabilities, settings: &Settings, out: &mut Vec<u8>) {
        if self.to_send != self.to_read {
            return;
        }
        let pipelining = offer.pipelining && settings.pipelining;
        loop {
            let step = self.to_send;
            if step == Step::End || (step == Step::Data && self.chunked) {
                return;
            }
            self.command(step, offer, out);
            self.to_send = self.after(step);
            if !pipelining || out.len() > limits::COMMANDS_OUT - limits::REPLY_ROOM {
                return;
            }
        }
    }

    /// Appends what opens the message: BDAT, or nothing after DATA.
    pub fn write_opening(&self, out: &mut Vec<u8>) {
        if self.chunked {
            put(out, format_args!("BDAT {} LAST\r\n", self.message.size));
        }
    }

    /// Whether the message goes by BDAT, without dots.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Whether nothing is left to ask for.
    pub fn is_over(&self) -> bool {
        self.batch.is_empty()
    }

    /// What a lost reply was due to.
    pub fn phase(&self) -> Phase {
        match self.to_read {
            Step::Rset | Step::Mail => Phase::Mail,
            Step::Rcpt(_) => Phase::Rcpt,
            Step::Data | Step::End => Phase::Data,
        }
    }

    /// The reply to the next command.
    pub fn on_reply(&mut self, reply: &Reply, settings: &Settings) -> Next {
        let step = self.to_read;
        let expected = match step {
            Step::Data => [3, 4, 5],
            _ => [2, 4, 5],
        };
        if !expected.contains(&reply.class()) {
            return Next::Astray;
        }
        self.to_read = self.after(step);
        let judge = |phase| outcome::judge(settings.role, phase, reply, &settings.peer);
        match step {
            Step::Mail if reply.class() != 2 => {
                self.mail_refused = true;
                for place in self.batch.clone() {
                    self.judged(place, judge(Phase::Mail));
                }
            }
            // Whatever it says now, there is no transaction.
            Step::Rcpt(_) if self.mail_refused => {}
            Step::Rcpt(number) => {
                let place = self.batch.get(number).copied().unwrap_or(usize::MAX);
                // RFC 5321 s4.5.3.1.10: too many recipients; the others go in the next transaction.
                let full = !self.accepted.is_empty() && too_many(reply, self.accepted.len());
                if reply.class() == 2 {
                    self.accepted.push(place);
                } else if !full {
                    self.judged(place, judge(Phase::Rcpt));
                }
            }
            Step::Data => return self.data_reply(reply, judge(Phase::Data)),
            Step::Rset | Step::Mail | Step::End => {}
        }
        if self.to_read != self.to_send {
            return Next::Talk;
        }
        let all_asked = self.to_send == Step::Data;
        if self.mail_refused || (all_asked && self.accepted.is_empty()) {
            return Next::Over {
                open: !self.mail_refused,
            };
        }
        if all_asked && self.chunked {
            return Next::Body;
        }
        Next::Talk
    }

    /// The reply to the message itself.
    pub fn on_message_reply(&mut self, reply: &Reply, settings: &Settings) {
        let outcome = if reply.class() == 2 {
            outcome::done(reply, &settings.peer)
        } else {
            outcome::judge(settings.role, Phase::Message, reply, &settings.peer)
        };
        self.accepted_end(&outcome);
    }

    /// The reply to the message for the next of those who were taken, in the order of their RCPT (RFC 2033 s4.2). True
    /// when another one is due.
    pub fn on_recipient_reply(&mut self, reply: &Reply, settings: &Settings) -> bool {
        if self.accepted.is_empty() {
            return false;
        }
        let place = self.accepted.remove(0);
        let outcome = if reply.class() == 2 {
            outcome::done(reply, &settings.peer)
        } else {
            outcome::judge(settings.role, Phase::Message, reply, &settings.peer)
        };
        self.judged(place, outcome);
        !self.accepted.is_empty()
    }

    /// Nothing more will be heard: who is not judged yet gets this.
    pub fn end_all(&mut self, outcome: &Outcome) {
        for slot in &mut self.outcomes {
            slot.get_or_insert_with(|| outcome.clone());
        }
    }

    /// The outcomes, in the order of the recipients.
    pub fn into_outcomes(self) -> Vec<Outcome> {
        let lost = || {
            let text = "the attempt ended without an answer";
            Outcome::Later(outcome::ours(Status::new(4, 0, 0), text, ""))
        };
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(lost))
            .collect()
    }

    fn data_reply(&mut self, reply: &Reply, outcome: Outcome) -> Next {
        match (reply.code, self.accepted.is_empty()) {
            (354, false) => Next::Body,
            (354, true) => Next::EmptyDot,
            (_, true) => Next::Over { open: true },
            (_, false) => {
                self.accepted_end(&outcome);
                Next::Over { open: true }
            }
        }
    }

    fn accepted_end(&mut self, outcome: &Outcome) {
        for place in std::mem::take(&mut self.accepted) {
            self.judged(place, outcome.clone());
        }
    }

    fn judged(&mut self, place: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
    }

    fn after(&self, step: Step) -> Step {
        let rcpt = |number| {
            if number < self.batch.len() {
                Step::Rcpt(number)
            } else {
                Step::Data
            }
        };
        match step {
            Step::Rset => Step::Mail,
            Step::Mail => rcpt(0),
            Step::Rcpt(number) => rcpt(number.saturating_add(1)),
            Step::Data | Step::End => Step::End,
        }
    }

    fn command(&self, step: Step, offer: &Capabilities, out: &mut Vec<u8>) {
        match step {
            Step::Rset => put(out, format_args!("RSET\r\n")),
            Step::Mail => self.mail(offer, out),
            Step::Rcpt(number) => {
                let place = self.batch.get(number).copied().unwrap_or(usize::MAX);
                if let Some(recipient) = self.message.envelope.recipients.get(place) {
                    rcpt(recipient, offer, out);
                }
            }
            Step::Data => put(out, format_args!("DATA\r\n")),
            Step::End => {}
        }
    }

    fn mail(&self, offer: &Capabilities, out: &mut Vec<u8>) {
        let envelope = &self.message.envelope;
        match &envelope.sender {
            Some(sender) => put(out, format_args!("MAIL FROM:<{sender}>")),
            None => put(out, format_args!("MAIL FROM:<>")),
        }
        if offer.size.is_some() {
            put(out, format_args!(" SIZE={}", self.message.size));
        }
        // Without 8BITMIME the driver has brought it into a form that needs none.
        match envelope.body {
            Body::Eight if offer.eight_bit => put(out, format_args!(" BODY=8BITMIME")),
            Body::Binary => put(out, format_args!(" BODY=BINARYMIME")),
            Body::Seven | Body::Eight => {}
        }
        let wide = |r: &Recipient| !r.address.is_ascii();
        let utf8 = envelope.utf8
            || envelope.sender.as_ref().is_some_and(|a| !a.is_ascii())
            || envelope.recipients.iter().any(wide);
        if utf8 && offer.utf8 {
            put(out, format_args!(" SMTPUTF8"));
        }
        if envelope.tls == TlsWish::Required {
            put(out, format_args!(" REQUIRETLS"));
        }
        if offer.dsn {
            match envelope.ret {
                Some(Ret::Full) => put(out, format_args!(" RET=FULL")),
                Some(Ret::Headers) => put(out, format_args!(" RET=HDRS")),
                None => {}
            }
            if let Some(envid) = &envelope.envid {
                put(out, format_args!(" ENVID={envid}"));
            }
        }
        put(out, format_args!("\r\n"));
    }
}

/// Whether a refusal of RCPT is about the number of recipients.
fn too_many(reply: &Reply, accepted: usize) -> bool {
    match (reply.code, reply.status) {
        (_, Some(status)) => {
            matches!(reply.code, 450..=452 | 552) && (status.subject(), status.detail()) == (5, 3)
        }
        (452, None) => true,
        // RFC 5321 s4.5.3.1.10: what RFC 821 called it; a server that means this has taken a hundred.
        (552, None) => accepted >= 100,
        _ => false,
    }
}

fn rcpt(recipient: &Recipient, offer: &Capabilities, out: &mut Vec<u8>) {
    put(out, format_args!("RCPT TO:<{}>", recipient.address));
    if offer.dsn {
        match recipient.notify {
            Notify::Unsaid => {}
            Notify::Never => put(out, format_args!(" NOTIFY=NEVER")),
            Notify::On {
                success,
                failure,
                delay,
            } => {
                let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                let mut before = " NOTIFY=";
                for (_, word) in words.iter().filter(|(on, _)| *on) {
                    put(out, format_args!("{before}{word}"));
                    before = ",";
                }
            }
        }
        if let Some(orcpt) = &recipient.orcpt {
            put(out, format_args!(" ORCPT={orcpt}"));
        }
    }
    put(out, format_args!("\r\n"));
}

/// Writing to a `Vec` cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
