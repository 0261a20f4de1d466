//! Every way in which a peer misbehaves, at every phase of a session, on virtual time: what becomes of each recipient,
//! against `tests/dialogs_out/matrix.txt`. After that a good peer gets what is left, and the books are checked: nothing
//! is lost, and nothing arrives twice but where the peer had a message and never said so.
#![cfg(test)]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use mailroot::base::Tick;
use mailroot::mail::{Address, Domain, Envelope, Outcome, Recipient};
use mailroot::smtp::client::Client;
use mailroot::smtp::client::order::Order;
use mailroot::smtp::client::settings::{Login, Secret, Settings};
use mailroot::smtp::client::transfer::Message;

/// Where the peer misbehaves: at what it was just sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Ehlo,
    StartTls,
    /// After the handshake.
    Ehlo2,
    Auth,
    Mail,
    /// RCPT of the second of three recipients.
    Rcpt,
    Data,
    /// In the middle of the message.
    Body,
    Dot,
    /// MAIL of the second message.
    Mail2,
    Quit,
    Never,
}

const PHASES: &[Phase] = &[
    Phase::Greeting,
    Phase::Ehlo,
    Phase::StartTls,
    Phase::Ehlo2,
    Phase::Auth,
    Phase::Mail,
    Phase::Rcpt,
    Phase::Data,
    Phase::Body,
    Phase::Dot,
    Phase::Mail2,
    Phase::Quit,
];

/// What it does instead of the right reply.
const DEEDS: &[&str] = &[
    "drop",
    "half a line",
    "silent",
    "late",
    "slow",
    "dribble",
    "multi-line",
    "endless",
    "garbage",
    "binary",
    "4xx",
    "5xx",
    "421",
    "421 drop",
    "wrong 2xx",
    "wrong 3xx",
    "twice",
];

/// How the two sides talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    OneByOne,
    Pipelined,
    Chunked,
}

enum Event {
    Bytes(Vec<u8>),
    Close,
}

/// A peer in memory that does one thing wrong.
struct Peer {
    manner: Manner,
    at: Phase,
    deed: &'static str,
    /// It did it.
    done: bool,
    now: Tick,
    events: VecDeque<(Tick, Event)>,
    /// The other end of the connection is gone; nothing that is written arrives.
    closed: bool,
    /// It says nothing more.
    mute: bool,
    line: Vec<u8>,
    tls: bool,
    message: usize,
    recipients: Vec<String>,
    /// MAIL was accepted.
    open: bool,
    /// The message is being sent: the bytes left of it, or none for DATA.
    body: Option<Option<usize>>,
    /// What it has taken responsibility for, by message and recipient.
    books: BTreeMap<(usize, String), usize>,
}

impl Peer {
    fn new(manner: Manner, at: Phase, deed: &'static str, now: Tick) -> Self {
        let mut peer = Self {
            manner,
            at,
            deed,
            done: false,
            now,
            events: VecDeque::new(),
            closed: false,
            mute: false,
            line: Vec::new(),
            tls: false,
            message: 0,
            recipients: Vec::new(),
            open: false,
            body: None,
            books: BTreeMap::new(),
        };
        peer.answer(Phase::Greeting, "220 smtp.example.net ready");
        peer
    }

    fn send(&mut self, after: Duration, bytes: impl Into<Vec<u8>>) {
        if !self.closed && !self.mute {
            let at = self.now.after(after);
            self.events.push_back((at, Event::Bytes(bytes.into())));
        }
    }

    fn close(&mut self) {
        if !self.closed {
            self.events.push_back((self.now, Event::Close));
            self.closed = true;
        }
    }

