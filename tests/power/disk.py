"""A disk that remembers every write and every flush, so that any moment of a power cut can be made again.

One file, served by FUSE from a process of its own, holds the disk; the kernel's loop driver makes a block device of
it, and a real file system goes on that. The loop driver hands each write down at once and each barrier of the file
system as an fsync; both are noted in the order in which they came. What a cut leaves is then every write before the
last barrier, and of the writes behind it any part.

Needs root, /dev/fuse and a free loop device; nothing of the kernel beyond that (no device mapper, no NBD).
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys

GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY, FORGET, BATCH_FORGET = 18, 20, 25, 26, 36, 38, 2, 42
BIG_WRITES, KEEP_CACHE = 1 << 5, 2
MOST = 128 * 1024
ENTRY = struct.Struct("<BQI")
WROTE, SYNCED = 1, 2


class Recorder:
    """The process behind the file. `log` gets an entry for each write and each fsync."""

    def __init__(self, device, size, log):
        self.device, self.size, self.log = device, size, log
        self.bytes = bytearray(size)

    def serve(self):
        while True:
            try:
                request = os.read(self.device, MOST + 4096 * 4)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # ENODEV: unmounted
            code, unique = struct.unpack_from("<IQ", request, 4)
            if code in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            answer = self.answer(code, memoryview(request)[40:])
            status = 0
            if answer is None:
                status, answer = -errno.ENOSYS, b""
            with contextlib.suppress(OSError):  # the caller may be gone
                os.write(self.device, struct.pack("<IiQ", 16 + len(answer), status, unique) + answer)

    def attributes(self):
        mode = stat.S_IFREG | 0o600
        attributes = struct.pack("<6Q10I", 1, self.size, self.size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
        return struct.pack("<QII", 3600, 0, 0) + attributes

    def answer(self, code, body):
        if code == INIT:
            return struct.pack("<IIIIHHIIHHI7I", 7, 31, MOST, BIG_WRITES, 16, 12, MOST, 1, 0, 0, 0, *[0] * 7)
        if code in (GETATTR, SETATTR):
            return self.attributes()
        if code == OPEN:
            return struct.pack("<QIi", 1, KEEP_CACHE, 0)
        if code == READ:
            _, offset, count = struct.unpack_from("<QQI", body)
            return bytes(self.bytes[offset:offset + count])
        if code == WRITE:
            _, offset, count = struct.unpack_from("<QQI", body)
            data = body[40:40 + count]
            self.bytes[offset:offset + count] = data
            os.write(self.log, ENTRY.pack(WROTE, offset, count) + data)
            return struct.pack("<II", count, 0)
        if code == FSYNC:
            os.write(self.log, ENTRY.pack(SYNCED, 0, 0))
            return b""
        if code == STATFS:
            return struct.pack("<5Q4I6I", 0, 0, 0, 0, 0, 4096, 255, 4096, 0, *[0] * 6)
        return b"" if code in (RELEASE, FLUSH, DESTROY) else None


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def recorded(folder, megabytes):
    """A block device; also the path of its log."""
    log, file = folder / "log", folder / "disk"
    file.touch()
    device = os.open("/dev/fuse", os.O_RDWR)
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    options = f"fd={device},rootmode=100600,user_id=0,group_id=0,max_read={MOST}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"mailroot-disk", bytes(file), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount a FUSE file")
    pid = os.fork()
    if pid == 0:
        try:
            Recorder(device, megabytes << 20, writer).serve()
        finally:
            os._exit(0)
    os.close(device)
    os.close(writer)
    loop = None
    try:
        loop = run("losetup", "--find", "--show", str(file))
        yield loop, log
    finally:
        if loop:
            run("losetup", "--detach", loop)
        run("umount", "--lazy", str(file))
        os.waitpid(pid, 0)


@contextlib.contextmanager
def mounted(source, folder, *options):
    folder.mkdir(exist_ok=True)
    run("mount", *options, str(source), str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


def entries(log):
    """What the log holds: (place in the log behind it, offset, bytes), with `None` for bytes where it is a flush."""
    with open(log, "rb") as file:
        whole = file.read()
    at = 0
    while at + ENTRY.size <= len(whole):
        kind, offset, count = ENTRY.unpack_from(whole, at)
        at += ENTRY.size
        data = None
        if kind == WROTE:
            data = memoryview(whole)[at:at + count]
            at += count
        yield at, offset, data


if __name__ == "__main__":
    sys.exit("a module of tests/power/run")
