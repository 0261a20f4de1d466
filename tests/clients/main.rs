//! Real clients against the real binary: each logs in over TLS, on the port with STARTTLS and on the one where TLS comes
//! first, verifies our certificate, and each message that arrives is compared with the one that was sent.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod commands;
#[cfg(feature = "ntlm")]
mod integrated;
#[cfg(feature = "sso")]
mod kerberos;
mod libraries;
mod relays;

use std::fs;
use std::path::PathBuf;

use common::messages::{self, awkward};
use common::{Authority, Folder, Mailroot, free_port, user_with};

/// Who may log in, and the password.
const USER: &str = "tim";
const PASSWORD: &str = "hunter2";

/// A mailroot with two ports that want TLS and a login; it keeps what it gets in its drop folder.
struct House {
    folder: Folder,
    service: Mailroot,
    starttls: u16,
    implicit: u16,
    /// The authority that vouches for `localhost`.
    ca: PathBuf,
}

impl House {
    /// With what all builds offer.
    fn start(name: &str) -> Self {
        Self::start_with(name, "cram_md5 = true\n", &["--cram-md5"])
    }

    /// With these further lines for both listeners, and this option when the user is made.
    fn start_with(name: &str, more: &str, option: &[&str]) -> Self {
        let folder = Folder::new(name);
        let ca = certificates(&folder);
        user_with(folder.path(), USER, PASSWORD, option);
        let (starttls, implicit) = (free_port(), free_port());
        let home = folder.home();
        let d = folder.path().display();
        let config = folder.file(
            "box.toml",
            format!(
                "home = '{d}/home'\nhostname = 'box.example'\n\
                 [[listen]]\naddress = '127.0.0.1:{starttls}'\nrequire_tls = true\nrequire_auth = true\n{more}\
                 [[listen]]\naddress = '127.0.0.1:{implicit}'\ntls = 'implicit'\nrequire_auth = true\n{more}\
                 [tls]\ncertificate = '{d}/cert.pem'\nkey = '{d}/key.pem'\n\
                 [users]\nfile = '{d}/users'\n[local]\ndomains = ['office.example']\n"
            ),
        );
        let service = Mailroot::run(&home, &config);
        Self {
            folder,
            service,
            starttls,
            implicit,
            ca,
        }
    }

    /// Both ports, with how TLS begins there.
    fn ports(&self) -> [(&'static str, u16); 2] {
        [("starttls", self.starttls), ("implicit", self.implicit)]
    }

    /// Everything that came, in the order in which it was accepted, once it is so many.
    fn arrived(&self, count: usize) -> Vec<Arrived> {
        self.service.completed(count);
        let drop = self.service.home.join("drop");
        let mut files: Vec<(u64, PathBuf)> = fs::read_dir(drop)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let id = path.file_stem().unwrap().to_str().unwrap();
                (u64::from_str_radix(id, 16).unwrap(), path)
            })
            .collect();
        files.sort();
        let all: Vec<Arrived> = files
            .iter()
            .map(|(_, path)| Arrived::parse(&fs::read(path).unwrap()))
            .collect();
        assert_eq!(all.len(), count);
        all
    }
}

/// A Python that has this module of Debian's.
#[cfg(feature = "ntlm")]
fn python_with(module: &str, package: &str) -> Option<&'static str> {
    let has = |python: &&str| {
        let mut command = common::command(python);
        let import = command.args(["-c", &format!("import {module}")]).output();
        import.is_ok_and(|done| done.status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has);
    if found.is_none() {
        println!("skipped: {package} is not installed (tests/setup installs it)");
    }
    found
}

/// Makes an authority and a certificate for this host; where the authority's own certificate is.
fn certificates(folder: &Folder) -> PathBuf {
    let authority = Authority::new("Test");
    let made = authority.vouch(&["localhost", "127.0.0.1"]);
    folder.file("cert.pem", &made.certificate);
    folder.file("key.pem", made.key());
    folder.file("ca.pem", authority.pem())
}

/// A message as it lies in the drop folder.
struct Arrived {
    sender: String,
    recipients: Vec<String>,
    /// Our own Received field, unfolded.
    trace: String,
    /// What was sent: everything below our own fields.
    text: String,
}

impl Arrived {
    fn parse(file: &[u8]) -> Self {
        let text = String::from_utf8(file.to_vec()).unwrap();
        let (mut sender, mut recipients, mut trace) = (String::new(), Vec::new(), String::new());
        let mut rest = text.as_str();
        while trace.is_empty() || rest.starts_with([' ', '\t']) {
            let (line, tail) = rest.split_once("\r\n").unwrap();
            rest = tail;
            match line.split_once(": ") {
                Some(("X-Sender", value)) => sender.push_str(value),
                Some(("X-Receiver", value)) => recipients.push(value.to_owned()),
                Some(("X-Dot-Stuffed" | "Return-Path", _)) => {}
                _ => {
                    trace.push_str(line.trim_start());
                    trace.push(' ');
                }
            }
        }
        Self {
            sender,
            recipients,
            trace,
            text: rest.to_owned(),
        }
    }

    /// What follows the header.
    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").unwrap().1
    }

    /// It came by this way, for both recipients, and is what was sent, byte for byte.
    fn is(&self, way: &str, sent: &str) {
        self.came_by(way);
        assert_eq!(self.sender, "alice@nas.example", "{way}");
        assert_eq!(
            self.recipients,
            ["bob@office.example", "eve@office.example"],
            "{way}"
        );
        let want = sent.replace("WAY", way);
        assert!(
            self.text == want,
            "{way}: what arrived differs:\n--- sent\n{want:?}\n--- arrived\n{:?}",
            self.text
        );
    }

    /// The trace field says that there was TLS and a login.
    fn came_by(&self, way: &str) {
        let trace = &self.trace;
        assert!(
            trace.contains("with ESMTPSA") && trace.contains("(TLS1."),
            "{way}: {trace}"
        );
    }
}

/// A message in which WAY stands where a client's way is to be named.
fn small() -> String {
    named(awkward())
}

/// The same with some 300 kB more.
fn large() -> String {
    named(messages::large())
}

fn named(text: String) -> String {
    text.replacen("=?UTF-8?Q?B=C3=BCro?=", "WAY", 1)
        .replacen("<awkward@", "<WAY@", 1)
}

/// What goes to which port: the large message where TLS comes first.
fn letter(way: &str) -> String {
    if way.starts_with("implicit") {
        large()
    } else {
        small()
    }
}
