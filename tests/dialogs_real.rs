//! Plays those server stories under `dialogs/` on the real binary over loopback that need no special verdict, no
//! clock of their own and no setting below what the configuration allows: once as a client of this host where that
//! makes no difference, and once behind a load balancer, as the client at 192.0.2.7 that the stories tell of. The
//! machine plays all of them. Then each command in each state, as `matrix.txt` has it, and each mechanism of AUTH.
#![cfg(test)]
#![allow(clippy::string_slice)]

mod common;
#[path = "dialogs/story.rs"]
mod story;
#[path = "dialogs/table.rs"]
mod table;
#[path = "dialogs/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::{Folder, Mailroot, PATIENCE, user_with};
use mailroot::smtp::sasl;
use mailroot::smtp::sasl::codec;
use mailroot::smtp::sasl::scram::{Binding, Hash, ScramClient};
use story::{Story, unescape};
use table::{COMMANDS, STATES};
use wire::Wire;

/// Local parts at which the machine's player says no, and addresses that need its own idea of a host.
const VERDICTS: &[&str] = &["bad@", "nobody@", "full@"];

/// What a story wants of the service.
struct Wish {
    configuration: String,
    /// It tells of a client that is not on this host.
    far: bool,
}

/// The configuration a story wants; `None` when the real service cannot play it.
fn wish(story: &Story, users: &Path) -> Option<Wish> {
    let (mut top, mut limits, mut listen) = (String::new(), String::new(), String::new());
    let (mut tls, mut far) = ("", false);
    let mut auth = String::new();
    // A nonce of ours that the story knows beforehand.
    let known = |rest: &str| rest.contains("cj1yT3ByTkdmd0ViZVJX") || rest.contains("PDE4OTYu");
    if story.name.ends_with("binary_off") {
        // It offers it always.
        return None;
    }
    for (_, word, rest) in &story.lines {
        let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
        match (word.as_str(), key) {
            ("set", "recipients") if value != "1000000" => {
                limits += &format!("recipients = {value}\n");
            }
            ("set", "messages") => limits += &format!("messages_per_connection = {value}\n"),
            ("set", "errors") => limits += &format!("errors = {value}\n"),
            ("set", "default_domain") => top += &format!("default_domain = \"{value}\"\n"),
            ("set", "starttls") => tls = "[tls]\nself_signed = true\n",
            ("set", "require_tls") => {
                listen += "require_tls = true\n";
                far = true;
            }
            ("set", "require_auth") => listen += "require_auth = true\n",
            ("set", "auth") if value.contains("CRAM-MD5") => return None,
            ("set", "auth_without_tls") => listen += "insecure_auth = true\n",
            ("set", "auth") => {
                auth = format!("[users]\nfile = \"{}\"\n", users.display());
                far = true;
            }
            ("set" | "disk:" | "shutdown" | "+" | "paused", _) => return None,
            ("tls:", _) => return None,
            _ if VERDICTS.iter().any(|name| rest.contains(name)) || known(rest) => return None,
            _ => {}
        }
    }
    let configuration = format!(
        "hostname = \"mx.example.com\"\n{top}[[listen]]\naddress = \"127.0.0.1:0\"\n{listen}PROXY\n\
         [access]\nrelay = []\n{tls}{auth}[limits]\nmessage_bytes = \"1000B\"\n{limits}\
         [local]\ndomains = [\"example.com\", \"mx.example.com\", \"nas.lan\"]\n"
    );
    Some(Wish { configuration, far })
}

/// A file with the users that the stories know.
fn users(folder: &Folder) -> PathBuf {
    for (name, password) in [("tim", "tanstaaftanstaaf"), ("user", "pencil")] {
        user_with(folder.path(), name, password, &["--cram-md5"]);
    }
    user_with(folder.path(), "a", "b", &["--cram-md5"])
}

fn start(folder: &Folder, configuration: &str) -> Mailroot {
    let home = folder.home();
    let file = folder.file(
        "mailroot.toml",
        format!("home = \"{}\"\n{configuration}", home.display()),
    );
    Mailroot::run(&home, &file)
}

#[test]
fn the_real_service_keeps_to_the_transcripts() {
    let (mut played, mut left) = (Vec::new(), Vec::new());
    let kept = Folder::new("talk-users");
    let users = users(&kept);
    for entry in fs::read_dir("tests/dialogs/server").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let story = Story::new(name, &fs::read_to_string(&path).unwrap());
        let Some(Wish { configuration, far }) = wish(&story, &users) else {
            left.push(name.to_owned());
            continue;
        };
        let proxied = configuration.replace("PROXY", "proxy_from = [\"127.0.0.1\"]");
        let folder = Folder::new(&format!("talk-far-{name}"));
        play(&story, &folder, &proxied, Some([192, 0, 2, 7]));
        if !far {
            let folder = Folder::new(&format!("talk-{name}"));
            play(&story, &folder, &configuration.replace("PROXY", ""), None);
        }
        played.push(name.to_owned());
    }
    left.sort();
    println!(
        "played {}; by the machine alone: {}",
        played.len(),
        left.join(" ")
    );
    assert!(played.len() >= 25, "{played:?}");
    for name in ["auth", "starttls"] {
        assert!(played.iter().any(|one| one == name), "{name}");
    }
}

