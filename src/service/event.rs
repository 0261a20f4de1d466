//! Everything the service can log, as one enum. Text and JSON are made from it in one place.
//!
//! What a stranger sent is escaped when it is printed, and bounded where it was read; so one event is one line of
//! bounded length.

use std::fmt;
use std::fmt::Write;
use std::net::IpAddr;

use log::Level;

use crate::base::Escaped;
use crate::base::MsgId;
use crate::service::logs::exchange::Exchange;

/// One thing that happened.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentences below say what each is")]
pub enum Event<'a> {
    Started {
        version: &'a str,
        home: &'a str,
        queued: usize,
    },
    Listening {
        address: &'a str,
    },
    Stopping {
        signal: &'a str,
    },
    Stopped {
        queued: usize,
    },
    /// The service is another user than the one that started it.
    UserChanged {
        user: &'a str,
        uid: u32,
        gid: u32,
    },
    /// It is not, though that would be better or was wanted.
    UserStays {
        why: &'a str,
    },
    /// Whether the service is locked out of files that it does not need, and why not.
    Sandbox {
        state: &'a str,
        why: &'a str,
    },
    /// A virtual server does not run, or does not start.
    ServerFailed {
        file: &'a str,
        why: &'a str,
        wait_secs: Option<u64>,
    },
    Reloaded,
    ReloadRefused {
        why: &'a str,
    },
    Recovered {
        note: &'a str,
    },
    ClientRefused {
        client: &'a str,
        why: &'a str,
    },
    SessionFailed {
        client: &'a str,
        why: &'a str,
    },
    LoginFailed {
        client: &'a str,
        user: &'a str,
        why: &'a str,
    },
    CertificateRead {
        file: &'a str,
    },
    Fetched {
        client: &'a str,
        user: &'a str,
        by: &'a str,
        domain: &'a str,
        messages: usize,
    },
    /// A policy of MTA-STS was fetched.
    StsPolicy {
        domain: &'a str,
        mode: &'a str,
        max_age_secs: u64,
    },
    /// It could not be; whether an older one goes on counting.
    StsFailed {
        domain: &'a str,
        why: &'a str,
        kept: bool,
    },
    /// What a policy that is only tested would have refused.
    StsTesting {
        domain: &'a str,
        why: &'a str,
    },
    /// The box's clock reads less than is known to have been.
    ClockWrong {
        reads: &'a str,
        known: &'a str,
    },
    ClockRight {
        reads: &'a str,
    },
    Ordered {
        uid: u32,
        request: &'a str,
    },
    OrderRefused {
        uid: u32,
        request: &'a str,
        why: &'a str,
    },
    RecipientRefused {
        client: &'a str,
        to: &'a str,
        why: &'a str,
    },
    Accepted {
        id: MsgId,
        door: &'a str,
        origin: &'a str,
        from: &'a str,
        recipients: usize,
        bytes: u64,
    },
    Refused {
        door: &'a str,
        origin: &'a str,
        why: &'a str,
    },
    Delivered {
        id: MsgId,
        to: &'a str,
        way: &'a str,
        reply: &'a str,
    },
    Deferred {
        id: MsgId,
        to: &'a str,
        way: &'a str,
        why: &'a str,
        wait_secs: u64,
    },
    Failed {
        id: MsgId,
        to: &'a str,
        way: &'a str,
        why: &'a str,
    },
    Completed {
        id: MsgId,
    },
    Reported {
        id: MsgId,
        report: MsgId,
        to: &'a str,
        of: &'a str,
    },
    /// The directory has said who gets a message; it goes on as another.
    Resolved {
        id: MsgId,
        new: MsgId,
        recipients: usize,
    },
    MembersMissing {
        group: &'a str,
        members: &'a str,
    },
    Badmail {
        id: MsgId,
        why: &'a str,
    },
    BadmailPruned {
        stem: &'a str,
        bytes: u64,
    },
    Held {
        id: MsgId,
        why: &'a str,
    },
    Removed {
        id: MsgId,
    },
    Damaged {
        id: MsgId,
        why: &'a str,
    },
    WayDown {
        way: &'a str,
        why: &'a str,
        wait_secs: u64,
    },
    WayHeld {
        way: &'a str,
        why: &'a str,
        wait_secs: u64,
    },
    WayWell {
        way: &'a str,
    },
    HostFailed {
        way: &'a str,
        host: &'a str,
        why: &'a str,
    },
    NetworkBack {
        wait_secs: u64,
    },
    PickupBad {
        file: &'a str,
        why: &'a str,
    },
    PickupWaits {
        file: &'a str,
        why: &'a str,
    },
    AliasesRead {
        count: usize,
    },
    Trouble {
        what: &'a str,
        why: &'a str,
    },
    /// A command or a reply, where the dialogue is wanted among the events.
    Dialogue(&'a Exchange<'a>),
    /// A program of the owner has run. `about` is a message or a way.
    HookRan {
        exec: &'a str,
        on: &'a str,
        about: &'a str,
        code: i32,
        said: &'a str,
    },
    /// It could not, or not to its end.
    HookFailed {
        exec: &'a str,
        on: &'a str,
        about: &'a str,
        why: &'a str,
    },
    /// So many lines could not be written in time.
    LogLost {
        lines: u64,
    },
}

