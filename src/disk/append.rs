//! Turns orders into records at the end of the journal's buffer, and finds each a place in a segment.

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::fault::Refused;
use crate::disk::journal::Core;
use crate::disk::journal::Effect;
use crate::disk::journal::Trouble;
use crate::disk::medium::Medium;
use crate::disk::order::Body;
use crate::disk::order::Joined;
use crate::disk::order::Order;
use crate::disk::order::Submission;
use crate::queue::field::clip;
use crate::queue::index::Parked;
use crate::queue::index::Place;
use crate::queue::record;
use crate::queue::record::FIRM;
use crate::queue::record::FRAME;
use crate::queue::record::JOINED;
use crate::queue::record::Kind;
use crate::queue::record::SECTOR;

impl<M: Medium> Core<M> {
    /// Encodes an accept and what is joined to it, right behind each other in one segment.
    pub(super) fn accept(&mut self, submission: Submission, answer: usize) -> Result<(), Refused> {
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
        // What takes the place of another makes the queue no longer; refused, both would wait for room for ever.
        let replaces = matches!(joined, Some(Joined::Done(_)));
        if !replaces && let Err(refused) = self.within_limits(bytes) {
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
            Order::Clock(wall, running) => {
                self.clock = wall;
                self.running = self.running.max(running);
                let none = MsgId::from_number(0);
                let start = record::open(&mut self.buffer, Kind::Clock, 0, none);
                record::write_clock(&mut self.buffer, wall, self.running);
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

    pub(super) fn begin(&mut self, id: MsgId, count: u8, busy: bool) {
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
        *parked = Parked {
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
}

/// Bytes of the closed record at the front.
pub(super) fn record_span(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(4..8)?.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (bytes.len() >= FRAME).then(|| record::span(length))
}
