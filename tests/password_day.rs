//! A wrong password for a whole day, on virtual time and with the real pieces: the ways with their schedule and health,
//! the retry waits, the client machine, the folding of outcomes. One login a step of the waits, no message lost, none
//! expired, nobody told; with the right password and a reload everything goes (promise G3).
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use mailroot::base::{MsgId, Tick};
use mailroot::mail::{Address, Domain, Envelope, Outcome, Recipient};
use mailroot::policy::retry::Waits;
use mailroot::policy::route::Next;
use mailroot::queue::Progress;
use mailroot::queue::schedule::Waiting;
use mailroot::service::fold::{Life, fold};
use mailroot::service::ways::Ways;
use mailroot::smtp::client::Client;
use mailroot::smtp::client::order::Order;
use mailroot::smtp::client::settings::{Login, Secret, Settings, StartTls};
use mailroot::smtp::client::transfer::Message;

const ROUTE: Next = Next::Route(0);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A smart host that wants a login.
#[derive(Default)]
struct Host {
    logins: Vec<(Tick, bool)>,
    delivered: BTreeMap<String, usize>,
    in_data: bool,
    sender: String,
}

impl Host {
    fn reply(&mut self, line: &str, now: Tick) -> &'static str {
        if self.in_data {
            if line != "." {
                return "";
            }
            self.in_data = false;
            *self.delivered.entry(self.sender.clone()).or_default() += 1;
            return "250 2.0.0 queued\r\n";
        }
        match line.split(' ').next().unwrap() {
            "EHLO" => "250-smtp.example.net\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n",
            "AUTH" => {
                // \0box\0right
                let right = line.ends_with(" AGJveAByaWdodA==");
                self.logins.push((now, right));
                if right {
                    "235 2.7.0 welcome\r\n"
                } else {
                    "535 5.7.8 Username and Password not accepted\r\n"
                }
            }
            "MAIL" => {
                self.sender = line.split(['<', '>']).nth(1).unwrap().to_owned();
                "250 2.1.0 ok\r\n"
            }
            "RCPT" => "250 2.1.5 ok\r\n",
            "DATA" => {
                self.in_data = true;
                "354 go\r\n"
            }
            "QUIT" => "221 2.0.0 bye\r\n",
            other => panic!("{other}"),
        }
    }
}

/// The service's part that matters here.
struct Box {
    now: Tick,
    ways: Ways,
    waits: Waits,
    password: &'static str,
    progress: BTreeMap<u64, Progress>,
    /// Steps of the waits at which the way was probed.
    failures: usize,
    reports: usize,
    expire: Duration,
}

impl Box {
    fn accept(&mut self, number: u64) {
        self.progress.insert(number, Progress::new(1));
        let waiting = Waiting {
            due: self.now,
            id: MsgId::from_number(number),
            expires: self.now.after(self.expire),
        };
        self.ways.add(ROUTE, waiting);
    }

    /// Runs every session that is wanted now.
    fn run(&mut self, host: &mut Host) {
        loop {
            let wishes = self.ways.wanted(self.now, |_| 4, |_| None);
            let Some(wish) = wishes.first() else { return };
            assert_eq!(wish.next, ROUTE);
            self.ways.begin(ROUTE);
            self.session(host);
            self.ways.end(ROUTE, self.now);
        }
    }

    /// One connection, as `service::conversation` drives it.
    fn session(&mut self, host: &mut Host) {
        let first = self.ways.take(ROUTE, self.now, None);
        assert!(first.is_some(), "a session without a message");
        let mut waiting = first;
        let name = "smtp.example.net [192.0.2.25]".to_owned();
        let mut settings = Settings::new(Domain::parse("nas.lan").unwrap(), name);
        settings.starttls = StartTls::Never;
        settings.login_without_tls = true;
        let secret = Secret::Password(self.password.to_owned());
        settings.login = Some(Login::new("box".to_owned(), secret));
        let mut client = Client::new(settings, false, "nonce".to_owned());
        let mut input = b"220 ready\r\n".to_vec();
        let (mut said, mut current) = (Vec::new(), None::<Waiting>);
        loop {
            let mut rest = input.as_slice();
            let order = client.next_order(self.now, &mut rest);
            match order {
                Order::Send(bytes) => said.extend_from_slice(bytes),
                Order::Read(_) => {
                    let text = String::from_utf8(std::mem::take(&mut said)).unwrap();
                    let replies = text.lines().map(|line| host.reply(line, self.now));
                    input = replies.collect::<String>().into_bytes();
                    assert!(!input.is_empty(), "nothing to read behind {text:?}");
                    continue;
                }
                Order::Ready => {
                    self.ways.way(ROUTE).health.on_success(self.now);
                    match waiting
                        .take()
                        .or_else(|| self.ways.take(ROUTE, self.now, None))
                    {
                        Some(next) => {
                            client.on_message(message(next.id));
                            current = Some(next);
                        }
                        None => client.on_quit(),
                    }
                }
                Order::SendBody {
                    opening,
                    mut stuffer,
                } => {
                    said.extend_from_slice(opening);
                    stuffer.push(b"hi\r\n", &mut said);
                    stuffer.end(&mut said);
                    client.on_body_sent();
                }
                Order::Finished(outcomes) => {
                    let waiting = current.take().unwrap();
                    self.conclude(waiting.id, outcomes);
                }
                Order::Refused(outcome) => {
                    let held = matches!(outcome, Outcome::Hold(_));
                    assert!(held, "{outcome:?}");
                    let why = outcome.reason().to_string();
                    assert!(why.contains("535") && why.contains("AUTH PLAIN"), "{why}");
                    self.ways.give_back(ROUTE, waiting.take().unwrap());
                    let (_, expired) =
                        self.ways
                            .on_failure(ROUTE, self.now, &self.waits, 0, held, &why);
                    assert!(expired.is_empty(), "mail expires over a wrong password");
                    self.failures += 1;
                }
                Order::Close => return,
                Order::StartTls => panic!("no TLS here"),
            }
            input = rest.to_vec();
        }
    }

