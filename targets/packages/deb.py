"""The Debian package.

Decisions: `sendmail`, `mailq` and `newaliases` are plain files of the package, as Debian's policy (11.6) has it: it
conflicts with every other mail-transport-agent and stands in for one. `mail` and `mailx` go through Debian's alternatives
with a low priority, since other programs by this name read mail as well. It depends on nothing.
"""

import hashlib

import about
from archive import Entry
from archive import ar
from archive import gz
from archive import tar
from archive import with_folders

FOLDER = about.PACKAGING / "deb"


def build(binary, architecture, target, when):
    """The bytes of the package."""
    config = (FOLDER / "mailroot.toml").read_bytes()
    files = [
        Entry("usr/sbin/mailroot", binary, 0o755),
        Entry("etc/mailroot.toml", config),
        Entry("usr/lib/systemd/system/mailroot.service", about.service("systemd.service")),
        Entry("usr/share/doc/mailroot/copyright", about.copyright_of(target)),
        Entry("usr/share/doc/mailroot/changelog.gz", about.changes()),
        *(Entry(name, link=to) for name, to in about.NAMES.items()),
    ]
    text = "\n".join(f" {line}" for line in about.TEXT.splitlines())
    control = f"""\
Package: mailroot
Version: {about.VERSION}
Architecture: {architecture}
Maintainer: {about.MAINTAINER}
Installed-Size: {(sum(len(entry.content) for entry in files) + 1023) // 1024}
Provides: mail-transport-agent
Conflicts: mail-transport-agent
Replaces: mail-transport-agent
Section: mail
Priority: optional
Homepage: {about.HOMEPAGE}
Description: {about.SUMMARY}
{text}
"""
    sums = "".join(
        f"{hashlib.md5(entry.content).hexdigest()}  {entry.path}\n"
        for entry in with_folders(files)
        if not (entry.folder or entry.link) and entry.path != "etc/mailroot.toml"
    )
    scripts = [Entry(name, (FOLDER / name).read_bytes(), 0o755) for name in ("postinst", "prerm", "postrm")]
    about_it = [
        Entry("control", control.encode()),
        Entry("conffiles", b"/etc/mailroot.toml\n"),
        Entry("md5sums", sums.encode()),
        *scripts,
    ]
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", gz(tar(about_it, when))),
            ("data.tar.gz", gz(tar(files, when))),
        ],
        when,
    )
