//! From one address to those that get its mail: aliases, forwarding, groups in groups.
//!
//! A machine: [`Expander::next_step`] says what to search for, [`Expander::on_found`] takes what was found. Each entry and
//! each address is looked at once, so no loop has a second round; depth, searches and members are bounded.
//!
//! - An entry with an address in `forward` is replaced by that address. If that is in a domain of this directory it
//!   is looked up in turn; one that is not found there stays as it is written.
//! - An entry with members is a group and is replaced by them. Members that have no address, or are not there, get
//!   nothing. A group of which nobody is left has no end at all: [`Resolution::Empty`].
//! - Any other entry stands for its own address: the one that was asked for if that is a value of the first attribute
//!   of `address`, else the first of those, else the one marked first, else the one that was asked for.
//! - A host in `host` goes with the address, unless it is one of ours.
//!
//! Two entries with one address, a forwarding loop, and limits that are reached are for the owner to mend:
//! [`Resolution::Held`] (promise G3).

use std::collections::BTreeSet;

use crate::base::limits;
use crate::ldap::filter::Filter;
use crate::ldap::message;
use crate::ldap::message::Entry;
use crate::ldap::message::Outcome;
use crate::ldap::message::Scope;
use crate::ldap::message::Search;
use crate::ldap::schema;
use crate::ldap::schema::Schema;
use crate::mail::Address;
use crate::mail::Domain;

/// What holds for every address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What attributes mean.
    pub schema: Schema,
    /// Where searches begin.
    pub base: String,
    /// The domains whose addresses are looked up.
    pub domains: Vec<Domain>,
    /// Hosts that are this one.
    pub own: Vec<Domain>,
    /// Addresses that one address may become.
    pub members: usize,
    /// Groups and forwardings inside each other.
    pub depth: u32,
}

/// Who gets the mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// His address.
    pub address: Address,
    /// The host that keeps his mail, when that is not us.
    pub host: Option<Domain>,
}

/// What an address comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// These; one at least.
    Known {
        /// Who.
        targets: Vec<Target>,
        /// Whether it is a list: its members hear of failures as its sender wished, and of no success (RFC 3461
        /// s5.2.7).
        list: bool,
        /// Members that are not there or have no address, for the log.
        missing: Vec<String>,
    },
    /// Nobody has this address.
    Unknown,
    /// A group has it, and nobody is in it.
    Empty,
    /// The directory has to be mended, or a limit raised.
    Held(String),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Search, and tell what was found.
    Search(Search),
    /// That is all.
    Done(Resolution),
}

/// Something to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    /// An address; who gets its mail when the directory does not know it: the host it came with.
    Address(Address),
    /// A member by name.
    Dn(String),
    /// More values of an attribute of an entry, of which the server shows so many at once.
    Range(String, String),
    /// A member by user name, in a group with this domain.
    Uid(String, Domain),
}

/// One address on its way.
#[derive(Debug)]
pub struct Expander<'a> {
    rules: &'a Rules,
    asked: &'a Address,
    /// Still to be looked up, each with its depth.
    stack: Vec<(Want, u32)>,
    /// What is being searched for.
    current: Option<(Want, u32)>,
    seen: BTreeSet<String>,
    targets: Vec<Target>,
    had: BTreeSet<String>,
    missing: Vec<String>,
    searches: usize,
    found: bool,
    list: bool,
    looped: bool,
    held: Option<String>,
}

impl<'a> Expander<'a> {
    /// Begins with this address.
    pub fn new(rules: &'a Rules, asked: &'a Address) -> Self {
        let mut expander = Self {
            rules,
            asked,
            stack: Vec::new(),
            current: None,
            seen: BTreeSet::new(),
            targets: Vec::new(),
            had: BTreeSet::new(),
            missing: Vec::new(),
            searches: 0,
            found: false,
            list: false,
            looped: false,
            held: None,
        };
        expander.seen.insert(address_key(asked));
        expander.stack.push((Want::Address(asked.clone()), 0));
        expander
    }

