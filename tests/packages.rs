//! Packages as other systems read them: made twice alike, taken apart by the tools of those systems, and UCI's settings
//! turned into ours.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use common::{Folder, command, have, must, program};
use mailroot::config::kind::Kind;
use mailroot::config::schema::ROWS;
use mailroot::config::schema::SECTIONS;

const BINARY: &[u8] = b"a program's bytes\n";
const DEB: &str = concat!("mailroot_", env!("CARGO_PKG_VERSION"), "_armhf.deb");

/// Packs a small file as if it were the program for armv7. The clock's zone and the umask must not matter.
fn packed(scratch: &Folder, name: &str, zone: &str, umask: &str) -> PathBuf {
    let (out, binary) = (scratch.path().join(name), scratch.file("binary", BINARY));
    let script = format!(
        "umask {umask}; exec targets/package --out {} --binary {} armv7",
        out.display(),
        binary.display()
    );
    let mut packing = command("sh");
    packing.args(["-c", &script]).env("TZ", zone);
    packing.env("SOURCE_DATE_EPOCH", "1790000000");
    must(packing.current_dir(env!("CARGO_MANIFEST_DIR")), b"");
    out
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn able() -> bool {
    let able = have("python3");
    if !able {
        println!("skipped: packages (no python3)");
    }
    able
}

#[test]
fn packed_twice_everything_is_the_same_to_the_byte() {
    if !able() {
        return;
    }
    let scratch = Folder::new("packages");
    let one = packed(&scratch, "one", "America/New_York", "077");
    let other = packed(&scratch, "other", "Asia/Tokyo", "022");
    let (left, right) = (files(&one), files(&other));
    assert!(
        left.len() > 8 && left.contains_key(DEB),
        "{:?}",
        left.keys()
    );
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        right.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &left {
        assert!(right[name] == *bytes, "{name} differs");
    }
    let sums = must(
        command("sha256sum")
            .args(["-c", "SHA256SUMS"])
            .current_dir(&one),
        b"",
    );
    assert_eq!(sums.lines().count(), left.len() - 1, "{sums}");
}

#[test]
fn debian_reads_its_package_and_its_scripts_are_a_shells() {
    if !able() || !have("dpkg-deb") {
        println!("skipped: the Debian package (no dpkg-deb)");
        return;
    }
    let scratch = Folder::new("deb");
    let deb = packed(&scratch, "out", "UTC", "022").join(DEB);
    let said = must(command("dpkg-deb").arg("-f").arg(&deb), b"");
    for line in [
        "Package: mailroot",
        "Architecture: armhf",
        "Provides: mail-transport-agent",
        "Conflicts: mail-transport-agent",
    ] {
        assert!(said.lines().any(|each| each == line), "{line}: {said}");
    }
    let (root, control) = (scratch.path().join("root"), scratch.path().join("control"));
    must(command("dpkg-deb").arg("-x").args([&deb, &root]), b"");
    must(command("dpkg-deb").arg("-e").args([&deb, &control]), b"");
    for name in ["usr/sbin/sendmail", "usr/lib/sendmail", "usr/bin/mailq"] {
        let link = fs::read_link(root.join(name)).unwrap();
        let to = root.join(name).parent().unwrap().join(link);
        assert_eq!(fs::read(to).unwrap(), BINARY, "{name}");
    }
    for name in ["postinst", "prerm", "postrm"] {
        must(command("sh").arg("-n").arg(control.join(name)), b"");
    }
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/mailroot.service")).unwrap();
    assert!(
        unit.contains("User=mailroot") && !unit.contains("@\n"),
        "{unit}"
    );
    // The user is made when the package is installed; here nobody knows it.
    let text = fs::read_to_string(root.join("etc/mailroot.toml")).unwrap();
    let line = "user = \"mailroot\"\n";
    assert!(text.contains(line), "{text}");
    let config = scratch.file("mailroot.toml", text.replace(line, ""));
    let mut check = program();
    must(check.arg("check").arg(config), b"");
}

#[test]
fn a_list_of_parts_names_every_crate_that_is_linked() {
    if !able() {
        return;
    }
    let scratch = Folder::new("sbom");
    let out = packed(&scratch, "out", "UTC", "022");
    let mut names = files(&out).into_keys();
    let name = names.find(|name| name.ends_with(".cdx.json")).unwrap();
    let text = fs::read_to_string(out.join(name)).unwrap();
    for part in ["pkg:cargo/rustls@", "pkg:cargo/ring@", "\"musl\""] {
        assert!(text.contains(part), "{part}");
    }
    // What only tests use is not in the program.
    assert!(!text.contains("pkg:cargo/tempfile@"));
    let mut json = command("python3");
    json.args(["-m", "json.tool"]);
    must(&mut json, text.as_bytes());
}

#[test]
fn settings_of_uci_become_a_configuration() {
    if !able() || !have("awk") {
        println!("skipped: UCI (no awk)");
        return;
    }
    let scratch = Folder::new("uci");
    let out = packed(&scratch, "out", "UTC", "022");
    let mut names = files(&out).into_keys();
    let ipk = out.join(names.find(|name| name.ends_with(".ipk")).unwrap());
    let unpack = format!(
        "tar xzf {} ./data.tar.gz && tar xzf data.tar.gz",
        ipk.display()
    );
    let mut shell = command("sh");
    must(shell.args(["-c", &unpack]).current_dir(scratch.path()), b"");
    let converter = scratch.path().join("usr/lib/mailroot/uci-to-toml");
    // What was told the converter when it was packed is what the schema says.
    let text = fs::read_to_string(&converter).unwrap();
    let keys = |fits: fn(&Kind) -> bool| {
        let fitting = ROWS.iter().filter(move |row| fits(&row.kind));
        fitting.map(|row| row.key).collect::<Vec<_>>()
    };
    let many = SECTIONS.iter().filter(|section| section.many);
    for (name, words) in [
        ("many", many.map(|section| section.name).collect()),
        ("booleans", keys(|kind| matches!(kind, Kind::Bool))),
        (
            "numbers",
            keys(|kind| matches!(kind, Kind::Int(..) | Kind::OrOff(Kind::Int(..)))),
        ),
    ] {
        let line = format!("{name} = \" {} \"", words.join(" "));
        assert!(text.contains(&line), "{line} in {text}");
    }

    // As `uci export` writes it.
    let exported = "package mailroot\n\nconfig mailroot 'main'\n\toption enabled '1'\n\toption home '/srv/mailroot'\n\n\
        config route\n\tlist hosts 'smtp.example.com:587'\n\tlist hosts 'two.example.com'\n\
        \toption user 'o'\\''brien \"x\" \\ y'\n\toption private_addresses '0'\n\toption connections '3'\n\toption insecure_auth '1'\n\n\
        config listen\n\toption address '192.168.1.1:25'\n\toption reverse_dns '5s'\n\n\
        config listen\n\toption address '127.0.0.1:25'\n\n\
        config limits\n\toption message_bytes '10MB'\n\n";
    let toml = must(
        command("awk").arg("-f").arg(&converter),
        exported.as_bytes(),
    );
    let file = scratch.file("mailroot.toml", &toml);
    let mut config = program();
    let said = must(config.arg("config").arg(file), b"");
    for part in [
        "home = \"/srv/mailroot\"",
        "hosts = [\"smtp.example.com:587\", \"two.example.com\"]",
        "user = \"o'brien \\\"x\\\" \\\\ y\"",
        "connections = 3",
        "private_addresses = false",
        "insecure_auth = true",
        "address = \"127.0.0.1:25\"",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}\nfrom\n{toml}");
    }
    assert!(!said.contains("enabled"), "{said}");
}
