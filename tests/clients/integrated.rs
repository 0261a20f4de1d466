//! Integrated authentication, as Windows programs know it: NTLM by clients of several makes, and those of them that
//! only know its first version, which are refused.

use std::process::Command;

use crate::common::{Folder, Mailroot, Talk, command, have, must, program, run};
use crate::{House, PASSWORD, USER, letter, python_with, small};

/// Each port, with the option that makes curl begin TLS there.
fn curl(house: &House, way: &str, port: u16, user: &str, options: &[&str]) -> Command {
    let scheme = if way.starts_with("implicit") {
        "smtps"
    } else {
        "smtp"
    };
    let data = house.folder.file("mail", letter(way).replace("WAY", way));
    let mut curl = command("curl");
    curl.args(["-sSv", "--ssl-reqd", "--cacert"])
        .arg(&house.ca)
        .arg(format!("{scheme}://localhost:{port}/me.example"))
        .args(["--user", user])
        .args(options)
        .args(["--mail-from", "alice@nas.example"])
        .args(["--mail-rcpt", "bob@office.example"])
        .args(["--mail-rcpt", "eve@office.example", "-T"])
        .arg(data);
    curl
}

#[test]
fn curl_logs_in_by_ntlm_on_both_ports() {
    if !have("curl") {
        return;
    }
    let house = House::start_with("clients-curl-ntlm", "ntlm = true\n", &["--ntlm"]);
    let mut ways = Vec::new();
    for (tls, port) in house.ports() {
        // Windows fills in a domain of its own; here it does not matter.
        for (name, user) in [
            ("plain", USER.to_owned()),
            ("domain", format!("OFFICE\\{USER}")),
        ] {
            let way = format!("{tls}-{name}");
            let user = format!("{user}:{PASSWORD}");
            let options = ["--login-options", "AUTH=NTLM"];
            let said = must(&mut curl(&house, &way, port, &user, &options), b"");
            assert!(said.contains("AUTH NTLM"), "{said}");
            ways.push(way);
        }
    }
    for (arrived, way) in house.arrived(ways.len()).iter().zip(&ways) {
        arrived.is(way, &letter(way));
    }
    let wrong = format!("{USER}:hunter3");
    let options = ["--login-options", "AUTH=NTLM"];
    let (status, said) = run(
        &mut curl(&house, "starttls-x", house.starttls, &wrong, &options),
        b"",
    );
    assert!(!status.success() && said.contains("535 5.7.8"), "{said}");
    house.service.wait_for("the failure is told", |line| {
        line.contains("login-failed") && line.contains("user=tim") && line.contains("passwd --ntlm")
    });
}

/// Talks SMTP itself and lets python3-ntlm-auth make the messages: with an integrity code, which it adds because our
/// challenge tells the time.
const PYTHON: &str = r#"
import base64, smtplib, ssl, sys
from ntlm_auth.ntlm import NtlmContext
port, ca, user, password, spoil, text = sys.argv[1:7]
c = smtplib.SMTP("localhost", int(port))
c.starttls(context=ssl.create_default_context(cafile=ca))
c.ehlo("me.example")
print(c.esmtp_features["auth"])
context = NtlmContext(user, password, domain="OFFICE", workstation="PC")
first = base64.b64encode(context.step()).decode()
code, challenge = c.docmd("AUTH", "NTLM")
assert (code, challenge) == (334, b""), (code, challenge)
code, challenge = c.docmd(first)
assert code == 334, challenge
last = bytearray(context.step(base64.b64decode(challenge)))
assert last[72:88] != bytes(16), "no integrity code"
if spoil == "code":
    last[80] ^= 1
elif spoil == "flags":
    last[63] ^= 0x40
code, said = c.docmd(base64.b64encode(last).decode())
print(code, said.decode())
if code == 235:
    c.sendmail("alice@nas.example", ["bob@office.example", "eve@office.example"], open(text, "rb").read())
c.quit()
"#;

