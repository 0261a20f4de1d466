//! Which of several hosts that stand in for each other is tried first.
//!
//! The first in the configuration is, until it fails and another takes its place: that one is kept for a while, since
//! asking a dead host each time costs a connection time-out. Then the first has its chance again.

use crate::base::Tick;
use crate::base::limits;

/// The host that stands in for those before it, by its place in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandIn {
    kept: Option<(usize, Tick)>,
}

impl StandIn {
    /// The place of the host to try first.
    pub fn first(self, now: Tick) -> usize {
        match self.kept {
            Some((place, until)) if until > now => place,
            _ => 0,
        }
    }

    /// The host at this place took a session.
    pub fn on_success(&mut self, place: usize, now: Tick) {
        match self.kept {
            // It does not keep itself: when its time is up the first is tried again.
            Some((kept, until)) if kept == place && until > now => {}
            _ if place == 0 => self.kept = None,
            _ => self.kept = Some((place, now.after(limits::STAND_IN))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StandIn;
    use crate::base::{Tick, limits};

    #[test]
    fn one_that_stands_in_is_kept_for_a_while_and_then_the_first_is_asked_again() {
        let (mut hosts, start) = (StandIn::default(), Tick::from_millis(1000));
        assert_eq!(hosts.first(start), 0);
        hosts.on_success(2, start);
        let later = start.after(limits::STAND_IN / 2);
        hosts.on_success(2, later);
        assert_eq!(hosts.first(later), 2);
        let over = start.after(limits::STAND_IN);
        assert_eq!(hosts.first(over), 0, "however busy it was");
        // Still dead: another while.
        hosts.on_success(1, over);
        assert_eq!(hosts.first(over.after(limits::STAND_IN / 2)), 1);
        // It died, too, and the first took over.
        hosts.on_success(0, over);
        assert_eq!(hosts.first(over), 0);
    }
}
