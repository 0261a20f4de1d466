//! Plays the transcripts under `dialogs/` on the machines: whole, byte by byte, and short ones at every block size.
//!
//! A `.talk` file is one story. Lines of both roles:
//!
//! ```text
//! # why this story is told
//! set KEY VALUE     how our side is set up (before anything else); `set whole` plays it in one block only
//! C: text           a line of the client     C| text   raw bytes, with \r \n \0 \xNN
//! S: text           a line of the server     S~ text   a line that begins so      S| text   raw bytes
//! + 5m              time passes (s, m, h)
//! eof               the peer closes the connection
//! tls               our side wants the handshake now, and it succeeds; `tls: bound` with something for SCRAM-PLUS to
//!                   bind to; `tls: bad` it fails
//! closed            our side closes
//! ```
//!
//! Server only: `disk: full|broken|refusing|ok`, `shutdown`, `stored: text` (a message, in order), `mail: text` (its
//! envelope), `aborted` (a draft was dropped), `paused`.
//! Client only: `message: FROM TO,TO text`, `outcome: done|later|never|hold STATUS`, `refused: later|hold STATUS`,
//! `cut` (writing fails from now on).
#![cfg(test)]
#![allow(clippy::too_many_lines)] // one arm an order

use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use mailroot::base::{MsgId, Tick, Wall};
use mailroot::mail::envelope::{Body, TlsWish};
use mailroot::mail::{Address, Domain, Envelope, Outcome, Recipient};
use mailroot::smtp::client::settings::{Dialect, Login, Secret, StartTls};
use mailroot::smtp::client::transfer::Message;
use mailroot::smtp::client::{self, Client};
use mailroot::smtp::fault::Fault;
use mailroot::smtp::outcome::Role;
use mailroot::smtp::sasl::Verifier;
use mailroot::smtp::sasl::cram::Cram;
use mailroot::smtp::sasl::mechanism::{Mechanism, Mechanisms};
#[cfg(feature = "ntlm")]
use mailroot::smtp::sasl::ntlm::server::NtHash;
use mailroot::smtp::sasl::proof::Proof;
use mailroot::smtp::server::{self, Server, Started};

#[path = "dialogs/story.rs"]
mod story;

use story::{Story, unescape};

#[test]
fn servers_keep_to_the_transcripts() {
    play_all("server", |story, step| ServerSide::new(story, step).play());
}

#[test]
fn clients_keep_to_the_transcripts() {
    play_all("client", |story, step| ClientSide::new(story, step).play());
}

fn play_all(role: &str, play: impl Fn(&Story, usize)) {
    let dir = Path::new("tests/dialogs").join(role);
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        let story = Story::new(entry.file_name().to_str().unwrap(), &text);
        let whole = story.lines.iter().any(|(_, _, rest)| rest == "whole");
        let longest = match text.len() {
            _ if whole => 0,
            0..1500 => 100,
            _ => 2,
        };
        for step in (1..=longest).chain([usize::MAX]) {
            play(&story, step);
        }
        count += 1;
    }
    assert!(count > 5, "the transcripts are gone");
}

