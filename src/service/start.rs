//! Starts a virtual server, keeps it running, and ends it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::LocalExecutor;
use smol::Timer;
use smol::future;

use crate::base::limits;
use crate::config::Config;
use crate::config::endpoint::At;
use crate::disk::drop;
use crate::disk::fault::OpenError;
use crate::disk::folders::Folders;
use crate::disk::handle::Journal;
use crate::disk::handle::Paths;
use crate::disk::journal::Options;
use crate::disk::maildir;
use crate::disk::recover::Recovery;
use crate::disk::worker::Worker;
use crate::net::Resolver;
use crate::net::TrustedClock;
use crate::net::clock;
use crate::net::given as sockets;
use crate::net::listen::Listener;
use crate::net::listen::Place;
use crate::net::tls::Tls;
use crate::service::active::Active;
use crate::service::ageing::Ageing;
use crate::service::attempt;
use crate::service::clients::Clients;
use crate::service::control;
use crate::service::deliver;
use crate::service::envelopes::Envelopes;
use crate::service::event::Event;
use crate::service::line::Line;
use crate::service::line::News;
use crate::service::line::Order;
use crate::service::line::Ordered;
use crate::service::line::Reply;
use crate::service::line::StartError;
use crate::service::live;
use crate::service::live::Live;
use crate::service::log;
use crate::service::log::emit;
use crate::service::logs::pump;
use crate::service::memory_first;
use crate::service::network;
use crate::service::notices;
use crate::service::pickups;
use crate::service::policies::Policies;
use crate::service::privileges;
use crate::service::receive;
use crate::service::shared::Service;
use crate::service::signal::Ending;
use crate::service::signal::Pause;
use crate::service::signal::Wake;
use crate::service::socket::Socket;
use crate::service::tasks::Tasks;
use crate::service::ways::Ways;

/// How long sessions may take to end after SIGTERM. Service managers kill after 90 seconds or less.
const GRACE: Duration = Duration::from_secs(10);

/// How a server that ran has ended.
#[derive(Debug)]
pub enum Ended {
    /// For good.
    Over,
    /// Until it is started again. Who ordered it waits for an answer, and this is what was ordered since.
    Stopped(Reply, VecDeque<Ordered>),
}

/// Runs a virtual server until it is told to stop. Whoever started it hears when it is up. `socket` is its control
/// socket, which stays.
pub async fn run(
    config: Config,
    line: &Line,
    starter: Reply,
    socket: &mut Option<Rc<Socket>>,
) -> Result<Ended, (StartError, Reply)> {
    log::start(&config);
    log::hold();
    privileges::announce();
    let tasks = Rc::new(LocalExecutor::new());
    let (service, recovery) = match open(config, line, &tasks) {
        Ok(opened) => opened,
        Err(error) => {
            log::to_stderr();
            return Err((error, starter));
        }
    };
    let begun = control_socket(&service, socket).and_then(|control| {
        begin(&service, recovery, &control)?;
        Ok(control)
    });
    let control = match begun {
        Ok(control) => control,
        Err(error) => {
            // The home is given back before anybody tries again.
            service.journal.close().await;
            log::to_stderr();
            return Err((error, starter));
        }
    };
    service.bring_log();
    line.report(News::Up);
    starter.tell(Ok(String::from("started\n"))).await;
    // A task like the others, so that it is looked at only when something is there for it.
    let serving = tasks.spawn(serve(service, line.clone(), control));
    Ok(tasks.run(serving).await)
}

fn folders(config: &Config) -> Result<Folders, StartError> {
    let folders = Folders {
        drop: config.local.drop.clone(),
        ..Folders::below(&config.home)
    };
    folders
        .create()
        .map_err(|error| StartError::Io(error.to_string()))?;
    Ok(folders)
}

