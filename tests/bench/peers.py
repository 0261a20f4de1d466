"""More mail services to compare with: Exim, OpenSMTPD, E-MailRelay.

Debian's packages of the first two conflict with Postfix's, so they are unpacked below the bench's folder and run from
there: each in a mount namespace of its own, where its spool, its user and its run-time folders are where it was built
to look for them. E-MailRelay is taken from the path when it is there; Debian does not have it.
"""

import contextlib
import os
import pathlib
import pwd
import shlex
import shutil
import subprocess

from subjects import Service, end

USERS = ("Debian-exim", "_smtpd", "_smtpq", "opensmtpd", "opensmtpq")


def unpack(packages, folder):
    """The root folder of the unpacked packages; none when they cannot be had."""
    root = pathlib.Path(folder) / "peers" / packages[0]
    if root.exists():
        return root
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return None
    loads = root.parent / "packages"
    loads.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "download", *packages], cwd=loads, capture_output=True)
    if done.returncode != 0:
        return None
    for package in packages:
        for file in loads.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg", "-x", file, root], check=True)
    return root


class Unpacked(Service):
    """A service from unpacked packages, run in the foreground in a mount namespace of its own."""

    packages = ()
    root = None  # set by `available`

    @classmethod
    def available(cls, folder):
        cls.root = unpack(cls.packages, folder)
        return cls.root is not None

    def __init__(self, folder, next_hop):
        super().__init__(folder, next_hop)
        self.process = None

    def prepare(self):
        self.log = open((self.logs or self.home.parent) / f"{self.name.lower()}.log", "ab")
        self.home.chmod(0o755)
        passwd, group = pathlib.Path("/etc/passwd").read_text(), pathlib.Path("/etc/group").read_text()
        self.ids = {}
        for number, user in enumerate(USERS, 2601):
            with contextlib.suppress(KeyError):  # the package may be installed here, too
                self.ids[user] = pwd.getpwnam(user)[2:4]
                continue
            self.ids[user] = number, number
            passwd += f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"
            group += f"{user}:x:{number}:\n"
        (self.home / "passwd").write_text(passwd)
        (self.home / "group").write_text(group)
        self.spool = self.home / "spool"
        self.spool.mkdir()
        self.spool.chmod(0o711)

    def inside(self, mounts, command):
        """The command in a namespace in which the shell lines were run before."""
        lines = ["set -e", "mount --make-rprivate /"]
        lines += [f"mount --bind {shlex.quote(str(self.home / name))} /etc/{name}" for name in ("passwd", "group")]
        lines += mounts + ["exec " + shlex.join(map(str, command))]
        return ["unshare", "--mount", "sh", "-c", "\n".join(lines)]

    def launch(self, command):
        command = self.under + command
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def main_process(self):
        return self.process.pid

    def stop(self):
        if self.process:
            end(self.process)
        self.log.close()


class Exim(Unpacked):
    """Debian's Exim; deliveries begin at once, several at a time, over kept connections."""

    name = "Exim"
    packages = ("exim4-daemon-light", "exim4-base", "exim4-config")
    settings = """\
primary_hostname = bench.test
spool_directory = {home}/spool
log_file_path = {home}/spool/log-%slog
exim_path = {root}/usr/sbin/exim4
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
acl_smtp_rcpt = accept
smtp_accept_max = 1000
smtp_accept_max_per_connection = 100000
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 128
queue_run_max = 10
message_size_limit = 100M
{more}
begin acl
begin routers
smart:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = smart
begin transports
smart:
  driver = smtp
  port = {next_hop}
  hosts_try_dane =
  hosts_avoid_tls = *
  allow_localhost
begin retry
* * F,1h,1m
"""
    accepts_only = False

    def prepare(self):
        super().prepare()
        shutil.chown(self.spool, *self.ids["Debian-exim"])
        self.config = self.home / "exim.conf"
        more = "queue_only" if self.accepts_only else ""
        self.config.write_text(self.settings.format(home=self.home, root=self.root, port=self.port,
                                                    next_hop=self.next_hop, more=more))

    def start(self):
        command = [self.root / "usr/sbin/exim4", "-C", self.config, "-bdf", "-q1h"]
        self.launch(self.inside([], command))


class OpenSmtpd(Unpacked):
    """Debian's OpenSMTPD. It answers 250 without a sync."""

    name = "OpenSMTPD"
    packages = ("opensmtpd",)

    def start(self):
        config = self.home / "smtpd.conf"
        config.write_text(f"""\
smtp max-message-size "100M"
listen on 127.0.0.1 port {self.port} hostname bench.test
action "out" relay host smtp://127.0.0.1:{self.next_hop}
match from any for any action "out"
""")
        mounts = [
            "mount -t tmpfs none /var/spool", "mkdir /var/spool/smtpd",
            f"mount --bind {shlex.quote(str(self.spool))} /var/spool/smtpd",
            "mount -t tmpfs none /var/lib", "mkdir -p /var/lib/opensmtpd/empty", "chmod 711 /var/lib/opensmtpd/empty",
            "mount -t tmpfs none /run",
            f"mount --bind {shlex.quote(str(self.root / 'usr/sbin'))} /usr/local/sbin",
        ]
        self.launch(self.inside(mounts, ["/usr/local/sbin/smtpd", "-d", "-f", config]))


