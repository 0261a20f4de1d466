//! Who may do what: relay by one listener and not by another, operate the service or only look at it; and the names of
//! clients, which decide nothing.
#![cfg(test)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Instant;

use common::{Folder, MAILROOT, Mailroot, PATIENCE, Talk, free_port, on, run};
use simple_dns::rdata::{A, PTR, RData};
use simple_dns::{CLASS, Name, Packet, QTYPE, ResourceRecord, TYPE};

/// A service with this configuration; the last listener has a free port, and is what `address` says.
fn service(folder: &Folder, text: &str) -> Mailroot {
    let home = folder.home();
    let text = format!(
        "home = '{}'\nhostname = 'box.example'\n{text}",
        home.display()
    );
    let file = folder.file("mailroot.toml", text);
    Mailroot::run(&home, &file)
}

/// A whole session of the client that a load balancer names: what was said to these lines.
fn session(address: SocketAddr, client: [u8; 4], lines: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0, 25]);
    stream.write_all(&header).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn each_listener_has_its_own_list_of_who_may_relay() {
    let folder = Folder::new("listen-relay");
    let ports = [free_port(), free_port(), free_port()];
    let proxy = "proxy_from = ['127.0.0.0/8']";
    let service = service(
        &folder,
        &format!(
            "[access]\nrelay = ['192.0.2.0/24']\n\
             [[listen]]\naddress = '127.0.0.1:{}'\n{proxy}\n\
             [[listen]]\naddress = '127.0.0.1:{}'\n{proxy}\nrelay = ['198.51.100.0/24']\n\
             [[listen]]\naddress = '127.0.0.1:{}'\n{proxy}\nrelay = []\n",
            ports[0], ports[1], ports[2]
        ),
    );
    let lines = "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@else.example>\r\nQUIT\r\n";
    for (port, client, relays) in [
        (ports[0], [192, 0, 2, 7], true),
        (ports[0], [198, 51, 100, 7], false),
        (ports[1], [192, 0, 2, 7], false),
        (ports[1], [198, 51, 100, 7], true),
        (ports[2], [192, 0, 2, 7], false),
        (ports[2], [198, 51, 100, 7], false),
        // Not even this host, where a list does not name it.
        (ports[2], [127, 0, 0, 1], false),
    ] {
        let said = session(SocketAddr::from(([127, 0, 0, 1], port)), client, lines);
        let want = if relays {
            "\r\n250 2.1.5 b@else.example\r\n"
        } else {
            "\r\n550 5.7.1 Unable to relay for b@else.example\r\n"
        };
        assert!(said.contains(want), "{port} {client:?}: {said}");
    }
    service.wait_for("the list is named", |l| l.contains("listen.relay"));
    service.stop();
}

/// A name server: 192.0.2.7 has a name that leads back to it, 192.0.2.8 claims that name, 192.0.2.9 has none, and
/// about all others it is silent.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut room = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut room) {
            let packet = Packet::parse(&room[..length]).unwrap();
            let question = packet.questions[0].qname.to_string();
            let kind = packet.questions[0].qtype;
            let ptr = RData::PTR(PTR(Name::new_unchecked("cam.office.example")));
            let a = RData::A(A {
                address: u32::from_be_bytes([192, 0, 2, 7]),
            });
            let answer = match (question.as_str(), kind) {
                ("7.2.0.192.in-addr.arpa" | "8.2.0.192.in-addr.arpa", _) => Some(ptr),
                ("cam.office.example", QTYPE::TYPE(TYPE::A)) => Some(a),
                ("cam.office.example" | "9.2.0.192.in-addr.arpa", _) => None,
                _ => continue,
            };
            let mut reply = packet.into_reply();
            *reply.opt_mut() = None;
            let name = Name::new_unchecked(&question);
            reply.answers = answer
                .map(|data| ResourceRecord::new(name, CLASS::IN, 60, data))
                .into_iter()
                .collect();
            let bytes = reply.build_bytes_vec().unwrap();
            socket.send_to(&bytes, peer).unwrap();
        }
    });
    address
}

/// The message with this subject in the drop folder.
fn dropped(service: &Mailroot, subject: &str) -> String {
    let wanted = format!("Subject: {subject}\r\n");
    let mut found = service.dropped();
    found.retain(|text| text.contains(&wanted));
    assert_eq!(found.len(), 1, "{subject}");
    found.remove(0)
}

