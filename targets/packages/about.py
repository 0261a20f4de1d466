"""What every package says of the program, and the licences of what is in it."""

import gzip
import json
import pathlib
import subprocess
import tomllib

from archive import TOP

MANIFEST = tomllib.loads((TOP / "Cargo.toml").read_text())["package"]
VERSION = MANIFEST["version"]
SUMMARY = "mail slot for machines: sendmail, SMTP, pickup, queue, smart host"
TEXT = """Takes the mail of cron, smartd, scripts, printers and cameras (sendmail,
SMTP, a pickup folder), makes it durable before it says yes, and gets it out
through a smart host, by MX or into a drop folder. One static program."""
HOMEPAGE = MANIFEST["repository"]
MAINTAINER = "mailroot <mailroot@localhost>"
PACKAGING = pathlib.Path(__file__).resolve().parent

# Where the names lead under which programs look for a mail service.
NAMES = {
    "usr/sbin/sendmail": "mailroot",
    "usr/lib/sendmail": "../sbin/mailroot",
    "usr/bin/mailq": "../sbin/mailroot",
    "usr/bin/newaliases": "../sbin/mailroot",
}


def service(name):
    """The file that starts the service under this init system, as `mailroot install` would write it."""
    text = (TOP / "targets/services" / name).read_text()
    text = text.replace("Written by `mailroot install`.", "Part of the package mailroot.")
    for word, value in {
        "PROGRAM": "/usr/sbin/mailroot",
        "CONFIG": "/etc/mailroot.toml",
        "HOME": "/var/spool/mailroot",
        "USER": "mailroot",
    }.items():
        text = text.replace(f"@{word}@", value)
    return text.encode()


def linked(target):
    """Every crate in the program for this target, as cargo describes it, by name; and what each depends on."""
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version=1", f"--filter-platform={target}"]
    said = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    graph = json.loads(said)
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = graph["resolve"]["root"]
    found, todo = {}, [root]
    while todo:
        each = todo.pop()
        if each in found:
            continue
        needs = []
        for dependency in nodes[each]["deps"]:
            macro = any("proc-macro" in kind["kind"] for kind in packages[dependency["pkg"]]["targets"])
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]) and not macro:
                needs.append(dependency["pkg"])
        found[each] = sorted(needs)
        todo += needs
    return root, {each: packages[each] for each in found}, found


def copyright_of(target):
    """Debian's copyright file: ours, and the licence of each crate that is linked in."""
    root, packages, _ = linked(target)
    licence = "".join(f" {line or '.'}\n" for line in (TOP / "src/LICENSE").read_text().splitlines())
    out = ["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
           f"Upstream-Name: mailroot\nSource: {HOMEPAGE}\n\n",
           f"Files: *\nCopyright: the authors of mailroot\nLicense: MIT\n{licence}\n"]
    crates = sorted((packages[each]["name"], packages[each]["version"], packages[each]["license"] or "none stated")
                    for each in packages if each != root)
    out.append("Comment: linked into the program, each from crates.io:\n")
    out += [f" {name} {version}: {terms}\n" for name, version, terms in crates]
    out.append(" Rust's standard library: MIT OR Apache-2.0\n musl: MIT\n")
    return "".join(out).encode()


def changes():
    """The list of changes, compressed as Debian wants it."""
    return gzip.compress((TOP / "src/CHANGES.md").read_bytes(), compresslevel=9, mtime=0)
