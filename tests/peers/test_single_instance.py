# SPDX-License-Identifier: MIT
"""single_instance: the second start hands its arguments to the first, whenever either comes."""

import itertools
import os
import signal
import subprocess
import tempfile
import unittest

import support
from support import PATIENCE, needs_signals, posix_only

names = itertools.count()


class SingleInstance(unittest.TestCase):
    def setUp(self):
        self.name = f"test.single-instance.{os.getpid()}.{next(names)}"
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": folder.name}

    def command(self, *arguments):
        return support.program("single_instance") + ["--name", self.name, *arguments]

    def start(self, *arguments):
        """Starts one that may stay: the process, and the lines that it says."""
        process = subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, env=self.environment)
        lines = support.Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.send_signal, support.END_SIGNALS[0])
        return process, lines

    def first(self, *arguments):
        process, lines = self.start(*arguments)
        self.assertEqual(lines.next(), "the first one")
        return process, lines

    def run_second(self, *arguments):
        """The exit code."""
        return subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, timeout=PATIENCE, check=False,
                              env=self.environment).returncode

    def shown(self, lines):
        return lines.find(r"^show (.*) \(from .*\)$")[1]

    def test_the_second_hands_its_arguments_over_and_ends(self):
        process, lines = self.first("letter.txt")
        self.assertEqual(self.shown(lines), "letter.txt")
        self.assertEqual(self.run_second("photo.jpg", "two words", ""), 0)
        self.assertEqual([self.shown(lines) for _ in range(3)], ["photo.jpg", "two words", ""])
        self.assertEqual(self.run_second("another"), 0)
        self.assertEqual(self.shown(lines), "another")
        self.assertEqual(self.run_second("--quit"), 0)
        self.assertEqual(process.wait(PATIENCE), 0)

    @posix_only
    def test_the_folder_of_the_second_is_told(self):
        _, lines = self.first()
        with tempfile.TemporaryDirectory() as folder:
            folder = os.path.realpath(folder)
            subprocess.run(self.command("here"), cwd=folder, env=self.environment, check=True,
                           timeout=PATIENCE)
            self.assertEqual(lines.next(), f"show here (from {folder})")

    def test_long_arguments_arrive_whole(self):
        _, lines = self.first()
        text = "x" * 20000
        self.assertEqual(self.run_second(text), 0)
        self.assertEqual(self.shown(lines), text)

    def test_nobody_need_be_ended(self):
        self.assertEqual(self.run_second("--quit"), 0)

    @posix_only
    def test_after_a_crash_the_next_one_is_the_first(self):
        process, _ = self.first()
        process.kill()
        process.wait(PATIENCE)
        self.first()

    @needs_signals
    def test_a_signal_ends_it_and_the_next_one_is_the_first(self):
        process, _ = self.first()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 0)
        self.first()

    @posix_only
    def test_of_many_that_start_at_once_one_is_the_first_and_shows_all(self):
        started = [self.start(f"file{number}") for number in range(20)]
        staying = [lines for process, lines in started if lines.next() == "the first one"]
        self.assertEqual(len(staying), 1)
        shown = {self.shown(staying[0]) for _ in started}
        self.assertEqual(shown, {f"file{number}" for number in range(20)})

    def test_a_name_that_is_none_is_refused(self):
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(support.program("single_instance") + ["--name", "a/b"],
                                  stdin=subprocess.DEVNULL, stderr=errors, timeout=PATIENCE,
                                  stdout=subprocess.DEVNULL, check=False)
            errors.seek(0)
            self.assertEqual(done.returncode, 1)
            self.assertIn('the name "a/b" is not made of letters', errors.read())

    def test_mistakes_on_the_command_line(self):
        for arguments in (("--name",), ("--fast",)):
            code, said = support.run("single_instance", *arguments)
            self.assertEqual(code, 2)
            self.assertIn(f"{arguments[-1]} is unknown, or needs a name", said)


if __name__ == "__main__":
    unittest.main()
