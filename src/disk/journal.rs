//! The journal itself: takes orders, appends their records, syncs once for all, and says what became of each.
//!
//! One thread owns it (`writer.rs`); the crash test drives it directly. It trusts nothing it has not synced: an
//! accept enters the index and is answered only after the sync (promise G1), and after a failed call everything
//! unsynced is written again to a fresh segment that was proved first (`space.rs`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::fault::OpenError;
use crate::disk::fault::Refused;
use crate::disk::medium::Access;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::recover;
use crate::disk::recover::Free;
use crate::disk::recover::Recovery;
use crate::disk::recover::Segment;
use crate::disk::segment;
use crate::queue::accept::Accept;
use crate::queue::field::clip;
use crate::queue::index::Entry;
use crate::queue::index::Index;
use crate::queue::index::Place;
use crate::queue::progress::Progress;
use crate::queue::record;
use crate::queue::record::FIRM;
use crate::queue::record::FRAME;
use crate::queue::record::JOINED;
use crate::queue::record::Kind;
use crate::queue::record::SECTOR;
use crate::queue::record::SECTOR_LEN;

/// What the owner and the tests may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a new segment.
    pub segment: u32,
    /// Bodies up to this many bytes go into their record.
    pub inline: usize,
    /// `limits.queue_bytes`.
    pub queue_bytes: u64,
    /// `limits.queue_messages`.
    pub queue_messages: usize,
    /// Free space on the disk, in bytes, that mail coming in leaves alone; records of what left may use it.
    pub free_floor: u64,
    /// Secret behind the salts: another one at every start in life, fixed in tests.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment: limits::SEGMENT,
            inline: limits::INLINE_BODY,
            queue_bytes: u64::MAX,
            queue_messages: usize::MAX,
            free_floor: 0,
            seed: 0,
        }
    }
}

/// A body that is ready to be accepted.
#[derive(Debug)]
pub enum Body {
    /// Its bytes.
    Inline(Vec<u8>),
    /// It is durable in `queue/<id>.body`.
    File {
        /// Bytes.
        len: u64,
        /// CRC-32 of all of them.
        crc: u32,
    },
}

/// What is written together with an accepted message: both count, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The new state of the message that it reports on.
    Progress(MsgId, Progress),
    /// The message that it reports on is dealt with.
    Done(MsgId),
}

/// A message to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// Its name.
    pub id: MsgId,
    /// How it came, and its envelope.
    pub accept: Accept,
    /// Its body.
    pub body: Body,
    /// What goes with it.
    pub joined: Option<Joined>,
}

/// One thing to write down. [`Order::Accept`], [`Order::Sync`] and [`Order::Seen`] are answered, in order.
#[derive(Debug)]
pub enum Order {
    /// Make a message durable.
    Accept(Box<Submission>),
    /// New state of a message.
    Progress(MsgId, Progress),
    /// The message is dealt with.
    Done(MsgId),
    /// Handling begins.
    Begin(MsgId),
    /// It waits for the operator, for this reason.
    Hold(MsgId, String),
    /// It goes on.
    Release(MsgId),
    /// A time that is known to have been.
    Clock(Wall),
    /// A remark for humans.
    Note(String),
    /// Make everything so far durable.
    Sync,
    /// Say when everything so far is in the index.
    Seen,
}

