//! One AUTH exchange on the client's side (RFC 4954 s4).
//!
//! What is offered strongest is used, and nothing weaker is tried when that fails: somebody in the middle could make
//! it fail.

use crate::smtp::client::capability::Offered;
use crate::smtp::client::settings::Login;
use crate::smtp::client::settings::Secret;
use crate::smtp::reply::Reply;
use crate::smtp::sasl;
use crate::smtp::sasl::codec;
use crate::smtp::sasl::mechanism::ALL;
use crate::smtp::sasl::mechanism::Mechanism;
use crate::smtp::sasl::mechanism::Wants;
#[cfg(feature = "ntlm")]
use crate::smtp::sasl::ntlm::client as ntlm;
use crate::smtp::sasl::scram::Binding;
use crate::smtp::sasl::scram::Exporter;
use crate::smtp::sasl::scram::Hash;
use crate::smtp::sasl::scram::ScramClient;

/// Why no exchange can begin, or what ended it besides a refusal.
pub type Obstacle = &'static str;

/// What the connection is like.
#[derive(Clone, Copy)]
pub struct Footing<'a> {
    /// What shows the secret may be used: there is TLS, or the owner does not mind.
    pub clear_allowed: bool,
    /// What SCRAM-PLUS binds to.
    pub exporter: Option<Exporter>,
    /// Fresh random text.
    pub nonce: &'a str,
}

/// What follows from a 334.
#[derive(Debug)]
pub enum Answer {
    /// Send this line.
    Line(String),
    /// The exchange cannot go on.
    Stop(Obstacle),
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    at: At,
}

/// Where it stands.
#[derive(Debug)]
enum At {
    /// The secret was sent: only yes or no can follow.
    Sent,
    /// The initial response is too long for the command line; it goes after the first 334.
    Initial(String),
    /// LOGIN, before the name.
    Name,
    /// LOGIN, before the password.
    Password,
    /// CRAM-MD5, before the challenge.
    Cram,
    /// NTLM, before the challenge, with something random.
    #[cfg(feature = "ntlm")]
    Ntlm([u8; 8]),
    /// SCRAM, after our first message.
    Scram(ScramClient),
    /// SCRAM, after our proof: this is what the server has to say.
    Proof(String),
    /// SCRAM, both sides have proved themselves.
    Proved,
}

/// Chooses the strongest mechanism that is offered and allowed.
fn choose(login: &Login, offer: &Offered, on: Footing<'_>) -> Result<Mechanism, Obstacle> {
    let wanted = |one: Mechanism| login.only.is_empty() || login.only.has(one);
    let candidates = ALL.iter().copied();
    let mut candidates = candidates
        .filter(|&one| offer.known.has(one) && wanted(one) && fits(one, &login.secret))
        .peekable();
    if candidates.peek().is_none() {
        return Err(match (offer.any, login.only.is_empty()) {
            (true, true) => "the peer offers no AUTH mechanism that fits the login",
            (true, false) => "the peer offers none of the mechanisms that the route's auth names",
            (false, _) => "the peer does not offer AUTH; check port and TLS of the route",
        });
    }
    let mut obstacle = "";
    for one in candidates {
        if one == Mechanism::ScramSha256Plus && on.exporter.is_none() {
            // RFC 5802 s6: a server that offers only PLUS wants what this connection cannot give.
            obstacle = "the peer wants a login bound to TLS 1.3, which this is not";
        } else if one.needs_tls() && !on.clear_allowed {
            obstacle = "AUTH needs TLS; set the route's TLS, or allow plain text";
        } else {
            return Ok(one);
        }
    }
    Err(obstacle)
}

/// Whether a mechanism works with this secret.
fn fits(one: Mechanism, secret: &Secret) -> bool {
    let kind = match secret {
        Secret::Password(_) => Wants::Password,
        Secret::Token(_) => Wants::Token,
        Secret::Certificate => Wants::Certificate,
    };
    one.wants() == kind
}

/// What SCRAM without PLUS says of the binding.
fn unbound(login: &Login, offer: &Offered, exporter: Option<Exporter>) -> Binding {
    let plus = Mechanism::ScramSha256Plus;
    let pinned_away = !login.only.is_empty() && !login.only.has(plus);
    // RFC 5802 s6: "y" tells the server that it did not offer what we could do. It would be untrue when it did.
    if exporter.is_none() || offer.plus || pinned_away {
        Binding::None
    } else {
        Binding::Unused
    }
}