fn play(story: &Story, folder: &Folder, configuration: &str, client: Option<[u8; 4]>) {
    let service = start(folder, configuration);
    let home = service.home.clone();
    let mut peer = Wire::connect(service.address, PATIENCE, client);
    let (mut known, mut drop) = (BTreeSet::new(), String::new());
    let (mut closed, mut pending) = (false, Vec::new());
    for (number, word, rest) in &story.lines {
        let at = format!("{}:{number}", story.name);
        match word.as_str() {
            "C:" | "C|" => {
                pending.extend(unescape(rest));
                if word == "C:" {
                    pending.extend_from_slice(b"\r\n");
                }
                continue;
            }
            _ if !pending.is_empty() => {
                // In one piece, as a client that pipelines. It may have hung up already, and what it said then is
                // still to be read.
                let _ = peer.write(&std::mem::take(&mut pending));
            }
            _ => {}
        }
        match word.as_str() {
            "S:" | "S~" => {
                let wanted = match client {
                    Some(_) => rest.clone(),
                    None => rest.replace("192.0.2.7", "127.0.0.1"),
                };
                let mut said = line(&mut peer, &at);
                if said == "250-BINARYMIME" && said != wanted {
                    // The service offers what the machine does only when told to.
                    said = line(&mut peer, &at);
                }
                let offered = |text: &str| -> BTreeSet<String> {
                    text.split(' ').map(str::to_owned).collect()
                };
                let right = if wanted.starts_with("250-AUTH ") {
                    // The service offers all that it can.
                    offered(&said).is_superset(&offered(&wanted))
                } else if word == "S~" {
                    said.starts_with(&wanted)
                } else {
                    said == wanted
                };
                assert!(right, "{at}: said {said:?}; wanted {wanted:?}");
            }
            "tls" => {
                peer.secure();
            }
            "eof" => peer.finish(),
            "closed" => {
                let more = peer.rest();
                assert!(
                    more.is_empty(),
                    "{at}: also said {:?}",
                    String::from_utf8_lossy(&more)
                );
                closed = true;
            }
            "mail:" => {
                drop = dropped(&service, &mut known);
                let (sender, recipients) = rest.split_once(' ').unwrap();
                let values = |name: &str| -> Vec<String> {
                    let fields = drop.lines().take_while(|line| !line.is_empty());
                    fields
                        .filter_map(|line| line.strip_prefix(name))
                        .map(|value| value.trim().trim_matches(['<', '>']).to_owned())
                        .collect()
                };
                assert_eq!(
                    values("X-Sender:"),
                    [sender.trim_matches(['<', '>'])],
                    "{at}"
                );
                assert_eq!(values("X-Receiver:").join(","), recipients, "{at}");
            }
            "stored:" => {
                let text = if drop.is_empty() {
                    dropped(&service, &mut known)
                } else {
                    std::mem::take(&mut drop)
                };
                let body = String::from_utf8(unescape(rest)).unwrap();
                // Above it stand the envelope, the trace and what was missing in the header.
                let (header, body) = body.split_once("\r\n\r\n").unwrap_or(("", &body));
                let (above, _) = text.split_once("\r\n\r\n").unwrap();
                let whole = header
                    .lines()
                    .all(|field| above.lines().any(|l| l == field))
                    && text.ends_with(&format!("\r\n\r\n{body}"));
                assert!(whole, "{at}: {text:?} does not hold {body:?}");
            }
            "aborted" | "set" => {}
            other => panic!("{at}: what is {other}?"),
        }
    }
    if !closed {
        pending.extend_from_slice(b"QUIT\r\n");
        let _ = peer.write(&pending);
        let said = line(&mut peer, &story.name);
        assert!(
            said.starts_with("221 "),
            "{}: also said {said:?}",
            story.name
        );
    }
    service.stop();
    let files = files(&home.join("drop"));
    assert_eq!(files, known, "{}: dropped more", story.name);
}

