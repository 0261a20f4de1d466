//! The messages that are being tried now. Two ways may work on one message at the same time; both fold what they
//! learn into the one progress that stands here, so neither writes down a state that forgets the other's.

use std::collections::BTreeMap;

use crate::base::MsgId;
use crate::queue::Progress;

/// What is being tried.
#[derive(Debug, Default)]
pub struct Active {
    messages: BTreeMap<MsgId, (usize, Option<Progress>)>,
}

impl Active {
    /// Begins to work on a message. To be called before it is loaded: what is loaded earlier may be out of date.
    pub fn enter(&mut self, id: MsgId) {
        self.messages.entry(id).or_default().0 += 1;
    }

    /// The progress to work with: what another way has put here, else what was `loaded`.
    pub fn progress(&mut self, id: MsgId, loaded: Progress) -> &mut Progress {
        self.messages.entry(id).or_default().1.get_or_insert(loaded)
    }

    /// Ends work on a message.
    pub fn leave(&mut self, id: MsgId) {
        if let Some((count, _)) = self.messages.get_mut(&id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.messages.remove(&id);
            }
        }
    }

    /// Whether a message is being tried.
    pub fn contains(&self, id: MsgId) -> bool {
        self.messages.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::Active;
    use crate::base::MsgId;
    use crate::queue::Progress;

    #[test]
    fn two_ways_share_one_progress() {
        let (mut active, id) = (Active::default(), MsgId::from_number(1));
        active.enter(id);
        active.enter(id);
        active.progress(id, Progress::new(2)).attempts = 7;
        active.leave(id);
        // The second way loaded before the first wrote: it must see what the first knows.
        assert_eq!(active.progress(id, Progress::new(2)).attempts, 7);
        active.leave(id);
        assert!(!active.contains(id));
    }
}
