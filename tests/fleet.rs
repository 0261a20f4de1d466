//! What a smart host sees when a whole fleet of boxes comes back to it: the schedule, the health of a way and the
//! waits, as they ship, on virtual time. Every box is simulated by itself; only its connections are counted together.
//!
//! Five thousand boxes always; a hundred thousand with `MAILROOT_LONG=1` (best in release), which is what the README
//! and `src/policy/retry.rs` quote. The bounds are stated per box, so both sizes check them.
#![cfg(test)]

#[path = "../src/base/dice.rs"]
mod dice;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use dice::Dice;
use mailroot::base::{MsgId, Tick};
use mailroot::policy::retry::{AFTER_OUTAGE, Waits};
use mailroot::policy::route::Next;
use mailroot::queue::schedule::Waiting;
use mailroot::service::ways::Ways;

/// The uplink is gone from the first second of the story on, for so long.
const OUTAGE: u64 = 2 * 3600;
/// Messages of each box.
const MESSAGES: u64 = 20;
/// `route.connections` as shipped.
const CONNECTIONS: usize = 4;
/// From a connection to the first MAIL (TCP, TLS, EHLO, AUTH) and from one message to the next, in milliseconds.
const HELLO: u64 = 400;
const EACH: u64 = 150;
/// Boxes of one kind do not start in one second; milliseconds between the first and the last.
const BOOT: u64 = 30_000;
/// How long it is looked at, in seconds: until the last box is surely through.
const END: u64 = OUTAGE + 5 * 3600;

/// What tells the boxes that the uplink is back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Story {
    /// Nothing: the fault was beyond their routers.
    Far,
    /// Their own network: all of them in the same second. They wait as they do.
    Near,
    /// The same, if they did not wait.
    NearAtOnce,
    /// The power: all of them start within [`BOOT`] and find their network there.
    Power,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Look,
    Network,
    /// A session of the box is ready for a message.
    Ready {
        first: bool,
    },
}

/// Runs one box through the story and counts its connections by second. Answers when its last message had gone.
fn box_(story: Story, dice: &mut Dice, seconds: &mut [u32]) -> u64 {
    let (way, waits) = (Next::Route(0), Waits::default());
    let mut ways = Ways::default();
    if story != Story::Power {
        ways.way(way).health.on_success(Tick::default());
    }
    let mut events = BinaryHeap::new();
    if story == Story::Power {
        // What was queued when the power went is due when the box has started.
        let started = OUTAGE * 1000 + dice.roll(BOOT);
        for _ in 0..MESSAGES {
            events.push(Reverse((started, Event::Arrival)));
        }
    } else {
        // The first message of all of them is about the uplink; the others come as they come.
        events.push(Reverse((dice.roll(5_000), Event::Arrival)));
        for _ in 1..MESSAGES {
            events.push(Reverse((dice.roll(OUTAGE * 1000), Event::Arrival)));
        }
    }
    match story {
        Story::Far | Story::Power => {}
        Story::Near | Story::NearAtOnce => {
            events.push(Reverse((OUTAGE * 1000 + dice.roll(1000), Event::Network)));
        }
    }
    let (mut arrived, mut gone, mut last) = (0, 0, 0);
    while let Some(Reverse((millis, event))) = events.pop() {
        let now = Tick::from_millis(millis);
        match event {
            Event::Arrival => {
                arrived += 1;
                let waiting = Waiting {
                    due: now,
                    id: MsgId::from_number(arrived),
                    expires: now.after(Duration::from_secs(5 * 86_400)),
                };
                ways.add(way, waiting);
            }
            Event::Look => {}
            Event::Network if story == Story::NearAtOnce => ways.hurry(now),
            Event::Network => {
                ways.on_network(now, dice.word());
            }
            Event::Ready { first } => {
                if first {
                    ways.way(way).health.on_success(now);
                }
                if ways.take(way, now, None).is_some() {
                    (gone, last) = (gone + 1, millis + EACH);
                    events.push(Reverse((millis + EACH, Event::Ready { first: false })));
                } else {
                    ways.end(way, now);
                }
            }
        }
        for wish in ways.wanted(now, |_| CONNECTIONS, |_| None) {
            for _ in 0..wish.count {
                if millis < OUTAGE * 1000 {
                    ways.on_failure(way, now, &waits, dice.word(), false, "unreachable");
                } else {
                    ways.begin(way);
                    seconds[usize::try_from(millis / 1000).unwrap()] += 1;
                    events.push(Reverse((millis + HELLO, Event::Ready { first: true })));
                }
            }
        }
        if let Some(at) = ways.wakes(now, |_| None) {
            let next = events.peek().map(|next| next.0.0);
            if next.is_none_or(|next| next > at.as_millis()) {
                events.push(Reverse((at.as_millis(), Event::Look)));
            }
        }
    }
    assert_eq!((arrived, gone), (MESSAGES, MESSAGES), "{story:?}");
    last
}

