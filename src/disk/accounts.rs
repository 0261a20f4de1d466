//! Users and groups of this host, from its text databases.
//!
//! Not by the C library: a static binary has no name service, and a directory server must not hold up mail. So who is
//! known to a directory alone has a number here and no name. Every function blocks on a small file.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;

use crate::base::limits;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// The name of a user by number; `None` when there is none.
pub fn user_name(uid: u32) -> Option<String> {
    find(Path::new(USERS), |fields| {
        (number(fields, 2) == Some(uid)).then(|| (*fields.first().unwrap_or(&"")).to_owned())
    })
}

/// The number of a user by name, or as it is written.
pub fn user(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| {
        find(Path::new(USERS), |fields| {
            (fields.first() == Some(&name)).then(|| number(fields, 2))?
        })
    })
}

/// Whom a process can become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The groups that list it as a member.
    pub groups: Vec<u32>,
}

/// Why nobody can become it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAccount {
    /// There is no such user.
    User,
    /// There is no such group.
    Group,
    /// The user is a number without an entry, and no group was named.
    OwnGroup,
}

/// The account of a user, with this group or its own; each by name or number.
pub fn account(user: &str, group: Option<&str>) -> Result<Account, NoAccount> {
    account_in(Path::new(USERS), Path::new(GROUPS), user, group)
}

fn account_in(
    users: &Path,
    groups: &Path,
    user: &str,
    group: Option<&str>,
) -> Result<Account, NoAccount> {
    let wanted = user.parse::<u32>().ok();
    let entry = find(users, |fields| {
        let here =
            fields.first() == Some(&user) || (wanted.is_some() && number(fields, 2) == wanted);
        let name = (*fields.first()?).to_owned();
        here.then(|| Some((name, number(fields, 2)?, number(fields, 3)?)))?
    });
    let gid = match group {
        None => None,
        Some(group) => Some(
            group
                .parse()
                .ok()
                .or_else(|| {
                    find(groups, |fields| {
                        (fields.first() == Some(&group)).then(|| number(fields, 2))?
                    })
                })
                .ok_or(NoAccount::Group)?,
        ),
    };
    let (name, uid, own) = match (entry, wanted) {
        (Some((name, uid, own)), _) => (Some(name), uid, Some(own)),
        (None, Some(uid)) => (None, uid, None),
        (None, None) => return Err(NoAccount::User),
    };
    let gid = gid.or(own).ok_or(NoAccount::OwnGroup)?;
    let listed = RefCell::new(Vec::new());
    if let Some(name) = &name {
        let _: Option<()> = find(groups, |fields| {
            let members = fields.get(3)?;
            if members.split(',').any(|member| member.trim() == name) {
                listed.borrow_mut().extend(number(fields, 2));
            }
            None
        });
    }
    let groups = listed.into_inner();
    Ok(Account { uid, gid, groups })
}

/// Whether a process of this user and group belongs to a group, given by name or number: it is the group that the
/// process has now, or the user is one of its members. Further groups of the process alone are not seen.
pub fn is_member(uid: u32, gid: u32, group: &str) -> bool {
    let user = user_name(uid);
    belongs(Path::new(GROUPS), user.as_deref(), gid, group)
}

fn belongs(groups: &Path, user: Option<&str>, gid: u32, group: &str) -> bool {
    let wanted = group.parse::<u32>().ok();
    if wanted == Some(gid) {
        return true;
    }
    let member = find(groups, |fields| {
        let here =
            fields.first() == Some(&group) || (wanted.is_some() && number(fields, 2) == wanted);
        let named = |user: &str| {
            let members = fields.get(3).unwrap_or(&"");
            members.split(',').any(|member| member.trim() == user)
        };
        here.then(|| number(fields, 2) == Some(gid) || user.is_some_and(named))
    });
    member == Some(true)
}

fn number(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at)?.parse().ok()
}

