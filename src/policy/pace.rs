//! How many messages went over a way out in the last minute, so that a provider's limit is never passed.

use crate::base::Tick;

/// Parts of a minute that are counted apart.
const PARTS: usize = 6;

/// How long one of them is.
const PART_MILLIS: u64 = 10_000;

/// The count of the last minute, in fixed room: what is forgotten is forgotten late, never early, so that no sixty
/// seconds ever see more than the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The newest part of a minute that something was counted in, by its number since boot.
    newest: u64,
    /// Counts of the newest part and those before it, newest first. One more than a minute has: the oldest is still
    /// partly inside.
    counts: [u32; PARTS + 1],
}

impl Pace {
    /// Whether another message may go now, if `most` go in a minute.
    pub fn allows(&self, most: u32, now: Tick) -> bool {
        self.at(part(now)).sum() < most
    }

    /// Counts a message, unless the last minute had its `most`.
    pub fn take(&mut self, most: u32, now: Tick) -> bool {
        let mut moved = self.at(part(now));
        if moved.sum() >= most {
            return false;
        }
        if let Some(newest) = moved.counts.first_mut() {
            *newest = newest.saturating_add(1);
        }
        *self = moved;
        true
    }

    /// Counts back one that was taken and not sent.
    pub fn give_back(&mut self) {
        if let Some(count) = self.counts.iter_mut().find(|count| **count > 0) {
            *count = count.saturating_sub(1);
        }
    }

    /// When the next message may go, if none may now.
    pub fn opens(&self, most: u32, now: Tick) -> Option<Tick> {
        let here = part(now);
        let ahead = u64::try_from(PARTS).unwrap_or(6).saturating_add(1);
        let free = (here..=here.saturating_add(ahead)).find(|part| self.at(*part).sum() < most)?;
        (free > here).then(|| Tick::from_millis(free.saturating_mul(PART_MILLIS)))
    }

    /// What is left of it in a later part.
    fn at(&self, part: u64) -> Self {
        let gone = usize::try_from(part.saturating_sub(self.newest)).unwrap_or(usize::MAX);
        let mut counts = [0; PARTS + 1];
        for (old, new) in self.counts.iter().zip(counts.iter_mut().skip(gone)) {
            *new = *old;
        }
        Self {
            newest: part.max(self.newest),
            counts,
        }
    }

    fn sum(&self) -> u32 {
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

fn part(now: Tick) -> u64 {
    now.as_millis() / PART_MILLIS
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use crate::base::Tick;

    fn at(secs: u64) -> Tick {
        Tick::from_millis(secs * 1000)
    }

    #[test]
    fn no_sixty_seconds_see_more_than_the_limit() {
        let (mut pace, mut sent) = (Pace::default(), Vec::new());
        for tenth in 0..6000_u64 {
            let now = Tick::from_millis(7_777 + tenth * 100);
            // Tries all the time, with bursts now and then.
            if (tenth / 50) % 3 != 1 && pace.take(20, now) {
                sent.push(now.as_millis());
            }
        }
        for (from, start) in sent.iter().enumerate() {
            let inside = sent[from..].iter().take_while(|at| **at < start + 60_000);
            assert!(inside.count() <= 20);
        }
        assert!(sent.len() > 150, "{} in ten minutes", sent.len());
    }

    #[test]
    fn a_full_minute_says_when_it_opens() {
        let mut pace = Pace::default();
        assert_eq!(pace.opens(2, at(5)), None);
        assert!(pace.take(2, at(5)) && pace.take(2, at(25)) && !pace.take(2, at(30)));
        assert_eq!(pace.opens(2, at(30)), Some(at(70)));
        assert!(!pace.allows(2, at(69)) && pace.allows(2, at(70)));
        pace.give_back();
        assert!(pace.allows(2, at(30)));
    }
}
