//! `sendmail`, by that name or as `mailroot sendmail`: puts a message into the pickup folder.
//!
//! Takes every flag that real callers use (FEATURES part B 1c) and exits 0 only when the message is on stable
//! storage (promise G1), whether the service runs or not. What it cannot know, such as the default domain, it leaves
//! to the service: a bare `root` stays bare in the pickup file.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::limits;
use crate::cli::load;
use crate::cli::sendmail::input::Input;
use crate::cli::sendmail::order::bare;
use crate::cli::sendmail::order::bare_domain;
use crate::cli::sendmail::order::parse_bare;
use crate::cli::sendmail::order::push_new;
use crate::config::Flags;
use crate::disk::accounts::user_name;
use crate::disk::submit::Submission;
use crate::mail::header::Field;
use crate::mail::header::Plan;
use crate::mail::header::Walker;
use crate::mail::list;

mod fault;
mod input;
mod order;

pub use fault::Fault;
pub use order::Mode;
pub use order::Order;
pub use order::parse;
pub use order::recipients;

/// Where mail is put when nothing says otherwise; the same as the default of `home` in the configuration.
pub const HOME: &str = "/var/spool/mailroot";

/// Where `mailroot install` and the packages put the configuration.
const CONFIG: &str = "/etc/mailroot.toml";

/// Runs it. What is not for the pickup folder goes to `elsewhere`, with the home it is about.
pub fn run(
    args: impl Iterator<Item = OsString>,
    elsewhere: impl FnOnce(Mode, &Path) -> ExitCode,
) -> ExitCode {
    let done = parse(args).and_then(|order| {
        let home = home(&order)?;
        match order.mode {
            Mode::Submit => submit(&order, &home, &login(), &mut io::stdin().lock()).map(|()| None),
            Mode::Ignore => Ok(None),
            mode => Ok(Some((mode, home))),
        }
    });
    match done {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some((mode, home))) => elsewhere(mode, &home),
        Err(fault) => {
            complain(&fault);
            ExitCode::from(fault.code())
        }
    }
}

/// Says on standard error why nothing was sent.
#[allow(clippy::print_stderr, reason = "the command line speaks to its caller")]
pub fn complain(fault: &dyn fmt::Display) {
    eprintln!("sendmail: {fault}");
}

/// Where the folders are: `--home`, the configuration's, `MAILROOT_HOME`, or the usual place.
pub fn home(order: &Order) -> Result<PathBuf, Fault> {
    if let Some(home) = &order.home {
        return Ok(home.clone());
    }
    if let Some(config) = &order.config {
        let loaded = load::load(Some(config), &Flags::default());
        return Ok(loaded.map_err(Fault::Config)?.0.home);
    }
    let set = std::env::var_os("MAILROOT_HOME").filter(|home| !home.is_empty());
    Ok(set.map_or_else(|| installed(Path::new(CONFIG)), PathBuf::from))
}

/// The home that the installed service has. A configuration that cannot be read or has mistakes costs no mail where
/// the folder is the usual one.
fn installed(config: &Path) -> PathBuf {
    let loaded = load::load(Some(config), &Flags::default());
    loaded.map_or_else(|_| HOME.into(), |(config, _)| config.home)
}

/// The name of whoever runs this: by their number, since a variable can say anything.
pub fn login() -> String {
    let uid = rustix::process::getuid().as_raw();
    let plain = |name: &String| parse_bare(name).is_ok();
    user_name(uid)
        .or_else(|| std::env::var("LOGNAME").ok())
        .filter(plain)
        .unwrap_or_else(|| format!("uid{uid}"))
}

