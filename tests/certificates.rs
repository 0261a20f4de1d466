//! Certificates that are no good: the owner reads why, in the log, in the status and of each message; the route is held,
//! no message bounces, and everything goes once the certificate is mended.
#![cfg(test)]

mod common;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Folder, MAILROOT, Mailroot, Talk, command, free_port, have, must};
use mailroot::net::tls::own::armour;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Certificate and key, good for a name from one year to another.
    fn vouch(&self, name: &str, (from, to): (i32, i32)) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        armour("CERTIFICATE", certificate.der()) + &armour("PRIVATE KEY", &key.serialize_der())
    }
}

/// What `openssl req -x509` makes.
fn self_signed(name: &str) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    armour("CERTIFICATE", made.der()) + &armour("PRIVATE KEY", &key.serialize_der())
}

/// A host that shows the certificate in `NAME.pem` and takes mail for `NAME.example`.
fn host(folder: &Path, name: &str, port: u16) -> Mailroot {
    let home = folder.join(name);
    let mut command = Command::new(MAILROOT);
    command
        .args(["run", "--hostname", "host.example", "--home"])
        .arg(&home)
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--local",
            &format!("{name}.example"),
        ])
        .arg("--set")
        .arg(format!(
            "tls.certificate={}",
            folder.join(format!("{name}.pem")).display()
        ));
    Mailroot::spawn(&home, command)
}

fn ask(service: &Mailroot, words: &[&str]) -> String {
    let mut command = Command::new(MAILROOT);
    must(command.args(words).arg("--home").arg(&service.home), b"")
}

#[test]
fn a_bad_certificate_holds_its_route_says_why_and_costs_no_mail() {
    let folder = Folder::new("certificates");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    folder.file("ca.pem", armour("CERTIFICATE", ours.0.der()));
    let good = || ours.vouch("127.0.0.1", (2020, 2049));
    let cases = [
        (
            "expired",
            ours.vouch("127.0.0.1", (2020, 2021)),
            "the server's certificate expired on 2021-01-01 (this box's clock reads ",
        ),
        (
            "early",
            ours.vouch("127.0.0.1", (2060, 2070)),
            "the server's certificate is valid from 2060-01-01 only (this box's clock reads ",
        ),
        (
            "other",
            ours.vouch("mail.example", (2020, 2049)),
            "wrong name: the certificate is for mail.example, not for 127.0.0.1; configure the host by the name in the",
        ),
        (
            "stranger",
            theirs.vouch("127.0.0.1", (2020, 2049)),
            "unknown issuer: no trusted authority vouches for the certificate; name its CA file or pin it",
        ),
        (
            "itself",
            self_signed("127.0.0.1"),
            "self-signed: the certificate vouches for itself and no authority does; name it as the CA file or pin it",
        ),
    ];
    let (mut hosts, mut routes) = (Vec::new(), String::new());
    for (name, certificate, _) in &cases {
        folder.file(&format!("{name}.pem"), certificate);
        let port = free_port();
        hosts.push(host(folder.path(), name, port));
        writeln!(
            routes,
            "[[route]]\nto = [\"{name}.example\"]\nhosts = [\"127.0.0.1:{port}\"]\nca = \"{}\"",
            folder.path().join("ca.pem").display()
        )
        .unwrap();
    }
    let home = folder.path().join("home");
    // A message that bounced would do so at once.
    let text = format!(
        "home = \"{}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[delivery]\nexpire = \"1s\"\nretry = [\"1s\"]\n{routes}",
        home.display()
    );
    let file = folder.file("box.toml", text);
    let mut command = Command::new(MAILROOT);
    command.arg("run").arg(file);
    let service = Mailroot::spawn(&home, command);
    for (name, ..) in &cases {
        let mut talk = Talk::connect(service.address);
        talk.say("EHLO cam");
        let to = format!("me@{name}.example");
        let reply = talk.send("cam@nas.lan", &[&to], "Subject: x\r\n\r\nhello\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }
    // Each is tried again when a second is over, and has expired by then.
    service.wait_count("all routes are held, twice", 2 * cases.len(), |line| {
        line.contains("way-held")
    });
    let (status, list) = (
        ask(&service, &["status"]),
        ask(&service, &["queue", "list"]),
    );
    for (at, (name, _, why)) in cases.iter().enumerate() {
        let said = service.log();
        let held = |line: &&str| line.contains("way-held") && line.contains(why);
        assert!(said.lines().any(|line| held(&line)), "{name}: {said}");
        let shown = ask(&service, &["queue", "show", &(at + 1).to_string()]);
        for text in [&status, &list, &shown] {
            assert!(text.contains(why), "{name}: {text}");
        }
    }
    // Mended on the other side, nothing is left to do on ours.
    for (name, ..) in &cases {
        folder.file(&format!("{name}.pem"), good());
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
    folder.file("ca.pem", armour("CERTIFICATE", ours.0.der()));
    folder.file("host.pem", ours.vouch("127.0.0.1", (2020, 2049)));
    let mine = folder.file("mine.pem", ours.vouch("box.example", (2020, 2049)));
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
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut server = server.spawn().unwrap();
    let home = folder.path().join("home");
    let text = |certificate: &str| {
        format!(
            "home = \"{}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[delivery]\nretry = [\"1h\"]\n[[route]]\n\
             hosts = [\"127.0.0.1:{port}\"]\nimplicit_tls = true\ngreeting_timeout = \"3s\"\nca = \"{}\"\n{certificate}",
            home.display(),
            path("ca.pem").display()
        )
    };
    let file = folder.file("box.toml", text(""));
    let mut box_ = Command::new(MAILROOT);
    box_.arg("run").arg(&file);
    let service = Mailroot::spawn(&home, box_);
    let mut talk = Talk::connect(service.address);
    talk.say("EHLO cam");
    talk.send(
        "cam@nas.lan",
        &["me@x.example"],
        "Subject: x\r\n\r\nhello\r\n",
    );
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
    ask(&service, &["queue", "retry"]);
    // Let in: now it is the greeting that does not come.
    service.wait_for("the handshake is over", |line| {
        line.contains("did not answer before its greeting")
    });
    drop(service);
    let _ = server.kill();
    let _ = server.wait();
}
