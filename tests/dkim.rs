//! DKIM from end to end: keys made on the command line, messages as a next hop gets them, verified by dkimpy.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use common::{Folder, Mailroot, command, have, must, program, run};

/// What a next hop got: the MAIL command, and the message with its dots unstuffed.
struct Got {
    mail: String,
    message: Vec<u8>,
}

/// A next hop that keeps every byte. With CHUNKING it is sent BDAT.
fn hop(offer: &'static str) -> (u16, Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut out = stream.try_clone().unwrap();
            let mut input = BufReader::new(stream);
            let _ = out.write_all(b"220 hop.example\r\n");
            let (mut mail, mut line) = (String::new(), String::new());
            while input.read_line(&mut line).is_ok_and(|n| n > 0) {
                let said = std::mem::take(&mut line);
                let mut message = None;
                let reply = match said.get(..4).unwrap_or("") {
                    "EHLO" => format!("250-hop.example\r\n250-{offer}\r\n250 SIZE 99999999"),
                    "DATA" => {
                        let _ = out.write_all(b"354 go on\r\n");
                        message = Some(data(&mut input));
                        "250 ok".to_owned()
                    }
                    "BDAT" => {
                        let size = said.split(' ').nth(1).unwrap().parse().unwrap();
                        let mut bytes = vec![0; size];
                        input.read_exact(&mut bytes).unwrap();
                        message = Some(bytes);
                        "250 ok".to_owned()
                    }
                    "MAIL" => {
                        mail = said.trim_end().to_owned();
                        "250 ok".to_owned()
                    }
                    _ => "250 ok".to_owned(),
                };
                if let Some(message) = message {
                    let mail = mail.clone();
                    let _ = sender.send(Got { mail, message });
                }
                let _ = out.write_all(format!("{reply}\r\n").as_bytes());
            }
        }
    });
    (port, receiver)
}

fn data(input: &mut impl BufRead) -> Vec<u8> {
    let (mut message, mut line) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line != b".\r\n" {
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        line.clear();
    }
    message
}

/// A key that `mailroot dkim new` has made, or an RSA key of OpenSSL's; answers file, name and record.
fn key(folder: &Folder, selector: &str, rsa: bool) -> (PathBuf, String) {
    let file = folder.path().join(format!("{selector}.pem"));
    if rsa {
        must(
            command("openssl")
                .args(["genrsa", "-out"])
                .arg(&file)
                .arg("2048"),
            b"",
        );
        must(Command::new("chmod").arg("600").arg(&file), b"");
    }
    let said = must(
        program()
            .args([
                "dkim",
                if rsa { "show" } else { "new" },
                "--domain",
                "nas.example",
            ])
            .args(["--selector", selector])
            .arg(&file),
        b"",
    );
    let (_, zone) = said.split_once("DNS:\n").unwrap();
    let (name, rest) = zone.split_once(". IN TXT ").unwrap();
    let (record, _) = rest.split_once("\n\n").unwrap();
    let record: String = record.split('"').skip(1).step_by(2).collect();
    (file, format!("{name}\t{record}\n"))
}

fn block(file: &Path, selector: &str, forms: &str) -> String {
    format!(
        "[[dkim]]\ndomain = \"nas.example\"\nselector = \"{selector}\"\nkey_file = \"{}\"\ncanonicalization = \"{forms}\"\n",
        file.display()
    )
}

fn start(folder: &Folder, port: u16, dkim: &str) -> Mailroot {
    let home = folder.home();
    let text = format!(
        "home = \"{}\"\nhostname = \"box.nas.example\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\n\
         hosts = [\"127.0.0.1:{port}\"]\ntls = \"off\"\n{dkim}",
        home.display()
    );
    Mailroot::run(&home, &folder.file("mailroot.toml", text))
}

fn send(box_: &Mailroot, from: &str, text: &[u8]) {
    let mut talk = box_.client("printer.lan");
    talk.say("MAIL FROM:<bounces@elsewhere.example> BODY=8BITMIME");
    talk.say("RCPT TO:<b@office.example>");
    assert!(talk.say("DATA").starts_with("354"));
    talk.raw(format!("From: {from}\r\n").as_bytes());
    talk.raw(text);
    assert!(talk.say(".").starts_with("250"));
    talk.say("QUIT");
}

/// Python with dkimpy. Debian's own has it.
fn python() -> Option<&'static str> {
    let all = ["/usr/bin/python3", "python3"];
    let found = all.into_iter().find(|python| {
        let tried = Command::new(python)
            .args(["-c", "import dkim, nacl"])
            .output();
        tried.is_ok_and(|out| out.status.success())
    });
    if found.is_none() {
        println!("skipped: dkimpy is not installed (tests/setup installs it)");
    }
    found
}

fn verify(folder: &Folder, python: &str, records: &str, message: &[u8]) -> String {
    let records = folder.file("records", records);
    let message = folder.file("message", message);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dkim/verify.py");
    must(
        Command::new(python).arg(script).arg(records).arg(message),
        b"",
    )
    .lines()
    .filter(|line| !line.starts_with("signature "))
    .collect::<Vec<_>>()
    .join("\n")
}

