//! `mailroot badmail`: what could be neither delivered nor returned, and what to do with it. With the service up it
//! does it; with the service down the files are read and written here, by whoever may.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::cli::load;
use crate::cli::sysexits;
use crate::cli::target::Target;
use crate::cli::target::Targets;
use crate::disk::badmail::Badmail;
use crate::disk::badmail::Caps;
use crate::disk::folders::Folders;
use crate::service::badmails;

/// Runs it.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, badmail)
}

fn badmail(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (target, words) = match Targets::from_args(args).and_then(Targets::one) {
        Ok(found) => found,
        Err(stop) => return stop.tell(err),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["list"] => list(&target, out, err),
        [what @ ("show" | "retry" | "remove"), ids @ ..] if !ids.is_empty() => {
            let mut code = sysexits::OK;
            for id in ids {
                let one = order(&target, what, id, out, err);
                code = if code == sysexits::OK { one } else { code };
            }
            code
        }
        _ => {
            let _ = writeln!(
                err,
                "mailroot: badmail takes list, show ID, retry ID... or remove ID..."
            );
            sysexits::USAGE
        }
    }
}

/// The folder as it lies there. Nothing is pruned by looking.
fn folder(target: &Target) -> (Badmail, Folders) {
    let folders = Folders::below(&target.home);
    let caps = Caps {
        bytes: u64::MAX,
        count: usize::MAX,
        age: None,
    };
    (Badmail::new(&folders.badmail, caps), folders)
}

fn list(target: &Target, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    if let Some(code) = target.ask(&["badmail", "list"], out, err) {
        return code;
    }
    let (badmail, folders) = folder(target);
    let entries = match badmail.list() {
        Ok(entries) => entries,
        Err(error) => {
            let _ = writeln!(err, "mailroot: {}: {error}", folders.badmail.display());
            return sysexits::NOINPUT;
        }
    };
    let mut said = Ok(());
    if !target.json {
        let top = if entries.is_empty() {
            badmails::EMPTY
        } else {
            badmails::HEADING
        };
        said = out.write_all(top.as_bytes());
    }
    let rows = entries
        .iter()
        .filter_map(|entry| badmails::row(&badmail, entry, target.json));
    for row in rows {
        said = said.and_then(|()| out.write_all(row.as_bytes()));
    }
    if said.is_ok() {
        sysexits::OK
    } else {
        sysexits::IOERR
    }
}

fn order(target: &Target, what: &str, id: &str, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    // Asked of the service such a name would become other words.
    if !Badmail::is_id(id) {
        let _ = writeln!(
            err,
            "mailroot: '{}' is no name of a bad message; `mailroot badmail list` shows them",
            id.escape_debug()
        );
        return sysexits::USAGE;
    }
    if let Some(code) = target.ask(&["badmail", what, id], out, err) {
        return code;
    }
    let (badmail, folders) = folder(target);
    match badmails::order(&badmail, &folders.pickup, what, id, target.json) {
        Ok(text) => match out.write_all(text.as_bytes()) {
            Ok(()) => sysexits::OK,
            Err(_) => sysexits::IOERR,
        },
        Err(why) => {
            let _ = writeln!(err, "mailroot: {why}");
            sysexits::UNAVAILABLE
        }
    }
}
