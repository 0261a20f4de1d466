//! Files that only root may read, as they were when the service gave up root.
//!
//! Whoever cannot open such a file any more reads it here. They are put here once, before there is a second thread,
//! and belong to the process: a reload, and a server that is stopped and started again, find them as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use crate::base::Stamp;

/// The files, and when they were read.
static FILES: OnceLock<BTreeMap<PathBuf, Kept>> = OnceLock::new();

/// A file as it was.
#[derive(Debug)]
pub struct Kept {
    /// Which state of it.
    pub stamp: Option<Stamp>,
    /// What was in it.
    pub bytes: Arc<[u8]>,
}

/// Puts files here, the first time that it is called.
pub fn put(files: BTreeMap<PathBuf, Kept>) {
    let _ = FILES.set(files);
}

/// What was in a file that is kept.
pub fn bytes(path: &Path) -> Option<Arc<[u8]>> {
    let kept = FILES.get()?.get(path)?;
    Some(Arc::clone(&kept.bytes))
}

/// All of them.
pub fn all() -> impl Iterator<Item = (&'static Path, &'static Kept)> {
    let files = FILES.get().into_iter().flatten();
    files.map(|(path, kept)| (path.as_path(), kept))
}
