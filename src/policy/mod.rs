//! Who may connect and relay, how fast, and where a message goes next.
//!
//! Plain tables made from the configuration. An absent list means nobody, never everybody (promise G5).

pub mod access;
pub mod guard;
pub mod health;
pub mod pace;
pub mod retry;
pub mod route;
pub mod stand_in;
pub mod sts;
