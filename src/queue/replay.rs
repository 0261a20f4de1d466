//! Reads segments back: finds the good records, tells a torn tail from damage, and folds what is good into the index.
//!
//! Trust: none in the bytes. Never writes: what it finds is a value, and repairing is the journal's business.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::queue::accept::Accept;
use crate::queue::accept::BodyAt;
use crate::queue::field::Fields;
use crate::queue::index::Index;
use crate::queue::index::Place;
use crate::queue::record;
use crate::queue::record::FIRM;
use crate::queue::record::JOINED;
use crate::queue::record::Kind;
use crate::queue::record::Record;

/// What stands at one place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A good record.
    Record {
        /// Bytes from the start of the segment.
        offset: usize,
        /// Bytes with frame and padding.
        len: usize,
        /// What it says.
        record: Record<'a>,
    },
    /// Bytes that were once synced and cannot be read any more.
    Damage {
        /// Bytes from the start of the segment.
        offset: usize,
        /// Bytes up to the next good record.
        len: usize,
    },
}

/// Walks the records of one segment.
#[derive(Debug)]
pub struct Scan<'a> {
    segment: &'a [u8],
    salt: u32,
    at: usize,
    /// Up to here everything was synced once.
    firm: usize,
    /// Where the records end when the segment after this one says so.
    end: Option<usize>,
    /// Where records can end at most.
    most: usize,
}

impl<'a> Scan<'a> {
    /// Starts behind the header of `segment`. `end` is what the header of the next segment says of this one.
    pub fn new(segment: &'a [u8], salt: u32, end: Option<usize>) -> Self {
        let most = segment.len().saturating_sub(record::SECTOR);
        let end = end.map(|end| end.min(most));
        Self {
            segment,
            salt,
            at: record::SECTOR,
            firm: end.unwrap_or(0),
            end,
            most: end.unwrap_or(most),
        }
    }

    /// Where the walk stands; after the last item, where the records end.
    pub fn offset(&self) -> usize {
        self.at
    }

    fn record_at(&self, at: usize) -> Option<(Record<'a>, usize)> {
        record::read(self.segment.get(at..self.most)?, self.salt)
    }

    /// The next place from `at` on where a good record starts that `fits`.
    fn search(&self, at: usize, fits: impl Fn(&Record<'a>) -> bool) -> Option<usize> {
        let good = |at: &usize| self.record_at(*at).is_some_and(|(r, _)| fits(&r));
        (at..self.most).step_by(8).find(good)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let offset = self.at;
        if let Some((record, len)) = self.record_at(offset) {
            self.at = offset.saturating_add(len);
            return Some(Item::Record {
                offset,
                len,
                record,
            });
        }
        let next = offset.saturating_add(8);
        if offset >= self.firm && self.end.is_none() {
            // Not known to have been synced. If a later record says that it was, it is damage; else the torn tail.
            self.firm = self.search(next, |record| record.flags & FIRM != 0)?;
        }
        if offset >= self.firm {
            return None;
        }
        self.at = self
            .search(next, |_| true)
            .unwrap_or(self.most)
            .min(self.firm);
        Some(Item::Damage {
            offset,
            len: self.at.saturating_sub(offset),
        })
    }
}

/// A stretch of a segment that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub slot: u32,
    /// Bytes from its start.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// Folds segments, in the order of their numbers, into what they mean together.
#[derive(Debug)]
pub struct Replay {
    /// The live messages.
    pub index: Index,
    /// The time that was noted last.
    pub clock: Wall,
    /// How long this home has been run in all, as far as that was noted.
    pub running: Duration,
    /// One more than the highest id that was seen.
    pub next_id: MsgId,
    /// What could not be read, up to [`crate::base::limits::DAMAGE_LISTED`].
    pub damage: Vec<Damage>,
    /// How many bytes could not be read, listed or not.
    pub damaged_bytes: u64,
    /// How many good records there were.
    pub records: u64,
    /// Ids that are asked for ...
    asked: BTreeSet<MsgId>,
    /// ... and those of them that were accepted, whether they are still live or not.
    seen: BTreeSet<MsgId>,
}

impl Replay {
    /// An empty journal that will remember which of the `asked` ids it saw accepted.
    pub fn new(asked: BTreeSet<MsgId>) -> Self {
        Self {
            index: Index::default(),
            clock: Wall::default(),
            running: Duration::ZERO,
            // Zero stands for "about no message" in records.
            next_id: MsgId::from_number(1),
            damage: Vec::new(),
            damaged_bytes: 0,
            records: 0,
            asked,
            seen: BTreeSet::new(),
        }
    }