    /// What to do now.
    pub fn next_step(&mut self) -> Step {
        if let Some(why) = self.held.take() {
            return Step::Done(Resolution::Held(why));
        }
        let Some((want, depth)) = self.stack.pop() else {
            return Step::Done(self.end());
        };
        self.searches = self.searches.saturating_add(1);
        let most = self.rules.members.saturating_mul(2);
        if self.searches > most.saturating_add(limits::LDAP_SEARCHES) {
            return Step::Done(Resolution::Held(format!(
                "{} takes more than {most} searches; raise directory.members if that is meant",
                self.asked
            )));
        }
        let search = self.search(&want);
        self.current = Some((want, depth));
        Step::Search(search)
    }

    fn end(&mut self) -> Resolution {
        if !self.targets.is_empty() {
            return Resolution::Known {
                targets: std::mem::take(&mut self.targets),
                list: self.list,
                missing: std::mem::take(&mut self.missing),
            };
        }
        if !self.found {
            Resolution::Unknown
        } else if self.list {
            Resolution::Empty
        } else if self.looped {
            Resolution::Held(format!("{} is forwarded in a circle", self.asked))
        } else {
            Resolution::Held(format!(
                "the entry of {} has no address to send to",
                self.asked
            ))
        }
    }

    fn search(&self, want: &Want) -> Search {
        let rules = self.rules;
        let schema = &rules.schema;
        let there = |dn: &str, attributes| Search {
            base: dn.to_owned(),
            scope: Scope::Base,
            filter: Filter::Present(String::from("objectClass")),
            attributes,
            most: 1,
        };
        let below = |filter| Search {
            base: rules.base.clone(),
            scope: Scope::Subtree,
            filter,
            attributes: schema.wanted(),
            // A second one is one too many.
            most: 2,
        };
        match want {
            Want::Address(address) => below(by_address(schema, address)),
            Want::Dn(dn) => there(dn, schema.wanted()),
            Want::Range(dn, attribute) => there(dn, vec![attribute.clone()]),
            Want::Uid(uid, _) => {
                let name = schema.login.iter().take(1).map(String::as_str);
                below(Filter::any_equal(name, uid))
            }
        }
    }

