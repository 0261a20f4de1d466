//! Where mail for a domain goes next.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use crate::mail::Domain;

/// Which domains a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every domain.
    Any,
    /// `*.example.com`: every domain below, not the domain itself.
    Below(String),
    /// `example.com`: this domain only.
    Exact(Domain),
}

/// The text is neither a domain, nor `*.domain`, nor `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a domain; write example.com, *.example.com or *")
    }
}

impl std::error::Error for BadPattern {}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let domain = |text| Domain::parse(text).map_err(|_| BadPattern);
        match text.strip_prefix("*.") {
            Some(rest) => Ok(Self::Below(domain(rest)?.as_str().to_owned())),
            None => Ok(Self::Exact(domain(text)?)),
        }
    }

    /// Whether the domain is one of them.
    pub fn matches(&self, domain: &Domain) -> bool {
        self.closeness(domain).is_some()
    }

    /// How closely it matches: longer is closer, `None` is not at all.
    fn closeness(&self, domain: &Domain) -> Option<usize> {
        match self {
            Self::Any => Some(0),
            Self::Below(parent) => domain.is_below(parent).then(|| 1 + parent.len()),
            Self::Exact(exact) => (exact == domain).then_some(usize::MAX),
        }
    }
}

/// What a message does next for one recipient: the way it waits on, with others or with those of its domain alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// To the directory, which says who gets it; the other ways come after.
    Directory,
    /// Into the drop folder with this number: 0 is that of `[local]`, the others follow in the order of the
    /// configuration.
    Drop(usize),
    /// Over the route with this number, in the order of the configuration: one way for all its domains.
    Route(usize),
    /// Over that route, on a way of the domain's own, so that its hosts slow down nobody else.
    Domain(usize, Destination),
    /// Nowhere by itself: held on that route until the domain's host fetches it (ETRN, ATRN).
    Held(usize, Destination),
}

impl Next {
    /// The number of the route, in the order of the configuration.
    pub fn route(self) -> Option<usize> {
        match self {
            Self::Drop(_) | Self::Directory => None,
            Self::Route(at) | Self::Domain(at, _) | Self::Held(at, _) => Some(at),
        }
    }

    /// Whether this way is one domain's alone.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Domain(..) | Self::Held(..))
    }

    /// Whether what waits here waits to be fetched.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Held(..))
    }
}

/// A domain as part of a key: a hash of its name, so that a schedule of many domains stays small.
///
/// Two names with one hash would share a way, and its session takes the recipients of one domain only. 128 bits
/// rule that out for what anybody could send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(u64, u64);

impl Destination {
    /// The destination of mail to this domain.
    pub fn of(domain: &Domain) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, domain.as_str()).hash(&mut hasher);
            hasher.finish()
        };
        Self(half(0), half(1))
    }
}

/// What a rule does with its domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into the drop folder with this number.
    Drop(usize),
    /// Over the route with this number, all domains together: it has hosts of its own.
    Together(usize),
    /// Over that route, each domain by itself: its hosts are its own affair.
    Apart(usize),
    /// Held on that route, each domain by itself.
    Hold(usize),
}

impl Way {
    fn next(self, domain: &Domain) -> Next {
        match self {
            Self::Drop(at) => Next::Drop(at),
            Self::Together(at) => Next::Route(at),
            Self::Apart(at) => Next::Domain(at, Destination::of(domain)),
            Self::Hold(at) => Next::Held(at, Destination::of(domain)),
        }
    }
}

/// One rule: domains and what happens with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The domains it speaks of.
    pub to: Vec<Pattern>,
    /// What happens.
    pub way: Way,
}

/// The table of all rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// With the number of its drop folder.
    local: BTreeMap<Domain, usize>,
    rules: Vec<Rule>,
}

impl Routes {
    /// A table in which `local` domains go to their drop folder unless a rule names them exactly.
    pub fn new(local: impl IntoIterator<Item = (Domain, usize)>, rules: Vec<Rule>) -> Self {
        Self {
            local: local.into_iter().collect(),
            rules,
        }
    }

    /// Whether the domain is one of ours, so that mail to it is taken from anybody who may connect.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.local.contains_key(domain)
    }

    /// Where mail for the domain goes: the closest rule, the earlier one among equals. Without any rule that fits
    /// it goes to the drop folder, where its owner finds it: a service that was told no way out keeps the mail.
    pub fn next(&self, domain: &Domain) -> Next {
        let local = self.local.get(domain);
        let mut best = match local {
            Some(folder) => (usize::MAX - 1, Way::Drop(*folder)),
            None => (0, Way::Drop(0)),
        };
        let mut found = local.is_some();
        for rule in &self.rules {
            let closest = rule.to.iter().filter_map(|p| p.closeness(domain)).max();
            if let Some(closeness) = closest
                && (!found || closeness > best.0)
            {
                best = (closeness, rule.way);
                found = true;
            }
        }
        best.1.next(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, Next, Pattern, Routes, Rule, Way};
    use crate::mail::Domain;
    use std::collections::BTreeSet;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn the_closest_rule_wins() {
        let rule = |to: &[&str], way| Rule {
            to: to.iter().map(|t| Pattern::parse(t).unwrap()).collect(),
            way,
        };
        let routes = Routes::new(
            [(domain("nas.lan"), 1), (domain("office.example"), 0)],
            vec![
                rule(&["*"], Way::Together(0)),
                rule(&["*.example"], Way::Together(1)),
                rule(&["*.deep.example", "x.test"], Way::Together(2)),
                rule(&["office.example"], Way::Together(3)),
                rule(&["*"], Way::Together(4)),
                rule(&["*.mx.test"], Way::Apart(5)),
                rule(&["held.mx.test"], Way::Hold(6)),
            ],
        );
        for (to, next) in [
            ("nas.lan", Next::Drop(1)),
            ("a.nas.lan", Next::Route(0)),
            ("a.example", Next::Route(1)),
            ("example", Next::Route(0)),
            ("a.deep.example", Next::Route(2)),
            ("deep.example", Next::Route(1)),
            ("X.Test", Next::Route(2)),
            ("office.example", Next::Route(3)),
            ("[192.0.2.1]", Next::Route(0)),
            (
                "a.mx.test",
                Next::Domain(5, Destination::of(&domain("a.mx.test"))),
            ),
            (
                "Held.mx.test",
                Next::Held(6, Destination::of(&domain("held.mx.test"))),
            ),
        ] {
            assert_eq!(routes.next(&domain(to)), next, "{to}");
        }
    }

    #[test]
    fn domains_that_go_apart_have_a_way_each() {
        let all: BTreeSet<_> = (0..10_000)
            .map(|n| Destination::of(&domain(&format!("d{n}.example"))))
            .collect();
        assert_eq!(all.len(), 10_000);
        let (a, b) = (domain("a.example"), domain("A.Example"));
        assert_eq!(Destination::of(&a), Destination::of(&b));
    }

    #[test]
    fn without_a_way_out_mail_stays_here() {
        assert_eq!(Routes::default().next(&domain("a.example")), Next::Drop(0));
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        for text in ["", "*.", "a*.b", "*a", "a b"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
