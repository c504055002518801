# SPDX-License-Identifier: MIT
"""measure.py: how one figure is measured: a server and a load generator, a client and a server, or a
proxy between the two, started, held to their cores, watched through /proc, strace or valgrind, and
ended.

Every wait has a limit, and only processes that were started here are ever signalled.
"""

import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE = 60.0  # seconds for any one answer
SETTLE = 3.0  # seconds after which an idle server has given back what it gives back


class Failure(Exception):
    """A figure could not be measured; the text says why."""


class Child:
    """A program of ours: its lines are read with a time limit, and it is ended in any case."""

    def __init__(self, command, core=None, stderr=subprocess.DEVNULL):
        def prepare():
            if core is not None:
                os.sched_setaffinity(0, {core})

        self.command = command
        self.pending = b""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=prepare,
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def read_line(self, patience=PATIENCE):
        deadline = time.monotonic() + patience
        output = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([output], [], [], wait)[0]:
                raise Failure("%s did not answer" % self.command[0])
            data = os.read(output, 65536)
            if not data:
                raise Failure("%s ended too early" % os.path.basename(self.command[0]))
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def send_line(self):
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failure("%s ended too early" % self.command[0]) from None

    def end(self, how=signal.SIGTERM):
        """Ends it, gently first."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


# ---- What /proc says ----


def cpu_time(pid):
    """Nanoseconds on a processor, of all threads; and clock ticks in user and in kernel mode."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
            total += int(file.read().split()[0])
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return total, int(fields[11]), int(fields[12])


def private_bytes(pid):
    with open("/proc/%d/smaps_rollup" % pid) as file:
        return 1024 * int(re.search(r"Private_Dirty:\s*(\d+)", file.read())[1])


def is_traced(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"TracerPid:\s*(\d+)", file.read())[1]) != 0


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---- Servers, loads, and who is measured ----


