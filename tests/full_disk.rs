//! A disk of its own, filled to the brim while fifty senders push: every 250 is kept, every refusal is a 452, and when
//! the next hop is back the queue drains to nothing without help (promise G4).
//!
//! The disk is ext4 on a loop device, so the kernel's own ENOSPC is what the journal meets. Needs root.
#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{Folder, Mailroot, Talk, command, free_port, must, run};

/// A file system of its own in a file; unmounted in the end.
struct Mount(PathBuf);

impl Mount {
    /// `None` when this machine does not let us.
    fn new(folder: &Path, mebibytes: u64, inodes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !common::have("mkfs.ext4") {
            println!("skipped: a full disk (needs root, mkfs.ext4 and a loop device)");
            return None;
        }
        let (image, at) = (folder.join("image"), folder.join("mnt"));
        fs::create_dir(&at).unwrap();
        let file = fs::File::create(&image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        let (image, count) = (image.to_str().unwrap(), inodes.to_string());
        let made = ["-q", "-F", "-m", "0", "-J", "size=1", "-b", "1024", "-N"];
        must(command("mkfs.ext4").args(made).args([&count, image]), b"");
        let mut mount = command("mount");
        let (status, why) = run(mount.args(["-o", "loop", image]).arg(&at), b"");
        if !status.success() {
            println!("skipped: a full disk ({})", why.trim());
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Busy for a moment after a kill; what stays mounted is in the way of nobody.
        let _ = command("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Takes everything on this port from now on, and keeps the subjects.
fn sink(port: u16) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let subjects = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&subjects);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let all = Arc::clone(&all);
            std::thread::spawn(move || take(stream, &all));
        }
    });
    subjects
}

fn take(stream: std::net::TcpStream, all: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    out.write_all(b"220 sink.example\r\n")?;
    while let Some(line) = lines.next() {
        let verb = line?.to_ascii_uppercase();
        if verb != "DATA" {
            out.write_all(b"250 2.0.0 ok\r\n")?;
            continue;
        }
        out.write_all(b"354 go on\r\n")?;
        let mut subject = None;
        for line in lines.by_ref() {
            let line = line?;
            if line == "." {
                break;
            }
            if subject.is_none() {
                subject = line.strip_prefix("Subject: ").map(str::to_owned);
            }
        }
        all.lock().unwrap().extend(subject);
        out.write_all(b"250 2.0.0 taken\r\n")?;
    }
    Ok(())
}

#[derive(Default)]
struct Heard {
    kept: BTreeSet<String>,
    /// At MAIL, and after the dot.
    refused: (usize, usize),
    other: Vec<String>,
}

/// One sender that pushes until it was refused so often in a row.
fn push(box_: std::net::SocketAddr, sender: usize, heard: &Mutex<Heard>) {
    let mut talk = Talk::connect(box_);
    talk.say("EHLO printer.lan");
    let mut refusals = 0;
    for round in 0.. {
        let subject = format!("{sender}-{round}");
        // Every tenth is large: a file beside the journal. Half of the senders say how large.
        let size = if (sender + round).is_multiple_of(10) {
            90_000
        } else {
            1500
        };
        let announced = match sender % 2 {
            0 => format!(" SIZE={size}"),
            _ => String::new(),
        };
        let reply = talk.say(&format!("MAIL FROM:<a@nas.example>{announced}"));
        let refused = reply.starts_with("452 4.3.1 ");
        if refused {
            heard.lock().unwrap().refused.0 += 1;
        } else if reply.starts_with("250") {
            talk.say("RCPT TO:<b@office.example>");
            assert!(talk.say("DATA").starts_with("354"));
            let line = format!("{}\r\n", "x".repeat(78));
            let body = line.repeat(size / line.len());
            let reply = talk.say(&format!("Subject: {subject}\r\n\r\n{body}."));
            let mut heard = heard.lock().unwrap();
            if reply.starts_with("250") {
                heard.kept.insert(subject);
                refusals = 0;
                continue;
            } else if reply.starts_with("452 4.3.1 ") {
                heard.refused.1 += 1;
            } else {
                heard.other.push(reply);
            }
        } else {
            heard.lock().unwrap().other.push(reply);
        }
        refusals += 1;
        if refusals == 20 {
            return;
        }
    }
}

