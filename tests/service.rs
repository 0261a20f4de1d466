//! The service as its owner meets it: restarts, a dead next hop, reports, badmail, reloads, the queue commands.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use common::{Folder, Mailroot, Talk, ask, free_port, id_in, must, on, run, texts, until_true};

const MAIL: &str = "From: a@nas.example\r\nTo: b@office.example\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
                    Message-ID: <1@nas.example>\r\n\r\nbody\r\n";

/// A next hop that is not there: a port that nobody listens on.
fn dead() -> String {
    format!("smtp://127.0.0.1:{}?tls=off", free_port())
}

fn send(box_: &Mailroot, from: &str, to: &str, text: &str) -> String {
    let mut talk = box_.client("printer.lan");
    let reply = talk.send(from, &[to], text);
    talk.say("QUIT");
    reply
}

/// A next hop that says what the script says, one connection after the other; answers what it heard.
fn scripted(
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut out = stream.try_clone().unwrap();
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            if out.write_all(b"220 peer.example\r\n").is_err() {
                continue;
            }
            while let Some(line) = lines.next() {
                let reply = answer(&line);
                if out.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
                    break;
                }
                if reply.starts_with("354") {
                    let _ = lines.by_ref().find(|l| l == ".");
                    let _ = out.write_all(b"250 2.0.0 taken\r\n");
                }
            }
        }
    });
    (port, task)
}

#[test]
fn mail_for_a_dead_hop_survives_a_restart_and_goes_when_it_is_back() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("dead-hop");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--smart-host", &dead()]);
    assert!(send(&box_, "a@nas.example", "b@office.example", MAIL).starts_with("250 2.6.0 "));
    box_.wait_for("the way is down", |l| l.contains(" way-down "));
    let list = ask(&home, &["queue", "list"]);
    assert!(list.contains("a@nas.example -> b@office.example"), "{list}");
    let status = ask(&home, &["status"]);
    assert!(
        status.contains("queued: 1 messages")
            && status.contains("down for ")
            && status.contains(", next try in "),
        "{status}"
    );
    box_.kill();
    // At rest the queue can be read, and reading changes nothing.
    let at_rest = ask(&home, &["queue", "list"]);
    assert!(
        at_rest.contains("a@nas.example -> b@office.example"),
        "{at_rest}"
    );
    let sink = common::Sink::start(folder.path(), &[]);
    let box_ = Mailroot::start(&home, &["--smart-host", &sink.url()]);
    box_.completed(1);
    assert_eq!(sink.only().header("Subject").as_deref(), Some("hello"));
    let log = box_.stop();
    assert!(log.contains("stopped queued=0"), "{log}");
}

#[test]
fn the_queue_commands_show_hold_release_and_remove() {
    let folder = Folder::new("queue-commands");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--smart-host", &dead()]);
    send(&box_, "a@nas.example", "b@office.example", MAIL);
    let id = id_in(&box_.wait_for("it is accepted", |l| l.contains(" accepted id=")));
    let queue = |words: &[&str]| run(&mut on(&home, &[&["queue"], words].concat()), b"");
    let (_, shown) = queue(&["show", &id]);
    assert!(
        shown.contains("from: a@nas.example\n") && shown.contains("to: b@office.example (waiting)"),
        "{shown}"
    );
    let (_, json) = queue(&["show", &id, "--json"]);
    assert!(
        json.starts_with(&format!("{{\"id\":\"{id}\"")) && json.trim_end().ends_with("}]}"),
        "{json}"
    );
    assert!(queue(&["hold", &id]).0.success());
    assert!(queue(&["list"]).1.contains("held"));
    assert!(queue(&["retry", &id]).1.contains("is held"));
    assert!(queue(&["release", &id]).0.success());
    assert!(!queue(&["release", &id]).0.success());
    box_.wait_count("it is tried again", 2, |l| l.contains(" way-down "));
    // Busy for a moment at most; then it goes.
    until_true("it is removed", || queue(&["remove", &id]).0.success());
    assert!(queue(&["list"]).1.contains("the queue is empty"));
    let (status, why) = queue(&["show", &id]);
    assert!(
        !status.success() && why.contains("there is no message"),
        "{why}"
    );
    assert!(!queue(&["show", "not-an-id!"]).0.success());
    assert_eq!(queue(&["dance"]).0.code(), Some(64));
    drop(box_);
    assert_eq!(queue(&["remove", &id]).0.code(), Some(69));
}

