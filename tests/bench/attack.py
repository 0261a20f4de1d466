"""Clients that mean harm or are broken, for tests/bench/hostile: many at once, from many addresses of the loopback network.

All sockets of a crowd are served by one thread; what a crowd does is a step that is taken whenever a socket of it can
be written to or a second has passed.
"""

import contextlib
import errno
import selectors
import socket
import ssl
import subprocess
import sys
import threading
import time

AT_ONCE = 200  # connections that are being opened at one time: below every backlog


def address(number):
    """The number-th address of the attackers; 127.0.0.x is for those who may send."""
    return f"127.{1 + number // 60000}.{number // 250 % 240}.{1 + number % 250}"


def read_reply(sock):
    """One reply, all its lines; shorter when the peer has hung up."""
    text = b""
    while True:
        block = sock.recv(4096)
        text += block
        lines = text.split(b"\r\n")
        if not block or (len(lines) > 1 and lines[-1] == b"" and lines[-2][3:4] != b"-"):
            return text


def say(sock, line):
    sock.sendall(line + b"\r\n")
    return read_reply(sock)


class Crowd:
    """Connections that stay open. `each` of them come from one address."""

    def __init__(self, port, each):
        self.port, self.each = port, each
        self.socks = []
        self.refused = 0
        self.first = 0  # the number of the first one, from which its address follows

    def open(self, count):
        """Opens so many more and reads their greetings; those that got none or a refusal are counted and closed."""
        todo, pending = count, selectors.DefaultSelector()
        end = time.monotonic() + 120
        while todo or pending.get_map():
            while todo and len(pending.get_map()) < AT_ONCE:
                sock = socket.socket()
                sock.setblocking(False)
                number = self.first + len(self.socks) + self.refused + len(pending.get_map())
                sock.bind((address(number // self.each), 0))
                code = sock.connect_ex(("127.0.0.1", self.port))
                if code not in (0, errno.EINPROGRESS):
                    raise OSError(code, f"connect: {errno.errorcode[code]}")
                pending.register(sock, selectors.EVENT_READ)
                todo -= 1
            for key, _ in pending.select(timeout=1):
                pending.unregister(key.fileobj)
                greeting = b""
                with contextlib.suppress(OSError):
                    greeting = key.fileobj.recv(1024)
                if greeting.startswith(b"220"):
                    self.socks.append(key.fileobj)
                else:
                    self.refused += 1
                    key.fileobj.close()
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.socks)} of {count} connections are open after two minutes")

    def say(self, line):
        """Each says this and reads the answer."""
        for sock in self.socks:
            sock.setblocking(True)
            sock.settimeout(60)
            say(sock, line)
            sock.setblocking(False)

    def starttls(self):
        """Each goes inside TLS and stays there."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        inside = []
        for sock in self.socks:
            sock.setblocking(True)
            sock.settimeout(60)
            say(sock, b"EHLO attacker.test")
            say(sock, b"STARTTLS")
            sock = context.wrap_socket(sock)
            say(sock, b"EHLO attacker.test")
            inside.append(sock)
        self.socks = inside

    def still_open(self):
        """How many the other side has not closed; what it said is thrown away."""
        count = 0
        for sock in self.socks:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                sock.setblocking(False)
                try:
                    while sock.recv(65536):
                        pass
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, ssl.SSL_ERROR_WANT_READ):
                        continue
                    count += 1
        return count

    def close(self):
        for sock in self.socks:
            sock.close()
        self.socks = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Flood(threading.Thread):
    """Keeps doing harm over the connections of a crowd until it is told to stop.

    `text` is written again and again, `step` bytes at a time, every `pause` seconds to every socket that takes it;
    answers are read and thrown away.
    """

    def __init__(self, crowd, text, step=65536, pause=0.0):
        super().__init__(daemon=True)
        self.crowd, self.text, self.step, self.pause = crowd, text, step, pause
        self.sent = 0
        self.ended = 0
        self.over = threading.Event()

    def run(self):
        at = {}
        ready = selectors.DefaultSelector()
        for sock in self.crowd.socks:
            sock.setblocking(False)
            at[sock] = 0
            ready.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while at and not self.over.is_set():
            for key, events in ready.select(timeout=0.2):
                sock = key.fileobj
                try:
                    if events & selectors.EVENT_READ and not sock.recv(65536):
                        raise ConnectionResetError
                    if events & selectors.EVENT_WRITE:
                        start = at[sock]
                        written = sock.send(self.text[start : start + self.step])
                        at[sock] = (start + written) % len(self.text)
                        self.sent += written
                except BlockingIOError:
                    pass
                except OSError:
                    ready.unregister(sock)
                    del at[sock]
                    self.ended += 1
            if self.pause:
                self.over.wait(self.pause)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Honest:
    """Honest mail from a process of its own, so that it does not wait for the attackers' interpreter."""

    def __init__(self, port):
        command = [sys.executable, "-B", __file__, str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def send(self, source):
        """The seconds that one message took."""
        self.process.stdin.write(source + "\n")
        answer = self.process.stdout.readline().strip()
        try:
            return float(answer)
        except ValueError:
            print(f"    honest mail from {source}: {answer}", flush=True)
            return float("inf")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def legitimate(port, source, body=b"Subject: it works\r\n\r\nThe backup of tonight went well.\r\n"):
    """Sends one message as an honest client does, from connecting to the answer to QUIT; the seconds it took."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0)) as sock:
        greeting = read_reply(sock)
        if not greeting.startswith(b"220"):
            raise ConnectionRefusedError(greeting.decode().strip())
        for line, want in (
            (b"EHLO honest.test", b"250"),
            (b"MAIL FROM:<from@honest.test>", b"250"),
            (b"RCPT TO:<to@bench.test>", b"250"),
            (b"DATA", b"354"),
            (body + b".", b"250"),
            (b"QUIT", b"221"),
        ):
            reply = say(sock, line)
            if not reply.startswith(want):
                raise ConnectionAbortedError(f"{line[:40]!r}: {reply.decode().strip()}")
    return time.monotonic() - start


def main():
    for line in sys.stdin:
        try:
            print(legitimate(int(sys.argv[1]), line.strip()), flush=True)
        except OSError as error:
            print(str(error) or repr(error), flush=True)


if __name__ == "__main__":
    main()
