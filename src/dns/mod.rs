//! DNS: questions and answers as values; one lookup as a machine; MX order; the cache.
//!
//! Nothing here touches a socket or a clock: `net::resolver` drives it. A name server's fault is never a statement
//! about a name, so whatever is not an answer ends as [`message::Fault`], which the caller takes as `Later`
//! (promise G3).

pub mod cache;
pub mod hosts;
pub mod lookup;
pub mod message;
pub mod mx;
pub mod reverse;
pub mod tlsa;

pub use lookup::LookupError;
pub use message::Fault;
pub use message::Kind;
pub use mx::Mx;
pub use tlsa::Tlsa;
