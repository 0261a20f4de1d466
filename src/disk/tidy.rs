//! Reclaims space: copies what lives in the oldest segment forward, a step at a time, so that no accept waits long.
//!
//! A copy is believed only after its sync; until then the index points to the original, whose segment cannot be
//! forgotten while something in it lives.

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::fault::LoadError;
use crate::disk::journal::Copying;
use crate::disk::journal::Core;
use crate::disk::journal::Effect;
use crate::disk::journal::Trouble;
use crate::disk::medium::Medium;
use crate::disk::order::Order;
use crate::disk::segment::Fetch;
use crate::queue::compact;
use crate::queue::compact::Space;
use crate::queue::index::Entry;
use crate::queue::index::Place;
use crate::queue::record;
use crate::queue::record::Kind;

/// Messages looked at under one lock of the index.
const LOOK: usize = 1024;

impl<M: Medium> Core<M> {
    /// Does one step of what can be done between two batches. Says whether there is more to do at once.
    pub fn tidy(&mut self) -> bool {
        let copied = self.copy_step();
        self.keep_spares() || copied
    }

    fn plan(&self) -> Option<Copying> {
        if self.broken.is_some() || self.copied {
            return None;
        }
        let active = self.active.as_ref()?;
        let index = lock(&self.index);
        if !index.parked.is_empty() {
            return None;
        }
        let live = |slot: u32| index.slot(slot).live;
        let suspect = self.used.iter().find(|s| s.suspect && live(s.slot) > 0);
        if let Some(suspect) = suspect {
            return Some(Copying {
                slot: suspect.slot,
                after: None,
            });
        }
        // Dead ones in front go with the next header; dead ones behind a living one cannot go before it.
        let kept = self.used.iter().skip_while(|s| live(s.slot) == 0);
        let oldest = kept.clone().next().filter(|s| s.slot != active.slot)?;
        let space = Space {
            segment: u64::from(self.options.segment),
            used: u64::try_from(kept.count()).unwrap_or(u64::MAX),
            live: index.live(),
            oldest_live: live(oldest.slot),
            relaxed: u64::try_from(limits::RELAXED_SEGMENTS).unwrap_or(u64::MAX),
            tight: self.free.is_empty() && self.limbo.is_empty() && !self.has_room(),
        };
        compact::wants_copying(space).then_some(Copying {
            slot: oldest.slot,
            after: None,
        })
    }

    fn copy_step(&mut self) -> bool {
        let Some(mut copying) = self.copying.take().or_else(|| self.plan()) else {
            return false;
        };
        let mut fetch = Fetch::new(self.medium.clone());
        let before = self.buffer.len();
        loop {
            let (entry, at) = self.next_in(copying);
            copying.after = at;
            let Some(entry) = entry else {
                // The look went as far as one lock should last, or all is copied and waits for its sync: looked at
                // again before that, it would be copied again.
                match at {
                    Some(_) => self.copying = Some(copying),
                    None => self.copied = true,
                }
                break;
            };
            if self.copy(&mut fetch, copying.slot, &entry).is_err() {
                // No room or no disk: the plan is made again when there is.
                self.copied = true;
                break;
            }
            if self.buffer.len().saturating_sub(before) > limits::RECLAIM_STEP {
                self.copying = Some(copying);
                break;
            }
        }
        self.flush_or_fail(self.buffer.len() > limits::UNSYNCED);
        self.copying.is_some()
    }

    /// The next message with a record in the segment, and how far the look went; `None` at the end of the index.
    fn next_in(&self, copying: Copying) -> (Option<Entry>, Option<MsgId>) {
        let index = lock(&self.index);
        let mut at = copying.after;
        for _ in 0..LOOK {
            let Some(entry) = index.after(at) else {
                return (None, None);
            };
            at = Some(entry.id);
            let hold = index.held(entry.id).unwrap_or_default();
            let here = |place: Place| place.is_some() && place.slot == copying.slot;
            if here(entry.accept) || here(entry.progress) || here(hold) {
                return (Some(entry), at);
            }
        }
        (None, at)
    }

    /// Copies a message: all of its records when its accept is in the segment, so that replay meets the accept
    /// first; else those that are. They move together or not at all: an accept that went ahead alone would leave
    /// its progress behind itself, where replay does not look for it.
    fn copy(&mut self, fetch: &mut Fetch<M>, slot: u32, entry: &Entry) -> Result<(), Trouble> {
        let id = entry.id;
        let hold = lock(&self.index).held(id).unwrap_or_default();
        let whole = entry.accept.slot == slot;
        let wanted = |place: Place| place.is_some() && (whole || place.slot == slot);
        let mut moves = Vec::new();
        if whole {
            let kinds = [Kind::Accept, Kind::AcceptFile];
            let Some(moved) = self.copy_record(fetch, id, entry.accept, &kinds)? else {
                let mut index = lock(&self.index);
                index.finished(id);
                drop(index);
                self.lost.push(id);
                return Ok(());
            };
            moves.push(moved);
        }
        if wanted(hold) {
            match self.copy_record(fetch, id, hold, &[Kind::Hold])? {
                Some(moved) => moves.push(moved),
                None => {
                    let text = "it was held for a reason that the disk has lost".to_owned();
                    self.note(Order::Hold(id, text));
                }
            }
        }
        if wanted(entry.progress) {
            match self.copy_record(fetch, id, entry.progress, &[Kind::Progress])? {
                Some(moved) => moves.push(moved),
                // Its attempts are forgotten and repeated.
                None => lock(&self.index).progressed(id, Place::default()),
            }
        }
        if whole && entry.begins > 0 {
            let start = record::open(&mut self.buffer, Kind::Begin, 0, id);
            self.buffer.push(entry.begins);
            self.append(start)?;
        }
        self.at_sync.append(&mut moves);
        Ok(())
    }

    /// Copies one record and says how it moved. `None`: it cannot be read any more.
    fn copy_record(
        &mut self,
        fetch: &mut Fetch<M>,
        id: MsgId,
        from: Place,
        kinds: &[Kind],
    ) -> Result<Option<Effect>, Trouble> {
        let salt = lock(&self.index).slot(from.slot).salt;
        let mut bytes = match fetch.record(from, salt, id, kinds) {
            Ok(bytes) => bytes,
            Err(LoadError::Io(_)) => return Err(Trouble::Broken),
            Err(LoadError::Gone | LoadError::Damaged(_)) => return Ok(None),
        };
        record::detach(&mut bytes);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&bytes);
        let at = self.seat(start, false)?;
        let to = self.place(at, bytes.len());
        Ok(Some(Effect::Moved(id, from, to)))
    }
}
