//! The bell by which other threads wake the one that waits for its sockets.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Wake;

use rustix::event::EventfdFlags;

/// Its thread is at work and has not been rung for.
const AWAKE: u8 = 0;
/// It is to look again before it sleeps.
const RUNG: u8 = 1;
/// It sleeps, or is about to: only then the kernel has to wake it.
const ASLEEP: u8 = 2;

/// One thread's bell. Rung while that thread is awake, it costs no system call.
#[derive(Debug)]
pub struct Bell {
    state: AtomicU8,
    file: OwnedFd,
}

impl Bell {
    /// A bell that has been rung: nobody has looked yet.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC.union(EventfdFlags::NONBLOCK);
        Ok(Self {
            state: AtomicU8::new(RUNG),
            file: rustix::event::eventfd(0, flags)?,
        })
    }

    /// The thread looks at everything now; a ring from here on is for something new.
    pub fn on_look(&self) {
        // A swap, not a store: it sees what was done before the ring that it takes away.
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    /// Whether the thread may sleep. If not, somebody has rung since it looked.
    pub fn may_sleep(&self) -> bool {
        let slept = self
            .state
            .compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        slept.is_ok()
    }

    /// The thread is up and will look, so until then nobody has to ring.
    pub fn on_awake(&self) {
        self.state.swap(RUNG, Ordering::SeqCst);
    }
}

/// Readable for an edge-triggered poll at each ring that found the thread asleep; it need not be read.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            // Fails only when it has been rung 2^64 times, and then it is readable anyway.
            let _ = rustix::io::write(&self.file, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bell;
    use std::sync::Arc;
    use std::task::Wake;

    /// How often the file was written to.
    fn rings(bell: &Bell) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&bell.file, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    #[test]
    fn only_a_sleeper_costs_a_call_and_only_once() {
        let bell = Arc::new(Bell::new().unwrap());
        assert!(!bell.may_sleep(), "nobody has looked yet");
        bell.on_look();
        bell.wake_by_ref();
        assert!(!bell.may_sleep());
        assert_eq!(rings(&bell), 0);
        bell.on_look();
        assert!(bell.may_sleep());
        bell.wake_by_ref();
        bell.wake_by_ref();
        assert_eq!(rings(&bell), 1);
        bell.on_awake();
        bell.wake_by_ref();
        assert_eq!(rings(&bell), 0);
    }
}
