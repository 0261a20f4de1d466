//! Attacks on the real binary, in small: many idle connections, senders that never end, a crowd that takes every place.
//! What they cost is bounded, and honest mail passes meanwhile. In large: `tests/bench/hostile`.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Folder, Mailroot, PATIENCE, Talk};
use mailroot::base::limits;
use rustix::net::{AddressFamily, SocketType};

const TEXT: &str = "Subject: it works\r\n\r\nThe backup of tonight went well.\r\n";

/// A service with a local domain, where 127.0.0.1 may relay and the rest of the loopback network are strangers.
fn service(folder: &Folder, limits: &[&str]) -> Mailroot {
    let mut args = vec!["--local", "nas.lan", "--set", "access.relay=127.0.0.1/32"];
    for limit in limits {
        args.extend(["--set", limit]);
    }
    Mailroot::start(&folder.home(), &args)
}

/// Connects from this address of the loopback network.
fn connect(service: &Mailroot, from: [u8; 4]) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let from = SocketAddr::from((IpAddr::V4(Ipv4Addr::from(from)), 0));
    rustix::net::bind(&socket, &from).unwrap();
    rustix::net::connect(&socket, &service.address).unwrap();
    TcpStream::from(socket)
}

/// The n-th stranger; each of them has some ten connections.
fn stranger(n: usize) -> [u8; 4] {
    [127, 1, 0, u8::try_from(1 + n / 10).unwrap()]
}

/// A session of the n-th stranger, greeted.
fn session(service: &Mailroot, n: usize) -> Talk {
    let mut talk = Talk::over(connect(service, stranger(n)));
    let greeting = talk.reply();
    assert!(greeting.starts_with("220"), "{n}: {greeting}");
    talk.say("EHLO attacker.example");
    talk
}

/// Sends an honest message from there; how long it took, from connecting on.
fn honest(service: &Mailroot, from: [u8; 4]) -> Duration {
    let start = Instant::now();
    let mut talk = Talk::over(connect(service, from));
    let greeting = talk.reply();
    assert!(greeting.starts_with("220"), "{greeting}");
    talk.say("EHLO honest.example");
    let reply = talk.send("a@x.example", &["b@nas.lan"], TEXT);
    assert!(reply.starts_with("250"), "{reply}");
    start.elapsed()
}

const FRIEND: [u8; 4] = [127, 0, 0, 1];
const STRANGER: [u8; 4] = [127, 2, 0, 1];

/// Memory of its own, in bytes.
fn memory(service: &Mailroot) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// What the service needs while it takes a few messages in, beside what is measured.
const MARGIN: usize = 2 * 1024 * 1024;

#[test]
fn an_idle_connection_costs_less_than_16_kib() {
    const COUNT: usize = 300;
    let folder = Folder::new("hostile-idle");
    let service = service(&folder, &[]);
    let few: Vec<Talk> = (0..20).map(|n| session(&service, n)).collect();
    let before = memory(&service);
    let many: Vec<Talk> = (0..COUNT).map(|n| session(&service, 20 + n)).collect();
    let each = memory(&service).saturating_sub(before) / COUNT;
    println!("one more open connection: {each} bytes in this build");
    assert!(each < 16 * 1024, "{each} bytes");
    for from in [FRIEND, STRANGER] {
        println!("honest mail meanwhile: {:?}", honest(&service, from));
    }
    drop((few, many));
    service.stop();
}

#[test]
fn when_every_place_is_taken_the_silent_make_room_for_mail() {
    let folder = Folder::new("hostile-full");
    let service = service(&folder, &["limits.connections=20"]);
    // The first one sends a message, too slowly to be of use.
    let mut drip = session(&service, 0);
    for line in ["MAIL FROM:<a@x.example>", "RCPT TO:<b@nas.lan>", "DATA"] {
        drip.say(line);
    }
    drip.raw(b"S");
    let mut idle: Vec<Talk> = (1..20).map(|n| session(&service, n)).collect();
    drip.raw(b"u");

    // A stranger hears at once that there is no room.
    let start = Instant::now();
    let mut refused = Talk::over(connect(&service, STRANGER));
    let said = refused.reply();
    assert!(said.starts_with("421 4.3.2 Too many connections"), "{said}");
    println!("refused after {:?}", start.elapsed());

    // Who may relay needs not wait until somebody has been silent for long.
    println!("a friend's mail: {:?}", honest(&service, FRIEND));
    let said = drip.rest();
    assert!(said.starts_with("421 4.3.2"), "it went first: {said}");
    service.wait_for("it is told", |l| {
        l.contains("client-refused") && l.contains("its place went to another")
    });

    // The place is free again; with it taken, a stranger gets the next one when somebody has been silent for long.
    idle.push(session(&service, 20));
    let start = Instant::now();
    let greeting = loop {
        let greeting = Talk::over(connect(&service, STRANGER)).reply();
        if !greeting.starts_with("421") {
            break greeting;
        }
        assert!(start.elapsed() < PATIENCE, "nobody went");
        // Whose turn it is to go says nothing and hears nothing until it has been silent for long.
        idle[0].hears_nothing_for(limits::IDLE_GOES);
    };
    assert!(greeting.starts_with("220"), "{greeting}");
    println!("a stranger's turn came after {:?}", start.elapsed());
    let said = idle.remove(0).rest();
    assert!(said.starts_with("421 4.3.2"), "{said}");
    service.stop();
}

