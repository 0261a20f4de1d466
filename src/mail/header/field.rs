//! The fields that matter to a relay, by their names.

/// The fields that matter to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of its name")]
pub enum Field {
    Date,
    MessageId,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    ResentFrom,
    ResentSender,
    ResentTo,
    ResentCc,
    ResentBcc,
    Received,
    ReturnPath,
    Subject,
    Priority,
    Importance,
    XPriority,
    AutoSubmitted,
    MimeVersion,
    ContentType,
    TlsRequired,
}

const FIELDS: [(&str, Field); 23] = [
    ("Date", Field::Date),
    ("Message-ID", Field::MessageId),
    ("From", Field::From),
    ("Sender", Field::Sender),
    ("Reply-To", Field::ReplyTo),
    ("To", Field::To),
    ("Cc", Field::Cc),
    ("Bcc", Field::Bcc),
    ("Resent-From", Field::ResentFrom),
    ("Resent-Sender", Field::ResentSender),
    ("Resent-To", Field::ResentTo),
    ("Resent-Cc", Field::ResentCc),
    ("Resent-Bcc", Field::ResentBcc),
    ("Received", Field::Received),
    ("Return-Path", Field::ReturnPath),
    ("Subject", Field::Subject),
    ("Priority", Field::Priority),
    ("Importance", Field::Importance),
    ("X-Priority", Field::XPriority),
    ("Auto-Submitted", Field::AutoSubmitted),
    ("MIME-Version", Field::MimeVersion),
    ("Content-Type", Field::ContentType),
    ("TLS-Required", Field::TlsRequired),
];

impl Field {
    /// The field with this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        FIELDS
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|&(_, field)| field)
    }

    /// Its name as it is written.
    pub fn name(self) -> &'static str {
        FIELDS
            .iter()
            .find(|(_, field)| *field == self)
            .map_or("", |(name, _)| name)
    }

    /// Its place in a set of fields.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}