/// Opens the journal and puts together what the tasks share.
fn open(
    config: Config,
    line: &Line,
    tasks: &Rc<LocalExecutor<'static>>,
) -> Result<(Rc<Service>, Recovery), StartError> {
    let io = |error: std::io::Error| StartError::Io(error.to_string());
    let folders = folders(&config)?;
    let worker = Worker::start().map_err(io)?;
    let clock = Arc::new(TrustedClock::new());
    let tls = Tls::new(Arc::clone(&clock));
    let names = live::names(&config);
    let most = &config.limits;
    let options = Options {
        queue_bytes: most.queue_bytes,
        queue_messages: usize::try_from(most.queue_messages).unwrap_or(usize::MAX),
        free_floor: most.free_bytes,
        files_floor: u64::from(most.free_files),
        batch: config.batch,
        ..Options::default()
    };
    let paths = Paths {
        queue: folders.queue.clone(),
        sorttemp: folders.sorttemp.clone(),
    };
    let opened = Journal::open(&paths, options, worker.clone()).map_err(|error| match error {
        OpenError::Locked(_) => StartError::Busy(error.to_string()),
        _ => StartError::Io(format!("{}: {error}", folders.home.display())),
    })?;
    clock.recall(opened.recovery.clock);
    clock.hold(config.clock_floor);
    log::trust(&clock);
    let live = Live::new(config.clone(), &tls).map_err(StartError::Config)?;
    let service = Rc::new(Service {
        drops: RefCell::new(live::drop_folders(&config, &folders).map_err(StartError::Io)?),
        live: RefCell::new(live),
        reread: Arc::clone(&line.read),
        journal: opened.journal,
        worker,
        folders,
        reverse: Resolver::new(names.clone()),
        resolver: Resolver::new(names),
        tls,
        clock,
        ways: RefCell::new(Ways::default()),
        active: RefCell::new(Active::default()),
        rerouted: RefCell::default(),
        desk: RefCell::new(vec![0; limits::CLIENT_BLOCK].into()),
        envelopes: Envelopes::default(),
        clients: Rc::new(Clients::default()),
        guard: RefCell::default(),
        rates: RefCell::default(),
        triggers: RefCell::default(),
        counts: Cell::default(),
        parked: Cell::default(),
        due: Wake::default(),
        memory: Wake::default(),
        memory_rests: Cell::default(),
        health: Wake::default(),
        idle: Wake::default(),
        ending: Ending::default(),
        pause: Pause::default(),
        tasks: Tasks::of(tasks),
        own: line.own.clone(),
        listening: RefCell::default(),
        ageing: Ageing::new(opened.recovery.running, clock::tick()),
        policies: Policies::open(&config.home),
        started: clock::tick(),
    });
    Ok((service, opened.recovery))
}

/// Tells what the journal had to leave out, and puts every message on its ways.
fn resume(service: &Service, recovery: &Recovery) {
    if !recovery.damage.is_empty() || !recovery.missing.is_empty() {
        let note = format!(
            "{} stretches of the journal ({} bytes) cannot be read and {} segments are missing; \
             what was in them is lost",
            recovery.damage.len(),
            recovery.damaged_bytes,
            recovery.missing.len()
        );
        emit(&Event::Recovered { note: &note });
    }
    service.journal.each(|live| match live.stored {
        Ok(stored) => match &stored.hold {
            Some(why) => emit(&Event::Held { id: live.id, why }),
            None => service.schedule_stored(live.id, stored),
        },
        Err(error) => attempt::damaged(service, live.id, error),
    });
}

/// Removes what a crash left half-written in drop and badmail; its messages are in the journal still.
fn sweep(service: &Service) {
    let folders = &service.folders;
    let live = service.live();
    let drops = live.config.drops();
    let drops = drops.map(|folder| match folder.maildir {
        true => maildir::sweep(&folder.drop),
        false => drop::sweep(&folder.drop),
    });
    let swept = [
        drop::sweep(&folders.sorttemp),
        notices::badmail(service).sweep(),
    ];
    for error in drops.chain(swept).filter_map(Result::err) {
        let why = error.to_string();
        emit(&Event::Trouble {
            what: "sweep",
            why: &why,
        });
    }
    let pruned = notices::badmail(service).prune(service.clock.raw());
    notices::pruned_are(&pruned);
}

/// Who may open the Unix socket of a listener: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// Every socket, with the number of its listener and how that is called.
fn listeners(config: &Config) -> Result<Vec<(usize, String, Listener)>, StartError> {
    let (mut bound, mut places, mut list) = (Vec::new(), Vec::new(), Vec::new());
    let mut given: Option<Vec<_>> = None;
    for (at, listen) in config.listen.iter().enumerate() {
        let name = listen.address.to_string();
        match &listen.address {
            At::Tcp(address) => {
                bound.push((at, name));
                places.push(Place::Tcp(*address));
            }
            At::Unix(path) => {
                bound.push((at, name));
                places.push(Place::Unix(path.clone(), SOCKET_MODE));
            }
            At::Given(wanted) => {
                let all = match given.take() {
                    Some(all) => all,
                    None => sockets::sockets().map_err(StartError::Io)?,
                };
                let (mine, others): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|(name, _)| name == wanted);
                if mine.is_empty() {
                    let why = format!(
                        "the service manager handed over no socket with the name {wanted}; \
                         write FileDescriptorName={wanted} in its socket unit"
                    );
                    return Err(StartError::Io(why));
                }
                for (_, socket) in mine {
                    let listener = Listener::adopt(socket)
                        .map_err(|error| StartError::Io(format!("{name}: {error}")))?;
                    list.push((at, name.clone(), listener));
                }
                given = Some(others);
            }
        }
    }
    let listeners = Listener::bind_all(&places).map_err(|error| match error.errno {
        rustix::io::Errno::ADDRINUSE => StartError::Busy(error.to_string()),
        _ => StartError::Io(error.to_string()),
    })?;
    let listeners = bound.into_iter().zip(listeners);
    list.extend(listeners.map(|((at, name), listener)| (at, name, listener)));
    list.sort_by_key(|(at, ..)| *at);
    Ok(list)
}

