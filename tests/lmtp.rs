//! LMTP as a way out, against Dovecot's: each recipient hears what became of his own copy.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    Folder, Mailroot, Running, command, free_port, have, is_root, must, texts, until,
    wait_until_open,
};

const TEXT: &str = "From: a@else.example\r\nTo: b\r\nSubject: hello\r\n\r\nhello\r\n..dot\r\n";

/// Dovecot with a private configuration: the users tim and eve, a Unix socket and a port on loopback.
struct Dovecot {
    folder: PathBuf,
    port: u16,
    running: Option<Running>,
}

impl Dovecot {
    fn new(folder: &Path) -> Self {
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
        let mut this = Self {
            folder: folder.to_owned(),
            port,
            running: None,
        };
        this.start();
        this
    }

    /// Starts it, or starts it again; both doors are open then.
    fn start(&mut self) {
        let mut dovecot = command("dovecot");
        dovecot.arg("-F").arg("-c");
        dovecot.arg(self.folder.join("dovecot.conf"));
        self.running = Some(Running::start(&mut dovecot));
        wait_until_open(self.port);
        let socket = self.folder.join("lmtp");
        until("its socket is open", || UnixStream::connect(&socket).ok());
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// The texts of a user's new messages.
    fn mail(&self, user: &str) -> Vec<String> {
        texts(&self.folder.join("mail").join(user).join("new"))
    }
}

fn start(folder: &Folder, host: &str, more: &str) -> Mailroot {
    let text = format!(
        "[local]\ndomains = [\"office.example\", \"nas.lan\"]\n\
         [[route]]\nto = [\"office.example\"]\nvia = \"lmtp\"\nhosts = [\"{host}\"]\n{more}",
    );
    Mailroot::configured(folder, &text)
}

#[test]
fn a_mail_store_takes_each_copy_or_says_whose_it_does_not_take() {
    if !have("dovecot") {
        return;
    }
    for over_unix in [true, false] {
        let folder = Folder::new(if over_unix { "lmtp-unix" } else { "lmtp-tcp" });
        let mut store = Dovecot::new(folder.path());
        let host = if over_unix {
            folder.path().join("lmtp").display().to_string()
        } else {
            format!("127.0.0.1:{}", store.port)
        };
        let mailroot = start(&folder, &host, "");
        let mut talk = mailroot.client("client");
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
        let report = mailroot.dropped().pop().unwrap();
        assert!(
            report.contains("Final-Recipient: rfc822; nobody@office.example"),
            "{report}"
        );
        assert!(
            report.contains("Status: 5.1.1") && !report.contains("Final-Recipient: rfc822; tim"),
            "{report}"
        );
        // The next one, with the store gone in between: it waits and is not lost.
        store.stop();
        talk.send("sender@nas.lan", &["tim@office.example"], TEXT);
        mailroot.wait_for("the store is away", |line| line.contains("way-down"));
        store.start();
        mailroot.ask(&["queue", "retry"]);
        mailroot.completed(3);
        assert_eq!(store.mail("tim").len(), 2);
        mailroot.stop();
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
    let mut talk = mailroot.client("client");
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
