//! What addresses have become, for a while: those that are unknown, too.
//!
//! Bounded in entries, and in the members of each; large groups are asked for each time. What has to be mended is not
//! kept, so that mending it counts at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::Tick;
use crate::base::limits;
use crate::ldap::expand::Resolution;
use crate::mail::Address;

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    kept: BTreeMap<String, (Tick, Resolution)>,
}

impl Cache {
    /// What an address has become, while that counts.
    pub fn find(&self, address: &Address, now: Tick) -> Option<&Resolution> {
        let (until, found) = self.kept.get(&key(address))?;
        (*until > now).then_some(found)
    }

    /// Keeps it for a while, among so many others at most.
    pub fn keep(
        &mut self,
        address: &Address,
        found: &Resolution,
        now: Tick,
        wait: Duration,
        most: usize,
    ) {
        let small = match found {
            Resolution::Known { targets, .. } => targets.len() <= limits::LDAP_CACHED,
            Resolution::Unknown => true,
            Resolution::Empty | Resolution::Held(_) => false,
        };
        if !small {
            return;
        }
        if self.kept.len() >= most {
            self.kept.retain(|_, (until, _)| *until > now);
        }
        if self.kept.len() >= most {
            let first = self.kept.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(name) = first.map(|(name, _)| name.clone()) {
                self.kept.remove(&name);
            }
        }
        self.kept
            .insert(key(address), (now.after(wait), found.clone()));
    }
}

/// The domain has no case already; local parts have none in a directory.
fn key(address: &Address) -> String {
    address.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::Cache;
    use crate::base::{Tick, limits};
    use crate::ldap::expand::{Resolution, Target};
    use crate::mail::Address;
    use std::time::Duration;

    #[test]
    fn what_was_found_counts_for_a_while_and_among_few() {
        let (mut cache, wait) = (Cache::default(), Duration::from_secs(60));
        let address = |n: u64| Address::parse(&format!("A{n}@x.test")).unwrap();
        let now = Tick::from_millis(1000);
        for n in 0..5 {
            let at = now.after(Duration::from_secs(n));
            cache.keep(&address(n), &Resolution::Unknown, at, wait, 3);
        }
        let known = |cache: &Cache, at| {
            (0..5)
                .filter(|n| cache.find(&address(*n), at).is_some())
                .count()
        };
        assert_eq!(known(&cache, now), 3);
        let same = Address::parse("a4@X.test").unwrap();
        assert_eq!(cache.find(&same, now), Some(&Resolution::Unknown));
        assert_eq!(known(&cache, now.after(Duration::from_secs(63))), 1);
        assert_eq!(known(&cache, now.after(Duration::from_secs(64))), 0);
    }

    #[test]
    fn large_groups_and_what_has_to_be_mended_are_not_kept() {
        let (mut cache, wait) = (Cache::default(), Duration::from_secs(60));
        let (address, now) = (Address::parse("a@x.test").unwrap(), Tick::from_millis(1));
        let target = Target {
            address: address.clone(),
            host: None,
        };
        let group = |count| Resolution::Known {
            targets: vec![target.clone(); count],
            list: true,
            missing: Vec::new(),
        };
        for (found, kept) in [
            (Resolution::Held("mend it".to_owned()), false),
            (Resolution::Empty, false),
            (group(limits::LDAP_CACHED + 1), false),
            (group(limits::LDAP_CACHED), true),
        ] {
            cache.keep(&address, &found, now, wait, 9);
            assert_eq!(cache.find(&address, now).is_some(), kept, "{found:?}");
        }
    }
}
