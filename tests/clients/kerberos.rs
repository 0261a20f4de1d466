//! GSSAPI: a realm of our own (MIT Kerberos on loopback, with its own files), and clients that log in by its tickets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{
    Folder, Mailroot, command, free_port, have, must, program, run, wait_until_open,
};
use crate::{Arrived, certificates, python_with, small};

const REALM: &str = "TEST.EXAMPLE";

/// A realm with the users tim and eve and the service smtp/localhost.
struct Realm {
    dir: PathBuf,
    kdc: Child,
}

impl Realm {
    fn start(folder: &Folder) -> Option<Self> {
        let programs = ["krb5kdc", "kdb5_util", "kadmin.local", "kinit", "kvno"];
        if !programs.iter().all(|program| have(program)) {
            return None;
        }
        let dir = folder.path().join("realm");
        fs::create_dir(&dir).unwrap();
        let (d, port) = (dir.display(), free_port());
        fs::write(
            dir.join("krb5.conf"),
            format!(
                "include {d}/etypes\n[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
                 dns_canonicalize_hostname = false\n rdns = false\n kdc_timesync = 0\n \
                 udp_preference_limit = 1\n[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n\
                 [domain_realm]\n localhost = {REALM}\n"
            ),
        )
        .unwrap();
        fs::write(dir.join("etypes"), "").unwrap();
        fs::write(
            dir.join("kdc.conf"),
            format!(
                "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
                 [realms]\n {REALM} = {{\n  database_name = {d}/principal\n  key_stash_file = {d}/stash\n  \
                 acl_file = {d}/acl\n  supported_enctypes = aes256-cts:normal aes128-cts:normal aes128-sha2:normal aes256-sha2:normal\n }}\n\
                 [logging]\n kdc = FILE:{d}/kdc.log\n"
            ),
        )
        .unwrap();
        must(
            in_realm(&dir, "kdb5_util").args(["create", "-s", "-P", "master", "-r", REALM]),
            b"",
        );
        for order in [
            "addprinc -pw hunter2 tim",
            "addprinc -pw apple eve",
            "addprinc -randkey smtp/localhost",
        ] {
            admin(&dir, order);
        }
        let log = fs::File::create(dir.join("kdc.out")).unwrap();
        let kdc = in_realm(&dir, "krb5kdc")
            .args(["-n", "-r", REALM])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        wait_until_open(port);
        let realm = Self { dir, kdc };
        realm.export("aes256-cts");
        realm.login("tim", "hunter2");
        realm.login("eve", "apple");
        Some(realm)
    }

    fn keytab(&self) -> PathBuf {
        self.dir.join("keytab")
    }

    /// Makes a new key of the service, of this type, and adds it to the keytab.
    fn export(&self, etype: &str) {
        let keytab = self.keytab();
        let order = format!(
            "ktadd -k {} -e {etype}:normal smtp/localhost",
            keytab.display()
        );
        admin(&self.dir, &order);
    }

    /// Gets a user's first ticket.
    fn login(&self, user: &str, password: &str) {
        let mut kinit = self.as_user(user, "kinit");
        must(kinit.arg(user), format!("{password}\n").as_bytes());
    }

    /// A program that has a user's tickets.
    fn as_user(&self, user: &str, program: &str) -> Command {
        let mut command = in_realm(&self.dir, program);
        command.env("KRB5CCNAME", self.dir.join(format!("cache-{user}")));
        command
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        let _ = self.kdc.kill();
        let _ = self.kdc.wait();
    }
}

fn in_realm(dir: &Path, program: &str) -> Command {
    let mut command = command(program);
    command
        .env("KRB5_CONFIG", dir.join("krb5.conf"))
        .env("KRB5_KDC_PROFILE", dir.join("kdc.conf"))
        .env("KRB5RCACHETYPE", "none");
    command
}

fn admin(dir: &Path, order: &str) {
    let said = must(
        in_realm(dir, "kadmin.local").args(["-r", REALM, "-q", order]),
        b"",
    );
    assert!(
        said.contains("created") || said.contains("added to keytab"),
        "{said}"
    );
}

/// A mailroot that takes tim's tickets, on a port with STARTTLS.
struct House {
    service: Mailroot,
    port: u16,
    ca: PathBuf,
}

impl House {
    fn start(folder: &Folder, realm: &Realm) -> Self {
        let ca = certificates(folder);
        let d = folder.path().display();
        let port = free_port();
        let config = folder.file(
            "box.toml",
            format!(
                "home = '{d}/home'\nhostname = 'localhost'\n\
                 [[listen]]\naddress = '127.0.0.1:{port}'\nrequire_tls = true\nrequire_auth = true\n\
                 [tls]\ncertificate = '{d}/cert.pem'\nkey = '{d}/key.pem'\n\
                 [users]\nkeytab = '{}'\nprincipals = ['tim@{REALM}']\n\
                 [local]\ndomains = ['office.example']\n",
                realm.keytab().display()
            ),
        );
        must(program().arg("check").arg(&config), b"");
        let service = Mailroot::run(&folder.home(), &config);
        Self { service, port, ca }
    }

