//! A smart host as one address: `smtp://user@host:587?tls=verify`.
//!
//! `smtp://` is STARTTLS, `smtps://` TLS from the first byte; both verified unless `tls=` says otherwise.

use std::fmt;

use crate::base::Escaped;
use crate::config::kind::Kind;
use crate::config::kind::Value;
use crate::config::lookup;
use crate::config::schema::Row;

/// Why an address of a smart host cannot be read. Never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadUrl {
    /// Neither `smtp://` nor `smtps://`.
    Scheme,
    /// A password in front of the `@`.
    Password,
    /// The account is empty or cannot be read.
    User,
    /// The host or its port cannot be read.
    Host,
    /// Something behind the port that is neither nothing nor `?`.
    Path,
    /// `%` without two hexadecimal digits, or bytes that are no text.
    Percent,
    /// An option that is not known.
    Option(String, Option<&'static str>),
    /// A value that its option does not take.
    Value(&'static str, String),
    /// An option that stands twice, or two that exclude each other.
    Twice(&'static str),
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str(
                "a smart host is written smtp://user@host:587 (STARTTLS) or smtps://user@host:465",
            ),
            Self::Password => f.write_str(
                "a password does not stand in the address, where every user of this host can read it; put it \
                 into the variable MAILROOT_PASSWORD, or into a file named with ?password_file=FILE (an @ in \
                 the account is written %40, a colon %3A)",
            ),
            Self::User => f.write_str("the account in front of the @ is empty or cannot be read"),
            Self::Host => f.write_str(
                "the host cannot be read; write a name, 192.0.2.1 or [2001:db8::1], then : and a port",
            ),
            Self::Path => f.write_str("nothing but ? and options may stand behind the port"),
            Self::Percent => {
                f.write_str("% must be followed by two hexadecimal digits; % itself is written %25")
            }
            Self::Option(name, near) => {
                write!(f, "there is no option `{}`", Escaped(name.as_bytes()))?;
                match near {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => f.write_str("; there are tls, ca, pin, password_file, token_file, auth and insecure_auth"),
                }
            }
            Self::Value(name, allowed) => write!(f, "`{name}` cannot be read; write {allowed}"),
            Self::Twice(name) => write!(f, "`{name}` is said twice; keep one"),
        }
    }
}

impl std::error::Error for BadUrl {}

const OPTIONS: [&str; 7] = [
    "tls",
    "ca",
    "pin",
    "password_file",
    "token_file",
    "auth",
    "insecure_auth",
];

/// Reads the address into the settings of one `[[route]]` block.
pub fn route(url: &str) -> Result<Vec<(&'static Row, Value)>, BadUrl> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(BadUrl::Scheme)?;
    let implicit = match scheme.to_ascii_lowercase().as_str() {
        "smtp" => false,
        "smtps" => true,
        _ => return Err(BadUrl::Scheme),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The last @ splits, so that an account with an unescaped @ still reads as it was meant.
    let (login, host) = match place.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, place),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    if host.contains('/') {
        return Err(BadUrl::Path);
    }
    let mut out = Vec::new();
    let mut host = match Kind::Host.read(host) {
        Ok(Value::Host(host)) => host,
        _ => return Err(BadUrl::Host),
    };
    host.port = Some(host.port.unwrap_or(if implicit { 465 } else { 587 }));
    put(&mut out, "hosts", Value::List(vec![Value::Host(host)]))?;
    put(&mut out, "implicit_tls", Value::Bool(implicit))?;
    if let Some(login) = login {
        if login.contains(':') {
            return Err(BadUrl::Password);
        }
        let user = Kind::Text.read(&plain(login)?).map_err(|_| BadUrl::User)?;
        put(&mut out, "user", user)?;
    }
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let Some(name) = OPTIONS.into_iter().find(|known| *known == name) else {
            if name.eq_ignore_ascii_case("password") {
                return Err(BadUrl::Password);
            }
            let near = lookup::nearest_name(name, &OPTIONS);
            return Err(BadUrl::Option(name.to_owned(), near));
        };
        let value = plain(value)?;
        match name {
            "pin" => read(&mut out, "tls", name, &format!("pin:{value}"))?,
            _ => read(&mut out, name, name, &value)?,
        }
    }
    Ok(out)
}

