//! How a way stands: for `mailroot status`, and for the messages that wait on it.

use std::fmt::Write;
use std::time::Duration;

use crate::base::Escaped;
use crate::base::Tick;
use crate::policy::health::Health;
use crate::policy::route::Next;
use crate::queue::schedule::NEVER;
use crate::service::event::Json;
use crate::service::shared::Service;
use crate::service::show::span;
use crate::service::ways::Way;

/// How a way stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it is called.
    pub name: String,
    /// Whether it works.
    pub word: Word,
    /// For how long it has been so, when that is known.
    pub since: Option<Duration>,
    /// When it may be tried next, when that is not now.
    pub next: Option<Duration>,
    /// How many messages its route may send in a minute, when that is why it waits.
    pub pace: Option<u32>,
    /// The host it went to last; empty before the first.
    pub host: String,
    /// Connections open now.
    pub sessions: usize,
    /// Messages that wait.
    pub waiting: usize,
    /// Why it does not work; empty when it does.
    pub why: String,
}

/// Whether a way works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Not known yet.
    Unknown,
    /// The last session got as far as a message.
    Well,
    /// The host or the network is at fault.
    Down,
    /// The setup is at fault.
    Held,
    /// It waits to be fetched by its domain's host.
    Unfetched,
    /// It is being fetched, or was asked for.
    Fetched,
}

impl Word {
    /// For programs.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Well => "well",
            Self::Down => "down",
            Self::Held => "held",
            Self::Unfetched => "unfetched",
            Self::Fetched => "fetched",
        }
    }
}

impl State {
    /// The state of a way on which so many messages wait.
    pub fn new(service: &Service, next: Next, waiting: usize, way: Option<&Way>) -> Self {
        let (live, now) = (service.live(), service.now());
        let pace = next.route().and_then(|route| live.pace(route));
        let name = live.name(next, way.and_then(|way| way.domain.as_ref()));
        Self::of(next, name, waiting, way, pace, now)
    }

    fn of(
        next: Next,
        name: String,
        waiting: usize,
        way: Option<&Way>,
        pace: Option<u32>,
        now: Tick,
    ) -> Self {
        let mut state = Self {
            name,
            word: if next.is_held() {
                Word::Unfetched
            } else {
                Word::Unknown
            },
            since: None,
            next: None,
            pace,
            host: String::new(),
            sessions: 0,
            waiting,
            why: String::new(),
        };
        let Some(way) = way else { return state };
        state.host.clone_from(&way.host);
        state.sessions = way.sessions;
        match &way.health {
            _ if next.is_held() && way.is_asked_for() => state.word = Word::Fetched,
            Health::Down(down) => {
                if !next.is_held() {
                    state.word = if down.held { Word::Held } else { Word::Down };
                    let until = Some(down.until).filter(|until| *until > now && *until < NEVER);
                    state.next = until.map(|until| until.since(now));
                }
                state.since = Some(now.since(down.since));
                state.why.clone_from(&down.why);
            }
            Health::Well | Health::Back(_) if !next.is_held() => state.word = Word::Well,
            Health::Well | Health::Back(_) | Health::Unknown => {}
        }
        state
    }

    /// As a sentence, without the name.
    pub fn text(&self) -> String {
        let mut text = String::from(match (self.word, self.sessions) {
            (Word::Unknown, 0) => "not tried yet",
            (Word::Unknown, _) => "being tried",
            (Word::Well, _) => "well",
            (Word::Down, _) => "down",
            (Word::Held, _) => "held, for the setup is at fault",
            (Word::Unfetched, _) => "held until it is fetched (ETRN or ATRN)",
            (Word::Fetched, _) => "asked for, and going out",
        });
        if let (Some(since), Word::Down) = (self.since, self.word) {
            let _ = write!(text, " for {}", span(since));
        }
        match (self.next, self.sessions) {
            (Some(next), _) => {
                let _ = write!(text, ", next try in {}", span(next));
            }
            (None, 0) => {}
            (None, _) if matches!(self.word, Word::Down | Word::Held) => {
                text.push_str(", being tried now");
            }
            (None, _) => {}
        }
        match (self.sessions, self.host.as_str()) {
            (_, "") => {}
            (0, host) => {
                let _ = write!(text, ", last over {}", Escaped(host.as_bytes()));
            }
            (1, host) => {
                let _ = write!(text, ", connected to {}", Escaped(host.as_bytes()));
            }
            (count, host) => {
                let host = Escaped(host.as_bytes());
                let _ = write!(text, ", {count} connections, the newest to {host}");
            }
        }
        if let Some(pace) = self.pace {
            let _ = write!(text, ", at most {pace} a minute");
        }
        let _ = write!(text, ", {} waiting", self.waiting);
        if !self.why.is_empty() {
            let _ = write!(text, ": {}", self.why);
        }
        text
    }

