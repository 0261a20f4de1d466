//! `newaliases [FILE]`: checks the file of aliases that a configuration names. There is no database to build: the service
//! reads the file itself, and again when it changes.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::servers;
use crate::cli::sysexits;
use crate::service::alias_file;

/// Whose aliases are meant when nobody says.
const USUAL: &str = "/etc/mailroot.toml";

/// Runs it. 0 when the aliases are good or there are none, 65 when a line is not.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

/// The same with the world handed in.
pub fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match check(args) {
        Ok(Ok(said)) => {
            let _ = writeln!(out, "{said}");
            sysexits::OK
        }
        Ok(Err(wrong)) => {
            let _ = writeln!(err, "{wrong}");
            sysexits::DATAERR
        }
        Err(stop) => stop.tell(err),
    }
}

fn check(args: &mut lexopt::Parser) -> Result<Result<String, String>, Stop> {
    let mut file: Option<PathBuf> = None;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(value) if file.is_none() => file = Some(value.into()),
            lexopt::Arg::Short('C') | lexopt::Arg::Long("config") if file.is_none() => {
                file = Some(args.value()?.into());
            }
            other => return Err(load::unexpected(other)),
        }
    }
    let usual = Path::new(USUAL);
    if file.is_none() && !usual.exists() {
        // Scripts call it on every host and expect it to succeed.
        return Ok(Ok(format!(
            "there is no {USUAL}, so there are no aliases to check"
        )));
    }
    let file = file.as_deref().unwrap_or(usual);
    let config = servers::read(file)?;
    let Some(path) = &config.aliases else {
        return Ok(Ok(format!(
            "{} names no file of aliases; write file = \"/etc/aliases\" in [aliases]",
            file.display()
        )));
    };
    let read = alias_file::read(path, &config.rewrite);
    Ok(read.map(|aliases| {
        format!(
            "{}: {} aliases, all good; the service reads a changed file by itself",
            path.display(),
            aliases.len()
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::cli::load::tests::run;
    use std::fs;

    #[test]
    fn it_says_what_is_wrong_with_the_file_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let (file, aliases) = (dir.path().join("m.toml"), dir.path().join("aliases"));
        let home = dir.path().display();
        fs::write(&file, format!("home = '{home}'\n")).unwrap();
        let name = file.to_str().unwrap();
        let (code, said, _) = run(answer, &[name]);
        assert!(
            code == 0 && said.contains("names no file of aliases"),
            "{said}"
        );
        fs::write(
            &file,
            format!("home = '{home}'\n[aliases]\nfile = 'aliases'\n"),
        )
        .unwrap();
        let (code, _, wrong) = run(answer, &["-C", name]);
        assert!(
            code == 65 && wrong.contains("cannot read the aliases"),
            "{wrong}"
        );
        fs::write(&aliases, "root: me@example.org\nx: |y\nz\n").unwrap();
        let (code, _, wrong) = run(answer, &[name]);
        let lines: Vec<&str> = wrong.lines().collect();
        assert!(code == 65 && lines.len() == 2, "{wrong}");
        assert!(
            lines[0].contains("/aliases:2: `|y`")
                && lines[1].contains("/aliases:3: there is no colon"),
            "{wrong}"
        );
        fs::write(&aliases, "root: me@example.org\n").unwrap();
        let (code, said, _) = run(answer, &[name]);
        assert!(code == 0 && said.contains("1 aliases, all good"), "{said}");
    }
}
