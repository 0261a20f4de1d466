//! A real Postfix and a real Exim as smart hosts: STARTTLS and TLS from the first byte, each AUTH mechanism that they
//! and we know, and a password that is wrong.
#![cfg(test)]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::messages::{awkward, large};
use common::postfix::Postfix as OwnPostfix;
use common::{Folder, Mailroot, as_sunk, command, have, must, until_true};

const PASSWORD: &str = "open sesame";

/// A certificate for localhost and its key in this folder.
fn certificate(dir: &Path) {
    certificate_of(dir, "localhost", "key.pem", "cert.pem");
}

fn certificate_of(dir: &Path, name: &str, key: &str, file: &str) {
    must(
        command("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
            .args(["-subj", &format!("/CN={name}"), "-addext"])
            .arg("subjectAltName=DNS:localhost,IP:127.0.0.1")
            .arg("-keyout")
            .arg(dir.join(key))
            .arg("-out")
            .arg(dir.join(file)),
        b"",
    );
}

/// One route for each way to log in at a host, and the log's word for it when it worked.
struct Ways<'a> {
    dir: &'a Path,
    cert: PathBuf,
    config: String,
    domains: Vec<String>,
}

impl<'a> Ways<'a> {
    fn new(dir: &'a Path, cert: PathBuf) -> Self {
        let password = dir.join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            dir,
            cert,
            config: String::new(),
            domains: Vec::new(),
        }
    }

    /// `auth` is the mechanism that is pinned; none is whatever we choose. `more` is further keys of the route.
    fn add(&mut self, name: &str, port: u16, implicit: bool, auth: &str, more: &str) {
        let domain = format!("{name}.example");
        writeln!(
            self.config,
            "[[route]]\nto = [\"{domain}\"]\nhosts = [\"localhost:{port}\"]\nimplicit_tls = {implicit}\n\
             ca = \"{}\"\nuser = \"box\"\nauth = [{}]\n{more}",
            self.cert.display(),
            if auth.is_empty() {
                String::new()
            } else {
                format!("\"{auth}\"")
            },
        )
        .unwrap();
        self.domains.push(domain);
    }

    /// The same with the password, on a port where TLS begins in this way.
    fn by_password(&mut self, name: &str, (kind, port): (&str, u16), auth: &str) {
        let name = format!("{name}.{kind}");
        let password = self.password();
        self.add(&name, port, kind == "implicit", auth, &password);
    }

    fn password(&self) -> String {
        format!(
            "password_file = \"{}\"\n",
            self.dir.join("password").display()
        )
    }

    /// Sends a message each way; all must get through.
    fn send(&self) {
        let file = self.dir.join("mailroot.toml");
        fs::write(&file, &self.config).unwrap();
        let home = self.dir.join("home");
        let box_ = Mailroot::start(&home, &[file.to_str().unwrap()]);
        let mut talk = box_.client("printer.lan");
        let text = awkward().replace("\r\n.", "\r\n..");
        for domain in &self.domains {
            let reply = talk.send("alice@nas.example", &[&format!("bob@{domain}")], &text);
            assert!(reply.starts_with("250"), "{reply}");
        }
        box_.completed(self.domains.len());
        let log = box_.stop();
        assert!(
            !log.contains(" deferred ") && !log.contains(" way-held "),
            "{log}"
        );
    }
}

/// A Postfix with listeners with STARTTLS and with TLS at once, both with AUTH, that delivers to a folder.
struct Postfix {
    own: OwnPostfix,
    port: u16,
    /// TLS from the first byte.
    implicit: u16,
}

/// What Debian's Cyrus SASL can do with a password that it knows; DIGEST-MD5 (RFC 6331: historic) is not ours.
const CYRUS: &str = "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 NTLM DIGEST-MD5";

