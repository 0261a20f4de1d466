//! Listeners as real clients meet them: TLS in both forms, logins, access, load balancers, sockets of other kinds.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use common::{
    Folder, MAILROOT, Mailroot, PATIENCE, Sink, Talk, command, free_port, have, must, program, run,
    user,
};

/// What every Python script below begins with: a client that believes any certificate, and short replies.
const PYTHON: &str = r#"
import hashlib, smtplib, socket, ssl, sys
port = int(sys.argv[1])
any = ssl.create_default_context()
any.check_hostname = False
any.verify_mode = ssl.CERT_NONE
MESSAGE = "From: a@x.example\r\nSubject: hello\r\n\r\nhello\r\n"
def said(reply):
    print(reply[0], reply[1].decode().replace("\n", " / "))
def plain():
    return smtplib.SMTP("127.0.0.1", port, "me.example", timeout=60)
def attempt(what):
    try:
        print("ok", what())
    except smtplib.SMTPResponseException as error:
        print(error.smtp_code, error.smtp_error.decode())
"#;

/// Runs a script against a port; what it printed.
fn python(script: &str, port: u16, args: &[&str]) -> String {
    let script = format!("{PYTHON}{script}");
    let mut command = Command::new("python3");
    command.args(["-c", &script, &port.to_string()]).args(args);
    must(&mut command, b"")
}

/// The one file in the drop folder, waited for by the log.
fn dropped(service: &Mailroot, count: usize) -> Vec<String> {
    service.completed(count);
    let mut all = service.dropped();
    all.sort();
    all
}

/// `text` with each fold and run of blanks as one blank.
fn unfolded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn starttls_works_out_of_the_box_and_forgets_what_came_before_it() {
    if !have("python3") {
        return;
    }
    let folder = Folder::new("starttls");
    let service = Mailroot::start(
        &folder.home(),
        &[
            "--set",
            "tls.self_signed=true",
            "--local",
            "nas.lan",
            "--set",
            "listen.require_tls=true",
        ],
    );
    let out = python(
        r#"
c = plain()
c.ehlo()
print("starttls" in c.esmtp_features)
said(c.docmd("MAIL FROM:<a@x.example>"))
said(c.starttls(context=any))
c.ehlo()
print("starttls" in c.esmtp_features, c.sock.version())
c.sendmail("a@x.example", ["b@nas.lan"], MESSAGE)
said(c.quit())
# A command in the same packet as STARTTLS is never carried out.
raw = socket.create_connection(("127.0.0.1", port))
def reply():
    return raw.recv(4096).decode().split("\r\n")[0]
reply(); raw.sendall(b"EHLO x\r\n"); reply()
raw.sendall(b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
print(reply())
raw = any.wrap_socket(raw)
raw.sendall(b"EHLO x\r\n")
print(reply())
raw.sendall(b"RCPT TO:<b@nas.lan>\r\n")
print(reply())
"#,
        service.port(),
        &[],
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "True",
            "530 5.7.0 Must issue a STARTTLS command first",
            "220 2.0.0 Ready to start TLS",
            "False TLSv1.3",
            "221 2.0.0 box.example Service closing transmission channel",
            "220 2.0.0 Ready to start TLS",
            "250-box.example Hello [127.0.0.1]",
            "503 5.5.1 Bad sequence of commands: need MAIL command",
        ]
    );
    let [message] = &dropped(&service, 1)[..] else {
        panic!("one message");
    };
    let trace = unfolded(message);
    assert!(
        trace.contains("with ESMTPS (TLS1.3 TLS_AES_")
            || trace.contains("with ESMTPS (TLS1.3 TLS_CHACHA"),
        "{trace}"
    );
    let file = service.home.join("certificate.pem");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    service.stop();
}