    /// As a JSON object.
    pub fn json(&self) -> String {
        let mut out = format!(
            "{{\"way\":{},\"state\":\"{}\",\"waiting\":{},\"connections\":{}",
            Json(&self.name),
            self.word.key(),
            self.waiting,
            self.sessions
        );
        let seconds = [("since_secs", self.since), ("next_secs", self.next)];
        for (key, wait) in seconds {
            if let Some(wait) = wait {
                let _ = write!(out, ",\"{key}\":{}", wait.as_secs());
            }
        }
        if let Some(pace) = self.pace {
            let _ = write!(out, ",\"a_minute\":{pace}");
        }
        let _ = write!(
            out,
            ",\"host\":{},\"why\":{}}}",
            Json(&self.host),
            Json(&self.why)
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::State;
    use crate::base::Tick;
    use crate::mail::Domain;
    use crate::policy::retry::Waits;
    use crate::policy::route::{Destination, Next};
    use crate::service::ways::Way;

    #[test]
    fn an_owner_reads_which_host_why_it_waits_and_when_it_is_tried() {
        let now = Tick::from_millis(1_000_000);
        let domain = Domain::parse("a.example").unwrap();
        let (own, held) = (
            Next::Domain(0, Destination::of(&domain)),
            Next::Held(0, Destination::of(&domain)),
        );
        let mut way = Way::default();
        let text = |next, way: &Way, pace, later: u64| {
            let now = Tick::from_millis(1_000_000 + later * 1000);
            State::of(next, String::new(), 3, Some(way), pace, now).text()
        };
        assert_eq!(text(own, &way, None, 0), "not tried yet, 3 waiting");
        way.sessions = 1;
        assert_eq!(text(own, &way, None, 0), "being tried, 3 waiting");
        way.host = String::from("mx.a.example [192.0.2.1]");
        way.health.on_success(Tick::default());
        assert_eq!(
            text(own, &way, Some(30), 0),
            "well, connected to mx.a.example [192.0.2.1], at most 30 a minute, 3 waiting"
        );
        way.sessions = 0;
        let waits = Waits::default();
        let why = String::from("4.4.1 no answer in time");
        way.health.on_failure(now, &waits, 0, false, why);
        assert_eq!(
            text(own, &way, None, 20),
            "down for 20s, next try in 40s, last over mx.a.example [192.0.2.1], 3 waiting: 4.4.1 no answer in time"
        );
        way.sessions = 1;
        assert_eq!(
            text(own, &way, None, 65),
            "down for 1m5s, being tried now, connected to mx.a.example [192.0.2.1], 3 waiting: 4.4.1 no answer in time"
        );
        way.sessions = 0;
        way.health
            .on_failure(now, &waits, 0, true, String::from("535 5.7.8 no"));
        assert!(
            text(own, &way, None, 0)
                .starts_with("held, for the setup is at fault, next try in 1m0s")
        );
        assert_eq!(
            text(held, &Way::default(), None, 0),
            "held until it is fetched (ETRN or ATRN), 3 waiting"
        );
        let state = State::of(own, String::from("a.example"), 3, Some(&way), None, now);
        assert_eq!(
            state.json(),
            "{\"way\":\"a.example\",\"state\":\"held\",\"waiting\":3,\"connections\":0,\"since_secs\":0,\
             \"next_secs\":60,\"host\":\"mx.a.example [192.0.2.1]\",\"why\":\"535 5.7.8 no\"}"
        );
    }
}