fn span(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => panic!("no such unit: {other}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * unit)
}

/// What both roles share: the clock, what comes in, what went out.
struct Wire {
    now: Tick,
    input: VecDeque<u8>,
    output: Vec<u8>,
    block: Vec<u8>,
    step: usize,
    closed: bool,
    deadline: Option<Tick>,
}

impl Wire {
    fn new(step: usize) -> Self {
        Self {
            now: Tick::from_millis(1000),
            input: VecDeque::new(),
            output: Vec::new(),
            block: Vec::new(),
            step,
            closed: false,
            deadline: None,
        }
    }

    /// The next block of input; false when there is none.
    fn read(&mut self) -> bool {
        let length = self.input.len().min(self.step);
        self.block = self.input.drain(..length).collect();
        length > 0
    }

    fn expect(&mut self, at: &str, word: &str, rest: &str) {
        let raw = word.ends_with('|');
        let wanted = unescape(rest);
        let length = if raw {
            wanted.len()
        } else {
            let end = self.output.windows(2).position(|w| w == b"\r\n");
            end.unwrap_or_else(|| panic!("{at}: nothing said; wanted {rest:?}")) + 2
        };
        let got: Vec<u8> = self.output.drain(..length.min(self.output.len())).collect();
        let text = String::from_utf8_lossy(&got).into_owned();
        let right = match word.as_bytes()[1] {
            b'|' => got == wanted,
            b'~' => got.starts_with(&wanted),
            _ => got == [wanted.as_slice(), b"\r\n"].concat(),
        };
        assert!(right, "{at}: said {text:?}; wanted {rest:?}");
    }
}

/// Runs the lines both roles share; gives back those it does not know.
macro_rules! play {
    ($side:ident, $story:expr, $ours:literal, $theirs:literal) => {
        for (number, word, rest) in &$story.lines {
            let at = format!("{}:{number} by {}", $story.name, $side.wire.step);
            let from_peer = word.starts_with($theirs);
            if !from_peer {
                $side.run();
            }
            match word.as_str() {
                "set" => {}
                word if word.len() == 2 && from_peer => {
                    $side.wire.input.extend(unescape(rest));
                    if word.ends_with(':') {
                        $side.wire.input.extend(b"\r\n");
                    }
                }
                word if word.len() == 2 && word.starts_with($ours) => {
                    $side.wire.expect(&at, word, rest);
                }
                "+" => {
                    $side.wire.now = $side.wire.now.after(span(rest));
                    if $side.wire.deadline.is_some_and(|end| end <= $side.wire.now) {
                        $side.machine.on_deadline();
                    }
                }
                "eof" => $side.machine.on_closed(),
                "closed" => assert!($side.wire.closed, "{at}: still open"),
                _ => $side.line(&at, word, rest),
            }
        }
        $side.run();
        let said = String::from_utf8_lossy(&$side.wire.output).into_owned();
        assert!(said.is_empty(), "{}: also said {said:?}", $story.name);
    };
}

struct ServerSide<'a> {
    story: &'a Story,
    wire: Wire,
    machine: Server,
    disk: String,
    draft: Option<Vec<u8>>,
    stored: VecDeque<(String, Vec<u8>)>,
    aborted: usize,
    paused: usize,
    handshake: bool,
}

impl<'a> ServerSide<'a> {
    fn new(story: &'a Story, step: usize) -> Self {
        let name = Domain::parse("mx.example.com").unwrap();
        let mut settings = server::settings::Settings::new(name);
        settings.message_size = Some(1000);
        settings.extensions.limits = false;
        for (_, word, rest) in &story.lines {
            if word == "set" {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                let number = || value.parse::<usize>().unwrap();
                match key {
                    "size" => settings.message_size = value.parse().ok(),
                    "session" => settings.session_size = value.parse().ok(),
                    "recipients" => settings.recipients = number(),
                    "messages" => settings.messages = number(),
                    "errors" => settings.errors = number(),
                    "tarpit" => settings.tarpit = span(value),
                    "starttls" => settings.starttls = true,
                    "require_tls" => settings.require_tls = true,
                    "require_auth" => settings.require_auth = true,
                    "auth_without_tls" => settings.auth_without_tls = true,
                    "auth" => {
                        settings.auth.plain = value.contains("PLAIN");
                        settings.auth.login = value.contains("LOGIN");
                        settings.auth.cram_md5 = value.contains("CRAM-MD5");
                        settings.auth.ntlm = value.contains("NTLM");
                        settings.auth.scram_sha_256 = value.contains("SCRAM");
                    }
                    "default_domain" => {
                        settings.default_domain = Some(Domain::parse(value).unwrap());
                    }
                    "binary" => settings.extensions.binary = true,
                    "etrn" => settings.extensions.etrn = true,
                    "atrn" => settings.extensions.atrn = true,
                    "limits" => settings.extensions.limits = true,
                    "plain" => {
                        settings.extensions.chunking = false;
                        settings.extensions.utf8 = false;
                        settings.extensions.dsn = false;
                    }
                    "longest" => settings.timeouts.session = Some(span(value)),
                    other => panic!("{}: no setting {other}", story.name),
                }
            }
        }
        let wire = Wire::new(step);
        let peer = "192.0.2.7".parse().ok();
        Self {
            machine: Server::new(Rc::new(settings), peer, false, wire.now),
            story,
            wire,
            disk: "ok".to_owned(),
            draft: None,
            stored: VecDeque::new(),
            aborted: 0,
            paused: 0,
            handshake: false,
        }
    }

