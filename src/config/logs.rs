//! The settings of the log: what is written, in which form, and where to.

use std::path::PathBuf;

use crate::config::receiver::Receiver;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is written.
    pub level: log::LevelFilter,
    /// How lines look.
    pub form: Form,
    /// Whether the events have the dialogue among them.
    pub dialogue: bool,
    /// Where events go.
    pub to: Destination,
    /// The receiver of syslog.
    pub syslog: Receiver,
    /// The facility of syslog, RFC 5424 s6.2.1.
    pub facility: u8,
    /// Files, for events that go there and for the forms of IIS.
    pub files: Files,
    /// The fields of a W3C line, in their order.
    pub fields: Vec<Field>,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Events, for people.
    Text,
    /// Events, one object a line.
    Json,
    /// The dialogue in a file of W3C's extended format.
    W3c,
    /// The dialogue in a file of IIS's own format.
    Iis,
    /// The dialogue in a file of NCSA's common format.
    Ncsa,
}

impl Form {
    /// Whether it is a form of the dialogue alone; events are text then.
    pub const fn is_classic(self) -> bool {
        matches!(self, Self::W3c | Self::Iis | Self::Ncsa)
    }
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// Files of their own.
    Files,
    /// The receiver of syslog.
    Syslog,
    /// The journal of systemd.
    Journald,
}

/// Log files in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub directory: PathBuf,
    /// When the next file is begun.
    pub period: Period,
    /// How long a file may get, in bytes; `None` for any length.
    pub file_bytes: Option<u64>,
    /// How long all of them may be together, in bytes: the oldest go.
    pub total_bytes: u64,
}

/// When the next file is begun, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Each hour.
    Hourly,
    /// Each day.
    Daily,
    /// On the 1st, 8th, 15th, 22nd and 29th.
    Weekly,
    /// On the 1st.
    Monthly,
    /// When a file is full.
    Never,
}

/// A field of a W3C line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "NAMES says what each is called")]
pub enum Field {
    Date,
    Time,
    ClientIp,
    UserName,
    SiteName,
    ComputerName,
    ServerIp,
    ServerPort,
    Method,
    UriStem,
    UriQuery,
    Status,
    Win32Status,
    BytesSent,
    BytesReceived,
    TimeTaken,
    Version,
    Host,
    UserAgent,
    Cookie,
    Referer,
}

/// What the fields are called in a file, in the order in which IIS wrote all of them.
pub const NAMES: &[&str] = &[
    "date",
    "time",
    "c-ip",
    "cs-username",
    "s-sitename",
    "s-computername",
    "s-ip",
    "s-port",
    "cs-method",
    "cs-uri-stem",
    "cs-uri-query",
    "sc-status",
    "sc-win32-status",
    "sc-bytes",
    "cs-bytes",
    "time-taken",
    "cs-version",
    "cs-host",
    "cs(User-Agent)",
    "cs(Cookie)",
    "cs(Referer)",
];

const FIELDS: [Field; 21] = [
    Field::Date,
    Field::Time,
    Field::ClientIp,
    Field::UserName,
    Field::SiteName,
    Field::ComputerName,
    Field::ServerIp,
    Field::ServerPort,
    Field::Method,
    Field::UriStem,
    Field::UriQuery,
    Field::Status,
    Field::Win32Status,
    Field::BytesSent,
    Field::BytesReceived,
    Field::TimeTaken,
    Field::Version,
    Field::Host,
    Field::UserAgent,
    Field::Cookie,
    Field::Referer,
];

impl Field {
    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        let at = NAMES.iter().position(|one| *one == name)?;
        FIELDS.get(at).copied()
    }

    /// What it is called in a file.
    pub fn name(self) -> &'static str {
        let at = FIELDS.iter().position(|one| *one == self);
        at.and_then(|at| NAMES.get(at)).copied().unwrap_or_default()
    }
}

/// The facilities that mail may have, by their numbers (RFC 5424 s6.2.1).
pub const FACILITIES: &[&str] = &[
    "user", "mail", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The number of a facility.
pub fn facility(name: &str) -> u8 {
    match name {
        "user" => 1,
        "daemon" => 3,
        "local0" => 16,
        "local1" => 17,
        "local2" => 18,
        "local3" => 19,
        "local4" => 20,
        "local5" => 21,
        "local6" => 22,
        "local7" => 23,
        // mail
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::{FACILITIES, FIELDS, Field, NAMES, facility};

    #[test]
    fn every_field_has_its_name() {
        assert_eq!(FIELDS.len(), NAMES.len());
        for name in NAMES {
            assert_eq!(Field::named(name).unwrap().name(), *name);
        }
        assert_eq!(Field::named("cs-nothing"), None);
    }

    #[test]
    fn every_facility_has_a_number_of_its_own() {
        let mut numbers: Vec<u8> = FACILITIES.iter().map(|name| facility(name)).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), FACILITIES.len());
    }
}
