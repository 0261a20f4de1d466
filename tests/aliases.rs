//! Aliases, alias domains, the default domain and the masquerade, as users meet them: by every door of the real service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Folder, MAILROOT, Mailroot, Talk, must};

const TEXT: &str = "From: a@nas.lan\r\nTo: b\r\nSubject: hello\r\n\r\nhello\r\n";

/// The envelope lines of every drop file, each message on a line of its own.
fn dropped(home: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for file in fs::read_dir(home.join("drop")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let lines = text.lines().take_while(|line| line.starts_with("X-"));
        let lines = lines.filter_map(|line| line.split_once(": "));
        let lines = lines.filter(|(name, _)| *name != "X-Dot-Stuffed");
        all.push(lines.map(|(_, value)| value).collect::<Vec<_>>().join(" "));
    }
    all.sort();
    all
}

fn sendmail(home: &Path, args: &[&str]) {
    let mut command = Command::new(MAILROOT);
    command
        .arg("sendmail")
        .env("MAILROOT_HOME", home)
        .args(args);
    must(&mut command, b"Subject: x\n\nbody\n");
}

#[test]
fn every_door_finds_the_person_behind_a_name() {
    let folder = Folder::new("aliases-doors");
    let file = folder.file(
        "aliases",
        "# who reads what\npostmaster: root\nroot: ops@nas.lan,\n\t\"on call\"@nas.lan\nops: \\ops, boss@nas.lan\n",
    );
    let home = folder.path().join("home");
    let aliases = format!("aliases.file={}", file.display());
    let mailroot = Mailroot::start(
        &home,
        &[
            "--set",
            "local.domains=nas.lan",
            "--set",
            "local.alias_domains=old.lan",
            "--set",
            "default_domain=nas.lan",
            "--set",
            "local.mailboxes=boss,ops,\"on call\"@nas.lan",
            "--set",
            &aliases,
        ],
    );
    let mut talk = Talk::connect(mailroot.address);
    talk.say("EHLO client");
    assert!(
        talk.say("MAIL FROM:<cron>")
            .starts_with("250 2.1.0 cron@nas.lan")
    );
    assert!(
        talk.say("RCPT TO:<Root>")
            .starts_with("250 2.1.5 Root@nas.lan")
    );
    assert!(talk.say("RCPT TO:<boss@old.lan>").starts_with("250 "));
    assert!(
        talk.say("RCPT TO:<nobody@nas.lan>")
            .starts_with("550 5.1.1")
    );
    assert!(talk.say("RCPT TO:<nobody>").starts_with("550 5.1.1"));
    talk.say("DATA");
    talk.raw(TEXT.as_bytes());
    assert!(talk.say(".").starts_with("250 "));
    // A file, whose writer knows no domain either.
    fs::write(
        home.join("pickup/one"),
        "x-sender: cron\r\nx-receiver: postmaster\r\n\r\nhello\r\n",
    )
    .unwrap();
    sendmail(&home, &["-f", "smartd", "root@localhost"]);
    mailroot.completed(3);
    let people = "ops@nas.lan boss@nas.lan \"on call\"@nas.lan";
    assert_eq!(
        dropped(&home),
        [
            format!("cron@nas.lan {people}"),
            format!("cron@nas.lan {people}"),
            format!("smartd@nas.lan {people}")
        ]
    );
    // What was written for a message without From has the domain, too.
    let texts: Vec<String> = fs::read_dir(home.join("drop"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(
        texts.iter().all(|text| !text.contains("localhost")),
        "{texts:?}"
    );
    assert!(
        texts
            .iter()
            .any(|text| text.contains("\r\nFrom: cron@nas.lan\r\n")),
        "{texts:?}"
    );
    mailroot.stop();
}
