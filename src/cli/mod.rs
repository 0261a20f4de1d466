//! The command line: one file per command; nothing but arguments, text and exit codes.

mod ask;
mod badmail;
mod check;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod dkim;
mod help;
#[cfg(feature = "import-iis")]
mod import_iis;
mod init;
mod install;
mod journal;
mod load;
pub mod mail;
mod newaliases;
mod passwd;
mod queue;
mod rest;
mod run;
pub mod sendmail;
mod servers;
mod session;
mod status;
mod sysexits;
mod target;
mod trial;
mod version;
mod wizard;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::cli::sendmail::Mode;

pub use help::COMMANDS;

/// Runs the command that the program's name and arguments ask for.
///
/// Called as `sendmail`, `mailq`, `mail` or `newaliases` it is that program; otherwise the first argument names the
/// command.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    let called = std::path::Path::new(&called);
    let name = called.file_name().and_then(|name| name.to_str());
    match name {
        Some("mailx") => dispatch("mail", args),
        Some("sendmail" | "mailq" | "newaliases" | "mail") => {
            dispatch(name.unwrap_or_default(), args)
        }
        _ => match args.next() {
            Some(command) => {
                let command = command.to_string_lossy();
                let mut args = args.peekable();
                // Only as the first argument: later it may be somebody's address or text.
                if args.next_if(|arg| arg == "--help").is_some() {
                    return help::run(std::iter::once(command.into_owned().into()));
                }
                dispatch(&command, args)
            }
            None => help::run(std::iter::empty()),
        },
    }
}

fn dispatch(command: &str, args: impl Iterator<Item = OsString>) -> ExitCode {
    match command {
        "run" => run::run(args),
        "sendmail" => sendmail::run(args, |mode, home| match mode {
            Mode::Queue => queue::list(home),
            Mode::Flush => queue::flush(home),
            Mode::Smtp => session::run(home),
            Mode::Submit | Mode::Ignore => ExitCode::SUCCESS,
        }),
        "mailq" => queue::mailq(args),
        "mail" => mail::run(args),
        "newaliases" => newaliases::run(args),
        "queue" => queue::run(args),
        "badmail" => badmail::run(args),
        "journal" => journal::run(args),
        "status" => status::run(args),
        "reload" => status::reload(args),
        "pause" => status::order("pause", args),
        "resume" => status::order("resume", args),
        "stop" => status::order("stop", args),
        "start" => status::order("start", args),
        "sync" => status::sync(args),
        #[cfg(feature = "demo")]
        "demo" => demo::run(args),
        "check" => check::run(args),
        "config" => config::run(args),
        #[cfg(feature = "import-iis")]
        "import-iis" => import_iis::run(args),
        "init" if cfg!(feature = "setup") => init::run(args),
        "install" if cfg!(feature = "setup") => install::run(args),
        "passwd" => passwd::run(args),
        "dkim" if cfg!(feature = "dkim") => dkim::run(args),
        "help" | "--help" | "-h" => help::run(args),
        "version" | "--version" | "-V" => version::run(),
        other => unknown(other),
    }
}

/// Commands that a build may leave out, with the feature that brings each.
const OPTIONAL: [(&str, &str); 5] = [
    ("demo", "demo"),
    ("dkim", "dkim"),
    ("import-iis", "import-iis"),
    ("init", "setup"),
    ("install", "setup"),
];

fn unknown(command: &str) -> ExitCode {
    let optional = OPTIONAL.iter().find(|(name, _)| *name == command);
    let command = command.escape_debug();
    // Who closed our standard error has nowhere to read it.
    let _ = match optional {
        Some((_, feature)) => writeln!(
            std::io::stderr(),
            "mailroot: this program was built without '{command}'; build one with the feature '{feature}'"
        ),
        None => writeln!(
            std::io::stderr(),
            "mailroot: there is no command '{command}'; `mailroot help` lists them"
        ),
    };
    ExitCode::from(sysexits::USAGE)
}
