//! What a setting may hold: each kind reads its text, says what it allows, and prints its value as TOML.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::endpoint::At;
use crate::config::endpoint::Directory;
use crate::config::endpoint::Host;
use crate::config::endpoint::Tls;
use crate::config::receiver::Receiver;
use crate::config::units;
use crate::config::units::BadUnit;
use crate::mail::Address;
use crate::mail::Domain;
use crate::policy::access::BadNetwork;
use crate::policy::access::Network;
use crate::policy::route::Pattern;

/// What a setting may hold, with its bounds (both ends are allowed).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int(u64, u64),
    /// Bytes, as `"10MB"`.
    Size(u64, u64),
    /// Seconds, written as `"15m"`.
    Wait(u64, u64),
    /// One line of text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A mailbox.
    Address,
    /// A host or domain name, or an address literal.
    Domain,
    /// `example.com`, `*.example.com` or `*`.
    Pattern,
    /// An IP address and a port to listen on, the path of a socket, or the name of one that is handed over.
    Listen,
    /// An IP address, with or without a port (then 53).
    NameServer,
    /// A host and perhaps a port.
    Host,
    /// The URL of a directory.
    Directory,
    /// An IP address.
    Ip,
    /// A network in CIDR form.
    Network,
    /// How TLS is used with a peer.
    Tls,
    /// A receiver of syslog.
    Receiver,
    /// A file or folder. Relative paths count from `home`.
    Path,
    /// A file with a password in it.
    SecretFile,
    /// The name of an environment variable.
    Variable,
    /// That, or the word `"off"`.
    OrOff(&'static Kind),
    /// Any number of these.
    List(&'static Kind),
}

/// A value that was read and is good.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The word `off` where it is allowed.
    Off,
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`].
    Int(u64),
    /// Of [`Kind::Size`], in bytes.
    Size(u64),
    /// Of [`Kind::Wait`].
    Wait(Duration),
    /// Of [`Kind::Text`] and [`Kind::Variable`].
    Text(String),
    /// Of [`Kind::Word`]: one of its words.
    Word(&'static str),
    /// Of [`Kind::Address`].
    Address(Address),
    /// Of [`Kind::Domain`].
    Domain(Domain),
    /// Of [`Kind::Pattern`].
    Pattern(Pattern),
    /// Of [`Kind::NameServer`].
    Socket(SocketAddr),
    /// Of [`Kind::Listen`].
    At(At),
    /// Of [`Kind::Host`].
    Host(Host),
    /// Of [`Kind::Directory`].
    Directory(Directory),
    /// Of [`Kind::Ip`].
    Ip(IpAddr),
    /// Of [`Kind::Network`].
    Network(Network),
    /// Of [`Kind::Tls`].
    Tls(Tls),
    /// Of [`Kind::Receiver`].
    Receiver(Receiver),
    /// Of [`Kind::Path`] and [`Kind::SecretFile`].
    Path(PathBuf),
    /// Of [`Kind::List`].
    List(Vec<Value>),
}

/// Why a value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadValue {
    /// A TOML type that cannot be meant, named.
    Type(&'static str),
    /// Below the least or above the most.
    Bounds,
    /// A wait or size that cannot be read.
    Unit(BadUnit),
    /// Any other text that cannot be read.
    Text,
    /// A line end or another control character in a text.
    Control,
    /// A network with bits behind its prefix.
    HostBits,
    /// A list in which a value stands twice.
    Twice,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(found) => write!(f, "{found} cannot stand here"),
            Self::Bounds => f.write_str("out of bounds"),
            Self::Unit(why) => why.fmt(f),
            Self::Text => f.write_str("cannot be read"),
            Self::Control => f.write_str("it has a line end or control character inside"),
            Self::HostBits => f.write_str("it has bits set behind its prefix"),
            Self::Twice => f.write_str("the same value stands here twice"),
        }
    }
}

impl std::error::Error for BadValue {}

impl Kind {
    /// Reads a value from bare text: a TOML string, a default of the schema, or what stands behind `--set key=`.
    /// Lists are split at commas.
    pub fn read(&self, text: &str) -> Result<Value, BadValue> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(BadValue::Control);
        }
        match *self {
            Self::Bool => match text {
                "true" | "yes" | "on" => Ok(Value::Bool(true)),
                "false" | "no" | "off" => Ok(Value::Bool(false)),
                _ => Err(BadValue::Text),
            },
            Self::Int(..) => self.number(text.parse().map_err(|_| BadValue::Text)?),
            Self::Size(least, most) => {
                let bytes = units::size(text).map_err(BadValue::Unit)?;
                within(bytes, least, most).map(Value::Size)
            }
            Self::Wait(least, most) => {
                let wait = units::wait(text).map_err(BadValue::Unit)?;
                within(wait.as_secs(), least, most).map(|_| Value::Wait(wait))
            }
            Self::Text if text.is_empty() => Err(BadValue::Text),
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Word(words) => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Value::Word(word))
                .ok_or(BadValue::Text),
            Self::Address => good(Address::parse(text)).map(Value::Address),
            Self::Domain => good(Domain::parse(text)).map(Value::Domain),
            Self::Pattern => good(Pattern::parse(text)).map(Value::Pattern),
            Self::Listen => At::parse(text).map(Value::At).ok_or(BadValue::Text),
            Self::NameServer => name_server(text).map(Value::Socket).ok_or(BadValue::Text),
            Self::Host => Host::parse(text).map(Value::Host).ok_or(BadValue::Text),
            Self::Directory => Directory::parse(text)
                .map(Value::Directory)
                .ok_or(BadValue::Text),
            Self::Ip => good(text.parse()).map(Value::Ip),
            Self::Network => network(text).map(Value::Network),
            Self::Tls => Tls::parse(text).map(Value::Tls).ok_or(BadValue::Text),
            Self::Receiver => Receiver::parse(text)
                .map(Value::Receiver)
                .ok_or(BadValue::Text),
            Self::Path | Self::SecretFile if text.is_empty() => Err(BadValue::Text),
            Self::Path | Self::SecretFile => Ok(Value::Path(PathBuf::from(text))),
            Self::Variable => variable(text),
            Self::OrOff(kind) => match text {
                "off" => Ok(Value::Off),
                _ => kind.read(text),
            },
            // As in the file, too: `--set access.relay='["10.0.0.0/8"]'`.
            Self::List(_)
                if text.starts_with('[') && text.ends_with(']') && !text.contains("]:") =>
            {
                let inner = text.trim_start_matches('[').trim_end_matches(']');
                self.read(&inner.replace(['"', '\''], ""))
            }
            Self::List(_) if text.trim().is_empty() => Ok(Value::List(Vec::new())),
            Self::List(kind) => {
                let list: Result<Vec<_>, _> = text.split(',').map(|one| kind.read(one)).collect();
                kind.list(list?)
            }
        }
    }

    /// Makes a list of values of this kind. Only waits may stand in it twice.
    pub fn list(&self, list: Vec<Value>) -> Result<Value, BadValue> {
        let again = |at: usize| list.iter().skip(at.saturating_add(1));
        let twice = |(at, value)| again(at).any(|other| other == value);
        if !matches!(self, Self::Wait(..)) && list.iter().enumerate().any(twice) {
            return Err(BadValue::Twice);
        }
        Ok(Value::List(list))
    }

    /// Reads a bare number.
    pub fn number(&self, number: u64) -> Result<Value, BadValue> {
        match *self {
            Self::Int(least, most) => within(number, least, most).map(Value::Int),
            Self::Size(least, most) => within(number, least, most).map(Value::Size),
            Self::Wait(..) => Err(BadValue::Unit(BadUnit::Missing)),
            Self::OrOff(kind) => kind.number(number),
            _ => Err(BadValue::Type("a number")),
        }
    }

    /// What is allowed, as the end of "write ...".
    pub fn allowed(&self) -> String {
        match *self {
            Self::Bool => "true or false".to_owned(),
            Self::Int(least, most) => format!("a number from {least} to {most}"),
            Self::Size(least, most) => format!(
                "a size from {} to {}, such as {}",
                units::Size(least),
                units::Size(most),
                self.such_as(&["64KiB", "10MB", "1GB"])
            ),
            Self::Wait(least, most) => format!(
                "a wait from {} to {}, such as {}",
                units::Wait(Duration::from_secs(least)),
                units::Wait(Duration::from_secs(most)),
                self.such_as(&["30s", "15m", "2d"])
            ),
            Self::Text => "one line of text".to_owned(),
            Self::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
            Self::Address => "an address such as \"owner@example.com\"".to_owned(),
            Self::Domain => "a domain such as \"nas.example.com\"".to_owned(),
            Self::Pattern => "\"example.com\", \"*.example.com\" or \"*\"".to_owned(),
            Self::Listen => {
                "an IP address and a port, such as \"127.0.0.1:25\" or \"[::]:25\", a path, or \"systemd:NAME\"".to_owned()
            }
            Self::NameServer => {
                "an IP address, such as \"192.168.1.1\" or \"192.168.1.1:5353\"".to_owned()
            }
            Self::Directory => {
                "a URL such as \"ldaps://dc1.example.com\", \"ldap://192.0.2.1:389\" or \"ldapi:///run/slapd/ldapi\""
                    .to_owned()
            }
            Self::Host => {
                "a host and a port, such as \"smtp.example.com:587\" or \"[2001:db8::1]:25\""
                    .to_owned()
            }
            Self::Ip => "an IP address such as \"192.0.2.1\" or \"2001:db8::1\"".to_owned(),
            Self::Network => "a network such as \"192.168.1.0/24\" or \"fd00::/8\"".to_owned(),
            Self::Tls => "\"off\", \"opportunistic\", \"require\", \"verify\", \"dane\", \"dane-only\" or \"pin:\" and 64 \
                          hexadecimal digits"
                .to_owned(),
            Self::Receiver => {
                "\"udp://\" or \"tcp://\" with a host and perhaps a port, or the path of a socket".to_owned()
            }
            Self::Path => "a path".to_owned(),
            Self::SecretFile => "the path of a file with the password in it".to_owned(),
            Self::Variable => {
                "the name of an environment variable, such as \"MAILROOT_PASSWORD\"".to_owned()
            }
            Self::OrOff(kind) => format!("\"off\", or {}", kind.allowed()),
            Self::List(kind) => format!("a list in brackets; each part is {}", kind.allowed()),
        }
    }

    /// Those of the examples that are within bounds.
    fn such_as(&self, examples: &[&str]) -> String {
        let good = examples.iter().filter(|text| self.read(text).is_ok());
        let quoted: Vec<String> = good.map(|text| format!("\"{text}\"")).collect();
        quoted.join(" or ")
    }
}

fn within(number: u64, least: u64, most: u64) -> Result<u64, BadValue> {
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(BadValue::Bounds)
    }
}

fn good<T, E>(result: Result<T, E>) -> Result<T, BadValue> {
    result.map_err(|_| BadValue::Text)
}

fn name_server(text: &str) -> Option<SocketAddr> {
    let ip = || text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53));
    text.parse()
        .ok()
        .or_else(ip)
        .filter(|at: &SocketAddr| at.port() != 0)
}

fn network(text: &str) -> Result<Network, BadValue> {
    Network::parse(text).map_err(|bad| match bad {
        BadNetwork::HostBits => BadValue::HostBits,
        BadNetwork::Address | BadNetwork::Bits => BadValue::Text,
    })
}

fn variable(text: &str) -> Result<Value, BadValue> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(fits)
    {
        return Err(BadValue::Text);
    }
    Ok(Value::Text(text.to_owned()))
}

/// As a TOML value.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("\"off\""),
            Self::Bool(yes) => yes.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Size(bytes) => write!(f, "\"{}\"", units::Size(*bytes)),
            Self::Wait(wait) => write!(f, "\"{}\"", units::Wait(*wait)),
            Self::Text(text) => quoted(f, text),
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Address(address) => quoted(f, &address.to_string()),
            Self::Domain(domain) => quoted(f, domain.as_str()),
            Self::Pattern(Pattern::Any) => f.write_str("\"*\""),
            Self::Pattern(Pattern::Below(parent)) => quoted(f, &format!("*.{parent}")),
            Self::Pattern(Pattern::Exact(domain)) => quoted(f, domain.as_str()),
            Self::Socket(at) => write!(f, "\"{at}\""),
            Self::At(at) => quoted(f, &at.to_string()),
            Self::Host(host) => write!(f, "\"{host}\""),
            Self::Directory(at) => quoted(f, &at.to_string()),
            Self::Ip(ip) => write!(f, "\"{ip}\""),
            Self::Network(network) => write!(f, "\"{network}\""),
            Self::Tls(tls) => write!(f, "\"{tls}\""),
            Self::Receiver(receiver) => quoted(f, &receiver.to_string()),
            Self::Path(path) => quoted(f, &path.to_string_lossy()),
            Self::List(list) => {
                f.write_str("[")?;
                for (at, value) in list.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A TOML basic string. Control characters were refused when the value was read.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    write!(f, "\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::{BadValue, Kind};
    use crate::config::units::BadUnit;

    #[test]
    fn values_are_read_and_printed() {
        let pin = "pin:".to_owned() + &"AB:".repeat(31) + "ab";
        let pinned = format!("\"pin:{}\"", "ab".repeat(32));
        for (kind, text, want) in [
            (Kind::Bool, "yes", Ok("true")),
            (Kind::Bool, "True", Err(BadValue::Text)),
            (Kind::Int(1, 5), " 5 ", Ok("5")),
            (Kind::Int(1, 5), "6", Err(BadValue::Bounds)),
            (Kind::Int(1, 5), "+5", Ok("5")),
            (Kind::Int(1, 5), "", Err(BadValue::Text)),
            (Kind::Size(1, 2_000_000), "2MB", Ok("\"2MB\"")),
            (Kind::Size(1, 2_000_000), "2MiB", Err(BadValue::Bounds)),
            (Kind::Size(1, 5), "x", Err(BadValue::Unit(BadUnit::Number))),
            (Kind::Wait(1, 60), "1m", Ok("\"1m\"")),
            (Kind::Wait(1, 60), "0s", Err(BadValue::Bounds)),
            (Kind::Text, "a \"b\" \\", Ok("\"a \\\"b\\\" \\\\\"")),
            (Kind::Text, "a\nb", Err(BadValue::Control)),
            (Kind::Text, " ", Err(BadValue::Text)),
            (Kind::Word(&["a", "b"]), "b", Ok("\"b\"")),
            (Kind::Word(&["a", "b"]), "B", Err(BadValue::Text)),
            (Kind::Address, "Me@Example.com", Ok("\"Me@example.com\"")),
            (Kind::Domain, "NAS.lan.", Ok("\"nas.lan\"")),
            (Kind::Pattern, "*.Example.com", Ok("\"*.example.com\"")),
            (Kind::Pattern, "*", Ok("\"*\"")),
            (Kind::Pattern, "a*", Err(BadValue::Text)),
            (Kind::Ip, "2001:DB8::1", Ok("\"2001:db8::1\"")),
            (Kind::Ip, "192.0.2.1:25", Err(BadValue::Text)),
            (Kind::Listen, "[::]:25", Ok("\"[::]:25\"")),
            (Kind::Listen, "127.0.0.1", Err(BadValue::Text)),
            (Kind::Listen, "/run/smtp", Ok("\"/run/smtp\"")),
            (Kind::Listen, "run/smtp", Err(BadValue::Text)),
            (Kind::Listen, "systemd:smtp", Ok("\"systemd:smtp\"")),
            (Kind::Listen, "systemd:", Err(BadValue::Text)),
            (Kind::NameServer, "::1", Ok("\"[::1]:53\"")),
            (Kind::NameServer, "192.0.2.1:0", Err(BadValue::Text)),
            (
                Kind::Directory,
                "LDAPS://dc.example:1636/",
                Ok("\"ldaps://dc.example:1636\""),
            ),
            (
                Kind::Directory,
                "ldapi://%2frun%2Fldapi",
                Ok("\"ldapi:///run/ldapi\""),
            ),
            (Kind::Directory, "ldapi://run", Err(BadValue::Text)),
            (Kind::Directory, "http://dc.example", Err(BadValue::Text)),
            (Kind::Host, "h.example", Ok("\"h.example\"")),
            (Kind::Host, "[192.0.2.1]", Ok("\"192.0.2.1\"")),
            (
                Kind::Host,
                "[IPv6:2001:db8::1]:25",
                Ok("\"[2001:db8::1]:25\""),
            ),
            (Kind::Host, "h.example:25:26", Err(BadValue::Text)),
            (Kind::Network, "10.0.0.0/8", Ok("\"10.0.0.0/8\"")),
            (Kind::Network, "10.0.0.1/8", Err(BadValue::HostBits)),
            (Kind::Tls, "verify", Ok("\"verify\"")),
            (Kind::Tls, &pin, Ok(&pinned)),
            (Kind::Tls, "pin:ab", Err(BadValue::Text)),
            (Kind::Variable, "A_1", Ok("\"A_1\"")),
            (Kind::Variable, "1A", Err(BadValue::Text)),
            (Kind::Variable, "A=B", Err(BadValue::Text)),
            (Kind::OrOff(&Kind::Int(1, 5)), "off", Ok("\"off\"")),
            (Kind::OrOff(&Kind::Int(1, 5)), "5", Ok("5")),
            (
                Kind::List(&Kind::Domain),
                "a.b, c.d",
                Ok("[\"a.b\", \"c.d\"]"),
            ),
            (Kind::List(&Kind::Domain), "", Ok("[]")),
            (Kind::List(&Kind::Domain), "[]", Ok("[]")),
            (
                Kind::List(&Kind::Domain),
                "[ \"a.b\", 'c.d' ]",
                Ok("[\"a.b\", \"c.d\"]"),
            ),
            (Kind::List(&Kind::Host), "[::1]:25", Ok("[\"[::1]:25\"]")),
            (Kind::List(&Kind::Domain), "a.b,A.B", Err(BadValue::Twice)),
            (
                Kind::List(&Kind::Wait(1, 60)),
                "5s,5s",
                Ok("[\"5s\", \"5s\"]"),
            ),
        ] {
            let got = kind.read(text);
            let printed = got.clone().map(|value| value.to_string());
            assert_eq!(printed, want.map(str::to_owned), "{text:?}");
            if let Ok(value) = got {
                // What is printed is a TOML value that reads back the same.
                let line = format!("x = {value}");
                assert!(toml::de::DeTable::parse(&line).is_ok(), "{line}");
            }
        }
    }
}
