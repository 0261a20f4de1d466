//! The virtual servers of this process: starts them, tells them what the signals say, and ends when none is left.
//!
//! It runs on the main thread. Each of several servers has a thread of its own; one alone shares the main thread, so
//! that it costs no more than itself. Nobody waits for a server that hangs: orders go into a channel, and what became
//! of them comes back as news.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use smol::LocalExecutor;
use smol::channel::Receiver;
use smol::channel::Sender;
use smol::channel::bounded;
use smol::channel::unbounded;
use smol::future;

use crate::base::limits;
use crate::config::Config;
use crate::net::files;
use crate::net::manager;
use crate::net::manager::State;
use crate::net::ready;
use crate::net::signals::Signal;
use crate::net::signals::Signals;
use crate::service::claims::Claims;
use crate::service::event::Event;
use crate::service::keeper;
use crate::service::keeper::Post;
use crate::service::line::Line;
use crate::service::line::News;
use crate::service::line::Order;
use crate::service::line::Ordered;
use crate::service::line::Read;
use crate::service::line::Reply;
use crate::service::line::StartError;
use crate::service::log;
use crate::service::log::emit;
use crate::service::privileges;
use crate::service::tasks::Tasks;
use crate::service::threads;

/// Which files there are now. An error is about the list as a whole: then it stays as it was.
pub type List = Box<dyn Fn() -> Result<Vec<PathBuf>, String>>;

/// How the configuration of a file is read.
pub type Reader = Box<dyn Fn(&Path) -> Read>;

/// Runs one virtual server until SIGTERM or SIGINT. `read` is asked for the configuration again on SIGHUP; it is in
/// `file`, if it is in one.
pub fn run(config: Config, file: Option<PathBuf>, read: Read) -> Result<(), StartError> {
    privileges::settle(std::slice::from_ref(&config), file.as_slice())?;
    let (here, served) = bounded(1);
    let list = Box::new(|| Ok(vec![PathBuf::new()]));
    let reader = Box::new(move |_: &Path| Arc::clone(&read));
    supervise(list, reader, Host::Here(here), Some(config), served)
}

/// Runs a virtual server for each file until SIGTERM or SIGINT. The files are listed and read again on SIGHUP. What is
/// to be said about them all is logged as `own` says.
pub fn run_all(own: &Config, list: List, reader: Reader) -> Result<(), StartError> {
    log::tell_apart();
    log::start(own);
    // What brings lines elsewhere is the servers' own.
    log::to_stderr();
    // One that cannot be read now is told of when it should start.
    let files = list().unwrap_or_default();
    let configs: Vec<Config> = files
        .iter()
        .filter_map(|file| reader(file)().ok())
        .collect();
    privileges::settle(&configs, &files)?;
    privileges::announce();
    drop((files, configs));
    let (_, served) = bounded(1);
    supervise(list, reader, Host::Threads, None, served)
}

/// Runs the supervisor, and beside it on this thread the server that has none of its own, if there is one.
fn supervise(
    list: List,
    reader: Reader,
    host: Host,
    given: Option<Config>,
    served: Receiver<Post>,
) -> Result<(), StartError> {
    let tasks = Rc::new(LocalExecutor::new());
    let (report, news) = unbounded();
    let supervisor = Supervisor {
        list,
        reader,
        host,
        tasks: Tasks::of(&tasks),
        claims: Arc::default(),
        servers: BTreeMap::new(),
        refused: BTreeMap::new(),
        next: 0,
        report,
        news,
        ready: false,
        ending: false,
    };
    let supervising = tasks.spawn(supervisor.run(given));
    let all = async {
        if let Ok(post) = served.recv().await {
            let line = post.line.clone();
            // Boxed, it is not moved from layer to layer, each with room for it on a stack that is never given back.
            Box::pin(keeper::keep(post)).await;
            line.report(News::Ended);
        }
        supervising.await
    };
    ready::block_on(tasks.run(all)).map_err(|error| StartError::Io(error.to_string()))?
}

