//! The file of aliases, in the format of `/etc/aliases`: a name, a colon, and who gets its mail.
//!
//! Only addresses and names stand there. Programs, files and lists in other files are refused with a reason: this
//! service runs nothing and writes nowhere that a line of text names.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::Escaped;
use crate::base::limits;
use crate::mail::Address;
use crate::mail::Domain;
use crate::mail::address::BadAddress;

/// Who gets the mail of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address; a name without a domain has [`Domain::localhost`].
    pub address: Address,
    /// Written as `\name`: no alias of that name is looked for.
    pub last: bool,
}

/// One line: who gets the mail of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Where it stands, counted from one.
    pub line: u32,
    /// Never empty.
    pub targets: Vec<Target>,
}

/// All aliases. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// In lower case; a name without a domain has [`Domain::localhost`].
    named: BTreeMap<Address, Alias>,
    /// What `*` stands for.
    rest: Option<Alias>,
}

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from one.
    pub line: u32,
    /// What.
    pub complaint: Complaint,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.complaint)
    }
}

impl std::error::Error for Fault {}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// No colon behind the name.
    NoColon,
    /// A continuation line without a line to continue.
    NothingToContinue,
    /// The name cannot be read.
    Name(String, BadAddress),
    /// One of those who get the mail cannot be read.
    Target(String, BadAddress),
    /// Nobody gets the mail.
    NoTarget(String),
    /// A quote that does not end.
    OpenQuote,
    /// A program.
    Program(String),
    /// A file.
    File(String),
    /// A list in another file.
    Include,
    /// The name stands in an earlier line, too.
    Twice(String, u32),
    /// It comes back to itself by way of this other alias.
    Loop(String, String),
    /// It leads through more aliases than anybody follows.
    TooDeep(String),
    /// It is for a domain whose mail does not come here.
    NotOurs(Domain),
    /// A mailbox here that does not exist.
    NoMailbox(Address),
    /// Not UTF-8.
    NotText,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| Escaped(text.as_bytes()).to_string();
        match self {
            Self::NoColon => f.write_str("there is no colon; write name: who, who"),
            Self::NothingToContinue => f.write_str(
                "the line begins with white space and continues nothing; put the name at its beginning",
            ),
            Self::Name(text, why) => write!(f, "`{}` cannot be an alias: {why}", shown(text)),
            Self::Target(text, why) => write!(f, "`{}`: {why}", shown(text)),
            Self::NoTarget(name) => write!(
                f,
                "nobody gets the mail of `{}`; write an address behind the colon",
                shown(name)
            ),
            Self::OpenQuote => f.write_str("a quote is opened and not closed"),
            Self::Program(text) => write!(
                f,
                "`{}`: mail is not given to programs; have the program read a mailbox or the drop folder",
                shown(text)
            ),
            Self::File(text) => write!(
                f,
                "`{}`: mail is not written to files that an alias names; name a mailbox of a local domain, whose \
                 mail lies in its drop folder",
                shown(text)
            ),
            Self::Include => f.write_str(
                "lists in other files are not read; write the addresses here, on further lines that begin with \
                 white space",
            ),
            Self::Twice(name, line) => {
                write!(f, "`{}` stands in line {line} already; keep one", shown(name))
            }
            Self::Loop(name, other) => write!(
                f,
                "`{}` comes back to itself by way of `{}`; end the circle, or write \\{} for the mailbox",
                shown(name),
                shown(other),
                shown(name)
            ),
            Self::TooDeep(name) => write!(
                f,
                "`{}` leads through more than {} aliases; name its addresses here",
                shown(name),
                limits::ALIAS_DEPTH
            ),
            Self::NotOurs(domain) => write!(
                f,
                "mail for {domain} is not local, so this line would never be used; write the name alone, or list \
                 the domain in [local] or a [[domain]]"
            ),
            Self::NoMailbox(address) => write!(
                f,
                "there is no mailbox {address}; add it to `mailboxes` of its domain, or name another"
            ),
            Self::NotText => f.write_str("it is not UTF-8 text"),
        }
    }
}

