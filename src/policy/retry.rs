//! How long to wait between attempts: a list of waits, the last of which repeats, with jitter.

use std::time::Duration;

/// The waits between attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    list: Vec<Duration>,
    jitter: u8,
}

/// Three quick ones a minute apart (the field's "glitch retry", which also gets through greylisting), then IIS's
/// 15, 30, 60 and 240 minutes.
impl Default for Waits {
    fn default() -> Self {
        let minutes = [1, 1, 1, 15, 30, 60, 240];
        Self {
            list: minutes.map(|m| Duration::from_secs(m * 60)).to_vec(),
            jitter: 10,
        }
    }
}

impl Waits {
    /// The waits in order; `jitter` is how many percent of a wait may be added. An empty list is the default one.
    pub fn new(list: Vec<Duration>, jitter: u8) -> Self {
        if list.is_empty() {
            return Self {
                jitter,
                ..Self::default()
            };
        }
        Self { list, jitter }
    }

    /// The wait after the attempt with this number, counted from zero. `chance` is a random number: ten thousand
    /// boxes that lost the same link must not come back in the same second.
    pub fn after(&self, attempt: u32, chance: u32) -> Duration {
        self.spread(self.bare(attempt), chance)
    }

    /// The same for a way that cannot be reached and has been down for `outage`: never longer than a quarter of that,
    /// or the first wait, or a quarter of an hour, whichever is most.
    ///
    /// A box whose router has lost its uplink sees no link go or come. By the list alone it would find out nearly four
    /// hours after an outage of two (`tests/fleet.rs`); a probe costs next to nothing, and no login.
    pub fn probe(&self, attempt: u32, outage: Duration, chance: u32) -> Duration {
        let most = (outage / 4).max(self.bare(0)).max(PROBE);
        self.spread(self.bare(attempt).min(most), chance)
    }

    fn bare(&self, attempt: u32) -> Duration {
        let at = usize::try_from(attempt).unwrap_or(usize::MAX);
        let wait = self.list.get(at).or(self.list.last());
        wait.copied().unwrap_or(PROBE)
    }

    fn spread(&self, wait: Duration, chance: u32) -> Duration {
        wait.saturating_add(share(wait / 100 * u32::from(self.jitter), chance))
    }
}

/// How often a way that cannot be reached is looked at, at least, while the outage is young.
const PROBE: Duration = Duration::from_secs(15 * 60);

/// The longest wait after the network is back.
pub const AFTER_OUTAGE: Duration = Duration::from_secs(60);

/// How long to wait when the network is back after an outage of this length: up to a sixtieth of it, a minute at most.
///
/// An owner who plugs the cable in again wants to see mail go; after half a minute of outage it goes within half a
/// second. A power cut or a provider's fault sends thousands of boxes back at the same moment, and those have been
/// waiting so long that another minute does not matter. `tests/fleet.rs` shows what a smart host sees of it.
pub fn after_outage(outage: Duration, chance: u32) -> Duration {
    share((outage / 60).min(AFTER_OUTAGE), chance)
}

/// The longest time for which one session has to do when a way is well again.
pub const ALONE: Duration = Duration::from_secs(5);

/// How long one session has to do when a way is well again after an outage of this length: up to [`ALONE`].
///
/// What most boxes have to say is said in that time over one connection, and a greeting with TLS and a login costs a
/// smart host more than twenty small messages do.
pub fn alone_after(outage: Duration) -> Duration {
    (outage / 60).min(ALONE)
}

/// As much of `most` as chance has it.
fn share(most: Duration, chance: u32) -> Duration {
    let millis = most.as_millis() * u128::from(chance) / u128::from(u32::MAX);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::Waits;
    use std::time::Duration;

    #[test]
    fn waits_grow_and_the_last_one_repeats() {
        let waits = Waits::default();
        for (attempt, minutes) in [(0, 1), (2, 1), (3, 15), (6, 240), (7, 240), (u32::MAX, 240)] {
            let bare = Duration::from_secs(minutes * 60);
            assert_eq!(waits.after(attempt, 0), bare);
            assert_eq!(waits.after(attempt, u32::MAX), bare + bare / 10);
        }
    }

    #[test]
    fn a_way_is_looked_at_oftener_the_shorter_it_is_down() {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        let waits = Waits::default();
        for (attempt, outage, wait) in [
            (0, 0, 1),
            (3, 3, 15),
            (4, 18, 15),
            (6, 40, 15),
            (7, 120, 30),
            (9, 600, 150),
            (30, 6000, 240),
        ] {
            assert_eq!(waits.probe(attempt, minutes(outage), 0), minutes(wait));
        }
        // Who wants it slower gets it slower.
        let slow = Waits::new(vec![minutes(60), minutes(240)], 0);
        assert_eq!(slow.probe(0, minutes(0), 9), minutes(60));
        assert_eq!(slow.probe(1, minutes(60), 9), minutes(60));
    }
}
