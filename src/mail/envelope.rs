//! The envelope: what MAIL and RCPT said, or what a pickup file or `sendmail` meant.

use crate::mail::address::Address;
use crate::mail::domain::Domain;

/// Who gets a message and who hears when that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse path; `None` is the null sender `<>` (RFC 5321 s4.5.5), whose mail is never answered.
    pub sender: Option<Address>,
    /// In the order given; never empty in an accepted message.
    pub recipients: Vec<Recipient>,
    /// What the body needs of each hop.
    pub body: Body,
    /// MAIL carried SMTPUTF8 (RFC 6531 s3.4).
    pub utf8: bool,
    /// RET (RFC 3461 s4.3): what a report returns.
    pub ret: Option<Ret>,
    /// ENVID, still as xtext (RFC 3461 s4.4).
    pub envid: Option<String>,
    /// What the sender wants of TLS.
    pub tls: TlsWish,
    /// The recipients are those that a directory gave: it is not asked again.
    pub resolved: bool,
}

/// How much TLS matters to a message's sender, more or less than to the routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsWish {
    /// As the routes say.
    #[default]
    Usual,
    /// MAIL carried REQUIRETLS (RFC 8689 s2): only over verified TLS, and only to peers that promise the same.
    Required,
    /// The message says `TLS-Required: No` (RFC 8689 s3): rather without TLS than not at all.
    Optional,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub address: Address,
    /// When its sender wants to hear.
    pub notify: Notify,
    /// ORCPT, still as `type;xtext` (RFC 3461 s4.2).
    pub orcpt: Option<String>,
    /// The host that keeps this recipient's mail, when a directory named one: it goes as mail for that host's domain
    /// would go.
    pub host: Option<Domain>,
}

impl Recipient {
    /// A recipient without DSN parameters.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            notify: Notify::default(),
            orcpt: None,
            host: None,
        }
    }

    /// The domain whose way it goes.
    pub fn destination(&self) -> &Domain {
        self.host.as_ref().unwrap_or(self.address.domain())
    }
}

/// BODY of MAIL (RFC 6152 s2, RFC 3030 s3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Nothing said, or `7BIT`.
    #[default]
    Seven,
    /// `8BITMIME`.
    Eight,
    /// `BINARYMIME`: only BDAT can carry it.
    Binary,
}

/// RET of MAIL (RFC 3461 s4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its headers.
    Headers,
}

/// NOTIFY of RCPT (RFC 3461 s4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Nothing was said: a sender hears of failures, and of delays as the server sees fit. What was not said is not
    /// said to the next hop either (RFC 3461 s5.2.1).
    #[default]
    Unsaid,
    /// `NEVER`.
    Never,
    /// Any of `SUCCESS`, `FAILURE`, `DELAY`; none of them set cannot be said on the wire.
    On {
        /// Tell when it was delivered.
        success: bool,
        /// Tell when it failed.
        failure: bool,
        /// Tell when it takes long.
        delay: bool,
    },
}

impl Notify {
    /// Whether the sender wants to hear of a delivery.
    pub const fn success(self) -> bool {
        matches!(self, Self::On { success: true, .. })
    }

    /// Whether the sender wants to hear of a failure.
    pub const fn failure(self) -> bool {
        matches!(self, Self::Unsaid | Self::On { failure: true, .. })
    }

    /// The same for each of several who get the mail instead (RFC 3461 s5.2.7): what goes wrong with one of them is told,
    /// and no success, for the sender was told that they are several.
    #[must_use]
    pub const fn of_member(self) -> Self {
        match self {
            Self::On {
                success: true,
                failure: false,
                delay: false,
            } => Self::Never,
            Self::On { failure, delay, .. } => Self::On {
                success: false,
                failure,
                delay,
            },
            said => said,
        }
    }

    /// Whether the sender may hear of a delay.
    pub const fn delay(self) -> bool {
        matches!(self, Self::Unsaid | Self::On { delay: true, .. })
    }
}
