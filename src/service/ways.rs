//! The ways out with what waits on each: the schedule, the health and the open sessions of every way together.
//!
//! Ways of single domains come and go: there is one while something waits on it, is being tried, or was just
//! accepted for it, and at most [`limits::WAYS`] are begun by new mail.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::limits;
use crate::mail::Domain;
use crate::policy::health::Health;
use crate::policy::pace::Pace;
use crate::policy::retry::Waits;
use crate::policy::route::Next;
use crate::queue::schedule::NEVER;
use crate::queue::schedule::Schedule;
use crate::queue::schedule::Waiting;
use crate::service::fair::Open;
use crate::service::fair::Wish;
use crate::service::signal::Wake;

/// One way's state besides its schedule.
#[derive(Debug, Default)]
pub struct Way {
    /// Whose it is, when it is one domain's alone.
    pub domain: Option<Domain>,
    /// The host it went to last; empty before the first.
    pub host: String,
    /// Whether it may be tried.
    pub health: Health,
    /// Sessions open now, lingering ones included.
    pub sessions: usize,
    /// Sessions among them that wait for a message.
    pub lingering: usize,
    /// Rung when one of those may have a message.
    pub linger: Rc<Wake>,
    /// When it was given a session last, counted in sessions given.
    turn: u64,
    /// Of a held way: it was asked for and goes out until nothing of it is due.
    released: bool,
    /// Of a held way: connections over which its mail is being fetched.
    fetchers: usize,
    /// Of a held way: nothing on it expires before this.
    expires: Option<Tick>,
    /// Up to when it is known whose senders are to be told of a delay.
    pub told: Tick,
}

