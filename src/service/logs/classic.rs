//! The forms of log files that IIS wrote: W3C's extended one, its own, and NCSA's common one.
//!
//! Inbound, a line is a command with its reply. Outbound, commands and replies are lines of their own; the user name says
//! which, and what was said stands in the query. A line has nothing that could be taken for two fields: a space is `+`,
//! and what is not printable ASCII is `%XX`, as in a URL.

use std::fmt;
use std::fmt::Write;

use crate::base::time::Civil;
use crate::config::logs::Field;
use crate::config::logs::Form;
use crate::service::logs::exchange::Exchange;
use crate::service::logs::exchange::Side;
use crate::service::logs::stamp::Stamp;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How lines are made.
#[derive(Clone, Debug)]
pub struct Classic {
    /// One of IIS's forms.
    pub form: Form,
    /// W3C's fields.
    pub fields: Vec<Field>,
    /// What the virtual server is called.
    pub site: String,
    /// What the box is called.
    pub computer: String,
}

impl Classic {
    /// The line that names the fields, for the head of a file; W3C's form only.
    pub fn head(&self) -> Option<String> {
        if self.form != Form::W3c {
            return None;
        }
        let names: Vec<&str> = self.fields.iter().map(|field| field.name()).collect();
        Some(format!("#Fields: {}\n", names.join(" ")))
    }

    /// The line of a command or reply, with its end.
    pub fn line(&self, what: &Exchange<'_>, at: Stamp) -> String {
        let mut line = String::new();
        // Writing into a String cannot fail.
        let _ = match self.form {
            Form::Iis => self.iis(&mut line, what, at),
            Form::Ncsa => self.ncsa(&mut line, what, at),
            Form::W3c | Form::Text | Form::Json => self.w3c(&mut line, what, at),
        };
        line.push('\n');
        line
    }

    fn w3c(&self, line: &mut String, what: &Exchange<'_>, at: Stamp) -> fmt::Result {
        for (number, field) in self.fields.iter().enumerate() {
            if number > 0 {
                line.push(' ');
            }
            match (field, at) {
                (Field::Date, Stamp::Wall(wall)) => {
                    let c = wall.civil();
                    write!(line, "{:04}-{:02}-{:02}", c.year, c.month, c.day)?;
                }
                (Field::Time, Stamp::Wall(wall)) => line.push_str(&time(&wall.civil())),
                (Field::Time, boot @ Stamp::Boot(_)) => write!(line, "{boot}")?,
                (Field::ClientIp, _) => line.push_str(&peer(what)),
                (Field::UserName, _) => write!(line, "{}", Plain(user(what)))?,
                (Field::SiteName, _) => write!(line, "{}", Plain(&self.site))?,
                (Field::ComputerName, _) => write!(line, "{}", Plain(&self.computer))?,
                (Field::ServerIp, _) => line.push_str(&local(what)),
                (Field::ServerPort, _) => write!(line, "{}", what.port)?,
                (Field::Method, _) => write!(line, "{}", Plain(what.verb))?,
                (Field::UriQuery, _) => {
                    if what.side == Side::Client && !what.text.is_empty() {
                        line.push('+');
                    }
                    write!(line, "{}", Plain(what.text))?;
                }
                (Field::Status, _) => write!(line, "{}", what.code)?,
                (Field::Win32Status, _) => line.push('0'),
                (Field::BytesSent, _) => write!(line, "{}", what.sent)?,
                (Field::BytesReceived, _) => write!(line, "{}", what.received)?,
                (Field::TimeTaken, _) => write!(line, "{}", what.millis)?,
                (Field::Version, _) => line.push_str("SMTP"),
                (Field::Date, Stamp::Boot(_))
                | (
                    Field::UriStem
                    | Field::Host
                    | Field::UserAgent
                    | Field::Cookie
                    | Field::Referer,
                    _,
                ) => line.push('-'),
            }
        }
        Ok(())
    }

