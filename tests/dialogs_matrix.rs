//! Each command in each state of a server: what it says, and where it stands afterwards, against
//! `tests/dialogs/matrix.txt`. The stories tell why; this table leaves no corner out.
#![cfg(test)]

use std::fmt::Write;
use std::fs;
use std::rc::Rc;

use mailroot::base::{MsgId, Tick};
use mailroot::mail::Domain;
use mailroot::smtp::fault::Fault;
use mailroot::smtp::server::settings::Settings;
use mailroot::smtp::server::{Order, Server};

#[path = "dialogs/table.rs"]
mod table;

use table::{COMMANDS, STATES};

#[test]
fn each_command_in_each_state_is_answered_as_the_table_says() {
    let mut table = format!("{:20}", "");
    for (name, _) in STATES {
        write!(table, " {name:>8}").unwrap();
    }
    table.push('\n');
    for command in COMMANDS {
        write!(table, "{:20}", format!("{command:?}").trim_matches('"')).unwrap();
        for (name, before) in STATES {
            write!(table, " {:>8}", cell(name, before, command)).unwrap();
        }
        table.push('\n');
    }
    let text = fs::read_to_string("tests/dialogs/matrix.txt").unwrap();
    let (_, wanted) = text.split_once("\n\n").unwrap();
    assert!(wanted == table, "the table is now\n{table}");
}

#[test]
fn the_table_has_each_verb_that_help_names() {
    let mut server = Peer::new("fresh");
    server.say("HELP");
    let verbs = server.said.lines().last().unwrap();
    for verb in verbs.split(' ').skip(2) {
        let has = COMMANDS.iter().any(|c| c.split(' ').next() == Some(verb));
        assert!(has, "{verb} has no row");
    }
}

struct Peer {
    server: Server,
    said: String,
    handshake: bool,
    closed: bool,
}

impl Peer {
    fn new(state: &str) -> Self {
        let mut settings = Settings::new(Domain::parse("mx.example.com").unwrap());
        settings.starttls = true;
        settings.auth.plain = true;
        settings.auth.login = true;
        settings.auth_without_tls = true;
        settings.require_tls = state == "needtls";
        settings.require_auth = state == "needauth";
        settings.extensions.binary = true;
        settings.extensions.etrn = true;
        settings.extensions.atrn = true;
        let mut peer = Self {
            server: Server::new(Rc::new(settings), None, false, Tick::from_millis(0)),
            said: String::new(),
            handshake: false,
            closed: false,
        };
        peer.run(b"");
        peer
    }

    fn say(&mut self, line: &str) {
        self.said.clear();
        match line {
            "(tls)" => {
                assert!(std::mem::take(&mut self.handshake));
                self.server.on_tls();
                self.run(b"");
            }
            // Two bytes, which is what its BDAT said.
            "hi" if self.said.is_empty() && self.server.is_busy() => self.run(b"hi"),
            line => self.run(format!("{line}\r\n").as_bytes()),
        }
    }

    fn run(&mut self, mut input: &[u8]) {
        while !self.handshake && !self.closed {
            match self.server.next_order(Tick::from_millis(0), &mut input) {
                Order::Send(bytes) => self.said += std::str::from_utf8(bytes).unwrap(),
                Order::Read(_) => return,
                Order::AskRcpt { recipient, .. } => {
                    let no = recipient.address.local() == "no";
                    let verdict = if no { Err(Fault::NoMailbox) } else { Ok(()) };
                    self.server.on_verdict(verdict);
                }
                Order::Body(_) | Order::Abort | Order::Pause(_) => {}
                Order::Commit { .. } => self.server.on_stored(Ok(MsgId::from_number(1))),
                Order::StartTls => self.handshake = true,
                Order::FindVerifier { .. } => unreachable!("SCRAM is not offered"),
                Order::Close | Order::TurnAround => self.closed = true,
                _ => self.server.on_verdict(Ok(())),
            }
        }
    }
}

/// The code of the reply, or of each, and a mark for where the session stands: nothing when it is idle.
fn cell(state: &str, before: &[&str], command: &str) -> String {
    let mut peer = Peer::new(state);
    for line in before {
        peer.say(line);
        assert!(
            !peer.said.starts_with(['4', '5']),
            "{state}: {line}: {}",
            peer.said
        );
    }
    peer.say(command);
    let last = |line: &&str| line.as_bytes()[3] == b' ';
    let codes: Vec<&str> = peer
        .said
        .lines()
        .filter(last)
        .filter_map(|l| l.get(..3))
        .collect();
    let mark = match () {
        () if peer.closed => "x",
        () if peer.handshake => "t",
        () if peer.server.is_busy() => "+",
        () => "",
    };
    if codes.is_empty() {
        format!("-{mark}")
    } else {
        format!("{}{mark}", codes.join(","))
    }
}
