//! `mailroot import-iis METABASE`: one configuration file for each SMTP virtual server of an IIS.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::limits;
use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::import::metabase;
use crate::config::import::server;
use crate::config::import::server::Imported;
use crate::config::import::server::Places;
use crate::disk::small;

/// Runs it. 0 when every file was written, 65 when the metabase is none, 73 when a file is there already.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

struct Task {
    source: PathBuf,
    out: PathBuf,
    home: String,
    force: bool,
}

fn task(args: &mut lexopt::Parser) -> Result<Task, Stop> {
    let (mut source, mut out) = (None, PathBuf::from("."));
    let (mut home, mut force) = (String::from("/var/spool/mailroot"), false);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("out") => out = PathBuf::from(args.value()?),
            lexopt::Arg::Long("home") => {
                let path = PathBuf::from(args.value()?);
                let path = std::path::absolute(&path).unwrap_or(path);
                home = load::text_of(path.into_os_string())?;
            }
            lexopt::Arg::Long("force") => force = true,
            lexopt::Arg::Value(value) if source.is_none() => source = Some(PathBuf::from(value)),
            other => return Err(load::unexpected(other)),
        }
    }
    let source = source.ok_or_else(|| {
        Stop::Usage("write mailroot import-iis MetaBase.xml [--out DIR]".to_owned())
    })?;
    Ok(Task {
        source,
        out,
        home,
        force,
    })
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = task(args)
        .map_err(|stop| (stop.code(), stop.to_string()))
        .and_then(|task| import(&task, out));
    match done {
        Ok(()) => sysexits::OK,
        Err((code, why)) => {
            let _ = writeln!(err, "{why}");
            code
        }
    }
}

fn import(task: &Task, out: &mut dyn Write) -> Result<(), (u8, String)> {
    let source = task.source.display().to_string();
    let bytes = read(&task.source).map_err(|error| {
        let why = format!("mailroot: {source}: cannot be read: {error}");
        (sysexits::NOINPUT, why)
    })?;
    let servers = metabase::read(&bytes)
        .map_err(|why| (sysexits::DATAERR, format!("mailroot: {source}: {why}")))?;
    let name = task.source.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let alone = servers.len() == 1;
    let hostname = load::hostname();
    let mut all = Vec::new();
    for server in servers {
        let home = if alone {
            task.home.clone()
        } else {
            format!("{}/{}", task.home, server.number)
        };
        let places = Places {
            source: &name,
            home: &home,
            hostname: &hostname,
        };
        let number = server.number;
        let imported = server::translate(server, places).map_err(|faults| {
            let why =
                format!("mailroot: server {number} of {source} could not be translated:\n{faults}");
            (sysexits::SOFTWARE, why)
        })?;
        all.push((imported, home));
    }
    for (imported, home) in all {
        let path = task.out.join(format!("mailroot-{}.toml", imported.number));
        write(&path, &imported, task.force)?;
        let _ = writeln!(
            out,
            "{}: {}, home {home}; its head says what was changed and what has no equivalent",
            path.display(),
            imported.name.escape_debug()
        );
    }
    Ok(())
}

/// One byte more than is taken, so that the reader sees that it is too much.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = u64::try_from(limits::METABASE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, imported: &Imported, force: bool) -> Result<(), (u8, String)> {
    let written = if force {
        small::replace_with(path, &imported.text, 0o644)
    } else {
        small::create(path, &imported.text, 0o644)
    };
    written.map_err(|error| {
        let path = path.display();
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("mailroot: {path} is there already and was left alone; name another folder, or say --force")
            }
            _ => format!("mailroot: cannot write {path}: {error}"),
        };
        (sysexits::CANTCREAT, why)
    })
}
