//! Postfix's smtp-sink as the smart host, and the messages that it got.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::{command, free_port, is_root, wait_until_open_at};

/// Postfix's smtp-sink, which writes each message into a file.
pub struct Sink {
    child: Child,
    pub port: u16,
    dir: PathBuf,
}

impl Sink {
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::start_at(dir, "sink", "127.0.0.1", free_port(), args)
    }

    /// One of several: with its own folder, address and port.
    pub fn start_at(dir: &Path, name: &str, ip: &str, port: u16, args: &[&str]) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        let mut child = command("smtp-sink");
        // It wants to give up root, and then could not write here.
        if is_root() {
            child.args(["-u", "root"]);
        }
        let child = child
            .args(["-d", "%M."])
            .args(args)
            .arg(format!("{ip}:{port}"))
            .arg("512")
            .current_dir(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until_open_at(ip, port);
        Self { child, port, dir }
    }

    /// The smart host argument that leads here.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=off", self.port)
    }

    /// Everything received, in no order.
    pub fn messages(&self) -> Vec<Received> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir).unwrap() {
            let text = fs::read(entry.unwrap().path()).unwrap();
            if !text.is_empty() {
                all.push(Received::parse(&text));
            }
        }
        all
    }

    /// The one message received.
    pub fn only(&self) -> Received {
        let mut all = self.messages();
        assert_eq!(all.len(), 1, "exactly one message");
        all.pop().unwrap()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message as the sink got it.
#[derive(Debug, Clone)]
pub struct Received {
    pub mail_args: String,
    pub rcpt_args: Vec<String>,
    /// Our own Received field, unfolded.
    pub trace: String,
    /// The message without the sink's and our trace fields; lines end in LF.
    pub text: Vec<u8>,
}

impl Received {
    fn parse(file: &[u8]) -> Self {
        let mut rest = file;
        let (mut mail_args, mut rcpt_args, mut received) = (String::new(), Vec::new(), Vec::new());
        // The sink's own lines, then its Received field, then ours.
        while received.len() < 2 {
            let (field, tail) = field(rest);
            let text = String::from_utf8_lossy(field).replace("\n", " ");
            if let Some(args) = text.strip_prefix("X-Mail-Args: ") {
                args.trim().clone_into(&mut mail_args);
            } else if let Some(args) = text.strip_prefix("X-Rcpt-Args: ") {
                rcpt_args.push(args.trim().to_owned());
            } else if text.starts_with("Received:") {
                received.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
            } else if !text.starts_with("X-") {
                break;
            }
            rest = tail;
        }
        // The sink ends each file with an empty line of its own.
        let text = rest.strip_suffix(b"\n").unwrap_or(rest).to_vec();
        Self {
            mail_args,
            rcpt_args,
            trace: received.get(1).cloned().unwrap_or_default(),
            text,
        }
    }

    /// The first field of this name, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut rest = &self.text[..];
        while !rest.is_empty() && !rest.starts_with(b"\n") {
            let (one, tail) = field(rest);
            let text = String::from_utf8_lossy(one);
            if let Some((key, value)) = text.split_once(':')
                && key.eq_ignore_ascii_case(name)
            {
                return Some(value.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            rest = tail;
        }
        None
    }
}

/// The first header field with its folded lines, and what follows.
fn field(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    loop {
        let line = text[end..]
            .iter()
            .position(|&b| b == b'\n')
            .map_or(text.len(), |at| end + at + 1);
        end = line;
        if end >= text.len() || !matches!(text[end], b' ' | b'\t') {
            return text.split_at(end);
        }
    }
}

/// CRLF to LF, and the lines as the sink would write them.
pub fn as_sunk(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.push(b'\n');
    }
    out
}
