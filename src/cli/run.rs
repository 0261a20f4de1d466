//! `mailroot run`: the service in the foreground.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::Flags;
use crate::service;
use crate::service::StartError;

/// Runs until SIGTERM or SIGINT.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = lexopt::Parser::from_args(args);
    // No lock on standard error is held here: the log writes there for as long as the service runs.
    let (code, why) = match serve(&mut args) {
        Ok(()) => return ExitCode::SUCCESS,
        Err((code, why)) => (code, why),
    };
    // Who closed our standard error has nowhere to read it.
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::from(code)
}

fn serve(args: &mut lexopt::Parser) -> Result<(), (u8, String)> {
    let stopped = |stop: Stop| (stop.code(), stop.to_string());
    let (file, flags) = source(args).map_err(stopped)?;
    let (config, _) = load::load(file.as_deref(), &flags).map_err(stopped)?;
    let reread = move || {
        load::load(file.as_deref(), &flags)
            .map(|(config, _)| config)
            .map_err(|stop| stop.to_string())
    };
    service::run(config, reread).map_err(|error| {
        let code = match error {
            StartError::Config(_) => sysexits::CONFIG,
            StartError::Io(_) => sysexits::IOERR,
            StartError::Busy(_) => sysexits::TEMPFAIL,
        };
        (code, format!("mailroot: {error}"))
    })
}

/// Where the settings come from.
fn source(args: &mut lexopt::Parser) -> Result<(Option<PathBuf>, Flags), Stop> {
    let (mut file, mut flags) = (None, Flags::default());
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Arg::Value(_) => {
                let why = "one configuration file is one service; start a second for the other";
                return Err(Stop::Usage(why.to_owned()));
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                load::flag(&name, args, &mut flags)?;
            }
            other @ Arg::Short(_) => return Err(load::unexpected(other)),
        }
    }
    Ok((file, flags))
}
