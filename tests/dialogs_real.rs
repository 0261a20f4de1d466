//! Plays those server stories under `dialogs/` on the real binary over loopback that need no special verdict, no
//! clock of their own and no setting below what the configuration allows. The machine plays all of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "dialogs/story.rs"]
mod story;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, MAILROOT, Mailroot, PATIENCE};
use story::{Story, unescape};

/// Local parts at which the machine's player says no, and addresses that need its own idea of a host.
const VERDICTS: &[&str] = &["bad@", "nobody@", "full@"];

/// The configuration a story wants; `None` when the real service cannot play it.
fn configuration(story: &Story) -> Option<String> {
    let (mut top, mut limits) = (String::new(), String::new());
    for (_, word, rest) in &story.lines {
        let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
        match (word.as_str(), key) {
            ("set", "recipients") if value != "1000000" => {
                limits += &format!("recipients = {value}\n");
            }
            ("set", "messages") => limits += &format!("messages_per_connection = {value}\n"),
            ("set", "errors") => limits += &format!("errors = {value}\n"),
            ("set", "default_domain") => top += &format!("default_domain = \"{value}\"\n"),
            ("set" | "disk:" | "shutdown" | "tls" | "tls:" | "+" | "paused", _) => return None,
            _ if VERDICTS.iter().any(|name| rest.contains(name)) => return None,
            _ => {}
        }
    }
    Some(format!(
        "hostname = \"mx.example.com\"\n{top}[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [access]\nrelay = [\"192.0.2.0/24\"]\n[limits]\nmessage_bytes = \"1000B\"\n{limits}\
         [local]\ndomains = [\"example.com\", \"mx.example.com\", \"nas.lan\"]\n"
    ))
}

#[test]
fn the_real_service_keeps_to_the_transcripts() {
    let (mut played, mut left) = (Vec::new(), Vec::new());
    for entry in fs::read_dir("tests/dialogs/server").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let story = Story::new(name, &fs::read_to_string(&path).unwrap());
        let Some(configuration) = configuration(&story) else {
            left.push(name.to_owned());
            continue;
        };
        let folder = Folder::new(&format!("talk-{name}"));
        play(&story, &folder, &configuration);
        played.push(name.to_owned());
    }
    left.sort();
    println!(
        "played {}; by the machine alone: {}",
        played.len(),
        left.join(" ")
    );
    assert!(played.len() >= 20, "{played:?}");
}

fn play(story: &Story, folder: &Folder, configuration: &str) {
    let home = folder.path().join("home");
    let file = folder.file(
        "mailroot.toml",
        format!("home = \"{}\"\n{configuration}", home.display()),
    );
    let mut command = Command::new(MAILROOT);
    command.arg("run").arg(file);
    let service = Mailroot::spawn(&home, command);
    let stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = BufReader::new(stream);
    let (mut known, mut drop) = (BTreeSet::new(), String::new());
    let mut closed = false;
    for (number, word, rest) in &story.lines {
        let at = format!("{}:{number}", story.name);
        match word.as_str() {
            "C:" | "C|" => {
                let mut bytes = unescape(rest);
                if word == "C:" {
                    bytes.extend_from_slice(b"\r\n");
                }
                // It may have hung up already, and what it said then is still to be read.
                let _ = peer.get_mut().write_all(&bytes);
            }
            "S:" | "S~" => {
                let said = line(&mut peer, &at);
                let wanted = rest.replace("192.0.2.7", "127.0.0.1");
                let right = if word == "S~" {
                    said.starts_with(&wanted)
                } else {
                    said == wanted
                };
                assert!(right, "{at}: said {said:?}; wanted {wanted:?}");
            }
            "eof" => {
                peer.get_mut().shutdown(Shutdown::Write).unwrap();
            }
            "closed" => {
                let mut more = Vec::new();
                // A peer that had sent more than was read is reset.
                let _ = peer.read_to_end(&mut more);
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
        let _ = peer.get_mut().write_all(b"QUIT\r\n");
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
fn line(peer: &mut BufReader<TcpStream>, at: &str) -> String {
    loop {
        let mut said = String::new();
        peer.read_line(&mut said)
            .unwrap_or_else(|error| panic!("{at}: {error}"));
        let said = said
            .strip_suffix("\r\n")
            .unwrap_or_else(|| panic!("{at}: half a line: {said:?}"));
        if said.starts_with("250-LIMITS") {
            continue;
        }
        let queued = said
            .strip_prefix("250 2.6.0 ")
            .and_then(|rest| rest.split_once(' '));
        return match queued {
            Some((_id, rest)) => format!("250 2.6.0 11 {rest}"),
            None => said.to_owned(),
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
