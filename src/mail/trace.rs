//! Trace fields (RFC 5321 s4.4) and message ids (RFC 5322 s3.6.4).
//!
//! What a peer says of itself is printed only after every byte that could end a comment or a line is replaced.

use std::fmt;
use std::net::IpAddr;

use crate::base::MsgId;
use crate::base::Wall;
use crate::mail::address::Address;
use crate::mail::date::Date;
use crate::mail::domain::Domain;

/// How a message came over the network (RFC 3848).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocol {
    /// The peer greeted with EHLO.
    pub extended: bool,
    /// Under TLS.
    pub tls: bool,
    /// After AUTH.
    pub auth: bool,
    /// The transaction used SMTPUTF8 (RFC 6531 s4.3).
    pub utf8: bool,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3848 knows no letters without ESMTP.
        match (self.utf8, self.extended || self.tls || self.auth) {
            (true, _) => f.write_str("UTF8SMTP")?,
            (false, true) => f.write_str("ESMTP")?,
            (false, false) => return f.write_str("SMTP"),
        }
        f.write_str(if self.tls { "S" } else { "" })?;
        f.write_str(if self.auth { "A" } else { "" })
    }
}

/// Through which door a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A listener.
    Network {
        /// What HELO or EHLO said.
        helo: &'a str,
        /// The name its address has by reverse lookup, when that was asked for.
        rdns: Option<&'a str>,
        /// Where it called from.
        ip: IpAddr,
        /// With what.
        protocol: Protocol,
        /// Version and suite for the comment, for instance `TLS1.3 TLS_AES_128_GCM_SHA256`.
        cipher: Option<&'a str>,
    },
    /// The pickup folder, `sendmail` included.
    Pickup {
        /// Who owned the file.
        uid: u32,
        /// Their name, when they have one.
        user: Option<&'a str>,
    },
    /// Ourselves: reports, digests, heartbeats.
    Own,
}

/// A `Received:` field; prints with its line end.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Where it came from.
    pub origin: Origin<'a>,
    /// Our name.
    pub by: &'a Domain,
    /// Its name in our queue.
    pub id: MsgId,
    /// The recipient, when there is exactly one and that is nobody else's secret (RFC 5321 s7.6).
    pub recipient: Option<&'a Address>,
    /// When it came.
    pub at: Wall,
}

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Network {
                helo,
                rdns,
                ip,
                protocol,
                cipher,
            } => {
                write!(f, "Received: from {} (", Plain(helo))?;
                if let Some(rdns) = rdns {
                    write!(f, "{} ", Plain(rdns))?;
                }
                write!(
                    f,
                    "{})\r\n\tby {} (mailroot) with {protocol}",
                    Domain::from_ip(ip.to_canonical()),
                    self.by
                )?;
                if let Some(cipher) = cipher {
                    write!(f, "\r\n\t({})", Comment(cipher))?;
                }
                write!(f, "\r\n\tid {}", self.id)?;
            }
            Origin::Pickup { uid, user } => {
                write!(f, "Received: by {} (mailroot, from uid {uid}", self.by)?;
                if let Some(user) = user {
                    write!(f, " {}", Comment(user))?;
                }
                write!(f, ")\r\n\twith local id {}", self.id)?;
            }
            Origin::Own => {
                write!(
                    f,
                    "Received: by {} (mailroot)\r\n\twith local id {}",
                    self.by, self.id
                )?;
            }
        }
        if let Some(recipient) = self.recipient {
            write!(f, "\r\n\tfor <{recipient}>")?;
        }
        write!(f, ";\r\n\t{}\r\n", Date::utc(self.at))
    }
}

/// A `Return-Path:` field with its line end; `None` is the null sender (RFC 5321 s4.4).
pub fn return_path(sender: Option<&Address>) -> String {
    match sender {
        Some(address) => format!("Return-Path: <{address}>\r\n"),
        None => "Return-Path: <>\r\n".to_owned(),
    }
}

/// A message id with its angle brackets. `random` keeps ids apart when a journal starts anew.
pub fn message_id(id: MsgId, random: u64, hostname: &Domain) -> String {
    format!("<{id}.{}@{hostname}>", MsgId::from_number(random))
}

