//! What a server says of itself: the answers to EHLO, HELO and HELP.

use std::fmt;

use crate::mail::status::Status;
use crate::smtp::reply::Out;
use crate::smtp::server::settings::Mechanisms;
use crate::smtp::server::settings::Session;
use crate::smtp::server::settings::Settings;

/// Answers EHLO. Only what is taken is offered, and only while it is taken; `plus` when SCRAM can be bound to the
/// connection.
pub fn write(out: &mut Out, settings: &Settings, session: &Session, plus: bool) {
    let extensions = &settings.extensions;
    let mut offer = |name: &str| out.more(250, format_args!("{name}"));
    offer(&greeting(settings, session));
    if settings.starttls && !session.tls {
        offer("STARTTLS");
    }
    let auth = settings.offered(session.tls);
    if auth.any() && session.login.is_none() {
        offer(&format!("AUTH{}", Names(auth, plus)));
    }
    match settings.message_size {
        Some(most) => offer(&format!("SIZE {most}")),
        None => offer("SIZE"),
    }
    if extensions.limits {
        // RFC 9422 s4: six digits at most; a limit beyond them is none.
        let limit = |name: &str, most: usize| match most {
            1..=999_999 => format!(" {name}={most}"),
            _ => String::new(),
        };
        let mails = limit("MAILMAX", settings.messages);
        offer(&format!(
            "LIMITS{mails}{}",
            limit("RCPTMAX", settings.recipients)
        ));
    }
    let optional = [
        (extensions.dsn, "DSN"),
        (extensions.chunking, "CHUNKING"),
        (extensions.chunking && extensions.binary, "BINARYMIME"),
        (extensions.utf8, "SMTPUTF8"),
        (extensions.require_tls && session.tls, "REQUIRETLS"),
        (extensions.etrn, "ETRN"),
        (extensions.atrn && session.login.is_some(), "ATRN"),
        (true, "PIPELINING"),
        (true, "8BITMIME"),
    ];
    for (on, name) in optional {
        if on {
            offer(name);
        }
    }
    // RFC 2034 s3: all other replies carry a status from now on.
    out.plain(250, format_args!("ENHANCEDSTATUSCODES"));
}

/// Answers HELO.
pub fn helo(out: &mut Out, settings: &Settings, session: &Session) {
    out.plain(250, format_args!("{}", greeting(settings, session)));
}

/// Answers HELP.
pub fn help(out: &mut Out) {
    let ok = Status::new(2, 0, 0);
    out.more(
        214,
        format_args!("{ok} This server supports the following commands:"),
    );
    out.full(
        214,
        ok,
        format_args!(
            "HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP ETRN ATRN QUIT"
        ),
    );
}

fn greeting(settings: &Settings, session: &Session) -> String {
    match session.peer {
        Some(peer) => format!("{} Hello [{}]", settings.hostname, peer.to_canonical()),
        None => format!("{} Hello", settings.hostname),
    }
}

/// The mechanisms, strongest first, each after a space.
struct Names(Mechanisms, bool);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.0.gssapi, " GSSAPI"),
            (self.0.scram_sha_256 && self.1, " SCRAM-SHA-256-PLUS"),
            (self.0.scram_sha_256, " SCRAM-SHA-256"),
            (self.0.cram_md5, " CRAM-MD5"),
            (self.0.ntlm, " NTLM"),
            (self.0.plain, " PLAIN"),
            (self.0.login, " LOGIN"),
        ];
        all.iter()
            .filter(|(on, _)| *on)
            .try_for_each(|(_, name)| f.write_str(name))
    }
}