impl Exchange {
    /// Chooses a mechanism. Also gives the AUTH command, without CRLF.
    pub fn begin(
        login: &Login,
        offer: &Offered,
        on: Footing<'_>,
    ) -> Result<(Self, String), Obstacle> {
        let mechanism = choose(login, offer, on)?;
        let scram = |hash, binding| {
            let (scram, first) = ScramClient::begin(hash, &login.name, on.nonce, binding);
            (At::Scram(scram), Some(codec::encode(first.as_bytes())))
        };
        let (Secret::Password(secret) | Secret::Token(secret)) = &login.secret else {
            let command = format!("AUTH {mechanism} {}", sasl::external(&login.name));
            let at = At::Sent;
            return Ok((Self { mechanism, at }, command));
        };
        let (at, initial) = match mechanism {
            Mechanism::ScramSha256Plus => {
                let binding = on.exporter.map_or(Binding::None, Binding::Used);
                scram(Hash::Sha256, binding)
            }
            Mechanism::ScramSha256 => scram(Hash::Sha256, unbound(login, offer, on.exporter)),
            Mechanism::ScramSha1 => scram(Hash::Sha1, unbound(login, offer, on.exporter)),
            Mechanism::CramMd5 => (At::Cram, None),
            #[cfg(feature = "ntlm")]
            Mechanism::Ntlm => {
                let random = on.nonce.as_bytes().first_chunk().copied();
                let first = codec::encode(&ntlm::negotiate());
                (At::Ntlm(random.unwrap_or_default()), Some(first))
            }
            Mechanism::Plain => (At::Sent, Some(sasl::plain(&login.name, secret))),
            Mechanism::XOAuth2 => (At::Sent, Some(sasl::xoauth2(&login.name, secret))),
            Mechanism::OAuthBearer => (At::Sent, Some(sasl::oauthbearer(&login.name, secret))),
            Mechanism::Login | Mechanism::External => (At::Name, None),
        };
        let (at, command) = match initial {
            None => (at, format!("AUTH {mechanism}")),
            // RFC 4954 s4: a command line that would be too long goes without its initial response.
            Some(initial) if initial.len() > 480 && matches!(at, At::Sent) => {
                (At::Initial(initial), format!("AUTH {mechanism}"))
            }
            Some(initial) => (at, format!("AUTH {mechanism} {initial}")),
        };
        Ok((Self { mechanism, at }, command))
    }

    /// The peer said 334.
    pub fn on_challenge(&mut self, login: &Login, reply: &Reply) -> Answer {
        let password = match &login.secret {
            Secret::Password(secret) | Secret::Token(secret) => secret.as_str(),
            Secret::Certificate => "",
        };
        let said = reply.text().as_bytes();
        let (next, answer) = match &mut self.at {
            At::Initial(initial) => (At::Sent, std::mem::take(initial)),
            At::Name => (At::Password, codec::encode(login.name.as_bytes())),
            At::Password => (At::Sent, codec::encode(password.as_bytes())),
            At::Sent if self.mechanism == Mechanism::OAuthBearer => {
                (At::Sent, sasl::OAUTHBEARER_END.to_owned())
            }
            // XOAUTH2 explains a failure in a challenge and wants an empty line for it.
            At::Sent => (At::Sent, String::new()),
            At::Cram => {
                let Ok(challenge) = codec::decode(said) else {
                    return Answer::Stop("the peer's CRAM-MD5 challenge cannot be read");
                };
                let answer = sasl::cram_md5(&login.name, password, &challenge);
                (At::Sent, answer)
            }
            #[cfg(feature = "ntlm")]
            At::Ntlm(random) => {
                let made = codec::decode(said).ok().and_then(|challenge| {
                    ntlm::authenticate(&challenge, &login.name, password, *random).ok()
                });
                match made {
                    Some(answer) => (At::Sent, codec::encode(&answer)),
                    None => return Answer::Stop("the peer's NTLM challenge cannot be read"),
                }
            }
            At::Scram(scram) => {
                let Ok(said) = codec::decode_text(said) else {
                    return Answer::Stop("the peer's SCRAM message cannot be read");
                };
                match scram.answer(&said, password) {
                    Ok((last, wanted)) => (At::Proof(wanted), codec::encode(last.as_bytes())),
                    Err(_) => return Answer::Stop("the peer's SCRAM message cannot be accepted"),
                }
            }
            At::Proof(wanted) => {
                if codec::decode_text(said).as_ref() != Ok(wanted) {
                    return Answer::Stop("the peer could not prove that it knows the password");
                }
                (At::Proved, String::new())
            }
            At::Proved => return Answer::Stop("the peer's AUTH never ends"),
        };
        self.at = next;
        Answer::Line(answer)
    }

