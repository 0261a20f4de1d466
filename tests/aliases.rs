//! Aliases, alias domains, the default domain and the masquerade, as users meet them: by every door of the real service.
#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, Mailroot, free_port, must, program};

const TEXT: &str = "From: a@nas.lan\r\nTo: b\r\nSubject: hello\r\n\r\nhello\r\n";

/// The envelope lines of every drop file, each message on a line of its own.
fn envelopes(service: &Mailroot) -> Vec<String> {
    let mut all = Vec::new();
    for text in service.dropped() {
        let lines = text.lines().take_while(|line| line.starts_with("X-"));
        let lines = lines.filter_map(|line| line.split_once(": "));
        let lines = lines.filter(|(name, _)| *name != "X-Dot-Stuffed");
        all.push(lines.map(|(_, value)| value).collect::<Vec<_>>().join(" "));
    }
    all.sort();
    all
}

/// A service with this file of aliases, and these further lines at the top of its configuration.
fn start(folder: &Folder, aliases: &str, more: &str) -> Mailroot {
    let file = folder.file("aliases", aliases);
    let aliases = format!("{more}\n[aliases]\nfile = '{}'", file.display());
    Mailroot::configured(folder, &aliases)
}

fn sendmail(home: &Path, args: &[&str]) {
    let mut command = program();
    command
        .arg("sendmail")
        .env("MAILROOT_HOME", home)
        .args(args);
    must(&mut command, b"Subject: x\n\nbody\n");
}

#[test]
fn every_door_finds_the_person_behind_a_name() {
    let folder = Folder::new("aliases-doors");
    let mailroot = start(
        &folder,
        "# who reads what\npostmaster: root\nroot: ops@nas.lan,\n\t\"on call\"@nas.lan\nops: \\ops, boss@nas.lan\n",
        "default_domain = 'nas.lan'\n[local]\ndomains = ['nas.lan']\nalias_domains = ['old.lan']\n\
         mailboxes = ['boss', 'ops', '\"on call\"@nas.lan']",
    );
    let mut talk = mailroot.client("client");
    assert!(
        talk.say("MAIL FROM:<cron>")
            .starts_with("250 2.1.0 cron@nas.lan")
    );
    assert!(
        talk.say("RCPT TO:<Root>")
            .starts_with("250 2.1.5 Root@nas.lan")
    );
    assert!(talk.say("RCPT TO:<boss@old.lan>").starts_with("250 "));
    assert!(
        talk.say("RCPT TO:<nobody@nas.lan>")
            .starts_with("550 5.1.1")
    );
    assert!(talk.say("RCPT TO:<nobody>").starts_with("550 5.1.1"));
    assert!(talk.data(TEXT).starts_with("250 "));
    // A file, whose writer knows no domain either.
    fs::write(
        mailroot.home.join("pickup/one"),
        "x-sender: cron\r\nx-receiver: postmaster\r\n\r\nhello\r\n",
    )
    .unwrap();
    sendmail(&mailroot.home, &["-f", "smartd", "root@localhost"]);
    mailroot.completed(3);
    let people = "ops@nas.lan boss@nas.lan \"on call\"@nas.lan";
    assert_eq!(
        envelopes(&mailroot),
        [
            format!("cron@nas.lan {people}"),
            format!("cron@nas.lan {people}"),
            format!("smartd@nas.lan {people}")
        ]
    );
    // What was written for a message without From has the domain, too.
    let texts = mailroot.dropped();
    assert!(
        texts.iter().all(|text| !text.contains("localhost")),
        "{texts:?}"
    );
    assert!(
        texts
            .iter()
            .any(|text| text.contains("\r\nFrom: cron@nas.lan\r\n")),
        "{texts:?}"
    );
    mailroot.stop();
}

