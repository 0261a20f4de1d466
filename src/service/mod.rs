//! One virtual server: wires everything together.
//!
//! Everything here runs on one thread, over a `LocalExecutor`; tasks share [`Service`] by `Rc`. What blocks goes to
//! the journal writer or to the file worker. Nothing ticks: a task waits for a socket, for a ring, or for the one
//! moment at which something is due (promise G7).

pub mod active;
pub mod ageing;
pub mod attempt;
pub mod badmails;
pub mod certificate;
pub mod clients;
pub mod conclude;
pub mod connect;
pub mod control;
pub mod conversation;
pub mod dates;
pub mod deliver;
pub mod door;
pub mod dropping;
pub mod envelopes;
pub mod event;
pub mod fair;
pub mod fetch;
pub mod fold;
pub mod gate;
pub mod intake;
pub mod live;
pub mod log;
pub mod memory_first;
pub mod naming;
pub mod network;
pub mod notices;
pub mod operators;
pub mod outgoing;
pub mod pickups;
pub mod policies;
pub mod receive;
pub mod relay;
pub mod secure;
pub mod sending;
pub mod shared;
pub mod show;
pub mod sign;
pub mod signal;
pub mod start;
pub mod state;
pub mod sts;
pub mod targets;
pub mod turned;
pub mod users;
pub mod ways;

pub use shared::Service;
pub use shared::StartError;
pub use start::run;