/// Where servers run.
enum Host {
    /// On the main thread: there is only one.
    Here(Sender<Post>),
    /// Each on a thread of its own.
    Threads,
}

/// How a server stands.
#[derive(Debug)]
enum Stand {
    /// It has not said yet.
    Starting,
    /// It runs, or was told not to.
    Well,
    /// It could not.
    Failed(StartError),
}

struct Server {
    file: PathBuf,
    orders: Sender<Ordered>,
    thread: Option<JoinHandle<()>>,
    stand: Stand,
    /// It was told to end.
    leaving: bool,
    /// How many connections it may have.
    connections: u32,
}

impl Server {
    fn tell(&self, order: Order, reply: Reply) {
        // One that has just ended says so itself.
        let _ = self.orders.try_send(Ordered { order, reply });
    }
}

struct Supervisor {
    list: List,
    reader: Reader,
    host: Host,
    /// Where what need not be waited for is done.
    tasks: Tasks,
    claims: Arc<Claims>,
    servers: BTreeMap<usize, Server>,
    /// Files without a server, and why.
    refused: BTreeMap<PathBuf, StartError>,
    next: usize,
    /// Where servers report, and where that is heard.
    report: Sender<(usize, News)>,
    news: Receiver<(usize, News)>,
    /// The service manager knows that we are ready.
    ready: bool,
    ending: bool,
}

/// What the supervisor waits for.
enum Heard {
    Signal(io::Result<Signal>),
    News(usize, News),
}

impl Supervisor {
    async fn run(mut self, given: Option<Config>) -> Result<(), StartError> {
        let ended = self.watch(given).await;
        // Whoever is left has no supervisor any more.
        self.tell_all(Order::End);
        ended
    }

    /// Starts the servers, and serves them until there is none to run.
    async fn watch(&mut self, given: Option<Config>) -> Result<(), StartError> {
        let deaf = |error| StartError::Io(format!("cannot catch signals: {error}"));
        let mut signals = Signals::new().map_err(deaf)?;
        match given {
            Some(config) => self.place(PathBuf::new(), config),
            None => self.take_up((self.list)().map_err(StartError::Config)?),
        }
        self.count_files();
        let news = self.news.clone();
        loop {
            if let Some(end) = self.verdict() {
                return end;
            }
            let signal = async { Heard::Signal(signals.next().await) };
            let told = async {
                match news.recv().await {
                    Ok((number, news)) => Heard::News(number, news),
                    // Cannot be: we hold the other end.
                    Err(_) => future::pending().await,
                }
            };
            match future::or(signal, told).await {
                Heard::Signal(signal) => self.on_signal(signal.map_err(deaf)?),
                Heard::News(number, news) => self.on_news(number, news),
            }
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Reload => self.reload(Reply::Nobody),
            Signal::Retry => self.tell_all(Order::Retry),
            Signal::Stop if self.ending => self.tell_all(Order::Hurry),
            Signal::Stop => {
                tell(State::Stopping);
                self.ending = true;
                self.tell_all(Order::End);
            }
        }
    }

    fn on_news(&mut self, number: usize, news: News) {
        let several = matches!(self.host, Host::Threads);
        let Some(server) = self.servers.get_mut(&number) else {
            return;
        };
        match news {
            News::Up | News::Rests => server.stand = Stand::Well,
            News::Failed(error, wait) => {
                // One alone says it on its way out.
                if several {
                    failed(&server.file, &error.to_string(), wait);
                }
                server.stand = Stand::Failed(error);
            }
            News::ReloadAll(reply) => self.reload(reply),
            News::Ended => self.on_end(number),
        }
    }