#[test]
fn a_bare_name_that_nothing_maps_stays_here_while_its_neighbours_go_out() {
    let folder = Folder::new("aliases-bare");
    // Nobody listens there: what goes out waits, and says where it would go.
    let route = format!(
        "[[route]]\nhosts = ['127.0.0.1:{}']\ntls = 'off'",
        free_port()
    );
    let mailroot = start(&folder, "root: owner@provider.example\n", &route);
    sendmail(&mailroot.home, &["-f", "cron", "root"]);
    sendmail(&mailroot.home, &["-f", "cron", "pi"]);
    mailroot.completed(1);
    assert_eq!(envelopes(&mailroot), ["cron@box.example pi@localhost"]);
    let waits = mailroot.ask(&["queue", "list", "--json"]);
    assert!(
        waits.contains("owner@provider.example") && !waits.contains("pi@"),
        "{waits}"
    );
    mailroot.stop();
}

#[test]
fn the_masquerade_is_for_local_senders_on_their_first_hop() {
    let folder = Folder::new("aliases-masquerade");
    let mailroot = Mailroot::configured(
        &folder,
        "[local]\ndomains = ['nas.lan']\n[sender]\nmasquerade = 'mask.example'",
    );
    let mut talk = mailroot.client("client");
    for from in ["cron", "a@nas.lan", "b@else.example", ""] {
        talk.send(from, &["x@nas.lan"], TEXT);
    }
    let relayed = format!("Received: from y by z; Sun, 22 Nov 2026 10:00:00 +0000\r\n{TEXT}");
    talk.send("c@nas.lan", &["x@nas.lan"], &relayed);
    mailroot.completed(5);
    let senders: Vec<String> = envelopes(&mailroot)
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let want = [
        "<>",
        "a@mask.example",
        "b@else.example",
        "c@nas.lan",
        "cron@mask.example",
    ];
    assert_eq!(senders, want);
    // The header is its author's.
    for text in mailroot.dropped() {
        assert!(text.contains("\r\nFrom: a@nas.lan\r\n"), "{text}");
    }
    mailroot.stop();
}

/// RFC 3461 s5.2.7.
#[test]
fn who_asks_to_hear_of_a_delivery_is_told_of_the_expansion_and_once() {
    let folder = Folder::new("aliases-expanded");
    let mailroot = start(
        &folder,
        "team: tim@nas.lan, eve@nas.lan\nsingle: tim@nas.lan\n",
        "default_domain = 'nas.lan'\n[local]\ndomains = ['nas.lan']",
    );
    let mut talk = mailroot.client("client");
    talk.say("MAIL FROM:<boss@nas.lan> ENVID=77");
    assert!(
        talk.say("RCPT TO:<team> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;the-team@old.example")
            .starts_with("250")
    );
    assert!(talk.data(TEXT).starts_with("250 "));
    // The message and its report.
    mailroot.completed(2);
    talk.say("MAIL FROM:<boss@nas.lan>");
    talk.say("RCPT TO:<single> NOTIFY=SUCCESS");
    assert!(talk.data(TEXT).starts_with("250 "));
    mailroot.completed(4);
    let texts = mailroot.dropped();
    let reports: Vec<&String> = texts
        .iter()
        .filter(|text| text.contains("multipart/report"))
        .collect();
    assert_eq!((texts.len(), reports.len()), (4, 2));
    let expanded = reports
        .iter()
        .find(|text| text.contains("Action: expanded"))
        .unwrap();
    assert!(
        expanded.contains("Original-Recipient: rfc822; the-team@old.example"),
        "{expanded}"
    );
    assert!(
        expanded.contains("Final-Recipient: rfc822; team@nas.lan"),
        "{expanded}"
    );
    assert!(
        expanded.contains("Original-Envelope-Id: 77") && !expanded.contains("eve@nas.lan"),
        "{expanded}"
    );
    let single = reports
        .iter()
        .find(|text| text.contains("Action: delivered"))
        .unwrap();
    assert!(
        single.contains("Original-Recipient: rfc822; single"),
        "{single}"
    );
    mailroot.stop();
}
