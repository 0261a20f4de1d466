//! The SASL mechanisms a client can use, strongest first, and sets of them.

use std::fmt;

/// A mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677, bound to the TLS connection.
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 2195.
    CramMd5,
    /// Windows domains, as on-premises Exchange has it: NTLMv2.
    #[cfg(feature = "ntlm")]
    Ntlm,
    /// RFC 4616.
    Plain,
    /// Without a standard.
    Login,
    /// RFC 4422 appendix A: who we are is told by our TLS certificate.
    External,
    /// Google's and Microsoft's: an OAuth 2 access token.
    XOAuth2,
    /// RFC 7628: the same in a standard.
    OAuthBearer,
}

use Mechanism::CramMd5;
use Mechanism::External;
use Mechanism::Login;
#[cfg(feature = "ntlm")]
use Mechanism::Ntlm;
use Mechanism::OAuthBearer;
use Mechanism::Plain;
use Mechanism::ScramSha1;
use Mechanism::ScramSha256;
use Mechanism::ScramSha256Plus;
use Mechanism::XOAuth2;

/// All, in the order in which they are chosen. XOAUTH2 stands before the standard because it is what the providers
/// test with; to a password neither matters.
pub const ALL: &[Mechanism] = &[
    ScramSha256Plus,
    ScramSha256,
    ScramSha1,
    CramMd5,
    #[cfg(feature = "ntlm")]
    Ntlm,
    Plain,
    Login,
    External,
    XOAuth2,
    OAuthBearer,
];

/// Their names, in the same order.
pub const NAMES: &[&str] = &[
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "CRAM-MD5",
    #[cfg(feature = "ntlm")]
    "NTLM",
    "PLAIN",
    "LOGIN",
    "EXTERNAL",
    "XOAUTH2",
    "OAUTHBEARER",
];

impl Mechanism {
    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let names = ALL.iter().zip(NAMES);
        names
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(&mechanism, _)| mechanism)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let at = ALL.iter().position(|&known| known == self);
        at.and_then(|at| NAMES.get(at)).copied().unwrap_or_default()
    }

    /// What it proves an account with.
    pub fn wants(self) -> Wants {
        match self {
            XOAuth2 | OAuthBearer => Wants::Token,
            External => Wants::Certificate,
            _ => Wants::Password,
        }
    }

    /// Whether a secret in the clear, or one that is easily guessed from what is in the clear, crosses the wire:
    /// not without TLS.
    pub fn needs_tls(self) -> bool {
        !matches!(self, ScramSha256Plus | ScramSha256 | ScramSha1 | External)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an account is proved with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A password.
    Password,
    /// An OAuth 2 access token.
    Token,
    /// The certificate shown in the handshake.
    Certificate,
}

/// Some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// These.
    pub fn of(list: &[Mechanism]) -> Self {
        let mut all = Self::default();
        for &one in list {
            all.add(one);
        }
        all
    }

    /// One more.
    pub fn add(&mut self, one: Mechanism) {
        self.0 |= 1 << one as u16;
    }

    /// Whether it is among them.
    pub fn has(self, one: Mechanism) -> bool {
        self.0 & (1 << one as u16) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Mechanism, Mechanisms, NAMES};

    #[test]
    fn every_mechanism_has_its_own_name() {
        assert_eq!(ALL.len(), NAMES.len());
        let mut seen = Mechanisms::default();
        for (&one, &name) in ALL.iter().zip(NAMES) {
            assert_eq!(Mechanism::named(&name.to_lowercase()), Some(one));
            assert_eq!(one.to_string(), name);
            assert!(!seen.has(one));
            seen.add(one);
        }
        assert_eq!(seen, Mechanisms::of(ALL));
        assert_eq!(Mechanism::named("DIGEST-MD5"), None);
    }
}