/// A name from a stranger as a word: what cannot stand in a host name becomes `?`, an empty one `unknown`.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unknown");
        }
        for c in self.0.chars().take(255) {
            let fits = c.is_ascii_alphanumeric() || "-._:[]".contains(c);
            write!(f, "{}", if fits { c } else { '?' })?;
        }
        Ok(())
    }
}

/// Text inside a comment: parentheses, backslashes and what is not printable ASCII become `?`.
struct Comment<'a>(&'a str);

impl fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(100) {
            let fits = (c.is_ascii_graphic() || c == ' ') && !"()\\".contains(c);
            write!(f, "{}", if fits { c } else { '?' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Protocol, Received, message_id, return_path};
    use crate::base::{MsgId, Wall};
    use crate::mail::{Address, Domain};

    fn text(origin: Origin<'_>, recipient: Option<&Address>) -> String {
        Received {
            origin,
            by: &Domain::parse("nas.lan").unwrap(),
            id: MsgId::from_number(33),
            recipient,
            at: Wall::from_secs(1_795_305_600),
        }
        .to_string()
    }

    #[test]
    fn received_fields() {
        let ip = "::ffff:192.0.2.7".parse().unwrap();
        let to = Address::parse("a@b.example").unwrap();
        let protocol = Protocol {
            extended: true,
            tls: true,
            ..Protocol::default()
        };
        let network = Origin::Network {
            helo: "cam",
            rdns: Some("cam.lan"),
            ip,
            protocol,
            cipher: Some("TLS1.3 X"),
        };
        assert_eq!(
            text(network, Some(&to)),
            "Received: from cam (cam.lan [192.0.2.7])\r\n\tby nas.lan (mailroot) with ESMTPS\r\n\t(TLS1.3 X)\r\n\
             \tid 11\r\n\tfor <a@b.example>;\r\n\tSun, 22 Nov 2026 00:00:00 +0000\r\n"
        );
        let pickup = Origin::Pickup {
            uid: 1000,
            user: Some("pi"),
        };
        assert_eq!(
            text(pickup, None),
            "Received: by nas.lan (mailroot, from uid 1000 pi)\r\n\twith local id 11;\r\n\
             \tSun, 22 Nov 2026 00:00:00 +0000\r\n"
        );
        assert!(
            text(Origin::Own, None)
                .starts_with("Received: by nas.lan (mailroot)\r\n\twith local id 11;")
        );
    }

    #[test]
    fn a_hostile_greeting_adds_no_line_and_no_comment() {
        let origin = Origin::Network {
            helo: "x\r\nBcc: a@b (",
            rdns: Some("y)\n"),
            ip: "2001:db8::1".parse().unwrap(),
            protocol: Protocol::default(),
            cipher: Some("a)\r\n(b\\"),
        };
        let text = text(origin, None);
        assert!(text.starts_with("Received: from x??Bcc:?a?b?? (y?? [IPv6:2001:db8::1])\r\n\tby nas.lan (mailroot) with SMTP\r\n"));
        assert!(text.lines().skip(1).all(|line| line.starts_with('\t')));
        let origin = Origin::Network {
            helo: "",
            rdns: None,
            ip: "127.0.0.1".parse().unwrap(),
            protocol: Protocol::default(),
            cipher: None,
        };
        assert!(
            Received {
                origin,
                by: &Domain::parse("h").unwrap(),
                id: MsgId::from_number(1),
                recipient: None,
                at: Wall::default()
            }
            .to_string()
            .starts_with("Received: from unknown ([127.0.0.1])")
        );
    }

    #[test]
    fn small_fields() {
        assert_eq!(return_path(None), "Return-Path: <>\r\n");
        let address = Address::parse("\"a b\"@c.d").unwrap();
        assert_eq!(
            return_path(Some(&address)),
            "Return-Path: <\"a b\"@c.d>\r\n"
        );
        let id = message_id(MsgId::from_number(33), 32, &Domain::parse("h.x").unwrap());
        assert_eq!(id, "<11.10@h.x>");
    }
}