    /// The right reply, or the deed. False when the client must think that this was refused.
    fn answer(&mut self, phase: Phase, right: &str) -> bool {
        let now = Duration::ZERO;
        if self.done || phase == Phase::Never || phase != self.at {
            self.send(now, format!("{right}\r\n"));
            return true;
        }
        self.done = true;
        let code = right.get(..3).unwrap();
        match self.deed {
            "drop" => self.close(),
            "half a line" => {
                self.send(now, &right.as_bytes()[..2]);
                self.close();
            }
            "silent" => self.mute = true,
            "late" => {
                self.send(Duration::from_secs(3600), format!("{right}\r\n"));
                self.mute = true;
            }
            "slow" => {
                // Four fifths of the wait of this phase, in all.
                let text = format!("{right}\r\n");
                let most = if phase == Phase::Data { 96 } else { 240 };
                let count = u32::try_from(text.len()).unwrap();
                for (n, byte) in text.bytes().enumerate() {
                    let share = u32::try_from(n).unwrap();
                    self.send(Duration::from_secs(most) / count * share, vec![byte]);
                }
            }
            "dribble" => {
                for n in 0..1000 {
                    self.send(
                        Duration::from_secs(n * 50),
                        format!("{code}-still here\r\n"),
                    );
                }
                self.mute = true;
            }
            "multi-line" => {
                self.send(
                    now,
                    format!("{code}-first of all\r\n{code}-\r\n{right}\r\n"),
                );
            }
            "endless" => {
                self.send(now, format!("{code}-more\r\n").repeat(1000));
                self.mute = true;
            }
            "garbage" => {
                self.send(now, "HTTP/1.1 400 Bad Request\r\n");
                return false;
            }
            "binary" => {
                self.send(now, vec![0, 159, 146, 150, b'\r', b'\n', 0xff, b'\n']);
                return false;
            }
            "4xx" => {
                self.send(now, "450 4.2.0 not now\r\n");
                return false;
            }
            "5xx" => {
                self.send(now, "550 5.1.0 no\r\n");
                return false;
            }
            "421" => {
                self.send(now, "421 4.3.2 going down\r\n");
                self.mute = true;
                return false;
            }
            "421 drop" => {
                self.send(now, "421 4.3.2 going down\r\n");
                self.close();
                return false;
            }
            "wrong 2xx" => self.send(now, "214 help\r\n"),
            "wrong 3xx" => {
                self.send(now, "354 go ahead\r\n");
                return false;
            }
            "twice" => self.send(now, format!("{right}\r\n{right}\r\n")),
            other => panic!("{other}"),
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.closed {
                return;
            }
            if let Some(Some(left)) = &mut self.body {
                *left -= 1;
                let over = *left == 0;
                self.in_body();
                if over {
                    self.body_over();
                }
                continue;
            }
            self.line.push(byte);
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8(line).unwrap().trim_end().to_owned();
                self.on_line(&line);
            }
        }
    }

    fn on_line(&mut self, line: &str) {
        if self.body.is_some() {
            if line == "." {
                self.body_over();
            } else {
                self.in_body();
            }
            return;
        }
        let verb = line.split(' ').next().unwrap();
        match verb {
            "EHLO" => {
                let phase = if self.tls { Phase::Ehlo2 } else { Phase::Ehlo };
                let mut lines = String::from("250-smtp.example.net\r\n");
                if self.manner != Manner::OneByOne {
                    lines += "250-PIPELINING\r\n";
                }
                if self.manner == Manner::Chunked {
                    lines += "250-CHUNKING\r\n";
                }
                lines += if self.tls {
                    "250 AUTH PLAIN"
                } else {
                    "250 STARTTLS"
                };
                self.answer(phase, &lines);
            }
            "HELO" => {
                self.answer(Phase::Never, "250 smtp.example.net");
            }
            "STARTTLS" => {
                self.answer(Phase::StartTls, "220 2.0.0 go");
            }
            "AUTH" => {
                self.answer(Phase::Auth, "235 2.7.0 welcome");
            }
            "MAIL" => {
                let number = line.split(['<', '@']).nth(1).unwrap();
                self.message = number.parse().unwrap();
                self.recipients.clear();
                let phase = if self.message == 0 {
                    Phase::Mail
                } else {
                    Phase::Mail2
                };
                self.open = self.answer(phase, "250 2.1.0 ok");
            }
            "RCPT" | "DATA" if !self.open => {
                self.answer(Phase::Never, "503 5.5.1 MAIL first");
            }
            "RCPT" => {
                let to = line.split(['<', '>']).nth(1).unwrap().to_owned();
                let second = self.message == 0 && to.starts_with('b');
                let phase = if second { Phase::Rcpt } else { Phase::Never };
                if self.answer(phase, "250 2.1.5 ok") {
                    self.recipients.push(to);
                }
            }
            "DATA" if self.recipients.is_empty() => {
                self.answer(Phase::Never, "554 5.5.1 no recipients");
            }
            "DATA" => {
                let phase = if self.message == 0 {
                    Phase::Data
                } else {
                    Phase::Never
                };
                let yes = self.answer(phase, "354 go");
                if yes || self.deed == "wrong 3xx" {
                    self.body = Some(None);
                }
            }
            "BDAT" => self.body = Some(Some(line.split(' ').nth(1).unwrap().parse().unwrap())),
            "RSET" => {
                self.recipients.clear();
                self.answer(Phase::Never, "250 2.0.0 ok");
            }
            "QUIT" => {
                self.answer(Phase::Quit, "221 2.0.0 bye");
                self.close();
            }
            other => panic!("{other:?} was not expected"),
        }
    }

    /// Somewhere in the message: what a peer says here comes out of turn.
    fn in_body(&mut self) {
        if self.at == Phase::Body && !self.done {
            // It has not got all of it, and keeps nothing.
            self.recipients.clear();
            self.answer(Phase::Body, "451 4.3.0 trouble");
            if matches!(self.deed, "silent" | "late" | "dribble" | "endless") {
                self.mute = true;
            }
        }
    }

    fn body_over(&mut self) {
        self.body = None;
        if self.at == Phase::Body && self.message == 0 {
            // It said what it had to say.
            return;
        }
        let phase = if self.message == 0 {
            Phase::Dot
        } else {
            Phase::Never
        };
        if self.answer(phase, "250 2.0.0 queued") {
            for to in std::mem::take(&mut self.recipients) {
                *self.books.entry((self.message, to)).or_default() += 1;
            }
        }
    }
}

