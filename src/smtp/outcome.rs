//! From a peer's reply, or the lack of one, to the outcome of an attempt. The only place that decides it.
//!
//! 4yz is `Later`. 5yz to RCPT or to the message is `Never`. What shows a fault of the setup is `Hold` (promise
//! G3): before the first message everything that is not temporary, and anywhere the replies in the table below,
//! which providers give when the login, the sender or the quota is wrong. Doubt is `Later`.

use crate::mail::outcome::Outcome;
use crate::mail::outcome::Reason;
use crate::mail::status::Status;
use crate::smtp::reply::Reply;

/// What the peer was asked when it replied, or fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet: it should greet. RFC 7504 s3 has 521 here for hosts that take no mail.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS, or the handshake.
    StartTls,
    /// AUTH.
    Login,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA or BDAT.
    Data,
    /// The message: everything after its first byte.
    Message,
}

/// Who the peer is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It was configured: what it refuses before RCPT is a fault of the setup.
    #[default]
    SmartHost,
    /// It was found by MX: nothing of its refusals can be mended here.
    Exchanger,
}

/// Judges a reply of class 4 or 5, or one that does not belong there. `peer` is `host [address]`.
pub fn judge(role: Role, phase: Phase, reply: &Reply, peer: &str) -> Outcome {
    let reason = |class| reason(class, phase, reply, peer);
    if reply.class() == 5 && role == Role::SmartHost && known(phase, reply) {
        return Outcome::Hold(reason(4));
    }
    match (reply.class(), phase, role) {
        (5, Phase::Rcpt | Phase::Data | Phase::Message, _) => Outcome::Never(reason(5)),
        (5, Phase::Mail, _) if about_message(reply) => Outcome::Never(reason(5)),
        (5, Phase::Mail, Role::Exchanger) => Outcome::Never(reason(5)),
        (5, _, Role::SmartHost) => Outcome::Hold(reason(4)),
        // Another exchanger may be more friendly, and a block list may forget us.
        _ => Outcome::Later(reason(4)),
    }
}

/// The peer has taken the message for a recipient.
pub fn done(reply: &Reply, peer: &str) -> Outcome {
    Outcome::Done(reason(2, Phase::Message, reply, peer))
}

/// The connection ended, or the peer was silent, while a reply of `phase` was due. Always `Later`: after the dot it
/// may have the message, and a second copy is better than none.
pub fn lost(phase: Phase, what: &str, peer: &str) -> Outcome {
    let detail = match what {
        SILENT => 1,
        _ => 2,
    };
    Outcome::Later(Reason {
        status: Status::new(4, 4, detail),
        code: None,
        text: format!("{what} {}", place(phase)),
        peer: peer.to_owned(),
    })
}

/// For [`lost`]: the deadline came.
pub const SILENT: &str = "the peer did not answer";
/// For [`lost`]: the stream ended.
pub const CLOSED: &str = "the peer closed the connection";

/// A fault of the setup that no reply told: for instance AUTH is configured and not offered.
pub fn setup(status: Status, text: &str, peer: &str) -> Outcome {
    Outcome::Hold(ours(status, text, peer))
}

/// A message that this peer cannot take, told by its offer and not by a reply.
pub fn unfit(status: Status, text: &str, peer: &str) -> Outcome {
    Outcome::Never(ours(status, text, peer))
}

/// A reason in our words about this peer.
pub fn ours(status: Status, text: &str, peer: &str) -> Reason {
    Reason {
        status,
        code: None,
        text: text.to_owned(),
        peer: peer.to_owned(),
    }
}

fn place(phase: Phase) -> &'static str {
    match phase {
        Phase::Greeting => "before its greeting",
        Phase::Hello => "to EHLO",
        Phase::StartTls => "during STARTTLS",
        Phase::Login => "during AUTH",
        Phase::Mail => "to MAIL",
        Phase::Rcpt => "to RCPT",
        Phase::Data => "to DATA",
        Phase::Message => "to the message",
    }
}

/// The peer's words, its status brought into the class of our outcome.
fn reason(class: u8, phase: Phase, reply: &Reply, peer: &str) -> Reason {
    let status = reply
        .status
        .unwrap_or_else(|| derived(class, phase, reply.code));
    Reason {
        status: status.with_class(class),
        code: Some(reply.code),
        text: reply.text().to_owned(),
        peer: peer.to_owned(),
    }
}

