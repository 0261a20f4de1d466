//! The log as its owner meets it: files in the forms of IIS that real tools read, syslog, and places that are full, dead
//! or slow, none of which mail may notice.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{
    Folder, Mailroot, PATIENCE, Sink, Talk, command, free_port, have, is_root, must, program, run,
    until, until_true, wait_until_open,
};

const TEXT: &str = "Message-ID: <1@cam.lan>\r\nSubject: top secret\r\n\r\nsecret\r\n";
const ALL: &str = "log.fields=date,time,c-ip,cs-username,s-sitename,s-computername,s-ip,s-port,cs-method,cs-uri-stem,\
                   cs-uri-query,sc-status,sc-win32-status,sc-bytes,cs-bytes,time-taken,cs-version,cs-host,\
                   cs(User-Agent),cs(Cookie),cs(Referer)";

/// All log files by their names.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    common::files(folder)
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// A service whose log goes elsewhere than to us. It is killed in the end.
struct Silent {
    child: Child,
    address: SocketAddr,
}

impl Silent {
    /// Starts it with these settings, and waits until it listens.
    fn start(home: &Path, settings: &[&str], stderr: Stdio) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = program();
        command
            .args(["run", "--hostname", "box.example", "--listen"])
            .arg(address.to_string())
            .arg("--home")
            .arg(home);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command.stderr(stderr).spawn().unwrap();
        wait_until_open(address.port());
        Self { child, address }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client that has greeted it.
fn client(address: SocketAddr) -> Talk {
    let mut talk = Talk::connect(address);
    talk.greet("cam.lan");
    talk
}

/// One message with a refused login and a refused recipient, in by SMTP and out to the sink.
fn one_message(mailroot: &Mailroot) {
    let mut talk = client(mailroot.address);
    assert!(talk.say("AUTH PLAIN AHNlY3JldABzZWNyZXQ=").starts_with('5'));
    talk.say("MAIL FROM:<>");
    assert!(talk.say("RCPT TO:<no address>").starts_with('5'));
    talk.say("RSET");
    talk.send("cam@cam.lan", &["owner@example.org"], TEXT);
    talk.say("QUIT");
    mailroot.completed(1);
}

/// Runs one message through with a log of this form; answers with the file.
fn log_of(folder: &Folder, form: &str, more: &[&str]) -> (String, String) {
    let sink = Sink::start(folder.path(), &[]);
    let (url, form) = (sink.url(), format!("log.form={form}"));
    let mut args = vec!["--smart-host", &url, "--set", &form];
    for one in more {
        args.extend(["--set", one]);
    }
    let mailroot = Mailroot::start(&folder.home(), &args);
    one_message(&mailroot);
    let events = mailroot.stop();
    assert!(events.contains(" accepted id=") && events.contains(" completed id="));
    let mut all = files(&folder.path().join("home/logs"));
    assert_eq!(all.len(), 1, "{all:?}");
    all.pop_first().unwrap()
}

#[test]
fn a_w3c_file_has_the_dialogue_of_both_directions_and_lnav_and_goaccess_read_it() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("logs-w3c");
    let (name, text) = log_of(&folder, "w3c", &[ALL, "name=SMTPSVC1"]);
    assert!(
        name.starts_with("ex") && name.len() == "ex261122.log".len(),
        "{name}"
    );
    assert!(!text.contains("AHNl") && !text.contains("secret"), "{text}");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
        .collect();
    assert!(lines.iter().all(|fields| fields.len() == 21), "{text}");
    let said = |fields: &Vec<&str>| {
        (
            fields[8].to_owned(),
            fields[10].to_owned(),
            fields[11].to_owned(),
        )
    };
    let inbound: Vec<_> = lines
        .iter()
        .filter(|f| f[3] == "cam.lan")
        .map(said)
        .collect();
    let want = [
        ("EHLO", "+cam.lan", "250"),
        ("AUTH", "+PLAIN", "503"),
        ("MAIL", "+FROM:<>", "250"),
        ("RCPT", "+TO:<no+address>", "501"),
        ("RSET", "-", "250"),
        ("MAIL", "+FROM:<cam@cam.lan>", "250"),
        ("RCPT", "+TO:<owner@example.org>", "250"),
        ("DATA", "+<1@cam.lan>", "250"),
        ("QUIT", "-", "221"),
    ];
    for ((verb, query, status), (found_verb, found_query, found_status)) in
        want.iter().zip(&inbound)
    {
        assert_eq!(
            (verb, query),
            (&found_verb.as_str(), &found_query.as_str()),
            "{text}"
        );
        assert_eq!(status.chars().next(), found_status.chars().next(), "{text}");
    }
    assert_eq!(inbound.len(), want.len(), "{text}");
    let outbound = |user: &str, has: &str| {
        let fits = |f: &&Vec<&str>| f[3] == user && f[8..11].join(" ").contains(has);
        assert!(lines.iter().any(|f| fits(&f)), "{user} {has}: {text}");
    };
    outbound("OutboundConnectionResponse", "- - 220+");
    outbound("OutboundConnectionCommand", "EHLO - box.example");
    outbound("OutboundConnectionCommand", "MAIL - FROM:<cam@cam.lan>");
    outbound("OutboundConnectionCommand", "RCPT - TO:<owner@example.org>");
    outbound("OutboundConnectionCommand", "DATA - -");
    outbound("OutboundConnectionResponse", "- - 354+");
    outbound("OutboundConnectionCommand", "QUIT - -");
    let count = lines.len();
    let path = folder.path().join("home/logs").join(&name);
    if have("lnav") {
        let query = ";SELECT count(*) AS n, min(c_ip) AS ip, max(cs_bytes) AS most, sum(sc_status = 250) AS good, \
                     max(s_sitename) AS site FROM w3c_log";
        let mut lnav = command("lnav");
        lnav.env("HOME", folder.path());
        lnav.args(["-n", "-N", "-c", query, "-c", ":write-json-to -"])
            .arg(&path);
        let out = must(&mut lnav, b"");
        let good = lines.iter().filter(|f| f[11] == "250").count();
        for want in [
            format!("\"n\": {count},"),
            "\"ip\": \"127.0.0.1\"".to_owned(),
            format!("\"good\": {good},"),
            "\"site\": \"SMTPSVC1\"".to_owned(),
        ] {
            assert!(out.contains(&want), "{want}: {out}");
        }
    }
    let form = "--log-format=%d %t %h %e %^ %^ %^ %^ %^ %^ %U %s %^ %b %^ %L %^";
    goaccess(
        &folder,
        &path,
        &[form, "--date-format=%Y-%m-%d", "--time-format=%T"],
        count,
    );
}

