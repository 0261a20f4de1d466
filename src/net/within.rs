//! Time limits on waiting.
//!
//! A timer exists only while somebody waits, so an idle box is never woken (promise G7).

use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::base::Tick;
use crate::net::clock;
use crate::net::ready::Alarm;

/// It took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer in time")
    }
}

impl std::error::Error for TooLate {}

impl From<TooLate> for io::Error {
    fn from(_: TooLate) -> Self {
        io::ErrorKind::TimedOut.into()
    }
}

/// Waits for `future`, but not longer than `wait`. For single waits; a conversation takes a [`Patience`].
pub async fn within<F: Future>(wait: Duration, future: F) -> Result<F::Output, TooLate> {
    Patience::new().wait(wait, future).await
}

/// One alarm for a whole conversation.
///
/// Nearly every wait of a conversation ends long before its limit. So the alarm of an earlier wait is left as long as
/// it would not ring too late for this one; when it rings too early it is set again.
#[derive(Debug, Default)]
pub struct Patience {
    set: Option<(Alarm, Tick)>,
}

impl Patience {
    /// No timer yet.
    pub const fn new() -> Self {
        Self { set: None }
    }

    /// Waits for `future`, but not longer than `wait`.
    pub async fn wait<F: Future>(
        &mut self,
        wait: Duration,
        future: F,
    ) -> Result<F::Output, TooLate> {
        let mut future = pin!(future);
        let mut until = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let until = *until.get_or_insert_with(|| clock::tick().after(wait));
            if self.set.as_ref().is_none_or(|(_, rings)| *rings > until) {
                self.set = Some((Alarm::at(until), until));
            }
            while let Some((timer, _)) = &mut self.set {
                if Pin::new(timer).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let now = clock::tick();
                if now >= until {
                    self.set = None;
                    return Poll::Ready(Err(TooLate));
                }
                self.set = Some((Alarm::at(until), until));
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{Patience, TooLate, within};
    use crate::net::clock;
    use crate::net::ready::block_on;
    use smol::future;
    use std::time::Duration;

    #[test]
    fn what_is_ready_needs_no_timer() {
        block_on(async {
            let mut patience = Patience::new();
            assert_eq!(patience.wait(Duration::ZERO, future::ready(7)).await, Ok(7));
            assert!(patience.set.is_none());
        })
        .unwrap();
    }

    #[test]
    fn limits_hold_one_after_the_other_shorter_and_longer() {
        block_on(async {
            let mut patience = Patience::new();
            for millis in [20, 60, 5, 40] {
                let start = clock::tick();
                let wait = Duration::from_millis(millis);
                let got = patience.wait(wait, future::pending::<()>()).await;
                assert_eq!(got, Err(TooLate));
                assert!(clock::tick().since(start) >= wait, "{millis} ms");
            }
        })
        .unwrap();
    }

    #[test]
    fn a_left_over_timer_neither_ends_nor_stretches_a_later_wait() {
        block_on(async {
            let mut patience = Patience::new();
            // Leaves a timer of 30 ms behind.
            let quick = future::yield_now();
            assert_eq!(
                patience.wait(Duration::from_millis(30), quick).await,
                Ok(())
            );
            assert!(patience.set.is_some());
            let start = clock::tick();
            let got = patience
                .wait(Duration::from_millis(80), future::pending::<()>())
                .await;
            assert_eq!(got, Err(TooLate));
            assert!(clock::tick().since(start) >= Duration::from_millis(80));
            let got = within(Duration::from_secs(60), future::yield_now()).await;
            assert_eq!(got, Ok(()));
        })
        .unwrap();
    }
}
