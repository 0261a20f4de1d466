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
    /// What stands in place of the first bytes of a body file, and of how many.
    front: (Vec<u8>, u64),
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
            front: (Vec::new(), 0),
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

    /// Lets `front` stand in place of the first `count` bytes, from now on and as long as this value lives; nothing is
    /// written. To be called at most once. What is stored has another checksum then, so who checks it does that first.
    pub fn replace_front(&mut self, count: usize, front: Vec<u8>) {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.len = self
            .len
            .saturating_sub(wide(count))
            .saturating_add(wide(front.len()));
        if let Place::Memory(bytes, start) = &mut self.place {
            let end = start.saturating_add(count).min(bytes.len());
            bytes.splice(..end, front);
            *start = 0;
        } else {
            self.front = (front, wide(count));
        }
    }

    /// The part of `front` that lies from `offset` on, and where in the file reading goes on behind it.
    fn in_front(&self, offset: u64, count: usize) -> (Vec<u8>, u64) {
        let (front, skipped) = &self.front;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = front.iter().skip(from).take(count);
        let part: Vec<u8> = part.copied().collect();
        let length = u64::try_from(front.len()).unwrap_or(u64::MAX);
        let at = offset.saturating_sub(length).saturating_add(*skipped);
        (part, at)
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
        let (front, at) = self.in_front(offset, count);
        let (disk, mut bytes) = (self.disk.clone(), std::mem::take(out));
        let read = move || {
            let done = fill(&disk, &file, at, front, count, &mut bytes);
            (bytes, done)
        };
        let done;
        (*out, done) = self.worker.run(read).await;
        done
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
        let (front, at) = self.in_front(offset, count);
        fill(&self.disk, &file, at, front, count, out)
    }
}

/// Makes `out` hold `front` and then what the file has from `at` on, `count` bytes together.
fn fill(
    disk: &Disk,
    file: &OwnedFd,
    at: u64,
    front: Vec<u8>,
    count: usize,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.extend_from_slice(&front);
    out.resize(count, 0);
    let rest = out.get_mut(front.len()..).unwrap_or_default();
    let wanted = rest.len();
    if disk.read_at(file, at, rest)? < wanted {
        out.clear();
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