#[test]
fn a_refused_recipient_is_reported_and_an_unreturnable_report_becomes_badmail() {
    let folder = Folder::new("report");
    let home = folder.home();
    let (port, _peer) = scripted(|line| {
        let verb = line.to_ascii_uppercase();
        match () {
            () if verb.starts_with("EHLO") => "250 peer.example".to_owned(),
            () if verb.starts_with("RCPT") => "550 5.1.1 nobody of that name".to_owned(),
            () if verb == "DATA" => "503 5.5.1 no recipients".to_owned(),
            () => "250 2.0.0 ok".to_owned(),
        }
    });
    let url = format!("smtp://127.0.0.1:{port}?tls=off");
    let box_ = Mailroot::start(&home, &["--smart-host", &url, "--local", "nas.example"]);
    // The sender is local: the report lands in the drop folder.
    send(&box_, "a@nas.example", "b@office.example", MAIL);
    box_.completed(2);
    let [report] = texts(&home.join("drop")).try_into().unwrap();
    for part in [
        "X-Sender: <>\r\n",
        "X-Receiver: a@nas.example\r\n",
        "Content-Type: multipart/report; report-type=delivery-status",
        "Auto-Submitted: auto-replied",
        "Final-Recipient: rfc822; b@office.example",
        "Action: failed",
        "Status: 5.1.1",
        "Subject: hello",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
    assert!(!report.contains("\r\nbody\r\n"), "headers only by default");
    // The sender is far away and unknown, too: the report itself is refused, and goes to badmail.
    send(&box_, "stranger@far.example", "b@office.example", MAIL);
    box_.wait_for("it is in badmail", |l| l.contains(" badmail id="));
    box_.completed(4);
    let mut kinds: Vec<String> = fs::read_dir(home.join("badmail"))
        .unwrap()
        .map(|e| {
            e.unwrap()
                .path()
                .extension()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["bad", "bdp", "bdr"]);
    let all = texts(&home.join("badmail")).join("\n");
    assert!(
        all.contains("5.1.1") && all.contains("stranger@far.example"),
        "{all}"
    );
    // Nobody reports on a report.
    assert_eq!(box_.log().matches(" reported id=").count(), 2);
}

#[test]
fn a_reload_changes_the_route_and_a_bad_file_changes_nothing() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("reload");
    let home = folder.home();
    let config = |route: &str| {
        format!(
            "home = \"{}\"\nhostname = \"box.example\"\n{route}\n[[listen]]\naddress = \"127.0.0.1:0\"\n",
            home.display()
        )
    };
    let route = |port: u16| format!("[[route]]\nhosts = [\"127.0.0.1:{port}\"]\ntls = \"off\"\n");
    let file = folder.file("mailroot.toml", config(&route(free_port())));
    let box_ = Mailroot::run(&home, &file);
    send(&box_, "a@nas.example", "b@office.example", MAIL);
    box_.wait_for("the way is down", |l| l.contains(" way-down "));

    fs::write(&file, config("[[rout]]\nhosts = 7\n")).unwrap();
    box_.signal("HUP");
    let why = box_.wait_for("the bad file is refused", |l| {
        l.contains(" reload-refused ")
    });
    assert!(why.contains("rout"), "{why}");

    let sink = common::Sink::start(folder.path(), &[]);
    fs::write(&file, config(&route(sink.port))).unwrap();
    box_.signal("HUP");
    box_.completed(1);
    assert_eq!(sink.messages().len(), 1);
}

#[test]
fn sendmail_works_with_the_service_down() {
    let folder = Folder::new("sendmail-down");
    let home = folder.home();
    let text = b"From: root\nTo: me@nas.example\nSubject: s\n\n.hidden dot\n.\n";
    // Without a home there is nowhere to put it, and it says so.
    let (status, why) = run(
        on(&home, &["sendmail", "-i", "-t"]).env_remove("MAILROOT_HOME"),
        text,
    );
    assert!(
        !status.success() && why.contains("start the service once"),
        "{status}: {why}"
    );
    Mailroot::start(&home, &["--local", "nas.example"]).stop();
    must(&mut on(&home, &["sendmail", "-i", "-t"]), text);
    let (status, why) = run(&mut on(&home, &["sendmail"]), text);
    assert_eq!(status.code(), Some(64), "{why}");
    let box_ = Mailroot::start(&home, &["--local", "nas.example"]);
    box_.completed(1);
    let [mail] = texts(&home.join("drop")).try_into().unwrap();
    assert!(mail.ends_with("\r\n\r\n.hidden dot\r\n.\r\n"), "{mail}");
}

#[test]
fn sendmail_bs_speaks_smtp() {
    let folder = Folder::new("sendmail-bs");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--local", "nas.example"]);
    let script = format!(
        "EHLO me\r\nMAIL FROM:<a@nas.example>\r\nRCPT TO:<b@nas.example>\r\nDATA\r\n{MAIL}..\r\n.\r\nQUIT\r\n"
    );
    let said = must(&mut on(&home, &["sendmail", "-bs"]), script.as_bytes());
    assert!(
        said.starts_with("220 ") && said.contains("\r\n250 2.6.0 ") && said.contains("\r\n221 "),
        "{said}"
    );
    box_.completed(1);
    let [mail] = texts(&home.join("drop")).try_into().unwrap();
    assert!(mail.ends_with("\r\n\r\nbody\r\n.\r\n"), "{mail}");
}

#[test]
fn a_drop_file_goes_round_through_pickup_with_its_envelope() {
    let folder = Folder::new("round-trip");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--local", "nas.example"]);
    let mut talk = box_.client("printer.lan");
    let text = MAIL.replace("body", "..stuffed\r\nbody");
    assert!(
        talk.send("", &["one@nas.example", "two@nas.example"], &text)
            .starts_with("250")
    );
    box_.completed(1);
    let path = fs::read_dir(home.join("drop"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let first = fs::read_to_string(&path).unwrap();
    fs::copy(&path, home.join("pickup/again.eml")).unwrap();
    fs::remove_file(&path).unwrap();
    box_.completed(2);
    let [second] = texts(&home.join("drop")).try_into().unwrap();
    let envelope = |text: &str| -> Vec<String> {
        text.lines()
            .take_while(|l| l.starts_with("X-"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(envelope(&first), envelope(&second));
    assert!(second.ends_with("\r\n\r\n.stuffed\r\nbody\r\n"), "{second}");
}

#[test]
fn a_large_message_is_whole_and_leaves_nothing_behind() {
    let folder = Folder::new("large");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--local", "nas.example"]);
    let mut text = MAIL.to_owned();
    for n in 0..60_000 {
        text.push_str(&format!("line {n} {}\r\n", "x".repeat(70)));
    }
    assert!(send(&box_, "a@nas.example", "b@nas.example", &text).starts_with("250"));
    box_.completed(1);
    let [mail] = texts(&home.join("drop")).try_into().unwrap();
    assert!(mail.ends_with(&text), "it differs");
    box_.stop();
    let left: Vec<String> = fs::read_dir(home.join("queue"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".body"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        fs::read_dir(home.join("sorttemp"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn strangers_may_not_relay_and_limits_say_which() {
    let folder = Folder::new("limits");
    let home = folder.home();
    let box_ = Mailroot::start(
        &home,
        &[
            "--local",
            "nas.example",
            "--smart-host",
            &dead(),
            "--set",
            "access.relay=[]",
        ]
        .into_iter()
        .chain([
            "--set",
            "limits.message_bytes=64KiB",
            "--set",
            "limits.recipients=2",
        ])
        .chain(["--set", "limits.connections_per_client=2"])
        .collect::<Vec<_>>(),
    );
    let mut talk = Talk::connect(box_.address);
    let hello = talk.say("EHLO printer.lan");
    assert!(hello.contains("SIZE 65536"), "{hello}");
    assert!(
        talk.say("MAIL FROM:<a@x.example> SIZE=70000")
            .starts_with("552 5.3.4")
    );
    assert!(talk.say("MAIL FROM:<a@x.example>").starts_with("250"));
    let refused = talk.say("RCPT TO:<b@office.example>");
    assert!(
        refused.starts_with("550 5.7.1 Unable to relay"),
        "{refused}"
    );
    // A local part that asks for relaying is refused even in a local domain.
    assert!(
        talk.say("RCPT TO:<b%office.example@nas.example>")
            .starts_with("550 5.7.1")
    );
    assert!(talk.say("RCPT TO:<b@nas.example>").starts_with("250"));
    assert!(talk.say("RCPT TO:<postmaster>").starts_with("250"));
    assert!(talk.say("RCPT TO:<c@nas.example>").starts_with("452 4.5.3"));
    let _second = Talk::connect(box_.address);
    let third = std::net::TcpStream::connect(box_.address).unwrap();
    let mut greeting = String::new();
    BufReader::new(third).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("421 4.7.0"), "{greeting}");
}

#[test]
fn two_services_do_not_share_a_home_or_a_port() {
    let folder = Folder::new("two");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &[]);
    let (status, why) = run(&mut on(&home, &["run", "--listen", "127.0.0.1:0"]), b"");
    assert_eq!(status.code(), Some(75), "{why}");
    assert!(
        why.contains(&format!("process {} already runs", box_.pid())),
        "{why}"
    );
    let other = folder.path().join("other");
    let taken = box_.address.to_string();
    let (status, why) = run(&mut on(&other, &["run", "--listen", &taken]), b"");
    assert_eq!(status.code(), Some(75), "{why}");
    assert!(why.contains("another program has the port"), "{why}");
}

#[test]
fn a_stop_lets_clients_know_and_ends_in_order() {
    let folder = Folder::new("stop");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--local", "nas.example"]);
    let talk = box_.client("printer.lan");
    box_.signal("TERM");
    assert!(talk.rest().starts_with("421 4.3.2"));
    let log = box_.stop();
    assert!(log.contains("stopped queued=0"), "{log}");
    assert!(!home.join("control.sock").exists());
}