    /// Takes the end of the last search. An error is one of the setup or of the server, not of this address.
    pub fn on_found(&mut self, outcome: &Outcome, entries: Vec<Entry>) -> Result<(), Outcome> {
        let Some((want, depth)) = self.current.take() else {
            return Ok(());
        };
        let by_name = matches!(want, Want::Dn(_) | Want::Range(..));
        let many = entries.len() > 1 || outcome.code == message::SIZE_LIMIT;
        match outcome.code {
            message::SUCCESS | message::SIZE_LIMIT => {}
            // A member whose entry is gone, or whose name is none.
            message::NO_SUCH_OBJECT | message::BAD_DN if by_name => {}
            _ => return Err(outcome.clone()),
        }
        if many {
            let what = match &want {
                Want::Address(address) => address.to_string(),
                Want::Uid(uid, _) => uid.clone(),
                Want::Dn(dn) | Want::Range(dn, _) => dn.clone(),
            };
            self.held = Some(format!("more than one entry has {what}"));
            return Ok(());
        }
        match (entries.into_iter().next(), want) {
            (Some(entry), Want::Range(dn, _)) => self.members(&dn, &entry, None, depth),
            (Some(entry), want) => self.entry(&entry, &want, depth),
            (None, Want::Address(address)) if depth > 0 => self.target(address, None),
            (None, Want::Address(_)) => {}
            (None, Want::Dn(name) | Want::Uid(name, _)) => self.miss(name),
            (None, Want::Range(dn, _)) => self.miss(dn),
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, want: &Want, depth: u32) {
        self.found = true;
        if !self.seen.insert(dn_key(&entry.dn)) {
            self.looped = true;
            return;
        }
        let schema = &self.rules.schema;
        let asked = match want {
            Want::Address(address) => Some(address),
            _ => None,
        };
        let host = self.host(entry);
        let own = addresses(entry, &schema.address);
        let forwards = addresses(entry, &schema.forward);
        if !forwards.is_empty() {
            for to in forwards {
                let stays = host.is_some() || Some(&to) == asked || own.contains(&to);
                if stays || !self.rules.domains.contains(to.domain()) {
                    self.target(to, host.clone());
                } else {
                    self.push_address(to, depth);
                }
            }
            return;
        }
        let classes = entry.values("objectClass");
        if has_members(schema, entry) || Schema::is_group(classes) {
            self.list = true;
            let domain = asked
                .map(Address::domain)
                .or(own.first().map(Address::domain));
            let domain = domain.unwrap_or(self.asked.domain()).clone();
            self.members(&entry.dn, entry, Some(&domain), depth);
            return;
        }
        let best = best_address(schema, entry, asked).or_else(|| match want {
            Want::Uid(uid, domain) => Address::parse_with(uid, Some(domain)).ok(),
            _ => None,
        });
        match best {
            Some(address) => self.target(address, host),
            None => self.miss(entry.dn.clone()),
        }
    }

    /// The members that an entry names. Without a domain only those with names of entries.
    fn members(&mut self, dn: &str, entry: &Entry, domain: Option<&Domain>, depth: u32) {
        let schema = &self.rules.schema;
        let is =
            |list: &[String], name: &str| list.iter().any(|one| one.eq_ignore_ascii_case(name));
        for (name, values) in &entry.attributes {
            let (base, option) = name.split_once(';').unwrap_or((name, ""));
            if is(&schema.member, base) {
                for value in values {
                    self.push(Want::Dn(value.clone()), dn_key(value), depth);
                }
                if let Some(next) = rest_of(option) {
                    // The same entry with another range is not a second visit.
                    let want = Want::Range(dn.to_owned(), format!("{base};range={next}-*"));
                    self.push_below(want, depth);
                }
            } else if is(&schema.member_uid, base)
                && let Some(domain) = domain
            {
                for value in values {
                    let want = Want::Uid(value.clone(), domain.clone());
                    self.push(want, format!("uid:{}", value.to_lowercase()), depth);
                }
            } else if is(&schema.member_address, base) {
                for value in values {
                    match Address::parse(schema::plain(value)) {
                        Ok(to) if self.rules.domains.contains(to.domain()) => {
                            self.push_address(to, depth);
                        }
                        Ok(to) => self.target(to, None),
                        Err(_) => self.miss(value.clone()),
                    }
                }
            }
        }
    }

    fn push_address(&mut self, to: Address, depth: u32) {
        let key = address_key(&to);
        self.push(Want::Address(to), key, depth);
    }

    /// To be looked up one step deeper, unless it was.
    fn push(&mut self, want: Want, key: String, depth: u32) {
        let dn = matches!(want, Want::Dn(_));
        // A name is noted when its entry is there: the entry may be found by its address as well.
        let known = if dn {
            self.seen.contains(&key)
        } else {
            !self.seen.insert(key)
        };
        if known {
            self.looped = true;
            return;
        }
        let deeper = depth.saturating_add(1);
        if deeper > self.rules.depth {
            let most = self.rules.depth;
            self.held = Some(format!(
                "{} has groups or forwardings more than {most} deep; raise directory.depth if that is meant",
                self.asked
            ));
            return;
        }
        self.push_below(want, deeper);
    }

    fn push_below(&mut self, want: Want, depth: u32) {
        let most = self
            .rules
            .members
            .saturating_mul(2)
            .saturating_add(limits::LDAP_SEARCHES);
        if self.stack.len() >= most {
            self.too_many();
            return;
        }
        self.stack.push((want, depth));
    }

    fn target(&mut self, address: Address, host: Option<Domain>) {
        if !self.had.insert(address_key(&address)) {
            return;
        }
        if self.targets.len() >= self.rules.members {
            self.too_many();
            return;
        }
        self.targets.push(Target { address, host });
    }

    fn too_many(&mut self) {
        let most = self.rules.members;
        self.held = Some(format!(
            "{} has more than {most} members; raise directory.members if that is meant",
            self.asked
        ));
    }

    fn miss(&mut self, what: String) {
        if self.missing.len() < limits::LDAP_MISSING {
            self.missing.push(what);
        }
    }

    fn host(&self, entry: &Entry) -> Option<Domain> {
        let names = self.rules.schema.host.iter();
        let mut values = names.flat_map(|name| entry.values(name));
        let host = values.find_map(|value| Domain::parse(value.trim()).ok())?;
        (!self.rules.own.contains(&host)).then_some(host)
    }
}

/// Who has this address.
fn by_address(schema: &Schema, address: &Address) -> Filter {
    let text = address.to_string();
    let mut any = Vec::new();
    for name in &schema.address {
        if name.eq_ignore_ascii_case("proxyAddresses") {
            // Both, for a server that tells cases apart.
            any.push(Filter::Equal(name.clone(), format!("smtp:{text}")));
            any.push(Filter::Equal(name.clone(), format!("SMTP:{text}")));
        } else {
            any.push(Filter::Equal(name.clone(), text.clone()));
        }
    }
    Filter::Or(any)
}

/// The entry of who logs in with this name. `DOMAIN\user`, as Windows writes it, is that user.
pub fn by_login(schema: &Schema, name: &str) -> Filter {
    let bare = name.rsplit_once('\\').map_or(name, |(_, user)| user);
    Filter::any_equal(schema.login.iter().map(String::as_str), bare)
}

fn addresses(entry: &Entry, names: &[String]) -> Vec<Address> {
    let values = names.iter().flat_map(|name| entry.values(name));
    values
        .filter_map(|value| Address::parse(schema::plain(value)).ok())
        .collect()
}

fn has_members(schema: &Schema, entry: &Entry) -> bool {
    let lists = [&schema.member, &schema.member_uid, &schema.member_address];
    let mut names = lists.into_iter().flatten();
    names.any(|name| entry.values(name).next().is_some())
}

fn best_address(schema: &Schema, entry: &Entry, asked: Option<&Address>) -> Option<Address> {
    let main = schema.address.first()?;
    let mains = addresses(entry, std::slice::from_ref(main));
    let same = |one: &&Address| asked.is_some_and(|asked| address_key(asked) == address_key(one));
    if let Some(found) = mains.iter().find(same).or(mains.first()) {
        return Some(found.clone());
    }
    let others = schema.address.iter().flat_map(|name| entry.values(name));
    let first = others
        .filter(|value| schema::is_first(value))
        .find_map(|value| Address::parse(schema::plain(value)).ok());
    first
        .or_else(|| asked.cloned())
        .or_else(|| addresses(entry, &schema.address).into_iter().next())
}

/// Where the next values begin, when the server shows an attribute in ranges, as Active Directory does from 1,500
/// values on (`member;range=0-1499`; the last range ends in `*`).
fn rest_of(option: &str) -> Option<u32> {
    let range = option.split(';').find_map(|one| {
        let (key, value) = one.split_once('=')?;
        key.eq_ignore_ascii_case("range").then_some(value)
    })?;
    let (_, last) = range.split_once('-')?;
    last.parse::<u32>().ok()?.checked_add(1)
}

fn address_key(address: &Address) -> String {
    address.to_string().to_lowercase()
}

/// Names are compared without case and without the blanks that may stand behind commas. What differs in other ways is
/// looked at twice, and found to be the same entry by the server's own spelling.
fn dn_key(dn: &str) -> String {
    let mut key = String::from("dn:");
    for part in dn.split(',') {
        key.push_str(part.trim());
        key.push(',');
    }
    key.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Expander, Resolution, Rules, Step, Target, by_login};
    use crate::ldap::filter::Filter;
    use crate::ldap::message::{Entry, Outcome, Scope, Search};
    use crate::ldap::schema::Schema;
    use crate::mail::{Address, Domain};