    fn play(mut self) {
        let story = self.story;
        play!(self, story, 'S', 'C');
        assert!(self.stored.is_empty(), "{}: stored more", story.name);
        assert_eq!(self.aborted, 0, "{}: aborted", story.name);
        assert!(self.draft.is_none() || !self.wire.closed);
    }

    fn line(&mut self, at: &str, word: &str, rest: &str) {
        match word {
            "disk:" => self.disk = rest.to_owned(),
            "shutdown" => self.machine.on_shutdown(),
            "tls" | "tls:" => {
                assert!(self.handshake, "{at}: no handshake wanted");
                self.handshake = false;
                self.machine.on_tls();
                if rest == "bound" {
                    self.machine.on_exporter(exporter());
                }
            }
            "mail:" => {
                let mail = &self
                    .stored
                    .front()
                    .unwrap_or_else(|| panic!("{at}: none"))
                    .0;
                assert_eq!(mail, rest, "{at}");
            }
            "stored:" => {
                let body = self
                    .stored
                    .pop_front()
                    .unwrap_or_else(|| panic!("{at}: none"));
                let (got, want) = (body.1, unescape(rest));
                assert_eq!(
                    String::from_utf8_lossy(&got),
                    String::from_utf8_lossy(&want),
                    "{at}"
                );
            }
            "aborted" => {
                assert_eq!(self.aborted, 1, "{at}");
                self.aborted = 0;
            }
            "paused" => {
                assert!(self.paused > 0, "{at}: not paused");
                self.paused = 0;
            }
            other => panic!("{at}: what is {other}?"),
        }
    }

