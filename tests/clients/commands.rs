//! Clients that are commands: swaks, msmtp, curl, s-nail and mutt.

use std::process::Command;

use crate::common::{command, have, must, run};
use crate::{House, PASSWORD, USER, letter};

/// Each way of sending, by name: how TLS begins, a dash, and the mechanism.
fn ways(house: &House, mechanisms: &[&str]) -> Vec<(String, u16, String)> {
    let mut ways = Vec::new();
    for (tls, port) in house.ports() {
        for mechanism in mechanisms {
            ways.push((format!("{tls}-{mechanism}"), port, (*mechanism).to_owned()));
        }
    }
    ways
}

/// The messages of all ways have arrived as they were sent.
fn compare(house: &House, ways: &[(String, u16, String)]) {
    for (arrived, (way, ..)) in house.arrived(ways.len()).iter().zip(ways) {
        arrived.is(way, &letter(way));
    }
}

#[test]
fn swaks_logs_in_with_each_mechanism_on_both_ports() {
    if !have("swaks") {
        return;
    }
    let house = House::start("clients-swaks");
    // Of the others that it knows (CRAM-SHA1, DIGEST-MD5, NTLM version 1) none is fit for use any more.
    let ways = ways(&house, &["PLAIN", "LOGIN", "CRAM-MD5"]);
    for (way, port, mechanism) in &ways {
        // It adds a line end to what it reads.
        let text = letter(way).replace("WAY", way);
        let data = house
            .folder
            .file("mail", text.strip_suffix("\r\n").unwrap());
        let tls = if way.starts_with("implicit") {
            "-tlsc"
        } else {
            "-tls"
        };
        let said = must(
            command("swaks")
                .args(["--server", "localhost", "--port", &port.to_string(), tls])
                .args(["--tls-verify", "--tls-ca-path"])
                .arg(&house.ca)
                .args(["--pipeline", "--from", "alice@nas.example"])
                .args(["--to", "bob@office.example,eve@office.example"])
                .args(["-a", mechanism, "-au", USER, "-ap", PASSWORD, "--data"])
                .arg(format!("@{}", data.display())),
            b"",
        );
        assert!(said.contains(&format!("AUTH {mechanism}")), "{said}");
    }
    compare(&house, &ways);
}

#[test]
fn msmtp_logs_in_with_scram_on_both_ports() {
    if !have("msmtp") {
        return;
    }
    let house = House::start("clients-msmtp");
    let ways = ways(&house, &["scram-sha-256", "plain", "login", "cram-md5"]);
    for (way, port, mechanism) in &ways {
        let starttls = if way.starts_with("implicit") {
            "off"
        } else {
            "on"
        };
        must(
            command("msmtp")
                .args(["--host=localhost", &format!("--port={port}")])
                .args(["--tls=on", &format!("--tls-starttls={starttls}")])
                .arg(format!("--tls-trust-file={}", house.ca.display()))
                .args([format!("--auth={mechanism}"), format!("--user={USER}")])
                .arg(format!("--passwordeval=echo {PASSWORD}"))
                .args(["--from=alice@nas.example", "bob@office.example"])
                .arg("eve@office.example"),
            letter(way)
                .replace("WAY", way)
                .replace("\r\n", "\n")
                .as_bytes(),
        );
    }
    compare(&house, &ways);
}

#[test]
fn curl_logs_in_on_both_ports() {
    if !have("curl") {
        return;
    }
    let house = House::start("clients-curl");
    let ways = ways(&house, &["PLAIN", "LOGIN", "CRAM-MD5"]);
    for (way, port, mechanism) in &ways {
        let scheme = if way.starts_with("implicit") {
            "smtps"
        } else {
            "smtp"
        };
        let data = house.folder.file("mail", letter(way).replace("WAY", way));
        must(
            command("curl")
                .args([
                    "-sS",
                    "--ssl-reqd",
                    &format!("{scheme}://localhost:{port}/me.example"),
                ])
                .args(["--user", &format!("{USER}:{PASSWORD}")])
                .args(["--login-options", &format!("AUTH={mechanism}"), "--cacert"])
                .arg(&house.ca)
                .args(["--mail-from", "alice@nas.example"])
                .args(["--mail-rcpt", "bob@office.example"])
                .args(["--mail-rcpt", "eve@office.example", "-T"])
                .arg(data),
            b"",
        );
    }
    compare(&house, &ways);
}

