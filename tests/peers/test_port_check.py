# SPDX-License-Identifier: MIT
"""port_check against ports that listen, that refuse, and that never answer."""

import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import unittest

import support
from support import PATIENCE, linux_only, needs_signals, posix_only


class Ports:
    """Neighbouring ports of 127.0.0.1: the first is open, the others are bound, which is closed."""

    def __init__(self, test, count):
        while not self._take(test, count):
            pass

    def _take(self, test, count):
        first = support.free_port()
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                test.addCleanup(sockets[-1].close)
                sockets[-1].bind(("127.0.0.1", port))
        except OSError:
            return False
        sockets[0].listen(100)
        self.sockets = sockets
        self.first = first
        return True

    def open(self, *places):
        for place in places:
            self.sockets[place].listen(100)


class PortCheckTest(unittest.TestCase):
    def check(self, *arguments):
        """(exit code, lines of the answer)"""
        code, said = support.output("port_check", *arguments)
        return code, [re.sub(" +", " ", line) for line in said.splitlines()]

    # ---- What is found ----

    def test_open_ports_each_and_the_others_as_ranges(self):
        ports = Ports(self, 12)
        ports.open(5, 6)
        p = ports.first
        code, lines = self.check("127.0.0.1", f"{p}-{p + 11}")
        self.assertEqual(lines, [f"{p} open", f"{p + 1}-{p + 4} refused", f"{p + 5} open",
                                 f"{p + 6} open", f"{p + 7}-{p + 11} refused"])
        self.assertEqual(code, 0)

    def test_the_answer_is_sorted_whatever_was_asked(self):
        ports = Ports(self, 4)
        p = ports.first
        code, lines = self.check("127.0.0.1", f"{p + 3},{p}", f"{p + 1}-{p + 1},{p}")
        self.assertEqual(lines, [f"{p} open", f"{p + 1} refused", f"{p + 3} refused"])
        self.assertEqual(code, 0)

    def test_nothing_is_open(self):
        p = Ports(self, 2).first + 1
        self.assertEqual(self.check("127.0.0.1", f"{p}"), (1, [f"{p} refused"]))

    @linux_only
    def test_a_port_that_never_answers(self):
        port = support.never_answering(self)
        code, lines = self.check("--timeout", "0.3", "127.0.0.1", f"{port}")
        self.assertEqual((code, lines), (1, [f"{port} timed out"]))

    def test_more_ports_than_are_tried_at_once(self):
        ports = Ports(self, 50)
        ports.open(49)
        p = ports.first
        for at_once in ("1", "7", "1000"):
            code, lines = self.check("--at-once", at_once, "127.0.0.1", f"{p}-{p + 49}")
            self.assertEqual(lines, [f"{p} open", f"{p + 1}-{p + 48} refused", f"{p + 49} open"])
            self.assertEqual(code, 0)

    def test_a_name(self):
        p = Ports(self, 1).first
        self.assertEqual(self.check("localhost", f"{p}"), (0, [f"{p} open"]))

    # ---- What gets in its way ----

    @posix_only
    def test_with_few_descriptors_it_takes_longer_and_finds_the_same(self):
        ports = Ports(self, 50)
        ports.open(*range(50))
        p = ports.first
        with tempfile.TemporaryFile("w+") as stdout:
            code = subprocess.run(
                support.program("port_check") + ["--at-once", "1000", "127.0.0.1",
                                                 f"{p}-{p + 49}"],
                stdin=subprocess.DEVNULL, stdout=stdout, timeout=PATIENCE, check=False,
                preexec_fn=lambda: support.resource.setrlimit(support.resource.RLIMIT_NOFILE,
                                                              (20, 20))).returncode
            stdout.seek(0)
            lines = stdout.read().splitlines()
        self.assertEqual((code, len(lines)), (0, 50))
        self.assertTrue(all(line.endswith(" open") for line in lines), lines)

    def test_a_name_that_does_not_resolve(self):
        code, said = support.run("port_check", "nosuch.invalid", "1-1000")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"^port_check: resolve nosuch\.invalid: [^\n]+\n$")

    @linux_only
    @needs_signals
    def test_a_signal_ends_it_with_what_is_known(self):
        open_port, silent = Ports(self, 1).first, support.never_answering(self)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Both are asked at once; that the progress says so is where the signal may come.
            process = subprocess.Popen(
                support.program("port_check") + ["--timeout", str(PATIENCE), "--progress",
                                                 "127.0.0.1", f"{open_port},{silent}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with process:
                self.addCleanup(process.kill)
                self.wait_for(process.stderr, b"1 of 2 ports, 1 open")
                process.send_signal(number)
                said, errors = process.communicate(timeout=PATIENCE)
            self.assertEqual(said.split(), [b"%d" % open_port, b"open"])
            self.assertTrue(errors.endswith(b"port_check: interrupted, with 1 ports to go\n"))
            self.assertEqual(process.returncode, 0)

    @posix_only
    def test_on_a_terminal_it_says_how_far_it_is(self):
        ports = Ports(self, 2)
        ours, terminal = os.openpty()
        with open(ours, "rb", buffering=0) as stream:
            try:
                process = subprocess.Popen(
                    support.program("port_check") + ["127.0.0.1",
                                                     f"{ports.first}-{ports.first + 1}"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=terminal)
            finally:
                os.close(terminal)
            with process:
                self.addCleanup(process.kill)
                self.wait_for(stream, b"of 2 ports, ")
                self.assertEqual(process.wait(PATIENCE), 0)

    def wait_for(self, stream, text):
        """Without taking more than needed to see it, but for what comes with it."""
        said = b""
        deadline = support.Deadline(f"it says {text}")
        while text not in said:
            deadline.check()
            if select.select([stream], [], [], 1)[0]:
                said += os.read(stream.fileno(), 4096)

    # ---- The command line ----

    def test_mistakes_on_the_command_line(self):
        for arguments, sentence in (
                ((), "HOST is missing"),
                (("localhost",), "PORTS is missing"),
                (("localhost", "x"), "x is no list of ports from 1 to 65535"),
                (("localhost", ""), " is no list of ports from 1 to 65535"),
                (("localhost", "0"), "0 is no list of ports from 1 to 65535"),
                (("localhost", "1-65536"), "1-65536 is no list of ports from 1 to 65535"),
                (("localhost", "99999999999999999999"), ".* from 1 to 65535"),
                (("localhost", "2-1"), "2-1 is no list of ports such as 22,80-90"),
                (("localhost", "1-2-3"), "1-2-3 is no list of ports such as 22,80-90"),
                (("localhost", "1,"), "1, is no list of ports from 1 to 65535"),
                (("localhost", "1 2"), "1 2 is no list of ports such as 22,80-90"),
                (("--fast", "localhost", "1"), "--fast is unknown"),
                (("--timeout", "0", "localhost", "1"), "--timeout needs a number, .*"),
                (("--timeout", "nan", "localhost", "1"), "--timeout needs a number, .*"),
                (("localhost", "1", "--at-once"), "--at-once needs a number, .*"),
                (("--at-once", "0", "localhost", "1"), "--at-once needs a number, .*")):
            with self.subTest(arguments=arguments):
                code, said = support.run("port_check", *arguments)
                self.assertEqual(code, 2)
                self.assertRegex(said.splitlines()[0], rf"^port_check: {sentence}$")


if __name__ == "__main__":
    unittest.main()
