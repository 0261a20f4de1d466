//! What becomes of the addresses of a message before it is routed: the one place where they change.
//!
//! In this order: a name without a domain is this host's; the domain that an alias domain stands for takes its place;
//! aliases; for senders, the masquerade. A name that was written without a domain is known by [`Domain::localhost`], which every
//! door gives it, and nothing leaves this host with that.
//!
//! Aliases hold for local domains, for names without a domain, and for this host by its own name, so that cron's `root`
//! reaches a person. `*` holds for local domains and names alone: a host may be called like the domain of its owner, whose
//! mailboxes are elsewhere.
//!
//! Only envelopes are rewritten. A header says what its author wrote, and a signature may hold it to that; what a
//! provider wants to see there is a matter of the route to that provider.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::limits;
use crate::mail::Address;
use crate::mail::Domain;
use crate::mail::Envelope;
use crate::mail::Recipient;
use crate::policy::aliases::Alias;
use crate::policy::aliases::Aliases;
use crate::policy::aliases::Complaint;
use crate::policy::aliases::Fault;
use crate::policy::mailboxes::Mailboxes;

/// The rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What a sender without a domain gets.
    pub default_domain: Domain,
    /// What a recipient without a domain gets that no alias knows. It is [`Domain::localhost`], and the mail stays here,
    /// where nobody has said that such names have mailboxes elsewhere.
    pub bare: Domain,
    /// The name of this host.
    pub hostname: Domain,
    /// The domains that end here.
    pub local: BTreeSet<Domain>,
    /// Alias domains, and what each stands for.
    pub stands_for: BTreeMap<Domain, Domain>,
    /// What local domains are replaced with in senders.
    pub masquerade: Option<Domain>,
    /// The mailboxes of local domains.
    pub mailboxes: Mailboxes,
}

/// There would be more than [`limits::RECIPIENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// What became of a recipient at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It ends here, or an alias knows it.
    Here {
        /// The configuration names it, so its form is no accident.
        listed: bool,
    },
    /// A name without a domain, or at `localhost`, which exists; and no local domain is what it gets.
    Bare,
    /// It would end here, and does not exist.
    Unknown,
    /// It goes on to another host.
    Elsewhere,
}

