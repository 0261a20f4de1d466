//! Reads one command line (RFC 5321 s4.1.1 and the extensions' verbs and parameters).
//!
//! Input is hostile. What comes out is typed: an address that was read can be printed anywhere. What is common on
//! the wire and harmless is taken: a space after `FROM:`, missing brackets, trailing blanks, any case.

use crate::base::limits;
use crate::mail::address::Address;
use crate::mail::address::BadAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::Body;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Ret;
use crate::mail::xtext::is_envid;
use crate::mail::xtext::is_orcpt;
use crate::mail::xtext::is_xtext;
use crate::smtp::fault::Fault;

/// A command that could be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// The name the client gives itself: not checked, only free of control characters and at most 255 bytes.
    Helo(String),
    /// As HELO, asking for extensions.
    Ehlo(String),
    /// RFC 2033; not spoken here, but recognised.
    Lhlo,
    /// Begins a transaction.
    Mail(Box<Mail>),
    /// Adds a recipient.
    Rcpt(Box<Rcpt>),
    /// The message follows.
    Data,
    /// A part of the message follows (RFC 3030 s2).
    Bdat {
        /// Bytes that follow the command line.
        size: u64,
        /// Whether it is the last part.
        last: bool,
    },
    /// Ends the transaction.
    Rset,
    /// Nothing.
    Noop,
    /// Asks about a user.
    Vrfy,
    /// Asks about a list.
    Expn,
    /// Asks for help.
    Help,
    /// Ends the session.
    Quit,
    /// RFC 3207 s4.
    StartTls,
    /// RFC 4954 s4.
    Auth {
        /// As the client wrote it, in upper case.
        mechanism: String,
        /// The initial response, still in base64; `=` for an empty one.
        initial: Option<Secret>,
    },
    /// RFC 1985 s5: start the queue of a domain. With `below`, of its subdomains too.
    Etrn {
        /// The domain.
        domain: Domain,
        /// Written as `@domain`.
        below: bool,
    },
    /// RFC 2645 s5: send what is held for these domains over this connection; empty means all.
    Atrn(Vec<Domain>),
    /// RFC 821's TURN.
    Turn,
}

/// Text that must not show in a log.
#[derive(PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// What MAIL said.
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    /// `None` is the null sender.
    pub sender: Option<Address>,
    /// SIZE in bytes, as announced (RFC 1870 s6); a number too large to count is the largest that can be.
    pub size: Option<u64>,
    /// BODY (RFC 6152 s2, RFC 3030 s3).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531 s3.4).
    pub utf8: bool,
    /// RET (RFC 3461 s4.3).
    pub ret: Option<Ret>,
    /// ENVID as xtext (RFC 3461 s4.4).
    pub envid: Option<String>,
    /// REQUIRETLS (RFC 8689 s4.1).
    pub require_tls: bool,
    /// A parameter of DSN was used, so DSN must have been offered.
    pub dsn: bool,
}

/// What RCPT said.
#[derive(Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// Where it goes.
    pub address: Address,
    /// `<postmaster>` without a domain, which every server takes (RFC 5321 s4.5.1).
    pub bare_postmaster: bool,
    /// NOTIFY (RFC 3461 s4.1), when given.
    pub notify: Option<Notify>,
    /// ORCPT as `type;xtext` (RFC 3461 s4.2).
    pub orcpt: Option<String>,
}

/// The domains that complete bare local parts.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// For any bare local part; without it they are refused.
    pub domain: Option<&'a Domain>,
    /// For a bare `postmaster`.
    pub postmaster: &'a Domain,
}