def free_port():
    """A free port as servers have in life: none of those that the system gives to clients."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first_given = int(file.read().split()[0])
    while True:
        port = random.randrange(1024, first_given)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


class Bench:
    """What all measurements share: where the programs are, the certificate, the cores."""

    def __init__(self, load, echo, certificate, cores):
        self.load = load
        self.echo = echo
        self.certificate = certificate
        self.cores = cores

    @contextlib.contextmanager
    def meeting(self, command, case, wrapper=(), stderr=subprocess.DEVNULL, **options):
        """
        Those who talk to each other, connected: who is measured, on a core of its own unless
        `together`, and who makes the load. Of a client that is the same.
        """
        here = self.cores[0]
        there = here if options.pop("together", False) or case.together else self.cores[-1]
        with contextlib.ExitStack() as stack:
            start = stack.enter_context
            if case.role == "server":
                measured = start(self.start_server(command, case, here, wrapper, stderr))
                load = start(self.start_load([self.load], measured, case, there, **options))
            elif case.role == "client":
                port = free_port()
                server = start(self.start_server(self.echo[case.tls], case, there, port=port))
                command = [*wrapper, *command, *self.belief(case)]
                load = start(self.start_load(command, server, case, here, stderr, **options))
                measured = load
            else:
                server = start(self.start_server(self.echo[False], case, there))
                measured = start(self.start_proxy(command, server, here, wrapper, stderr))
                load = start(self.start_load([self.load], measured, case, there, **options))
            yield measured, load

    def belief(self, case):
        """How a client is told that it speaks TLS, and with whom."""
        return ["--tls", self.certificate[2]] if case.tls else []

    def start_server(
        self, command, case, core=None, wrapper=(), stderr=subprocess.DEVNULL, port=0
    ):
        command = [*wrapper, *command, "--port", str(port)]
        if case.tls:
            command += ["--tls", *self.certificate[:2]]
        server = Child(command, self.cores[0] if core is None else core, stderr)
        try:
            line = server.read_line()
            server.port = int(re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", line)[1])
        except (Failure, TypeError):
            server.end()
            raise Failure("it does not listen") from None
        return server

    @contextlib.contextmanager
    def start_proxy(self, proxy, server, core, wrapper, stderr):
        """Starts a proxy, whose configuration may be a file; it listens when this returns."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        words, text = proxy
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
            known = {"port": port, "behind": server.port, "config": config.name}
            config.write(text.format(**known))
            config.flush()
            command = [*wrapper, *(word.format(**known) for word in words)]
            with Child(command, core, stderr) as child:
                child.port = port
                self.wait_until(lambda: is_listening(port), "it does not listen", PATIENCE)
                yield child

    def start_load(self, command, server, case, core=None, stderr=None, **options):
        """Starts a load generator, or a client; its connections stand when this returns."""
        command = [*command, "--port", str(server.port), "--wait", "--mode", case.mode]
        given = {
            "size": case.size,
            "connections": case.connections,
            "flight": case.flight,
            "warmup": case.warmup,
            "timeout": PATIENCE,
            **options,
        }
        for name, value in given.items():
            command += ["--" + name, str(value)]
        command += ["--tls"] * (case.tls and case.role != "client") + ["--resume"] * case.resume
        load = Child(command, self.cores[-1] if core is None else core, stderr)
        try:
            if load.read_line(3 * PATIENCE) != "ready":
                raise Failure("the load generator is not ready")
        except Failure:
            load.end()
            raise
        return load

    def run_load(self, load, seconds=0.0):
        """Lets it go, and returns its report; the connections stay."""
        load.send_line()
        return json.loads(load.read_line(seconds + 3 * PATIENCE))

    # ---- The figures ----

    def measure_time(self, command, case, seconds):
        """The processor time per message of who is measured, and what the client saw."""
        with self.meeting(command, case, seconds=seconds) as (measured, load):
            before = cpu_time(measured.pid)
            report = self.run_load(load, seconds)
            after = cpu_time(measured.pid)
        total, user, system = (b - a for a, b in zip(before, after))
        messages = max(report["messages"], 1)
        report["cpu"] = total / 1e3 / messages
        report["user_ticks"], report["system_ticks"] = user, system
        report["rate"] = messages / report["seconds"]
        return report

    def count_calls(self, command, case):
        """
        System calls per message by name; strace is with who is measured while messages run. All
        are on one core, so that how many connections a turn finds ready is not a matter of who is
        faster.
        """
        options = {"together": True, "messages": case.calls}
        with tempfile.NamedTemporaryFile("r") as table:
            with self.meeting(command, case, **options) as (measured, load):
                tracer = ["strace", "-f", "-c", "-o", table.name, "-p", str(measured.pid)]
                with Child(tracer, self.cores[-1]) as strace:
                    self.wait_until(lambda: is_traced(measured.pid), "strace is not permitted")
                    report = self.run_load(load)
                    strace.end(signal.SIGINT)
            rows = [line.split() for line in table.read().splitlines()]
        rows = [row for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"]
        return {row[-1]: int(row[3]) / report["messages"] for row in rows}

    def run_valgrind(self, command, case, messages, output):
        """Instructions of a program's whole life, in which it sees so many messages."""
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + output]
        options = {"together": True, "messages": messages}
        with tempfile.TemporaryFile("w+") as errors:
            with self.meeting(command, case, tool, errors, **options) as (_, load):
                self.run_load(load)
            errors.seek(0)
            found = re.search(r"Collected *: *(\d+)", errors.read())
        if found is None:
            raise Failure("valgrind counted nothing")
        return int(found[1])

    def count_instructions(self, command, case, functions=False):
        """
        User-space instructions per message: the difference between a long life and a short one,
        in which all that is not done per message cancels out. With `functions`: by function.
        """
        few, many = case.instructions
        with tempfile.TemporaryDirectory() as folder:
            files = [os.path.join(folder, name) for name in ("few", "many")]
            counts = [
                self.run_valgrind(command, case, messages, file)
                for messages, file in zip((few, many), files)
            ]
            if not functions:
                return (counts[1] - counts[0]) / (many - few)
            tables = [read_profile(file) for file in files]
        return {
            name: (count - tables[0].get(name, 0)) / (many - few)
            for name, count in tables[1].items()
        }

    def measure_memory(self, command, case, warm, connections):
        """Private bytes of the server per connection that has sent one message and is idle."""
        with self.start_server(command, case) as server:
            with self.start_load([self.load], server, warm, messages=warm.calls) as load:
                self.run_load(load)
                load.send_line()
            time.sleep(SETTLE)
            before = private_bytes(server.pid)
            options = {"connections": connections, "messages": connections, "warmup": 0}
            options["timeout"] = 2 * PATIENCE
            with self.start_load([self.load], server, case, **options) as load:
                self.run_load(load)
                time.sleep(SETTLE)
                return (private_bytes(server.pid) - before) / connections

    def count_among_idle(self, command, case, crowd, idle):
        """Instructions per message of `case` while `idle` other connections stand."""
        few, many = case.instructions
        counts = []
        for messages in (few, many):
            with tempfile.TemporaryFile("w+") as errors:
                tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
                with self.start_server(command, case, None, tool, errors) as server:
                    options = {"connections": idle, "messages": idle, "warmup": 0}
                    program = [self.load]
                    with self.start_load(program, server, crowd, **options) as others:
                        self.run_load(others)
                        with self.start_load(program, server, case, messages=messages) as load:
                            self.run_load(load)
                        # The others end with the server, whose time for that is in both lives.
                errors.seek(0)
                counts.append(int(re.search(r"Collected *: *(\d+)", errors.read())[1]))
        return (counts[1] - counts[0]) / (many - few)

    @staticmethod
    def wait_until(condition, otherwise, patience=5.0):
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise Failure(otherwise)
            time.sleep(0.01)


