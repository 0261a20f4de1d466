//! Real programs send through mailroot to Postfix's smtp-sink; what arrives is what they sent, byte for byte, except
//! for the trace fields.
#![cfg(test)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::messages::{awkward, large};
use common::{Folder, MAILROOT, Mailroot, Received, Sink, as_sunk, command, have, must};

struct Relay {
    folder: Folder,
    sink: Sink,
    box_: Mailroot,
}

impl Relay {
    fn start(name: &str) -> Option<Self> {
        if !have("smtp-sink") {
            return None;
        }
        let folder = Folder::new(name);
        let sink = Sink::start(folder.path(), &[]);
        let box_ = Mailroot::start(&folder.home(), &["--smart-host", &sink.url()]);
        Some(Self { folder, sink, box_ })
    }

    /// The one message that has come through.
    fn arrived(&self) -> Received {
        self.box_.completed(1);
        self.sink.only()
    }
}

fn same(got: &Received, sent: &str) {
    let want = as_sunk(sent.as_bytes());
    assert!(
        got.text == want,
        "what arrived differs:\n--- sent\n{}\n--- arrived\n{}",
        String::from_utf8_lossy(&want),
        String::from_utf8_lossy(&got.text)
    );
    assert!(
        got.trace.contains("by box.example"),
        "no trace of us: {}",
        got.trace
    );
}

#[test]
fn swaks_sends_through_us() {
    if !have("swaks") {
        return;
    }
    let Some(relay) = Relay::start("swaks") else {
        return;
    };
    // It adds a line end to what it reads.
    let text = awkward();
    let data = relay
        .folder
        .file("mail", text.strip_suffix("\r\n").unwrap());
    must(
        command("swaks")
            .args(["--server", &relay.box_.address.to_string(), "--pipeline"])
            .args([
                "--from",
                "alice@nas.example",
                "--to",
                "bob@office.example,eve@office.example",
            ])
            .arg("--data")
            .arg(format!("@{}", data.display())),
        b"",
    );
    let got = relay.arrived();
    same(&got, &awkward());
    assert_eq!(
        got.rcpt_args,
        ["<bob@office.example>", "<eve@office.example>"]
    );
    assert!(
        got.mail_args.starts_with("<alice@nas.example>"),
        "{}",
        got.mail_args
    );
}

#[test]
fn msmtp_sends_through_us() {
    if !have("msmtp") {
        return;
    }
    let Some(relay) = Relay::start("msmtp") else {
        return;
    };
    must(
        command("msmtp")
            .args(["--host=127.0.0.1", &format!("--port={}", relay.box_.port())])
            .args([
                "--auth=off",
                "--tls=off",
                "--from=alice@nas.example",
                "bob@office.example",
            ]),
        large().replace("\r\n", "\n").as_bytes(),
    );
    same(&relay.arrived(), &large());
}

#[test]
fn curl_sends_through_us() {
    if !have("curl") {
        return;
    }
    let Some(relay) = Relay::start("curl") else {
        return;
    };
    let data = relay.folder.file("mail", large());
    must(
        command("curl")
            .args(["-sS", &format!("smtp://{}/me.example", relay.box_.address)])
            .args([
                "--mail-from",
                "alice@nas.example",
                "--mail-rcpt",
                "bob@office.example",
                "-T",
            ])
            .arg(data),
        b"",
    );
    same(&relay.arrived(), &large());
}

#[test]
fn python_smtplib_sends_through_us() {
    if !have("python3") {
        return;
    }
    let Some(relay) = Relay::start("python") else {
        return;
    };
    let data = relay.folder.file("mail", awkward());
    let program = "import smtplib, sys\n\
                   s = smtplib.SMTP('127.0.0.1', int(sys.argv[1]))\n\
                   m = open(sys.argv[2], 'rb').read()\n\
                   s.sendmail('alice@nas.example', ['bob@office.example'], m, ['body=8bitmime'])\n\
                   s.sendmail('alice@nas.example', ['eve@office.example'], m)\n\
                   s.quit()\n";
    must(
        command("python3")
            .args(["-c", program, &relay.box_.port().to_string()])
            .arg(data),
        b"",
    );
    relay.box_.completed(2);
    let all = relay.sink.messages();
    assert_eq!(all.len(), 2);
    for got in &all {
        same(got, &awkward());
    }
}

#[test]
fn ten_sessions_of_smtp_source_lose_nothing() {
    if !have("smtp-source") {
        return;
    }
    let Some(relay) = Relay::start("source") else {
        return;
    };
    must(
        command("smtp-source")
            .args([
                "-s",
                "10",
                "-m",
                "1000",
                "-l",
                "1024",
                "-f",
                "a@nas.example",
                "-t",
                "b@office.example",
            ])
            .arg(relay.box_.address.to_string()),
        b"",
    );
    relay.box_.completed(1000);
    let all = relay.sink.messages();
    let ids: std::collections::BTreeSet<_> = all
        .iter()
        .map(|m| m.header("Message-Id").unwrap())
        .collect();
    assert_eq!((all.len(), ids.len()), (1000, 1000));
}

/// The folder of links an image maker ships: the same program under its old names.
fn names(folder: &Path, home: &Path) -> std::path::PathBuf {
    let dir = folder.join("names");
    fs::create_dir_all(&dir).unwrap();
    for name in ["sendmail", "mailq", "mail"] {
        symlink(MAILROOT, dir.join(name)).unwrap();
    }
    let _ = home;
    dir
}