/// Writes the message into the pickup folder of `home`. `user` is the sender when none was named.
pub fn submit(order: &Order, home: &Path, user: &str, input: &mut dyn Read) -> Result<(), Fault> {
    let folder = home.join("pickup");
    let mut input = Input::new(input, order.dots_are_text);
    let mut recipients = order.recipients.clone();
    let mut walker = order.from_header.then(|| {
        Walker::new(Plan {
            repair: true,
            without: &[Field::Bcc, Field::ResentBcc],
            capture: true,
            ..Plan::default()
        })
    });
    // With -t nothing can be written before the header is whole, since the envelope stands at the top.
    let mut text = Vec::new();
    let mut over = false;
    if let Some(walker) = &mut walker {
        while !over && !walker.facts().header_over {
            over = !input.step()?;
            walker.feed(&input.block, &mut text);
            if over {
                walker.finish(&mut text);
            }
            if walker.facts().cut {
                return Err(Fault::HeaderTooLarge);
            }
        }
        from_header(walker.block(), &mut recipients)?;
    }
    if recipients.len() > limits::RECIPIENTS {
        return Err(Fault::TooMany);
    }
    let failed = |err| Fault::Output(folder.clone(), err);
    let mut file = Submission::begin(&folder).map_err(failed)?;
    file.append(top(order, user, &recipients).as_bytes())
        .map_err(failed)?;
    file.append(&text).map_err(failed)?;
    while !over {
        over = !input.step()?;
        let bytes = match &mut walker {
            Some(walker) => {
                text.clear();
                walker.feed(&input.block, &mut text);
                if over {
                    walker.finish(&mut text);
                }
                &text
            }
            None => &input.block,
        };
        file.append(bytes).map_err(failed)?;
    }
    file.finish().map_err(failed)
}

/// The envelope lines. PICKUP.md says what each means.
fn top(order: &Order, user: &str, recipients: &[String]) -> String {
    let mailbox = order.sender.as_ref();
    let address = match mailbox.map(|mailbox| &mailbox.address) {
        Some(Some(address)) => bare(&address.to_string()),
        Some(None) => String::new(),
        None => user.to_owned(),
    };
    let given = mailbox.map(|mailbox| mailbox.name.as_str());
    let name = order.name.as_deref().or(given).unwrap_or("");
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    let mut top = if name.is_empty() {
        format!("X-Sender: <{address}>\n")
    } else {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("X-Sender: \"{escaped}\" <{address}>\n")
    };
    for (line, value) in [
        ("X-Ret", order.ret),
        ("X-Envid", order.envid.as_deref()),
        ("X-Notify", order.notify.as_deref()),
    ] {
        if let Some(value) = value {
            top.push_str(&format!("{line}: {value}\n"));
        }
    }
    for recipient in recipients {
        top.push_str(&format!("X-Receiver: <{recipient}>\n"));
    }
    // Ends the envelope, whatever the message begins with.
    top.push_str("X-Dot-Stuffed: no\n");
    top
}

