//! The protocol: lines, commands, replies, body readers, SASL, the server and client machines.

pub mod command;
pub mod data;
pub mod fault;
pub mod line;
pub mod reply;