/// Writes the same again and again, and reads whatever comes, until it is stopped or thrown out.
struct Flood {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flood {
    fn start(talk: Talk, text: Vec<u8>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut stream = talk.into_stream().into_inner();
            stream.set_nonblocking(true).unwrap();
            let (mut sent, mut at, mut trash) = (0, 0, [0; 4096]);
            while !stop.load(Ordering::Relaxed) {
                match stream.read(&mut trash) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                match stream.write(&text[at..]) {
                    Ok(count) => {
                        at = (at + count) % text.len();
                        sent += u64::try_from(count).unwrap();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(_) => break,
                }
            }
            sent
        });
        Self { over, thread }
    }

    /// Stops; how much was sent.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn senders_that_never_end_starve_nobody_and_fill_no_memory() {
    let folder = Folder::new("hostile-endless");
    let service = service(&folder, &["limits.message_bytes=1MB"]);
    let line = vec![b'x'; 65536];
    let body = "y".repeat(70) + "\r\n";
    let body = body.repeat(900).into_bytes();
    let mut recipients = String::new();
    for n in 0..2000 {
        recipients += &format!("RCPT TO:<x{n}@nas.lan>\r\n");
    }
    honest(&service, FRIEND);
    let before = memory(&service);
    let floods: Vec<Flood> = (0..6)
        .map(|n| {
            let mut talk = session(&service, n);
            let text = match n % 3 {
                0 => line.clone(),
                1 => {
                    talk.say("MAIL FROM:<a@x.example>");
                    recipients.clone().into_bytes()
                }
                _ => {
                    talk.say("MAIL FROM:<a@x.example>");
                    talk.say("RCPT TO:<b@nas.lan>");
                    talk.say("DATA");
                    body.clone()
                }
            };
            Flood::start(talk, text)
        })
        .collect();
    let mut most = 0;
    for _ in 0..5 {
        for from in [FRIEND, STRANGER] {
            println!("honest mail meanwhile: {:?}", honest(&service, from));
            most = memory(&service).max(most);
        }
    }
    let sent: Vec<u64> = floods.into_iter().map(Flood::stop).collect();
    println!("sent meanwhile: {sent:?} bytes");
    let bound = 6 * (16 + 64) * 1024 + limits::DRAFT_MEMORY + limits::ENVELOPES + MARGIN;
    let grown = most.saturating_sub(before);
    println!("grown by {grown} bytes, at most {bound}");
    assert!(grown < bound, "{grown} bytes");
    service.stop();
}

#[test]
fn a_message_far_over_the_limit_is_read_to_its_end_and_leaves_nothing() {
    let folder = Folder::new("hostile-large");
    let service = service(&folder, &["limits.message_bytes=1MB"]);
    let mut talk = session(&service, 0);
    let said = talk.say("MAIL FROM:<a@x.example> SIZE=1073741824");
    assert!(said.starts_with("552 5.3.4"), "{said}");
    for line in ["MAIL FROM:<a@x.example>", "RCPT TO:<b@nas.lan>", "DATA"] {
        talk.say(line);
    }
    let before = memory(&service);
    let block = ("z".repeat(998) + "\r\n").repeat(1000);
    for _ in 0..50 {
        talk.raw(block.as_bytes());
    }
    let grown = memory(&service).saturating_sub(before);
    let said = talk.say(".");
    assert!(said.starts_with("552 5.3.4"), "{said}");
    assert!(grown < MARGIN, "{grown} bytes");
    for left in ["sorttemp", "queue"] {
        let folder = service.home.join(left);
        let sizes = fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            entry.metadata().unwrap().len()
        });
        let size: u64 = sizes.sum();
        assert!(size < 4 * 1024 * 1024, "{left}: {size} bytes are left");
    }
    // The dialog is in step.
    let said = talk.send("a@x.example", &["b@nas.lan"], TEXT);
    assert!(said.starts_with("250"), "{said}");
    service.stop();
}

#[test]
fn greedy_lists_of_recipients_share_one_limit() {
    let folder = Folder::new("hostile-recipients");
    let service = service(&folder, &[]);
    let mut lines = String::new();
    for n in 0..1000 {
        lines += &format!("RCPT TO:<somebody.or.other.{n}@nas.lan>\r\n");
    }
    let before = memory(&service);
    let mut sessions = Vec::new();
    let mut taken = Vec::new();
    for n in 0..20 {
        let mut talk = session(&service, n);
        talk.say("MAIL FROM:<a@x.example>");
        talk.raw(lines.as_bytes());
        let replies: Vec<String> = (0..1000).map(|_| talk.reply()).collect();
        let good = replies.iter().filter(|r| r.starts_with("250")).count();
        let later = replies.iter().filter(|r| r.starts_with("452 4.5.3"));
        assert_eq!(good + later.count(), 1000);
        taken.push(good);
        sessions.push(talk);
    }
    let grown = memory(&service).saturating_sub(before);
    println!("recipients taken: {taken:?}; grown by {grown} bytes");
    assert_eq!(taken.first(), Some(&1000), "who comes alone is not limited");
    assert_eq!(taken.last(), Some(&limits::RECIPIENTS_ALWAYS));
    assert!(
        grown < limits::ENVELOPES + 20 * 16 * 1024 + MARGIN,
        "{grown}"
    );
    honest(&service, STRANGER);
    // What they had is free with the next message.
    for talk in &mut sessions {
        talk.say("RSET");
        talk.say("MAIL FROM:<a@x.example>");
    }
    let mut talk = session(&service, 0);
    talk.say("MAIL FROM:<a@x.example>");
    talk.raw(lines.as_bytes());
    assert!((0..1000).all(|_| talk.reply().starts_with("250")));
    service.stop();
}
