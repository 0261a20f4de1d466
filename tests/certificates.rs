//! Certificates that are no good: the owner reads why, in the log, in the status and of each message; the route is held,
//! no message bounces, and everything goes once the certificate is mended.
#![cfg(test)]

mod common;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{Authority, Folder, Mailroot, command, free_port, have, self_signed};

/// Good for as long as any test will be run.
const GOOD: (i32, i32) = (2020, 2049);

fn send(service: &Mailroot, to: &str) {
    service.submit("cam@nas.lan", &[to], "Subject: x\r\n\r\nhello\r\n");
}

#[test]
fn a_bad_certificate_holds_its_route_says_why_and_costs_no_mail() {
    let folder = Folder::new("certificates");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    folder.file("ca.pem", ours.pem());
    let vouched = |name, years| ours.vouch_between(&[name], years).pem();
    let cases = [
        (
            "expired",
            vouched("127.0.0.1", (2020, 2021)),
            "the server's certificate expired on 2021-01-01 (this box's clock reads ",
        ),
        (
            "early",
            vouched("127.0.0.1", (2060, 2070)),
            "the server's certificate is valid from 2060-01-01 only (this box's clock reads ",
        ),
        (
            "other",
            vouched("mail.example", GOOD),
            "wrong name: the certificate is for mail.example, not for 127.0.0.1; configure the host by the name in the",
        ),
        (
            "stranger",
            theirs.vouch_between(&["127.0.0.1"], GOOD).pem(),
            "unknown issuer: no trusted authority vouches for the certificate; name its CA file or pin it",
        ),
        (
            "itself",
            self_signed("127.0.0.1").pem(),
            "self-signed: the certificate vouches for itself and no authority does; name it as the CA file or pin it",
        ),
    ];
    let (mut hosts, mut routes) = (Vec::new(), String::new());
    for (name, certificate, _) in &cases {
        let file = folder.file(&format!("{name}.pem"), certificate);
        let (port, domain) = (free_port(), format!("{name}.example"));
        let home = folder.path().join(name);
        hosts.push(Mailroot::host(&home, port, &domain, &file));
        writeln!(
            routes,
            "[[route]]\nto = [\"{domain}\"]\nhosts = [\"127.0.0.1:{port}\"]\nca = \"{}\"",
            folder.path().join("ca.pem").display()
        )
        .unwrap();
    }
    // A message that bounced would do so at once.
    let delivery = "[delivery]\nexpire = \"1s\"\nretry = [\"1s\"]\n";
    let service = Mailroot::configured(&folder, &format!("{delivery}{routes}"));
    for (name, ..) in &cases {
        send(&service, &format!("me@{name}.example"));
    }
    // Each is tried again when a second is over, and has expired by then.
    service.wait_count("all routes are held, twice", 2 * cases.len(), |line| {
        line.contains("way-held")
    });
    let (status, list) = (service.ask(&["status"]), service.ask(&["queue", "list"]));
    for (at, (name, _, why)) in cases.iter().enumerate() {
        let said = service.log();
        let held = |line: &&str| line.contains("way-held") && line.contains(why);
        assert!(said.lines().any(|line| held(&line)), "{name}: {said}");
        let shown = service.ask(&["queue", "show", &(at + 1).to_string()]);
        for text in [&status, &list, &shown] {
            assert!(text.contains(why), "{name}: {text}");
        }
    }
    // Mended on the other side, nothing is left to do on ours.
    for (name, ..) in &cases {
        folder.file(&format!("{name}.pem"), vouched("127.0.0.1", GOOD));
    }
    service.completed(cases.len());
    let said = service.stop();
    assert!(
        !said.contains(" failed ") && !said.contains(" badmail "),
        "{said}"
    );
}

#[test]
fn our_own_certificate_is_shown_to_a_host_that_asks_for_one() {
    if !have("openssl") {
        return;
    }
    let folder = Folder::new("client-certificate");
    let ours = Authority::new("ours");
    folder.file("ca.pem", ours.pem());
    folder.file("host.pem", ours.vouch(&["127.0.0.1"]).pem());
    let mine = folder.file("mine.pem", ours.vouch(&["box.example"]).pem());
    let mode = |mode| fs::set_permissions(&mine, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let port = free_port();
    // OpenSSL speaks no SMTP; that it lets us in at all is what is asked here.
    let path = |name: &str| folder.path().join(name);
    let mut server = command("openssl");
    server
        .args([
            "s_server",
            "-quiet",
            "-Verify",
            "2",
            "-verify_return_error",
            "-accept",
        ])
        .arg(format!("127.0.0.1:{port}"))
        .arg("-cert")
        .arg(path("host.pem"))
        .arg("-key")
        .arg(path("host.pem"))
        .arg("-CAfile")
        .arg(path("ca.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = server.spawn().unwrap();
    let home = folder.home();
    let text = |certificate: &str| {
        format!(
            "home = \"{}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[delivery]\nretry = [\"1h\"]\n[[route]]\n\
             hosts = [\"127.0.0.1:{port}\"]\nimplicit_tls = true\ngreeting_timeout = \"3s\"\nca = \"{}\"\n{certificate}",
            home.display(),
            path("ca.pem").display()
        )
    };
    let file = folder.file("box.toml", text(""));
    let service = Mailroot::run(&home, &file);
    send(&service, "me@x.example");
    service.wait_for("it is turned away", |line| line.contains("way-down"));
    // Named, but readable by everybody: a fault of the setup.
    folder.file(
        "box.toml",
        text(&format!("certificate = \"{}\"\n", mine.display())),
    );
    service.signal("HUP");
    let said = service.wait_for("the key is too open", |line| line.contains("way-held"));
    assert!(
        said.contains("can be used by others (mode 644); run: chmod 600"),
        "{said}"
    );
    mode(0o600);
    service.ask(&["queue", "retry"]);
    // Let in: now it is the greeting that does not come.
    service.wait_for("the handshake is over", |line| {
        line.contains("did not answer before its greeting")
    });
    drop(service);
    let _ = server.kill();
    let _ = server.wait();
}