/// What became of a session: an outcome for each recipient of each message that was given, or of the route.
struct Session {
    outcomes: Vec<(usize, Vec<(String, Outcome)>)>,
    refused: Option<Outcome>,
    peer: Peer,
    took: Duration,
}

/// A message with these recipients, told apart by its sender.
fn message(number: usize, to: &[String]) -> Message {
    Message {
        envelope: Envelope {
            sender: Some(Address::parse(&format!("{number}@nas.lan")).unwrap()),
            recipients: to
                .iter()
                .map(|to| Recipient::new(Address::parse(to).unwrap()))
                .collect(),
            ..Envelope::default()
        },
        size: BODY.len() as u64,
    }
}

const BODY: &[u8] = b"Subject: x\r\n\r\nfirst line\r\n.\r\nlast line\r\n";

fn session(mut peer: Peer, give: &[(usize, Vec<String>)]) -> Session {
    let start = peer.now;
    let host = "smtp.example.net [192.0.2.25]".to_owned();
    let mut settings = Settings::new(Domain::parse("nas.lan").unwrap(), host);
    settings.login = Some(Login::new(
        "tim".to_owned(),
        Secret::Password("x".to_owned()),
    ));
    let mut client = Client::new(settings, false, "nonce".to_owned());
    let mut waiting: VecDeque<_> = give.iter().cloned().collect();
    let (mut current, mut outcomes, mut refused) = (None, Vec::new(), None);
    let mut input: Vec<u8> = Vec::new();
    for _ in 0..100_000 {
        let mut rest = input.as_slice();
        let order = client.next_order(peer.now, &mut rest);
        match order {
            Order::Send(bytes) => {
                let bytes = bytes.to_vec();
                let gone = peer.closed && peer.events.is_empty();
                peer.take(&bytes);
                if gone {
                    client.on_write_failed();
                }
            }
            Order::Read(deadline) => match peer.events.front() {
                Some((at, _)) if *at <= deadline => {
                    let (at, event) = peer.events.pop_front().unwrap();
                    peer.now = peer.now.max(at);
                    match event {
                        Event::Bytes(bytes) => input = bytes,
                        Event::Close => {
                            input.clear();
                            client.on_closed();
                        }
                    }
                    continue;
                }
                _ => {
                    peer.now = deadline;
                    client.on_deadline();
                }
            },
            Order::StartTls => {
                client.on_tls();
                peer.tls = true;
            }
            Order::Ready => {
                // A farewell that came meanwhile is seen before the next message is given.
                match peer.events.front() {
                    Some((at, Event::Close)) if *at <= peer.now => {
                        peer.events.pop_front();
                        client.on_closed();
                    }
                    Some((at, Event::Bytes(_))) if *at <= peer.now => {
                        let Some((_, Event::Bytes(bytes))) = peer.events.pop_front() else {
                            unreachable!()
                        };
                        input = bytes;
                        continue;
                    }
                    _ => match waiting.pop_front() {
                        Some((number, to)) => {
                            client.on_message(message(number, &to));
                            current = Some((number, to));
                        }
                        None => client.on_quit(),
                    },
                }
            }
            Order::SendBody {
                opening,
                mut stuffer,
            } => {
                let mut out = opening.to_vec();
                stuffer.push(BODY, &mut out);
                stuffer.end(&mut out);
                peer.take(&out);
                if peer.closed && peer.at == Phase::Body {
                    client.on_write_failed();
                } else {
                    client.on_body_sent();
                }
            }
            Order::Finished(list) => {
                let (number, to): (usize, Vec<String>) = current.take().unwrap();
                assert_eq!(list.len(), to.len(), "an outcome for each recipient");
                outcomes.push((number, to.into_iter().zip(list).collect()));
            }
            Order::Refused(outcome) => {
                assert!(outcomes.is_empty() && refused.is_none());
                refused = Some(outcome);
            }
            Order::Close => {
                assert!(current.is_none(), "a message was forgotten");
                let took = peer.now.since(start);
                return Session {
                    outcomes,
                    refused,
                    peer,
                    took,
                };
            }
        }
        input = rest.to_vec();
    }
    panic!("the session never ends");
}

