//! Mail of low priority that is in memory first: what leaves soon never touches the disk, and everything else does.
#![cfg(test)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use common::{Folder, Mailroot, ask, free_port, until_true};

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

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
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

fn in_memory(service: &Mailroot) -> bool {
    !service
        .ask(&["status", "--json"])
        .contains("\"in_memory\":0,")
}

/// A service with a next hop on this port, where mail of low priority may be in memory for so long.
fn start(folder: &Folder, hop: u16, time: &str, more: &str) -> Mailroot {
    let route = format!("[[route]]\nhosts = ['127.0.0.1:{hop}']\ntls = 'off'");
    let delivery = format!("[delivery]\nmemory_first = '{time}'\n{more}");
    Mailroot::configured(folder, &format!("{route}\n{delivery}"))
}

fn send(service: &Mailroot, from: &str, text: &str) {
    service.submit(from, &["b@office.example"], text);
}

const LOW: &str = "X-Priority: 5\r\n";

/// Sends a message of low priority as far as its end, which the next hop has not answered.
fn midway(service: &Mailroot, hop: &Slow) -> TcpStream {
    send(service, "a@nas.example", &text(LOW));
    hop.message()
}

/// What is queued in the end, as the journal alone has it.
fn queued(folder: &Folder) -> String {
    ask(&folder.home(), &["queue", "list"])
}

fn both_are_queued(folder: &Folder) {
    let list = queued(folder);
    assert!(
        list.contains("a@nas.example") && list.contains("second@nas.example"),
        "{list}"
    );
}

#[test]
fn what_leaves_soon_is_never_written() {
    let (dir, hop) = (Folder::new("memory-first-soon"), Slow::new());
    let service = start(&dir, hop.port(), "10m", "");
    let mut stream = midway(&service, &hop);
    assert!(in_memory(&service));
    assert!(service.ask(&["queue", "list"]).contains("b@office.example"));
    stream.write_all(b"250 2.0.0 taken\r\n").unwrap();
    service.completed(1);
    assert!(!in_memory(&service));
    service.kill();
    let dump = ask(&dir.home(), &["journal", "dump"]);
    assert!(
        !dump.contains("accept") && !dump.contains("office.example"),
        "{dump}"
    );
}

#[test]
fn mail_of_usual_priority_is_durable_before_anybody_is_told_yes() {
    let (dir, hop) = (Folder::new("memory-first-usual"), Slow::new());
    let service = start(&dir, hop.port(), "10m", "");
    send(&service, "a@nas.example", &text(""));
    service.kill();
    assert!(queued(&dir).contains("b@office.example"));
}

#[test]
fn named_senders_count_as_of_low_priority() {
    let (dir, hop) = (Folder::new("memory-first-named"), Slow::new());
    let named = "memory_first_from = ['chatty@nas.example']";
    let service = start(&dir, hop.port(), "10m", named);
    send(&service, "chatty@nas.example", &text(""));
    let _stream = hop.message();
    assert!(in_memory(&service));
}

#[test]
fn sync_writes_what_is_in_memory_and_lets_nothing_new_be_there_alone() {
    let (dir, hop) = (Folder::new("memory-first-sync"), Slow::new());
    let service = start(&dir, hop.port(), "10m", "");
    let stream = midway(&service, &hop);
    assert!(service.ask(&["sync"]).contains("written from memory: 1"));
    assert!(!in_memory(&service));
    send(&service, "second@nas.example", &text(LOW));
    assert!(!in_memory(&service));
    drop(stream);
    service.kill();
    both_are_queued(&dir);
}

#[test]
fn a_stop_writes_what_is_in_memory() {
    let (dir, hop) = (Folder::new("memory-first-stop"), Slow::new());
    let service = start(&dir, hop.port(), "10m", "");
    let _stream = midway(&service, &hop);
    service.signal("TERM");
    service.wait_for("the end to begin", |line| line.contains("stopping"));
    // It would wait for the hop: the second one cuts that short.
    service.stop();
    assert!(queued(&dir).contains("b@office.example"));
}

#[test]
fn what_cannot_leave_is_written_at_once() {
    let dir = Folder::new("memory-first-dead");
    let service = start(&dir, free_port(), "10m", "");
    send(&service, "a@nas.example", &text(LOW));
    service.wait_for("the way to be down", |line| line.contains("way-down"));
    until_true("it is written", || !in_memory(&service));
    // The way is known to be down: the next one does not even try to be in memory alone.
    send(&service, "second@nas.example", &text(LOW));
    assert!(!in_memory(&service));
    service.kill();
    both_are_queued(&dir);
}

#[test]
fn what_stays_for_longer_than_its_time_is_written() {
    let (dir, hop) = (Folder::new("memory-first-late"), Slow::new());
    let service = start(&dir, hop.port(), "1s", "");
    let mut stream = midway(&service, &hop);
    until_true("it is written", || !in_memory(&service));
    let dump = service.ask(&["journal", "dump"]);
    assert!(dump.contains("office.example"));
    // It was on its way all the time, and its end is noted behind its record.
    stream.write_all(b"250 2.0.0 taken\r\n").unwrap();
    service.completed(1);
    service.stop();
    assert!(!queued(&dir).contains("office.example"));
}

#[test]
fn a_refused_message_is_reported_although_it_was_never_written() {
    let (dir, hop) = (Folder::new("memory-first-refused"), Slow::new());
    let local = "[local]\ndomains = ['nas.example']";
    let service = start(&dir, hop.port(), "10m", local);
    let mut stream = midway(&service, &hop);
    stream.write_all(b"550 5.1.1 nobody\r\n").unwrap();
    // The message and its report in the drop folder.
    service.completed(2);
    assert!(!in_memory(&service));
    assert_eq!(service.dropped().len(), 1);
    service.stop();
    assert!(!queued(&dir).contains("example"));
}
