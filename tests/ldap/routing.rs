//! Who gets what: by each schema, through groups in groups, and who is told when nobody does.

use crate::common::{Mailroot, Sink, free_port, until_true};
use crate::slapd::{Proxy, Story, recipients, send};

/// Sends one message to each of these, and compares who got it.
fn each_gets(story: &Story, directory: &str, wants: &[(&str, &[&str])]) {
    let service = story.start(directory);
    for (to, _) in wants {
        send(&service, &[to], &format!("to {to}"));
    }
    service.wait_for_empty();
    for (to, want) in wants {
        assert_eq!(story.got(&format!("to {to}")), *want, "{to}");
    }
    service.stop();
}

#[test]
fn people_and_groups_of_active_directory_get_their_mail() {
    let Some(story) = Story::new("ldap-ad") else {
        return;
    };
    each_gets(
        &story,
        "start_tls = false",
        &[
            ("ann@x.test", &["ann@x.test"]),
            ("Sales@x.test", &["ann@x.test"]),
            ("b@x.test", &["bob@x.test"]),
            ("eve@x.test", &["eve@else.test"]),
            // One inside the other and back again, with a member that is gone.
            ("all@x.test", &["ann@x.test", "bob@x.test", "eve@else.test"]),
            (
                "half@x.test",
                &["ann@x.test", "bob@x.test", "eve@else.test"],
            ),
            ("stranger@else.test", &["stranger@else.test"]),
        ],
    );
}

#[test]
fn people_and_groups_of_unix_get_their_mail_and_a_host_keeps_it_where_a_route_says_so() {
    let Some(story) = Story::new("ldap-posix") else {
        return;
    };
    each_gets(
        &story,
        "start_tls = false\nschema = 'posix'",
        &[
            ("rob@x.test", &["rob@far.test"]),
            ("list@x.test", &["out@far.test", "rob@far.test"]),
            // The other half of these is kept by imap.test.
            ("crew@x.test", &["rob@far.test"]),
            ("unix@x.test", &["rob@far.test"]),
            ("info@x.test", &[]),
        ],
    );
    for to in ["crew@x.test", "unix@x.test", "info@x.test"] {
        let got = recipients(&story.imap, &format!("to {to}"));
        assert_eq!(got, ["pat@x.test"], "{to}");
    }
}

#[test]
fn attributes_of_one_s_own_are_used() {
    let Some(story) = Story::new("ldap-custom") else {
        return;
    };
    each_gets(
        &story,
        "start_tls = false\nschema = 'custom'\naddress_attributes = ['mail']\nforward_attributes = ['forwardTo']",
        &[
            ("eve@x.test", &["eve@custom.test"]),
            ("ann@x.test", &["ann@x.test"]),
        ],
    );
}

