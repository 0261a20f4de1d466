//! Which files are segments: how the journal goes on to the next one, forgets dead ones, and copes with a full disk.
//!
//! Rules that keep old records dead and new ones alive:
//! - the old segment is synced before the header of the next one is written;
//! - a segment is forgotten by the header of a later one, never by being overwritten: its file is free only after
//!   that header was synced (else a Done could be gone while its Accept is still readable);
//! - `sorttemp/` is synced before a segment is forgotten, so a claim that was unlinked stays unlinked.

use std::io;

use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::fault;
use crate::disk::journal::Active;
use crate::disk::journal::Core;
use crate::disk::journal::Trouble;
use crate::disk::medium::Access;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::recover::Free;
use crate::disk::recover::Segment;
use crate::disk::segment;
use crate::queue::record::Header;
use crate::queue::record::SECTOR;
use crate::queue::record::SECTOR_LEN;

/// Step in which a new file is filled.
const STEP: u32 = 64 * 1024;

impl<M: Medium> Core<M> {
    /// Goes on to the next segment. `accept`: for mail coming in, which leaves the last free segment alone.
    pub(super) fn roll(&mut self, accept: bool) -> Result<(), Trouble> {
        if self.active.is_some() {
            self.flush_or_fail(true);
            if self.broken.is_some() {
                return Err(Trouble::Broken);
            }
        }
        let slot = match self.take_slot(accept) {
            Err(Trouble::Full) if !accept && self.forget_in_place() => self.take_slot(false)?,
            Err(Trouble::Full) if !accept && self.resume() => return Ok(()),
            taken => taken?,
        };
        self.forget_dead();
        self.begin_segment(slot).map_err(|error| {
            self.remember();
            self.broken = Some(error.to_string());
            Trouble::Broken
        })
    }

    /// After a start on a full disk, with no file to write a header into: goes on in the newest segment, once what a
    /// torn tail left there is blank.
    fn resume(&mut self) -> bool {
        let Some(last) = self.used.back().copied() else {
            return false;
        };
        if self.active.is_some() || last.suspect {
            return false;
        }
        let blank = || -> io::Result<M::File> {
            let name = segment::name(last.slot);
            let file = self.medium.open(Folder::Queue, &name, Access::Write)?;
            let most = last.size.saturating_sub(u32::try_from(SECTOR).unwrap_or(0));
            self.blank(&file, last.end, most)?;
            self.medium.sync(&file)?;
            Ok(file)
        };
        match blank() {
            Ok(file) => {
                self.active = Some(Active {
                    file,
                    slot: last.slot,
                    size: last.size,
                    salt: lock(&self.index).slot(last.slot).salt,
                    base: last.end,
                });
                true
            }
            Err(_) => false,
        }
    }

    /// Free files that mail coming in leaves alone: they are for noting what becomes of the mail that is there.
    fn reserve(&self) -> usize {
        let messages = u64::try_from(lock(&self.index).messages()).unwrap_or(u64::MAX);
        let bytes = messages.saturating_mul(limits::RESERVE_EACH);
        let segments = bytes / u64::from(self.options.segment);
        usize::try_from(segments)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
    }

    /// Whether mail may come in: only while the reserve is there. Makes it when it can be made.
    pub(super) fn has_reserve(&mut self) -> bool {
        if self.active.is_none() {
            return true;
        }
        let reserve = self.reserve();
        while self.free.len().saturating_add(self.limbo.len()) < reserve {
            if !self.has_room() {
                return false;
            }
            match self.make_slot() {
                Ok(free) => self.free.push(free),
                Err(_) => return false,
            }
        }
        true
    }

    /// With no file left to write the next header into, forgets dead segments in the header of the last one. One
    /// copy of it is always whole. Says whether that freed a file.
    fn forget_in_place(&mut self) -> bool {
        let Some(last) = self.used.back().copied() else {
            return false;
        };
        self.forget_dead();
        // The last one stays, whatever lives in it: its header is what forgets the others.
        if self.limbo.last().is_some_and(|s| s.number == last.number) {
            self.used.extend(self.limbo.pop());
        }
        if self.limbo.is_empty() {
            return false;
        }
        let oldest = self.used.front().map_or(last.number, |s| s.number);
        match self.rewrite_header(last, oldest) {
            Ok(()) => {
                self.settle_limbo();
                true
            }
            Err(_) => {
                self.remember();
                false
            }
        }
    }

