//! Which attributes of a directory mean what to mail.

/// The attributes of a directory, by what they mean. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Hold the addresses of an entry. The first holds the one that mail goes to in the end.
    pub address: Vec<String>,
    /// Hold an address that gets the entry's mail instead.
    pub forward: Vec<String>,
    /// Hold the host that keeps the entry's mail.
    pub host: Vec<String>,
    /// Hold the names of a group's members.
    pub member: Vec<String>,
    /// Hold the user names of a group's members.
    pub member_uid: Vec<String>,
    /// Hold the addresses of a group's members.
    pub member_address: Vec<String>,
    /// Hold what a user logs in with. The first is what `member_uid` names.
    pub login: Vec<String>,
}

/// Classes of entries that are groups though they may have no member.
const GROUPS: &[&str] = &[
    "group",
    "groupOfNames",
    "groupOfUniqueNames",
    "groupOfMembers",
    "posixGroup",
    "mailGroup",
    "rfc822MailGroup",
];

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Schema {
    /// Active Directory, as Exchange fills it.
    pub fn active_directory() -> Self {
        Self {
            address: own(&["mail", "proxyAddresses"]),
            forward: own(&["targetAddress", "mailRoutingAddress"]),
            host: own(&["mailHost"]),
            member: own(&["member"]),
            member_uid: Vec::new(),
            member_address: Vec::new(),
            login: own(&["sAMAccountName", "userPrincipalName"]),
        }
    }

    /// Users and groups of Unix (RFC 2307), people (RFC 2798), and what mail servers made of them.
    pub fn posix() -> Self {
        Self {
            address: own(&["mail", "mailLocalAddress"]),
            forward: own(&["mailRoutingAddress"]),
            host: own(&["mailHost"]),
            member: own(&["member", "uniqueMember"]),
            member_uid: own(&["memberUid"]),
            member_address: own(&["mgrprfc822MailMember", "rfc822MailMember"]),
            login: own(&["uid", "mail"]),
        }
    }

    /// Everything that is read of an entry.
    pub fn wanted(&self) -> Vec<String> {
        let mut all = own(&["objectClass"]);
        let lists = [
            &self.address,
            &self.forward,
            &self.host,
            &self.member,
            &self.member_uid,
            &self.member_address,
        ];
        for name in lists.into_iter().flatten().chain(self.login.first()) {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        all
    }

    /// Whether an entry of these classes is a group.
    pub fn is_group<'a>(mut classes: impl Iterator<Item = &'a str>) -> bool {
        classes.any(|class| GROUPS.iter().any(|group| group.eq_ignore_ascii_case(class)))
    }
}

/// An address as it stands in a value: Active Directory writes the kind in front, as in `SMTP:a@b` for the first
/// address and `smtp:a@b` for further ones.
pub fn plain(value: &str) -> &str {
    let value = value.trim();
    match value.split_at_checked(5) {
        Some((kind, rest)) if kind.eq_ignore_ascii_case("smtp:") => rest,
        _ => value,
    }
}

/// Whether it is the first address of an entry that has many.
pub fn is_first(value: &str) -> bool {
    value.trim().starts_with("SMTP:")
}

#[cfg(test)]
mod tests {
    use super::{Schema, is_first, plain};

    #[test]
    fn a_kind_in_front_is_taken_off() {
        assert_eq!(plain("SMTP:a@b"), "a@b");
        assert_eq!(plain(" smtp:a@b"), "a@b");
        assert_eq!(plain("X400:c=DE"), "X400:c=DE");
        assert_eq!(plain("smtp"), "smtp");
        assert_eq!(plain("\u{e4}\u{e4}\u{e4}"), "\u{e4}\u{e4}\u{e4}");
        assert!(is_first("SMTP:a@b") && !is_first("smtp:a@b"));
    }

    #[test]
    fn what_is_read_is_named_once() {
        let wanted = Schema::posix().wanted();
        assert!(wanted.contains(&"uid".to_owned()) && wanted.contains(&"memberUid".to_owned()));
        let mails = wanted.iter().filter(|name| *name == "mail");
        assert_eq!(mails.count(), 1);
        assert!(Schema::is_group(["top", "GROUPOFNAMES"].into_iter()));
        assert!(!Schema::is_group(["person"].into_iter()));
    }
}
