//! Local domains with folders and mailboxes of their own, and Maildir as its readers see it.
#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Folder, Mailroot, files, have, must, texts};

const TEXT: &str = "From: a@else.example\r\nTo: b\r\nSubject: hello\r\n\r\nhello\r\n..dot\r\n";

/// Who gets each message of a drop folder.
fn receivers(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts(folder) {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("X-Receiver: "));
        all.push(lines.collect::<Vec<_>>().join(" "));
    }
    all.sort();
    all
}

#[test]
fn each_domain_has_its_folder_its_mailboxes_and_its_other_names() {
    let folder = Folder::new("domains-folders");
    let mailroot = Mailroot::configured(
        &folder,
        "[local]\ndomains = [\"nas.lan\", \"two.lan\"]\nalias_domains = [\"old.lan\"]\n\
         [[domain]]\ndomains = [\"office.example\"]\nalias_domains = [\"office.test\"]\n\
         mailboxes = [\"tim\"]\ndrop = \"drop/office\"\n\
         [[domain]]\ndomains = [\"shared.example\"]\nmailboxes = [\"info\"]\n",
    );
    let mut talk = mailroot.client("client");
    talk.say("MAIL FROM:<a@else.example>");
    for (to, want) in [
        ("Any@nas.lan", "250 "),
        ("x@two.lan", "250 "),
        ("y@old.lan", "250 "),
        ("tim@office.example", "250 "),
        ("Tim@OFFICE.test", "250 "),
        ("info@shared.example", "250 "),
        ("postmaster@shared.example", "250 "),
        ("info@office.example", "550 5.1.1"),
        ("tim@shared.example", "550 5.1.1"),
        ("nobody@office.test", "550 5.1.1"),
    ] {
        let said = talk.say(&format!("RCPT TO:<{to}>"));
        assert!(said.starts_with(want), "{to}: {said}");
    }
    assert!(talk.data(TEXT).starts_with("250 "));
    // What no client can be told at once comes back to its sender, whose mailbox is here.
    fs::write(
        mailroot.home.join("pickup/late"),
        "X-Sender: tim@office.example\r\nX-Receiver: gone@office.test\r\n\r\nhello\r\n",
    )
    .unwrap();
    mailroot.completed(3);
    assert_eq!(
        receivers(&mailroot.home.join("drop")),
        ["Any@nas.lan x@two.lan y@nas.lan info@shared.example postmaster@shared.example"]
    );
    let office = mailroot.home.join("drop/office");
    assert_eq!(
        receivers(&office),
        [
            "tim@office.example",
            "tim@office.example Tim@office.example"
        ]
    );
    let report: Vec<String> = texts(&office)
        .into_iter()
        .filter(|text| text.contains("multipart/report"))
        .collect();
    assert_eq!(report.len(), 1);
    assert!(
        report[0].contains("gone@office.example") && report[0].contains("Status: 5.1.1"),
        "{report:?}"
    );
    mailroot.stop();
}

#[test]
fn a_full_folder_stops_its_own_domain_alone() {
    let folder = Folder::new("domains-quota");
    let mailroot = Mailroot::configured(
        &folder,
        "[local]\ndomains = [\"nas.lan\"]\n[[domain]]\ndomains = [\"small.lan\"]\ndrop = \"small\"\ndrop_files = 1\n",
    );
    let mut talk = mailroot.client("client");
    for to in ["a@small.lan", "b@small.lan", "c@nas.lan"] {
        talk.send("a@else.example", &[to], TEXT);
    }
    mailroot.completed(2);
    mailroot.wait_for("the second waits", |line| {
        line.contains("to=b@small.lan")
            && line.contains("452 4.2.2")
            && line.contains("way=drop:small.lan")
    });
    assert_eq!(files(&mailroot.home.join("drop")).len(), 1);
    let small = mailroot.home.join("small");
    let first = files(&small);
    assert_eq!(first.len(), 1);
    fs::remove_file(&first[0]).unwrap();
    mailroot.ask(&["queue", "retry"]);
    mailroot.completed(3);
    assert_eq!(receivers(&small), ["b@small.lan"]);
    mailroot.stop();
}

