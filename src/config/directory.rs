//! What is wrong between the keys of `[directory]`, and what to write instead.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDirectory {
    /// A key that needs a directory, and there is none.
    NoServers,
    /// Nobody says where searches begin.
    NoBase,
    /// A simple bind without an account.
    NoUser,
    /// A key of an account with this other kind of bind.
    Useless(&'static str),
    /// A password over a connection without TLS.
    InClear,
    /// The key with the names of attributes that are missing.
    NoAttributes(&'static str),
}

impl fmt::Display for BadDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServers => f.write_str(
                "no directory is named; write servers = [\"ldaps://dc1.example.com\"] in [directory]",
            ),
            Self::NoBase => f.write_str(
                "nobody says where searches begin; write base = \"dc=example,dc=com\"",
            ),
            Self::NoUser => f.write_str(
                "a simple bind needs an account; write user = \"svc-mail\" and password_file",
            ),
            Self::Useless(way) => write!(
                f,
                "this has no meaning with bind = \"{way}\"; write bind = \"simple\", or take it out"
            ),
            Self::InClear => f.write_str(
                "without TLS everybody on the way can read passwords; write start_tls = true or ldaps:// in [directory], \
                 or insecure_auth = true there when that is meant",
            ),
            Self::NoAttributes(key) => {
                write!(f, "this needs the names of attributes; write `{key}`")
            }
        }
    }
}
