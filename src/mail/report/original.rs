//! The original of a report, as far as it is returned.

use crate::base::limits;

/// Passes on as much of the original as the report returns.
#[derive(Clone, Debug)]
pub struct Original {
    whole: bool,
    utf8: bool,
    line_start: bool,
    over: bool,
    passed: usize,
}

impl Original {
    /// All of it when `whole`, else its header; `utf8` when the reader of the report knows that.
    pub(super) fn new(whole: bool, utf8: bool) -> Self {
        Self {
            whole,
            utf8,
            line_start: true,
            over: false,
            passed: 0,
        }
    }

    /// Takes the next bytes of the original, CRLF line ends, and appends what is returned of them to `out`.
    ///
    /// Says whether more is wanted; of a header no more than [`limits::HEADER_BLOCK`] bytes are. Where the reader
    /// may not know UTF-8, 8-bit bytes of a header become `?`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        if self.whole {
            out.extend_from_slice(bytes);
            return true;
        }
        for &byte in bytes {
            if self.over {
                break;
            }
            match byte {
                // The blank line: CR at a line start.
                b'\r' if self.line_start => self.over = true,
                _ => {
                    self.line_start = byte == b'\n';
                    let ascii = byte.is_ascii() || self.utf8;
                    out.push(if ascii { byte } else { b'?' });
                    self.passed = self.passed.saturating_add(1);
                    self.over = self.passed >= limits::HEADER_BLOCK;
                }
            }
        }
        !self.over
    }
}
