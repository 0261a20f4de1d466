//! `mailroot init [flags] [--output FILE]`: writes a commented configuration with what the flags say in it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::Config;
use crate::config::Flags;
use crate::config::model::Proof;
use crate::config::sample::Sample;

/// Runs it. Without `--output` the file goes to `out`. A file that is there is left alone.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (config, text, output) = match sample(args) {
        Ok(parts) => parts,
        Err(stop) => {
            let _ = writeln!(err, "{stop}");
            return stop.code();
        }
    };
    let Some(path) = output else {
        return match out.write_all(text.as_bytes()) {
            Ok(()) => sysexits::OK,
            Err(_) => sysexits::IOERR,
        };
    };
    if let Err(error) = create(&path, &text) {
        let path = path.display();
        let _ = match error.kind() {
            io::ErrorKind::AlreadyExists => writeln!(
                err,
                "mailroot: {path} is there already and was left alone; move it away, or name another"
            ),
            _ => writeln!(err, "mailroot: cannot write {path}: {error}"),
        };
        return sysexits::CANTCREAT;
    }
    let _ = next_steps(out, &path, &config);
    sysexits::OK
}

fn sample(args: &mut lexopt::Parser) -> Result<(Config, String, Option<PathBuf>), Stop> {
    let (mut output, mut flags) = (None, Flags::default());
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("output") | lexopt::Arg::Short('o') => {
                output = Some(PathBuf::from(args.value()?));
            }
            lexopt::Arg::Long(name) => {
                let name = name.to_owned();
                load::flag(&name, args, &mut flags)?;
            }
            other => return Err(load::unexpected(other)),
        }
    }
    let (config, settings) = load::load(None, &flags)?;
    Ok((config, Sample(&settings).to_string(), output))
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What is left to do, in order.
fn next_steps(out: &mut dyn Write, path: &Path, config: &Config) -> io::Result<()> {
    let path = path.display();
    writeln!(out, "{path} is written. Next:")?;
    for login in config
        .routes
        .iter()
        .filter_map(|route| route.login.as_ref())
    {
        match &login.proof {
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
        assert_eq!(read(&out).local.domains.len(), 1);
    }
}