/// A status for a peer that gives none.
fn derived(class: u8, phase: Phase, code: u16) -> Status {
    let (subject, detail) = match (code, phase) {
        (200..=299, _) => (0, 0),
        (421, _) => (4, 2),
        (452, Phase::Rcpt) => (5, 3),
        (452, _) => (3, 1),
        (550 | 551 | 553, Phase::Rcpt) => (1, 1),
        (552, Phase::Rcpt) => (2, 2),
        (552, _) => (3, 4),
        (530 | 534 | 535 | 538, _) | (_, Phase::Login) => (7, 8),
        (_, Phase::Mail) => (1, 8),
        (500..=504 | 555, _) => (5, 0),
        _ => (0, 0),
    };
    Status::new(class, subject, detail)
}

/// A refusal of MAIL that is about the message, not about its sender.
fn about_message(reply: &Reply) -> bool {
    let status = reply.status.map(|s| (s.subject(), s.detail()));
    // Too big; a body or an address that cannot be taken (RFC 6531 s3.4).
    matches!(status, Some((3, 4) | (6, 3 | 7))) || (status.is_none() && reply.code == 552)
}

/// A reply that means "mend your setup" wherever it comes. Text counts without regard to case.
enum Sign {
    /// A reply code.
    Code(u16),
    /// Subject and detail of the status.
    Status(u16, u16),
    /// Subject, and the first and last of some details.
    Statuses(u16, u16, u16),
    /// Words of the text, in lower case.
    Words(&'static str),
}

const SETUP: &[Sign] = &[
    // Not logged in, or not well enough (RFC 4954 s6).
    Sign::Code(530),
    Sign::Code(534),
    Sign::Code(535),
    Sign::Code(538),
    Sign::Status(7, 8),
    Sign::Status(7, 9),
    // Microsoft: basic authentication switched off, sending as another, blocked or unknown sender.
    Sign::Status(7, 139),
    Sign::Status(7, 30),
    Sign::Status(7, 57),
    Sign::Status(7, 60),
    Sign::Status(2, 252),
    Sign::Status(1, 8),
    Sign::Words("sendasdenied"),
    Sign::Words("permissions to send as"),
    // Microsoft: the account or the tenant is blocked, its quota used up, its address on a list, its connector wrong.
    Sign::Status(1, 90),
    Sign::Status(2, 122),
    Sign::Status(7, 51),
    Sign::Status(7, 64),
    Sign::Statuses(7, 501, 503),
    Sign::Statuses(7, 606, 649),
    Sign::Status(7, 705),
    Sign::Status(7, 708),
    Sign::Status(7, 750),
    // Google and others: the day's quota is used up, or the account does odd things.
    Sign::Status(4, 5),
    Sign::Words("sending quota exceeded"),
    Sign::Words("sending limit"),
    Sign::Words("unusual sending activity"),
    // Google's relay: it knows neither our address nor our account.
    Sign::Words("invalid credentials for relay"),
    Sign::Words("mail relay denied"),
    // Postfix and most providers: this login may not use this sender.
    Sign::Words("not owned by"),
    Sign::Words("sender address rejected"),
    Sign::Words("sender address is not allowed"),
    Sign::Words("sender not allowed"),
    Sign::Words("not allowed to send"),
    Sign::Words("not authorized to send"),
    Sign::Words("not authorised to send"),
    Sign::Words("sender verify failed"),
    // iCloud, Zoho, NetEase, Tencent, Mail.ru.
    Sign::Words("not one of your addresses"),
    Sign::Words("relaying disallowed as"),
    Sign::Words("must be same as authorization user"),
    Sign::Words("must equal authorized user"),
    Sign::Words("not local sender"),
    // Amazon, SendGrid: the sender was not shown to be ours.
    Sign::Words("address is not verified"),
    Sign::Words("verified sender identity"),
    Sign::Words("unauthenticated senders not allowed"),
    // It does not take us for a client of its own, or not by this name.
    Sign::Words("authentication required"),
    Sign::Words("relay access denied"),
    Sign::Words("relaying denied"),
    Sign::Words("unable to relay"),
    Sign::Words("relay not permitted"),
    Sign::Words("client host rejected"),
    Sign::Words("helo command rejected"),
];

fn known(phase: Phase, reply: &Reply) -> bool {
    // "Sender address rejected: message too large" is still about the message.
    if phase == Phase::Mail && about_message(reply) {
        return false;
    }
    let status = reply.status.map(|s| (s.subject(), s.detail()));
    let text = reply.text().to_ascii_lowercase();
    SETUP.iter().any(|sign| match *sign {
        Sign::Code(code) => code == reply.code,
        Sign::Status(subject, detail) => status == Some((subject, detail)),
        Sign::Statuses(wanted, first, last) => status
            .is_some_and(|(subject, detail)| subject == wanted && (first..=last).contains(&detail)),
        Sign::Words(words) => text.contains(words),
    })
}

#[cfg(test)]
mod tests {
    use super::{Phase, Role, judge};
    use crate::mail::outcome::Outcome;
    use crate::smtp::reply::{Reply, ReplyLines};

