//! LMTP as a way out, against Dovecot's: each recipient hears what became of his own copy.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Folder, MAILROOT, Mailroot, PATIENCE, Talk, free_port, have, is_root, must};

const TEXT: &str = "From: a@else.example\r\nTo: b\r\nSubject: hello\r\n\r\nhello\r\n..dot\r\n";

/// Dovecot with a private configuration: the users tim and eve, a Unix socket and a port on loopback.
struct Dovecot {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Dovecot {
    fn start(folder: &Path) -> Self {
        let (dir, port) = (folder.display(), free_port());
        // As root it gives the mail to nobody; anybody else keeps it.
        let (user, group, ids) = if is_root() {
            (
                "nobody".to_owned(),
                "nogroup".to_owned(),
                "65534:65534".to_owned(),
            )
        } else {
            let name = |flag: &str| must(Command::new("id").arg(flag), b"").trim().to_owned();
            (
                name("-un"),
                name("-gn"),
                format!("{}:{}", name("-u"), name("-g")),
            )
        };
        let (uid, gid) = ids.split_once(':').unwrap();
        let configuration = format!(
            "base_dir = {dir}/run\ninstance_name = mailroot-{port}\nlog_path = {dir}/dovecot.log\nprotocols = lmtp\n\
             ssl = no\nlisten = 127.0.0.1\ndefault_internal_user = {user}\ndefault_login_user = {user}\n\
             default_internal_group = {group}\nmail_location = maildir:{dir}/mail/%n\nmail_uid = {uid}\n\
             mail_gid = {gid}\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
             passdb {{\n  driver = passwd-file\n  args = {dir}/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = username_format=%n {dir}/users\n}}\n\
             service lmtp {{\n  unix_listener {dir}/lmtp {{\n    mode = 0666\n  }}\n  inet_listener lmtp {{\n    \
             address = 127.0.0.1\n    port = {port}\n  }}\n}}\n"
        );
        fs::write(folder.join("dovecot.conf"), configuration).unwrap();
        let users = ["tim", "eve"].map(|name| format!("{name}::{ids}::{dir}/mail/{name}\n"));
        fs::write(folder.join("users"), users.concat()).unwrap();
        fs::create_dir_all(folder.join("mail")).unwrap();
        if is_root() {
            must(
                Command::new("chown").arg(&ids).arg(folder.join("mail")),
                b"",
            );
        }
        let mut command = common::command("dovecot");
        command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        common::wait_until_open(port);
        Self {
            child,
            folder: folder.to_owned(),
            port,
        }
    }