/// A value of a field.
enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Id(MsgId),
    Ip(IpAddr),
}

fn count(n: usize) -> Value<'static> {
    Value::Number(u64::try_from(n).unwrap_or(u64::MAX))
}

type Fields<'a> = heapless::Vec<(&'static str, Value<'a>), 9>;

impl Event<'_> {
    /// How grave it is.
    pub fn level(&self) -> Level {
        match self {
            Self::ServerFailed { .. }
            | Self::WayHeld { .. }
            | Self::Damaged { .. }
            | Self::Trouble { .. } => Level::Error,
            Self::ReloadRefused { .. }
            | Self::Recovered { .. }
            | Self::Refused { .. }
            | Self::Failed { .. }
            | Self::Badmail { .. }
            | Self::BadmailPruned { .. }
            | Self::Held { .. }
            | Self::WayDown { .. }
            | Self::PickupBad { .. }
            | Self::PickupWaits { .. }
            | Self::LoginFailed { .. }
            | Self::MembersMissing { .. }
            | Self::ClockWrong { .. }
            | Self::StsFailed { .. }
            | Self::OrderRefused { .. }
            | Self::LogLost { .. }
            | Self::UserStays { .. }
            | Self::HookFailed { .. }
            | Self::ClientRefused { .. } => Level::Warn,
            Self::SessionFailed { .. } | Self::Sandbox { .. } => Level::Debug,
            _ => Level::Info,
        }
    }

    /// The event's stable name, and its fields in the order in which they are printed.
    #[expect(clippy::too_many_lines, reason = "one arm an event, nothing else")]
    fn parts(&self) -> (&'static str, Fields<'_>) {
        use Value::Id;
        use Value::Number;
        use Value::Text;
        let mut fields = Fields::new();
        let mut put = |name, value| {
            // The widest event has nine fields; a tenth would be left out, not panic.
            let _ = fields.push((name, value));
        };
        let name = match self {
            Self::Started {
                version,
                home,
                queued,
            } => {
                put("version", Text(version));
                put("home", Text(home));
                put("queued", count(*queued));
                "started"
            }
            Self::Listening { address } => {
                put("address", Text(address));
                "listening"
            }
            Self::Stopping { signal } => {
                put("signal", Text(signal));
                "stopping"
            }
            Self::Stopped { queued } => {
                put("queued", count(*queued));
                "stopped"
            }
            Self::UserChanged { user, uid, gid } => {
                put("user", Text(user));
                put("uid", Number(u64::from(*uid)));
                put("gid", Number(u64::from(*gid)));
                "user-changed"
            }
            Self::Sandbox { state, why } => {
                put("state", Text(state));
                put("why", Text(why));
                "sandbox"
            }
            Self::UserStays { why } => {
                put("why", Text(why));
                "user-stays"
            }
            Self::ServerFailed {
                file,
                why,
                wait_secs,
            } => {
                put("file", Text(file));
                put("why", Text(why));
                if let Some(wait) = wait_secs {
                    put("wait", Number(*wait));
                }
                "server-failed"
            }
            Self::Reloaded => "reloaded",
            Self::ReloadRefused { why } => {
                put("why", Text(why));
                "reload-refused"
            }
            Self::Recovered { note } => {
                put("note", Text(note));
                "recovered"
            }
            Self::ClientRefused { client, why } => {
                put("client", Text(client));
                put("why", Text(why));
                "client-refused"
            }
            Self::SessionFailed { client, why } => {
                put("client", Text(client));
                put("why", Text(why));
                "session-failed"
            }
            Self::LoginFailed { client, user, why } => {
                put("client", Text(client));
                put("user", Text(user));
                put("why", Text(why));
                "login-failed"
            }
            Self::StsPolicy {
                domain,
                mode,
                max_age_secs,
            } => {
                put("domain", Text(domain));
                put("mode", Text(mode));
                put("max_age", Number(*max_age_secs));
                "sts-policy"
            }
            Self::StsFailed { domain, why, kept } => {
                put("domain", Text(domain));
                put("why", Text(why));
                put("kept", Text(if *kept { "yes" } else { "no" }));
                "sts-failed"
            }
            Self::StsTesting { domain, why } => {
                put("domain", Text(domain));
                put("why", Text(why));
                "sts-testing"
            }
            Self::ClockWrong { reads, known } => {
                put("reads", Text(reads));
                put("known", Text(known));
                "clock-wrong"
            }
            Self::ClockRight { reads } => {
                put("reads", Text(reads));
                "clock-right"
            }
            Self::CertificateRead { file } => {
                put("file", Text(file));
                "certificate-read"
            }
            Self::Fetched {
                client,
                user,
                by,
                domain,
                messages,
            } => {
                put("client", Text(client));
                put("user", Text(user));
                put("by", Text(by));
                put("domain", Text(domain));
                put("messages", count(*messages));
                "fetched"
            }
            Self::Ordered { uid, request } => {
                put("uid", Number(u64::from(*uid)));
                put("request", Text(request));
                "ordered"
            }
            Self::OrderRefused { uid, request, why } => {
                put("uid", Number(u64::from(*uid)));
                put("request", Text(request));
                put("why", Text(why));
                "order-refused"
            }
            Self::RecipientRefused { client, to, why } => {
                put("client", Text(client));
                put("to", Text(to));
                put("why", Text(why));
                "recipient-refused"
            }
            Self::Accepted {
                id,
                door,
                origin,
                from,
                recipients,
                bytes,
            } => {
                put("id", Id(*id));
                put("door", Text(door));
                put("origin", Text(origin));
                put("from", Text(from));
                put("recipients", count(*recipients));
                put("bytes", Number(*bytes));
                "accepted"
            }
            Self::Refused { door, origin, why } => {
                put("door", Text(door));
                put("origin", Text(origin));
                put("why", Text(why));
                "refused"
            }
            Self::Delivered { id, to, way, reply } => {
                put("id", Id(*id));
                put("to", Text(to));
                put("way", Text(way));
                put("reply", Text(reply));
                "delivered"
            }
            Self::Deferred {
                id,
                to,
                way,
                why,
                wait_secs,
            } => {
                put("id", Id(*id));
                put("to", Text(to));
                put("way", Text(way));
                put("why", Text(why));
                put("wait", Number(*wait_secs));
                "deferred"
            }
            Self::Failed { id, to, way, why } => {
                put("id", Id(*id));
                put("to", Text(to));
                put("way", Text(way));
                put("why", Text(why));
                "failed"
            }
            Self::Completed { id } => {
                put("id", Id(*id));
                "completed"
            }
            Self::Reported { id, report, to, of } => {
                put("id", Id(*id));
                put("report", Id(*report));
                put("to", Text(to));
                put("of", Text(of));
                "reported"
            }
            Self::Resolved {
                id,
                new,
                recipients,
            } => {
                put("id", Id(*id));
                put("new", Id(*new));
                put("recipients", count(*recipients));
                "resolved"
            }
            Self::MembersMissing { group, members } => {
                put("group", Text(group));
                put("members", Text(members));
                "members-missing"
            }
            Self::Badmail { id, why } => {
                put("id", Id(*id));
                put("why", Text(why));
                "badmail"
            }
            Self::BadmailPruned { stem, bytes } => {
                put("id", Text(stem));
                put("bytes", Number(*bytes));
                "badmail-pruned"
            }
            Self::Held { id, why } => {
                put("id", Id(*id));
                put("why", Text(why));
                "held"
            }
            Self::Removed { id } => {
                put("id", Id(*id));
                "removed"
            }
            Self::Damaged { id, why } => {
                put("id", Id(*id));
                put("why", Text(why));
                "damaged"
            }
            Self::WayDown {
                way,
                why,
                wait_secs,
            } => {
                put("way", Text(way));
                put("why", Text(why));
                put("wait", Number(*wait_secs));
                "way-down"
            }
            Self::WayHeld {
                way,
                why,
                wait_secs,
            } => {
                put("way", Text(way));
                put("why", Text(why));
                put("wait", Number(*wait_secs));
                "way-held"
            }
            Self::WayWell { way } => {
                put("way", Text(way));
                "way-well"
            }
            Self::HostFailed { way, host, why } => {
                put("way", Text(way));
                put("host", Text(host));
                put("why", Text(why));
                "host-failed"
            }
            Self::NetworkBack { wait_secs } => {
                put("wait", Number(*wait_secs));
                "network-back"
            }
            Self::PickupBad { file, why } => {
                put("file", Text(file));
                put("why", Text(why));
                "pickup-bad"
            }
            Self::PickupWaits { file, why } => {
                put("file", Text(file));
                put("why", Text(why));
                "pickup-waits"
            }
            Self::AliasesRead { count } => {
                put("count", Number(u64::try_from(*count).unwrap_or(u64::MAX)));
                "aliases-read"
            }
            Self::Trouble { what, why } => {
                put("what", Text(what));
                put("why", Text(why));
                "trouble"
            }
            Self::Dialogue(said) => {
                put("side", Text(said.side.word()));
                put("peer", said.peer.map_or(Text("local"), Value::Ip));
                put("name", Text(said.name));
                put("verb", Text(said.verb));
                put("text", Text(said.text));
                put("code", Number(u64::from(said.code)));
                put("in", Number(said.received));
                put("out", Number(said.sent));
                put("ms", Number(said.millis));
                "dialogue"
            }
            Self::HookRan {
                exec,
                on,
                about,
                code,
                said,
            } => {
                put("exec", Text(exec));
                put("on", Text(on));
                put("about", Text(about));
                put("code", Number(u64::try_from(*code).unwrap_or(0)));
                put("said", Text(said));
                "hook-ran"
            }
            Self::HookFailed {
                exec,
                on,
                about,
                why,
            } => {
                put("exec", Text(exec));
                put("on", Text(on));
                put("about", Text(about));
                put("why", Text(why));
                "hook-failed"
            }
            Self::LogLost { lines } => {
                put("lines", Number(*lines));
                "log-lost"
            }
        };
        (name, fields)
    }

    /// The event's stable name.
    pub fn name(&self) -> &'static str {
        self.parts().0
    }

    /// Its fields, one after the other: the name, and the value as it is printed.
    pub fn each_field(&self, mut each: impl FnMut(&'static str, &dyn fmt::Display)) {
        for (key, value) in &self.parts().1 {
            match value {
                Value::Text(text) => each(key, &Escaped(text.as_bytes())),
                Value::Number(number) => each(key, number),
                Value::Id(id) => each(key, id),
                Value::Ip(ip) => each(key, ip),
            }
        }
    }

    /// The event as one JSON object without a line end.
    pub fn json(&self) -> String {
        let (name, fields) = self.parts();
        let mut out = format!("{{\"event\":\"{name}\"");
        for (key, value) in &fields {
            // Writing into a String cannot fail.
            let _ = match value {
                Value::Text(text) => write!(out, ",\"{key}\":{}", Json(text)),
                Value::Number(n) => write!(out, ",\"{key}\":{n}"),
                Value::Id(id) => write!(out, ",\"{key}\":\"{id}\""),
                Value::Ip(ip) => write!(out, ",\"{key}\":\"{ip}\""),
            };
        }
        out.push('}');
        out
    }
}