fn fifty_senders(box_: &Mailroot) -> Heard {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let senders: Vec<_> = (0..50)
        .map(|sender| {
            let (at, heard) = (box_.address, Arc::clone(&heard));
            std::thread::spawn(move || push(at, sender, &heard))
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    std::mem::take(&mut heard.lock().unwrap())
}

#[test]
fn a_disk_filled_by_fifty_senders_keeps_every_250_and_drains_to_empty() {
    let folder = Folder::new("full-disk");
    let Some(disk) = Mount::new(folder.path(), 24, 4000) else {
        return;
    };
    let home = disk.0.join("home");
    let port = free_port();
    let url = format!("smtp://127.0.0.1:{port}?tls=off");
    let args = ["--smart-host", &url, "--set", "limits.free_bytes=1MB"];
    let more = [
        "--set",
        "limits.connections=100",
        "--set",
        "limits.errors=1000",
    ];
    let more = [
        &args[..],
        &more,
        &["--set", "limits.connections_per_client=100"],
    ]
    .concat();
    let box_ = Mailroot::start(&home, &more);
    let heard = fifty_senders(&box_);
    let (kept, early, late) = (heard.kept.len(), heard.refused.0, heard.refused.1);
    println!("{kept} kept, {early} refused at MAIL, {late} after the dot");
    assert_eq!(heard.other, Vec::<String>::new(), "neither 250 nor 452");
    assert!(
        kept > 1000 && early > 0,
        "{kept} kept, {early} refused at MAIL"
    );
    // It could be told early: what is refused after the dot came in the moment in which the disk filled up.
    assert!(late < early, "{late} bodies were sent in vain");

    // Somebody else takes the very last block, too.
    let rest = fs::File::create(disk.0.join("somebody-else"));
    let written = rest.and_then(|mut file| {
        loop {
            file.write_all(&[0xEE; 1024])?;
        }
    });
    assert_eq!(
        written.map(|(): ()| ()).unwrap_err().kind(),
        std::io::ErrorKind::StorageFull
    );
    // Killed there, and started again on the full disk.
    box_.kill();
    let box_ = Mailroot::start(&home, &more);
    box_.wait_for("the way is down", |l| l.contains(" way-down "));
    let subjects = sink(port);
    box_.signal("USR1");
    box_.wait_for_empty();
    let arrived: BTreeSet<String> = subjects.lock().unwrap().iter().cloned().collect();
    let lost: Vec<_> = heard.kept.difference(&arrived).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    println!(
        "drained to empty on a disk without a free block; {} arrived that had no 250",
        arrived.difference(&heard.kept).count()
    );
    // And mail comes in again, although the other one's file is still there.
    let mut talk = box_.client("printer.lan");
    let reply = talk.send(
        "a@nas.example",
        &["b@office.example"],
        "Subject: after\r\n\r\nx\r\n",
    );
    assert!(reply.starts_with("250"), "{reply}");
    box_.wait_for_empty();
    box_.stop();
}

#[test]
fn a_disk_without_inodes_refuses_large_mail_before_data_and_takes_small_mail() {
    let folder = Folder::new("no-inodes");
    let Some(disk) = Mount::new(folder.path(), 24, 200) else {
        return;
    };
    let box_ = Mailroot::start(
        &disk.0.join("home"),
        &["--local", "nas.example", "--set", "limits.free_bytes=1MB"],
    );
    let mut talk = box_.client("printer.lan");
    let small = "Subject: s\r\n\r\nsmall\r\n";
    // The journal's own files are made with the first message.
    let reply = talk.send("", &["b@nas.example"], small);
    assert!(reply.starts_with("250"), "{reply}");
    box_.completed(1);
    let large = "MAIL FROM:<> SIZE=90000";
    assert!(talk.say(large).starts_with("250"));
    talk.say("RSET");
    for number in 0.. {
        if fs::File::create(disk.0.join(format!("one-of-many-{number}"))).is_err() {
            break;
        }
    }
    let reply = talk.say(large);
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    let why = box_.wait_for("it is told", |l| l.contains(" refused "));
    assert!(why.contains("limits.free_files"), "{why}");
    let body = format!("Subject: s\r\n\r\n{}", "sixteen letters\r\n".repeat(6000));
    let reply = talk.send("", &["b@nas.example"], &body);
    assert!(reply.starts_with("452 4.3.1 "), "not announced: {reply}");
    // Mail out of the journal needs an inode in the drop folder, so that one is given back.
    fs::remove_file(disk.0.join("one-of-many-0")).unwrap();
    let reply = talk.send("", &["b@nas.example"], small);
    assert!(reply.starts_with("250"), "{reply}");
    box_.completed(2);
}