    fn run(&mut self) {
        use server::Order;
        let yes = |yes| if yes { Ok(()) } else { Err(Fault::NoRelay) };
        while !self.wire.closed && !self.handshake {
            let block = std::mem::take(&mut self.wire.block);
            let mut input = block.as_slice();
            let order = self.machine.next_order(self.wire.now, &mut input);
            match order {
                Order::Send(bytes) => self.wire.output.extend_from_slice(bytes),
                Order::Read(deadline) => {
                    self.wire.deadline = Some(deadline);
                    assert!(input.is_empty(), "read with input left");
                    if !self.wire.read() {
                        return;
                    }
                    continue;
                }
                Order::Pause(until) => {
                    self.paused += 1;
                    self.wire.now = until;
                }
                Order::AskMail { envelope, .. } => {
                    let bad = envelope.sender.as_ref().is_some_and(|s| s.local() == "bad");
                    let verdict = if bad { Err(Fault::NoSender) } else { Ok(()) };
                    self.machine.on_verdict(verdict);
                }
                Order::AskRcpt {
                    recipient, session, ..
                } => {
                    let domain = recipient.address.domain().as_str();
                    let local = domain.ends_with("example.com") || domain == "nas.lan";
                    let verdict = match recipient.address.local() {
                        "nobody" => Err(Fault::NoMailbox),
                        "full" => Err(Fault::DropFull),
                        _ => yes(local || session.login.is_some()),
                    };
                    self.machine.on_verdict(verdict);
                }
                Order::Begin { .. } => {
                    assert!(self.draft.is_none(), "two drafts");
                    if self.disk == "refusing" {
                        self.machine.on_verdict(Err(Fault::Full));
                    } else {
                        self.draft = Some(Vec::new());
                        self.machine.on_verdict(Ok(()));
                    }
                }
                Order::Body(bytes) => {
                    assert!(!bytes.is_empty(), "an empty block");
                    let draft = self.draft.as_mut().unwrap();
                    if self.disk == "full" {
                        self.machine.on_trouble(Fault::Full);
                    } else {
                        draft.extend_from_slice(bytes);
                    }
                }
                Order::Commit { envelope, size } => {
                    let body = self.draft.take().unwrap();
                    assert_eq!(size, body.len() as u64);
                    let id = MsgId::from_number(33);
                    if self.disk == "broken" {
                        self.machine.on_stored(Err(Fault::Ours));
                    } else {
                        self.stored.push_back((show(envelope), body));
                        self.machine.on_stored(Ok(id));
                    }
                }
                Order::Abort => {
                    assert!(self.draft.take().is_some(), "nothing to abort");
                    self.aborted += 1;
                }
                Order::StartTls => {
                    assert!(input.is_empty(), "what was injected was kept");
                    self.handshake = true;
                    self.wire.input.clear();
                    return;
                }
                Order::CheckPassword { name, password } => {
                    let right = (name, password) == ("tim", "tanstaaftanstaaf");
                    let verdict = if right {
                        Ok(())
                    } else {
                        Err(Fault::AuthFailed)
                    };
                    self.machine.on_verdict(verdict);
                }
                Order::MakeChallenge => {
                    self.machine
                        .on_challenge("1896.697170952", Wall::from_secs(0));
                }
                Order::CheckProof { name, proof } => {
                    let password = "tanstaaftanstaaf";
                    let right = match proof {
                        Proof::Cram { challenge, digest } => {
                            Cram::derive(password).check(challenge, digest)
                        }
                        #[cfg(feature = "ntlm")]
                        Proof::Ntlm(answer) => answer.check(&NtHash::derive(password)).is_ok(),
                    };
                    let right = name == "tim" && right;
                    let verdict = if right {
                        Ok(())
                    } else {
                        Err(Fault::AuthFailed)
                    };
                    self.machine.on_verdict(verdict);
                }
                #[cfg(feature = "sso")]
                Order::CheckTicket { .. } => unreachable!("GSSAPI is not offered"),
                Order::FindVerifier { name } => {
                    let verifier = if name == "user" {
                        let rounds = NonZeroU32::new(4096).unwrap();
                        Verifier::derive(
                            "pencil",
                            b"[m\x99h\x9d\x12\x35\x8e\xec\xa0K\x14\x126\xfa\x81",
                            rounds,
                        )
                    } else {
                        Verifier::decoy(name, b"secret")
                    };
                    self.machine
                        .on_verifier(verifier, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
                }
                Order::Etrn { domain, .. } => match domain.as_str() {
                    "example.com" => self.machine.on_etrn(Started::Messages(3)),
                    "empty.example" => self.machine.on_etrn(Started::Nothing),
                    "busy.example" => self.machine.on_etrn(Started::Pending),
                    "queue.example" => self.machine.on_etrn(Started::Queue),
                    "soon.example" => self.machine.on_verdict(Err(Fault::NodeTooSoon)),
                    _ => self.machine.on_verdict(Err(Fault::NodeNotAllowed)),
                },
                Order::Atrn { domains, .. } => {
                    let verdict = match domains.iter().map(Domain::as_str).collect::<Vec<_>>()[..] {
                        [] => Err(Fault::NothingHeld),
                        ["elsewhere.example"] => Err(Fault::TurnRefused),
                        ["busy.example"] => Err(Fault::TurnNotNow),
                        _ => Ok(()),
                    };
                    self.machine.on_verdict(verdict);
                }
                Order::TurnAround => {
                    let said = format!("turned, {} bytes unread\r\n", input.len());
                    self.wire.output.extend(said.bytes());
                    self.wire.closed = true;
                }
                Order::Close => self.wire.closed = true,
            }
            self.wire.block = input.to_vec();
        }
    }
}

fn show(envelope: &Envelope) -> String {
    let sender = envelope
        .sender
        .as_ref()
        .map_or("<>".to_owned(), Address::to_string);
    let to: Vec<_> = envelope
        .recipients
        .iter()
        .map(|r| r.address.to_string())
        .collect();
    format!("{sender} {}", to.join(","))
}

struct ClientSide<'a> {
    story: &'a Story,
    wire: Wire,
    machine: Client,
    messages: VecDeque<(Message, Vec<u8>)>,
    body: Vec<u8>,
    outcomes: VecDeque<Outcome>,
    refused: Option<Outcome>,
    handshake: bool,
    cut: bool,
}