impl Aliases {
    /// Reads the text of a file. The error is everything that is wrong with it, in the order of the file.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut read = Reader::default();
        read.all(text);
        let Reader { aliases, faults } = read;
        let mut faults = faults;
        if faults.is_empty() {
            aliases.find_loops(&mut faults);
        }
        if faults.is_empty() {
            return Ok(aliases);
        }
        faults.sort_by_key(|fault| fault.line);
        Err(faults)
    }

    /// How many names there are, `*` included.
    pub fn len(&self) -> usize {
        self.named
            .len()
            .saturating_add(usize::from(self.rest.is_some()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The alias of an address with its name: one for the whole address, else one for its local part.
    pub fn find(&self, address: &Address) -> Option<(&Address, &Alias)> {
        if self.named.is_empty() {
            return None;
        }
        let whole = address.folded();
        let found = self.named.get_key_value(&whole);
        found.or_else(|| self.named.get_key_value(&whole.at(Domain::localhost())))
    }

    /// What `*` stands for: everybody who has neither alias nor mailbox.
    pub fn rest(&self) -> Option<&Alias> {
        self.rest.as_ref()
    }

    /// Every alias with its name; that of `*` is `None`.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&Address>, &Alias)> {
        let named = self.named.iter().map(|(name, alias)| (Some(name), alias));
        named.chain(self.rest.iter().map(|alias| (None, alias)))
    }

    /// Finds names that come back to themselves or lead too far. That a name stands among its own targets is no loop:
    /// it means the mailbox.
    fn find_loops(&self, faults: &mut Vec<Fault>) {
        let mut seen = BTreeMap::new();
        for (name, alias) in &self.named {
            if faults.len() >= limits::COMPLAINTS {
                break;
            }
            let mut path = Vec::new();
            if let Err(complaint) = self.depth(name, alias, &mut path, &mut seen) {
                let line = alias.line;
                faults.push(Fault { line, complaint });
            }
        }
    }

    /// How many aliases lead from this one to the last address. What was found out stays in `seen`.
    fn depth<'a>(
        &'a self,
        name: &'a Address,
        alias: &'a Alias,
        path: &mut Vec<&'a Address>,
        seen: &mut BTreeMap<&'a Address, usize>,
    ) -> Result<usize, Complaint> {
        if let Some(depth) = seen.get(name) {
            return Ok(*depth);
        }
        if path.len() >= limits::ALIAS_DEPTH {
            return Err(Complaint::TooDeep(shown(path.first().unwrap_or(&name))));
        }
        path.push(name);
        let mut most = 0_usize;
        for target in alias.targets.iter().filter(|target| !target.last) {
            let Some((next, further)) = self.find(&target.address) else {
                continue;
            };
            if next == name {
                continue;
            }
            if path.contains(&next) {
                return Err(Complaint::Loop(shown(next), shown(name)));
            }
            most = most.max(self.depth(next, further, path, seen)?);
        }
        path.pop();
        let depth = most.saturating_add(1);
        if path.len().saturating_add(depth) > limits::ALIAS_DEPTH {
            return Err(Complaint::TooDeep(shown(path.first().unwrap_or(&name))));
        }
        seen.insert(name, depth);
        Ok(depth)
    }
}

/// A name as it stands in the file.
pub fn shown(name: &Address) -> String {
    let text = name.to_string();
    let bare = text.strip_suffix("@localhost");
    bare.map_or_else(|| text.clone(), str::to_owned)
}

/// The reader of a file.
#[derive(Default)]
struct Reader {
    aliases: Aliases,
    faults: Vec<Fault>,
}

impl Reader {
    fn blame(&mut self, line: u32, complaint: Complaint) {
        if self.faults.len() < limits::COMPLAINTS {
            self.faults.push(Fault { line, complaint });
        }
    }

