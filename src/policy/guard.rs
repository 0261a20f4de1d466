//! Who goes too fast: clients that guess passwords, clients that send more messages a minute than they may, and those
//! that start a queue over and over.
//!
//! Both tables are bounded (promise G4): what a stranger does costs one entry, and when there is no room the entry
//! that matters least goes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::base::Tick;
use crate::base::limits;
use crate::mail::Domain;

/// A client as it is counted: an IPv4 address, or the /64 that one IPv6 host has to itself (RFC 6177 s2).
pub fn client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// Something about each client that ends to matter at a tick.
#[derive(Debug)]
struct Table<K, T> {
    entries: HashMap<K, (T, Tick)>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, T> Table<K, T> {
    fn put(&mut self, key: K, value: T, until: Tick, now: Tick) {
        if self.entries.len() >= limits::GUARDED && !self.entries.contains_key(&key) {
            self.entries.retain(|_, (_, until)| *until > now);
        }
        if self.entries.len() >= limits::GUARDED
            && !self.entries.contains_key(&key)
            && let Some(least) = self.entries.iter().min_by_key(|(_, (_, until))| *until)
        {
            let least = least.0.clone();
            self.entries.remove(&least);
        }
        self.entries.insert(key, (value, until));
    }
}

/// Failed logins of each client. An attempt counts as failed until it is [forgiven](Guard::forgive), so that many
/// at once gain nothing.
#[derive(Debug, Default)]
pub struct Guard {
    /// The failures and when the next attempt may be made; kept for [`limits::LOGIN_MEMORY`] after that.
    table: Table<IpAddr, (u32, Tick)>,
}

/// No more attempts for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Guard {
    /// Counts an attempt; answers how long it has to wait before it is looked at. Attempts of one client stand in
    /// line; who would stand longer than the longest wait is sent away.
    pub fn attempt(&mut self, ip: IpAddr, now: Tick) -> Result<Duration, TooMany> {
        let key = client(ip);
        let (failures, next) = match self.table.entries.get(&key) {
            Some(((failures, next), until)) if *until > now => (*failures, *next),
            _ => (0, now),
        };
        let wait = next.since(now);
        if wait > limits::LOGIN_WAIT {
            return Err(TooMany);
        }
        let failures = failures.saturating_add(1);
        let next = now.after(wait).after(penalty(failures));
        let until = next.after(limits::LOGIN_MEMORY);
        self.table.put(key, (failures, next), until, now);
        Ok(wait)
    }

    /// The attempt could not be looked at, for a reason that is not the client's: it does not count.
    pub fn withdraw(&mut self, ip: IpAddr) {
        if let Some(((failures, _), _)) = self.table.entries.get_mut(&client(ip)) {
            *failures = failures.saturating_sub(1);
        }
    }

    /// The attempt was good: nothing is held against the client.
    pub fn forgive(&mut self, ip: IpAddr) {
        self.table.entries.remove(&client(ip));
    }
}

/// The wait after so many failures: two are a slip of the finger, then it doubles from a second.
fn penalty(failures: u32) -> Duration {
    match failures {
        0..=2 => Duration::ZERO,
        _ => Duration::from_secs(1 << (failures - 3).min(8)).min(limits::LOGIN_WAIT),
    }
}

/// Messages of each client in the last minute.
#[derive(Debug, Default)]
pub struct Rates {
    /// Holds the tick at which the client's minute would be empty again.
    table: Table<IpAddr, ()>,
}

impl Rates {
    /// Counts a message, unless the client had its `most` for a minute.
    pub fn take(&mut self, ip: IpAddr, most: u32, now: Tick) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let key = client(ip);
        let each = MINUTE.checked_div(most).unwrap_or(MINUTE);
        let full = self
            .table
            .entries
            .get(&key)
            .map_or(now, |(_, until)| *until);
        let empty = full.max(now).after(each);
        if empty.since(now) > MINUTE {
            return false;
        }
        self.table.put(key, (), empty, now);
        true
    }
}

/// Queues that were started from outside (RFC 1985 s6: each makes us connect to somebody).
#[derive(Debug, Default)]
pub struct Triggers {
    clients: Rates,
    domains: Table<Domain, ()>,
}