    /// A directory of entries as lines: `dn|attribute=value|...`.
    struct Tree(Vec<Entry>);

    impl Tree {
        fn new(lines: &[&str]) -> Self {
            let entry = |line: &&str| {
                let mut parts = line.split('|');
                let dn = parts.next().unwrap().to_owned();
                let mut entry = Entry {
                    dn,
                    attributes: Vec::new(),
                };
                for part in parts {
                    let (name, value) = part.split_once('=').unwrap();
                    entry
                        .attributes
                        .push((name.to_owned(), vec![value.to_owned()]));
                }
                entry
            };
            Self(lines.iter().map(entry).collect())
        }

        fn matches(filter: &Filter, entry: &Entry) -> bool {
            match filter {
                Filter::And(all) => all.iter().all(|one| Self::matches(one, entry)),
                Filter::Or(all) => all.iter().any(|one| Self::matches(one, entry)),
                Filter::Equal(name, value) => entry
                    .values(name)
                    .any(|one| one.eq_ignore_ascii_case(value)),
                Filter::Present(_) => true,
            }
        }

        fn search(&self, search: &Search) -> (Outcome, Vec<Entry>) {
            let end = |code| Outcome {
                code,
                text: String::new(),
            };
            if search.scope == Scope::Base {
                let found = self
                    .0
                    .iter()
                    .find(|e| e.dn.eq_ignore_ascii_case(&search.base));
                return match found {
                    Some(entry) => (end(0), vec![entry.clone()]),
                    None => (end(32), Vec::new()),
                };
            }
            let found = self
                .0
                .iter()
                .filter(|entry| Self::matches(&search.filter, entry));
            (end(0), found.cloned().collect())
        }

