//! The log as its owner meets it: files in the forms of IIS that real tools read, syslog, and places that are full, dead
//! or slow, none of which mail may notice.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{
    Folder, MAILROOT, Mailroot, PATIENCE, Sink, Talk, command, free_port, have, is_root, must, run,
    wait_until_open,
};

const TEXT: &str = "Message-ID: <1@cam.lan>\r\nSubject: top secret\r\n\r\nsecret\r\n";
const ALL: &str = "log.fields=date,time,c-ip,cs-username,s-sitename,s-computername,s-ip,s-port,cs-method,cs-uri-stem,\
                   cs-uri-query,sc-status,sc-win32-status,sc-bytes,cs-bytes,time-taken,cs-version,cs-host,\
                   cs(User-Agent),cs(Cookie),cs(Referer)";

/// All log files by their names.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

/// Waits until `done` answers something.
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// One message with a refused login and a refused recipient, in by SMTP and out to the sink.
fn one_message(mailroot: &Mailroot) {
    let mut talk = Talk::connect(mailroot.address);
    talk.say("EHLO cam.lan");
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
    let mailroot = Mailroot::start(&folder.path().join("home"), &args);
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
    let home = folder.path().join("home");
    let port = free_port();
    let mut child = Command::new(MAILROOT)
        .args(["run", "--hostname", "box.example", "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["--smart-host", &sink.url(), "--home"])
        .arg(&home)
        .args(["--set", "log.form=json", "--set", "log.dialogue=true"])
        .args(["--set", "log.to=files", "--set", "log.directory=here"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_open(port);
    let mut talk = Talk::connect(([127, 0, 0, 1], port).into());
    talk.say("EHLO cam.lan");
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
        Command::new("kill").args(["-HUP", &child.id().to_string()]),
        b"",
    );
    until("the log is in a new file", || {
        let all = files(&home.join("here"));
        all.get(&name)?
            .contains("\"event\":\"reloaded\"")
            .then_some(())
    });
    // A kill costs no line that was there, and leaves none that is torn.
    talk.send("cam@cam.lan", &["owner@example.org"], TEXT);
    until("the second is delivered", || {
        let all = files(&home.join("here"));
        all.get(&name)?
            .contains("\"event\":\"completed\"")
            .then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let text = files(&home.join("here")).remove(&name).unwrap();
    assert!(
        text.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}')),
        "{text}"
    );
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "", "standard error has nothing");
}

/// A service that logs by syslog; it is not waited for.
fn with_syslog(folder: &Folder, to: &str, port: u16) -> std::process::Child {
    let child = Command::new(MAILROOT)
        .args(["run", "--hostname", "box.example", "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("--home")
        .arg(folder.path().join("home"))
        .args(["--set", "log.to=syslog", "--set"])
        .arg(format!("log.syslog={to}"))
        .args(["--set", "log.facility=local3", "--set", "log.dialogue=true"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until_open(port);
    child
}

fn local_message(port: u16) -> String {
    let mut talk = Talk::connect(([127, 0, 0, 1], port).into());
    talk.say("EHLO cam.lan");
    let reply = talk.send("cam@cam.lan", &["owner@example.org"], TEXT);
    talk.say("QUIT");
    reply
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
    let port = free_port();
    let mut child = with_syslog(&folder, path.to_str().unwrap(), port);
    assert!(local_message(port).starts_with("250"), "nobody listens yet");
    for round in 0..2 {
        let _ = fs::remove_file(&path);
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(local_message(port).starts_with("250"), "{round}");
        let mut block = [0; 4096];
        loop {
            let count = receiver.recv(&mut block).expect("a line of the log");
            let line = std::str::from_utf8(&block[..count]).unwrap();
            if is_message(line, "accepted") {
                break;
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn syslog_over_udp() {
    let folder = Folder::new("logs-udp");
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = free_port();
    let to = format!("udp://{}", receiver.local_addr().unwrap());
    let mut child = with_syslog(&folder, &to, port);
    assert!(local_message(port).starts_with("250"));
    let (mut block, mut seen) = ([0; 4096], Vec::new());
    for kind in ["listening", "started", "accepted", "delivered", "completed"] {
        while !seen.iter().any(|line: &String| is_message(line, kind)) {
            let count = receiver.recv(&mut block).expect(kind);
            seen.push(String::from_utf8(block[..count].to_vec()).unwrap());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
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
    let port = free_port();
    let to = format!("tcp://{}", receiver.local_addr().unwrap());
    let mut child = with_syslog(&folder, &to, port);
    for round in 0..2 {
        let (stream, _) = receiver.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        if round == 0 {
            assert!(local_message(port).starts_with("250"));
        }
        while !is_message(&frame(&mut stream), "completed") {}
        drop(stream);
        assert!(local_message(port).starts_with("250"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_receiver_that_does_not_read_stops_no_mail_and_the_loss_is_told() {
    let folder = Folder::new("logs-slow");
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    // The kernel takes less for it then.
    rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
    let port = free_port();
    let to = format!("tcp://{}", receiver.local_addr().unwrap());
    let mut child = with_syslog(&folder, &to, port);
    let (stream, _) = receiver.accept().unwrap();
    let mut talk = Talk::connect(([127, 0, 0, 1], port).into());
    talk.say("EHLO cam.lan");
    // Each is a line of the log, or several megabytes together.
    let noise = format!("VRFY {}\r\n", "a".repeat(400));
    for _ in 0..300 {
        talk.raw(noise.repeat(20).as_bytes());
        for _ in 0..20 {
            talk.reply();
        }
    }
    assert!(local_message(port).starts_with("250"));
    // It wakes up, and hears how much it has missed.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    while !is_message(&frame(&mut stream), "log-lost") {}
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn who_does_not_read_standard_error_stops_no_mail() {
    let folder = Folder::new("logs-stderr");
    let port = free_port();
    let mut child = Command::new(MAILROOT)
        .args(["run", "--hostname", "box.example", "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("--home")
        .arg(folder.path().join("home"))
        .args(["--set", "log.dialogue=true"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_open(port);
    let mut talk = Talk::connect(([127, 0, 0, 1], port).into());
    talk.say("EHLO cam.lan");
    // A pipe holds 64 KiB, and so do we; a line here is some 100 bytes.
    for _ in 0..3000 {
        talk.raw(b"NOOP\r\n");
        talk.reply();
    }
    assert!(local_message(port).starts_with("250"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, count) = line.split_once(" log-lost lines=")?;
        Some(count.parse::<u32>().unwrap())
    });
    assert!(told.unwrap() > 1000);
    child.kill().unwrap();
    child.wait().unwrap();
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
    let home = folder.path().join("home");
    let args = ["--set", "log.form=ncsa", "--set", &directory];
    let mailroot = Mailroot::start(&home, &args);
    let dialogue = || {
        let all = files(&disk);
        all.into_iter()
            .find(|(name, _)| name.starts_with("nc"))
            .map(|(_, text)| text)
    };
    assert!(local_message(mailroot.port()).starts_with("250"));
    mailroot.wait_for("the trouble is told", |line| {
        line.contains("the log cannot be written: ")
    });
    fs::remove_file(disk.join("foreign")).unwrap();
    assert!(local_message(mailroot.port()).starts_with("250"));
    until("the log goes on", || {
        dialogue().filter(|text| text.contains("DATA -?<1@cam.lan>"))
    });
    mailroot.wait_for("the loss is told", |line| line.contains(" log-lost lines="));
    // Somebody removes the file, too.
    let name = files(&disk).into_keys().find(|name| name.starts_with("nc"));
    fs::remove_file(disk.join(name.unwrap())).unwrap();
    assert!(local_message(mailroot.port()).starts_with("250"));
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
    let home = folder.path().join("home");
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
    let mut talk = Talk::connect(mailroot.address);
    talk.say("EHLO cam.lan");
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
