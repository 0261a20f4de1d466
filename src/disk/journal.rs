//! The journal itself: takes orders, appends their records, syncs once for all, and says what became of each.
//!
//! One thread owns it (`writer.rs`); the crash test drives it directly. It trusts nothing it has not synced: an
//! accept enters the index and is answered only after the sync (promise G1), and after a failed call everything
//! unsynced is written again to a fresh segment that was proved first.
//!
//! Its other parts: `append.rs` makes records, `space.rs` finds segments, `latch.rs` deals with failures, `tidy.rs`
//! reclaims.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::fault::OpenError;
use crate::disk::fault::Refused;
use crate::disk::medium::Access;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::order::Body;
use crate::disk::order::Order;
use crate::disk::recover;
use crate::disk::recover::Free;
use crate::disk::recover::Recovery;
use crate::disk::recover::Segment;
use crate::disk::segment;
use crate::queue::index::Entry;
use crate::queue::index::Index;
use crate::queue::index::Place;
use crate::queue::record::SECTOR;
use crate::queue::record::SECTOR_LEN;

pub use crate::disk::order::Joined;
pub use crate::disk::order::Options;

/// What becomes true of the index when a record is written or synced.
#[derive(Debug)]
pub(super) enum Effect {
    Accepted(MsgId, Place, u64),
    Progressed(MsgId, Place),
    Finished(MsgId),
    Held(MsgId, Place),
    Released(MsgId),
    Begun(MsgId, u8, bool),
    Moved(MsgId, Place, Place),
    /// This answer is owed.
    Answer(usize),
}

/// Why a record found no room.
#[derive(Debug)]
pub(super) enum Trouble {
    Full,
    TooLarge,
    Broken,
}

/// A segment whose live records are being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    pub slot: u32,
    /// The last message that was looked at.
    pub after: Option<MsgId>,
}

/// The segment being written.
#[derive(Debug)]
pub(super) struct Active<F> {
    pub file: F,
    pub slot: u32,
    pub size: u32,
    pub salt: u32,
    /// Where `buffer` begins in the file. Everything in front of it is synced.
    pub base: u32,
}

/// The journal on a medium.
#[derive(Debug)]
pub struct Core<M: Medium> {
    pub(super) medium: M,
    pub(super) options: Options,
    pub(super) index: Arc<Mutex<Index>>,
    /// Segments that matter, oldest first; the last is the active one when there is one.
    pub(super) used: VecDeque<Segment>,
    /// Forgotten by a header that is not synced yet, so they must not be touched.
    pub(super) limbo: Vec<Segment>,
    pub(super) free: Vec<Free>,
    /// Files to be removed before anything is believed again.
    pub(super) bin: Vec<u32>,
    pub(super) active: Option<Active<M::File>>,
    /// Everything of the active segment that is not synced: `written` bytes of it are written.
    pub(super) buffer: Vec<u8>,
    pub(super) written: usize,
    pub(super) at_write: Vec<Effect>,
    pub(super) at_sync: Vec<Effect>,
    /// Bodies to be removed once it is durable that nothing needs them.
    pub(super) unlink: Vec<MsgId>,
    pub(super) answers: Vec<Result<(), Refused>>,
    /// A message was refused for want of room on the disk; see [`Self::room`].
    pub(super) full: bool,
    /// Messages and bytes accepted and not yet in the index.
    pub(super) coming: (usize, u64),
    /// The latch: why nothing is accepted.
    pub(super) broken: Option<String>,
    /// What was parked is being written: some of it is neither parked nor written at the moment.
    pub(super) unparking: bool,
    /// Number and end of the segment written last.
    pub(super) last: (u64, u32),
    pub(super) next_number: u64,
    pub(super) next_id: MsgId,
    pub(super) clock: Wall,
    pub(super) running: Duration,
    pub(super) copying: Option<Copying>,
    /// Copies wait for their sync.
    pub(super) copied: bool,
    /// Live messages whose records turned out unreadable while they were copied.
    pub(super) lost: Vec<MsgId>,
}

