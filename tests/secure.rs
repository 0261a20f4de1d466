//! TLS to exchangers as their domains ask for it, with real parts: NSD serves a zone that dnssec-signzone signed, Unbound
//! validates it, OpenSSL serves the policies of MTA-STS; the exchangers are this program and Postfix's sink.
#![cfg(test)]

mod common;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, Mailroot, PATIENCE, Sink, Talk, command, free_port, have, must, program};
use mailroot::net::tls::own::armour;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};

/// Ended when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // NSD has children of its own, which end when it is asked to end and not when it is killed.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn spawn(command: &mut Command) -> Running {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(quiet.spawn().unwrap())
}

/// Until a name server answers a question about SOA of `zone` without an error.
fn wait_for_zone(server: SocketAddr, zone: &str, log: &Path) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let step = Duration::from_millis(200);
    socket.set_read_timeout(Some(step)).unwrap();
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    query.push(u8::try_from(zone.len()).unwrap());
    query.extend_from_slice(zone.as_bytes());
    query.extend_from_slice(b"\0\0\x06\0\x01");
    let (start, mut room) = (Instant::now(), [0; 512]);
    loop {
        socket.send_to(&query, server).unwrap();
        let got = socket.recv(&mut room);
        if got.is_ok_and(|got| got > 12 && room[3] & 0x0F == 0) {
            return;
        }
        let log = fs::read_to_string(log).unwrap_or_default();
        assert!(
            start.elapsed() < PATIENCE,
            "{server} does not answer: {log}"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// The names that the exchanger's certificate has.
const NAMED: [&str; 4] = [
    "mx1.example",
    "mx3.example",
    "mx1.plain",
    "mta-sts.ok.plain",
];

/// Everything but the box itself.
struct World {
    folder: Folder,
    port: u16,
    https: u16,
    resolver: SocketAddr,
    _servers: Vec<Running>,
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
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        folder.file("ca.pem", armour("CERTIFICATE", authority.der()));
        let key = KeyPair::generate().unwrap();
        let names = NAMED.map(str::to_owned).to_vec();
        let names = [
            names,
            ["unlisted", "odd", "testing"]
                .map(|d| format!("mta-sts.{d}.plain"))
                .to_vec(),
        ];
        let certificate = CertificateParams::new(names.concat()).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let chain =
            armour("CERTIFICATE", certificate.der()) + &armour("CERTIFICATE", authority.der());
        folder.file(
            "mx.pem",
            chain + &armour("PRIVATE KEY", &key.serialize_der()),
        );
        let good = sha256(&key.subject_public_key_info());
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
        let home = self.path("home");
        let text = format!(
            "home = \"{home}\"\nhostname = \"box.example\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
             [tls]\nself_signed = true\n[dns]\nservers = [\"{}\"]\n[delivery]\nretry = [\"1h\"]\n\
             [sts]\nport = {}\nca = \"{}\"\ntimeout = \"20s\"\n\
             [[route]]\nvia = \"mx\"\nmx_port = {}\nprivate_addresses = true\n{more}\n",
            self.resolver,
            self.https,
            self.path("ca.pem").display(),
            self.port,
            home = home.display(),
        );
        let file = self.folder.file("box.toml", text);
        let mut command = program();
        command.arg("run").arg(file);
        Mailroot::spawn(&home, command)
    }

    /// A server of policies that shows this one to everybody.
    fn policies(&self, policy: &str) -> Running {
        let site = self.path("site/.well-known");
        fs::create_dir_all(&site).unwrap();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{policy}");
        fs::write(site.join("mta-sts.txt"), text).unwrap();
        let running = spawn(
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
        common::wait_until_open(self.https);
        running
    }

    fn dropped(&self, to: &str) -> Option<String> {
        let mark = format!("X-Receiver: {to}\r\n");
        let files = fs::read_dir(self.path("mx/drop")).unwrap();
        let mut texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        texts.find(|text| text.contains(&mark))
    }

    /// Waits until the exchanger has the message to this recipient; it must have come over TLS.
    fn came_over_tls(&self, to: &str) {
        line(&self.exchanger, &["delivered", to]);
        let text = self.dropped(to).unwrap();
        assert!(text.contains("with ESMTPS"), "{text}");
    }
}

/// NSD with the zones, the first ones signed, and Unbound in front of it, which knows the key of the first one and
/// expects another for the second. Answers where Unbound listens.
fn names_of(folder: &Path, signed: &[(&str, &str)], plain: &str) -> (SocketAddr, Vec<Running>) {
    let dir = folder.join("dns");
    fs::create_dir_all(&dir).unwrap();
    let (nsd, unbound) = (free_port(), free_port());
    let head = |zone: &str, records: &str| {
        format!(
            "$ORIGIN {zone}.\n$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}\n"
        )
    };
    let mut anchors = Vec::new();
    for (zone, records) in signed {
        let file = dir.join(zone);
        fs::write(&file, head(zone, records)).unwrap();
        let new_key = || {
            let mut keygen = command("dnssec-keygen");
            keygen.args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K"]);
            let name = must(keygen.arg(&dir).arg(zone), b"");
            dir.join(format!("{}.key", name.lines().last().unwrap().trim()))
        };
        let key = new_key();
        let mut sign = command("dnssec-signzone");
        sign.args(["-z", "-o", zone, "-K"]).arg(&dir);
        must(sign.args(["-S", "-d"]).arg(&dir).arg(&file), b"");
        // The second zone's key is not the one that is expected.
        anchors.push(if anchors.is_empty() { key } else { new_key() });
    }
    fs::write(dir.join("plain.signed"), head("plain", plain)).unwrap();
    let zones: String = ["example", "bogus", "plain"]
        .iter()
        .map(|zone| format!("zone:\n name: {zone}\n zonefile: {zone}.signed\n"))
        .collect();
    let config = format!(
        "server:\n ip-address: 127.0.0.1@{nsd}\n username: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
         logfile: \"{dir}/nsd.log\"\n pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd\"\n xfrdir: \"{dir}\"\n \
         zonelistfile: \"{dir}/list\"\n server-count: 1\nremote-control:\n control-enable: no\n{zones}",
        dir = dir.display()
    );
    fs::write(dir.join("nsd.conf"), config).unwrap();
    let stubs: String = ["example", "bogus", "plain"]
        .iter()
        .map(|zone| format!("stub-zone:\n name: {zone}\n stub-addr: 127.0.0.1@{nsd}\n"))
        .collect();
    let anchors: String = anchors
        .iter()
        .map(|file| format!(" trust-anchor-file: \"{}\"\n", file.display()))
        .collect();
    let config = format!(
        "server:\n interface: 127.0.0.1@{unbound}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
         directory: \"{dir}\"\n pidfile: \"{dir}/unbound.pid\"\n logfile: \"{dir}/unbound.log\"\n use-syslog: no\n \
         do-not-query-localhost: no\n module-config: \"validator iterator\"\n num-threads: 1\n do-ip6: no\n{anchors}\
         remote-control:\n control-enable: no\n{stubs}",
        dir = dir.display()
    );
    fs::write(dir.join("unbound.conf"), config).unwrap();
    let servers = vec![
        spawn(command("nsd").arg("-d").arg("-c").arg(dir.join("nsd.conf"))),
        spawn(
            command("unbound")
                .arg("-d")
                .arg("-c")
                .arg(dir.join("unbound.conf")),
        ),
    ];
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    wait_for_zone(at(nsd), "example", &dir.join("nsd.log"));
    wait_for_zone(at(unbound), "example", &dir.join("unbound.log"));
    wait_for_zone(at(unbound), "plain", &dir.join("unbound.log"));
    (at(unbound), servers)
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
    let file = folder.file("mx.toml", text);
    let mut command = program();
    command.arg("run").arg(file);
    Mailroot::spawn(&home, command)
}

fn send(service: &Mailroot, to: &str, header: &str) {
    let mut talk = Talk::connect(service.address);
    talk.say("EHLO cam");
    let text = format!("{header}Subject: to {to}\r\n\r\nhello\r\n");
    let reply = talk.send("cam@nas.lan", &[to], &text);
    assert!(reply.starts_with("250"), "{reply}");
}

fn line(service: &Mailroot, words: &[&str]) -> String {
    service.wait_for(&words.join(" "), |line| {
        words.iter().all(|word| line.contains(word))
    })
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
        line(&service, &["delivered", to]);
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
        let said = line(&service, &["way-down", &format!("way={domain}")]);
        assert!(said.contains(why), "{said}");
        assert_eq!(world.dropped(to), None);
    }
    let said = line(&service, &["way-down", "way=wrong.example"]);
    assert!(
        said.contains("; the TLSA records of mx2.example ask for it"),
        "{said}"
    );
    // A host that has records and no TLS is not spoken to in the clear.
    let sink = Sink::start_at(world.folder.path(), "clear", "127.0.3.2", world.port, &[]);
    send(&service, "a@clear.example", "");
    let said = line(&service, &["way-down", "way=clear.example"]);
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
    line(&service, &["delivered", "b@wrong.example"]);
    world.came_over_tls("b@wrong.example");
    send(&service, "c@wrong.example", "TLS-Required: no, thanks\r\n");
    line(&service, &["way-down", "way=wrong.example"]);
    service.stop();
}

#[test]
fn a_route_may_insist_on_dane_alone() {
    let Some(world) = World::new("dane-only") else {
        return;
    };
    let service = world.start("tls = \"dane-only\"");
    send(&service, "a@ee.example", "");
    line(&service, &["delivered", "a@ee.example"]);
    for to in ["none.example", "odd.example", "wrong.plain"] {
        send(&service, &format!("a@{to}"), "");
        let said = line(&service, &["way-down", &format!("way={to}")]);
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
    line(&service, &["delivered", "a@ok.plain"]);
    line(
        &service,
        &["sts-policy domain=ok.plain mode=enforce max_age=600"],
    );
    world.came_over_tls("a@ok.plain");
    send(&service, "a@unlisted.plain", "");
    let said = line(&service, &["way-down", "way=unlisted.plain"]);
    assert!(
        said.contains("the MTA-STS policy of unlisted.plain does not list the exchanger mx2.plain"),
        "{said}"
    );
    send(&service, "a@odd.plain", "");
    let said = line(&service, &["way-down", "way=odd.plain"]);
    assert!(
        said.contains("wrong name")
            && said.contains("; the MTA-STS policy of odd.plain asks for it"),
        "{said}"
    );
    // Whose policy server does not prove who it is has no policy.
    send(&service, "a@nocert.plain", "");
    let said = line(&service, &["sts-failed domain=nocert.plain"]);
    assert!(
        said.contains("wrong name") && said.contains("kept=no"),
        "{said}"
    );
    line(&service, &["delivered", "a@nocert.plain"]);
    // The policy counts on without its server, and over a restart.
    drop(policies);
    service.stop();
    let service = world.start("");
    let said = line(&service, &["way-down", "way=unlisted.plain"]);
    assert!(said.contains("does not list"), "{said}");
    send(&service, "b@ok.plain", "");
    line(&service, &["delivered", "b@ok.plain"]);
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
    line(
        &service,
        &["sts-testing domain=testing.plain", "does not list"],
    );
    line(&service, &["delivered", "a@testing.plain"]);
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
    line(&service, &["delivered", "a@ee.example"]);
    let said = line(&service, &["failed", "a@none.example"]);
    assert!(said.contains("5.7.30"), "{said}");
    // The report requires TLS as well, and its way has it.
    line(&service, &["delivered", "cam@ee.example"]);
    service.stop();
    assert_eq!(world.dropped("a@none.example"), None);
    world.came_over_tls("cam@ee.example");
}
