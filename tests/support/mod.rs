//! What the tests share.
#![allow(dead_code, reason = "each test uses a part of it")]

#[path = "../../src/base/dice.rs"]
pub mod dice;
pub mod model;
pub mod sim;
