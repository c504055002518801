# SPDX-License-Identifier: MIT
"""What the tests with real peers share: servers that run as processes, certificates, clients.

A test starts one of the examples on port 0, reads from its output where it listens, and ends it by
its process id; that it then exits with 0 is asserted for every test. Every wait has the limit
PATIENCE, which is so long that only a hang reaches it: no test asserts how long something took.

The environment says where the examples are and what they can do:

    PORTICO_BIN   the folder of the programs
    PORTICO_RUN   a command before each of them, such as "wine64", if they are Windows programs
    PORTICO_TLS   0 if the library was built without TLS
"""

import os
import queue
import random
import re
import select
import shlex
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import resource
except ImportError:  # not on Windows
    resource = None

PATIENCE = 60
BIN = os.environ.get("PORTICO_BIN", "")
RUN = shlex.split(os.environ.get("PORTICO_RUN", ""))
HAS_TLS = os.environ.get("PORTICO_TLS", "1") not in ("0", "OFF")

ON_POSIX = os.name == "posix" and not RUN
ON_LINUX = sys.platform.startswith("linux") and not RUN

# How a user ends a server. Wine makes a Ctrl-C of SIGINT; by other signals it just dies.
END_SIGNALS = (signal.SIGINT,) if RUN else (signal.SIGINT, signal.SIGTERM)

posix_only = unittest.skipUnless(ON_POSIX, "POSIX only: SO_REUSEPORT, permissions, file limits")
needs_signals = unittest.skipUnless(os.name == "posix", "needs a system with signals")
windows_only = unittest.skipUnless(RUN or os.name == "nt", "Windows only")
linux_only = unittest.skipUnless(ON_LINUX, "Linux only: reads /proc")
needs_tls = unittest.skipUnless(HAS_TLS, "the library was built without TLS")
needs_openssl = unittest.skipUnless(shutil.which("openssl"), "there is no openssl program")
needs_curl = unittest.skipUnless(shutil.which("curl"), "there is no curl program")


def program(name):
    """The command that starts one of the examples."""
    for file in (name, name + ".exe"):
        path = os.path.join(BIN, file)
        if BIN and os.path.exists(path):
            return RUN + [path]
    raise FileNotFoundError(f"PORTICO_BIN, {BIN!r}, is no folder with a program {name}")


def run(name, *arguments, **options):
    """Runs an example that is expected to end by itself: (exit code, what it said on stderr)."""
    # No pipe, whose end would not come before that of the processes that Wine leaves behind.
    with tempfile.TemporaryFile("w+") as stderr:
        done = subprocess.run(program(name) + list(arguments), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=stderr, timeout=PATIENCE,
                              check=False, **options)
        stderr.seek(0)
        return done.returncode, stderr.read()


def output(name, *arguments):
    """Runs an example that is expected to end by itself: (exit code, what it said on stdout)."""
    with tempfile.TemporaryFile("w+") as stdout:
        done = subprocess.run(program(name) + list(arguments), stdin=subprocess.DEVNULL,
                              stdout=stdout, timeout=PATIENCE, check=False)
        stdout.seek(0)
        return done.returncode, stdout.read()


def needs_descriptors(count):
    """Skips a test where a process may not have so many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count:
        raise unittest.SkipTest(f"a process may have {hard} descriptors here")


def raise_limit():
    """Runs in a server's process, before the server does: as many descriptors as it may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Lines:
    """The lines of a stream, read by a thread, so that waiting for one can have a limit."""

    def __init__(self, stream):
        self.stream = stream
        self.queue = queue.Queue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.stream:
            self.queue.put(line.rstrip("\r\n"))
        self.queue.put(None)

    def next(self, timeout=PATIENCE):
        """The next line; None at the end of the stream."""
        try:
            return self.queue.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("no line came") from None

    def find(self, regex):
        """Skips lines until one matches, and returns the match."""
        while True:
            line = self.next()
            if line is None:
                raise AssertionError(f"the stream ended before a line matched {regex}")
            match = re.search(regex, line)
            if match:
                return match

    def close(self):
        self.thread.join(PATIENCE)
        self.stream.close()


