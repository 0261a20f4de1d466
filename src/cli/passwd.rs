//! `mailroot passwd [--users FILE] NAME`: gives a user of the SMTP server a password, `--delete` takes the user out,
//! `--list` names all; `--cram-md5` and `--ntlm` keep what these mechanisms need as well.
//!
//! Never: takes a password from the command line, where every program on the host can read it, or keeps one.

use std::ffi::OsString;
use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;

use crate::base::limits;
use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::Secret;
use crate::config::secret::LONGEST;
use crate::disk::users::Users;
use crate::disk::users::is_name;
use crate::net::random;
use crate::smtp::sasl::Verifier;
use crate::smtp::sasl::cram::Cram;
#[cfg(feature = "ntlm")]
use crate::smtp::sasl::ntlm::server::NtHash;

/// Where the users are without `--users`.
const FILE: &str = "/etc/mailroot.users";

/// Runs it. The password comes from the terminal, without echo, or is the first line of standard input.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    with(args, out, err, ask)
}

/// What is to be done.
enum Task {
    /// With what these mechanisms need as well.
    Put(String, Also),
    Delete(String),
    List,
}

/// Which mechanisms something is kept for beside SCRAM, which does for PLAIN and LOGIN too.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Also {
    cram_md5: bool,
    ntlm: bool,
}

fn with(
    args: &mut lexopt::Parser,
    out: &mut dyn Write,
    err: &mut dyn Write,
    ask: impl Fn(&str) -> Result<Secret, String>,
) -> u8 {
    let (file, task) = match task(args) {
        Ok(parts) => parts,
        Err(stop) => return stop.tell(err),
    };
    match act(&file, &task, out, ask) {
        Ok(()) => sysexits::OK,
        Err((code, why)) => {
            let _ = writeln!(err, "mailroot: {why}");
            code
        }
    }
}

fn task(args: &mut lexopt::Parser) -> Result<(PathBuf, Task), Stop> {
    let (mut file, mut name) = (PathBuf::from(FILE), None);
    let (mut delete, mut list, mut also) = (false, false, Also::default());
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("users") => file = PathBuf::from(args.value()?),
            lexopt::Arg::Long("delete") => delete = true,
            lexopt::Arg::Long("list") => list = true,
            lexopt::Arg::Long("cram-md5") => also.cram_md5 = true,
            lexopt::Arg::Long("ntlm") if cfg!(feature = "ntlm") => also.ntlm = true,
            lexopt::Arg::Long("ntlm") => {
                let why = "this mailroot was built without NTLM; build one with the feature ntlm";
                return Err(Stop::Usage(why.to_owned()));
            }
            lexopt::Arg::Value(value) if name.is_none() => name = Some(load::text_of(value)?),
            // A second word would be the password.
            lexopt::Arg::Value(_) => {
                let why = "give one name; the password is asked for, or read from standard input";
                return Err(Stop::Usage(why.to_owned()));
            }
            other => return Err(load::unexpected(other)),
        }
    }
    let plain = also == Also::default();
    let task = match (name, delete, list) {
        (None, false, true) if plain => Task::List,
        (Some(name), true, false) if plain => Task::Delete(name),
        (Some(name), false, false) if is_name(&name) => Task::Put(name, also),
        (Some(_), false, false) => {
            let why =
                "a name has no colon, no # in front, no spaces at its ends, and at most 1024 bytes";
            return Err(Stop::Usage(why.to_owned()));
        }
        _ => {
            let why = "write: mailroot passwd [--users FILE] [--delete | --cram-md5 --ntlm] NAME, or: mailroot passwd [--users FILE] --list";
            return Err(Stop::Usage(why.to_owned()));
        }
    };
    Ok((file, task))
}

fn act(
    file: &std::path::Path,
    task: &Task,
    out: &mut dyn Write,
    ask: impl Fn(&str) -> Result<Secret, String>,
) -> Result<(), (u8, String)> {
    let mut users = match Users::read(file) {
        Ok(users) => users,
        Err(missing) if missing.is_missing() && matches!(task, Task::Put(..)) => Users::default(),
        Err(error) => return Err((sysexits::NOINPUT, error.to_string())),
    };
    match task {
        Task::List => {
            for (name, _) in users.iter() {
                writeln!(out, "{name}").map_err(|error| (sysexits::IOERR, error.to_string()))?;
            }
            return Ok(());
        }
        Task::Delete(name) => {
            if !users.remove(name) {
                let why = format!("{} has no user {name:?}", file.display());
                return Err((sysexits::NOUSER, why));
            }
        }
        Task::Put(name, also) => {
            let password = ask(name).map_err(|why| (sysexits::DATAERR, why))?;
            let kept = kept(&password, *also).map_err(|why| (sysexits::SOFTWARE, why))?;
            users.put(name, kept);
        }
    }
    let written = users.write(file);
    written.map_err(|error| (sysexits::CANTCREAT, error.to_string()))
}