#[test]
fn a_clients_name_is_told_when_it_leads_back_and_nobody_waits_past_the_limit() {
    let folder = Folder::new("reverse");
    let service = service(
        &folder,
        &format!(
            "[[listen]]\naddress = '127.0.0.1:0'\nproxy_from = ['127.0.0.0/8']\nreverse_dns = '2s'\n\
             [local]\ndomains = ['nas.lan']\n[dns]\nservers = ['{}']\ntimeout = '60s'\n",
            name_server()
        ),
    );
    for (at, (client, want)) in [
        ([192, 0, 2, 7], "(cam.office.example [192.0.2.7])"),
        ([192, 0, 2, 8], "(unknown [192.0.2.8])"),
        ([192, 0, 2, 9], "(unknown [192.0.2.9])"),
        ([127, 0, 0, 1], "(localhost [127.0.0.1])"),
        // Nothing is ever said about this one.
        ([192, 0, 2, 10], "(unknown [192.0.2.10])"),
    ]
    .into_iter()
    .enumerate()
    {
        let begun = Instant::now();
        let said = session(
            service.address,
            client,
            &format!(
                "EHLO me.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@nas.lan>\r\nDATA\r\n\
                 Subject: {at}\r\n\r\nhi\r\n.\r\n\
                 MAIL FROM:<a@x.example>\r\nRCPT TO:<b@nas.lan>\r\nDATA\r\n\
                 Subject: again {at}\r\n\r\nhi\r\n.\r\nQUIT\r\n"
            ),
        );
        assert_eq!(said.matches("\r\n250 2.6.0 ").count(), 2, "{said}");
        // The name server has a minute for each of its tries.
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
        service.completed(2 * (at + 1));
        for subject in [format!("{at}"), format!("again {at}")] {
            let text = dropped(&service, &subject);
            assert!(
                text.contains(&format!("Received: from me.example {want}\r\n")),
                "{text}"
            );
        }
    }
    service.stop();
}

/// Runs a command of the program as this user and group, its own when `None`; exit code and what it said.
fn ask(service: &Mailroot, who: Option<(u32, u32)>, words: &[&str]) -> (i32, String) {
    let mut command = on(&service.home, words);
    if let Some((uid, gid)) = who {
        command.uid(uid).gid(gid);
    }
    let (status, text) = run(&mut command, b"");
    (status.code().unwrap_or(-1), text)
}

/// Whether a process of another user can be made here, and can reach the program and the home.
fn other_users(service: &Mailroot) -> bool {
    let reaches = |path: &Path| {
        let modes = path
            .ancestors()
            .skip(1)
            .filter_map(|dir| dir.metadata().ok());
        modes
            .into_iter()
            .all(|meta| meta.permissions().mode() & 1 != 0)
    };
    let here = rustix::process::geteuid().is_root()
        && reaches(Path::new(MAILROOT))
        && reaches(&service.home.join("control.sock"));
    if !here {
        println!("skipped: other users need root and a path that they may enter");
    }
    here
}

