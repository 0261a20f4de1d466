//! A message that was loaded, and its body in steps.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::body::BodyBytes;
use crate::disk::body::Stored;
use crate::disk::medium::Access;
use crate::disk::medium::Disk;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::segment;
use crate::disk::worker::Worker;

/// A message read back from the queue.
#[derive(Debug)]
pub struct StoredMessage {
    /// Its name.
    pub id: MsgId,
    /// Everything but its body.
    pub stored: Stored,
    /// Its body.
    pub body: StoredBody,
}

/// A body in the queue.
#[derive(Clone, Debug)]
pub struct StoredBody {
    id: MsgId,
    len: u64,
    place: Place,
    disk: Disk,
    worker: Worker,
}

#[derive(Clone, Debug)]
enum Place {
    /// The bytes begin at this offset.
    Memory(Vec<u8>, usize),
    /// Opened at the first read.
    File(Option<Arc<OwnedFd>>),
}

impl StoredMessage {
    pub(super) fn new(
        id: MsgId,
        stored: Stored,
        bytes: BodyBytes,
        disk: Disk,
        worker: Worker,
    ) -> Self {
        let body = StoredBody {
            id,
            len: stored.body_len,
            place: match bytes {
                BodyBytes::Inline(bytes, start) => Place::Memory(bytes, start),
                BodyBytes::File => Place::File(None),
            },
            disk,
            worker,
        };
        Self { id, stored, body }
    }
}

impl StoredBody {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it, when it is in memory anyway.
    pub fn inline(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Memory(bytes, start) => bytes.get(*start..),
            Place::File(_) => None,
        }
    }

    /// Puts the bytes from `offset` on into `out`, replacing what is there: at most [`limits::BODY_STEP`], fewer only
    /// at the end of the body, none behind it. A body file that is shorter than it was is an error.
    pub async fn read(&mut self, offset: u64, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        let left = self.len.saturating_sub(offset);
        let count =
            usize::try_from(left).map_or(limits::BODY_STEP, |left| left.min(limits::BODY_STEP));
        if count == 0 {
            return Ok(());
        }
        let file = match &mut self.place {
            Place::Memory(bytes, start) => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .saturating_add(*start);
                let part = bytes.get(from..from.saturating_add(count));
                out.extend_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                return Ok(());
            }
            Place::File(Some(file)) => Arc::clone(file),
            Place::File(none) => {
                let (disk, id) = (self.disk.clone(), self.id);
                let open = move || disk.open(Folder::Queue, &segment::body_name(id), Access::Read);
                let file = Arc::new(self.worker.run(open).await?);
                *none = Some(Arc::clone(&file));
                file
            }
        };
        let (disk, mut bytes) = (self.disk.clone(), std::mem::take(out));
        let read = move || {
            bytes.resize(count, 0);
            let got = disk.read_at(&file, offset, &mut bytes);
            (bytes, got)
        };
        let got;
        (*out, got) = self.worker.run(read).await;
        if got? < count {
            out.clear();
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The same, blocking: for jobs of the file worker that need the whole body.
    pub fn read_blocking(&mut self, offset: u64, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        let left = self.len.saturating_sub(offset);
        let count =
            usize::try_from(left).map_or(limits::BODY_STEP, |left| left.min(limits::BODY_STEP));
        let file = match &mut self.place {
            Place::Memory(bytes, start) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let from = from.saturating_add(*start);
                let part = bytes.get(from..from.saturating_add(count));
                out.extend_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                return Ok(());
            }
            Place::File(Some(file)) => Arc::clone(file),
            Place::File(none) => {
                let name = segment::body_name(self.id);
                let file = self.disk.open(Folder::Queue, &name, Access::Read)?;
                Arc::clone(none.insert(Arc::new(file)))
            }
        };
        out.resize(count, 0);
        if self.disk.read_at(&file, offset, out)? < count {
            out.clear();
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