impl Way {
    /// Of a held way: whether it goes out now, because its domain's host asked.
    pub fn is_asked_for(&self) -> bool {
        self.released || self.fetchers > 0
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Ways {
    schedule: Schedule<Next>,
    ways: BTreeMap<Next, Way>,
    paces: BTreeMap<usize, Pace>,
    turns: u64,
    crowded: bool,
}

impl Ways {
    /// Puts a message on a way. What is held waits to be asked for, whatever its due time says.
    pub fn add(&mut self, next: Next, mut waiting: Waiting) {
        if next.is_held() {
            let way = self.way(next);
            if !way.is_asked_for() {
                waiting.due = NEVER;
            }
            let first = way.expires.unwrap_or(NEVER);
            way.expires = Some(first.min(waiting.expires));
        }
        self.schedule.add(next, waiting);
    }

    /// The next message of a way that may go now; `pace` is how many of its route may go in a minute.
    pub fn take(&mut self, next: Next, now: Tick, pace: Option<u32>) -> Option<Waiting> {
        if self.schedule.due(next)? > now {
            return None;
        }
        if let (Some(most), Some(route)) = (pace, next.route())
            && !self.paces.entry(route).or_default().take(most, now)
        {
            return None;
        }
        self.schedule.take(next, now)
    }

    /// Puts back a message that was taken and not sent.
    pub fn give_back(&mut self, next: Next, waiting: Waiting) {
        if let Some(pace) = next.route().and_then(|at| self.paces.get_mut(&at)) {
            pace.give_back();
        }
        self.add(next, waiting);
    }

    /// A way's state.
    pub fn way(&mut self, next: Next) -> &mut Way {
        self.ways.entry(next).or_default()
    }

    /// Remembers whose a way is.
    pub fn call(&mut self, next: Next, domain: &Domain) {
        let name = &mut self.way(next).domain;
        if name.is_none() {
            *name = Some(domain.clone());
        }
    }

    /// Whose a way is, if it is known.
    pub fn domain(&self, next: Next) -> Option<&Domain> {
        self.ways.get(&next)?.domain.as_ref()
    }

    /// The ways of domains below this one.
    pub fn below(&self, domain: &Domain) -> Vec<Next> {
        let under = |way: &Way| {
            let own = way.domain.as_ref();
            own.is_some_and(|own| own.is_below(domain.as_str()))
        };
        let ways = self.ways.iter().filter(|(_, way)| under(way));
        ways.map(|(next, _)| *next).collect()
    }

    /// Whether new mail may go on these ways, or it would begin more than there may be.
    pub fn have_room(&mut self, wanted: &[Next]) -> bool {
        let new = |ways: &Self| {
            let new = wanted
                .iter()
                .filter(|next| next.is_own() && !ways.ways.contains_key(next));
            new.count()
        };
        if self.ways.len().saturating_add(new(self)) <= limits::WAYS {
            return true;
        }
        // Those that were begun for mail which was then not accepted are no use to anybody.
        let idle = |next: &Next, way: &Way, schedule: &Schedule<Next>| {
            next.is_own() && schedule.len(*next) == 0 && way.sessions == 0 && way.fetchers == 0
        };
        let schedule = &mut self.schedule;
        self.ways.retain(|next, way| {
            let stays = !idle(next, way, schedule);
            if !stays {
                schedule.forget(*next);
            }
            stays
        });
        self.ways.len().saturating_add(new(self)) <= limits::WAYS
    }

    /// Wakes a lingering session of this way if something is due. Each that is woken and finds a message wakes the
    /// next one.
    pub fn ring_lingering(&mut self, next: Next, now: Tick) {
        let due = self.schedule.due(next).is_some_and(|due| due <= now);
        if let Some(way) = self.ways.get(&next).filter(|way| due && way.lingering > 0) {
            way.linger.ring();
        }
    }

    /// Whether what is held on a way is on its way to somebody now.
    pub fn is_taken(&self, next: Next) -> bool {
        let way = self.ways.get(&next);
        way.is_some_and(|way| way.sessions > 0 || way.fetchers > 0)
    }

    /// The ways of single domains, each with its domain.
    pub fn domains(&self) -> impl Iterator<Item = (Next, &Domain)> {
        let own = self.ways.iter().filter(|(next, _)| next.is_own());
        own.filter_map(|(next, way)| Some((*next, way.domain.as_ref()?)))
    }

    /// How many messages wait on a way.
    pub fn len(&self, next: Next) -> usize {
        self.schedule.len(next)
    }

    /// How many sessions are open on all ways.
    pub fn sessions(&self) -> usize {
        self.ways.values().map(|way| way.sessions).sum()
    }

    /// What is open on each route.
    pub fn open(&self) -> Open {
        let mut open = Open::default();
        for (next, way) in self.ways.iter().filter(|(_, way)| way.sessions > 0) {
            let Some(route) = next.route() else { continue };
            let probe = matches!(way.health, Health::Down(_));
            let used = open.routes.entry(route).or_default();
            for _ in 0..way.sessions {
                used.add(probe);
                open.all.add(probe);
            }
        }
        open
    }

    /// The ways on which a further session is wanted now; `most` tells how many connections a way may have, `pace`
    /// how many messages of a route may go in a minute. Sessions that linger are woken and take messages first.
    pub fn wanted(
        &mut self,
        now: Tick,
        most: impl Fn(Next) -> usize,
        pace: impl Fn(usize) -> Option<u32>,
    ) -> Vec<Wish> {
        let mut all = Vec::new();
        for (next, due, len) in self.schedule.heads() {
            if due > now {
                continue;
            }
            if opens(&self.paces, next, now, &pace).is_some() {
                continue;
            }
            let (allowed, open, lingering, turn, probe) = match self.ways.get(&next) {
                Some(way) if way.fetchers > 0 => continue,
                Some(way) => {
                    if way.lingering > 0 {
                        way.linger.ring();
                    }
                    let allowed = way.health.allowed(now, most(next), len);
                    let probe = matches!(way.health, Health::Down(_));
                    (allowed, way.sessions, way.lingering, way.turn, probe)
                }
                None => (
                    Health::default().allowed(now, most(next), len),
                    0,
                    0,
                    0,
                    false,
                ),
            };
            let count = len.saturating_sub(lingering);
            let count = count.min(allowed.saturating_sub(open));
            if count > 0 {
                all.push(Wish {
                    next,
                    count,
                    open,
                    probe,
                    turn,
                });
            }
        }
        all
    }

    /// A way gets a session.
    pub fn begin(&mut self, next: Next) {
        self.turns = self.turns.saturating_add(1);
        let turn = self.turns;
        let way = self.way(next);
        way.turn = turn;
        way.sessions = way.sessions.saturating_add(1);
    }

    /// A session has ended.
    pub fn end(&mut self, next: Next, now: Tick) {
        let way = self.way(next);
        way.sessions = way.sessions.saturating_sub(1);
        self.settle(next, now);
    }

    /// Notes whether some way could not have the sessions it wants: then those of others do not linger.
    pub fn set_crowded(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    /// Whether sessions should make room when they can.
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// When nothing happens on a way any more: what was asked for waits again, and a way of one domain on which
    /// nothing waits is forgotten.
    fn settle(&mut self, next: Next, now: Tick) {
        let Some(way) = self.ways.get_mut(&next).filter(|_| next.is_own()) else {
            return;
        };
        if way.sessions > 0 || way.fetchers > 0 {
            return;
        }
        if next.is_held() && self.schedule.due(next).is_none_or(|due| due > now) {
            way.released = false;
            self.schedule.lull(next);
        }
        if self.schedule.len(next) == 0 {
            self.schedule.forget(next);
            self.ways.remove(&next);
        }
    }

    /// Lets go what waits on a way: what is held goes out once, what waits for its next try is tried. Answers how many
    /// messages that are.
    pub fn release(&mut self, next: Next, now: Tick) -> usize {
        let count = self.schedule.len(next);
        if count > 0 {
            let way = self.way(next);
            way.released = true;
            way.health.on_change();
            self.schedule.hurry(next, now);
        }
        count
    }

    /// Begins to fetch what is held: it is due for who takes it, and no session of ours goes for it. Answers how many
    /// messages there are; [`Ways::end_fetch`] ends it.
    pub fn fetch(&mut self, next: Next, now: Tick) -> usize {
        let way = self.way(next);
        way.fetchers = way.fetchers.saturating_add(1);
        self.schedule.hurry(next, now);
        self.schedule.len(next)
    }

    /// What was not fetched is held again.
    pub fn end_fetch(&mut self, next: Next, now: Tick) {
        let way = self.way(next);
        way.fetchers = way.fetchers.saturating_sub(1);
        if way.fetchers == 0 && way.sessions == 0 {
            way.released = false;
            self.schedule.lull(next);
        }
        self.settle(next, now);
    }

    /// Takes off what was held until its time was up.
    pub fn take_unfetched(&mut self, now: Tick) -> Vec<(Next, Waiting)> {
        let mut gone = Vec::new();
        for (next, way) in &mut self.ways {
            if way.expires.is_none_or(|expires| expires > now) {
                continue;
            }
            let expired = self.schedule.take_expired(*next, now);
            gone.extend(expired.into_iter().map(|waiting| (*next, waiting)));
            way.expires = self.schedule.expires(*next);
        }
        gone
    }

    /// When something may be wanted next, if nothing else happens before.
    pub fn wakes(&self, now: Tick, pace: impl Fn(usize) -> Option<u32>) -> Option<Tick> {
        let waits = self.schedule.heads().filter_map(|(next, due, _)| {
            let way = self.ways.get(&next);
            // That more may go at once some time later keeps nothing back.
            let health = way.map(|way| &way.health);
            let health = health.filter(|of| due <= now || !matches!(of, Health::Back(_)));
            let opens = [
                health.and_then(|health| health.wakes(now)),
                opens(&self.paces, next, now, &pace),
            ];
            let at = opens.into_iter().flatten().fold(due, Tick::max);
            let expires = way.and_then(|way| way.expires);
            let at = at.min(expires.unwrap_or(NEVER));
            // What is due already waits for a session to end, and that will be heard.
            (at > now && at < NEVER).then_some(at)
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
        let mut wait = health.on_failure(now, waits, chance, held, why.to_owned());
        if next.is_held() {
            // It waits until it is asked for again.
            self.way(next).released = false;
            self.schedule.lull(next);
            wait = Duration::ZERO;
        }
        let expired = if held {
            // The setup is at fault: no message pays for it (promise G3).
            Vec::new()
        } else {
            self.schedule.take_expired(next, now)
        };
        (wait, expired)
    }

    /// Lets nothing on a way expire before `until`.
    pub fn spare(&mut self, next: Next, until: Tick) {
        self.schedule.spare(next, until);
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
        let all: Vec<Next> = self
            .schedule
            .ways()
            .filter(|next| !next.is_held())
            .collect();
        for next in all {
            self.schedule.hurry(next, now);
        }
    }

    /// Try one message again. False when it waits nowhere, or until it is fetched.
    pub fn hurry_one(&mut self, id: MsgId, now: Tick) -> bool {
        for way in self.ways.values_mut() {
            way.health.on_change();
        }
        self.schedule.hurry_one(id, now, |next| !next.is_held())
    }

    /// Takes a message off. False when it waited nowhere.
    pub fn remove(&mut self, id: MsgId) -> bool {
        self.schedule.remove(id)
    }

    /// Takes everything off, for a new routing table; the health of ways that were tried is forgotten with it.
    pub fn clear(&mut self) {
        self.schedule.clear();
        self.paces.clear();
        self.ways
            .retain(|next, way| !next.is_own() || way.sessions > 0 || way.fetchers > 0);
        for way in self.ways.values_mut() {
            way.health = Health::default();
            way.expires = None;
            way.told = Tick::default();
        }
    }

    /// One way, with how many wait on it.
    pub fn one(&self, next: Next) -> (usize, Option<&Way>) {
        (self.schedule.len(next), self.ways.get(&next))
    }

    /// When a message is due.
    pub fn due_of(&self, id: MsgId) -> Option<Tick> {
        self.schedule.due_of(id)
    }

    /// When the messages from `first` to `last` are due, in their order; for one on several ways, the first of those.
    pub fn dues(&self, first: MsgId, last: MsgId) -> Vec<(MsgId, Tick)> {
        let mut dues = self.schedule.dues(first, last);
        dues.sort_unstable();
        dues.dedup_by_key(|(id, _)| *id);
        dues
    }

    /// Every way that has something waiting or a session, and every route that was ever used, with how many wait.
    pub fn all(&self) -> Vec<(Next, usize, Option<&Way>)> {
        let mut keys: Vec<Next> = self
            .schedule
            .ways()
            .chain(self.ways.keys().copied())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let idle = |next: &Next| {
            let sessions = self.ways.get(next).map_or(0, |way| way.sessions);
            next.is_own() && sessions == 0 && self.schedule.len(*next) == 0
        };
        keys.into_iter()
            .filter(|next| !idle(next))
            .map(|next| (next, self.schedule.len(next), self.ways.get(&next)))
            .collect()
    }
}

/// When the minute of a way's route has room again, if it has none now.
fn opens(
    paces: &BTreeMap<usize, Pace>,
    next: Next,
    now: Tick,
    pace: impl Fn(usize) -> Option<u32>,
) -> Option<Tick> {
    let route = next.route()?;
    paces.get(&route)?.opens(pace(route)?, now)
}

#[cfg(test)]
mod tests {
    use super::Ways;
    use crate::base::{MsgId, Tick, limits};
    use crate::mail::Domain;
    use crate::policy::retry::Waits;
    use crate::policy::route::{Destination, Next};
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

    /// The ways that want sessions, and how many.
    fn wanted(ways: &mut Ways, now: Tick) -> Vec<(Next, usize)> {
        let wishes = ways.wanted(now, |_| 4, |_| None);
        wishes.into_iter().map(|w| (w.next, w.count)).collect()
    }

    fn wakes(ways: &Ways, now: Tick) -> Option<Tick> {
        ways.wakes(now, |_| None)
    }

    fn destination(name: &str) -> Destination {
        Destination::of(&Domain::parse(name).unwrap())
    }

    #[test]
    fn one_probe_finds_out_then_the_others_follow() {
        let mut ways = with(9);
        let (next, now) = (Next::Route(0), at(10));
        assert_eq!(wanted(&mut ways, at(9)), []);
        assert_eq!(wakes(&ways, at(9)), Some(at(10)));
        assert_eq!(wanted(&mut ways, now), [(next, 1)]);
        ways.way(next).sessions = 1;
        assert_eq!(wanted(&mut ways, now), []);
        ways.way(next).health.on_success(now);
        // Nine messages are not worth another connection at once.
        assert_eq!(wanted(&mut ways, now), []);
        assert_eq!(wakes(&ways, now), Some(at(5010)));
        let now = at(5010);
        assert_eq!(wanted(&mut ways, now), [(next, 3)]);
        ways.way(next).sessions = 4;
        assert_eq!((wanted(&mut ways, now).len(), wakes(&ways, now)), (0, None));
    }

    #[test]
    fn a_lingering_session_takes_the_next_message() {
        let mut ways = with(1);
        let way = ways.way(Next::Route(0));
        way.health.on_success(at(10));
        (way.sessions, way.lingering) = (1, 1);
        assert_eq!(wanted(&mut ways, at(10)), []);
    }

    #[test]
    fn a_dead_way_wakes_us_for_its_probe_and_drops_the_expired_unless_held() {
        let (waits, next) = (Waits::default(), Next::Route(0));
        let mut ways = with(2);
        let (wait, expired) = ways.on_failure(next, at(10), &waits, 0, false, "down");
        assert_eq!((wait.as_secs(), expired.len()), (60, 0));
        assert_eq!(wakes(&ways, at(10)), Some(at(60_010)));
        let (_, expired) = ways.on_failure(next, at(1_000_000), &waits, 0, true, "535");
        assert_eq!(expired.len(), 0);
        let (_, expired) = ways.on_failure(next, at(1_000_000), &waits, 0, false, "down");
        assert_eq!(expired.len(), 2);
        ways.hurry(at(5));
        assert_eq!(wakes(&ways, at(5)), None);
    }

    fn held(expires: u64) -> (Ways, Next) {
        let (mut ways, next) = (Ways::default(), Next::Held(0, destination("a.example")));
        for id in 0..3 {
            let waiting = Waiting {
                due: at(10),
                id: MsgId::from_number(id),
                expires: at(expires + id),
            };
            ways.add(next, waiting);
        }
        (ways, next)
    }

    #[test]
    fn what_is_held_waits_to_be_asked_for() {
        let (mut ways, next) = held(1_000_000);
        assert_eq!(
            (wanted(&mut ways, at(20)), ways.take(next, at(20), None)),
            (vec![], None)
        );
        // Nothing that makes everybody else hurry is meant for it.
        ways.hurry(at(20));
        assert!(!ways.hurry_one(MsgId::from_number(1), at(20)));
        assert_eq!(wanted(&mut ways, at(20)), []);
        assert_eq!(wakes(&ways, at(20)), Some(at(1_000_000)), "only to expire");
        assert_eq!(ways.release(next, at(20)), 3);
        assert_eq!(wanted(&mut ways, at(20)), [(next, 1)]);
        ways.begin(next);
        let first = ways.take(next, at(20), None).unwrap();
        // One that its host did not want now is not tried again by itself.
        ways.add(
            next,
            Waiting {
                due: at(60_020),
                ..first
            },
        );
        assert!(ways.take(next, at(20), None).is_some() && ways.take(next, at(20), None).is_some());
        ways.end(next, at(30));
        assert_eq!(wanted(&mut ways, at(100_000)), []);
        assert_eq!(ways.release(next, at(200_000)), 1);
        ways.begin(next);
        let (wait, _) = ways.on_failure(next, at(200_000), &Waits::default(), 0, false, "gone");
        ways.end(next, at(200_000));
        assert_eq!(
            (wait.as_secs(), wanted(&mut ways, at(900_000))),
            (0, vec![])
        );
        assert_eq!(
            ways.release(next, at(900_000)),
            1,
            "and asked for again it goes at once"
        );
        assert_eq!(wanted(&mut ways, at(900_000)), [(next, 1)]);
    }

    #[test]
    fn what_is_fetched_is_for_who_fetches_it_and_the_rest_is_held_again() {
        let (mut ways, next) = held(1_000_000);
        assert_eq!(ways.fetch(next, at(20)), 3);
        assert_eq!(
            wanted(&mut ways, at(20)),
            [],
            "no session of ours goes for it"
        );
        let first = ways.take(next, at(20), None).unwrap();
        ways.give_back(next, first);
        assert!(ways.take(next, at(20), None).is_some());
        ways.end_fetch(next, at(30));
        assert_eq!(
            (ways.take(next, at(40), None), wanted(&mut ways, at(40))),
            (None, vec![])
        );
        assert_eq!(ways.release(next, at(50)), 2);
    }

    #[test]
    fn what_nobody_fetches_expires() {
        let (mut ways, next) = held(1000);
        assert_eq!(ways.take_unfetched(at(999)), []);
        let gone: Vec<u64> = ways
            .take_unfetched(at(1001))
            .iter()
            .map(|(_, w)| w.id.number())
            .collect();
        assert_eq!(gone, [0, 1]);
        assert_eq!(wakes(&ways, at(1001)), Some(at(1002)));
        assert_eq!(
            ways.take_unfetched(at(1002)),
            [(
                next,
                Waiting {
                    due: super::NEVER,
                    id: MsgId::from_number(2),
                    expires: at(1002)
                }
            )]
        );
        assert_eq!(wakes(&ways, at(1002)), None);
    }

    #[test]
    fn ways_of_domains_come_and_go_and_there_are_never_too_many() {
        let mut ways = Ways::default();
        let next = |n: usize| Next::Domain(0, destination(&format!("d{n}.example")));
        for n in 0..limits::WAYS {
            assert!(ways.have_room(&[next(n)]));
            ways.call(next(n), &Domain::parse(&format!("d{n}.example")).unwrap());
            if n > 0 {
                let id = MsgId::from_number(u64::try_from(n).unwrap());
                ways.add(
                    next(n),
                    Waiting {
                        due: at(10),
                        id,
                        expires: at(1000),
                    },
                );
            }
        }
        let (old, new) = (next(1), next(limits::WAYS));
        // The first was for mail that was not accepted, so it makes room for one.
        assert!(!ways.have_room(&[old, new, next(0)]) && ways.have_room(&[old, new]));
        ways.call(new, &Domain::parse("x.example").unwrap());
        ways.begin(new);
        assert!(
            !ways.have_room(&[next(0)]) && ways.have_room(&[old, Next::Route(1), Next::Drop(0)])
        );
        ways.begin(old);
        assert!(ways.take(old, at(10), None).is_some());
        ways.end(old, at(11));
        assert_eq!(ways.domain(old), None, "nothing waits there any more");
        assert!(ways.have_room(&[next(0)]));
    }

    #[test]
    fn a_route_with_a_pace_wakes_when_its_minute_has_room() {
        let (mut ways, next, pace) = (with(5), Next::Route(0), Some(2));
        ways.way(next).health.on_success(at(10));
        assert!(ways.take(next, at(10), pace).is_some() && ways.take(next, at(10), pace).is_some());
        assert_eq!(ways.take(next, at(10), pace), None);
        assert_eq!(ways.wanted(at(10), |_| 4, |_| pace), []);
        assert_eq!(ways.wakes(at(10), |_| pace), Some(at(70_000)));
        assert_eq!(ways.wanted(at(70_000), |_| 4, |_| pace).len(), 1);
    }
}
