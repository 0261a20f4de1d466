//! `mailroot status`: what the running service is doing. `mailroot reload`: it reads its configuration again.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg;

use crate::cli::ask::Answer;
use crate::cli::ask::ask;
use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::Flags;

/// Where a service is, for the commands that talk to one.
#[derive(Debug)]
pub struct Target {
    /// Its home.
    pub home: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Answers are wanted as JSON.
    pub json: bool,
    /// The other arguments.
    pub words: Vec<String>,
}

impl Target {
    /// Reads `--home DIR`, `--config FILE` and `--json`; without either of the first two it is the home that
    /// `MAILROOT_HOME` names, or the usual one.
    pub fn from_args(args: &mut lexopt::Parser) -> Result<Self, Stop> {
        let (mut file, mut flags) = (None, Flags::default());
        let (mut json, mut words) = (false, Vec::new());
        let mut named = false;
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("json") => json = true,
                Arg::Long("config") => {
                    named = true;
                    file = Some(PathBuf::from(args.value()?));
                }
                Arg::Long("home") => {
                    named = true;
                    load::flag("home", args, &mut flags)?;
                }
                Arg::Value(word) => words.push(load::text_of(word)?),
                other => return Err(load::unexpected(other)),
            }
        }
        if !named && let Some(home) = std::env::var_os("MAILROOT_HOME") {
            flags.push("home", &load::text_of(home)?);
        }
        let (config, _) = load::load(file.as_deref(), &flags)?;
        Ok(Self {
            home: config.home,
            socket: config.control.socket,
            json,
            words,
        })
    }

    /// The service of this home.
    pub fn of_home(home: &Path) -> Result<Self, Stop> {
        let mut flags = Flags::default();
        flags.push("home", &load::text_of(home.to_owned().into())?);
        let (config, _) = load::load(None, &flags)?;
        Ok(Self {
            home: config.home,
            socket: config.control.socket,
            json: false,
            words: Vec::new(),
        })
    }

    /// Asks the service, and puts its answer out. The exit code; or `None` when no service runs there.
    pub fn ask(&self, request: &[&str], out: &mut dyn Write, err: &mut dyn Write) -> Option<u8> {
        let mut request = request.to_vec();
        if self.json {
            request.push("--json");
        }
        let said = |result: std::io::Result<()>, code| match result {
            Ok(()) => code,
            Err(_) => sysexits::IOERR,
        };
        Some(match ask(&self.socket, &request) {
            Ok(Answer::Said(text)) => said(out.write_all(text.as_bytes()), sysexits::OK),
            Ok(Answer::Refused(why)) => {
                said(writeln!(err, "mailroot: {why}"), sysexits::UNAVAILABLE)
            }
            Ok(Answer::NotAllowed(Some(why))) => {
                said(writeln!(err, "mailroot: {why}"), sysexits::NOPERM)
            }
            Ok(Answer::NotAllowed(None)) => said(
                writeln!(
                    err,
                    "mailroot: only root and the user that the service runs as may ask it ({}); \
                     [operators] in its configuration can name others",
                    self.socket.display()
                ),
                sysexits::NOPERM,
            ),
            Ok(Answer::NotRunning) => return None,
            Err(error) => said(
                writeln!(err, "mailroot: {}: {error}", self.socket.display()),
                sysexits::IOERR,
            ),
        })
    }

    /// Says that no service runs, and what that means for what was asked.
    pub fn not_running(&self, so: &str, err: &mut dyn Write) -> u8 {
        let _ = writeln!(
            err,
            "mailroot: no service runs on {}{so}",
            self.home.display()
        );
        sysexits::UNAVAILABLE
    }
}

/// Runs `status`. 0 when the service runs, 69 when none does.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| answer("status", args, out, err))
}

/// Runs `reload`. 0 when the new configuration is at work, 69 when it is not, or no service runs.
pub fn reload(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| answer("reload", args, out, err))
}

/// Runs `sync`. 0 when all mail is on the disk, 69 when no service runs.
pub fn sync(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| answer("sync", args, out, err))
}

fn answer(
    request: &str,
    args: &mut lexopt::Parser,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let target = match Target::from_args(args) {
        Ok(target) => target,
        Err(stop) => {
            let _ = writeln!(err, "{stop}");
            return stop.code();
        }
    };
    if let Some(word) = target.words.first() {
        let word = word.escape_debug();
        let _ = writeln!(err, "mailroot: {request} takes no '{word}'");
        return sysexits::USAGE;
    }
    target
        .ask(&[request], out, err)
        .unwrap_or_else(|| target.not_running("; start it with `mailroot run`", err))
}