def read_profile(file):
    """Instructions by function, from callgrind's output."""
    tool = ["callgrind_annotate", "--threshold=100", "--auto=no", "--inclusive=no", file]
    text = subprocess.run(tool, capture_output=True, text=True, timeout=PATIENCE).stdout
    result = {}
    for line in text.splitlines():
        found = re.match(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S*:\S+)", line)
        if found:
            name = os.path.basename(found[2])
            result[name] = result.get(name, 0) + int(found[1].replace(",", ""))
    return result


def run_growth(program, kind, pending, repeats, tool=()):
    command = [*tool, program, kind, str(pending), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return json.loads(done.stdout), done.stderr


def measure_growth(program, kind, pending, repeats):
    """Nanoseconds of each operation on timers or callbacks, and instructions of all together."""
    times, _ = run_growth(program, kind, pending, repeats)
    operations = times.pop("operations")
    if operations == 0:
        return {"nanoseconds": times, "instructions": None}
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    counts = []
    for rounds in (1, 3):
        _, said = run_growth(program, kind, pending, rounds, tool)
        counts.append(int(re.search(r"Collected *: *(\d+)", said)[1]))
    return {"nanoseconds": times, "instructions": (counts[1] - counts[0]) / 2 / operations}


def make_certificate(folder):
    """The server's certificate and key, and the certificate of who has signed it."""
    names = ("certificate.pem", "key.pem", "authority.pem", "authority_key.pem")
    own, key, authority, authority_key = [os.path.join(folder, name) for name in names]
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2"
    of_authority = ["-subj", "/CN=authority", "-out", authority, "-keyout", authority_key]
    of_server = ["-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE",
                 "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-CA", authority,
                 "-CAkey", authority_key, "-out", own, "-keyout", key]  # fmt: skip
    for more in (of_authority, of_server):
        subprocess.run(command.split() + more, check=True, capture_output=True, timeout=PATIENCE)
    return [own, key, authority]


def missing_tools(names):
    return [name for name in names if shutil.which(name) is None]