/// GoAccess takes all lines as good ones.
fn goaccess(folder: &Folder, path: &Path, form: &[&str], count: usize) {
    if !have("goaccess") {
        return;
    }
    let report = folder.path().join("report.json");
    let mut goaccess = command("goaccess");
    goaccess
        .arg(path)
        .args(form)
        .arg("--no-strict-status")
        .arg("-o")
        .arg(&report);
    must(&mut goaccess, b"");
    let out = fs::read_to_string(report).unwrap();
    let want = format!("\"valid_requests\": {count},\"failed_requests\": 0,");
    assert!(out.contains(&want), "{want}: {out}");
}

#[test]
fn an_ncsa_file_is_a_common_log_to_goaccess() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("logs-ncsa");
    let (name, text) = log_of(&folder, "ncsa", &["log.rotate=never"]);
    assert_eq!(name, "ncsa1.log");
    assert!(text.contains("127.0.0.1 - cam.lan ["), "{text}");
    assert!(
        text.contains(" +0000] \"MAIL -?FROM:<cam@cam.lan> HTTP/1.0\" 250 "),
        "{text}"
    );
    assert!(
        text.contains("127.0.0.1 - OutboundConnectionResponse ["),
        "{text}"
    );
    let path = folder.path().join("home/logs").join(&name);
    goaccess(
        &folder,
        &path,
        &["--log-format=COMMON"],
        text.lines().count(),
    );
}

#[test]
fn an_iis_file_has_fifteen_fields_as_documented() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("logs-iis");
    let (name, text) = log_of(&folder, "iis", &["name=SMTPSVC1"]);
    assert!(name.starts_with("in"), "{name}");
    for line in text.lines() {
        let fields: Vec<&str> = line.strip_suffix(',').unwrap().split(", ").collect();
        assert_eq!(fields.len(), 15, "{line}");
        assert_eq!(
            (fields[0], fields[4], fields[5]),
            ("127.0.0.1", "SMTPSVC1", "box.example")
        );
        assert!(
            fields[7..12]
                .iter()
                .all(|number| number.parse::<u64>().is_ok()),
            "{line}"
        );
    }
    assert!(text.contains(", MAIL, -, FROM:<cam@cam.lan>,\n"), "{text}");
    assert!(text.contains(", cam.lan, "), "{text}");
}