class Server:
    """An example that runs. `addresses` are the (host, port), or paths, that it listens on."""

    def __init__(self, name, *arguments, sockets=1, **options):
        # Read while the server writes: by a file of its own, since to seek in a shared one would
        # move the server, too. (Wine does not append.)
        with tempfile.NamedTemporaryFile() as written:
            self.stderr = open(written.name, encoding="utf-8")
            self.process = subprocess.Popen(program(name) + list(arguments), text=True,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=written, **options)
        self.lines = Lines(self.process.stdout)
        self.addresses = []
        self.killed = False
        try:
            for _ in range(sockets):
                self.addresses.append(self._next_address())
        except BaseException:
            self.kill()
            raise

    def _next_address(self):
        line = self.lines.next()
        match = re.fullmatch(r"listening on ([/@].+)", line or "")
        if match:
            return match[1]
        match = re.fullmatch(r"listening on (?:\[(.+)\]|([^:]+)):(\d+)", line or "")
        if not match:
            raise AssertionError(f"not a line of an address: {line!r}; {self.errors()}")
        return (match[1] or match[2], int(match[3]))

    @property
    def address(self):
        return self.addresses[0]

    @property
    def port(self):
        return self.addresses[0][1]

    @property
    def pid(self):
        return self.process.pid

    def errors(self):
        """What the server has said on stderr."""
        self.stderr.seek(0)
        return self.stderr.read()

    def says(self, regex):
        """Waits until what the server has said on stderr matches."""
        deadline = Deadline(f"the server says {regex!r}")
        while not re.search(regex, self.errors()):
            deadline.check(self.errors)

    def memory(self):
        """The resident memory, in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return int(re.search(r"^VmRSS:\s+(\d+) kB", status.read(), re.M)[1]) * 1024

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number=END_SIGNALS[-1]):
        self.process.send_signal(number)

    def wait(self):
        """Waits for the end, and returns the exit code."""
        code = self.process.wait(PATIENCE)
        self._close()
        return code

    def stop(self):
        """Ends the server as a user does, and returns its exit code; None if it was killed."""
        if self.process.returncode is not None:
            return None if self.killed else self.process.returncode
        if os.name != "posix":
            self.kill()
            return None
        self.signal()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server did not end after its signal") from None

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self):
        self.lines.close()


class PeerTest(unittest.TestCase):
    """Starts servers and connections, ends them, and looks how the servers ended."""

    def start(self, name, *arguments, **options):
        if "--port" not in arguments and "--path" not in arguments:
            arguments += ("--port", "0")
        server = Server(name, *arguments, **options)
        self.addCleanup(server.stderr.close)
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server):
        """Ends the server, which must end well."""
        code = server.stop()
        self.assertIn(code, (0, None), f"the server ended with {code}: {server.errors()}")

    def dial(self, address):
        """A plain connection, closed when the test ends."""
        sock = socket.create_connection(address, PATIENCE)
        self.addCleanup(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def assert_echoes(self, sock, message=b"still here\n"):
        sock.sendall(message)
        self.assertEqual(receive(sock, len(message)), message)


class TlsFiles:
    """A folder with certificates of "localhost" and 127.0.0.1, for the life of a test class."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not HAS_TLS:
            raise unittest.SkipTest("the library was built without TLS")
        if not shutil.which("openssl"):
            raise unittest.SkipTest("there is no openssl program")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.cert, cls.key = make_certificate(cls.folder.name, "server")

    def client_context(self, version=None, alpn=None):
        """A context that trusts the server's certificate."""
        context = ssl.create_default_context(cafile=self.cert)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if alpn is not None:
            context.set_alpn_protocols(alpn)
        return context

    def dial_tls(self, address, **options):
        sock = self.client_context(**options).wrap_socket(self.dial(address),
                                                          server_hostname="localhost")
        self.addCleanup(sock.close)
        return sock


