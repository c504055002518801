# SPDX-License-Identifier: MIT
"""pg_queries against a PostgreSQL server that the test starts, in a folder of its own."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import unittest

import support
from support import PATIENCE, Lines


def setUpModule():
    try:
        support.program("pg_queries")
    except FileNotFoundError:
        raise unittest.SkipTest("pg_queries was not built: there is no libpq") from None
    Database.start()


def tearDownModule():
    Database.stop()


class Database:
    """The server. It refuses to run as root, and so runs as the user postgres, or nobody, then."""

    folder = None

    @classmethod
    def programs(cls):
        """The folder of its programs, the newest version."""
        for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True):
            if os.path.exists(os.path.join(folder, "initdb")):
                return folder
        found = shutil.which("initdb")
        if found is None:
            raise unittest.SkipTest("there is no PostgreSQL server")
        return os.path.dirname(os.path.realpath(found))

    @classmethod
    def user(cls):
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                pass
        raise unittest.SkipTest("there is no user for a PostgreSQL server")

    @classmethod
    def call(cls, program, *arguments):
        done = subprocess.run([os.path.join(cls.bin, program), *arguments], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=cls.log, timeout=PATIENCE, cwd=cls.folder, **cls.as_whom)
        if done.returncode != 0:
            cls.log.seek(0)
            raise AssertionError(f"{program}: {cls.log.read()}")

    @classmethod
    def start(cls):
        cls.bin = cls.programs()
        owner = cls.user() if os.geteuid() == 0 else None
        cls.as_whom = {}
        cls.folder = tempfile.mkdtemp()
        cls.log = tempfile.TemporaryFile("w+")
        if owner is not None:
            os.chown(cls.folder, owner.pw_uid, owner.pw_gid)
            cls.as_whom = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        data = os.path.join(cls.folder, "data")
        cls.call("initdb", "-D", data, "-U", "tester", "-A", "trust", "-N", "--no-sync",
                 "--locale=C", "-E", "UTF8")
        # Only the socket in the folder, which is as short as its name may be.
        cls.call("pg_ctl", "-D", data, "-w", "-t", str(PATIENCE), "-l",
                 os.path.join(cls.folder, "log"), "-o",
                 f"-k {cls.folder} -h '' -F -c shared_buffers=1MB -c max_connections=50", "start")
        cls.where = f"host={cls.folder} user=tester dbname=postgres"

    @classmethod
    def stop(cls):
        if cls.folder is None:
            return
        cls.call("pg_ctl", "-D", os.path.join(cls.folder, "data"), "-m", "immediate", "-w", "stop")
        cls.log.close()
        shutil.rmtree(cls.folder)


class PgQueries(unittest.TestCase):
    def ask(self, *arguments):
        """(exit code, lines, what it says on stderr)"""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            done = subprocess.run(support.program("pg_queries") + list(arguments), stdout=stdout,
                                  stdin=subprocess.DEVNULL, stderr=stderr, timeout=PATIENCE,
                                  check=False)
            stdout.seek(0)
            stderr.seek(0)
            return done.returncode, stdout.read().splitlines(), stderr.read()

    def begin(self, *arguments):
        """The program, while it runs, and its lines."""
        process = subprocess.Popen(support.program("pg_queries") + list(arguments), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        lines = Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, lines

    def sql(self, text):
        """What psql answers."""
        done = subprocess.run([os.path.join(Database.bin, "psql"), "-qAtX", "-d", Database.where],
                              input=text, capture_output=True, text=True, timeout=PATIENCE,
                              check=True)
        return done.stdout.splitlines()

    def test_a_question_is_answered(self):
        code, lines, errors = self.ask(Database.where, "SELECT 6 * 7, 'text' UNION SELECT 43, ''")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(sorted(lines), ["1: 42|text", "1: 43|"])

    def test_many_are_asked_at_once(self):
        queries = [f"SELECT {i}, repeat('x', {i * 10000})" for i in range(1, 21)]
        code, lines, errors = self.ask(Database.where, *queries)
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(sorted(lines),
                         sorted(f"{i}: {i}|{'x' * (i * 10000)}" for i in range(1, 21)))

    def test_a_question_larger_than_the_socket_takes_is_sent(self):
        text = "y" * 60_000
        code, lines, _ = self.ask(Database.where, f"SELECT length('{text}'), '{text}'")
        self.assertEqual((code, lines), (0, [f"1: 60000|{text}"]))

    def test_one_that_waits_holds_nobody_up(self):
        with subprocess.Popen([os.path.join(Database.bin, "psql"), "-qAtX", "-d", Database.where],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            holder.stdin.write("SELECT pg_advisory_lock(7);\nSELECT 'held';\n")
            holder.stdin.flush()
            while holder.stdout.readline() != "held\n":
                pass
            process, lines = self.begin(Database.where,
                                        "SELECT 'late' FROM pg_advisory_xact_lock(7)",
                                        "SELECT 'early'")
            self.assertEqual(lines.next(), "2: early")
            holder.stdin.close()  # and with the session the lock goes
            self.assertEqual(lines.next(), "1: late")
            self.assertEqual(process.wait(PATIENCE), 0)

    def test_it_hears_what_is_notified(self):
        process, lines = self.begin("--listen", "news", "--notices", "3", Database.where)
        first = None
        while first is None:  # until it listens
            self.sql("NOTIFY news, 'hello'")
            try:
                first = lines.next(0.1)
            except AssertionError:
                pass
        self.assertEqual(first, "news: hello")
        self.sql("NOTIFY news, 'two'; NOTIFY other, 'not for us'; NOTIFY news, 'three'")
        heard = [first, lines.next(), lines.next()]
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertTrue(set(heard) <= {"news: hello", "news: two", "news: three"}, heard)

    def test_mistakes_of_the_server_and_of_the_way_are_told(self):
        code, lines, errors = self.ask(Database.where, "SELECT 1", "SELECT nothing FROM nowhere")
        self.assertEqual((code, lines), (1, ["1: 1"]))
        self.assertRegex(errors, "^pg_queries: 2: ERROR: .*nowhere")
        code, lines, errors = self.ask(f"host={Database.folder}/none user=tester", "SELECT 1")
        self.assertEqual((code, lines), (1, []))
        self.assertRegex(errors, "^pg_queries: 1: .*No such file")

    @unittest.skipIf(os.environ.get("PORTICO_BACKEND") == "kqueue" and support.ON_LINUX,
                     "libkqueue does not see that a socket was closed whose number is in use again")
    def test_the_next_address_is_tried(self):
        """libpq closes one socket and opens another while it is connecting."""
        where = f"host=127.0.0.1,{Database.folder} port=1,5432 user=tester dbname=postgres"
        code, lines, _ = self.ask(where, "SELECT 'there'", "SELECT 'too'")
        self.assertEqual((code, sorted(lines)), (0, ["1: there", "2: too"]))

    def test_a_server_that_ends_the_session_is_told(self):
        code, lines, errors = self.ask(Database.where,
                                       "SELECT pg_terminate_backend(pg_backend_pid())")
        self.assertEqual((code, lines), (1, []))
        self.assertRegex(errors, "terminat|closed")

    def test_the_command_line_is_explained(self):
        for arguments in ((), ("--help",), ("--listen",), ("--listen", "a;b", "x")):
            code, lines, errors = self.ask(*arguments)
            self.assertEqual((code, lines), (2, []))
            self.assertRegex(errors, "^usage: pg_queries")


if __name__ == "__main__":
    unittest.main()
