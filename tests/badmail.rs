//! Badmail as its operator meets it: shown, sent again with its envelope, removed, capped; with the service up and
//! down, and through `kill -9`.
#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::{Folder, Mailroot, Sink, must, on, program, run, until_true};

fn badmail(home: &Path, words: &[&str]) -> (Option<i32>, String) {
    let (status, text) = run(&mut on(home, &[&["badmail"], words].concat()), b"");
    (status.code(), text)
}

fn names(folder: &Path) -> Vec<String> {
    let list = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = list
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A message to two, of which the sender wants to hear nothing: refused, it can go nowhere but to badmail.
fn submit(home: &Path, subject: &str) {
    let text = format!("To: shown@office.example\nSubject: {subject}\n\n.dots\n..\nend\n");
    must(
        program()
            .args(["sendmail", "-f", "alerts@box.example", "-N", "never"])
            .args(["one@office.example", "\"odd one\"@office.example"])
            .env("MAILROOT_HOME", home),
        text.as_bytes(),
    );
}

/// The name of the only message.
fn only(home: &Path) -> String {
    let stems: Vec<String> = names(&home.join("badmail"))
        .into_iter()
        .filter_map(|name| name.strip_suffix(".bad").map(str::to_owned))
        .collect();
    let [stem] = stems.try_into().unwrap();
    stem
}

fn assert_arrived(sink: &Sink) {
    let got = sink.only();
    assert!(
        got.mail_args.starts_with("<alerts@box.example>"),
        "{}",
        got.mail_args
    );
    let to: Vec<&str> = got
        .rcpt_args
        .iter()
        .map(|to| to.split_once('>').unwrap().0.trim_start_matches('<'))
        .collect();
    assert_eq!(to, ["one@office.example", "\"odd one\"@office.example"]);
    let text = String::from_utf8(got.text.clone()).unwrap();
    assert!(text.ends_with("\n\n.dots\n..\nend\n"), "{text}");
    assert!(
        !text.contains("X-Sender") && !text.contains("X-Receiver"),
        "{text}"
    );
    // The header names others than the envelope.
    assert_eq!(got.header("To").as_deref(), Some("shown@office.example"));
}

#[test]
fn what_nobody_took_is_shown_and_sent_again_with_the_service_up() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("badmail-up");
    let home = folder.home();
    let refusing = Sink::start(folder.path(), &["-f", "RCPT"]);
    let port = refusing.port;
    let box_ = Mailroot::start(&home, &["--smart-host", &refusing.url()]);
    assert_eq!(
        badmail(&home, &[]),
        (Some(0), "there is no badmail\n".into())
    );
    assert_eq!(
        badmail(&home, &["list", "--json"]),
        (Some(0), String::new())
    );
    submit(&home, "first");
    box_.wait_for("it is in badmail", |l| l.contains(" badmail id="));
    box_.completed(1);
    let stem = only(&home);

    let (code, list) = badmail(&home, &["list"]);
    assert_eq!(code, Some(0));
    assert!(list.starts_with("ID ") && list.contains(&stem), "{list}");
    assert!(
        list.contains("alerts@box.example -> one@office.example and 1 more"),
        "{list}"
    );
    let (_, json) = badmail(&home, &["list", "--json"]);
    assert!(
        json.starts_with(&format!("{{\"id\":\"{stem}\",\"bytes\":"))
            && json.contains(
                "\"recipients\":[\"one@office.example\",\"\\\"odd one\\\"@office.example\"]"
            )
            && json.lines().count() == 1,
        "{json}"
    );
    let (_, show) = badmail(&home, &["show", &stem]);
    assert!(
        show.contains("Sender: <alerts@box.example>\n") && show.contains("Reason: "),
        "{show}"
    );
    for (words, want) in [
        (&["show", "ZZZ"][..], 69),
        (&["retry", "ZZZ"], 69),
        (&["retry"], 64),
        (&["shred", &stem], 64),
        (&["remove", "../pickup/x"], 64),
        (&["retry", "1 2"], 64),
        (&["retry", "1\nqueue retry"], 64),
    ] {
        let (code, text) = badmail(&home, words);
        assert_eq!(code, Some(want), "{words:?}: {text}");
    }

    drop(refusing);
    let sink = Sink::start_at(folder.path(), "willing", "127.0.0.1", port, &[]);
    let (code, text) = badmail(&home, &["retry", &stem]);
    assert_eq!(code, Some(0), "{text}");
    box_.wait_for("who ordered it is in the log", |l| {
        l.contains("badmail retry")
    });
    box_.completed(2);
    assert_arrived(&sink);
    assert!(names(&home.join("badmail")).is_empty());
}

#[test]
fn what_nobody_took_is_sent_again_or_removed_with_the_service_down() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("badmail-down");
    let home = folder.home();
    let refusing = Sink::start(folder.path(), &["-f", "RCPT"]);
    let port = refusing.port;
    let url = refusing.url();
    let box_ = Mailroot::start(&home, &["--smart-host", &url]);
    submit(&home, "first");
    box_.completed(1);
    fs::write(home.join("pickup/odd.eml"), "Subject: nobody\n\nat all\n").unwrap();
    box_.wait_for("that is no message", |l| l.contains(" pickup-bad "));
    // The line comes before the deed.
    until_true("it is in badmail", || {
        badmail(&home, &[]).1.contains("odd.eml")
    });
    box_.stop();
    drop(refusing);

    let (_, list) = badmail(&home, &[]);
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.contains("pickup file odd.eml"), "{list}");
    let (_, json) = badmail(&home, &["--json"]);
    let odd = json.lines().find(|l| l.contains("odd.eml")).unwrap();
    assert!(odd.contains("\"sender\":null,\"recipients\":[]"), "{odd}");
    let odd = odd.split('"').nth(3).unwrap().to_owned();
    let good = json.lines().find(|l| !l.contains("odd.eml")).unwrap();
    let good = good.split('"').nth(3).unwrap().to_owned();

    assert_eq!(badmail(&home, &["remove", &odd, "zzz"]).0, Some(69));
    assert_eq!(only(&home), good);
    assert_eq!(badmail(&home, &["retry", &good]).0, Some(0));
    assert!(names(&home.join("badmail")).is_empty());

    let sink = Sink::start_at(folder.path(), "willing", "127.0.0.1", port, &[]);
    let box_ = Mailroot::start(&home, &["--smart-host", &url]);
    box_.completed(1);
    assert_arrived(&sink);
}

