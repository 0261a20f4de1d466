//! What name servers said lately, yes and no, in fixed room.
//!
//! Answers are kept for their TTL, within the bounds of [`limits`]. Of the faults only silence
//! about one kind of record is ever kept, as a fault, so that it never turns into a "no".

use std::time::Duration;

use crate::base::Tick;
use crate::base::limits;
use crate::dns::message::Answer;
use crate::dns::message::End;
use crate::dns::message::Fault;
use crate::dns::message::Kind;
use crate::dns::message::Said;
use crate::mail::Domain;

/// The last answers, at most [`limits::DNS_CACHE`] of them, and [`limits::DNS_CACHE_BYTES`] of what is in them.
#[derive(Debug, Default)]
pub struct Cache {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    name: Domain,
    kind: Kind,
    until: Tick,
    known: Known,
}

impl Slot {
    /// What it takes beyond its place in the list.
    fn bytes(&self) -> usize {
        let said = match &self.known.end {
            Ok(Said::Addresses(list)) => size_of_val(list.as_slice()),
            Ok(Said::Exchangers(list)) => {
                let names: usize = list.iter().map(|mx| mx.host.as_str().len()).sum();
                names.saturating_add(size_of_val(list.as_slice()))
            }
            Ok(Said::Names(list)) => list.iter().map(|name| name.as_str().len()).sum(),
            Ok(Said::Tlsa(list)) => list.iter().map(|one| one.data.len()).sum(),
            Ok(Said::Texts(list)) => list.iter().map(String::len).sum(),
            Ok(Said::NullMx | Said::NoData | Said::NoSuchName | Said::Alias { .. }) | Err(_) => 0,
        };
        said.saturating_add(self.name.as_str().len())
    }
}

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What was said.
    pub end: End,
    /// Whether DNSSEC vouches for it, and the server that says so is believed.
    pub authentic: bool,
}

impl Cache {
    /// An empty cache. It takes no memory until it is used.
    pub const fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// What was said about the name, if that is still good.
    pub fn find(&self, name: &Domain, kind: Kind, now: Tick) -> Option<&Known> {
        self.slots
            .iter()
            .find(|slot| slot.kind == kind && slot.name == *name)
            .filter(|slot| slot.until > now)
            .map(|slot| &slot.known)
    }

    /// Keeps an answer. When there is no room, the one that would end first makes way.
    pub fn keep(&mut self, name: &Domain, kind: Kind, answer: &Answer, now: Tick) {
        let most = match answer.said {
            Said::Addresses(_)
            | Said::Exchangers(_)
            | Said::Names(_)
            | Said::Tlsa(_)
            | Said::Texts(_) => limits::DNS_KEEP_MOST,
            Said::NullMx | Said::NoData | Said::NoSuchName => limits::DNS_KEEP_NO,
            Said::Alias { .. } => return,
        };
        let ttl = Duration::from_secs(u64::from(answer.ttl));
        self.put(Slot {
            name: name.clone(),
            kind,
            until: now.after(ttl.clamp(limits::DNS_KEEP_LEAST, most)),
            known: Known {
                end: Ok(answer.said.clone()),
                authentic: answer.authentic,
            },
        });
    }

    /// Keeps for [`limits::DNS_SILENCE`] that no server says anything about one kind of record, while there is
    /// another kind.
    pub fn keep_silence(&mut self, name: &Domain, kind: Kind, now: Tick) {
        self.put(Slot {
            name: name.clone(),
            kind,
            until: now.after(limits::DNS_SILENCE),
            known: Known {
                end: Err(Fault::Silent),
                authentic: false,
            },
        });
    }

    fn put(&mut self, slot: Slot) {
        self.insert(slot);
        let mut bytes: usize = self.slots.iter().map(Slot::bytes).sum();
        while bytes > limits::DNS_CACHE_BYTES {
            let first = self.slots.iter().enumerate();
            let Some((place, _)) = first.min_by_key(|(_, slot)| slot.until) else {
                return;
            };
            bytes = bytes.saturating_sub(self.slots.swap_remove(place).bytes());
        }
    }

