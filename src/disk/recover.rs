//! Finds out what the segments on a medium mean. Never writes, so it also serves `mailroot queue` with the service
//! down; what is to be mended is a value, and `journal.rs` mends it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Wall;
use crate::disk::body;
use crate::disk::body::Stored;
use crate::disk::fault::LoadError;
use crate::disk::fault::OpenError;
use crate::disk::medium::Access;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::segment;
use crate::disk::segment::Fetch;
use crate::queue::index::Entry;
use crate::queue::index::Index;
use crate::queue::record::Header;
use crate::queue::record::NoHeader;
use crate::queue::replay::Damage;
use crate::queue::replay::Replay;

/// A segment that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which file.
    pub slot: u32,
    /// Which use of it.
    pub number: u64,
    /// Bytes of the file.
    pub size: u32,
    /// Where its records end.
    pub end: u32,
    /// A write or sync in it failed: it is copied forward first and its file is not used again.
    pub suspect: bool,
}

/// A file that can become a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Which file.
    pub slot: u32,
    /// Bytes of the file.
    pub size: u32,
}

/// What a start found besides the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The newest time that is known to have been.
    pub clock: Wall,
    /// How long this home has been run in all, as far as that was noted.
    pub running: Duration,
    /// Live messages.
    pub messages: usize,
    /// Good records read.
    pub records: u64,
    /// Segments read.
    pub segments: usize,
    /// Stretches that were synced once and cannot be read, up to [`crate::base::limits::DAMAGE_LISTED`]. Read one
    /// with `damaged_bytes` of what was opened; what is in it belongs into `badmail/`.
    pub damage: Vec<Damage>,
    /// Bytes in such stretches, listed or not.
    pub damaged_bytes: u64,
    /// Numbers of segments that should be there and are not.
    pub missing: Vec<u64>,
    /// Body files without a record, kept only because something was damaged: else they are left-overs and removed.
    pub stray_bodies: Vec<MsgId>,
    /// Claimed pickup files (`sorttemp/<id>.claim`), and whether their message was accepted. An accepted one is to
    /// be unlinked, any other to be read again under a new id.
    pub claims: Vec<(MsgId, bool)>,
}

/// One live message, as it is shown after a start.
#[derive(Debug)]
pub struct Live<'a> {
    /// Its name.
    pub id: MsgId,
    /// What is known of it; the body is not read.
    pub stored: Result<&'a Stored, &'a LoadError>,
    /// Begun so often without an end; [`crate::base::limits::POISON_BEGINS`] or more: it is held.
    pub begins: u8,
    /// Bytes in the queue: records and body file.
    pub bytes: u64,
}

/// Everything that reading a medium tells.
#[derive(Debug)]
pub struct Found {
    /// The live messages.
    pub index: Index,
    /// Segments that matter, oldest first.
    pub used: Vec<Segment>,
    /// Files that do not matter any more.
    pub free: Vec<Free>,
    /// Files in `queue/` and `sorttemp/` that nothing needs.
    pub litter: Vec<(Folder, String)>,
    /// The first id that was never given.
    pub next_id: MsgId,
    /// For the operator.
    pub recovery: Recovery,
}

/// Reads everything.
pub fn read<M: Medium>(medium: &M) -> Result<Found, OpenError> {
    let names = medium
        .list(Folder::Queue)
        .map_err(|error| OpenError::Io("list queue/", error))?;
    let temporary = medium
        .list(Folder::Sorttemp)
        .map_err(|error| OpenError::Io("list sorttemp/", error))?;
    let claims: BTreeSet<MsgId> = temporary
        .iter()
        .filter_map(|name| segment::id_of(name, ".claim"))
        .collect();
    let bodies: BTreeSet<MsgId> = names
        .iter()
        .filter_map(|name| segment::id_of(name, ".body"))
        .collect();

    let mut replay = Replay::new(claims.clone());
    // An id that stands in a file name must not be given again: a claim would be taken for another message's.
    let parts = temporary
        .iter()
        .filter_map(|name| segment::id_of(name, ".part"));
    for id in claims.iter().chain(&bodies).copied().chain(parts) {
        replay.not_below(id.next());
    }

    let (headers, mut free) = headers(medium, &names)?;
    let newest = headers.values().map(|(_, header)| header.oldest).max();
    let oldest = newest.unwrap_or(0);
    let ends: BTreeMap<u64, u32> = headers
        .values()
        .map(|(_, header)| (header.previous, header.previous_end))
        .collect();
    let mut used = Vec::new();
    let mut missing = Vec::new();
    let mut bytes = Vec::new();
    for (number, (slot, header)) in &headers {
        replay.noted(header.clock, header.running);
        replay.not_below(header.next_id);
        if *number < oldest {
            free.push(Free {
                slot: *slot,
                size: header.size,
            });
            continue;
        }
        if header.previous >= oldest
            && header.previous > 0
            && !headers.contains_key(&header.previous)
        {
            missing.push(header.previous);
        }
        load(medium, *slot, header.size, &mut bytes)
            .map_err(|error| OpenError::Io("read a journal segment", error))?;
        replay.index.use_slot(*slot, *number, header.salt);
        let end = ends.get(number).and_then(|end| usize::try_from(*end).ok());
        let end = replay.segment(*slot, &bytes, header.salt, end);
        used.push(Segment {
            slot: *slot,
            number: *number,
            size: header.size,
            end: u32::try_from(end).unwrap_or(header.size),
            suspect: false,
        });
    }
    drop(bytes);

    let hurt = replay.damaged_bytes > 0 || !missing.is_empty();
    let mut litter: Vec<(Folder, String)> = temporary
        .into_iter()
        .filter(|name| name.ends_with(".part"))
        .map(|name| (Folder::Sorttemp, name))
        .collect();
    let mut stray_bodies = Vec::new();
    for id in bodies {
        if replay.index.get(id).is_some_and(|entry| entry.file > 0) {
            continue;
        }
        if hurt {
            stray_bodies.push(id);
        } else {
            litter.push((Folder::Queue, segment::body_name(id)));
        }
    }
    Ok(Found {
        recovery: Recovery {
            clock: replay.clock,
            running: replay.running,
            messages: replay.index.messages(),
            records: replay.records,
            segments: used.len(),
            damaged_bytes: replay.damaged_bytes,
            missing,
            stray_bodies,
            claims: claims.iter().map(|id| (*id, replay.seen(*id))).collect(),
            damage: std::mem::take(&mut replay.damage),
        },
        next_id: replay.next_id,
        index: replay.index,
        used,
        free,
        litter,
    })
}

