//! A body on its way in: in memory while it is small, in a file of `sorttemp/` when it grows.
//!
//! Never whole in memory once it is large, and all drafts together never hold more than
//! [`limits::DRAFT_MEMORY`]: what comes on top goes to its file at once.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::body::Part;
use crate::disk::body::lock;
use crate::disk::medium::Disk;
use crate::disk::medium::Medium;
use crate::disk::order::Body;
use crate::disk::worker::Worker;

/// Room that a body gets first, in bytes: enough for most of what machines send.
const FIRST: usize = 2048;

/// What all drafts of a journal share.
#[derive(Debug)]
pub(super) struct Intake {
    pub disk: Disk,
    pub worker: Worker,
    /// Bodies up to this many bytes stay in memory.
    pub inline: usize,
    /// Free space, in bytes, that drafts leave alone.
    pub floor: u64,
    /// Free inodes that they leave alone.
    pub files_floor: u64,
    /// Memory taken by all of them.
    pub memory: Mutex<usize>,
}

/// A body being received. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    intake: Arc<Intake>,
    id: MsgId,
    /// What is not in the file yet.
    buffer: Vec<u8>,
    /// Bytes of [`limits::DRAFT_MEMORY`] taken for it.
    taken: usize,
    len: u64,
    file: File,
}

#[derive(Debug)]
enum File {
    None,
    Open(Part<Disk>),
    /// A write failed: the draft is good for nothing any more.
    Failed,
}

impl Draft {
    pub(super) fn new(intake: Arc<Intake>, id: MsgId) -> Self {
        Self {
            intake,
            id,
            buffer: Vec::new(),
            taken: 0,
            len: 0,
            file: File::None,
        }
    }

    /// The message that it will be.
    pub fn id(&self) -> MsgId {
        self.id
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends. Fails when the disk is full or broken ([`crate::disk::fault::Refused::from_io`] says which to the
    /// sender); then the draft can only be dropped.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.keep(bytes)? {
            return Ok(());
        }
        // Boxed: few messages are so large, and all that wait would have room for it.
        Box::pin(self.spill(bytes)).await
    }

    /// Appends what there is room for in memory; answers whether there was.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.len = self.len.saturating_add(count);
        let inline = self.intake.inline;
        let most = match self.file {
            File::None => inline,
            File::Open(_) => limits::BODY_STEP,
            File::Failed => return Err(failed()),
        };
        let total = self.buffer.len().saturating_add(bytes.len());
        if total <= most && self.take_memory(total) {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve(total.max(FIRST));
            }
            self.buffer.extend_from_slice(bytes);
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes what is missing up to `total` from the common memory.
    fn take_memory(&mut self, total: usize) -> bool {
        let more = total.saturating_sub(self.taken);
        if more == 0 {
            return true;
        }
        let mut drafts = lock(&self.intake.memory);
        let sum = drafts.saturating_add(more);
        if sum > limits::DRAFT_MEMORY {
            return false;
        }
        *drafts = sum;
        self.taken = total;
        true
    }

    fn give_memory(&mut self) {
        let taken = mem::take(&mut self.taken);
        let mut drafts = lock(&self.intake.memory);
        *drafts = drafts.saturating_sub(taken);
    }

    /// Writes what is buffered, and `bytes`, to the file.
    async fn spill(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut buffer = mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let (disk, id) = (self.intake.disk.clone(), self.id);
        let (floor, files) = (self.intake.floor, self.intake.files_floor);
        let file = mem::replace(&mut self.file, File::Failed);
        let write = move || {
            let mut part = match file {
                File::Open(part) => part,
                File::None => {
                    if disk.free()? < floor || (files > 0 && disk.free_files()? <= files) {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    Part::create(disk, id)?
                }
                File::Failed => return Err(failed()),
            };
            match part.write(&buffer) {
                Ok(()) => {
                    buffer.clear();
                    Ok((part, buffer))
                }
                Err(error) => {
                    part.discard();
                    Err(error)
                }
            }
        };
        let (part, mut buffer) = self.intake.worker.run(write).await?;
        self.file = File::Open(part);
        if buffer.capacity() > limits::BODY_STEP.saturating_mul(2) || self.taken == 0 {
            buffer = Vec::new();
        }
        self.buffer = buffer;
        if self.buffer.capacity() == 0 {
            self.give_memory();
        }
        Ok(())
    }

    /// Makes it ready to be accepted: a large one is durable then. A small one is ready at once, so that nobody waits
    /// with all of a draft.
    pub(super) fn finish(mut self) -> impl Future<Output = io::Result<Body>> {
        let (ready, file) = match self.file {
            File::None => (Ok(Body::Inline(mem::take(&mut self.buffer))), None),
            File::Open(_) => (Err(failed()), Some(Box::pin(self.finish_file()))),
            File::Failed => (Err(failed()), None),
        };
        async move {
            match file {
                Some(file) => file.await,
                None => ready,
            }
        }
    }

    async fn finish_file(mut self) -> io::Result<Body> {
        if !self.buffer.is_empty() {
            self.spill(&[]).await?;
        }
        let File::Open(part) = mem::replace(&mut self.file, File::None) else {
            return Err(failed());
        };
        let (len, crc) = self.intake.worker.run(move || part.finish()).await?;
        Ok(Body::File { len, crc })
    }
}

/// Why a draft takes nothing more.
fn failed() -> io::Error {
    io::Error::other("an earlier write failed")
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.give_memory();
        if let File::Open(part) = mem::replace(&mut self.file, File::None) {
            self.intake.worker.post(move || part.discard());
        }
    }
}
