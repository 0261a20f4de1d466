//! `mailroot queue` and `mailq`: what waits, why, and what to do with it. Lists work without a service, too.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::base::MsgId;
use crate::cli::load;
use crate::cli::rest;
use crate::cli::sysexits;
use crate::cli::target::Target;
use crate::cli::target::Targets;
use crate::disk::body::Stored;
use crate::disk::handle::Paths;
use crate::disk::peek::Peek;
use crate::service::show::HEADING;
use crate::service::show::Shown;

/// Runs `mailroot queue ...`.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, queue)
}

/// Runs `mailq`: the list.
pub fn mailq(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| match Targets::from_args(args) {
        Ok(targets) => every(&targets, out, err),
        Err(stop) => stop.tell(err),
    })
}

/// The list of the queue in `home`: `sendmail -bp`.
pub fn list(home: &Path) -> ExitCode {
    of_home(home, &["list"])
}

/// Tries everything that waits in `home` now: `sendmail -q`.
pub fn flush(home: &Path) -> ExitCode {
    of_home(home, &["retry"])
}

fn of_home(home: &Path, words: &[&str]) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let code = match Target::of_home(home) {
        Ok(target) => act(&target, words, &mut out, &mut err),
        Err(stop) => stop.tell(&mut err),
    };
    ExitCode::from(code)
}

fn queue(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let targets = match Targets::from_args(args) {
        Ok(targets) => targets,
        Err(stop) => return stop.tell(err),
    };
    let is_list = targets.words.iter().all(|word| word == "list");
    if is_list && targets.words.len() < 2 {
        return every(&targets, out, err);
    }
    match targets.one() {
        Ok((target, words)) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            act(&target, &words, out, err)
        }
        Err(stop) => stop.tell(err),
    }
}

/// The lists of all queues, each under its server's name when there are several.
fn every(targets: &Targets, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut codes = Vec::new();
    for target in &targets.all {
        if targets.several && !target.json {
            // One that cannot be written is told by what follows.
            let _ = writeln!(out, "{}:", target.name);
        }
        codes.push(act(target, &["list"], out, err));
    }
    targets.code(codes, err)
}

fn act(target: &Target, words: &[&str], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match words {
        ["list"] | ["retry"] | ["show" | "retry" | "remove" | "hold" | "release", _] => {}
        ["verify"] => return rest::verify(target, out, err),
        ["export", folder, ids @ ..] => return rest::export(target, folder, ids, out, err),
        ["import", first, more @ ..] => {
            let paths = std::iter::once(first).chain(more).copied();
            return rest::import(target, paths, out, err);
        }
        _ => {
            let _ = writeln!(
                err,
                "mailroot: queue takes list, show ID, retry [ID], remove ID, hold ID, release ID, verify, \
                 export FOLDER [ID...] or import PATH..."
            );
            return sysexits::USAGE;
        }
    }
    let mut request = vec!["queue"];
    request.extend(words);
    if let Some(code) = target.ask(&request, out, err) {
        return code;
    }
    match words {
        ["list"] => at_rest(target, out, err, None),
        ["show", id] => match id.parse() {
            Ok(id) => at_rest(target, out, err, Some(id)),
            Err(why) => {
                let _ = writeln!(err, "mailroot: '{}' is {why}", id.escape_debug());
                sysexits::USAGE
            }
        },
        ["retry", ..] => target.not_running("; everything is tried when it starts", err),
        _ => target.not_running("; start it, then ask again", err),
    }
}

/// Reads the queue of a service that does not run. Never writes to it.
fn at_rest(target: &Target, out: &mut dyn Write, err: &mut dyn Write, only: Option<MsgId>) -> u8 {
    let peek = match Peek::open(&Paths::of_home(&target.home)) {
        Ok(peek) => peek,
        Err(error) => {
            let _ = writeln!(err, "mailroot: {}: {error}", target.home.display());
            return sysexits::IOERR;
        }
    };
    let (mut count, mut text) = (0, String::new());
    peek.each(|live| {
        if only.is_some_and(|id| id != live.id) {
            return;
        }
        count += 1;
        match live.stored {
            Ok(stored) => text.push_str(&form(target, live.id, stored, only.is_some())),
            Err(error) => text.push_str(&format!("{}: {error}\n", live.id)),
        }
    });
    if count == 0
        && let Some(id) = only
    {
        let _ = writeln!(err, "mailroot: there is no message {id} in the queue");
        return sysexits::NOINPUT;
    }
    let text = match (count, only, target.json) {
        (_, Some(_), _) | (_, _, true) => text,
        (0, ..) => String::from("the queue is empty\n"),
        _ => format!("{HEADING}{text}"),
    };
    match out.write_all(text.as_bytes()) {
        Ok(()) => sysexits::OK,
        Err(_) => sysexits::IOERR,
    }
}

fn form(target: &Target, id: MsgId, stored: &Stored, detail: bool) -> String {
    let shown = Shown {
        id,
        bytes: stored.body_len,
        accept: &stored.accept,
        progress: stored.progress.as_ref(),
        hold: stored.hold.as_deref(),
        due: None,
        ways: Vec::new(),
    };
    match (target.json, detail) {
        (true, _) => shown.json(),
        (false, true) => shown.detail(),
        (false, false) => shown.line(),
    }
}