#[test]
fn implicit_tls_greets_inside_and_a_changed_certificate_is_shown_at_once() {
    if !have("python3") || !have("openssl") {
        return;
    }
    let folder = Folder::new("implicit");
    let make = |name: &str| {
        let mut openssl = command("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]);
        openssl.args(["-days", "30", "-subj", "/CN=box.example", "-keyout"]);
        let (key, chain) = (folder.path().join("one.key"), folder.path().join("one.pem"));
        openssl.arg(&key).arg("-out").arg(&chain);
        must(&mut openssl, b"");
        let text = fs::read_to_string(key).unwrap() + &fs::read_to_string(chain).unwrap();
        let new = folder.file("new.pem", text);
        fs::rename(new, folder.path().join(name)).unwrap();
    };
    make("box.pem");
    let certificate = format!(
        "tls.certificate={}",
        folder.path().join("box.pem").display()
    );
    let service = Mailroot::start(
        &folder.home(),
        &[
            "--set",
            &certificate,
            "--set",
            "listen.tls=implicit",
            "--local",
            "nas.lan",
        ],
    );
    let shown = || {
        let script = r#"
c = smtplib.SMTP_SSL("127.0.0.1", port, "me.example", timeout=60, context=any)
c.ehlo()
print("starttls" in c.esmtp_features)
c.sendmail("a@x.example", ["b@nas.lan"], MESSAGE)
print(hashlib.sha256(c.sock.getpeercert(True)).hexdigest())
"#;
        let out = python(script, service.port(), &[]);
        let (first, rest) = out.split_once('\n').unwrap();
        assert_eq!(first, "False");
        rest.trim().to_owned()
    };
    let first = shown();
    assert_eq!(first, shown());
    make("box.pem");
    let second = shown();
    assert_ne!(first, second);
    // A file that is no good changes nothing but the log.
    folder.file("box.pem", "no certificate");
    assert_eq!(second, shown());
    service.wait_for("the bad file is told", |l| l.contains("what=certificate"));
    service.signal("HUP");
    service.wait_for("the reload is refused", |l| l.contains("reload-refused"));
    make("box.pem");
    service.signal("HUP");
    service.wait_for("the reload works", |l| l.contains(" reloaded"));
    assert_ne!(second, shown());
    assert_eq!(dropped(&service, 5).len(), 5);

    // Who speaks in clear there gets no word of SMTP.
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"EHLO x\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"2"), "{bytes:?}");
    service.stop();
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn users_log_in_with_each_mechanism_and_may_relay() {
    if !have("python3") || !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("users");
    let sink = Sink::start(folder.path(), &[]);
    let users = user(folder.path(), "tim@nas.lan", "hunter2");
    let service = Mailroot::start(
        &folder.home(),
        &[
            "--smart-host",
            &sink.url(),
            "--set",
            "tls.self_signed=true",
            "--set",
            &format!("users.file={}", users.display()),
            "--set",
            "access.relay=",
        ],
    );
    let out = python(
        r#"
c = plain()
c.ehlo()
print(c.esmtp_features["auth"])
c.docmd("MAIL FROM:<a@x.example>")
said(c.docmd("RCPT TO:<b@office.example>"))
"#,
        service.port(),
        &[],
    );
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "SCRAM-SHA-256 PLAIN LOGIN",
            "550 5.7.1 Unable to relay for b@office.example"
        ]
    );
    let out = python(
        r#"
for how in ["PLAIN", "LOGIN"]:
    c = plain()
    c.ehlo()
    c.starttls(context=any)
    c.ehlo()
    print(c.esmtp_features["auth"].strip())
    c.user, c.password = "tim@nas.lan", "hunter2"
    said(c.auth(how, getattr(c, "auth_" + how.lower())))
    c.sendmail("a@x.example", ["b@office.example"], MESSAGE)
    c.quit()
c = plain()
c.ehlo()
c.user = "tim@nas.lan"
for c.password in ["hunter3", ""]:
    attempt(lambda: c.auth("PLAIN", c.auth_plain))
c.user, c.password = "nobody", "hunter2"
attempt(lambda: c.auth("PLAIN", c.auth_plain))
said(c.docmd("AUTH", "CRAM-MD5"))
said(c.docmd("AUTH", "PLAIN"))
said(c.docmd("*"))
"#,
        service.port(),
        &[],
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN",
            "235 2.7.0 Authentication successful",
            "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN",
            "235 2.7.0 Authentication successful",
            "535 5.7.8 Authentication unsuccessful",
            "535 5.7.8 Authentication unsuccessful",
            "535 5.7.8 Authentication unsuccessful",
            "504 5.5.4 Unrecognized authentication type",
            "334 ",
            "501 5.7.0 Authentication cancelled",
        ]
    );
    service.wait_for("the failure is told", |l| {
        l.contains("login-failed client=127.0.0.1 user=tim@nas.lan")
    });
    service.completed(2);
    for message in sink.messages() {
        assert!(message.trace.contains("with ESMTPSA"), "{}", message.trace);
    }

    // SCRAM by the client machine of another mailroot, and by msmtp where it can.
    let other = Mailroot::start_with(
        &folder.path().join("other"),
        &[
            "--smart-host",
            &format!(
                "smtp://tim%40nas.lan@127.0.0.1:{}?tls=require",
                service.port()
            ),
        ],
        |command| {
            command.env("MAILROOT_PASSWORD", "hunter2");
        },
    );
    let mut talk = other.client("x");
    let text = "Subject: scram\r\n\r\nhello\r\n";
    let reply = talk.send("a@x.example", &["b@office.example"], text);
    assert!(reply.starts_with("250"), "{reply}");
    other.completed(1);
    service.completed(3);
    if have("msmtp") {
        let mut msmtp = command("msmtp");
        msmtp.args([
            "--host=127.0.0.1",
            "--tls=on",
            "--tls-certcheck=off",
            "--auth=scram-sha-256",
        ]);
        msmtp.args([
            "--user=tim@nas.lan",
            "--passwordeval=echo hunter2",
            "--from=a@x.example",
        ]);
        msmtp
            .arg(format!("--port={}", service.port()))
            .arg("c@office.example");
        let (status, text) = run(&mut msmtp, b"Subject: m\r\n\r\nhello\r\n");
        if text.contains("not supported") || text.contains("unsupported") {
            println!("skipped: this msmtp has no SCRAM");
        } else {
            assert!(status.success(), "{text}");
            service.completed(4);
        }
    }

    // A file that others can read lets nobody in; without the user neither.
    fs::set_permissions(&users, fs::Permissions::from_mode(0o644)).unwrap();
    let login = r#"