#[test]
fn what_is_queued_keeps_its_recipients_over_a_reload_and_a_kill() {
    let folder = Folder::new("domains-queued");
    let aliases = folder.file("aliases", "root: first@nas.lan\n");
    let configuration = format!(
        "[local]\ndomains = [\"nas.lan\"]\ndrop_files = 1\n[aliases]\nfile = \"{}\"\n",
        aliases.display()
    );
    let mailroot = Mailroot::configured(&folder, &configuration);
    let mut talk = mailroot.client("client");
    talk.send("a@nas.lan", &["filler@nas.lan"], TEXT);
    mailroot.completed(1);
    talk.send("a@nas.lan", &["root"], TEXT);
    mailroot.wait_for("it waits", |line| {
        line.contains("to=first@nas.lan") && line.contains("452 4.2.2")
    });
    // A broken file changes nothing, and says so; a good one counts from the next message on.
    fs::write(&aliases, "root: |/bin/sh\n").unwrap();
    mailroot.signal("HUP");
    let told = mailroot.wait_for("the reload is refused", |line| {
        line.contains("reload-refused")
    });
    assert!(
        told.contains("aliases:1:") && told.contains("not given to programs"),
        "{told}"
    );
    talk.send("a@nas.lan", &["root"], TEXT);
    mailroot.wait_count("the old file holds", 2, |line| {
        line.contains("deferred") && line.contains("to=first@nas.lan")
    });
    fs::write(&aliases, "root: second@nas.lan, root\n").unwrap();
    talk.send("a@nas.lan", &["root"], TEXT);
    mailroot.wait_for("the new file is read", |line| {
        line.contains("aliases-read count=1")
    });
    mailroot.wait_for("it counts", |line| {
        line.contains("deferred") && line.contains("to=second@nas.lan")
    });
    let home = mailroot.home.clone();
    mailroot.kill();
    fs::remove_dir_all(home.join("drop")).unwrap();
    let mailroot = Mailroot::configured(
        &folder,
        &configuration.replace("drop_files = 1", "drop_files = 10"),
    );
    mailroot.completed(3);
    assert_eq!(
        receivers(&home.join("drop")),
        [
            "first@nas.lan",
            "first@nas.lan",
            "second@nas.lan root@box.example"
        ]
    );
    mailroot.stop();
}

/// What Python's mailbox module makes of a Maildir: for each message its Delivered-To and Return-Path, its subject and its
/// body.
fn read_maildir(path: &Path) -> String {
    let program = "import mailbox, sys\n\
        box = mailbox.Maildir(sys.argv[1], create=False)\n\
        for key in sorted(box.keys()):\n    \
            m = box[key]\n    \
            print(m.get_all('Delivered-To'), m['Return-Path'], m['Subject'], repr(m.get_payload()), m.get_subdir())\n";
    let mut command = Command::new("python3");
    must(command.args(["-c", program]).arg(path), b"")
}

#[test]
fn a_maildir_reader_finds_each_mailbox() {
    if !have("python3") {
        return;
    }
    let folder = Folder::new("domains-maildir");
    let mailroot = Mailroot::configured(
        &folder,
        "[local]\ndomains = [\"nas.lan\"]\nmailboxes = [\"tim\", \"../../up\", \"info@nas.lan\"]\nformat = \"maildir\"\n\
         [[domain]]\ndomains = [\"all.lan\"]\ndrop = \"all\"\nformat = \"maildir\"\n",
    );
    let mut talk = mailroot.client("client");
    let to = [
        "Tim@nas.lan",
        "../../up@nas.lan",
        "info@nas.lan",
        "Postmaster@nas.lan",
    ];
    talk.send("a@else.example", &to, TEXT);
    talk.send("a@else.example", &["x@all.lan", "../y@all.lan"], TEXT);
    mailroot.completed(2);
    let body = "'hello\\n.dot\\n'";
    for (mailbox, to) in [
        ("drop/tim", "Tim@nas.lan"),
        ("drop/%2e.%2f..%2fup", "\"../../up\"@nas.lan"),
        ("drop/info@nas.lan", "info@nas.lan"),
        ("drop/postmaster", "Postmaster@nas.lan"),
    ] {
        let read = read_maildir(&mailroot.home.join(mailbox));
        assert_eq!(
            read,
            format!("['{to}'] <a@else.example> hello {body} new\n")
        );
    }
    let read = read_maildir(&mailroot.home.join("all"));
    let want = format!("['x@all.lan', '\"../y\"@all.lan'] <a@else.example> hello {body} new\n");
    assert_eq!(read, want);
    let mut made: Vec<String> = fs::read_dir(mailroot.home.join("drop"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(
        made,
        ["%2e.%2f..%2fup", "info@nas.lan", "postmaster", "tim"]
    );
    mailroot.stop();
}
