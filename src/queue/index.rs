//! What is in the queue and where its records lie: some 48 bytes a message, and how much of each segment still lives.
//!
//! Envelopes, reasons and bodies stay on disk. Ids only grow, so the entries are a list of sorted blocks: full where
//! new messages come, thinned out behind, freed when empty.

use std::collections::BTreeMap;

use crate::base::MsgId;

/// Entries of a block. One insertion or removal moves at most this many.
const BLOCK: usize = 128;

/// Where a record lies. Length zero: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which slot (file).
    pub slot: u32,
    /// Bytes from the start of the file.
    pub offset: u32,
    /// Bytes with frame and padding.
    pub len: u32,
}

impl Place {
    /// Whether there is a record.
    pub const fn is_some(self) -> bool {
        self.len > 0
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: MsgId,
    /// Its Accept or AcceptFile record.
    pub accept: Place,
    /// Its newest Progress record.
    pub progress: Place,
    /// Bytes of its body file; zero when the body is in the record.
    pub file: u64,
    /// Begun so often since the last progress.
    pub begins: u8,
    /// Begun by this process and not ended.
    pub busy: bool,
}

/// Records that are known but could not be written yet, because the journal was broken or the disk full. They
/// stand for what the entry points to, and are written first when writing works again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Payload of the newest Progress.
    pub progress: Option<Box<[u8]>>,
    /// `Some(Some(_))`: payload of a Hold; `Some(None)`: a Release.
    pub hold: Option<Option<Box<[u8]>>>,
    /// It is dealt with.
    pub done: bool,
}

/// A use of a slot, as far as reading needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The number of the segment in it; zero when it is free.
    pub number: u64,
    /// The salt of its records.
    pub salt: u32,
    /// Bytes of records in it that still matter.
    pub live: u64,
}

/// All live messages.
#[derive(Debug, Default)]
pub struct Index {
    /// Sorted by id, no block empty.
    blocks: Vec<Vec<Entry>>,
    holds: BTreeMap<MsgId, Place>,
    /// See [`Parked`].
    pub parked: BTreeMap<MsgId, Parked>,
    slots: Vec<Slot>,
    messages: usize,
    /// Live record bytes and body file bytes together.
    bytes: u64,
}

impl Index {
    /// How many messages.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes that they take: live records and body files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Live record bytes in all segments.
    pub fn live(&self) -> u64 {
        self.slots.iter().map(|slot| slot.live).sum()
    }

    /// The use of a slot.
    pub fn slot(&self, slot: u32) -> Slot {
        let at = usize::try_from(slot).unwrap_or(usize::MAX);
        self.slots.get(at).copied().unwrap_or_default()
    }

    /// Notes a new use of a slot. What is still counted as live in it stays counted.
    pub fn use_slot(&mut self, slot: u32, number: u64, salt: u32) {
        let at = usize::try_from(slot).unwrap_or(usize::MAX);
        if at >= self.slots.len() && at < usize::MAX {
            self.slots.resize(at.saturating_add(1), Slot::default());
        }
        if let Some(entry) = self.slots.get_mut(at) {
            entry.number = number;
            entry.salt = salt;
        }
    }

