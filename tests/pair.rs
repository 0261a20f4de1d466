//! Our client against our server, joined in memory, with a clock of their own; and noise for both.
#![cfg(test)]

#[path = "../src/base/dice.rs"]
mod dice;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::rc::Rc;

use dice::Dice;
use mailroot::base::{MsgId, Tick};
use mailroot::mail::envelope::Body;
use mailroot::mail::{Address, Domain, Envelope, Outcome, Recipient};
use mailroot::smtp::client::settings::{Login, Secret, StartTls};
use mailroot::smtp::client::transfer::Message;
use mailroot::smtp::client::{self, Client};
use mailroot::smtp::data::{Data, Piece};
use mailroot::smtp::fault::Fault;
use mailroot::smtp::reply::ReplyLines;
use mailroot::smtp::sasl::Verifier;
use mailroot::smtp::server::{self, Server};

struct Pair {
    client: Client,
    server: Server,
    to_client: VecDeque<u8>,
    to_server: VecDeque<u8>,
    /// Blocks cut off the queues and not yet taken whole.
    client_block: Vec<u8>,
    server_block: Vec<u8>,
    dice: Dice,
    messages: VecDeque<(Message, Vec<u8>)>,
    body: Vec<u8>,
    draft: Vec<u8>,
    stored: Vec<(Envelope, Vec<u8>)>,
    outcomes: Vec<Vec<Outcome>>,
    refused: Vec<Outcome>,
    handshakes: (bool, bool),
    /// What each side sees of the TLS connection for SCRAM-PLUS.
    exporters: Option<([u8; 32], [u8; 32])>,
    /// Writes of each side.
    sends: (usize, usize),
    now: Tick,
}

impl Pair {
    fn new(client: client::settings::Settings, server: server::settings::Settings) -> Self {
        let now = Tick::from_millis(0);
        Self {
            client: Client::new(client, false, "nonce-of-the-client".to_owned()),
            server: Server::new(Rc::new(server), None, false, now),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            client_block: Vec::new(),
            server_block: Vec::new(),
            dice: Dice::new(7),
            messages: VecDeque::new(),
            body: Vec::new(),
            draft: Vec::new(),
            stored: Vec::new(),
            outcomes: Vec::new(),
            refused: Vec::new(),
            handshakes: (false, false),
            exporters: None,
            sends: (0, 0),
            now,
        }
    }

    /// Runs until both sides have closed.
    fn run(&mut self) {
        let (mut client_open, mut server_open) = (true, true);
        while client_open || server_open {
            let before = (self.sends, self.handshakes);
            client_open = client_open && self.client_turn();
            server_open = server_open && self.server_turn();
            if self.handshakes == (true, true) {
                self.handshakes = (false, false);
                self.client.on_tls();
                self.server.on_tls();
                if let Some((client, server)) = self.exporters {
                    self.client.on_exporter(client);
                    self.server.on_exporter(server);
                }
            } else if !client_open && self.to_server.is_empty() && self.server_block.is_empty() {
                self.server.on_closed();
            } else if !server_open && self.to_client.is_empty() && self.client_block.is_empty() {
                self.client.on_closed();
            } else {
                let idle = before == (self.sends, self.handshakes)
                    && self.to_client.is_empty()
                    && self.to_server.is_empty();
                assert!(!idle, "both wait");
            }
        }
    }

    /// Until it wants to read what is not there; false when it has closed.
    fn client_turn(&mut self) -> bool {
        use client::order::Order;
        while !self.handshakes.0 {
            let block = std::mem::take(&mut self.client_block);
            let mut input = block.as_slice();
            match self.client.next_order(self.now, &mut input) {
                Order::Send(bytes) => {
                    self.sends.0 += 1;
                    self.to_server.extend(bytes);
                }
                Order::Read(_) => {
                    assert!(input.is_empty());
                    let length = (1 + self.dice.pick(200)).min(self.to_client.len());
                    self.client_block = self.to_client.drain(..length).collect();
                    if length == 0 {
                        return true;
                    }
                    continue;
                }
                Order::StartTls => {
                    self.handshakes.0 = true;
                    return true;
                }
                Order::Ready => match self.messages.pop_front() {
                    Some((message, body)) => {
                        self.body = body;
                        self.client.on_message(message);
                    }
                    None => self.client.on_quit(),
                },
                Order::SendBody {
                    opening,
                    mut stuffer,
                } => {
                    let mut out = opening.to_vec();
                    for block in self.body.chunks(100) {
                        stuffer.push(block, &mut out);
                    }
                    stuffer.end(&mut out);
                    self.sends.0 += 1;
                    self.to_server.extend(out);
                    self.client.on_body_sent();
                }
                Order::Finished(outcomes) => self.outcomes.push(outcomes),
                Order::Refused(outcome) => self.refused.push(outcome),
                Order::Close => return false,
            }
            self.client_block = input.to_vec();
        }
        true
    }

