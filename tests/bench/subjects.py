"""The services that the benches compare, each with its own folders below one folder on one disk, on loopback only.

A subject is started for one measurement, in an empty home, and ended by the process that was started here.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, seconds=30):
    """Returns once something accepts connections there."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise TimeoutError(f"nothing listens on 127.0.0.1:{port} after {seconds} s") from None
            time.sleep(0.0005)


def send(port, senders, messages, keep=False, size=1024):
    """Sends by smtp-source and returns the seconds it took; every message was answered 250 when it returns."""
    command = ["smtp-source", "-s", str(senders), "-m", str(messages), "-l", str(size)]
    command += ["-f", "from@bench.test", "-t", "to@example.test"] + (["-d"] if keep else [])
    start = time.monotonic()
    subprocess.run(command + [f"127.0.0.1:{port}"], check=True, stdin=subprocess.DEVNULL, timeout=600)
    return time.monotonic() - start


def default_binary():
    for path in ("target/x86_64-unknown-linux-musl/release/mailroot", "target/release/mailroot"):
        if (TOP / path).exists():
            return TOP / path
    sys.exit("no binary: name one, or run targets/build x86_64")


def end(process):
    """Ends a process gently, or not so gently when it takes long."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Service:
    """What both have in common: a home, a port, the next hop, and the seconds from start to ready."""

    logs = None  # the folder for what it logs, when that is not to be beside its home

    def __init__(self, folder, next_hop):
        self.home = pathlib.Path(folder) / self.name.lower()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.port = free_port()
        self.next_hop = next_hop
        self.pid = None
        self.under = []  # a command to start it under, such as strace

    def __enter__(self):
        self.prepare()
        start = time.monotonic()
        try:
            self.start()
            wait_for_port(self.port)
        except BaseException:
            self.stop()
            raise
        self.ready_after = time.monotonic() - start
        self.pid = self.main_process()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def syncs(self):
        """How often it has synced, for those that count it: strace counts for everybody, and slows what it counts."""
        return None

    def sendmail(self, message):
        """Hands in one message as a program of the box does, and returns the seconds until the command was done."""
        start = time.monotonic()
        subprocess.run(self.sendmail_command(), input=message, check=True, timeout=60)
        return time.monotonic() - start


class Mailroot(Service):
    """The program under test, with no file of settings: the next hop, and room for what the benches send."""

    name = "mailroot"
    binary = None  # set by the run
    # The defaults give one client 20 connections, and a message 25 MB.
    limits = {"connections": 1000, "connections_per_client": 1000, "message_bytes": "100MB"}

    def prepare(self):
        self.log = open((self.logs or self.home.parent) / "mailroot.log", "ab")

    def start(self):
        command = [str(self.binary), "run", "--home", str(self.home / "home"), "--hostname", "bench.test"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--smart-host", f"smtp://127.0.0.1:{self.next_hop}?tls=off"]
        for key, value in self.limits.items():
            command += ["--set", f"limits.{key}={value}"]
        self.process = subprocess.Popen(self.under + command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def main_process(self):
        return self.process.pid

    def sendmail_command(self):
        return [str(self.binary), "sendmail", "--home", str(self.home / "home"), "-i", "-t", "-f", "from@bench.test"]

    def syncs(self):
        command = [str(self.binary), "status", "--json", "--home", str(self.home / "home")]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["syncs"]

    def flush(self):
        """Tells it that the next hop is back."""
        command = [str(self.binary), "queue", "retry", "--home", str(self.home / "home")]
        subprocess.run(command, check=True, stdout=self.log)

    def stop(self):
        end(self.process)
        self.log.close()


class Postfix(Service):
    """Debian's Postfix with its own configuration, queue and data folders; nothing of the system's is touched.

    In its favour: no chroot, no syslog daemon to feed, no pause when mail comes in faster than it leaves.
    """

    name = "Postfix"
    settings = {
        "compatibility_level": "3.6",
        "command_directory": "/usr/sbin",
        "daemon_directory": "/usr/lib/postfix/sbin",
        "meta_directory": "/etc/postfix",
        "shlib_directory": "/usr/lib/postfix",
        "mail_owner": "postfix",
        "setgid_group": "postdrop",
        "myhostname": "bench.test",
        "message_size_limit": "100000000",
        "mydestination": "",
        "local_recipient_maps": "",
        "alias_maps": "",
        "alias_database": "",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtp_dns_support_level": "disabled",
        "in_flow_delay": "0",
        "smtpd_tls_security_level": "none",
        "smtp_tls_security_level": "none",
    }
    services = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""

    def __init__(self, folder, next_hop, accepts_only=False):
        super().__init__(folder, next_hop)
        self.accepts_only = accepts_only

    def prepare(self):
        self.config = self.home / "config"
        queue, data = self.home / "queue", self.home / "data"
        for each in (self.config, queue, data):
            each.mkdir()
            each.chmod(0o755)
        self.home.chmod(0o755)
        shutil.chown(data, "postfix", "postfix")
        settings = dict(self.settings, queue_directory=queue, data_directory=data)
        settings["relayhost"] = f"[127.0.0.1]:{self.next_hop}"
        if self.accepts_only:
            # What is taken in stays on hold, so no delivery work is mixed into the figures.
            settings["smtpd_data_restrictions"] = "check_client_access static:HOLD"
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.config / "main.cf").write_text(text)
        (self.config / "master.cf").write_text(self.services.format(port=self.port))
        self.postfix("check")

    def start(self):
        if self.under:
            # What it is under keeps the outputs open, so there is nothing to capture.
            command = self.under + ["postfix", "-c", str(self.config), "start"]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        else:
            self.postfix("start")

    def sendmail_command(self):
        return ["sendmail", "-C", str(self.config), "-i", "-t", "-f", "from@bench.test"]

    def postfix(self, verb, check=True):
        command = ["postfix", "-c", str(self.config), verb]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")

    def flush(self):
        """Tells it that the next hop is back."""
        subprocess.run(["postqueue", "-c", str(self.config), "-f"], check=True)

    def main_process(self):
        return int((self.home / "queue/pid/master.pid").read_text())

    def stop(self):
        self.postfix("stop", check=False)


class Sink:
    """smtp-sink: takes everything, keeps nothing, counts."""

    def __init__(self, folder, port=None):
        self.port = port or free_port()
        self.report = pathlib.Path(folder) / "smtp-sink"

    def syncs(self):
        return None

    def __enter__(self):
        command = ["smtp-sink", "-c", f"127.0.0.1:{self.port}", "1000"]
        if os.getuid() == 0:
            command[1:1] = ["-u", "nobody"]
        with open(self.report, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)
        wait_for_port(self.port)
        self.pid = self.process.pid
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.report.unlink(missing_ok=True)

    def messages(self):
        """How many it has had; it repeats `sess=1 quit=1 mesg=1` in place."""
        with open(self.report, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            found = file.read().rpartition(b"mesg=")[2].split()
        return int(found[0]) if found and found[0].isdigit() else 0

    def wait_for(self, count, seconds=300, pause=0.005):
        end = time.monotonic() + seconds
        while self.messages() < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.messages()} of {count} messages came through in {seconds} s")
            time.sleep(pause)
