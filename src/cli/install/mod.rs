//! `mailroot install`: the program, its other names, its user, its folders, a configuration, and what starts it at
//! boot. Run again it mends what is missing and leaves the rest; `--root` does the same to an image.

mod account;
mod failure;
mod place;
mod services;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg;

use crate::cli::install::account::Account;
use crate::cli::install::failure::Failure;
use crate::cli::install::failure::failed;
use crate::cli::install::failure::failed_at;
use crate::cli::install::place::own;
use crate::cli::install::place::parent;
use crate::cli::install::place::rename;
use crate::cli::install::place::write;
use crate::cli::install::services::Init;
use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::Flags;
use crate::config::sample::Sample;
use crate::disk::folders::Folders;

/// The names under which programs look for a mail service, from the root folder on.
const NAMES: &[&str] = &[
    "usr/sbin/sendmail",
    "usr/lib/sendmail",
    "usr/bin/mailq",
    "usr/bin/newaliases",
];

/// Only where nothing else has it: other programs by this name read mail as well.
const MAIL: &str = "usr/bin/mail";

/// What a replaced program keeps as its name's ending.
const BEFORE: &str = "before-mailroot";

const PROGRAM: &str = "usr/sbin/mailroot";
const CONFIG: &str = "etc/mailroot.toml";

/// Runs it.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = options(args).and_then(|options| {
        let mut work = Work { options, out };
        if work.options.uninstall {
            work.uninstall()
        } else if work.options.prepare {
            work.prepare()
        } else {
            work.install()
        }
    });
    match done {
        Ok(()) => sysexits::OK,
        Err(Failure::Stop(stop)) => stop.tell(err),
        Err(Failure::Refused(why)) => {
            let _ = writeln!(err, "mailroot: {why}");
            sysexits::CANTCREAT
        }
    }
}

/// What the arguments ask for.
#[derive(Debug)]
struct Options {
    root: PathBuf,
    user: String,
    init: Option<String>,
    replace: bool,
    prepare: bool,
    uninstall: bool,
    flags: Flags,
    home: String,
    /// Whether there is a configuration.
    configured: bool,
    /// Whom the service becomes when root starts it, as it or the flags have it.
    becomes: Option<String>,
}

fn options(args: &mut lexopt::Parser) -> Result<Options, Failure> {
    let mut options = Options {
        root: PathBuf::from("/"),
        user: "mailroot".to_owned(),
        init: None,
        replace: false,
        prepare: false,
        uninstall: false,
        flags: Flags::default(),
        home: String::new(),
        configured: false,
        becomes: None,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("root") => {
                let root = PathBuf::from(args.value()?);
                options.root = fs::canonicalize(&root)
                    .map_err(|error| Failure::Refused(format!("{}: {error}", root.display())))?;
            }
            Arg::Long("user") => options.user = load::text_of(args.value()?)?,
            Arg::Long("init") => options.init = Some(load::text_of(args.value()?)?),
            Arg::Long("replace") => options.replace = true,
            Arg::Long("prepare") => options.prepare = true,
            Arg::Long("uninstall") => options.uninstall = true,
            Arg::Long(name) => {
                let name = name.to_owned();
                load::flag(&name, args, &mut options.flags)?;
            }
            other => return Err(load::unexpected(other).into()),
        }
    }
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if options.user.is_empty() || options.user.len() > 31 || !options.user.bytes().all(good) {
        let why = "a user's name is of small letters, digits, - and _";
        return Err(Stop::Usage(why.to_owned()).into());
    }
    // A configuration that is there already says where the mail is; the flags are for a new one.
    let file = options.root.join(CONFIG);
    let file = file.exists().then_some(file);
    let (config, _) = load::load(file.as_deref(), &options.flags)?;
    options.home = config.home.display().to_string();
    options.configured = file.is_some();
    options.becomes = config.user;
    Ok(options)
}

/// The work, step by step; each says what it did.
struct Work<'a> {
    options: Options,
    out: &'a mut dyn Write,
}

