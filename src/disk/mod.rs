//! Files: the journal on its medium, body files, pickup, drop, badmail.

pub mod badmail;
pub mod drop;
pub mod folders;
pub mod letter;
pub mod pickup;
pub mod secret;
pub mod submit;
pub mod watch;