    fn reply(text: &str) -> Reply {
        let mut reply = Reply::default();
        let mut lines = ReplyLines::default();
        let text = format!("{text}\r\n");
        let mut input = text.as_bytes();
        while let Some(line) = lines.take(&mut input).unwrap() {
            reply.add(&line);
        }
        reply
    }

    fn word(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Done(_) => "done",
            Outcome::Later(_) => "later",
            Outcome::Never(_) => "never",
            Outcome::Hold(_) => "hold",
        }
    }

    /// What providers say, as they say it, to a client of theirs, and whose fault it is.
    const PROVIDERS: &[(Phase, &str, &str)] = &[
        // Google.
        (
            Phase::Login,
            "535-5.7.8 Username and Password not accepted. For more information, go to\r\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials x - gsmtp",
            "hold",
        ),
        (
            Phase::Login,
            "534-5.7.9 Application-specific password required. For more information, go to\r\n534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor - gsmtp",
            "hold",
        ),
        (
            Phase::Login,
            "454 4.7.0 Too many login attempts, please try again later. x - gsmtp",
            "later",
        ),
        (
            Phase::Mail,
            "530-5.7.0 Authentication Required. For more information, go to\r\n530 5.7.0  https://support.google.com/mail/?p=WantAuthError - gsmtp",
            "hold",
        ),
        (
            Phase::Mail,
            "530 5.7.0 Must issue a STARTTLS command first. x - gsmtp",
            "hold",
        ),
        (
            Phase::Message,
            "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to https://support.google.com/a/answer/166852 x - gsmtp",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550-5.4.5 Daily SMTP relay sending limit exceeded for customer.\r\n550 5.4.5 x - gsmtp",
            "hold",
        ),
        (
            Phase::Mail,
            "550-5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've\r\n550 5.7.1 registered in your G Suite SMTP Relay service doesn't match - gsmtp",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550-5.7.1 [192.0.2.1] Mail relay denied. Invalid credentials\r\n550 5.7.1 - gsmtp",
            "hold",
        ),
        (
            Phase::Mail,
            "421-4.7.0 Try again later, closing connection. (MAIL)\r\n421 4.7.0 x - gsmtp",
            "later",
        ),
        (
            Phase::Rcpt,
            "450-4.2.1 The user you are trying to contact is receiving mail at a rate that\r\n450 4.2.1 prevents additional messages - gsmtp",
            "later",
        ),
        (
            Phase::Rcpt,
            "452-4.2.2 The email account that you tried to reach is over quota.\r\n452 4.2.2 - gsmtp",
            "later",
        ),
        (
            Phase::Rcpt,
            "550-5.1.1 The email account that you tried to reach does not exist.\r\n550 5.1.1 - gsmtp",
            "never",
        ),
        (
            Phase::Rcpt,
            "550-5.2.1 The email account that you tried to reach is disabled.\r\n550 5.2.1 - gsmtp",
            "never",
        ),
        (
            Phase::Message,
            "552-5.7.0 This message was blocked because its content presents a potential\r\n552 5.7.0 security issue. - gsmtp",
            "never",
        ),
        (
            Phase::Message,
            "552-5.3.4 Your message exceeded Google's message size limits.\r\n552 5.3.4 - gsmtp",
            "never",
        ),
        (
            Phase::Message,
            "550-5.7.1 Our system has detected that this message is not RFC 5322 compliant\r\n550 5.7.1 - gsmtp",
            "never",
        ),
        // Microsoft.
        (
            Phase::Login,
            "535 5.7.3 Authentication unsuccessful [X.eurprd01.prod.outlook.com]",
            "hold",
        ),
        (
            Phase::Login,
            "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [X]",
            "hold",
        ),
        (
            Phase::Login,
            "504 5.7.4 Unrecognized authentication type [X]",
            "hold",
        ),
        (
            Phase::Message,
            "550 5.7.30 Basic authentication is not supported for Client Submission. [X]",
            "hold",
        ),
        (
            Phase::Mail,
            "530 5.7.57 Client not authenticated to send mail. [X]",
            "hold",
        ),
        (
            Phase::Mail,
            "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM [X]",
            "hold",
        ),
        (
            Phase::Message,
            "554 5.2.252 SendAsDenied; a@b not allowed to send as c@d; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied",
            "hold",
        ),
        (
            Phase::Mail,
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550 5.7.64 TenantAttribution; Relay Access Denied [X]",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
            "hold",
        ),
        (Phase::Rcpt, "550 5.7.1 Unable to relay for a@b", "hold"),
        (
            Phase::Message,
            "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients [X]",
            "hold",
        ),
        (
            Phase::Message,
            "554 5.2.122 The recipient count exceeds the recipient rate limit of the mailbox",
            "hold",
        ),
        (
            Phase::Message,
            "550 5.1.8 Access denied, bad outbound sender AS(42003)",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550 5.7.501 Access denied, spam abuse detected from banned sender",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
            "hold",
        ),
        (
            Phase::Message,
            "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP",
            "hold",
        ),
        (
            Phase::Mail,
            "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
            "later",
        ),
        (
            Phase::Mail,
            "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77712004)",
            "later",
        ),
        (
            Phase::Rcpt,
            "550 5.4.1 Recipient address rejected: Access denied. [X]",
            "never",
        ),
        (
            Phase::Rcpt,
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
            "never",
        ),
        (Phase::Rcpt, "452 4.5.3 Too many recipients", "later"),
        (Phase::Message, "554 5.6.0 Corrupt message content", "never"),
        (
            Phase::Message,
            "552 5.3.4 Message size exceeds fixed maximum message size",
            "never",
        ),
        // Postfix, as most providers run it.
        (
            Phase::Mail,
            "553 5.7.1 <a@b>: Sender address rejected: not owned by user c",
            "hold",
        ),
        (
            Phase::Rcpt,
            "553 5.7.1 <a@b>: Sender address rejected: not logged in",
            "hold",
        ),
        (Phase::Rcpt, "554 5.7.1 <a@b>: Relay access denied", "hold"),
        (
            Phase::Rcpt,
            "504 5.5.2 <nas>: Helo command rejected: need fully-qualified hostname",
            "hold",
        ),
        (
            Phase::Rcpt,
            "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550 5.1.1 <a@b>: Recipient address rejected: User unknown in virtual mailbox table",
            "never",
        ),
        (
            Phase::Rcpt,
            "450 4.2.0 <a@b>: Recipient address rejected: Greylisted",
            "later",
        ),
        (Phase::Message, "550 5.7.1 Spam message rejected", "never"),
        // Exim, Sendmail, Exchange on the premises.
        (Phase::Rcpt, "550 relay not permitted", "hold"),
        (
            Phase::Rcpt,
            "550-Verification failed for <a@b>\r\n550-Unrouteable address\r\n550 Sender verify failed",
            "hold",
        ),
        (
            Phase::Rcpt,
            "550 5.7.1 a@b... Relaying denied. Proper authentication required.",
            "hold",
        ),
        (
            Phase::Mail,
            "550 5.7.1 Client does not have permissions to send as this sender",
            "hold",
        ),
        (Phase::Hello, "501 5.5.4 Invalid domain name", "hold"),
        // Others.
        (
            Phase::Login,
            "535 Authentication Credentials Invalid",
            "hold",
        ),
        (
            Phase::Message,
            "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: a@b",
            "hold",
        ),
        (
            Phase::Message,
            "454 Throttling failure: Maximum sending rate exceeded.",
            "later",
        ),
        (
            Phase::Message,
            "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.",
            "hold",
        ),
        (
            Phase::Mail,
            "550 5.7.0 From address is not one of your addresses",
            "hold",
        ),
        (Phase::Rcpt, "553 Relaying disallowed as a@b", "hold"),
        (
            Phase::Message,
            "550 5.4.6 Unusual sending activity detected. Please try after sometime",
            "hold",
        ),
        (
            Phase::Mail,
            "501 mail from address must be same as authorization user",
            "hold",
        ),
        (
            Phase::Mail,
            "553 Mail from must equal authorized user",
            "hold",
        ),
        (Phase::Message, "550 not local sender over smtp", "hold"),
        (
            Phase::Mail,
            "551 5.7.1 Not authorised to send from this header address",
            "hold",
        ),
        (
            Phase::Mail,
            "550-Requested action not taken: mailbox unavailable\r\n550 Sender address is not allowed.",
            "hold",
        ),
        (
            Phase::Data,
            "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints",
            "later",
        ),
        (Phase::Rcpt, "552 5.2.2 Mailbox full", "never"),
        (
            Phase::Rcpt,
            "554 delivery error: dd This user doesn't have a yahoo.com account",
            "never",
        ),
    ];

