//! What the journal means: records, replay, index, schedule.
