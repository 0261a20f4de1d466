//! The queue as files, through the real binary: verify, export, import, dump, and who holds a home.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Folder, Mailroot, ask, free_port, must, on, run};

const TEXT: &str = "From: a@nas.example\r\nTo: b@office.example\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
                    Message-ID: <1@nas.example>\r\n\r\n";

fn dead() -> String {
    format!("smtp://127.0.0.1:{}?tls=off", free_port())
}

/// A home with a small and a large message waiting for a next hop that is not there, the service ended in order.
fn filled(home: &Path) {
    let box_ = Mailroot::start(home, &["--smart-host", &dead()]);
    let mut talk = box_.client("printer.lan");
    for line in [
        "MAIL FROM:<a@nas.example> RET=HDRS ENVID=q+3D1",
        "RCPT TO:<b@office.example> NOTIFY=NEVER",
        "RCPT TO:<c@office.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c+40old.example",
        "RCPT TO:<d@office.example>",
    ] {
        assert!(talk.say(line).starts_with("250"), "{line}");
    }
    assert!(talk.say("DATA").starts_with("354"));
    assert!(
        talk.say(&format!("{TEXT}..a dot\r\nend\r\n."))
            .starts_with("250")
    );
    let large = format!("{TEXT}{}", "sixteen letters\r\n".repeat(10_000));
    assert!(
        talk.send("", &["e@office.example"], &large)
            .starts_with("250")
    );
    box_.wait_for("the way is down", |l| l.contains(" way-down "));
    box_.stop();
}

/// Every file below a folder with its contents and the time it was changed.
fn snapshot(folder: &Path) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|e| e.path().is_file());
    files
        .map(|e| {
            let meta = e.metadata().unwrap();
            let name = e.file_name().into_string().unwrap();
            let bytes = fs::read(e.path()).unwrap();
            (name, (bytes, meta.mtime(), meta.mtime_nsec()))
        })
        .collect()
}

/// Header lines, body and envelope lines of a file, without what each passage adds.
fn essence(text: &str) -> (Vec<String>, String) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let ours = |l: &&str| !l.starts_with("Received:") && !l.starts_with(['\t', ' ']);
    let lines = head.split("\r\n").filter(ours).map(str::to_owned);
    (lines.collect(), body.to_owned())
}

#[test]
fn an_exported_queue_can_be_imported_elsewhere_and_nothing_of_it_changes() {
    let folder = Folder::new("export");
    let (home, other) = (folder.home(), folder.path().join("other"));
    filled(&home);
    let before = snapshot(&home.join("queue"));

    let verified = ask(&home, &["queue", "verify"]);
    assert!(
        verified.starts_with("2 messages, 0 of them held, ")
            && verified.ends_with("everything can be read\n"),
        "{verified}"
    );
    let dump = ask(&home, &["journal", "dump"]);
    for part in [
        "journal-0.seg segment 1, 1048576 bytes",
        "by smtp (127.0.0.1 (printer.lan))",
        "a@nas.example -> b@office.example c@office.example d@office.example, ",
        "<> -> e@office.example, ",
        "bytes in its file, checksum ",
        " end\n",
    ] {
        assert!(dump.contains(part), "no {part:?} in:\n{dump}");
    }
    let out = folder.path().join("out");
    let export = || on(&home, &["queue", "export", out.to_str().unwrap()]);
    let listed = must(&mut export(), b"");
    assert!(listed.contains("2 messages written"), "{listed}");
    let first = snapshot(&out);
    assert_eq!(first.len(), 2);
    let small = first
        .values()
        .map(|f| String::from_utf8(f.0.clone()).unwrap());
    let small: String = small.filter(|text| text.len() < 2000).collect();
    assert!(
        small.starts_with(
            "X-Sender: a@nas.example\r\nX-Ret: hdrs\r\nX-Envid: q+3D1\r\nX-Notify: never\r\n\
             X-Receiver: b@office.example\r\nX-Notify: success,failure\r\nX-Receiver: c@office.example\r\n\
             X-Orcpt: rfc822;c+40old.example\r\nX-Notify: default\r\nX-Receiver: d@office.example\r\n\
             X-Dot-Stuffed: no\r\nReceived: "
        ),
        "{small}"
    );
    assert!(small.ends_with("\r\n\r\n.a dot\r\nend\r\n"), "{small}");
    // What is there is not replaced, and is said.
    let (status, why) = run(&mut export(), b"");
    assert!(
        !status.success() && why.contains("is there already"),
        "{why}"
    );
    assert_eq!(
        snapshot(&home.join("queue")),
        before,
        "reading changed the queue"
    );

    // Into another home, whose service is down; it takes them when it starts, and exports them the same.
    let import = ["queue", "import", out.to_str().unwrap()];
    let (status, why) = run(&mut on(&other, &import), b"");
    assert!(!status.success(), "there is no such home yet: {why}");
    Mailroot::start(&other, &[]).stop();
    let imported = ask(&other, &import);
    assert!(imported.contains("2 files are in "), "{imported}");
    let box_ = Mailroot::start(&other, &["--smart-host", &dead()]);
    box_.wait_count("both are taken", 2, |l| l.contains(" accepted id="));
    box_.stop();
    let again = folder.path().join("again");
    ask(&other, &["queue", "export", again.to_str().unwrap()]);
    let all = |files: BTreeMap<String, (Vec<u8>, i64, i64)>| -> Vec<_> {
        let texts = files.into_values().map(|f| String::from_utf8(f.0).unwrap());
        let mut all: Vec<_> = texts.map(|text| essence(&text)).collect();
        all.sort();
        all
    };
    assert_eq!(all(first), all(snapshot(&again)));
}

