//! Programs that are run when something happens.

use std::time::Duration;

use crate::config::schema::HOOK_EVENTS;
use crate::config::settings::Block;

/// A program, and when it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub on: Vec<On>,
    /// Its path and its arguments; never empty.
    pub exec: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// How often it may run at the same time.
    pub at_once: u32,
}

/// When a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A message is durable, and was not sent on yet.
    Arrival,
    /// A message was put into the drop folder.
    Drop,
    /// A message was put into badmail.
    Badmail,
    /// A way does not work.
    Down,
    /// A way waits for its setup to be mended.
    Held,
    /// A way works again.
    Well,
}

const ALL: [On; 6] = [
    On::Arrival,
    On::Drop,
    On::Badmail,
    On::Down,
    On::Held,
    On::Well,
];

impl On {
    /// What it is called.
    pub fn word(self) -> &'static str {
        let at = ALL.iter().position(|one| *one == self);
        at.and_then(|at| HOOK_EVENTS.get(at))
            .copied()
            .unwrap_or_default()
    }

    fn named(word: &str) -> Option<Self> {
        let at = HOOK_EVENTS.iter().position(|one| *one == word)?;
        ALL.get(at).copied()
    }
}

/// Reads a block; the inner `None` when one of the two keys that it needs is missing.
pub fn hook(block: &Block) -> Option<Option<Hook>> {
    let (on, exec) = (
        block.get::<Vec<&str>>("on").unwrap_or_default(),
        block.get::<Vec<String>>("exec").unwrap_or_default(),
    );
    if on.is_empty() || exec.is_empty() {
        return Some(None);
    }
    let on: Option<Vec<On>> = on.into_iter().map(On::named).collect();
    Some(Some(Hook {
        on: on?,
        exec,
        timeout: block.get("timeout")?,
        at_once: block.get("at_once")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::{ALL, HOOK_EVENTS, On};

    #[test]
    fn every_moment_has_its_word() {
        assert_eq!(ALL.len(), HOOK_EVENTS.len());
        for word in HOOK_EVENTS {
            assert_eq!(On::named(word).unwrap().word(), *word);
        }
    }
}