    /// Whether a 235 may be believed: with SCRAM the peer has to prove itself first.
    pub fn may_end(&self) -> bool {
        matches!(self.at, At::Sent | At::Proved)
    }

    /// How.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
}

#[cfg(test)]
mod tests {
    use super::{Exchange, Footing};
    use crate::smtp::client::capability::Capabilities;
    use crate::smtp::client::settings::{Login, Secret};
    use crate::smtp::sasl::mechanism::Mechanism;

    /// The command that begins, cut behind the mechanism and the first characters of what SCRAM says.
    fn begin(offer: &str, secret: &Secret, only: &[&str], tls: bool, bound: bool) -> String {
        let mut capabilities = Capabilities::default();
        capabilities.add(format!("AUTH {offer}").as_bytes());
        let mut login = Login::new("tim".to_owned(), secret.clone());
        for name in only {
            login.only.add(Mechanism::named(name).unwrap());
        }
        let on = Footing {
            clear_allowed: tls,
            exporter: bound.then_some([7; 32]),
            nonce: "rOprNGfwEbeRWgbNEkqO",
        };
        match Exchange::begin(&login, &capabilities.auth, on) {
            Ok((_, command)) => {
                let mut words = command.split(' ').skip(1);
                let name = words.next().unwrap();
                let flag = words.next().map_or("", |initial| match initial.get(..2) {
                    Some("bi") if name.starts_with("SCRAM") => " n",
                    Some("eS") => " y",
                    Some("cD") => " p",
                    _ => "",
                });
                format!("{name}{flag}")
            }
            Err(obstacle) => format!(
                "- {}",
                obstacle.split(' ').take(5).collect::<Vec<_>>().join(" ")
            ),
        }
    }

    #[test]
    fn the_strongest_that_is_offered_and_allowed() {
        let all = "LOGIN PLAIN EXTERNAL XOAUTH2 OAUTHBEARER CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS";
        // What is offered, what we have, the pinned ones, and whether there is TLS and something to bind to.
        for row in [
            "ALL | password | | tls bound | SCRAM-SHA-256-PLUS p",
            "ALL | password | | tls | SCRAM-SHA-256 n",
            "ALL | password | SCRAM-SHA-256 | tls bound | SCRAM-SHA-256 n",
            "ALL | password | SCRAM-SHA-1 PLAIN | tls bound | SCRAM-SHA-1 n",
            "ALL | password | LOGIN | tls bound | LOGIN",
            "ALL | password | LOGIN | | - AUTH needs TLS; set the",
            "ALL | password | EXTERNAL | tls bound | - the peer offers none of",
            "ALL | token | | tls bound | XOAUTH2",
            "ALL | token | OAUTHBEARER | tls bound | OAUTHBEARER",
            "ALL | token | | | - AUTH needs TLS; set the",
            "ALL | certificate | | tls bound | EXTERNAL",
            "SCRAM-SHA-256 | password | | tls bound | SCRAM-SHA-256 y",
            "SCRAM-SHA-256 | password | SCRAM-SHA-256 | tls bound | SCRAM-SHA-256 n",
            "SCRAM-SHA-1 SCRAM-SHA-1-PLUS | password | | tls bound | SCRAM-SHA-1 n",
            "SCRAM-SHA-1 PLAIN | password | | | SCRAM-SHA-1 n",
            "SCRAM-SHA-256-PLUS PLAIN | password | | tls | PLAIN",
            "SCRAM-SHA-256-PLUS | password | | tls | - the peer wants a login",
            "CRAM-MD5 PLAIN LOGIN | password | | tls bound | CRAM-MD5",
            "CRAM-MD5 PLAIN | password | | | - AUTH needs TLS; set the",
            "PLAIN LOGIN | password | | tls bound | PLAIN",
            "GSSAPI | password | | tls bound | - the peer offers no AUTH",
            "PLAIN | certificate | | tls bound | - the peer offers no AUTH",
            " | password | | tls bound | - the peer does not offer",
        ] {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let secret = match cells[1] {
                "password" => Secret::Password("x".to_owned()),
                "token" => Secret::Token("x".to_owned()),
                _ => Secret::Certificate,
            };
            let only: Vec<&str> = cells[2].split_whitespace().collect();
            let (tls, bound) = (cells[3].contains("tls"), cells[3].contains("bound"));
            let got = begin(&cells[0].replace("ALL", all), &secret, &only, tls, bound);
            assert_eq!(got, cells[4], "{row}");
        }
        #[cfg(feature = "ntlm")]
        {
            let secret = Secret::Password("x".to_owned());
            assert_eq!(begin("NTLM LOGIN", &secret, &[], true, true), "NTLM");
        }
    }
}