#[test]
fn every_signature_verifies_elsewhere_and_breaks_when_the_message_is_changed() {
    let Some(python) = python() else { return };
    if !have("openssl") {
        return;
    }
    let folder = Folder::new("dkim");
    let (small, one) = key(&folder, "ed", false);
    let (large, two) = key(&folder, "rsa.2026", true);
    let records = one + &two;
    let (port, got) = hop("8BITMIME");
    let blocks =
        block(&small, "ed", "relaxed/relaxed") + &block(&large, "rsa.2026", "simple/simple");
    let box_ = start(&folder, port, &blocks);
    let head = b"To: b@office.example\r\nSubject:  two  spaces\r\n\tand a fold\r\nMIME-Version: 1.0\r\n\
                 Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
    let mut bodies: Vec<Vec<u8>> = [
        &b""[..],
        b"\r\n\r\n",
        b"a line\r\n",
        b"..a dot \t and  space \r\n\r\n..\r\n\r\n\r\n",
        "gr\u{fc}\u{df}e \r\n".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .into();
    // In a file of its own, read in many steps.
    bodies.push(b"some more  of it\t\r\n\r\n".repeat(20_000));
    let all_good = "ed25519-sha256 relaxed/relaxed ed@nas.example good\n\
                    rsa-sha256 simple/simple rsa.2026@nas.example good\n2 signatures";
    for body in &bodies {
        send(&box_, "Nas <root@nas.example>", &[&head[..], body].concat());
        let got = got.recv().unwrap();
        let size = format!("SIZE={}", got.message.len());
        assert!(got.mail.contains(&size), "{} for {size}", got.mail);
        assert_eq!(verify(&folder, python, &records, &got.message), all_good);
    }
    send(
        &box_,
        "Nas <root@nas.example>",
        &[&head[..], b"word word\r\n"].concat(),
    );
    let message = got.recv().unwrap().message;
    let with = |from: &str, to: &str| {
        let text = String::from_utf8(message.clone()).unwrap();
        assert!(text.contains(from));
        verify(
            &folder,
            python,
            &records,
            text.replacen(from, to, 1).as_bytes(),
        )
    };
    let simple_broken = all_good.replace("rsa.2026@nas.example good", "rsa.2026@nas.example bad");
    let all_broken = all_good.replace("good", "bad");
    // What relays do to white space breaks the simple form only.
    assert_eq!(with("word word\r\n", "word   word \r\n"), simple_broken);
    assert_eq!(with("Subject:  two", "Subject: two"), simple_broken);
    assert_eq!(with("word word\r\n", "word wort\r\n"), all_broken);
    assert_eq!(with("Subject: ", "Subject: more"), all_broken);
    // Nobody can put another author, subject or address for answers in front.
    for field in [
        "From: eve@evil.example",
        "Subject: pay here",
        "Reply-To: eve@evil.example",
    ] {
        assert_eq!(
            with("From: Nas", &format!("{field}\r\nFrom: Nas")),
            all_broken
        );
    }
    // A trace field is what every hop adds.
    assert_eq!(
        with("Received:", "Received: by x; y\r\nReceived:"),
        all_good
    );
}

#[test]
fn what_goes_by_bdat_is_signed_and_mail_of_other_domains_is_not() {
    let Some(python) = python() else { return };
    let folder = Folder::new("dkim-bdat");
    let (file, records) = key(&folder, "ed", false);
    let (port, got) = hop("CHUNKING");
    let box_ = start(&folder, port, &block(&file, "ed", "relaxed/simple"));
    send(
        &box_,
        "cam@cellar.nas.example",
        b"Subject: x\r\n\r\n..dot\r\n",
    );
    let message = got.recv().unwrap().message;
    assert_eq!(
        verify(&folder, python, &records, &message),
        "ed25519-sha256 relaxed/simple ed@nas.example good\n1 signatures"
    );
    for from in ["a@elsewhere.example", "a@othernas.example"] {
        send(&box_, from, b"Subject: x\r\n\r\nx\r\n");
        let message = got.recv().unwrap().message;
        assert!(message.starts_with(b"Received:"), "it is not signed");
    }
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_is_refused_in_a_sentence() {
    let folder = Folder::new("dkim-bad");
    let (file, _) = key(&folder, "ed", false);
    let (port, _got) = hop("HELP");
    let box_ = start(&folder, port, &block(&file, "ed", "relaxed/relaxed"));
    must(Command::new("chmod").arg("644").arg(&file), b"");
    box_.signal("HUP");
    let why = box_.wait_for("the reload is refused", |l| l.contains(" reload-refused "));
    assert!(why.contains("chmod 600"), "{why}");
    drop(box_);
    must(Command::new("chmod").arg("600").arg(&file), b"");
    fs::write(
        &file,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    for word in ["check", "run"] {
        let config = folder.path().join("mailroot.toml");
        let (status, why) = run(program().arg(word).arg(config), b"");
        assert!(
            status.code() == Some(78) && why.contains("neither Ed25519 nor RSA"),
            "{why}"
        );
    }
}

/// The hop takes seven bits only: what is signed is the message as it was re-encoded.
#[test]
fn what_is_re_encoded_for_a_peer_is_signed_after_that() {
    let Some(python) = python() else { return };
    if !have("openssl") {
        return;
    }
    let folder = Folder::new("dkim-seven");
    let (file, records) = key(&folder, "ed", false);
    for offer in ["PIPELINING", "CHUNKING"] {
        let (port, got) = hop(offer);
        let box_ = start(&folder, port, &block(&file, "ed", "relaxed/relaxed"));
        let text =
            "To: b@office.example\r\nSubject: seven\r\n\r\ngr\u{fc}\u{df}e from the box \r\n";
        // Once in a journal record, once in a file of its own.
        for times in [1, 6_000] {
            let body = "and a line with \u{e9}\r\n".repeat(times);
            send(
                &box_,
                "Nas <root@nas.example>",
                format!("{text}{body}").as_bytes(),
            );
            let got = got.recv().unwrap();
            assert!(got.message.is_ascii());
            assert!(
                got.mail.contains(&format!("SIZE={}", got.message.len())),
                "{}",
                got.mail
            );
            let wanted = "ed25519-sha256 relaxed/relaxed ed@nas.example good\n1 signatures";
            assert_eq!(verify(&folder, python, &records, &got.message), wanted);
        }
        box_.stop();
    }
}
