//! One virtual server: wires everything together.

pub mod event;
pub mod signal;
pub mod ways;
