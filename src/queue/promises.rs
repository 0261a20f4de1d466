#![doc = include_str!("PROMISES.md")]
