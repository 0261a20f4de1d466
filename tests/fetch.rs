//! Mail that is held until its host asks for it: ETRN and ATRN, by who may and by who may not, and by hosts that fail
//! in the midst of it.
#![cfg(test)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use common::{Folder, Mailroot, Talk, have, must, user};

/// `\0tim\0hunter2` and `\0eve\0hunter2`.
const TIM: &str = "AUTH PLAIN AHRpbQBodW50ZXIy";
const EVE: &str = "AUTH PLAIN AGV2ZQBodW50ZXIy";

struct Post {
    service: Mailroot,
    file: PathBuf,
    /// The host of office.example.
    office: TcpListener,
    _folder: Folder,
}

impl Post {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let users = user(folder.path(), "tim", "hunter2");
        user(folder.path(), "eve", "hunter2");
        let office = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = office.local_addr().unwrap().port();
        let home = folder.home();
        let file = folder.file(
            "mailroot.toml",
            format!(
                "home = '{}'\nhostname = 'box.example'\n[[listen]]\naddress = '127.0.0.1:0'\nproxy_from = ['127.0.0.2']\n\
                 [tls]\nself_signed = true\n[users]\nfile = '{}'\n[access]\netrn = ['127.0.0.1']\n\
                 [limits]\nerrors = 100\n\
                 [[route]]\nto = ['office.example', '*.office.example']\nvia = 'hold'\nhosts = ['127.0.0.1:{port}']\n\
                 tls = 'off'\nconnections = 1\nfetched_by = ['tim']\ngreeting_timeout = '5s'\ncommand_timeout = '5s'\n\
                 [[route]]\nto = ['shop.example']\nvia = 'hold'\nfetched_by = ['eve']\n\
                 [[route]]\nhosts = ['127.0.0.1:9']\ntls = 'off'\n",
                home.display(),
                users.display()
            ),
        );
        Self {
            service: Mailroot::run(&home, &file),
            file,
            office,
            _folder: folder,
        }
    }

    fn talk(&self) -> Talk {
        let mut talk = Talk::connect(self.service.address);
        assert!(talk.say("EHLO x").contains("250-ETRN"));
        talk
    }

    /// Puts a message for this address into the queue.
    fn send(&self, to: &str, subject: &str) {
        let text = format!("Subject: {subject}\r\n\r\nhello\r\n");
        let reply = self.talk().send("a@x.example", &[to], &text);
        assert!(reply.starts_with("250"), "{reply}");
    }

    fn queue(&self) -> String {
        self.service.ask(&["queue", "list"])
    }

    /// A connection of this user that has asked for its mail.
    fn fetch(&self, login: &str, atrn: &str) -> (Talk, String) {
        let mut talk = self.talk();
        let reply = talk.say(login);
        assert!(reply.starts_with("235"), "{reply}");
        let reply = talk.say(atrn);
        (talk, reply)
    }
}

/// Plays the host of a domain on a connection, with these replies to RCPT and to the dot; the subjects it got.
fn host(stream: &mut (impl BufRead + Write), rcpt: &str, dot: &str) -> Vec<String> {
    let mut got = Vec::new();
    let say = |stream: &mut dyn Write, text: &str| {
        stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        stream.flush().unwrap();
    };
    say(stream, "220 office.example");
    let (mut line, mut inside) = (String::new(), false);
    loop {
        line.clear();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return got;
        }
        let text = line.trim_end();
        if inside {
            if let Some(subject) = text.strip_prefix("Subject: ") {
                got.push(subject.to_owned());
            }
            if text == "." {
                inside = false;
                say(stream, dot);
            }
            continue;
        }
        match text.split([' ', ':']).next().unwrap() {
            "EHLO" => say(stream, "250 office.example"),
            "RCPT" => say(stream, rcpt),
            "DATA" if rcpt.starts_with('2') => {
                inside = true;
                say(stream, "354 go on");
            }
            "DATA" => say(stream, "554 no"),
            "QUIT" => {
                say(stream, "221 bye");
                return got;
            }
            _ => say(stream, "250 ok"),
        }
    }
}

/// The stream of a talk, for when its roles are turned.
struct Turned(BufReader<TcpStream>);

impl Read for Turned {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(room)
    }
}

