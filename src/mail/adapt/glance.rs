//! Tells cheaply whether there is anything to change in a message, which is hardly ever the case.

use crate::base::limits;
use crate::mail::adapt::plan::Needs;

/// A quick look at a message.
#[derive(Clone, Debug)]
pub struct Glance {
    /// A byte above 127 in the header of the message.
    pub header_8bit: bool,
    /// One behind it.
    pub body_8bit: bool,
    /// A line over the limit.
    pub long: bool,
    /// NUL, or a CR or LF without the other.
    pub stray: bool,
    /// Bytes of the line so far.
    column: usize,
    cr: bool,
    header: bool,
}

impl Default for Glance {
    fn default() -> Self {
        Self {
            header_8bit: false,
            body_8bit: false,
            long: false,
            stray: false,
            column: 0,
            cr: false,
            header: true,
        }
    }
}

impl Glance {
    /// The next block of the message.
    pub fn push(&mut self, block: &[u8]) {
        let mut rest = block;
        while let Some((&first, _)) = rest.split_first() {
            if self.cr {
                self.cr = false;
                if first == b'\n' {
                    self.header &= self.column > 0;
                    self.column = 0;
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                self.stray = true;
            }
            // Up to what may end the line, in one go.
            let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
            let (text, behind) = rest
                .split_at_checked(end.unwrap_or(rest.len()))
                .unwrap_or((rest, b""));
            if !text.is_ascii() {
                if self.header {
                    self.header_8bit = true;
                } else {
                    self.body_8bit = true;
                }
            }
            self.column = self.column.saturating_add(text.len());
            self.long |= self.column > limits::TEXT_LINE;
            rest = behind;
            if let Some((&special, after)) = behind.split_first() {
                self.cr = special == b'\r';
                self.stray |= special != b'\r';
                rest = after;
            }
        }
    }

    /// Whether the message is as it should be for this peer.
    pub fn fits(&self, needs: Needs) -> bool {
        let seven = !needs.seven || !self.body_8bit;
        seven && (!needs.lines || !(self.long || self.stray || self.cr))
    }
}
