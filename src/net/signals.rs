//! Signals as a stream. SIGPIPE is ignored by Rust's start-up code already.

use std::io;

use async_signal::Signal as Number;
use async_signal::Signals as Inner;
use smol::stream::StreamExt;

/// What the service listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: take no more, end what is under way, go.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: try everything that waits now.
    Retry,
}

/// The signals that come to the process. From its making on they no longer end it.
#[derive(Debug)]
pub struct Signals {
    inner: Inner,
}

impl Signals {
    /// Begins to catch them.
    pub fn new() -> io::Result<Self> {
        let inner = Inner::new([Number::Term, Number::Int, Number::Hup, Number::Usr1])?;
        Ok(Self { inner })
    }

    /// The next one.
    pub async fn next(&mut self) -> io::Result<Signal> {
        match self.inner.next().await {
            Some(Ok(Number::Hup)) => Ok(Signal::Reload),
            Some(Ok(Number::Usr1)) => Ok(Signal::Retry),
            Some(Ok(_)) => Ok(Signal::Stop),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Signal, Signals};
    use rustix::process::{self, Signal as Number};

    #[test]
    fn signals_come_as_what_they_mean() {
        let mut signals = Signals::new().unwrap();
        for (number, want) in [
            (Number::HUP, Signal::Reload),
            (Number::USR1, Signal::Retry),
            (Number::TERM, Signal::Stop),
            (Number::INT, Signal::Stop),
        ] {
            process::kill_process(process::getpid(), number).unwrap();
            assert_eq!(smol::block_on(signals.next()).unwrap(), want);
        }
    }
}