        fn resolve(&self, rules: &Rules, address: &str) -> Resolution {
            let address = Address::parse(address).unwrap();
            let mut expander = Expander::new(rules, &address);
            loop {
                match expander.next_step() {
                    Step::Done(resolution) => return resolution,
                    Step::Search(search) => {
                        let (outcome, entries) = self.search(&search);
                        expander.on_found(&outcome, entries).unwrap();
                    }
                }
            }
        }

        /// Addresses, with their hosts behind a `>`, in order; `*` in front of a list.
        fn show(&self, rules: &Rules, address: &str) -> String {
            match self.resolve(rules, address) {
                Resolution::Known { targets, list, .. } => {
                    let show = |target: &Target| match &target.host {
                        Some(host) => format!("{}>{host}", target.address),
                        None => target.address.to_string(),
                    };
                    let mut all: Vec<String> = targets.iter().map(show).collect();
                    all.sort();
                    format!("{}{}", if list { "*" } else { "" }, all.join(" "))
                }
                Resolution::Unknown => "unknown".to_owned(),
                Resolution::Empty => "empty".to_owned(),
                Resolution::Held(why) => why,
            }
        }
    }

    fn rules(schema: Schema) -> Rules {
        let domain = |text| Domain::parse(text).unwrap();
        Rules {
            schema,
            base: "dc=x".to_owned(),
            domains: vec![domain("x.test")],
            own: vec![domain("us.test")],
            members: 5,
            depth: 4,
        }
    }

    #[test]
    fn people_of_active_directory() {
        let tree = Tree::new(&[
            "cn=ann|mail=ann@x.test|proxyAddresses=SMTP:ann@x.test|proxyAddresses=smtp:sales@x.test",
            "cn=bob|proxyAddresses=smtp:b@x.test|proxyAddresses=SMTP:bob@x.test|proxyAddresses=X400:c=DE",
            "cn=eve|mail=eve@x.test|targetAddress=SMTP:eve@else.test",
            "cn=g|mail=all@x.test|objectClass=group|member=CN=Ann|member=cn=bob|member=cn=h|member=cn=gone",
            "cn=h|mail=half@x.test|objectClass=group|member=cn=eve|member=cn=g",
            "cn=none|mail=none@x.test|objectClass=group",
            "cn=twin1|mail=twin@x.test",
            "cn=twin2|mail=TWIN@x.test",
        ]);
        let rules = rules(Schema::active_directory());
        for (address, want) in [
            ("ann@x.test", "ann@x.test"),
            ("Ann@x.test", "ann@x.test"),
            ("sales@x.test", "ann@x.test"),
            ("b@x.test", "bob@x.test"),
            ("eve@x.test", "eve@else.test"),
            ("all@x.test", "*ann@x.test bob@x.test eve@else.test"),
            ("half@x.test", "*ann@x.test bob@x.test eve@else.test"),
            ("none@x.test", "empty"),
            ("nobody@x.test", "unknown"),
            ("*@x.test", "unknown"),
            ("twin@x.test", "more than one entry has twin@x.test"),
        ] {
            assert_eq!(tree.show(&rules, address), want, "{address}");
        }
        let Resolution::Known { missing, .. } = tree.resolve(&rules, "all@x.test") else {
            panic!("not known");
        };
        assert_eq!(missing, ["cn=gone"]);
    }

