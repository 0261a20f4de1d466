//! `mailroot init`: writes a commented configuration, with what the flags say in it, or on a terminal without any
//! flags with what its owner answers; then the folders, and a test mail when it is wanted.
//!
//! Never: writes over a file that is there unless told so, or leaves half of one.

use std::ffi::OsString;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::check;
use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::passwd;
use crate::cli::sysexits;
use crate::cli::trial;
use crate::cli::wizard;
use crate::config::Config;
use crate::config::Flags;
use crate::config::Secret;
use crate::config::model::Proof;
use crate::config::providers;
use crate::config::providers::User;
use crate::config::sample::Sample;
use crate::disk::folders::Folders;
use crate::disk::small;
use crate::mail::Address;

/// Where the file would be, when it goes to standard output: its password is named beside it.
const USUAL: &str = "/etc/mailroot.toml";

/// Runs it. Without `--output` the file goes to `out`, unless the questions were answered.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.peekable();
    let asks = args.peek().is_none() && io::stdin().is_terminal() && io::stdout().is_terminal();
    load::on_terminal(args, if asks { interview } else { answer })
}

/// What is to be written, and done after it.
#[derive(Default)]
struct Task {
    flags: Flags,
    output: Option<PathBuf>,
    force: bool,
    secret: Option<(PathBuf, Secret)>,
    folders: bool,
    test: Option<String>,
}

/// Why it did not come to the end.
struct Failed(u8, String);

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Self {
        Self(stop.code(), stop.to_string())
    }
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = task(args)
        .map_err(Failed::from)
        .and_then(|task| write(&task, out, err).map(|()| task))
        .and_then(|task| match (&task.output, &task.test) {
            (Some(path), Some(to)) => test(path, &task.flags, to, out),
            _ => Ok(()),
        });
    said(done, err)
}

fn said(done: Result<(), Failed>, err: &mut dyn Write) -> u8 {
    match done {
        Ok(()) => sysexits::OK,
        Err(Failed(code, why)) => {
            let _ = writeln!(err, "{why}");
            code
        }
    }
}

/// The questions, the file, the folders, and a test mail.
fn interview(_: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = wizard::run(out).map_err(Failed::from).and_then(|answers| {
        let task = Task {
            flags: answers.flags,
            output: Some(answers.output.clone()),
            force: answers.force,
            secret: answers.secret,
            folders: true,
            test: None,
        };
        let _ = writeln!(out);
        write(&task, out, err)?;
        let usual = answers.address.unwrap_or_else(|| "no".to_owned());
        let _ = writeln!(out);
        match wizard::test_address(out, &usual)? {
            Some(to) => test(&answers.output, &task.flags, &to, out),
            None => Ok(()),
        }
    });
    said(done, err)
}

fn task(args: &mut lexopt::Parser) -> Result<Task, Stop> {
    let mut task = Task::default();
    let (mut email, mut from_stdin) = (None, false);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("output") | lexopt::Arg::Short('o') => {
                task.output = Some(PathBuf::from(args.value()?));
            }
            lexopt::Arg::Long("force") => task.force = true,
            lexopt::Arg::Long("folders") => task.folders = true,
            lexopt::Arg::Long("test") => task.test = Some(load::text_of(args.value()?)?),
            lexopt::Arg::Long("email") => email = Some(load::text_of(args.value()?)?),
            lexopt::Arg::Long("password-stdin") => from_stdin = true,
            lexopt::Arg::Long(name) => {
                let name = name.to_owned();
                load::flag(&name, args, &mut task.flags)?;
            }
            other => return Err(load::unexpected(other)),
        }
    }
    let usage = |why: &str| Err(Stop::Usage(why.to_owned()));
    if let Some(email) = email {
        let beside = task.output.clone().unwrap_or_else(|| USUAL.into());
        let beside = std::path::absolute(&beside).unwrap_or(beside);
        let account = account(&email, &beside)?;
        for setting in &account.settings {
            task.flags.push("set", setting);
        }
        if from_stdin {
            let secret = passwd::line(&mut io::stdin().lock()).map_err(Stop::Usage)?;
            task.secret = Some((account.file, secret));
        }
    } else if from_stdin {
        return usage("--password-stdin goes with --email");
    }
    if task.output.is_none() && (task.force || task.folders || task.test.is_some() || from_stdin) {
        return usage("--force, --folders, --test and --password-stdin go with --output FILE");
    }
    match &task.test {
        Some(to) if Address::parse(to).is_err() => {
            usage("--test wants an address, such as me@example.com")
        }
        _ => Ok(task),
    }
}

/// The way out through the provider of this address.
fn account(email: &str, beside: &Path) -> Result<wizard::Account, Stop> {
    let provider = providers::find(email).filter(|_| email.contains('@'));
    let Some(provider) = provider else {
        return Err(Stop::Usage(format!(
            "no provider is known for '{}'; name its smart host with --smart-host",
            email.escape_debug()
        )));
    };
    let user = match provider.user {
        User::Is(name) => name,
        User::Address | User::Given(_) => email,
    };
    let host = format!("{}:{}", provider.host, provider.port);
    Ok(wizard::through(&host, user, provider.token, beside))
}

