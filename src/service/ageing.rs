//! How long this home has been run in all: what messages age by, since a calendar may jump and ticks end with a boot.
//!
//! The sum is noted in the journal when something happens to a message anyway, so an idle box writes nothing. What a
//! power cut takes is the time since the last note: messages get that much longer.

use std::cell::Cell;
use std::time::Duration;

use crate::base::Tick;
use crate::base::limits;

/// The running time of a home.
#[derive(Debug)]
pub struct Ageing {
    /// What earlier runs noted.
    before: Duration,
    started: Tick,
    noted: Cell<Tick>,
    /// What was said of the clock last.
    wrong: Cell<bool>,
}

impl Ageing {
    /// A run that begins now, after earlier ones of `before` together.
    pub fn new(before: Duration, now: Tick) -> Self {
        Self {
            before,
            started: now,
            noted: Cell::new(now),
            wrong: Cell::new(false),
        }
    }

    /// How long the home has been run by `now`.
    pub fn running(&self, now: Tick) -> Duration {
        self.before.saturating_add(now.since(self.started))
    }

    /// Whether it is to be noted again; true means that it will be.
    pub fn is_due(&self, now: Tick) -> bool {
        let due = now.since(self.noted.get()) >= limits::CLOCK_NOTES;
        if due {
            self.noted.set(now);
        }
        due
    }

    /// Takes whether the clock is wrong now; true when that is news.
    pub fn is_news(&self, wrong: bool) -> bool {
        self.wrong.replace(wrong) != wrong
    }
}

#[cfg(test)]
mod tests {
    use super::Ageing;
    use crate::base::{Tick, limits};
    use std::time::Duration;

    #[test]
    fn runs_add_up_and_are_noted_now_and_then() {
        let boot = Tick::from_millis(5000);
        let ageing = Ageing::new(Duration::from_secs(100), boot);
        assert_eq!(ageing.running(boot), Duration::from_secs(100));
        let later = boot.after(limits::CLOCK_NOTES);
        assert!(!ageing.is_due(boot) && ageing.is_due(later) && !ageing.is_due(later));
        let sum = Duration::from_secs(100) + limits::CLOCK_NOTES;
        assert_eq!(ageing.running(later), sum);
        assert!(ageing.is_news(true) && !ageing.is_news(true) && ageing.is_news(false));
    }
}
