//! The failure latch: what happens when a write or sync fails, and how the journal goes on.
//!
//! After a failed sync the kernel may report the next one as good while the data is gone. So nothing unsynced in that
//! segment is believed again: what must not be forgotten is kept in memory, and written to a fresh segment once that
//! was written, synced and read back.

use std::io;

use crate::disk::append::record_span;
use crate::disk::body::lock;
use crate::disk::fault::Refused;
use crate::disk::journal::Core;
use crate::disk::journal::Effect;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::order::Order;
use crate::disk::segment;
use crate::queue::index::Parked;
use crate::queue::progress::Progress;
use crate::queue::record;
use crate::queue::record::JOINED;
use crate::queue::record::Kind;
use crate::queue::record::SECTOR;

impl<M: Medium> Core<M> {
    pub(super) fn flush_or_fail(&mut self, sync: bool) {
        if let Err(error) = self.flush(sync) {
            self.fail(&error);
        }
    }

    /// A write or sync failed: nothing unsynced in the active segment may be believed, not even if a later call
    /// succeeds. Accepts are refused, the rest is parked, the segment ends at its last sync.
    fn fail(&mut self, error: &io::Error) {
        self.broken = Some(error.to_string());
        let Some(active) = self.active.take() else {
            return;
        };
        for effect in std::mem::take(&mut self.at_sync) {
            match effect {
                Effect::Answer(at) => self.answer(at, Err(Refused::Broken(error.to_string()))),
                // The record may be on the disk after all, until the next header cuts it off; so its body stays
                // until then.
                Effect::Accepted(id, _, file) if file > 0 => self.unlink.push(id),
                _ => {}
            }
        }
        self.at_write.clear();
        self.coming = (0, 0);
        self.copying = None;
        self.copied = false;
        self.written = 0;
        let buffer = std::mem::take(&mut self.buffer);
        let start = if active.base == 0 { SECTOR } else { 0 };
        self.park(buffer.get(start..).unwrap_or_default(), active.salt);
        if active.base == 0 {
            self.used.pop_back();
            self.bin.push(active.slot);
            self.remember();
        } else if let Some(segment) = self.used.back_mut() {
            segment.suspect = true;
            segment.end = active.base;
        }
    }

    /// Keeps in memory what a failed segment said about messages that are in the index.
    fn park(&mut self, records: &[u8], salt: u32) {
        let mut rest = records;
        let mut joined = false;
        while let Some(span) = record_span(rest) {
            let found = record::read(rest, salt).map(|(record, _)| record);
            rest = rest.get(span..).unwrap_or_default();
            let Some(record) = found else {
                continue;
            };
            // What is joined to a refused accept is refused with it.
            let skip = std::mem::replace(&mut joined, record.flags & JOINED != 0);
            let known = || lock(&self.index).get(record.id).is_some();
            match record.kind {
                _ if skip => {}
                // Its effect may have been applied already, so whether the index knows it says nothing.
                Kind::Done => self.park_done(record.id),
                Kind::Progress if known() => {
                    let mut index = lock(&self.index);
                    let parked = index.parked.entry(record.id).or_default();
                    parked.progress = Some(record.payload.into());
                }
                Kind::Hold if known() => {
                    let mut index = lock(&self.index);
                    let parked = index.parked.entry(record.id).or_default();
                    parked.hold = Some(Some(record.payload.into()));
                }
                Kind::Release if known() => {
                    let mut index = lock(&self.index);
                    index.parked.entry(record.id).or_default().hold = Some(None);
                }
                _ => {}
            }
        }
    }

    /// Opens a fresh segment when the journal is broken, and writes what was parked.
    pub(super) fn recommence(&mut self) {
        if self.broken.is_some()
            && let Err(error) = self.prove()
        {
            self.broken = Some(error.to_string());
            return;
        }
        if self.is_parked() {
            self.unpark();
        }
    }

    /// Believes the disk again once a fresh segment was written, synced and read back.
    fn prove(&mut self) -> io::Result<()> {
        while let Some(slot) = self.bin.last() {
            match self.medium.unlink(Folder::Queue, &segment::name(*slot)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.bin.pop(),
            };
            // Its refused records must not come back with its name.
            self.medium.sync_folder(Folder::Queue)?;
        }
        if self.active.is_some() {
            // Only the making of a next segment failed; nothing that was written is in doubt.
            self.broken = None;
            return Ok(());
        }
        self.drop_odd_sizes();
        let free = if self.free.is_empty() {
            self.make_slot()?
        } else {
            self.free.remove(0)
        };
        self.begin_segment(free)?;
        let header = self.buffer.clone();
        if let Err(error) = self.flush(true) {
            self.fail(&error);
            return Err(error);
        }
        let mut back = [0; SECTOR];
        let same = match &self.active {
            Some(active) => {
                self.medium.read_at(&active.file, 0, &mut back)? == SECTOR && back[..] == header[..]
            }
            None => false,
        };
        if !same {
            return Err(io::Error::other("what was written does not read back"));
        }
        self.broken = None;
        Ok(())
    }

    /// Writes what was parked; what cannot be written is parked again.
    pub(super) fn unpark(&mut self) {
        self.unparking = true;
        let parked = std::mem::take(&mut lock(&self.index).parked);
        for (
            id,
            Parked {
                progress,
                hold,
                done,
            },
        ) in parked
        {
            if done {
                let start = record::open(&mut self.buffer, Kind::Done, 0, id);
                match self.append(start) {
                    Ok(_) => self.at_write.push(Effect::Finished(id)),
                    Err(_) => self.park_done(id),
                }
                continue;
            }
            // Made by us a moment ago, so it can be read; were it not, an attempt would be repeated.
            if let Some(Ok(progress)) = progress.map(|payload| Progress::read(&payload)) {
                self.note(Order::Progress(id, progress));
            }
            match hold {
                Some(Some(text)) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.note(Order::Hold(id, text));
                }
                Some(None) => self.note(Order::Release(id)),
                None => {}
            }
        }
        self.unparking = false;
    }
}
