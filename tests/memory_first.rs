//! Mail of low priority that is in memory first: what leaves soon never touches the disk, and everything else does.
#![cfg(test)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use common::{Folder, Mailroot, Talk, free_port, must, program};

fn text(priority: &str) -> String {
    format!(
        "From: a@nas.example\r\nTo: b@office.example\r\n{priority}Subject: hello\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@nas.example>\r\n\r\nbody\r\n"
    )
}

/// A next hop that takes a message and answers its end only when it is told to.
struct Slow(TcpListener);

impl Slow {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn url(&self) -> String {
        format!(
            "smtp://127.0.0.1:{}?tls=off",
            self.0.local_addr().unwrap().port()
        )
    }

    /// Returns when a whole message has come.
    fn message(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        stream.write_all(b"220 slow.example\r\n").unwrap();
        loop {
            let line = lines.next().unwrap().unwrap();
            if line == "DATA" {
                stream.write_all(b"354 go on\r\n").unwrap();
                while lines.next().unwrap().unwrap() != "." {}
                return stream;
            }
            stream.write_all(b"250 2.0.0 ok\r\n").unwrap();
        }
    }
}

fn ask(home: &Path, words: &[&str]) -> String {
    must(program().args(words).arg("--home").arg(home), b"")
}

fn in_memory(home: &Path) -> bool {
    !ask(home, &["status", "--json"]).contains("\"in_memory\":0,")
}

fn start(home: &Path, hop: &str, more: &[&str]) -> Mailroot {
    let mut args = vec!["--smart-host", hop];
    args.extend(more);
    if !more
        .iter()
        .any(|arg| arg.starts_with("delivery.memory_first="))
    {
        args.extend(["--set", "delivery.memory_first=10m"]);
    }
    Mailroot::start(home, &args)
}

fn send(service: &Mailroot, from: &str, text: &str) {
    let mut talk = Talk::connect(service.address);
    assert!(talk.say("EHLO printer.lan").starts_with("250"));
    let reply = talk.send(from, &["b@office.example"], text);
    assert!(reply.starts_with("250"), "{reply}");
    talk.say("QUIT");
}

const LOW: &str = "X-Priority: 5\r\n";

#[test]
fn what_leaves_soon_is_never_written() {
    let dir = Folder::new("memory-first-soon");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let service = start(&home, &hop.url(), &[]);
    send(&service, "a@nas.example", &text(LOW));
    let mut stream = hop.message();
    assert!(in_memory(&home));
    assert!(ask(&home, &["queue", "list"]).contains("b@office.example"));
    stream.write_all(b"250 2.0.0 taken\r\n").unwrap();
    service.completed(1);
    assert!(!in_memory(&home));
    service.kill();
    let dump = ask(&home, &["journal", "dump"]);
    assert!(
        !dump.contains("accept") && !dump.contains("office.example"),
        "{dump}"
    );
}

#[test]
fn mail_of_usual_priority_is_durable_before_anybody_is_told_yes() {
    let dir = Folder::new("memory-first-usual");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let service = start(&home, &hop.url(), &[]);
    send(&service, "a@nas.example", &text(""));
    service.kill();
    assert!(ask(&home, &["queue", "list"]).contains("b@office.example"));
}

#[test]
fn named_senders_count_as_of_low_priority() {
    let dir = Folder::new("memory-first-named");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let named = ["--set", "delivery.memory_first_from=chatty@nas.example"];
    let service = start(&home, &hop.url(), &named);
    send(&service, "chatty@nas.example", &text(""));
    let _stream = hop.message();
    assert!(in_memory(&home));
}

#[test]
fn sync_writes_what_is_in_memory_and_lets_nothing_new_be_there_alone() {
    let dir = Folder::new("memory-first-sync");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let service = start(&home, &hop.url(), &[]);
    send(&service, "a@nas.example", &text(LOW));
    let stream = hop.message();
    assert!(ask(&home, &["sync"]).contains("written from memory: 1"));
    assert!(!in_memory(&home));
    send(&service, "second@nas.example", &text(LOW));
    assert!(!in_memory(&home));
    drop(stream);
    service.kill();
    let list = ask(&home, &["queue", "list"]);
    assert!(
        list.contains("a@nas.example") && list.contains("second@nas.example"),
        "{list}"
    );
}

#[test]
fn a_stop_writes_what_is_in_memory() {
    let dir = Folder::new("memory-first-stop");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let service = start(&home, &hop.url(), &[]);
    send(&service, "a@nas.example", &text(LOW));
    let _stream = hop.message();
    service.signal("TERM");
    service.wait_for("the end to begin", |line| line.contains("stopping"));
    // It would wait for the hop: the second one cuts that short.
    service.stop();
    assert!(ask(&home, &["queue", "list"]).contains("b@office.example"));
}

#[test]
fn what_cannot_leave_is_written_at_once() {
    let dir = Folder::new("memory-first-dead");
    let home = dir.path().join("home");
    let dead = format!("smtp://127.0.0.1:{}?tls=off", free_port());
    let service = start(&home, &dead, &[]);
    send(&service, "a@nas.example", &text(LOW));
    service.wait_for("the way to be down", |line| line.contains("way-down"));
    while in_memory(&home) {}
    // The way is known to be down: the next one does not even try to be in memory alone.
    send(&service, "second@nas.example", &text(LOW));
    assert!(!in_memory(&home));
    service.kill();
    let list = ask(&home, &["queue", "list"]);
    assert!(
        list.contains("a@nas.example") && list.contains("second@nas.example"),
        "{list}"
    );
}

#[test]
fn what_stays_for_longer_than_its_time_is_written() {
    let dir = Folder::new("memory-first-late");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let service = start(&home, &hop.url(), &["--set", "delivery.memory_first=1s"]);
    send(&service, "a@nas.example", &text(LOW));
    let mut stream = hop.message();
    while in_memory(&home) {}
    assert!(ask(&home, &["journal", "dump"]).contains("office.example"));
    // It was on its way all the time, and its end is noted behind its record.
    stream.write_all(b"250 2.0.0 taken\r\n").unwrap();
    service.completed(1);
    service.stop();
    assert!(!ask(&home, &["queue", "list"]).contains("office.example"));
}

#[test]
fn a_refused_message_is_reported_although_it_was_never_written() {
    let dir = Folder::new("memory-first-refused");
    let (home, hop) = (dir.path().join("home"), Slow::new());
    let local = ["--set", "local.domains=nas.example"];
    let service = start(&home, &hop.url(), &local);
    send(&service, "a@nas.example", &text(LOW));
    let mut stream = hop.message();
    stream.write_all(b"550 5.1.1 nobody\r\n").unwrap();
    // The message and its report in the drop folder.
    service.completed(2);
    assert!(!in_memory(&home));
    service.stop();
    assert!(!ask(&home, &["queue", "list"]).contains("example"));
    assert_eq!(std::fs::read_dir(home.join("drop")).unwrap().count(), 1);
}