fn letter(outcome: &Outcome) -> char {
    match outcome {
        Outcome::Done(_) => 'd',
        Outcome::Later(_) => 'l',
        Outcome::Never(_) => 'n',
        Outcome::Hold(_) => 'h',
    }
}

/// One session that goes wrong, and as many good ones as it takes; what the table says about it.
fn cell(manner: Manner, at: Phase, deed: &'static str) -> String {
    let about = format!("{manner:?} {at:?} {deed}");
    let to =
        |names: &str| -> Vec<String> { names.chars().map(|c| format!("{c}@x.example")).collect() };
    let all = vec![(0, to("abc")), (1, to("de"))];
    let start = Tick::from_millis(1000);
    let first = session(Peer::new(manner, at, deed, start), &all);

    let mut text = String::new();
    let mut left = Vec::new();
    let mut ends: BTreeMap<(usize, String), char> = BTreeMap::new();
    if let Some(refused) = &first.refused {
        write!(text, "-{}", letter(refused)).unwrap();
        assert!(
            matches!(refused, Outcome::Later(_) | Outcome::Hold(_)),
            "{about}"
        );
        assert!(
            first.outcomes.is_empty() && first.peer.books.is_empty(),
            "{about}"
        );
        left.clone_from(&all);
    } else {
        let mut given = Vec::new();
        for (number, outcomes) in &first.outcomes {
            if !text.is_empty() {
                text.push('.');
            }
            given.push(*number);
            let mut again = Vec::new();
            for (to, outcome) in outcomes {
                let end = letter(outcome);
                text.push(end);
                ends.insert((*number, to.clone()), end);
                if matches!(end, 'l' | 'h') {
                    again.push(to.clone());
                }
            }
            if !again.is_empty() {
                left.push((*number, again));
            }
        }
        // What was never given is as it was.
        left.extend(
            all.iter()
                .filter(|(number, _)| !given.contains(number))
                .cloned(),
        );
    }
    if first.took > Duration::ZERO {
        write!(text, "/{}", first.took.as_secs()).unwrap();
    }

    // It took the message, and its yes was lost, or came where nothing it says can be believed any more.
    let window = |number: usize| match at {
        Phase::Dot => number == 0,
        Phase::Mail | Phase::Rcpt | Phase::Data => number == 0 && deed == "twice",
        Phase::Mail2 => number == 1 && deed == "twice",
        _ => false,
    };
    let mut books = first.peer.books;
    for (key, end) in &ends {
        let taken = books.get(key).copied().unwrap_or(0);
        match end {
            'd' => assert_eq!(taken, 1, "{about}: {key:?} is done and was not taken"),
            'n' => assert_eq!(taken, 0, "{about}: {key:?} is reported and was taken"),
            // What was taken and not said: that is the window in which there may be two.
            _ => assert!(taken == 0 || window(key.0), "{about}: {key:?}"),
        }
    }
    if !left.is_empty() {
        let again = session(Peer::new(manner, Phase::Never, "", first.peer.now), &left);
        assert!(again.refused.is_none(), "{about}");
        for (number, outcomes) in &again.outcomes {
            for (to, outcome) in outcomes {
                assert_eq!(letter(outcome), 'd', "{about}");
                ends.insert((*number, to.clone()), 'd');
            }
        }
        for (key, count) in again.peer.books {
            *books.entry(key).or_default() += count;
        }
    }
    for (number, to) in &all {
        for to in to {
            let key = (*number, to.clone());
            let end = ends
                .get(&key)
                .unwrap_or_else(|| panic!("{about}: {key:?} is lost"));
            let taken = books.get(&key).copied().unwrap_or(0);
            let double = window(*number);
            let right = match end {
                'd' => taken == 1 || (taken == 2 && double),
                _ => taken == 0,
            };
            assert!(right, "{about}: {key:?} ends {end}, taken {taken} times");
        }
    }
    text
}