#[test]
fn operators_change_things_and_readers_look_and_strangers_hear_why_not() {
    let folder = Folder::new("operators");
    let text =
        "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nhosts = ['127.0.0.1:9']\ntls = 'off'\n";
    let service = service(&folder, text);
    let socket = service.home.join("control.sock");
    let mode = || std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let mut talk = service.client("x");
    let reply = talk.send(
        "a@x.example",
        &["b@else.example"],
        "Subject: x\r\n\r\nhi\r\n",
    );
    let id = reply.split(' ').nth(2).unwrap().to_owned();
    assert_eq!(ask(&service, None, &["queue", "hold", &id]).0, 0);
    service.wait_for("the order is told", |l| {
        l.contains("ordered uid=") && l.contains(&format!("queue hold {id}"))
    });
    let others = other_users(&service);
    let (nobody, group) = (4_000_000_001, 4_000_000_002);
    if others {
        let (code, said) = ask(&service, Some((nobody, nobody)), &["status"]);
        assert_eq!(code, 77, "{said}");
        assert!(said.contains("[operators]"), "{said}");
    }
    // A reload is enough to let others in.
    let configuration = std::fs::read_to_string(folder.path().join("mailroot.toml")).unwrap();
    folder.file(
        "mailroot.toml",
        format!("{configuration}[operators]\ngroups = ['{group}']\nreaders = ['{nobody}']\n"),
    );
    assert_eq!(ask(&service, None, &["reload"]).0, 0);
    assert_eq!(mode(), 0o666);
    if others {
        let reader = Some((nobody, nobody));
        for words in [
            &["status"][..],
            &["status", "--json"],
            &["queue", "list"],
            &["queue", "show", &id],
            &["badmail", "list"],
        ] {
            let (code, said) = ask(&service, reader, words);
            assert_eq!(code, 0, "{words:?}: {said}");
        }
        for words in [
            &["reload"][..],
            &["queue", "retry"],
            &["queue", "remove", &id],
            &["queue", "release", &id],
            &["badmail", "remove", "1"],
        ] {
            let (code, said) = ask(&service, reader, words);
            assert_eq!(code, 77, "{words:?}: {said}");
            assert!(said.contains("may look and change nothing"), "{said}");
        }
        let (code, said) = ask(&service, Some((4_000_000_003, nobody)), &["status"]);
        assert_eq!(code, 77, "{said}");
        assert!(
            said.contains("user 4000000003 is no operator of this service"),
            "{said}"
        );
        let (code, said) = ask(
            &service,
            Some((4_000_000_003, group)),
            &["queue", "remove", &id],
        );
        assert_eq!(code, 0, "{said}");
        service.wait_for("who did it is told", |l| {
            l.contains("ordered uid=4000000003") && l.contains("queue remove")
        });
        service.wait_for("who tried is told", |l| {
            l.contains("order-refused uid=4000000001") && l.contains("queue remove")
        });
    }
    service.stop();
}

#[test]
fn operators_who_say_nothing_or_take_nothing_keep_nobody_waiting() {
    let folder = Folder::new("slow-operators");
    let service = service(&folder, "[[listen]]\naddress = '127.0.0.1:0'\n");
    let connect = || UnixStream::connect(service.home.join("control.sock")).unwrap();
    // Half the places: one at a time served them before.
    let mut silent: Vec<UnixStream> = (0..4).map(|_| connect()).collect();
    for stream in &mut silent[..2] {
        stream.write_all(b"stat").unwrap();
    }
    let begun = Instant::now();
    let (code, said) = ask(&service, None, &["status"]);
    assert_eq!(code, 0, "{said}");
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    // All places and more: they are thrown out, and then it goes on.
    silent.extend((0..6).map(|_| connect()));
    let (code, said) = ask(&service, None, &["status"]);
    assert_eq!(code, 0, "{said}");
    let mut long = connect();
    long.write_all(&[b'x'; 5000]).unwrap();
    let mut text = String::new();
    let _ = long.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("refused\n"), "{text}");
    service.stop();
}

#[test]
fn a_listener_does_without_extensions_that_its_clients_use_wrongly() {
    let folder = Folder::new("without");
    let text = "[[listen]]\naddress = '127.0.0.1:0'\nwithout = ['CHUNKING', 'dsn', 'SMTPUTF8', 'LIMITS', 'ETRN']\n\
                [access]\netrn = ['127.0.0.0/8']\n";
    let service = service(&folder, &text.replace("dsn", "DSN"));
    let mut talk = Talk::connect(service.address);
    let offered = talk.say("EHLO x");
    for name in [
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "SMTPUTF8",
        "LIMITS",
        "ETRN",
    ] {
        assert!(!offered.contains(name), "{offered}");
    }
    assert!(
        offered.contains("PIPELINING") && offered.contains("8BITMIME"),
        "{offered}"
    );
    assert!(
        talk.say("MAIL FROM:<a@x.example> RET=HDRS")
            .starts_with("555 ")
    );
    assert!(talk.say("ETRN x.example").starts_with("502 "));
    assert!(talk.say("MAIL FROM:<a@x.example>").starts_with("250 "));
    assert!(talk.say("RCPT TO:<b@x.example>").starts_with("250 "));
    assert!(talk.say("BDAT 0 LAST").starts_with("502 "));
    service.stop();
}
