//! `mailroot config [--all] [flags] [FILE]`: prints settings as TOML: those given, or all that hold.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::Flags;
use crate::config::Settings;

/// Runs it. No secret is printed: settings hold the places of passwords only.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

/// The same with the world handed in.
pub fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match settings(args) {
        Ok((all, settings)) => match write!(out, "{}", settings.print(all)) {
            Ok(()) => sysexits::OK,
            Err(_) => sysexits::IOERR,
        },
        Err(stop) => stop.tell(err),
    }
}

fn settings(args: &mut lexopt::Parser) -> Result<(bool, Settings), Stop> {
    let (mut all, mut file, mut flags) = (false, None, Flags::default());
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("all") => all = true,
            lexopt::Arg::Long(name) => {
                let name = name.to_owned();
                load::flag(&name, args, &mut flags)?;
            }
            lexopt::Arg::Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(load::unexpected(other)),
        }
    }
    let (_, settings) = load::load(file.as_deref(), &flags)?;
    Ok((all, settings))
}
