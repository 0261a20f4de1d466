//! A Postfix of a test's own: Debian's programs with folders and settings below the test's folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::{command, have, must};

/// A running Postfix, ended with this.
pub struct Postfix {
    dir: PathBuf,
}

impl Postfix {
    /// Makes the folders of one that can be run here: `etc`, `queue`, `data` and `mail`.
    pub fn prepare(dir: PathBuf) -> Option<Self> {
        if !have("postfix") {
            return None;
        }
        if !super::is_root() {
            println!("skipped: Postfix wants to be started by root");
            return None;
        }
        for sub in ["etc", "queue", "data", "mail"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        // Its daemons run as postfix and must be able to write here.
        must(
            command("chown")
                .arg("postfix")
                .arg(dir.join("data"))
                .arg(dir.join("mail")),
            b"",
        );
        Some(Self { dir })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts it with these lines of main.cf beyond what all have, and these of master.cf beyond Debian's.
    pub fn start(&self, settings: &str, services: &str) {
        let (d, etc) = (self.dir.display(), self.dir.join("etc"));
        fs::write(
            etc.join("main.cf"),
            format!(
                "compatibility_level=3.6\nqueue_directory={d}/queue\ndata_directory={d}/data\nmail_owner=postfix\n\
                 setgid_group=postdrop\nmyhostname=localhost\nmydestination=\ninet_interfaces=127.0.0.1\n\
                 inet_protocols=ipv4\nalias_maps=\nalias_database=\nlocal_recipient_maps=\nmailbox_transport=\n\
                 smtpd_client_restrictions=\nmaillog_file={d}/mail/log\nmaillog_file_prefixes={d}\n{settings}"
            ),
        )
        .unwrap();
        let master = fs::read_to_string("/etc/postfix/master.cf").unwrap();
        let debians: String = master
            .lines()
            .filter(|l| !l.starts_with("smtp      inet") && !l.starts_with("postlog"))
            .map(|l| {
                // No chroots: the folder has nothing in it but the queue.
                let mut f: Vec<&str> = l.split_whitespace().collect();
                if !l.starts_with([' ', '#']) && f.len() >= 8 {
                    f[4] = "n";
                    f.join(" ") + "\n"
                } else {
                    format!("{l}\n")
                }
            })
            .collect();
        let own = format!("postlog unix-dgram n - n - 1 postlogd\n{services}");
        fs::write(etc.join("master.cf"), own + &debians).unwrap();
        must(command("postfix").arg("-c").arg(&etc).arg("start"), b"");
    }

    /// What it has logged, for the message of a failure.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("mail/log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let etc = self.dir.join("etc");
        let _ = command("postfix").arg("-c").arg(etc).arg("stop").output();
    }
}
