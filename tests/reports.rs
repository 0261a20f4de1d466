//! Delivery reports as their readers meet them: parsed by programs that are not ours, field by field, and written
//! when, and only when, the sender asked (RFC 3461 to RFC 3464).
#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::{Folder, Mailroot, files, free_port, run};

const MAIL: &str = "From: a@nas.example\r\nTo: b@office.example\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
                    Message-ID: <1@nas.example>\r\n\r\nbody\r\n.\r\n";

/// A next hop: `bad...` is nobody, `slow...` is busy, everybody else gets it. Keeps what it heard.
struct Peer {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn start(offer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    let mut out = stream.try_clone().unwrap();
                    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
                    let _ = out.write_all(b"220 peer.example\r\n");
                    while let Some(line) = lines.next() {
                        log.lock().unwrap().push(line.clone());
                        let reply = match line.get(..4).unwrap_or("") {
                            "EHLO" => format!("250-peer.example\r\n250-{offer}\r\n250 SIZE"),
                            "AUTH" => "535 5.7.8 wrong password".to_owned(),
                            "RCPT" if line.contains("<bad") => {
                                "550 5.1.1 nobody of that name".to_owned()
                            }
                            "RCPT" if line.contains("<slow") => "451 4.2.1 come later".to_owned(),
                            "DATA" => "354 go on".to_owned(),
                            _ => "250 2.0.0 ok".to_owned(),
                        };
                        let _ = out.write_all(format!("{reply}\r\n").as_bytes());
                        if line == "DATA" {
                            let _ = lines.by_ref().find(|line| line == ".");
                            let _ = out.write_all(b"250 2.0.0 taken\r\n");
                        }
                    }
                });
            }
        });
        Self { port, heard }
    }

    fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=off", self.port)
    }

    fn heard(&self, word: &str) -> Vec<String> {
        let all = self.heard.lock().unwrap();
        all.iter()
            .filter(|l| l.starts_with(word))
            .cloned()
            .collect()
    }
}

fn start(home: &Path, hop: &str, more: &[&str]) -> Mailroot {
    let mut args = vec!["--smart-host", hop, "--local", "nas.example"];
    for pair in more {
        args.extend(["--set", pair]);
    }
    Mailroot::start(home, &args)
}

/// Sends with the parameters as given.
fn send(box_: &Mailroot, mail: &str, rcpt: &[&str]) {
    let mut talk = box_.client("printer.lan");
    for line in [mail].iter().chain(rcpt) {
        let reply = talk.say(line);
        assert!(reply.starts_with("250"), "{line}: {reply}");
    }
    assert!(talk.say("DATA").starts_with("354"));
    talk.raw(MAIL.as_bytes());
    assert!(talk.reply().starts_with("250"));
    talk.say("QUIT");
}

/// The files in the drop folder.
fn dropped(home: &Path) -> Vec<PathBuf> {
    files(&home.join("drop"))
}

