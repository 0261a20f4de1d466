//! Which mailboxes exist in the domains that end here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::mail::Address;
use crate::mail::Domain;

/// The mailboxes of a block of domains, as they are named in the configuration: local parts, or whole addresses for one
/// domain alone. In lower case.
pub type Names = Arc<[String]>;

/// The mailboxes of all local domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailboxes {
    /// Domains whose mailboxes are named. In every other all exist.
    named: BTreeMap<Domain, Names>,
}

impl Mailboxes {
    /// Names the mailboxes of these domains.
    pub fn name<'a>(&mut self, domains: impl IntoIterator<Item = &'a Domain>, names: &[String]) {
        let names: Names = names.iter().map(|name| name.to_lowercase()).collect();
        for domain in domains {
            self.named.insert(domain.clone(), Arc::clone(&names));
        }
    }

    /// Whether a local address exists. Postmaster always does (RFC 5321 s4.5.1).
    pub fn has(&self, to: &Address) -> bool {
        match self.named.get(to.domain()) {
            None => true,
            Some(_) => to.is_postmaster() || self.listed(to).is_some(),
        }
    }

    /// The mailbox of an address that exists, where the mailboxes of its domain are named.
    pub fn mailbox(&self, to: &Address) -> Option<&str> {
        self.named.get(to.domain())?;
        let listed = self.listed(to);
        listed.or_else(|| to.is_postmaster().then_some("postmaster"))
    }

    /// The name under which an address stands in the list of its domain.
    pub fn listed(&self, to: &Address) -> Option<&str> {
        let names = self.named.get(to.domain())?;
        let (name, whole) = (to.local().to_lowercase(), to.to_string().to_lowercase());
        let is = |one: &&String| **one == name || **one == whole;
        names.iter().find(is).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Mailboxes;
    use crate::mail::{Address, Domain};

    #[test]
    fn a_list_holds_for_its_domains_and_postmaster_always_exists() {
        let domains = ["a.lan", "b.lan"].map(|text| Domain::parse(text).unwrap());
        let mut mailboxes = Mailboxes::default();
        mailboxes.name(&domains, &["Alerts".to_owned(), "info@b.lan".to_owned()]);
        mailboxes.name(&[Domain::parse("c.lan").unwrap()], &[]);
        for (to, has, listed) in [
            ("alerts@a.lan", true, Some("alerts")),
            ("ALERTS@b.lan", true, Some("alerts")),
            ("info@b.lan", true, Some("info@b.lan")),
            ("info@a.lan", false, None),
            ("Postmaster@a.lan", true, None),
            ("postmaster@c.lan", true, None),
            ("x@c.lan", false, None),
            ("x@d.lan", true, None),
        ] {
            let to = Address::parse(to).unwrap();
            assert_eq!(
                (mailboxes.has(&to), mailboxes.listed(&to)),
                (has, listed),
                "{to}"
            );
        }
    }
}
