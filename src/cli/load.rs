//! Reads a configuration for a command: the file, the flags over it, and what this host calls itself.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::base::Escaped;
use crate::base::limits;
use crate::cli::sysexits;
use crate::config;
use crate::config::Config;
use crate::config::Faults;
use crate::config::Flags;
use crate::config::Settings;
use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::disk::accounts;
use crate::disk::accounts::NoAccount;
use crate::service::privileges;

/// Runs a command, a function of its arguments, its output and its complaints to its exit code, on standard output
/// and standard error.
pub fn on_terminal(
    args: impl Iterator<Item = OsString>,
    command: impl FnOnce(&mut lexopt::Parser, &mut dyn Write, &mut dyn Write) -> u8,
) -> ExitCode {
    let mut args = lexopt::Parser::from_args(args);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let code = command(&mut args, &mut out, &mut err);
    let flushed = out.flush();
    ExitCode::from(if code == sysexits::OK && flushed.is_err() {
        sysexits::IOERR
    } else {
        code
    })
}

/// Why a command stops before it begins.
#[derive(Debug)]
pub enum Stop {
    /// A flag or argument that it does not take.
    Usage(String),
    /// A file that cannot be read.
    Unread(String, io::Error),
    /// A file that is not UTF-8, up to this byte.
    Charset(String, usize),
    /// A configuration with mistakes.
    Faults(Faults),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) => write!(f, "mailroot: {why}; `mailroot help` says more"),
            Self::Unread(name, error) => {
                let remedy = privileges::remedy(error);
                write!(f, "{name}: cannot be read: {error}{remedy}")
            }
            Self::Charset(name, at) => {
                write!(f, "{name}: byte {at} is not UTF-8; save it as UTF-8")
            }
            Self::Faults(faults) => faults.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

impl From<lexopt::Error> for Stop {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl Stop {
    /// Says why; the exit code.
    pub fn tell(&self, err: &mut dyn Write) -> u8 {
        let _ = writeln!(err, "{self}");
        self.code()
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => sysexits::USAGE,
            Self::Unread(..) => sysexits::NOINPUT,
            Self::Charset(..) | Self::Faults(_) => sysexits::CONFIG,
        }
    }
}

/// The configuration of a file, or without one that of the defaults, with flags over it.
pub fn load(path: Option<&Path>, flags: &Flags) -> Result<(Config, Settings), Stop> {
    let name = path
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let text = match path {
        Some(path) => Some(text(path, &name)?),
        None => None,
    };
    let file = text
        .as_deref()
        .map(|text| config::File { name: &name, text });
    config::load(file, flags, &hostname()).map_err(Stop::Faults)
}

/// The same for who is to run the service on this host: whom it becomes must be known here.
pub fn load_here(path: Option<&Path>, flags: &Flags) -> Result<(Config, Settings), Stop> {
    let (config, settings) = load(path, flags)?;
    let Some(user) = &config.user else {
        return Ok((config, settings));
    };
    let Err(why) = accounts::account(user, config.group.as_deref()) else {
        return Ok((config, settings));
    };
    let (key, complaint) = match why {
        NoAccount::User => ("user", Complaint::NoSuchUser(user.clone())),
        NoAccount::OwnGroup => ("user", Complaint::NoGroup(user.clone())),
        NoAccount::Group => {
            let group = config.group.clone().unwrap_or_default();
            ("group", Complaint::NoSuchGroup(group))
        }
    };
    let place = settings
        .one("")
        .map_or(Place::Default, |top| top.place_of(key));
    let name = path.map_or_else(|| "mailroot".to_owned(), |path| path.display().to_string());
    let text = path.map_or_else(|| Ok(String::new()), |path| text(path, &name))?;
    let fault = Fault { place, complaint };
    Err(Stop::Faults(Faults::new(&name, &text, vec![fault])))
}

fn text(path: &Path, name: &str) -> Result<String, Stop> {
    // One byte more than is taken, so that the reader sees that it is too much.
    let most = u64::try_from(limits::CONFIG_FILE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| Stop::Unread(name.to_owned(), error))?;
    String::from_utf8(bytes).map_err(|bad| {
        let at = bad.utf8_error().valid_up_to();
        Stop::Charset(name.to_owned(), at.saturating_add(1))
    })
}

/// What this host calls itself.
pub fn hostname() -> String {
    let system = rustix::system::uname();
    String::from_utf8_lossy(system.nodename().to_bytes()).into_owned()
}

/// Takes a flag that sets something, its value from `args`. `--home` counts from the folder we are in.
pub fn flag(name: &str, args: &mut lexopt::Parser, flags: &mut Flags) -> Result<(), Stop> {
    let unknown = || Stop::Usage(format!("there is no flag --{}", Escaped(name.as_bytes())));
    if !config::flags::FLAGS
        .iter()
        .any(|(known, ..)| *known == name)
    {
        return Err(unknown());
    }
    let mut value = text_of(args.value()?)?;
    if name == "home"
        && let Ok(path) = std::path::absolute(&value)
    {
        value = text_of(path.into_os_string())?;
    }
    if flags.push(name, &value) {
        Ok(())
    } else {
        Err(unknown())
    }
}

/// An argument as text.
pub fn text_of(value: OsString) -> Result<String, Stop> {
    value.into_string().map_err(|value| {
        let shown = Escaped(value.as_encoded_bytes()).to_string();
        Stop::Usage(format!("{shown} is not UTF-8"))
    })
}

/// Refuses an argument that a command does not take.
pub fn unexpected(arg: lexopt::Arg<'_>) -> Stop {
    Stop::from(arg.unexpected())
}

/// How the tests of commands run them.
#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    /// A command.
    type Command = fn(&mut lexopt::Parser, &mut dyn Write, &mut dyn Write) -> u8;

    /// Runs a command; its exit code, what it said, and what it complained about.
    pub fn run(command: Command, args: &[&str]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut args = lexopt::Parser::from_args(args);
        let code = command(&mut args, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(out), text(err))
    }
}
