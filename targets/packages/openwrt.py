"""The packages of OpenWrt: .ipk up to release 24.10, .apk after it. Both bring the same files.

The settings are in UCI, /etc/config/mailroot; what starts the service makes TOML of them. `sendmail` goes through
OpenWrt's own alternatives, above those of smaller programs.
"""

import hashlib
import re

import about
from archive import Entry
from archive import TOP
from archive import gz
from archive import tar

FOLDER = about.PACKAGING / "openwrt"
ALTERNATIVES = [f"400:/{name}:/usr/sbin/mailroot" for name in about.NAMES]
# OpenWrt's own functions make it when the package is installed; the number is the container image's.
USER = "mailroot=200:mailroot=200"
KEPT = "/etc/config/mailroot\n/etc/mailroot.toml\n"


def files(binary):
    """What either package installs."""
    return [
        Entry("usr/sbin/mailroot", binary, 0o755),
        Entry("usr/lib/mailroot/uci-to-toml", converter(), 0o755),
        Entry("etc/config/mailroot", (FOLDER / "mailroot.config").read_bytes(), 0o600),
        Entry("etc/init.d/mailroot", (FOLDER / "mailroot.init").read_bytes(), 0o755),
    ]


def converter():
    """What makes TOML of UCI's settings, told what it has to know of ours."""
    schema = (TOP / "src/config/schema.rs").read_text()
    rows = re.findall(r'Row::(?:un)?set\(\s*"([\w.]+)",\s*(Kind::\S+)', schema)
    told = {
        "MANY": re.findall(r'name: "(\w+)",\s+many: true', schema),
        "BOOLEANS": [key for key, kind in rows if kind.startswith("Kind::Bool")],
        "NUMBERS": [key for key, kind in rows if re.match(r"Kind::(OrOff\(&Kind::)?Int", kind)],
    }
    text = (FOLDER / "uci-to-toml").read_text()
    for word, names in told.items():
        text = text.replace(f"@{word}@", " ".join(names))
    return text.encode()


def ipk(binary, architecture, when):
    """The bytes of a .ipk: three files in a compressed tar."""
    content = files(binary)
    control = f"""\
Package: mailroot
Version: {about.VERSION}-r1
Architecture: {architecture}
Maintainer: {about.MAINTAINER}
Section: mail
License: MIT
Installed-Size: {sum(len(entry.content) for entry in content)}
Alternatives: {", ".join(ALTERNATIVES)}
Require-User: {USER}
Description: {about.SUMMARY}
"""
    scripts = [Entry(name, (FOLDER / name).read_bytes(), 0o755) for name in ("postinst", "prerm")]
    about_it = [Entry("control", control.encode()), Entry("conffiles", KEPT.encode()), *scripts]
    members = [
        Entry("debian-binary", b"2.0\n"),
        Entry("control.tar.gz", gz(tar(about_it, when))),
        Entry("data.tar.gz", gz(tar(content, when))),
    ]
    return gz(tar(members, when))


def apk(binary, architecture, when):
    """The bytes of a .apk in the form that every apk-tools reads: two compressed tar files, one after the other."""
    content = files(binary)
    names = "".join(f"/{entry.path}\n" for entry in content)
    content += [
        Entry("lib/apk/packages/mailroot.list", names.encode()),
        Entry("lib/apk/packages/mailroot.conffiles", KEPT.encode()),
        Entry("lib/apk/packages/mailroot.rusers", f"{USER}\n".encode()),
        Entry("lib/apk/packages/mailroot.alternatives", "\n".join([*ALTERNATIVES, ""]).encode()),
    ]
    data = gz(tar(content, when, prefix="", headers=checksum))
    info = f"""\
pkgname = mailroot
pkgver = {about.VERSION}-r1
pkgdesc = {about.SUMMARY}
url = {about.HOMEPAGE}
builddate = {when}
packager = {about.MAINTAINER}
size = {sum(len(entry.content) for entry in content)}
arch = {architecture}
license = MIT
datahash = {hashlib.sha256(data).hexdigest()}
"""
    scripts = {".post-install": "postinst", ".post-upgrade": "postinst", ".pre-deinstall": "prerm"}
    control = [Entry(".PKGINFO", info.encode())]
    control += [Entry(name, script(source), 0o755) for name, source in scripts.items()]
    # Both are read as one tar file, so the first must go without the zeros that would end it.
    blocks = sum(1 + (len(entry.content) + 511) // 512 for entry in control)
    return gz(tar(control, when, prefix="")[: blocks * 512]) + data


def script(source):
    """A package's script as apk calls it: OpenWrt's functions ask for the package's name."""
    text = (FOLDER / source).read_text()
    return text.replace("default_", "export pkgname=mailroot\ndefault_", 1).encode()


def checksum(entry):
    """The header by which apk knows an installed file again."""
    if entry.folder:
        return {}
    content = entry.link.encode() if entry.link else entry.content
    return {"APK-TOOLS.checksum.SHA1": hashlib.sha1(content).hexdigest()}
