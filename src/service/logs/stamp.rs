//! When a line is written: by the wall clock, or since boot while that is wrong.

use std::fmt;

use crate::base::Tick;
use crate::base::Wall;
use crate::net::TrustedClock;
use crate::net::clock;

/// When a line is written.
#[derive(Clone, Copy, Debug)]
pub enum Stamp {
    /// At a time that can be believed.
    Wall(Wall),
    /// So long after boot.
    Boot(Tick),
}

impl Stamp {
    /// Now. Without a clock that knows better, the box's is believed.
    pub fn now(clock: Option<&TrustedClock>) -> Self {
        match clock.map(TrustedClock::believed) {
            None => Self::Wall(clock::wall()),
            Some(Some(wall)) => Self::Wall(wall),
            Some(None) => Self::Boot(clock::tick()),
        }
    }

    /// As a key and its value in JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Wall(wall) => format!("\"time\":\"{wall}\""),
            Self::Boot(tick) => format!("\"uptime_ms\":{}", tick.as_millis()),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wall(wall) => wall.fmt(f),
            Self::Boot(tick) => {
                let millis = tick.as_millis();
                write!(f, "boot+{}.{:03}s", millis / 1000, millis % 1000)
            }
        }
    }
}
