//! Files as real programs write them into a pickup folder, by the real binary to a sink: who sent each, who gets it,
//! and what arrives.
//!
//! The files in `tests/pickup/` are written after what is known of their writers:
//! - `dotnet*.eml`: `SmtpClient` with `SpecifiedPickupDirectory`: X-Sender (the program's own, `Sender` or `From`), an
//!   X-Receiver for each To, Cc and Bcc with the name beside it, then the header in that order; a dot at the start of a
//!   line is not doubled.
//! - `cdo.eml`: CDO for Windows 2000 with `cdoSendUsingPickup`: names in small letters, Thread-Index first.
//! - `mailkit.eml`: the sample of MailKit's documentation: the message alone, Bcc in its header, through `SmtpDataFilter`,
//!   which doubles dots.
//! - `powershell.eml`: `Set-Content -Encoding utf8` of Windows PowerShell: a byte order mark, CRLF; `write.php` runs.
//! - `by_hand.txt`: the example of the handbook: any extension, LF.
//! - the others: what section 2.1 of the features knows of envelopes (folds, groups, several in a line, no sender).
#![cfg(test)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, Mailroot, Received, Sink, have, must};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pickup")
        .join(name)
}

/// A service whose mail ends in a sink.
struct Box_ {
    service: Mailroot,
    sink: Sink,
    folder: Folder,
}

impl Box_ {
    fn start(name: &str, args: &[&str]) -> Option<Self> {
        if !have("smtp-sink") {
            return None;
        }
        let folder = Folder::new(name);
        let sink = Sink::start(folder.path(), &[]);
        let url = sink.url();
        let mut all = vec![
            "--smart-host",
            &url,
            "--set",
            "default_domain=office.example",
        ];
        all.extend(args);
        let service = Mailroot::start(&folder.home(), &all);
        Some(Self {
            service,
            sink,
            folder,
        })
    }

    /// Puts a sample into the folder as a program does that knows nothing of renaming.
    fn write(&self, name: &str) {
        let bytes = fs::read(sample(name)).unwrap();
        fs::write(self.service.home.join("pickup").join(name), bytes).unwrap();
    }
}

/// The addresses of arguments such as `TO:<a@b> NOTIFY=...`.
fn address(args: &str) -> &str {
    let (_, rest) = args.split_once('<').unwrap();
    rest.split_once('>').unwrap().0
}

fn envelope(got: &Received) -> (String, Vec<String>) {
    let to = got.rcpt_args.iter();
    let mut to: Vec<String> = to.map(|args| address(args).to_owned()).collect();
    to.sort();
    (address(&got.mail_args).to_owned(), to)
}

struct Want {
    file: &'static str,
    subject: &'static str,
    from: &'static str,
    to: &'static [&'static str],
    /// A line that arrives.
    line: &'static [u8],
}

const SAMPLES: &[Want] = &[
    Want {
        file: "dotnet.eml",
        subject: "=?utf-8?Q?Rechnung_f=C3=BCr_November?=",
        from: "noreply@shop.example",
        to: &[
            "archive@shop.example",
            "boss@customer.example",
            "jane@customer.example",
        ],
        line: b".one dot at the start of a line, which .NET does not double",
    },
    Want {
        file: "dotnet_own_sender.eml",
        subject: "newsletter",
        from: "bounces+17@shop.example",
        to: &["jane@customer.example"],
        line: b"Sender: \"Batch\" <batch@shop.example>",
    },
    Want {
        file: "cdo.eml",
        subject: "Scan 0001",
        from: "scanner@office.example",
        to: &["hidden@office.example", "jane@customer.example"],
        line: b"thread-index: AcXDvPq5Y1m0QmZuTQ6b1p0q2m3n4o==",
    },
    Want {
        file: "powershell.eml",
        subject: "backup done",
        from: "backup@nas.example",
        to: &["owner@home.example", "second@home.example"],
        line: b"all good",
    },
    Want {
        file: "by_hand.txt",
        subject: "typed by hand",
        from: "joe@office.example",
        to: &["root@office.example", "support@office.example"],
        line: b"This is the test message.",
    },
    Want {
        file: "latin1.eml",
        subject: "Gr\u{fffd}\u{fffd}e",
        from: "form@web.example",
        to: &["shop@web.example"],
        line: b"sch\xf6n",
    },
    Want {
        file: "resent.eml",
        subject: "contract",
        from: "jane@customer.example",
        to: &["herself@customer.example", "lawyer@law.example"],
        line: b"Cc: boss@customer.example",
    },
    Want {
        file: "list.eml",
        subject: "groups, folds, comments",
        from: "list@list.example",
        to: &[
            "A@list.example",
            "a@list.example",
            "b@list.example",
            "c@list.example",
            "d@list.example",
        ],
        line: b"Cc: A@list.example",
    },
    Want {
        file: "half_an_envelope.eml",
        subject: "",
        from: "f@near.example",
        to: &["one@far.example", "three@far.example", "two@far.example"],
        line: b"only what X-Receiver says",
    },
    Want {
        file: "null_sender.eml",
        subject: "report",
        from: "",
        to: &["postmaster@near.example"],
        line: b"x",
    },
];

