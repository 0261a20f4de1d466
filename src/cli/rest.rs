//! `mailroot queue verify | export | import`: the queue of a service that does not run, read and written as files.
//!
//! Verify and export never write to the queue. Import goes through the pickup folder, the door that works with the
//! service up or down.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::base::Escaped;
use crate::base::MsgId;
use crate::base::limits;
use crate::cli::sysexits;
use crate::cli::target::Target;
use crate::disk::dump;
use crate::disk::export;
use crate::disk::fault::LoadError;
use crate::disk::folders::Folders;
use crate::disk::handle::Paths;
use crate::disk::peek::Peek;
use crate::disk::submit::Submission;

fn open(target: &Target, err: &mut dyn Write) -> Option<Peek> {
    match Peek::open(&Paths::of_home(&target.home)) {
        Ok(peek) => Some(peek),
        Err(error) => {
            let _ = writeln!(err, "mailroot: {}: {error}", target.home.display());
            None
        }
    }
}

/// Reads every record and every body. 0 when all is well, 65 when something cannot be read.
pub fn verify(target: &Target, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let Some(peek) = open(target, err) else {
        return sysexits::IOERR;
    };
    let found = peek.recovery();
    let mut wrong = Vec::new();
    for damage in &found.damage {
        wrong.push(format!(
            "{}: {} bytes from {} on cannot be read; what was in them is lost",
            dump::file(damage.slot),
            damage.len,
            damage.offset
        ));
    }
    let listed: u64 = found.damage.iter().map(|d| u64::from(d.len)).sum();
    if found.damaged_bytes > listed {
        let more = found.damaged_bytes.saturating_sub(listed);
        wrong.push(format!("{more} more bytes that cannot be read"));
    }
    for number in &found.missing {
        wrong.push(format!("segment {number} is missing"));
    }
    for id in &found.stray_bodies {
        wrong.push(format!("{id}.body belongs to no message that can be read"));
    }
    let (mut bytes, mut held) = (0_u64, 0_usize);
    for id in peek.ids() {
        let read = peek.load(id, |piece| {
            bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            Ok(())
        });
        match read {
            Ok(stored) => held = held.saturating_add(usize::from(stored.hold.is_some())),
            Err(LoadError::Gone) => {}
            Err(error) => wrong.push(format!("message {id}: {error}")),
        }
    }
    let claims = found.claims.iter().filter(|(_, taken)| !taken).count();
    let mut text = format!(
        "{} messages, {held} of them held, {bytes} bytes of bodies\n{} segments, {} records\n",
        found.messages, found.segments, found.records
    );
    if claims > 0 {
        text.push_str(&format!(
            "{claims} pickup files were being taken and are taken at the next start\n"
        ));
    }
    for line in &wrong {
        text.push_str(&format!("damage: {line}\n"));
    }
    if wrong.is_empty() {
        text.push_str("everything can be read\n");
    }
    match (out.write_all(text.as_bytes()), wrong.is_empty()) {
        (Err(_), _) => sysexits::IOERR,
        (Ok(()), true) => sysexits::OK,
        (Ok(()), false) => sysexits::DATAERR,
    }
}

/// Writes these messages, or all, into `folder`.
pub fn export(
    target: &Target,
    folder: &str,
    ids: &[&str],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let mut wanted = Vec::new();
    for id in ids {
        match id.parse::<MsgId>() {
            Ok(id) => wanted.push(id),
            Err(why) => {
                let _ = writeln!(err, "mailroot: '{}' is {why}", id.escape_debug());
                return sysexits::USAGE;
            }
        }
    }
    let Some(peek) = open(target, err) else {
        return sysexits::IOERR;
    };
    if ids.is_empty() {
        wanted = peek.ids();
    }
    let folder = Path::new(folder);
    if let Err(error) = fs::create_dir_all(folder) {
        let _ = writeln!(err, "mailroot: {}: {error}", folder.display());
        return sysexits::CANTCREAT;
    }
    let (mut count, mut code) = (0_usize, sysexits::OK);
    for id in wanted {
        match export::export(&peek, id, folder) {
            Ok(exported) => {
                count = count.saturating_add(1);
                let _ = writeln!(out, "{}", exported.path.display());
                if exported.binary {
                    let _ = writeln!(
                        err,
                        "mailroot: {id} is BINARYMIME; a pickup folder would mend its bare CR and LF"
                    );
                }
            }
            Err(fault) => {
                code = match fault {
                    export::Fault::Load(_) => sysexits::DATAERR,
                    export::Fault::Exists(_) | export::Fault::Io(..) => sysexits::CANTCREAT,
                };
                let _ = writeln!(err, "mailroot: {id}: {fault}");
            }
        }
    }
    let _ = writeln!(err, "{count} messages written; they are in the queue still");
    code
}

/// Hands files, and all `*.eml` of folders, to the pickup folder. Each is durable when it is named.
pub fn import<'a>(
    target: &Target,
    paths: impl Iterator<Item = &'a str>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let pickup = Folders::below(&target.home).pickup;
    let (mut count, mut code) = (0_usize, sysexits::OK);
    for path in paths {
        let files = match files(Path::new(path)) {
            Ok(files) => files,
            Err(error) => {
                let _ = writeln!(err, "mailroot: {}: {error}", Escaped(path.as_bytes()));
                code = sysexits::NOINPUT;
                continue;
            }
        };
        for file in files {
            match submit(&file, &pickup) {
                Ok(()) => {
                    count = count.saturating_add(1);
                    let _ = writeln!(out, "{}", file.display());
                }
                Err((at, error)) => {
                    let _ = writeln!(err, "mailroot: {}: {error}", at.display());
                    code = sysexits::IOERR;
                }
            }
        }
    }
    let _ = writeln!(
        err,
        "{count} files are in {}; the service takes them from there",
        pickup.display()
    );
    code
}

/// The file itself, or the messages in a folder, by name.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        if !hidden && path.extension().is_some_and(|ending| ending == "eml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Copies one file; on an error nothing of it is in the folder. The path says where it failed.
fn submit(file: &Path, pickup: &Path) -> Result<(), (PathBuf, io::Error)> {
    let reading = |error| (file.to_owned(), error);
    let writing = |error| (pickup.to_owned(), error);
    let mut source = File::open(file).map_err(reading)?;
    let mut copy = Submission::begin(pickup).map_err(writing)?;
    let (mut block, mut empty) = (vec![0; limits::BODY_STEP], true);
    loop {
        let got = match source.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(reading)?,
        };
        let Some(bytes) = block.get(..got).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        empty = false;
        copy.append(bytes).map_err(writing)?;
    }
    if empty {
        return Err(reading(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is empty",
        )));
    }
    copy.finish().map_err(writing)
}
