//! Starts a virtual server, keeps it running, and ends it.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::LocalExecutor;
use smol::Timer;
use smol::future;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::config::Config;
use crate::disk::folders::Folders;
use crate::disk::journal::Journal;
use crate::disk::journal::Opened;
use crate::disk::worker::Worker;
use crate::net::Resolver;
use crate::net::TrustedClock;
use crate::net::clock;
use crate::net::listen::Listener;
use crate::net::listen::Place;
use crate::net::resolver;
use crate::net::signals::Signal;
use crate::net::signals::Signals;
use crate::net::tls::Tls;
use crate::service::Reread;
use crate::service::Service;
use crate::service::StartError;
use crate::service::active::Active;
use crate::service::clients::Clients;
use crate::service::control;
use crate::service::deliver;
use crate::service::event::Event;
use crate::service::live::Live;
use crate::service::log;
use crate::service::log::emit;
use crate::service::pickups;
use crate::service::receive;
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
    log::start(config.log.level, config.log.json);
    let tasks = Rc::new(LocalExecutor::new());
    let service = open(config, Box::new(reread), Rc::clone(&tasks))?;
    smol::block_on(tasks.run(serve(Rc::clone(&service))))
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
) -> Result<Rc<Service>, StartError> {
    let folders = folders(&config)?;
    let worker = Worker::start().map_err(|error| StartError::Io(error.to_string()))?;
    let clock = Arc::new(TrustedClock::new());
    let tls = Tls::new(Arc::clone(&clock));
    let resolver = Resolver::new(resolver::Settings {
        servers: config.dns.servers.clone(),
        timeout: Some(config.dns.timeout),
        ..resolver::Settings::default()
    });
    let opened = open_journal(&config, &folders, &worker, clock.raw())?;
    clock.raise(opened.newest_clock);
    let service = Rc::new(Service {
        live: RefCell::new(Live::new(config, &tls)),
        reread,
        journal: opened.journal,
        worker,
        folders,
        resolver,
        tls,
        clock,
        ways: RefCell::new(Ways::default()),
        active: RefCell::new(Active::default()),
        clients: Rc::new(Clients::default()),
        counts: Cell::default(),
        due: Wake::default(),
        idle: Wake::default(),
        ending: Ending::default(),
        tasks,
        started: clock::tick(),
    });
    Ok(service)
}
