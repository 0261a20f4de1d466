//! Nobody relays through a host that does not know them: the seven tests that were published for the SMTP service of
//! IIS (FEATURES.md S62), and every other form in which an address has been smuggled past a server.
#![cfg(test)]

mod common;

use common::{Folder, Mailroot};

/// Our own domain is nas.lan and our name box.example; else.example is somebody else's.
const FORMS: &[(&str, &str)] = &[
    // The published seven: null sender, local sender, sender at our literal, percent hack, quoted, source route, bang.
    ("", "user@else.example"),
    ("someone@nas.lan", "user@else.example"),
    ("someone@[127.0.0.1]", "user@else.example"),
    ("a@x.example", "user%else.example@nas.lan"),
    ("a@x.example", "\"user@else.example\"@nas.lan"),
    ("a@x.example", "@nas.lan:user@else.example"),
    ("a@x.example", "else.example!user@nas.lan"),
    // All others.
    ("a@x.example", "user@else.example"),
    ("user@else.example", "user@else.example"),
    ("a@box.example", "user@else.example"),
    ("postmaster@nas.lan", "user@else.example"),
    ("a@x.example", "user@[192.0.2.1]"),
    ("a@x.example", "user@[IPv6:2001:db8::1]"),
    ("a@x.example", "user%else.example@[127.0.0.1]"),
    ("a@x.example", "user%else.example@box.example"),
    ("a@x.example", "user%else.example"),
    ("a@x.example", "\"user%else.example\"@nas.lan"),
    ("a@x.example", "\"user%else.example\""),
    ("a@x.example", "\"user@else.example\""),
    ("a@x.example", "\"user\"@else.example"),
    ("a@x.example", "user@else.example@nas.lan"),
    ("a@x.example", "user@nas.lan@else.example"),
    ("a@x.example", "@box.example:user@else.example"),
    ("a@x.example", "@nas.lan,@box.example:user@else.example"),
    ("a@x.example", "@[127.0.0.1]:user@else.example"),
    ("a@x.example", "@else.example:user%else.example@nas.lan"),
    ("a@x.example", "else.example!user"),
    ("a@x.example", "nas.lan!else.example!user@nas.lan"),
    ("a@x.example", "else.example!user@[127.0.0.1]"),
    ("a@x.example", "else.example!user@else.example"),
    ("a@x.example", "\"else.example!user\"@nas.lan"),
    ("a@x.example", "user%third.example%else.example@nas.lan"),
    ("a@x.example", "user@ELSE.example"),
    ("a@x.example", "user@else.example."),
    ("a@x.example", "user@sub.nas.lan"),
    ("a@x.example", "user@nas.lan.else.example"),
    ("a@x.example", "user@xnas.lan"),
    ("a@x.example", "user@127.0.0.1"),
    ("a@x.example", "postmaster@else.example"),
    ("a@x.example", "postmaster%else.example@nas.lan"),
];

#[test]
fn every_form_of_relaying_is_refused() {
    let folder = Folder::new("relay");
    let service = Mailroot::start(
        &folder.home(),
        &[
            "--smart-host",
            "smtp://127.0.0.1:9?tls=off",
            "--local",
            "nas.lan",
            "--set",
            "access.relay=",
            "--set",
            "limits.errors=1000",
        ],
    );
    let mut talk = service.client("x.example");
    for (from, to) in FORMS {
        let reply = talk.say(&format!("MAIL FROM:<{from}>"));
        assert!(reply.starts_with("250"), "{from}: {reply}");
        let reply = talk.say(&format!("RCPT TO:<{to}>"));
        assert!(
            reply.starts_with("55") || reply.starts_with("501"),
            "<{from}> to <{to}>: {reply}"
        );
        let reply = talk.say("DATA");
        assert!(
            reply.starts_with("554 5.5.1") || reply.starts_with("503"),
            "{to}: {reply}"
        );
        assert!(talk.say("RSET").starts_with("250"));
    }
    // What is ours is taken from the same stranger, also through a source route, which is stripped.
    for to in ["user@nas.lan", "@else.example:user@nas.lan", "Postmaster"] {
        talk.say("MAIL FROM:<>");
        let reply = talk.say(&format!("RCPT TO:<{to}>"));
        assert!(reply.starts_with("250"), "{to}: {reply}");
        talk.say("RSET");
    }
    let said = service.stop();
    assert!(!said.contains(" accepted "), "{said}");
}
