//! Each refusal says which limit it was: to the client in its words, to the owner with the name of the setting.
#![cfg(test)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Folder, Mailroot, PATIENCE, Talk};

/// A message in the midst of which the client falls silent.
const HALF: &str = "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nDATA\r\nhalf";

/// The same message twice, and a third one.
const THREE: &str = "EHLO x\r\n\
    MAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nBDAT 600 LAST\r\n#MAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nBDAT 600 LAST\r\n#\
    MAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nBDAT 600 LAST\r\n#QUIT\r\n";

/// What is set, what the client says (`#` is a body of 600 bytes), what it hears at last, what the owner reads.
const LIMITS: &[(&[&str], &str, &str, &str)] = &[
    (
        &["limits.message_bytes=1KB"],
        "EHLO x\r\nMAIL FROM:<> SIZE=1001\r\nQUIT\r\n",
        "552 5.3.4 Message size exceeds fixed maximum message size",
        "limits.message_bytes",
    ),
    (
        &["limits.message_bytes=1KB"],
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nBDAT 600\r\n#BDAT 600 LAST\r\n#QUIT\r\n",
        "552 5.3.4 Message size exceeds fixed maximum message size",
        "limits.message_bytes",
    ),
    (
        &["limits.message_bytes=1KB", "limits.session_bytes=1500B"],
        THREE,
        "421 4.3.4 Session size exceeds fixed maximum session size",
        "limits.session_bytes",
    ),
    (
        &["limits.messages_per_connection=2"],
        THREE,
        "421 4.5.3 Too many messages in this session",
        "limits.messages_per_connection",
    ),
    (
        &["limits.messages_per_minute=2"],
        THREE,
        "451 4.7.1 Too many messages from your address",
        "limits.messages_per_minute",
    ),
    (
        &["limits.recipients=1"],
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nRCPT TO:<b@nas.lan>\r\nQUIT\r\n",
        "452 4.5.3 Too many recipients",
        "limits.recipients",
    ),
    (
        &["limits.errors=2"],
        "X\r\nX\r\nX\r\nX\r\nX\r\n",
        "421 4.7.0 Too many errors",
        "limits.errors",
    ),
    (
        &["limits.hops=2"],
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@nas.lan>\r\nDATA\r\n\
         Received: a\r\nReceived: b\r\nReceived: c\r\n\r\n.\r\nQUIT\r\n",
        "554 5.4.6 Too many hops",
        "hops",
    ),
    (
        &["limits.queue_bytes=64MB"],
        "EHLO x\r\nMAIL FROM:<> SIZE=64000000\r\nRCPT TO:<a@else.example>\r\nBDAT 600 LAST\r\n#\
         MAIL FROM:<> SIZE=64000000\r\nQUIT\r\n",
        "452 4.3.1 The queue is full",
        "limits.queue_bytes",
    ),
    (
        &["limits.queue_messages=1"],
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@else.example>\r\nBDAT 600 LAST\r\n#MAIL FROM:<>\r\nQUIT\r\n",
        "452 4.3.1 The queue is full",
        "limits.queue_messages",
    ),
    (
        &["limits.command_timeout=1s"],
        "EHLO x\r\nMAIL FR",
        "421 4.4.2 Timeout; closing the connection",
        "limits.command_timeout",
    ),
    (
        &["limits.data_timeout=1s"],
        HALF,
        "421 4.4.2 Timeout inside the message",
        "limits.data_timeout",
    ),
    (
        &["limits.session_timeout=1s"],
        HALF,
        "421 4.4.2 The session has lasted too long",
        "limits.session_timeout",
    ),
];

#[test]
fn each_refusal_names_its_limit() {
    let body = format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(600 - 16));
    for (at, (set, lines, reply, key)) in LIMITS.iter().enumerate() {
        let folder = Folder::new(&format!("limit-{at}"));
        let mut args = vec![
            "--local",
            "nas.lan",
            "--set",
            "log.level=debug",
            "--smart-host",
            "smtp://127.0.0.1:9?tls=off",
        ];
        args.extend(set.iter().flat_map(|one| ["--set", *one]));
        let service = Mailroot::start(&folder.home(), &args);
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(lines.replace('#', &body).as_bytes())
            .unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.contains(reply), "{set:?}: {said}");
        service.wait_for(&format!("{key} is named"), |l| {
            (l.contains(" refused ") || l.contains(" session-failed ")) && l.contains(key)
        });
        service.stop();
    }
}

#[test]
fn places_are_limited_for_all_and_for_each() {
    for (key, reply) in [
        (
            "connections",
            "421 4.3.2 Too many connections; please try later",
        ),
        (
            "connections_per_client",
            "421 4.7.0 Too many connections from your address; please try later",
        ),
    ] {
        let folder = Folder::new(key);
        let set = format!("limits.{key}=2");
        let service = Mailroot::start(&folder.home(), &["--set", &set]);
        let _one = Talk::connect(service.address);
        let two = Talk::connect(service.address);
        let mut third = TcpStream::connect(service.address).unwrap();
        third.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        third.read_to_string(&mut said).unwrap();
        assert_eq!(said.trim_end(), reply);
        service.wait_for("the limit is named", |l| {
            l.contains("client-refused") && l.contains(&format!("limits.{key}"))
        });
        drop(two);
        // The place is given back once the service has seen it go.
        let mut said = String::new();
        while !said.starts_with("220") {
            let mut next = TcpStream::connect(service.address).unwrap();
            next.set_read_timeout(Some(PATIENCE)).unwrap();
            next.write_all(b"QUIT\r\n").unwrap();
            said.clear();
            // Who is turned away without being read hears a reset.
            let _ = next.read_to_string(&mut said);
        }
        service.stop();
    }
}
