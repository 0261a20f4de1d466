//! Programs of the owner: real scripts that see mail arrive, refuse it, hang, and hear how the ways are.
#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, Mailroot, Sink, files, free_port, have, until, until_true};

/// A service with this configuration, and with something in its environment that is no program's business.
fn start(folder: &Folder, configuration: &str) -> Mailroot {
    Mailroot::configured_with(folder, configuration, |command| {
        command.env("MAILROOT_PASSWORD", "hunter2");
    })
}

fn send(mailroot: &Mailroot, from: &str, subject: &str) {
    let text = format!("Subject: {subject}\r\n\r\nhello\r\n");
    mailroot.submit(from, &["owner@box.example", "second@box.example"], &text);
}

/// The files of a folder that have this in them; one may be gone again or half written.
fn with(folder: &Path, text: &str) -> Vec<String> {
    let all = files(folder).into_iter();
    all.map(|file| fs::read_to_string(file).unwrap_or_default())
        .filter(|found| found.contains(text))
        .collect()
}

#[test]
fn a_message_is_seen_before_it_goes_and_may_be_refused() {
    let folder = Folder::new("hooks-arrival");
    let seen = folder.path().join("seen");
    fs::create_dir(&seen).unwrap();
    let look = folder.script(
        "look",
        &format!(
            "cat >{0}/$MAILROOT_ID.eml\nenv >{0}/$MAILROOT_ID.env\n\
             grep -q virus {0}/$MAILROOT_ID.eml || exit 0\necho 'it has a \"virus\"' >&2\nexit 65",
            seen.display()
        ),
    );
    let note = folder.script(
        "note",
        &format!(
            "{{ echo $MAILROOT_EVENT; echo $1; echo $MAILROOT_FILE; echo $MAILROOT_WHY; cat; }} \
             >{0}/$MAILROOT_EVENT-$MAILROOT_ID.txt",
            seen.display()
        ),
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = ['box.example', 'cam.lan']\n\
             [[hook]]\non = ['arrival']\nexec = ['{}']\n\
             [[hook]]\non = ['drop', 'badmail']\nexec = ['{}', 'two words']\n",
            look.display(),
            note.display()
        ),
    );
    let drop = mailroot.home.join("drop");
    send(&mailroot, "cam@cam.lan", "a good one");
    mailroot.completed(1);
    assert_eq!(with(&drop, "Subject: a good one").len(), 1);
    let env = with(&seen, "MAILROOT_EVENT=arrival").pop().unwrap();
    for line in [
        "MAILROOT_SENDER=cam@cam.lan",
        "MAILROOT_RECIPIENTS=owner@box.example",
        "second@box.example",
        "MAILROOT_SERVER=mailroot",
    ] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(!env.contains("hunter2"), "{env}");
    let noted = until("the drop is noted", || {
        with(&seen, "drop\ntwo words\n")
            .pop()
            .filter(|text| text.ends_with("hello\r\n"))
    });
    assert!(noted.contains(&format!("{}/", drop.display())), "{noted}");

    // Refused: the sender hears it, and who has no sender goes to badmail.
    send(&mailroot, "cam@cam.lan", "a virus");
    mailroot.wait_for("the report is delivered", |line| {
        line.contains(" reported id=")
    });
    mailroot.completed(3);
    assert!(with(&drop, "\r\nSubject: a virus\r\n\r\nhello").is_empty());
    assert_eq!(
        with(&drop, "refused: it has a \"virus\"").len(),
        1,
        "a report to its sender"
    );
    let ran = mailroot.wait_for("the log tells", |line| {
        line.contains("hook-ran") && line.contains("code=65")
    });
    assert!(ran.contains("said=\"it has a \\\"virus\\\"\""), "{ran}");
    send(&mailroot, "", "another virus");
    mailroot.wait_for("it is in badmail", |line| line.contains(" badmail id="));
    let noted = until("badmail is noted", || {
        with(&seen, "badmail\ntwo words\n")
            .pop()
            .filter(|text| text.ends_with("hello\r\n"))
    });
    assert!(noted.contains("refused: it has a \"virus\""), "{noted}");
    mailroot.completed(4);
    mailroot.wait_for_empty();
    mailroot.stop();
}

