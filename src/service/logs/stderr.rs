//! Lines on standard error, without ever waiting for who reads them.
//!
//! What standard error is, others share: it cannot be made non-blocking. But a pipe or socket that says it has room takes
//! this much without waiting, and a file always does.

use std::rc::Rc;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::base::limits;
use crate::service::signal::Wake;

/// What is written at once: what a pipe with room takes whole (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

/// Lines on their way to standard error.
#[derive(Debug)]
pub struct Stderr {
    lines: Vec<u8>,
    lost: u64,
    /// Whether it has to be asked for room.
    asks: bool,
    /// Rung when lines are left because nobody reads.
    stuck: Rc<Wake>,
}

impl Stderr {
    /// Nothing is held yet.
    pub fn open() -> Self {
        let stat = rustix::fs::fstat(rustix::stdio::stderr());
        let file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
        Self {
            lines: Vec::new(),
            lost: 0,
            asks: !stat.is_ok_and(|stat| file(stat.st_mode)),
            stuck: Rc::default(),
        }
    }

    /// Holds a line; answers with the bytes that are held.
    pub fn put(&mut self, line: &[u8]) -> usize {
        let held = self.lines.len();
        if held.saturating_add(line.len()) > limits::LOG_HELD {
            self.lost = self.lost.saturating_add(1);
            return held;
        }
        self.lines.extend_from_slice(line);
        self.lines.len()
    }

    /// Writes what is held, as far as there is room.
    pub fn flush(&mut self) {
        let mut done = 0_usize;
        while let Some(rest) = self.lines.get(done..).filter(|rest| !rest.is_empty()) {
            let piece = piece(rest);
            if self.asks && !has_room() {
                break;
            }
            match rustix::io::write(rustix::stdio::stderr(), piece) {
                Ok(count) => done = done.saturating_add(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // A log that cannot be written must not stop mail.
                Err(_) => done = self.lines.len(),
            }
        }
        self.lines.drain(..done.min(self.lines.len()));
        if !self.lines.is_empty() {
            self.stuck.ring();
        }
    }

    /// How many lines were lost since this was asked; none while some wait still.
    pub fn take_lost(&mut self) -> u64 {
        if self.lines.is_empty() {
            std::mem::take(&mut self.lost)
        } else {
            0
        }
    }

    /// Whether lines are left because nobody reads.
    pub fn is_stuck(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Rings when lines are left, for who tries again.
    pub fn stuck(&self) -> Rc<Wake> {
        Rc::clone(&self.stuck)
    }
}

/// Says something that must not go where the log goes.
pub fn say(text: &str) {
    let mut stderr = Stderr::open();
    stderr.put(format!("mailroot: {text}\n").as_bytes());
    stderr.flush();
}

/// The front of the lines that is written at once: whole ones where it can be.
fn piece(lines: &[u8]) -> &[u8] {
    let Some(front) = lines.get(..PIECE) else {
        return lines;
    };
    let end = front.iter().rposition(|byte| *byte == b'\n');
    let end = end.map_or(PIECE, |at| at.saturating_add(1));
    front.get(..end).unwrap_or(front)
}

fn has_room() -> bool {
    let stderr = rustix::stdio::stderr();
    let mut wanted = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Whatever else is wrong with it, the write finds out.
    rustix::event::poll(&mut wanted, Some(&now)) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::{PIECE, piece};

    #[test]
    fn pieces_end_with_lines() {
        assert_eq!(piece(b"one\ntwo"), b"one\ntwo");
        let mut long = vec![b'x'; PIECE];
        assert_eq!(piece(&long).len(), PIECE);
        long[9] = b'\n';
        assert_eq!(piece(&long).len(), 10);
    }
}
