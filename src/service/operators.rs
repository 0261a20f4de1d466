//! Who may use the control socket. It is told by the kernel who is at the other end, so there is nothing to forge and
//! no password; root and the user that the service runs as always may.

use std::fs::Permissions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::model::Operators;
use crate::disk::accounts;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    Operator,
    /// See the status and the queue.
    Reader,
    /// Nothing.
    Stranger,
}

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Caller {
    /// Who is at the other end of this one, as the kernel knows it.
    pub fn of(stream: impl AsFd) -> io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(stream)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
        })
    }

    /// What it may do. Blocks on the databases of users and groups, so it is for the file worker.
    pub fn standing(self, operators: &Operators) -> Standing {
        let is = |user: &String| accounts::user(user) == Some(self.uid);
        let belongs = |group: &String| accounts::is_member(self.uid, self.gid, group);
        if self.is_ours() || operators.users.iter().any(is) || operators.groups.iter().any(belongs)
        {
            Standing::Operator
        } else if operators.readers.iter().any(is) || operators.reader_groups.iter().any(belongs) {
            Standing::Reader
        } else {
            Standing::Stranger
        }
    }

    /// Root, and the user that the service runs as.
    pub fn is_ours(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Gives the socket the permissions that fit who is named: where nobody is, the file itself keeps everybody else out.
pub fn guard(socket: &Path, operators: &Operators) -> io::Result<()> {
    let mode = if operators.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(socket, Permissions::from_mode(mode))
}

/// Whether a request changes nothing.
pub fn only_looks(request: &[&str]) -> bool {
    matches!(
        request,
        ["status"] | ["queue" | "badmail", "list" | "show", ..]
    )
}

#[cfg(test)]
mod tests {
    use super::{Caller, Standing, only_looks};
    use crate::config::model::Operators;

    #[test]
    fn root_and_we_ourselves_may_and_nobody_else_unless_named() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let named = Operators {
            users: list(&["4000000001", "no such user"]),
            groups: list(&["4000000009"]),
            readers: list(&["4000000002", "4000000001"]),
            reader_groups: list(&["4000000008"]),
        };
        let nobody = Operators {
            users: Vec::new(),
            groups: Vec::new(),
            readers: Vec::new(),
            reader_groups: Vec::new(),
        };
        let own = rustix::process::geteuid().as_raw();
        for (uid, gid, want) in [
            (0, 0, Standing::Operator),
            (own, 4_000_000_000, Standing::Operator),
            (4_000_000_001, 4_000_000_000, Standing::Operator),
            (4_000_000_002, 4_000_000_000, Standing::Reader),
            (4_000_000_002, 4_000_000_009, Standing::Operator),
            (4_000_000_003, 4_000_000_008, Standing::Reader),
            (4_000_000_003, 0, Standing::Stranger),
        ] {
            let caller = Caller { uid, gid };
            assert_eq!(caller.standing(&named), want, "{uid} {gid}");
            let alone = caller.standing(&nobody) == Standing::Operator;
            assert_eq!(alone, caller.is_ours(), "{uid} {gid}");
        }
    }

    #[test]
    fn what_is_not_known_to_look_only_changes_something() {
        for request in [
            &["status"][..],
            &["queue", "list"],
            &["queue", "show", "1"],
            &["badmail", "list"],
            &["badmail", "show", "1"],
        ] {
            assert!(only_looks(request), "{request:?}");
        }
        for request in [
            &["reload"][..],
            &["queue", "retry"],
            &["queue", "remove", "1"],
            &["badmail", "retry", "1"],
            &["badmail", "remove", "1"],
            &["badmail"],
            &["queue"],
            &["status", "clear"],
            &[],
        ] {
            assert!(!only_looks(request), "{request:?}");
        }
    }
}
