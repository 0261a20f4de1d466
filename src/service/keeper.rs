//! Keeps one virtual server: runs it, and while it does not run holds its control socket and what it was ordered.
//!
//! A server that was told to stop rests until it is started; so does one whose configuration cannot be used, until it is
//! mended and read again. One that the system refused something (a disk that is not there yet, an address that somebody
//! else has) is tried again, less and less often.

use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future;

use crate::config::Config;
use crate::service::line::Line;
use crate::service::line::News;
use crate::service::line::Order;
use crate::service::line::Ordered;
use crate::service::line::Reply;
use crate::service::line::StartError;
use crate::service::resting;
use crate::service::socket::Socket;
use crate::service::start;
use crate::service::start::Ended;

/// How long a server that could not start waits for the first time.
const FIRST: Duration = Duration::from_secs(5);

/// How long it waits at most.
const LONGEST: Duration = Duration::from_secs(300);

/// What a keeper begins with.
pub struct Post {
    /// The line to the supervisor.
    pub line: Line,
    /// The configuration.
    pub config: Config,
}

/// Why a server does not run.
enum Rest {
    /// It was told to.
    Stopped,
    /// It could not, for this reason, and is tried again after a while, or only when it is told to.
    Failed(String, Option<Duration>),
}

/// Keeps the server until it is told to end.
pub async fn keep(post: Post) {
    let mut keeper = Keeper {
        post,
        socket: None,
        waiting: VecDeque::new(),
        wait: FIRST,
    };
    let mut starter = Reply::Nobody;
    while let Some(next) = keeper.run(starter).await {
        starter = next;
    }
    if let Some(socket) = keeper.socket {
        socket.remove();
    }
}

struct Keeper {
    post: Post,
    socket: Option<Rc<Socket>>,
    /// What was ordered while the server ended.
    waiting: VecDeque<Ordered>,
    /// How long it waits when it cannot start.
    wait: Duration,
}

impl Keeper {
    /// Runs the server once, and rests until it is to run again. Answers who started it; `None` is the end.
    async fn run(&mut self, starter: Reply) -> Option<Reply> {
        let Post { line, config } = &self.post;
        // Boxed, so that what a start needs once takes no room in what is kept.
        let ended = Box::pin(start::run(config.clone(), line, starter, &mut self.socket));
        let ended = ended.await;
        let rest = match ended {
            Ok(Ended::Over) => return None,
            Ok(Ended::Stopped(reply, since)) => {
                self.waiting.extend(since);
                self.wait = FIRST;
                line.report(News::Rests);
                reply.tell(Ok(String::from("stopped\n"))).await;
                Rest::Stopped
            }
            Err((error, starter)) => {
                let wait = match error {
                    StartError::Config(_) => None,
                    StartError::Io(_) | StartError::Busy(_) => Some(self.wait),
                };
                self.wait = self.wait.saturating_mul(2).min(LONGEST);
                let why = error.to_string();
                line.report(News::Failed(error, wait.map(|wait| wait.as_secs())));
                starter.tell(Err(why.clone())).await;
                Rest::Failed(why, wait)
            }
        };
        self.rest(rest).await
    }

    async fn rest(&mut self, mut rest: Rest) -> Option<Reply> {
        loop {
            let Some(Ordered { order, reply }) = self.next(&rest).await else {
                return Some(Reply::Nobody);
            };
            let name = self.post.config.name.clone();
            match (order, &rest) {
                (Order::End, _) => return None,
                // A server that failed for what was in its file, or for what has been mended meanwhile.
                (Order::Start, _) | (Order::Reload, Rest::Failed(..)) => match self.reread() {
                    Ok(()) => return Some(reply),
                    Err(why) => reply.tell(Err(why)).await,
                },
                (Order::Reload, Rest::Stopped) => {
                    let read = self.reread();
                    let text = format!("{name} is stopped; its file is good\n");
                    reply.tell(read.map(|()| text)).await;
                }
                (Order::Stop, Rest::Stopped) => {
                    reply.tell(Err(format!("{name} is stopped already"))).await;
                }
                (Order::Stop, Rest::Failed(..)) => {
                    self.post.line.report(News::Rests);
                    reply.tell(Ok(String::from("stopped\n"))).await;
                    rest = Rest::Stopped;
                }
                (Order::ReloadAll, _) => self.post.line.report(News::ReloadAll(reply)),
                (Order::Retry | Order::Hurry, _) => {}
            }
        }
    }

    /// The next order; `None` when it is time to try again.
    async fn next(&mut self, rest: &Rest) -> Option<Ordered> {
        if let Some(ordered) = self.waiting.pop_front() {
            return Some(ordered);
        }
        let (state, wait) = match rest {
            Rest::Stopped => (("stopped", ""), None),
            Rest::Failed(why, wait) => (("failed", why.as_str()), *wait),
        };
        let told = async { Some(self.post.line.next().await) };
        let asked = async {
            match &self.socket {
                Some(socket) => Some(resting::order(socket, &self.post.config, state).await),
                None => pending().await,
            }
        };
        let alarm = async {
            match wait {
                Some(wait) => Timer::after(wait).await,
                None => pending().await,
            };
            None
        };
        future::or(told, future::or(asked, alarm)).await
    }

    /// Reads the file again, and takes what it wants.
    fn reread(&mut self) -> Result<(), String> {
        let post = &mut self.post;
        let config = (post.line.read)()?;
        post.line.claim(&config)?;
        post.config = config;
        Ok(())
    }
}