#[test]
fn the_dialogue_may_be_among_the_events_and_events_may_go_to_files() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("logs-events");
    let sink = Sink::start(folder.path(), &[]);
    let home = folder.home();
    let host = format!("route.hosts=127.0.0.1:{}", sink.port);
    let settings = [
        "log.form=json",
        "log.dialogue=true",
        "log.to=files",
        "log.directory=here",
        &host,
        "route.tls=off",
    ];
    let mut service = Silent::start(&home, &settings, Stdio::piped());
    let mut talk = client(service.address);
    talk.send("cam@cam.lan", &["owner@example.org"], TEXT);
    let text = until("it is delivered", || {
        let all = files(&home.join("here"));
        let text = all.into_values().next()?;
        text.contains("\"event\":\"completed\"").then_some(text)
    });
    for want in [
        "\"event\":\"dialogue\",\"side\":\"client\",\"peer\":\"127.0.0.1\",\"name\":\"cam.lan\",\"verb\":\"MAIL\",\
         \"text\":\"FROM:<cam@cam.lan>\",\"code\":250,\"in\":23,",
        "\"side\":\"command\",\"peer\":\"127.0.0.1\",",
        "\"side\":\"reply\",",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    // logrotate's way: the file gets another name, and a signal has the log opened anew.
    let name = files(&home.join("here")).into_keys().next().unwrap();
    fs::rename(home.join("here").join(&name), home.join("here/old.log")).unwrap();
    must(
        Command::new("kill").args(["-HUP", &service.child.id().to_string()]),
        b"",
    );
    let told = |event: &str| {
        let all = files(&home.join("here"));
        let event = format!("\"event\":\"{event}\"");
        all.get(&name).is_some_and(|text| text.contains(&event))
    };
    until_true("the log is in a new file", || told("reloaded"));
    // A kill costs no line that was there, and leaves none that is torn.
    talk.send("cam@cam.lan", &["owner@example.org"], TEXT);
    until_true("the second is delivered", || told("completed"));
    service.kill();
    let text = files(&home.join("here")).remove(&name).unwrap();
    assert!(
        text.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}')),
        "{text}"
    );
    let mut said = String::new();
    let mut stderr = service.child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "standard error has nothing");
}

/// A service that logs by syslog.
fn with_syslog(folder: &Folder, to: &str) -> Silent {
    let to = format!("log.syslog={to}");
    let settings = [
        "log.to=syslog",
        &to,
        "log.facility=local3",
        "log.dialogue=true",
    ];
    Silent::start(&folder.home(), &settings, Stdio::null())
}

/// A message is taken.
fn takes_a_message(address: SocketAddr) -> bool {
    let mut talk = client(address);
    let reply = talk.send("cam@cam.lan", &["owner@example.org"], TEXT);
    talk.say("QUIT");
    reply.starts_with("250")
}

/// The header of RFC 5424, and what follows it.
fn is_message(line: &str, kind: &str) -> bool {
    let fields: Vec<&str> = line.splitn(8, ' ').collect();
    fields.len() == 8
        && (fields[0] == "<158>1" || fields[0] == "<156>1")
        && fields[1].ends_with('Z')
        && fields[2..4] == ["box.example", "mailroot"]
        && fields[5..7] == [kind, "-"]
        && fields[7].starts_with(kind)
}

#[test]
fn syslog_over_a_unix_socket_survives_a_receiver_that_comes_late_and_goes() {
    let folder = Folder::new("logs-unix");
    let path = folder.path().join("log");
    let service = with_syslog(&folder, path.to_str().unwrap());
    assert!(takes_a_message(service.address), "nobody listens yet");
    for round in 0..2 {
        let _ = fs::remove_file(&path);
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(takes_a_message(service.address), "{round}");
        let mut block = [0; 4096];
        loop {
            let count = receiver.recv(&mut block).expect("a line of the log");
            let line = std::str::from_utf8(&block[..count]).unwrap();
            if is_message(line, "accepted") {
                break;
            }
        }
    }
}

#[test]
fn syslog_over_udp() {
    let folder = Folder::new("logs-udp");
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = format!("udp://{}", receiver.local_addr().unwrap());
    let service = with_syslog(&folder, &to);
    assert!(takes_a_message(service.address));
    let (mut block, mut seen) = ([0; 4096], Vec::new());
    for kind in ["listening", "started", "accepted", "delivered", "completed"] {
        while !seen.iter().any(|line: &String| is_message(line, kind)) {
            let count = receiver.recv(&mut block).expect(kind);
            seen.push(String::from_utf8(block[..count].to_vec()).unwrap());
        }
    }
}

/// One octet-counted message (RFC 6587 s3.4.1).
fn frame(stream: &mut impl BufRead) -> String {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).unwrap();
    let length = std::str::from_utf8(&length).unwrap().trim_end();
    let mut text = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn syslog_over_tcp_counts_octets_and_a_receiver_that_hangs_up_is_called_again() {
    let folder = Folder::new("logs-tcp");
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", receiver.local_addr().unwrap());
    let service = with_syslog(&folder, &to);
    for round in 0..2 {
        let (stream, _) = receiver.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        if round == 0 {
            assert!(takes_a_message(service.address));
        }
        while !is_message(&frame(&mut stream), "completed") {}
        drop(stream);
        assert!(takes_a_message(service.address));
    }
}

