# SPDX-License-Identifier: MIT
"""curl_multi against Python's own web server: several at once, a slow one, refused ones."""

import http.server
import re
import socket
import subprocess
import tempfile
import threading
import unittest

import support
from support import PATIENCE


def setUpModule():
    try:
        support.program("curl_multi")
    except FileNotFoundError:
        raise unittest.SkipTest("curl_multi was not built: there is no libcurl") from None


LARGE = 5_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    """/bytes/N has so many bytes. /slow is answered when the server's `others` have been."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.path.rsplit("/", 1)[1]) if self.path.startswith("/bytes/") else 0
        if self.path == "/slow":
            self.server.released.wait(PATIENCE)
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(b"x" * length)
        if self.path.startswith("/bytes/"):
            self.server.count()

    def log_message(self, *_):
        pass


class WebServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, others):
        super().__init__(("127.0.0.1", 0), Handler)
        self.others = others
        self.released = threading.Event()
        self.lock = threading.Lock()

    def count(self):
        with self.lock:
            self.others -= 1
            if self.others == 0:
                self.released.set()


class CurlMulti(unittest.TestCase):
    def serve(self, others=0):
        server = WebServer(others)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def fetch(self, *urls):
        """(exit code, lines, what it says on stderr)"""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            done = subprocess.run(support.program("curl_multi") + list(urls), stdout=stdout,
                                  stdin=subprocess.DEVNULL, stderr=stderr, timeout=PATIENCE,
                                  check=False)
            stdout.seek(0)
            stderr.seek(0)
            return done.returncode, stdout.read().splitlines(), stderr.read()

    def test_one_comes(self):
        site = self.serve()
        code, lines, errors = self.fetch(f"{site}/bytes/1000")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(lines, [f"1: 200, 1000 bytes of {site}/bytes/1000"])

    def test_the_slow_one_holds_nobody_up(self):
        site = self.serve(others=30)
        urls = [f"{site}/slow"] + [f"{site}/bytes/{1000 * i}" for i in range(29)]
        code, lines, errors = self.fetch(*urls, f"{site}/bytes/{LARGE}")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(len(lines), 31)
        self.assertIn(f"31: 200, {LARGE} bytes of {site}/bytes/{LARGE}", lines)
        self.assertIn(f"1: 200, 0 bytes of {site}/slow", lines)
        for i in range(29):
            self.assertIn(f"{i + 2}: 200, {1000 * i} bytes of {site}/bytes/{1000 * i}", lines)

    def test_who_is_refused_and_what_is_missing_are_told(self):
        site = self.serve()
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            code, lines, errors = self.fetch(f"http://127.0.0.1:{port}/", f"{site}/none",
                                             f"{site}/bytes/7", "nonsense://127.0.0.1/")
        self.assertEqual((code, errors), (1, ""))
        told = dict(line.split(": ", 1) for line in lines)
        self.assertRegex(told["1"], f"^Failed to connect to 127.0.0.1 port {port}")
        self.assertEqual(told["2"], f"404, 0 bytes of {site}/none")
        self.assertEqual(told["3"], f"200, 7 bytes of {site}/bytes/7")
        self.assertRegex(told["4"], re.compile("protocol", re.IGNORECASE))

    def test_a_server_that_leaves_in_the_middle_is_told(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def leave():
                with listener.accept()[0] as sock:
                    sock.recv(65536)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

            thread = threading.Thread(target=leave, daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            code, lines, errors = self.fetch(url)
            thread.join()
        self.assertEqual((code, errors), (1, ""))
        self.assertRegex(lines[0], "^1: .*(transfer|remaining|closed)")

    def test_the_command_line_is_explained(self):
        for arguments in ((), ("--help",)):
            code, lines, errors = self.fetch(*arguments)
            self.assertEqual((code, lines), (2, []))
            self.assertRegex(errors, "^usage: curl_multi")


if __name__ == "__main__":
    unittest.main()