    fn conclude(&mut self, id: MsgId, outcomes: Vec<Outcome>) {
        let life = Life {
            age: Duration::ZERO,
            over: false,
            notice: None,
        };
        let progress = self.progress.get_mut(&id.number()).unwrap();
        let envelope = message(id).envelope;
        let outcomes = outcomes.into_iter().enumerate().collect();
        let follows = fold(progress, &envelope, outcomes, None, life);
        self.reports += follows.report.len() + follows.unreported.len();
        if follows.over {
            self.progress.remove(&id.number());
        }
    }

    /// What a reload does with the ways (`service::shared`).
    fn reload(&mut self, password: &'static str) {
        self.password = password;
        self.ways.clear();
        for &number in self.progress.keys() {
            let waiting = Waiting {
                due: self.now,
                id: MsgId::from_number(number),
                expires: self.now.after(self.expire),
            };
            self.ways.add(ROUTE, waiting);
        }
    }
}

fn message(id: MsgId) -> Message {
    let sender = format!("m{}@nas.lan", id.number());
    Message {
        envelope: Envelope {
            sender: Some(Address::parse(&sender).unwrap()),
            recipients: vec![Recipient::new(Address::parse("owner@example.net").unwrap())],
            ..Envelope::default()
        },
        size: 4,
    }
}

#[test]
fn a_day_with_a_wrong_password_costs_one_login_a_step_and_no_mail() {
    let start = Tick::from_millis(1_000_000);
    let mut host = Host::default();
    let mut this = Box {
        now: start,
        ways: Ways::default(),
        waits: Waits::default(),
        password: "wrong",
        progress: BTreeMap::new(),
        failures: 0,
        reports: 0,
        // Shorter than the day: only that the way is held keeps the mail.
        expire: 6 * HOUR,
    };
    let end = start.after(DAY);
    let (mut number, mut arrives) = (0, start);
    while this.now < end {
        // Ten messages at once, every half hour.
        if this.now >= arrives {
            for _ in 0..10 {
                number += 1;
                this.accept(number);
            }
            arrives = arrives.after(HOUR / 2);
        }
        this.run(&mut host);
        let wakes = this.ways.wakes(this.now, |_| None);
        let next = wakes.map_or(arrives, |at| at.min(arrives)).min(end);
        assert!(next > this.now, "time stands still: a login storm");
        this.now = next;
    }

    // The first at once, then a step of the waits each: 1, 1, 1, 15, 30, 60 minutes, and every four hours.
    let mut steps = vec![start];
    for minutes in [1, 1, 1, 15, 30, 60]
        .into_iter()
        .chain(std::iter::repeat(240))
    {
        let next = steps
            .last()
            .unwrap()
            .after(Duration::from_secs(minutes * 60));
        if next >= end {
            break;
        }
        steps.push(next);
    }
    let logins: Vec<Tick> = host.logins.iter().map(|(at, _)| *at).collect();
    assert_eq!(logins, steps);
    assert!(host.logins.iter().all(|(_, right)| !right));
    assert_eq!((this.failures, logins.len()), (12, 12));
    assert_eq!((this.reports, host.delivered.len()), (0, 0));
    assert_eq!(this.progress.len(), 480);

    this.reload("right");
    this.run(&mut host);
    assert_eq!((this.progress.len(), this.reports), (0, 0));
    assert_eq!(host.delivered.len(), 480);
    assert!(host.delivered.values().all(|&count| count == 1));
    // As many connections as it takes at 100 messages each.
    assert_eq!(host.logins.iter().filter(|(_, right)| *right).count(), 5);
}