/// The next line of the service, as the machine would have said it in its own test.
fn line(peer: &mut Wire, at: &str) -> String {
    loop {
        let said = peer.line().unwrap_or_else(|error| panic!("{at}: {error}"));
        let said = said.unwrap_or_else(|| panic!("{at}: it hung up"));
        if said.starts_with("250-LIMITS") {
            continue;
        }
        let queued = said
            .strip_prefix("250 2.6.0 ")
            .and_then(|rest| rest.split_once(' '));
        return match queued {
            Some((_id, rest)) => format!("250 2.6.0 11 {rest}"),
            None => said,
        };
    }
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The message that is dropped next.
fn dropped(service: &Mailroot, known: &mut BTreeSet<PathBuf>) -> String {
    service.completed(known.len() + 1);
    let now = files(&service.home.join("drop"));
    let fresh: Vec<_> = now.difference(known).cloned().collect();
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    *known = now;
    fs::read_to_string(&fresh[0]).unwrap()
}

/// The code of the next reply, all its lines read.
fn code(peer: &mut Wire, at: &str) -> String {
    loop {
        let said = peer.line().unwrap_or_else(|error| panic!("{at}: {error}"));
        let said = said.unwrap_or_else(|| panic!("{at}: it hung up"));
        if said.as_bytes().get(3) == Some(&b' ') {
            return said[..3].to_owned();
        }
    }
}

#[test]
fn each_command_in_each_state_is_answered_by_the_real_service_as_the_table_says() {
    let folder = Folder::new("matrix");
    let users = users(&folder);
    let ports = [
        common::free_port(),
        common::free_port(),
        common::free_port(),
    ];
    let listen =
        |port: u16, more: &str| format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n{more}\n");
    let service = start(
        &folder,
        &format!(
            "hostname = \"mx.example.com\"\n{}{}{}[tls]\nself_signed = true\n[users]\nfile = \"{}\"\n\
             [access]\netrn = [\"127.0.0.1\"]\n[local]\ndomains = [\"b\"]\nmailboxes = [\"a\"]\n\
             [[route]]\nto = [\"held.example\"]\nvia = \"hold\"\nfetched_by = [\"a\"]\n",
            listen(ports[0], ""),
            listen(ports[1], "require_tls = true"),
            listen(ports[2], "require_auth = true"),
            users.display()
        ),
    );
    let text = fs::read_to_string("tests/dialogs/matrix.txt").unwrap();
    let (_, rows) = text.split_once("\n\n").unwrap();
    let mut cells = 0;
    for (row, command) in rows.lines().skip(1).zip(COMMANDS) {
        let wanted: Vec<&str> = row[20..].split_whitespace().collect();
        for ((state, before), cell) in STATES.iter().zip(wanted) {
            let port = match *state {
                "needtls" => ports[1],
                "needauth" => ports[2],
                _ => ports[0],
            };
            one_cell(port, state, before, command, cell);
            cells += 1;
        }
    }
    assert_eq!(cells, COMMANDS.len() * STATES.len());
    service.stop();
}

/// One command in one state, and that the dialog is in step afterwards.
fn one_cell(port: u16, state: &str, before: &[&str], command: &str, cell: &str) {
    let at = format!("{command:?} in {state}");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut peer = Wire::connect(address, PATIENCE, None);
    assert_eq!(code(&mut peer, &at), "220");
    for said in before {
        match *said {
            "(tls)" => {
                peer.secure();
                continue;
            }
            "hi" => peer.write(b"hi").unwrap(),
            line => peer.write(format!("{line}\r\n").as_bytes()).unwrap(),
        }
        // A part is answered when all of it is there, text not at all.
        if !said.starts_with("BDAT 2") && *said != "text" {
            let said = code(&mut peer, &at);
            assert!(said.starts_with(['2', '3']), "{at}: {said}");
        }
    }
    peer.write(format!("{command}\r\n").as_bytes()).unwrap();
    let closes = cell.ends_with('x');
    let codes = cell.trim_end_matches(['x', 't', '+', '-']);
    // What is held for whom the machine's driver knows, the real service has to be told.
    let (codes, closes) = match command.split(' ').next().unwrap() {
        "ETRN" if codes == "250" => ("459", false),
        "ATRN" if codes == "250" => ("450", false),
        _ => (codes, closes),
    };
    for want in codes.split(',').filter(|codes| !codes.is_empty()) {
        assert_eq!(code(&mut peer, &at), want, "{at}");
    }
    let (then, want) = match cell {
        _ if closes => {
            assert_eq!(peer.rest(), b"", "{at}");
            return;
        }
        "220t" => {
            peer.secure();
            ("EHLO x", "250")
        }
        "-+" => (".", "250"),
        "354+" => (".", "250"),
        "334+" => ("*", "501"),
        _ => ("NOOP", "250"),
    };
    peer.write(format!("{then}\r\n").as_bytes()).unwrap();
    assert_eq!(code(&mut peer, &at), want, "{at}, then {then}");
}

#[test]
fn each_mechanism_logs_in_to_the_real_service_in_clear_and_inside_tls() {
    let folder = Folder::new("mechanisms");
    let users = users(&folder);
    let (starttls, implicit) = (common::free_port(), common::free_port());
    let service = start(
        &folder,
        &format!(
            "[[listen]]\naddress = \"127.0.0.1:{starttls}\"\ncram_md5 = true\n\
             [[listen]]\naddress = \"127.0.0.1:{implicit}\"\ncram_md5 = true\ntls = \"implicit\"\n\
             [tls]\nself_signed = true\n[users]\nfile = \"{}\"\n[access]\nrelay = []\n",
            users.display()
        ),
    );
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    for how in ["clear", "starttls", "implicit"] {
        for mechanism in [
            "PLAIN",
            "LOGIN",
            "CRAM-MD5",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256-PLUS",
        ] {
            for (password, right) in [("pencil", true), ("pen", false)] {
                let at = format!("{mechanism} {how} {password}");
                let port = if how == "implicit" {
                    implicit
                } else {
                    starttls
                };
                let mut peer = Wire::connect(address(port), PATIENCE, None);
                let mut exporter = None;
                if how == "implicit" {
                    exporter = Some(peer.secure());
                }
                assert_eq!(code(&mut peer, &at), "220");
                say(&mut peer, "EHLO x", "250", &at);
                if how == "starttls" {
                    say(&mut peer, "STARTTLS", "220", &at);
                    exporter = Some(peer.secure());
                    say(&mut peer, "EHLO x", "250", &at);
                }
                let done = login(&mut peer, mechanism, password, exporter, &at);
                let want = match (mechanism, how, right) {
                    ("SCRAM-SHA-256-PLUS", "clear", _) => "504",
                    (_, _, true) => "235",
                    (_, _, false) => "535",
                };
                assert_eq!(done, want, "{at}");
                say(&mut peer, "MAIL FROM:<>", "250", &at);
                let relay = if want == "235" { "250" } else { "550" };
                say(&mut peer, "RCPT TO:<a@else.example>", relay, &at);
            }
        }
    }
    service.stop();
}

fn say(peer: &mut Wire, line: &str, want: &str, at: &str) {
    peer.write(format!("{line}\r\n").as_bytes()).unwrap();
    assert_eq!(code(peer, at), want, "{at}: {line}");
}

/// Logs `user` in; the last code.
fn login(
    peer: &mut Wire,
    mechanism: &str,
    password: &str,
    exporter: Option<[u8; 32]>,
    at: &str,
) -> String {
    let ask = |peer: &mut Wire, line: String| {
        peer.write(format!("{line}\r\n").as_bytes()).unwrap();
        line_of(peer, at)
    };
    let encoded = |text: &str| codec::encode(text.as_bytes());
    let said = match mechanism {
        "PLAIN" => {
            let text = encoded(&format!("\0user\0{password}"));
            ask(peer, format!("AUTH PLAIN {text}"))
        }
        "LOGIN" => {
            assert_eq!(ask(peer, "AUTH LOGIN".to_owned()), "334 VXNlcm5hbWU6");
            assert_eq!(ask(peer, encoded("user")), "334 UGFzc3dvcmQ6");
            ask(peer, encoded(password))
        }
        "CRAM-MD5" => {
            let said = ask(peer, "AUTH CRAM-MD5".to_owned());
            let challenge = codec::decode(said.strip_prefix("334 ").unwrap().as_bytes());
            ask(peer, sasl::cram_md5("user", password, &challenge.unwrap()))
        }
        scram => {
            let binding = match (scram, exporter) {
                ("SCRAM-SHA-256-PLUS", Some(exporter)) => Binding::Used(exporter),
                _ => Binding::None,
            };
            let (client, first) =
                ScramClient::begin(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO", binding);
            let said = ask(peer, format!("AUTH {scram} {}", encoded(&first)));
            let Some(challenge) = said.strip_prefix("334 ") else {
                return said[..3].to_owned();
            };
            let challenge = codec::decode_text(challenge.as_bytes()).unwrap();
            let (proof, server) = client.answer(&challenge, password).unwrap();
            let said = ask(peer, encoded(&proof));
            let Some(answer) = said.strip_prefix("334 ") else {
                return said[..3].to_owned();
            };
            assert_eq!(
                codec::decode_text(answer.as_bytes()).unwrap(),
                server,
                "{at}"
            );
            ask(peer, String::new())
        }
    };
    said[..3].to_owned()
}

fn line_of(peer: &mut Wire, at: &str) -> String {
    let said = peer.line().unwrap_or_else(|error| panic!("{at}: {error}"));
    said.unwrap_or_else(|| panic!("{at}: it hung up"))
}