#[test]
fn sendmail_serves_cron_mdadm_php_and_git() {
    let Some(relay) = Relay::start("sendmail") else {
        return;
    };
    let home = relay.folder.home();
    let names = names(relay.folder.path(), &home);
    let sendmail = names.join("sendmail");
    let mut expected = 0;

    // cron (cronie) hands over the output of a job like this.
    let cron = "From: \"(Cron Daemon)\" <root>\nTo: ops@office.example\nSubject: Cron <root@box> backup\n\
                Auto-Submitted: auto-generated\n\nbackup failed\n";
    must(
        Command::new(&sendmail)
            .args([
                "-FCronDaemon",
                "-i",
                "-odi",
                "-oem",
                "-oi",
                "-t",
                "-f",
                "root@box.example",
            ])
            .env("MAILROOT_HOME", &home),
        cron.as_bytes(),
    );
    expected += 1;

    // mdadm pipes into sendmail -t.
    let mdadm = "From: mdadm monitoring <root@box.example>\nTo: ops@office.example\n\
                 Subject: DegradedArray event on /dev/md0:box\n\nThis is an automatically generated mail message\n.\n";
    must(
        Command::new(&sendmail)
            .arg("-t")
            .env("MAILROOT_HOME", &home),
        mdadm.as_bytes(),
    );
    expected += 1;

    if have("php") {
        must(
            command("php")
                .args(["-d", &format!("sendmail_path={} -t -i", sendmail.display()), "-r"])
                .arg("exit(mail('ops@office.example', 'from php', \"hello\\n.\\nworld\", 'From: web@box.example') ? 0 : 1);")
                .env("MAILROOT_HOME", &home),
            b"",
        );
        expected += 1;
    }

    if have("git") {
        let repo = relay.folder.path().join("repo");
        fs::create_dir_all(&repo).unwrap();
        let git = |args: &[&str]| {
            must(
                command("git")
                    .args(["-c", "user.name=Dev", "-c", "user.email=dev@box.example"])
                    .args(args)
                    .current_dir(&repo)
                    .env("MAILROOT_HOME", &home)
                    .env("GIT_CONFIG_NOSYSTEM", "1")
                    .env("HOME", &repo),
                b"",
            )
        };
        git(&["init", "-q"]);
        fs::write(repo.join("f"), "one\n").unwrap();
        git(&["add", "f"]);
        git(&["commit", "-q", "-m", "first"]);
        let (status, _) = common::run(
            command("git")
                .args(["send-email", "--help"])
                .current_dir(&repo),
            b"",
        );
        if status.success() {
            let smtp = format!("--smtp-server={}", sendmail.display());
            git(&[
                "send-email",
                &smtp,
                "--to=ops@office.example",
                "--confirm=never",
                "--suppress-cc=all",
                "--quiet",
                "-1",
            ]);
            expected += 1;
        } else {
            println!("skipped: git send-email is not installed (tests/setup installs it)");
        }
    }

    relay.box_.completed(expected);
    let all = relay.sink.messages();
    assert_eq!(all.len(), expected);
    let find = |subject: &str| {
        let found = all
            .iter()
            .find(|m| m.header("Subject").is_some_and(|s| s.contains(subject)));
        found.unwrap_or_else(|| panic!("nothing with subject {subject}"))
    };
    let from_cron = find("Cron <root@box>");
    assert!(
        from_cron.mail_args.starts_with("<root@box.example>"),
        "{}",
        from_cron.mail_args
    );
    assert!(String::from_utf8_lossy(&from_cron.text).ends_with("\n\nbackup failed\n"));
    // Without -i a lone dot ends the message, so it is not part of it.
    let from_mdadm = find("DegradedArray");
    assert!(String::from_utf8_lossy(&from_mdadm.text).ends_with("generated mail message\n"));
    for message in &all {
        assert!(message.header("Date").is_some() && message.header("Message-ID").is_some());
        assert_eq!(message.rcpt_args, ["<ops@office.example>"]);
    }
    if have("php") {
        assert!(String::from_utf8_lossy(&find("from php").text).ends_with("\n\nhello\n.\nworld\n"));
    }
}

#[test]
fn a_pickup_file_as_dotnet_writes_it_is_sent_with_its_envelope() {
    let Some(relay) = Relay::start("dotnet") else {
        return;
    };
    // SpecifiedPickupDirectory: the file is created under its final name and written in place.
    let text = "X-Sender: \"Do Not Reply\" <noreply@app.example>\r\nX-Receiver: one@office.example\r\n\
                X-Receiver: hidden@office.example\r\nMIME-Version: 1.0\r\nFrom: \"Do Not Reply\" <noreply@app.example>\r\n\
                To: one@office.example\r\nDate: 22 Nov 2026 10:00:00 +0000\r\nSubject: invoice\r\n\
                Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHello\r\n";
    let pickup = relay.folder.path().join("home/pickup");
    let file = pickup.join("2f1c9a1e-9f0d-4f57-8f4e-3a6f3f7b0001.eml");
    fs::write(&file, text).unwrap();
    let got = relay.arrived();
    assert_eq!(
        got.rcpt_args,
        ["<one@office.example>", "<hidden@office.example>"]
    );
    assert!(
        got.mail_args.starts_with("<noreply@app.example>"),
        "{}",
        got.mail_args
    );
    let text = String::from_utf8_lossy(&got.text).into_owned();
    assert!(!text.contains("X-Sender") && !text.contains("X-Receiver") && !text.contains("hidden"));
    assert!(text.ends_with("\n\nHello\n") && !file.exists());
}