impl BufRead for Turned {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl Write for Turned {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn etrn_sends_what_is_held_to_the_hosts_and_to_nobody_else() {
    let post = Post::new("etrn");
    post.send("ann@office.example", "one");
    post.send("bob@office.example", "two");
    post.send("bob@deep.office.example", "deep");
    let mut talk = post.talk();
    for (line, want) in [
        ("ETRN shop.example", "251 "),
        (
            "ETRN office.example",
            "253 2.0.0 OK, 2 pending messages for node office.example started",
        ),
        // Mail for it goes with that of others, and is held for nobody.
        ("ETRN else.example", "459 4.7.1"),
        ("ETRN box.example", "459 4.7.1"),
    ] {
        let reply = talk.say(line);
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    let (stream, _) = post.office.accept().unwrap();
    let busy = talk.say("ETRN office.example");
    assert!(busy.starts_with("252 2.0.0"), "{busy}");
    let mut got = host(&mut Turned(BufReader::new(stream)), "250 ok", "250 taken");
    got.sort();
    assert_eq!(got, ["one", "two"]);
    post.service.completed(2);
    // Once a minute is enough for a host that is told each time.
    post.send("ann@office.example", "three");
    let mut reply = talk.say("ETRN office.example");
    while reply.starts_with("252") {
        // The session before is still saying goodbye.
        reply = talk.say("ETRN office.example");
    }
    assert!(reply.starts_with("458 4.7.0"), "{reply}");
    // Its subdomains have queues of their own.
    let reply = talk.say("ETRN @office.example");
    assert!(reply.starts_with("253 2.0.0 OK, 1 pending"), "{reply}");
    let (stream, _) = post.office.accept().unwrap();
    let got = host(&mut Turned(BufReader::new(stream)), "250 ok", "250 taken");
    assert_eq!(got, ["deep"]);
    post.service.completed(3);
    assert_eq!(post.queue().matches("office.example").count(), 1);
    post.service.stop();
}

#[test]
fn strangers_start_no_queue() {
    let post = Post::new("etrn-stranger");
    post.send("ann@office.example", "one");
    // From an address that access.etrn does not name; as users that the route does and does not name.
    let mut talk = other(post.service.address);
    for (line, want) in [
        ("ETRN office.example", "459 4.7.1"),
        ("ETRN @office.example", "459 4.7.1"),
        ("ETRN @example", "459 4.7.1"),
        (EVE, "235"),
        ("ETRN office.example", "459 4.7.1"),
    ] {
        let reply = talk.say(line);
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    let mut talk = other(post.service.address);
    for (line, want) in [(TIM, "235"), ("ETRN office.example", "253 ")] {
        let reply = talk.say(line);
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    post.service.wait_for("who was refused is told", |l| {
        l.contains(" refused ") && l.contains("ETRN office.example")
    });
    post.service.wait_for("who asked is told", |l| {
        l.contains(" fetched ") && l.contains("user=tim by=ETRN domain=office.example")
    });
    let (stream, _) = post.office.accept().unwrap();
    let got = host(&mut Turned(BufReader::new(stream)), "250 ok", "250 taken");
    assert_eq!(got, ["one"]);
    post.service.completed(1);
    post.service.stop();
}

/// A client at 127.0.0.3, which is on this host and named nowhere.
fn other(address: SocketAddr) -> Talk {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let from: SocketAddr = "127.0.0.3:0".parse().unwrap();
    rustix::net::bind(&socket, &from).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let mut talk = Talk::on(TcpStream::from(socket));
    talk.say("EHLO x");
    talk
}

#[test]
fn atrn_turns_the_connection_round_for_who_may_have_the_mail() {
    let post = Post::new("atrn");
    post.send("ann@office.example", "one");
    post.send("bob@deep.office.example", "two");
    post.send("eve@shop.example", "three");
    let mut talk = post.talk();
    let reply = talk.say("ATRN office.example");
    assert!(reply.starts_with("530 5.7.0"), "{reply}");
    for (login, line, want) in [
        (EVE, "ATRN office.example", "450 4.7.1"),
        (EVE, "ATRN shop.example,office.example", "450 4.7.1"),
        (EVE, "ATRN else.example", "450 4.7.1"),
        (TIM, "ATRN shop.example", "450 4.7.1"),
        (TIM, "ATRN www.office.example", "453 4.2.0"),
    ] {
        let (_, reply) = post.fetch(login, line);
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    let (talk, reply) = post.fetch(TIM, "ATRN office.example");
    assert_eq!(reply, "250 2.0.0 OK now reversing the connection\r\n");
    let (_, reply) = post.fetch(TIM, "ATRN office.example");
    assert!(reply.starts_with("451 4.3.2"), "one at a time: {reply}");
    let got = host(&mut Turned(talk.into_stream()), "250 ok", "250 taken");
    assert_eq!(got, ["one"]);
    post.service.completed(1);
    let (talk, reply) = post.fetch(TIM, "ATRN");
    assert!(reply.starts_with("250"), "all that is left: {reply}");
    let got = host(&mut Turned(talk.into_stream()), "250 ok", "250 taken");
    assert_eq!(got, ["two"]);
    post.service.completed(2);
    let (_, reply) = post.fetch(TIM, "ATRN");
    assert!(reply.starts_with("453 4.2.0"), "{reply}");
    post.service.wait_for("who fetched is told", |l| {
        l.contains(" fetched ")
            && l.contains("user=tim by=ATRN domain=deep.office.example messages=1")
    });
    let left = post.queue();
    assert!(
        left.contains("shop.example") && !left.contains("office.example"),
        "{left}"
    );
    post.service.stop();
}

#[test]
fn what_a_failing_host_did_not_take_is_held_on_and_nothing_is_lost() {
    let post = Post::new("atrn-fails");
    post.send("ann@office.example", "one");
    let again = |what: &str| {
        // Whoever had it has let it go.
        loop {
            let (talk, reply) = post.fetch(TIM, "ATRN office.example");
            if !reply.starts_with("451") {
                assert!(reply.starts_with("250"), "after {what}: {reply}");
                return talk;
            }
        }
    };
    // It hangs up at once; it never greets; it talks too early; it refuses to talk.
    drop(again("nothing"));
    assert_eq!(
        again("a hang-up").rest(),
        "",
        "it is given up after two seconds"
    );
    let mut talk = again("silence");
    talk.raw(b"554 go away\r\n");
    assert!(talk.rest().starts_with("QUIT"));
    // A greeting in the same packet was written before anybody had said that the roles turn.
    let mut talk = post.talk();
    talk.say(TIM);
    talk.raw(b"ATRN office.example\r\n220 me\r\n");
    let reply = talk.reply();
    assert!(reply.starts_with("450 4.7.1"), "{reply}");
    assert!(talk.reply().starts_with("500"));
    // It takes no recipient for now; it is cut off behind the dot; it breaks off in the midst of a reply.
    let talk = again("554");
    assert!(host(&mut Turned(talk.into_stream()), "451 later", "").is_empty());
    post.service
        .wait_for("it is tried again", |l| l.contains(" deferred "));
    let talk = again("451");
    let mut stream = Turned(talk.into_stream());
    let mut text = String::new();
    stream.write_all(b"220 me\r\n").unwrap();
    for reply in ["250 me", "250 ok", "250 ok", "354 go"] {
        text.clear();
        stream.read_line(&mut text).unwrap();
        stream.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
    }
    while text != ".\r\n" {
        text.clear();
        stream.read_line(&mut text).unwrap();
    }
    drop(stream);
    // The power fails while it is under way.
    let talk = again("a cut");
    let home = post.service.home.clone();
    post.service.kill();
    drop(talk);
    let service = Mailroot::run(&home, &post.file);
    let mut talk = Talk::connect(service.address);
    for (line, want) in [("EHLO x", "250"), (TIM, "235"), ("ATRN", "250 2.0.0")] {
        let reply = talk.say(line);
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    let got = host(&mut Turned(talk.into_stream()), "250 ok", "250 taken");
    assert_eq!(got, ["one"]);
    service.completed(1);
    service.stop();
}

#[test]
fn a_turned_connection_stays_encrypted() {
    if !have("python3") {
        return;
    }
    let post = Post::new("atrn-tls");
    post.send("ann@office.example", "secret");
    let script = r#"
import smtplib, ssl, sys
any = ssl.create_default_context()
any.check_hostname = False
any.verify_mode = ssl.CERT_NONE
c = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "me.example", timeout=60)
c.starttls(context=any)
c.ehlo()
c.login("tim", "hunter2")
c.ehlo()
print("atrn" in c.esmtp_features)
print(c.docmd("ATRN", "office.example")[0])
def say(text):
    c.sock.sendall(text.encode() + b"\r\n")
say("220 me.example")
inside = False
while True:
    line = c.file.readline().decode().rstrip("\r\n")
    if inside:
        if line.startswith("Subject"): print(line)
        if line == ".":
            inside = False
            say("250 taken")
    elif line == "DATA":
        inside = True
        say("354 go on")
    elif line == "QUIT":
        say("221 bye")
        break
    else:
        say("250 ok")
"#;
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script, &post.service.port().to_string()]);
    let out = must(&mut command, b"");
    assert_eq!(out, "True\n250\nSubject: secret\n");
    post.service.completed(1);
    post.service.stop();
}
