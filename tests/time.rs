//! Boxes whose clock lies: the unchanged program runs under an emulator whose system calls get the time from
//! libfaketime, so that its clock can be set while it runs. Ticks stay true, as they do on a real box.
#![cfg(test)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::{Authority, Folder, MAILROOT, Mailroot, PATIENCE, ask, free_port, have, texts};
use mailroot::base::Wall;
use mailroot::mail::date;
use mailroot::net::clock;

/// The library that lies about the time, if it can be had.
fn faketime() -> Option<PathBuf> {
    if !have(&format!("qemu-{}", std::env::consts::ARCH)) {
        return None;
    }
    let found = fs::read_dir("/usr/lib").unwrap().find_map(|entry| {
        let library = entry.ok()?.path().join("faketime/libfaketimeMT.so.1");
        library.is_file().then_some(library)
    });
    if found.is_none() {
        println!("skipped: libfaketime is not installed (tests/setup installs it)");
    }
    found
}

/// A box with a clock that can be set, and the smart host that it sends to.
struct Box {
    folder: Folder,
    library: PathBuf,
    host: u16,
}

fn now() -> u64 {
    clock::wall().as_secs()
}

impl Box {
    fn new(name: &str) -> Option<Self> {
        let library = faketime()?;
        let folder = Folder::new(name);
        let authority = Authority::new("ours");
        let host = authority.vouch_between(&["127.0.0.1"], (2026, 2040));
        folder.file("host.pem", host.pem());
        folder.file("ca.pem", authority.pem());
        Some(Self {
            folder,
            library,
            host: free_port(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets the clock, while the box runs or before.
    fn set(&self, to: Wall) {
        let text = to.to_string().replace('T', " ").replace('Z', "");
        // Renamed, so that nobody reads half of it.
        let new = self.folder.file("clock.new", format!("@{text}\n"));
        fs::rename(new, self.path("clock")).unwrap();
    }

    fn today(&self) {
        self.set(Wall::from_secs(now()));
    }

    fn boot(&self, more: &[&str]) -> Mailroot {
        let mut command = Command::new(format!("qemu-{}", std::env::consts::ARCH));
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.path("clock"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
            .args(["-U", "LD_PRELOAD", MAILROOT, "run"])
            .args(["--listen", "127.0.0.1:0", "--hostname", "box.example"])
            .arg("--home")
            .arg(self.path("home"))
            .arg("--smart-host")
            .arg(format!("smtp://127.0.0.1:{}", self.host))
            .arg("--set")
            .arg(format!("route.ca={}", self.path("ca.pem").display()))
            .args(["--set", "delivery.expire=1h"])
            .args(["--set", "delivery.retry=5m"])
            .args(more);
        Mailroot::spawn(&self.path("home"), command)
    }

    /// The smart host, whose own clock is right.
    fn host(&self) -> Mailroot {
        let (home, certificate) = (self.path("host"), self.path("host.pem"));
        Mailroot::host(&home, self.host, "x.example", &certificate)
    }

    /// What the host dropped, by subject.
    fn got(&self, subject: &str) -> String {
        let mark = format!("Subject: {subject}\r\n");
        let mut texts = texts(&self.path("host/drop")).into_iter();
        texts.find(|text| text.contains(&mark)).unwrap()
    }

    fn retry(&self) {
        ask(&self.folder.home(), &["queue", "retry"]);
    }
}

fn send(service: &Mailroot, subject: &str, lines: usize) {
    let body = "a line of a picture, as far as this test goes\r\n".repeat(lines);
    let text = format!("Subject: {subject}\r\n\r\n{body}");
    service.submit("cam@nas.lan", &["me@x.example"], &text);
}

/// The date behind the last semicolon of the trace field that the box wrote.
fn trace(text: &str) -> Wall {
    let field = text.split("by box.example").nth(1).unwrap();
    let after = field.split(";\r\n\t").nth(1).unwrap();
    date::parse(after.split("\r\n").next().unwrap()).unwrap()
}

fn dated(text: &str) -> Wall {
    let field = text.split("\r\nDate: ").nth(1).expect("it has a date");
    date::parse(field.split("\r\n").next().unwrap()).unwrap()
}

fn close(date: Wall) {
    let (date, now) = (date.as_secs(), now());
    assert!(now.abs_diff(date) < 300, "{date} is not {now}");
}

const BOOT_1970: Wall = Wall::from_secs(61);

#[test]
fn a_box_that_boots_in_1970_sends_at_once_and_dates_rightly_once_it_knows() {
    let Some(machine) = Box::new("boot-1970") else {
        return;
    };
    machine.set(BOOT_1970);
    let (service, host) = (machine.boot(&[]), machine.host());
    service.wait_for("it doubts its clock", |line| {
        line.starts_with("boot+") && line.contains("clock-wrong reads=1970-01-01T00:01")
    });
    // TLS verifies in 1970 already.
    send(&service, "first", 3);
    service.completed(1);
    host.stop();
    // Nobody is there for these two; one of them is too large for a journal record.
    send(&service, "second", 3);
    send(&service, "third", 3000);
    service.wait_for("the host is found gone", |line| line.contains("way-down"));
    // The power fails, and comes back: in 1970 again, with a queue.
    service.stop();
    machine.set(BOOT_1970);
    let service = machine.boot(&[]);
    service.wait_for("it starts with its queue", |line| line.contains("queued=2"));
    service.wait_for("the host is found gone", |line| line.contains("way-down"));
    // Fifty years pass.
    machine.today();
    let host = machine.host();
    machine.retry();
    service.completed(2);
    let said = service.stop();
    assert!(said.contains("clock-right"), "{said}");
    assert!(
        !said.contains(" failed ") && !said.contains(" badmail "),
        "{said}"
    );
    let lines = host.stop();
    assert!(!lines.contains("session-failed"), "{lines}");
    // The first had to leave its date to the next hop, whose clock is right.
    close(dated(&machine.got("first")));
    for subject in ["second", "third"] {
        let text = machine.got(subject);
        close(trace(&text));
        close(dated(&text));
        assert_eq!(text.matches("\r\nDate: ").count(), 1);
    }
    assert_eq!(
        machine.got("third").matches("a line of a picture").count(),
        3000
    );
}

#[test]
fn a_clock_that_falls_back_to_1970_or_runs_ahead_by_decades_costs_nothing() {
    let Some(machine) = Box::new("reverse") else {
        return;
    };
    machine.today();
    let service = machine.boot(&[]);
    send(&service, "waits", 3);
    service.wait_for("the host is found gone", |line| line.contains("way-down"));
    // Back to 1970: TLS goes on, and so does the queue.
    machine.set(BOOT_1970);
    let host = machine.host();
    machine.retry();
    service.completed(1);
    send(&service, "in 1970", 3);
    service.completed(2);
    host.stop();
    // Ahead by decades: nothing expires, and the certificate is not to blame.
    send(&service, "ahead", 3);
    service.wait_count("the host is found gone", 2, |line| {
        line.contains("way-down")
    });
    machine.set(Wall::from_secs(3_500_000_000));
    let host = machine.host();
    machine.retry();
    let line = service.wait_for("it does not like the certificate", |line| {
        line.contains("way-held")
    });
    assert!(
        line.contains("expired on 2040-01-01 (this box's clock reads 2080-"),
        "{line}"
    );
    // A stop at that time leaves a note of 2080 in the journal, which must not stand in the way of the truth.
    let said = service.stop();
    assert!(
        !said.contains(" failed ") && !said.contains(" badmail "),
        "{said}"
    );
    machine.today();
    let service = machine.boot(&[]);
    service.wait_for("it doubts its clock", |line| line.contains("clock-wrong"));
    service.completed(1);
    send(&service, "after", 3);
    service.completed(2);
    let said = service.stop();
    assert!(said.contains("clock-right"), "{said}");
    host.stop();
    for subject in ["waits", "ahead", "after"] {
        close(dated(&machine.got(subject)));
    }
}

#[test]
fn a_message_that_was_never_tried_keeps_its_age_over_a_restart() {
    let folder = Folder::new("age");
    let home = folder.home();
    let port = free_port();
    let url = format!("smtp://127.0.0.1:{port}?tls=off");
    let args = [
        "--smart-host",
        &url,
        "--set",
        "delivery.expire=4s",
        "--set",
        "delivery.retry=1s",
    ];
    let service = Mailroot::start(&home, &args);
    let sent = std::time::Instant::now();
    send(&service, "old", 3);
    service.wait_for("the host is found gone", |line| line.contains("way-down"));
    let mut log = service.stop();
    // Restarted again and again, each time before it would expire: it gets no younger.
    while !log.contains(" failed id=") {
        assert!(sent.elapsed() < PATIENCE, "it never expires");
        let service = Mailroot::start(&home, &args);
        service.wait_count("it is tried twice, or its end is told", 2, |line| {
            [" way-down ", " failed id=", " completed id="]
                .iter()
                .any(|event| line.contains(event))
        });
        log = service.stop();
        assert!(
            log.contains(" failed id=") || log.contains(" stopped queued=1"),
            "{log}"
        );
    }
    assert!(sent.elapsed() >= Duration::from_secs(4));
}

#[test]
fn without_the_floor_nobody_is_verified_in_1970() {
    let Some(machine) = Box::new("no-floor") else {
        return;
    };
    machine.set(BOOT_1970);
    let (service, host) = (
        machine.boot(&["--set", "tls.clock_floor=false"]),
        machine.host(),
    );
    send(&service, "held", 3);
    let line = service.wait_for("the way is held", |line| line.contains("way-held"));
    assert!(
        line.contains(
            "valid from 2026-01-01 only (this box's clock is wrong, it reads 1970-01-01; set it"
        ),
        "{line}"
    );
    machine.today();
    machine.retry();
    service.completed(1);
    service.stop();
    host.stop();
    close(trace(&machine.got("held")));
}
