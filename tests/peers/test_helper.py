# SPDX-License-Identifier: MIT
"""helper: a program and its helper ask each other, and neither survives the other by long."""

import os
import signal
import subprocess
import tempfile
import unittest

import support
from support import PATIENCE, linux_only


class Helper(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.environ["XDG_RUNTIME_DIR"], before = folder.name, os.environ.get("XDG_RUNTIME_DIR")
        self.addCleanup(self.put_back, before)

    @staticmethod
    def put_back(before):
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before

    def ask(self, *arguments):
        """(exit code, the lines said, sorted: answers come as they are ready)"""
        code, said = support.output("helper", *arguments)
        return code, sorted(said.splitlines())

    def test_numbers_are_taken_apart(self):
        self.assertEqual(self.ask("91", "97", "1", "4", "1000000007"),
                         (0, ["1000000007: prime", "1: neither prime nor a product",
                              "4: 2 times 2", "91: 7 times 13", "97: prime"]))

    def test_more_numbers_than_questions_may_be_open(self):
        numbers = [str(2 * number) for number in range(2, 300)]
        code, said = self.ask(*numbers)
        self.assertEqual(code, 0)
        self.assertEqual(said, sorted(f"{number}: 2 times {int(number) // 2}"
                                      for number in numbers))

    def test_the_helper_asks_whether_to_go_on(self):
        # 15,811 divisors are tried, and it asks after each 5,000.
        self.assertEqual(self.ask("--most", "2", "1000000007", "97"),
                         (0, ["1000000007: given up", "97: prime"]))
        self.assertEqual(self.ask("--most", "3", "1000000007"), (0, ["1000000007: prime"]))

    @linux_only
    def test_a_helper_that_is_killed_is_noticed(self):
        process, helper = self.start_long_work()
        os.kill(helper, signal.SIGKILL)
        said, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(said, "999999999999999989: no answer\n")
        self.assertRegex(errors, r"^helper: ")

    @linux_only
    def test_a_program_that_is_killed_takes_its_helper_along(self):
        process, helper = self.start_long_work()
        descriptor = os.pidfd_open(helper)
        self.addCleanup(os.close, descriptor)
        process.kill()
        process.communicate(timeout=PATIENCE)
        support.select.select([descriptor], [], [], PATIENCE)
        self.assertTrue(support.select.select([descriptor], [], [], 0)[0], "it lives on")

    def start_long_work(self):
        """The process, and the number of its helper, which works for a minute or more."""
        process = subprocess.Popen(support.program("helper") + ["999999999999999989"], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        place = f"{os.environ['XDG_RUNTIME_DIR']}/portico/com.example.helper.{process.pid}"
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        deadline = support.Deadline("the helper has come")
        # Then the program listens no more.
        while not os.path.exists(f"{place}.lock") or not self.ends(f"{place}.socket", deadline):
            deadline.check()
        with open(children, encoding="ascii") as file:
            return process, int(file.read())

    @staticmethod
    def ends(path, deadline):
        """Whether there was such a file, and is no more."""
        while not os.path.exists(path):
            deadline.check()
        while os.path.exists(path):
            deadline.check()
        return True

    def test_mistakes_on_the_command_line(self):
        for arguments, sentence in (((), "NUMBER is missing"), (("x",), "x is no number, .*"),
                                    (("9" * 19,), "9+ is no number, or too large a one"),
                                    (("--fast", "1"), "--fast is unknown"),
                                    (("1", "--most"), "a number is no number, .*")):
            with self.subTest(arguments=arguments):
                code, said = support.run("helper", *arguments)
                self.assertEqual(code, 2)
                self.assertRegex(said.splitlines()[0], f"^helper: {sentence}$")


if __name__ == "__main__":
    unittest.main()