#[test]
fn nobody_gets_a_message_twice_and_a_list_in_it_is_told_of() {
    let Some(story) = Story::new("ldap-once") else {
        return;
    };
    let service = story.start("start_tls = false");
    let mut talk = service.client("client.test");
    talk.say("MAIL FROM:<me@here.test> ENVID=q1");
    talk.say("RCPT TO:<all@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;all@x.test");
    talk.say("RCPT TO:<sales@x.test>");
    talk.say("RCPT TO:<you@far.test>");
    let reply = talk.data("Subject: once\r\n\r\nHello\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    service.wait_for_empty();
    assert_eq!(
        story.got("once"),
        ["ann@x.test", "bob@x.test", "eve@else.test", "you@far.test"]
    );
    let report = story.got("Delivered mail: once");
    assert_eq!(report, ["me@here.test"]);
    let all = story.sink.messages();
    let report = all
        .iter()
        .find(|one| one.header("Subject").as_deref() == Some("Delivered mail: once"));
    let text = String::from_utf8_lossy(&report.unwrap().text).into_owned();
    assert!(text.contains("Action: expanded"), "{text}");
    assert!(
        text.contains("Original-Recipient: rfc822; all@x.test"),
        "{text}"
    );
    service.stop();
}

#[test]
fn who_is_unknown_is_reported_after_the_message_was_taken() {
    let Some(story) = Story::new("ldap-unknown") else {
        return;
    };
    let service = story.start("start_tls = false");
    // Hostile, and nobody: what stands in a name is no filter.
    for to in [
        "nobody@x.test",
        "none@x.test",
        "*@x.test",
        "\"a)(mail=*\"@x.test",
    ] {
        send(&service, &[to, "ann@x.test"], "lost");
    }
    service.wait_for_empty();
    let all = story.sink.messages();
    let reports: Vec<String> = all
        .iter()
        .filter(|one| one.header("Subject").as_deref() == Some("Undelivered mail: lost"))
        .map(|one| String::from_utf8_lossy(&one.text).into_owned())
        .collect();
    assert_eq!(reports.len(), 4);
    let of = |what: &str| reports.iter().filter(|text| text.contains(what)).count();
    assert_eq!((of("Status: 5.1.1"), of("Status: 5.2.4")), (3, 1));
    assert_eq!(story.got("lost"), ["ann@x.test"; 4]);
    service.stop();

    let service = story.start("start_tls = false\nunknown = 'keep'");
    send(&service, &["nobody@x.test"], "kept");
    service.wait_for_empty();
    assert_eq!(story.got("kept"), ["nobody@x.test"]);
    service.stop();
}

#[test]
fn two_entries_with_one_address_hold_the_message_and_no_other_recipient() {
    let Some(story) = Story::new("ldap-twins") else {
        return;
    };
    let service = story.start("start_tls = false");
    send(&service, &["twin@x.test", "ann@x.test"], "twins");
    service.wait_for("it is put off", |l| {
        l.contains("deferred") && l.contains("more than one entry has twin@x.test")
    });
    until_true("the other got it", || story.got("twins") == ["ann@x.test"]);
    // Looked up again at each step, and nobody hears it twice.
    service.wait_count("it is tried again", 3, |l| {
        l.contains("deferred") && l.contains("twin@x.test")
    });
    assert_eq!(story.got("twins"), ["ann@x.test"]);
    service.stop();
}

#[test]
fn local_domains_are_looked_up_and_end_in_the_drop_folder() {
    let Some(story) = Story::new("ldap-local") else {
        return;
    };
    let service =
        story.start("start_tls = false\n[local]\ndomains = ['x.test']\nmailboxes = ['printer']");
    send(&service, &["all@x.test"], "to all");
    send(
        &service,
        &["printer@x.test", "postmaster@x.test"],
        "to the box",
    );
    service.wait_for_empty();
    let dropped = service.dropped();
    let of = |subject: &str| {
        let wanted = format!("Subject: {subject}\r\n");
        let found: Vec<&String> = dropped
            .iter()
            .filter(|text| text.contains(&wanted))
            .collect();
        assert_eq!(found.len(), 1, "{dropped:?}");
        let lines = found[0]
            .lines()
            .filter_map(|line| line.strip_prefix("X-Receiver: "));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(of("to all"), ["ann@x.test", "bob@x.test"]);
    assert_eq!(of("to the box"), ["postmaster@x.test", "printer@x.test"]);
    assert_eq!(story.got("to all"), ["eve@else.test"]);
    service.stop();
}

#[test]
fn what_was_found_is_remembered_until_a_reload() {
    let Some(story) = Story::new("ldap-cache") else {
        return;
    };
    let proxy = Proxy::start(story.slapd.port);
    let service = story.start_over(&proxy.url(), "start_tls = false");
    let mut asked = Vec::new();
    for round in 0..4 {
        if round == 2 {
            service.signal("HUP");
            service.wait_for("it has reloaded", |l| l.contains(" reloaded"));
        }
        send(
            &service,
            &["ann@x.test", "none-such@x.test"],
            &format!("round {round}"),
        );
        service.wait_for_empty();
        // A connection that is still open would hide a question: the next one has to be a new one.
        asked.push(proxy.connections());
        assert_eq!(story.got(&format!("round {round}")), ["ann@x.test"]);
    }
    assert_eq!(asked, [1, 1, 2, 2]);
    service.stop();
}

#[test]
fn a_large_message_goes_on_byte_for_byte() {
    let Some(story) = Story::new("ldap-large") else {
        return;
    };
    let service = story.start("start_tls = false");
    let body = "All work and no play makes this a long message.\r\n".repeat(10_000);
    let text = format!("From: me@here.test\r\nSubject: large\r\n\r\n{body}");
    service.submit("me@here.test", &["sales@x.test"], &text);
    service.wait_for_empty();
    let got = story.sink.only();
    assert!(got.text.ends_with(body.replace("\r\n", "\n").as_bytes()));
    assert_eq!(got.trace.matches("by box.example").count(), 1);
    service.stop();
}

#[test]
fn encrypted_connections_prove_who_the_directory_is() {
    let Some(story) = Story::new("ldap-tls") else {
        return;
    };
    let ca = story.slapd.path("ca.pem").display().to_string();
    let other = story.slapd.path("other-ca.pem").display().to_string();
    let tls = format!("ldaps://127.0.0.1:{}", story.slapd.tls_port);
    let good = [(story.slapd.url(), "StartTLS"), (tls.clone(), "LDAPS")];
    for (url, how) in &good {
        let service = story.start_over(url, &format!("ca = '{ca}'"));
        send(&service, &["sales@x.test"], how);
        service.wait_for_empty();
        assert_eq!(story.got(how), ["ann@x.test"], "{how}");
        service.stop();
    }
    for (url, how) in &good {
        let service = story.start_over(url, &format!("ca = '{other}'"));
        send(&service, &["sales@x.test"], &format!("not {how}"));
        let line = service.wait_for("the way is held", |l| l.contains("way-held"));
        assert!(line.contains("way=directory"), "{line}");
        service.kill();
        assert!(story.got(&format!("not {how}")).is_empty());
        // What waited goes when the authority is right.
        let service = story.start_over(url, &format!("ca = '{ca}'"));
        service.wait_for_empty();
        assert_eq!(story.got(&format!("not {how}")), ["ann@x.test"]);
        service.stop();
    }
}

#[test]
fn a_certificate_or_a_socket_says_who_we_are() {
    let Some(story) = Story::new("ldap-external") else {
        return;
    };
    let path = |name: &str| story.slapd.path(name).display().to_string();
    let own = format!(
        "ca = '{}'\ncertificate = '{}'\nkey = '{}'\nschema = 'posix'\nbind = 'external'",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let service = story.start(&own);
    // Only the one that the certificate names may see this entry.
    send(&service, &["vip@x.test"], "hidden");
    service.wait_for_empty();
    assert_eq!(story.got("hidden"), ["vip@x.test"]);
    service.stop();

    let url = format!("ldapi://{}", path("ldapi"));
    let service = story.start_over(&url, "bind = 'external'");
    send(&service, &["sales@x.test"], "socket");
    service.wait_for_empty();
    assert_eq!(story.got("socket"), ["ann@x.test"]);
    service.stop();
}

#[test]
fn what_was_queued_with_a_directory_goes_without_one() {
    let Some(mut story) = Story::new("ldap-without") else {
        return;
    };
    story.slapd.kill();
    let service = story.start("start_tls = false");
    send(&service, &["sales@x.test"], "without");
    service.wait_for("the way is down", |l| {
        l.contains("way-down") && l.contains("way=directory")
    });
    service.stop();
    let dir = story.slapd.folder.path();
    let sink = Sink::start_at(dir, "later", "127.0.0.1", free_port(), &[]);
    let service = Mailroot::start(&story.slapd.path("home"), &["--smart-host", &sink.url()]);
    service.wait_for_empty();
    assert_eq!(recipients(&sink, "without"), ["sales@x.test"]);
    service.stop();
}