    /// What is in the drop folder, once it is so many.
    fn arrived(&self, count: usize) -> Vec<Arrived> {
        self.service.completed(count);
        let files = fs::read_dir(self.service.home.join("drop")).unwrap();
        files
            .map(|entry| Arrived::parse(&fs::read(entry.unwrap().path()).unwrap()))
            .collect()
    }

    fn told(&self, what: &str) {
        self.service.wait_for(what, |line| {
            line.contains("login-failed") && line.contains(what)
        });
    }
}

#[test]
fn curl_and_msmtp_log_in_by_a_ticket() {
    let folder = Folder::new("clients-kerberos");
    let Some(realm) = Realm::start(&folder) else {
        return;
    };
    let house = House::start(&folder, &realm);
    let data = folder.file("mail", small().replace("WAY", "ticket"));
    let curl = |user: &str| {
        let mut curl = realm.as_user(user, "curl");
        curl.args(["-sSv", "--ssl-reqd", "--cacert"])
            .arg(&house.ca)
            .arg(format!("smtp://localhost:{}/me.example", house.port))
            .args([
                "--user",
                &format!("{user}@{REALM}:"),
                "--login-options",
                "AUTH=GSSAPI",
            ])
            .args(["--mail-from", "alice@nas.example"])
            .args(["--mail-rcpt", "bob@office.example"])
            .args(["--mail-rcpt", "eve@office.example", "-T"])
            .arg(&data);
        curl
    };
    let mut count = 0;
    if have("curl") {
        let said = must(&mut curl("tim"), b"");
        assert!(said.contains("AUTH GSSAPI"), "{said}");
        let (status, said) = run(&mut curl("eve"), b"");
        assert!(!status.success() && said.contains("535 5.7.8"), "{said}");
        house.told("users.principals does not name eve@TEST.EXAMPLE");
        count += 1;
    }
    let (_, features) = run(command("msmtp").arg("--version"), b"");
    if features.contains("gssapi") {
        must(
            realm
                .as_user("tim", "msmtp")
                .args(["--host=localhost", &format!("--port={}", house.port)])
                .args([
                    "--tls=on",
                    "--tls-starttls=on",
                    "--auth=gssapi",
                    "--user=tim",
                ])
                .arg(format!("--tls-trust-file={}", house.ca.display()))
                .args(["--from=alice@nas.example", "bob@office.example"])
                .arg("eve@office.example"),
            &fs::read(&data).unwrap(),
        );
        count += 1;
    } else {
        println!("skipped: msmtp with GSSAPI");
    }
    for arrived in house.arrived(count) {
        arrived.is("ticket", &small());
    }
}

/// Talks SMTP itself and lets the library of MIT Kerberos make the tokens.
const PYTHON: &str = r#"
import base64, smtplib, ssl, sys
import gssapi
from gssapi.raw import RequirementFlag as F
port, ca, how, name, text = sys.argv[1:6]

def connect():
    c = smtplib.SMTP("localhost", int(port))
    assert "auth" not in c.esmtp_features
    c.starttls(context=ssl.create_default_context(cafile=ca))
    c.ehlo("me.example")
    assert c.esmtp_features["auth"].strip() == "GSSAPI", c.esmtp_features
    return c

def say(c, token):
    code, said = c.docmd(base64.b64encode(token).decode())
    return code, base64.b64decode(said) if code == 334 else said.decode()

service = gssapi.Name("smtp@localhost", gssapi.NameType.hostbased_service)
mutual = how != "one-way"
flags = F.mutual_authentication | F.integrity if mutual else F.integrity
context = gssapi.SecurityContext(name=service, flags=flags, usage="initiate")
first = context.step()
if how == "dump":
    open(text, "wb").write(first)
    sys.exit()
c = connect()
if how == "initial":
    code, said = c.docmd("AUTH", "GSSAPI " + base64.b64encode(first).decode())
    said = base64.b64decode(said)
else:
    assert c.docmd("AUTH", "GSSAPI") == (334, b"")
    code, said = say(c, first)
if code == 334 and mutual:
    context.step(said)
    assert context.complete
    code, said = say(c, b"")
if code == 334:
    offer = context.unwrap(said)
    assert offer.message == b"\x01\0\0\0" and not offer.encrypted, offer
    layer = b"\x04" if how == "layer" else b"\x01"
    code, said = say(c, context.wrap(layer + b"\0\0\0" + name.encode(), how == "sealed").message)
print(code, said)
if code == 235:
    c.sendmail("alice@nas.example", ["bob@office.example", "eve@office.example"], open(text, "rb").read())
if how == "again":
    c = connect()
    c.docmd("AUTH", "GSSAPI")
    print(*say(c, first))
"#;

#[test]
fn tickets_with_each_type_of_key_let_in_and_nothing_else_does() {
    let folder = Folder::new("clients-kerberos-python");
    let Some(realm) = Realm::start(&folder) else {
        return;
    };
    let Some(interpreter) = python_with("gssapi", "python3-gssapi") else {
        return;
    };
    let house = House::start(&folder, &realm);
    let data = folder.file("mail", small().replace("WAY", "ticket"));
    let script = folder.file("talk.py", PYTHON);
    let talk = |clock: Option<&str>, how: &str, name: &str| {
        let program = if clock.is_some() {
            "faketime"
        } else {
            interpreter
        };
        let mut python = realm.as_user("tim", program);
        if let Some(clock) = clock {
            python.args([clock, interpreter]);
        }
        python
            .arg(&script)
            .arg(house.port.to_string())
            .arg(&house.ca);
        must(python.args([how, name]).arg(&data), b"")
    };
    let mut count = 0;
    for etype in [
        "aes128-cts-hmac-sha1-96",
        "aes256-cts-hmac-sha1-96",
        "aes128-cts-hmac-sha256-128",
        "aes256-cts-hmac-sha384-192",
    ] {
        // The keytab changes under the running service; tickets with the old key stay good.
        realm.export(etype);
        fs::write(
            realm.dir.join("etypes"),
            format!(
                "[libdefaults]\n default_tkt_enctypes = {etype}\n default_tgs_enctypes = {etype}\n"
            ),
        )
        .unwrap();
        realm.login("tim", "hunter2");
        for (how, name) in [
            ("mutual", ""),
            ("one-way", "tim"),
            ("initial", "tim@TEST.EXAMPLE"),
        ] {
            let said = talk(None, how, name);
            assert!(said.starts_with("235 2.7.0"), "{etype} {how}: {said}");
            count += 1;
        }
    }
    for (how, name) in [("mutual", "root"), ("layer", ""), ("sealed", "")] {
        let said = talk(None, how, name);
        assert!(said.starts_with("535 5.7.8"), "{how} {name}: {said}");
    }
    let said = talk(None, "again", "");
    assert!(
        said.starts_with("235") && said.contains("\n535 5.7.8"),
        "{said}"
    );
    count += 1;
    house.told("the same ticket and proof were shown before");
    if have("faketime") {
        // A clock that is wrong is mended some day: later, not never.
        let said = talk(Some("+11 minutes"), "mutual", "");
        assert!(said.starts_with("454 4.7.0"), "{said}");
        house.told("seconds apart, and Kerberos allows 300");
    }
    for arrived in house.arrived(count) {
        arrived.is("ticket", &small());
    }
    // The realm has a new key, and the keytab was not exported again.
    let kept = fs::read(realm.keytab()).unwrap();
    realm.export("aes256-cts-hmac-sha384-192");
    fs::write(realm.keytab(), kept).unwrap();
    realm.login("tim", "hunter2");
    let said = talk(None, "mutual", "");
    assert!(said.starts_with("535 5.7.8"), "{said}");
    house.told("export it");
}
