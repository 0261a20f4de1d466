//! Messages that are in memory first: mail of little worth, where its owner has said so, is written only when it does
//! not leave soon.
//!
//! What is here is lost in a power cut, which is what the owner chose (see promise G1). Everything else about it is as
//! with any message: it can be loaded, listed, held, and ends as delivered, reported or in badmail. It is written out,
//! with all that became of it so far, when its time is up, at a stop, or when something is to be remembered about it.
//! Its id may be given again after a restart, if nothing of it was ever written.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::limits;
use crate::disk::body::BodyBytes;
use crate::disk::body::Stored;
use crate::disk::order::Body;
use crate::disk::order::Order;
use crate::disk::order::Submission;
use crate::queue::accept::Accept;
use crate::queue::progress::Progress;

/// All of them. Invariant: `bytes` is the sum of their bodies, at most [`limits::MEMORY_FIRST`].
#[derive(Debug, Default)]
pub(super) struct Volatile {
    kept: BTreeMap<MsgId, Kept>,
    bytes: usize,
}

/// One message.
#[derive(Debug)]
struct Kept {
    accept: Accept,
    body: Vec<u8>,
    progress: Option<Progress>,
    hold: Option<String>,
    /// When it is to be written; none when it is to be written now.
    due: Option<Tick>,
    /// Its record is on its way, so what happens now must be told behind it.
    writing: bool,
}

impl Volatile {
    /// Whether there is room for another message with a body of so many bytes.
    fn has_room(&self, body: usize) -> bool {
        self.bytes.saturating_add(body) <= limits::MEMORY_FIRST
            && self.kept.len() < limits::MEMORY_FIRST_MESSAGES
    }

    /// Keeps a message, to be written at `due`. Gives it back when there is no room, or its body is in a file.
    pub(super) fn keep(
        &mut self,
        mut submission: Box<Submission>,
        due: Tick,
    ) -> Option<Box<Submission>> {
        let Body::Inline(bytes) = &mut submission.body else {
            return Some(submission);
        };
        if !self.has_room(bytes.len()) {
            return Some(submission);
        }
        let body = mem::take(bytes);
        let Submission { id, accept, .. } = *submission;
        self.bytes = self.bytes.saturating_add(body.len());
        let kept = Kept {
            accept,
            body,
            progress: None,
            hold: None,
            due: Some(due),
            writing: false,
        };
        self.kept.insert(id, kept);
        None
    }

    /// How many messages, and the bytes of their bodies.
    pub(super) fn usage(&self) -> (usize, u64) {
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        (self.kept.len(), bytes)
    }

    /// Whether the message is here.
    pub(super) fn contains(&self, id: MsgId) -> bool {
        self.kept.contains_key(&id)
    }

    /// Whether it is here and waits for the operator.
    pub(super) fn is_held(&self, id: MsgId) -> bool {
        self.kept.get(&id).is_some_and(|kept| kept.hold.is_some())
    }

    /// The message with the next higher id, or the first one.
    pub(super) fn after(&self, id: Option<MsgId>) -> Option<MsgId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.kept.range((from, Bound::Unbounded));
        range.next().map(|(id, _)| *id)
    }

    /// The message as if it was read back.
    pub(super) fn load(&self, id: MsgId) -> Option<(Stored, BodyBytes)> {
        let kept = self.kept.get(&id)?;
        let stored = Stored {
            accept: kept.accept.clone(),
            progress: kept.progress.clone(),
            hold: kept.hold.clone(),
            body_len: u64::try_from(kept.body.len()).unwrap_or(u64::MAX),
            body_crc: None,
        };
        Some((stored, BodyBytes::Inline(kept.body.clone(), 0)))
    }

    /// Notes what becomes of a message. Says whether the journal is to hear of it, too.
    pub(super) fn note(&mut self, order: &Order) -> bool {
        let Some(id) = order.about() else {
            return true;
        };
        let Some(kept) = self.kept.get_mut(&id) else {
            return true;
        };
        let writing = kept.writing;
        match order {
            Order::Done(_) => self.forget(id),
            Order::Progress(_, progress) => {
                kept.progress = Some(progress.clone());
                kept.due = None;
            }
            Order::Hold(_, why) => {
                kept.hold = Some(why.clone());
                kept.due = None;
            }
            Order::Release(_) => kept.hold = None,
            // A mark against messages that end the program: this one would end with it.
            _ => {}
        }
        writing
    }

    /// What has to be ordered so that the message is durable with all that became of it: the accept, and what follows.
    /// None when it is not here, or on its way already.
    pub(super) fn begin_writing(&mut self, id: MsgId) -> Option<(Order, Vec<Order>)> {
        let kept = self.kept.get_mut(&id).filter(|kept| !kept.writing)?;
        kept.writing = true;
        let accept = Order::Accept(Box::new(Submission {
            id,
            accept: kept.accept.clone(),
            body: Body::Inline(kept.body.clone()),
            joined: None,
        }));
        let progress = kept.progress.clone();
        let progress = progress.map(|progress| Order::Progress(id, progress));
        let hold = kept.hold.clone().map(|why| Order::Hold(id, why));
        Some((accept, progress.into_iter().chain(hold).collect()))
    }

    /// The message was written, or could not be: then it stays, and is due again at this tick.
    pub(super) fn end_writing(&mut self, id: MsgId, written: bool, again: Tick) {
        if written {
            self.forget(id);
        } else if let Some(kept) = self.kept.get_mut(&id) {
            kept.writing = false;
            kept.due = Some(again);
        }
    }

    fn forget(&mut self, id: MsgId) {
        if let Some(kept) = self.kept.remove(&id) {
            self.bytes = self.bytes.saturating_sub(kept.body.len());
        }
    }

    /// Makes everything due.
    pub(super) fn hurry(&mut self) {
        for kept in self.kept.values_mut() {
            kept.due = None;
        }
    }

    /// Those that are due by now and not being written.
    pub(super) fn due(&self, now: Tick) -> Vec<MsgId> {
        let due = |kept: &Kept| !kept.writing && kept.due.is_none_or(|due| due <= now);
        let all = self.kept.iter().filter(|(_, kept)| due(kept));
        all.map(|(id, _)| *id).collect()
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Tick> {
        let waiting = self.kept.values().filter(|kept| !kept.writing);
        waiting.map(|kept| kept.due.unwrap_or_default()).min()
    }
}
