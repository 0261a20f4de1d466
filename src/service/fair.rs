//! Which ways get the connections that are free, when not all that want one can have one.
//!
//! A dead host holds a connection until its time-out, and there may be many of them; so those that have failed get
//! half at most, and a way that has none yet comes before one that has some. Among equals the one that waited
//! longest since its last turn goes first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::policy::route::Next;

/// A way that wants sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which.
    pub next: Next,
    /// How many.
    pub count: usize,
    /// How many it has.
    pub open: usize,
    /// It failed when it was tried last.
    pub probe: bool,
    /// When it was given one last; larger is later.
    pub turn: u64,
}

/// What is open now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// On each route.
    pub routes: BTreeMap<usize, Used>,
    /// On all together; the drop folder is none of them.
    pub all: Used,
}

/// Sessions of some ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// All of them.
    pub sessions: usize,
    /// Those among them that find out whether a way that had failed is well again.
    pub probes: usize,
}

impl Used {
    fn has_room(self, most: usize, probe: bool) -> bool {
        self.sessions < most && (!probe || self.probes < most.div_ceil(2))
    }

    /// Counts a session.
    pub fn add(&mut self, probe: bool) {
        self.sessions = self.sessions.saturating_add(1);
        if probe {
            self.probes = self.probes.saturating_add(1);
        }
    }
}

/// Who gets how many, in the order in which they are to be opened. `most` tells how many connections a route may have
/// over all its ways, `all` how many there may be over all routes.
pub fn share(
    wishes: Vec<Wish>,
    mut open: Open,
    most: impl Fn(usize) -> usize,
    all: usize,
) -> Vec<Next> {
    let mut given = Vec::new();
    let mut left = wishes;
    while !left.is_empty() {
        // One each in a round.
        left.sort_by_key(|wish| Reverse((wish.open, wish.probe, wish.turn)));
        let mut again = Vec::new();
        while let Some(mut wish) = left.pop() {
            let Some(route) = wish.next.route() else {
                given.extend(std::iter::repeat_n(wish.next, wish.count));
                continue;
            };
            let used = open.routes.entry(route).or_default();
            if !used.has_room(most(route), wish.probe) || !open.all.has_room(all, wish.probe) {
                continue;
            }
            used.add(wish.probe);
            open.all.add(wish.probe);
            given.push(wish.next);
            wish.open = wish.open.saturating_add(1);
            wish.count = wish.count.saturating_sub(1);
            if wish.count > 0 {
                again.push(wish);
            }
        }
        left = again;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::{Open, Wish, share};
    use crate::mail::Domain;
    use crate::policy::route::{Destination, Next};

    fn to(name: &str) -> Next {
        let domain = Domain::parse(&format!("{name}.example")).unwrap();
        Next::Domain(0, Destination::of(&domain))
    }

    fn wish(next: Next, count: usize, probe: bool, turn: u64) -> Wish {
        Wish {
            next,
            count,
            open: 0,
            probe,
            turn,
        }
    }

    #[test]
    fn a_hundred_dead_domains_leave_half_to_the_living() {
        let mut wishes: Vec<Wish> = (0..100)
            .map(|n| wish(to(&format!("dead{n}")), 1, true, 0))
            .collect();
        wishes.push(wish(to("well"), 4, false, 9));
        let given = share(wishes.clone(), Open::default(), |_| 10, 100);
        assert_eq!(given.len(), 9);
        assert_eq!(
            given[0],
            to("well"),
            "what is not known to be dead goes first"
        );
        assert_eq!(given.iter().filter(|next| **next == to("well")).count(), 4);
        let dead: Vec<Wish> = wishes.drain(..100).collect();
        assert_eq!(share(dead, Open::default(), |_| 10, 100).len(), 5);
    }

    #[test]
    fn everybody_gets_one_before_anybody_gets_two_and_turns_go_round() {
        let wishes = vec![
            wish(to("busy"), 20, false, 3),
            wish(to("b"), 2, false, 2),
            wish(to("c"), 1, false, 1),
        ];
        let given = share(wishes, Open::default(), |_| 4, 100);
        assert_eq!(given, [to("c"), to("b"), to("busy"), to("b")]);
    }

    #[test]
    fn routes_have_their_own_room_and_the_drop_folder_needs_none() {
        let wishes = vec![
            wish(Next::Route(1), 4, false, 0),
            wish(to("a"), 9, false, 1),
            wish(Next::Drop(0), 1, false, 0),
        ];
        let mut open = Open::default();
        open.routes.entry(0).or_default().sessions = 3;
        open.all.sessions = 3;
        let given = share(wishes.clone(), open.clone(), |_| 4, 100);
        let count = |next| given.iter().filter(|one| **one == next).count();
        assert_eq!(
            (count(Next::Route(1)), count(to("a")), count(Next::Drop(0))),
            (4, 1, 1)
        );
        assert_eq!(share(wishes, open, |_| 4, 5).len(), 3);
    }
}
