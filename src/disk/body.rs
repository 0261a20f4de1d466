//! A message as it is read back, and body files as they are written.

use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::MsgId;
use crate::disk::fault::LoadError;
use crate::disk::medium::Access;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::segment;
use crate::disk::segment::Fetch;
use crate::queue::accept::Accept;
use crate::queue::accept::BodyAt;
use crate::queue::index::Index;
use crate::queue::progress::Progress;
use crate::queue::record::FRAME;
use crate::queue::record::Kind;

/// A message in the queue, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How it came, and its envelope.
    pub accept: Accept,
    /// How far it is; none when it was never tried.
    pub progress: Option<Progress>,
    /// Why it is held, when it is.
    pub hold: Option<String>,
    /// Bytes of its body.
    pub body_len: u64,
    /// CRC-32 of the body file, when it has one.
    pub body_crc: Option<u32>,
}

/// Where the bytes of a body are, once its record was read.
#[derive(Debug)]
pub enum BodyBytes {
    /// In the record, from this offset on.
    Inline(Vec<u8>, usize),
    /// In the body file.
    File,
}

/// Locks; a thread that panicked while it held the lock has ended the program in a release.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a load looks again when the record moved away under it. Each move needs a segment to be reclaimed in
/// between, so two would do.
const LOOKS: usize = 8;

/// Reads a message back; `with_body` keeps the bytes of an inline body.
///
/// The index is locked for moments only, so a record may be copied forward and its segment overwritten while it is
/// read: then the salted checksum fails, the index knows the new place, and it is read there.
pub fn load<M: Medium>(
    fetch: &mut Fetch<M>,
    index: &Mutex<Index>,
    id: MsgId,
    with_body: bool,
) -> Result<(Stored, BodyBytes), LoadError> {
    let mut last = None;
    for _ in 0..LOOKS {
        let look = Look::at(index, id).ok_or(LoadError::Gone)?;
        match look.read(fetch, with_body) {
            Ok(found) => return Ok(found),
            Err(error) => {
                fetch.close();
                if last.as_ref() == Some(&look) {
                    return Err(error);
                }
                last = Some(look);
            }
        }
    }
    Err(LoadError::Io("its record keeps moving".to_owned()))
}

/// What the index said about a message at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    id: MsgId,
    accept: (crate::queue::index::Place, u32),
    progress: (crate::queue::index::Place, u32),
    hold: (crate::queue::index::Place, u32),
    parked_progress: Option<Box<[u8]>>,
    parked_hold: Option<Option<Box<[u8]>>>,
}

impl Look {
    fn at(index: &Mutex<Index>, id: MsgId) -> Option<Self> {
        let index = lock(index);
        let entry = index.get(id)?;
        let salted = |place: crate::queue::index::Place| (place, index.slot(place.slot).salt);
        let parked = index.parked.get(&id);
        Some(Self {
            id,
            accept: salted(entry.accept),
            progress: salted(entry.progress),
            hold: salted(index.held(id).unwrap_or_default()),
            parked_progress: parked.and_then(|parked| parked.progress.clone()),
            parked_hold: parked.and_then(|parked| parked.hold.clone()),
        })
    }

    fn read<M: Medium>(
        &self,
        fetch: &mut Fetch<M>,
        with_body: bool,
    ) -> Result<(Stored, BodyBytes), LoadError> {
        let damaged = |_| LoadError::Damaged("its record cannot be understood");
        let kinds = [Kind::Accept, Kind::AcceptFile];
        let record = fetch.record(self.accept.0, self.accept.1, self.id, &kinds)?;
        let payload = payload(&record);
        let in_file = record.get(16) == Some(&(Kind::AcceptFile as u8));
        let (accept, body) = Accept::read(payload, in_file).map_err(damaged)?;
        let progress = match &self.parked_progress {
            Some(payload) => Some(Progress::read(payload).map_err(damaged)?),
            None if self.progress.0.is_some() => {
                let (place, salt) = self.progress;
                let record = fetch.record(place, salt, self.id, &[Kind::Progress])?;
                Some(Progress::read(crate::disk::body::payload(&record)).map_err(damaged)?)
            }
            None => None,
        };
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        let hold = match &self.parked_hold {
            Some(parked) => parked.as_deref().map(text),
            None if self.hold.0.is_some() => {
                let (place, salt) = self.hold;
                let record = fetch.record(place, salt, self.id, &[Kind::Hold])?;
                Some(text(crate::disk::body::payload(&record)))
            }
            None => None,
        };
        let (body_len, body_crc, start) = match body {
            BodyAt::Inline(body) => (
                u64::try_from(body.len()).unwrap_or(u64::MAX),
                None,
                Some(payload.len().saturating_sub(body.len())),
            ),
            BodyAt::File { len, crc } => (len, Some(crc), None),
        };
        let stored = Stored {
            accept,
            progress,
            hold,
            body_len,
            body_crc,
        };
        let bytes = match start {
            Some(start) if with_body => {
                let mut bytes = record;
                let end = usize::try_from(body_len).unwrap_or(usize::MAX);
                let start = start.saturating_add(FRAME);
                bytes.truncate(start.saturating_add(end));
                BodyBytes::Inline(bytes, start)
            }
            Some(_) => BodyBytes::Inline(Vec::new(), 0),
            None => BodyBytes::File,
        };
        Ok((stored, bytes))
    }
}

/// The payload of a whole record that passed its checksum.
pub fn payload(record: &[u8]) -> &[u8] {
    let length = record.get(4..8).and_then(|bytes| bytes.first_chunk::<4>());
    let length = length.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let end = usize::try_from(length).unwrap_or(0).saturating_add(FRAME);
    record.get(FRAME..end).unwrap_or_default()
}

/// A body on its way into `queue/`: written to `sorttemp/<id>.part`, then synced and renamed.
///
/// It is only there for good once [`Part::finish`] returned; the record that names it must come later.
#[derive(Debug)]
pub struct Part<M: Medium> {
    medium: M,
    id: MsgId,
    file: M::File,
    len: u64,
    crc: crc32fast::Hasher,
}

impl<M: Medium> Part<M> {
    /// Makes the file.
    pub fn create(medium: M, id: MsgId) -> io::Result<Self> {
        let file = medium.open(Folder::Sorttemp, &segment::part_name(id), Access::Create)?;
        Ok(Self {
            medium,
            id,
            file,
            len: 0,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.medium.write_at(&self.file, self.len, bytes)?;
        self.crc.update(bytes);
        self.len = self
            .len
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Makes it `queue/<id>.body`, durable in contents and name. Says its length and checksum.
    pub fn finish(self) -> io::Result<(u64, u32)> {
        let (part, body) = (segment::part_name(self.id), segment::body_name(self.id));
        let moved = self
            .medium
            .sync(&self.file)
            .and_then(|()| {
                self.medium
                    .rename((Folder::Sorttemp, &part), (Folder::Queue, &body))
            })
            .and_then(|()| self.medium.sync_folder(Folder::Queue));
        if let Err(error) = moved {
            // Whichever name it has by now; what cannot be removed is removed at the next start.
            let _ = self.medium.unlink(Folder::Sorttemp, &part);
            let _ = self.medium.unlink(Folder::Queue, &body);
            return Err(error);
        }
        Ok((self.len, self.crc.finalize()))
    }

    /// Removes the file again.
    pub fn discard(self) {
        let part = segment::part_name(self.id);
        // What cannot be removed now is removed at the next start.
        let _ = self.medium.unlink(Folder::Sorttemp, &part);
    }
}
