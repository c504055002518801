# SPDX-License-Identifier: MIT
"""websocket against a server made of the Python library websockets, and against upgrades that are
none.
"""

import base64
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest

import support
from support import PATIENCE, Lines, TlsFiles
from web import Site, answer

def find_python():
    """An interpreter that has the library websockets."""
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python) and subprocess.run(
                [python, "-c", "import websockets"], stdin=subprocess.DEVNULL, timeout=PATIENCE,
                capture_output=True, check=False).returncode == 0:
            return python
    raise unittest.SkipTest("no Python has the library websockets")


def setUpModule():
    try:
        support.program("websocket")
    except FileNotFoundError:
        raise unittest.SkipTest("websocket was not built: there is no wslay, or no TLS") from None


class WebSocketTest(unittest.TestCase):
    def talk(self, *arguments):
        """(exit code, lines, what it says on stderr)"""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            done = subprocess.run(support.program("websocket") + list(arguments),
                                  stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                  timeout=PATIENCE, check=False)
            stdout.seek(0)
            stderr.seek(0)
            return done.returncode, stdout.read().splitlines(), stderr.read()

    def serve(self, *files):
        """The port of a server that lives as long as the test."""
        process = subprocess.Popen(
            [find_python(), "-B", os.path.join(os.path.dirname(__file__), "websocket_server.py"),
             *files], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True)
        lines = Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return int(lines.find(r"^listening on 127\.0\.0\.1:(\d+)$")[1])


class ConversationTest(WebSocketTest):
    """With a server that keeps to the protocol."""

    def setUp(self):
        self.url = f"ws://127.0.0.1:{self.serve()}"

    def test_what_is_said_comes_back(self):
        said = ["hello", "", "\u00fcber", "two\nlines", "x" * 100000]
        self.assertEqual(self.talk(self.url, *said), (0, "\n".join(said).split("\n"), ""))

    def test_more_is_said_than_a_connection_takes_at_once(self):
        said = [str(i) * 100000 for i in range(10)] * 2
        self.assertEqual(self.talk(self.url + "/", *said), (0, said, ""))

    def test_messages_in_pieces_and_pings_between_them(self):
        said = ["a message of several fragments", "another one"]
        self.assertEqual(self.talk(self.url + "/pieces", *said), (0, said, ""))

    def test_a_feed_up_to_its_end_and_not_so_far(self):
        news = ["news 0", "news 1", "news 2", "(1000 bytes)", "news 4"]
        self.assertEqual(self.talk(self.url + "/feed"), (0, news, ""))
        self.assertEqual(self.talk("--answers", "2", self.url + "/feed"), (0, news[:2], ""))
        self.assertEqual(self.talk("--answers", "6", self.url + "/feed"),
                         (1, news, "websocket: the server has ended the connection too early\n"))

    def test_what_a_terminal_would_take_for_a_command_is_not_printed(self):
        self.assertEqual(self.talk(self.url, "a\x1b[2Jb\tc"), (0, ["a?[2Jb\tc"], ""))

    def test_a_server_that_leaves(self):
        self.assertEqual(self.talk(self.url + "/leave", "hello"),
                         (1, [], "websocket: the server has ended the connection too early\n"))

    def test_a_message_that_is_too_long(self):
        code, said, errors = self.talk(self.url + "/large")
        self.assertEqual((code, said), (1, []))
        self.assertRegex(errors, "^websocket: the server .* says too much at once\n$")


class TlsTest(TlsFiles, WebSocketTest):
    """The same over TLS."""

    def test_a_conversation(self):
        port = self.serve(self.cert, self.key)
        for host in ("localhost", "127.0.0.1"):
            self.assertEqual(self.talk("--cacert", self.cert, f"wss://{host}:{port}/", "a", "b"),
                             (0, ["a", "b"], ""))

    def test_a_server_that_nobody_has_to_trust(self):
        port = self.serve(self.cert, self.key)
        code, said, errors = self.talk(f"wss://localhost:{port}/", "hello")
        self.assertEqual((code, said), (1, []))
        self.assertRegex(errors, "^websocket: .*certificate")


