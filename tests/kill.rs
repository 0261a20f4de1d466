//! `kill -9` under load: whatever got its 250 arrives, however often the service is shot (promises G1, G2).
//!
//! smtp-source sends through a proxy of ours that notes each Message-ID whose final dot was answered with 250. After
//! twenty rounds the service is left alone until its queue is empty, and every noted id must be at the sink.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

use common::{Folder, Mailroot, PATIENCE, Sink, command, have};

/// The ids that were acknowledged, and somebody who waits for more of them.
#[derive(Default)]
struct Acked {
    ids: Mutex<Vec<String>>,
    news: Condvar,
}

impl Acked {
    fn note(&self, id: String) {
        self.ids.lock().unwrap().push(id);
        self.news.notify_all();
    }

    fn wait_for(&self, count: usize) {
        let ids = self.ids.lock().unwrap();
        let (ids, timeout) = self
            .news
            .wait_timeout_while(ids, PATIENCE, |ids| ids.len() < count)
            .unwrap();
        assert!(!timeout.timed_out(), "only {} acknowledged", ids.len());
    }
}

/// Passes one connection on, line by line.
fn relay(client: TcpStream, server: SocketAddr, acked: &Acked) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut to_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    let mut reply = |to_client: &mut TcpStream| -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let start = all.len();
            if server.read_until(b'\n', &mut all)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if all.get(start + 3) != Some(&b'-') {
                to_client.write_all(&all)?;
                return Ok(all);
            }
        }
    };
    reply(&mut to_client)?;
    loop {
        let mut line = Vec::new();
        if client.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        to_server.write_all(&line)?;
        let answer = reply(&mut to_client)?;
        if !answer.starts_with(b"354") {
            continue;
        }
        let mut id = String::new();
        while line != b".\r\n" {
            line.clear();
            if client.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(value) = text.strip_prefix("Message-Id:") {
                value.trim().clone_into(&mut id);
            }
            to_server.write_all(&line)?;
        }
        if reply(&mut to_client)?.starts_with(b"250") {
            acked.note(id);
        }
    }
}

fn proxy(server: SocketAddr, acked: &Arc<Acked>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let acked = Arc::clone(acked);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let acked = Arc::clone(&acked);
            // A connection that breaks is what this test is about.
            std::thread::spawn(move || relay(client, server, &acked));
        }
    });
    address
}

#[test]
fn what_got_its_250_survives_twenty_kills() {
    if !have("smtp-source") || !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("kill");
    let sink = Sink::start(folder.path(), &[]);
    let home = folder.home();
    let args = ["--smart-host", &sink.url()];
    let acked = Arc::new(Acked::default());
    for round in 1..=20 {
        let box_ = Mailroot::start(&home, &args);
        let through = proxy(box_.address, &acked);
        let before = acked.ids.lock().unwrap().len();
        // Small ones that live in the journal, every fourth round large ones that live in files.
        let size = if round % 4 == 0 { "100000" } else { "2000" };
        let mut source = command("smtp-source")
            .args([
                "-s",
                "8",
                "-m",
                "100000",
                "-l",
                size,
                "-f",
                "a@nas.example",
                "-t",
                "b@office.example",
            ])
            .arg(through.to_string())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        acked.wait_for(before + 20 + round * 3);
        box_.kill();
        let _ = source.kill();
        source.wait().unwrap();
    }
    let acked = acked.ids.lock().unwrap().clone();

    let box_ = Mailroot::start(&home, &args);
    box_.wait_for_empty();
    drop(box_);
    let mut at_sink = BTreeMap::<String, usize>::new();
    for message in sink.messages() {
        *at_sink
            .entry(message.header("Message-Id").unwrap_or_default())
            .or_default() += 1;
    }
    let missing: Vec<_> = acked
        .iter()
        .filter(|id| !at_sink.contains_key(*id))
        .collect();
    let twice: usize = at_sink.values().map(|n| n - 1).sum();
    println!(
        "20 kills: {} acknowledged, {} missing, {twice} duplicates, {} arrived whose sender never read the 250",
        acked.len(),
        missing.len(),
        at_sink.keys().filter(|id| !acked.contains(id)).count()
    );
    assert!(
        missing.is_empty(),
        "acknowledged but not delivered: {missing:?}"
    );
}
