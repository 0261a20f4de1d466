//! What everything else stands on: the two clock types, message ids, every limit with its reason, log escapes.

pub mod escape;
pub mod id;
pub mod limits;
pub mod time;

pub use escape::Escaped;
pub use id::MsgId;
pub use time::Tick;
pub use time::Wall;
