//! What the log is made of: how a line looks in each form, where it waits, and who brings it there.
//!
//! [`crate::service::log`] is the front: it turns events into lines. Lines for standard error are written there and
//! then, and never by a call that could wait ([`stderr`]). Lines for files, syslog and the journal go into a bounded
//! [`outbox`]; a task of the server's executor brings them on ([`pump`]), to the file worker or over a socket. Whoever
//! reads them may be slow, dead or gone: mail does not notice, lines beyond the bound are counted, and the count is
//! told when lines go again.

pub mod classic;
pub mod exchange;
pub mod outbox;
pub mod overheard;
pub mod pump;
pub mod spoken;
pub mod stamp;
pub mod stderr;
pub mod syslog;