impl Postfix {
    fn start(folder: &Path) -> Option<Self> {
        if !have("saslpasswd2") || !have("openssl") {
            return None;
        }
        let own = OwnPostfix::prepare(folder.join("postfix"))?;
        let (port, implicit) = (common::free_port(), common::free_port());
        let etc = own.dir().join("etc");
        fs::create_dir(etc.join("sasl")).unwrap();
        certificate(&etc);
        let d = own.dir().display();
        let settings = format!(
            "local_transport=virtual\nvirtual_mailbox_domains=static:all\n\
             virtual_mailbox_base={d}/mail\nvirtual_mailbox_maps=static:box/\n\
             virtual_uid_maps=static:POSTFIXUID\nvirtual_gid_maps=static:POSTFIXGID\nvirtual_minimum_uid=1\n\
             smtpd_tls_cert_file={d}/etc/cert.pem\nsmtpd_tls_key_file={d}/etc/key.pem\nsmtpd_tls_security_level=encrypt\n\
             smtpd_sasl_auth_enable=yes\nsmtpd_sasl_path=smtpd\ncyrus_sasl_config_path={d}/etc/sasl\n\
             smtpd_sasl_local_domain=localhost\nsmtpd_relay_restrictions=permit_sasl_authenticated,reject\n"
        )
        .replace("POSTFIXUID", must(command("id").args(["-u", "postfix"]), b"").trim())
        .replace("POSTFIXGID", must(command("id").args(["-g", "postfix"]), b"").trim());
        fs::write(
            etc.join("sasl/smtpd.conf"),
            format!("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: {CYRUS}\nsasldb_path: {d}/etc/sasldb2\n"),
        )
        .unwrap();
        must(
            command("saslpasswd2")
                .args(["-p", "-c", "-u", "localhost", "-f"])
                .arg(etc.join("sasldb2"))
                .arg("box"),
            PASSWORD.as_bytes(),
        );
        must(
            command("chown").arg("postfix").arg(etc.join("sasldb2")),
            b"",
        );
        own.start(
            &settings,
            &format!(
                "127.0.0.1:{port} inet n - n - - smtpd\n\
                 127.0.0.1:{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
            ),
        );
        common::wait_until_open(port);
        common::wait_until_open(implicit);
        Some(Self {
            own,
            port,
            implicit,
        })
    }

    /// What has been delivered into its mailbox.
    fn delivered(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.own.dir().join("mail/box/new")) else {
            return Vec::new();
        };
        entries
            .map(|e| fs::read_to_string(e.unwrap().path()).unwrap())
            .collect()
    }
}

