//! What is wrong with a configuration, where it stands, and what to write instead.
//!
//! Never: prints a password. A source line that names one, or holds an address with one in it, is shown masked.

use std::fmt;
use std::ops::Range;

use crate::base::Escaped;
use crate::config::directory::BadDirectory;
use crate::config::kind::BadValue;
use crate::config::kind::Kind;
use crate::config::lookup::Near;
use crate::config::url::BadUrl;
use crate::mail::Domain;

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// These bytes of the file.
    File(Range<usize>),
    /// A flag of the command line, as it is called.
    Flag(String),
    /// Nowhere: it is a default.
    Default,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub complaint: Complaint,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Complaint {
    /// Not TOML; in the words of the TOML reader.
    Syntax(String),
    /// A value that is neither a number nor text in quotes.
    Unquoted,
    /// The file is larger than any configuration.
    TooLarge,
    /// A key that stands twice.
    KeyTwice,
    /// A key that no row knows.
    UnknownKey {
        /// As it was written.
        key: String,
        /// What may have been meant.
        near: Near,
    },
    /// A table that is no section.
    UnknownSection {
        /// As it was written.
        name: String,
        /// What may have been meant.
        near: Near,
    },
    /// A password in the file.
    InlinePassword,
    /// A section that may stand once, written with double brackets or as a value.
    WantsTable(&'static str),
    /// A section that may stand several times, written with single brackets or as a value.
    WantsBlocks(&'static str),
    /// A value that its key does not take.
    Value {
        /// The key path.
        key: &'static str,
        /// What it takes.
        kind: &'static Kind,
        /// Why not.
        why: BadValue,
    },
    /// A list that may not be empty.
    EmptyList(&'static str),
    /// A smart host address that cannot be read.
    Url(BadUrl),
    /// `--set` without `key=value`.
    SetForm,
    /// `--set` of a key in one of several blocks.
    WhichBlock(&'static str),
    /// `--set` of a key in a block that is not there.
    NoBlock {
        /// The section.
        section: &'static str,
        /// How many blocks there are.
        count: usize,
    },
    /// `home` in a file is relative, and nobody knows to what.
    RelativeHome,
    /// A group, and no user to be in it.
    GroupAlone,
    /// There is no such user on this host.
    NoSuchUser(String),
    /// There is no such group on this host.
    NoSuchGroup(String),
    /// A user by number who has no entry, so that nobody knows the group.
    NoGroup(String),
    /// One address with two listeners.
    ListenTwice,
    /// This key asks for TLS, and there is no certificate, or the listener never has it.
    NoCertificate(&'static str),
    /// A key file, and no certificate it belongs to.
    KeyAlone,
    /// A login is required, and there are no users.
    NoUsers,
    /// This needs a feature that the program was built without.
    NotBuilt(&'static str),
    /// Something about the directory.
    Directory(BadDirectory),
    /// A keytab, and nobody whose tickets are taken.
    NoPrincipals,
    /// People with tickets, and no keytab.
    NoKeytab,
    /// What is no name in Kerberos.
    BadPrincipal,
    /// One pattern in two routes.
    PatternTwice,
    /// A route to smart hosts that names none.
    NoHosts,
    /// A key of a route that means nothing with this `via`.
    UselessWith(&'static str, &'static str),
    /// Two addresses of one family to connect from.
    TwoSources,
    /// A Unix socket as a smart host.
    SocketWithoutLmtp,
    /// HELO, and what only EHLO can offer.
    HeloCannot,
    /// TLS from the first byte, and TLS off or optional.
    ImplicitWithoutTls,
    /// An authority file, and certificates are not checked against authorities.
    UselessCa,
    /// A password and no account.
    PasswordWithoutUser,
    /// Two places for one password, or a password and a token.
    TwoPasswords,
    /// EXTERNAL, and no certificate to show.
    ExternalWithoutCertificate,
    /// None of the mechanisms named works with what proves the account.
    UselessAuth(&'static str),
    /// A login over a connection without TLS.
    LoginInClear,
    /// The first must be at least the second.
    Below(&'static str, &'static str),
    /// A block of `[[dkim]]` that lacks a key.
    HalfOfDkim,
    /// A block of `[[hook]]` that lacks one.
    HalfOfHook,
    /// A program that is not named by its whole path.
    HookPath,
    /// A domain that stands in two places.
    DomainTwice(Domain),
    /// Alias domains, and no domain that they stand for.
    AliasOfNothing,
    /// A block of `[[domain]]` without a domain.
    NoDomain,
    /// A key about a folder, in a block that has none of its own.
    NoFolder(&'static str),
    /// Two drop folders that are one, or one of which lies in the Maildirs of the other.
    DropTwice,
    /// The drop folder is one of the folders that have another duty.
    DropTaken,
    /// A path that does not fit a Unix socket's address.
    SocketPath,
    /// The schema and the model disagree: a mistake in this program.
    Schema,
}

impl fmt::Display for Complaint {
    #[allow(clippy::too_many_lines, reason = "one arm a complaint")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "this is not TOML: {}", Escaped(why.as_bytes())),
            Self::Unquoted => f.write_str("this value cannot be read; text stands in \"quotes\""),
            Self::TooLarge => f.write_str("the file is larger than 1 MiB; this is no configuration"),
            Self::KeyTwice => f.write_str("this key stands twice; keep one"),
            Self::UnknownKey { key, near } => {
                write!(f, "there is no key `{}`", Escaped(key.as_bytes()))?;
                meant(f, *near)
            }
            Self::UnknownSection { name, near } => {
                write!(f, "there is no section `{}`", Escaped(name.as_bytes()))?;
                meant(f, *near)
            }
            Self::InlinePassword => f.write_str(
                "a password does not stand in the configuration; write it into a file that only its owner can \
                 read and name that with password_file, or name a variable with password_env",
            ),
            Self::WantsTable(name) => write!(f, "`{name}` stands once; write [{name}]"),
            Self::WantsBlocks(name) => {
                write!(f, "`{name}` may stand several times; write [[{name}]] for each")
            }
            Self::Value { key, kind, why } => {
                write!(f, "`{key}`: {why}; write {}", kind.allowed())
            }
            Self::EmptyList(key) => write!(f, "`{key}` is empty; leave it out for the default"),
            Self::Url(why) => why.fmt(f),
            Self::SetForm => {
                f.write_str("write --set KEY=VALUE, such as --set limits.message_bytes=10MB")
            }
            Self::WhichBlock(section) => write!(
                f,
                "there are several [[{section}]] blocks; say which by number, as in --set {section}.1.KEY=VALUE"
            ),
            Self::NoBlock { section, count } => {
                write!(f, "there is no such [[{section}]] block; there are {count}")
            }
            Self::RelativeHome => f.write_str("`home` must begin with / in a file"),
            Self::GroupAlone => f.write_str("there is a group and no user; write user here too"),
            Self::NoSuchUser(name) => write!(
                f,
                "this host has no user {name:?}; `mailroot install --prepare --user NAME` makes one, or name another"
            ),
            Self::NoSuchGroup(name) => {
                write!(f, "this host has no group {name:?}; name one that /etc/group has")
            }
            Self::NoGroup(number) => write!(
                f,
                "the user {number} has no line in /etc/passwd that names a group; write group here too"
            ),
            Self::ListenTwice => f.write_str("another listener has this address; keep one"),
            Self::NoCertificate(key) => write!(
                f,
                "`{key}` needs a certificate, and tls other than \"off\" here; write certificate and key in [tls], \
                 or self_signed = true there"
            ),
            Self::KeyAlone => f.write_str("there is a key and no certificate; write certificate here too"),
            Self::NotBuilt(feature) => write!(
                f,
                "this program was built without it; build one with the feature {feature:?}"
            ),
            Self::NoPrincipals => f.write_str(
                "nobody could log in by a ticket; name users in users.principals, or a realm: [\"*@OFFICE.EXAMPLE\"]",
            ),
            Self::NoKeytab => {
                f.write_str("nobody could log in by a ticket; name the file of keys with users.keytab")
            }
            Self::BadPrincipal => f.write_str(
                "write names with their realm, such as \"tim@OFFICE.EXAMPLE\", or \"*@OFFICE.EXAMPLE\" for all of a realm",
            ),
            Self::NoUsers => f.write_str(
                "nobody could log in; write file in [users] and fill it with `mailroot passwd`",
            ),
            Self::Directory(bad) => bad.fmt(f),
            Self::PatternTwice => f.write_str(
                "another route has the same pattern, so this one is never taken there; keep one",
            ),
            Self::NoHosts => f.write_str(
                "this route names no host; write hosts = [\"smtp.example.com:587\"], or via = \"mx\" or \"drop\"",
            ),
            Self::UselessWith(key, via) => {
                write!(f, "`{key}` has no meaning with via = \"{via}\"; take one of them out")
            }
            Self::TwoSources => f.write_str(
                "there are two addresses of one family; keep one for IPv4 and one for IPv6",
            ),
            Self::SocketWithoutLmtp => f.write_str(
                "a Unix socket is for a mail store on this host; write via = \"lmtp\", or a host name",
            ),
            Self::HeloCannot => f.write_str(
                "with HELO there is no STARTTLS and no login; write tls = \"off\" or \"opportunistic\" here and no user, \
                 or take `ehlo` out",
            ),
            Self::ImplicitWithoutTls => f.write_str(
                "TLS cannot begin with the connection and be off or optional; write tls = \"verify\", or \
                 implicit_tls = false",
            ),
            Self::UselessCa => {
                f.write_str("`route.ca` is used with tls = \"verify\" or \"dane\" only; take one of them out")
            }
            Self::PasswordWithoutUser => {
                f.write_str("there is a password and no account; write user = \"me@example.com\"")
            }
            Self::TwoPasswords => {
                f.write_str("two of password_file, password_env and token_file are given; keep one")
            }
            Self::ExternalWithoutCertificate => f.write_str(
                "EXTERNAL means that our certificate says who we are; write certificate and key as well",
            ),
            Self::UselessAuth(with) => write!(
                f,
                "none of these works with {with}; XOAUTH2 and OAUTHBEARER want a token_file, EXTERNAL wants \
                 neither password nor token, all others want a password"
            ),
            Self::LoginInClear => f.write_str(
                "with tls = \"off\" everybody on the way can read the password; write tls = \"verify\", or \
                 insecure_auth = true when that is meant",
            ),
            Self::Below(key, least) => write!(f, "`{key}` is below `{least}`; it must be at least that"),
            Self::HalfOfHook => f.write_str("a hook needs `on` and `exec`; give both"),
            Self::HookPath => f.write_str(
                "the first part of `exec` must be the path of a program, from / on; no shell looks for it",
            ),
            Self::HalfOfDkim => {
                f.write_str("a signature needs `domain`, `selector` and `key_file`; give all three")
            }
            Self::DomainTwice(domain) => {
                write!(f, "{domain} stands in two places; keep one")
            }
            Self::AliasOfNothing => f.write_str(
                "an alias domain is another name of the first of `domains`, and there is none; name that first",
            ),
            Self::NoDomain => {
                f.write_str("this block names no domain; write domains = [\"office.example\"]")
            }
            Self::NoFolder(key) => write!(
                f,
                "`{key}` is about a folder, and this block has none of its own; write drop = \"drop/NAME\" here too"
            ),
            Self::DropTwice => f.write_str(
                "another block has this folder, or one of the two lies in the Maildirs of the other; name the domains \
                 in one block, or take a folder of its own",
            ),
            Self::DropTaken => f.write_str(
                "this folder has another duty (pickup, queue, badmail or sorttemp); take one of its own",
            ),
            Self::SocketPath => {
                f.write_str("with home in front this is longer than the 107 bytes of a socket's path; shorten it")
            }
            Self::Schema => f.write_str("the schema and the model disagree; please report this"),
        }
    }
}

fn meant(f: &mut fmt::Formatter<'_>, near: Near) -> fmt::Result {
    match near {
        Near::Here(name) => write!(f, "; did you mean `{name}`?"),
        Near::Key(path) => match path.split_once('.') {
            Some((section, name)) => write!(f, "; did you mean `{name}` in [{section}]?"),
            None => write!(f, "; did you mean `{path}` at the top of the file?"),
        },
        Near::Section(name) => write!(f, "; did you mean [{name}]?"),
        Near::Nothing => f.write_str("; `mailroot config --all` prints all there are"),
    }
}

/// Everything that is wrong with one configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    file: String,
    text: String,
    list: Vec<Fault>,
}

impl Faults {
    /// The faults of the file with this name and text.
    pub fn new(file: &str, text: &str, mut list: Vec<Fault>) -> Self {
        list.sort_by_key(|fault| match &fault.place {
            Place::File(span) => span.start,
            Place::Flag(_) | Place::Default => usize::MAX,
        });
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            list,
        }
    }

    /// Each fault.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// How many there are; never none.
    pub fn count(&self) -> usize {
        self.list.len()
    }
}

impl std::error::Error for Faults {}

/// `file:line:column: sentence`, the line, and a caret below what is meant; once for each fault.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.list.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            match &fault.place {
                Place::File(span) => {
                    let spot = Spot::find(&self.text, span);
                    write!(
                        f,
                        "{}:{}:{}: {}\n{spot}",
                        self.file, spot.line, spot.column, fault.complaint
                    )?;
                }
                Place::Flag(flag) => write!(f, "{flag}: {}", fault.complaint)?,
                Place::Default => write!(f, "{}: {}", self.file, fault.complaint)?,
            }
        }
        Ok(())
    }
}

