//! Programs of the owner: real scripts that see mail arrive, refuse it, hang, and hear how the ways are.
#![cfg(test)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{Folder, MAILROOT, Mailroot, PATIENCE, Sink, Talk, free_port, have};

/// A service with this configuration behind the usual lines.
fn start(folder: &Folder, more: &str) -> Mailroot {
    let home = folder.path().join("home");
    let text = format!(
        "home = '{}'\nhostname = 'box.example'\n{more}\n[[listen]]\naddress = '127.0.0.1:0'\n",
        home.display()
    );
    let file = folder.file("mailroot.toml", text);
    let mut command = Command::new(MAILROOT);
    // What is in our environment is none of its business.
    command
        .arg("run")
        .arg(file)
        .env("MAILROOT_PASSWORD", "hunter2");
    Mailroot::spawn(&home, command)
}

fn script(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.file(name, format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn send(mailroot: &Mailroot, from: &str, subject: &str) -> String {
    let mut talk = Talk::connect(mailroot.address);
    talk.say("EHLO cam.lan");
    let text = format!("Subject: {subject}\r\n\r\nhello\r\n");
    let reply = talk.send(from, &["owner@box.example", "second@box.example"], &text);
    assert!(reply.starts_with("250"), "{reply}");
    reply
}

/// The files of a folder that have this in them.
fn with(folder: &Path, text: &str) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    all.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .filter(|found| found.contains(text))
        .collect()
}

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_message_is_seen_before_it_goes_and_may_be_refused() {
    let folder = Folder::new("hooks-arrival");
    let seen = folder.path().join("seen");
    fs::create_dir(&seen).unwrap();
    let look = script(
        &folder,
        "look",
        &format!(
            "cat >{0}/$MAILROOT_ID.eml\nenv >{0}/$MAILROOT_ID.env\n\
             grep -q virus {0}/$MAILROOT_ID.eml || exit 0\necho 'it has a \"virus\"' >&2\nexit 65",
            seen.display()
        ),
    );
    let note = script(
        &folder,
        "note",
        &format!(
            "{{ echo $MAILROOT_EVENT; echo $1; echo $MAILROOT_FILE; echo $MAILROOT_WHY; cat; }} \
             >{0}/$MAILROOT_EVENT-$MAILROOT_ID.txt",
            seen.display()
        ),
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = ['box.example', 'cam.lan']\n\
             [[hook]]\non = ['arrival']\nexec = ['{}']\n\
             [[hook]]\non = ['drop', 'badmail']\nexec = ['{}', 'two words']\n",
            look.display(),
            note.display()
        ),
    );
    let drop = mailroot.home.join("drop");
    send(&mailroot, "cam@cam.lan", "a good one");
    mailroot.completed(1);
    assert_eq!(with(&drop, "Subject: a good one").len(), 1);
    let env = with(&seen, "MAILROOT_EVENT=arrival").pop().unwrap();
    for line in [
        "MAILROOT_SENDER=cam@cam.lan",
        "MAILROOT_RECIPIENTS=owner@box.example",
        "second@box.example",
        "MAILROOT_SERVER=mailroot",
    ] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(!env.contains("hunter2"), "{env}");
    let noted = until("the drop is noted", || {
        with(&seen, "drop\ntwo words\n")
            .pop()
            .filter(|text| text.ends_with("hello\r\n"))
    });
    assert!(noted.contains(&format!("{}/", drop.display())), "{noted}");

    // Refused: the sender hears it, and who has no sender goes to badmail.
    send(&mailroot, "cam@cam.lan", "a virus");
    mailroot.wait_for("the report is delivered", |line| {
        line.contains(" reported id=")
    });
    mailroot.completed(3);
    assert!(with(&drop, "\r\nSubject: a virus\r\n\r\nhello").is_empty());
    assert_eq!(
        with(&drop, "refused: it has a \"virus\"").len(),
        1,
        "a report to its sender"
    );
    let ran = mailroot.wait_for("the log tells", |line| {
        line.contains("hook-ran") && line.contains("code=65")
    });
    assert!(ran.contains("said=\"it has a \\\"virus\\\"\""), "{ran}");
    send(&mailroot, "", "another virus");
    mailroot.wait_for("it is in badmail", |line| line.contains(" badmail id="));
    let noted = until("badmail is noted", || {
        with(&seen, "badmail\ntwo words\n")
            .pop()
            .filter(|text| text.ends_with("hello\r\n"))
    });
    assert!(noted.contains("refused: it has a \"virus\""), "{noted}");
    mailroot.completed(4);
    mailroot.wait_for_empty();
    mailroot.stop();
}

