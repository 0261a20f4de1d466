//! Clients that are libraries, each with a small program in this folder: Nodemailer, lettre, Python's smtplib, Perl's
//! Net::SMTP and Jakarta Mail. A program sends by all its ways and prints their names.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{command, have, must, run};
use crate::{House, large, letter, small};

/// A file of this folder.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// A file below target/.
fn target(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join(path)
}

/// Something that tests/setup puts below target/.
pub fn installed(path: &str) -> Option<PathBuf> {
    let found = target(path);
    if found.exists() {
        return Some(found);
    }
    println!("skipped: no target/{path} (tests/setup makes it)");
    None
}

/// Runs the program, which must send by exactly these ways, and compares what arrived.
fn sends(house: &House, program: &mut Command, ways: &[&str]) {
    let said = must(
        program
            .args([house.starttls.to_string(), house.implicit.to_string()])
            .arg(&house.ca)
            .arg(house.folder.file("small", small()))
            .arg(house.folder.file("large", large())),
        b"",
    );
    assert_eq!(said.lines().collect::<Vec<_>>(), ways);
    for (arrived, way) in house.arrived(ways.len()).iter().zip(ways) {
        arrived.is(way, &letter(way));
    }
}

#[test]
fn nodemailer_logs_in_on_both_ports() {
    if !have("node") {
        return;
    }
    // Ours from npm, or Debian's package.
    let modules = format!(
        "{}:/usr/share/nodejs",
        target("clients/node_modules").display()
    );
    let node = || {
        let mut node = command("node");
        node.env("NODE_PATH", &modules);
        node
    };
    let (status, _) = run(node().args(["-e", "require('nodemailer')"]), b"");
    if !status.success() {
        println!("skipped: Nodemailer is not installed (tests/setup installs it)");
        return;
    }
    sends(
        &House::start("clients-nodemailer"),
        node().arg(program("send.cjs")),
        &[
            "starttls-PLAIN",
            "starttls-LOGIN",
            "starttls-pool",
            "starttls-pool-again",
            "implicit-PLAIN",
            "implicit-LOGIN",
            "implicit-pool",
            "implicit-pool-again",
        ],
    );
}

#[test]
fn lettre_logs_in_on_both_ports() {
    let Some(built) = installed("clients/debug/lettre-client") else {
        return;
    };
    sends(
        &House::start("clients-lettre"),
        &mut Command::new(built),
        &[
            "starttls-PLAIN",
            "starttls-LOGIN",
            "implicit-PLAIN",
            "implicit-LOGIN",
        ],
    );
}

#[test]
fn python_smtplib_logs_in_on_both_ports() {
    if !have("python3") {
        return;
    }
    sends(
        &House::start("clients-python"),
        command("python3").arg("-B").arg(program("send.py")),
        &[
            "starttls-PLAIN",
            "starttls-LOGIN",
            "implicit-PLAIN",
            "implicit-LOGIN",
        ],
    );
}

#[test]
fn perl_net_smtp_logs_in_on_both_ports() {
    if !have("perl") {
        return;
    }
    for module in ["IO::Socket::SSL", "Authen::SASL"] {
        let found = command("perl")
            .arg(format!("-M{module}"))
            .args(["-e", "1"])
            .output();
        if !found.is_ok_and(|done| done.status.success()) {
            println!("skipped: Perl's {module} is not installed (tests/setup installs it)");
            return;
        }
    }
    sends(
        &House::start("clients-perl"),
        command("perl").arg(program("send.pl")),
        &[
            "starttls-PLAIN",
            "starttls-LOGIN",
            "implicit-PLAIN",
            "implicit-LOGIN",
        ],
    );
}

#[test]
fn jakarta_mail_logs_in_on_both_ports() {
    // Java runs a source file only where its compiler is installed too.
    if !have("java") || !have("javac") {
        return;
    }
    let jars = ["jakarta-mail.jar", "jakarta-activation.jar"];
    let jars = jars.map(|jar| Path::new("/usr/share/java").join(jar));
    if let Some(jar) = jars.iter().find(|jar| !jar.exists()) {
        println!("skipped: no {} (tests/setup installs it)", jar.display());
        return;
    }
    let path = std::env::join_paths(&jars).unwrap();
    sends(
        &House::start("clients-jakarta"),
        // Started for one second of work: the quick compiler, one collector.
        command("java")
            .args([
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xshare:auto",
                "-cp",
            ])
            .arg(path)
            .arg(program("Send.java")),
        &[
            "starttls-PLAIN",
            "starttls-LOGIN",
            "implicit-PLAIN",
            "implicit-LOGIN",
        ],
    );
}
