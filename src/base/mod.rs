//! What everything else stands on: the two clock types, message ids, every limit with its reason, log escapes, what
//! tells one state of a file from the next, and files that are kept because nobody may read them any more.

#[cfg(test)]
pub mod dice;
pub mod escape;
pub mod id;
pub mod kept;
pub mod limits;
pub mod stamp;
pub mod time;

pub use escape::Escaped;
pub use id::MsgId;
pub use stamp::Stamp;
pub use time::Tick;
pub use time::Wall;
