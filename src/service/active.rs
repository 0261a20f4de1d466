//! The messages that are in somebody's hands now: on their way in and not on their ways out yet, or being tried.
//!
//! Two ways may work on one message at the same time; both fold what they learn into the one progress that stands here, so
//! neither writes down a state that forgets the other's.
//!
//! When the routes change, what lies in the schedule is put on its new ways at once. What is in somebody's hands is marked,
//! and who lets go of it last puts it on its ways anew: on the way that it was taken from nobody might look for it again,
//! and the ways of its other recipients are gone as well.

use std::collections::BTreeMap;

use crate::base::MsgId;
use crate::queue::Progress;

/// What is in somebody's hands.
#[derive(Debug, Default)]
pub struct Active {
    messages: BTreeMap<MsgId, Work>,
}

#[derive(Debug, Default)]
struct Work {
    hands: usize,
    progress: Option<Progress>,
    /// The routes have changed since it was taken.
    moved: bool,
}

/// What whoever lets go of a message has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The routes are what they were: it may go back to where it was taken from.
    Usual,
    /// They have changed, and others are still at it, of whom the last one puts it on its ways anew.
    Others,
    /// They have changed, and this was the last one.
    Last,
}

impl Active {
    /// Begins to work on a message. To be called before it is loaded: what is loaded earlier may be out of date.
    pub fn enter(&mut self, id: MsgId) {
        self.messages.entry(id).or_default().hands += 1;
    }

    /// The progress to work with: what another way has put here, else what was `loaded`.
    pub fn progress(&mut self, id: MsgId, loaded: Progress) -> &mut Progress {
        let work = self.messages.entry(id).or_default();
        work.progress.get_or_insert(loaded)
    }

    /// Ends work on a message.
    pub fn leave(&mut self, id: MsgId) -> Left {
        let Some(work) = self.messages.get_mut(&id) else {
            return Left::Usual;
        };
        work.hands = work.hands.saturating_sub(1);
        let (over, moved) = (work.hands == 0, work.moved);
        if over {
            self.messages.remove(&id);
        }
        match (moved, over) {
            (false, _) => Left::Usual,
            (true, false) => Left::Others,
            (true, true) => Left::Last,
        }
    }

    /// The ways of a message are not what they were. False when nobody works on it, and who asks has to put it on them.
    pub fn reroute(&mut self, id: MsgId) -> bool {
        let work = self.messages.get_mut(&id);
        work.map(|work| work.moved = true).is_some()
    }

    /// The routes have changed.
    pub fn reroute_all(&mut self) {
        for work in self.messages.values_mut() {
            work.moved = true;
        }
    }

    /// Whether a message is in somebody's hands.
    pub fn contains(&self, id: MsgId) -> bool {
        self.messages.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Active, Left};
    use crate::base::MsgId;
    use crate::queue::Progress;

    #[test]
    fn two_ways_share_one_progress() {
        let (mut active, id) = (Active::default(), MsgId::from_number(1));
        active.enter(id);
        active.enter(id);
        active.progress(id, Progress::new(2)).attempts = 7;
        assert_eq!(active.leave(id), Left::Usual);
        // The second way loaded before the first wrote: it must see what the first knows.
        assert_eq!(active.progress(id, Progress::new(2)).attempts, 7);
        assert_eq!(active.leave(id), Left::Usual);
        assert!(!active.contains(id));
    }

    #[test]
    fn the_last_one_hears_that_the_routes_have_changed() {
        let (mut active, id) = (Active::default(), MsgId::from_number(1));
        assert!(!active.reroute(id));
        active.enter(id);
        active.enter(id);
        assert!(active.reroute(id));
        assert_eq!(active.leave(id), Left::Others);
        assert_eq!(active.leave(id), Left::Last);
        active.enter(id);
        assert_eq!(active.leave(id), Left::Usual);
    }
}