/// Writes what is to be written, makes the folders, and checks the result.
fn write(task: &Task, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failed> {
    let (config, settings) = load::load(None, &task.flags)?;
    let text = Sample(&settings).to_string();
    let Some(path) = &task.output else {
        let written = out.write_all(text.as_bytes());
        return written.map_err(|error| Failed(sysexits::IOERR, error.to_string()));
    };
    // The password first: no configuration that is there names a file that is not.
    if let Some((file, secret)) = &task.secret {
        put(file, &format!("{}\n", secret.reveal()), 0o600, task.force)?;
        let _ = writeln!(out, "{} holds the password.", file.display());
    }
    put(path, &text, 0o644, task.force)?;
    let _ = writeln!(out, "{} is written.", path.display());
    if task.folders {
        let mut folders = Folders::below(&config.home);
        folders.drop.clone_from(&config.local.drop);
        let made = folders.create();
        made.map_err(|bad| Failed(sysexits::CANTCREAT, format!("mailroot: {bad}")))?;
        let _ = writeln!(out, "The folders are in {}.", config.home.display());
        let mut args = lexopt::Parser::from_args([path]);
        match check::answer(&mut args, out, err) {
            sysexits::OK => {}
            // Its owner has been told that it is missing.
            _ if task.secret.is_none() && has_login(&config) => {}
            code => {
                return Err(Failed(
                    code,
                    String::from("mailroot: the result is not good"),
                ));
            }
        }
    }
    next_steps(out, path, &config, task.secret.is_some())
        .map_err(|error| Failed(sysexits::IOERR, error.to_string()))
}

fn has_login(config: &Config) -> bool {
    config.routes.iter().any(|route| route.login.is_some())
}

fn put(path: &Path, text: &str, mode: u32, force: bool) -> Result<(), Failed> {
    let written = if force && path.exists() {
        small::replace_with(path, text, mode)
    } else {
        small::create(path, text, mode)
    };
    written.map_err(|error| {
        let path = path.display();
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => format!(
                "mailroot: {path} is there already and was left alone; move it away, name another, or say --force"
            ),
            _ => format!("mailroot: cannot write {path}: {error}"),
        };
        Failed(sysexits::CANTCREAT, why)
    })
}

/// Sends a test mail and says what came of it.
fn test(path: &Path, flags: &Flags, to: &str, out: &mut dyn Write) -> Result<(), Failed> {
    let (config, _) = load::load(None, flags)?;
    let _ = writeln!(out, "Sending a test mail to {to}:");
    match trial::send(path, &config.home, to, out) {
        Ok(told) => {
            let _ = writeln!(out, "{told}");
            Ok(())
        }
        Err(why) => Err(Failed(sysexits::TEMPFAIL, format!("mailroot: {why}"))),
    }
}

/// What is left to do, in order.
fn next_steps(
    out: &mut dyn Write,
    path: &Path,
    config: &Config,
    has_secret: bool,
) -> io::Result<()> {
    let path = path.display();
    writeln!(out, "Next:")?;
    for login in config
        .routes
        .iter()
        .filter_map(|route| route.login.as_ref())
    {
        match &login.proof {
            Proof::PasswordFile(_) if has_secret => {}
            Proof::PasswordFile(file) => writeln!(
                out,
                "  write the password of {} into {file} and run: chmod 600 {file}",
                login.user,
                file = file.display()
            )?,
            Proof::PasswordVariable(name) => writeln!(
                out,
                "  give the service the password of {} in the variable {name}, or set password_file",
                login.user
            )?,
            Proof::TokenFile(file) => writeln!(
                out,
                "  keep a fresh access token of {} in {file} and run: chmod 600 {file}",
                login.user,
                file = file.display()
            )?,
            Proof::Certificate => {}
        }
    }
    writeln!(out, "  mailroot check {path}")?;
    writeln!(out, "  mailroot run {path}")
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::cli::load::tests::run;
    use crate::cli::{check, config};
    use crate::config::{Config, File, Flags, load};

    fn read(text: &str) -> Config {
        let file = File { name: "f", text };
        load(Some(file), &Flags::default(), "box").unwrap().0
    }

    #[test]
    fn init_writes_what_check_and_config_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let path = path.to_str().unwrap();
        let host = "smtp://me@smtp.example.com:587";
        let args = [
            "--home",
            "/data/mail",
            "--smart-host",
            host,
            "--output",
            path,
        ];
        let (code, out, err) = run(answer, &args);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(
            out.contains("MAILROOT_PASSWORD") && out.contains("mailroot check "),
            "{out}"
        );
        let (code, _, err) = run(answer, &args);
        assert_eq!(code, 73, "a file that is there is left alone");
        assert!(err.contains("left alone"), "{err}");

        let (code, out, err) = run(check::answer, &[path]);
        assert_eq!(
            (code, out, err.as_str()),
            (0, format!("{path}: good\n"), "")
        );
        let (code, given, _) = run(config::answer, &[path]);
        assert_eq!(code, 0);
        assert!(
            given.contains("home = \"/data/mail\"") && !given.contains("hops"),
            "{given}"
        );
        let (code, all, _) = run(config::answer, &["--all", path]);
        assert_eq!(code, 0);
        assert!(all.contains("hops = 50"), "{all}");
        assert_eq!(read(&all), read(&given));

        let (code, out, _) = run(answer, &["--local", "nas.lan"]);
        assert_eq!(code, 0);
        assert_eq!(read(&out).rewrite.local.len(), 1);
    }
}