c = plain()
c.ehlo()
c.user, c.password = "tim@nas.lan", "hunter2"
attempt(lambda: c.auth("PLAIN", c.auth_plain)[0])
"#;
    // The mode is no part of what shows that a file has changed: it is written anew.
    let text = fs::read(&users).unwrap();
    fs::write(&users, [&text[..], b"# changed\n"].concat()).unwrap();
    let out = python(login, service.port(), &[]);
    assert!(out.starts_with("454 4.7.0"), "{out}");
    service.wait_for("the owner is told", |l| l.contains("chmod 600"));
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(python(login, service.port(), &[]), "ok 235\n");
    let mut command = program();
    command
        .args(["passwd", "--delete", "tim@nas.lan", "--users"])
        .arg(&users);
    must(&mut command, b"");
    let out = python(login, service.port(), &[]);
    assert!(out.starts_with("535"), "{out}");
    other.stop();
    service.stop();
}

#[test]
fn guessing_passwords_gets_slower_and_a_login_ends_that() {
    let folder = Folder::new("guess");
    let users = user(folder.path(), "tim", "hunter2");
    let service = Mailroot::start(
        &folder.home(),
        &[
            "--set",
            &format!("users.file={}", users.display()),
            "--set",
            "listen.require_auth=true",
            "--local",
            "nas.lan",
        ],
    );
    let mut talk = service.client("x");
    let reply = talk.say("MAIL FROM:<a@x.example>");
    assert!(reply.starts_with("530 5.7.0"), "{reply}");
    // "\0tim\0tan", "\0tim\0hunter2"
    let (wrong, right) = ("AUTH PLAIN AHRpbQB0YW4=", "AUTH PLAIN AHRpbQBodW50ZXIy");
    let start = std::time::Instant::now();
    for _ in 0..4 {
        let reply = talk.say(wrong);
        assert!(reply.starts_with("535 5.7.8"), "{reply}");
    }
    assert!(
        start.elapsed().as_millis() >= 1000,
        "the fourth waits a second"
    );
    let reply = talk.say(right);
    assert!(reply.starts_with("235"), "{reply}");
    assert!(start.elapsed().as_millis() >= 3000, "so does who knows it");
    let text = "Subject: x\r\n\r\nhello\r\n";
    let reply = talk.send("a@x.example", &["b@nas.lan"], text);
    assert!(reply.starts_with("250"), "{reply}");
    service.wait_for("the user is in the log", |l| {
        l.contains(" accepted ") && l.contains("as tim")
    });
    let again = std::time::Instant::now();
    let mut talk = service.client("x");
    assert!(talk.say(wrong).starts_with("535"));
    assert!(
        again.elapsed().as_millis() < 4000,
        "it would be four seconds by now, were anything held against it"
    );
    service.stop();
}

