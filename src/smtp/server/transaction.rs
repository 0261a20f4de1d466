//! One mail transaction: what was agreed on before the message, and how much of it came.

use crate::base::limits;
use crate::mail::envelope::Body;
use crate::mail::envelope::Envelope;
use crate::mail::envelope::Recipient;
use crate::mail::envelope::TlsWish;
use crate::smtp::command::Mail;
use crate::smtp::command::Rcpt;
use crate::smtp::fault::Fault;
use crate::smtp::server::settings::Settings;

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    /// As agreed so far.
    pub envelope: Envelope,
    /// Bytes of the message as announced; zero when nothing was said.
    pub announced: u64,
    /// Bytes of the message so far.
    pub size: u64,
    /// Bytes of the recipients so far: an envelope has a limit, too.
    weight: usize,
}

/// What carries the message, or the next part of it.
#[derive(Debug)]
pub enum Part {
    /// DATA.
    Dot,
    /// BDAT.
    Chunk {
        /// Bytes still to come.
        left: u64,
        /// Whether the message ends with it.
        last: bool,
    },
}

impl Part {
    /// Bytes still to come; none that are known for DATA.
    pub fn left(&self) -> u64 {
        match self {
            Self::Dot => 0,
            Self::Chunk { left, .. } => *left,
        }
    }

    /// Takes what belongs to this part off the front of `input`.
    pub fn take<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let Self::Chunk { left, .. } = self else {
            return &[];
        };
        let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        let (text, rest) = input.split_at_checked(taken).unwrap_or((input, &[]));
        *input = rest;
        *left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        text
    }
}

impl Transaction {
    /// Begins one, unless MAIL asks for what was not offered or announces too much.
    pub fn begin(mail: Mail, settings: &Settings, tls: bool) -> Result<Self, Fault> {
        let extensions = &settings.extensions;
        let offered = (extensions.dsn || !mail.dsn)
            && (extensions.utf8 || !mail.utf8)
            && (extensions.require_tls && tls || !mail.require_tls)
            && (extensions.binary && extensions.chunking || mail.body != Body::Binary);
        if !offered {
            return Err(Fault::UnknownParameter);
        }
        // RFC 1870 s6.1: a size over the fixed maximum is refused at once.
        let announced = mail.size.unwrap_or(0);
        if settings.message_size.is_some_and(|most| announced > most) {
            return Err(Fault::TooBig);
        }
        Ok(Self {
            envelope: Envelope {
                sender: mail.sender,
                recipients: Vec::new(),
                body: mail.body,
                utf8: mail.utf8,
                ret: mail.ret,
                envid: mail.envid,
                tls: if mail.require_tls {
                    TlsWish::Required
                } else {
                    TlsWish::Usual
                },
                resolved: false,
            },
            announced,
            size: 0,
            weight: 0,
        })
    }

    /// What RCPT said as a recipient, when there is room for it.
    pub fn recipient(&mut self, rcpt: Rcpt, settings: &Settings) -> Result<Recipient, Fault> {
        if !settings.extensions.dsn && (rcpt.notify.is_some() || rcpt.orcpt.is_some()) {
            return Err(Fault::UnknownParameter);
        }
        if !self.envelope.utf8 && !rcpt.address.is_ascii() {
            return Err(Fault::NeedsUtf8);
        }
        let orcpt = rcpt.orcpt.as_ref().map_or(0, String::len);
        let address = rcpt.address.local().len() + rcpt.address.domain().as_str().len();
        // What a record needs besides the text itself is below this.
        let weight = self.weight.saturating_add(orcpt + address + 64);
        let most = settings.recipients.min(limits::RECIPIENTS);
        if self.envelope.recipients.len() >= most || weight > limits::ENVELOPE {
            return Err(Fault::TooManyRecipients);
        }
        self.weight = weight;
        Ok(Recipient {
            address: rcpt.address,
            notify: rcpt.notify.unwrap_or_default(),
            orcpt: rcpt.orcpt,
            host: None,
        })
    }

    /// Counts the next bytes of the message; `before` is what earlier messages of the session had.
    pub fn count(&mut self, text: &[u8], settings: &Settings, before: u64) -> Result<(), Fault> {
        let more = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.size = self.size.saturating_add(more);
        if settings.message_size.is_some_and(|most| self.size > most) {
            return Err(Fault::TooBig);
        }
        let session = before.saturating_add(self.size);
        if settings.session_size.is_some_and(|most| session > most) {
            return Err(Fault::SessionTooBig);
        }
        Ok(())
    }
}
