//! `mailroot help [COMMAND | settings]`: made from the tables of commands, flags and settings.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::config::flags::FLAGS;
use crate::config::iis;
use crate::config::lookup;
use crate::config::sample::Manual;

/// Runs it: says everything, or what is to be said about the one topic in `args`.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let said = topic(args).and_then(|topic| {
        let unknown = || Stop::Usage("there is no help with that name".to_owned());
        text(topic.as_deref()).ok_or_else(unknown)
    });
    match said {
        Ok(text) => match out.write_all(text.as_bytes()) {
            Ok(()) => sysexits::OK,
            Err(_) => sysexits::IOERR,
        },
        Err(stop) => stop.tell(err),
    }
}

fn topic(args: &mut lexopt::Parser) -> Result<Option<String>, Stop> {
    match args.next()? {
        None => Ok(None),
        Some(lexopt::Arg::Value(topic)) => load::text_of(topic).map(Some),
        Some(other) => Err(load::unexpected(other)),
    }
}

/// One command.
#[derive(Debug)]
pub struct Command {
    /// How it is called.
    pub name: &'static str,
    /// What may follow; `FLAGS` stands for those that set something.
    pub usage: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Every command, in the order of the help text. `cli` must know each of them.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        usage: "[FLAGS] [FILE] | FILE... | DIR",
        help: "Runs the service with a configuration file, or with flags alone, or with neither. Several files, or the \
               *.toml of a folder, are as many virtual servers in one process: each with its own home, listeners, \
               limits, queue and log. One that cannot run stops no other. SIGHUP reads everything again: files that \
               are new or were mended start, those that are gone stop.",
    },
    #[cfg(feature = "setup")]
    Command {
        name: "init",
        usage: "[FLAGS] [--email ADDRESS] [--output FILE [--force] [--folders] [--password-stdin] [--test ADDRESS]]",
        help: "Asks a few questions when it is called on a terminal without flags, and writes a commented configuration \
               file from the answers, with the password in a file of its own and the folders of the home; a test mail \
               follows when it is wanted. With flags: writes the file with their settings in it, to standard output \
               unless --output names a file. --email takes the smart host from what is known of the provider; \
               --password-stdin puts the first line of standard input into the password file; --folders makes the \
               folders; --test sends a mail.",
    },
    #[cfg(feature = "setup")]
    Command {
        name: "install",
        usage: "[--root DIR] [--init NAME] [--user NAME] [--replace | --prepare] [FLAGS] | --uninstall",
        help: "Puts the program, sendmail and its other names, a user, the folders, a configuration with the flags' \
               settings, and what starts it at boot in their places; again to mend or update. --root does it to an \
               image; --prepare makes only the user and the folders, for packages that bring the rest.",
    },
    #[cfg(feature = "import-iis")]
    Command {
        name: "import-iis",
        usage: "METABASE [--out DIR] [--home DIR] [--force]",
        help: "Makes a configuration file of each SMTP virtual server in a MetaBase.xml of IIS, with what each setting was \
               there beside it, what was changed for safety, and what has no equivalent. The files go into the folder that \
               is named, or the one we are in; the homes are --home, for several servers a folder of each below it.",
    },
    Command {
        name: "check",
        usage: "FILE...",
        help: "Finds every mistake in configuration files, or the *.toml of a folder; and what two of them cannot \
               share. Exit code 78 when there is one.",
    },
    Command {
        name: "config",
        usage: "[--all] [FLAGS] [FILE]",
        help: "Prints the settings that were given, with --all every setting that holds.",
    },
    Command {
        name: "passwd",
        usage: "[--users FILE] [--delete | --cram-md5 --ntlm] NAME | --list",
        help: "Gives a user of the SMTP server a password, asked for or read from standard input; the file is \
               /etc/mailroot.users unless said. With --cram-md5 or --ntlm it keeps what these need, which is as good as \
               the password to who steals it; nobody but its owner may read the file.",
    },
    #[cfg(feature = "dkim")]
    Command {
        name: "dkim",
        usage: "new|show --domain DOMAIN --selector NAME FILE",
        help: "Makes a key that signs mail (new), or reads one (show), and prints the DNS record to publish.",
    },
    Command {
        name: "status",
        usage: "[--json] [SERVER]",
        help: "Says of each virtual server whether it is well, what waits, and what holds it up; whether it is paused, \
               or stopped.",
    },
    Command {
        name: "reload",
        usage: "[SERVER]",
        help: "Makes the running service read its configuration again; a mistake in it leaves the old one at work. With \
               several servers all do, as at SIGHUP: files that are new start, those that are gone stop.",
    },
    Command {
        name: "pause",
        usage: "[SERVER]",
        help: "Takes nothing new: connections are refused with 421, which keeps their mail where it is, and files wait in \
               the pickup folder. Sessions that are open go on, and so does the queue, so that it runs empty. It lasts \
               until resume, through every reload; a server that is started again is not paused.",
    },
    Command {
        name: "resume",
        usage: "[SERVER]",
        help: "Ends a pause.",
    },
    Command {
        name: "stop",
        usage: "[SERVER]",
        help: "Lets sessions end, then stops the server; its listeners are closed, its home is free, and its process goes \
               on, with the other servers and without. It lasts until start, or until the process starts again: to keep \
               a server from running for good, take its file away.",
    },
    Command {
        name: "start",
        usage: "[SERVER]",
        help: "Starts a server that was stopped, or failed, with its file as it is now: listeners and folders may be others.",
    },
    Command {
        name: "sync",
        usage: "[SERVER]",
        help: "Returns when all mail of the running service is on the disk, for the moment before the power fails; what \
               delivery.memory_first lets be in memory is written, and for ten minutes nothing is there alone.",
    },
    Command {
        name: "queue",
        usage: "list | show ID | retry [ID] | remove ID | hold ID | release ID | verify | export FOLDER [ID...] | \
                import PATH... [SERVER]",
        help: "Shows what waits, tries it now, takes it out, or keeps it from going. With the service down: verify \
               reads every byte of the queue and says what is damaged; export writes messages as files that any \
               pickup folder takes, with the recipients that still wait. import hands such files, or all *.eml of a \
               folder, to the pickup folder of this home, whether the service runs or not, and is done when they \
               are durable there.",
    },
    Command {
        name: "badmail",
        usage: "[list | show ID | retry ID... | remove ID...] [--json] [SERVER]",
        help: "Shows what could be neither delivered nor returned and why, sends it again with its envelope, or \
               removes it; whether the service runs or not. What is sent again leaves badmail when it is durable in \
               the pickup folder.",
    },
    Command {
        name: "journal",
        usage: "dump [SERVER]",
        help: "Shows the queue's files record by record, as they lie on the disk, damage included. Never writes.",
    },
    #[cfg(feature = "demo")]
    Command {
        name: "demo",
        usage: "",
        help: "Sends a message through every door to a smart host of its own, in a temporary folder.",
    },
    Command {
        name: "sendmail",
        usage: "[-t] [-f SENDER] [RECIPIENT...]",
        help: "Takes a message as sendmail does; also by the name sendmail alone.",
    },
    Command {
        name: "mailq",
        usage: "[SERVER]",
        help: "Lists what waits, as mailq does.",
    },
    Command {
        name: "newaliases",
        usage: "[FILE]",
        help: "Checks the file of aliases that a configuration names, /etc/mailroot.toml unless another is given. The service \
               reads a changed file by itself.",
    },
    Command {
        name: "mail",
        usage: "[-s SUBJECT] RECIPIENT...",
        help: "Sends standard input as the body of a message, as mail does.",
    },
    Command {
        name: "help",
        usage: "[COMMAND | settings | KEY | iis]",
        help: "Says this, or more about a command, all settings, one setting, or every property of the SMTP service of IIS.",
    },
    Command {
        name: "version",
        usage: "",
        help: "Says which version this is.",
    },
];