    fn all(&mut self, text: &[u8]) {
        // An entry and the line that it began on.
        let mut entry: Option<(u32, String)> = None;
        for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let Ok(text) = std::str::from_utf8(bytes) else {
                self.blame(line, Complaint::NotText);
                continue;
            };
            let rest = text.trim();
            if rest.is_empty() || rest.starts_with('#') {
                continue;
            }
            if !text.starts_with([' ', '\t']) {
                if let Some((line, entry)) = entry.replace((line, rest.to_owned())) {
                    self.entry(line, &entry);
                }
            } else if let Some((_, entry)) = &mut entry {
                entry.push(' ');
                entry.push_str(rest);
            } else {
                self.blame(line, Complaint::NothingToContinue);
            }
        }
        if let Some((line, entry)) = entry {
            self.entry(line, &entry);
        }
    }

    fn entry(&mut self, line: u32, text: &str) {
        let Some((name, mut rest)) = cut(text, ':') else {
            return self.blame(line, Complaint::NoColon);
        };
        let name = name.trim();
        let mut values = Vec::new();
        while let Some((value, more)) = cut(rest, ',') {
            values.push(value);
            rest = more;
        }
        if ends_quoted(rest) {
            return self.blame(line, Complaint::OpenQuote);
        }
        values.push(rest);
        let mut targets = Vec::new();
        for value in values.into_iter().map(str::trim).filter(|v| !v.is_empty()) {
            match target(value) {
                Ok(target) => targets.push(target),
                Err(complaint) => return self.blame(line, complaint),
            }
        }
        if targets.is_empty() {
            return self.blame(line, Complaint::NoTarget(name.to_owned()));
        }
        let alias = Alias { line, targets };
        let earlier = if name == "*" {
            self.aliases.rest.replace(alias)
        } else {
            match Address::parse_with(name, Some(&Domain::localhost())) {
                Ok(key) => self.aliases.named.insert(key.folded(), alias),
                Err(why) => return self.blame(line, Complaint::Name(name.to_owned(), why)),
            }
        };
        if let Some(earlier) = earlier {
            self.blame(line, Complaint::Twice(name.to_owned(), earlier.line));
        }
    }
}

/// Cuts a text at the first of these marks that stands in no quotes.
fn cut(text: &str, mark: char) -> Option<(&str, &str)> {
    let mut quotes = Quotes::default();
    let (at, _) = text
        .char_indices()
        .find(|(_, c)| !quotes.holds(*c) && *c == mark)?;
    let (front, rest) = text.split_at_checked(at)?;
    Some((front, rest.strip_prefix(mark)?))
}

/// Whether a quote is open at the end of a text.
fn ends_quoted(text: &str) -> bool {
    let mut quotes = Quotes::default();
    text.chars().fold(false, |_, c| quotes.holds(c)) && quotes.open
}

/// Follows the quotes of a text.
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether this character stands in quotes; the quote marks do.
    fn holds(&mut self, c: char) -> bool {
        let was = self.open;
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.open => self.escaped = true,
            '"' => self.open = !self.open,
            _ => {}
        }
        was || self.open
    }
}