#[test]
fn a_program_that_hangs_fails_or_is_missing_costs_no_mail() {
    let folder = Folder::new("hooks-hang");
    // Half of them hang, and none reads what it is given.
    let hang = script(
        &folder,
        "hang",
        "[ \"$MAILROOT_SENDER\" = slow@cam.lan ] || exit 3\nsleep 1000 &\nwait",
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = ['box.example']\n\
             [[hook]]\non = ['arrival']\nexec = ['{}']\ntimeout = '1s'\nat_once = 1\n\
             [[hook]]\non = ['arrival', 'drop']\nexec = ['/nowhere/at/all']\n",
            hang.display(),
        ),
    );
    for round in 0..4 {
        let from = if round % 2 == 0 {
            "slow@cam.lan"
        } else {
            "fast@cam.lan"
        };
        send(&mailroot, from, "hello");
    }
    mailroot.completed(4);
    assert_eq!(with(&mailroot.home.join("drop"), "Subject: hello").len(), 4);
    let log = mailroot.stop();
    assert!(log.contains("why=\"killed after 1 seconds\""), "{log}");
    assert!(log.contains("exec=/nowhere/at/all on=arrival"), "{log}");
    assert!(log.contains("exec=/nowhere/at/all on=drop"), "{log}");
}

#[test]
fn a_large_message_goes_whole_into_a_slow_program() {
    let folder = Folder::new("hooks-large");
    let count = script(
        &folder,
        "count",
        &format!("sleep 0.2; wc -c >{}/count", folder.path().display()),
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = ['box.example']\n\
             [[hook]]\non = ['drop']\nexec = ['{}']\n",
            count.display(),
        ),
    );
    let mut talk = Talk::connect(mailroot.address);
    talk.say("EHLO cam.lan");
    let line = format!("{}\r\n", "x".repeat(70));
    let text = format!("Subject: large\r\n\r\n{}", line.repeat(10_000));
    talk.send("cam@cam.lan", &["owner@box.example"], &text);
    let counted = until("it is counted", || {
        let text = fs::read_to_string(folder.path().join("count")).ok()?;
        text.trim().parse::<usize>().ok()
    });
    // Ours in front: the trace, the date and the id.
    assert!(
        counted > text.len() && counted < text.len() + 1000,
        "{counted}"
    );
    mailroot.completed(1);
    mailroot.stop();
}

#[test]
fn the_state_of_a_way_is_told() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("hooks-way");
    let port = free_port();
    let tell = script(
        &folder,
        "tell",
        &format!(
            "echo \"$MAILROOT_EVENT $MAILROOT_WAY $MAILROOT_WHY\" >>{}/told",
            folder.path().display()
        ),
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = []\n[delivery]\nretry = ['1s']\n\
             [[route]]\nhosts = ['127.0.0.1:{port}']\ntls = 'off'\n\
             [[hook]]\non = ['down', 'held', 'well']\nexec = ['{}']\nat_once = 1\n",
            tell.display(),
        ),
    );
    send(&mailroot, "cam@cam.lan", "hello");
    let told = || fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    until("it is down", || {
        told()
            .contains(&format!("down [127.0.0.1]:{port} "))
            .then_some(())
    });
    assert!(told().contains("connection refused"), "{}", told());
    mailroot.wait_count("more probes failed", 3, |line| line.contains(" way-down "));
    let _sink = Sink::start_at(folder.path(), "sink", "127.0.0.1", port, &[]);
    mailroot.completed(1);
    until("it is well", || {
        told()
            .contains(&format!("well [127.0.0.1]:{port}"))
            .then_some(())
    });
    mailroot.stop();
}
