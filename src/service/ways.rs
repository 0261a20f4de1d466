//! The ways out with what waits on each: the schedule, the health and the open sessions of every way together.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Tick;
use crate::policy::health::Health;
use crate::policy::retry::Waits;
use crate::policy::route::Next;
use crate::queue::schedule::Schedule;
use crate::queue::schedule::Waiting;
use crate::service::signal::Wake;

/// One way's state besides its schedule.
#[derive(Debug, Default)]
pub struct Way {
    /// Whether it may be tried.
    pub health: Health,
    /// Sessions open now, lingering ones included.
    pub sessions: usize,
    /// Sessions among them that wait for a message.
    pub lingering: usize,
    /// Rung when one of those may have a message.
    pub linger: Rc<Wake>,
    /// Up to when it is known whose senders are to be told of a delay.
    pub told: Tick,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Ways {
    schedule: Schedule<Next>,
    ways: BTreeMap<Next, Way>,
}

impl Ways {
    /// Puts a message on a way.
    pub fn add(&mut self, way: Next, waiting: Waiting) {
        self.schedule.add(way, waiting);
    }

    /// The next message of a way that may go now.
    pub fn take(&mut self, way: Next, now: Tick) -> Option<Waiting> {
        self.schedule.take(way, now)
    }

    /// A way's state.
    pub fn way(&mut self, way: Next) -> &mut Way {
        self.ways.entry(way).or_default()
    }

    /// Wakes a lingering session of this way if something is due. Each that is woken and finds a message wakes the
    /// next one.
    pub fn ring_lingering(&mut self, next: Next, now: Tick) {
        let due = self.schedule.due(next).is_some_and(|due| due <= now);
        if let Some(way) = self.ways.get(&next).filter(|way| due && way.lingering > 0) {
            way.linger.ring();
        }
    }

    /// How many sessions are open on all ways.
    pub fn sessions(&self) -> usize {
        self.ways.values().map(|way| way.sessions).sum()
    }

    /// The ways on which a further session is wanted now, each with how many; `most` tells how many connections a
    /// way may have. Sessions that linger are woken and take messages first.
    pub fn wanted(&mut self, now: Tick, most: impl Fn(Next) -> usize) -> Vec<(Next, usize)> {
        let mut all = Vec::new();
        for next in self.schedule.ways() {
            if self.schedule.due(next).is_none_or(|due| due > now) {
                continue;
            }
            let (allowed, sessions, lingering) = match self.ways.get(&next) {
                Some(way) => {
                    if way.lingering > 0 {
                        way.linger.ring();
                    }
                    let allowed = way.health.allowed(now, most(next));
                    (allowed, way.sessions, way.lingering)
                }
                None => (Health::default().allowed(now, most(next)), 0, 0),
            };
            let wanted = self.schedule.len(next).saturating_sub(lingering);
            let wanted = wanted.min(allowed.saturating_sub(sessions));
            if wanted > 0 {
                all.push((next, wanted));
            }
        }
        all
    }

    /// When something may be wanted next, if nothing else happens before.
    pub fn wakes(&self, now: Tick) -> Option<Tick> {
        let waits = self.schedule.ways().filter_map(|next| {
            let due = self.schedule.due(next)?;
            let opens = self.ways.get(&next).and_then(|way| way.health.wakes(now));
            let at = opens.map_or(due, |opens| opens.max(due));
            // What is due already waits for a session to end, and that will be heard.
            (at > now).then_some(at)
        });
        waits.min()
    }

    /// A session on this way failed before any transaction: how long it waits now, and what has expired meanwhile.
    pub fn on_failure(
        &mut self,
        next: Next,
        now: Tick,
        waits: &Waits,
        chance: u32,
        held: bool,
        why: &str,
    ) -> (Duration, Vec<Waiting>) {
        let health = &mut self.way(next).health;
        let wait = health.on_failure(now, waits, chance, held, why.to_owned());
        let expired = if held {
            // The setup is at fault: no message pays for it (promise G3).
            Vec::new()
        } else {
            self.schedule.take_expired(next, now)
        };
        (wait, expired)
    }

    /// Takes off what has become late on a way since this was asked last. A message is late when no more than `left`
    /// is left of its time.
    pub fn take_late(&mut self, next: Next, now: Tick, left: Duration) -> Vec<Waiting> {
        let told = std::mem::replace(&mut self.way(next).told, now);
        let late = |at: Tick, waiting: &Waiting| waiting.expires <= at.after(left);
        let seen = |waiting: &Waiting| told > Tick::default() && late(told, waiting);
        self.schedule
            .take_where(next, |waiting| late(now, waiting) && !seen(waiting))
    }

