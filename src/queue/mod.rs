//! What the journal means: records, replay, index, schedule.

pub mod schedule;
