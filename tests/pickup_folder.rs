//! The pickup folder of the real binary where it is not as it should be: gone, replaced, on another file system, read-only,
//! with odd names and files that are no messages.
#![cfg(test)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, MAILROOT, Mailroot, have, is_root, must};
use rustix::fs::{CWD, RenameFlags, renameat_with};

const TEXT: &str = "From: a@x.example\nTo: b@nas.lan\nSubject: s\n\nhello\n";
const ARGS: [&str; 4] = ["--local", "nas.lan", "--set", "pickup.rescan=1s"];

#[test]
fn a_folder_that_is_removed_or_replaced_is_made_or_watched_again() {
    let folder = Folder::new("pickup-gone");
    let home = folder.home();
    let service = Mailroot::start(&home, &ARGS);
    let pickup = home.join("pickup");
    fs::remove_dir(&pickup).unwrap();
    service.wait_for("it is told", |l| {
        l.contains("the folder was removed; it has been made again")
    });
    fs::write(pickup.join("one"), TEXT).unwrap();
    service.completed(1);
    // Another folder in its place, from one moment to the next, with a file in it.
    let other = home.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("two"), TEXT).unwrap();
    renameat_with(CWD, &pickup, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    service.wait_for("it is told", |l| {
        l.contains("the folder was replaced by another")
    });
    service.completed(2);
    fs::write(pickup.join("three"), TEXT).unwrap();
    service.completed(3);
    // The folder that files are claimed into.
    fs::remove_dir(home.join("sorttemp")).unwrap();
    for name in ["four", "five"] {
        fs::write(pickup.join(name), TEXT).unwrap();
    }
    service.completed(5);
    service.stop();
}

/// The one file in a folder.
fn only(folder: &Path) -> PathBuf {
    let mut all = fs::read_dir(folder).unwrap();
    let path = all.next().unwrap().unwrap().path();
    assert!(all.next().is_none());
    path
}

#[test]
fn a_file_that_was_dropped_goes_out_again_with_its_envelope() {
    let folder = Folder::new("pickup-again");
    let home = folder.home();
    let service = Mailroot::start(&home, &ARGS);
    let text = "X-Sender: bounce@x.example\nX-Receiver: b@nas.lan\nX-Receiver: c@nas.lan\n\
                From: a@x.example\nTo: all@else.example\n\n.dots\n..\n.\nend\n";
    fs::write(home.join("pickup/first"), text).unwrap();
    service.completed(1);
    let dropped = only(&home.join("drop"));
    let first = fs::read_to_string(&dropped).unwrap();
    fs::rename(dropped, home.join("pickup/again.eml")).unwrap();
    service.completed(2);
    let again = fs::read_to_string(only(&home.join("drop"))).unwrap();
    for line in [
        "X-Sender: bounce@x.example\r\n",
        "X-Receiver: b@nas.lan\r\n",
        "X-Receiver: c@nas.lan\r\n",
    ] {
        for text in [&first, &again] {
            assert_eq!(text.matches(line).count(), 1, "{text}");
        }
    }
    // One Return-Path, one more Received, and the message as it was.
    assert_eq!(again.matches("Return-Path:").count(), 1, "{again}");
    let hops = |text: &str| text.lines().filter(|l| l.starts_with("Received:")).count();
    assert_eq!(hops(&again), hops(&first) + 1);
    assert!(
        again.ends_with("\r\n\r\n.dots\r\n..\r\n.\r\nend\r\n"),
        "{again}"
    );
    service.stop();
}

#[test]
fn names_are_any_bytes_and_the_log_bears_them() {
    let folder = Folder::new("pickup-names");
    let home = folder.home();
    let service = Mailroot::start(&home, &ARGS);
    let long = [b'n'; 255];
    let names: [&[u8]; 6] = [
        b"\xff\xfe",
        b"new\nline",
        b"-rf *",
        b"\x1b[31m",
        b"no extension",
        &long,
    ];
    for name in names {
        fs::write(home.join("pickup").join(OsStr::from_bytes(name)), TEXT).unwrap();
    }
    service.completed(names.len());
    // One that has to be told of by its name.
    let bad = OsStr::from_bytes(b"\x1b]0;\xff\nid=1");
    fs::write(home.join("pickup").join(bad), "nobody\n").unwrap();
    service.wait_for("it is told", |l| l.contains("pickup-bad"));
    let said = service.stop();
    let printable = |byte: u8| matches!(byte, b' '..=b'~' | b'\n');
    assert!(said.bytes().all(printable), "{said}");
}