/// The header of a load balancer for this client.
fn proxied(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0, 25]);
    header
}

/// A session of a client that a load balancer names; the greeting and what was said to each line.
fn through_proxy(service: &Mailroot, header: &[u8], lines: &str) -> String {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(header).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn clients_behind_a_load_balancer_are_who_it_says() {
    let folder = Folder::new("proxy");
    let users = user(folder.path(), "tim", "hunter2");
    let service = Mailroot::start(
        &folder.home(),
        &[
            "--set",
            "listen.proxy_from=127.0.0.0/8",
            "--set",
            "access.deny=203.0.113.0/24",
            "--set",
            &format!("users.file={}", users.display()),
            "--set",
            "limits.messages_per_minute=2",
            "--set",
            "local.mailboxes=alerts",
            "--local",
            "nas.lan",
        ],
    );
    let said = through_proxy(&service, &proxied([203, 0, 113, 9]), "");
    assert!(said.starts_with("554 5.7.1 Access denied"), "{said}");
    service.wait_for("the list is named", |l| {
        l.contains("client-refused client=203.0.113.9") && l.contains("access.deny")
    });
    let said = through_proxy(
        &service,
        &proxied([192, 0, 2, 7]),
        "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@else.example>\r\nRCPT TO:<info@nas.lan>\r\n\
         RCPT TO:<alerts@nas.lan>\r\nRCPT TO:<postmaster@nas.lan>\r\nRSET\r\nMAIL FROM:<>\r\nRSET\r\n\
         MAIL FROM:<a@x.example>\r\nAUTH PLAIN AHRpbQBodW50ZXIy\r\nQUIT\r\n",
    );
    for part in [
        "Hello [192.0.2.7]",
        "550 5.7.1 Unable to relay for b@else.example",
        "550 5.1.1 User unknown: info@nas.lan",
        "250 2.1.5 alerts@nas.lan",
        "250 2.1.5 postmaster@nas.lan",
        "451 4.7.1 Too many messages from your address",
        // Not from this host and without TLS.
        "538 5.7.11",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert!(
        !said.contains("AUTH PLAIN") && !said.contains("250-AUTH"),
        "{said}"
    );
    service.wait_for("the limit is named", |l| {
        l.contains("limits.messages_per_minute")
    });

    for (header, why) in [
        (&b"PROXY TCP4 192.0.2.1 127.0.0.1 1 25\r\n"[..], "version 2"),
        (b"EHLO x.example.com\r\nQUIT\r\n", "did not begin with"),
    ] {
        assert_eq!(through_proxy(&service, header, ""), "");
        service.wait_for("the reason is told", |l| {
            l.contains("client-refused") && l.contains(why)
        });
    }
    service.stop();
}

#[test]
fn a_unix_socket_is_a_listener_that_may_relay() {
    let folder = Folder::new("unix");
    let path = folder.path().join("smtp.sock");
    let home = folder.home();
    let address = format!("{}", path.display());
    let service = Mailroot::start(&home, &["--listen", &address, "--set", "access.relay="]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut stream = UnixStream::connect(&path).unwrap();
    let lines = "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@else.example>\r\nQUIT\r\n";
    stream.write_all(lines.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("250 2.1.5 b@else.example"), "{said}");
    service.stop();
    assert!(!path.exists(), "it is taken away at the end");
}

#[test]
fn the_service_manager_hands_its_sockets_over() {
    if !have("python3") {
        return;
    }
    let folder = Folder::new("handed");
    let port = free_port();
    // What systemd does: the socket is number 3, and the variables name it.
    let script = r#"
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen(16)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="smtp")
os.execv(sys.argv[2], sys.argv[2:])
"#;
    let home = folder.home();
    let mut command = Command::new("python3");
    command.args(["-c", script, &port.to_string(), MAILROOT, "run", "--home"]);
    command.arg(&home).args(["--listen", "systemd:smtp"]);
    let service = Mailroot::spawn(&home, command);
    assert_eq!(service.port(), port);
    assert!(
        Talk::connect(service.address)
            .say("NOOP")
            .starts_with("250")
    );
    service.stop();

    let mut command = program();
    command
        .args(["run", "--home"])
        .arg(&home)
        .args(["--listen", "systemd:smtp"]);
    let (status, said) = run(&mut command, b"");
    assert!(
        !status.success() && said.contains("FileDescriptorName=smtp"),
        "{said}"
    );
}