/// Reads the text of an option into the key of `[[route]]` that it sets.
fn read(
    out: &mut Vec<(&'static Row, Value)>,
    key: &'static str,
    option: &'static str,
    text: &str,
) -> Result<(), BadUrl> {
    let kind = lookup::row_in("route", key).map(|row| row.kind);
    let value = kind.and_then(|kind| kind.read(text).ok()).ok_or_else(|| {
        let allowed = kind.map(|kind| kind.allowed()).unwrap_or_default();
        BadUrl::Value(option, allowed)
    })?;
    put(out, key, value)
}

fn put(
    out: &mut Vec<(&'static Row, Value)>,
    key: &'static str,
    value: Value,
) -> Result<(), BadUrl> {
    if out.iter().any(|(row, _)| row.name() == key) {
        return Err(BadUrl::Twice(key));
    }
    out.extend(lookup::row_in("route", key).map(|row| (row, value)));
    Ok(())
}

/// The text with every `%XX` replaced by its byte (RFC 3986 s2.1).
fn plain(text: &str) -> Result<String, BadUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let high = digit().ok_or(BadUrl::Percent)?;
            let low = digit().ok_or(BadUrl::Percent)?;
            bytes.push(u8::try_from(high << 4 | low).map_err(|_| BadUrl::Percent)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| BadUrl::Percent)
}

#[cfg(test)]
mod tests {
    use super::{BadUrl, route};

    fn read(url: &str) -> Result<String, BadUrl> {
        let list = route(url)?;
        let lines: Vec<String> = list
            .iter()
            .map(|(row, value)| format!("{}={value}", row.name()))
            .collect();
        Ok(lines.join(" ").replace("implicit_tls", "implicit"))
    }

    #[test]
    fn addresses_of_smart_hosts() {
        let pin = "ab".repeat(32);
        for (url, want) in [
            (
                "smtp://host.example",
                "hosts=[\"host.example:587\"] implicit=false",
            ),
            (
                "SMTPS://host.example",
                "hosts=[\"host.example:465\"] implicit=true",
            ),
            (
                "smtp://me@host.example:25",
                "hosts=[\"host.example:25\"] implicit=false user=\"me\"",
            ),
            (
                "smtp://me%40example.com@host.example:587/",
                "hosts=[\"host.example:587\"] implicit=false user=\"me@example.com\"",
            ),
            (
                "smtp://me@example.com@host.example",
                "hosts=[\"host.example:587\"] implicit=false user=\"me@example.com\"",
            ),
            (
                "smtp://a%3Ab%25@host.example",
                "hosts=[\"host.example:587\"] implicit=false user=\"a:b%\"",
            ),
            (
                "smtp://[2001:db8::1]:2525?tls=off",
                "hosts=[\"[2001:db8::1]:2525\"] implicit=false tls=\"off\"",
            ),
            (
                "smtp://127.0.0.1:2525?tls=off",
                "hosts=[\"127.0.0.1:2525\"] implicit=false tls=\"off\"",
            ),
            (
                "smtp://u@h.example?tls=require&ca=/a%20b&insecure_auth=yes&password_file=/p",
                "hosts=[\"h.example:587\"] implicit=false user=\"u\" tls=\"require\" ca=\"/a b\" \
                 insecure_auth=true password_file=\"/p\"",
            ),
            (
                "smtp://u@h.example?auth=PLAIN,LOGIN&token_file=/t",
                "hosts=[\"h.example:587\"] implicit=false user=\"u\" auth=[\"PLAIN\", \"LOGIN\"] \
                 token_file=\"/t\"",
            ),
            (
                &format!("smtps://h.example?pin={pin}"),
                &format!("hosts=[\"h.example:465\"] implicit=true tls=\"pin:{pin}\""),
            ),
        ] {
            assert_eq!(read(url).as_deref(), Ok(want), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (url, want) in [
            ("host.example", BadUrl::Scheme),
            ("http://host.example", BadUrl::Scheme),
            ("", BadUrl::Scheme),
            ("smtp://", BadUrl::Host),
            ("smtp://@host.example", BadUrl::User),
            ("smtp://me:hunter2@host.example", BadUrl::Password),
            ("smtp://me:@host.example", BadUrl::Password),
            ("smtp://h.example?password=hunter2", BadUrl::Password),
            ("smtp://a%0d%0ab@host.example", BadUrl::User),
            ("smtp://a%zz@host.example", BadUrl::Percent),
            ("smtp://a%4@host.example", BadUrl::Percent),
            ("smtp://a%ff@host.example", BadUrl::Percent),
            ("smtp://host.example:0", BadUrl::Host),
            ("smtp://host.example:99999", BadUrl::Host),
            ("smtp://host.example:+25", BadUrl::Host),
            ("smtp://host.example:", BadUrl::Host),
            ("smtp://2001:db8::1:25x", BadUrl::Host),
            ("smtp://[2001:db8::1", BadUrl::Host),
            ("smtp://[2001:db8::1]x", BadUrl::Host),
            ("smtp://host.example/path", BadUrl::Path),
            (
                "smtp://h.example?tsl=off",
                BadUrl::Option("tsl".into(), Some("tls")),
            ),
            (
                "smtp://h.example?zebra",
                BadUrl::Option("zebra".into(), None),
            ),
            ("smtp://h.example?tls=off&tls=off", BadUrl::Twice("tls")),
            (
                "smtp://h.example?tls=off&pin=00",
                BadUrl::Value("pin", String::new()),
            ),
            (
                "smtp://h.example?tls=maybe",
                BadUrl::Value("tls", String::new()),
            ),
            ("smtp://h.example?ca=", BadUrl::Value("ca", String::new())),
        ] {
            let got = read(url).map_err(|bad| match bad {
                BadUrl::Value(name, _) => BadUrl::Value(name, String::new()),
                bad => bad,
            });
            assert_eq!(got, Err(want), "{url}");
        }
    }
}
