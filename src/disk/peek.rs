//! The queue of a service that does not run, for `mailroot queue`. Never writes.

use std::io;
use std::sync::Mutex;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::body;
use crate::disk::body::BodyBytes;
use crate::disk::body::Stored;
use crate::disk::fault::LoadError;
use crate::disk::fault::OpenError;
use crate::disk::handle::Paths;
use crate::disk::lock::HomeLock;
use crate::disk::medium::Access;
use crate::disk::medium::Disk;
use crate::disk::medium::Folder;
use crate::disk::medium::Medium;
use crate::disk::recover;
use crate::disk::recover::Live;
use crate::disk::recover::Recovery;
use crate::disk::segment;
use crate::disk::segment::Fetch;
use crate::queue::index::Index;

/// A queue at rest.
#[derive(Debug)]
pub struct Peek {
    disk: Disk,
    index: Mutex<Index>,
    recovery: Recovery,
}

impl Peek {
    /// Reads the queue of a home; when a service runs there, says which.
    pub fn open(paths: &Paths) -> Result<Self, OpenError> {
        let disk = Disk::open(&paths.queue, &paths.sorttemp, false)
            .map_err(|error| OpenError::Io("open queue/ and sorttemp/", error))?;
        HomeLock::check(&paths.lock())?;
        let found = recover::read(&disk)?;
        Ok(Self {
            disk,
            index: Mutex::new(found.index),
            recovery: found.recovery,
        })
    }

    /// What was found besides the messages.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Shows every live message once, by id.
    pub fn each(&self, show: impl FnMut(&Live<'_>)) {
        recover::each(&self.disk, &self.index, show);
    }

    /// One message without its body.
    pub fn stored(&self, id: MsgId) -> Result<Stored, LoadError> {
        body::load(&mut Fetch::new(self.disk.clone()), &self.index, id, false).map(|found| found.0)
    }

    /// Every live message, by id.
    pub fn ids(&self) -> Vec<MsgId> {
        let index = body::lock(&self.index);
        index.entries().map(|entry| entry.id).collect()
    }

    /// One message, and its body piece by piece.
    pub fn load(
        &self,
        id: MsgId,
        mut body: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Stored, LoadError> {
        let failed = |error: io::Error| LoadError::Io(error.to_string());
        let mut fetch = Fetch::new(self.disk.clone());
        let (stored, bytes) = body::load(&mut fetch, &self.index, id, true)?;
        if let BodyBytes::Inline(bytes, start) = bytes {
            body(bytes.get(start..).unwrap_or_default()).map_err(failed)?;
            return Ok(stored);
        }
        let name = segment::body_name(id);
        let file = self
            .disk
            .open(Folder::Queue, &name, Access::Read)
            .map_err(failed)?;
        let (mut at, mut step) = (0, vec![0; limits::BODY_STEP]);
        let mut crc = crc32fast::Hasher::new();
        while at < stored.body_len {
            let got = self.disk.read_at(&file, at, &mut step).map_err(failed)?;
            let piece = step.get(..got).filter(|piece| !piece.is_empty());
            let piece = piece.ok_or(LoadError::Damaged("its body file is too short"))?;
            crc.update(piece);
            body(piece).map_err(failed)?;
            at = at.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
        }
        if stored
            .body_crc
            .is_some_and(|wanted| wanted != crc.finalize())
        {
            return Err(LoadError::Damaged("its body file fails its checksum"));
        }
        Ok(stored)
    }
}