    /// The texts of a user's new messages.
    fn mail(&self, user: &str) -> Vec<String> {
        let Ok(new) = fs::read_dir(self.folder.join("mail").join(user).join("new")) else {
            return Vec::new();
        };
        new.map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Its children end with it only when it is asked.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn start(folder: &Folder, host: &str, more: &str) -> Mailroot {
    let home = folder.path().join("home");
    let text = format!(
        "home = \"{}\"\nhostname = \"box.example\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [local]\ndomains = [\"office.example\", \"nas.lan\"]\n\
         [[route]]\nto = [\"office.example\"]\nvia = \"lmtp\"\nhosts = [\"{host}\"]\n{more}",
        home.display()
    );
    let file = folder.file("mailroot.toml", text);
    let mut command = Command::new(MAILROOT);
    command.arg("run").arg(file);
    Mailroot::spawn(&home, command)
}

#[test]
fn a_mail_store_takes_each_copy_or_says_whose_it_does_not_take() {
    if !have("dovecot") {
        return;
    }
    for over_unix in [true, false] {
        let folder = Folder::new(if over_unix { "lmtp-unix" } else { "lmtp-tcp" });
        let store = Dovecot::start(folder.path());
        let host = if over_unix {
            folder.path().join("lmtp").display().to_string()
        } else {
            format!("127.0.0.1:{}", store.port)
        };
        let mailroot = start(&folder, &host, "");
        let mut talk = Talk::connect(mailroot.address);
        talk.say("EHLO client");
        let to = [
            "tim@office.example",
            "nobody@office.example",
            "eve@office.example",
        ];
        talk.send("sender@nas.lan", &to, TEXT);
        // The message, and the report about nobody, which is local.
        mailroot.completed(2);
        for user in ["tim", "eve"] {
            let mail = store.mail(user);
            assert_eq!(mail.len(), 1, "{user}");
            assert!(
                mail[0].replace('\r', "").ends_with("\n\nhello\n.dot\n"),
                "{mail:?}"
            );
            assert!(
                mail[0].contains("Return-Path: <sender@nas.lan>"),
                "{mail:?}"
            );
        }
        let log = mailroot.log();
        assert!(
            log.contains("to=tim@office.example") && log.contains("Saved"),
            "{log}"
        );
        let report = fs::read_dir(mailroot.home.join("drop"))
            .unwrap()
            .next()
            .unwrap();
        let report = fs::read_to_string(report.unwrap().path()).unwrap();
        assert!(
            report.contains("Final-Recipient: rfc822; nobody@office.example"),
            "{report}"
        );
        assert!(
            report.contains("Status: 5.1.1") && !report.contains("Final-Recipient: rfc822; tim"),
            "{report}"
        );
        // The next one, with the store gone in between: it waits and is not lost.
        drop(store);
        talk.send("sender@nas.lan", &["tim@office.example"], TEXT);
        mailroot.wait_for("the store is away", |line| line.contains("way-down"));
        let store = Dovecot::start_again(folder.path(), &host);
        let mut retry = Command::new(MAILROOT);
        must(
            retry.args(["queue", "retry", "--home"]).arg(&mailroot.home),
            b"",
        );
        mailroot.completed(3);
        assert_eq!(store.mail("tim").len(), 2);
        mailroot.stop();
    }
}

impl Dovecot {
    /// On the folder and port of one that has ended.
    fn start_again(folder: &Path, host: &str) -> Self {
        let mut command = common::command("dovecot");
        command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let start = Instant::now();
        let port = host
            .rsplit_once(':')
            .map_or(0, |(_, port)| port.parse().unwrap());
        if port > 0 {
            common::wait_until_open(port);
        } else {
            while std::os::unix::net::UnixStream::connect(host).is_err() {
                assert!(start.elapsed() < PATIENCE, "no store at {host}");
                std::thread::yield_now();
            }
        }
        Self {
            child,
            folder: folder.to_owned(),
            port,
        }
    }
}

/// A store that takes the message for the first recipient, and hangs up before it has said anything of the second; the
/// next time it takes what it is given.
#[test]
fn who_got_no_answer_is_tried_again_and_nobody_else() {
    let folder = Folder::new("lmtp-cut");
    let path = folder.path().join("store");
    let listener = UnixListener::bind(&path).unwrap();
    let store = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for round in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let mut out = stream.try_clone().unwrap();
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            out.write_all(b"220 store LMTP\r\n").unwrap();
            let mut taken = 0;
            while let Some(line) = lines.next() {
                let reply = match line.get(..4).unwrap_or("") {
                    "LHLO" => "250-store\r\n250 PIPELINING",
                    "DATA" => "354 go",
                    _ => "250 2.1.0 ok",
                };
                if line.starts_with("RCPT") {
                    taken += 1;
                    asked.push(line.clone());
                }
                out.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
                if line == "DATA" {
                    let _ = lines.by_ref().find(|line| line == ".");
                    out.write_all(b"250 2.1.5 <first> is stored\r\n").unwrap();
                    if round == 0 {
                        break;
                    }
                    assert_eq!(taken, 1);
                    return asked;
                }
            }
        }
        asked
    });
    let more = "[delivery]\nretry = [\"1s\"]\njitter = 0\n";
    let mailroot = start(&folder, &path.display().to_string(), more);
    let mut talk = Talk::connect(mailroot.address);
    talk.say("EHLO client");
    talk.send(
        "sender@nas.lan",
        &["one@office.example", "two@office.example"],
        TEXT,
    );
    mailroot.wait_for("the first has it", |line| {
        line.contains("delivered") && line.contains("to=one@office.example")
    });
    mailroot.wait_for("the second waits", |line| {
        line.contains("deferred")
            && line.contains("to=two@office.example")
            && line.contains("4.4.2")
    });
    mailroot.completed(1);
    let asked = store.join().unwrap();
    let want = ["one", "two", "two"].map(|to| format!("RCPT TO:<{to}@office.example>"));
    assert_eq!(asked, want);
    mailroot.stop();
}
