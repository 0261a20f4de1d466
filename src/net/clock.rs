//! The only reader of the clocks, and what of the wall clock can be believed.
//!
//! std's wall clock aborts past 2038 on 32-bit musl, so both clocks are read by rustix, which is 64-bit throughout.
//! A box without a clock chip boots in 1970: its wall clock is believed only once it is past the floor, a time that
//! is known to have been.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::DynamicClockId;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::base::Tick;
use crate::base::Wall;

/// Now, in milliseconds since boot, suspend included.
pub fn tick() -> Tick {
    let now = rustix::time::clock_gettime_dynamic(DynamicClockId::Boottime)
        .unwrap_or_else(|_| rustix::time::clock_gettime(ClockId::Monotonic));
    Tick::from_millis(millis(now.tv_sec, now.tv_nsec))
}

/// Now, as the box believes it, true or not. [`TrustedClock`] says whether it can be true.
pub fn wall() -> Wall {
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    Wall::from_millis(millis(now.tv_sec, now.tv_nsec))
}

/// A time before its epoch counts as the epoch.
fn millis(secs: i64, nanos: impl Into<i64>) -> u64 {
    let secs = u64::try_from(secs).unwrap_or(0);
    let rest = u64::try_from(nanos.into() / 1_000_000).unwrap_or(0);
    secs.saturating_mul(1000).saturating_add(rest)
}

/// When this program was built: the first floor.
pub fn build_date() -> Wall {
    Wall::from_secs(env!("MAILROOT_BUILD_EPOCH").parse().unwrap_or(0))
}

/// The wall clock together with its floor: the build date, or the newest later time that is known to have been (from
/// the journal, or proved by a verified certificate).
///
/// The floor is whole seconds in 32 bits: armv5 and mipsel have no wider atomics, and it lasts until 2106, after
/// which it stops rising and does no harm.
pub struct TrustedClock {
    floor: AtomicU32,
    read: fn() -> Wall,
}

impl TrustedClock {
    /// The box's clock, with the build date as floor.
    pub fn new() -> Self {
        let clock = Self {
            floor: AtomicU32::new(0),
            read: wall,
        };
        clock.raise(build_date());
        clock
    }

    /// A clock that is read by `read`, for tests of what a wrong one does.
    pub fn reading(read: fn() -> Wall) -> Self {
        Self {
            read,
            ..Self::new()
        }
    }

    /// Notes a time that is known to have been. The floor never falls.
    pub fn raise(&self, known: Wall) {
        let secs = u32::try_from(known.as_secs()).unwrap_or(u32::MAX);
        self.floor.fetch_max(secs, Ordering::Relaxed);
    }

    /// The newest time that is known to have been.
    pub fn floor(&self) -> Wall {
        Wall::from_secs(u64::from(self.floor.load(Ordering::Relaxed)))
    }

    /// What the box's clock says, true or not.
    pub fn raw(&self) -> Wall {
        (self.read)()
    }

    /// What the box's clock says, if it can be true.
    pub fn believed(&self) -> Option<Wall> {
        let now = self.raw();
        (now >= self.floor()).then_some(now)
    }

    /// The best guess: the clock if it can be true, else the floor.
    pub fn best(&self) -> Wall {
        self.raw().max(self.floor())
    }
}

impl Default for TrustedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TrustedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedClock({}, floor {})", self.raw(), self.floor())
    }
}

/// Certificates are held against the best guess; no answer at all would fail every handshake.
impl TimeProvider for TrustedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.best()))
    }
}

/// A wall time as rustls writes it.
pub fn unix(wall: Wall) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(wall.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::{TrustedClock, build_date, tick, wall};
    use crate::base::Wall;
    use rustls::time_provider::TimeProvider;

    #[test]
    fn clocks_run_forward() {
        let (before, after) = (tick(), tick());
        assert!(after >= before && before.as_millis() > 0);
        assert!(
            wall() >= build_date(),
            "this machine's clock, or the build date, is wrong"
        );
    }

    #[test]
    fn a_clock_in_1970_is_not_believed_and_never_below_the_floor() {
        let clock = TrustedClock::reading(|| Wall::from_secs(12));
        assert_eq!(clock.believed(), None);
        assert_eq!(clock.best(), build_date());
        let known = Wall::from_secs(build_date().as_secs() + 86_400);
        clock.raise(known);
        clock.raise(Wall::from_secs(5));
        assert_eq!(clock.floor(), known);
        assert_eq!(clock.current_time().unwrap().as_secs(), known.as_secs());
        assert_eq!(clock.raw(), Wall::from_secs(12));
    }

    #[test]
    fn past_2106_the_floor_stands_still() {
        let clock = TrustedClock::reading(|| Wall::from_secs(5_000_000_000));
        clock.raise(Wall::from_secs(u64::MAX / 1000));
        assert_eq!(clock.floor(), Wall::from_secs(u64::from(u32::MAX)));
        assert_eq!(clock.believed(), Some(Wall::from_secs(5_000_000_000)));
    }
}