    /// Whether a way is down.
    pub fn is_down(&self) -> bool {
        self.ways
            .values()
            .any(|way| way.health.down_for(Tick::default()).is_some())
    }

    /// The network is there again: every way that is down may be tried a little later. Answers the longest wait, or
    /// none when no way is down.
    pub fn on_network(&mut self, now: Tick, chance: u32) -> Option<Duration> {
        let waits = self.ways.values_mut();
        waits
            .filter_map(|way| way.health.on_network(now, chance))
            .max()
    }

    /// Try everything again: the configuration or the network changed, or the owner said so.
    pub fn hurry(&mut self, now: Tick) {
        for way in self.ways.values_mut() {
            way.health.on_change();
        }
        let all: Vec<Next> = self.schedule.ways().collect();
        for next in all {
            self.schedule.hurry(next, now);
        }
    }

    /// Try one message again. False when it waits nowhere.
    pub fn hurry_one(&mut self, id: MsgId, now: Tick) -> bool {
        for way in self.ways.values_mut() {
            way.health.on_change();
        }
        self.schedule.hurry_one(id, now)
    }

    /// Takes a message off. False when it waited nowhere.
    pub fn remove(&mut self, id: MsgId) -> bool {
        self.schedule.remove(id)
    }

    /// Takes everything off, for a new routing table; the health of ways that were tried is forgotten with it.
    pub fn clear(&mut self) {
        self.schedule.clear();
        for way in self.ways.values_mut() {
            way.health = Health::default();
            way.told = Tick::default();
        }
    }

    /// When a message is due.
    pub fn due_of(&self, id: MsgId) -> Option<Tick> {
        self.schedule.due_of(id)
    }

    /// Every way that was ever used or has something waiting, with how many wait.
    pub fn all(&self) -> Vec<(Next, usize, Option<&Way>)> {
        let mut keys: Vec<Next> = self
            .schedule
            .ways()
            .chain(self.ways.keys().copied())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .map(|next| (next, self.schedule.len(next), self.ways.get(&next)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Ways;
    use crate::base::{MsgId, Tick};
    use crate::policy::retry::Waits;
    use crate::policy::route::Next;
    use crate::queue::schedule::Waiting;

    fn at(millis: u64) -> Tick {
        Tick::from_millis(millis)
    }

    fn with(messages: u64) -> Ways {
        let mut ways = Ways::default();
        for id in 0..messages {
            let waiting = Waiting {
                due: at(10),
                id: MsgId::from_number(id),
                expires: at(1_000_000),
            };
            ways.add(Next::Route(0), waiting);
        }
        ways
    }

    #[test]
    fn one_probe_finds_out_then_the_others_follow() {
        let mut ways = with(9);
        let (next, now) = (Next::Route(0), at(10));
        assert_eq!(ways.wanted(at(9), |_| 4), []);
        assert_eq!(ways.wakes(at(9)), Some(at(10)));
        assert_eq!(ways.wanted(now, |_| 4), [(next, 1)]);
        ways.way(next).sessions = 1;
        assert_eq!(ways.wanted(now, |_| 4), []);
        ways.way(next).health.on_success();
        assert_eq!(ways.wanted(now, |_| 4), [(next, 3)]);
        ways.way(next).sessions = 4;
        assert_eq!((ways.wanted(now, |_| 4).len(), ways.wakes(now)), (0, None));
    }

    #[test]
    fn a_lingering_session_takes_the_next_message() {
        let mut ways = with(1);
        let way = ways.way(Next::Route(0));
        way.health.on_success();
        (way.sessions, way.lingering) = (1, 1);
        assert_eq!(ways.wanted(at(10), |_| 4), []);
    }

    #[test]
    fn a_dead_way_wakes_us_for_its_probe_and_drops_the_expired_unless_held() {
        let (waits, next) = (Waits::default(), Next::Route(0));
        let mut ways = with(2);
        let (wait, expired) = ways.on_failure(next, at(10), &waits, 0, false, "down");
        assert_eq!((wait.as_secs(), expired.len()), (60, 0));
        assert_eq!(ways.wakes(at(10)), Some(at(60_010)));
        let (_, expired) = ways.on_failure(next, at(1_000_000), &waits, 0, true, "535");
        assert_eq!(expired.len(), 0);
        let (_, expired) = ways.on_failure(next, at(1_000_000), &waits, 0, false, "down");
        assert_eq!(expired.len(), 2);
        ways.hurry(at(5));
        assert_eq!(ways.wakes(at(5)), None);
    }
}
