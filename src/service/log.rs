//! The log of a virtual server: takes events, makes lines of them, and puts them where the configuration says.
//!
//! The log is a property of the thread: a virtual server is one thread, which calls [`start`] with its own
//! configuration, before it says anything and again after each reload, and [`trust`] when it has a clock. From then on
//! what that thread logs has that server's level, form and place; [`take_jobs`] says what its executor has to do for
//! that. Other threads (the journal writer, the file worker, the reactor) have nothing to say; what a library says there
//! goes to standard error as text.
//!
//! A service's thread holds its lines until it has nothing else to do, and writes them together: under load a call for
//! each line, and a wake of whoever reads them, would cost as much as taking in a message. Warnings and errors do not
//! wait, and what was held goes out in front of them.
//!
//! Under systemd (or anything else that reads standard error into a journal) each line starts with its syslog
//! priority as `<N>`; on a terminal or in a file it starts with the time. Where several servers write to the same place
//! ([`tell_apart`]) each line says whose it is.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use log::Level;
use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;

use crate::base::Escaped;
use crate::config::Config;
use crate::config::logs::Destination;
use crate::config::logs::Form;
use crate::config::receiver::Receiver;
use crate::disk::logfile::LogFiles;
use crate::net::TrustedClock;
use crate::service::event::Event;
use crate::service::event::Json;
use crate::service::logs::classic::Classic;
use crate::service::logs::exchange::Exchange;
use crate::service::logs::outbox::Outbox;
use crate::service::logs::stamp::Stamp;
use crate::service::logs::stderr::Stderr;
use crate::service::logs::syslog::Origin;
use crate::service::logs::syslog::severity;
use crate::service::signal::Wake;

/// Held lines that are written without waiting for a quiet moment, in bytes.
const HELD: usize = 4096;

/// Whether lines start with their syslog priority.
static PRIORITY: AtomicBool = AtomicBool::new(false);
/// Whether several servers of this process write to one place.
static SEVERAL: AtomicBool = AtomicBool::new(false);
/// The highest level that any thread was started with: libraries are asked for no more.
static LEVEL: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The log of the server whose thread this is.
    static SINK: RefCell<Option<Sink>> = const { RefCell::new(None) };
}

/// The log of one virtual server.
struct Sink {
    level: LevelFilter,
    json: bool,
    /// Says which times can be believed.
    clock: Option<Arc<TrustedClock>>,
    origin: Origin,
    events: Place,
    /// Whether the dialogue is among the events.
    dialogue: bool,
    /// Where else it goes.
    classic: Option<(Classic, Rc<Outbox>)>,
    /// Whether there is somebody who flushes.
    holds: bool,
    /// What is to be done for these places, until somebody takes it.
    jobs: Vec<Job>,
    /// Nobody does them any more.
    rests: bool,
    /// The line that is being made.
    line: String,
    /// Lines that were lost and of which nobody was told.
    lost: u64,
}

/// Where lines of events go.
enum Place {
    Stderr(Stderr),
    Files(Rc<Outbox>),
    Syslog(Rc<Outbox>),
    Journald(Rc<Outbox>),
}

/// What an executor has to do for a log.
pub enum Job {
    /// Write again what standard error had no room for, after each ring.
    Stuck(Rc<Wake>),
    /// Bring lines to files.
    Files(Rc<Outbox>, LogFiles),
    /// Bring messages to a receiver of syslog.
    Syslog(Rc<Outbox>, Receiver),
    /// Bring entries to the journal of systemd.
    Journald(Rc<Outbox>),
}

impl Place {
    const fn outbox(&self) -> Option<&Rc<Outbox>> {
        match self {
            Self::Stderr(_) => None,
            Self::Files(outbox) | Self::Syslog(outbox) | Self::Journald(outbox) => Some(outbox),
        }
    }
}

impl Sink {
    fn new(config: &Config, clock: Option<Arc<TrustedClock>>, holds: bool) -> Self {
        let log = &config.log;
        let mut jobs = Vec::new();
        let outbox = || Rc::new(Outbox::default());
        let classic = (cfg!(feature = "logs") && log.form.is_classic()).then(|| {
            let classic = Classic {
                form: log.form,
                fields: log.fields.clone(),
                site: config.name.clone(),
                computer: config.hostname.to_string(),
            };
            let files = LogFiles::new(log.files.clone(), log.form, classic.head());
            let outbox = outbox();
            jobs.push(Job::Files(Rc::clone(&outbox), files));
            (classic, outbox)
        });
        let events = match &log.to {
            Destination::Stderr => {
                let stderr = Stderr::open();
                jobs.push(Job::Stuck(stderr.stuck()));
                Place::Stderr(stderr)
            }
            Destination::Files => {
                let files = LogFiles::new(log.files.clone(), Form::Text, None);
                let outbox = outbox();
                jobs.push(Job::Files(Rc::clone(&outbox), files));
                Place::Files(outbox)
            }
            Destination::Syslog => {
                let outbox = outbox();
                jobs.push(Job::Syslog(Rc::clone(&outbox), log.syslog.clone()));
                Place::Syslog(outbox)
            }
            Destination::Journald => {
                let outbox = outbox();
                jobs.push(Job::Journald(Rc::clone(&outbox)));
                Place::Journald(outbox)
            }
        };
        Self {
            level: log.level,
            json: log.form == Form::Json,
            clock,
            origin: Origin {
                facility: log.facility,
                host: config.hostname.to_string(),
                server: config.name.clone(),
                process: std::process::id(),
            },
            events,
            dialogue: log.dialogue && classic.is_none(),
            classic,
            holds,
            jobs,
            rests: false,
            line: String::new(),
            lost: 0,
        }
    }

