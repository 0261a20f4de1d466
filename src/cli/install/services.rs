//! What starts the service at boot: the file for each init system, and where it goes.

use std::path::Path;

/// An init system that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What exists below the root folder where it is used; the first that is found counts.
    signs: &'static [&'static str],
    /// The file that starts the service, from the root folder on.
    pub file: &'static str,
    /// Its text, with `@PROGRAM@`, `@CONFIG@`, `@HOME@` and `@USER@` in it.
    template: &'static str,
    /// Its mode.
    pub mode: u32,
    /// The links that start it at boot: where, and to what.
    pub links: &'static [(&'static str, &'static str)],
    /// What starts it now.
    pub begin: &'static str,
    /// Whether it starts the service as the user; else as root, and the service becomes the user itself.
    pub as_user: bool,
}

/// All of them, in the order in which they are looked for.
pub const INITS: &[Init] = &[
    Init {
        name: "systemd",
        signs: &["lib/systemd/systemd", "usr/lib/systemd/systemd"],
        file: "etc/systemd/system/mailroot.service",
        template: include_str!("../../../targets/services/systemd.service"),
        mode: 0o644,
        links: &[(
            "etc/systemd/system/multi-user.target.wants/mailroot.service",
            "/etc/systemd/system/mailroot.service",
        )],
        begin: "systemctl daemon-reload && systemctl restart mailroot",
        as_user: true,
    },
    Init {
        name: "procd",
        signs: &["sbin/procd"],
        file: "etc/init.d/mailroot",
        template: include_str!("../../../targets/services/procd"),
        mode: 0o755,
        links: &[
            ("etc/rc.d/S50mailroot", "../init.d/mailroot"),
            ("etc/rc.d/K50mailroot", "../init.d/mailroot"),
        ],
        begin: "/etc/init.d/mailroot restart",
        as_user: false,
    },
    Init {
        name: "openrc",
        signs: &[
            "sbin/openrc-run",
            "usr/sbin/openrc-run",
            "usr/bin/openrc-run",
        ],
        file: "etc/init.d/mailroot",
        template: include_str!("../../../targets/services/openrc"),
        mode: 0o755,
        links: &[("etc/runlevels/default/mailroot", "/etc/init.d/mailroot")],
        begin: "rc-service mailroot restart",
        as_user: true,
    },
    Init {
        name: "runit",
        signs: &["etc/runit", "usr/bin/runsvdir"],
        file: "etc/sv/mailroot/run",
        template: include_str!("../../../targets/services/runit"),
        mode: 0o755,
        links: &[("etc/runit/runsvdir/default/mailroot", "/etc/sv/mailroot")],
        begin: "sv restart mailroot",
        as_user: false,
    },
    Init {
        name: "busybox",
        signs: &["etc/init.d/rcS", "etc/inittab", "bin/busybox"],
        file: "etc/init.d/S80mailroot",
        template: include_str!("../../../targets/services/busybox"),
        mode: 0o755,
        links: &[],
        begin: "/etc/init.d/S80mailroot restart",
        as_user: false,
    },
];

/// The init system with this name.
pub fn named(name: &str) -> Option<&'static Init> {
    INITS.iter().find(|init| init.name == name)
}

/// The init system that the tree below `root` uses.
pub fn found(root: &Path) -> Option<&'static Init> {
    INITS
        .iter()
        .find(|init| init.signs.iter().any(|sign| root.join(sign).exists()))
}

/// What the placeholders stand for.
#[derive(Debug)]
pub struct Names<'a> {
    /// The program, as it will be called.
    pub program: &'a str,
    /// The configuration file.
    pub config: &'a str,
    /// The folder with the mail.
    pub home: &'a str,
    /// The service's user.
    pub user: &'a str,
}

/// The text of the file.
pub fn text(init: &Init, names: &Names<'_>) -> String {
    init.template
        .replace("@PROGRAM@", names.program)
        .replace("@CONFIG@", names.config)
        .replace("@HOME@", names.home)
        .replace("@USER@", names.user)
}

#[cfg(test)]
mod tests {
    use super::{INITS, Names, named, text};

    #[test]
    fn no_placeholder_is_left() {
        let names = Names {
            program: "/usr/sbin/mailroot",
            config: "/etc/mailroot.toml",
            home: "/var/spool/mailroot",
            user: "mailroot",
        };
        for init in INITS {
            let text = text(init, &names);
            assert!(text.contains("/usr/sbin/mailroot"), "{}", init.name);
            assert!(text.contains("/etc/mailroot.toml"), "{}", init.name);
            for word in ["PROGRAM", "CONFIG", "HOME", "USER"] {
                assert!(!text.contains(&format!("@{word}@")), "{}", init.name);
            }
            assert_eq!(named(init.name), Some(init));
        }
    }
}
