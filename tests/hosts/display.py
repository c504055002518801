# SPDX-License-Identifier: MIT
"""What the tests of programs with windows share: a display of their own, and for Windows programs a
world of their own under Wine; a server that sends as it is told; a user with a keyboard.

On Windows and macOS themselves the windows are the system's, and nobody types or looks.

Besides what peers/support.py says, the environment says

    PORTICO_SHOTS   a folder for pictures of the screen; without it nobody will see them
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

import support  # noqa: E402
from support import PATIENCE, RUN, Deadline, Lines, PeerTest  # noqa: E402

HAS_USER = os.name == "posix" and sys.platform != "darwin"
DISPLAY = {}  # the environment of who wants to be seen

needs_user = unittest.skipUnless(HAS_USER, "nobody types here")


def run_tool(*command, **options):
    """Runs a program that ends by itself, and returns what it says."""
    return subprocess.run(command, env={**os.environ, **DISPLAY}, check=True, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE,
                          **options).stdout


def start_display():
    """A screen that nobody sees, until the tests of the module are done."""
    if not shutil.which("Xvfb"):
        raise unittest.SkipTest("there is no Xvfb")
    reading, writing = os.pipe()
    # Xvfb keeps the number of its display free for others only after it has told it.
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24",
                               "-nolisten", "tcp", "-noreset"], pass_fds=[writing],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    os.close(writing)
    unittest.addModuleCleanup(server.wait, PATIENCE)
    unittest.addModuleCleanup(server.terminate)
    with open(reading, encoding="ascii") as told:
        number = told.readline().strip()
    if not number:
        raise AssertionError("Xvfb has told no display")
    DISPLAY.update(DISPLAY=f":{number}", GDK_BACKEND="x11", GSK_RENDERER="cairo", GTK_A11Y="none",
                   QT_QPA_PLATFORM="xcb", NO_AT_BRIDGE="1", GSETTINGS_BACKEND="memory")


def start_wine():
    """A Wine beside the one that other tests use, whose desktop has no display.

    Its files are links to that one's, but for the registry, which Wine writes to where it lies.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    original = pathlib.Path(cache, "portico/windows/wine").resolve()
    folder = tempfile.mkdtemp(prefix="wine-display-", dir=original.parent)
    unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
    run_tool("cp", "-al", f"{original}/.", folder)
    for registry in original.glob("*.reg"):
        run_tool("cp", "--remove-destination", str(registry), folder)
    DISPLAY.update(WINEPREFIX=folder, PORTICO_DISPLAY=DISPLAY["DISPLAY"])
    unittest.addModuleCleanup(run_tool, "wineserver", "-k")
    run_tool(*RUN)


def set_up_module():
    support.BIN = os.path.abspath(support.BIN)
    if HAS_USER:
        start_display()
    if RUN:
        start_wine()


class Source(threading.Thread):
    """A server of one answer. It sends half of it, and the rest when it is told to."""

    LINE = "The house with the portico is over there.\n"

    def __init__(self, lines=10000):
        super().__init__(daemon=True)
        self.body = (self.LINE * lines).encode()
        self.may_send_rest = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.address = "127.0.0.1:%d/answer" % self.listener.getsockname()[1]
        self.done = f"200: {len(self.body)} bytes"
        self.start()

    def run(self):
        half = (len(self.body) + 1) // 2
        with self.listener, self.listener.accept()[0] as sock:
            sock.settimeout(PATIENCE)
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(4096)
            try:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body))
                sock.sendall(self.body[:half])
                self.may_send_rest.wait(PATIENCE)
                sock.sendall(self.body[half:])
                sock.recv(1)
            except ConnectionError:
                pass  # a download that was canceled

    def send_rest(self):
        self.may_send_rest.set()

    def end(self):
        self.send_rest()
        self.join(PATIENCE)


class Program:
    """One that has a window, and whose lines settings.h explains."""

    def __init__(self, name, *arguments):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(support.program(name) + list(arguments), text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors, env={**os.environ, **DISPLAY})
        self.lines = Lines(self.process.stdout)

    def says(self, expected):
        line = self.lines.next()
        if line != expected:
            self.errors.seek(0)
            raise AssertionError(f"{line!r}, not {expected!r}; {self.errors.read()}")

    def ends(self):
        """It has ended by itself, and well."""
        code = self.process.wait(PATIENCE)
        if code != 0:
            self.errors.seek(0)
            raise AssertionError(f"it ended with {code}: {self.errors.read()}")

    def clean_up(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.lines.close()
        self.errors.close()


class HostTest(PeerTest):
    name = None  # of the program

    def start_program(self, *arguments):
        program = Program(self.name, *arguments)
        self.addCleanup(program.clean_up)
        program.says("ready")
        return program

    def start_source(self, **options):
        source = Source(**options)
        self.addCleanup(source.end)
        return source

    # ---- The user ----

    def keys(self, *keys):
        run_tool("xdotool", "key", "--delay", "20", *keys)

    def find_window(self, title):
        """Waits for a window of that title, a regular expression."""
        return run_tool("xdotool", "search", "--sync", "--onlyvisible", "--name", title).split()[0]

    def take_window(self, title):
        """Waits for the window, and gives it the keyboard: there is no window manager."""
        run_tool("xdotool", "windowfocus", "--sync", self.find_window(title))

    def write(self, text):
        run_tool("xdotool", "type", "--delay", "20", text)

    def look_at_box(self, title, name):
        """Takes a picture once there is such a window."""
        if HAS_USER:
            self.find_window(title)
            self.picture(name)

    def picture(self, name):
        """What the screen shows."""
        folder = os.environ.get("PORTICO_SHOTS") or tempfile.mkdtemp()
        path = pathlib.Path(folder, f"{self.name}-{name}.png")
        run_tool("import", "-window", "root", str(path))
        return path.read_bytes()

    def picture_other_than(self, before, name):
        """Waits until the screen shows something else."""
        deadline = Deadline("the screen changes")
        while (now := self.picture(name)) == before:
            deadline.check()
        return now