impl Command {
    /// Reads `line`, which is without its CRLF.
    pub fn parse(line: &[u8], defaults: Defaults<'_>) -> Result<Self, Fault> {
        let line = std::str::from_utf8(line).map_err(|_| Fault::NotText)?;
        let line = line.trim_end_matches([' ', '\t']);
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_start_matches([' ', '\t']);
        let is = |word: &str| verb.eq_ignore_ascii_case(word);
        if is("MAIL") {
            mail(rest, defaults).map(|mail| Self::Mail(Box::new(mail)))
        } else if is("RCPT") {
            rcpt(rest, defaults).map(|rcpt| Self::Rcpt(Box::new(rcpt)))
        } else if is("DATA") {
            bare(rest, Self::Data, "DATA")
        } else if is("EHLO") {
            hello(rest, "EHLO <name>").map(Self::Ehlo)
        } else if is("HELO") {
            hello(rest, "HELO <name>").map(Self::Helo)
        } else if is("QUIT") {
            bare(rest, Self::Quit, "QUIT")
        } else if is("RSET") {
            bare(rest, Self::Rset, "RSET")
        } else if is("BDAT") {
            bdat(rest)
        } else if is("NOOP") {
            Ok(Self::Noop)
        } else if is("STARTTLS") {
            bare(rest, Self::StartTls, "STARTTLS")
        } else if is("AUTH") {
            auth(rest)
        } else if is("VRFY") {
            Ok(Self::Vrfy)
        } else if is("EXPN") {
            Ok(Self::Expn)
        } else if is("HELP") {
            Ok(Self::Help)
        } else if is("ETRN") {
            etrn(rest)
        } else if is("ATRN") {
            atrn(rest)
        } else if is("TURN") {
            Ok(Self::Turn)
        } else if is("LHLO") {
            Ok(Self::Lhlo)
        } else if ["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"].contains(&verb)
            || verb.starts_with("SSH-")
            || (verb.ends_with(':') && verb.len() > 1)
        {
            // A web form, or the header of a message, written into an SMTP connection by somebody else's program.
            Err(Fault::Foreign)
        } else {
            Err(Fault::Unknown)
        }
    }
}

/// A verb without arguments.
fn bare(rest: &str, command: Command, usage: &'static str) -> Result<Command, Fault> {
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(Fault::Syntax(usage))
    }
}

/// Names are taken as they come: devices call themselves `my_nas` or `localhost` or by an address without brackets,
/// and nothing is decided by it.
fn hello(rest: &str, usage: &'static str) -> Result<String, Fault> {
    if rest.is_empty() || rest.len() > limits::HELLO_NAME || rest.chars().any(char::is_control) {
        return Err(Fault::Syntax(usage));
    }
    Ok(rest.to_owned())
}

fn mail(rest: &str, defaults: Defaults<'_>) -> Result<Mail, Fault> {
    const USAGE: Fault = Fault::Syntax("MAIL FROM:<address>");
    let (path, mut parameters) = path(keyword(rest, "FROM:").ok_or(USAGE)?).ok_or(USAGE)?;
    let sender = if path.is_empty() {
        None
    } else {
        Some(mailbox(path, defaults).map_err(Fault::Sender)?.0)
    };
    let mut mail = Mail {
        sender,
        size: None,
        body: Body::Seven,
        utf8: false,
        ret: None,
        envid: None,
        require_tls: false,
        dsn: false,
    };
    while let Some((key, value)) = parameter(&mut parameters) {
        let is = |word: &str| key.eq_ignore_ascii_case(word);
        if is("SIZE") {
            mail.size = Some(size(value).ok_or(Fault::BadParameter)?);
        } else if is("BODY") {
            mail.body = match value.to_ascii_uppercase().as_str() {
                "7BIT" => Body::Seven,
                "8BITMIME" => Body::Eight,
                "BINARYMIME" => Body::Binary,
                _ => return Err(Fault::BadParameter),
            };
        } else if is("SMTPUTF8") && value.is_empty() {
            mail.utf8 = true;
        } else if is("REQUIRETLS") && value.is_empty() {
            mail.require_tls = true;
        } else if is("RET") {
            mail.dsn = true;
            mail.ret = Some(match value.to_ascii_uppercase().as_str() {
                "FULL" => Ret::Full,
                "HDRS" => Ret::Headers,
                _ => return Err(Fault::BadParameter),
            });
        } else if is("ENVID") {
            if !is_envid(value) {
                return Err(Fault::BadParameter);
            }
            mail.dsn = true;
            mail.envid = Some(value.to_owned());
        } else if is("AUTH") {
            // RFC 4954 s5: taken and not passed on, which is what a server does that does not trust the client.
            if !is_xtext(value) || value.is_empty() || value.len() > 500 {
                return Err(Fault::BadParameter);
            }
        } else {
            return Err(Fault::UnknownParameter);
        }
    }
    if !mail.utf8 && mail.sender.as_ref().is_some_and(|a| !a.is_ascii()) {
        return Err(Fault::NeedsUtf8);
    }
    Ok(mail)
}

fn rcpt(rest: &str, defaults: Defaults<'_>) -> Result<Rcpt, Fault> {
    const USAGE: Fault = Fault::Syntax("RCPT TO:<address>");
    let (path, mut parameters) = path(keyword(rest, "TO:").ok_or(USAGE)?).ok_or(USAGE)?;
    let (address, bare_postmaster) = mailbox(path, defaults).map_err(Fault::Recipient)?;
    let mut rcpt = Rcpt {
        address,
        bare_postmaster,
        notify: None,
        orcpt: None,
    };
    while let Some((key, value)) = parameter(&mut parameters) {
        if key.eq_ignore_ascii_case("NOTIFY") {
            rcpt.notify = Some(notify(value).ok_or(Fault::BadParameter)?);
        } else if key.eq_ignore_ascii_case("ORCPT") {
            if !is_orcpt(value) {
                return Err(Fault::BadParameter);
            }
            rcpt.orcpt = Some(value.to_owned());
        } else {
            return Err(Fault::UnknownParameter);
        }
    }
    Ok(rcpt)
}

