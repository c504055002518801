# SPDX-License-Identifier: MIT
"""proxy between peers of all kinds: what one of them does, the other one sees.

Each test has its own server behind the proxy: sockets of Python's, asyncio, or a program.
"""

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

import support
from support import PATIENCE, PeerTest, TlsFiles, needs_curl, needs_openssl, needs_signals, pattern
from support import posix_only, receive, receive_all, reset

needs_counters = unittest.skipUnless(support.ON_POSIX, "only POSIX has a signal for the counters")
needs_socat = unittest.skipUnless(shutil.which("socat"), "there is no socat program")
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
needs_nginx = unittest.skipUnless(NGINX, "there is no nginx program")

COUNTERS = (r"(?P<clients>\d+) clients, (?P<now>\d+) now, (?P<refused>\d+) refused, .*",
            r"(?P<passed_on>\d+) passed on, (?P<unreachable>\d+) not, .* (?P<broken>\d+) broken",
            r"(?P<to_server>\d+) bytes to the server, (?P<to_client>\d+) bytes to clients")


class ProxyTest(PeerTest):
    """Starts proxies, and whatever is behind them."""

    def start_proxy(self, port, *flags, **options):
        return self.start("proxy", "--to", "127.0.0.1", str(port), *flags, **options)

    def listen(self, **options):
        """A listening socket, whose accept() does not wait for ever."""
        listener = socket.create_server(("127.0.0.1", 0), **options)
        listener.settimeout(PATIENCE)
        self.addCleanup(listener.close)
        return listener

    def accept(self, listener):
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE)
        self.addCleanup(sock.close)
        return sock

    def read_counters(self, proxy):
        found = {}
        for line in COUNTERS:
            found.update(proxy.lines.find(line).groupdict())
        return {name: int(value) for name, value in found.items()}

    def ask_counters(self, proxy):
        proxy.signal(support.signal.SIGUSR1)
        return self.read_counters(proxy)

    def wait_for_counters(self, proxy, **expected):
        """Asks until they are as expected."""
        deadline = support.Deadline(f"the counters become {expected}")
        while True:
            deadline.check()
            found = self.ask_counters(proxy)
            if all(found[name] == value for name, value in expected.items()):
                return found

    def assert_reset(self, sock):
        with self.assertRaises(ConnectionResetError):
            while sock.recv(1 << 16):
                pass

    def assert_refused(self, address):
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address, PATIENCE).close()


