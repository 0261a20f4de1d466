//! What everything else stands on: the two clock types, message ids, every limit with its reason, log escapes, and
//! what tells one state of a file from the next.

pub mod escape;
pub mod id;
pub mod limits;
pub mod stamp;
pub mod time;

pub use escape::Escaped;
pub use id::MsgId;
pub use stamp::Stamp;
pub use time::Tick;
pub use time::Wall;