    fn iis(&self, line: &mut String, what: &Exchange<'_>, at: Stamp) -> fmt::Result {
        let date = match at {
            Stamp::Wall(wall) => {
                let c = wall.civil();
                let year = c.year % 100;
                format!("{}/{}/{year:02}, {}", c.month, c.day, time(&c))
            }
            boot @ Stamp::Boot(_) => format!("-, {boot}"),
        };
        let Exchange {
            code,
            received,
            sent,
            millis,
            ..
        } = what;
        write!(
            line,
            "{}, {}, {date}, {}, {}, {}, {millis}, {received}, {sent}, {code}, 0, {}, -, {},",
            peer(what),
            Listed(user(what)),
            Listed(&self.site),
            Listed(&self.computer),
            local(what),
            Listed(what.verb),
            Listed(what.text),
        )
    }

    #[expect(clippy::unused_self, reason = "one of three alike")]
    fn ncsa(&self, line: &mut String, what: &Exchange<'_>, at: Stamp) -> fmt::Result {
        let date = match at {
            Stamp::Wall(wall) => {
                let c = wall.civil();
                let month = usize::from(c.month).saturating_sub(1);
                let month = MONTHS.get(month).copied().unwrap_or_default();
                format!("{:02}/{month}/{}:{} +0000", c.day, c.year, time(&c))
            }
            boot @ Stamp::Boot(_) => boot.to_string(),
        };
        write!(
            line,
            "{} - {} [{date}] \"{} -?{} HTTP/1.0\" {} {}",
            peer(what),
            Plain(user(what)),
            Plain(what.verb),
            Plain(what.text),
            what.code,
            what.sent,
        )
    }
}

fn time(c: &Civil) -> String {
    format!("{:02}:{:02}:{:02}", c.hour, c.minute, c.second)
}

fn peer(what: &Exchange<'_>) -> String {
    what.peer
        .map_or_else(|| "-".to_owned(), |ip| ip.to_string())
}

fn local(what: &Exchange<'_>) -> String {
    what.local
        .map_or_else(|| "-".to_owned(), |ip| ip.to_string())
}

fn user<'a>(what: &Exchange<'a>) -> &'a str {
    match what.side {
        Side::Client => what.name,
        Side::Command => "OutboundConnectionCommand",
        Side::Reply => "OutboundConnectionResponse",
    }
}