#[test]
fn a_postfix_with_starttls_and_auth_takes_our_mail() {
    let folder = Folder::new("postfix");
    let Some(postfix) = Postfix::start(folder.path()) else {
        return;
    };
    let url = format!(
        "smtp://box@localhost:{}?ca={}/etc/cert.pem",
        postfix.port,
        postfix.own.dir().display()
    );
    let home = folder.home();
    let box_ = Mailroot::start_with(&home, &["--smart-host", &url], |c| {
        c.env("MAILROOT_PASSWORD", "open sesame");
    });
    let mut talk = box_.client("printer.lan");
    let small = awkward().replace("\r\n.", "\r\n..");
    for _ in 0..3 {
        let reply = talk.send("alice@nas.example", &["bob@office.example"], &small);
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reply = talk.send(
        "alice@nas.example",
        &["bob@office.example"],
        &large().replace("\r\n.", "\r\n.."),
    );
    assert!(reply.starts_with("250"), "{reply}");
    box_.completed(4);
    until_true("Postfix has delivered what it took", || {
        postfix.delivered().len() >= 4
    });
    for text in postfix.delivered() {
        assert!(text.contains("with ESMTPSA id"), "{text}");
        let body = text.split_once("\n\n").unwrap().1;
        let whole = [awkward(), large()].iter().any(|m| {
            body == String::from_utf8(as_sunk(m.split_once("\r\n\r\n").unwrap().1.as_bytes()))
                .unwrap()
        });
        assert!(whole, "{text}");
    }
}

#[test]
fn a_wrong_password_holds_the_route_and_costs_no_mail() {
    let folder = Folder::new("password");
    let Some(postfix) = Postfix::start(folder.path()) else {
        return;
    };
    let file = folder.file("password", "wrong");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!(
        "smtp://box@localhost:{}?ca={}/etc/cert.pem&password_file={}",
        postfix.port,
        postfix.own.dir().display(),
        file.display()
    );
    let home = folder.home();
    // A step of the waits is a second here.
    let box_ = Mailroot::start(
        &home,
        &[
            "--smart-host",
            &url,
            "--set",
            "delivery.retry=1s",
            "--set",
            "delivery.jitter=0",
        ],
    );
    let mut talk = box_.client("printer.lan");
    let text = awkward().replace("\r\n.", "\r\n..");
    for _ in 0..5 {
        talk.send("alice@nas.example", &["bob@office.example"], &text);
    }
    let held = |line: &str| line.contains(" way-held ");
    let lines = box_.wait_count("the route was held at three steps", 3, held);
    assert!(
        lines
            .iter()
            .all(|line| line.contains("535") && line.contains("AUTH SCRAM")),
        "{lines:?}"
    );
    fs::write(&file, PASSWORD).unwrap();
    box_.signal("HUP");
    box_.completed(5);
    let log = box_.stop();
    assert!(
        !log.contains(" failed id=") && !log.contains(" reported id="),
        "{log}"
    );
    // One login for each time the route was held, whatever waited.
    let held = log.lines().filter(|line| held(line)).count();
    let theirs = postfix.own.log();
    let refused = theirs
        .lines()
        .filter(|line| line.contains("authentication failed"));
    assert_eq!(refused.count(), held, "{theirs}");
}

#[test]
fn postfix_takes_every_login_over_both_kinds_of_tls() {
    let folder = Folder::new("postfix-auth");
    let Some(postfix) = Postfix::start(folder.path()) else {
        return;
    };
    let mut ways = Ways::new(folder.path(), postfix.own.dir().join("etc/cert.pem"));
    let mut wanted = Vec::new();
    for (kind, port) in [("starttls", postfix.port), ("implicit", postfix.implicit)] {
        // The first: what is strongest here.
        for (name, mechanism, used) in [
            ("any", "", "SCRAM-SHA-256"),
            ("sha256", "SCRAM-SHA-256", "SCRAM-SHA-256"),
            ("sha1", "SCRAM-SHA-1", "SCRAM-SHA-1"),
            ("cram", "CRAM-MD5", "CRAM-MD5"),
            #[cfg(feature = "ntlm")]
            ("ntlm", "NTLM", "NTLM"),
            ("plain", "PLAIN", "PLAIN"),
            ("login", "LOGIN", "LOGIN"),
        ] {
            ways.by_password(name, (kind, port), mechanism);
            wanted.push(used);
        }
    }
    ways.send();
    let log = fs::read_to_string(postfix.own.dir().join("mail/log")).unwrap();
    let mut used: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("sasl_username=box"))
        .filter_map(|line| line.split("sasl_method=").nth(1)?.split(',').next())
        .collect();
    used.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(used, wanted, "{log}");
}

/// Debian's Exim, unpacked beside the other tools because its package would push Postfix out. It runs in a mount
/// namespace in which its user exists, and queues what it takes.
struct Exim {
    child: Child,
    dir: PathBuf,
    port: u16,
    implicit: u16,
}

