//! What the journal means: records, replay, index, schedule.
//!
//! The bytes are in [`mod@format`], the promises in [`promises`].
//!

pub mod accept;
pub mod compact;
pub mod field;
pub mod format;
pub mod index;
pub mod progress;
pub mod promises;
pub mod record;
pub mod replay;
pub mod schedule;

pub use accept::Accept;
pub use accept::Dates;
pub use accept::Door;
pub use accept::Priority;
pub use progress::Progress;
pub use progress::Stage;