impl Rewrite {
    /// An address by the domain that its own stands for; names without a domain stay as they are.
    fn settled<'a>(&self, address: &'a Address) -> Cow<'a, Address> {
        let domain = address.domain();
        if domain.is_localhost() {
            return Cow::Owned(address.at(Domain::localhost()));
        }
        match self.stands_for.get(domain) {
            Some(real) => Cow::Owned(address.at(real.clone())),
            None => Cow::Borrowed(address),
        }
    }

    /// A settled recipient that no alias knows, as it is routed.
    fn routed<'a>(&self, address: Cow<'a, Address>) -> Cow<'a, Address> {
        if !address.domain().is_localhost() {
            return address;
        }
        // Of no domain but of the server itself (RFC 5321 s4.5.1).
        let server = address.is_postmaster() && self.local.contains(&self.hostname);
        Cow::Owned(address.at(if server { &self.hostname } else { &self.bare }.clone()))
    }

    /// The sender of a message, `first_hop` when it has been through no other host.
    pub fn sender<'a>(&self, sender: &'a Address, first_hop: bool) -> Cow<'a, Address> {
        let domain = sender.domain();
        let bare = domain.is_localhost();
        let ours = bare
            || *domain == self.hostname
            || self.local.contains(domain)
            || self.stands_for.contains_key(domain);
        match &self.masquerade {
            Some(masquerade) if ours && first_hop => Cow::Owned(sender.at(masquerade.clone())),
            _ if bare => Cow::Owned(sender.at(self.default_domain.clone())),
            _ => Cow::Borrowed(sender),
        }
    }

    /// Whether the names of a domain are sought in the aliases.
    fn reads_aliases(&self, domain: &Domain) -> bool {
        domain.is_localhost() || *domain == self.hostname || self.local.contains(domain)
    }

    /// The alias that a settled address has, with the name it was found by; that of `*` has none.
    fn alias<'a>(&self, aliases: &'a Aliases, address: &Address) -> Option<Found<'a>> {
        let domain = address.domain();
        if !self.reads_aliases(domain) {
            return None;
        }
        let open = domain.is_localhost() || self.local.contains(domain);
        if let Some((name, alias)) = aliases.find(address) {
            return Some((Some(name), alias));
        }
        if !open
            || self
                .mailboxes
                .listed(&self.routed(Cow::Borrowed(address)))
                .is_some()
        {
            return None;
        }
        if address.is_postmaster()
            && let Some(root) = address.named("root")
            && let Some((name, alias)) = aliases.find(&root)
        {
            // Somebody has to read it (RFC 5321 s4.5.1), and root's mail has a reader.
            return Some((Some(name), alias));
        }
        aliases.rest().map(|alias| (None, alias))
    }

    /// What a door makes of a recipient.
    pub fn standing(&self, aliases: &Aliases, to: &Address) -> Standing {
        let to = self.settled(to);
        let bare = to.domain().is_localhost();
        let aliased = self.alias(aliases, &to).is_some();
        let known = aliases.find(&to).is_some();
        let routed = self.routed(to);
        let exists = aliased || self.mailboxes.has(&routed);
        let local = self.local.contains(routed.domain());
        if !exists && (bare || local) {
            return Standing::Unknown;
        }
        if !local {
            return if bare {
                Standing::Bare
            } else {
                Standing::Elsewhere
            };
        }
        let listed = known || self.mailboxes.listed(&routed).is_some();
        Standing::Here { listed }
    }

    /// Rewrites an envelope. Answers the recipients that became several and whose sender wants to hear of a delivery: he has
    /// to be told so (RFC 3461 s5.2.7).
    pub fn envelope(
        &self,
        aliases: &Aliases,
        envelope: &mut Envelope,
        first_hop: bool,
    ) -> Result<Vec<Recipient>, TooMany> {
        if let Some(sender) = &mut envelope.sender {
            change(sender, |sender| self.sender(sender, first_hop));
        }
        // Most messages have one recipient whom no alias names.
        if let [recipient] = envelope.recipients.as_mut_slice()
            && self
                .alias(aliases, &self.settled(&recipient.address))
                .is_none()
        {
            change(&mut recipient.address, |to| self.routed(self.settled(to)));
            return Ok(Vec::new());
        }
        let mut expansion = Expansion {
            rules: self,
            aliases,
            seen: BTreeSet::new(),
            out: Vec::with_capacity(envelope.recipients.len()),
        };
        let mut expanded = Vec::new();
        for recipient in envelope.recipients.drain(..) {
            let settled = self.settled(&recipient.address).into_owned();
            match self.alias(aliases, &settled) {
                None => {
                    let address = self.routed(Cow::Owned(settled)).into_owned();
                    expansion.put(Recipient {
                        address,
                        ..recipient
                    });
                }
                Some(alias) => {
                    let named = self.routed(Cow::Borrowed(&settled)).into_owned();
                    if expansion.expand(&recipient, settled, alias) {
                        expanded.push(Recipient {
                            address: named,
                            ..recipient
                        });
                    }
                }
            }
            if expansion.out.len() > limits::RECIPIENTS {
                return Err(TooMany);
            }
        }
        envelope.recipients = expansion.out;
        Ok(expanded)
    }

    /// What is wrong with aliases that are each well written.
    pub fn check(&self, aliases: &Aliases) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (name, alias) in aliases.iter() {
            let line = alias.line;
            let mut blame = |complaint| faults.push(Fault { line, complaint });
            if let Some(domain) = name.map(Address::domain)
                && !self.reads_aliases(domain)
            {
                blame(Complaint::NotOurs(domain.clone()));
            }
            for target in &alias.targets {
                let settled = self.settled(&target.address);
                let further = !target.last && aliases.find(&settled).is_some();
                let address = self.routed(settled);
                if !further && !self.mailboxes.has(&address) {
                    blame(Complaint::NoMailbox(address.into_owned()));
                }
            }
        }
        faults.sort_by_key(|fault| fault.line);
        faults.truncate(limits::COMPLAINTS);
        faults
    }
}

