//! Lines for receivers of syslog (RFC 5424) and for the journal of systemd, whose socket takes fields.

use std::fmt;
use std::fmt::Write;

use log::Level;

use crate::base::Escaped;
use crate::service::event::Event;
use crate::service::logs::stamp::Stamp;

/// Whose lines they are.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The facility, RFC 5424 s6.2.1.
    pub facility: u8,
    /// The box.
    pub host: String,
    /// The virtual server.
    pub server: String,
    /// The process.
    pub process: u32,
}

/// Severities (RFC 5424 s6.2.1).
pub fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

impl Origin {
    /// A message of syslog without a line end. `kind` is the name of the event, `text` the line.
    pub fn syslog(&self, level: Level, at: Stamp, kind: &str, text: &str) -> String {
        let priority = u32::from(self.facility) * 8 + u32::from(severity(level));
        let (host, process) = (&self.host, self.process);
        match at {
            Stamp::Wall(wall) => {
                format!("<{priority}>1 {wall} {host} mailroot {process} {kind} - {text}")
            }
            // Who does not know the time says so (RFC 5424 s6.2.3).
            boot @ Stamp::Boot(_) => {
                format!("<{priority}>1 - {host} mailroot {process} {kind} - {boot} {text}")
            }
        }
    }

    /// An entry of the journal, in its native form: a field a line. An event's own fields are there as
    /// `MAILROOT_ID` and so on.
    pub fn journal(&self, level: Level, event: Option<&Event<'_>>, text: &str) -> String {
        let mut entry = String::new();
        let mut put = |name: &str, value: &dyn fmt::Display| {
            // Writing into a String cannot fail.
            let _ = writeln!(entry, "{name}={value}");
        };
        put("PRIORITY", &severity(level));
        put("SYSLOG_FACILITY", &self.facility);
        put("SYSLOG_IDENTIFIER", &"mailroot");
        put("SYSLOG_PID", &self.process);
        put("MAILROOT_SERVER", &Escaped(self.server.as_bytes()));
        if let Some(event) = event {
            put("MAILROOT_EVENT", &event.name());
            event.each_field(|key, value| {
                put(&format!("MAILROOT_{}", key.to_ascii_uppercase()), value);
            });
        }
        put("MESSAGE", &text);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;
    use crate::base::{MsgId, Tick, Wall};
    use crate::service::event::Event;
    use crate::service::logs::stamp::Stamp;
    use log::Level;

    fn origin() -> Origin {
        Origin {
            facility: 2,
            host: "box.example".to_owned(),
            server: "mailroot".to_owned(),
            process: 7,
        }
    }

    #[test]
    fn messages_of_syslog() {
        let at = Stamp::Wall(Wall::from_secs(1_795_305_600));
        assert_eq!(
            origin().syslog(Level::Warn, at, "held", "held id=11 why=x"),
            "<20>1 2026-11-22T00:00:00Z box.example mailroot 7 held - held id=11 why=x"
        );
        let at = Stamp::Boot(Tick::from_millis(1500));
        assert_eq!(
            origin().syslog(Level::Info, at, "reloaded", "reloaded"),
            "<22>1 - box.example mailroot 7 reloaded - boot+1.500s reloaded"
        );
    }

    #[test]
    fn entries_of_the_journal_cannot_be_forged() {
        let event = Event::Held {
            id: MsgId::from_number(33),
            why: "no\nMESSAGE=yes",
        };
        let entry = origin().journal(Level::Warn, Some(&event), &event.to_string());
        assert_eq!(
            entry,
            "PRIORITY=4\nSYSLOG_FACILITY=2\nSYSLOG_IDENTIFIER=mailroot\nSYSLOG_PID=7\nMAILROOT_SERVER=mailroot\n\
             MAILROOT_EVENT=held\nMAILROOT_ID=11\nMAILROOT_WHY=no\\x0aMESSAGE=yes\n\
             MESSAGE=held id=11 why=\"no\\x0aMESSAGE=yes\"\n"
        );
    }
}