    fn event(&mut self, level: Level, event: &Event<'_>) {
        if level > self.level {
            return;
        }
        let at = Stamp::now(self.clock.as_deref());
        let mut line = self.begin(level, at);
        if self.json {
            // Its own object goes on with what was begun.
            line.push_str(event.json().strip_prefix('{').unwrap_or_default());
        } else {
            // Writing into a String cannot fail.
            let _ = write!(line, "{event}");
        }
        self.put(level, at, Some(event), line);
    }

    /// What a library has to say.
    fn note(&mut self, level: Level, text: &str) {
        if level > self.level {
            return;
        }
        let at = Stamp::now(self.clock.as_deref());
        let mut line = self.begin(level, at);
        let _ = if self.json {
            write!(line, "\"event\":\"note\",\"text\":{}}}", Json(text))
        } else {
            write!(line, "{}", Escaped(text.as_bytes()))
        };
        self.put(level, at, None, line);
    }

    /// What stands in front of everything, in the buffer that is there for it.
    fn begin(&mut self, level: Level, at: Stamp) -> String {
        let mut line = std::mem::take(&mut self.line);
        let whose = SEVERAL.load(Ordering::Relaxed);
        let server = &self.origin.server;
        // Writing into a String cannot fail.
        if self.json {
            let level = level.as_str().to_ascii_lowercase();
            let _ = write!(line, "{{{},\"level\":\"{level}\",", at.json());
            if whose {
                let _ = write!(line, "\"server\":{},", Json(server));
            }
            return line;
        }
        let _ = match &self.events {
            Place::Stderr(_) if PRIORITY.load(Ordering::Relaxed) => {
                write!(line, "<{}>", severity(level))
            }
            Place::Stderr(_) | Place::Files(_) => write!(line, "{at} "),
            Place::Syslog(_) | Place::Journald(_) => Ok(()),
        };
        if whose {
            let _ = write!(line, "{server}: ");
        }
        line
    }

    /// Puts a line on its way.
    fn put(&mut self, level: Level, at: Stamp, event: Option<&Event<'_>>, mut line: String) {
        let origin = &self.origin;
        let held = match &mut self.events {
            Place::Stderr(stderr) => {
                line.push('\n');
                stderr.put(line.as_bytes())
            }
            Place::Files(outbox) => {
                line.push('\n');
                outbox.put(line.as_bytes())
            }
            Place::Syslog(outbox) => {
                let kind = event.map_or("note", Event::name);
                outbox.put(origin.syslog(level, at, kind, &line).as_bytes())
            }
            Place::Journald(outbox) => outbox.put(origin.journal(level, event, &line).as_bytes()),
        };
        line.clear();
        self.line = line;
        if !self.holds || level <= Level::Warn || held >= HELD {
            self.flush();
        }
    }

    fn dialogue(&mut self, said: &Exchange<'_>) {
        if cfg!(feature = "logs")
            && let Some((classic, outbox)) = &self.classic
        {
            let at = Stamp::now(self.clock.as_deref());
            if outbox.put(classic.line(said, at).as_bytes()) >= HELD {
                outbox.ring();
            }
        } else if self.dialogue {
            let event = Event::Dialogue(said);
            self.event(event.level(), &event);
        }
    }

    fn flush(&mut self) {
        if let Some((_, outbox)) = &self.classic {
            outbox.ring();
            self.lost = self.lost.saturating_add(outbox.take_lost());
        }
        let (lost, room) = match &mut self.events {
            Place::Stderr(stderr) => {
                stderr.flush();
                (stderr.take_lost(), !stderr.is_stuck())
            }
            Place::Files(outbox) | Place::Syslog(outbox) | Place::Journald(outbox) => {
                outbox.ring();
                (outbox.take_lost(), outbox.has_room())
            }
        };
        self.lost = self.lost.saturating_add(lost);
        if self.lost > 0 && room {
            let lines = std::mem::take(&mut self.lost);
            let event = Event::LogLost { lines };
            self.event(event.level(), &event);
        }
    }

    /// The boxes that somebody has to empty.
    fn outboxes(&self) -> Vec<Rc<Outbox>> {
        let classic = self.classic.iter().map(|(_, outbox)| outbox);
        classic.chain(self.events.outbox()).cloned().collect()
    }
}

/// The way in for libraries.
struct Libraries;