/// What a mail program that writes its own header is given to send.
const BODY: &str = ".\n..\n.dot\n\nB\u{fc}ro \u{2603}\ntab\there\nFrom here\nthe end\n";

/// The messages of programs that write their own headers.
fn compare_bodies(house: &House, ways: &[(String, u16, String)]) {
    for (arrived, (way, ..)) in house.arrived(ways.len()).iter().zip(ways) {
        arrived.came_by(way);
        assert_eq!(arrived.recipients, ["bob@office.example"], "{way}");
        let subject = format!("Subject: {way}\r\n");
        assert!(arrived.text.contains(&subject), "{}", arrived.text);
        assert_eq!(arrived.body(), BODY.replace('\n', "\r\n"), "{way}");
    }
}

#[test]
fn s_nail_logs_in_on_both_ports() {
    if !have("s-nail") {
        return;
    }
    let house = House::start("clients-s-nail");
    let ways = ways(&house, &["plain", "login"]);
    for (way, port, mechanism) in &ways {
        let implicit = way.starts_with("implicit");
        let scheme = if implicit { "smtps" } else { "smtp" };
        must(
            command("s-nail")
                .env("LC_ALL", "C.UTF-8")
                .env("HOME", house.folder.path())
                .args(["-:/", "-Sv15-compat", "-Ssendwait", "-Smime-encoding=8bit"])
                .args(["-r", "alice@nas.example", "-s", way])
                .arg(format!(
                    "-Smta={scheme}://{USER}:{PASSWORD}@localhost:{port}"
                ))
                .arg(format!("-Ssmtp-auth={mechanism}"))
                .args((!implicit).then_some("-Ssmtp-use-starttls"))
                .args(["-Stls-verify=strict", "-Stls-ca-no-defaults"])
                .arg(format!("-Stls-ca-file={}", house.ca.display()))
                .arg("bob@office.example"),
            BODY.as_bytes(),
        );
    }
    compare_bodies(&house, &ways);
}

#[test]
fn mutt_logs_in_with_scram_on_both_ports() {
    if !have("mutt") {
        return;
    }
    let house = House::start("clients-mutt");
    let (status, built) = run(Command::new("mutt").arg("-v"), b"");
    assert!(status.success(), "{built}");
    let scram = built.contains("+USE_GSASL").then_some("scram-sha-256");
    let mechanisms: Vec<&str> = scram.into_iter().chain(["plain", "login"]).collect();
    let ways = ways(&house, &mechanisms);
    for (way, port, mechanism) in &ways {
        let scheme = if way.starts_with("implicit") {
            "smtps"
        } else {
            "smtp"
        };
        let settings = format!(
            "set smtp_url='{scheme}://{USER}@localhost:{port}/' smtp_pass='{PASSWORD}'\n\
             set smtp_authenticators='{mechanism}' ssl_force_tls=yes ssl_starttls=yes\n\
             set ssl_ca_certificates_file='{ca}' certificate_file='{ca}'\n\
             set from='alice@nas.example' use_envelope_from=yes copy=no record='' charset=utf-8\n",
            ca = house.ca.display()
        );
        let settings = house.folder.file("muttrc", settings);
        must(
            command("mutt")
                .env("LC_ALL", "C.UTF-8")
                .env("HOME", house.folder.path())
                .args(["-n", "-F"])
                .arg(settings)
                .args(["-s", way, "bob@office.example"]),
            BODY.as_bytes(),
        );
    }
    compare_bodies(&house, &ways);
}