impl Exim {
    fn start(folder: &Path) -> Option<Self> {
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools");
        let program = tools.join("exim/usr/sbin/exim4");
        let runs = || {
            let version = Command::new(&program)
                .args(["-C", "/dev/null", "-bV"])
                .output();
            version.is_ok_and(|out| out.status.success())
        };
        if !program.exists() || !runs() {
            println!("skipped: Exim is not unpacked (tests/setup does it)");
            return None;
        }
        for program in ["openssl", "unshare"] {
            if !have(program) {
                return None;
            }
        }
        let private = Command::new("unshare").args(["--mount", "true"]).output();
        if !private.is_ok_and(|out| out.status.success()) {
            println!("skipped: Exim wants a mount namespace, which root may make");
            return None;
        }
        let dir = folder.join("exim");
        fs::create_dir_all(dir.join("spool")).unwrap();
        certificate(&dir);
        certificate_of(&dir, "box", "client-key.pem", "client.pem");
        for (name, line) in [
            (
                "passwd",
                "Debian-exim:x:2601:2601::/nonexistent:/usr/sbin/nologin",
            ),
            ("group", "Debian-exim:x:2601:"),
        ] {
            let system = fs::read_to_string(format!("/etc/{name}")).unwrap();
            let others = system.lines().filter(|l| !l.starts_with("Debian-exim:"));
            let all: Vec<&str> = others.chain([line]).collect();
            fs::write(dir.join(name), all.join("\n") + "\n").unwrap();
        }
        must(
            command("chown")
                .args(["-R", "2601:2601"])
                .arg(dir.join("spool"))
                .arg(dir.join("key.pem")),
            b"",
        );
        let (port, implicit) = (common::free_port(), common::free_port());
        let d = dir.display();
        let right = |name: &str, password: &str| {
            format!("${{if and{{{{eq{{${name}}}{{box}}}}{{eq{{${password}}}{{{PASSWORD}}}}}}}}}")
        };
        fs::write(
            dir.join("exim.conf"),
            format!(
                "primary_hostname = localhost\nspool_directory = {d}/spool\nlog_file_path = {d}/spool/log-%slog\n\
                 exim_path = {}\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port} : {implicit}\n\
                 tls_on_connect_ports = {implicit}\ntls_advertise_hosts = *\ntls_certificate = {d}/cert.pem\n\
                 tls_privatekey = {d}/key.pem\ntls_try_verify_hosts = *\n\
                 tls_verify_certificates = {d}/client.pem\nauth_advertise_hosts = ${{if def:tls_in_cipher{{*}}{{}}}}\n\
                 keep_environment =\nqueue_only\nacl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n  accept authenticated = *\n\
                 \x20 deny\nbegin authenticators\n\
                 plain:\n  driver = plaintext\n  public_name = PLAIN\n  server_prompts = :\n\
                 \x20 server_condition = {}\n  server_set_id = $auth2\n\
                 login:\n  driver = plaintext\n  public_name = LOGIN\n  server_prompts = Username:: : Password::\n\
                 \x20 server_condition = {}\n  server_set_id = $auth1\n\
                 cram:\n  driver = cram_md5\n  public_name = CRAM-MD5\n\
                 \x20 server_secret = ${{if eq{{$auth1}}{{box}}{{{PASSWORD}}}fail}}\n  server_set_id = $auth1\n\
                 external:\n  driver = external\n  public_name = EXTERNAL\n\
                 \x20 server_advertise_condition = $tls_in_certificate_verified\n\
                 \x20 server_param2 = ${{certextract{{subject,CN}}{{$tls_in_peercert}}}}\n\
                 \x20 server_condition = ${{if eq{{$auth1}}{{$auth2}}}}\n  server_set_id = $auth1\n",
                program.display(),
                right("auth2", "auth3"),
                right("auth1", "auth2"),
            ),
        )
        .unwrap();
        let script = format!(
            "set -e; mount --make-rprivate /; mount --bind {d}/passwd /etc/passwd; \
             mount --bind {d}/group /etc/group; exec {} -C {d}/exim.conf -bdf",
            program.display()
        );
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("out")).unwrap())
            .stderr(fs::File::create(dir.join("errors")).unwrap())
            .spawn()
            .unwrap();
        let this = Self {
            child,
            dir,
            port,
            implicit,
        };
        common::wait_until_open(port);
        common::wait_until_open(implicit);
        Some(this)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("spool/log-mainlog")).unwrap_or_default()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn exim_takes_every_login_over_both_kinds_of_tls() {
    let folder = Folder::new("exim-auth");
    let Some(exim) = Exim::start(folder.path()) else {
        return;
    };
    let mut ways = Ways::new(folder.path(), exim.dir.join("cert.pem"));
    for (kind, port) in [("starttls", exim.port), ("implicit", exim.implicit)] {
        for (name, mechanism) in [
            ("any", ""),
            ("cram", "CRAM-MD5"),
            ("plain", "PLAIN"),
            ("login", "LOGIN"),
        ] {
            ways.by_password(name, (kind, port), mechanism);
        }
    }
    // Our certificate says who we are: neither password nor token.
    let shown = format!(
        "certificate = \"{d}/client.pem\"\nkey = \"{d}/client-key.pem\"\n",
        d = exim.dir.display()
    );
    fs::set_permissions(
        exim.dir.join("client-key.pem"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    ways.add("external.starttls", exim.port, false, "EXTERNAL", &shown);
    ways.add("external.implicit", exim.implicit, true, "EXTERNAL", &shown);
    ways.send();
    let log = exim.log();
    for (means, count) in [
        ("A=cram:box", 4),
        ("A=plain:box", 2),
        ("A=login:box", 2),
        ("A=external:box", 2),
    ] {
        let seen = log
            .lines()
            .filter(|l| l.contains(" <= alice@") && l.contains(means));
        assert_eq!(seen.count(), count, "{means}\n{log}");
    }
    let all = log.lines().filter(|line| line.contains(" <= alice@"));
    assert!(
        all.clone().count() == 10 && all.clone().all(|l| l.contains("P=esmtpsa X=TLS1.3")),
        "{log}"
    );
}

/// A smart host that takes one access token, in the clear on loopback, and tells the AUTH commands that it got.
fn token_host(token: &'static str) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            stream.write_all(b"220 token.example\r\n").unwrap();
            let mut body = false;
            while let Some(Ok(line)) = lines.next() {
                let reply = match line.split(' ').next().unwrap() {
                    "." => {
                        body = false;
                        "250 2.0.0 queued"
                    }
                    _ if body => continue,
                    "EHLO" => "250-token.example\r\n250 AUTH PLAIN XOAUTH2",
                    "AUTH" => {
                        let right = line.ends_with(token);
                        tell.send(line).unwrap();
                        if right {
                            "235 2.7.0 welcome"
                        } else {
                            // What is wrong, and after an empty line no.
                            stream
                                .write_all(b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n")
                                .unwrap();
                            assert_eq!(lines.next().unwrap().unwrap(), "");
                            "535 5.7.8 the token has expired"
                        }
                    }
                    "DATA" => {
                        body = true;
                        "354 go"
                    }
                    _ => "250 2.0.0 ok",
                };
                stream.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            }
        }
    });
    (port, told)
}