class Pair:
    """What holds whether or not the client speaks TLS. `client` and `server` are the two ends."""

    def setUp(self):
        super().setUp()
        self.listener = self.listen()
        self.proxy = self.start_proxy(self.listener.getsockname()[1], *self.proxy_flags())

    def connect_pair(self):
        client = self.connect()
        return client, self.accept(self.listener)

    # ---- Data ----

    def test_a_conversation(self):
        client, server = self.connect_pair()
        for i in range(100):
            question, answer = b"question %d\n" % i, b"the answer to %d\n" % i
            client.sendall(question)
            self.assertEqual(receive(server, len(question)), question)
            server.sendall(answer)
            self.assertEqual(receive(client, len(answer)), answer)

    def test_the_server_may_be_the_first_to_speak(self):
        client, server = self.connect_pair()
        server.sendall(b"220 ready\r\n")
        self.assertEqual(receive(client, 11), b"220 ready\r\n")

    def test_what_the_client_says_at_once_waits_for_the_server(self):
        client = self.connect()
        client.sendall(pattern(100000))
        self.assertEqual(receive(self.accept(self.listener), 100000), pattern(100000))

    def test_megabytes_in_both_directions_at_once(self):
        data = pattern(8 << 20)
        echoes = []

        async def echo(reader, writer):
            echoes.append(asyncio.current_task())
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
                await writer.drain()
            writer.close()

        async def client():
            reader, writer = await asyncio.open_connection(*self.proxy.address,
                                                           **self.client_options())

            async def send():
                writer.write(data)
                await writer.drain()

            sender = asyncio.ensure_future(send())
            self.assertTrue(await reader.readexactly(len(data)) == data)
            await sender
            writer.close()
            await writer.wait_closed()

        async def everything():
            server = await asyncio.start_server(echo, sock=self.listener)
            async with server:
                await asyncio.gather(*(client() for _ in range(4)))
                await asyncio.gather(*echoes)

        asyncio.run(asyncio.wait_for(everything(), PATIENCE))

    # ---- Flow control ----

    def fill(self, sender, limit=64 << 20):
        """Sends until nobody has taken anything for long: how much was taken."""
        pump = support.Pump(sender)
        sent = pump.fill(limit)
        self.assertLess(sent, limit, "the proxy takes in whatever comes")
        return pump, sent

    def test_a_client_that_does_not_read_stops_the_server(self):
        client, server = self.connect_pair()
        pump, sent = self.fill(server)
        expected = (pattern(1 << 20) * 64)[:sent]
        self.assertTrue(receive(client, sent) == expected)

    def test_a_server_that_does_not_read_stops_the_client(self):
        client, server = self.connect_pair()
        pump, sent = self.fill(client)
        expected = (pattern(1 << 20) * 64)[:sent]
        self.assertTrue(receive(server, sent) == expected)

    def test_one_slow_pair_does_not_hold_up_another(self):
        _, server = self.connect_pair()
        self.fill(server)
        client, server = self.connect_pair()
        client.sendall(b"hello\n")
        self.assertEqual(receive(server, 6), b"hello\n")

    # ---- Ends ----

    def test_a_client_that_closes_ends_the_servers_connection(self):
        client, server = self.connect_pair()
        client.sendall(b"the last words")
        self.close(client)
        self.assertEqual(receive_all(server), b"the last words")

    def test_a_server_that_closes_ends_the_clients_connection(self):
        client, server = self.connect_pair()
        server.sendall(pattern(1 << 20))
        server.close()
        self.assertTrue(receive_all(client) == pattern(1 << 20))

    def test_a_reset_by_the_client_is_a_reset_to_the_server(self):
        client, server = self.connect_pair()
        server.sendall(b"x")
        receive(client, 1)
        reset(client)
        self.assert_reset(server)

    def test_a_reset_by_the_server_is_a_reset_to_the_client(self):
        client, server = self.connect_pair()
        client.sendall(b"x")
        receive(server, 1)
        reset(server)
        self.assert_cut_off(client)

    def test_a_server_that_refuses_is_a_reset_to_the_client(self):
        self.listener.close()
        try:
            client = self.connect()
        except ConnectionResetError:
            pass  # it came before the connection was seen to stand
        else:
            self.assert_cut_off(client)
        self.proxy.says(r"^proxy: for 127\.0\.0\.1:\d+: connect to .*: connection refused\n$")

    # ---- The end of the program ----

    @needs_signals
    def test_transfers_are_finished_when_the_program_ends(self):
        client, server = self.connect_pair()
        client.sendall(b"hello")
        receive(server, 5)
        self.proxy.signal()
        self.wait_until_refused()
        server.sendall(pattern(1 << 20))
        client.sendall(b"goodbye")
        self.assertTrue(receive(client, 1 << 20) == pattern(1 << 20))
        self.close(client)
        self.assertEqual(receive_all(server), b"goodbye")
        server.close()
        self.assertEqual(self.proxy.wait(), 0)

    @needs_signals
    def test_a_second_signal_does_not_wait(self):
        proxy = self.start_proxy(self.listener.getsockname()[1], "--grace", "1000",
                                 *self.proxy_flags())
        self.connect(proxy)
        server = self.accept(self.listener)
        proxy.signal()
        self.wait_until_refused(proxy)
        proxy.signal()
        self.assertEqual(proxy.wait(), 0)
        self.assert_reset(server)

    def wait_until_refused(self, proxy=None):
        deadline = support.Deadline("nobody is let in any more")
        while True:
            deadline.check()
            try:
                socket.create_connection((proxy or self.proxy).address, PATIENCE).close()
            except ConnectionResetError:  # just then
                continue
            except ConnectionRefusedError:
                return