/// The text about `topic`, or about everything. `None` when nothing has that name.
pub fn text(topic: Option<&str>) -> Option<String> {
    let Some(topic) = topic else {
        return Some(Overview.to_string());
    };
    if let Some(command) = COMMANDS.iter().find(|command| command.name == topic) {
        let mut text = format!("{}\n\n{}\n", Usage(command), command.help);
        if command.usage.contains("FLAGS") {
            text.push_str(&format!("\nFLAGS\n{FlagList}"));
        }
        if command.usage.contains("SERVER") {
            text.push_str(WHICH);
        }
        return Some(text);
    }
    if topic == "iis" {
        return Some(iis::PAGE.to_owned());
    }
    if topic == "settings" {
        return Some(Manual.to_string());
    }
    let row = lookup::row(topic)?;
    let default = row.default.map_or(String::new(), |text| match text {
        "" => " The default is an empty list.".to_owned(),
        text => format!(" The default is {text}."),
    });
    Some(format!(
        "{}\n{} Takes {}.{default}\n",
        row.key,
        row.help,
        row.kind.allowed()
    ))
}

struct Usage(&'static Command);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("mailroot {} {}", self.0.name, self.0.usage);
        f.write_str(line.trim_end())
    }
}

struct FlagList;

impl fmt::Display for FlagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value, help) in FLAGS {
            writeln!(f, "  --{name} {value}\n      {help}")?;
        }
        Ok(())
    }
}

/// Which server a command is about.
const WHICH: &str = "
SERVER
  --config FILE   the server of this file; with a folder those of its *.toml
  --home DIR      the server with this home
  --server NAME   of several the one with this name: the `name` in its file, or
                  else what the file is called, without .toml. For status, sync,
                  reload, pause, resume, stop and start NAME alone does.
  Without any it is the server of the home that the variable MAILROOT_HOME
  names; else those of /etc/mailroot/*.toml; else that of /var/spool/mailroot.
  status, sync, reload, mailq and the queue's list are then about all of them;
  everything else wants one to be named. sendmail and mail know one home only:
  the one that MAILROOT_HOME names, else /var/spool/mailroot.
";

struct Overview;

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "mailroot takes mail from what runs on this host and gets it to a person.\n\n",
        )?;
        for command in COMMANDS {
            writeln!(f, "  {}\n      {}", Usage(command), command.help)?;
        }
        write!(f, "\nFLAGS\n{FlagList}")?;
        f.write_str(WHICH)?;
        f.write_str("\n`mailroot help settings` explains every key of the configuration file.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, text};
    use crate::config::schema::ROWS;

    #[test]
    fn everything_that_is_named_can_be_asked_for() {
        let all = text(None).unwrap();
        for command in COMMANDS {
            assert!(all.contains(command.help));
            assert!(text(Some(command.name)).unwrap().contains(command.help));
        }
        for row in ROWS {
            assert!(text(Some(row.key)).unwrap().contains(row.help));
        }
        assert!(text(Some("settings")).unwrap().contains("limits.hops"));
        assert_eq!(text(Some("zebra")), None);
    }
}