    fn on_end(&mut self, number: usize) {
        let Some(mut server) = self.servers.remove(&number) else {
            return;
        };
        self.claims.give_back(number);
        if let Some(thread) = server.thread.take() {
            // It has said that it ends; how it did was said before.
            let _ = thread.join();
        }
        if server.leaving || self.ending {
            // What is new may have waited for its home.
            if !self.ending && !self.servers.values().any(|server| server.leaving) {
                self.renew();
            }
            return;
        }
        let why = "its thread has ended; a reload starts it again";
        failed(&server.file, why, None);
        let error = match server.stand {
            Stand::Failed(error) => error,
            Stand::Starting | Stand::Well => StartError::Io(why.to_owned()),
        };
        self.refused.insert(server.file, error);
    }

    fn tell_all(&mut self, order: Order) {
        for server in self.servers.values_mut() {
            server.leaving |= order == Order::End;
            server.tell(order, Reply::Nobody);
        }
    }

    /// Reads everything again: what is new starts, what is gone ends, the others look at their files themselves.
    fn reload(&mut self, reply: Reply) {
        if self.ending {
            return;
        }
        let listed = match (self.list)() {
            Ok(listed) => Some(listed),
            Err(why) => {
                emit(&Event::ReloadRefused { why: &why });
                None
            }
        };
        let mut answers = Vec::new();
        for server in self.servers.values_mut().filter(|server| !server.leaving) {
            let gone = |listed: &Vec<PathBuf>| !listed.contains(&server.file);
            if listed.as_ref().is_some_and(gone) {
                server.leaving = true;
                server.tell(Order::End, Reply::Nobody);
            } else {
                let (sender, receiver) = bounded(1);
                server.tell(Order::Reload, Reply::Inside(sender));
                answers.push((server.file.clone(), receiver));
            }
        }
        let leaving = self.servers.values().filter(|server| server.leaving);
        let leaving: Vec<PathBuf> = leaving.map(|server| server.file.clone()).collect();
        if leaving.is_empty() {
            self.renew();
        }
        let refused = self.refused.clone();
        let summary = async move {
            let (mut text, mut good) = (String::new(), true);
            for (file, answer) in answers {
                let line = match answer.recv().await {
                    Ok(Ok(said)) => format!("{}: {}\n", file.display(), said.trim_end()),
                    Ok(Err(why)) => {
                        good = false;
                        format!("{}: {}\n", file.display(), why.trim_end())
                    }
                    Err(_) => format!("{}: it has ended\n", file.display()),
                };
                text.push_str(&line);
            }
            for file in leaving {
                text.push_str(&format!("{}: it stops\n", file.display()));
            }
            for (file, why) in refused {
                good = false;
                let why = why.to_string();
                text.push_str(&format!("{}: {}\n", file.display(), why.trim_end()));
            }
            let said = if good { Ok(text) } else { Err(text) };
            reply.tell(said).await;
        };
        self.tasks.spawn(summary).detach();
    }

    /// Starts what the list has and nobody runs.
    fn renew(&mut self) {
        // A list that cannot be read was told of by whoever asked first.
        if let Ok(listed) = (self.list)() {
            self.take_up(listed);
            self.count_files();
        }
    }

    fn take_up(&mut self, listed: Vec<PathBuf>) {
        self.refused.clear();
        for file in listed {
            if self.servers.values().any(|server| server.file == file) {
                continue;
            }
            match (self.reader)(&file)() {
                Ok(config) => self.place(file, config),
                Err(why) => self.refuse(file, why),
            }
        }
    }

    /// Says why a file has no server, and remembers it.
    fn refuse(&mut self, file: PathBuf, why: String) {
        failed(&file, &why, None);
        self.refused.insert(file, StartError::Config(why));
    }

