//! Standard input of `sendmail`, in steps, up to the lone dot when that counts.

use std::io;
use std::io::Read;

use crate::base::limits;
use crate::cli::sendmail::fault::Fault;

/// Standard input in steps, up to the lone dot when that counts.
pub(super) struct Input<'a> {
    read: &'a mut dyn Read,
    dot: Option<At>,
    /// What was read by the last step.
    pub(super) block: Vec<u8>,
}

/// Where the search for a lone dot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    /// A dot at a line start, which is held.
    Held,
    /// And a CR behind it, held too.
    HeldCr,
    Text,
}

impl<'a> Input<'a> {
    /// Reads to the end, or to a lone dot unless `dots_are_text`.
    pub(super) fn new(read: &'a mut dyn Read, dots_are_text: bool) -> Self {
        Self {
            read,
            dot: (!dots_are_text).then_some(At::LineStart),
            block: Vec::new(),
        }
    }

    /// Puts the next bytes into `block`; false when these were the last.
    pub(super) fn step(&mut self) -> Result<bool, Fault> {
        self.block.resize(limits::BODY_STEP, 0);
        let count = loop {
            match self.read.read(&mut self.block) {
                Ok(count) => break count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Fault::Input(err)),
            }
        };
        self.block.truncate(count);
        let Some(mut at) = self.dot else {
            return Ok(count > 0);
        };
        let mut kept = Vec::with_capacity(count.saturating_add(2));
        for &byte in &self.block {
            at = match (at, byte) {
                (At::LineStart, b'.') => At::Held,
                (At::Held, b'\r') => At::HeldCr,
                (At::Held | At::HeldCr, b'\n') => {
                    self.block = kept;
                    return Ok(false);
                }
                (before, byte) => {
                    kept.extend_from_slice(match before {
                        At::Held => b".",
                        At::HeldCr => b".\r",
                        At::LineStart | At::Text => b"",
                    });
                    kept.push(byte);
                    if byte == b'\n' {
                        At::LineStart
                    } else {
                        At::Text
                    }
                }
            };
        }
        if count == 0 {
            // A dot that no line end followed is text.
            kept.extend_from_slice(match at {
                At::Held => b".",
                At::HeldCr => b".\r",
                At::LineStart | At::Text => b"",
            });
        }
        self.dot = Some(at);
        self.block = kept;
        Ok(count > 0)
    }
}
