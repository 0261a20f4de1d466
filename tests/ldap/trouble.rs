//! Directories that are dead, slow, busy or refuse us, and power that goes in the middle: mail waits, and goes once.

use std::collections::BTreeMap;

use crate::common::{Mailroot, Sink, free_port, until_true};
use crate::slapd::{Mood, Proxy, Slapd, Story, recipients, send, start};

#[test]
fn mail_waits_for_a_dead_directory_and_goes_when_it_is_back() {
    let Some(mut story) = Story::new("ldap-dead") else {
        return;
    };
    story.slapd.kill();
    let service = story.start("start_tls = false");
    send(&service, &["all@x.test", "you@far.test"], "dead");
    service.wait_for("the way is down", |l| {
        l.contains("way-down") && l.contains("way=directory") && l.contains("refused")
    });
    let text = service.ask(&["status"]);
    assert!(text.contains("directory: down"), "{text}");
    assert!(story.got("dead").is_empty());
    story.slapd.run();
    service.wait_for_empty();
    assert_eq!(
        story.got("dead"),
        ["ann@x.test", "bob@x.test", "eve@else.test", "you@far.test"]
    );
    let text = service.ask(&["status"]);
    assert!(text.contains("directory: well"), "{text}");
    service.stop();
}

#[test]
fn the_next_server_is_asked_when_one_is_dead() {
    let Some(story) = Story::new("ldap-second") else {
        return;
    };
    let servers = format!("ldap://127.0.0.1:{}', '{}", free_port(), story.slapd.url());
    let service = story.start_over(&servers, "start_tls = false");
    send(&service, &["sales@x.test"], "second");
    service.wait_for_empty();
    assert_eq!(story.got("second"), ["ann@x.test"]);
    assert!(!service.log().contains("way-down"));
    service.stop();
}

#[test]
fn mail_waits_for_a_slow_directory() {
    let Some(story) = Story::new("ldap-slow") else {
        return;
    };
    let proxy = Proxy::start(story.slapd.port);
    proxy.set(Mood::Stalls(1));
    let service = story.start_over(&proxy.url(), "start_tls = false\ntimeout = '1s'");
    send(&service, &["sales@x.test"], "slow");
    service.wait_count("the way is down again and again", 3, |l| {
        l.contains("way-down") && l.contains("no answer in time")
    });
    proxy.set(Mood::Passes);
    service.wait_for_empty();
    assert_eq!(story.got("slow"), ["ann@x.test"]);
    assert!(story.got("Undelivered mail: slow").is_empty());
    service.stop();
}

#[test]
fn no_message_expires_while_the_directory_cannot_be_asked() {
    let Some(mut story) = Story::new("ldap-expire") else {
        return;
    };
    story.slapd.kill();
    let service = story.start("start_tls = false");
    send(&service, &["sales@x.test"], "expire");
    service.wait_for("the way is down", |l| l.contains("way-down"));
    service.stop();
    // Tried for one second at most from now on, and older than that.
    let toml = std::fs::read_to_string(story.slapd.path("mailroot.toml")).unwrap();
    let toml = toml.replace("retry = ['1s']", "retry = ['1s']\nexpire = '1s'");
    let file = story.slapd.folder.file("mailroot.toml", toml);
    let service = Mailroot::run(&story.slapd.folder.home(), &file);
    service.wait_count("it is asked for longer than that", 3, |l| {
        l.contains("way-down")
    });
    story.slapd.run();
    service.wait_for_empty();
    assert_eq!(story.got("expire"), ["ann@x.test"]);
    assert!(!service.log().contains(" failed "), "{}", service.log());
    service.stop();
}

#[test]
fn a_wrong_password_of_ours_holds_the_way_and_costs_no_mail() {
    let Some(story) = Story::new("ldap-password") else {
        return;
    };
    let ca = story.slapd.path("ca.pem").display().to_string();
    let file = story.slapd.folder.secret("password", "wrong\n");
    let bind = format!(
        "ca = '{ca}'\nbind = 'simple'\nuser = 'cn=svc,dc=x,dc=test'\npassword_file = '{}'\nschema = 'posix'",
        file.display()
    );
    let service = story.start(&bind);
    send(&service, &["vip@x.test"], "password");
    let line = service.wait_for("the way is held", |l| l.contains("way-held"));
    assert!(line.contains("invalid credentials"), "{line}");
    let text = service.ask(&["status"]);
    assert!(text.contains("directory: held"), "{text}");
    story.slapd.folder.secret("password", "service\n");
    service.wait_for_empty();
    assert_eq!(story.got("password"), ["vip@x.test"]);
    assert!(!service.log().contains("service\\n") && !service.log().contains("wrong\\n"));
    service.stop();
}

#[test]
fn a_kill_in_the_middle_of_an_expansion_neither_loses_nor_doubles() {
    let Some(slapd) = Slapd::start("ldap-kill") else {
        return;
    };
    let proxy = Proxy::start(slapd.port);
    let (sink_port, imap_port) = (free_port(), free_port());
    let run = || {
        // Each round asks anew: what is remembered would spare the questions that are to be cut.
        let directory = "start_tls = false\ncache_time = 'off'";
        start(&slapd, &proxy.url(), directory, (sink_port, imap_port))
    };
    // Cut behind the first answer, the second, and so on, until an expansion needs no more.
    let mut rounds = 0;
    loop {
        proxy.set(Mood::Stalls(rounds));
        let service = run();
        send(&service, &["all@x.test"], &format!("kill {rounds}"));
        rounds += 1;
        let mut over = false;
        until_true("it is cut or through", || {
            over = service.log().contains(" resolved ");
            over || proxy.has_stalled()
        });
        service.kill();
        if over {
            break;
        }
        proxy.set(Mood::Passes);
        let service = run();
        // Right after the answer, while the stroke of the journal may be on its way.
        service.wait_for("it was looked up", |l| l.contains(" resolved "));
        service.kill();
    }
    assert!((6..30).contains(&rounds), "{rounds} answers");
    proxy.set(Mood::Passes);
    let sink = Sink::start_at(slapd.folder.path(), "sink", "127.0.0.1", sink_port, &[]);
    let service = run();
    service.wait_for_empty();
    let mut got = BTreeMap::new();
    for round in 0..rounds {
        let subject = format!("kill {round}");
        got.insert(subject.clone(), recipients(&sink, &subject));
    }
    for (subject, to) in got {
        assert_eq!(
            to,
            ["ann@x.test", "bob@x.test", "eve@else.test"],
            "{subject}"
        );
    }
    service.stop();
}

#[test]
fn a_full_queue_still_lets_mail_out_of_the_directory() {
    let Some(mut story) = Story::new("ldap-full") else {
        return;
    };
    story.slapd.kill();
    let service = story.start("start_tls = false\n[limits]\nqueue_messages = 3");
    for round in 0..3 {
        send(&service, &["sales@x.test"], &format!("full {round}"));
    }
    story.slapd.run();
    service.wait_for_empty();
    for round in 0..3 {
        until_true("each has arrived", || {
            story.got(&format!("full {round}")) == ["ann@x.test"]
        });
    }
    service.stop();
}