#[test]
fn a_token_is_read_anew_for_each_login() {
    let folder = Folder::new("token");
    let file = folder.file("token", "old\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    // user=me ^A auth=Bearer new ^A ^A
    let (port, told) = token_host(" dXNlcj1tZQFhdXRoPUJlYXJlciBuZXcBAQ==");
    let url = format!(
        "smtp://me@127.0.0.1:{port}?tls=off&insecure_auth=true&token_file={}",
        file.display()
    );
    let box_ = Mailroot::start(
        &folder.home(),
        &["--smart-host", &url, "--set", "delivery.retry=1s"],
    );
    let mut talk = box_.client("printer.lan");
    talk.send(
        "alice@nas.example",
        &["bob@office.example"],
        "Subject: x\r\n\r\nhi\r\n",
    );
    let line = box_.wait_for("the route is held", |line| line.contains(" way-held "));
    assert!(
        line.contains("the token has expired (AUTH XOAUTH2)"),
        "{line}"
    );
    // Whoever renews it only writes the file: the next step of the waits finds it.
    fs::write(&file, "new\n").unwrap();
    box_.completed(1);
    let first = told.recv().unwrap();
    assert_eq!(first, "AUTH XOAUTH2 dXNlcj1tZQFhdXRoPUJlYXJlciBvbGQBAQ==");
}