#[test]
fn damage_is_found_by_verify_and_dump_and_costs_one_message() {
    let folder = Folder::new("damage");
    let home = folder.home();
    filled(&home);
    let dump = ask(&home, &["journal", "dump"]);
    let line = dump
        .lines()
        .find(|l| l.contains("a@nas.example -> b@"))
        .unwrap();
    let offset: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(home.join("queue/journal-0.seg"))
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset + 40).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset + 40).unwrap();
    let before = snapshot(&home.join("queue"));

    let (status, said) = run(&mut on(&home, &["queue", "verify"]), b"");
    assert_eq!(status.code(), Some(65), "{said}");
    let told = format!("from {offset} on cannot be read");
    assert!(
        said.contains("1 messages, ") && said.contains(&told),
        "{said}"
    );
    let (status, said) = run(&mut on(&home, &["journal", "dump"]), b"");
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("DAMAGE: cannot be read"), "{said}");
    // The other one's body file is shorter than it was.
    let body = fs::read_dir(home.join("queue"))
        .unwrap()
        .map(Result::unwrap);
    let mut body = body.filter(|e| e.file_name().to_str().unwrap().ends_with(".body"));
    let body = body.next().unwrap().path();
    let whole = fs::read(&body).unwrap();
    fs::write(&body, &whole[..whole.len() - 1]).unwrap();
    let (status, said) = run(&mut on(&home, &["queue", "verify"]), b"");
    assert!(said.contains("its body file is too short"), "{said}");
    assert_eq!(status.code(), Some(65));
    let out = folder.path().join("out");
    let (status, said) = run(
        &mut on(&home, &["queue", "export", out.to_str().unwrap()]),
        b"",
    );
    assert!(said.contains("0 messages written"), "{said}");
    assert_eq!(status.code(), Some(65));
    assert_eq!(snapshot(&out).len(), 0, "half a message");
    fs::write(&body, whole).unwrap();
    let journal = |files: BTreeMap<String, (Vec<u8>, i64, i64)>| -> Vec<_> {
        files
            .into_iter()
            .filter(|f| f.0.ends_with(".seg"))
            .collect()
    };
    assert_eq!(journal(snapshot(&home.join("queue"))), journal(before));
    // It starts, keeps the rest, and says what it lost.
    let box_ = Mailroot::start(&home, &["--smart-host", &dead()]);
    let said = box_.wait_for("it tells", |l| l.contains(" recovered "));
    assert!(said.contains("1 stretches of the journal"), "{said}");
    let list = ask(&home, &["queue", "list"]);
    assert!(list.contains("<> -> e@office.example"), "{list}");
}

#[test]
fn a_batch_costs_each_message_its_wait_and_no_message() {
    let folder = Folder::new("batch");
    let home = folder.home();
    let url = dead();
    let args = ["--smart-host", &url, "--set", "durability=batch 50ms"];
    let box_ = Mailroot::start(&home, &args);
    let begun = Instant::now();
    let mut talk = box_.client("printer.lan");
    for _ in 0..8 {
        assert!(
            talk.send("", &["b@office.example"], TEXT)
                .starts_with("250")
        );
    }
    assert!(begun.elapsed() >= 8 * Duration::from_millis(50));
    box_.kill();
    let list = ask(&home, &["queue", "list"]);
    assert_eq!(list.matches(" -> b@office.example").count(), 8, "{list}");
}

#[test]
fn a_second_service_on_a_home_says_who_has_it_and_touches_nothing() {
    let folder = Folder::new("second");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--smart-host", &dead()]);
    let held = format!("process {} already runs on this home", box_.pid());
    let mut second = on(&home, &["run", "--listen", "127.0.0.1:0"]);
    let (status, why) = run(&mut second, b"");
    assert!(!status.success() && why.contains(&held), "{status}: {why}");
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    for words in [&["queue", "verify"][..], &["queue", "export", out]] {
        let (status, why) = run(&mut on(&home, words), b"");
        assert!(!status.success() && why.contains(&held), "{words:?}: {why}");
    }
    let mut talk = box_.client("printer.lan");
    assert!(
        talk.send("", &["b@office.example"], TEXT)
            .starts_with("250")
    );
    // A dump looks over the service's shoulder.
    let dump = ask(&home, &["journal", "dump"]);
    assert!(dump.contains("<> -> b@office.example"), "{dump}");
}
