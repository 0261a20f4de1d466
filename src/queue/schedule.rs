//! When each message is tried next, way by way.
//!
//! A way is whatever the service routes by (the drop folder, a smart host, an MX domain). Each has a heap of its own,
//! so a dead one never stands in front of the others. An entry is 24 bytes; a message with recipients on two ways
//! has two. A message that is being tried is in no heap: who took it puts it back or lets it go.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;

use crate::base::MsgId;
use crate::base::Tick;

/// Due at no time: what waits until somebody asks for it.
pub const NEVER: Tick = Tick::from_millis(u64::MAX);

/// One message waiting on one way. Ordered by due time, then by age in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Not before this.
    pub due: Tick,
    /// Which message.
    pub id: MsgId,
    /// When its sender is told that it could not be delivered.
    pub expires: Tick,
}

/// All ways and what waits on them.
#[derive(Debug)]
pub struct Schedule<W> {
    ways: BTreeMap<W, BinaryHeap<Reverse<Waiting>>>,
}

impl<W: Ord + Copy> Default for Schedule<W> {
    fn default() -> Self {
        Self {
            ways: BTreeMap::new(),
        }
    }
}

impl<W: Ord + Copy> Schedule<W> {
    /// Puts a message on a way.
    pub fn add(&mut self, way: W, waiting: Waiting) {
        self.ways.entry(way).or_default().push(Reverse(waiting));
    }

    /// The message on this way that is due longest, taken off.
    pub fn take(&mut self, way: W, now: Tick) -> Option<Waiting> {
        let heap = self.ways.get_mut(&way)?;
        if heap.peek()?.0.due > now {
            return None;
        }
        let Reverse(waiting) = heap.pop()?;
        // What a burst needed is given back when it is over.
        if heap.is_empty() {
            heap.shrink_to(16);
        } else if heap.len() < heap.capacity() / 4 {
            heap.shrink_to(heap.len() * 2);
        }
        Some(waiting)
    }

    /// When the first message on this way is due.
    pub fn due(&self, way: W) -> Option<Tick> {
        Some(self.ways.get(&way)?.peek()?.0.due)
    }

