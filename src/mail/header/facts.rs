//! What the header of a message says that a relay must know.

use crate::mail::header::block::unfold;
use crate::mail::header::field::Field;

/// How pressing a message says it is (RFC 2156 s5.3.6 `Priority`, `Importance`; `X-Priority` by use).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// `non-urgent`, `low`, 4, 5.
    Low,
    /// Nothing said.
    #[default]
    Normal,
    /// `urgent`, `high`, 1, 2.
    High,
}

/// What was learnt so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    seen: u32,
    /// `Received` fields: the hops it has made (RFC 5321 s6.3).
    pub hops: u32,
    /// The subject, unfolded, encoded words as they came, cut at [`crate::base::limits::FIELD_KEPT`] bytes.
    pub subject: String,
    /// The message id with its angle brackets, cut likewise.
    pub message_id: String,
    /// The strongest wish of the three priority fields; the first one that says anything else than normal.
    pub priority: Priority,
    /// `Auto-Submitted` with any value but `no` (RFC 3834 s5): not to be answered.
    pub automatic: bool,
    /// `TLS-Required: No` (RFC 8689 s3): rather without TLS than not at all.
    pub tls_optional: bool,
    /// A byte above 127 in the header: wants SMTPUTF8 or a lenient peer.
    pub header_8bit: bool,
    /// A byte above 127 in the body: wants 8BITMIME.
    pub body_8bit: bool,
    /// Longest line in bytes without its line end (RFC 5322 s2.1.1: 998).
    pub longest_line: usize,
    /// The header was larger than what is captured of one; the captured part ends at a line end.
    pub cut: bool,
    /// The header was over, by its blank line or by a line that is no field.
    pub header_over: bool,
}

impl Facts {
    /// Whether the message came with this field.
    pub const fn has(&self, field: Field) -> bool {
        self.seen & field.bit() != 0
    }

    /// Notes that the field is there.
    pub(super) fn see(&mut self, field: Field) {
        self.seen |= field.bit();
        if field == Field::Received {
            self.hops = self.hops.saturating_add(1);
        }
    }

    /// Notes what a field says, of which `value` is the beginning, colon first.
    pub(super) fn learn(&mut self, field: Field, value: &[u8]) {
        let text = unfold(value.strip_prefix(b":").unwrap_or(value));
        match field {
            Field::Subject if self.subject.is_empty() => self.subject = text,
            Field::MessageId if self.message_id.is_empty() => self.message_id = text,
            Field::AutoSubmitted => {
                self.automatic |= !text
                    .split(';')
                    .next()
                    .unwrap_or("")
                    .trim()
                    .eq_ignore_ascii_case("no");
            }
            Field::TlsRequired => {
                self.tls_optional |= text.trim().eq_ignore_ascii_case("no");
            }
            Field::Priority | Field::Importance | Field::XPriority
                if self.priority == Priority::Normal =>
            {
                self.priority = priority(&text);
            }
            _ => {}
        }
    }
}

fn priority(text: &str) -> Priority {
    let word = text.split([' ', '(', ';']).next().unwrap_or("");
    let any = |list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
    if any(&["urgent", "high", "1", "2"]) {
        Priority::High
    } else if any(&["non-urgent", "low", "4", "5"]) {
        Priority::Low
    } else {
        Priority::Normal
    }
}