#[test]
fn a_program_that_hangs_fails_or_is_missing_costs_no_mail() {
    let folder = Folder::new("hooks-hang");
    // Half of them hang, and none reads what it is given.
    let hang = folder.script(
        "hang",
        "[ \"$MAILROOT_SENDER\" = slow@cam.lan ] || exit 3\nsleep 1000 &\nwait",
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = ['box.example']\n\
             [[hook]]\non = ['arrival']\nexec = ['{}']\ntimeout = '1s'\nat_once = 1\n\
             [[hook]]\non = ['arrival', 'drop']\nexec = ['/nowhere/at/all']\n",
            hang.display(),
        ),
    );
    for round in 0..4 {
        let from = if round % 2 == 0 {
            "slow@cam.lan"
        } else {
            "fast@cam.lan"
        };
        send(&mailroot, from, "hello");
    }
    mailroot.completed(4);
    assert_eq!(with(&mailroot.home.join("drop"), "Subject: hello").len(), 4);
    let log = mailroot.stop();
    assert!(log.contains("why=\"killed after 1 seconds\""), "{log}");
    assert!(log.contains("exec=/nowhere/at/all on=arrival"), "{log}");
    assert!(log.contains("exec=/nowhere/at/all on=drop"), "{log}");
}

#[test]
fn a_large_message_goes_whole_into_a_slow_program() {
    let folder = Folder::new("hooks-large");
    let count = folder.script(
        "count",
        &format!("sleep 0.2; wc -c >{}/count", folder.path().display()),
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = ['box.example']\n\
             [[hook]]\non = ['drop']\nexec = ['{}']\n",
            count.display(),
        ),
    );
    let line = format!("{}\r\n", "x".repeat(70));
    let text = format!("Subject: large\r\n\r\n{}", line.repeat(10_000));
    mailroot.submit("cam@cam.lan", &["owner@box.example"], &text);
    let counted = until("it is counted", || {
        let text = fs::read_to_string(folder.path().join("count")).ok()?;
        text.trim().parse::<usize>().ok()
    });
    // Ours in front: the trace, the date and the id.
    assert!(
        counted > text.len() && counted < text.len() + 1000,
        "{counted}"
    );
    mailroot.completed(1);
    mailroot.stop();
}

#[test]
fn the_state_of_a_way_is_told() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("hooks-way");
    let port = free_port();
    let tell = folder.script(
        "tell",
        &format!(
            "echo \"$MAILROOT_EVENT $MAILROOT_WAY $MAILROOT_WHY\" >>{}/told",
            folder.path().display()
        ),
    );
    let mailroot = start(
        &folder,
        &format!(
            "[local]\ndomains = []\n[delivery]\nretry = ['1s']\n\
             [[route]]\nhosts = ['127.0.0.1:{port}']\ntls = 'off'\n\
             [[hook]]\non = ['down', 'held', 'well']\nexec = ['{}']\nat_once = 1\n",
            tell.display(),
        ),
    );
    send(&mailroot, "cam@cam.lan", "hello");
    let told = || fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    let down = format!("down [127.0.0.1]:{port} ");
    until_true("it is down", || told().contains(&down));
    assert!(told().contains("connection refused"), "{}", told());
    mailroot.wait_count("more probes failed", 3, |line| line.contains(" way-down "));
    let _sink = Sink::start_at(folder.path(), "sink", "127.0.0.1", port, &[]);
    mailroot.completed(1);
    let well = format!("well [127.0.0.1]:{port}");
    until_true("it is well", || told().contains(&well));
    mailroot.stop();
}