    /// Every live message, by id.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().flatten()
    }

    /// The first message after `id`.
    pub fn after(&self, id: Option<MsgId>) -> Option<Entry> {
        let Some(id) = id else {
            return self.blocks.first()?.first().copied();
        };
        let at = self.block_of(id).unwrap_or(0);
        let here = self.blocks.get(at)?;
        let next = here.partition_point(|entry| entry.id <= id);
        here.get(next)
            .or_else(|| self.blocks.get(at.saturating_add(1))?.first())
            .copied()
    }

    /// One message.
    pub fn get(&self, id: MsgId) -> Option<&Entry> {
        let block = self.blocks.get(self.block_of(id)?)?;
        let at = block.binary_search_by_key(&id, |entry| entry.id).ok()?;
        block.get(at)
    }

    fn get_mut(&mut self, id: MsgId) -> Option<&mut Entry> {
        let at = self.block_of(id)?;
        let block = self.blocks.get_mut(at)?;
        let at = block.binary_search_by_key(&id, |entry| entry.id).ok()?;
        block.get_mut(at)
    }

    /// Where the Hold record of a held message lies.
    pub fn held(&self, id: MsgId) -> Option<Place> {
        self.holds.get(&id).copied()
    }

    /// How many are held.
    pub fn holds(&self) -> usize {
        self.holds.len()
    }

    /// The block that holds `id` or would.
    fn block_of(&self, id: MsgId) -> Option<usize> {
        self.blocks
            .partition_point(|block| block.first().is_some_and(|entry| entry.id <= id))
            .checked_sub(1)
    }

    /// A message was accepted. One that is known was copied, and the original still counts: what stands between
    /// the two would come before its accept if the copy took over without it.
    pub fn accepted(&mut self, id: MsgId, place: Place, file: u64) {
        if self.get(id).is_some() {
            return;
        }
        self.enliven(place);
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(file);
        let entry = Entry {
            id,
            accept: place,
            progress: Place::default(),
            file,
            begins: 0,
            busy: false,
        };
        let at = self.block_of(id).unwrap_or(0);
        let last = at.saturating_add(1) >= self.blocks.len();
        let Some(block) = self.blocks.get_mut(at) else {
            self.blocks.push(vec![entry]);
            return;
        };
        let place = block.partition_point(|known| known.id < id);
        if block.len() < BLOCK {
            block.insert(place, entry);
        } else if last && place == block.len() {
            // The usual case: ids grow, so a full block stays full and the next one begins.
            let mut next = Vec::with_capacity(BLOCK);
            next.push(entry);
            self.blocks.push(next);
        } else {
            let mut right = block.split_off(BLOCK / 2);
            if place <= BLOCK / 2 {
                block.insert(place, entry);
            } else {
                right.insert(place.saturating_sub(BLOCK / 2), entry);
            }
            self.blocks.insert(at.saturating_add(1), right);
        }
    }

    /// A Progress record was written; one for a message that is gone means nothing. Ends what was begun.
    pub fn progressed(&mut self, id: MsgId, place: Place) {
        if let Some(entry) = self.get_mut(id) {
            entry.begins = 0;
            entry.busy = false;
            let old = std::mem::replace(&mut entry.progress, place);
            self.enliven(place);
            self.forget(old);
        }
    }

    /// Handling was begun for the `count`th time; `busy` when by this process.
    pub fn begun(&mut self, id: MsgId, count: u8, busy: bool) {
        if let Some(entry) = self.get_mut(id) {
            entry.begins = count;
            entry.busy = busy;
        }
    }

    /// A Hold record was written.
    pub fn hold(&mut self, id: MsgId, place: Place) {
        if self.get(id).is_some() {
            self.enliven(place);
            if let Some(old) = self.holds.insert(id, place) {
                self.forget(old);
            }
        }
    }

    /// A Release record was written.
    pub fn release(&mut self, id: MsgId) {
        if let Some(old) = self.holds.remove(&id) {
            self.forget(old);
        }
        if let Some(entry) = self.get_mut(id) {
            entry.begins = 0;
        }
    }

    /// The message is dealt with.
    pub fn finished(&mut self, id: MsgId) -> Option<Entry> {
        let at = self.block_of(id)?;
        let block = self.blocks.get_mut(at)?;
        let place = block.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = block.remove(place);
        if block.is_empty() {
            self.blocks.remove(at);
        } else {
            self.merge(at);
        }
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.file);
        self.forget(entry.accept);
        self.forget(entry.progress);
        if let Some(hold) = self.holds.remove(&id) {
            self.forget(hold);
        }
        Some(entry)
    }

    /// Joins a thin block with the next when both fit one, so that memory follows the number of messages.
    fn merge(&mut self, at: usize) {
        let next = at.saturating_add(1);
        let len = |at: usize| self.blocks.get(at).map_or(BLOCK, Vec::len);
        if len(at).saturating_add(len(next)) <= BLOCK / 2 {
            let mut right = self.blocks.remove(next);
            if let Some(block) = self.blocks.get_mut(at) {
                block.append(&mut right);
            }
        }
    }

    /// Moves a record that was copied, unless a newer one took its place meanwhile.
    pub fn moved(&mut self, id: MsgId, from: Place, to: Place) {
        let held = self.holds.get(&id).copied();
        let Some(entry) = self.get_mut(id) else {
            return;
        };
        if entry.accept == from {
            entry.accept = to;
        } else if entry.progress == from {
            entry.progress = to;
        } else if held == Some(from) {
            self.holds.insert(id, to);
        } else {
            return;
        }
        self.enliven(to);
        self.forget(from);
    }

    fn enliven(&mut self, place: Place) {
        let at = usize::try_from(place.slot).unwrap_or(usize::MAX);
        if place.is_some()
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.live = slot.live.saturating_add(u64::from(place.len));
            self.bytes = self.bytes.saturating_add(u64::from(place.len));
        }
    }

    fn forget(&mut self, place: Place) {
        let at = usize::try_from(place.slot).unwrap_or(usize::MAX);
        if place.is_some()
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.live = slot.live.saturating_sub(u64::from(place.len));
            self.bytes = self.bytes.saturating_sub(u64::from(place.len));
        }
    }
}

