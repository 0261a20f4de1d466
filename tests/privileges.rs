//! Root given up: a service that root started becomes a user, cannot get back, and every door works as before.
#![cfg(test)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, MAILROOT, Mailroot, Sink, Talk, command, have, is_root, must, program, run};

/// Numbers that no account here has.
const USER: u32 = 64_123;
const GROUP: u32 = 64_124;
const OTHER: u32 = 64_200;

/// `\0tim\0hunter2` and `\0eve\0hunter2`.
const TIM: &str = "AUTH PLAIN AHRpbQBodW50ZXIy";
const EVE: &str = "AUTH PLAIN AGV2ZQBodW50ZXIy";

/// Whether this can be shown here: by root, in a folder that others may enter.
fn can(folder: &Folder) -> bool {
    let open = |path: &Path| {
        let mode = path.metadata().map_or(0, |meta| meta.permissions().mode());
        mode & 1 != 0
    };
    let here = is_root() && folder.path().ancestors().all(open);
    if !here {
        println!("skipped: giving up root needs root, and a path that others may enter");
    }
    here
}

/// A port below 1024 that nobody has on loopback.
fn low_port() -> u16 {
    let from = 600 + u16::try_from(std::process::id() % 300).unwrap();
    let mut ports = from..1024;
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port below 1024")
}