impl<M: Medium> Core<M> {
    /// Reads the medium and makes it ready. Writes nothing but the removal of left-overs; the first segment is made
    /// when the first record comes.
    pub fn open(medium: M, options: Options) -> Result<(Self, Recovery), OpenError> {
        let found = recover::read(&medium)?;
        if let Some(newest) = found.used.last() {
            // After a kill the tail may be in the page cache only. What is built on it (a claim unlinked because
            // its id was seen) must not outlive it.
            let name = segment::name(newest.slot);
            medium
                .open(Folder::Queue, &name, Access::Write)
                .and_then(|file| medium.sync(&file))
                .map_err(|error| OpenError::Io("sync the newest journal segment", error))?;
        }
        for (folder, name) in &found.litter {
            // What cannot be removed costs room, not mail, and is tried again at the next start.
            let _ = medium.unlink(*folder, name);
        }
        let mut index = found.index;
        let poisoned: Vec<MsgId> = index
            .entries()
            .filter(|entry| entry.begins >= limits::POISON_BEGINS)
            .map(|entry| entry.id)
            .filter(|id| index.held(*id).is_none())
            .collect();
        for id in poisoned {
            let text =
                "handling it was begun three times and never ended; it may make the service fail";
            index.parked.entry(id).or_default().hold = Some(Some(text.as_bytes().into()));
        }
        let last = found
            .used
            .last()
            .map_or((0, 0), |last| (last.number, last.end));
        let core = Self {
            options: Options {
                segment: options.segment.max(limits::SEGMENT_LEAST),
                ..options
            },
            index: Arc::new(Mutex::new(index)),
            used: found.used.into(),
            limbo: Vec::new(),
            free: found.free,
            bin: Vec::new(),
            active: None,
            buffer: Vec::new(),
            written: 0,
            at_write: Vec::new(),
            at_sync: Vec::new(),
            unlink: Vec::new(),
            answers: Vec::new(),
            full: false,
            coming: (0, 0),
            broken: None,
            unparking: false,
            last,
            next_number: last.0.saturating_add(1),
            next_id: found.next_id,
            clock: found.recovery.clock,
            running: found.recovery.running,
            copying: None,
            copied: false,
            lost: Vec::new(),
            medium,
        };
        Ok((core, found.recovery))
    }

    /// The live messages, shared with those who read.
    pub fn index(&self) -> &Arc<Mutex<Index>> {
        &self.index
    }

    /// The first id that was never given.
    pub fn next_id(&self) -> MsgId {
        self.next_id
    }

    /// How long what is to be made durable waits for others.
    pub(super) fn batch(&self) -> Option<Duration> {
        self.options.batch
    }

    /// Why nothing is accepted, when nothing is.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Live messages whose records turned out unreadable since this was asked last.
    pub fn take_lost(&mut self) -> Vec<MsgId> {
        std::mem::take(&mut self.lost)
    }

    /// Whether something waits for a sync, or for the disk to work again.
    pub fn is_unsettled(&self) -> bool {
        !self.buffer.is_empty() || self.is_parked()
    }

    pub(super) fn is_parked(&self) -> bool {
        !lock(&self.index).parked.is_empty()
    }

    /// Writes all orders with one write and, when one of them needs it, one sync. The answers are those of the
    /// Accept, Sync and Seen orders, in order.
    pub fn commit(&mut self, orders: &mut Vec<Order>) -> Vec<Result<(), Refused>> {
        self.recommence();
        let mut sync = false;
        let mut syncs = Vec::new();
        for order in orders.drain(..) {
            match order {
                Order::Accept(submission) => {
                    let answer = self.answers.len();
                    self.answers.push(Ok(()));
                    let (id, file) = (submission.id, matches!(submission.body, Body::File { .. }));
                    match self.accept(*submission, answer) {
                        Ok(()) => sync = true,
                        Err(refused) => {
                            self.full |= refused == Refused::DiskFull;
                            if file {
                                // Never named by a record; what cannot be removed now goes at the next start.
                                let _ = self.medium.unlink(Folder::Queue, &segment::body_name(id));
                            }
                            self.answer(answer, Err(refused));
                        }
                    }
                }
                Order::Sync => {
                    let answer = self.answers.len();
                    self.answers.push(self.refusal().map_or(Ok(()), Err));
                    self.at_sync.push(Effect::Answer(answer));
                    syncs.push(answer);
                    sync = true;
                }
                Order::Seen => self.answers.push(Ok(())),
                other => self.note(other),
            }
        }
        if self.broken.is_none() && self.is_parked() {
            // What this batch ended may have made the room that its records need.
            self.unpark();
        }
        self.flush_or_fail(sync || self.buffer.len() > limits::UNSYNCED);
        if self.broken.is_none() && self.is_parked() {
            for answer in syncs {
                self.answer(answer, Err(Refused::DiskFull));
            }
        }
        std::mem::take(&mut self.answers)
    }