    /// The ways on which anything waits.
    pub fn ways(&self) -> impl Iterator<Item = W> + '_ {
        let busy = self.ways.iter().filter(|(_, heap)| !heap.is_empty());
        busy.map(|(way, _)| *way)
    }

    /// The ways on which anything waits, each with when its first message is due and how many there are.
    pub fn heads(&self) -> impl Iterator<Item = (W, Tick, usize)> + '_ {
        let heads = self.ways.iter();
        heads.filter_map(|(way, heap)| Some((*way, heap.peek()?.0.due, heap.len())))
    }

    /// How many messages wait on this way.
    pub fn len(&self, way: W) -> usize {
        self.ways.get(&way).map_or(0, BinaryHeap::len)
    }

    /// Whether nothing waits anywhere.
    pub fn is_empty(&self) -> bool {
        self.ways.values().all(BinaryHeap::is_empty)
    }

    /// When this message is due on whichever way comes first, for those who ask about one message.
    pub fn due_of(&self, id: MsgId) -> Option<Tick> {
        let all = self.ways.values().flat_map(BinaryHeap::iter);
        all.filter(|w| w.0.id == id).map(|w| w.0.due).min()
    }

    /// When the messages from `first` to `last` are due on each of their ways, in no order.
    pub fn dues(&self, first: MsgId, last: MsgId) -> Vec<(MsgId, Tick)> {
        let all = self.ways.values().flat_map(BinaryHeap::iter);
        all.filter(|w| w.0.id >= first && w.0.id <= last)
            .map(|w| (w.0.id, w.0.due))
            .collect()
    }

    /// Takes off what has expired on this way by `now`. Looks at every entry: meant for when a way was found dead,
    /// which happens once a retry step, not once a message.
    pub fn take_expired(&mut self, way: W, now: Tick) -> Vec<Waiting> {
        self.take_where(way, |waiting| waiting.expires <= now)
    }

    /// Takes off what fits on this way, in no order. Looks at every entry, as [`Schedule::take_expired`] does.
    pub fn take_where(&mut self, way: W, fits: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut gone = Vec::new();
        if let Some(heap) = self.ways.get_mut(&way) {
            heap.retain(|Reverse(waiting)| {
                let stays = !fits(waiting);
                if !stays {
                    gone.push(*waiting);
                }
                stays
            });
        }
        gone
    }

    /// The first moment at which anything on this way expires.
    pub fn expires(&self, way: W) -> Option<Tick> {
        let heap = self.ways.get(&way)?;
        heap.iter().map(|Reverse(waiting)| waiting.expires).min()
    }

    /// Makes everything on this way due at `now`; the order among the messages stays.
    pub fn hurry(&mut self, way: W, now: Tick) {
        self.change(way, |waiting| waiting.due = waiting.due.min(now));
    }

    /// Lets nothing on this way expire before `until`.
    pub fn spare(&mut self, way: W, until: Tick) {
        self.change(way, |waiting| waiting.expires = waiting.expires.max(until));
    }

    /// Makes everything on this way due at no time, until it is hurried.
    pub fn lull(&mut self, way: W) {
        self.change(way, |waiting| waiting.due = NEVER);
    }

    fn change(&mut self, way: W, change: impl Fn(&mut Waiting)) {
        if let Some(heap) = self.ways.get_mut(&way) {
            let changed = std::mem::take(heap)
                .into_iter()
                .map(|Reverse(mut waiting)| {
                    change(&mut waiting);
                    Reverse(waiting)
                });
            *heap = changed.collect();
        }
    }

    /// Gives back what an empty way takes.
    pub fn forget(&mut self, way: W) {
        if self.len(way) == 0 {
            self.ways.remove(&way);
        }
    }

    /// Makes one message due at `now` on the ways that fit. False when it waits on none of those.
    pub fn hurry_one(&mut self, id: MsgId, now: Tick, fits: impl Fn(W) -> bool) -> bool {
        let mut found = false;
        for (way, heap) in &mut self.ways {
            if !fits(*way) || !heap.iter().any(|w| w.0.id == id) {
                continue;
            }
            found = true;
            let sooner = std::mem::take(heap).into_iter().map(|Reverse(mut w)| {
                if w.id == id {
                    w.due = w.due.min(now);
                }
                Reverse(w)
            });
            *heap = sooner.collect();
        }
        found
    }

    /// Takes one message off every way. False when it waited nowhere.
    pub fn remove(&mut self, id: MsgId) -> bool {
        let mut found = false;
        for heap in self.ways.values_mut() {
            let before = heap.len();
            heap.retain(|Reverse(waiting)| waiting.id != id);
            found |= heap.len() < before;
        }
        found
    }

    /// Takes everything off every way, for a new routing table.
    pub fn clear(&mut self) {
        self.ways.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{NEVER, Schedule, Waiting};
    use crate::base::{MsgId, Tick};

    fn waiting(due: u64, id: u64, expires: u64) -> Waiting {
        Waiting {
            due: Tick::from_millis(due),
            id: MsgId::from_number(id),
            expires: Tick::from_millis(expires),
        }
    }

    fn at(millis: u64) -> Tick {
        Tick::from_millis(millis)
    }

    #[test]
    fn what_is_due_longest_goes_first_and_nothing_goes_early() {
        let mut all = Schedule::default();
        for (due, id) in [(30, 1), (10, 2), (10, 3), (20, 4)] {
            all.add('a', waiting(due, id, 1000));
        }
        all.add('b', waiting(5, 9, 1000));
        assert_eq!(all.take('a', at(9)), None);
        let order: Vec<u64> = std::iter::from_fn(|| all.take('a', at(20)))
            .map(|w| w.id.number())
            .collect();
        assert_eq!(order, [2, 3, 4]);
        assert_eq!(all.due('a'), Some(at(30)));
        assert_eq!(all.ways().collect::<Vec<_>>(), ['a', 'b']);
    }

    #[test]
    fn what_is_spared_expires_no_earlier_and_changes_nothing_else() {
        let mut all = Schedule::default();
        for (due, id, expires) in [(30, 1, 50), (10, 2, 500)] {
            all.add('a', waiting(due, id, expires));
            all.add('b', waiting(due, id, expires));
        }
        all.spare('a', at(100));
        assert_eq!(
            (all.expires('a'), all.expires('b')),
            (Some(at(100)), Some(at(50)))
        );
        assert!(all.take_expired('a', at(99)).is_empty());
        assert_eq!(all.take('a', at(30)), Some(waiting(10, 2, 500)));
        assert_eq!(all.take('a', at(30)), Some(waiting(30, 1, 100)));
    }

    #[test]
    fn hurrying_changes_when_but_not_in_which_order() {
        let mut all = Schedule::default();
        for (due, id) in [(100, 1), (300, 2), (200, 3)] {
            all.add('a', waiting(due, id, 1000));
        }
        assert!(all.hurry_one(MsgId::from_number(2), at(50), |_| true));
        assert!(!all.hurry_one(MsgId::from_number(7), at(50), |_| true));
        assert!(!all.hurry_one(MsgId::from_number(3), at(50), |way| way == 'b'));
        assert_eq!(all.take('a', at(50)).map(|w| w.id.number()), Some(2));
        assert_eq!(all.take('a', at(50)), None);
        all.hurry('a', at(50));
        assert_eq!(all.take('a', at(50)).map(|w| w.id.number()), Some(1));
    }

    #[test]
    fn what_is_lulled_waits_until_it_is_hurried() {
        let mut all = Schedule::default();
        all.add('a', waiting(10, 1, 1000));
        all.lull('a');
        assert_eq!(
            (all.due('a'), all.take('a', at(u64::MAX - 1))),
            (Some(NEVER), None)
        );
        all.hurry('a', at(20));
        all.forget('a');
        assert_eq!(all.take('a', at(20)).map(|w| w.id.number()), Some(1));
        all.forget('a');
        assert_eq!(all.ways.len(), 0);
    }

    #[test]
    fn the_expired_leave_and_the_removed_leave_every_way() {
        let mut all = Schedule::default();
        all.add('a', waiting(10, 1, 100));
        all.add('a', waiting(10, 2, 200));
        all.add('b', waiting(10, 2, 200));
        assert_eq!(all.expires('a'), Some(at(100)));
        let two = MsgId::from_number(2);
        assert_eq!(all.dues(two, two), [(two, at(10)), (two, at(10))]);
        assert_eq!(all.take_expired('a', at(99)), []);
        assert_eq!(all.take_expired('a', at(100)), [waiting(10, 1, 100)]);
        assert!(all.remove(MsgId::from_number(2)) && all.is_empty());
        assert!(!all.remove(MsgId::from_number(2)));
    }
}
