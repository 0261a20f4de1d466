//! `mailroot status`: what the running service is doing. `mailroot reload | sync | pause | resume | stop | start`: orders
//! to a virtual server as a whole.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::cli::load;
use crate::cli::sysexits;
use crate::cli::target::Target;
use crate::cli::target::Targets;

/// Runs `status`. 0 when every server is there to say it, 69 when one is not.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    each("status", args)
}

/// Runs `sync`. 0 when all mail of every server is on the disk, 69 when it is not, or no service runs.
pub fn sync(args: impl Iterator<Item = OsString>) -> ExitCode {
    each("sync", args)
}

/// Runs `reload`. 0 when the new configuration is at work, 69 when it is not, or no service runs.
pub fn reload(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| {
        let targets = match Targets::named(args) {
            Ok(targets) => targets,
            Err(stop) => return stop.tell(err),
        };
        if !targets.several {
            return one(targets, "reload", out, err);
        }
        // Any of them hands it on to all, and to files that are new.
        let answer = |target: &Target| target.ask(&["reload", "all"], out, err);
        targets.all.iter().find_map(answer).unwrap_or_else(|| {
            let _ = writeln!(err, "mailroot: none of the servers runs{RUN}");
            sysexits::UNAVAILABLE
        })
    })
}

/// Runs `pause`, `resume`, `stop` or `start`. 0 when it is done, 69 when it is not, or no service runs.
pub fn order(what: &'static str, args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| match Targets::named(args) {
        Ok(targets) => one(targets, what, out, err),
        Err(stop) => stop.tell(err),
    })
}

/// What to do about a service that does not run.
const RUN: &str = "; start it with `mailroot run`";

/// Asks the one server that is meant.
fn one(targets: Targets, request: &str, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match targets.one() {
        Ok((target, _)) => target
            .ask(&[request], out, err)
            .unwrap_or_else(|| target.not_running(RUN, err)),
        Err(stop) => stop.tell(err),
    }
}

/// Asks every server. The code is that of the first that could not do it.
fn each(request: &'static str, args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| {
        let targets = match Targets::named(args) {
            Ok(targets) => targets,
            Err(stop) => return stop.tell(err),
        };
        let mut codes = Vec::new();
        for (at, target) in targets.all.iter().enumerate() {
            if at > 0 && !target.json {
                let _ = writeln!(out);
            }
            let answered = target.ask(&[request], out, err);
            codes.push(answered.unwrap_or_else(|| target.not_running(RUN, err)));
        }
        targets.code(codes, err)
    })
}