    fn rewrite_header(&self, last: Segment, oldest: u64) -> io::Result<()> {
        let name = segment::name(last.slot);
        let file = self.medium.open(Folder::Queue, &name, Access::Write)?;
        let len = self.medium.len(&file)?;
        let Ok(header) = segment::header(&self.medium, &file, len)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut sector = Vec::new();
        Header { oldest, ..header }.write(&mut sector);
        self.medium.write_at(&file, 0, &sector)?;
        self.medium.sync(&file)?;
        let back = u64::from(last.size).saturating_sub(SECTOR_LEN);
        self.medium.write_at(&file, back, &sector)?;
        self.medium.sync(&file)
    }

    /// The header that was to forget them is not there: they count again.
    pub(super) fn remember(&mut self) {
        while let Some(segment) = self.limbo.pop() {
            self.used.push_front(segment);
        }
    }

    /// Puts the header of a new segment into the buffer.
    pub(super) fn begin_segment(&mut self, free: Free) -> io::Result<()> {
        let name = segment::name(free.slot);
        let file = match self.medium.open(Folder::Queue, &name, Access::Write) {
            Ok(file) => file,
            Err(error) => {
                self.bin.push(free.slot);
                return Err(error);
            }
        };
        let number = self.next_number;
        let salt = self.salt(number);
        self.next_number = number.saturating_add(1);
        let header = Header {
            size: free.size,
            number,
            salt,
            previous: self.last.0,
            previous_end: self.last.1,
            oldest: self.used.front().map_or(number, |oldest| oldest.number),
            next_id: self.next_id,
            clock: self.clock,
            running: self.running,
        };
        self.buffer.clear();
        self.written = 0;
        header.write(&mut self.buffer);
        lock(&self.index).use_slot(free.slot, number, salt);
        self.used.push_back(Segment {
            slot: free.slot,
            number,
            size: free.size,
            end: u32::try_from(SECTOR).unwrap_or(0),
            suspect: false,
        });
        self.active = Some(Active {
            file,
            slot: free.slot,
            size: free.size,
            salt,
            base: 0,
        });
        Ok(())
    }

