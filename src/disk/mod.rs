//! Files: the journal on its medium, body files, pickup, drop, badmail.

pub mod secret;
