//! The order in which a domain's mail exchangers are tried (RFC 5321 s5.1).

use crate::mail::Domain;

/// One mail exchanger of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host.
    pub host: Domain,
}

/// What is left of a list of exchangers when this host is one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Nobody was cut: this host is not in the list.
    All(Vec<Mx>),
    /// The exchangers that come before this host; one at least.
    Better(Vec<Mx>),
    /// This host is the best exchanger: the mail would come back to it.
    Loop,
}

/// Cuts this host, and all that are not preferred to it, out of the list (RFC 5321 s5.1).
pub fn before_us(mut list: Vec<Mx>, mut is_us: impl FnMut(&Domain) -> bool) -> Onward {
    let ours = list
        .iter()
        .filter(|mx| is_us(&mx.host))
        .map(|mx| mx.preference)
        .min();
    let Some(ours) = ours else {
        return Onward::All(list);
    };
    list.retain(|mx| mx.preference < ours);
    if list.is_empty() {
        Onward::Loop
    } else {
        Onward::Better(list)
    }
}

/// The hosts in the order in which to try them: by preference, shuffled inside each.
///
/// `below(n)` gives a random number under `n`; a larger answer counts as its last.
pub fn order(mut list: Vec<Mx>, mut below: impl FnMut(usize) -> usize) -> Vec<Domain> {
    // Fisher-Yates over everything, then a stable sort: each preference keeps its own random order.
    for upper in (1..list.len()).rev() {
        list.swap(upper, below(upper.saturating_add(1)).min(upper));
    }
    list.sort_by_key(|mx| mx.preference);
    list.into_iter().map(|mx| mx.host).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mx, Onward, before_us, order};
    use crate::mail::Domain;
    use std::collections::BTreeSet;

    fn list(rows: &[(u16, &str)]) -> Vec<Mx> {
        rows.iter()
            .map(|&(preference, host)| Mx {
                preference,
                host: Domain::parse(host).unwrap(),
            })
            .collect()
    }

    fn text(hosts: &[Domain]) -> String {
        let names: Vec<&str> = hosts.iter().map(Domain::as_str).collect();
        names.join(" ")
    }

    #[test]
    fn preference_rules_and_equals_take_turns() {
        let mut seen = BTreeSet::new();
        let mut state: usize = 1;
        for _ in 0..200 {
            let hosts = order(
                list(&[(20, "late"), (10, "a"), (10, "b"), (10, "c"), (5, "first")]),
                |below| {
                    state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
                    (state >> 8) % below
                },
            );
            let line = text(&hosts);
            assert!(
                line.starts_with("first ") && line.ends_with(" late"),
                "{line}"
            );
            seen.insert(line);
        }
        assert_eq!(seen.len(), 6, "every order of the three equals comes up");
    }

    #[test]
    fn a_random_source_that_lies_costs_nothing() {
        assert_eq!(
            text(&order(list(&[(1, "a"), (1, "b")]), |_| usize::MAX)),
            "a b"
        );
        assert!(order(Vec::new(), |_| 0).is_empty());
    }

    #[test]
    fn mail_never_goes_back_to_ourselves() {
        let us = |host: &Domain| host.as_str() == "us";
        let cases: &[(&[(u16, &str)], &str)] = &[
            (&[(10, "a"), (20, "us"), (20, "b"), (30, "c")], "a"),
            (&[(10, "a"), (20, "b")], "all"),
            (&[(10, "us"), (20, "b")], "loop"),
            (&[(10, "us"), (10, "b")], "loop"),
            (&[(30, "us"), (10, "us"), (5, "a")], "a"),
        ];
        for (rows, want) in cases {
            let got = match before_us(list(rows), us) {
                Onward::All(_) => "all".to_owned(),
                Onward::Loop => "loop".to_owned(),
                Onward::Better(left) => text(&order(left, |_| 0)),
            };
            assert_eq!(got, *want, "{rows:?}");
        }
    }
}