/// NOTIFY: `NEVER` alone, or a list of the others (RFC 3461 s4.1).
fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => success = true,
            "FAILURE" => failure = true,
            "DELAY" => delay = true,
            _ => return None,
        }
    }
    Some(Notify::On {
        success,
        failure,
        delay,
    })
}

/// What follows `word`, in any case, blanks around it dropped.
fn keyword<'a>(rest: &'a str, word: &str) -> Option<&'a str> {
    let (front, after) = rest.split_at_checked(word.len())?;
    front
        .eq_ignore_ascii_case(word)
        .then(|| after.trim_start_matches([' ', '\t']))
}

/// The inside of a path, its source route stripped (RFC 5321 s3.6.1 and appendix C), and what follows it.
///
/// Without brackets it ends at the first blank; `FROM:` with nothing at all is no path.
fn path(text: &str) -> Option<(&str, &str)> {
    let Some(inside) = text.strip_prefix('<') else {
        let (path, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        return (!path.is_empty()).then_some((path, rest));
    };
    let (mut quoted, mut escaped) = (false, false);
    let end = inside.find(|c| {
        let ends = c == '>' && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        ends
    })?;
    let (path, rest) = inside.split_at_checked(end)?;
    let rest = rest.strip_prefix('>')?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let path = path.trim_matches([' ', '\t']);
    match path.strip_prefix('@') {
        // Behind a route stands somebody: nothing there is not the null sender.
        Some(route) => {
            let path = route.split_once(':').map(|(_, path)| path);
            path.filter(|path| !path.is_empty())
                .map(|path| (path, rest))
        }
        None => Some((path, rest)),
    }
}

/// The address, and whether it was a bare `postmaster`.
fn mailbox(path: &str, defaults: Defaults<'_>) -> Result<(Address, bool), BadAddress> {
    if path.eq_ignore_ascii_case("postmaster") {
        return Address::parse_with(path, Some(defaults.postmaster)).map(|a| (a, true));
    }
    let address = Address::parse_with(path, defaults.domain)?;
    // With its brackets (RFC 5321 s4.5.3.1.3).
    let length = address.printed_len().saturating_add(2);
    if length > limits::PATH {
        return Err(BadAddress::TooLong);
    }
    Ok((address, false))
}

/// The next `KEY=value` or `KEY`; the value is empty when there is none.
fn parameter<'a>(rest: &mut &'a str) -> Option<(&'a str, &'a str)> {
    let text = rest.trim_start_matches([' ', '\t']);
    if text.is_empty() {
        return None;
    }
    let (word, after) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    *rest = after;
    Some(word.split_once('=').unwrap_or((word, "")))
}

/// Digits as a number, the largest possible when there are too many: the size check refuses both alike.
fn size(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().unwrap_or(u64::MAX))
}

fn bdat(rest: &str) -> Result<Command, Fault> {
    const USAGE: Fault = Fault::Syntax("BDAT <size> [LAST]");
    let mut words = rest.split_ascii_whitespace();
    let number = words.next().ok_or(USAGE)?;
    let good = number.len() <= 18 && number.bytes().all(|b| b.is_ascii_digit());
    let size = number.parse().ok().filter(|_| good).ok_or(USAGE)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(USAGE),
    };
    match words.next() {
        None => Ok(Command::Bdat { size, last }),
        Some(_) => Err(USAGE),
    }
}

fn auth(rest: &str) -> Result<Command, Fault> {
    const USAGE: Fault = Fault::Syntax("AUTH <mechanism> [<initial response>]");
    let mut words = rest.split_ascii_whitespace();
    let mechanism = words.next().ok_or(USAGE)?.to_ascii_uppercase();
    let initial = words.next().map(|word| Secret(word.to_owned()));
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(USAGE),
    }
}

fn etrn(rest: &str) -> Result<Command, Fault> {
    let (below, name) = match rest.strip_prefix('@') {
        Some(name) => (true, name),
        None => (false, rest),
    };
    let domain =
        Domain::parse(name).map_err(|_| Fault::Syntax("ETRN <domain>, or ETRN @<domain>"))?;
    Ok(Command::Etrn { domain, below })
}