#[test]
fn files_that_are_no_messages_go_to_badmail_with_their_reason() {
    let folder = Folder::new("pickup-bad");
    let home = folder.home();
    let service = Mailroot::start(&home, &ARGS);
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(TEXT.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "the file is empty"),
        ("utf16", &utf16, "the file is in UTF-16"),
        ("nobody", b"To: b@nas.lan\n\nx\n", "there is no sender"),
        (
            "nowhere",
            b"From: a@x.example\n\nx\n",
            "there is no recipient",
        ),
        ("bytes", b"\0\x01\xff\xfe", "there is no sender"),
    ];
    for (name, text, _) in cases {
        fs::write(home.join("pickup").join(name), text).unwrap();
    }
    for (name, _, why) in cases {
        service.wait_for(why, |l| {
            l.contains("pickup-bad") && l.contains(name) && l.contains(why)
        });
    }
    service.stop();
    let reports = fs::read_dir(home.join("badmail")).unwrap().count();
    assert_eq!(reports, 3 * cases.len());
}

/// A service whose pickup folder is a tmpfs of its own; none where that cannot be had.
fn mounted(folder: &Folder) -> Option<(Mailroot, PathBuf)> {
    let private = Command::new("unshare").args(["--mount", "true"]).output();
    if !is_root() || !have("nsenter") || !private.is_ok_and(|out| out.status.success()) {
        println!("skipped: no mount namespaces here");
        return None;
    }
    let home = folder.home();
    let pickup = home.join("pickup");
    fs::create_dir_all(&pickup).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --make-rprivate / && mount -t tmpfs -o mode=1733 tmpfs \"$1\" && shift && exec \"$@\"";
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&pickup);
    command
        .arg(MAILROOT)
        .args(["run", "--listen", "127.0.0.1:0"]);
    command
        .args(["--hostname", "box.example", "--home"])
        .arg(&home);
    let service = Mailroot::spawn(&home, {
        command.args(ARGS);
        command
    });
    // The folder as the service sees it.
    let inside = Path::new("/proc")
        .join(service.pid().to_string())
        .join("root");
    let pickup = inside.join(pickup.strip_prefix("/").unwrap());
    Some((service, pickup))
}

fn remount(service: &Mailroot, how: &str) {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &service.pid().to_string()]);
    command.args(["mount", "-o", &format!("remount,{how}")]);
    must(command.arg(service.home.join("pickup")), b"");
}

#[test]
fn a_folder_on_another_file_system_and_one_that_becomes_read_only_lose_nothing() {
    let folder = Folder::new("pickup-mount");
    let Some((service, pickup)) = mounted(&folder) else {
        return;
    };
    fs::write(pickup.join("one"), TEXT).unwrap();
    fs::write(pickup.join("two"), TEXT.repeat(20_000)).unwrap();
    service.completed(2);
    assert_eq!(fs::read_dir(&pickup).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(service.home.join("sorttemp")).unwrap().count(),
        0
    );
    // A file that no longer can be taken away.
    service.signal("STOP");
    for name in ["three", "four"] {
        fs::write(pickup.join(name), TEXT).unwrap();
    }
    remount(&service, "ro");
    service.signal("CONT");
    service.wait_for("it is told", |l| l.contains("Read-only file system"));
    assert_eq!(fs::read_dir(&pickup).unwrap().count(), 2);
    remount(&service, "rw");
    service.completed(4);
    assert_eq!(fs::read_dir(&pickup).unwrap().count(), 0);
    service.stop();
}
