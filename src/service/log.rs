//! Where log lines go: standard error, as text or JSON, one line an event.
//!
//! The log is a property of the thread: a virtual server is one thread, which calls [`start`] with its own
//! configuration, before it says anything and again after each reload, and [`trust`] when it has a clock. From then on
//! what that thread logs has that server's level and form. Other threads (the journal writer, the file worker, the
//! reactor) have nothing to say; what a library says there goes to standard error as text.
//!
//! A service's thread holds its lines until it has nothing else to do, and writes them together: under load a call for
//! each line, and a wake of whoever reads them, would cost as much as taking in a message. Warnings and errors do not
//! wait, and what was held goes out in front of them.
//!
//! Under systemd (or anything else that reads standard error into a journal) each line starts with its syslog
//! priority as `<N>`; on a terminal or in a file it starts with the time. Where several servers write to the same place
//! ([`tell_apart`]) each line says whose it is.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use log::Level;
use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;

use crate::base::Tick;
use crate::base::Wall;
use crate::config::Config;
use crate::net::TrustedClock;
use crate::net::clock;
use crate::service::event::Event;
use crate::service::event::Json;

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
    /// What the server is called.
    server: String,
    /// Says which times can be believed.
    clock: Option<Arc<TrustedClock>>,
    /// Lines that are held, and whether there is somebody who flushes.
    lines: Vec<u8>,
    holds: bool,
}

/// When a line is written.
enum Stamp {
    Wall(Wall),
    Boot(Tick),
}

impl Stamp {
    fn now(clock: Option<&TrustedClock>) -> Self {
        match clock.map(TrustedClock::believed) {
            None => Self::Wall(clock::wall()),
            Some(Some(wall)) => Self::Wall(wall),
            Some(None) => Self::Boot(clock::tick()),
        }
    }
}

impl Stamp {
    /// As a key and its value.
    fn json(&self) -> String {
        match self {
            Self::Wall(wall) => format!("\"time\":\"{wall}\""),
            Self::Boot(tick) => format!("\"uptime_ms\":{}", tick.as_millis()),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wall(wall) => wall.fmt(f),
            Self::Boot(tick) => {
                let millis = tick.as_millis();
                write!(f, "boot+{}.{:03}s", millis / 1000, millis % 1000)
            }
        }
    }
}

impl Sink {
    fn event(&mut self, level: Level, event: &Event<'_>) {
        if level > self.level {
            return;
        }
        if self.json {
            // An event brings its own object, and this goes in front of its first key.
            let text = event.json();
            let rest = text.strip_prefix('{').unwrap_or_default();
            self.json_line(level, rest);
        } else {
            self.text_line(level, format_args!("{event}"));
        }
    }

    /// What a library has to say.
    fn note(&mut self, level: Level, text: &fmt::Arguments<'_>) {
        if level > self.level {
            return;
        }
        if self.json {
            let text = text.to_string();
            let rest = format!("\"event\":\"note\",\"text\":{}}}", Json(&text));
            self.json_line(level, &rest);
        } else {
            self.text_line(level, *text);
        }
    }

    // Writing into a Vec cannot fail.
    fn json_line(&mut self, level: Level, rest: &str) {
        let time = Stamp::now(self.clock.as_deref()).json();
        let name = level.as_str().to_ascii_lowercase();
        let _ = write!(self.lines, "{{{time},\"level\":\"{name}\",");
        if SEVERAL.load(Ordering::Relaxed) {
            let _ = write!(self.lines, "\"server\":{},", Json(&self.server));
        }
        let _ = writeln!(self.lines, "{rest}");
        self.on_line(level);
    }

    fn text_line(&mut self, level: Level, text: fmt::Arguments<'_>) {
        let _ = if PRIORITY.load(Ordering::Relaxed) {
            write!(self.lines, "<{}>", priority(level))
        } else {
            write!(self.lines, "{} ", Stamp::now(self.clock.as_deref()))
        };
        if SEVERAL.load(Ordering::Relaxed) {
            let _ = write!(self.lines, "{}: ", self.server);
        }
        let _ = writeln!(self.lines, "{text}");
        self.on_line(level);
    }

    fn on_line(&mut self, level: Level) {
        if !self.holds || level <= Level::Warn || self.lines.len() >= HELD {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.lines.is_empty() {
            write(&self.lines);
            self.lines.clear();
        }
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
        SINK.with_borrow_mut(|sink| match sink {
            Some(sink) => sink.note(record.level(), record.args()),
            None => {
                let stamp = Stamp::now(None);
                write(format!("{stamp} {}\n", record.args()).as_bytes());
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

/// One write keeps the lines of several services whole. A log that cannot be written must not stop mail.
fn write(lines: &[u8]) {
    let _ = std::io::stderr().write_all(lines);
}

/// Syslog severities (RFC 5424 s6.2.1).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// From here on this thread logs as the configuration says. To be called by the thread of each virtual server before
/// anything is said, and again after a reload; what was held stays.
pub fn start(config: &Config) {
    let level = config.log.level;
    PRIORITY.store(
        std::env::var_os("JOURNAL_STREAM").is_some(),
        Ordering::Relaxed,
    );
    SINK.with_borrow_mut(|sink| {
        let old = sink.take();
        let (clock, lines, holds) = match old {
            Some(old) => (old.clock, old.lines, old.holds),
            None => (None, Vec::new(), false),
        };
        *sink = Some(Sink {
            level,
            json: config.log.json,
            server: config.name.clone(),
            clock,
            lines,
            holds,
        });
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