    /// Whether one of the asked ids was accepted.
    pub fn seen(&self, id: MsgId) -> bool {
        self.seen.contains(&id)
    }

    /// No id below `id` may be given again.
    pub fn not_below(&mut self, id: MsgId) {
        self.next_id = self.next_id.max(id);
    }

    /// A header or a record notes the time. The newest note counts, not the latest time: a clock that was found to be
    /// ahead is noted again as it was put right.
    pub fn noted(&mut self, clock: Wall, running: Duration) {
        self.clock = clock;
        self.running = self.running.max(running);
    }

    /// Takes one segment; the next must have a higher number. Says where its records end.
    pub fn segment(&mut self, slot: u32, bytes: &[u8], salt: u32, end: Option<usize>) -> usize {
        let mut scan = Scan::new(bytes, salt, end);
        // A joined record waits here for its partner.
        let mut waiting: Option<(usize, usize, Record<'_>)> = None;
        for item in scan.by_ref() {
            match item {
                Item::Damage { offset, len } => {
                    waiting = None;
                    self.damage(slot, offset, len);
                }
                Item::Record {
                    offset,
                    len,
                    record,
                } => {
                    if let Some((offset, len, joined)) = waiting.take() {
                        self.record(slot, offset, len, &joined);
                    }
                    if record.flags & JOINED == 0 {
                        self.record(slot, offset, len, &record);
                    } else {
                        self.not_below(record.id.next());
                        waiting = Some((offset, len, record));
                    }
                }
            }
        }
        scan.offset()
    }

    fn damage(&mut self, slot: u32, offset: usize, len: usize) {
        self.damaged_bytes = self
            .damaged_bytes
            .saturating_add(u64::try_from(len).unwrap_or(0));
        if self.damage.len() < limits::DAMAGE_LISTED {
            self.damage.push(Damage {
                slot,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                len: u32::try_from(len).unwrap_or(u32::MAX),
            });
        }
    }

    fn record(&mut self, slot: u32, offset: usize, len: usize, record: &Record<'_>) {
        self.records = self.records.saturating_add(1);
        let id = record.id;
        if id.number() > 0 {
            self.not_below(id.next());
        }
        let place = Place {
            slot,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        match record.kind {
            Kind::Accept | Kind::AcceptFile => {
                let in_file = record.kind == Kind::AcceptFile;
                let file = match Accept::body(record.payload, in_file) {
                    Ok(BodyAt::File { len, .. }) => len,
                    Ok(BodyAt::Inline(_)) => 0,
                    Err(_) => return self.damage(slot, offset, len),
                };
                if self.asked.contains(&id) {
                    self.seen.insert(id);
                }
                self.index.accepted(id, place, file);
            }
            Kind::Progress => self.index.progressed(id, place),
            Kind::Done => {
                self.index.finished(id);
            }
            Kind::Hold => self.index.hold(id, place),
            Kind::Release => self.index.release(id),
            Kind::Begin => {
                let count = Fields::new(record.payload).u8().unwrap_or(1);
                self.index.begun(id, count, false);
            }
            Kind::Clock => {
                if let Ok((clock, running)) = record::read_clock(record.payload) {
                    self.noted(clock, running);
                }
            }
            Kind::Note => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, Replay, Scan};
    use crate::base::MsgId;
    use crate::queue::record::{self, FIRM, JOINED, Kind, SECTOR};
    use std::collections::BTreeSet;

    const SALT: u32 = 0x5A17;

    /// A segment of `size` bytes with these records, and their offsets.
    fn segment(size: usize, records: &[(Kind, u8, u64, &[u8])]) -> (Vec<u8>, Vec<usize>) {
        let mut out = vec![0xEE; SECTOR];
        let mut at = Vec::new();
        for (kind, flags, id, payload) in records {
            let start = record::open(&mut out, *kind, *flags, MsgId::from_number(*id));
            out.extend_from_slice(payload);
            record::close(&mut out, start);
            record::seal(&mut out[start..], SALT, 0);
            at.push(start);
        }
        out.resize(size, 0);
        (out, at)
    }

    fn ids(bytes: &[u8], end: Option<usize>) -> (Vec<u64>, Vec<usize>, usize) {
        let mut scan = Scan::new(bytes, SALT, end);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for item in scan.by_ref() {
            match item {
                Item::Record { record, .. } => good.push(record.id.number()),
                Item::Damage { offset, .. } => bad.push(offset),
            }
        }
        (good, bad, scan.offset())
    }

    #[test]
    fn an_unsynced_gap_ends_the_newest_segment_and_a_synced_one_does_not() {
        let hold = (Kind::Hold, 0, 0, &b"text"[..]);
        for (firm, want, hurt) in [
            (0, vec![1], vec![]),
            (FIRM, vec![1, 3, 4], vec![SECTOR + 24]),
        ] {
            let (mut bytes, at) = segment(
                4096,
                &[
                    (Kind::Hold, 0, 1, hold.3),
                    (Kind::Hold, 0, 2, hold.3),
                    (Kind::Hold, 0, 3, hold.3),
                    (Kind::Hold, firm, 4, hold.3),
                ],
            );
            bytes[at[1] + 21] ^= 1;
            assert_eq!(ids(&bytes, None).0, want);
            assert_eq!(ids(&bytes, None).1, hurt);
            // An older segment, whose end is known: everything in front of it was synced.
            let end = at[3] + 24;
            assert_eq!(ids(&bytes, Some(end)), (vec![1, 3, 4], vec![at[1]], end));
            // What lies behind the end was never acknowledged.
            assert_eq!(ids(&bytes, Some(at[1])), (vec![1], vec![], at[1]));
        }
    }

    #[test]
    fn a_body_that_looks_like_records_does_not_stall_the_search() {
        let likely = [1, 0, 0, 0, 0xFF, 0x7F, 0, 0];
        let mut bytes = likely.repeat(1024 * 1024 / 8);
        bytes[SECTOR] = 0;
        assert_eq!(ids(&bytes, None), (vec![], vec![], SECTOR));
        let end = bytes.len() - SECTOR;
        assert_eq!(ids(&bytes, Some(end)), (vec![], vec![SECTOR], end));
    }

    #[test]
    fn joined_records_count_together_or_not_at_all() {
        let mut accept = 0_u32.to_le_bytes().to_vec();
        accept.extend_from_slice(b"body");
        let (bytes, at) = segment(
            4096,
            &[
                (Kind::Accept, 0, 1, &accept),
                (Kind::Accept, JOINED, 2, &accept),
                (Kind::Done, 0, 1, b""),
            ],
        );
        let live = |bytes: &[u8]| {
            let mut replay = Replay::new(BTreeSet::from([MsgId::from_number(2)]));
            replay.index.use_slot(0, 1, SALT);
            replay.segment(0, bytes, SALT, None);
            let ids: Vec<u64> = replay.index.entries().map(|e| e.id.number()).collect();
            (
                ids,
                replay.seen(MsgId::from_number(2)),
                replay.next_id.number(),
            )
        };
        assert_eq!(live(&bytes), (vec![2], true, 3));
        for cut in at[2]..at[2] + 20 {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            assert_eq!(live(&torn), (vec![1], false, 3), "cut at {cut}");
        }
    }
}
