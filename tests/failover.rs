//! Hosts that stand in for each other, with Postfix's smtp-sink as hosts that falter at every step; and routes that change
//! while a message is on its way.
#![cfg(test)]

mod common;

use std::fs;
use std::process::Command;

use common::{Folder, Mailroot, Sink, Talk, free_port, have};

const MAIL: &str = "Subject: s\r\n\r\nbody\r\n";

/// A box with these hosts for one way, which does not try again while a test runs.
fn with_hosts(folder: &Folder, hosts: &[u16]) -> Mailroot {
    let hosts: Vec<String> = hosts
        .iter()
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .collect();
    let file = folder.file(
        "mailroot.toml",
        format!(
            "[delivery]\nretry = [\"1h\"]\n[[route]]\nhosts = [{}]\ntls = \"off\"\n",
            hosts.join(", ")
        ),
    );
    Mailroot::start(&folder.path().join("home"), &[file.to_str().unwrap()])
}

fn send(box_: &Mailroot, to: &[&str]) {
    let mut talk = Talk::connect(box_.address);
    talk.say("EHLO me");
    let reply = talk.send("a@nas.example", to, MAIL);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_host_that_falters_is_stood_in_for_at_once() {
    if !have("smtp-sink") {
        return;
    }
    for (case, args) in [
        ("says 4yz to MAIL", ["-r", "MAIL"]),
        ("says 4yz to RCPT", ["-r", "RCPT"]),
        ("says 4yz to DATA", ["-r", "DATA"]),
        ("says 4yz to the message", ["-r", "."]),
        ("hangs up at EHLO", ["-q", "EHLO"]),
        ("hangs up at MAIL", ["-q", "MAIL"]),
        ("hangs up at RCPT", ["-q", "RCPT"]),
        ("hangs up at DATA", ["-q", "DATA"]),
        ("wants nobody", ["-f", "CONNECT"]),
    ] {
        let folder = Folder::new("failover");
        let bad = Sink::start_at(folder.path(), "bad", "127.0.0.1", free_port(), &args);
        let good = Sink::start(folder.path(), &[]);
        let box_ = with_hosts(&folder, &[bad.port, good.port]);
        send(&box_, &["b@office.example"]);
        box_.wait_for(&format!("the other host takes it: {case}"), |line| {
            line.contains(" delivered ")
        });
        assert_eq!(good.messages().len(), 1, "{case}");
        assert!(!box_.log().contains(" deferred "), "{case}: {}", box_.log());
    }
}

#[test]
fn a_host_that_may_have_the_message_is_not_stood_in_for() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("no-failover");
    let bad = Sink::start_at(folder.path(), "bad", "127.0.0.1", free_port(), &["-q", "."]);
    let good = Sink::start(folder.path(), &[]);
    let box_ = with_hosts(&folder, &[bad.port, good.port]);
    send(&box_, &["b@office.example"]);
    box_.wait_for("it waits", |line| line.contains(" deferred "));
    assert_eq!(good.messages().len(), 0);
}

#[test]
fn a_message_that_every_host_puts_off_waits_and_the_way_does_not() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("all-falter");
    let bad = Sink::start(folder.path(), &["-r", "RCPT"]);
    // Nothing listens at the second one.
    let box_ = with_hosts(&folder, &[bad.port, free_port()]);
    send(&box_, &["b@office.example"]);
    box_.wait_for("it waits", |line| line.contains(" deferred "));
    let log = box_.log();
    assert!(!log.contains(" way-down "), "{log}");
    assert_eq!(log.matches(" host-failed ").count(), 2, "{log}");
}

#[test]
fn a_reload_in_the_middle_of_an_attempt_strands_no_recipient() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("reload-middle");
    let home = folder.path().join("home");
    // It thinks about DATA for a while and then says "later".
    let slow = Sink::start_at(
        folder.path(),
        "slow",
        "127.0.0.1",
        free_port(),
        &["-w", "2", "-r", "."],
    );
    let good = Sink::start(folder.path(), &[]);
    let route = |to: &str, port: u16| {
        format!("[[route]]\nto = [\"{to}\"]\nhosts = [\"127.0.0.1:{port}\"]\ntls = \"off\"\n")
    };
    let config = |routes: &str| {
        format!(
            "home = \"{}\"\nhostname = \"box.example\"\n[delivery]\nretry = [\"1s\"]\njitter = 0\n{routes}\
             [[listen]]\naddress = \"127.0.0.1:0\"\n",
            home.display()
        )
    };
    let before = route("far.example", slow.port) + &route("other.example", free_port());
    let file = folder.file("mailroot.toml", config(&before));
    let mut command = Command::new(common::MAILROOT);
    command.arg("run").arg(&file);
    let box_ = Mailroot::spawn(&home, command);
    send(&box_, &["b@far.example", "c@other.example"]);
    box_.wait_for("one of the ways is down", |l| l.contains(" way-down "));
    // The routes have other numbers now, and both recipients go the same way.
    let after = route("nobody.example", free_port()) + &route("*", good.port);
    fs::write(&file, config(&after)).unwrap();
    box_.signal("HUP");
    box_.wait_for("the reload", |l| l.contains(" reloaded"));
    box_.completed(1);
    let log = box_.stop();
    for to in ["b@far.example", "c@other.example"] {
        let delivered = format!(" delivered id=1 to={to} ");
        assert_eq!(log.matches(&delivered).count(), 1, "{log}");
    }
}
