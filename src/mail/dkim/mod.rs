//! DKIM signatures (RFC 6376, RFC 8463): a first walk over the message, then one header field for its top.
//!
//! A message is signed on its way out, after every other change to it, so what is signed is what the peer gets. The
//! body is hashed as it passes and never whole in memory; the header block is kept, up to its cap.

pub mod canon;
pub mod key;
pub mod signing;