fn atrn(rest: &str) -> Result<Command, Fault> {
    if rest.is_empty() {
        return Ok(Command::Atrn(Vec::new()));
    }
    rest.split(',')
        .map(|name| Domain::parse(name.trim()))
        .collect::<Result<Vec<_>, _>>()
        .map(Command::Atrn)
        .map_err(|_| Fault::Syntax("ATRN [<domain>,...]"))
}

#[cfg(test)]
mod tests {
    use super::{Command, Defaults};
    use crate::mail::domain::Domain;
    use crate::mail::envelope::{Body, Notify, Ret};

    fn parse(line: &str, default: Option<&str>) -> Result<Command, u16> {
        let default = default.map(|d| Domain::parse(d).unwrap());
        let postmaster = Domain::parse("mail.lan").unwrap();
        let defaults = Defaults {
            domain: default.as_ref(),
            postmaster: &postmaster,
        };
        Command::parse(line.as_bytes(), defaults).map_err(|fault| fault.code().0)
    }

    /// The sender or recipient, or the code of the refusal.
    fn address(line: &str) -> String {
        match parse(line, None) {
            Ok(Command::Mail(mail)) => mail.sender.map_or("<>".to_owned(), |a| a.to_string()),
            Ok(Command::Rcpt(rcpt)) => rcpt.address.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(code) => code.to_string(),
        }
    }

