//! Ways in which tasks of one thread tell each other something: `Wake` (there may be something to do), `Ending` (it is
//! over) and `Pause` (not now).

use std::cell::Cell;

use smol::channel::Receiver;
use smol::channel::Sender;
use smol::channel::bounded;

/// A bell that remembers that it was rung: who waits later is woken at once, and rings in between count once.
#[derive(Debug)]
pub struct Wake {
    ring: Sender<()>,
    hear: Receiver<()>,
}

impl Default for Wake {
    fn default() -> Self {
        let (ring, hear) = bounded(1);
        Self { ring, hear }
    }
}

impl Wake {
    /// Rings.
    pub fn ring(&self) {
        // Full means that it rings already.
        let _ = self.ring.try_send(());
    }

    /// Waits for the next ring.
    pub async fn heard(&self) {
        // Cannot be closed: we hold the other end.
        let _ = self.hear.recv().await;
    }
}

/// An end that everybody can wait for and nobody can miss.
#[derive(Debug)]
pub struct Ending {
    held: Sender<()>,
    wait: Receiver<()>,
}

impl Default for Ending {
    fn default() -> Self {
        let (held, wait) = bounded(1);
        Self { held, wait }
    }
}

impl Ending {
    /// Begins the end.
    pub fn begin(&self) {
        self.held.close();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.held.is_closed()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        // Nothing is ever sent, so this returns when the channel is closed.
        let _ = self.wait.recv().await;
    }
}

/// A pause that begins and ends. One task may wait for its end.
#[derive(Debug, Default)]
pub struct Pause {
    on: Cell<bool>,
    over: Wake,
}

impl Pause {
    /// Begins it.
    pub fn begin(&self) {
        self.on.set(true);
    }

    /// Ends it.
    pub fn end(&self) {
        self.on.set(false);
        self.over.ring();
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Waits until there is none.
    pub async fn over(&self) {
        while self.is_on() {
            self.over.heard().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, Pause, Wake};
    use smol::future::poll_once;

    #[test]
    fn a_ring_is_neither_lost_nor_doubled() {
        smol::block_on(async {
            let wake = Wake::default();
            assert!(poll_once(wake.heard()).await.is_none());
            wake.ring();
            wake.ring();
            assert!(poll_once(wake.heard()).await.is_some());
            assert!(poll_once(wake.heard()).await.is_none());
        });
    }

    #[test]
    fn an_end_is_seen_by_all_before_and_after() {
        smol::block_on(async {
            let ending = Ending::default();
            let mut early = std::pin::pin!(ending.begun());
            assert!(poll_once(&mut early).await.is_none());
            ending.begin();
            assert!(poll_once(&mut early).await.is_some());
            assert!(poll_once(ending.begun()).await.is_some());
            assert!(ending.has_begun());
        });
    }

    #[test]
    fn a_pause_is_over_when_it_was_ended_last() {
        smol::block_on(async {
            let pause = Pause::default();
            pause.over().await;
            pause.begin();
            pause.end();
            pause.begin();
            let mut over = std::pin::pin!(pause.over());
            assert!(poll_once(&mut over).await.is_none());
            pause.end();
            assert!(poll_once(&mut over).await.is_some());
        });
    }
}