impl Work<'_> {
    fn install(&mut self) -> Result<(), Failure> {
        let init = self.init()?;
        self.refuse_others()?;
        self.program()?;
        self.names()?;
        let user = self.account()?;
        self.config()?;
        self.folders(user)?;
        match init {
            Some(init) => {
                self.service(init)?;
                self.become_user(init);
                self.next(init);
            }
            None => self.say(format_args!(
                "no init system was recognised, so nothing starts it at boot; --init takes {}",
                all_inits()
            )),
        }
        Ok(())
    }

    /// Makes what a package cannot carry, whose files are in their places already.
    fn prepare(&mut self) -> Result<(), Failure> {
        let user = self.account()?;
        self.folders(user)
    }

    /// Removes what an installation made, but no mail, no settings and no user.
    fn uninstall(&mut self) -> Result<(), Failure> {
        for init in services::INITS {
            for (link, _) in init.links {
                let path = self.at(link);
                if fs::read_link(&path).is_ok() {
                    self.remove(&path)?;
                }
            }
            let path = self.at(init.file);
            let ours =
                fs::read_to_string(&path).is_ok_and(|text| text.contains("`mailroot install`"));
            if ours {
                self.remove(&path)?;
            }
        }
        for name in NAMES.iter().chain([&MAIL]) {
            let path = self.at(name);
            if self.is_ours(&path) {
                self.remove(&path)?;
                let before = path.with_extension(BEFORE);
                if fs::symlink_metadata(&before).is_ok() {
                    rename(&before, &path)?;
                    self.say(format_args!("{} is back", path.display()));
                }
            }
        }
        let program = self.at(PROGRAM);
        if program.exists() {
            self.remove(&program)?;
        }
        let (config, home, user) = (CONFIG, self.options.home.clone(), self.options.user.clone());
        self.say(format_args!(
            "left: /{config}, the mail in {home}, the user {user}"
        ));
        Ok(())
    }

    fn init(&self) -> Result<Option<&'static Init>, Failure> {
        match self.options.init.as_deref() {
            Some("none") => Ok(None),
            Some(name) => services::named(name).map(Some).ok_or_else(|| {
                let why = format!(
                    "there is no init system {name} here; there are {}",
                    all_inits()
                );
                Stop::Usage(why).into()
            }),
            None => Ok(services::found(&self.options.root)),
        }
    }

    /// Another mail service's programs are replaced only when that is asked for; nothing is done by halves.
    fn refuse_others(&self) -> Result<(), Failure> {
        if self.options.replace {
            return Ok(());
        }
        let others: Vec<String> = NAMES
            .iter()
            .map(|name| self.at(name))
            .filter(|path| fs::symlink_metadata(path).is_ok() && !self.is_ours(path))
            .map(|path| path.display().to_string())
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "another mail service has {}; nothing was changed. Remove it, or use --replace, which keeps each as *.{BEFORE}",
            others.join(", ")
        )))
    }

    fn program(&mut self) -> Result<(), Failure> {
        let path = self.at(PROGRAM);
        let us = std::env::current_exe().map_err(failed("find this program"))?;
        if fs::canonicalize(&path).is_ok_and(|there| there == us) {
            return Ok(());
        }
        let bytes = fs::read(&us).map_err(failed("read this program"))?;
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        write(&path, &bytes, 0o755)?;
        self.say(format_args!("{} is written", path.display()));
        Ok(())
    }

    fn names(&mut self) -> Result<(), Failure> {
        for name in NAMES.iter().chain([&MAIL]) {
            let path = self.at(name);
            if self.is_ours(&path) {
                continue;
            }
            if fs::symlink_metadata(&path).is_ok() {
                if *name == MAIL {
                    continue;
                }
                let before = path.with_extension(BEFORE);
                rename(&path, &before)?;
                self.say(format_args!(
                    "{} is now {}",
                    path.display(),
                    before.display()
                ));
            }
            self.link(&path, &format!("/{PROGRAM}"))?;
        }
        Ok(())
    }

    fn account(&mut self) -> Result<Account, Failure> {
        let Options {
            root, user, home, ..
        } = &self.options;
        let (account, new) =
            account::provide(root, user, home).map_err(failed("write the account files"))?;
        if new {
            let user = user.clone();
            self.say(format_args!(
                "the user {user} is made, number {}",
                account.uid
            ));
        }
        Ok(account)
    }

    fn config(&mut self) -> Result<(), Failure> {
        let path = self.at(CONFIG);
        if path.exists() {
            return Ok(());
        }
        let mut flags = self.options.flags.clone();
        if self.options.becomes.is_none() {
            // Who is started as this user is it already.
            flags.push("set", &format!("user={}", self.options.user));
        }
        let (_, settings) = load::load(None, &flags)?;
        write(&path, Sample(&settings).to_string().as_bytes(), 0o644)?;
        self.say(format_args!("{} is written", path.display()));
        Ok(())
    }

    fn folders(&mut self, account: Account) -> Result<(), Failure> {
        let home = self.at(self.options.home.trim_start_matches('/'));
        let folders = Folders::below(&home);
        folders
            .create()
            .map_err(|error| Failure::Refused(error.to_string()))?;
        if !rustix::process::geteuid().is_root() {
            self.say(format_args!(
                "{} still has to be given to the user: not root",
                home.display()
            ));
            return Ok(());
        }
        for folder in [
            &folders.home,
            &folders.pickup,
            &folders.queue,
            &folders.drop,
            &folders.badmail,
            &folders.sorttemp,
        ] {
            own(folder, account)?;
            // What a service that ran as root has left belongs to its user from now on; the pickup folder's files
            // belong to those who put them there.
            if *folder == folders.home || *folder == folders.pickup {
                continue;
            }
            let entries = fs::read_dir(folder).map_err(failed("read a folder"))?;
            for entry in entries {
                own(&entry.map_err(failed("read a folder"))?.path(), account)?;
            }
        }
        Ok(())
    }

    fn service(&mut self, init: &Init) -> Result<(), Failure> {
        let path = self.at(init.file);
        let names = services::Names {
            program: &format!("/{PROGRAM}"),
            config: &format!("/{CONFIG}"),
            home: &self.options.home,
            user: &self.options.user,
        };
        let text = services::text(init, &names);
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            write(&path, text.as_bytes(), init.mode)?;
            self.say(format_args!("{} is written", path.display()));
        }
        for (link, target) in init.links {
            let path = self.at(link);
            if fs::symlink_metadata(&path).is_err() {
                self.link(&path, target)?;
            }
        }
        Ok(())
    }

    /// A configuration that was there is its owner's, and may keep the service root.
    fn become_user(&mut self, init: &Init) {
        if self.options.configured && self.options.becomes.is_none() && !init.as_user {
            let (config, user) = (CONFIG, self.options.user.clone());
            self.say(format_args!(
                "the service goes on as root until /{config} has the line: user = \"{user}\""
            ));
        }
    }

    fn next(&mut self, init: &Init) {
        if self.options.root == Path::new("/") {
            let config = CONFIG;
            self.say(format_args!(
                "next: look at /{config}, then run: {}",
                init.begin
            ));
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.options.root.join(path)
    }

    /// Whether a name leads to us: a link to a program of our name.
    fn is_ours(&self, path: &Path) -> bool {
        fs::read_link(path).is_ok_and(|to| to.file_name().is_some_and(|name| name == "mailroot"))
    }

    fn link(&mut self, path: &Path, target: &str) -> Result<(), Failure> {
        parent(path)?;
        std::os::unix::fs::symlink(target, path).map_err(failed_at("make the link", path))?;
        self.say(format_args!("{} -> {target}", path.display()));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<(), Failure> {
        fs::remove_file(path).map_err(failed_at("remove", path))?;
        self.say(format_args!("{} is removed", path.display()));
        Ok(())
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        // Who closed our output does not want to know.
        let _ = writeln!(self.out, "{line}");
    }
}

fn all_inits() -> String {
    let names: Vec<&str> = services::INITS.iter().map(|init| init.name).collect();
    format!("{}, none", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::cli::load::tests::run;
    use std::fs;
    use std::path::Path;

    fn image(init: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let sign = root.path().join(init);
        fs::create_dir_all(sign.parent().unwrap()).unwrap();
        fs::write(sign, "").unwrap();
        root
    }

    fn install(root: &Path, more: &[&str]) -> (u8, String, String) {
        let mut args = vec!["--root", root.to_str().unwrap()];
        args.extend(more);
        run(answer, &args)
    }

    #[test]
    fn an_image_gets_everything_once() {
        for (sign, file) in [
            (
                "usr/lib/systemd/systemd",
                "etc/systemd/system/mailroot.service",
            ),
            ("sbin/procd", "etc/init.d/mailroot"),
            ("sbin/openrc-run", "etc/init.d/mailroot"),
            ("usr/bin/runsvdir", "etc/sv/mailroot/run"),
            ("bin/busybox", "etc/init.d/S80mailroot"),
        ] {
            let root = image(sign);
            let host = "smtps://me@smtp.example.com:465";
            let (code, out, err) = install(root.path(), &["--smart-host", host]);
            assert_eq!((code, err.as_str()), (0, ""), "{sign}");
            assert!(root.path().join(file).exists(), "{out}");
            let sendmail = fs::read_link(root.path().join("usr/sbin/sendmail")).unwrap();
            assert_eq!(sendmail, Path::new("/usr/sbin/mailroot"));
            let config = fs::read_to_string(root.path().join("etc/mailroot.toml")).unwrap();
            assert!(config.contains("smtp.example.com"), "{config}");
            assert!(config.contains("\nuser = \"mailroot\"\n"), "{config}");
            let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
            assert!(passwd.starts_with("mailroot:x:"), "{passwd}");
            assert!(!out.contains("as root"), "{out}");
            assert!(root.path().join("var/spool/mailroot/pickup").is_dir());
            let (code, again, _) = install(root.path(), &[]);
            assert_eq!(code, 0);
            assert!(
                !again.contains("written") && !again.contains("->"),
                "{again}"
            );

            let (code, out, err) = install(root.path(), &["--uninstall"]);
            assert_eq!((code, err.as_str()), (0, ""), "{out}");
            assert!(!root.path().join(file).exists());
            assert!(fs::symlink_metadata(root.path().join("usr/sbin/sendmail")).is_err());
            assert!(root.path().join("etc/mailroot.toml").exists());
        }
    }

    #[test]
    fn a_configuration_that_is_there_stays_and_what_it_lacks_is_told() {
        for (text, sign, told) in [
            ("", "bin/busybox", true),
            ("user = \"mail\"", "bin/busybox", false),
            ("", "usr/lib/systemd/systemd", false),
            ("", "sbin/openrc-run", false),
        ] {
            let root = image(sign);
            let config = root.path().join("etc/mailroot.toml");
            fs::create_dir_all(config.parent().unwrap()).unwrap();
            fs::write(&config, text).unwrap();
            let (code, out, err) = install(root.path(), &[]);
            assert_eq!((code, err.as_str()), (0, ""), "{out}");
            let line = "goes on as root until /etc/mailroot.toml has the line: user = \"mailroot\"";
            assert_eq!(out.contains(line), told, "{sign} {out}");
            assert_eq!(fs::read_to_string(&config).unwrap(), text);
        }
    }

    #[test]
    fn a_package_asks_for_the_user_and_the_folders_alone() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("mailroot.toml"), "home = \"/srv/mail\"\n").unwrap();
        let (code, out, err) = install(root.path(), &["--prepare"]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
        assert!(passwd.contains(":/srv/mail:/bin/false"), "{passwd}");
        assert!(root.path().join("srv/mail/pickup").is_dir());
        assert!(!root.path().join("usr").exists() && !etc.join("systemd").exists());
    }

    #[test]
    fn another_mail_service_keeps_its_place_until_told() {
        let root = image("bin/busybox");
        let sendmail = root.path().join("usr/sbin/sendmail");
        fs::create_dir_all(sendmail.parent().unwrap()).unwrap();
        fs::write(&sendmail, "theirs").unwrap();
        let (code, _, err) = install(root.path(), &[]);
        assert_eq!(code, 73);
        assert!(
            err.contains("usr/sbin/sendmail") && err.contains("--replace"),
            "{err}"
        );
        assert!(!root.path().join("usr/sbin/mailroot").exists());

        let (code, ..) = install(root.path(), &["--replace"]);
        assert_eq!(code, 0);
        assert!(fs::read_link(&sendmail).is_ok());
        let (code, ..) = install(root.path(), &["--uninstall"]);
        assert_eq!(code, 0);
        assert_eq!(fs::read_to_string(&sendmail).unwrap(), "theirs");
    }

    #[test]
    fn an_unknown_init_system_is_named() {
        let root = image("bin/busybox");
        let (code, _, err) = install(root.path(), &["--init", "upstart"]);
        assert_eq!(code, 64);
        assert!(err.contains("systemd") && err.contains("none"), "{err}");
        let (code, out, _) = install(root.path(), &["--init", "none"]);
        assert_eq!(code, 0);
        assert!(out.contains("at boot"), "{out}");
    }
}