/// Adds the recipients of a header to those that were named.
fn from_header(block: &[u8], recipients: &mut Vec<String>) -> Result<(), Fault> {
    let domain = bare_domain();
    let people = list::people(block, domain.as_ref());
    if let Some(bad) = people.bad_recipient {
        return Err(Fault::HeaderAddress(bad));
    }
    if people.too_many {
        return Err(Fault::TooMany);
    }
    for address in &people.recipients {
        push_new(bare(&address.to_string()), recipients);
    }
    if recipients.is_empty() {
        return Err(Fault::NoRecipient);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HOME, Mode, installed, parse, submit};
    use crate::base::limits;
    use crate::disk::folders::Folders;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn mail_goes_to_the_home_of_the_installed_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("mailroot.toml");
        assert_eq!(installed(&config), Path::new(HOME));
        fs::write(&config, "home = \"/srv/mail\"\n").unwrap();
        assert_eq!(installed(&config), Path::new("/srv/mail"));
        fs::write(&config, "home = ").unwrap();
        assert_eq!(installed(&config), Path::new(HOME));
    }

    fn try_send(home: &Path, args: &[&str], input: &[u8]) -> Result<(), (u8, String)> {
        let order = parse(args.iter().map(OsString::from));
        order
            .and_then(|order| submit(&order, home, "pi", &mut &*input))
            .map_err(|fault| (fault.code(), fault.to_string()))
    }

    /// The file that a command line and an input make, or the exit code and the sentence.
    fn sent(args: &[&str], input: &[u8]) -> Result<String, (u8, String)> {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let done = try_send(dir.path(), args, input);
        let mut files = fs::read_dir(&folders.pickup).unwrap();
        let first = files.next();
        assert!(files.next().is_none());
        assert_eq!(first.is_some(), done.is_ok());
        done?;
        Ok(fs::read_to_string(first.unwrap().unwrap().path()).unwrap())
    }

    #[test]
    fn calls_of_real_programs() {
        for (args, input, want) in [
            (
                // cronie.
                &[
                    "-FCronDaemon",
                    "-i",
                    "-odi",
                    "-oem",
                    "-oi",
                    "-t",
                    "-f",
                    "root",
                ][..],
                "From: \"(Cron Daemon)\" <root>\nTo: root\nSubject: Cron <root@nas> job\n\n.\nout\n",
                "X-Sender: \"CronDaemon\" <root>\nX-Receiver: <root>\nX-Dot-Stuffed: no\n\
                 From: \"(Cron Daemon)\" <root>\r\nTo: root\r\nSubject: Cron <root@nas> job\r\n\r\n.\r\nout\r\n",
            ),
            (
                // cronie with a null sender.
                &["-i", "-t", "-f", "<>"],
                "To: a@x.example\n\nx\n",
                "X-Sender: <>\nX-Receiver: <a@x.example>\nX-Dot-Stuffed: no\nTo: a@x.example\r\n\r\nx\r\n",
            ),
            (
                &["-t", "-f", ""],
                "To: a@x.example\n\nx\n.\nnot this\n",
                "X-Sender: <>\nX-Receiver: <a@x.example>\nX-Dot-Stuffed: no\nTo: a@x.example\r\n\r\nx\r\n",
            ),
            (
                // mdadm and PHP.
                &["-t", "-i"],
                "To: Admin <admin@x.example>, root\nBcc: hidden@x.example,\n more@x.example\nCc: c@x.example\n\nx\n",
                "X-Sender: <pi>\nX-Receiver: <admin@x.example>\nX-Receiver: <root>\n\
                 X-Receiver: <c@x.example>\nX-Receiver: <hidden@x.example>\nX-Receiver: <more@x.example>\nX-Dot-Stuffed: no\n\
                 To: Admin <admin@x.example>, root\r\nCc: c@x.example\r\n\r\nx\r\n",
            ),
            (
                // git send-email and mutt: addresses as arguments, the text untouched.
                &[
                    "-i",
                    "-f",
                    "me@x.example",
                    "--",
                    "a@x.example",
                    "B <b@x.example>",
                ],
                "From: me\nBcc: kept for the service\n\n.\r\nx",
                "X-Sender: <me@x.example>\nX-Receiver: <a@x.example>\n\
                 X-Receiver: <b@x.example>\nX-Dot-Stuffed: no\nFrom: me\nBcc: kept for the service\n\n.\r\nx",
            ),
            (
                // courier: DSN.
                &[
                    "-oi",
                    "-N",
                    "success,delay,failure",
                    "-R",
                    "hdrs",
                    "-V",
                    "job+1",
                    "a@x.example",
                ],
                "x\n",
                "X-Sender: <pi>\nX-Ret: hdrs\nX-Envid: job+2B1\nX-Notify: success,delay,failure\n\
                 X-Receiver: <a@x.example>\nX-Dot-Stuffed: no\nx\n",
            ),
            (
                // Everything that has no effect here.
                &[
                    "-v",
                    "-U",
                    "-G",
                    "-n",
                    "-m",
                    "-Ac",
                    "-Am",
                    "-B8BITMIME",
                    "-O",
                    "DeliveryMode=b",
                    "-L",
                    "tag",
                    "-X",
                    "/tmp/log",
                    "-h",
                    "3",
                    "-om",
                    "-oem",
                    "-odb",
                    "-d0.1",
                    "-em",
                    "-bm",
                    "-r",
                    "me",
                    "a@x.example,b",
                ],
                "one\n..two\n.\r\nthree\n",
                "X-Sender: <me>\nX-Receiver: <a@x.example>\nX-Receiver: <b>\nX-Dot-Stuffed: no\none\n..two\n",
            ),
        ] {
            assert_eq!(sent(args, input.as_bytes()).unwrap(), want, "{args:?}");
        }
    }

    #[test]
    fn modes_go_where_they_belong() {
        for (args, mode) in [
            (&["-bp"][..], Mode::Queue),
            (&["-bs"], Mode::Smtp),
            (&["-bs", "-i"], Mode::Smtp),
            (&["-bi"], Mode::Ignore),
            (&["-q"], Mode::Flush),
            (&["-q30m"], Mode::Flush),
            (&["-bm", "a@x.example"], Mode::Submit),
        ] {
            let order = parse(args.iter().map(OsString::from)).unwrap();
            assert_eq!(order.mode, mode, "{args:?}");
        }
    }

    #[test]
    fn faults_have_the_codes_that_callers_know() {
        let long = format!(
            "To: a@x.example\nX: {}\n\n",
            "y".repeat(limits::HEADER_BLOCK)
        );
        for (args, input, code, says) in [
            (&[][..], "x", 64, "who is it for?"),
            (&["-bd"], "x", 64, "-bd is not offered"),
            (&["-Z"], "x", 64, "invalid option"),
            (&["-f"], "x", 64, "missing argument"),
            (&["-N", "often", "a@x.example"], "x", 64, "-N takes"),
            (
                &["two words"],
                "x",
                67,
                "cannot read the address \"two words\"",
            ),
            (&[""], "x", 67, "cannot read the address \"\""),
            (
                &["-f", "a b", "a@x.example"],
                "x",
                67,
                "cannot read the address",
            ),
            (
                &["-t"],
                "Subject: x\n\nTo: a@x.example\n",
                65,
                "nothing was sent: with -t",
            ),
            (
                &["-t"],
                "To: undisclosed-recipients:;\n\n",
                65,
                "nothing was sent: with -t",
            ),
            (
                &["-t"],
                "To: a@x.example, two words\n\n",
                65,
                "nothing was sent: cannot read",
            ),
            (&["-t"], &long, 65, "nothing was sent: with -t the header"),
        ] {
            let (got, text) = sent(args, input.as_bytes()).unwrap_err();
            assert_eq!(got, code, "{args:?} {text}");
            assert!(text.starts_with(says), "{text}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (code, text) = try_send(&dir.path().join("none"), &["a@x.example"], b"x").unwrap_err();
        assert_eq!(code, 78);
        assert!(text.contains("start the service once"), "{text}");
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("pipe"))
            }
        }
        let folders = Folders::below(dir.path());
        folders.create().unwrap();
        let order = parse([OsString::from("a@x.example")].into_iter()).unwrap();
        let fault = submit(&order, dir.path(), "pi", &mut Broken).unwrap_err();
        assert_eq!(fault.code(), 74);
        assert_eq!(fs::read_dir(&folders.pickup).unwrap().count(), 0);
        let mode = fs::metadata(&folders.pickup).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1733);
    }

    #[test]
    fn a_lone_dot_ends_the_input_at_every_block_size() {
        struct Slow<'a>(&'a [u8], usize);
        impl std::io::Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let count = self.1.min(buffer.len());
                std::io::Read::read(&mut self.0, &mut buffer[..count])
            }
        }
        for (input, want) in [
            ("a\n.\nb\n", "a\n"),
            ("a\r\n.\r\nb", "a\r\n"),
            (".\nb", ""),
            ("a\n..\n.b\n", "a\n..\n.b\n"),
            ("a\n.", "a\n."),
            ("a\n.\r", "a\n.\r"),
            ("a\n.\rb\n", "a\n.\rb\n"),
            ("a.\n", "a.\n"),
        ] {
            for step in 1..=input.len() {
                let dir = tempfile::tempdir().unwrap();
                let folders = Folders::below(dir.path());
                folders.create().unwrap();
                let order = parse([OsString::from("a@x.example")].into_iter()).unwrap();
                submit(&order, dir.path(), "pi", &mut Slow(input.as_bytes(), step)).unwrap();
                let file = fs::read_dir(&folders.pickup)
                    .unwrap()
                    .next()
                    .unwrap()
                    .unwrap();
                let text = fs::read_to_string(file.path()).unwrap();
                let (_, body) = text.split_once("X-Dot-Stuffed: no\n").unwrap();
                assert_eq!(body, want, "{input:?} {step}");
            }
        }
    }
}
