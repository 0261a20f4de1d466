//! The line between a virtual server and the supervisor of the process: what a server can be told to do, and what it
//! reports. It works between threads and within one.

use std::fmt;
use std::sync::Arc;

use smol::channel::Receiver;
use smol::channel::Sender;

use crate::config::Config;
use crate::service::claims::Claims;
use crate::service::talk::Talk;

/// Why a service cannot start, or go on.
#[derive(Clone, Debug)]
pub enum StartError {
    /// The configuration, or what it names, cannot be used.
    Config(String),
    /// The system refused something.
    Io(String),
    /// Another service has the home or an address.
    Busy(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) | Self::Io(why) | Self::Busy(why) => f.write_str(why),
        }
    }
}

/// Reads the configuration again; the error is all complaints.
pub type Read = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What a server can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To read its configuration again.
    Reload,
    /// The same for all servers of the process, whose list is read again, too.
    ReloadAll,
    /// To try everything that waits now.
    Retry,
    /// To end what is under way, and to rest until it is started again.
    Stop,
    /// To run again.
    Start,
    /// To end what is under way, and go.
    End,
    /// To wait for sessions no longer.
    Hurry,
}

/// An order, and who wants to hear how it went.
#[derive(Debug)]
pub struct Ordered {
    /// What.
    pub order: Order,
    /// Who.
    pub reply: Reply,
}

/// Who wants to hear how an order went: what was done, or why it was not.
#[derive(Debug)]
pub enum Reply {
    /// Nobody.
    Nobody,
    /// A client of the control socket.
    Client(Talk),
    /// Somebody in this process.
    Inside(Sender<Result<String, String>>),
}

impl Reply {
    /// Tells it. An answer is short and fits into the socket, so a slow client is not waited for.
    pub async fn tell(self, result: Result<String, String>) {
        // Who has hung up does not want to know.
        match self {
            Self::Nobody => {}
            Self::Client(mut talk) => {
                let _ = talk.tell(result).await;
            }
            Self::Inside(sender) => {
                let _ = sender.try_send(result);
            }
        }
    }
}

/// What a server reports.
#[derive(Debug)]
pub enum News {
    /// Every listener takes connections.
    Up,
    /// It was told to stop, and has.
    Rests,
    /// It could not start, or not go on. It tries again after so many seconds, if any.
    Failed(StartError, Option<u64>),
    /// Somebody who may wants all to be reloaded.
    ReloadAll(Reply),
    /// It is gone for good.
    Ended,
}

/// A server's end of the line.
#[derive(Clone)]
pub struct Line {
    /// Its number.
    pub number: usize,
    /// The file, as it is called in messages.
    pub file: String,
    /// What the servers of this process have taken; this one's are among it.
    pub claims: Arc<Claims>,
    /// What it is told.
    pub orders: Receiver<Ordered>,
    /// The way by which its own control socket tells it.
    pub own: Sender<Ordered>,
    /// Where it reports.
    pub news: Sender<(usize, News)>,
    /// Its configuration, as it stands in the file, and only if no other server has what it wants.
    pub read: Read,
}

impl Line {
    /// Reports. The channel has no bound, and when nobody listens the process is ending.
    pub fn report(&self, news: News) {
        let _ = self.news.try_send((self.number, news));
    }

    /// Takes what a configuration wants, in place of what was taken before.
    pub fn claim(&self, config: &Config) -> Result<(), String> {
        self.claims.take(self.number, &self.file, config)
    }

    /// The next order. The line holds the other end itself, so that there is always one to be waited for.
    pub async fn next(&self) -> Ordered {
        self.orders.recv().await.unwrap_or(Ordered {
            order: Order::End,
            reply: Reply::Nobody,
        })
    }
}
