//! Which virtual servers a command is about, and how they are asked.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use lexopt::Arg;

use crate::cli::ask::Answer;
use crate::cli::ask::ask;
use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::servers;
use crate::cli::servers::Source;
use crate::cli::sysexits;
use crate::config::Config;
use crate::config::Flags;

/// The files of several servers, where nothing else was said.
pub const FOLDER: &str = "/etc/mailroot";

/// Where a service is, for the commands that talk to one.
#[derive(Debug)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// Its home.
    pub home: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Answers are wanted as JSON.
    pub json: bool,
}

/// The servers that a command is about, and what else was said.
#[derive(Debug)]
pub struct Targets {
    /// At least one, unless none of the files could be read.
    pub all: Vec<Target>,
    /// Files that cannot be read.
    pub broken: Vec<Stop>,
    /// Whether there may be several: a folder was named, or found.
    pub several: bool,
    /// The other arguments.
    pub words: Vec<String>,
}

/// What was said about the servers.
#[derive(Debug, Default)]
struct Said {
    config: Option<PathBuf>,
    home: Option<String>,
    server: Option<String>,
    json: bool,
    words: Vec<String>,
}

impl Said {
    fn read(args: &mut lexopt::Parser) -> Result<Self, Stop> {
        let mut said = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("json") => said.json = true,
                Arg::Long("config") => said.config = Some(PathBuf::from(args.value()?)),
                Arg::Long("server") => said.server = Some(load::text_of(args.value()?)?),
                Arg::Long("home") => {
                    let home = std::path::absolute(args.value()?);
                    let home = home.map_err(|error| Stop::Usage(format!("--home: {error}")))?;
                    said.home = Some(load::text_of(home.into_os_string())?);
                }
                Arg::Value(word) => said.words.push(load::text_of(word)?),
                other => return Err(load::unexpected(other)),
            }
        }
        Ok(said)
    }

    /// `MAILROOT_HOME` counts where nothing else was named; then the usual folder, if there is any file in it.
    fn complete(&mut self, variable: Option<OsString>, folder: &Path) -> Result<(), Stop> {
        if self.config.is_some() || self.home.is_some() {
            return Ok(());
        }
        if let Some(home) = variable.filter(|home| !home.is_empty()) {
            self.home = Some(load::text_of(home)?);
        } else if folder.is_dir() && !servers::files(&[Source::new(folder.to_owned())])?.is_empty()
        {
            self.config = Some(folder.to_owned());
        }
        Ok(())
    }
}

impl Targets {
    /// Reads `--config FILE or FOLDER`, `--home DIR`, `--server NAME` and `--json`. Without any it is the home that
    /// `MAILROOT_HOME` names, all servers of the usual folder, or the usual home.
    pub fn from_args(args: &mut lexopt::Parser) -> Result<Self, Stop> {
        let mut said = Said::read(args)?;
        said.complete(std::env::var_os("MAILROOT_HOME"), Path::new(FOLDER))?;
        Self::of(said)
    }

    /// The same, with the only other argument taken for the server's name.
    pub fn named(args: &mut lexopt::Parser) -> Result<Self, Stop> {
        let mut said = Said::read(args)?;
        if said.server.is_none() && !said.words.is_empty() {
            said.server = Some(said.words.remove(0));
        }
        if let Some(word) = said.words.first() {
            let word = word.escape_debug();
            return Err(Stop::Usage(format!(
                "one server is named at a time; '{word}' is too much"
            )));
        }
        said.complete(std::env::var_os("MAILROOT_HOME"), Path::new(FOLDER))?;
        Self::of(said)
    }

    /// The code of a command that went to each of them with these codes: what could not be read is told, and the first
    /// failure counts.
    pub fn code(&self, mut codes: Vec<u8>, err: &mut dyn Write) -> u8 {
        codes.extend(self.broken.iter().map(|stop| stop.tell(err)));
        let failed = codes.into_iter().find(|code| *code != sysexits::OK);
        failed.unwrap_or(sysexits::OK)
    }

    fn of(said: Said) -> Result<Self, Stop> {
        let Said {
            config,
            home,
            server,
            json,
            words,
        } = said;
        let mut this = Self {
            all: Vec::new(),
            broken: Vec::new(),
            several: false,
            words,
        };
        if let (Some(name), None) = (&server, &config) {
            let name = name.escape_debug();
            let why = format!("a home is one server, which need not be called '{name}'");
            return Err(Stop::Usage(why));
        }
        match config {
            Some(folder) if folder.is_dir() && home.is_none() => {
                this.several = true;
                for file in servers::files(&[Source::new(folder)])? {
                    match servers::read(&file) {
                        Ok(config) => this.all.push(Target::of(config, json)),
                        Err(stop) => this.broken.push(stop),
                    }
                }
            }
            file => {
                let mut flags = Flags::default();
                if let Some(home) = home {
                    flags.push("home", &home);
                }
                let (config, _) = load::load(file.as_deref(), &flags)?;
                this.all.push(Target::of(config, json));
            }
        }
        if let Some(name) = server {
            this.choose(&name)?;
        }
        Ok(this)
    }

