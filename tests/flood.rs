//! Thousands of files moved into the pickup folder at once, by the real binary to a sink: each is delivered once; with
//! kills in the middle none is lost, and one that goes twice was on its way at a kill (promises G1, G2).
//!
//! In full with `MAILROOT_LONG=1`: 10,000 files.
#![cfg(test)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use common::{Folder, Mailroot, Sink, have};

/// How many files.
fn many() -> usize {
    if std::env::var_os("MAILROOT_LONG").is_some() {
        10_000
    } else {
        1_000
    }
}

/// Writes them beside the pickup folder.
fn write(stage: &Path) {
    fs::create_dir_all(stage).unwrap();
    for number in 0..many() {
        let text = format!(
            "X-Sender: a@x.example\r\nX-Receiver: r{number}@y.example\r\nSubject: s\r\nX-Number: {number}\r\n\r\nhello\r\n"
        );
        fs::write(stage.join(format!("{number}.eml")), text).unwrap();
    }
}

/// Moves them in.
fn pour(stage: &Path, home: &Path) {
    for entry in fs::read_dir(stage).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), home.join("pickup").join(entry.file_name())).unwrap();
    }
}

fn is_bare(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// How often each number arrived.
fn arrived(sink: &Sink) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for message in sink.messages() {
        let number = message.header("X-Number").unwrap().parse().unwrap();
        *counts.entry(number).or_default() += 1;
    }
    counts
}

#[test]
fn files_that_come_all_at_once_are_delivered_once_each() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("flood");
    let (stage, home) = (folder.path().join("stage"), folder.home());
    let sink = Sink::start(folder.path(), &[]);
    let service = Mailroot::start(&home, &["--smart-host", &sink.url()]);
    write(&stage);
    let start = Instant::now();
    pour(&stage, &home);
    let poured = start.elapsed();
    service.completed(many());
    println!(
        "{} files: moved in {poured:?}, all delivered after {:?}",
        many(),
        start.elapsed()
    );
    let counts = arrived(&sink);
    assert_eq!(counts.len(), many());
    assert!(counts.values().all(|count| *count == 1));
    assert!(is_bare(&home.join("pickup")) && is_bare(&home.join("badmail")));
    service.stop();
}

/// Which messages a run has completed, each once.
fn completed(log: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once(" completed id=") {
            let id = rest.split(' ').next().unwrap().to_owned();
            assert!(ids.insert(id), "twice in one run: {line}");
        }
    }
    ids
}

#[test]
fn with_five_kills_in_the_middle_nothing_is_lost() {
    if !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("flood-kills");
    let (stage, home) = (folder.path().join("stage"), folder.home());
    let sink = Sink::start(folder.path(), &[]);
    let url = sink.url();
    let args = ["--smart-host", url.as_str()];
    write(&stage);
    let mut service = Mailroot::start(&home, &args);
    let start = Instant::now();
    pour(&stage, &home);
    for _ in 0..5 {
        service.completed(many() / 10);
        completed(&service.log());
        service.kill();
        service = Mailroot::start(&home, &args);
    }
    // What the kills left in the folder and in sorttemp is taken, too.
    let mut more = 0;
    while !is_bare(&home.join("pickup")) || arrived(&sink).len() < many() {
        more += 1;
        service.completed(more);
    }
    service.wait_for_empty();
    let counts = arrived(&sink);
    assert_eq!(counts.len(), many(), "none is lost");
    let twice: usize = counts.values().map(|count| count - 1).sum();
    println!(
        "{} files, 5 kills: {twice} went twice; all delivered after {:?}",
        many(),
        start.elapsed()
    );
    // Those that the sink had at a kill and whose record was not written: the connections of a route, and what the
    // journal's thread takes within limits::NOTES_PAUSE.
    assert!(twice <= 5 * 100, "{twice}");
    assert!(is_bare(&home.join("badmail")));
    completed(&service.log());
    let claims = fs::read_dir(home.join("sorttemp")).unwrap().count();
    assert_eq!(claims, 0);
    service.stop();
}