impl Order {
    /// The message whose entry it changes, for those that are not answered.
    pub fn about(&self) -> Option<MsgId> {
        match self {
            Self::Progress(id, _)
            | Self::Done(id)
            | Self::Begin(id)
            | Self::Hold(id, _)
            | Self::Release(id) => Some(*id),
            Self::Accept(_) | Self::Clock(_) | Self::Note(_) | Self::Sync | Self::Seen => None,
        }
    }
}

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
    /// Messages and bytes accepted and not yet in the index.
    pub(super) coming: (usize, u64),
    /// The latch: why nothing is accepted.
    pub(super) broken: Option<String>,
    /// Since a failure something is parked whose older record may count as dead already: nothing may be forgotten.
    pub(super) doubt: bool,
    /// Number and end of the segment written last.
    pub(super) last: (u64, u32),
    pub(super) next_number: u64,
    pub(super) next_id: MsgId,
    pub(super) clock: Wall,
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
            coming: (0, 0),
            broken: None,
            doubt: false,
            last,
            next_number: last.0.saturating_add(1),
            next_id: found.next_id,
            clock: found.recovery.clock,
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

    fn refusal(&self) -> Option<Refused> {
        self.broken.clone().map(Refused::Broken)
    }

    pub(super) fn answer(&mut self, at: usize, result: Result<(), Refused>) {
        if let Some(answer) = self.answers.get_mut(at) {
            *answer = result;
        }
    }

    /// Encodes an accept and what is joined to it, right behind each other in one segment.
    fn accept(&mut self, submission: Submission, answer: usize) -> Result<(), Refused> {
        if let Some(refused) = self.refusal() {
            return Err(refused);
        }
        if !self.has_reserve() {
            return Err(Refused::DiskFull);
        }
        let Submission {
            id,
            accept,
            body,
            joined,
        } = submission;
        let (kind, file) = match &body {
            Body::Inline(_) => (Kind::Accept, 0),
            Body::File { len, .. } => (Kind::AcceptFile, *len),
        };
        let flags = if joined.is_some() { JOINED } else { 0 };
        let start = record::open(&mut self.buffer, kind, flags, id);
        accept.write(&mut self.buffer);
        match &body {
            Body::Inline(bytes) => self.buffer.extend_from_slice(bytes),
            Body::File { len, crc } => {
                self.buffer.extend_from_slice(&len.to_le_bytes());
                self.buffer.extend_from_slice(&crc.to_le_bytes());
            }
        }
        drop(body);
        let len = record::close(&mut self.buffer, start);
        let bytes = file.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if let Err(refused) = self.within_limits(bytes) {
            self.buffer.truncate(start);
            return Err(refused);
        }
        let mut second = None;
        match &joined {
            Some(Joined::Progress(of, progress)) => {
                let at = record::open(&mut self.buffer, Kind::Progress, 0, *of);
                progress.write(&mut self.buffer);
                second = Some((*of, at, record::close(&mut self.buffer, at)));
            }
            Some(Joined::Done(of)) => {
                let at = record::open(&mut self.buffer, Kind::Done, 0, *of);
                second = Some((*of, at, record::close(&mut self.buffer, at)));
            }
            None => {}
        }
        let moved = self
            .seat(start, true)
            .map_err(|trouble| self.why(&trouble))?;
        self.at_sync
            .push(Effect::Accepted(id, self.place(moved, len), file));
        self.at_sync.push(Effect::Answer(answer));
        if let Some((of, at, len)) = second {
            let at = at.saturating_sub(start).saturating_add(moved);
            self.at_sync.push(match joined {
                Some(Joined::Progress(..)) => Effect::Progressed(of, self.place(at, len)),
                _ => Effect::Finished(of),
            });
        }
        self.coming.0 = self.coming.0.saturating_add(1);
        self.coming.1 = self.coming.1.saturating_add(bytes);
        self.next_id = self.next_id.max(id.next());
        Ok(())
    }

    /// Whether a message of `bytes` more may come in.
    fn within_limits(&self, bytes: u64) -> Result<(), Refused> {
        let index = lock(&self.index);
        if index.messages().saturating_add(self.coming.0) >= self.options.queue_messages {
            return Err(Refused::QueueMessages);
        }
        let total = index
            .bytes()
            .saturating_add(self.coming.1)
            .saturating_add(bytes);
        if total > self.options.queue_bytes {
            return Err(Refused::QueueBytes);
        }
        Ok(())
    }

    fn why(&self, trouble: &Trouble) -> Refused {
        match trouble {
            Trouble::Full => Refused::DiskFull,
            Trouble::TooLarge => Refused::TooLarge,
            Trouble::Broken => Refused::Broken(self.broken.clone().unwrap_or_default()),
        }
    }

    /// Writes down what needs no answer; what cannot be written now is parked.
    pub(super) fn note(&mut self, order: Order) {
        let known = |id| lock(&self.index).get(id).copied();
        match order {
            Order::Progress(id, progress) if known(id).is_some() => {
                let start = record::open(&mut self.buffer, Kind::Progress, 0, id);
                progress.write(&mut self.buffer);
                match self.append(start) {
                    Ok(place) => self.at_write.push(Effect::Progressed(id, place)),
                    Err(_) => {
                        let mut payload = Vec::new();
                        progress.write(&mut payload);
                        lock(&self.index).parked.entry(id).or_default().progress =
                            Some(payload.into());
                    }
                }
            }
            Order::Done(id) if known(id).is_some() => {
                let start = record::open(&mut self.buffer, Kind::Done, 0, id);
                match self.append(start) {
                    Ok(_) => self.at_write.push(Effect::Finished(id)),
                    Err(_) => self.park_done(id),
                }
            }
            Order::Begin(id) => {
                if let Some(entry) = known(id) {
                    self.begin(id, entry.begins.saturating_add(1), true);
                }
            }
            Order::Hold(id, text) if known(id).is_some() => {
                let text = clip(&text, limits::HOLD_TEXT);
                let start = record::open(&mut self.buffer, Kind::Hold, 0, id);
                self.buffer.extend_from_slice(text.as_bytes());
                match self.append(start) {
                    Ok(place) => self.at_write.push(Effect::Held(id, place)),
                    Err(_) => {
                        lock(&self.index).parked.entry(id).or_default().hold =
                            Some(Some(text.as_bytes().into()));
                    }
                }
            }
            Order::Release(id) if known(id).is_some() => {
                let start = record::open(&mut self.buffer, Kind::Release, 0, id);
                match self.append(start) {
                    Ok(_) => self.at_write.push(Effect::Released(id)),
                    Err(_) => {
                        let mut index = lock(&self.index);
                        index.release(id);
                        index.parked.entry(id).or_default().hold = Some(None);
                    }
                }
            }
            Order::Clock(wall) => {
                self.clock = self.clock.max(wall);
                let none = MsgId::from_number(0);
                let start = record::open(&mut self.buffer, Kind::Clock, 0, none);
                self.buffer
                    .extend_from_slice(&wall.as_millis().to_le_bytes());
                // The next header says it too.
                let _ = self.append(start);
            }
            Order::Note(text) => {
                let none = MsgId::from_number(0);
                let start = record::open(&mut self.buffer, Kind::Note, 0, none);
                let text = clip(&text, limits::HOLD_TEXT);
                self.buffer.extend_from_slice(text.as_bytes());
                // A remark is not worth keeping when even mail cannot be written.
                let _ = self.append(start);
            }
            // For messages that are gone; and what `commit` answers itself.
            _ => {}
        }
    }

    fn begin(&mut self, id: MsgId, count: u8, busy: bool) {
        let start = record::open(&mut self.buffer, Kind::Begin, 0, id);
        self.buffer.push(count);
        match self.append(start) {
            Ok(_) => self.at_write.push(Effect::Begun(id, count, busy)),
            // Only in memory then: it counts failures of the service, not of the disk.
            Err(_) => lock(&self.index).begun(id, count, busy),
        }
    }

    pub(super) fn park_done(&mut self, id: MsgId) {
        let mut index = lock(&self.index);
        if let Some(entry) = index.finished(id)
            && entry.file > 0
        {
            self.unlink.push(id);
        }
        let parked = index.parked.entry(id).or_default();
        *parked = crate::queue::index::Parked {
            done: true,
            ..Default::default()
        };
    }

    /// Closes the record opened at `start` and finds it a place.
    pub(super) fn append(&mut self, start: usize) -> Result<Place, Trouble> {
        let len = record::close(&mut self.buffer, start);
        if self.broken.is_some() {
            self.buffer.truncate(start);
            return Err(Trouble::Broken);
        }
        let at = self.seat(start, false)?;
        Ok(self.place(at, len))
    }

    /// Where bytes of the buffer will lie.
    pub(super) fn place(&self, at: usize, len: usize) -> Place {
        let (slot, base) = self.active.as_ref().map_or((0, 0), |a| (a.slot, a.base));
        Place {
            slot,
            offset: base.saturating_add(u32::try_from(at).unwrap_or(u32::MAX)),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    /// Makes sure that what was appended from `start` on fits the active segment, going on to the next one when it
    /// does not, and seals it. Says where in the buffer it is now; on trouble it is gone.
    pub(super) fn seat(&mut self, start: usize, accept: bool) -> Result<usize, Trouble> {
        let mut start = start;
        let len = self.buffer.len().saturating_sub(start);
        let most = usize::try_from(self.options.segment).unwrap_or(0);
        if len > most.saturating_sub(SECTOR.saturating_mul(2)) {
            self.buffer.truncate(start);
            return Err(Trouble::TooLarge);
        }
        let fits = self.active.as_ref().is_some_and(|active| {
            let end = u64::from(active.base)
                .saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX))
                .saturating_add(u64::try_from(SECTOR).unwrap_or(u64::MAX));
            end <= u64::from(active.size)
        });
        if !fits {
            let tail = self.buffer.split_off(start);
            self.roll(accept)?;
            start = self.buffer.len();
            self.buffer.extend_from_slice(&tail);
        }
        let Some(active) = &self.active else {
            self.buffer.truncate(start);
            return Err(Trouble::Broken);
        };
        let first = start == 0 || (active.base == 0 && start == SECTOR);
        let mut flags = if first { FIRM } else { 0 };
        let mut rest = self.buffer.get_mut(start..).unwrap_or_default();
        while let Some(span) = record_span(rest) {
            let Some((record, after)) = rest.split_at_mut_checked(span) else {
                break;
            };
            record::seal(record, active.salt, flags);
            flags = 0;
            rest = after;
        }
        Ok(start)
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
        if !self.is_parked() {
            self.doubt = false;
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

/// Bytes of the closed record at the front.
pub(super) fn record_span(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(4..8)?.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (bytes.len() >= FRAME).then(|| record::span(length))
}