struct Seen {
    /// Most connections in one second.
    peak: u32,
    /// Seconds from the end of the outage until the first, half, nine in ten, and all boxes had sent everything.
    through: [u64; 4],
    /// Connections in all.
    connections: u64,
}

fn fleet(story: Story, boxes: usize) -> Seen {
    let mut seconds = vec![0; usize::try_from(END).unwrap()];
    let mut dice = Dice::new(1);
    let mut ends: Vec<u64> = (0..boxes)
        .map(|_| box_(story, &mut dice, &mut seconds) / 1000 - OUTAGE)
        .collect();
    ends.sort_unstable();
    let back = usize::try_from(OUTAGE).unwrap();
    let peak = *seconds.iter().max().unwrap();
    println!("\n{story:?}, {boxes} boxes, connections a second after the uplink is back:");
    // By the second first, then by the minute, then by the quarter of an hour: mean, and the most in one second.
    let mut at = 0;
    while back + at < seconds.len() {
        let step = match at {
            0..10 => 1,
            10..120 => 10,
            120..1800 => 60,
            _ => 900,
        };
        let part = &seconds[back + at..(back + at + step).min(seconds.len())];
        let (sum, most) = (part.iter().sum::<u32>(), part.iter().max().unwrap());
        if sum > 0 {
            let mean = f64::from(sum) / part.len() as f64;
            let bar = "#".repeat(usize::try_from(u64::from(*most) * 50 / u64::from(peak)).unwrap());
            println!("{:>6} s {mean:>9.1} {most:>7} {bar}", at);
        }
        at += step;
    }
    let through = [0, boxes / 2, boxes * 9 / 10, boxes - 1].map(|place| ends[place]);
    let connections = seconds.iter().map(|n| u64::from(*n)).sum();
    println!(
        "peak {peak} in a second; {connections} connections; first, half, 90 %, all through after {through:?} s"
    );
    Seen {
        peak,
        through,
        connections,
    }
}

#[test]
fn a_fleet_that_comes_back_does_not_trample_its_smart_host() {
    let boxes = match std::env::var_os("MAILROOT_LONG") {
        Some(_) => 100_000,
        None => 5_000,
    };
    let bound = |seen: &Seen, seconds: u64, connections: f64| {
        // Chance makes the fullest second fuller than the mean, the less so the more boxes there are.
        let mean = boxes as f64 * connections / seconds as f64;
        let most = mean + 5.0 * mean.sqrt();
        assert!(f64::from(seen.peak) <= most, "{} over {most}", seen.peak);
    };
    let minute = AFTER_OUTAGE.as_secs();

    // Nobody says that it is over; each box finds out at its next probe, a quarter of the outage later at most.
    let far = fleet(Story::Far, boxes);
    bound(&far, 300, 1.1);
    assert!(far.through[3] <= OUTAGE / 4 * 12 / 10, "{:?}", far.through);
    // All hear it in the same second: within the minute of `after_outage` each has been there, mostly once.
    let near = fleet(Story::Near, boxes);
    bound(&near, minute, 1.1);
    assert!(near.through[3] <= minute + 10, "{:?}", near.through);
    assert!(near.connections <= boxes as u64 * 11 / 10);
    // What that is for: without it the first second has nearly all of them.
    let at_once = fleet(Story::NearAtOnce, boxes);
    assert!(at_once.peak > near.peak * 20);
    // A start knows of no outage; what spreads these is how they start.
    let power = fleet(Story::Power, boxes);
    bound(&power, BOOT / 1000, 1.1);
}
