"""What the benches read from the machine: processor time, memory, context switches, system calls, raw disk rate.

Everything is read for a whole service: the process that was started and all that descends from it.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
SYNCS = "fsync,fdatasync,sync_file_range,sync,syncfs,msync"


def family(pid):
    """The process and its descendants that live now."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(stat_fields(int(entry))[1]), []).append(int(entry))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def stat_fields(pid):
    """/proc/PID/stat from the state on; the name before it may hold anything."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid):
    """User and system time of the family, with that of members that have ended and were waited for."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            total += sum(int(ticks) for ticks in stat_fields(member)[11:15])
    return total / TICKS


def pss_kib(pid):
    """Memory of the family, shared pages divided among those that share them."""
    return summed_kib(pid, "smaps_rollup", "Pss")


def summed_kib(pid, file, field):
    """A field of a file in /proc, of the whole family."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{member}/{file}").read_text()
            total += int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE).group(1))
    return total


def context_switches(pid):
    """Voluntary and involuntary switches of all threads of the family."""
    total = 0
    for member in family(pid):
        for status in pathlib.Path(f"/proc/{member}/task").glob("*/status"):
            with contextlib.suppress(OSError):
                found = re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)
                total += sum(map(int, found))
    return total


@contextlib.contextmanager
def counted_calls(pid, folder, only=None):
    """Counts system calls of the family while the block runs: {name: calls}, filled when the block ends.

    strace stops the threads to attach to them, so a sleeping call or two is begun again and counted.
    """
    report = pathlib.Path(folder) / "strace"
    command = ["strace", "-f", "-c", "-o", str(report)]
    if only:
        command += ["-e", f"trace={only}"]
    for member in family(pid):
        command += ["-p", str(member)]
    counts = {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            tracer.stderr.readline()  # "Process N attached"
            time.sleep(0.5)  # its other threads and processes follow one by one
            yield counts
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
    lines = report.read_text().splitlines()
    report.unlink()
    for line in lines:
        # % time, seconds, usecs/call, calls, errors (may be blank), name
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = counts.get(fields[-1], 0) + int(fields[3])


def memory_kib(pid):
    """What belongs to the family alone, anonymous memory, now: mapped files come and go with the page cache."""
    return summed_kib(pid, "status", "RssAnon")


def slow_syncs(milliseconds):
    """A command under which every sync takes that much longer, as flash of the cheap kind does it."""
    calls = "fsync,fdatasync,sync_file_range"
    # -D: the tracer stands aside, so that what is started is our child and gets our signals.
    return ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={calls}",
            "-e", f"inject={calls}:delay_enter={milliseconds * 1000}"]


def raw_slow_sync_rate(folder, milliseconds):
    """raw_sync_rate of a process whose syncs are slow."""
    program = "import measure, sys; print(measure.raw_sync_rate(sys.argv[1]))"
    command = slow_syncs(milliseconds) + [sys.executable, "-B", "-c", program, str(folder)]
    here = pathlib.Path(__file__).resolve().parent
    return float(subprocess.run(command, cwd=here, check=True, stdout=subprocess.PIPE, text=True).stdout)


def raw_syncs(folder):
    """raw_sync_rate, and the processor seconds that a thousand of them take."""
    before, start = os.times(), time.monotonic()
    rate = raw_sync_rate(folder)
    after, seconds = os.times(), time.monotonic() - start
    cpu = after.user + after.system - before.user - before.system
    return rate, cpu * 1000 / (rate * seconds)


def raw_sync_rate(folder, seconds=2.0, size=1536, room=4 << 20):
    """How often a second this disk makes one small append durable, with nothing in the way.

    The file is written before, so that a sync changes no metadata: the best that a journal can hope for.
    """
    path = pathlib.Path(folder) / "raw-sync"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.pwrite(handle, b"\xa5" * room, 0)
        os.fsync(handle)
        block = os.urandom(size)
        count, at, start = 0, 0, time.monotonic()
        while time.monotonic() - start < seconds:
            os.pwrite(handle, block, at)
            os.fdatasync(handle)
            at = at + size if at + 2 * size <= room else 0
            count += 1
        return count / (time.monotonic() - start)
    finally:
        os.close(handle)
        path.unlink()