    fn server_turn(&mut self) -> bool {
        use server::Order;
        while !self.handshakes.1 {
            let block = std::mem::take(&mut self.server_block);
            let mut input = block.as_slice();
            match self.server.next_order(self.now, &mut input) {
                Order::Send(bytes) => {
                    self.sends.1 += 1;
                    self.to_client.extend(bytes);
                }
                Order::Read(_) => {
                    assert!(input.is_empty());
                    let length = (1 + self.dice.pick(200)).min(self.to_server.len());
                    self.server_block = self.to_server.drain(..length).collect();
                    if length == 0 {
                        return true;
                    }
                    continue;
                }
                Order::AskRcpt { recipient, .. } if recipient.address.local() == "nobody" => {
                    self.server.on_verdict(Err(Fault::NoMailbox));
                }
                Order::AskMail { .. } | Order::AskRcpt { .. } | Order::Begin { .. } => {
                    self.server.on_verdict(Ok(()));
                }
                Order::Body(bytes) => self.draft.extend_from_slice(bytes),
                Order::Commit { envelope, .. } => {
                    self.stored
                        .push((envelope.clone(), std::mem::take(&mut self.draft)));
                    self.server.on_stored(Ok(MsgId::from_number(1)));
                }
                Order::Abort => self.draft.clear(),
                Order::StartTls => {
                    self.handshakes.1 = true;
                    return true;
                }
                Order::CheckPassword { name, password } => {
                    let right = (name, password) == ("tim", "pass, word=");
                    let verdict = if right {
                        Ok(())
                    } else {
                        Err(Fault::AuthFailed)
                    };
                    self.server.on_verdict(verdict);
                }
                Order::FindVerifier { name } => {
                    let rounds = NonZeroU32::new(4096).unwrap();
                    let verifier = match name {
                        "tim" => Verifier::derive("pass, word=", b"salt", rounds),
                        name => Verifier::decoy(name, b"secret"),
                    };
                    self.server.on_verifier(verifier, "nonce-of-the-server");
                }
                Order::Close => return false,
                other => panic!("{other:?}"),
            }
            self.server_block = input.to_vec();
        }
        true
    }
}

fn settings() -> (client::settings::Settings, server::settings::Settings) {
    let name = Domain::parse("nas.lan").unwrap();
    let mut client = client::settings::Settings::new(name.clone(), "peer".to_owned());
    client.starttls = StartTls::Never;
    (client, server::settings::Settings::new(name))
}

fn message(to: &[String], body: &[u8]) -> (Message, Vec<u8>) {
    let envelope = Envelope {
        sender: Some(Address::parse("root@nas.lan").unwrap()),
        recipients: to
            .iter()
            .map(|to| Recipient::new(Address::parse(to).unwrap()))
            .collect(),
        body: Body::Eight,
        envid: Some("id+2B1".to_owned()),
        ..Envelope::default()
    };
    let size = body.len() as u64;
    (Message { envelope, size }, body.to_vec())
}