/// Widest piece of a source line that is shown.
const WIDEST: usize = 100;

/// A line of the file and the part of it that is meant. Line and column count from one, the column in characters.
struct Spot {
    line: usize,
    column: usize,
    shown: String,
    indent: usize,
    width: usize,
}

impl Spot {
    fn find(text: &str, span: &Range<usize>) -> Self {
        // An error at the end of the file belongs behind the last line that has something on it.
        let start = span.start.min(text.trim_end().len());
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let rest = text.get(line_start..).unwrap_or("");
        let line = rest.lines().next().unwrap_or("");
        let indent = before.get(line_start..).unwrap_or("").chars().count();
        let meant = text.get(start..span.end).unwrap_or("");
        let width = meant.lines().next().unwrap_or("").chars().count().max(1);
        let masked: Vec<char> = mask(line).chars().collect();
        // A long line is cut around the spot.
        let skip = indent.saturating_sub(WIDEST / 2);
        let skip = if masked.len() <= WIDEST { 0 } else { skip };
        let shown: String = masked
            .iter()
            .skip(skip)
            .take(WIDEST)
            .map(|c| match c {
                '\t' => ' ',
                c if c.is_control() => '?',
                c => *c,
            })
            .collect();
        let room = shown.chars().count().saturating_sub(indent - skip).max(1);
        Self {
            line: before.matches('\n').count().saturating_add(1),
            column: indent.saturating_add(1),
            shown,
            indent: indent - skip,
            width: width.min(room),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        let (indent, width) = (self.indent, self.width);
        writeln!(f, " {} | {}", self.line, self.shown)?;
        write!(f, " {:gutter$} | {:indent$}{:^<width$}", "", "", "")
    }
}

/// The line with every password in it replaced, each character by a star so that columns stay.
fn mask(line: &str) -> String {
    let star = |text: &str| "*".repeat(text.chars().count());
    let lower = line.to_ascii_lowercase();
    let named = |word: &str| {
        let (before, behind) = lower.split_once(word)?;
        let (end, _) = behind.split_once('=')?;
        let place = ["_file", "_env"].iter().any(|tail| end.trim() == *tail);
        (!place).then_some(before.len() + word.len() + end.len() + 1)
    };
    let words = ["password", "passwd", "secret", "token"];
    if let Some((front, value)) = words
        .into_iter()
        .filter_map(named)
        .min()
        .and_then(|at| line.split_at_checked(at))
    {
        return format!("{front}{}", star(value));
    }
    // scheme://user:password@host
    let parts = line.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.rsplit_once('@')?;
        let (user, password) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:{}@{host}", star(password)))
    });
    parts.unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Complaint, Fault, Faults, Place, mask};

    fn shown(text: &str, at: std::ops::Range<usize>) -> String {
        let fault = Fault {
            place: Place::File(at),
            complaint: Complaint::KeyTwice,
        };
        Faults::new("f", text, vec![fault]).to_string()
    }

    #[test]
    fn the_caret_stands_below_what_is_meant() {
        for (text, at, want) in [
            ("a = 1\nb = 2\n", 6..7, "f:2:1: W\n 2 | b = 2\n   | ^"),
            ("a = 1\nb = 2\n", 10..11, "f:2:5: W\n 2 | b = 2\n   |     ^"),
            ("\tx = 1", 1..2, "f:1:2: W\n 1 |  x = 1\n   |  ^"),
            (
                "\u{fc} = 12",
                5..7,
                "f:1:5: W\n 1 | \u{fc} = 12\n   |     ^^",
            ),
            ("a = \n\n", 5..5, "f:1:4: W\n 1 | a = \n   |    ^"),
            ("", 0..0, "f:1:1: W\n 1 | \n   | ^"),
            ("a", 7..9, "f:1:2: W\n 1 | a\n   |  ^"),
        ] {
            let want = want.replace('W', "this key stands twice; keep one");
            assert_eq!(shown(text, at), want, "{text:?}");
        }
        let long = format!("{} = 1", "x".repeat(10_000));
        assert!(shown(&long, 9_000..9_001).len() < 400);
    }

    #[test]
    fn passwords_are_masked() {
        for (line, want) in [
            ("password = \"hunter2\"", "password =**********"),
            ("Token=\"a=b\"", "Token=*****"),
            ("r = {password='x'}", "r = {password=****"),
            ("password_file = \"/x\"", "password_file = \"/x\""),
            ("password_env = \"X\"", "password_env = \"X\""),
            ("u = \"smtp://me:p@w@host\"", "u = \"smtp://me:***@host\""),
            ("u = \"smtp://me@host\"", "u = \"smtp://me@host\""),
        ] {
            assert_eq!(mask(line), want);
        }
    }
}