#[test]
fn a_receiver_that_does_not_read_stops_no_mail_and_the_loss_is_told() {
    let folder = Folder::new("logs-slow");
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    // The kernel takes less for it then.
    rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
    let to = format!("tcp://{}", receiver.local_addr().unwrap());
    let service = with_syslog(&folder, &to);
    let (stream, _) = receiver.accept().unwrap();
    let mut talk = client(service.address);
    // Each is a line of the log, or several megabytes together.
    let noise = format!("VRFY {}\r\n", "a".repeat(400));
    for _ in 0..300 {
        talk.raw(noise.repeat(20).as_bytes());
        for _ in 0..20 {
            talk.reply();
        }
    }
    assert!(takes_a_message(service.address));
    // It wakes up, and hears how much it has missed.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    while !is_message(&frame(&mut stream), "log-lost") {}
}

#[test]
fn who_does_not_read_standard_error_stops_no_mail() {
    let folder = Folder::new("logs-stderr");
    let mut service = Silent::start(&folder.home(), &["log.dialogue=true"], Stdio::piped());
    let mut talk = client(service.address);
    // A pipe holds 64 KiB, and so do we; a line here is some 100 bytes.
    for _ in 0..3000 {
        talk.raw(b"NOOP\r\n");
        talk.reply();
    }
    assert!(takes_a_message(service.address));
    let mut lines = BufReader::new(service.child.stderr.take().unwrap()).lines();
    let told = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, count) = line.split_once(" log-lost lines=")?;
        Some(count.parse::<u32>().unwrap())
    });
    assert!(told.unwrap() > 1000);
}

/// A file system of this size; `None` when it cannot be had here.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn new(at: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = command("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at);
        if !is_root() || !run(&mut mount, b"").0.success() {
            println!("skipped: a file system of its own (needs root and mount)");
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = command("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_and_a_removed_file_cost_lines_and_no_mail() {
    let folder = Folder::new("logs-full");
    let disk = folder.path().join("disk");
    let Some(mounted) = Tmpfs::new(&disk, "size=64k") else {
        return;
    };
    // Somebody else has filled it.
    let _ = fs::write(disk.join("foreign"), vec![0; 65_536]);
    let directory = format!("log.directory={}", disk.display());
    let home = folder.home();
    let args = ["--set", "log.form=ncsa", "--set", &directory];
    let mailroot = Mailroot::start(&home, &args);
    let dialogue = || {
        let all = files(&disk);
        all.into_iter()
            .find(|(name, _)| name.starts_with("nc"))
            .map(|(_, text)| text)
    };
    assert!(takes_a_message(mailroot.address));
    mailroot.wait_for("the trouble is told", |line| {
        line.contains("the log cannot be written: ")
    });
    fs::remove_file(disk.join("foreign")).unwrap();
    assert!(takes_a_message(mailroot.address));
    until("the log goes on", || {
        dialogue().filter(|text| text.contains("DATA -?<1@cam.lan>"))
    });
    mailroot.wait_for("the loss is told", |line| line.contains(" log-lost lines="));
    // Somebody removes the file, too.
    let name = files(&disk).into_keys().find(|name| name.starts_with("nc"));
    fs::remove_file(disk.join(name.unwrap())).unwrap();
    assert!(takes_a_message(mailroot.address));
    until("the log begins anew", || {
        dialogue().filter(|text| text.contains(" \"QUIT "))
    });
    mailroot.completed(3);
    mailroot.stop();
    drop(mounted);
}

#[test]
fn files_are_rotated_by_size_and_the_oldest_go_at_the_cap() {
    let folder = Folder::new("logs-cap");
    let home = folder.home();
    let args = [
        "--set",
        "log.form=w3c",
        "--set",
        "log.file_bytes=10KB",
        "--set",
        "log.total_bytes=50KB",
        "--set",
        ALL,
    ];
    let mailroot = Mailroot::start(&home, &args);
    let mut talk = mailroot.client("cam.lan");
    let mut names = Vec::new();
    for round in 0..1000 {
        talk.say("NOOP");
        if round % 100 == 0 {
            let all = files(&home.join("logs"));
            let sum: usize = all.values().map(String::len).sum();
            assert!(sum <= 50_000, "{sum}");
            names = all.into_keys().collect();
        }
    }
    assert!(names.len() >= 4, "{names:?}");
    mailroot.stop();
    let all = files(&home.join("logs"));
    for (name, text) in &all {
        assert!(text.len() <= 10_000, "{name}");
        assert!(text.starts_with("#Software: mailroot "), "{name}");
        assert!(text.ends_with('\n'), "{name}");
    }
    assert!(!all.contains_key(&names[0]) || all.len() >= 4, "{names:?}");
    let last: Vec<&String> = all.values().collect();
    assert!(last.iter().any(|text| text.contains(" NOOP - - 250 ")));
}
