//! The configuration file: schema, defaults, validation, sample.
//!
//! [`schema`] is the one table of settings. [`parse`] (a file) and [`flags`] (a command line) turn text into
//! [`settings`], which [`build`] makes a [`Config`] of. Nothing here reads a file or a variable: text comes in, and the
//! places of passwords go out.
//!
//! Why our own walk over TOML and not serde: every value keeps its place, so that all mistakes are reported at once
//! with line and caret, and the table can speak about each of them; and it is a tenth of the code in the binary.

pub mod build;
pub mod directory;
pub mod endpoint;
pub mod fault;
pub mod flags;
pub mod hooks;
pub mod iis;
#[cfg(feature = "import-iis")]
pub mod import;
pub mod kind;
pub mod logging;
pub mod logs;
pub mod lookup;
pub mod model;
pub mod named;
pub mod parse;
pub mod providers;
pub mod receiver;
pub mod sample;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod units;
pub mod url;

pub use endpoint::Tls;
pub use fault::Faults;
pub use flags::Flags;
pub use model::Config;
pub use secret::Secret;
pub use settings::Settings;

use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::mail::Domain;

/// A configuration file: its name as it is shown, and its text.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// How it is called in messages.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// Reads a file, or none, with flags over it. `hostname` is what the system calls itself; when that is no domain,
/// and the configuration has none either, this host is `localhost`.
pub fn load(
    file: Option<File<'_>>,
    flags: &Flags,
    hostname: &str,
) -> Result<(Config, Settings), Faults> {
    let (name, text) = file.map_or(("mailroot", ""), |file| (file.name, file.text));
    let (mut settings, mut faults) = parse::file(text);
    faults.extend(flags.apply(&mut settings));
    let hostname = [hostname, "localhost"]
        .iter()
        .find_map(|name| Domain::parse(name).ok());
    let config = hostname.and_then(|hostname| {
        let (config, more) = build::config(&settings, &hostname);
        // Between settings that could not be read, everything looks wrong.
        let broken = faults
            .iter()
            .any(|fault| matches!(fault.place, Place::File(_)) && syntax(fault));
        faults.extend(more.into_iter().filter(|_| !broken));
        config
    });
    match config {
        Some(config) if faults.is_empty() => Ok((config, settings)),
        _ => Err(Faults::new(name, text, faults)),
    }
}