class UpgradeTest(WebSocketTest):
    """Answers to the upgrade. The server says no frame, so that the right one is cut short, too."""

    def accept(self, sock):
        key = re.search(r"(?m)^Sec-WebSocket-Key: (.*)$", self.site.requests[-1])[1].strip()
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        return base64.b64encode(digest).decode()

    def check(self, head, sentence):
        """`head` is what is sent, but for ACCEPT in it."""
        def page(sock):
            sock.sendall(head.replace("ACCEPT", self.accept(sock)).encode())
            sock.shutdown(socket.SHUT_WR)  # a close with words unread would be a reset
            support.receive_all(sock)

        self.site = Site(self, {"/chat?room=1": page})
        code, said, errors = self.talk(f"ws://127.0.0.1:{self.site.port}/chat?room=1", "hello")
        self.assertEqual((code, said, errors), (1, [], f"websocket: {sentence}\n"))

    GOOD = ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
            "Sec-WebSocket-Accept: ACCEPT\r\n\r\n")

    def test_the_request(self):
        self.check(self.GOOD, "the server has ended the connection too early")
        fields = self.site.fields()
        self.assertEqual(len(base64.b64decode(fields.pop("sec-websocket-key"), validate=True)), 16)
        self.assertEqual(fields, {"host": f"127.0.0.1:{self.site.port}", "upgrade": "websocket",
                                  "connection": "Upgrade", "sec-websocket-version": "13"})

    def test_answers_that_are_none(self):
        for head in (self.GOOD.replace("ACCEPT", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                     self.GOOD.replace("ACCEPT", "ACCEPT="),
                     self.GOOD.replace("Accept: ACCEPT", "Accept: ACCEPT\r\n"
                                       "Sec-WebSocket-Accept: ACCEPT"),
                     self.GOOD.replace("Upgrade: WebSocket", "Upgrade: h2c"),
                     self.GOOD.replace("Connection: upgrade", "Connection: close"),
                     self.GOOD.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
                     self.GOOD.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
                     self.GOOD.replace("Upgrade", "X: " + "x" * 10000 + "\r\nUpgrade"),
                     self.GOOD.replace("Upgrade", "X: \0\r\nUpgrade"),
                     "HTTP/1.1 101 Switching Protocols\r\n\r\n"):
            with self.subTest(head=head[:200]):
                self.check(head, "the server's answer to the upgrade is none")

    def test_refusals(self):
        self.check(answer(b"no", "403 Forbidden").decode(),
                   "the server answers with HTTP/1.1 403 Forbidd")
        self.check("SSH-2.0\r\n\r\n", "the server answers with something else")

    def test_mistakes_on_the_command_line(self):
        for arguments, sentence in (
                ((), "URL needs a value"),
                (("http://a",), "http://a is no URL such as wss://example.com/"),
                (("ws://",), "ws:// has no host"),
                (("ws://:80",), "ws://:80 has no host"),
                (("ws://[::1",), r"ws://\[::1 has no host"),
                (("ws://a:b",), "ws://a:b has no port from 1 to 65535"),
                (("ws://a:65536/",), "ws://a:65536/ has no port from 1 to 65535"),
                (("ws://a?b",), r"ws://a\?b has a query and no path"),
                (("ws://a/#b",), "URL has characters that none has, .*"),
                (("ws://a/" + "b" * 600,), "URL is too long"),
                (("--answers", "x", "ws://a"), "--answers needs a number, .*"),
                (("--loud", "ws://a"), "--loud is unknown")):
            with self.subTest(arguments=arguments):
                code, _, said = self.talk(*arguments)
                self.assertEqual(code, 2)
                self.assertRegex(said.splitlines()[0], f"^websocket: {sentence}$")


if __name__ == "__main__":
    unittest.main()
