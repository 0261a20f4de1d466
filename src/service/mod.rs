//! One virtual server, and the supervisor of several: wires everything together.
//!
//! A server runs on one thread, over a `LocalExecutor`; its tasks share [`Service`] by `Rc`. Several have a thread
//! each, kept by [`keeper`], and [`servers`] on the main thread tells them what the signals say. One alone has the main
//! thread itself, with the supervisor as a task beside it. What blocks goes to
//! the journal writer or to the file worker. Nothing ticks: a task waits for a socket, for a ring, or for the one
//! moment at which something is due (promise G7).

pub mod active;
pub mod ageing;
pub mod alias_file;
pub mod aliases;
pub mod arrival;
pub mod asked;
pub mod attempt;
pub mod badmails;
pub mod certificate;
pub mod claims;
pub mod clients;
pub mod conclude;
pub mod connect;
pub mod control;
pub mod conversation;
pub mod dates;
pub mod deliver;
#[cfg(feature = "ldap")]
pub mod directory;
pub mod door;
pub mod dropping;
pub mod envelopes;
pub mod event;
pub mod fair;
pub mod fetch;
pub mod fold;
pub mod gate;
pub mod hooks;
pub mod intake;
pub mod keeper;
pub mod line;
pub mod live;
pub mod log;
pub mod logs;
pub mod memory_first;
pub mod naming;
pub mod network;
pub mod notices;
pub mod operators;
pub mod outgoing;
pub mod pickups;
pub mod policies;
pub mod privileges;
pub mod program;
pub mod proof;
pub mod receive;
pub mod relay;
#[cfg(feature = "ldap")]
pub mod resolving;
pub mod resting;
pub mod sandbox;
pub mod secure;
pub mod sending;
pub mod servers;
pub mod shared;
pub mod show;
pub mod sign;
pub mod signal;
pub mod socket;
pub mod start;
pub mod state;
pub mod sts;
pub mod talk;
pub mod targets;
pub mod tasks;
pub mod threads;
#[cfg(feature = "sso")]
pub mod tickets;
pub mod turned;
pub mod users;
pub mod ways;

pub use line::Read;
pub use line::StartError;
pub use servers::run;
pub use servers::run_all;
pub use shared::Service;