/// Changes an address where a rule makes another of it.
fn change(address: &mut Address, rule: impl FnOnce(&Address) -> Cow<'_, Address>) {
    let other = match rule(address) {
        Cow::Owned(other) => other,
        Cow::Borrowed(_) => return,
    };
    *address = other;
}

/// An alias with the name that it was found by; that of `*` has none.
type Found<'a> = (Option<&'a Address>, &'a Alias);

/// Addresses, each once, in the order in which they came; never many more than a message may have.
#[derive(Default)]
struct Once {
    list: Vec<Address>,
    seen: BTreeSet<Address>,
}

impl Once {
    fn put(&mut self, address: Address) {
        if self.list.len() <= limits::RECIPIENTS && self.seen.insert(address.clone()) {
            self.list.push(address);
        }
    }
}

/// The recipients of one message while they are rewritten.
struct Expansion<'a> {
    rules: &'a Rewrite,
    aliases: &'a Aliases,
    seen: BTreeSet<Address>,
    out: Vec<Recipient>,
}

impl<'a> Expansion<'a> {
    /// Adds a recipient, unless he gets the message already.
    fn put(&mut self, recipient: Recipient) {
        if self.seen.insert(recipient.address.clone()) {
            self.out.push(recipient);
        }
    }

    /// Puts those in a recipient's place whom its alias names. True when they are several and the sender wants to hear of
    /// a delivery.
    fn expand(&mut self, recipient: &Recipient, settled: Address, alias: Found<'a>) -> bool {
        let mut to = Once::default();
        self.follow(
            settled,
            Some(alias),
            &mut Vec::new(),
            &mut BTreeSet::new(),
            &mut to,
        );
        let several = to.list.len() > 1;
        let notify = if several {
            recipient.notify.of_member()
        } else {
            recipient.notify
        };
        // A report about somebody whom the sender never named would tell him nothing.
        let orcpt = recipient.orcpt.clone();
        let orcpt = orcpt.or_else(|| recipient.address.orcpt());
        for address in to.list {
            self.put(Recipient {
                address,
                notify,
                orcpt: orcpt.clone(),
                host: None,
            });
        }
        several && recipient.notify.success()
    }