impl<'a> ClientSide<'a> {
    fn new(story: &'a Story, step: usize) -> Self {
        let peer = "smtp.example.net [192.0.2.25]".to_owned();
        let mut settings = client::settings::Settings::new(Domain::parse("nas.lan").unwrap(), peer);
        settings.starttls = StartTls::Never;
        settings.chunking = false;
        let mut messages = VecDeque::new();
        for (_, word, rest) in &story.lines {
            let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
            if word == "message:" {
                messages.push_back(message(rest));
            } else if word == "set" {
                let login = |secret: fn(String) -> Secret| {
                    let (name, text) = value.split_once(' ').unwrap();
                    Some(Login::new(name.to_owned(), secret(text.to_owned())))
                };
                match key {
                    "tls" => {
                        settings.starttls = match value {
                            "required" => StartTls::Required,
                            _ => StartTls::IfOffered,
                        }
                    }
                    "login" => settings.login = login(Secret::Password),
                    "token" => settings.login = login(Secret::Token),
                    "certificate" => {
                        settings.login = Some(Login::new(value.to_owned(), Secret::Certificate));
                    }
                    // Behind the login.
                    "auth" => {
                        let login = settings.login.as_mut().unwrap();
                        let names = value.split(',').map(|name| Mechanism::named(name).unwrap());
                        login.only = Mechanisms::of(&names.collect::<Vec<_>>());
                    }
                    "clear" => settings.login_without_tls = true,
                    "unproved" => settings.proved = false,
                    "mx" => settings.role = Role::Exchanger,
                    "lmtp" => settings.dialect = Dialect::Lmtp,
                    "helo" => settings.dialect = Dialect::Smtp,
                    "recipients" => settings.recipients = value.parse().unwrap(),
                    "messages" => settings.messages = value.parse().unwrap(),
                    "chunking" => settings.chunking = true,
                    "whole" => {}
                    "no_pipelining" => settings.pipelining = false,
                    other => panic!("{}: no setting {other}", story.name),
                }
            }
        }
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        Self {
            story,
            wire: Wire::new(step),
            machine: Client::new(settings, false, nonce),
            messages,
            body: Vec::new(),
            outcomes: VecDeque::new(),
            refused: None,
            handshake: false,
            cut: false,
        }
    }

    fn play(mut self) {
        let story = self.story;
        play!(self, story, 'C', 'S');
        let left = (self.outcomes.len(), self.refused.is_some());
        assert_eq!(left, (0, false), "{}: more outcomes", story.name);
    }