/// What no recipient may see.
fn is_clean(got: &Received) {
    for name in ["X-Sender", "X-Receiver", "Bcc", "Resent-Bcc"] {
        assert_eq!(got.header(name), None, "{name}");
    }
    for name in ["Date", "Message-ID", "From"] {
        assert!(got.header(name).is_some(), "{name}");
    }
    assert!(got.trace.contains("uid "), "{}", got.trace);
}

fn has_line(got: &Received, line: &[u8]) -> bool {
    got.text.split(|&byte| byte == b'\n').any(|one| one == line)
}

#[test]
fn each_writers_files_go_out_with_the_right_envelope() {
    let Some(all) = Box_::start("writers", &[]) else {
        return;
    };
    for want in SAMPLES {
        all.write(want.file);
    }
    all.service.completed(SAMPLES.len());
    let mut got = all.sink.messages();
    for want in SAMPLES {
        let at = got.iter().position(|one| has_line(one, want.line));
        let one = got.swap_remove(at.unwrap_or_else(|| panic!("{} is missing", want.file)));
        let (from, to) = envelope(&one);
        assert_eq!(from, want.from, "{}", want.file);
        assert_eq!(to, want.to, "{}", want.file);
        assert_eq!(one.header("Subject").unwrap_or_default(), want.subject);
        is_clean(&one);
    }
    assert!(got.is_empty(), "each once");
    let said = all.service.stop();
    assert!(!said.contains("pickup-bad"), "{said}");
    drop(all.folder);
}

#[test]
fn dots_that_a_writer_has_doubled_are_single_again_where_its_owner_says_so() {
    for (stuffed, lines) in [
        ("always", [&b".profile was missing"[..], b"..", b"end"]),
        ("never", [b"..profile was missing", b"...", b"end"]),
    ] {
        let set = format!("pickup.dot_stuffed={stuffed}");
        let Some(all) = Box_::start(&format!("dots-{stuffed}"), &["--set", &set]) else {
            return;
        };
        all.write("mailkit.eml");
        all.service.completed(1);
        let got = all.sink.only();
        let (from, to) = envelope(&got);
        assert_eq!(from, "monitor@plant.example");
        assert_eq!(
            to,
            [
                "audit@plant.example",
                "juergen@plant.example",
                "night@plant.example",
                "operator@plant.example",
            ]
        );
        is_clean(&got);
        for line in lines {
            assert!(has_line(&got, line), "{stuffed}");
        }
        all.service.stop();
    }
}

#[test]
fn a_php_program_writes_in_place() {
    if !have("php") {
        return;
    }
    let Some(all) = Box_::start("php", &[]) else {
        return;
    };
    let mut php = Command::new("php");
    php.arg(sample("write.php"))
        .arg(all.service.home.join("pickup"));
    must(&mut php, b"");
    all.service.completed(1);
    let got = all.sink.only();
    let (from, to) = envelope(&got);
    assert_eq!(from, "bounce@web.example");
    assert_eq!(
        to,
        [
            "boss@customer.example",
            "hidden@web.example",
            "jane@customer.example",
        ]
    );
    is_clean(&got);
    assert!(has_line(&got, b"first line") && has_line(&got, b".second"));
    all.service.stop();
}