#[test]
fn each_misbehaviour_at_each_phase_ends_as_the_table_says() {
    let mut table = String::new();
    for manner in [Manner::OneByOne, Manner::Pipelined, Manner::Chunked] {
        write!(table, "{:11}", format!("{manner:?}")).unwrap();
        for phase in PHASES {
            // With BDAT there is neither DATA nor a reply in the middle.
            write!(table, " {:>10}", format!("{phase:?}")).unwrap();
        }
        table.push('\n');
        for deed in DEEDS {
            write!(table, "{deed:11}").unwrap();
            for &phase in PHASES {
                let skip = manner == Manner::Chunked && phase == Phase::Data;
                let cell = if skip {
                    "-".to_owned()
                } else {
                    cell(manner, phase, deed)
                };
                write!(table, " {cell:>10}").unwrap();
            }
            table.push('\n');
        }
        table.push('\n');
    }
    let path = "tests/dialogs_out/matrix.txt";
    let text = fs::read_to_string(path).unwrap();
    let (head, wanted) = text.split_once("\n\n").unwrap();
    if std::env::var_os("MAILROOT_WRITE_WANT").is_some() {
        fs::write(path, format!("{head}\n\n{table}")).unwrap();
        return;
    }
    assert!(wanted == table, "the table is now\n{table}");
}
