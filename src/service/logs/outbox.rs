//! Lines that wait to be brought somewhere: bounded, whole lines only, with a count of those there was no room for.

use std::cell::RefCell;
use std::ops::Range;

use crate::base::limits;
use crate::service::signal::Ending;
use crate::service::signal::Wake;

/// Lines on their way to a place that may be slow.
#[derive(Debug, Default)]
pub struct Outbox {
    state: RefCell<State>,
    news: Wake,
    over: Ending,
}

#[derive(Debug, Default)]
struct State {
    lines: Batch,
    lost: u64,
    /// What was taken last could not be brought away.
    failing: bool,
    closed: bool,
}

/// Lines in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// All of them, one behind the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Batch {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// One of them.
    pub fn line(&self, at: usize) -> Option<&[u8]> {
        let begin = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        let place: Range<usize> = begin..*self.ends.get(at)?;
        self.bytes.get(place)
    }
}

impl Outbox {
    /// Puts a line in, or counts it as lost when there is no room; answers with the bytes that are held. Who waits is
    /// told by [`Outbox::ring`].
    pub fn put(&self, line: &[u8]) -> usize {
        let mut state = self.state.borrow_mut();
        if state.lines.bytes.len().saturating_add(line.len()) > limits::LOG_HELD {
            state.lost = state.lost.saturating_add(1);
            return state.lines.bytes.len();
        }
        state.lines.bytes.extend_from_slice(line);
        let end = state.lines.bytes.len();
        state.lines.ends.push(end);
        end
    }

    /// Tells who waits, when there is something.
    pub fn ring(&self) {
        if !self.state.borrow().lines.ends.is_empty() {
            self.news.ring();
        }
    }

    /// Everything that is there, waited for; `None` when the box is closed and empty.
    pub async fn batch(&self) -> Option<Batch> {
        loop {
            if let Some(batch) = self.take() {
                return Some(batch);
            }
            if self.state.borrow().closed {
                self.over.begin();
                return None;
            }
            self.news.heard().await;
        }
    }

    /// Everything that is there, if there is anything.
    pub fn take(&self) -> Option<Batch> {
        let mut state = self.state.borrow_mut();
        if state.lines.ends.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut state.lines))
    }

    /// What was taken could not be brought away, and so many lines of it are lost. Answers whether that is news.
    pub fn failed(&self, lines: u64) -> bool {
        let mut state = self.state.borrow_mut();
        state.lost = state.lost.saturating_add(lines);
        !std::mem::replace(&mut state.failing, true)
    }

    /// What was taken is where it should be.
    pub fn went_well(&self) {
        self.state.borrow_mut().failing = false;
    }

    /// How many lines were lost since this was asked. None as long as nothing gets away: who told it here would make one
    /// line more that is lost.
    pub fn take_lost(&self) -> u64 {
        let mut state = self.state.borrow_mut();
        if state.failing {
            return 0;
        }
        std::mem::take(&mut state.lost)
    }

    /// Whether there is room for more than a few lines.
    pub fn has_room(&self) -> bool {
        let state = self.state.borrow();
        !state.failing && state.lines.bytes.len() < limits::LOG_HELD / 2
    }

    /// No more lines are coming.
    pub fn close(&self) {
        self.state.borrow_mut().closed = true;
        self.news.ring();
    }

    /// Whether no more lines are coming.
    pub fn is_closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// Waits until it is closed and everything was taken and brought away.
    pub async fn emptied(&self) {
        self.over.begun().await;
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;
    use crate::base::limits;
    use smol::future::{block_on, poll_once};

    #[test]
    fn lines_stay_whole_and_in_order_and_what_has_no_room_is_counted() {
        let outbox = Outbox::default();
        assert!(block_on(poll_once(outbox.batch())).is_none());
        outbox.put(b"one\n");
        outbox.put(b"two\n");
        outbox.put(&vec![b'x'; limits::LOG_HELD]);
        outbox.put(b"");
        let batch = block_on(outbox.batch()).unwrap();
        assert_eq!(batch.count(), 3);
        assert_eq!(batch.line(1), Some(&b"two\n"[..]));
        assert_eq!(batch.line(3), None);
        assert_eq!((outbox.take_lost(), outbox.take_lost()), (1, 0));
        assert!(outbox.failed(3) && !outbox.failed(4));
        assert_eq!((outbox.take_lost(), outbox.has_room()), (0, false));
        outbox.went_well();
        assert_eq!((outbox.take_lost(), outbox.has_room()), (7, true));
        outbox.put(b"last\n");
        outbox.close();
        assert_eq!(block_on(outbox.batch()).unwrap().bytes, b"last\n");
        assert_eq!(block_on(outbox.batch()), None);
        block_on(outbox.emptied());
    }
}