    #[test]
    fn paths() {
        for (line, want) in [
            ("MAIL FROM:<a@b.example>", "a@b.example"),
            ("mail from:<a@b.example>", "a@b.example"),
            ("MAIL FROM: <a@b.example>", "a@b.example"),
            ("MAIL FROM:a@b.example", "a@b.example"),
            ("MAIL FROM: a@b.example SIZE=10", "a@b.example"),
            ("MAIL  FROM:<a@b.example>  ", "a@b.example"),
            ("MAIL FROM:< a@b.example >", "a@b.example"),
            ("MAIL FROM:<>", "<>"),
            ("MAIL FROM:<> SIZE=0", "<>"),
            ("MAIL FROM:<\"a>b\"@c.example>", "\"a>b\"@c.example"),
            ("MAIL FROM:<\"a\\\">b\"@c.example>", "\"a\\\">b\"@c.example"),
            ("MAIL FROM:<@x,@y.example:a@b.example>", "a@b.example"),
            ("RCPT TO:<@x:a@b.example>", "a@b.example"),
            ("RCPT TO:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("RCPT TO:<a%b@c.example>", "a%b@c.example"),
            ("RCPT TO:<postmaster>", "postmaster@mail.lan"),
            ("RCPT TO:<Postmaster>", "Postmaster@mail.lan"),
            ("RCPT TO:<\"a@b\"@c.example>", "\"a@b\"@c.example"),
            ("RCPT TO:<j\u{f6}rg@b.example>", "j\u{f6}rg@b.example"),
            ("MAIL", "501"),
            ("MAIL FROM", "501"),
            ("MAIL FROM:", "501"),
            ("MAIL FROM a@b", "501"),
            ("MAIL TO:<a@b>", "501"),
            ("MAIL FROM:<a@b", "501"),
            ("MAIL FROM:<a@b>x", "501"),
            ("MAIL FROM:<a b@c>", "501"),
            ("MAIL FROM:<@x>", "501"),
            ("MAIL FROM:<@x:>", "501"),
            ("MAIL FROM:<a@b..c>", "501"),
            ("MAIL FROM:<root>", "501"),
            ("MAIL FROM:<j\u{f6}rg@b.example>", "553"),
            ("RCPT TO:<>", "501"),
            ("RCPT TO:<@x:>", "501"),
            ("RCPT FROM:<a@b>", "501"),
        ] {
            assert_eq!(address(line), want, "{line:?}");
        }
    }

    #[test]
    fn a_bare_name_gets_the_default_domain() {
        let Ok(Command::Rcpt(rcpt)) = parse("RCPT TO:<root>", Some("nas.lan")) else {
            panic!("refused");
        };
        assert_eq!(rcpt.address.to_string(), "root@nas.lan");
        assert!(!rcpt.bare_postmaster);
    }

    #[test]
    fn mail_parameters() {
        let line =
            "MAIL FROM:<j\u{f6}rg@b> SIZE=99 body=8bitmime SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=<>";
        let Ok(Command::Mail(mail)) = parse(line, None) else {
            panic!("refused");
        };
        assert_eq!(
            (mail.size, mail.body, mail.utf8),
            (Some(99), Body::Eight, true)
        );
        assert_eq!(mail.ret, Some(Ret::Headers));
        assert_eq!(mail.envid.as_deref(), Some("a+2Bb"));
        for (parameter, code) in [
            ("SIZE=", 501),
            ("SIZE=-1", 501),
            ("SIZE=1x", 501),
            ("SIZE", 501),
            ("BODY=9BIT", 501),
            ("SMTPUTF8=1", 555),
            ("RET=ALL", 501),
            ("ENVID=a+2", 501),
            ("ENVID=a+2b", 501),
            ("ENVID=a=b", 501),
            ("ENVID=", 501),
            ("AUTH=", 501),
            ("NOTIFY=NEVER", 555),
            ("X=1", 555),
            ("BODY=7BIT X", 555),
        ] {
            let line = format!("MAIL FROM:<a@b> {parameter}");
            assert_eq!(parse(&line, None), Err(code), "{line}");
        }
        let Ok(Command::Mail(mail)) = parse("MAIL FROM:<> SIZE=99999999999999999999", None) else {
            panic!("refused");
        };
        assert_eq!(mail.size, Some(u64::MAX));
    }

    #[test]
    fn rcpt_parameters() {
        let line = "RCPT TO:<a@b> NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@c";
        let Ok(Command::Rcpt(rcpt)) = parse(line, None) else {
            panic!("refused");
        };
        let (success, failure, delay) = (true, false, true);
        assert_eq!(
            rcpt.notify,
            Some(Notify::On {
                success,
                failure,
                delay
            })
        );
        assert_eq!(rcpt.orcpt.as_deref(), Some("rfc822;a+2Bb@c"));
        for (parameter, code) in [
            ("NOTIFY=", 501),
            ("NOTIFY=NEVER,DELAY", 501),
            ("NOTIFY=OFTEN", 501),
            ("ORCPT=a@b", 501),
            ("ORCPT=;a@b", 501),
            ("ORCPT=rfc822;", 501),
            ("ORCPT=rfc822;a+b", 501),
            ("SIZE=1", 555),
        ] {
            let line = format!("RCPT TO:<a@b> {parameter}");
            assert_eq!(parse(&line, None), Err(code), "{line}");
        }
    }

    #[test]
    fn other_verbs() {
        for (line, want) in [
            ("EHLO my_nas", "Ehlo(\"my_nas\")"),
            ("helo [192.0.2.1]", "Helo(\"[192.0.2.1]\")"),
            ("EHLO", "501"),
            ("HELO \u{1}", "501"),
            ("data", "Data"),
            ("DATA x", "501"),
            ("DATA ", "Data"),
            ("QUIT", "Quit"),
            ("RSET", "Rset"),
            ("NOOP anything", "Noop"),
            ("VRFY root", "Vrfy"),
            ("EXPN list", "Expn"),
            ("HELP", "Help"),
            ("HELP MAIL", "Help"),
            ("TURN", "Turn"),
            ("STARTTLS", "StartTls"),
            ("STARTTLS x", "501"),
            ("BDAT 10", "Bdat { size: 10, last: false }"),
            ("BDAT 0 last", "Bdat { size: 0, last: true }"),
            ("BDAT", "501"),
            ("BDAT -1", "501"),
            ("BDAT +1", "501"),
            ("BDAT 1 FIRST", "501"),
            ("BDAT 1 LAST LAST", "501"),
            ("BDAT 99999999999999999999", "501"),
            (
                "AUTH plain AGEAYg==",
                "Auth { mechanism: \"PLAIN\", initial: Some((secret)) }",
            ),
            ("AUTH LOGIN", "Auth { mechanism: \"LOGIN\", initial: None }"),
            ("AUTH", "501"),
            ("AUTH a b c", "501"),
            (
                "ETRN @Example.com",
                "Etrn { domain: Domain(\"example.com\"), below: true }",
            ),
            ("ETRN", "501"),
            ("ATRN", "Atrn([])"),
            (
                "ATRN a.example,b.example",
                "Atrn([Domain(\"a.example\"), Domain(\"b.example\")])",
            ),
            ("ATRN a b", "501"),
            ("LHLO x", "Lhlo"),
            ("", "500"),
            ("MAILFROM:<a@b>", "500"),
            ("XCLIENT ADDR=1", "500"),
            ("GET / HTTP/1.1", "554"),
            ("Host: x", "554"),
        ] {
            assert_eq!(address(line), want, "{line:?}");
        }
        let postmaster = Domain::parse("m").unwrap();
        let defaults = Defaults {
            domain: None,
            postmaster: &postmaster,
        };
        let got = Command::parse(b"NOOP \xff", defaults);
        assert_eq!(got.map_err(|f| f.code().0), Err(500));
    }
}