def make_certificate(folder, name):
    """A self-signed certificate and its key: two paths."""
    cert, key = (os.path.join(folder, f"{name}.{kind}.pem") for kind in ("cert", "key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
                    "-keyout", key, "-out", cert],
                   check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    return cert, key


def free_port():
    """A port that nobody listens on, for servers that are to have a certain one.

    It is below those that systems choose for clients, lest another test's connection takes it.
    """
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                pass


def never_answering(test):
    """A port of 127.0.0.1 whose backlog is full: who connects hears nothing. For Linux."""
    listener = socket.socket()
    test.addCleanup(listener.close)
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    while True:  # the backlog has room for a few more than it was told
        waiting = socket.socket()
        test.addCleanup(waiting.close)
        waiting.settimeout(0.2)
        try:
            waiting.connect(listener.getsockname())
        except socket.timeout:
            return listener.getsockname()[1]


def receive(sock, length):
    """Exactly so many bytes, or fewer at the end of the stream."""
    parts = []
    while length > 0:
        part = sock.recv(min(length, 1 << 20))
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def receive_all(sock):
    """All bytes until the peer's end; a reset counts as the end."""
    parts = []
    try:
        while True:
            part = sock.recv(1 << 20)
            if not part:
                break
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def reset(sock):
    """Closes the socket so that the peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Pump:
    """Sends a pattern without end and compares what comes back, on one thread.

    (Two threads may share a socket, but not an SSLSocket. And what an SSLSocket could not send at
    once has to be offered again unchanged, so `finish` goes on exactly where `fill` stopped.)
    """

    WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    CHUNK = 1 << 16

    def __init__(self, sock):
        self.sock = sock
        self.unit = memoryview(pattern(1 << 20))
        self.sent = 0
        self.received = 0

    def _piece(self, position, end):
        begin = position % len(self.unit)
        return self.unit[begin:begin + min(self.CHUNK, end - position)]

    def _send(self, end):
        """Sends until `end` or until the socket takes no more: whether it took something."""
        before = self.sent
        try:
            while self.sent < end:
                self.sent += self.sock.send(self._piece(self.sent, end))
        except self.WOULD_BLOCK:
            pass
        return self.sent > before

    def _receive(self):
        try:
            while self.received < self.sent:
                data = self.sock.recv(self.CHUNK)
                if not data:
                    raise AssertionError(f"the end came after {self.received} bytes")
                self._compare(data)
        except self.WOULD_BLOCK:
            pass

    def _compare(self, data):
        begin = 0
        while begin < len(data):
            piece = self._piece(self.received, self.received + len(data) - begin)
            if data[begin:begin + len(piece)] != piece:
                raise AssertionError(f"wrong bytes after {self.received} bytes")
            begin += len(piece)
            self.received += len(piece)

    def fill(self, limit):
        """Sends, and reads nothing, until the peer has long taken nothing, or to the limit."""
        self.sock.setblocking(False)
        while self.sent < limit:
            if not self._send(limit) and not select.select([], [self.sock], [], 0.5)[1]:
                break
        self.sock.settimeout(PATIENCE)
        return self.sent

    def finish(self, total=0):
        """Sends on to `total`, or to the end of what was begun, and receives it all."""
        total = max(total, self.sent + self.CHUNK if self.sent else 0)
        deadline = Deadline("everything comes back")
        self.sock.setblocking(False)
        while self.received < total:
            deadline.check()
            self._send(total)
            self._receive()
            if self.received < total:
                select.select([self.sock], [self.sock] if self.sent < total else [], [], 1)
        self.sock.settimeout(PATIENCE)


def pattern(length):
    """Bytes in which every place is different from its neighbours, so that no shift is missed."""
    unit = b"".join(struct.pack("!I", i * 2654435761 % 2**32) for i in range(16384))
    return (unit * (length // len(unit) + 1))[:length]


class Deadline:
    """Bounds a loop that tries something until it works."""

    def __init__(self, what):
        self.what = what
        self.end = time.monotonic() + PATIENCE

    def check(self, instead=lambda: None):
        """`instead` tells what there was instead."""
        if time.monotonic() > self.end:
            raise AssertionError(f"in vain: {self.what}: {instead()!r}")