impl Triggers {
    /// Counts a start, unless the client had its share of this minute, or the domain was started a moment ago.
    pub fn take(&mut self, ip: IpAddr, domain: &Domain, now: Tick) -> bool {
        let before = self.domains.entries.get(domain);
        if before.is_some_and(|(_, until)| *until > now)
            || !self.clients.take(ip, limits::TRIGGERS, now)
        {
            return false;
        }
        let until = now.after(limits::TRIGGER_WAIT);
        self.domains.put(domain.clone(), (), until, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Guard, Rates, TooMany, Triggers};
    use crate::base::{Tick, limits};
    use crate::mail::Domain;
    use std::net::IpAddr;
    use std::time::Duration;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n))
    }

    #[test]
    fn each_failure_makes_the_next_attempt_wait_longer() {
        let (mut guard, now) = (Guard::default(), Tick::from_millis(1_000_000));
        let mut wait = || guard.attempt(ip(1), now).map(|wait| wait.as_secs());
        let waits: Vec<_> = (0..8).map(|_| wait()).collect();
        // In one moment they stand in line: each waits for all before it.
        assert_eq!(
            waits,
            [
                Ok(0),
                Ok(0),
                Ok(0),
                Ok(1),
                Ok(3),
                Ok(7),
                Ok(15),
                Err(TooMany)
            ]
        );
        assert_eq!(guard.attempt(ip(2), now), Ok(Duration::ZERO));
        guard.forgive(ip(1));
        assert_eq!(guard.attempt(ip(1), now), Ok(Duration::ZERO));
    }

    #[test]
    fn failures_are_forgotten_in_the_end_and_a_network_of_ipv6_is_one_client() {
        let (mut guard, mut now) = (Guard::default(), Tick::from_millis(0));
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"] {
            guard.attempt(v6(host), now).unwrap();
        }
        assert!(guard.attempt(v6("2001:db8::5"), now).unwrap() > Duration::ZERO);
        assert_eq!(
            guard.attempt(v6("2001:db8:0:1::5"), now),
            Ok(Duration::ZERO)
        );
        now = now.after(limits::LOGIN_MEMORY * 2);
        assert_eq!(guard.attempt(v6("2001:db8::5"), now), Ok(Duration::ZERO));
    }

    #[test]
    fn a_flood_of_addresses_has_no_more_entries_than_the_limit() {
        let now = Tick::from_millis(0);
        let (mut guard, mut rates) = (Guard::default(), Rates::default());
        for n in 0..u32::try_from(limits::GUARDED * 2).unwrap() {
            guard.attempt(ip(n), now).unwrap();
            assert!(rates.take(ip(n), 1, now));
        }
        assert_eq!(guard.table.entries.len(), limits::GUARDED);
        assert_eq!(rates.table.entries.len(), limits::GUARDED);
    }

    #[test]
    fn a_queue_is_started_once_in_a_while_and_not_by_everybody_at_once() {
        let (mut triggers, now) = (Triggers::default(), Tick::from_millis(0));
        let domain = |n: u32| Domain::parse(&format!("d{n}.example")).unwrap();
        assert!(triggers.take(ip(1), &domain(0), now));
        assert!(!triggers.take(ip(2), &domain(0), now), "whoever asks");
        let later = now.after(limits::TRIGGER_WAIT);
        assert!(triggers.take(ip(2), &domain(0), later));
        let taken = (1..1000).filter(|n| triggers.take(ip(3), &domain(*n), later));
        assert_eq!(taken.count(), usize::try_from(limits::TRIGGERS).unwrap());
        for n in 0..u32::try_from(limits::GUARDED * 2).unwrap() {
            triggers.take(ip(1000 + n), &domain(10_000 + n), later);
        }
        assert!(triggers.domains.entries.len() <= limits::GUARDED);
    }

    #[test]
    fn a_minute_has_so_many_messages_and_they_come_back_one_by_one() {
        let (mut rates, now) = (Rates::default(), Tick::from_millis(5000));
        let taken = (0..10).filter(|_| rates.take(ip(1), 3, now)).count();
        assert_eq!(taken, 3);
        let later = now.after(Duration::from_secs(20));
        assert!(rates.take(ip(1), 3, later) && !rates.take(ip(1), 3, later));
        assert!(rates.take(ip(2), 1, now) && !rates.take(ip(2), 1, now));
        let most = (0..2000).filter(|_| rates.take(ip(3), 7, now)).count();
        assert_eq!(most, 7);
    }
}