class EMailRelay(Service):
    """E-MailRelay from the path. It answers 250 without a sync."""

    name = "E-MailRelay"

    @classmethod
    def available(cls, _folder):
        cls.program = shutil.which("emailrelay")
        return cls.program is not None

    def prepare(self):
        self.log = open((self.logs or self.home.parent) / "e-mailrelay.log", "ab")
        (self.home / "spool").mkdir()

    def start(self):
        command = [self.program, "--no-daemon", "--no-syslog", "--log", "--user", "root"]
        command += ["--spool-dir", str(self.home / "spool"), "--port", str(self.port), "--interface", "127.0.0.1"]
        command += ["--domain", "bench.test", "--forward-to", f"127.0.0.1:{self.next_hop}", "--forward-on-disconnect"]
        command += ["--poll", "1", "--pid-file", str(self.home / "pid")]
        self.process = subprocess.Popen(self.under + command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)

    def main_process(self):
        return self.process.pid

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()


class QueueOnly(Unpacked):
    """A mailer without a listener. Its package lies over our /usr and /etc in a namespace of its own, its queue below
    the bench's folder, and what is sent goes through its `sendmail`."""

    queue = ""

    def enter(self, command):
        """The command where the package is installed."""
        over = self.home / "over"
        over.mkdir(exist_ok=True)
        (self.home / "etc").mkdir(exist_ok=True)
        (self.home / "etc/mailname").write_text("bench.test\n")
        for folder in (self.spool, *self.spool.iterdir()):
            shutil.chown(folder, "mail", "mail")
        self.spool.chmod(0o2775)
        at = {name: shlex.quote(str(path)) for name, path in
              {"over": over, "spool": self.spool, "usr": self.root / "usr", "etc": self.home / "etc"}.items()}
        lines = ["set -e", "mount --make-rprivate /", "mount -t tmpfs none {over}"]
        for name in ("usr", "etc"):
            lines += [f"mkdir {{over}}/{name} {{over}}/{name}-work",
                      f"mount -t overlay none -o lowerdir={{{name}}}:/{name},upperdir={{over}}/{name},"
                      f"workdir={{over}}/{name}-work /{name}"]
        lines += [f"cp {shlex.quote(str(self.home / name))} /etc/{name}" for name in ("passwd", "group")]
        lines += ["mount -t tmpfs none /var/spool", f"mkdir {self.queue}", f"mount --bind {{spool}} {self.queue}"]
        lines = [line.format(**at) for line in lines] + ["exec " + shlex.join(map(str, command))]
        return ["unshare", "--mount", "sh", "-c", "\n".join(lines)]

    def send(self, senders, messages, message):
        """Hands in messages, so many at a time; the last has been taken when it returns."""
        (self.spool / "message").write_bytes(message)
        (self.spool / "message").chmod(0o644)
        one = f"{self.sendmail} to@example.test < {self.queue}/message"
        many = f"seq {messages} | xargs -P {senders} -I N sh -c {shlex.quote(one)}"
        subprocess.run(self.enter(["sh", "-c", many]), check=True, stdout=self.log, stderr=self.log,
                       stdin=subprocess.DEVNULL)


class Nullmailer(QueueOnly):
    """Debian's nullmailer."""

    name = "nullmailer"
    packages = ("nullmailer",)
    queue = "/var/spool/nullmailer"
    sendmail = "nullmailer-inject -f from@bench.test"

    def __enter__(self):
        self.prepare()
        for folder in ("queue", "tmp", "failed"):
            (self.spool / folder).mkdir()
        os.mkfifo(self.spool / "trigger")
        settings = self.home / "etc/nullmailer"
        settings.mkdir(parents=True)
        (settings / "remotes").write_text(f"127.0.0.1 smtp --port={self.next_hop}\n")
        for name in ("me", "defaultdomain", "defaulthost"):
            (settings / name).write_text("bench.test\n")
        self.launch(self.enter(["nullmailer-send"]))
        return self


class Dma(QueueOnly):
    """Debian's dma, which has no daemon: each message's own process delivers it."""

    name = "dma"
    packages = ("dma",)
    queue = "/var/spool/dma"
    sendmail = "dma -f from@bench.test"

    def __enter__(self):
        self.prepare()
        settings = self.home / "etc/dma"
        settings.mkdir(parents=True)
        (settings / "dma.conf").write_text(f"SMARTHOST 127.0.0.1\nPORT {self.next_hop}\nMAILNAME bench.test\n")
        return self

    def stop(self):
        self.log.close()