    /// Gives a file its server.
    fn place(&mut self, file: PathBuf, config: Config) {
        let number = self.next;
        self.next = number.saturating_add(1);
        let name = file.display().to_string();
        let taken = privileges::check(&config);
        if let Err(why) = taken.and_then(|()| self.claims.take(number, &name, &config)) {
            return self.refuse(file, why);
        }
        let (own, orders) = unbounded();
        let line = Line {
            number,
            read: checked(&self.claims, number, &name, (self.reader)(&file)),
            file: name,
            claims: Arc::clone(&self.claims),
            orders,
            own: own.clone(),
            news: self.report.clone(),
        };
        let connections = config.limits.connections;
        let post = Post { line, config };
        let thread = match &self.host {
            Host::Here(served) => {
                // It is asked for once, and there is room for one.
                let _ = served.try_send(post);
                None
            }
            Host::Threads => match threads::run(post) {
                Ok(thread) => Some(thread),
                Err(error) => {
                    self.claims.give_back(number);
                    return self.refuse(file, format!("cannot start a thread: {error}"));
                }
            },
        };
        let server = Server {
            file,
            orders: own,
            thread,
            stand: Stand::Starting,
            leaving: false,
            connections,
        };
        self.servers.insert(number, server);
    }

    /// Looks how all stand: tells the manager once that we are ready, and answers when there is nothing to run.
    fn verdict(&mut self) -> Option<Result<(), StartError>> {
        if self.servers.is_empty() && self.ending {
            return Some(Ok(()));
        }
        let starting = |server: &Server| matches!(server.stand, Stand::Starting);
        let well = |server: &Server| matches!(server.stand, Stand::Well);
        let all = || self.servers.values();
        if self.ending || all().any(starting) {
            return None;
        }
        if all().any(well) {
            if !self.ready {
                self.ready = true;
                tell(State::Ready);
            }
            return None;
        }
        if all().any(|server| server.leaving) {
            return None;
        }
        // Whoever started us hears of it, and can start us again.
        Some(Err(self.why_none()))
    }

    /// Why no server runs.
    fn why_none(&self) -> StartError {
        let failed = self
            .servers
            .values()
            .filter_map(|server| match &server.stand {
                Stand::Failed(error) => Some(error),
                Stand::Starting | Stand::Well => None,
            });
        let mut all: Vec<&StartError> = failed.chain(self.refused.values()).collect();
        all.sort_by_key(|error| !matches!(error, StartError::Config(_)));
        match (&self.host, all.first()) {
            (Host::Here(_), Some(error)) => (*error).clone(),
            (Host::Threads, Some(StartError::Busy(_))) => StartError::Busy(NONE.to_owned()),
            (Host::Threads, Some(StartError::Io(_))) => StartError::Io(NONE.to_owned()),
            _ => StartError::Config(NONE.to_owned()),
        }
    }

    /// Sees to it that there is a file for each connection.
    fn count_files(&self) {
        let most = self.servers.values().fold(0_u64, |sum, server| {
            let each = u64::from(server.connections).saturating_add(limits::FILES);
            sum.saturating_add(each)
        });
        if let Some(files) = files::raise()
            && files < most
        {
            let why = format!(
                "limits.connections, of all servers together, asks for {most} files and sockets, but the system lets \
                 this process have only {files}; raise that limit (LimitNOFILE= in its unit, or ulimit -n)"
            );
            emit(&Event::Trouble {
                what: "files",
                why: &why,
            });
        }
    }
}

/// What whoever started us hears when there is nothing to run; the log has said why for each file.
const NONE: &str = "no virtual server can run; the log says why for each file";

/// Reads a configuration, and refuses it when it wants what another server has.
fn checked(claims: &Arc<Claims>, number: usize, file: &str, read: Read) -> Read {
    let (claims, file) = (Arc::clone(claims), file.to_owned());
    Arc::new(move || {
        let config = read()?;
        privileges::check(&config)?;
        claims.check(number, &file, &config)?;
        Ok(config)
    })
}

/// Says that a file has no server that runs.
fn failed(file: &Path, why: &str, wait_secs: Option<u64>) {
    emit(&Event::ServerFailed {
        file: &file.display().to_string(),
        why: why.trim_end(),
        wait_secs,
    });
}

/// Tells the service manager, which may be wrong about us if it cannot be told.
fn tell(state: State) {
    if let Err(error) = manager::tell(state) {
        let why = error.to_string();
        emit(&Event::Trouble {
            what: "service manager",
            why: &why,
        });
    }
}