    /// splitmix64 of a secret and the number: every use of a slot has another salt, and nobody who writes mail can
    /// tell it.
    fn salt(&self, number: u64) -> u32 {
        let mut mixed = self
            .options
            .seed
            .wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)
    }

    /// A free file, the one that was free longest first; makes one when there is none.
    fn take_slot(&mut self, accept: bool) -> Result<Free, Trouble> {
        self.drop_odd_sizes();
        let keep = if accept { self.reserve() } else { 0 };
        while self.free.len() <= keep {
            let size = u64::from(self.options.segment);
            let room = if accept {
                self.has_room()
            } else {
                self.medium.free().is_ok_and(|free| free >= size)
            };
            if !room {
                break;
            }
            match self.make_slot() {
                Ok(free) => self.free.push(free),
                Err(error) if fault::is_full(&error) => break,
                Err(error) => {
                    self.broken = Some(error.to_string());
                    return Err(Trouble::Broken);
                }
            }
        }
        if self.free.len() > keep {
            Ok(self.free.remove(0))
        } else {
            Err(Trouble::Full)
        }
    }

    /// Whether one more segment leaves the floor of free space alone.
    pub(super) fn has_room(&self) -> bool {
        let wanted = self
            .options
            .free_floor
            .saturating_add(u64::from(self.options.segment));
        // A file system that cannot tell says so when it is written to.
        self.medium.free().is_ok_and(|free| free >= wanted)
    }

    /// Free files from a time when segments had another size.
    pub(super) fn drop_odd_sizes(&mut self) {
        let size = self.options.segment;
        let (fit, odd): (Vec<Free>, Vec<Free>) =
            self.free.drain(..).partition(|free| free.size == size);
        self.free = fit;
        for free in odd {
            self.remove_slot(free.slot);
        }
    }

    pub(super) fn remove_slot(&mut self, slot: u32) {
        // A file that stays is found free at the next start.
        let _ = self.medium.unlink(Folder::Queue, &segment::name(slot));
    }

    /// Makes a file and fills it with zeros: space that was only reserved would change the file system's own
    /// records at each first write.
    pub(super) fn make_slot(&mut self) -> io::Result<Free> {
        let taken = |slot: &u32| {
            self.used.iter().any(|s| s.slot == *slot)
                || self.limbo.iter().any(|s| s.slot == *slot)
                || self.free.iter().any(|s| s.slot == *slot)
                || self.bin.contains(slot)
        };
        let slot = (0..u32::MAX)
            .find(|slot| !taken(slot))
            .ok_or(io::ErrorKind::StorageFull)?;
        let size = self.options.segment;
        let made = self.fill(slot, size);
        if made.is_err() {
            self.remove_slot(slot);
        }
        made.map(|()| Free { slot, size })
    }

    fn fill(&self, slot: u32, size: u32) -> io::Result<()> {
        let file = self
            .medium
            .open(Folder::Queue, &segment::name(slot), Access::Create)?;
        self.blank(&file, 0, size)?;
        self.medium.sync(&file)?;
        self.medium.sync_folder(Folder::Queue)
    }

    fn blank(&self, file: &M::File, from: u32, to: u32) -> io::Result<()> {
        // Not a static: zeros of that kind lie in the program file.
        let blank = vec![0; usize::try_from(STEP).unwrap_or(0)];
        let mut at = from;
        while at < to {
            let step = to.saturating_sub(at).min(STEP);
            let zeros = blank.get(..usize::try_from(step).unwrap_or(0));
            self.medium
                .write_at(file, u64::from(at), zeros.unwrap_or_default())?;
            at = at.saturating_add(step);
        }
        Ok(())
    }

    /// Takes segments without life off the old end; the next header forgets them. Everything written so far must be
    /// synced, for it is what killed them.
    ///
    /// What is parked and not written yet does no harm: a Progress or Hold lies behind the Accept of its message, so
    /// while the message lives neither is forgotten; and a message that is done may be.
    fn forget_dead(&mut self) {
        let dead = {
            let index = lock(&self.index);
            let dead = |segment: &&Segment| index.slot(segment.slot).live == 0;
            self.used.iter().take_while(dead).count()
        };
        if dead > 0 && self.medium.sync_folder(Folder::Sorttemp).is_ok() {
            self.limbo.extend(self.used.drain(..dead));
        }
    }

    /// The header that forgets them is synced: they are free.
    pub(super) fn settle_limbo(&mut self) {
        for segment in std::mem::take(&mut self.limbo) {
            if segment.suspect {
                self.remove_slot(segment.slot);
            } else {
                self.free.push(Free {
                    slot: segment.slot,
                    size: segment.size,
                });
            }
        }
    }

    /// Keeps a few segments ready, and no more than a few. Says whether there is more to do.
    pub(super) fn keep_spares(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let Some(active) = &self.active else {
            return false;
        };
        let used = u64::from(active.base).saturating_mul(2);
        let half = used > u64::from(active.size);
        let ready = self.free.len().saturating_add(self.limbo.len());
        let wanted = self.reserve().max(limits::SPARE_SEGMENTS);
        if half && ready < wanted && self.has_room() {
            // A failure here is found again, and reported, by the one who needs the segment.
            if let Ok(free) = self.make_slot() {
                self.free.push(free);
            }
            return false;
        }
        if self.free.len() > wanted.saturating_add(limits::SPARE_SEGMENTS)
            && let Some(free) = self.free.pop()
        {
            self.remove_slot(free.slot);
            return true;
        }
        false
    }
}
