//! Gives the program its version, its commit where that is known, and its build date.
//!
//! The build date is also the first floor of the clock (a box that boots in 1970 is known to be wrong), so it
//! must be reproducible: `SOURCE_DATE_EPOCH` wins, then the commit's own date. Nothing here fails a build.

use std::process::Command;

fn git(args: &[&str]) -> Option<String> {
    let out = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (out.status.success() && !text.is_empty()).then_some(text)
}

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-env-changed=MAILROOT_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&head).exists()
    {
        println!("cargo:rerun-if-changed={head}");
    }

    let commit = std::env::var("MAILROOT_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_default();
    println!("cargo:rustc-env=MAILROOT_COMMIT={commit}");

    let date = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| git(&["log", "-1", "--format=%ct"]))
        .and_then(|text| text.parse::<u64>().ok());
    let date = date.unwrap_or_else(|| {
        println!("cargo:warning=no SOURCE_DATE_EPOCH and no commit: the clock floor is 2026-01-01");
        1_767_225_600
    });
    println!("cargo:rustc-env=MAILROOT_BUILD_EPOCH={date}");
}