fn target(text: &str) -> Result<Target, Complaint> {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let whole = || text.to_owned();
    if inner.starts_with('|') {
        return Err(Complaint::Program(whole()));
    }
    if inner.starts_with('/') {
        return Err(Complaint::File(whole()));
    }
    if inner.to_ascii_lowercase().starts_with(":include:") {
        return Err(Complaint::Include);
    }
    let (last, text) = match text.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let bare = text
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'));
    match Address::parse_with(bare.unwrap_or(text), Some(&Domain::localhost())) {
        Ok(address) => Ok(Target { address, last }),
        Err(why) => Err(Complaint::Target(whole(), why)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Aliases, shown};
    use crate::base::limits;
    use crate::mail::Address;
    use std::fmt::Write;

    fn who(aliases: &Aliases, name: &str) -> Vec<String> {
        let (_, alias) = aliases.find(&Address::parse(name).unwrap()).unwrap();
        let each = alias.targets.iter();
        each.map(|t| format!("{}{}", if t.last { "\\" } else { "" }, shown(&t.address)))
            .collect()
    }

    #[test]
    fn the_file_that_every_system_has() {
        let aliases = Aliases::parse(
            b"# Basic system aliases\r\nMailer-Daemon:\tpostmaster\r\npostmaster: root\n\n\
              # Who gets it\nroot:   \\root, owner@example.org ,\n\t\"odd name\"@example.org,\n  # not yet\n \
              <third@example.org>,\nabuse : root\n\"two words\": a\nops@nas.lan: b\n*: rest@example.org",
        )
        .unwrap();
        assert_eq!(aliases.len(), 7);
        assert_eq!(who(&aliases, "MAILER-DAEMON@x"), ["postmaster"]);
        assert_eq!(
            who(&aliases, "root@any.lan"),
            [
                "\\root",
                "owner@example.org",
                "\"odd name\"@example.org",
                "third@example.org"
            ]
        );
        assert_eq!(who(&aliases, "abuse@x"), ["root"]);
        assert_eq!(who(&aliases, "\"Two Words\"@x"), ["a"]);
        assert_eq!(who(&aliases, "Ops@nas.lan"), ["b"]);
        assert!(
            aliases
                .find(&Address::parse("ops@other.lan").unwrap())
                .is_none()
        );
        let rest = aliases.rest().unwrap();
        assert_eq!((rest.line, rest.targets.len()), (13, 1));
    }

    #[test]
    fn each_mistake_is_told_with_its_line_and_all_at_once() {
        let text = " a: b\nroot\nnews: \"|/usr/bin/news post\"\nlog: /var/log/mail\nall: :include:/etc/all\n\
                    void: \"/dev/null\"\nx y: z\ny: a b\nempty:\nroot: a\nRoot: b\nopen: \"a\nz: a@b@c\n: x\n\u{ff}: y\n";
        let mut bytes: Vec<u8> = text.bytes().collect();
        // The byte that no text has.
        let at = bytes.windows(2).position(|w| w == [0xc3, 0xbf]).unwrap();
        bytes.splice(at..at + 2, [0xff]);
        let faults = Aliases::parse(&bytes).unwrap_err();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let want = [
            "1: the line begins with white space and continues nothing; put the name at its beginning",
            "2: there is no colon; write name: who, who",
            "3: `\"|/usr/bin/news post\"`: mail is not given to programs; have the program read a mailbox or the \
             drop folder",
            "4: `/var/log/mail`: mail is not written to files that an alias names; name a mailbox of a local domain, \
             whose mail lies in its drop folder",
            "5: lists in other files are not read; write the addresses here, on further lines that begin with white \
             space",
            "6: `\"/dev/null\"`: mail is not written to files that an alias names; name a mailbox of a local domain, \
             whose mail lies in its drop folder",
            "7: `x y` cannot be an alias: the part before the @ cannot be read",
            "8: `a b`: the part before the @ cannot be read",
            "9: nobody gets the mail of `empty`; write an address behind the colon",
            "11: `Root` stands in line 10 already; keep one",
            "12: a quote is opened and not closed",
            "13: `a@b@c`: the part before the @ cannot be read",
            "14: `` cannot be an alias: there is no address",
            "15: it is not UTF-8 text",
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn circles_are_refused_and_a_name_among_its_own_is_its_mailbox() {
        let told = |text: &str| {
            let faults = Aliases::parse(text.as_bytes()).err().unwrap_or_default();
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("root: root, owner@example.org"), Vec::<String>::new());
        assert_eq!(told("a: b\nb: \\a"), Vec::<String>::new());
        let circle = told("x: a\na: b\nb: c, d@example.org\nc: a\n");
        assert!(
            !circle.is_empty()
                && circle
                    .iter()
                    .all(|one| one.contains("comes back to itself"))
        );
        let chain = |length: usize| {
            let mut text = String::new();
            for at in 0..length {
                writeln!(text, "n{at}: n{}", at + 1).unwrap();
            }
            told(&text)
        };
        assert_eq!(chain(limits::ALIAS_DEPTH).len(), 0);
        assert!(
            chain(limits::ALIAS_DEPTH + 1)
                .first()
                .unwrap()
                .contains("leads through more")
        );
        assert!(!chain(50_000).is_empty());
    }
}
