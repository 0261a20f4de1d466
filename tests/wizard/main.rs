//! `mailroot init` on a terminal, answered as a person does, and unattended.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Folder, MAILROOT, Sink, ask, free_port, must, program, run};

/// A question and its answer; `None` is the end of input.
type Step<'a> = (&'a str, Option<&'a str>);

/// What the terminal showed, and the exit code.
fn drive(folder: &Folder, steps: &[Step<'_>]) -> (Option<i32>, String) {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let steps: Vec<String> = steps
        .iter()
        .map(|(question, answer)| {
            let answer = answer.map_or_else(|| "null".to_owned(), quoted);
            format!("[{}, {answer}]", quoted(question))
        })
        .collect();
    let answers = folder.file("answers.json", format!("[{}]", steps.join(",\n")));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wizard/drive.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(answers).args([MAILROOT, "init"]);
    let (status, text) = run(command.current_dir(folder.path()), b"");
    (status.code(), text)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_questions_of_iis_and_a_smart_host_make_a_server_whose_test_mail_arrives() {
    if !common::have("python3") || !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("wizard");
    let sink = Sink::start(folder.path(), &[]);
    let host = format!("127.0.0.1:{}", sink.port);
    let listen = format!("127.0.0.1:{}", free_port());
    let home = folder.home();
    let home_text = home.to_str().unwrap();
    let file = folder.path().join("box.toml");
    let mut steps = vec![
        ("Name of this server [mailroot]: ", Some("cellar")),
        ("[127.0.0.1:25]: ", Some("nowhere")),
        ("that cannot be read; write", Some(listen.as_str())),
        ("[/var/spool/mailroot]: ", Some(home_text)),
        ("Default domain", Some("nas.example")),
        ("Configuration file", Some("box.toml")),
        ("Way out [none]: ", Some("gibberish")),
        ("no provider that is known", Some(host.as_str())),
        ("Smart host [", Some("")),
        ("TLS: ", Some("off")),
        (
            "Send a test mail to (no: none) [no]: ",
            Some("owner@office.example"),
        ),
    ];
    let (code, shown) = drive(&folder, &steps);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("box.toml: good")
            && shown.contains("the test mail to owner@office.example was delivered"),
        "{shown}"
    );
    let got = sink.only();
    assert!(
        got.rcpt_args[0].starts_with("<owner@office.example>"),
        "{got:?}"
    );
    assert_eq!(got.header("Subject").as_deref(), Some("mailroot works"));
    assert_eq!((mode(&home), mode(&home.join("pickup"))), (0o711, 0o1733));
    assert_eq!(mode(&home.join("drop")), 0o700);
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        "name = \"cellar\"",
        "default_domain = \"nas.example\"",
        "# The folder that holds pickup",
    ] {
        assert!(text.contains(line), "no {line:?}");
    }
    must(program().arg("check").arg(&file), b"");

    // Again: the file is there, and stays unless its owner says otherwise.
    steps.truncate(5);
    steps.remove(2);
    steps[1].1 = Some(&listen);
    steps[0].1 = Some("attic");
    steps.extend([
        ("Configuration file", Some("box.toml")),
        ("replace it [no]: ", Some("")),
        ("Configuration file", Some("box.toml")),
        ("replace it [no]: ", Some("yes")),
        ("Way out [none]: ", Some("mx")),
        ("Send a test mail", Some("")),
    ]);
    let (code, shown) = drive(&folder, &steps);
    assert_eq!(code, Some(0), "{shown}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("name = \"attic\"") && text.contains("via = \"mx\""),
        "{text}"
    );
}