fn private(path: &Path) {
    chown(path, Some(0), Some(0)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn send(service: &Mailroot, subject: &str) {
    let text = format!("Subject: {subject}\r\n\r\nhello\r\n");
    service.submit("cam@box.example", &["owner@else.example"], &text);
}

/// Hands in a message with `sendmail`, as this user.
fn sendmail(home: &Path, uid: u32, subject: &str) {
    let mut command = Command::new(MAILROOT);
    command.arg0("sendmail").args(["-t", "-i"]);
    command.env("MAILROOT_HOME", home).uid(uid).gid(uid);
    let text = format!("To: owner@else.example\nSubject: {subject}\n\nhello\n");
    must(&mut command, text.as_bytes());
}

/// The value of a line in the status of each thread.
fn status(service: &Mailroot, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
    let lines = tasks.map(|task| {
        let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let words = line.unwrap().split_whitespace();
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect()
}

fn reload(service: &Mailroot, count: usize, event: &str) -> String {
    service.signal("HUP");
    let lines = service.wait_count("it reloads", count, |line| line.contains(event));
    lines.last().unwrap().clone()
}

fn subjects(sink: &Sink) -> Vec<String> {
    let all = sink.messages().into_iter();
    let mut all: Vec<String> = all.filter_map(|one| one.header("Subject")).collect();
    all.sort();
    all
}

/// A service with files that only root can read, and what they are.
struct Setup {
    home: PathBuf,
    file: PathBuf,
    users: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    hook: PathBuf,
    port: u16,
}

impl Setup {
    fn new(folder: &Folder) -> Self {
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let mut openssl = command("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9",
        ]);
        openssl
            .args(["-subj", "/CN=box.example", "-out"])
            .arg(&certificate);
        must(openssl.arg("-keyout").arg(&key), b"");
        let users = common::user(folder.path(), "tim", "hunter2");
        let secret = folder.file("secret", "nobody's business\n");
        for path in [&certificate, &key, &users, &secret] {
            private(path);
        }
        let text = format!(
            "#!/bin/sh\necho \"I am $(id -u) $(id -G) $(cat {} 2>/dev/null || echo kept-out)\" >&2\n",
            secret.display()
        );
        let hook = folder.file("hook", text);
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            home: folder.home(),
            file: folder.path().join("mailroot.toml"),
            users,
            certificate,
            key,
            hook,
            port: low_port(),
        }
    }

    /// Writes the configuration: these lines at its top and at its end, and the port of the smart host.
    fn configure(&self, top: &str, route: u16, end: &str) {
        let text = format!(
            "home = '{}'\nhostname = 'box.example'\n{top}\n\
             [[listen]]\naddress = '127.0.0.1:{}'\n\
             [tls]\ncertificate = '{}'\nkey = '{}'\n[users]\nfile = '{}'\n\
             [[hook]]\non = ['arrival']\nexec = ['{}']\n\
             [[route]]\nhosts = ['127.0.0.1:{route}']\ntls = 'off'\n{end}",
            self.home.display(),
            self.port,
            self.certificate.display(),
            self.key.display(),
            self.users.display(),
            self.hook.display()
        );
        fs::write(&self.file, text).unwrap();
    }

    fn start(&self) -> Mailroot {
        Mailroot::run(&self.home, &self.file)
    }
}

fn as_user() -> String {
    format!("user = '{USER}'\ngroup = '{GROUP}'")
}

/// With hooks as well.
fn locked_out() -> String {
    format!("{}\nsandbox = 'on'\n", as_user())
}

/// Nothing of root's is left in any thread but ports below 1024, for us alone.
fn is_the_user(service: &Mailroot) {
    let (uid, gid) = (USER.to_string(), GROUP.to_string());
    for (name, want) in [
        ("Uid:", [uid.as_str(); 4].join(" ")),
        ("Gid:", [gid.as_str(); 4].join(" ")),
        ("Groups:", String::new()),
        ("NoNewPrivs:", "1".to_owned()),
        ("CapEff:", "0000000000000400".to_owned()),
        ("CapPrm:", "0000000000000400".to_owned()),
        ("CapBnd:", "0000000000000400".to_owned()),
        ("CapInh:", "0000000000000000".to_owned()),
        ("CapAmb:", "0000000000000000".to_owned()),
    ] {
        let all = status(service, name);
        assert!(all.len() > 2, "it has its threads: {all:?}");
        assert!(all.iter().all(|one| *one == want), "{name} {all:?}");
    }
}

#[test]
fn a_service_of_root_becomes_its_user_and_every_door_works() {
    let folder = Folder::new("privileges");
    if !can(&folder) || !have("smtp-sink") || !have("openssl") {
        return;
    }
    let sink = Sink::start(folder.path(), &[]);
    let it = Setup::new(&folder);
    let pickup = it.home.join("pickup");

    // What a service left that ran as root: a message in its queue, and files that only root could read.
    it.configure("", common::free_port(), "");
    let root = it.start();
    root.wait_for("it says that it is root", |line| {
        line.contains(" user-stays ") && line.contains("mailroot install --prepare")
    });
    send(&root, "queued by root");
    root.kill();
    for (name, uid) in [("left by root", 0), ("left by other", OTHER)] {
        let path = pickup.join(name);
        let text = format!("From: a@box.example\nTo: owner@else.example\nSubject: {name}\n\nx\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
    }

    it.configure(&locked_out(), sink.port, "");
    let service = it.start();
    service.wait_for("it says whom it became", |line| {
        line.contains(&format!("user-changed user={USER} uid={USER} gid={GROUP}"))
    });
    assert!(service.address.port() < 1024);
    is_the_user(&service);
    assert_eq!(fs::metadata(&it.home).unwrap().uid(), USER);
    assert_eq!(fs::metadata(it.home.join("queue")).unwrap().gid(), GROUP);

    send(&service, "by SMTP");
    sendmail(&it.home, OTHER, "by sendmail");
    sendmail(&it.home, 0, "by sendmail of root");
    let text = "From: a@box.example\nTo: owner@else.example\nSubject: by pickup\n\nx\n";
    let letter = folder.file("letter", text);
    chown(&letter, Some(OTHER), Some(OTHER)).unwrap();
    fs::rename(&letter, pickup.join("letter")).unwrap();
    service.completed(7);
    let want = [
        "by SMTP",
        "by pickup",
        "by sendmail",
        "by sendmail of root",
        "left by other",
        "left by root",
        "queued by root",
    ];
    assert_eq!(subjects(&sink), want);
    let said = service.wait_for("the hook says who it is", |line| line.contains("I am "));
    assert!(
        said.contains(&format!("I am {USER} {GROUP} kept-out")),
        "{said}"
    );

    // A kill costs nothing, and the next start finds what it has to.
    it.configure(&locked_out(), common::free_port(), "");
    service.kill();
    let service = it.start();
    send(&service, "before the kill");
    service.kill();
    it.configure(&locked_out(), sink.port, "");
    let service = it.start();
    service.wait_for_empty();
    assert!(subjects(&sink).contains(&"before the kill".to_owned()));
    let log = service.stop();
    assert!(!log.contains(" trouble "), "{log}");
}

#[test]
fn a_reload_keeps_what_only_root_could_read_and_says_what_needs_a_restart() {
    let folder = Folder::new("privileges-reload");
    if !can(&folder) || !have("openssl") {
        return;
    }
    let it = Setup::new(&folder);
    let port = common::free_port();
    it.configure(&as_user(), port, "");
    let service = it.start();
    let login = |line: &str| {
        let mut talk = Talk::connect(service.address);
        assert!(talk.say("EHLO x").contains("STARTTLS"));
        talk.say(line)
    };
    assert!(login(TIM).starts_with("235"));
    reload(&service, 1, " reloaded");
    assert!(login(TIM).starts_with("235"));
    common::user(folder.path(), "eve", "hunter2");
    private(&it.users);
    let why = reload(&service, 1, "what=privileges");
    assert!(
        why.contains("users has changed") && why.contains(&format!("chown {USER}")),
        "{why}"
    );
    assert!(login(TIM).starts_with("235"));
    assert!(login(EVE).starts_with("535"));
    chown(&it.users, Some(USER), Some(GROUP)).unwrap();
    reload(&service, 3, " reloaded");
    assert!(login(EVE).starts_with("235"));

    let aliases = folder.file("aliases", "");
    private(&aliases);
    it.configure(
        &as_user(),
        port,
        &format!("[aliases]\nfile = '{}'\n", aliases.display()),
    );
    let why = reload(&service, 1, "reload-refused");
    assert!(why.contains("aliases cannot be read by the user"), "{why}");
    it.configure("user = 'root'", port, "");
    let why = reload(&service, 2, "reload-refused");
    assert!(why.contains("restart it"), "{why}");
    private(&it.file);
    let why = reload(&service, 3, "reload-refused");
    assert!(
        why.contains("cannot be read") && why.contains("restart the service"),
        "{why}"
    );
    service.stop();
}

#[test]
fn a_server_that_is_stopped_and_started_gets_its_low_port_again() {
    let folder = Folder::new("privileges-port");
    if !can(&folder) {
        return;
    }
    let home = folder.home();
    let file = folder.file(
        "mailroot.toml",
        format!(
            "home = '{}'\nuser = '{USER}'\ngroup = '{GROUP}'\n[[listen]]\naddress = '127.0.0.1:{}'\n",
            home.display(),
            low_port()
        ),
    );
    let service = Mailroot::run(&home, &file);
    for order in ["stop", "start"] {
        service.ask(&[order]);
    }
    service.wait_count("it listens again", 2, |line| line.contains(" listening "));
    send_nothing(&service);
    service.stop();
}

fn send_nothing(service: &Mailroot) {
    let mut talk = Talk::connect(service.address);
    assert!(talk.say("NOOP").starts_with("250"));
}

#[test]
fn several_servers_have_one_user_and_who_wants_another_does_not_start() {
    let folder = Folder::new("privileges-several");
    if !can(&folder) {
        return;
    }
    let files = folder.path().join("servers");
    fs::create_dir(&files).unwrap();
    let write = |name: &str, top: &str| -> PathBuf {
        let home = folder.path().join(name);
        let path = files.join(format!("{name}.toml"));
        let text = format!(
            "home = '{}'\n{top}\n[[listen]]\naddress = '127.0.0.1:{}'\n",
            home.display(),
            common::free_port()
        );
        fs::write(path, text).unwrap();
        home
    };
    let home = write("a", &format!("user = '{USER}'\ngroup = '{GROUP}'"));
    let silent = write("b", "");
    write("c", &format!("user = '{OTHER}'\ngroup = '{GROUP}'"));
    let mut command = program();
    command.arg("run").arg(&files);
    let service = Mailroot::launch(&home, command);
    service.wait_count("two start", 2, |line| line.contains(" started version="));
    let why = service.wait_for("one does not", |line| line.contains("server-failed"));
    assert!(
        why.contains("c.toml") && why.contains("cannot become another"),
        "{why}"
    );
    for home in [home, silent] {
        assert_eq!(fs::metadata(home.join("queue")).unwrap().uid(), USER);
    }
    let all = status(&service, "CapEff:");
    assert!(all.iter().all(|one| one == "0000000000000400"), "{all:?}");
    service.stop();
}

#[test]
fn a_user_who_is_not_known_is_a_mistake_with_its_place() {
    let folder = Folder::new("privileges-unknown");
    for (top, place, why) in [
        (
            "user = 'no-such-user'",
            "1:8",
            "this host has no user \"no-such-user\"",
        ),
        (
            "user = 'root'\ngroup = 'no-such-group'",
            "2:9",
            "this host has no group \"no-such-group\"",
        ),
        ("user = '4000000001'", "1:8", "write group here too"),
        ("group = 'root'", "1:9", "there is a group and no user"),
    ] {
        let home = folder.home();
        let file = folder.file(
            "mailroot.toml",
            format!("{top}\nhome = '{}'\n", home.display()),
        );
        for order in ["run", "check"] {
            let (status, text) = run(program().arg(order).arg(&file), b"");
            assert_eq!(status.code(), Some(78), "{order} {text}");
            let want = format!("mailroot.toml:{place}: ");
            assert!(text.contains(&want) && text.contains(why), "{order} {text}");
        }
        assert!(!home.exists());
    }
    let home = folder.home();
    let mut command = program();
    command
        .args(["run", "--set", "user=no-such-user", "--home"])
        .arg(&home);
    let (status, text) = run(&mut command, b"");
    assert_eq!(status.code(), Some(78), "{text}");
    assert!(text.contains("--set user: this host has no user"), "{text}");
}

#[test]
fn who_is_not_root_stays_who_he_is_and_says_so() {
    let folder = Folder::new("privileges-stays");
    if !can(&folder) {
        return;
    }
    let home = folder.home();
    fs::create_dir(&home).unwrap();
    chown(&home, Some(OTHER), Some(OTHER)).unwrap();
    let args = format!("user={USER}");
    let service = Mailroot::start_with(&home, &["--set", &args, "--set", "group=1"], |command| {
        command.uid(OTHER).gid(OTHER);
    });
    let why = service.wait_for("it says so", |line| line.contains(" user-stays "));
    assert!(why.contains("only root could become another"), "{why}");
    service.stop();
    let service = Mailroot::start_with(&home, &["--set", "user=root"], |_| {});
    let log = service.stop();
    assert!(!log.contains("user-"), "{log}");
}

/// A folder outside of all that a service has, in which everybody may do anything.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mailroot-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "anybody's business\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the service says of its sandbox; nothing when this kernel has none.
fn sandbox(service: &Mailroot) -> Option<String> {
    let line = service.wait_for("it says how it is locked out", |line| {
        line.contains(" sandbox state=")
    });
    if line.contains("the kernel cannot") {
        println!("skipped: this kernel has no Landlock");
        return None;
    }
    Some(line)
}

#[test]
fn a_service_reaches_what_its_configuration_names_and_nothing_else() {
    let folder = Folder::new("privileges-sandbox");
    if !can(&folder) {
        return;
    }
    let elsewhere = Elsewhere::new("sandbox");
    let outside = elsewhere.0.display();
    let text = format!(
        "#!/bin/sh\ncat {outside}/file >/dev/null 2>&1 && read=yes || read=no\n\
         (echo x >{outside}/new) 2>/dev/null && write=yes || write=no\n\
         (echo x >new) 2>/dev/null && home=yes || home=no\necho \"read=$read write=$write home=$home\" >&2\n"
    );
    let hook = folder.file("hook", text);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.path().join("home");
    let top = format!("home = '{}'\n{}\n", home.display(), as_user());
    let rest = "[[listen]]\naddress = '127.0.0.1:0'\n[log]\nlevel = 'debug'\n\
                [local]\ndomains = ['else.example']\n";
    let hooks = format!(
        "[[hook]]\non = ['arrival']\nexec = ['{}']\n",
        hook.display()
    );
    for (sandbox_is, want, said) in [
        ("on", "state=on", "read=no write=no home=yes"),
        ("auto", "there are hooks", "read=yes write=yes home=yes"),
        ("off", "state=off", "read=yes write=yes home=yes"),
    ] {
        let text = format!("{top}sandbox = '{sandbox_is}'\n{rest}{hooks}");
        let service = Mailroot::run(&home, &folder.file("mailroot.toml", text));
        let Some(line) = sandbox(&service) else {
            return;
        };
        assert!(line.contains(want), "{line}");
        send(&service, "look around");
        let line = service.wait_for("the hook has looked", |line| line.contains("read="));
        assert!(line.contains(said), "{sandbox_is}: {line}");
        service.completed(1);
        let log = service.stop();
        assert!(!log.contains(" trouble "), "{log}");
    }

    // Without hooks it is so by itself, and a reload that wants more is refused until a restart.
    let file = folder.file("mailroot.toml", format!("{top}{rest}"));
    let service = Mailroot::run(&home, &file);
    assert!(sandbox(&service).unwrap().contains("state=on"));
    send(&service, "in the sandbox");
    sendmail(&home, OTHER, "in the sandbox");
    service.completed(2);
    reload(&service, 1, " reloaded");
    let more = format!("[[domain]]\ndomains = ['d.example']\ndrop = '{outside}/drop'\n");
    for (number, more) in [(1, &more), (2, &hooks)] {
        fs::write(&file, format!("{top}{rest}{more}")).unwrap();
        let why = reload(&service, number, "reload-refused");
        assert!(
            why.contains("locked itself out") && why.contains("restart it"),
            "{why}"
        );
    }
    fs::write(&file, format!("{top}{rest}")).unwrap();
    reload(&service, 2, " reloaded");
    send(&service, "in the sandbox still");
    service.completed(3);
    service.stop();
    fs::write(&file, format!("{top}{rest}{more}")).unwrap();
    Mailroot::run(&home, &file).stop();
    assert!(elsewhere.0.join("drop").is_dir());
}
