//! The segments of a home as they lie on the disk, record by record, for `mailroot journal dump`.
//!
//! Never writes and takes no lock, so it works beside a running service, too: what that writes meanwhile may then
//! look torn. What a record says is shown as it stands, whether its message lives or not.

use std::collections::BTreeMap;

use crate::disk::fault::OpenError;
use crate::disk::handle::Paths;
use crate::disk::medium::Disk;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::recover;
use crate::disk::segment;
use crate::queue::record::Header;
use crate::queue::record::Record;
use crate::queue::replay::Item;
use crate::queue::replay::Scan;

/// One thing on the disk, in the order of the segments' numbers and then of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A segment begins.
    Segment {
        /// Its file.
        slot: u32,
        /// Its header.
        header: Header,
        /// A later segment forgets it: nothing in it counts.
        forgotten: bool,
    },
    /// A good record.
    Record {
        /// Bytes from the start of the file.
        offset: usize,
        /// Bytes with frame and padding.
        len: usize,
        /// What it says.
        record: Record<'a>,
    },
    /// Bytes that were synced once and cannot be read.
    Damage {
        /// Bytes from the start of the file.
        offset: usize,
        /// How many.
        len: usize,
    },
    /// The records of the segment end here.
    End {
        /// Bytes from the start of the file.
        offset: usize,
    },
    /// A file without a header that can be read: never used, or forgotten.
    Free {
        /// Which.
        slot: u32,
        /// Bytes.
        size: u32,
    },
}

/// Shows everything; stops early when `show` says false.
pub fn walk(paths: &Paths, mut show: impl FnMut(&Line<'_>) -> bool) -> Result<(), OpenError> {
    let disk = Disk::open(&paths.queue, &paths.sorttemp, false)
        .map_err(|error| OpenError::Io("open queue/ and sorttemp/", error))?;
    let names = disk
        .list(Folder::Queue)
        .map_err(|error| OpenError::Io("list queue/", error))?;
    let (headers, free) = recover::headers(&disk, &names)?;
    let oldest = headers.values().map(|(_, header)| header.oldest).max();
    let ends: BTreeMap<u64, u32> = headers
        .values()
        .map(|(_, header)| (header.previous, header.previous_end))
        .collect();
    let mut bytes = Vec::new();
    for (number, (slot, header)) in &headers {
        let forgotten = Some(*number) < oldest;
        let (slot, header) = (*slot, *header);
        if !show(&Line::Segment {
            slot,
            header,
            forgotten,
        }) {
            return Ok(());
        }
        if forgotten {
            continue;
        }
        recover::load(&disk, slot, header.size, &mut bytes)
            .map_err(|error| OpenError::Io("read a journal segment", error))?;
        let end = ends.get(number).and_then(|end| usize::try_from(*end).ok());
        let mut scan = Scan::new(&bytes, header.salt, end);
        for item in scan.by_ref() {
            let line = match item {
                Item::Record {
                    offset,
                    len,
                    record,
                } => Line::Record {
                    offset,
                    len,
                    record,
                },
                Item::Damage { offset, len } => Line::Damage { offset, len },
            };
            if !show(&line) {
                return Ok(());
            }
        }
        let offset = scan.offset();
        if !show(&Line::End { offset }) {
            return Ok(());
        }
    }
    for free in free {
        if !show(&Line::Free {
            slot: free.slot,
            size: free.size,
        }) {
            return Ok(());
        }
    }
    Ok(())
}

/// How the file of a slot is called.
pub fn file(slot: u32) -> String {
    segment::name(slot)
}