#[test]
fn an_address_is_enough_to_know_the_provider_and_the_password_is_never_shown() {
    if !common::have("python3") {
        return;
    }
    let folder = Folder::new("wizard-gmail");
    let home = folder.home();
    let secret = "abcd efgh \"ijkl";
    let mut steps = vec![
        ("Name of this server", Some("")),
        ("[127.0.0.1:25]", Some("")),
        ("[/var/spool/mailroot]", Some(home.to_str().unwrap())),
        ("Default domain", Some("nas.example")),
        ("Configuration file", Some("m.toml")),
        ("Way out", Some("me@gmail.com")),
        ("Gmail wants an app password", None),
    ];
    let (code, shown) = drive(&folder, &steps);
    assert_eq!(code, Some(64), "{shown}");
    assert!(shown.contains("nothing was written"), "{shown}");
    assert!(!home.exists() && !folder.path().join("m.toml").exists());
    // Again, and to the end this time.
    steps.pop();
    steps.extend([
        ("Smart host [smtp.gmail.com:587]", Some("")),
        ("Account [me@gmail.com]", Some("")),
        ("Password", Some(secret)),
        (
            "Send a test mail to (no: none) [me@gmail.com]: ",
            Some("no"),
        ),
    ]);
    let (code, shown) = drive(&folder, &steps);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("efgh"), "{shown}");
    let password = folder.path().join("m.password");
    assert_eq!(
        fs::read_to_string(&password).unwrap(),
        format!("{secret}\n")
    );
    assert_eq!(mode(&password), 0o600);
    let text = fs::read_to_string(folder.path().join("m.toml")).unwrap();
    assert!(!text.contains("efgh"));
    assert!(
        text.contains("hosts = [\"smtp.gmail.com:587\"]")
            && text.contains("user = \"me@gmail.com\""),
        "{text}"
    );
    must(
        program()
            .args(["check", "m.toml"])
            .current_dir(folder.path()),
        b"",
    );
}

#[test]
fn flags_do_the_same_unattended_and_nothing_is_overwritten_unless_told() {
    let folder = Folder::new("wizard-flags");
    let home = folder.home();
    let file = folder.path().join("m.toml");
    let init = |more: &[&str], input: &str| {
        let mut command = program();
        command
            .args([
                "init",
                "--set",
                "name=cellar",
                "--email",
                "me@fastmail.com",
                "--home",
            ])
            .arg(&home)
            .args(more);
        let (status, text) = run(&mut command, input.as_bytes());
        (status.code(), text)
    };
    let output = file.to_str().unwrap();
    let (code, text) = init(&[], "");
    assert_eq!(code, Some(0));
    assert!(
        text.contains("hosts = [\"smtp.fastmail.com:465\"]")
            && text.contains("\"/etc/mailroot.password\""),
        "{text}"
    );
    assert_eq!(init(&["--folders"], "").0, Some(64));
    let all = ["--output", output, "--folders", "--password-stdin"];
    assert_eq!(init(&all, "\n").0, Some(64));
    assert!(!file.exists());
    let (code, text) = init(&all, "first\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("m.toml: good"), "{text}");
    assert_eq!(mode(&home.join("pickup")), 0o1733);
    let password = folder.path().join("m.password");
    let (code, text) = init(&all, "second\n");
    assert_eq!(code, Some(73), "{text}");
    assert!(text.contains("left alone"), "{text}");
    assert_eq!(fs::read_to_string(&password).unwrap(), "first\n");
    let (code, text) = init(&[&all[..], &["--force"]].concat(), "second\n");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(fs::read_to_string(&password).unwrap(), "second\n");
    assert_eq!(mode(&password), 0o600);
    // No half of a file lies about.
    let names = fs::read_dir(folder.path()).unwrap();
    assert!(
        names
            .map(|e| e.unwrap().path())
            .all(|path| path.extension().is_none_or(|e| e != "new"))
    );
    let mut unknown = program();
    let (status, text) = run(unknown.args(["init", "--email", "me@example.com"]), b"");
    assert_eq!(status.code(), Some(64));
    assert!(text.contains("--smart-host"), "{text}");
}

/// The test mail says why it did not go, and waits.
#[test]
fn a_test_mail_that_does_not_go_says_why() {
    let folder = Folder::new("wizard-test");
    let home = folder.home();
    let file = folder.path().join("m.toml");
    let dead = format!("smtp://127.0.0.1:{}?tls=off", free_port());
    let mut command = program();
    command
        .args([
            "init",
            "--folders",
            "--test",
            "me@office.example",
            "--smart-host",
            &dead,
            "--home",
        ])
        .arg(&home)
        .arg("--output")
        .arg(&file);
    let (status, text) = run(&mut command, b"");
    assert_eq!(status.code(), Some(75), "{text}");
    assert!(
        text.contains("it did not go yet, and waits in the queue: "),
        "{text}"
    );
    let list = ask(&home, &["queue", "list"]);
    assert!(
        list.contains("me@office.example -> me@office.example"),
        "{list}"
    );
}