    /// Called when nothing came for a while: syncs what waits, or tries whether the disk works again.
    pub fn settle(&mut self) {
        self.recommence();
        self.flush_or_fail(true);
        // A burst is over: its memory is not kept through the night.
        if self.buffer.is_empty() {
            self.buffer.shrink_to(4096);
        }
    }

    /// An orderly end: what was begun and not ended was not the message's fault.
    pub fn close(&mut self) {
        let busy: Vec<Entry> = lock(&self.index)
            .entries()
            .filter(|entry| entry.busy)
            .copied()
            .collect();
        for entry in busy {
            self.begin(entry.id, entry.begins.saturating_sub(1), false);
        }
        self.settle();
    }

    pub(super) fn refusal(&self) -> Option<Refused> {
        self.broken.clone().map(Refused::Broken)
    }

    pub(super) fn answer(&mut self, at: usize, result: Result<(), Refused>) {
        if let Some(answer) = self.answers.get_mut(at) {
            *answer = result;
        }
    }

    /// Writes what is not written, and syncs when asked. On an error nothing may be believed: see [`Self::fail`].
    pub(super) fn flush(&mut self, sync: bool) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            let rest = self.buffer.get(self.written..).unwrap_or_default();
            if !rest.is_empty() {
                let at = u32::try_from(self.written).unwrap_or(u32::MAX);
                let at = u64::from(active.base).saturating_add(u64::from(at));
                self.medium.write_at(&active.file, at, rest)?;
                if at == 0 {
                    let header = rest.get(..SECTOR).unwrap_or_default();
                    let back = u64::from(active.size).saturating_sub(SECTOR_LEN);
                    self.medium.write_at(&active.file, back, header)?;
                }
                self.written = self.buffer.len();
                self.apply(false);
            }
            if sync && !self.buffer.is_empty() {
                self.sync()?;
            }
        }
        if sync && self.buffer.is_empty() {
            self.apply(true);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        self.medium.sync(&active.file)?;
        let len = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        active.base = active.base.saturating_add(len);
        let end = active.base;
        self.buffer.clear();
        self.buffer.shrink_to(limits::UNSYNCED);
        self.written = 0;
        if let Some(segment) = self.used.back_mut() {
            segment.end = end;
            self.last = (segment.number, end);
        }
        self.settle_limbo();
        self.copied = false;
        self.apply(true);
        if !self.unparking && !self.is_parked() {
            for id in std::mem::take(&mut self.unlink) {
                // An orphan costs room until the next start, not mail.
                let _ = self.medium.unlink(Folder::Queue, &segment::body_name(id));
            }
        }
        Ok(())
    }

    /// Lets what was written (or `synced`) become true.
    fn apply(&mut self, synced: bool) {
        let effects = if synced {
            self.coming = (0, 0);
            &mut self.at_sync
        } else {
            &mut self.at_write
        };
        if effects.is_empty() {
            return;
        }
        let mut index = lock(&self.index);
        for effect in effects.drain(..) {
            match effect {
                Effect::Accepted(id, place, file) => index.accepted(id, place, file),
                Effect::Progressed(id, place) => index.progressed(id, place),
                Effect::Held(id, place) => index.hold(id, place),
                Effect::Released(id) => index.release(id),
                Effect::Begun(id, count, busy) => index.begun(id, count, busy),
                Effect::Moved(id, from, to) => index.moved(id, from, to),
                Effect::Finished(id) => {
                    if let Some(entry) = index.finished(id)
                        && entry.file > 0
                    {
                        self.unlink.push(id);
                    }
                }
                Effect::Answer(_) => {}
            }
        }
    }
}