    fn line(&mut self, at: &str, word: &str, rest: &str) {
        let (word_, outcome) = match word {
            "message:" => return,
            "cut" => {
                self.cut = true;
                return;
            }
            "tls" => {
                assert!(self.handshake, "{at}: no handshake wanted");
                self.handshake = false;
                return self.machine.on_tls();
            }
            "tls:" if rest == "bound" => {
                assert!(self.handshake, "{at}: no handshake wanted");
                self.handshake = false;
                self.machine.on_tls();
                return self.machine.on_exporter(exporter());
            }
            "tls:" => {
                self.handshake = false;
                return self.machine.on_tls_failed("the certificate is bad", true);
            }
            "outcome:" => ("outcome", self.outcomes.pop_front()),
            "refused:" => ("refused", self.refused.take()),
            other => panic!("{at}: what is {other}?"),
        };
        let outcome = outcome.unwrap_or_else(|| panic!("{at}: no {word_}"));
        let kind = match outcome {
            Outcome::Done(_) => "done",
            Outcome::Later(_) => "later",
            Outcome::Never(_) => "never",
            Outcome::Hold(_) => "hold",
        };
        let got = format!("{kind} {}", outcome.reason().status);
        assert_eq!(got, rest, "{at}: {}", outcome.reason());
    }

    fn run(&mut self) {
        use client::order::Order;
        while !self.wire.closed && !self.handshake {
            let block = std::mem::take(&mut self.wire.block);
            let mut input = block.as_slice();
            match self.machine.next_order(self.wire.now, &mut input) {
                Order::Send(_) if self.cut => self.machine.on_write_failed(),
                Order::Send(bytes) => self.wire.output.extend_from_slice(bytes),
                Order::Read(deadline) => {
                    self.wire.deadline = Some(deadline);
                    assert!(input.is_empty(), "read with input left");
                    if !self.wire.read() {
                        return;
                    }
                    continue;
                }
                Order::StartTls => {
                    self.handshake = true;
                    return;
                }
                Order::Ready => match self.messages.pop_front() {
                    Some((message, body)) => {
                        self.body = body;
                        self.machine.on_message(message);
                    }
                    None => self.machine.on_quit(),
                },
                Order::SendBody { .. } if self.cut => self.machine.on_write_failed(),
                Order::SendBody {
                    opening,
                    mut stuffer,
                } => {
                    let mut out = opening.to_vec();
                    for block in self.body.chunks(self.wire.step) {
                        stuffer.push(block, &mut out);
                    }
                    stuffer.end(&mut out);
                    self.wire.output.extend(out);
                    self.machine.on_body_sent();
                }
                Order::Finished(outcomes) => self.outcomes.extend(outcomes),
                Order::Refused(outcome) => self.refused = Some(outcome),
                Order::Close => self.wire.closed = true,
            }
            self.wire.block = input.to_vec();
        }
    }
}

/// What both ends of a TLS connection know.
fn exporter() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

/// `FROM TO,TO text`; the text may begin with `8` or `B` and a space for 8BITMIME and BINARYMIME.
fn message(text: &str) -> (Message, Vec<u8>) {
    let mut words = text.splitn(3, ' ');
    let sender = words.next().unwrap();
    let recipients = words.next().unwrap().split(',');
    let mut body = words.next().unwrap_or("");
    let (mut form, mut tls) = (Body::Seven, TlsWish::Usual);
    if let Some(rest) = body.strip_prefix("TLS ") {
        (body, tls) = (rest, TlsWish::Required);
    }
    for (mark, kind) in [("8 ", Body::Eight), ("B ", Body::Binary)] {
        if let Some(rest) = body.strip_prefix(mark) {
            (body, form) = (rest, kind);
        }
    }
    let body = unescape(body);
    let envelope = Envelope {
        sender: (sender != "<>").then(|| Address::parse(sender).unwrap()),
        recipients: recipients
            .map(|to| Recipient::new(Address::parse(to).unwrap()))
            .collect(),
        body: form,
        tls,
        ..Envelope::default()
    };
    let size = body.len() as u64;
    (Message { envelope, size }, body)
}