    #[test]
    fn what_providers_say() {
        for &(phase, said, want) in PROVIDERS {
            let outcome = judge(Role::SmartHost, phase, &reply(said), "smtp [192.0.2.1]");
            assert_eq!(word(&outcome), want, "{phase:?} {said:?}");
        }
    }

    #[test]
    fn what_follows_from_a_reply() {
        use Phase::{Data, Greeting, Hello, Login, Mail, Message, Rcpt, StartTls};
        for (phase, said, host, exchanger) in [
            (Greeting, "554 5.7.1 go away", "hold 4.7.1", "later 4.7.1"),
            (Greeting, "421 busy", "later 4.4.2", "later 4.4.2"),
            (Hello, "550 bad name", "hold 4.0.0", "later 4.0.0"),
            (StartTls, "454 4.7.0 no", "later 4.7.0", "later 4.7.0"),
            (StartTls, "502 no", "hold 4.5.0", "later 4.5.0"),
            (Login, "535 5.7.8 wrong", "hold 4.7.8", "later 4.7.8"),
            (Login, "535 5.7.139 off", "hold 4.7.139", "later 4.7.139"),
            (Login, "454 4.7.0 later", "later 4.7.0", "later 4.7.0"),
            (Login, "504 what", "hold 4.7.8", "later 4.7.8"),
            (Mail, "550 5.7.1 sender", "hold 4.7.1", "never 5.7.1"),
            (Mail, "553 not owned by user", "hold 4.1.8", "never 5.1.8"),
            (Mail, "530 5.7.0 log in", "hold 4.7.0", "never 5.7.0"),
            (Mail, "552 5.3.4 too big", "never 5.3.4", "never 5.3.4"),
            (Mail, "552 too big", "never 5.3.4", "never 5.3.4"),
            (Mail, "553 5.6.7 no utf8", "never 5.6.7", "never 5.6.7"),
            (Mail, "451 4.3.0 later", "later 4.3.0", "later 4.3.0"),
            (Rcpt, "550 5.1.1 unknown", "never 5.1.1", "never 5.1.1"),
            (Rcpt, "550 unknown", "never 5.1.1", "never 5.1.1"),
            (Rcpt, "552 full", "never 5.2.2", "never 5.2.2"),
            (Rcpt, "450 4.2.0 grey", "later 4.2.0", "later 4.2.0"),
            (Rcpt, "452 many", "later 4.5.3", "later 4.5.3"),
            (
                Rcpt,
                "554 5.7.1 <a@b>: Relay access denied",
                "hold 4.7.1",
                "never 5.7.1",
            ),
            (
                Rcpt,
                "553 5.7.1 <a@b>: Sender address rejected: not owned by user x",
                "hold 4.7.1",
                "never 5.7.1",
            ),
            (Rcpt, "550 5.4.5 quota", "hold 4.4.5", "never 5.4.5"),
            (Data, "554 5.5.1 no", "never 5.5.1", "never 5.5.1"),
            (Message, "550 5.7.30 basic", "hold 4.7.30", "never 5.7.30"),
            (
                Message,
                "554 5.2.252 SendAsDenied; a@b",
                "hold 4.2.252",
                "never 5.2.252",
            ),
            (Message, "554 spam", "never 5.0.0", "never 5.0.0"),
            (Message, "550 5.4.5 quota", "hold 4.4.5", "never 5.4.5"),
            (Message, "452 4.3.1 full", "later 4.3.1", "later 4.3.1"),
            (Message, "354 what", "later 4.0.0", "later 4.0.0"),
        ] {
            for (role, want) in [(Role::SmartHost, host), (Role::Exchanger, exchanger)] {
                let outcome = judge(role, phase, &reply(said), "mx [192.0.2.1]");
                let got = format!("{} {}", word(&outcome), outcome.reason().status);
                assert_eq!(got, want, "{phase:?} {said:?} {role:?}");
            }
        }
    }
}