/// Segments with a readable header, by number.
pub(super) type Headers = BTreeMap<u64, (u32, Header)>;

/// Reads all headers; files without one are free.
pub(super) fn headers<M: Medium>(
    medium: &M,
    names: &[String],
) -> Result<(Headers, Vec<Free>), OpenError> {
    let (mut headers, mut free) = (Headers::new(), Vec::new());
    let mut slots: Vec<u32> = names.iter().filter_map(|n| segment::slot_of(n)).collect();
    slots.sort_unstable();
    slots.dedup();
    for slot in slots {
        let failed = |error| OpenError::Io("read a journal segment", error);
        let file = medium
            .open(Folder::Queue, &segment::name(slot), Access::Read)
            .map_err(failed)?;
        let len = medium.len(&file).map_err(failed)?;
        let size = u32::try_from(len).unwrap_or(u32::MAX);
        match segment::header(medium, &file, len).map_err(failed)? {
            Ok(header) if !headers.contains_key(&header.number) => {
                headers.insert(header.number, (slot, header));
            }
            // A copy of a file that somebody made: one of them is enough.
            Ok(_) | Err(NoHeader::Unreadable) => free.push(Free { slot, size }),
            Err(NoHeader::Newer(version)) => {
                return Err(OpenError::Newer(segment::name(slot), version));
            }
        }
    }
    Ok((headers, free))
}

/// Reads a whole segment into `bytes`; what the file lacks is zero.
pub(super) fn load<M: Medium>(
    medium: &M,
    slot: u32,
    size: u32,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let file = medium.open(Folder::Queue, &segment::name(slot), Access::Read)?;
    let len = medium.len(&file)?.min(u64::from(size));
    bytes.clear();
    bytes.resize(usize::try_from(len).unwrap_or(0), 0);
    let got = medium.read_at(&file, 0, bytes)?;
    if let Some(rest) = bytes.get_mut(got..) {
        rest.fill(0);
    }
    bytes.resize(usize::try_from(size).unwrap_or(0), 0);
    Ok(())
}

/// Shows every live message, by id, without reading bodies or keeping anything. A body file of the wrong length
/// shows as damage.
pub fn each<M: Medium>(medium: &M, index: &Mutex<Index>, mut show: impl FnMut(&Live<'_>)) {
    let mut fetch = Fetch::new(medium.clone());
    let mut at: Option<MsgId> = None;
    loop {
        let entry: Option<Entry> = body::lock(index).after(at);
        let Some(entry) = entry else {
            return;
        };
        at = Some(entry.id);
        let stored = body::load(&mut fetch, index, entry.id, false);
        let stored = match stored {
            Ok((stored, _)) => match file_is_whole(medium, &entry) {
                Ok(()) => Ok(stored),
                Err(error) => Err(error),
            },
            Err(LoadError::Gone) => continue,
            Err(error) => Err(error),
        };
        show(&Live {
            id: entry.id,
            stored: stored.as_ref(),
            begins: entry.begins,
            bytes: entry
                .file
                .saturating_add(u64::from(entry.accept.len))
                .saturating_add(u64::from(entry.progress.len)),
        });
    }
}

fn file_is_whole<M: Medium>(medium: &M, entry: &Entry) -> Result<(), LoadError> {
    if entry.file == 0 {
        return Ok(());
    }
    let name = segment::body_name(entry.id);
    let len = medium
        .open(Folder::Queue, &name, Access::Read)
        .and_then(|file| medium.len(&file));
    match len {
        Ok(len) if len == entry.file => Ok(()),
        Ok(_) => Err(LoadError::Damaged("its body file has the wrong length")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LoadError::Damaged("its body file is gone"))
        }
        Err(error) => Err(LoadError::Io(error.to_string())),
    }
}

/// The bytes of a damaged stretch, as they are, for `badmail/`.
pub fn damaged_bytes<M: Medium>(medium: &M, damage: Damage) -> io::Result<Vec<u8>> {
    let name = segment::name(damage.slot);
    let file = medium.open(Folder::Queue, &name, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(damage.len).unwrap_or(0)];
    let got = medium.read_at(&file, u64::from(damage.offset), &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes)
}