#[test]
fn what_goes_in_comes_out() {
    for (chunking, pipelining) in [(false, false), (false, true), (true, true)] {
        let (mut client, mut server) = settings();
        server.errors = 1000;
        (client.chunking, client.pipelining) = (chunking, pipelining);
        let mut pair = Pair::new(client, server);
        let mut dice = Dice::new(11);
        let mut sent = Vec::new();
        for _ in 0..30 {
            let mut body = Vec::new();
            for _ in 0..dice.pick(40) {
                let line = [b'.', b'a', b' ', b'\t', 0xff][dice.pick(5)];
                body.extend(std::iter::repeat_n(line, dice.pick(90)));
                body.extend(b"\r\n");
            }
            let to = [
                format!("u{}@x.example", dice.pick(9)),
                "nobody@x.example".to_owned(),
            ];
            let message = message(&to, &body);
            let mut envelope = message.0.envelope.clone();
            envelope.recipients.truncate(1);
            sent.push((envelope, body));
            pair.messages.push_back(message);
        }
        pair.run();
        assert!(pair.stored == sent, "what was stored differs");
        assert_eq!(pair.outcomes.len(), sent.len());
        for outcomes in pair.outcomes {
            assert!(matches!(
                &outcomes[..],
                [Outcome::Done(_), Outcome::Never(_)]
            ));
        }
    }
}

#[test]
fn a_pipelined_message_costs_two_writes_of_each_side() {
    let (client, server) = settings();
    let mut pair = Pair::new(client, server);
    pair.dice = Dice::new(1);
    for _ in 0..10 {
        let to = ["a@x.example".to_owned()];
        pair.messages.push_back(message(&to, b"hi\r\n"));
    }
    pair.run();
    // EHLO and QUIT besides.
    assert_eq!(pair.sends.0, 2 + 2 * 10);
}

#[test]
fn many_recipients_go_in_bounded_writes_and_several_transactions() {
    let (mut client, mut server) = settings();
    client.recipients = 2000;
    server.recipients = 300;
    server.extensions.limits = false;
    server.errors = 1000;
    let mut pair = Pair::new(client, server);
    let to: Vec<String> = (0..1000).map(|n| format!("user{n}@x.example")).collect();
    pair.messages.push_back(message(&to, b"hi\r\n"));
    pair.run();
    let taken: Vec<usize> = pair
        .stored
        .iter()
        .map(|(e, _)| e.recipients.len())
        .collect();
    assert_eq!(taken, [300, 300, 300, 100]);
    assert!(
        pair.outcomes[0]
            .iter()
            .all(|o| matches!(o, Outcome::Done(_)))
    );
    assert_eq!(pair.outcomes[0].len(), 1000);
}

#[test]
fn every_login_works_after_the_handshake() {
    for offered in ["plain", "login", "scram"] {
        for (password, right) in [("pass, word=", true), ("wrong", false)] {
            let (mut client, mut server) = settings();
            client.starttls = StartTls::Required;
            client.login = Some(Login::new(
                "tim".to_owned(),
                Secret::Password(password.to_owned()),
            ));
            server.starttls = true;
            server.require_tls = true;
            server.require_auth = true;
            server.auth.plain = offered == "plain";
            server.auth.login = offered == "login";
            server.auth.scram_sha_256 = offered == "scram";
            let mut pair = Pair::new(client, server);
            let to = ["a@x.example".to_owned()];
            pair.messages.push_back(message(&to, b"hi\r\n"));
            pair.run();
            assert_eq!(
                pair.stored.len(),
                usize::from(right),
                "{offered} {password}"
            );
            let held = matches!(&pair.refused[..], [Outcome::Hold(_)]);
            assert_eq!(held, !right, "{offered} {password}: {:?}", pair.refused);
        }
    }
}

#[test]
fn a_login_bound_to_tls_cannot_be_passed_on() {
    // Somebody in the middle has two connections, and the exporters differ.
    for (server_sees, right) in [([1; 32], true), ([2; 32], false)] {
        let (mut client, mut server) = settings();
        client.starttls = StartTls::Required;
        client.login = Some(Login::new(
            "tim".to_owned(),
            Secret::Password("pass, word=".to_owned()),
        ));
        server.starttls = true;
        server.require_auth = true;
        server.auth.scram_sha_256 = true;
        let mut pair = Pair::new(client, server);
        pair.exporters = Some(([1; 32], server_sees));
        pair.messages
            .push_back(message(&["a@x.example".to_owned()], b"hi\r\n"));
        pair.run();
        assert!(pair.client.offer().auth.plus);
        assert_eq!(pair.stored.len(), usize::from(right));
        let held = matches!(&pair.refused[..], [Outcome::Hold(_)]);
        assert_eq!(held, !right, "{:?}", pair.refused);
    }
}