/// `name key=value key="two words"`.
impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, fields) = self.parts();
        f.write_str(name)?;
        for (key, value) in &fields {
            match value {
                Value::Text(text) if plain(text) => write!(f, " {key}={text}")?,
                Value::Text(text) => write!(f, " {key}={}", Quoted(text))?,
                Value::Number(n) => write!(f, " {key}={n}")?,
                Value::Id(id) => write!(f, " {key}={id}")?,
                Value::Ip(ip) => write!(f, " {key}={ip}")?,
            }
        }
        Ok(())
    }
}

/// Whether a value needs no quotes.
fn plain(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\' && b != b'=';
    !text.is_empty() && text.bytes().all(fits)
}

/// A value in quotes, so that a line can be taken apart again.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for (at, part) in self.0.split('"').enumerate() {
            let between = if at > 0 { "\\\"" } else { "" };
            write!(f, "{between}{}", Escaped(part.as_bytes()))?;
        }
        f.write_char('"')
    }
}

/// A text as a JSON string, quotes included.
pub struct Json<'a>(pub &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::Event;
    use crate::base::MsgId;

    #[test]
    fn one_event_is_one_line_whatever_a_peer_said() {
        let event = Event::Deferred {
            id: MsgId::from_number(33),
            to: "a@b.example",
            way: "relay",
            why: "450 busy\r\nfake \"line\"\u{1b}[0m",
            wait_secs: 60,
        };
        assert_eq!(
            event.to_string(),
            "deferred id=11 to=a@b.example way=relay why=\"450 busy\\x0d\\x0afake \\\"line\\\"\\x1b[0m\" wait=60"
        );
        assert_eq!(
            event.json(),
            "{\"event\":\"deferred\",\"id\":\"11\",\"to\":\"a@b.example\",\"way\":\"relay\",\
             \"why\":\"450 busy\\u000d\\nfake \\\"line\\\"\\u001b[0m\",\"wait\":60}"
        );
    }
}