    #[test]
    fn people_and_groups_of_unix() {
        let tree = Tree::new(&[
            "uid=ann|uid=ann|mail=ann@x.test|mail=a@x.test|mailLocalAddress=info@x.test|mailHost=imap.test",
            "uid=bob|uid=bob|mailLocalAddress=bob@x.test|mailRoutingAddress=bob@far.test|mailHost=us.test",
            "uid=cas|uid=cas|mail=cas@x.test|mailRoutingAddress=ann@x.test",
            "uid=dan|uid=dan",
            "uid=r1|mail=r1@x.test|mailRoutingAddress=r2@x.test",
            "uid=r2|mail=r2@x.test|mailRoutingAddress=r1@x.test",
            "uid=own|mail=own@x.test|mailRoutingAddress=own@x.test",
            "cn=staff|mail=staff@x.test|objectClass=posixGroup|memberUid=ann|memberUid=dan|memberUid=gone",
            "cn=list|mail=list@x.test|rfc822MailMember=x@far.test|mgrprfc822MailMember=ghost@x.test|uniqueMember=uid=ann",
            "cn=deep|mail=deep@x.test|member=cn=d1",
            "cn=d1|member=cn=d2",
            "cn=d2|member=cn=d3",
            "cn=d3|member=cn=d4",
            "cn=d4|member=uid=ann",
            "cn=big|mail=big@x.test|rfc822MailMember=1@f|rfc822MailMember=2@f|rfc822MailMember=3@f\
             |rfc822MailMember=4@f|rfc822MailMember=5@f|rfc822MailMember=6@f",
        ]);
        let rules = rules(Schema::posix());
        for (address, want) in [
            ("a@x.test", "a@x.test>imap.test"),
            ("info@x.test", "ann@x.test>imap.test"),
            ("bob@x.test", "bob@far.test"),
            ("cas@x.test", "ann@x.test>imap.test"),
            ("r1@x.test", "r1@x.test is forwarded in a circle"),
            ("own@x.test", "own@x.test"),
            ("staff@x.test", "*ann@x.test>imap.test dan@x.test"),
            (
                "list@x.test",
                "*ann@x.test>imap.test ghost@x.test x@far.test",
            ),
            (
                "deep@x.test",
                "deep@x.test has groups or forwardings more than 4 deep; raise directory.depth if that is meant",
            ),
            (
                "big@x.test",
                "big@x.test has more than 5 members; raise directory.members if that is meant",
            ),
        ] {
            assert_eq!(tree.show(&rules, address), want, "{address}");
        }
    }

    #[test]
    fn a_large_group_is_read_in_ranges() {
        let tree = Tree::new(&["cn=ann|mail=ann@x.test", "cn=bob|mail=bob@x.test"]);
        let rules = rules(Schema::active_directory());
        let address = Address::parse("all@x.test").unwrap();
        let mut expander = Expander::new(&rules, &address);
        let good = Outcome {
            code: 0,
            text: String::new(),
        };
        let part = |range: &str, member: &str| Entry {
            dn: "cn=g".to_owned(),
            attributes: vec![(format!("member;range={range}"), vec![member.to_owned()])],
        };
        let mut ranges = Vec::new();
        let end = loop {
            match expander.next_step() {
                Step::Done(end) => break end,
                Step::Search(search) if search.base == "dc=x" => {
                    expander
                        .on_found(&good, vec![part("0-0", "cn=ann")])
                        .unwrap();
                }
                Step::Search(search) if search.base == "cn=g" => {
                    ranges.push(search.attributes.join(","));
                    expander
                        .on_found(&good, vec![part("1-*", "cn=bob")])
                        .unwrap();
                }
                Step::Search(search) => {
                    let (outcome, entries) = tree.search(&search);
                    expander.on_found(&outcome, entries).unwrap();
                }
            }
        };
        assert_eq!(ranges, ["member;range=1-*"]);
        assert!(matches!(end, Resolution::Known { targets, .. } if targets.len() == 2));
    }

    #[test]
    fn a_fault_of_the_server_is_not_the_address_s() {
        let rules = rules(Schema::posix());
        let address = Address::parse("a@x.test").unwrap();
        for code in [32, 51, 50, 10] {
            let mut expander = Expander::new(&rules, &address);
            assert!(matches!(expander.next_step(), Step::Search(_)));
            let outcome = Outcome {
                code,
                text: String::new(),
            };
            assert_eq!(expander.on_found(&outcome, Vec::new()), Err(outcome));
        }
    }

    #[test]
    fn who_logs_in_is_found_by_his_name_and_nothing_else() {
        let filter = by_login(&Schema::active_directory(), "CORP\\tim*");
        assert_eq!(
            filter.to_string(),
            "(|(sAMAccountName=tim\\2a)(userPrincipalName=tim\\2a))"
        );
    }
}
