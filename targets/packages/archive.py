"""Archives whose bytes depend on nothing but what is put in: no clock, no user, no order of a folder."""

import dataclasses
import gzip
import hashlib
import io
import os
import pathlib
import subprocess
import tarfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def epoch():
    """The time that everything bears: SOURCE_DATE_EPOCH, else that of the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given:
        command = ["git", "log", "-1", "--format=%ct"]
        given = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    return int(given)


@dataclasses.dataclass
class Entry:
    """A file, a link or a folder of a package. Folders above it are made as needed."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    link: str = ""
    folder: bool = False
    owner: int = 0


def with_folders(entries):
    """The entries, sorted, and every folder on the way to them."""
    named = {entry.path: entry for entry in entries}
    if len(named) != len(entries):
        raise ValueError("a path stands in the package twice")
    for entry in entries:
        for parent in pathlib.PurePosixPath(entry.path).parents:
            if str(parent) != ".":
                named.setdefault(str(parent), Entry(str(parent), mode=0o755, folder=True))
    return [named[path] for path in sorted(named)]


def tar(entries, when, prefix="./", headers=None):
    """A tar file. `headers` gives more PAX headers for an entry."""
    out = io.BytesIO()
    form = tarfile.PAX_FORMAT if headers else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for entry in with_folders(entries):
            info = tarfile.TarInfo(prefix + entry.path)
            info.mtime, info.mode = when, entry.mode
            info.uid = info.gid = entry.owner
            info.uname = info.gname = "" if entry.owner else "root"
            if entry.folder:
                info.type = tarfile.DIRTYPE
            elif entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
            else:
                info.size = len(entry.content)
            if headers:
                info.pax_headers = headers(entry)
            archive.addfile(info, io.BytesIO(entry.content) if info.size else None)
    return out.getvalue()


def gz(content):
    """Compressed, with neither name nor time."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def ar(members, when):
    """An ar file, as a .deb is one."""
    out = [b"!<arch>\n"]
    for name, content in members:
        out.append(f"{name:<16}{when:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        out.append(content + b"\n" * (len(content) % 2))
    return b"".join(out)


def sha256(content):
    """Its SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
