//! `mailroot journal dump`: what lies in the queue's files, for people who debug or do not believe us.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::base::Escaped;
use crate::base::Wall;
use crate::cli::load;
use crate::cli::sysexits;
use crate::cli::target::Targets;
use crate::disk::dump;
use crate::disk::dump::Line;
use crate::disk::handle::Paths;
use crate::queue::accept::Accept;
use crate::queue::accept::BodyAt;
use crate::queue::accept::Priority;
use crate::queue::field::Fields;
use crate::queue::progress::Progress;
use crate::queue::progress::Stage;
use crate::queue::record::FIRM;
use crate::queue::record::JOINED;
use crate::queue::record::Kind;
use crate::queue::record::Record;
use crate::service::show;

/// Runs it.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, journal)
}

fn journal(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (target, words) = match Targets::from_args(args).and_then(Targets::one) {
        Ok(found) => found,
        Err(stop) => return stop.tell(err),
    };
    if words.len() != 1 || words.first().is_none_or(|word| word != "dump") {
        let _ = writeln!(err, "mailroot: journal takes dump");
        return sysexits::USAGE;
    }
    let (mut written, mut damaged) = (Ok(()), false);
    let walked = dump::walk(&Paths::of_home(&target.home), |line| {
        damaged |= matches!(line, Line::Damage { .. });
        written = writeln!(out, "{}", text(line));
        written.is_ok()
    });
    if let Err(error) = walked {
        let _ = writeln!(err, "mailroot: {}: {error}", target.home.display());
        return sysexits::IOERR;
    }
    match (written, damaged) {
        (Err(_), _) => sysexits::IOERR,
        (Ok(()), true) => sysexits::DATAERR,
        (Ok(()), false) => sysexits::OK,
    }
}

fn text(line: &Line<'_>) -> String {
    match line {
        Line::Segment {
            slot,
            header,
            forgotten,
        } => format!(
            "{} segment {}, {} bytes, salt {:08x}, previous {} ends at {}, oldest {}, next id {}, clock {}{}",
            dump::file(*slot),
            header.number,
            header.size,
            header.salt,
            header.previous,
            header.previous_end,
            header.oldest,
            header.next_id,
            header.clock,
            if *forgotten { ", forgotten" } else { "" }
        ),
        Line::Record {
            offset,
            len,
            record,
        } => format!("{offset:>9} {len:>7} {}", said(record)),
        Line::Damage { offset, len } => format!("{offset:>9} {len:>7} DAMAGE: cannot be read"),
        Line::End { offset } => format!("{offset:>9}         end"),
        Line::Free { slot, size } => format!("{} free, {size} bytes", dump::file(*slot)),
    }
}

/// A record in words.
fn said(record: &Record<'_>) -> String {
    let mut text = match record.kind {
        Kind::Accept | Kind::AcceptFile => accept(record),
        Kind::Progress => progress(record),
        Kind::Done => "done".to_owned(),
        Kind::Hold => format!("hold \"{}\"", Escaped(record.payload)),
        Kind::Release => "release".to_owned(),
        Kind::Begin => {
            let count = Fields::new(record.payload).u8().unwrap_or(0);
            format!("begin, {count} without an end")
        }
        Kind::Clock => match Fields::new(record.payload).u64() {
            Ok(millis) => format!("clock {}", Wall::from_millis(millis)),
            Err(_) => "clock that cannot be understood".to_owned(),
        },
        Kind::Note => format!("note \"{}\"", Escaped(record.payload)),
    };
    if record.id.number() > 0 {
        text = format!("{} {text}", record.id);
    }
    for (flag, name) in [(JOINED, ", joined to the next"), (FIRM, ", firm")] {
        if record.flags & flag != 0 {
            text.push_str(name);
        }
    }
    text
}

fn accept(record: &Record<'_>) -> String {
    let in_file = record.kind == Kind::AcceptFile;
    let Ok((accept, body)) = Accept::read(record.payload, in_file) else {
        return "accept that cannot be understood".to_owned();
    };
    let to: Vec<String> = accept
        .envelope
        .recipients
        .iter()
        .map(|to| to.address.to_string())
        .collect();
    let body = match body {
        BodyAt::Inline(bytes) => format!("{} bytes of body", bytes.len()),
        BodyAt::File { len, crc } => format!("{len} bytes in its file, checksum {crc:08x}"),
    };
    let priority = match accept.priority {
        Priority::Low => ", low priority",
        Priority::Normal => "",
        Priority::High => ", high priority",
    };
    format!(
        "accept {} by {} ({}){priority}, {} -> {}, {body}",
        accept.arrived,
        show::door(accept.door),
        Escaped(accept.origin.as_bytes()),
        Escaped(show::path(accept.envelope.sender.as_ref()).as_bytes()),
        Escaped(to.join(" ").as_bytes()),
    )
}

fn progress(record: &Record<'_>) -> String {
    let Ok(progress) = Progress::read(record.payload) else {
        return "progress that cannot be understood".to_owned();
    };
    let (mut waiting, mut delivered, mut failed) = (0_usize, 0_usize, 0_usize);
    for at in 0..progress.len() {
        let count = match progress.stage(at) {
            Stage::Waiting => &mut waiting,
            Stage::Delivered => &mut delivered,
            Stage::Failed => &mut failed,
        };
        *count = count.saturating_add(1);
    }
    let why = (0..progress.len()).find_map(|at| progress.reason(at));
    let why = why.map_or_else(String::new, |reason| format!(", {reason}"));
    format!(
        "progress: {} tries in {}, next after {}; {waiting} waiting, {delivered} delivered, {failed} failed{why}",
        progress.attempts,
        show::span(progress.age),
        show::span(progress.wait),
    )
}
