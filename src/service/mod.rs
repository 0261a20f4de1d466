//! One virtual server: wires everything together.

pub mod event;
