//! What a queued message costs in memory: its entry in the index and its place in the schedule, measured as the pages
//! this process has. Alone in its program, so that nothing else counts.
#![cfg(test)]

use mailroot::base::{MsgId, Tick};
use mailroot::policy::route::Next;
use mailroot::queue::index::{Index, Place};
use mailroot::queue::schedule::{Schedule, Waiting};

const MESSAGES: u64 = 100_000;

/// Anonymous memory of this process in bytes.
fn used() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[test]
fn a_queued_message_costs_less_than_a_hundred_bytes() {
    if !std::path::Path::new("/proc/self/smaps_rollup").exists() {
        println!("skipped: this kernel does not tell what memory is used");
        return;
    }
    let start = used();
    let mut index = Index::default();
    index.use_slot(0, 1, 9);
    for number in 0..MESSAGES {
        let place = Place {
            slot: 0,
            offset: 64,
            len: 1024,
        };
        index.accepted(MsgId::from_number(number), place, 0);
    }
    let indexed = used();
    let mut schedule = Schedule::default();
    for number in 0..MESSAGES {
        let waiting = Waiting {
            due: Tick::from_millis(number),
            id: MsgId::from_number(number),
            expires: Tick::from_millis(u64::MAX),
        };
        schedule.add(Next::Route(0), waiting);
    }
    let scheduled = used();
    let each = |bytes: u64| bytes / MESSAGES;
    println!(
        "a queued message takes {} bytes in the index and {} in the schedule",
        each(indexed - start),
        each(scheduled - indexed)
    );
    assert_eq!(index.messages() + schedule.len(Next::Route(0)), 200_000);
    assert!(each(scheduled - start) < 100);
}
