//! The policies of MTA-STS that are kept: in memory, and in a file of the home.

use std::cell::RefCell;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::Tick;
use crate::base::Wall;
use crate::base::limits;
use crate::disk::small;
use crate::mail::Domain;
use crate::policy::sts::Kept;
use crate::service::event::Event;
use crate::service::log::emit;

/// The policies that are kept.
#[derive(Debug, Default)]
pub struct Policies {
    file: PathBuf,
    kept: RefCell<Vec<Kept>>,
    /// Domains whose policy could not be fetched, and when that was.
    failed: RefCell<Vec<(Domain, Tick)>>,
}

/// The file's name in the home.
const FILE: &str = "mta-sts";

impl Policies {
    /// What an earlier run left in the home. Blocks. A file that cannot be read is an empty one, and told.
    pub fn open(home: &Path) -> Self {
        let file = home.join(FILE);
        let text = small::read(&file, limits::STS_FILE).unwrap_or_else(|error| {
            emit(&Event::Trouble {
                what: "mta-sts",
                why: &format!("cannot read {}: {error}", file.display()),
            });
            String::new()
        });
        let kept = text.lines().filter_map(Kept::parse);
        let kept: Vec<Kept> = kept.take(limits::STS_POLICIES).collect();
        Self {
            file,
            kept: RefCell::new(kept),
            failed: RefCell::default(),
        }
    }

    /// The policy of a domain, while it counts.
    pub fn find(&self, domain: &Domain, now: Wall) -> Option<Kept> {
        let kept = self.kept.borrow();
        let found = kept.iter().find(|kept| kept.domain == *domain);
        found.filter(|kept| kept.until > now).cloned()
    }

    /// Keeps a policy; when there is no room, the one that ends first makes way. Answers the text of the file.
    pub fn keep(&self, new: Kept, now: Wall) -> String {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|old| old.domain != new.domain && old.until > now);
        if kept.len() >= limits::STS_POLICIES {
            let first = kept.iter().enumerate().min_by_key(|(_, old)| old.until);
            if let Some(first) = first.map(|(place, _)| place) {
                kept.swap_remove(first);
            }
        }
        kept.push(new);
        kept.iter().map(|one| format!("{one}\n")).collect()
    }

    /// Whether fetching for this domain failed a moment ago.
    pub fn rests(&self, domain: &Domain, now: Tick) -> bool {
        let mut failed = self.failed.borrow_mut();
        failed.retain(|(_, at)| now.since(*at) < limits::STS_PAUSE);
        failed.iter().any(|(one, _)| one == domain)
    }

    /// It failed now.
    pub fn failed(&self, domain: &Domain, now: Tick) {
        let mut failed = self.failed.borrow_mut();
        failed.truncate(limits::STS_POLICIES);
        failed.insert(0, (domain.clone(), now));
    }

    /// After a reload, or when the network is back: what failed may be tried again.
    pub fn forget_failures(&self) {
        self.failed.borrow_mut().clear();
    }

    /// Where they are kept.
    pub fn file(&self) -> PathBuf {
        self.file.clone()
    }
}

/// Whether the last quarter of its time has begun: then it is fetched again though its id is the same, so that it
/// never ends for want of mail (RFC 8461 s3.3).
pub fn grows_old(kept: &Kept, now: Wall) -> bool {
    let quarter = u64::from(kept.policy.max_age) / 4;
    kept.until.since(now) < Duration::from_secs(quarter)
}

#[cfg(test)]
mod tests {
    use super::{FILE, Policies, grows_old};
    use crate::base::{Tick, Wall, limits};
    use crate::mail::Domain;
    use crate::policy::sts::{Kept, Mode, Policy};

    fn kept(domain: &str, until: u64) -> Kept {
        Kept {
            domain: Domain::parse(domain).unwrap(),
            id: "1".to_owned(),
            policy: Policy {
                mode: Mode::Enforce,
                max_age: 400,
                mx: vec!["mx.example".to_owned()],
            },
            until: Wall::from_secs(until),
        }
    }

    #[test]
    fn policies_are_few_survive_a_restart_and_end() {
        let home = tempfile::tempdir().unwrap();
        let policies = Policies::open(home.path());
        let now = Wall::from_secs(1000);
        let mut text = String::new();
        let most = u64::try_from(limits::STS_POLICIES).unwrap();
        for number in 0..=most {
            text = policies.keep(kept(&format!("d{number}.example"), 2000 + number), now);
        }
        assert_eq!(text.lines().count(), limits::STS_POLICIES);
        std::fs::write(home.path().join(FILE), format!("no policy\n{text}")).unwrap();
        let again = Policies::open(home.path());
        let last = Domain::parse(&format!("d{most}.example")).unwrap();
        assert_eq!(again.find(&Domain::parse("d0.example").unwrap(), now), None);
        assert_eq!(
            again.find(&last, now).map(|k| k.until),
            Some(Wall::from_secs(2000 + most))
        );
        assert_eq!(again.find(&last, Wall::from_secs(2000 + most)), None);
        let one = kept("d.example", 2000);
        assert!(!grows_old(&one, Wall::from_secs(1899)) && grows_old(&one, Wall::from_secs(1901)));
    }

    #[test]
    fn a_failure_is_remembered_for_a_while() {
        let policies = Policies::default();
        let (one, now) = (Domain::parse("a.example").unwrap(), Tick::from_millis(5));
        policies.failed(&one, now);
        assert!(policies.rests(&one, now));
        assert!(!policies.rests(&one, now.after(limits::STS_PAUSE)));
        policies.failed(&one, now);
        policies.forget_failures();
        assert!(!policies.rests(&one, now));
    }
}
