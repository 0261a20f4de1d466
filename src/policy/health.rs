//! The health of a way out: whether it may be tried now, and how long it has been down.
//!
//! A peer that cannot be reached, or a setup that is refused (wrong password, bad certificate), is not a fault of
//! any one message. The way waits as a whole, one probe at each step of the waits, and when it is well again
//! everything goes at once (promise G3).

use std::time::Duration;

use crate::base::Tick;
use crate::policy::retry;
use crate::policy::retry::Waits;

/// Messages for which a connection of their own is worth a greeting, a handshake and a login, when everybody comes back
/// at once. It is the number at which IIS opened another connection.
pub const BATCH: usize = 20;

/// What is known of a way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not tried yet, or not since something changed: one probe may go.
    #[default]
    Unknown,
    /// The last session got as far as a transaction.
    Well,
    /// The same, since just now: until then one session has to do for what little there is.
    Back(Tick),
    /// The last attempt failed before any transaction.
    Down(Down),
}

/// A way that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Since when.
    pub since: Tick,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// When the next probe may go.
    pub until: Tick,
    /// The setup is at fault, not the peer or the network: messages do not expire over it.
    pub held: bool,
    /// One sentence for the operator.
    pub why: String,
}

impl Health {
    /// How many connections may be open at once now, when so many messages are `waiting`: none while down, one to find
    /// out, `most` when well; after an outage one, and one more for each [`BATCH`] of messages.
    pub fn allowed(&self, now: Tick, most: usize, waiting: usize) -> usize {
        match self {
            Self::Well => most,
            Self::Back(until) if *until <= now => most,
            Self::Back(_) => most.min((waiting / BATCH).saturating_add(1)),
            Self::Unknown => most.min(1),
            Self::Down(down) if down.until <= now => most.min(1),
            Self::Down(_) => 0,
        }
    }

    /// When more may go than now.
    pub fn wakes(&self, now: Tick) -> Option<Tick> {
        match self {
            Self::Down(down) if down.until > now => Some(down.until),
            Self::Back(until) if *until > now => Some(*until),
            _ => None,
        }
    }

    /// Whether the setup is at fault.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Down(down) if down.held)
    }

    /// A session got as far as a transaction. True when that is news.
    pub fn on_success(&mut self, now: Tick) -> bool {
        match self {
            Self::Well => false,
            Self::Back(until) => {
                if *until <= now {
                    *self = Self::Well;
                }
                false
            }
            Self::Unknown => {
                // Nobody knows for how long a box was off, and what else starts with it.
                *self = Self::Back(now.after(retry::ALONE));
                true
            }
            Self::Down(down) => {
                let alone = retry::alone_after(now.since(down.since));
                *self = Self::Back(now.after(alone));
                true
            }
        }
    }

    /// A session failed before any transaction. Answers how long the way now waits.
    pub fn on_failure(
        &mut self,
        now: Tick,
        waits: &Waits,
        chance: u32,
        held: bool,
        why: String,
    ) -> Duration {
        let (since, failures) = match self {
            Self::Down(down) => (down.since, down.failures),
            _ => (now, 0),
        };
        let wait = if held {
            // One login a step (promise G3).
            waits.after(failures, chance)
        } else {
            waits.probe(failures, now.since(since), chance)
        };
        *self = Self::Down(Down {
            since,
            failures: failures.saturating_add(1),
            until: now.after(wait),
            held,
            why,
        });
        wait
    }

    /// For how long it has been down, if it is.
    pub fn down_for(&self, now: Tick) -> Option<Duration> {
        match self {
            Self::Down(down) => Some(now.since(down.since)),
            _ => None,
        }
    }

    /// The network is there again. Answers after which wait a way that is down may be tried, by [`retry::after_outage`];
    /// it never comes later than it would have.
    ///
    /// The waits begin anew, for what a network brings up (names, routes, tunnels) takes its time; but not when the
    /// setup is at fault: a link that comes and goes must not become a storm of logins.
    pub fn on_network(&mut self, now: Tick, chance: u32) -> Option<Duration> {
        let Self::Down(down) = self else {
            return None;
        };
        let wait = retry::after_outage(now.since(down.since), chance);
        down.until = down.until.min(now.after(wait));
        if !down.held {
            down.failures = 0;
        }
        Some(down.until.since(now))
    }

    /// Something changed (configuration, network, the owner says so): try again at once.
    pub fn on_change(&mut self) {
        if let Self::Down(down) = self {
            down.until = Tick::default();
            down.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Health;
    use crate::base::Tick;
    use crate::policy::retry::Waits;
    use std::time::Duration;

    #[test]
    fn a_way_that_is_down_gets_one_probe_a_step() {
        let (waits, mut health) = (Waits::default(), Health::default());
        let mut now = Tick::from_millis(1000);
        assert_eq!(health.allowed(now, 4, 9), 1);
        for minutes in [1, 1, 1, 15, 30, 60, 240, 240] {
            let wait = health.on_failure(now, &waits, 0, true, "535".to_owned());
            assert_eq!(wait, Duration::from_secs(minutes * 60));
            assert_eq!(health.allowed(now, 4, 9), 0);
            let until = health.wakes(now).unwrap();
            now = until;
            assert_eq!((health.allowed(now, 4, 9), health.wakes(now)), (1, None));
        }
        assert!(health.is_held() && health.on_success(now) && !health.on_success(now));
        // A day of outage: one session for a while, then all.
        assert_eq!(health.allowed(now, 4, 9), 1);
        let later = health.wakes(now).unwrap();
        assert_eq!(
            (later.since(now).as_secs(), health.allowed(later, 4, 9)),
            (5, 4)
        );
        assert!(!health.on_success(later) && health == Health::Well);
    }

    #[test]
    fn the_network_lets_it_try_soon_but_renews_no_login_storm() {
        let (waits, now) = (Waits::default(), Tick::from_millis(5));
        let after = |held| {
            let mut health = Health::default();
            for _ in 0..5 {
                health.on_failure(now, &waits, 0, held, String::new());
            }
            let back = now.after(Duration::from_secs(600));
            let wait = health.on_network(back, u32::MAX).unwrap();
            assert_eq!(wait, Duration::from_secs(10));
            assert_eq!(health.allowed(back.after(wait), 4, 9), 1);
            health.on_failure(back.after(wait), &waits, 0, held, String::new())
        };
        assert_eq!(after(false), Duration::from_secs(60));
        assert_eq!(after(true), Duration::from_secs(3600));
        let mut health = Health::Well;
        assert_eq!(health.on_network(now, 0), None);
        health.on_failure(now, &waits, 0, false, String::new());
        let late = now.after(Duration::from_secs(59));
        assert_eq!(
            health.on_network(late, u32::MAX),
            Some(Duration::from_millis(983))
        );
    }

    #[test]
    fn a_change_lets_it_try_at_once_and_from_the_first_wait() {
        let (waits, mut health) = (Waits::default(), Health::default());
        let now = Tick::from_millis(5);
        for _ in 0..5 {
            health.on_failure(now, &waits, 0, false, String::new());
        }
        health.on_change();
        assert_eq!(health.allowed(now, 4, 9), 1);
        let wait = health.on_failure(now, &waits, 0, false, String::new());
        assert_eq!(wait, Duration::from_secs(60));
    }
}