fn syntax(fault: &Fault) -> bool {
    matches!(fault.complaint, Complaint::Syntax(_) | Complaint::TooLarge)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::kind::{Kind, Value};
    use super::lookup;
    use super::schema::{ROWS, Row, SECTIONS};
    use super::settings::default_of;
    use super::{Config, File, Flags, load};

    fn read(text: &str) -> Result<Config, String> {
        let file = File { name: "f", text };
        load(Some(file), &Flags::default(), "box")
            .map(|(config, _)| config)
            .map_err(|faults| faults.to_string())
    }

    /// A value for the row that is not its default.
    fn other(row: &Row) -> Value {
        fn text(kind: &Kind) -> &'static str {
            match kind {
                Kind::Int(..) => "7",
                Kind::Size(..) => "70MB",
                Kind::Wait(..) => "17s",
                Kind::Text | Kind::Path | Kind::SecretFile => "/x",
                Kind::Variable => "X",
                Kind::Address => "x@y.example",
                Kind::Domain | Kind::Pattern => "y.example",
                Kind::Listen => "127.0.0.1:2525",
                Kind::NameServer => "127.0.0.1:5353",
                Kind::Host => "h.example:2525",
                Kind::Receiver => "udp://h.example",
                Kind::Directory => "ldaps://other.example",
                Kind::Ip => "127.0.0.1",
                Kind::Network => "10.0.0.0/8",
                Kind::Tls => "require",
                // The first way is the default, the others want other keys.
                Kind::Word(words) if words.contains(&"smart-host") => "drop",
                Kind::Word(words) => words.last().unwrap(),
                Kind::OrOff(inner) | Kind::List(inner) => text(inner),
                Kind::Bool => unreachable!(),
            }
        }
        match row.kind {
            Kind::Bool => Value::Bool(row.default != Some("true")),
            kind if row.key == "users.principals" => kind.read("x@Y.EXAMPLE").unwrap(),
            kind => kind.read(text(&kind)).unwrap(),
        }
    }

    /// A file in which the key has this value, and nothing else is said that need not be.
    fn with(row: &Row, value: &Value) -> String {
        let line = format!("{} = {value}\n", row.name());
        match row.section() {
            "" if row.name() == "group" => format!("user = 'x'\n{line}"),
            "" => line,
            "route" => match row.name() {
                "hosts" | "via" => format!("[[route]]\n{line}"),
                "fetched_by" => {
                    format!("[[route]]\nvia = 'hold'\n{line}[users]\nfile = '/u'\n")
                }
                "key" => format!("[[route]]\nhosts=['a.example']\ncertificate='/y'\n{line}"),
                "ehlo" => format!("[[route]]\nhosts=['a.example']\ntls='off'\n{line}"),
                "insecure_auth" | "password_file" | "password_env" | "token_file" => {
                    format!("[[route]]\nhosts=['a.example']\nuser='u'\n{line}")
                }
                "auth" => {
                    let token = "user='u'\ntoken_file='/t'";
                    format!("[[route]]\nhosts=['a.example']\n{token}\n{line}")
                }
                _ => format!("[[route]]\nhosts=['a.example']\n{line}"),
            },
            "listen" => {
                format!("[[listen]]\n{line}[tls]\nself_signed = true\n[users]\nfile = '/u'\n")
            }
            "dkim" => {
                let needed = ["domain='d.example'\n", "selector='s'\n", "key_file='/k'\n"];
                let others = needed.iter().filter(|line| !line.starts_with(row.name()));
                format!("[[dkim]]\n{}{line}", others.copied().collect::<String>())
            }
            "hook" => {
                let needed = ["on=['drop']\n", "exec=['/y']\n"];
                let others = needed.iter().filter(|line| !line.starts_with(row.name()));
                format!("[[hook]]\n{}{line}", others.copied().collect::<String>())
            }
            "local" if row.name() == "alias_domains" => {
                format!("[local]\ndomains = ['d.example']\n{line}")
            }
            "users" if row.name() == "directory" => {
                format!("[users]\n{line}[directory]\nservers=['ldaps://d.example']\nbase='b'\n")
            }
            "directory" => {
                let with = match (row.name(), value.to_string().as_str()) {
                    ("servers", "[]") => return format!("[directory]\n{line}"),
                    ("bind", "\"anonymous\"") => "",
                    ("bind", _) => "certificate='/y'\n",
                    ("schema", "\"custom\"") => "address_attributes=['mail']\n",
                    ("user", _) => "bind='simple'\n",
                    ("domain" | "password_file" | "password_env", _) => "bind='simple'\nuser='u'\n",
                    ("key", _) => "certificate='/y'\n",
                    _ => "",
                };
                let servers = if row.name() == "servers" {
                    ""
                } else {
                    "servers=['ldaps://d.example']\n"
                };
                let base = if row.name() == "base" {
                    ""
                } else {
                    "base='b'\n"
                };
                format!("[directory]\n{servers}{base}{with}{line}")
            }
            "domain" => match row.name() {
                "domains" => format!("[[domain]]\n{line}"),
                "format" | "drop_bytes" | "drop_files" => {
                    format!("[[domain]]\ndomains = ['d.example']\ndrop = 'd'\n{line}")
                }
                _ => format!("[[domain]]\ndomains = ['d.example']\n{line}"),
            },
            "users" if row.name() == "keytab" => {
                format!("[users]\nprincipals = ['x@Y.EXAMPLE']\n{line}")
            }
            // An empty list of them would be a mistake beside a keytab.
            "users" if row.name() == "principals" && value.to_string() != "[]" => {
                format!("[users]\nkeytab = '/y'\n{line}")
            }
            "tls" if row.name() == "key" => format!("[tls]\ncertificate = '/y'\n{line}"),
            section => format!("[{section}]\n{line}"),
        }
    }

    /// Whether this build has what the key is for.
    fn is_built(key: &str) -> bool {
        let optional = [
            ("listen.ntlm", cfg!(feature = "ntlm")),
            ("users.keytab", cfg!(feature = "sso")),
            ("users.principals", cfg!(feature = "sso")),
        ];
        let known = optional.iter().find(|(name, _)| *name == key);
        known.is_none_or(|(_, built)| *built)
    }

    #[test]
    fn every_key_that_is_set_changes_something() {
        for row in ROWS {
            let other = other(row);
            assert_ne!(default_of(row).as_ref(), Some(&other), "{}", row.key);
            let text = with(row, &other);
            let line = format!("{} = {other}\n", row.name());
            let without = text.replace(&line, "");
            if !is_built(row.key) {
                assert!(read(&text).unwrap_err().contains("built without it"));
                continue;
            }
            let got = read(&text).unwrap_or_else(|why| panic!("{}\n{why}", row.key));
            // A bare [[route]] is refused.
            let without = read(&without).or_else(|_| read("")).unwrap();
            assert_ne!(got, without, "{} does nothing", row.key);
        }
    }

    #[test]
    fn a_default_written_down_changes_nothing() {
        for row in ROWS.iter().filter(|row| row.section() != "route") {
            if let Some(default) = default_of(row) {
                let text = with(row, &default);
                let without = text.replace(&format!("{} = {default}\n", row.name()), "");
                let got = read(&text).unwrap();
                assert_eq!(got, read(&without).unwrap(), "{}", row.key);
            }
        }
    }

    #[test]
    fn the_table_is_sound() {
        let keys: BTreeSet<_> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len(), "a key stands twice");
        let order: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
        let mut at = 0;
        for row in ROWS {
            let here = order
                .iter()
                .position(|name| *name == row.section())
                .unwrap();
            assert!(here >= at, "{} is not with its section", row.key);
            at = here;
            match row.default {
                Some(default) => {
                    row.kind.read(default).unwrap();
                }
                None => {
                    row.kind.read(row.example).unwrap();
                }
            }
            assert!(
                row.help.ends_with('.') && row.help.is_ascii(),
                "{}",
                row.key
            );
            assert!(!row.kind.allowed().is_empty());
        }
        for name in order {
            assert!(lookup::rows_of(name).next().is_some(), "[{name}] is empty");
        }
    }

    #[test]
    fn without_a_file_it_listens_on_loopback_and_keeps_all_mail() {
        let config = read("").unwrap();
        assert_eq!(config.hostname.as_str(), "box");
        assert_eq!(config.rewrite.default_domain.as_str(), "box");
        assert!(
            config
                .listen
                .iter()
                .all(|at| at.address.tcp().unwrap().ip().is_loopback())
        );
        assert!(config.routes.is_empty());
        assert!(!config.access.relay.contain("192.168.1.1".parse().unwrap()));
        assert!(read("listen = []").unwrap().listen.is_empty());
    }

    #[test]
    fn a_host_without_a_good_name_is_localhost() {
        for (system, want) in [("nas", "nas"), ("(none)", "localhost"), ("", "localhost")] {
            let (config, _) = load(None, &Flags::default(), system).unwrap();
            assert_eq!(config.hostname.as_str(), want);
        }
    }
}
