//! Segment files: their names, their headers, and reading one record.

use std::io;

use crate::base::MsgId;
use crate::disk::fault::LoadError;
use crate::disk::medium::Access;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::queue::index::Place;
use crate::queue::record;
use crate::queue::record::Header;
use crate::queue::record::Kind;
use crate::queue::record::NoHeader;
use crate::queue::record::SECTOR;

/// `journal-<slot>.seg`.
pub fn name(slot: u32) -> String {
    format!("journal-{slot}.seg")
}

/// The slot in a file name.
pub fn slot_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".seg")?;
    digits.parse().ok()
}

/// `<id>.body`, in `queue/`.
pub fn body_name(id: MsgId) -> String {
    format!("{id}.body")
}

/// `<id>.part`, in `sorttemp/`.
pub fn part_name(id: MsgId) -> String {
    format!("{id}.part")
}

/// The id in a name such as `<id>.body`.
pub fn id_of(name: &str, ending: &str) -> Option<MsgId> {
    let id: MsgId = name.strip_suffix(ending)?.parse().ok()?;
    // Only the spelling that we write: `o1.body` reads as an id and is none of ours.
    (format!("{id}{ending}") == name).then_some(id)
}

/// Reads the header of a segment: the front copy or the one at the end, whichever is readable and newer.
pub fn header<M: Medium>(
    medium: &M,
    file: &M::File,
    len: u64,
) -> io::Result<Result<Header, NoHeader>> {
    let mut sector = [0; SECTOR];
    let mut read = |offset| -> io::Result<Result<Header, NoHeader>> {
        let got = medium.read_at(file, offset, &mut sector)?;
        Ok(Header::read(sector.get(..got).unwrap_or_default()))
    };
    let front = read(0)?;
    let last = u64::try_from(SECTOR).unwrap_or(0);
    let back = match len.checked_sub(last) {
        Some(offset) if offset >= last => read(offset)?,
        _ => Err(NoHeader::Unreadable),
    };
    Ok(match (front, back) {
        (Ok(front), Ok(back)) => {
            // The same use may have one copy that forgets more than the other.
            let age = |header: &Header| (header.number, header.oldest);
            Ok(if age(&back) > age(&front) {
                back
            } else {
                front
            })
        }
        (Ok(header), Err(_)) | (Err(_), Ok(header)) => Ok(header),
        (Err(NoHeader::Newer(version)), _) | (_, Err(NoHeader::Newer(version))) => {
            Err(NoHeader::Newer(version))
        }
        (Err(NoHeader::Unreadable), Err(NoHeader::Unreadable)) => Err(NoHeader::Unreadable),
    })
}

/// Reads single records, keeping the last file open: neighbours are usually read one after the other.
#[derive(Debug)]
pub struct Fetch<M: Medium> {
    medium: M,
    open: Option<(u32, M::File)>,
}

impl<M: Medium> Fetch<M> {
    /// Nothing open.
    pub fn new(medium: M) -> Self {
        Self { medium, open: None }
    }

    /// Closes what is open: its name may be gone by the time of the next read.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// The whole record at `place`, frame included, when it is one of message `id` and of a kind that `fits`.
    pub fn record(
        &mut self,
        place: Place,
        salt: u32,
        id: MsgId,
        fits: &[Kind],
    ) -> Result<Vec<u8>, LoadError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => LoadError::Damaged("its segment is gone"),
            _ => LoadError::Io(error.to_string()),
        };
        if self.open.as_ref().is_none_or(|open| open.0 != place.slot) {
            self.open = None;
            let file = self
                .medium
                .open(Folder::Queue, &name(place.slot), Access::Read)
                .map_err(failed)?;
            self.open = Some((place.slot, file));
        }
        let Some((_, file)) = &self.open else {
            return Err(LoadError::Gone);
        };
        let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(0)];
        let got = self
            .medium
            .read_at(file, u64::from(place.offset), &mut bytes)
            .map_err(failed)?;
        bytes.truncate(got);
        match record::read(&bytes, salt) {
            Some((record, _)) if record.id == id && fits.contains(&record.kind) => Ok(bytes),
            _ => Err(LoadError::Damaged("its record fails its checksum")),
        }
    }
}
