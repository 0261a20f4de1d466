//! Waiting for what happens instead of for time to pass; and ports.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until there is an answer. Between two questions the processor is left to those who work on it.
pub fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same for what is so or is not.
pub fn until_true(what: &str, mut is: impl FnMut() -> bool) {
    until(what, || is().then_some(()));
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    // Below the ports that the kernel gives away by itself, or another test's connection might be there first; and none
    // twice, for it is free until its owner has started.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = std::process::id().wrapping_mul(61).wrapping_add(next);
        let port = u16::try_from(10_000 + at % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until somebody listens there.
pub fn wait_until_open(port: u16) {
    wait_until_open_at("127.0.0.1", port);
}

/// The same on another address.
pub fn wait_until_open_at(ip: &str, port: u16) {
    until(&format!("somebody listens on {ip}:{port}"), || {
        TcpStream::connect((ip, port)).ok()
    });
}
