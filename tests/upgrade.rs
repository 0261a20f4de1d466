//! Queues that earlier releases left: each opens for ever, with every message and every recipient that still waited.
//!
//! `tests/upgrade/<release>.tar.gz` is a home as that release ended it, `<release>.exported.gz` what it said was in it. Neither
//! is ever changed; a release that is about to change the journal's format adds its own first:
//! `cargo test --test upgrade -- --ignored`.
#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use common::{Folder, Mailroot, Sink, ask, command, free_port, have, id_in, must};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade")
}

/// What the queue of a home holds, as files that any pickup folder takes, one behind the other.
fn exported(home: &Path, out: &Path) -> String {
    ask(home, &["queue", "export", out.to_str().unwrap()]);
    let mut all: Vec<String> = fs::read_dir(out)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    all.sort();
    all.join("-- next\r\n")
}

#[test]
fn every_release_s_queue_opens_and_its_mail_goes_out() {
    let folder = Folder::new("upgrade");
    let mut releases = Vec::new();
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(release) = name.strip_suffix(".tar.gz") else {
            continue;
        };
        let home = folder.path().join(release);
        fs::create_dir(&home).unwrap();
        must(
            command("tar").arg("xzf").arg(&path).arg("-C").arg(&home),
            b"",
        );
        let verified = ask(&home, &["queue", "verify"]);
        assert!(verified.contains("everything can be read"), "{verified}");
        let list = fixtures().join(format!("{release}.exported.gz"));
        let want = must(command("gzip").arg("-dc").arg(list), b"");
        let out = folder.path().join(format!("{release}-out"));
        assert_eq!(exported(&home, &out), want, "{release}");
        releases.push((release.to_owned(), home));
    }
    assert!(!releases.is_empty());

    if !have("smtp-sink") {
        println!("skipped: an old queue's mail goes out (no smtp-sink)");
        return;
    }
    for (release, home) in releases {
        let place = folder.path().join(format!("{release}-sink"));
        fs::create_dir(&place).unwrap();
        let sink = Sink::start(&place, &[]);
        let box_ = Mailroot::start(&home, &["--smart-host", &sink.url()]);
        box_.completed(2);
        box_.stop();
        // The third is held by its operator, and stays so.
        let verified = ask(&home, &["queue", "verify"]);
        assert!(
            verified.starts_with("1 messages, 1 of them held"),
            "{verified}"
        );
    }
}

#[test]
#[ignore = "makes a fixture of this release"]
fn make_a_fixture() {
    let folder = Folder::new("fixture");
    let home = folder.home();
    let dead = format!("smtp://127.0.0.1:{}?tls=off", free_port());
    let box_ = Mailroot::start(&home, &["--smart-host", &dead]);
    let mut talk = box_.client("printer.example");
    let head = "From: a@nas.example\r\nTo: b@office.example\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
                Message-ID: <1@nas.example>\r\n\r\n";
    for line in [
        "MAIL FROM:<a@nas.example> RET=HDRS ENVID=q+3D1",
        "RCPT TO:<b@office.example> NOTIFY=NEVER",
        "RCPT TO:<c@office.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c+40old.example",
    ] {
        assert!(talk.say(line).starts_with("250"), "{line}");
    }
    assert!(talk.say("DATA").starts_with("354"));
    assert!(talk.say(&format!("{head}..a dot\r\n.")).starts_with("250"));
    let large = format!("{head}{}", "sixteen letters\r\n".repeat(10_000));
    assert!(
        talk.send("", &["e@office.example"], &large)
            .starts_with("250")
    );
    box_.wait_for("the way is down", |line| line.contains(" way-down "));
    talk.send("a@nas.example", &["held@office.example"], head);
    let accepted = box_.wait_count("all three", 3, |line| line.contains(" accepted id="));
    box_.ask(&["queue", "hold", &id_in(&accepted[2])]);
    box_.stop();

    let release = env!("CARGO_PKG_VERSION");
    let text = exported(&home, &folder.path().join("out"));
    let tar = fixtures().join(format!("{release}.tar.gz"));
    assert!(!tar.exists(), "{} is there already", tar.display());
    must(
        command("tar")
            .args(["--owner=0", "--group=0", "--sort=name", "-C"])
            .arg(&home)
            .arg("-czf")
            .args([&tar, Path::new(".")]),
        b"",
    );
    let list = fixtures().join(format!("{release}.exported"));
    fs::write(&list, text).unwrap();
    must(command("gzip").args(["-9", "-n"]).arg(list), b"");
}
