//! A directory that says who gets mail and who may log in: a real slapd with its own configuration, data and
//! certificates on loopback, and a proxy in front of it where it has to be slow, dead or cut off.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod logins;
mod routing;
mod slapd;
mod trouble;