#[test]
fn python_logs_in_by_ntlm_with_an_integrity_code() {
    let Some(python) = python_with("ntlm_auth", "python3-ntlm-auth") else {
        return;
    };
    let house = House::start_with("clients-python-ntlm", "ntlm = true\n", &["--ntlm"]);
    let text = small().replace("WAY", "ntlm");
    let text = house.folder.file("mail", text);
    // Its MD4 is OpenSSL's, which has to be asked for it by now.
    let openssl = "openssl_conf=all\n[all]\nproviders=both\n[both]\ndefault=on\nlegacy=on\n[on]\nactivate=1\n";
    let openssl = house.folder.file("openssl.cnf", openssl);
    for (user, password, spoil, want) in [
        (USER, PASSWORD, "", "235 2.7.0"),
        (USER, "hunter3", "", "535 5.7.8"),
        ("nobody", PASSWORD, "", "535 5.7.8"),
        (USER, PASSWORD, "code", "535 5.7.8"),
        (USER, PASSWORD, "flags", "535 5.7.8"),
    ] {
        let said = must(
            command(python)
                .env("OPENSSL_CONF", &openssl)
                .args(["-c", PYTHON, &house.starttls.to_string()])
                .arg(&house.ca)
                .args([user, password, spoil])
                .arg(&text),
            b"",
        );
        assert!(
            said.contains(want) && said.contains(" NTLM "),
            "{user} {spoil}: {said}"
        );
    }
    house.service.wait_for("the change is told", |line| {
        line.contains("login-failed") && line.contains("the integrity code")
    });
    let arrived = house.arrived(1);
    arrived[0].is("ntlm", &small());
}

/// Perl's Authen::NTLM and libntlm below gsasl know no second version.
#[test]
fn clients_with_the_first_version_of_ntlm_are_refused_and_the_log_says_why() {
    let house = House::start_with("clients-ntlm-1", "ntlm = true\n", &["--ntlm"]);
    let weak = |line: &str| line.contains("login-failed") && line.contains("NTLM version 1");
    let mut count = 0;
    if have("swaks") {
        let (status, said) = run(
            command("swaks")
                .args(["--server", "localhost", "-tls", "--port"])
                .arg(house.starttls.to_string())
                .args(["--tls-verify", "--tls-ca-path"])
                .arg(&house.ca)
                .args(["--from", "alice@nas.example", "--to", "bob@office.example"])
                .args(["-a", "NTLM", "-au", USER, "-ap", PASSWORD]),
            b"",
        );
        assert!(!status.success() && said.contains("535 5.7.8"), "{said}");
        count += 1;
        house.service.wait_count("swaks is told of", count, weak);
    }
    if have("msmtp") {
        let (status, said) = run(
            command("msmtp")
                .args(["--host=localhost", &format!("--port={}", house.starttls)])
                .args(["--tls=on", "--tls-starttls=on", "--auth=ntlm"])
                .arg(format!("--tls-trust-file={}", house.ca.display()))
                .arg(format!("--user={USER}"))
                .arg(format!("--passwordeval=echo {PASSWORD}"))
                .args(["--from=alice@nas.example", "bob@office.example"]),
            b"Subject: x\n\nx\n",
        );
        assert!(!status.success() && said.contains("535 5.7.8"), "{said}");
        count += 1;
        house.service.wait_count("msmtp is told of", count, weak);
    }
}

#[test]
fn another_mailroot_logs_in_by_ntlm() {
    let house = House::start_with("clients-mailroot-ntlm", "ntlm = true\n", &["--ntlm"]);
    let folder = &house.folder;
    let password = folder.file("password", PASSWORD);
    must(command("chmod").arg("600").arg(&password), b"");
    let home = folder.path().join("relay");
    let config = folder.file(
        "relay.toml",
        format!(
            "home = '{}'\n[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nvia = 'smart-host'\n\
             hosts = ['localhost:{}']\nca = '{}'\nuser = '{USER}'\n\
             auth = ['NTLM']\npassword_file = '{}'\n",
            home.display(),
            house.starttls,
            house.ca.display(),
            password.display()
        ),
    );
    let relay = Mailroot::run(&home, &config);
    let mut talk = relay.client("me.example");
    talk.send(
        "alice@nas.example",
        &["bob@office.example"],
        &small().replace("\r\n.", "\r\n.."),
    );
    relay.completed(1);
    house.arrived(1)[0].came_by("ntlm");
}

#[test]
fn ntlm_is_offered_while_there_is_a_user_for_it() {
    let folder = Folder::new("clients-ntlm-offer");
    let users = folder.path().join("users");
    let passwd = |more: &[&str], name: &str| {
        let mut command = program();
        command.arg("passwd").args(more).arg("--users").arg(&users);
        must(command.arg(name), b"apple\n");
    };
    passwd(&[], "tim");
    let file = format!("users.file={}", users.display());
    let set = ["--set", "listen.ntlm=true", "--set", &file];
    let service = Mailroot::start(&folder.home(), &set);
    let offered = || {
        let said = Talk::connect(service.address).say("EHLO me.example");
        assert!(said.contains("AUTH SCRAM-SHA-256"), "{said}");
        said.contains(" NTLM")
    };
    assert!(!offered());
    passwd(&["--ntlm"], "eve");
    assert!(offered());
    passwd(&[], "eve");
    assert!(!offered());
}