/// As the owners of IIS did it by hand. The header names others than the envelope did.
#[test]
fn a_bad_file_that_is_moved_into_pickup_is_sent_again_with_its_envelope() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("badmail-moved");
    let home = folder.home();
    let refusing = Sink::start(folder.path(), &["-f", "RCPT"]);
    let port = refusing.port;
    let box_ = Mailroot::start(&home, &["--smart-host", &refusing.url()]);
    submit(&home, "moved");
    box_.completed(1);
    drop(refusing);
    let sink = Sink::start_at(folder.path(), "willing", "127.0.0.1", port, &[]);
    let stem = only(&home);
    fs::rename(
        home.join(format!("badmail/{stem}.bad")),
        home.join("pickup/again.bad"),
    )
    .unwrap();
    box_.completed(2);
    assert_arrived(&sink);
}

#[test]
fn the_caps_hold_whatever_programs_put_into_pickup() {
    let folder = Folder::new("badmail-caps");
    let home = folder.home();
    let box_ = Mailroot::start(
        &home,
        &["--set", "badmail.files=9", "--set", "badmail.age=1d"],
    );
    for number in 0..7 {
        fs::write(
            home.join(format!("pickup/{number}")),
            "Subject: nobody\n\nat all\n",
        )
        .unwrap();
        box_.wait_count("it is no message", number + 1, |l| {
            l.contains(" pickup-bad ")
        });
    }
    box_.wait_count("the oldest went", 4, |l| l.contains(" badmail-pruned "));
    box_.stop();
    assert_eq!(names(&home.join("badmail")).len(), 9);

    // Age counts from when it was found bad, and at the next start; the newest always stays.
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for name in names(&home.join("badmail")) {
        let file = fs::File::options()
            .write(true)
            .open(home.join("badmail").join(name));
        file.unwrap().set_modified(long_ago).unwrap();
    }
    let box_ = Mailroot::start(&home, &["--set", "badmail.age=1d"]);
    let log = box_.stop();
    assert_eq!(log.matches(" badmail-pruned ").count(), 2, "{log}");
    assert_eq!(names(&home.join("badmail")).len(), 3);
}

#[test]
fn an_old_file_that_is_no_message_is_not_old_badmail() {
    let folder = Folder::new("badmail-old");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &[]);
    for name in ["a", "b"] {
        let path = home.join(format!(".{name}"));
        fs::write(&path, "Subject: nobody\n\nat all\n").unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        fs::rename(&path, home.join("pickup").join(name)).unwrap();
        box_.wait_for("it is found bad", |l| {
            l.contains(" pickup-bad ") && l.contains(&format!("file={name} "))
        });
        while !badmail(&home, &[])
            .1
            .contains(&format!("pickup file {name} of"))
        {}
    }
    let log = box_.stop();
    assert!(!log.contains(" badmail-pruned "), "{log}");
    assert_eq!(names(&home.join("badmail")).len(), 6);
}

#[test]
fn killed_in_the_middle_a_retry_loses_nothing() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("badmail-kill");
    let home = folder.home();
    let (pickup, bad) = (home.join("pickup"), home.join("badmail"));
    Mailroot::start(&home, &[]).stop();
    // Large enough that the copy takes its time.
    let mut message = b"X-Sender: <>\r\nX-Receiver: one@office.example\r\nX-Dot-Stuffed: no\r\nSubject: big\r\n\r\n".to_vec();
    for _ in 0..500_000 {
        message
            .extend_from_slice(b"a line of a message that is too large to be copied at once\r\n");
    }
    fs::write(bad.join("11.bad"), &message).unwrap();
    fs::write(bad.join("11.bdr"), "Reason: it is a test\n").unwrap();
    let mut interrupted = 0;
    while interrupted < 5 {
        let mut command = program();
        command
            .args(["badmail", "retry", "11", "--home"])
            .arg(&home);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        while names(&pickup).len() == interrupted {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended without a copy"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let left = names(&pickup);
        if left.iter().any(|name| !name.starts_with('.')) {
            // It was quicker than we were. Then it is whole, and that is the end of it.
            break;
        }
        assert_eq!(
            names(&bad),
            ["11.bad", "11.bdr"],
            "the message is where it was"
        );
        interrupted += 1;
    }
    if names(&bad).iter().any(|name| name == "11.bad") {
        assert_eq!(badmail(&home, &["retry", "11"]).0, Some(0));
    }
    let whole = names(&pickup);
    let whole: Vec<&String> = whole.iter().filter(|name| !name.starts_with('.')).collect();
    assert!((1..=2).contains(&whole.len()), "{whole:?}");
    for name in &whole {
        assert!(fs::read(pickup.join(name)).unwrap() == message);
    }
    let sink = Sink::start(folder.path(), &[]);
    let box_ = Mailroot::start(&home, &["--smart-host", &sink.url()]);
    box_.completed(whole.len());
    assert_eq!(sink.messages().len(), whole.len());
    assert!(interrupted > 0, "no copy was ever caught in the middle");
}
