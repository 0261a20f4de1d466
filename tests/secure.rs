//! TLS to exchangers as their domains ask for it, with real parts: NSD serves a zone that dnssec-signzone signed, Unbound
//! validates it, OpenSSL serves the policies of MTA-STS; the exchangers are this program and Postfix's sink.
#![cfg(test)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::names::{Nsd, wait_for_zone, zone};
use common::{
    Authority, Folder, Mailroot, Running, Sink, command, free_port, have, must, wait_until_open,
};
use rcgen::PublicKeyData;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// The names that the exchanger's certificate has.
const NAMED: [&str; 7] = [
    "mx1.example",
    "mx3.example",
    "mx1.plain",
    "mta-sts.ok.plain",
    "mta-sts.unlisted.plain",
    "mta-sts.odd.plain",
    "mta-sts.testing.plain",
];

/// Everything but the box itself.
struct World {
    folder: Folder,
    port: u16,
    https: u16,
    resolver: SocketAddr,
    _servers: (Nsd, Running),
    exchanger: Mailroot,
}

/// The exchanger that has TLS; the one without is at 127.0.3.2.
const EXCHANGER: &str = "127.0.3.1";

impl World {
    fn new(name: &str) -> Option<Self> {
        for program in [
            "nsd",
            "unbound",
            "dnssec-signzone",
            "dnssec-keygen",
            "openssl",
        ] {
            if !have(program) {
                return None;
            }
        }
        let folder = Folder::new(name);
        let (port, https) = (free_port(), free_port());
        let authority = Authority::new("exchangers");
        folder.file("ca.pem", authority.pem());
        let made = authority.vouch(&NAMED);
        folder.file(
            "mx.pem",
            made.certificate.clone() + &authority.pem() + &made.key(),
        );
        let good = sha256(&made.key.subject_public_key_info());
        let root = sha256(authority.der());
        let tlsa = format!("_{port}._tcp");
        let signed = format!(
            "ee MX 10 mx1\nmx1 A {EXCHANGER}\n{tlsa}.mx1 TLSA 3 1 1 {good}\n\
             ta MX 10 mx3\nmx3 A {EXCHANGER}\n{tlsa}.mx3 TLSA 2 0 1 {root}\n\
             wrong MX 10 mx2\nmx2 A {EXCHANGER}\n{tlsa}.mx2 TLSA 3 1 1 {root}\n\
             name MX 10 mx5\nmx5 A {EXCHANGER}\n{tlsa}.mx5 TLSA 2 0 1 {root}\n\
             none MX 10 mx4\nmx4 A {EXCHANGER}\n\
             odd MX 10 mx6\nmx6 A {EXCHANGER}\n{tlsa}.mx6 TLSA 1 1 1 {root}\n\
             clear MX 10 mx7\nmx7 A 127.0.3.2\n{tlsa}.mx7 TLSA 3 1 1 {good}\n"
        );
        // The same lies in a zone that nobody vouches for.
        let plain = format!(
            "wrong MX 10 mx2\nmx2 A {EXCHANGER}\n{tlsa}.mx2 TLSA 3 1 1 {root}\n\
             ok MX 10 mx1\nmx1 A {EXCHANGER}\n_mta-sts.ok TXT \"v=STSv1; id=1;\"\nmta-sts.ok A 127.0.0.1\n\
             unlisted MX 10 mx2\n_mta-sts.unlisted TXT \"v=STSv1; id=1;\"\nmta-sts.unlisted A 127.0.0.1\n\
             odd MX 10 mx9\nmx9 A {EXCHANGER}\n_mta-sts.odd TXT \"v=STSv1; id=1;\"\nmta-sts.odd A 127.0.0.1\n\
             testing MX 10 mx2\n_mta-sts.testing TXT \"v=STSv1; id=1;\"\nmta-sts.testing A 127.0.0.1\n\
             nocert MX 10 mx2\n_mta-sts.nocert TXT \"v=STSv1; id=1;\"\nmta-sts.nocert A 127.0.0.1\n"
        );
        let (resolver, servers) = names_of(
            folder.path(),
            &[("example", &signed), ("bogus", &signed)],
            &plain,
        );
        let exchanger = exchanger(&folder, port);
        Some(Self {
            folder,
            port,
            https,
            resolver,
            _servers: servers,
            exchanger,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, more: &str) -> Mailroot {
        let configuration = format!(
            "[tls]\nself_signed = true\n[dns]\nservers = [\"{}\"]\n[delivery]\nretry = [\"1h\"]\n\
             [sts]\nport = {}\nca = \"{}\"\ntimeout = \"20s\"\n\
             [[route]]\nvia = \"mx\"\nmx_port = {}\nprivate_addresses = true\n{more}\n",
            self.resolver,
            self.https,
            self.path("ca.pem").display(),
            self.port,
        );
        Mailroot::configured(&self.folder, &configuration)
    }

    /// A server of policies that shows this one to everybody.
    fn policies(&self, policy: &str) -> Running {
        let site = self.path("site/.well-known");
        fs::create_dir_all(&site).unwrap();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{policy}");
        fs::write(site.join("mta-sts.txt"), text).unwrap();
        let running = Running::start(
            command("openssl")
                .args([
                    "s_server",
                    "-HTTP",
                    "-accept",
                    &format!("127.0.0.1:{}", self.https),
                ])
                .arg("-cert")
                .arg(self.path("mx.pem"))
                .arg("-key")
                .arg(self.path("mx.pem"))
                .current_dir(self.path("site")),
        );
        wait_until_open(self.https);
        running
    }

    fn dropped(&self, to: &str) -> Option<String> {
        let mark = format!("X-Receiver: {to}\r\n");
        let mut texts = self.exchanger.dropped().into_iter();
        texts.find(|text| text.contains(&mark))
    }

    /// Waits until the exchanger has the message to this recipient; it must have come over TLS.
    fn came_over_tls(&self, to: &str) {
        self.exchanger.line(&["delivered", to]);
        let text = self.dropped(to).unwrap();
        assert!(text.contains("with ESMTPS"), "{text}");
    }
}

/// NSD with the zones, the first ones signed, and Unbound in front of it, which knows the key of the first one and
/// expects another for the second. Answers where Unbound listens.
fn names_of(folder: &Path, signed: &[(&str, &str)], plain: &str) -> (SocketAddr, (Nsd, Running)) {
    let dir = folder.join("dns");
    fs::create_dir_all(&dir).unwrap();
    let mut anchors = Vec::new();
    for (name, records) in signed {
        let file = dir.join(name);
        fs::write(&file, zone(name, records)).unwrap();
        let new_key = || {
            let mut keygen = command("dnssec-keygen");
            keygen.args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K"]);
            let name = must(keygen.arg(&dir).arg(name), b"");
            dir.join(format!("{}.key", name.lines().last().unwrap().trim()))
        };
        let key = new_key();
        let mut sign = command("dnssec-signzone");
        sign.args(["-z", "-o", name, "-K"]).arg(&dir);
        must(sign.args(["-S", "-d"]).arg(&dir).arg(&file), b"");
        // The second zone's key is not the one that is expected.
        anchors.push(if anchors.is_empty() { key } else { new_key() });
    }
    fs::write(dir.join("plain.signed"), zone("plain", plain)).unwrap();
    let nsd = Nsd::start(
        &dir,
        &[
            ("example", "example.signed"),
            ("bogus", "bogus.signed"),
            ("plain", "plain.signed"),
        ],
    );
    let stubs: String = ["example", "bogus", "plain"]
        .iter()
        .map(|zone| {
            format!(
                "stub-zone:\n name: {zone}\n stub-addr: 127.0.0.1@{}\n",
                nsd.address.port()
            )
        })
        .collect();
    let anchors: String = anchors
        .iter()
        .map(|file| format!(" trust-anchor-file: \"{}\"\n", file.display()))
        .collect();
    let port = free_port();
    let config = format!(
        "server:\n interface: 127.0.0.1@{port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
         directory: \"{dir}\"\n pidfile: \"{dir}/unbound.pid\"\n logfile: \"{dir}/unbound.log\"\n use-syslog: no\n \
         do-not-query-localhost: no\n module-config: \"validator iterator\"\n num-threads: 1\n do-ip6: no\n{anchors}\
         remote-control:\n control-enable: no\n{stubs}",
        dir = dir.display()
    );
    let file = dir.join("unbound.conf");
    fs::write(&file, config).unwrap();
    let server = Running::start(command("unbound").arg("-d").arg("-c").arg(file));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for_zone(address, "example", &dir.join("unbound.log"));
    wait_for_zone(address, "plain", &dir.join("unbound.log"));
    (address, (nsd, server))
}

/// An exchanger with TLS that takes everything.
fn exchanger(folder: &Folder, port: u16) -> Mailroot {
    let home = folder.path().join("mx");
    let domains = ["ee", "ta", "wrong", "name", "none", "odd", "clear"]
        .iter()
        .flat_map(|name| ["example", "bogus"].map(|zone| format!("\"{name}.{zone}\"")))
        .chain(
            ["wrong", "ok", "unlisted", "odd", "testing", "nocert"]
                .iter()
                .map(|name| format!("\"{name}.plain\"")),
        );
    let domains: Vec<String> = domains.collect();
    let text = format!(
        "home = \"{home}\"\nhostname = \"mx.example\"\n[[listen]]\naddress = \"{EXCHANGER}:{port}\"\n\
         [tls]\ncertificate = \"{}\"\n[local]\ndomains = [{}]\n",
        folder.path().join("mx.pem").display(),
        domains.join(", "),
        home = home.display(),
    );
    Mailroot::run(&home, &folder.file("mx.toml", text))
}

fn send(service: &Mailroot, to: &str, header: &str) {
    let text = format!("{header}Subject: to {to}\r\n\r\nhello\r\n");
    service.submit("cam@nas.lan", &[to], &text);
}

#[test]
fn dane_is_kept_to_where_dnssec_vouches_for_it_and_only_there() {
    let Some(world) = World::new("dane") else {
        return;
    };
    let service = world.start("");
    for to in [
        "a@ee.example",
        "a@ta.example",
        "a@none.example",
        "a@odd.example",
        "a@wrong.plain",
    ] {
        send(&service, to, "");
        service.line(&["delivered", to]);
        world.came_over_tls(to);
    }
    for (to, why) in [
        (
            "a@wrong.example",
            "not one that the server's TLSA records in DNS allow",
        ),
        (
            "a@name.example",
            "wrong name: the certificate is for mx1.example",
        ),
        ("a@ee.bogus", "SERVFAIL"),
    ] {
        send(&service, to, "");
        let domain = to.split('@').nth(1).unwrap();
        let said = service.line(&["way-down", &format!("way={domain}")]);
        assert!(said.contains(why), "{said}");
        assert_eq!(world.dropped(to), None);
    }
    let said = service.line(&["way-down", "way=wrong.example"]);
    assert!(
        said.contains("; the TLSA records of mx2.example ask for it"),
        "{said}"
    );
    // A host that has records and no TLS is not spoken to in the clear.
    let sink = Sink::start_at(world.folder.path(), "clear", "127.0.3.2", world.port, &[]);
    send(&service, "a@clear.example", "");
    let said = service.line(&["way-down", "way=clear.example"]);
    assert!(said.contains("does not offer STARTTLS"), "{said}");
    assert!(sink.messages().is_empty());
    let said = service.stop();
    assert!(!said.contains(" failed "), "{said}");
}

#[test]
fn a_message_may_ask_for_less_tls_than_its_domain() {
    let Some(world) = World::new("less-tls") else {
        return;
    };
    let service = world.start("");
    send(&service, "b@wrong.example", "TLS-Required: No\r\n");
    service.line(&["delivered", "b@wrong.example"]);
    world.came_over_tls("b@wrong.example");
    send(&service, "c@wrong.example", "TLS-Required: no, thanks\r\n");
    service.line(&["way-down", "way=wrong.example"]);
    service.stop();
}

#[test]
fn a_route_may_insist_on_dane_alone() {
    let Some(world) = World::new("dane-only") else {
        return;
    };
    let service = world.start("tls = \"dane-only\"");
    send(&service, "a@ee.example", "");
    service.line(&["delivered", "a@ee.example"]);
    for to in ["none.example", "odd.example", "wrong.plain"] {
        send(&service, &format!("a@{to}"), "");
        let said = service.line(&["way-down", &format!("way={to}")]);
        assert!(said.contains("no TLSA records that can be used"), "{said}");
    }
    service.stop();
}

const ENFORCE: &str =
    "version: STSv1\r\nmode: enforce\r\nmx: mx1.plain\r\nmx: mx9.plain\r\nmax_age: 600\r\n";

#[test]
fn a_policy_of_mta_sts_is_kept_to_and_kept() {
    let Some(world) = World::new("mta-sts") else {
        return;
    };
    let policies = world.policies(ENFORCE);
    let service = world.start("");
    send(&service, "a@ok.plain", "");
    service.line(&["delivered", "a@ok.plain"]);
    service.line(&["sts-policy domain=ok.plain mode=enforce max_age=600"]);
    world.came_over_tls("a@ok.plain");
    send(&service, "a@unlisted.plain", "");
    let said = service.line(&["way-down", "way=unlisted.plain"]);
    assert!(
        said.contains("the MTA-STS policy of unlisted.plain does not list the exchanger mx2.plain"),
        "{said}"
    );
    send(&service, "a@odd.plain", "");
    let said = service.line(&["way-down", "way=odd.plain"]);
    assert!(
        said.contains("wrong name")
            && said.contains("; the MTA-STS policy of odd.plain asks for it"),
        "{said}"
    );
    // Whose policy server does not prove who it is has no policy.
    send(&service, "a@nocert.plain", "");
    let said = service.line(&["sts-failed domain=nocert.plain"]);
    assert!(
        said.contains("wrong name") && said.contains("kept=no"),
        "{said}"
    );
    service.line(&["delivered", "a@nocert.plain"]);
    // The policy counts on without its server, and over a restart.
    drop(policies);
    service.stop();
    let service = world.start("");
    let said = service.line(&["way-down", "way=unlisted.plain"]);
    assert!(said.contains("does not list"), "{said}");
    send(&service, "b@ok.plain", "");
    service.line(&["delivered", "b@ok.plain"]);
    let said = service.stop();
    assert!(
        !said.contains("sts-policy") && !said.contains("sts-failed"),
        "{said}"
    );
}

#[test]
fn a_policy_that_is_only_tested_stops_no_mail() {
    let Some(world) = World::new("sts-testing") else {
        return;
    };
    let _policies = world.policies(&ENFORCE.replace("enforce", "testing"));
    let service = world.start("");
    send(&service, "a@testing.plain", "");
    service.line(&["sts-testing domain=testing.plain", "does not list"]);
    service.line(&["delivered", "a@testing.plain"]);
    service.stop();
}

#[test]
fn a_message_that_requires_tls_goes_where_it_is_promised_and_comes_back_else() {
    let Some(world) = World::new("require-tls") else {
        return;
    };
    let service = world.start("");
    for to in ["a@ee.example", "a@none.example"] {
        let text = format!(
            "EHLO cam\r\nMAIL FROM:<cam@ee.example> REQUIRETLS\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: x\r\n\r\nsecret\r\n.\r\n\
             QUIT\r\n"
        );
        let mut client = command("openssl");
        client.args(["s_client", "-quiet", "-starttls", "smtp", "-connect"]);
        let said = must(client.arg(service.address.to_string()), text.as_bytes());
        assert!(said.contains("250 2.6.0"), "{said}");
    }
    service.line(&["delivered", "a@ee.example"]);
    let said = service.line(&["failed", "a@none.example"]);
    assert!(said.contains("5.7.30"), "{said}");
    // The report requires TLS as well, and its way has it.
    service.line(&["delivered", "cam@ee.example"]);
    service.stop();
    assert_eq!(world.dropped("a@none.example"), None);
    world.came_over_tls("cam@ee.example");
}
