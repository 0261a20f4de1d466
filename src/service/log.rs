//! Where log lines go: standard error, as text or JSON, one line an event.
//!
//! Under systemd (or anything else that reads standard error into a journal) each line starts with its syslog
//! priority as `<N>`; on a terminal or in a file it starts with the time.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use log::Level;
use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;

use crate::base::Tick;
use crate::base::Wall;
use crate::net::TrustedClock;
use crate::net::clock;
use crate::service::event::Event;
use crate::service::event::Json;

static JSON: AtomicBool = AtomicBool::new(false);
static PRIORITY: AtomicBool = AtomicBool::new(false);

/// Says which times can be believed; the first service's, when there are several.
static CLOCK: OnceLock<Arc<TrustedClock>> = OnceLock::new();

/// Lines that are written while the clock is wrong carry the time since boot instead.
pub fn trust(clock: &Arc<TrustedClock>) {
    // A second one would say the same.
    let _ = CLOCK.set(Arc::clone(clock));
}

/// When a line is written.
enum Stamp {
    Wall(Wall),
    Boot(Tick),
}

impl Stamp {
    fn now() -> Self {
        match CLOCK.get().map(|clock| clock.believed()) {
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

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak only when something is wrong.
        metadata.target().starts_with("mailroot") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = if JSON.load(Ordering::Relaxed) {
            let time = Stamp::now().json();
            let level = record.level().as_str().to_ascii_lowercase();
            let text = record.args().to_string();
            // An event brings its own object; what a library says is put into one.
            match text.strip_prefix('{') {
                Some(rest) => format!("{{{time},\"level\":\"{level}\",{rest}"),
                None => format!(
                    "{{{time},\"level\":\"{level}\",\"event\":\"note\",\"text\":{}}}",
                    Json(&text)
                ),
            }
        } else if PRIORITY.load(Ordering::Relaxed) {
            format!("<{}>{}", priority(record.level()), record.args())
        } else {
            format!("{} {}", Stamp::now(), record.args())
        };
        line.push('\n');
        // One write a line keeps lines of several services whole. A log that cannot be written must not stop mail.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
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

/// Makes standard error the log; each line is text, or a JSON object. May be called again to change that.
pub fn start(level: LevelFilter, json: bool) {
    JSON.store(json, Ordering::Relaxed);
    PRIORITY.store(
        std::env::var_os("JOURNAL_STREAM").is_some(),
        Ordering::Relaxed,
    );
    log::set_max_level(level);
    // Fails only when it was set before, and then it is ours.
    let _ = log::set_logger(&Stderr);
}

/// Logs one event.
pub fn emit(event: &Event<'_>) {
    let level = event.level();
    if level > log::max_level() {
        return;
    }
    if JSON.load(Ordering::Relaxed) {
        log::log!(target: "mailroot", level, "{}", event.json());
    } else {
        log::log!(target: "mailroot", level, "{event}");
    }
}
