//! Where mail for a domain goes next.

use std::collections::BTreeSet;
use std::fmt;

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

/// What a message does next for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// Into the drop folder.
    Drop,
    /// Over the route with this number, in the order of the configuration.
    Route(usize),
}

/// One rule: domains and what happens with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The domains it speaks of.
    pub to: Vec<Pattern>,
    /// What happens.
    pub next: Next,
}

/// The table of all rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    local: BTreeSet<Domain>,
    rules: Vec<Rule>,
}

impl Routes {
    /// A table in which `local` domains go to the drop folder unless a rule names them exactly.
    pub fn new(local: impl IntoIterator<Item = Domain>, rules: Vec<Rule>) -> Self {
        Self {
            local: local.into_iter().collect(),
            rules,
        }
    }

    /// Whether the domain is one of ours, so that mail to it is taken from anybody who may connect.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.local.contains(domain)
    }

    /// Where mail for the domain goes: the closest rule, the earlier one among equals. Without any rule that fits
    /// it goes to the drop folder, where its owner finds it: a service that was told no way out keeps the mail.
    pub fn next(&self, domain: &Domain) -> Next {
        let mut best = if self.is_local(domain) {
            (usize::MAX - 1, Next::Drop)
        } else {
            (0, Next::Drop)
        };
        let mut found = self.is_local(domain);
        for rule in &self.rules {
            let closest = rule.to.iter().filter_map(|p| p.closeness(domain)).max();
            if let Some(closeness) = closest
                && (!found || closeness > best.0)
            {
                best = (closeness, rule.next);
                found = true;
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Pattern, Routes, Rule};
    use crate::mail::Domain;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn the_closest_rule_wins() {
        let rule = |to: &[&str], next| Rule {
            to: to.iter().map(|t| Pattern::parse(t).unwrap()).collect(),
            next,
        };
        let routes = Routes::new(
            [domain("nas.lan"), domain("office.example")],
            vec![
                rule(&["*"], Next::Route(0)),
                rule(&["*.example"], Next::Route(1)),
                rule(&["*.deep.example", "x.test"], Next::Route(2)),
                rule(&["office.example"], Next::Route(3)),
                rule(&["*"], Next::Route(4)),
            ],
        );
        for (to, next) in [
            ("nas.lan", Next::Drop),
            ("a.nas.lan", Next::Route(0)),
            ("a.example", Next::Route(1)),
            ("example", Next::Route(0)),
            ("a.deep.example", Next::Route(2)),
            ("deep.example", Next::Route(1)),
            ("X.Test", Next::Route(2)),
            ("office.example", Next::Route(3)),
            ("[192.0.2.1]", Next::Route(0)),
        ] {
            assert_eq!(routes.next(&domain(to)), next, "{to}");
        }
    }

    #[test]
    fn without_a_way_out_mail_stays_here() {
        assert_eq!(Routes::default().next(&domain("a.example")), Next::Drop);
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        for text in ["", "*.", "a*.b", "*a", "a b"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