/// A field between spaces.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        for byte in self.0.bytes() {
            match byte {
                b' ' => f.write_char('+')?,
                b'"' | b'%' => write!(f, "%{byte:02X}")?,
                b'!'..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

/// A field between commas.
struct Listed<'a>(&'a str);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        for byte in self.0.bytes() {
            match byte {
                b',' | b'%' => write!(f, "%{byte:02X}")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Classic;
    use crate::base::{Tick, Wall};
    use crate::config::logs::{Field, Form, NAMES};
    use crate::service::logs::exchange::{Exchange, Side};
    use crate::service::logs::stamp::Stamp;

    /// 2006-08-18 13:17:37, the moment of the samples in Microsoft's help.
    const THEN: Stamp = Stamp::Wall(Wall::from_secs(1_155_907_057));

    fn classic(form: Form, fields: &[&str]) -> Classic {
        Classic {
            form,
            fields: fields
                .iter()
                .map(|name| Field::named(name).unwrap())
                .collect(),
            site: "SMTPSVC1".to_owned(),
            computer: "MAIL01".to_owned(),
        }
    }

    fn mail<'a>() -> Exchange<'a> {
        Exchange {
            side: Side::Client,
            peer: Some("10.3.5.1".parse().unwrap()),
            name: "Nwtraders.com",
            local: Some("10.200.200.1".parse().unwrap()),
            port: 25,
            verb: "MAIL",
            text: "FROM:<maria@Nwtraders.com>",
            code: 250,
            received: 42,
            sent: 0,
            millis: 90,
        }
    }

    /// Field by field the samples of the help, but for the verb, which the help spells with its first argument and real
    /// files do not, and for NCSA's query, where the help has lost a quote and an address.
    #[test]
    fn the_documented_samples() {
        let default = ["time", "c-ip", "cs-method", "cs-uri-stem", "sc-status"];
        for (form, want) in [
            (Form::W3c, "13:17:37 10.3.5.1 MAIL - 250\n"),
            (
                Form::Iis,
                "10.3.5.1, Nwtraders.com, 8/18/06, 13:17:37, SMTPSVC1, MAIL01, 10.200.200.1, 90, 42, 0, 250, 0, \
                 MAIL, -, FROM:<maria@Nwtraders.com>,\n",
            ),
            (
                Form::Ncsa,
                "10.3.5.1 - Nwtraders.com [18/Aug/2006:13:17:37 +0000] \
                 \"MAIL -?FROM:<maria@Nwtraders.com> HTTP/1.0\" 250 0\n",
            ),
        ] {
            assert_eq!(classic(form, &default).line(&mail(), THEN), want);
        }
    }

    /// A line as real servers wrote it, with all fields.
    #[test]
    fn all_fields_in_both_directions() {
        let all = classic(Form::W3c, NAMES);
        let line = Exchange {
            text: "FROM: <a b@x>",
            sent: 57,
            received: 45,
            millis: 0,
            ..mail()
        };
        assert_eq!(
            all.line(&line, THEN),
            "2006-08-18 13:17:37 10.3.5.1 Nwtraders.com SMTPSVC1 MAIL01 10.200.200.1 25 MAIL - \
             +FROM:+<a+b@x> 250 0 57 45 0 SMTP - - - -\n"
        );
        let reply = Exchange {
            side: Side::Reply,
            verb: "",
            text: "220 mx.example ESMTP",
            code: 220,
            ..line
        };
        assert_eq!(
            all.line(&reply, THEN),
            "2006-08-18 13:17:37 10.3.5.1 OutboundConnectionResponse SMTPSVC1 MAIL01 10.200.200.1 25 - - \
             220+mx.example+ESMTP 220 0 57 45 0 SMTP - - - -\n"
        );
        let command = Exchange {
            side: Side::Command,
            verb: "QUIT",
            text: "",
            code: 0,
            ..line
        };
        assert_eq!(
            all.line(&command, THEN),
            "2006-08-18 13:17:37 10.3.5.1 OutboundConnectionCommand SMTPSVC1 MAIL01 10.200.200.1 25 QUIT - - 0 0 57 \
             45 0 SMTP - - - -\n"
        );
        assert_eq!(
            all.head().unwrap(),
            format!("#Fields: {}\n", NAMES.join(" "))
        );
    }

    #[test]
    fn no_peer_can_forge_a_field_or_a_line() {
        let evil = Exchange {
            name: "a b,\"c\"\r\n2006 x",
            text: "FROM:<\u{e9},\t\"%> [x]",
            peer: None,
            ..mail()
        };
        for form in [Form::W3c, Form::Iis, Form::Ncsa] {
            let line = classic(form, NAMES).line(&evil, THEN);
            let line = line.strip_suffix('\n').unwrap();
            assert!(
                line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{line}"
            );
            match form {
                Form::W3c => assert_eq!(line.split(' ').count(), NAMES.len(), "{line}"),
                Form::Iis => assert_eq!(line.split(", ").count(), 15, "{line}"),
                _ => assert_eq!(line.matches('"').count(), 2, "{line}"),
            }
        }
    }

    #[test]
    fn while_the_clock_is_wrong_lines_carry_the_time_since_boot() {
        let boot = Stamp::Boot(Tick::from_millis(12_345));
        let line = classic(Form::W3c, &["date", "time", "c-ip"]).line(&mail(), boot);
        assert_eq!(line, "- boot+12.345s 10.3.5.1\n");
        let line = classic(Form::Iis, &[]).line(&mail(), boot);
        assert!(line.starts_with("10.3.5.1, Nwtraders.com, -, boot+12.345s, "));
        let line = classic(Form::Ncsa, &[]).line(&mail(), boot);
        assert!(line.contains(" [boot+12.345s] "));
    }
}