/// The first thing found in a line of a database, by its fields. A line over the limit is none: its rest must not
/// pass for a line of its own.
fn find<T>(path: &Path, look: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let mut reader = BufReader::new(File::open(path).ok()?);
    let mut line = Vec::new();
    let mut whole = true;
    loop {
        line.clear();
        let mut piece = reader.by_ref().take(limits::ACCOUNT_LINE);
        if piece.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let begins = std::mem::replace(&mut whole, line.ends_with(b"\n"));
        let Ok(text) = std::str::from_utf8(&line) else {
            continue;
        };
        if !begins || (!whole && text.len() >= usize::try_from(limits::ACCOUNT_LINE).unwrap_or(0)) {
            continue;
        }
        let fields: Vec<&str> = text.trim_end_matches(['\n', '\r']).split(':').collect();
        if let Some(found) = look(&fields) {
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, NoAccount, account_in, belongs, find, user, user_name};
    use crate::base::limits;

    #[test]
    fn root_has_a_name_and_a_number() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
        assert_eq!(user("root"), Some(0));
        assert_eq!(user("1234"), Some(1234));
        assert_eq!(user("no such user"), None);
    }

    #[test]
    fn members_are_those_of_the_list_and_those_in_it_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("group");
        std::fs::write(
            &file,
            "root:x:0:\nmail:x:8:tim,eve\n# nonsense\n::\nbad:x:none:tim\nlast:x:9:bob",
        )
        .unwrap();
        for (user, gid, group, want) in [
            (Some("tim"), 100, "mail", true),
            (Some("eve"), 100, "8", true),
            (Some("ti"), 100, "mail", false),
            (Some("tim"), 100, "root", false),
            (Some("tim"), 100, "none at all", false),
            (Some("tim"), 100, "", false),
            (Some("bob"), 100, "last", true),
            (None, 8, "mail", true),
            (None, 8, "8", true),
            (None, 8, "root", false),
            (None, 100, "mail", false),
        ] {
            assert_eq!(
                belongs(&file, user, gid, group),
                want,
                "{user:?} {gid} {group}"
            );
        }
        assert!(!belongs(
            &folder.path().join("gone"),
            Some("tim"),
            8,
            "mail"
        ));
    }

    #[test]
    fn an_account_has_its_own_group_or_the_one_named_and_those_that_list_it() {
        let folder = tempfile::tempdir().unwrap();
        let (users, groups) = (folder.path().join("passwd"), folder.path().join("group"));
        let text = "root:x:0:0::/:/bin/sh\nmail:x:8:9::/:/bin/false\nbad:x:many:9::\n5:x:6:7::/:";
        std::fs::write(&users, text).unwrap();
        std::fs::write(
            &groups,
            "mail:x:9:\nled:x:20:tim,mail\nups:x:21:mailman\ntls:x:22:mail",
        )
        .unwrap();
        let found = |user, group| account_in(&users, &groups, user, group);
        let good = |uid, gid, groups: &[u32]| {
            let groups = groups.to_vec();
            Ok(Account { uid, gid, groups })
        };
        assert_eq!(found("mail", None), good(8, 9, &[20, 22]));
        assert_eq!(found("mail", Some("led")), good(8, 20, &[20, 22]));
        assert_eq!(found("8", Some("77")), good(8, 77, &[20, 22]));
        // A name may be of digits.
        assert_eq!(found("5", None), good(6, 7, &[]));
        assert_eq!(found("4000", Some("led")), good(4000, 20, &[]));
        assert_eq!(found("4000", None), Err(NoAccount::OwnGroup));
        assert_eq!(found("tim", None), Err(NoAccount::User));
        assert_eq!(found("bad", None), Err(NoAccount::User));
        assert_eq!(found("", None), Err(NoAccount::User));
        assert_eq!(found("mail", Some("none")), Err(NoAccount::Group));
    }

    #[test]
    fn the_rest_of_a_line_that_is_too_long_is_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        let most = usize::try_from(limits::ACCOUNT_LINE).unwrap();
        for long in [most - 3, most - 2, most - 1, most, most + 1, 2 * most] {
            // Whoever can make his own line that long would be root in the next one.
            let text = format!("a:{}evil:x:0:\nnext:x:5:\n", "x".repeat(long));
            std::fs::write(&file, text).unwrap();
            let named = |name| {
                find(&file, |fields| {
                    (fields.first() == Some(&name)).then_some(())
                })
            };
            assert_eq!(named("evil"), None, "{long}");
            assert_eq!(named("next"), Some(()), "{long}");
        }
    }
}
