//! Who may connect and relay, how fast, and where a message goes next.
//!
//! Plain tables made from the configuration. An absent list means nobody, never everybody (promise G5).
//!
//! The list of retry waits ends in four hours, as that of IIS did. For a message that a peer puts off that is right;
//! for a peer that cannot be reached it is not: after two hours of outage mail would wait four more
//! (`tests/fleet.rs`). So a way that is down is looked at oftener ([`retry::Waits::probe`]), unless its setup is at fault.

pub mod access;
pub mod aliases;
pub mod guard;
pub mod health;
pub mod mailboxes;
pub mod pace;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod stand_in;
pub mod sts;
