//! Starts a virtual server, keeps it running, and ends it.

use std::cell::Cell;
use std::cell::RefCell;
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
use crate::disk::recover::Recovery;
use crate::disk::worker::Worker;
use crate::net::Resolver;
use crate::net::TrustedClock;
use crate::net::clock;
use crate::net::files;
use crate::net::given as sockets;
use crate::net::listen::Listener;
use crate::net::listen::Place;
use crate::net::manager;
use crate::net::manager::State;
use crate::net::ready;
use crate::net::signals::Signal;
use crate::net::signals::Signals;
use crate::net::tls::Tls;
use crate::service::active::Active;
use crate::service::ageing::Ageing;
use crate::service::attempt;
use crate::service::clients::Clients;
use crate::service::control;
use crate::service::deliver;
use crate::service::envelopes::Envelopes;
use crate::service::event::Event;
use crate::service::live;
use crate::service::live::Live;
use crate::service::log;
use crate::service::log::emit;
use crate::service::memory_first;
use crate::service::network;
use crate::service::notices;
use crate::service::pickups;
use crate::service::policies::Policies;
use crate::service::receive;
use crate::service::shared::Reread;
use crate::service::shared::Service;
use crate::service::shared::StartError;
use crate::service::signal::Ending;
use crate::service::signal::Wake;
use crate::service::ways::Ways;

/// How long sessions may take to end after SIGTERM. Service managers kill after 90 seconds or less.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a virtual server until SIGTERM or SIGINT. `reread` is asked for the configuration again on SIGHUP.
pub fn run(
    config: Config,
    reread: impl Fn() -> Result<Config, String> + 'static,
) -> Result<(), StartError> {
    log::start(&config);
    open_files(&config);
    let tasks = Rc::new(LocalExecutor::new());
    let (service, recovery) = open(config, Box::new(reread), Rc::clone(&tasks))?;
    // A task like the others, so that it is looked at only when something is there for it.
    let serving = tasks.spawn(serve(service, recovery));
    log::hold();
    ready::block_on(tasks.run(serving)).map_err(|error| StartError::Io(error.to_string()))?
}

/// Sees to it that there is a file for each connection.
fn open_files(config: &Config) {
    let most = config.limits.connections;
    if let Some(files) = files::raise()
        && files < u64::from(most).saturating_add(limits::FILES)
    {
        let why = format!(
            "limits.connections is {most}, but the system lets this process have only {files} files and sockets; \
             raise that limit (LimitNOFILE= in its unit, or ulimit -n)"
        );
        emit(&Event::Trouble {
            what: "files",
            why: &why,
        });
    }
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
    reread: Reread,
    tasks: Rc<LocalExecutor<'static>>,
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
        drop: RefCell::new(live::drop_folder(&config, &folders).map_err(io)?),
        live: RefCell::new(live),
        reread,
        journal: opened.journal,
        worker,
        folders,
        reverse: Resolver::new(names.clone()),
        resolver: Resolver::new(names),
        tls,
        clock,
        ways: RefCell::new(Ways::default()),
        active: RefCell::new(Active::default()),
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
        tasks,
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
    let swept = [
        drop::sweep(&folders.sorttemp),
        drop::sweep(&folders.drop),
        notices::badmail(service).sweep(),
    ];
    for error in swept.into_iter().filter_map(Result::err) {
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

/// Runs everything until the end.
async fn serve(service: Rc<Service>, recovery: Recovery) -> Result<(), StartError> {
    sweep(&service);
    let live = service.live();
    let listeners = listeners(&live.config)?;
    let control = control::bind(&live.config)?;
    let mut signals =
        Signals::new().map_err(|error| StartError::Io(format!("cannot catch signals: {error}")))?;
    resume(&service, &recovery);
    service.watch_clock();

    for (at, name, listener) in listeners {
        service.listening.borrow_mut().extend(listener.local_addr());
        let address = listener.local_addr().map_or(name, |at| at.to_string());
        emit(&Event::Listening { address: &address });
        let task = receive::listen(Rc::clone(&service), listener, at);
        service.tasks.spawn(task).detach();
    }
    let tasks = &service.tasks;
    tasks
        .spawn(pickups::serve(Rc::clone(&service), recovery.claims))
        .detach();
    tasks.spawn(deliver::dispatch(Rc::clone(&service))).detach();
    tasks.spawn(network::watch(Rc::clone(&service))).detach();
    tasks
        .spawn(memory_first::serve(Rc::clone(&service)))
        .detach();
    tasks
        .spawn(control::serve(Rc::clone(&service), control))
        .detach();
    emit(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        home: &live.config.home.display().to_string(),
        queued: service.journal.usage().messages,
    });
    drop(live);
    tell(State::Ready);

    loop {
        match signals.next().await {
            Ok(Signal::Reload) => {
                // Its complaints are in the log already.
                let _ = service.reload();
            }
            Ok(Signal::Retry) => service.retry_all(),
            Ok(Signal::Stop) => break,
            Err(error) => return Err(StartError::Io(format!("cannot catch signals: {error}"))),
        }
    }
    end(&service, signals).await;
    Ok(())
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

/// Lets what is under way end, then makes everything durable. A second signal cuts that short.
async fn end(service: &Rc<Service>, mut signals: Signals) {
    emit(&Event::Stopping { signal: "stop" });
    tell(State::Stopping);
    service.ending.begin();
    // Now, since what follows may take longer than whoever stops us waits; its trouble is told.
    let _ = memory_first::write_all(service).await;
    let quiet = async {
        while service.clients.total() > 0 || service.ways.borrow().sessions() > 0 {
            service.idle.heard().await;
        }
    };
    let grace = async {
        Timer::after(GRACE).await;
    };
    let again = async { while !matches!(signals.next().await, Ok(Signal::Stop) | Err(_)) {} };
    future::or(quiet, future::or(grace, again)).await;
    let noted = service.clock.believed().unwrap_or(service.clock.floor());
    service.journal.clock(noted, service.running());
    let _ = memory_first::write_all(service).await;
    let queued = service.journal.usage().messages;
    service.journal.close().await;
    // Gone, so that who asks is told at once that no service runs.
    let live = service.live();
    let _ = std::fs::remove_file(&live.config.control.socket);
    for listen in &live.config.listen {
        if let At::Unix(path) = &listen.address {
            let _ = std::fs::remove_file(path);
        }
    }
    emit(&Event::Stopped { queued });
}