/// What the readers make of a report; `None` when there is no Python here. Debian's own has flufl.bounce.
fn read(report: &Path) -> Option<String> {
    let python = ["/usr/bin/python3", "python3"];
    let python = python.iter().find(|p| {
        Command::new(p)
            .arg("-c")
            .arg("pass")
            .status()
            .is_ok_and(|s| s.success())
    });
    let Some(python) = python else {
        println!("skipped: python3 is not installed (tests/setup installs it)");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/read.py");
    let (status, said) = run(Command::new(python).arg(script).arg(report), b"");
    assert!(
        status.success(),
        "{said}\n{}",
        fs::read_to_string(report).unwrap()
    );
    if said.contains("mailman: absent") {
        println!("skipped: flufl.bounce is not installed (tests/setup installs it)");
    }
    Some(said)
}

/// Every fact is among what was said.
fn says(said: &str, facts: &[&str]) {
    for fact in facts {
        let absent = fact.starts_with("mailman:") && said.contains("mailman: absent");
        assert!(
            absent || said.lines().any(|l| l == *fact),
            "no {fact:?} in:\n{said}"
        );
    }
}

#[test]
fn a_failure_is_reported_as_asked_and_other_programs_understand_it() {
    let folder = Folder::new("report-failed");
    let home = folder.home();
    let peer = Peer::start("HELP");
    let box_ = start(
        &home,
        &peer.url(),
        &["delivery.report_copy_to=boss@nas.example"],
    );
    send(
        &box_,
        "MAIL FROM:<a@nas.example> RET=HDRS ENVID=job+2B7",
        &[
            "RCPT TO:<bad1@office.example> ORCPT=rfc822;b+2Bad@first.example",
            "RCPT TO:<bad2@office.example> NOTIFY=SUCCESS,FAILURE",
            "RCPT TO:<bad3@office.example> NOTIFY=NEVER",
            "RCPT TO:<bad4@office.example> NOTIFY=DELAY",
            "RCPT TO:<good@office.example>",
        ],
    );
    box_.completed(2);
    let [report] = dropped(&home).try_into().unwrap();
    // Whom nobody is told of is kept (promise G2).
    let kept: Vec<_> = fs::read_dir(home.join("badmail")).unwrap().collect();
    assert_eq!(kept.len(), 3);
    let Some(said) = read(&report) else { return };
    says(
        &said,
        &[
            "envelope: X-Sender: <>",
            "envelope: X-Receiver: a@nas.example",
            "envelope: X-Receiver: boss@nas.example",
            "to: a@nas.example",
            "subject: Undelivered mail: hello",
            "message: original-envelope-id: job+7",
            "message: reporting-mta: dns; box.example",
            "message: received-from-mta: dns; printer.lan",
            "message: arrival-date: a date",
            "bad1@office.example: original-recipient: rfc822; b+ad@first.example",
            "bad1@office.example: action: failed",
            "bad1@office.example: status: 5.1.1",
            "bad1@office.example: remote-mta: dns; [127.0.0.1]",
            "bad1@office.example: diagnostic-code: smtp; 550 5.1.1 nobody of that name",
            "bad1@office.example: last-attempt-date: a date",
            "bad2@office.example: action: failed",
            "returned: header of hello",
            "mailman: gone b+ad@first.example bad2@office.example",
        ],
    );
    for silent in ["bad3@", "bad4@", "good@"] {
        assert!(!said.contains(silent), "{said}");
    }
}

#[test]
fn the_whole_message_comes_back_when_the_sender_asks() {
    let folder = Folder::new("report-full");
    let home = folder.home();
    let peer = Peer::start("HELP");
    let box_ = start(&home, &peer.url(), &[]);
    send(
        &box_,
        "MAIL FROM:<a@nas.example> RET=FULL",
        &["RCPT TO:<bad@office.example>"],
    );
    box_.completed(2);
    let [report] = dropped(&home).try_into().unwrap();
    let Some(said) = read(&report) else { return };
    says(
        &said,
        &[
            "returned: whole of hello with body",
            "mailman: gone bad@office.example",
        ],
    );
}

#[test]
fn a_peer_without_dsn_is_answered_for_and_one_with_dsn_is_told_everything() {
    let folder = Folder::new("report-relayed");
    let home = folder.home();
    let rcpt = ["RCPT TO:<b@office.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@first.example"];
    let mail = "MAIL FROM:<a@nas.example> RET=FULL ENVID=e1";
    let peer = Peer::start("HELP");
    let box_ = start(&home, &peer.url(), &[]);
    send(&box_, mail, &rcpt);
    box_.completed(2);
    assert_eq!(peer.heard("RCPT"), ["RCPT TO:<b@office.example>"]);
    let [report] = dropped(&home).try_into().unwrap();
    if let Some(said) = read(&report) {
        says(
            &said,
            &[
                "subject: Delivered mail: hello",
                "b@office.example: action: relayed",
                "b@office.example: status: 2.0.0",
                "b@office.example: original-recipient: rfc822; b@first.example",
                // RET speaks of failures only.
                "returned: header of hello",
                "mailman: gone nobody",
            ],
        );
    }
    box_.stop();
    fs::remove_file(report).unwrap();

    let peer = Peer::start("DSN");
    let box_ = start(&home, &peer.url(), &[]);
    send(&box_, mail, &rcpt);
    send(
        &box_,
        "MAIL FROM:<a@nas.example>",
        &[
            "RCPT TO:<c@office.example>",
            "RCPT TO:<d@office.example> NOTIFY=FAILURE,DELAY",
            "RCPT TO:<e@office.example> NOTIFY=NEVER",
        ],
    );
    box_.completed(2);
    assert!(dropped(&home).is_empty(), "it reports for itself");
    let said: Vec<String> = peer.heard("MAIL");
    assert!(said[0].ends_with(" RET=FULL ENVID=e1"), "{said:?}");
    assert_eq!(
        peer.heard("RCPT"),
        [
            "RCPT TO:<b@office.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@first.example",
            "RCPT TO:<c@office.example>",
            "RCPT TO:<d@office.example> NOTIFY=FAILURE,DELAY",
            "RCPT TO:<e@office.example> NOTIFY=NEVER",
        ]
    );
}

#[test]
fn a_delivery_into_the_drop_folder_is_reported_to_who_asked() {
    let folder = Folder::new("report-delivered");
    let home = folder.home();
    let box_ = start(&home, "smtp://127.0.0.1:1?tls=off", &[]);
    send(
        &box_,
        "MAIL FROM:<a@nas.example>",
        &[
            "RCPT TO:<me@nas.example> NOTIFY=SUCCESS",
            "RCPT TO:<you@nas.example>",
        ],
    );
    box_.completed(2);
    let report = dropped(&home).into_iter().find(|file| {
        fs::read_to_string(file)
            .unwrap()
            .contains("report-type=delivery-status")
    });
    let Some(said) = read(&report.unwrap()) else {
        return;
    };
    says(
        &said,
        &[
            "me@nas.example: action: delivered",
            "me@nas.example: status: 2.0.0",
        ],
    );
    assert!(!said.contains("you@nas.example"), "{said}");
}

/// Waits for two more attempts after a restart, which must not tell the delay again.
fn told_once(home: &Path, hop: &str, word: &str) {
    let settings = [
        "delivery.delay_notice=1s",
        "delivery.retry=1s",
        "delivery.jitter=0",
    ];
    let box_ = start(home, hop, &settings);
    send(
        &box_,
        "MAIL FROM:<a@nas.example>",
        &[
            "RCPT TO:<slow@office.example>",
            "RCPT TO:<slow2@office.example> NOTIFY=FAILURE",
        ],
    );
    box_.wait_for("the delay is told", |l| {
        l.contains(" reported ") && l.contains(" of=delayed")
    });
    box_.completed(1);
    let log = box_.stop();
    assert_eq!(log.matches(" reported ").count(), 1, "{log}");
    let [report] = dropped(home).try_into().unwrap();
    if let Some(said) = read(&report) {
        says(
            &said,
            &[
                "subject: Delayed mail: hello",
                "slow@office.example: action: delayed",
                "slow@office.example: will-retry-until: a date",
                "returned: header of hello",
                "mailman: gone nobody",
            ],
        );
        assert!(!said.contains("slow2@"), "{said}");
    }
    let box_ = start(home, hop, &settings);
    box_.wait_count("it is tried twice more", 3, |l| l.contains(word));
    let log = box_.stop();
    assert!(!log.contains(" reported "), "{log}");
    assert_eq!(dropped(home).len(), 1);
}

#[test]
fn a_delay_by_the_peer_is_told_once_even_across_a_restart() {
    let folder = Folder::new("report-delay");
    let peer = Peer::start("HELP");
    told_once(&folder.home(), &peer.url(), " deferred id=");
}

#[test]
fn a_delay_of_a_dead_way_is_told_once_even_across_a_restart() {
    let folder = Folder::new("report-dead");
    let hop = format!("smtp://127.0.0.1:{}?tls=off", free_port());
    told_once(&folder.home(), &hop, " way-down ");
}

#[test]
fn a_wrong_password_tells_senders_nothing() {
    let folder = Folder::new("report-held");
    let home = folder.home();
    let peer = Peer::start("AUTH PLAIN");
    let hop = format!("smtp://me@127.0.0.1:{}?tls=off", peer.port);
    let file = folder.file("password", "guess\n");
    run(Command::new("chmod").arg("600").arg(&file), b"");
    let file = format!("route.password_file={}", file.display());
    let settings = [
        "delivery.delay_notice=1s",
        "delivery.expire=1s",
        "delivery.retry=1s",
        "route.insecure_auth=true",
        &file,
    ];
    let box_ = start(&home, &hop, &settings);
    send(
        &box_,
        "MAIL FROM:<a@nas.example>",
        &["RCPT TO:<b@office.example>"],
    );
    box_.wait_count("it is held", 4, |l| l.contains(" way-held "));
    let log = box_.stop();
    assert!(
        !log.contains(" reported ") && log.contains("stopped queued=1"),
        "{log}"
    );
    assert!(dropped(&home).is_empty());
}