/// Makes the control socket. It comes first, so that who asks hears why there is nothing else.
fn control_socket(
    service: &Service,
    socket: &mut Option<Rc<Socket>>,
) -> Result<Rc<Socket>, StartError> {
    let made = Rc::new(Socket::bind(&service.live().config)?);
    if let Some(old) = socket.replace(Rc::clone(&made)) {
        // The file may have been moved to another place.
        old.remove();
    }
    Ok(made)
}

/// Takes what the system has to give, and begins everything.
fn begin(
    service: &Rc<Service>,
    recovery: Recovery,
    control: &Rc<Socket>,
) -> Result<(), StartError> {
    sweep(service);
    let live = service.live();
    let listeners = listeners(&live.config)?;
    resume(service, &recovery);
    service.watch_clock();

    for (at, name, listener) in listeners {
        service.listening.borrow_mut().extend(listener.local_addr());
        let address = listener.local_addr().map_or(name, |at| at.to_string());
        emit(&Event::Listening { address: &address });
        let task = receive::listen(Rc::clone(service), listener, at);
        service.tasks.spawn(task).detach();
    }
    let tasks = &service.tasks;
    tasks
        .spawn(pickups::serve(Rc::clone(service), recovery.claims))
        .detach();
    tasks.spawn(deliver::dispatch(Rc::clone(service))).detach();
    tasks.spawn(network::watch(Rc::clone(service))).detach();
    tasks
        .spawn(memory_first::serve(Rc::clone(service)))
        .detach();
    tasks
        .spawn(control::serve(Rc::clone(service), Rc::clone(control)))
        .detach();
    emit(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        home: &live.config.home.display().to_string(),
        queued: service.journal.usage().messages,
    });
    Ok(())
}

/// Does what it is told, until that is to end.
async fn serve(service: Rc<Service>, line: Line, socket: Rc<Socket>) -> Ended {
    loop {
        let Ordered { order, reply } = line.next().await;
        match order {
            Order::Reload => {
                // Its complaints are in the log already.
                let done = service.reload();
                if done.is_ok() {
                    // It was free a moment ago; somebody who was faster is refused by us or by the kernel.
                    let _ = line.claim(&service.live().config);
                }
                reply.tell(done.map(|()| String::from("reloaded\n"))).await;
            }
            Order::ReloadAll => line.report(News::ReloadAll(reply)),
            Order::Retry => service.retry_all(),
            Order::Start => {
                let name = &service.live().config.name;
                reply.tell(Err(format!("{name} runs already"))).await;
            }
            Order::Stop => return end(&service, &line, &socket, Some(reply)).await,
            Order::End => return end(&service, &line, &socket, None).await,
            Order::Hurry => {}
        }
    }
}

/// Lets what is under way end, then makes everything durable. To be hurried cuts that short. Without `stopper` it is
/// for good.
async fn end(service: &Service, line: &Line, socket: &Socket, mut stopper: Option<Reply>) -> Ended {
    emit(&Event::Stopping { signal: "stop" });
    service.ending.begin();
    // Now, since what follows may take longer than whoever stops us waits; its trouble is told.
    let _ = memory_first::write_all(service).await;
    let mut since = VecDeque::new();
    let quiet = async {
        while service.clients.total() > 0 || service.ways.borrow().sessions() > 0 {
            service.idle.heard().await;
        }
    };
    let grace = async {
        Timer::after(GRACE).await;
    };
    let hurried = async {
        loop {
            let ordered = line.next().await;
            match ordered.order {
                Order::Hurry => return,
                Order::End => stopper = None,
                _ => since.push_back(ordered),
            }
        }
    };
    future::or(quiet, future::or(grace, hurried)).await;
    let noted = service.clock.believed().unwrap_or(service.clock.floor());
    service.journal.clock(noted, service.running());
    let _ = memory_first::write_all(service).await;
    service.journal.close().await;
    // Only now it has counted what was completed last.
    let queued = service.journal.usage().messages;
    let live = service.live();
    for listen in &live.config.listen {
        if let At::Unix(path) = &listen.address {
            let _ = std::fs::remove_file(path);
        }
    }
    if stopper.is_none() {
        // Gone, so that who asks is told at once that no service runs.
        socket.remove();
    }
    emit(&Event::Stopped { queued });
    pump::finish().await;
    let Some(stopper) = stopper else {
        return Ended::Over;
    };
    // What the file worker was given before is done when this is.
    service.worker.run(|| ()).await;
    Ended::Stopped(stopper, since)
}