#[test]
fn a_verdict_is_no_proof() {
    let (_, mut settings) = settings();
    settings.auth.scram_sha_256 = true;
    settings.auth_without_tls = true;
    let mut server = Server::new(Rc::new(settings), None, false, Tick::from_millis(0));
    let mut input = &b"EHLO x\r\nAUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck8=\r\n"[..];
    let mut said = String::new();
    loop {
        use server::Order;
        match server.next_order(Tick::from_millis(0), &mut input) {
            Order::Send(bytes) => said.push_str(std::str::from_utf8(bytes).unwrap()),
            Order::FindVerifier { name } => {
                assert_eq!(name, "user");
                server.on_verdict(Ok(()));
            }
            Order::Read(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(said.contains("\r\n535 5.7.8 "), "{said}");
    assert_eq!(server.session().login, None);
}

/// One more open connection stays under 16 KiB; the rest of that is the driver's block and the socket.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Server>() < 6 * 1024, "{}", size_of::<Server>());
    assert!(size_of::<Client>() < 4 * 1024, "{}", size_of::<Client>());
}

/// Words that get a session somewhere, so that noise reaches more than the first line.
const WORDS: &[&str] = &[
    "EHLO x\r\n",
    "HELO x\r\n",
    "MAIL FROM:<a@b>",
    "MAIL FROM:<>\r\n",
    "RCPT TO:<a@b>\r\n",
    "RCPT TO:<",
    "DATA\r\n",
    ".\r\n",
    "\r\n.\r\n",
    "BDAT 5 LAST\r\n",
    "BDAT 3\r\n",
    "BDAT 99999999999999999\r\n",
    "AUTH PLAIN\r\n",
    "AUTH LOGIN AAAA\r\n",
    "AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck8=\r\n",
    "AHRpbQB0aW0=\r\n",
    "*\r\n",
    "STARTTLS\r\n",
    "RSET\r\n",
    "ETRN a\r\n",
    "\r\n",
    " SIZE=5",
    "\"",
    ">",
    "\u{fc}",
];

const REPLIES: &[&str] = &[
    "220 x\r\n",
    "250-SIZE 10\r\n",
    "250-PIPELINING\r\n",
    "250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n",
    "250-CHUNKING\r\n",
    "250 OK\r\n",
    "250 OK\n",
    "354 go\r\n",
    "334 AAAA\r\n",
    "334 cj1ub25jZS1vZi10aGUtY2xpZW50eCxzPUFBQUEsaT00MDk2\r\n",
    "235 yes\r\n",
    "421 no\r\n",
    "452 4.5.3 no\r\n",
    "550 5.1.1 no\r\n",
    "550-",
    "\r\n",
];

fn noise(dice: &mut Dice, words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..dice.pick(60) {
        if dice.pick(12) == 0 {
            let byte = u8::try_from(dice.pick(256)).unwrap();
            out.extend(std::iter::repeat_n(
                byte,
                1 + dice.pick(3000) * dice.pick(2),
            ));
        } else {
            out.extend(words[dice.pick(words.len())].bytes());
        }
    }
    out
}

#[test]
fn noise_never_stops_a_server() {
    let mut dice = Dice::new(3);
    for round in 0..3000 {
        let (_, mut settings) = settings();
        settings.auth.plain = true;
        settings.auth.login = true;
        settings.auth.scram_sha_256 = true;
        settings.auth_without_tls = true;
        settings.starttls = round % 2 == 0;
        settings.extensions.etrn = true;
        settings.extensions.binary = true;
        settings.message_size = Some(5000);
        settings.errors = 50;
        let mut server = Server::new(Rc::new(settings), None, false, Tick::from_millis(0));
        let bytes = noise(&mut dice, WORDS);
        let step = 1 + dice.pick(100);
        let mut blocks = bytes.chunks(step);
        let (mut block, mut orders, mut draft) = (&[][..], 0, false);
        loop {
            use server::Order;
            orders += 1;
            assert!(orders < 100_000, "it runs in a circle");
            match server.next_order(Tick::from_millis(orders), &mut block) {
                Order::Send(bytes) => {
                    assert!(bytes.ends_with(b"\r\n") && bytes.is_ascii() || !bytes.is_empty())
                }
                Order::Read(_) => match blocks.next() {
                    Some(next) => block = next,
                    None => server.on_closed(),
                },
                Order::Begin { .. } => {
                    assert!(!draft);
                    draft = dice.pick(8) > 0;
                    server.on_verdict(if draft { Ok(()) } else { Err(Fault::Full) });
                }
                Order::Body(_) if dice.pick(20) == 0 => server.on_trouble(Fault::Full),
                Order::Body(_) => assert!(draft),
                Order::Commit { .. } => {
                    assert!(std::mem::take(&mut draft));
                    server.on_stored(Ok(MsgId::from_number(1)));
                }
                Order::Abort => assert!(std::mem::take(&mut draft)),
                Order::StartTls => server.on_tls(),
                Order::FindVerifier { name } => {
                    let verifier = Verifier::decoy(name, b"x");
                    server.on_verifier(verifier, "abc");
                }
                Order::TurnAround | Order::Close => break,
                Order::Pause(_) => {}
                _ => server.on_verdict(if dice.pick(3) > 0 {
                    Ok(())
                } else {
                    Err(Fault::NoRelay)
                }),
            }
        }
        assert!(!draft, "a draft was left behind");
    }
}

#[test]
fn noise_never_stops_a_client_nor_gets_a_yes_before_the_dot() {
    let mut dice = Dice::new(5);
    for round in 0..3000 {
        let (mut settings, _) = settings();
        settings.login_without_tls = true;
        if round % 3 == 0 {
            let secret = Secret::Password("b".to_owned());
            settings.login = Some(Login::new("a".to_owned(), secret));
        }
        let mut client = Client::new(settings, false, "nonce-of-the-client".to_owned());
        let bytes = noise(&mut dice, REPLIES);
        let step = 1 + dice.pick(100);
        let mut blocks = bytes.chunks(step);
        let (mut block, mut orders, mut left) = (&[][..], 0, 3);
        let (mut given, mut finished, mut bodies) = (0, 0, 0);
        loop {
            use client::order::Order;
            orders += 1;
            assert!(orders < 100_000, "it runs in a circle");
            match client.next_order(Tick::from_millis(orders), &mut block) {
                Order::Send(bytes) => assert!(bytes.len() < 8192),
                Order::Read(_) => match blocks.next() {
                    Some(next) => block = next,
                    None => client.on_closed(),
                },
                Order::Ready if left == 0 => client.on_quit(),
                Order::Ready => {
                    left -= 1;
                    given += 1;
                    let to = ["a@b".to_owned(), "c@d".to_owned()];
                    client.on_message(message(&to, b"hi\r\n").0);
                }
                Order::SendBody { .. } => {
                    bodies += 1;
                    client.on_body_sent();
                }
                Order::Finished(outcomes) => {
                    finished += 1;
                    assert_eq!(outcomes.len(), 2);
                    let done = outcomes.iter().any(|o| matches!(o, Outcome::Done(_)));
                    assert!(!done || bodies > 0, "a yes without a body");
                }
                Order::Refused(_) => assert_eq!(given, 0),
                Order::StartTls => client.on_tls(),
                Order::Close => break,
            }
        }
        assert_eq!(given, finished, "a message without outcomes");
    }
}

#[test]
fn noise_never_stops_a_reader() {
    let mut dice = Dice::new(9);
    for _ in 0..5000 {
        let bytes = noise(&mut dice, &["\r\n", ".", "\r\n.\r\n", "abc", "250-x\r\n"]);
        let (mut data, mut lines) = (Data::default(), ReplyLines::default());
        for block in bytes.chunks(1 + dice.pick(50)) {
            let mut rest = block;
            while !rest.is_empty() && !matches!(data.take(&mut rest), Ok(Piece::End) | Err(_)) {}
            let mut rest = block;
            while !rest.is_empty() && lines.take(&mut rest).is_ok() {}
        }
    }
}
