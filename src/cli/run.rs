//! `mailroot run`: the service in the foreground, for one virtual server or several.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::Arg;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::servers;
use crate::cli::servers::Source;
use crate::cli::sysexits;
use crate::config::Flags;
use crate::service;
use crate::service::Read;
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
    let (paths, flags) = source(args).map_err(stopped)?;
    let run = match paths.as_slice() {
        [] => one(None, flags),
        [path] if !path.is_dir() => one(Some(path.clone()), flags),
        _ if !flags.is_empty() => {
            let why = "flags go with one file; with several, each says for itself what it wants";
            Err(Stop::Usage(why.to_owned()))
        }
        _ => several(paths),
    };
    run.map_err(stopped)?.map_err(|error| {
        let code = match error {
            StartError::Config(_) => sysexits::CONFIG,
            StartError::Io(_) => sysexits::IOERR,
            StartError::Busy(_) => sysexits::TEMPFAIL,
        };
        (code, format!("mailroot: {error}"))
    })
}

/// Runs the one server of a file, or of flags alone.
fn one(file: Option<PathBuf>, flags: Flags) -> Result<Result<(), StartError>, Stop> {
    let (config, _) = load::load_here(file.as_deref(), &flags)?;
    let given = file.clone();
    let reread = move || {
        load::load_here(file.as_deref(), &flags)
            .map(|(config, _)| config)
            .map_err(|stop| stop.to_string())
    };
    Ok(service::run(config, given, Arc::new(reread)))
}

/// Runs the servers of several files.
fn several(paths: Vec<PathBuf>) -> Result<Result<(), StartError>, Stop> {
    // What was mistyped is not waited for.
    let sources: Vec<Source> = paths.into_iter().map(Source::new).collect();
    servers::files(&sources)?;
    let list = move || servers::files(&sources).map_err(|stop| stop.to_string());
    let reader = |file: &Path| -> Read {
        let file = file.to_owned();
        Arc::new(move || servers::read_here(&file).map_err(|stop| stop.to_string()))
    };
    let (own, _) = load::load(None, &Flags::default())?;
    Ok(service::run_all(&own, Box::new(list), Box::new(reader)))
}

/// Where the settings come from.
fn source(args: &mut lexopt::Parser) -> Result<(Vec<PathBuf>, Flags), Stop> {
    let (mut paths, mut flags) = (Vec::new(), Flags::default());
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(path) => paths.push(PathBuf::from(path)),
            Arg::Long(name) => {
                let name = name.to_owned();
                load::flag(&name, args, &mut flags)?;
            }
            other @ Arg::Short(_) => return Err(load::unexpected(other)),
        }
    }
    Ok((paths, flags))
}
