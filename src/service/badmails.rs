//! The orders of `mailroot badmail`, the same whether the service runs them or, while it is down, the command itself.
//!
//! All of it blocks on the disk: in the service it is for the file worker.

use std::fmt::Write;
use std::io;
use std::path::Path;

use crate::base::Escaped;
use crate::disk::badmail::Badmail;
use crate::disk::badmail::Entry;
use crate::disk::badmail::Verdict;
use crate::disk::requeue;
use crate::disk::requeue::requeue;
use crate::service::event::Json;

/// The heading over [`row`].
pub const HEADING: &str = "ID          SIZE      SINCE                 FROM -> TO\n";

/// What a list says where there is nothing.
pub const EMPTY: &str = "there is no badmail\n";

/// Does what was asked with one message; the sentence that answers, or why it was not done.
pub fn order(
    badmail: &Badmail,
    pickup: &Path,
    what: &str,
    stem: &str,
    json: bool,
) -> Result<String, String> {
    let failed = |error: io::Error| why(stem, &error);
    match what {
        "show" if json => {
            let verdict = badmail.verdict(stem).map_err(failed)?;
            Ok(object(stem, None, &verdict))
        }
        "show" => badmail.show(stem).map_err(failed),
        "retry" => match requeue(badmail, stem, pickup) {
            Ok(()) => Ok(format!(
                "{stem} is in the pickup folder and goes from there\n"
            )),
            Err(requeue::Fault::Read(error)) => Err(failed(error)),
            Err(fault) => Err(format!("{stem}: {fault}")),
        },
        "remove" => {
            badmail.remove(stem).map_err(failed)?;
            Ok(format!("removed {stem}; nobody is told\n"))
        }
        _ => Err(String::from(
            "badmail takes list, show ID, retry ID or remove ID",
        )),
    }
}

fn why(stem: &str, error: &io::Error) -> String {
    let stem = stem.escape_debug();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no bad message {stem}; `mailroot badmail list` shows them")
        }
        _ => format!("{stem}: {error}"),
    }
}

/// One message of a list. `None` when it went meanwhile.
pub fn row(badmail: &Badmail, entry: &Entry, json: bool) -> Option<String> {
    let verdict = match badmail.verdict(&entry.stem) {
        Ok(verdict) => verdict,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The message without its reasons: somebody removed them, or moved it here.
            if badmail.open(&entry.stem).is_err() {
                return None;
            }
            Verdict {
                at: entry.at,
                ..Verdict::default()
            }
        }
        Err(error) => Verdict {
            at: entry.at,
            reason: error.to_string(),
            ..Verdict::default()
        },
    };
    Some(if json {
        object(&entry.stem, Some(entry.size), &verdict)
    } else {
        line(entry, &verdict)
    })
}

fn line(entry: &Entry, verdict: &Verdict) -> String {
    let people = match (&verdict.sender, verdict.recipients.as_slice()) {
        (None, []) => verdict.origin.clone(),
        (sender, to) => {
            let sender = match sender.as_deref() {
                None | Some("") => "<>",
                Some(sender) => sender,
            };
            let first = to.first().map_or("nobody", String::as_str);
            match to.len() {
                0 | 1 => format!("{sender} -> {first}"),
                n => format!("{sender} -> {first} and {} more", n.saturating_sub(1)),
            }
        }
    };
    let mut line = format!(
        "{:<11} {:<9} {}  {}\n",
        entry.stem,
        entry.size,
        entry.at,
        Escaped(people.as_bytes())
    );
    if !verdict.reason.is_empty() {
        let _ = writeln!(line, "            {}", Escaped(verdict.reason.as_bytes()));
    }
    line
}

fn object(stem: &str, size: Option<u64>, verdict: &Verdict) -> String {
    let mut text = format!("{{\"id\":{}", Json(stem));
    if let Some(size) = size {
        let _ = write!(text, ",\"bytes\":{size}");
    }
    let _ = write!(text, ",\"since\":\"{}\"", verdict.at);
    let _ = match &verdict.sender {
        Some(sender) => write!(text, ",\"sender\":{}", Json(sender)),
        None => write!(text, ",\"sender\":null"),
    };
    text.push_str(",\"recipients\":[");
    for (at, recipient) in verdict.recipients.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{}", Json(recipient));
    }
    text.push(']');
    for (name, value) in [
        ("reason", &verdict.reason),
        ("status", &verdict.status),
        ("remote", &verdict.remote),
        ("origin", &verdict.origin),
    ] {
        let _ = write!(text, ",\"{name}\":{}", Json(value));
    }
    text.push_str("}\n");
    text
}
