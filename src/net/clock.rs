//! The only reader of the clocks, and what of the wall clock can be believed.
//!
//! std's wall clock aborts past 2038 on 32-bit musl, so both clocks are read by rustix, which is 64-bit throughout.
//! A box without a clock chip boots in 1970: its wall clock is believed only once it is past the floor, a time that
//! is known to have been.

use std::fmt;
use std::sync::atomic::AtomicBool;
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

/// The wall clock together with its floor: the newest time that is known to have been.
///
/// The floor has two parts. What is *proved*, by the build date or by a verified certificate, stands for good. What
/// is only *noted*, because this box's clock read it in an earlier run, was perhaps never true: a clock chip without
/// battery may start in 2090 as well as in 1970. A note gives way when somebody sets the clock to an earlier time
/// that is not below what is proved, or when a peer's certificate is good now and would be over by the note.
///
/// Both are whole seconds in 32 bits: armv5 and mipsel have no wider atomics, and they last until 2106, after
/// which the floor stops rising and does no harm.
pub struct TrustedClock {
    proved: AtomicU32,
    noted: AtomicU32,
    /// Seconds between the wall clock and the ticks, modulo their width, when they were compared last.
    apart: AtomicU32,
    /// Whether certificates are held against the floor when the clock reads less.
    holds: AtomicBool,
    read: fn() -> Wall,
}

/// By how many seconds the wall clock moves against the ticks at least when somebody sets it. A clock that is only
/// slewed moves by less in a day.
const STEP: u32 = 3600;

impl TrustedClock {
    /// The box's clock, with the build date as floor.
    pub fn new() -> Self {
        Self::reading(wall)
    }

    /// A clock that is read by `read`, for tests of what a wrong one does.
    pub fn reading(read: fn() -> Wall) -> Self {
        let clock = Self {
            proved: AtomicU32::new(secs(build_date())),
            noted: AtomicU32::new(0),
            apart: AtomicU32::new(0),
            holds: AtomicBool::new(true),
            read,
        };
        clock.apart.store(clock.distance(), Ordering::Relaxed);
        clock
    }

    /// A time that is proved to have been.
    pub fn raise(&self, proved: Wall) {
        self.proved.fetch_max(secs(proved), Ordering::Relaxed);
    }

    /// A time that this box's clock read in an earlier run.
    pub fn recall(&self, noted: Wall) {
        self.noted.fetch_max(secs(noted), Ordering::Relaxed);
    }

    /// The clock was found to be right although it reads less than was noted: the note was wrong.
    pub fn correct(&self) {
        let now = secs(self.raw());
        if now >= self.proved.load(Ordering::Relaxed) {
            self.noted.fetch_min(now, Ordering::Relaxed);
        }
    }

    /// What is proved to have been; at least the build date.
    pub fn proved(&self) -> Wall {
        Wall::from_secs(u64::from(self.proved.load(Ordering::Relaxed)))
    }

    /// The newest time that is known to have been.
    pub fn floor(&self) -> Wall {
        let apart = self.distance();
        let before = self.apart.swap(apart, Ordering::Relaxed);
        if apart.wrapping_sub(before).cast_signed().unsigned_abs() > STEP {
            // Whoever sets the clock knows more than our own old note.
            self.correct();
        }
        let noted = Wall::from_secs(u64::from(self.noted.load(Ordering::Relaxed)));
        self.proved().max(noted)
    }

    /// Sets whether certificates are held against the floor when the clock reads less.
    pub fn hold(&self, against_floor: bool) {
        self.holds.store(against_floor, Ordering::Relaxed);
    }

    /// Whether certificates are held against the floor when the clock reads less.
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    fn distance(&self) -> u32 {
        let low = |secs: u64| u32::try_from(secs & 0xFFFF_FFFF).unwrap_or(0);
        low(self.raw().as_secs()).wrapping_sub(low(tick().as_millis() / 1000))
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
        let now = if self.holds() {
            self.best()
        } else {
            self.raw()
        };
        Some(unix(now))
    }
}

fn secs(wall: Wall) -> u32 {
    u32::try_from(wall.as_secs()).unwrap_or(u32::MAX)
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
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

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

    static SET: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn a_note_from_a_clock_that_ran_ahead_gives_way_when_the_clock_is_set() {
        let today = build_date().after(Duration::from_secs(86_400));
        SET.store(12, Ordering::Relaxed);
        let clock = TrustedClock::reading(|| Wall::from_secs(SET.load(Ordering::Relaxed)));
        let ahead = Wall::from_secs(3_800_000_000);
        clock.recall(ahead);
        assert_eq!((clock.believed(), clock.best()), (None, ahead));
        // Back to 1970 is no news: that cannot be true.
        SET.store(100_000, Ordering::Relaxed);
        assert_eq!((clock.believed(), clock.floor()), (None, ahead));
        SET.store(today.as_secs(), Ordering::Relaxed);
        assert_eq!((clock.believed(), clock.floor()), (Some(today), today));
        // What a certificate proved does not give way.
        let proved = today.after(Duration::from_secs(864_000));
        clock.raise(proved);
        SET.store(today.as_secs() + 86_400, Ordering::Relaxed);
        assert_eq!((clock.believed(), clock.floor()), (None, proved));
    }

    #[test]
    fn a_note_gives_way_to_what_a_certificate_shows() {
        let clock = TrustedClock::reading(|| build_date().after(Duration::from_secs(60)));
        clock.recall(Wall::from_secs(3_800_000_000));
        assert_eq!(clock.believed(), None);
        clock.correct();
        assert_eq!(clock.believed(), Some(clock.raw()));
    }

    #[test]
    fn past_2106_the_floor_stands_still() {
        let clock = TrustedClock::reading(|| Wall::from_secs(5_000_000_000));
        clock.raise(Wall::from_secs(u64::MAX / 1000));
        assert_eq!(clock.floor(), Wall::from_secs(u64::from(u32::MAX)));
        assert_eq!(clock.believed(), Some(Wall::from_secs(5_000_000_000)));
    }
}