const _: () = assert!(size_of::<Entry>() <= 48);

#[cfg(test)]
mod tests {
    use super::{BLOCK, Index, Place};
    use crate::base::MsgId;
    use std::collections::BTreeMap;

    fn place(slot: u32, offset: u32) -> Place {
        Place {
            slot,
            offset,
            len: 32,
        }
    }

    fn id(number: u64) -> MsgId {
        MsgId::from_number(number)
    }

    #[test]
    fn it_agrees_with_a_plain_map_whatever_is_done() {
        let mut index = Index::default();
        index.use_slot(0, 1, 9);
        index.use_slot(1, 2, 9);
        let mut plain: BTreeMap<u64, (Place, Place)> = BTreeMap::new();
        let mut seed: u64 = 7;
        let mut next = 0;
        for round in 0..60_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = seed >> 33;
            let any = id(dice % 4000);
            match dice % 7 {
                0 | 1 if round < 30_000 => {
                    next += 1 + dice % 3;
                    index.accepted(id(next), place(0, round), 0);
                    plain.insert(next, (place(0, round), Place::default()));
                }
                2 => {
                    index.accepted(any, place(1, round), 0);
                    let new = (place(1, round), Place::default());
                    plain.entry(any.number()).or_insert(new);
                }
                3 => {
                    index.progressed(any, place(1, round));
                    if let Some(known) = plain.get_mut(&any.number()) {
                        known.1 = place(1, round);
                    }
                }
                _ => {
                    let gone = index.finished(any).is_some();
                    assert_eq!(gone, plain.remove(&any.number()).is_some());
                }
            }
        }
        let mut at = None;
        let mut walked = Vec::new();
        while let Some(entry) = index.after(at) {
            at = Some(entry.id);
            walked.push((entry.id.number(), (entry.accept, entry.progress)));
        }
        assert_eq!(
            walked,
            plain.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>()
        );
        assert_eq!(index.messages(), plain.len());
        let live: u32 = plain.values().map(|(a, p)| a.len + p.len).sum();
        assert_eq!(index.live(), u64::from(live));
        assert_eq!(index.bytes(), u64::from(live));
        for key in walked {
            index.finished(id(key.0));
        }
        assert_eq!(
            (index.live(), index.messages(), index.blocks.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_hundred_thousand_in_order_fill_their_blocks() {
        let mut index = Index::default();
        index.use_slot(0, 1, 9);
        for number in 0..100_000 {
            index.accepted(id(number), place(0, 0), 0);
        }
        let room: usize = index.blocks.iter().map(Vec::capacity).sum();
        assert!(room * size_of::<super::Entry>() < 5 * 1024 * 1024);
        assert_eq!(index.blocks.len(), 100_000_usize.div_ceil(BLOCK));
    }

    #[test]
    fn a_copy_does_not_undo_what_came_after_it() {
        let mut index = Index::default();
        index.use_slot(0, 1, 9);
        index.use_slot(1, 2, 9);
        index.accepted(id(1), place(0, 512), 0);
        index.progressed(id(1), place(0, 544));
        index.progressed(id(1), place(1, 512));
        index.moved(id(1), place(0, 544), place(1, 544));
        index.moved(id(1), place(0, 512), place(1, 576));
        let entry = *index.get(id(1)).unwrap();
        assert_eq!(
            (entry.accept, entry.progress),
            (place(1, 576), place(1, 512))
        );
        assert_eq!((index.slot(0).live, index.slot(1).live), (0, 64));
    }
}