impl Log for Libraries {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak only when something is wrong.
        metadata.target().starts_with("mailroot") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        SINK.with_borrow_mut(|sink| match sink {
            Some(sink) => sink.note(record.level(), &text),
            None => {
                let mut stderr = Stderr::open();
                let line = format!("{} {}\n", Stamp::now(None), Escaped(text.as_bytes()));
                stderr.put(line.as_bytes());
                stderr.flush();
            }
        });
    }

    /// Writes what this thread holds.
    fn flush(&self) {
        SINK.with_borrow_mut(|sink| {
            if let Some(sink) = sink {
                sink.flush();
            }
        });
    }
}

/// From here on this thread logs as the configuration says. To be called by the thread of each virtual server before
/// anything is said, and again after a reload, which opens files and sockets anew; what was held stays.
pub fn start(config: &Config) {
    let level = config.log.level;
    PRIORITY.store(
        std::env::var_os("JOURNAL_STREAM").is_some(),
        Ordering::Relaxed,
    );
    SINK.with_borrow_mut(|sink| {
        let old = sink.take();
        let clock = old.as_ref().and_then(|old| old.clock.clone());
        let mut new = Sink::new(config, clock, old.as_ref().is_some_and(|old| old.holds));
        if let Some(mut old) = old {
            old.flush();
            old.outboxes().iter().for_each(|outbox| outbox.close());
            if let Place::Stderr(_) = &old.events
                && config.log.to == Destination::Stderr
                && !old.rests
            {
                // It has no name to be opened by, and somebody waits for its ring.
                new.jobs.retain(|job| !matches!(job, Job::Stuck(_)));
                new.events = old.events;
            }
        }
        *sink = Some(new);
    });
    let number = |level: LevelFilter| level as usize;
    if LEVEL.fetch_max(number(level), Ordering::Relaxed) <= number(level) {
        log::set_max_level(level);
    }
    // Fails only when it was set before, and then it is ours.
    let _ = log::set_logger(&Libraries);
}

/// From here on lines say which server's they are. To be called once, before the first [`start`], by a process with
/// more than one.
pub fn tell_apart() {
    SEVERAL.store(true, Ordering::Relaxed);
}

/// Lines that this thread writes while the clock is wrong carry the time since boot instead.
pub fn trust(clock: &Arc<TrustedClock>) {
    SINK.with_borrow_mut(|sink| {
        if let Some(sink) = sink {
            sink.clock = Some(Arc::clone(clock));
        }
    });
}

/// From here on this thread holds its lines until [`log::Log::flush`], which [`crate::net::ready::block_on`] calls.
pub fn hold() {
    SINK.with_borrow_mut(|sink| {
        if let Some(sink) = sink {
            sink.holds = true;
        }
    });
}

/// What has to be done for this thread's log; each job once.
pub fn take_jobs() -> Vec<Job> {
    SINK.with_borrow_mut(|sink| {
        sink.as_mut()
            .map_or_else(Vec::new, |sink| std::mem::take(&mut sink.jobs))
    })
}

/// Ends this thread's log: says what somebody still has to bring away.
pub fn close() -> Vec<Rc<Outbox>> {
    SINK.with_borrow_mut(|sink| {
        let outboxes = sink.as_ref().map_or_else(Vec::new, Sink::outboxes);
        outboxes.iter().for_each(|outbox| outbox.close());
        outboxes
    })
}

/// From here on, until the next [`start`], this thread's lines go to standard error, as text or JSON, for nobody is there
/// who would bring them anywhere else. So do those that wait.
pub fn to_stderr() {
    SINK.with_borrow_mut(|sink| {
        let Some(sink) = sink else { return };
        let outboxes = sink.outboxes();
        sink.rests = true;
        sink.jobs.clear();
        sink.classic = None;
        sink.dialogue = false;
        if let Place::Stderr(_) = sink.events {
            return;
        }
        let mut stderr = Stderr::open();
        for batch in outboxes.iter().filter_map(|outbox| outbox.take()) {
            for line in (0..batch.count()).filter_map(|at| batch.line(at)) {
                stderr.put(line.trim_ascii_end());
                stderr.put(b"\n");
            }
        }
        stderr.flush();
        sink.events = Place::Stderr(stderr);
    });
}

/// Whether standard error has no room for what it should have.
pub fn is_stuck() -> bool {
    SINK.with_borrow(|sink| match sink {
        Some(sink) => matches!(&sink.events, Place::Stderr(stderr) if stderr.is_stuck()),
        None => false,
    })
}

/// Whether somebody wants to read the dialogue. To be asked once a conversation.
pub fn wants_dialogue() -> bool {
    SINK.with_borrow(|sink| {
        sink.as_ref()
            .is_some_and(|sink| sink.dialogue || sink.classic.is_some())
    })
}

/// Logs a command or a reply.
pub fn dialogue(said: &Exchange<'_>) {
    SINK.with_borrow_mut(|sink| {
        if let Some(sink) = sink {
            sink.dialogue(said);
        }
    });
}

/// Logs one event. Costs two comparisons when its level is not wanted.
pub fn emit(event: &Event<'_>) {
    let level = event.level();
    if level > log::max_level() {
        return;
    }
    SINK.with_borrow_mut(|sink| {
        if let Some(sink) = sink {
            sink.event(level, event);
        }
    });
}
