//! Several virtual servers in one process: each with what is its own, and none in another's way.
#![cfg(test)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, Mailroot, Talk, free_port, must, program, run, texts, until_true};

const MAIL: &str = "From: a@nas.example\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
                    Message-ID: <1@nas.example>\r\n\r\nbody\r\n";

/// A virtual server of a test: its file, home and port. All its local mail lands in its drop folder.
struct Server {
    file: PathBuf,
    home: PathBuf,
    port: u16,
}

impl Server {
    /// One called like its file, with these further lines at the top and at the end of it.
    fn new(folder: &Folder, name: &str, top: &str, more: &str) -> Self {
        let this = Self {
            file: folder.path().join("etc").join(format!("{name}.toml")),
            home: folder.path().join(name),
            port: free_port(),
        };
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        fs::write(&this.file, this.text(top, more)).unwrap();
        this
    }

    fn text(&self, top: &str, more: &str) -> String {
        format!(
            "home = '{}'\nhostname = 'box.example'\n{top}\n[[listen]]\naddress = '127.0.0.1:{}'\n\
             [local]\ndomains = ['nas.example']\n{more}\n",
            self.home.display(),
            self.port
        )
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn talk(&self) -> Talk {
        let mut talk = Talk::connect(self.address());
        assert!(talk.say("EHLO printer.lan").starts_with("250"));
        talk
    }

    /// Sends a message to this local part; the reply to its end.
    fn send(&self, to: &str) -> String {
        let to = format!("{to}@nas.example");
        self.talk().send("a@nas.example", &[&to], MAIL)
    }

    /// Who got what is in the drop folder.
    fn dropped(&self) -> Vec<String> {
        let mut all: Vec<String> = texts(&self.home.join("drop"))
            .into_iter()
            .map(|text| {
                let (_, to) = text.split_once("X-Receiver: ").unwrap();
                to.split('@').next().unwrap().to_owned()
            })
            .collect();
        all.sort();
        all
    }

    /// The line that says that it listens.
    fn is_up(&self, box_: &Mailroot) {
        let address = format!(" listening address={}", self.address());
        box_.wait_for("it listens", |line| line.ends_with(&address));
    }

    /// The service refuses connections, or is not there.
    fn is_down(&self) -> bool {
        std::net::TcpStream::connect(self.address()).is_err()
    }
}

/// Runs these files or folders.
fn start<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Mailroot {
    let mut command = program();
    command.arg("run").args(paths);
    Mailroot::launch(Path::new("/"), command)
}

fn started(box_: &Mailroot, count: usize) {
    box_.wait_count("they have started", count, |line| {
        line.contains(" started version=")
    });
}

#[test]
fn each_server_delivers_into_its_own_home_under_its_own_limits() {
    let folder = Folder::new("servers-two");
    let lan = Server::new(&folder, "lan", "", "[limits]\nmessage_bytes = '64KiB'\n");
    let net = Server::new(&folder, "net", "", "[limits]\nmessage_bytes = '2MiB'\n");
    let box_ = start([lan.file.as_path(), &net.file]);
    started(&box_, 2);
    for (server, size) in [(&lan, "65536"), (&net, "2097152")] {
        let mut talk = Talk::connect(server.address());
        let hello = talk.say("EHLO printer.lan");
        assert!(hello.contains(&format!("SIZE {size}\r\n")), "{hello}");
    }
    assert!(lan.send("one").starts_with("250"));
    assert!(net.send("two").starts_with("250"));
    assert!(net.send("three").starts_with("250"));
    box_.completed(3);
    assert_eq!(lan.dropped(), ["one"]);
    assert_eq!(net.dropped(), ["three", "two"]);
    let log = box_.stop();
    assert_eq!(log.matches(" stopped queued=0").count(), 2, "{log}");
}

#[test]
fn a_broken_file_stops_nobody_else_and_starts_when_it_is_mended() {
    let folder = Folder::new("servers-broken");
    let lan = Server::new(&folder, "lan", "", "");
    let net = Server::new(&folder, "net", "", "[limitz]\nx = 1\n");
    let box_ = start([folder.path().join("etc").as_path()]);
    lan.is_up(&box_);
    let line = box_.wait_for("the broken one is told", |line| {
        line.contains(" server-failed ")
    });
    assert!(
        line.contains("net.toml:8:2: there is no section `limitz`"),
        "{line}"
    );
    assert!(lan.send("one").starts_with("250"));
    // Broken still, and told again.
    box_.signal("HUP");
    box_.wait_count("it is told again", 2, |line| {
        line.contains(" server-failed ")
    });
    fs::write(&net.file, net.text("", "")).unwrap();
    box_.signal("HUP");
    net.is_up(&box_);
    started(&box_, 2);
    assert!(net.send("two").starts_with("250"));
    // A mistake in a file whose server runs leaves it as it is.
    fs::write(&lan.file, lan.text("hom = 1", "")).unwrap();
    box_.signal("HUP");
    box_.wait_for("it is refused", |line| line.contains(" reload-refused "));
    // So does a name that another server has.
    fs::write(&lan.file, lan.text("name = 'net'", "")).unwrap();
    box_.signal("HUP");
    box_.wait_for("the name is refused", |line| {
        line.contains(" reload-refused ") && line.contains("the name 'net' is also that of")
    });
    // And a folder that is away stops nobody.
    let (etc, away) = (folder.path().join("etc"), folder.path().join("away"));
    fs::rename(&etc, &away).unwrap();
    box_.signal("HUP");
    box_.wait_for("the folder is missed", |line| {
        line.contains(" reload-refused ") && line.contains("etc: cannot be read")
    });
    fs::rename(&away, &etc).unwrap();
    assert!(lan.send("three").starts_with("250"));
    box_.completed(3);
    assert_eq!(lan.dropped(), ["one", "three"]);
    assert_eq!(net.dropped(), ["two"]);
    box_.stop();
}

#[test]
fn what_belongs_to_one_server_is_refused_to_the_next_by_name() {
    let folder = Folder::new("servers-shared");
    let first = Server::new(&folder, "a", "", "");
    let other = |name: &str, port: u16, home: &Path, more: &str| {
        let mut server = Server::new(&folder, name, "", "");
        server.port = port;
        server.home = home.to_owned();
        fs::write(&server.file, server.text("", more)).unwrap();
        server
    };
    let link = folder.path().join("link");
    fs::create_dir_all(&first.home).unwrap();
    std::os::unix::fs::symlink(&first.home, &link).unwrap();
    let home = |name: &str| folder.path().join(name);
    other("b", free_port(), &link, "");
    other("c", first.port, &home("c"), "");
    let wild = Server::new(&folder, "d", "", "");
    let text = wild.text("", "").replace(
        &format!("127.0.0.1:{}", wild.port),
        &format!("0.0.0.0:{}", first.port),
    );
    fs::write(&wild.file, text).unwrap();
    let control = format!(
        "[control]\nsocket = '{}'\n",
        first.home.join("control.sock").display()
    );
    other("e", free_port(), &home("e"), &control);
    let last = Server::new(&folder, "f", "", "");
    let box_ = start([folder.path().join("etc").as_path()]);
    let told = box_.wait_count("all are told", 4, |line| line.contains(" server-failed "));
    let all = told.join("\n");
    let file = |name: &str| home("etc").join(name).display().to_string();
    for (name, what) in [
        ("b.toml", format!("home {}", link.display())),
        ("c.toml", format!("the address 127.0.0.1:{}", first.port)),
        (
            "d.toml",
            format!(
                "the address 0.0.0.0:{0}, which overlaps with 127.0.0.1:{0},",
                first.port
            ),
        ),
        (
            "e.toml",
            format!(
                "the control socket {}",
                first.home.join("control.sock").display()
            ),
        ),
    ] {
        let sentence = format!(
            "{}: {what} is also that of {}; two servers cannot share it",
            file(name),
            file("a.toml")
        );
        assert!(all.contains(&sentence), "{sentence}\n{all}");
    }
    started(&box_, 2);
    assert!(first.send("one").starts_with("250"));
    assert!(last.send("two").starts_with("250"));
    box_.completed(2);
    box_.stop();
}

#[test]
fn a_process_without_a_server_to_run_ends_with_78() {
    let folder = Folder::new("servers-none");
    let etc = folder.path().join("etc");
    fs::create_dir_all(&etc).unwrap();
    let ends = |args: &[&Path]| run(program().arg("run").args(args), b"");
    let (status, why) = ends(&[&etc]);
    assert_eq!(status.code(), Some(78), "{why}");
    folder.file("etc/a.toml", "x = 1\n");
    folder.file("etc/b.toml", "y = 1\n");
    let (status, why) = ends(&[&etc]);
    assert_eq!(status.code(), Some(78), "{why}");
    assert!(
        why.contains("a.toml:1:1: ") && why.contains("b.toml:1:1: "),
        "{why}"
    );
    let (status, why) = ends(&[&etc, Path::new("--listen"), Path::new("127.0.0.1:0")]);
    assert_eq!(status.code(), Some(64), "{why}");
    // The system's refusals are no fault of the files.
    let good = Server::new(&folder, "c", "", "");
    let busy = std::net::TcpListener::bind(good.address()).unwrap();
    let same = Server::new(&folder, "d", "", "");
    let also = std::net::TcpListener::bind(same.address()).unwrap();
    let (status, why) = ends(&[&good.file, &same.file]);
    assert_eq!(status.code(), Some(75), "{why}");
    drop((busy, also));
}

#[test]
fn files_that_come_and_go_start_and_stop_their_servers_at_a_reload() {
    let folder = Folder::new("servers-reload");
    let etc = folder.path().join("etc");
    let lan = Server::new(&folder, "lan", "", "");
    let net = Server::new(&folder, "net", "", "");
    let box_ = start([etc.as_path()]);
    started(&box_, 2);
    // Another file with the home and the address of one that goes: it has them as soon as they are free.
    fs::rename(&net.file, etc.join("next.toml")).unwrap();
    let new = Server::new(&folder, "new", "", "");
    box_.signal("HUP");
    new.is_up(&box_);
    started(&box_, 4);
    assert!(net.send("one").starts_with("250"));
    assert!(new.send("two").starts_with("250"));
    assert!(lan.send("three").starts_with("250"));
    box_.completed(3);
    fs::remove_file(&lan.file).unwrap();
    box_.signal("HUP");
    box_.wait_count("it stops", 2, |line| line.contains(" stopped queued="));
    assert!(lan.is_down());
    assert!(!lan.home.join("control.sock").exists());
    assert!(new.send("four").starts_with("250"));
    box_.completed(4);
    box_.stop();
}

#[test]
fn a_stop_lets_the_sessions_of_all_servers_end() {
    let folder = Folder::new("servers-stop");
    let lan = Server::new(&folder, "lan", "", "");
    let net = Server::new(&folder, "net", "", "");
    let box_ = start([lan.file.as_path(), &net.file]);
    started(&box_, 2);
    let (one, two) = (lan.talk(), net.talk());
    box_.signal("TERM");
    assert!(one.rest().starts_with("421 4.3.2"));
    assert!(two.rest().starts_with("421 4.3.2"));
    let log = box_.stop();
    assert_eq!(log.matches(" stopped queued=0").count(), 2, "{log}");
}

#[test]
fn a_power_cut_costs_no_server_its_mail() {
    let folder = Folder::new("servers-kill");
    let route = format!(
        "[[route]]\nhosts = ['127.0.0.1:{}']\ntls = 'off'\n",
        free_port()
    );
    let lan = Server::new(&folder, "lan", "", &route);
    let net = Server::new(&folder, "net", "", &route);
    let box_ = start([lan.file.as_path(), &net.file]);
    started(&box_, 2);
    for (server, count) in [(&lan, 3), (&net, 5)] {
        for _ in 0..count {
            let reply = server
                .talk()
                .send("a@nas.example", &["b@office.example"], MAIL);
            assert!(reply.starts_with("250"), "{reply}");
        }
    }
    box_.kill();
    // The other way round, so that it is the home that tells whose mail it is.
    let box_ = start([net.file.as_path(), &lan.file]);
    let lines = box_.wait_count("they have started", 2, |l| l.contains(" started version="));
    for (server, count) in [(&lan, 3), (&net, 5)] {
        let want = format!("home={} queued={count}", server.home.display());
        assert!(lines.iter().any(|line| line.contains(&want)), "{lines:?}");
    }
    box_.stop();
}

/// A command about these servers, said to be well.
fn done(folder: &Folder, words: &[&str]) -> String {
    must(&mut command(folder, words), b"")
}

/// One that is refused: its exit code, and why.
fn refused(folder: &Folder, words: &[&str]) -> (Option<i32>, String) {
    let (status, why) = run(&mut command(folder, words), b"");
    assert!(!status.success(), "{why}");
    (status.code(), why)
}

fn command(folder: &Folder, words: &[&str]) -> Command {
    let mut command = program();
    command
        .args(words)
        .arg("--config")
        .arg(folder.path().join("etc"));
    command
}

/// Puts a message for this local part where programs do.
fn drop_into_pickup(server: &Server, to: &str) {
    let text = format!("X-Sender: a@nas.example\r\nX-Receiver: {to}@nas.example\r\n{MAIL}");
    let path = server.home.join(format!("{to}.eml"));
    fs::write(&path, text).unwrap();
    fs::rename(&path, server.home.join("pickup").join(format!("{to}.eml"))).unwrap();
}

#[test]
fn a_paused_server_takes_nothing_new_and_finishes_what_it_has() {
    let folder = Folder::new("servers-pause");
    let lan = Server::new(&folder, "lan", "", "");
    let net = Server::new(&folder, "net", "", "");
    let box_ = start([folder.path().join("etc").as_path()]);
    started(&box_, 2);
    let mut open = lan.talk();
    assert!(done(&folder, &["pause", "lan"]).contains("new connections are refused"));
    let greeting = Talk::over(std::net::TcpStream::connect(lan.address()).unwrap()).reply();
    assert_eq!(greeting, "421 4.3.2 Service paused; please try later\r\n");
    drop_into_pickup(&lan, "later");
    // Who was in goes on, and its mail is delivered; the other server is none the wiser.
    assert!(
        open.send("a@nas.example", &["one@nas.example"], MAIL)
            .starts_with("250")
    );
    assert!(net.send("two").starts_with("250"));
    box_.completed(2);
    let status = done(&folder, &["status"]);
    assert!(
        status.contains("lan") && status.contains("state: paused; new connections are refused"),
        "{status}"
    );
    let json = done(&folder, &["status", "--json"]);
    let states: Vec<bool> = json
        .lines()
        .map(|l| l.contains("\"state\":\"paused\""))
        .collect();
    assert_eq!(states, [true, false], "{json}");
    // A reload changes nothing about it.
    let said = done(&folder, &["reload"]);
    assert_eq!(said.matches(": reloaded").count(), 2, "{said}");
    assert!(
        Talk::over(std::net::TcpStream::connect(lan.address()).unwrap())
            .reply()
            .starts_with("421")
    );
    assert!(lan.home.join("pickup/later.eml").exists());
    assert_eq!(lan.dropped(), ["one"]);
    done(&folder, &["resume", "lan"]);
    assert!(lan.send("three").starts_with("250"));
    box_.completed(4);
    assert_eq!(lan.dropped(), ["later", "one", "three"]);
    // What came while nobody listened is found, too, and a start ends a pause.
    done(&folder, &["pause", "lan"]);
    done(&folder, &["stop", "lan"]);
    done(&folder, &["start", "lan"]);
    assert!(lan.send("four").starts_with("250"));
    box_.stop();
}

#[test]
fn a_stopped_server_gives_up_everything_but_its_control_socket() {
    let folder = Folder::new("servers-stopped");
    let route = format!(
        "[[route]]\nhosts = ['127.0.0.1:{}']\ntls = 'off'\n",
        free_port()
    );
    let lan = Server::new(&folder, "lan", "", &route);
    let net = Server::new(&folder, "net", "", "");
    let box_ = start([folder.path().join("etc").as_path()]);
    started(&box_, 2);
    let reply = lan
        .talk()
        .send("a@nas.example", &["b@office.example"], MAIL);
    assert!(reply.starts_with("250"), "{reply}");
    let open = lan.talk();
    assert_eq!(done(&folder, &["stop", "lan"]), "stopped\n");
    assert!(open.rest().starts_with("421 4.3.2"));
    assert!(lan.is_down());
    assert!(net.send("one").starts_with("250"));
    let status = done(&folder, &["status", "lan"]);
    assert!(status.contains("\nstate: stopped\n"), "{status}");
    // Its queue lies there, and can be read and exported.
    for words in [&["queue", "list", "--server", "lan"][..], &["mailq"]] {
        let list = done(&folder, words);
        assert!(list.contains("a@nas.example -> b@office.example"), "{list}");
    }
    // Nothing of it is in memory.
    done(&folder, &["sync"]);
    let out = folder.path().join("out").display().to_string();
    done(&folder, &["queue", "export", &out, "--server", "lan"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    for (words, why) in [
        (
            &["pause", "lan"][..],
            "lan is stopped; `mailroot start` starts it",
        ),
        (&["stop", "lan"], "lan is stopped already"),
        (&["start", "net"], "net runs already"),
        (&["queue", "retry", "--server", "lan"], "no service runs on"),
    ] {
        let (code, said) = refused(&folder, words);
        assert!(code == Some(69) && said.contains(why), "{words:?}: {said}");
    }
    // A reload leaves it stopped. What its file says then counts when it starts: it may even be somewhere else.
    let port = free_port();
    let text = lan
        .text("", &route)
        .replace(&lan.port.to_string(), &port.to_string());
    fs::write(&lan.file, &text).unwrap();
    let said = done(&folder, &["reload"]);
    assert!(said.contains("lan is stopped; its file is good"), "{said}");
    assert!(lan.is_down());
    // A broken one is refused, and so is what belongs to another.
    fs::write(&lan.file, format!("hom = 1\n{text}")).unwrap();
    let (_, why) = refused(&folder, &["start", "--server", "lan"]);
    assert!(why.contains("lan.toml:1:1"), "{why}");
    fs::write(
        &lan.file,
        text.replace(&port.to_string(), &net.port.to_string()),
    )
    .unwrap();
    let (_, why) = refused(&folder, &["start", "lan"]);
    assert!(
        why.contains("is also that of") && why.contains("net.toml"),
        "{why}"
    );
    fs::write(&lan.file, &text).unwrap();
    assert_eq!(done(&folder, &["start", "lan"]), "started\n");
    let lan = Server { port, ..lan };
    lan.talk();
    started(&box_, 3);
    let status = done(&folder, &["status", "lan"]);
    assert!(status.contains("queued: 1 messages"), "{status}");
    // Told to end while it is stopped, it goes, and takes its socket with it.
    done(&folder, &["stop", "lan"]);
    assert!(lan.home.join("control.sock").exists());
    box_.stop();
    assert!(!lan.home.join("control.sock").exists());
}

#[test]
fn one_server_alone_is_stopped_and_started_without_a_name_and_leaks_nothing() {
    let folder = Folder::new("servers-alone");
    let home = folder.home();
    let box_ = Mailroot::start(&home, &["--local", "nas.example"]);
    let order = |what: &str| box_.ask(&[what]);
    let count = |what: &str| {
        let path = format!("/proc/{}/{what}", box_.pid());
        fs::read_dir(path).unwrap().count()
    };
    let before = (count("fd"), count("task"));
    for _ in 0..20 {
        assert_eq!(order("stop"), "stopped\n");
        assert_eq!(order("start"), "started\n");
    }
    // Threads that were told to end may still be about to.
    until_true(&format!("there are no more than {before:?}"), || {
        count("fd") <= before.0 && count("task") <= before.1
    });
    drop_into_pickup(
        &Server {
            file: PathBuf::new(),
            home: home.clone(),
            port: 0,
        },
        "one",
    );
    box_.completed(1);
    order("pause");
    order("stop");
    let log = box_.stop();
    assert_eq!(log.matches(" stopped queued=0").count(), 21, "{log}");
    assert!(!home.join("control.sock").exists());
}

#[test]
fn a_server_that_the_system_refuses_something_is_tried_again_and_hurts_nobody() {
    let folder = Folder::new("servers-retry");
    let lan = Server::new(&folder, "lan", "", "");
    let net = Server::new(&folder, "net", "", "");
    let busy = std::net::TcpListener::bind(lan.address()).unwrap();
    let box_ = start([folder.path().join("etc").as_path()]);
    started(&box_, 1);
    let told = box_.wait_for("it is told", |line| line.contains(" server-failed "));
    assert!(
        told.contains("lan.toml") && told.ends_with(" wait=5"),
        "{told}"
    );
    assert!(net.send("one").starts_with("250"));
    let status = done(&folder, &["status"]);
    assert!(
        status.contains("\nstate: failed: cannot listen on "),
        "{status}"
    );
    drop(busy);
    // At the latest; a reload would do it at once.
    lan.is_up(&box_);
    assert!(lan.send("two").starts_with("250"));
    box_.completed(2);
    box_.stop();
}

#[test]
fn operators_of_one_server_order_no_other() {
    if !common::is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let folder = Folder::new("servers-operators");
    for path in folder.path().ancestors() {
        // Somebody else is to reach the sockets.
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).unwrap().permissions().mode();
        if mode & 0o001 == 0 {
            println!("skipped: others cannot reach {}", path.display());
            return;
        }
    }
    let more = "[operators]\nusers = ['65534']\n";
    let lan = Server::new(&folder, "lan", "", more);
    let net = Server::new(&folder, "net", "", "");
    let box_ = start([folder.path().join("etc").as_path()]);
    started(&box_, 2);
    let as_nobody = |words: &[&str]| {
        use std::os::unix::process::CommandExt;
        let mut command = command(&folder, words);
        run(command.uid(65534).gid(65534), b"")
    };
    let (status, said) = as_nobody(&["pause", "lan"]);
    assert!(status.success(), "{said}");
    let (status, said) = as_nobody(&["stop", "lan"]);
    assert!(status.success(), "{said}");
    let (status, said) = as_nobody(&["start", "lan"]);
    assert!(status.success(), "{said}");
    for words in [&["pause", "net"][..], &["stop", "net"], &["reload"]] {
        let (status, said) = as_nobody(words);
        assert_eq!(status.code(), Some(77), "{words:?}: {said}");
    }
    assert!(lan.send("one").starts_with("250"));
    assert!(net.send("two").starts_with("250"));
    box_.completed(2);
    let log = box_.stop();
    assert!(!log.contains(" reloaded"), "{log}");
}