    /// Collects whom an address leads to. Each alias is followed once, however many lead to it, so this ends and takes no
    /// longer than the file is; an alias that is met inside itself is the mailbox of its name.
    fn follow(
        &self,
        settled: Address,
        alias: Option<Found<'a>>,
        path: &mut Vec<&'a Address>,
        done: &mut BTreeSet<&'a Address>,
        to: &mut Once,
    ) {
        let met = |name: &Option<&Address>| name.is_some_and(|name| path.contains(&name));
        let alias = alias.filter(|(name, _)| !met(name) && path.len() < limits::ALIAS_DEPTH);
        let Some((name, alias)) = alias else {
            return to.put(self.rules.routed(Cow::Owned(settled)).into_owned());
        };
        if name.is_some_and(|name| !done.insert(name)) {
            return;
        }
        path.extend(name);
        for target in &alias.targets {
            let mut next = self.rules.settled(&target.address).into_owned();
            if next.domain().is_localhost() && self.rules.local.contains(settled.domain()) {
                // A name by itself is a neighbour in the same domain.
                next = next.at(settled.domain().clone());
            }
            let further = (!target.last && self.rules.reads_aliases(next.domain()))
                .then(|| self.aliases.find(&next))
                .flatten();
            let further = further.map(|(name, alias)| (Some(name), alias));
            self.follow(next, further, path, done, to);
        }
        if name.is_some() {
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rewrite, Standing, TooMany};
    use crate::base::limits;
    use crate::mail::envelope::Notify;
    use crate::mail::{Address, Domain, Envelope, Recipient};
    use crate::policy::aliases::Aliases;
    use crate::policy::mailboxes::Mailboxes;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn address(text: &str) -> Address {
        Address::parse_with(text, Some(&Domain::localhost())).unwrap()
    }

    fn rules() -> Rewrite {
        let mut mailboxes = Mailboxes::default();
        mailboxes.name(
            &[domain("listed.lan")],
            &["tim".to_owned(), "a%b".to_owned()],
        );
        let stands = [(domain("old.example"), domain("office.example"))];
        Rewrite {
            default_domain: domain("owner.example"),
            bare: domain("owner.example"),
            hostname: domain("nas.owner.example"),
            local: ["office.example", "listed.lan"].map(domain).into(),
            stands_for: stands.into(),
            masquerade: None,
            mailboxes,
        }
    }

    fn aliases(text: &str) -> Aliases {
        Aliases::parse(text.as_bytes()).unwrap()
    }

    fn expand(rules: &Rewrite, file: &str, to: &[&str]) -> Vec<String> {
        let recipients = to.iter().map(|to| Recipient::new(address(to)));
        let mut envelope = Envelope {
            recipients: recipients.collect(),
            ..Envelope::default()
        };
        rules.envelope(&aliases(file), &mut envelope, true).unwrap();
        let each = envelope.recipients.iter();
        each.map(|to| to.address.to_string()).collect()
    }

    #[test]
    fn names_alias_domains_and_aliases_each_find_their_place() {
        let file = "root: owner@else.example\nops: root, tim@listed.lan, ops\npair: x, y\nnas: root@nas.owner.example\n\
                    y@office.example: why@else.example\nhop: x@OLD.example, \\root";
        for (to, want) in [
            // Without an alias a name gets the default domain, and an alias domain the one it stands for.
            (vec!["bob"], vec!["bob@owner.example"]),
            (
                vec!["bob@localhost.localdomain", "bob@[127.0.0.1]"],
                vec!["bob@owner.example"],
            ),
            (vec!["Bob@old.example"], vec!["Bob@office.example"]),
            (
                vec!["root@owner.example", "root@x.example"],
                vec!["root@owner.example", "root@x.example"],
            ),
            // cron's root reaches a person, by every name of this host.
            (
                vec![
                    "ROOT",
                    "root@localhost",
                    "root@nas.owner.example",
                    "root@old.example",
                ],
                vec!["owner@else.example"],
            ),
            // A name among its own is its mailbox; a name by itself is a neighbour.
            (
                vec!["ops"],
                vec!["owner@else.example", "tim@listed.lan", "ops@owner.example"],
            ),
            (
                vec!["pair@office.example"],
                vec!["x@office.example", "why@else.example"],
            ),
            (
                vec!["pair@listed.lan"],
                vec!["x@listed.lan", "y@listed.lan"],
            ),
            (vec!["pair"], vec!["x@owner.example", "y@owner.example"]),
            (vec!["hop"], vec!["x@office.example", "root@owner.example"]),
            (vec!["nas"], vec!["owner@else.example"]),
            // Nobody gets it twice.
            (
                vec!["owner@else.example", "root", "ops"],
                vec!["owner@else.example", "tim@listed.lan", "ops@owner.example"],
            ),
            // The postmaster is read by root's reader.
            (vec!["postmaster@listed.lan"], vec!["owner@else.example"]),
        ] {
            assert_eq!(expand(&rules(), file, &to), want, "{to:?}");
        }
    }

    #[test]
    fn the_rest_is_who_has_neither_alias_nor_mailbox() {
        let file = "root: a@else.example\n*: root, rest@else.example, nobody, other@office.example";
        for (to, want) in [
            ("tim@listed.lan", vec!["tim@listed.lan"]),
            ("root@listed.lan", vec!["a@else.example"]),
            (
                "x@listed.lan",
                vec![
                    "a@else.example",
                    "rest@else.example",
                    "nobody@listed.lan",
                    "other@office.example",
                ],
            ),
            (
                "x",
                vec![
                    "a@else.example",
                    "rest@else.example",
                    "nobody@owner.example",
                    "other@office.example",
                ],
            ),
            // This host may be called like somebody's domain.
            ("x@nas.owner.example", vec!["x@nas.owner.example"]),
            ("x@owner.example", vec!["x@owner.example"]),
            ("postmaster@office.example", vec!["a@else.example"]),
        ] {
            assert_eq!(expand(&rules(), file, &[to]), want, "{to}");
        }
    }

    #[test]
    fn a_bare_name_that_nothing_maps_never_leaves_the_host_unless_its_owner_named_a_domain() {
        let mut rules = rules();
        rules.bare = Domain::localhost();
        assert_eq!(
            expand(&rules, "", &["pi", "root@localhost"]),
            ["pi@localhost", "root@localhost"]
        );
        assert_eq!(
            expand(&rules, "*: me@else.example", &["pi"]),
            ["me@else.example"]
        );
    }

    #[test]
    fn senders_get_a_domain_and_on_the_first_hop_the_masquerade() {
        let mut rules = rules();
        for (masquerade, first, from, want) in [
            (None, true, "root", "root@owner.example"),
            (None, true, "x@office.example", "x@office.example"),
            (Some("mask.example"), true, "root", "root@mask.example"),
            (Some("mask.example"), false, "root", "root@owner.example"),
            (
                Some("mask.example"),
                true,
                "x@office.example",
                "x@mask.example",
            ),
            (
                Some("mask.example"),
                true,
                "x@old.example",
                "x@mask.example",
            ),
            (
                Some("mask.example"),
                true,
                "x@nas.owner.example",
                "x@mask.example",
            ),
            (
                Some("mask.example"),
                false,
                "x@office.example",
                "x@office.example",
            ),
            (
                Some("mask.example"),
                true,
                "x@owner.example",
                "x@owner.example",
            ),
            (
                Some("mask.example"),
                true,
                "x@else.example",
                "x@else.example",
            ),
        ] {
            rules.masquerade = masquerade.map(domain);
            let got = rules.sender(&address(from), first).to_string();
            assert_eq!(got, want, "{masquerade:?} {first} {from}");
        }
    }

    /// RFC 3461 s5.2.7.
    #[test]
    fn reports_follow_an_alias_and_success_ends_where_it_becomes_several() {
        let on = |success, failure, delay| Notify::On {
            success,
            failure,
            delay,
        };
        for (name, notify, want, told) in [
            ("one", Notify::Unsaid, Notify::Unsaid, false),
            ("one", on(true, true, false), on(true, true, false), false),
            ("two", Notify::Unsaid, Notify::Unsaid, false),
            ("two", Notify::Never, Notify::Never, false),
            ("two", on(false, true, true), on(false, true, true), false),
            ("two", on(true, true, false), on(false, true, false), true),
            ("two", on(true, false, false), Notify::Never, true),
            (
                "x@else.example",
                on(true, false, false),
                on(true, false, false),
                false,
            ),
        ] {
            let recipient = Recipient {
                notify,
                ..Recipient::new(address(name))
            };
            let mut envelope = Envelope {
                recipients: vec![recipient],
                ..Envelope::default()
            };
            let aliases = aliases("one: a@else.example\ntwo: a@else.example, b@else.example");
            let expanded = rules().envelope(&aliases, &mut envelope, true).unwrap();
            let whom: Vec<String> = expanded.iter().map(|to| to.address.to_string()).collect();
            let want_told = if told {
                vec!["two@owner.example"]
            } else {
                vec![]
            };
            assert_eq!(whom, want_told, "{name} {notify:?}");
            assert!(
                envelope.recipients.iter().all(|to| to.notify == want),
                "{name} {notify:?}"
            );
            let orcpt = (name != "x@else.example").then(|| format!("rfc822;{name}"));
            let kept = envelope.recipients.iter().all(|to| to.orcpt == orcpt);
            assert!(kept, "{:?}", envelope.recipients);
        }
    }

    #[test]
    fn what_a_door_hears_of_a_recipient() {
        let file = aliases("sales: x@else.example\n");
        let mut closed = rules();
        closed
            .mailboxes
            .name(&[domain("owner.example")], &["tim".to_owned()]);
        closed.local.insert(domain("owner.example"));
        for (rules, to, want) in [
            (
                &rules(),
                "x@office.example",
                Standing::Here { listed: false },
            ),
            (&rules(), "x@old.example", Standing::Here { listed: false }),
            (
                &rules(),
                "sales@office.example",
                Standing::Here { listed: true },
            ),
            (&rules(), "a%b@listed.lan", Standing::Here { listed: true }),
            (
                &rules(),
                "sales@listed.lan",
                Standing::Here { listed: true },
            ),
            (&rules(), "x@listed.lan", Standing::Unknown),
            (
                &rules(),
                "postmaster@listed.lan",
                Standing::Here { listed: false },
            ),
            (&rules(), "x@else.example", Standing::Elsewhere),
            (&rules(), "sales@nas.owner.example", Standing::Elsewhere),
            (&rules(), "x", Standing::Bare),
            (&closed, "x", Standing::Unknown),
            (&closed, "tim@localhost", Standing::Here { listed: true }),
            (&closed, "sales", Standing::Here { listed: true }),
            (&closed, "postmaster", Standing::Here { listed: false }),
        ] {
            assert_eq!(rules.standing(&file, &address(to)), want, "{to}");
        }
    }

    #[test]
    fn lines_that_cannot_work_here_are_told() {
        let file = "x@else.example: y@else.example\nx@old.example: y\nx@listed.lan: tim@listed.lan\n\
                    z: nobody@listed.lan, \\z@listed.lan, x@listed.lan";
        let told: Vec<String> = rules()
            .check(&aliases(file))
            .iter()
            .map(ToString::to_string)
            .collect();
        let want = [
            "1: mail for else.example is not local",
            "2: mail for old.example is not local",
            "4: there is no mailbox nobody@listed.lan",
            "4: there is no mailbox z@listed.lan",
        ];
        assert_eq!(told.len(), want.len(), "{told:?}");
        for (told, want) in told.iter().zip(want) {
            assert!(told.starts_with(want), "{told}");
        }
    }

    #[test]
    fn an_expansion_ends_and_never_grows_beyond_what_a_message_may_have() {
        // Each of twenty names leads to both of the next two: a million ways, and each name is followed once.
        let mut file = String::new();
        for at in 0..18 {
            file.push_str(&format!("a{at}: a{0}, b{0}\nb{at}: a{0}, b{0}\n", at + 1));
        }
        let got = expand(&rules(), &file, &["a0"]);
        assert_eq!(got, ["a18@owner.example", "b18@owner.example"]);
        let many: Vec<String> = (0..=limits::RECIPIENTS)
            .map(|at| format!("x{at}@else.example"))
            .collect();
        let file = aliases(&format!("all: {}", many.join(", ")));
        let mut envelope = Envelope {
            recipients: vec![Recipient::new(address("all"))],
            ..Envelope::default()
        };
        assert_eq!(rules().envelope(&file, &mut envelope, true), Err(TooMany));
    }
}