class PlainProxyTest(Pair, ProxyTest):
    """TCP to TCP."""

    def proxy_flags(self):
        return ()

    def client_options(self):
        return {}

    def connect(self, proxy=None):
        return self.dial((proxy or self.proxy).address)

    def close(self, client):
        client.close()

    def assert_cut_off(self, client):
        self.assert_reset(client)

    # ---- Half-close ----

    def test_a_client_that_sends_no_more_still_hears_the_answer(self):
        client, server = self.connect_pair()
        client.sendall(pattern(1 << 20))
        client.shutdown(socket.SHUT_WR)
        self.assertTrue(receive_all(server) == pattern(1 << 20))
        server.sendall(b"that was a megabyte")
        self.assertEqual(receive(client, 19), b"that was a megabyte")
        server.close()
        self.assertEqual(client.recv(1), b"")

    def test_a_server_that_sends_no_more_still_hears_the_client(self):
        client, server = self.connect_pair()
        server.sendall(b"I have nothing more to say")
        server.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b"I have nothing more to say")
        client.sendall(pattern(1 << 20))
        client.close()
        self.assertTrue(receive_all(server) == pattern(1 << 20))

    @needs_counters
    def test_a_pair_is_over_when_both_have_ended(self):
        client, server = self.connect_pair()
        for sock in (client, server):
            sock.shutdown(socket.SHUT_WR)
        self.assertEqual((receive_all(client), receive_all(server)), (b"", b""))
        self.wait_for_counters(self.proxy, now=0, broken=0)

    # ---- The counters ----

    @needs_counters
    def test_the_counters(self):
        client, server = self.connect_pair()
        client.sendall(bytes(1000))
        receive(server, 1000)
        server.sendall(bytes(2000))
        receive(client, 2000)
        self.assertEqual(self.ask_counters(self.proxy),
                         {"clients": 1, "now": 1, "refused": 0, "passed_on": 1, "unreachable": 0,
                          "broken": 0, "to_server": 1000, "to_client": 2000})
        reset(client)
        self.wait_for_counters(self.proxy, now=0, broken=1)

    @needs_signals
    def test_the_counters_are_said_at_the_end(self):
        client, server = self.connect_pair()
        client.sendall(b"hello")
        receive(server, 5)
        client.close()
        receive_all(server)
        server.close()
        self.proxy.signal()
        counters = self.read_counters(self.proxy)
        self.assertEqual((counters["passed_on"], counters["to_server"]), (1, 5))
        self.assertEqual(self.proxy.wait(), 0)

    # ---- Servers that cannot be reached ----

    @posix_only
    def test_a_server_that_does_not_answer(self):
        port = support.never_answering(self)
        hasty = self.start_proxy(port, "--connect-timeout", "0.2")
        self.assert_reset(self.dial(hasty.address))
        hasty.says("timed out")

        patient = self.start_proxy(port)
        client = self.dial(patient.address)
        self.wait_for_counters(patient, now=1, unreachable=0)
        reset(client)  # and does not wait for the server
        self.wait_for_counters(patient, now=0, unreachable=0)

    # ---- Other programs ----

    @posix_only
    def test_a_thousand_connections_at_once(self):
        support.needs_descriptors(2100)
        server = self.start("echo_server", "--backlog", "1000", preexec_fn=support.raise_limit)
        proxy = self.start_proxy(server.port, preexec_fn=support.raise_limit)
        clients = os.path.join(os.path.dirname(os.path.abspath(__file__)), "many_clients.py")
        done = subprocess.run([sys.executable, "-B", clients, "1000", "",
                               "%s:%d" % proxy.address], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        counters = self.wait_for_counters(proxy, now=0)
        self.assertEqual((counters["clients"], counters["passed_on"], counters["broken"]),
                         (1000, 1000, 0))
        self.assertEqual(counters["to_server"], counters["to_client"])

    def try_to_dial(self, address):
        """None: let go before the connection was seen to stand."""
        try:
            return self.dial(address)
        except ConnectionError:
            return None

    @posix_only
    def test_no_more_clients_than_descriptors(self):
        """Those for whom there is none are let go, and the next one is as welcome as ever."""
        def lower_limit():
            support.resource.setrlimit(support.resource.RLIMIT_NOFILE, (60, 60))

        server = self.start("echo_server")
        proxy = self.start_proxy(server.port, preexec_fn=lower_limit)
        crowd = [sock for sock in (self.try_to_dial(proxy.address) for _ in range(100)) if sock]
        for sock in crowd:
            sock.close()
        deadline = support.Deadline("the crowd has gone")
        while True:
            deadline.check()
            try:
                self.assert_echoes(self.dial(proxy.address))
                return
            except (ConnectionError, AssertionError):
                continue

    @needs_socat
    @posix_only
    def test_socat_on_both_sides(self):
        port = support.free_port()
        server = subprocess.Popen(["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr",
                                   "EXEC:sort"], stdin=subprocess.DEVNULL)
        self.addCleanup(server.wait, PATIENCE)
        self.addCleanup(server.kill)
        proxy = self.start_proxy(port)
        lines = b"".join(b"line %d\n" % (i * 7919 % 10000) for i in range(10000))
        deadline = support.Deadline("socat listens")
        answer = b""
        while not answer:  # until then the proxy resets
            deadline.check()
            done = subprocess.run(["socat", "-t", str(PATIENCE), "-", "TCP:%s:%d" % proxy.address],
                                  input=lines, capture_output=True, timeout=PATIENCE, check=False)
            answer = done.stdout
        self.assertEqual(answer, b"".join(sorted(lines.splitlines(keepends=True))))

    @needs_curl
    def test_curl_loads_a_page(self):
        server = self.start("hello_http")
        proxy = self.start_proxy(server.port)
        done = subprocess.run(["curl", "--silent", "--show-error", "--max-time", str(PATIENCE),
                               "--no-progress-meter", "--parallel",
                               "http://%s:%d/[1-50]" % proxy.address,
                               "http://%s:%d/" % proxy.address],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=2 * PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("404 Not Found"), 50)
        self.assertEqual(done.stdout.count("<h1>Hello, and come in.</h1>"), 1)


class TlsProxyTest(Pair, TlsFiles, ProxyTest):
    """TLS to TCP."""

    def proxy_flags(self):
        return ("--ssl", self.cert, self.key)

    def client_options(self):
        return {"ssl": self.client_context(), "server_hostname": "localhost"}

    def connect(self, proxy=None):
        sock = self.client_context().wrap_socket(self.dial((proxy or self.proxy).address),
                                                 server_hostname="localhost",
                                                 suppress_ragged_eofs=False)
        self.addCleanup(sock.close)
        return sock

    def close(self, client):
        client.unwrap().close()

    def assert_cut_off(self, client):
        with self.assertRaises((ConnectionResetError, ssl.SSLEOFError)):
            client.recv(1)

    def test_a_client_that_is_cut_off_is_a_reset_to_the_server(self):
        """Without close_notify nobody knows whether that was all."""
        client, server = self.connect_pair()
        client.sendall(b"the first half")
        self.assertEqual(receive(server, 14), b"the first half")
        client.close()
        self.assert_reset(server)

    # ---- What is under way when the program ends ----

    PIECE = pattern(1 << 14)

    def pass_on(self, client, most):
        """Sends pieces, while the server takes nothing: how many the proxy has taken, at most so
        many."""
        before = self.ask_counters(self.proxy)["to_server"]
        for count in range(most):
            client.sendall(self.PIECE)
            self.ask_counters(self.proxy)  # the second answer comes after the piece was looked at
            passed = self.ask_counters(self.proxy)["to_server"] - before
            if passed < (count + 1) * len(self.PIECE):
                return count
        return most

    @needs_counters
    def test_what_a_client_has_left_behind_still_arrives(self):
        """More than the system has room for, less than the proxy stops reading at, and no client.

        How much the system has room for, other pairs tell; it is nearly always the same.
        """
        room = 10000
        deadline = support.Deadline("a pair has as much room as another")
        while True:
            deadline.check()
            client, server = self.connect_pair()
            taken = self.pass_on(client, room - 2)
            if taken == room - 2:
                break
            room = taken
            reset(client)
            self.wait_for_counters(self.proxy, now=0)
        self.close(client)
        self.wait_for_counters(self.proxy, now=0)
        self.proxy.signal()
        self.wait_until_refused()
        self.assertTrue(receive_all(server) == self.PIECE * taken)
        server.close()
        self.assertEqual(self.proxy.wait(), 0)

    @needs_openssl
    def test_openssl_s_client(self):
        client = subprocess.Popen(
            ["openssl", "s_client", "-quiet", "-connect", "%s:%d" % self.proxy.address,
             "-CAfile", self.cert, "-verify_return_error", "-servername", "localhost"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(client.stdout.close)
        self.addCleanup(client.stdin.close)
        self.addCleanup(client.kill)
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        server = self.accept(self.listener)
        self.assertEqual(receive(server, 6), b"hello\n")
        server.sendall(b"good day\n")
        server.close()
        self.assertEqual(client.stdout.read(), b"good day\n")
        self.assertEqual(client.wait(PATIENCE), 0)

    @needs_curl
    def test_curl_loads_a_page(self):
        server = self.start("hello_http")
        proxy = self.start_proxy(server.port, *self.proxy_flags())
        done = subprocess.run(["curl", "--silent", "--show-error", "--max-time", str(PATIENCE),
                               "--cacert", self.cert, "https://%s:%d/" % proxy.address],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=2 * PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("<h1>Hello, and come in.</h1>", done.stdout)


class TlsServerTest(TlsFiles, ProxyTest):
    """TCP to TLS, and TLS to TLS: the server has to prove who it is."""

    def setUp(self):
        super().setUp()
        self.listener = self.listen()
        self.port = self.listener.getsockname()[1]
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(self.cert, self.key)

    def start_to(self, host, *flags):
        return self.start("proxy", "--to", host, str(self.port), "--tls", *flags)

    def accept_tls(self):
        sock = self.server_context.wrap_socket(self.accept(self.listener), server_side=True,
                                               suppress_ragged_eofs=False)
        self.addCleanup(sock.close)
        return sock

    def connect_pair(self):
        proxy = self.start_to("localhost", "--cacert", self.cert)
        client = self.dial(proxy.address)
        return client, self.accept_tls()

    def test_a_conversation(self):
        client, server = self.connect_pair()
        for i in range(100):
            question, answer = b"question %d\n" % i, b"the answer to %d\n" % i
            client.sendall(question)
            self.assertEqual(receive(server, len(question)), question)
            server.sendall(answer)
            self.assertEqual(receive(client, len(answer)), answer)

    def test_tls_on_both_sides(self):
        proxy = self.start_to("127.0.0.1", "--cacert", self.cert, "--ssl", self.cert, self.key)
        client = self.dial_tls(proxy.address)
        server = self.accept_tls()
        client.sendall(b"hello")
        self.assertEqual(receive(server, 5), b"hello")
        server.sendall(pattern(1 << 20))
        self.assertTrue(receive(client, 1 << 20) == pattern(1 << 20))

    def test_the_ends_of_the_server(self):
        client, server = self.connect_pair()
        server.sendall(pattern(1 << 20))
        server.unwrap().close()
        self.assertTrue(receive_all(client) == pattern(1 << 20))

        client, server = self.connect_pair()
        server.sendall(b"half of")
        self.assertEqual(receive(client, 7), b"half of")
        server.close()  # without close_notify
        self.assert_reset(client)

    def test_the_ends_of_the_client(self):
        client, server = self.connect_pair()
        client.sendall(b"the last words")
        client.close()
        self.assertEqual(receive(server, 14), b"the last words")
        self.assertEqual(server.recv(1), b"")  # announced by a close_notify

        client, server = self.connect_pair()
        client.sendall(b"x")
        receive(server, 1)
        reset(client)
        with self.assertRaises((ConnectionResetError, ssl.SSLEOFError)):
            server.recv(1)

    def test_a_server_that_does_not_prove_who_it_is(self):
        """Nothing of what the client says is told to it."""
        for host, flags, why in (("localhost", (), "certificate"),
                                 ("127.0.0.2", ("--cacert", self.cert), "IP address mismatch")):
            with self.subTest(host=host):
                self.listener = self.listen_on(host)
                proxy = self.start_to(host, *flags)
                client = self.dial(proxy.address)
                client.sendall(b"a secret")
                with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                    self.accept_tls().recv(1)
                self.assert_reset(client)
                proxy.says(f"^proxy: for 127.0.0.1:.*{why}")

    def listen_on(self, host):
        listener = socket.create_server((host, 0))
        listener.settimeout(PATIENCE)
        self.addCleanup(listener.close)
        self.port = listener.getsockname()[1]
        return listener


@needs_nginx
@posix_only
class NginxTest(ProxyTest):
    """nginx behind the proxy, with a file of some megabytes."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.port = support.free_port()
        self.start_nginx(folder.name)
        self.proxy = self.start_proxy(self.port)

    def start_nginx(self, folder):
        config = os.path.join(folder, "nginx.conf")
        places = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(config, "w", encoding="ascii") as file:
            file.write(f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
                       f"events {{}}\nhttp {{\n    access_log off; root {folder};\n{places}"
                       f"    server {{ listen 127.0.0.1:{self.port}; }}\n}}\n")
        with open(os.path.join(folder, "file"), "wb") as file:
            file.write(pattern(5 << 20))
        nginx = subprocess.Popen([NGINX, "-c", config, "-p", folder, "-e", "stderr"],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(nginx.wait, PATIENCE)
        self.addCleanup(nginx.terminate)
        deadline = support.Deadline("nginx listens")
        while True:
            deadline.check()
            try:
                return socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
            except ConnectionRefusedError:
                self.assertIsNone(nginx.poll(), "nginx does not start")

    @needs_curl
    def test_curl_loads_a_file_many_times_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            url = "http://%s:%d/file?[1-8]" % self.proxy.address
            subprocess.run(["curl", "--silent", "--no-progress-meter", "--fail", "--parallel",
                            "--max-time", str(PATIENCE),
                            "--output", os.path.join(folder, "#1"), url],
                           check=True, stdin=subprocess.DEVNULL, timeout=2 * PATIENCE)
            for name in os.listdir(folder):
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertTrue(file.read() == pattern(5 << 20))
            self.assertEqual(len(os.listdir(folder)), 8)


class CommandLineTest(unittest.TestCase):
    """What is wrong on it is said in a sentence."""

    def test_mistakes_on_the_command_line(self):
        to = ("--to", "127.0.0.1", "80")
        for arguments, sentence in (
                ((), r"--to is missing: .*"),
                (("--to",), r"--to needs a value"),
                (("--to", "127.0.0.1"), r"--to needs a value"),
                ((*to, "--fast"), r"--fast is unknown"),
                ((*to, "--port", "65536"), r"--port needs a number, .*"),
                ((*to, "--port", "1.5"), r"--port needs a whole number"),
                ((*to, "--grace", "-1"), r"--grace needs a number, .*"),
                ((*to, "--grace", "nan"), r"--grace needs a number, .*"),
                ((*to, "--ssl", "cert.pem"), r"--ssl needs a value"),
                ((*to, "--cacert", "ca.pem"), r"--cacert needs --tls")):
            with self.subTest(arguments=arguments):
                code, said = support.run("proxy", *arguments)
                self.assertEqual(code, 2)
                self.assertRegex(said.splitlines()[0], rf"^proxy: {sentence}$")

    def test_what_the_world_does_not_allow(self):
        code, said = support.run("proxy", "--to", "127.0.0.1", "80", "--host", "nosuch.invalid")
        self.assertEqual(code, 1)
        self.assertTrue(re.fullmatch(r"proxy: [^\n]+\n", said), said)


if __name__ == "__main__":
    unittest.main()
