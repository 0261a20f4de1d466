//! Turns a `MetaBase.xml` of IIS into configuration files: text in, text out.
//!
//! Trust: none. The file may come from anywhere, so its size is bounded, document types (and with them entities of its
//! own) are refused, and what is taken over goes through the same reader as what an owner writes.
//! Never: opens more than IIS did, or as much where IIS was open to everybody by accident.

pub mod addresses;
pub mod domains;
pub mod logging;
pub mod metabase;
pub mod paper;
pub mod server;