    /// Keeps the server with this name alone.
    fn choose(&mut self, name: &str) -> Result<(), Stop> {
        let names = self.names();
        self.all.retain(|target| target.name == name);
        if !self.all.is_empty() {
            self.broken.clear();
            self.several = false;
            return Ok(());
        }
        let name = name.escape_debug();
        let mut why = format!("there is no server '{name}' (there is: {names})");
        // It may be one of these.
        for stop in &self.broken {
            why.push_str(&format!("\n{}\n", stop.to_string().trim_end()));
        }
        Err(Stop::Usage(why))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.all.iter().map(|target| target.name.as_str()).collect();
        names.join(", ")
    }

    /// The one server that is meant.
    pub fn one(mut self) -> Result<(Target, Vec<String>), Stop> {
        let names = self.names();
        match (self.all.pop(), self.all.is_empty(), self.broken.pop()) {
            (Some(target), true, None) => Ok((target, self.words)),
            (Some(_), true, Some(_)) | (Some(_), false, _) => Err(Stop::Usage(format!(
                "there are several servers ({names}); say which with --server NAME"
            ))),
            (None, _, Some(broken)) => Err(broken),
            (None, _, None) => Err(Stop::Usage("there is no server in the folder".to_owned())),
        }
    }
}

impl Target {
    fn of(config: Config, json: bool) -> Self {
        Self {
            name: config.name,
            home: config.home,
            socket: config.control.socket,
            json,
        }
    }

    /// The service of this home.
    pub fn of_home(home: &Path) -> Result<Self, Stop> {
        let mut flags = Flags::default();
        flags.push("home", &load::text_of(home.to_owned().into())?);
        let (config, _) = load::load(None, &flags)?;
        Ok(Self::of(config, false))
    }

    /// Asks the service, and puts its answer out. The exit code; or `None` when no service runs there.
    pub fn ask(&self, request: &[&str], out: &mut dyn Write, err: &mut dyn Write) -> Option<u8> {
        let mut request = request.to_vec();
        if self.json {
            request.push("--json");
        }
        let said = |result: std::io::Result<()>, code| match result {
            Ok(()) => code,
            Err(_) => sysexits::IOERR,
        };
        Some(match ask(&self.socket, &request) {
            Ok(Answer::Said(text)) => said(out.write_all(text.as_bytes()), sysexits::OK),
            Ok(Answer::Refused(why)) => {
                said(writeln!(err, "mailroot: {why}"), sysexits::UNAVAILABLE)
            }
            Ok(Answer::NotAllowed(Some(why))) => {
                said(writeln!(err, "mailroot: {why}"), sysexits::NOPERM)
            }
            Ok(Answer::NotAllowed(None)) => said(
                writeln!(
                    err,
                    "mailroot: only root and the user that the service runs as may ask it ({}); \
                     [operators] in its configuration can name others",
                    self.socket.display()
                ),
                sysexits::NOPERM,
            ),
            Ok(Answer::NotRunning) => return None,
            Err(error) => said(
                writeln!(err, "mailroot: {}: {error}", self.socket.display()),
                sysexits::IOERR,
            ),
        })
    }

    /// Says that no service runs, and what that means for what was asked.
    pub fn not_running(&self, so: &str, err: &mut dyn Write) -> u8 {
        let _ = writeln!(
            err,
            "mailroot: no service runs on {}{so}",
            self.home.display()
        );
        sysexits::UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, Targets};
    use std::fs;

    fn targets(args: &[&str], home: Option<&str>, folder: &str) -> Result<Targets, String> {
        let mut said = Said::read(&mut lexopt::Parser::from_args(args)).unwrap();
        said.complete(home.map(Into::into), folder.as_ref())
            .unwrap();
        Targets::of(said).map_err(|stop| stop.to_string())
    }

    #[test]
    fn a_command_means_what_is_named_and_else_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let homes = |args: &[&str], home: Option<&str>, folder: &str| -> Vec<String> {
            let all = targets(args, home, folder).unwrap().all;
            let each = all.into_iter().map(|target| target.home);
            each.map(|home| home.display().to_string()).collect()
        };
        let usual = ["/var/spool/mailroot"];
        assert_eq!(homes(&[], None, &path("none")), usual);
        fs::create_dir(path("etc")).unwrap();
        // An empty folder says nothing.
        assert_eq!(homes(&[], None, &path("etc")), usual);
        fs::write(path("etc/a.toml"), "home = '/a'").unwrap();
        fs::write(path("etc/b.toml"), "home = '/b'\nname = 'lan'").unwrap();
        let etc = path("etc");
        assert_eq!(homes(&[], None, &etc), ["/a", "/b"]);
        assert_eq!(homes(&[], Some("/c"), &etc), ["/c"]);
        assert_eq!(homes(&["--home", "/d"], Some("/c"), &etc), ["/d"]);
        assert_eq!(
            homes(&["--config", &path("etc/b.toml")], None, &etc),
            ["/b"]
        );
        assert_eq!(
            homes(&["--config", &etc, "--server", "a"], None, "/"),
            ["/a"]
        );
        assert_eq!(homes(&["--server", "lan"], None, &etc), ["/b"]);
        fs::write(path("etc/c.toml"), "hom = '/c'").unwrap();
        let why = targets(&["--server", "c"], None, &etc).unwrap_err();
        assert!(
            why.contains("(there is: a, lan)") && why.contains("c.toml:1:1"),
            "{why}"
        );
        let several = targets(&[], None, &etc).unwrap();
        assert_eq!(several.broken.len(), 1);
        let why = several.one().unwrap_err().to_string();
        assert!(
            why.contains("(a, lan); say which with --server NAME"),
            "{why}"
        );
    }
}