    fn insert(&mut self, slot: Slot) {
        let same = |old: &Slot| old.kind == slot.kind && old.name == slot.name;
        let place = match self.slots.iter().position(same) {
            Some(place) => place,
            None if self.slots.len() < limits::DNS_CACHE => {
                self.slots.push(slot);
                return;
            }
            None => {
                let first = self
                    .slots
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, old)| old.until);
                first.map_or(0, |(place, _)| place)
            }
        };
        if let Some(old) = self.slots.get_mut(place) {
            *old = slot;
        }
    }

    /// Forgets everything, and gives the memory back: after a reload, or when the network has changed.
    pub fn clear(&mut self) {
        self.slots = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, Known};
    use crate::base::{Tick, limits};
    use crate::dns::message::{Answer, Kind, Said};
    use crate::mail::Domain;
    use std::time::Duration;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn yes(ttl: u32) -> Answer {
        Answer {
            said: Said::Addresses(vec!["192.0.2.1".parse().unwrap()]),
            ttl,
            authentic: false,
        }
    }

    #[test]
    fn answers_live_for_their_ttl_within_bounds() {
        let no = |ttl| Answer {
            said: Said::NoSuchName,
            ttl,
            authentic: true,
        };
        let start = Tick::from_millis(1000);
        for (answer, lives) in [
            (yes(60), Duration::from_secs(60)),
            (yes(0), limits::DNS_KEEP_LEAST),
            (yes(u32::MAX), limits::DNS_KEEP_MOST),
            (no(60), Duration::from_secs(60)),
            (no(0), limits::DNS_KEEP_LEAST),
            (no(u32::MAX), limits::DNS_KEEP_NO),
        ] {
            let mut cache = Cache::new();
            cache.keep(&name("a.example"), Kind::A, &answer, start);
            let last = start.after(lives - Duration::from_millis(1));
            assert_eq!(
                cache.find(&name("A.example"), Kind::A, last),
                Some(&Known {
                    end: Ok(answer.said.clone()),
                    authentic: answer.authentic,
                })
            );
            assert_eq!(
                cache.find(&name("a.example"), Kind::A, start.after(lives)),
                None
            );
            assert_eq!(cache.find(&name("a.example"), Kind::Aaaa, start), None);
        }
    }

    #[test]
    fn a_full_cache_drops_what_ends_first_and_never_grows() {
        let mut cache = Cache::new();
        let now = Tick::from_millis(0);
        for n in 0..limits::DNS_CACHE * 3 {
            let ttl = if n == 5 {
                3000
            } else {
                60 + u32::try_from(n).unwrap()
            };
            cache.keep(&name(&format!("n{n}.example")), Kind::A, &yes(ttl), now);
        }
        assert_eq!(cache.slots.len(), limits::DNS_CACHE);
        assert!(
            cache.find(&name("n5.example"), Kind::A, now).is_some(),
            "the long one stays"
        );
        assert!(cache.find(&name("n6.example"), Kind::A, now).is_none());
        cache.keep(&name("n5.example"), Kind::A, &yes(60), now);
        assert_eq!(
            cache.slots.len(),
            limits::DNS_CACHE,
            "a name stands in it once"
        );
        cache.clear();
        assert_eq!(cache.slots.capacity(), 0);
    }

    #[test]
    fn large_answers_do_not_fill_the_memory() {
        let (mut cache, now) = (Cache::new(), Tick::from_millis(0));
        let record = crate::dns::Tlsa {
            usage: 3,
            selector: 0,
            matching: 0,
            data: vec![7; limits::DNS_TLSA_DATA],
        };
        for n in 0..limits::DNS_CACHE {
            let answer = Answer {
                said: Said::Tlsa(vec![record.clone(); limits::DNS_TLSA]),
                ttl: 60 + u32::try_from(n).unwrap(),
                authentic: true,
            };
            cache.keep(&name(&format!("n{n}.example")), Kind::Tlsa, &answer, now);
            let bytes: usize = cache.slots.iter().map(super::Slot::bytes).sum();
            assert!(bytes <= limits::DNS_CACHE_BYTES);
        }
        let last = name(&format!("n{}.example", limits::DNS_CACHE - 1));
        assert!(cache.find(&last, Kind::Tlsa, now).is_some());
    }
}