/// All that is kept of a password.
fn kept(password: &Secret, also: Also) -> Result<String, String> {
    let mut kept = verifier(password)?;
    if also.cram_md5 {
        kept.push(' ');
        kept.push_str(&Cram::derive(password.reveal()).to_text());
    }
    #[cfg(feature = "ntlm")]
    if also.ntlm {
        kept.push(' ');
        kept.push_str(&NtHash::derive(password.reveal()).to_text());
    }
    Ok(kept)
}

/// As many rounds as the verifiers of names that do not exist pretend to have: more would tell who does.
fn verifier(password: &Secret) -> Result<String, String> {
    let mut salt = [0; 16];
    random::fill(&mut salt).map_err(|error| error.to_string())?;
    let rounds = NonZeroU32::new(*limits::SCRAM_ROUNDS.start()).unwrap_or(NonZeroU32::MIN);
    Ok(Verifier::derive(password.reveal(), &salt, rounds).to_text())
}

/// The password of `name`: twice from a terminal, else one line of standard input.
fn ask(name: &str) -> Result<Secret, String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock());
    }
    let first = unseen(&format!("Password of {}: ", name.escape_debug()))?;
    let second = unseen("The same again: ")?;
    if first.reveal() == second.reveal() {
        Ok(first)
    } else {
        Err("the two passwords differ; nothing was changed".to_owned())
    }
}

/// The first line of some input, as a password.
pub fn line(input: &mut dyn BufRead) -> Result<Secret, String> {
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(3);
    let mut bytes = Vec::new();
    io::Read::take(input, most)
        .read_until(b'\n', &mut bytes)
        .map_err(|error| format!("cannot read the password: {error}"))?;
    Secret::parse(&bytes).map_err(|bad| bad.to_string())
}

/// A line of the terminal that it does not show.
pub fn unseen(prompt: &str) -> Result<Secret, String> {
    let said = |error: io::Error| format!("cannot use the terminal: {error}");
    let stdin = io::stdin();
    let before = rustix::termios::tcgetattr(&stdin).map_err(|error| said(error.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    let set = |modes| rustix::termios::tcsetattr(&stdin, OptionalActions::Flush, modes);
    set(&silent).map_err(|error| said(error.into()))?;
    // After that: what comes in answer is neither shown nor thrown away.
    let _ = write!(io::stderr(), "{prompt}");
    let got = line(&mut stdin.lock());
    set(&before).map_err(|error| said(error.into()))?;
    got
}

#[cfg(test)]
mod tests {
    use super::{line, with};
    use crate::config::Secret;
    use crate::disk::users::Users;
    use crate::smtp::sasl::Verifier;

    fn run(args: &[&str]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut args = lexopt::Parser::from_args(args);
        let ask = |name: &str| match name {
            "empty" => Err("the password is empty".to_owned()),
            _ => Ok(Secret::parse(b"hunter2").unwrap()),
        };
        let code = with(&mut args, &mut out, &mut err, ask);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(out), text(err))
    }

    #[test]
    fn users_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let file = path.to_str().unwrap();
        for (args, code, out, err) in [
            (&["--list"][..], 66, "", "No such file"),
            (&["tim"], 0, "", ""),
            (&["eve@example.com"], 0, "", ""),
            (&["tim"], 0, "", ""),
            (&["--list"], 0, "eve@example.com\ntim\n", ""),
            (&["--delete", "tim"], 0, "", ""),
            (&["--delete", "tim"], 67, "", "has no user \"tim\""),
            (&["empty"], 65, "", "empty"),
            (&["tim", "hunter2"], 64, "", "give one name"),
            (&["a:b"], 64, "", "no colon"),
            (&[], 64, "", "write: mailroot passwd"),
            (&["--list", "tim"], 64, "", "write: mailroot passwd"),
            (&["--list"], 0, "eve@example.com\n", ""),
        ] {
            let got = run(&[&["--users", file], args].concat());
            assert_eq!((got.0, got.1.as_str()), (code, out), "{args:?}: {}", got.2);
            assert!(
                got.2.contains(err) && got.2.is_empty() == err.is_empty(),
                "{}",
                got.2
            );
        }
        let users = Users::read(&path).unwrap();
        let (_, text) = users.iter().next().unwrap();
        assert!(Verifier::parse(text).unwrap().check("hunter2"));
    }

    #[test]
    fn a_password_is_the_first_line() {
        let read = |mut text: &[u8]| line(&mut text).map(|secret| secret.reveal().to_owned());
        assert_eq!(read(b" a b \nrest"), Ok(" a b ".to_owned()));
        assert_eq!(read(b"x"), Ok("x".to_owned()));
        assert!(read(b"\n").is_err() && read(&[b'x'; 9000]).is_err());
    }
}
