# SPDX-License-Identifier: MIT
"""The parameters of create_server, through the flags of the echo server, and how it ends."""

import os
import re
import socket
import unittest

import support
from support import (PATIENCE, PeerTest, TlsFiles, linux_only, needs_signals, posix_only,
                     receive_all, run, windows_only)


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = unittest.skipUnless(has_ipv6(), "this machine has no IPv6 loopback")


class Parameters(PeerTest):
    """Servers that serve, and servers that refuse their parameters."""

    def assert_refused(self, arguments, *patterns):
        """The server ends with 1 and a sentence in which all of the patterns occur."""
        if "--port" not in arguments:
            arguments = (*arguments, "--port", "0")
        code, sentence = run("echo_server", *arguments)
        self.assertEqual(code, 1, sentence)
        self.assertTrue(sentence.startswith("echo_server: "), sentence)
        for pattern in patterns:
            self.assertRegex(sentence, f"(?i){pattern}")

    def assert_serves(self, address):
        with self.dial(address) as sock:
            self.assert_echoes(sock)


class ParameterTest(Parameters):
    """Where and how to listen."""

    # ---- host, port, family ----

    def test_the_default_is_the_loopback_address(self):
        server = self.start("echo_server")
        self.assertEqual(server.address[0], "127.0.0.1")
        self.assert_serves(server.address)

    def test_two_hosts_have_two_sockets_in_the_order_given(self):
        for hosts in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]):
            server = self.start("echo_server", "--host", hosts[0], "--host", hosts[1], sockets=2)
            self.assertEqual([host for host, _ in server.addresses], hosts)
            for address in server.addresses:
                self.assert_serves(address)

    def test_the_same_host_twice_has_one_socket(self):
        server = self.start("echo_server", "--host", "127.0.0.1", "--host", "127.0.0.1")
        self.assert_serves(server.address)
        self.stop(server)
        self.assertIsNone(server.lines.next())  # there was no second line

    @needs_ipv6
    def test_ipv6_is_printed_in_brackets(self):
        server = self.start("echo_server", "--host", "::1")
        self.assertEqual(server.address[0], "::1")
        self.assert_serves(server.address)

    @needs_ipv6
    def test_both_families_side_by_side(self):
        server = self.start("echo_server", "--host", "127.0.0.1", "--host", "::1", sockets=2)
        self.assertEqual([host for host, _ in server.addresses], ["127.0.0.1", "::1"])
        for address in server.addresses:
            self.assert_serves(address)

    @needs_ipv6
    def test_both_families_on_one_port(self):
        port = support.free_port()
        server = self.start("echo_server", "--host", "0.0.0.0", "--host", "::", "--port",
                            str(port), sockets=2)
        for host in ("127.0.0.1", "::1"):
            self.assert_serves((host, port))
        self.assertEqual(server.addresses, [("0.0.0.0", port), ("::", port)])

    @needs_ipv6
    def test_the_empty_host_means_all_interfaces(self):
        server = self.start("echo_server", "--host", "", sockets=2)
        self.assertEqual({host for host, _ in server.addresses}, {"0.0.0.0", "::"})
        for host, port in server.addresses:
            self.assert_serves(("127.0.0.1" if host == "0.0.0.0" else "::1", port))

    @needs_ipv6
    def test_family_inet6(self):
        server = self.start("echo_server", "--family", "inet6")
        self.assertEqual(server.address[0], "::1")
        server = self.start("echo_server", "--family", "inet6", "--host", "")
        self.assertEqual(server.address[0], "::")
        self.assert_serves(("::1", server.port))

    def test_family_inet(self):
        server = self.start("echo_server", "--family", "inet", "--host", "")
        self.assertEqual(server.address[0], "0.0.0.0")
        server = self.start("echo_server", "--family", "inet", "--host", "localhost")
        self.assertEqual(server.address[0], "127.0.0.1")
        self.assert_serves(server.address)

    def test_a_host_of_the_other_family_is_refused(self):
        self.assert_refused(["--family", "inet", "--host", "::1"], "::1")
        self.assert_refused(["--family", "inet6", "--host", "127.0.0.1"], "127\\.0\\.0\\.1")

    def test_a_port_in_use_is_refused_by_name(self):
        server = self.start("echo_server")
        self.assert_refused(["--port", str(server.port)], "127\\.0\\.0\\.1", str(server.port),
                            "address already in use")
        self.assert_serves(server.address)

    def test_ports_out_of_range_are_refused(self):
        for port in ("-1", "65536", "1000000"):
            self.assert_refused(["--port", port], "port")

    def test_a_name_that_does_not_resolve_is_refused(self):
        self.assert_refused(["--host", "no-such-host.invalid"], "no-such-host\\.invalid",
                            "resol")

    def test_an_address_of_another_machine_is_refused(self):
        self.assert_refused(["--host", "192.0.2.1"], "192\\.0\\.2\\.1",
                            "not available on this machine")

    def test_one_good_and_one_bad_host_leave_nothing_behind(self):
        port = support.free_port()
        for bad in ("192.0.2.1", "no-such-host.invalid"):
            self.assert_refused(["--host", "127.0.0.1", "--host", bad, "--port", str(port)],
                                re.escape(bad))
            with socket.create_server(("127.0.0.1", port)):
                pass

    # ---- The other parameters ----

    def test_backlog(self):
        for backlog in ("1", "1000"):
            self.assert_serves(self.start("echo_server", "--backlog", backlog).address)
        self.assert_refused(["--backlog", "-1"], "backlog")

    @needs_signals
    def test_the_port_can_be_bound_again_at_once(self):
        # The server closes first, so its side of the connection is in TIME_WAIT.
        port = str(support.free_port())
        server = self.start("echo_server", "--port", port)
        sock = self.dial(server.address)
        self.assert_echoes(sock)
        server.signal()
        self.assertEqual(receive_all(sock), b"")
        sock.close()
        self.assertEqual(server.wait(), 0)
        again = self.start("echo_server", "--port", port, "--reuse-address", "on")
        self.assert_serves(again.address)

    @linux_only
    def test_without_reuse_address_the_port_is_taken_for_a_while(self):
        server = self.start("echo_server", "--reuse-address", "off")
        sock = self.dial(server.address)
        self.assert_echoes(sock)
        server.signal()
        self.assertEqual(receive_all(sock), b"")
        sock.close()
        self.assertEqual(server.wait(), 0)
        self.assert_refused(["--port", str(server.port), "--reuse-address", "off"],
                            "address already in use")

    @windows_only
    def test_reuse_port_is_refused(self):
        self.assert_refused(["--reuse-port"], "reuse_port", "Windows")

    @posix_only
    def test_two_servers_share_a_port_by_reuse_port(self):
        one = self.start("echo_server", "--reuse-port")
        two = self.start("echo_server", "--reuse-port", "--port", str(one.port))
        self.assert_refused(["--port", str(one.port)], "address already in use")
        for ended in (one, two):
            for _ in range(20):
                self.assert_serves(one.address)
            if ended is one:
                self.stop(one)  # the other one serves alone

    @linux_only
    def test_reuse_port_spreads_the_connections(self):
        servers = [self.start("echo_server", "--reuse-port")]
        servers.append(self.start("echo_server", "--reuse-port", "--port", str(servers[0].port)))
        idle = [len(os.listdir(f"/proc/{server.pid}/fd")) for server in servers]
        for _ in range(64):  # all to one of the two: once in 2**63
            self.assert_echoes(self.dial(servers[0].address))
        for server, before in zip(servers, idle):
            self.assertGreater(len(os.listdir(f"/proc/{server.pid}/fd")), before)

    def test_keep_alive(self):
        self.assert_serves(self.start("echo_server", "--keep-alive").address)

    @linux_only
    def test_keep_alive_is_set_on_accepted_sockets(self):
        for flags, expected in (([], False), (["--keep-alive"], True)):
            server = self.start("echo_server", *flags)
            sock = self.dial(server.address)
            self.assert_echoes(sock)
            self.assertEqual(self.keeps_alive(server, sock), expected)

    def keeps_alive(self, server, sock):
        """Whether the kernel runs a keep-alive timer on the server's end of the connection."""
        ends = [":%04X" % server.port, ":%04X" % sock.getsockname()[1]]
        deadline = support.Deadline("the kernel tells the timer of the connection")
        while True:
            deadline.check()
            with open("/proc/net/tcp", encoding="ascii") as table:
                for fields in map(str.split, table):
                    # Timer 1 is the retransmission one, while the echo is not acknowledged.
                    if [fields[1][-5:], fields[2][-5:]] == ends and fields[5][:3] != "01:":
                        return fields[5][:3] == "02:"

    def test_max_connections_lets_the_next_one_wait(self):
        server = self.start("echo_server", "--max-connections", "3")
        inside = [self.dial(server.address) for _ in range(3)]
        for sock in inside:
            self.assert_echoes(sock)
        waiting = [self.dial(server.address) for _ in range(2)]
        for sock in waiting:
            sock.sendall(b"let me in")

        # The others are served meanwhile, and those who wait are not.
        for sock in inside * 20:
            self.assert_echoes(sock)
        for sock in waiting:
            sock.setblocking(False)
            with self.assertRaises(BlockingIOError):
                sock.recv(1)
            sock.settimeout(PATIENCE)

        for leaving, entering in zip(inside, waiting):
            leaving.close()
            self.assertEqual(support.receive(entering, 9), b"let me in")

    def test_a_backend_that_is_unknown_is_refused(self):
        self.assert_refused(["--backend", "telepathy"], "telepathy")

    def test_the_backend_can_be_named_by_the_environment(self):
        code, sentence = run("echo_server", "--port", "0",
                             env={**os.environ, "PORTICO_BACKEND": "telepathy"})
        self.assertEqual(code, 1)
        self.assertIn("telepathy", sentence)

    @linux_only
    def test_epoll_can_be_named(self):
        self.assert_serves(self.start("echo_server", "--backend", "epoll").address)

    def test_time_limits_without_ssl_are_refused(self):
        for name in ("handshake", "shutdown"):
            self.assert_refused([f"--ssl-{name}-timeout", "5"], f"ssl_{name}_timeout", "ssl")

    # ---- The command line itself ----

    def test_flags_that_are_wrong_are_refused(self):
        for arguments in (["--nonsense"], ["nonsense"], ["--host"], ["--port", "http"],
                          ["--port", "1.5"], ["--port", ""], ["--family", "ipx"],
                          ["--reuse-address", "maybe"], ["--max-connections", "-1"],
                          ["--max-connections", "nan"], ["--ssl", "only-one.pem"],
                          ["--backlog", "99999999999"]):
            with self.subTest(arguments=arguments):
                code, sentence = run("echo_server", *arguments)
                self.assertEqual(code, 1)
                self.assertIn(arguments[0], sentence)

    def test_help_is_no_mistake_and_names_each_flag_with_its_default(self):
        common = {"--host": "127.0.0.1", "--ssl": "no TLS", "--help": "prints this"}
        expected = {"echo_server": {"--port": "7000", "--family": "both", "--backlog": "100",
                                    "--ssl-handshake-timeout": "60", "--ssl-shutdown-timeout": "30",
                                    "--reuse-address": "on", "--reuse-port": "off",
                                    "--keep-alive": "off", "--max-connections": "0",
                                    "--backend": "the best"},
                    "chat": {"--port": "7001"},
                    "hello_http": {"--port": "8080", "--timeout": "30"}}
        for name, flags in expected.items():
            code, usage = support.output(name, "--help")
            self.assertEqual(code, 0)
            self.assertTrue(usage.startswith(f"usage: {name} "), usage)
            for flag, default in {**common, **flags}.items():
                with self.subTest(name=name, flag=flag):
                    self.assertRegex(usage, rf"(?m)^  {flag} [^\n]*(\n   [^\n]*)*{default}")

    @unittest.skipIf(support.HAS_TLS, "the library was built with TLS")
    def test_ssl_is_refused_by_a_library_without_tls(self):
        self.assert_refused(["--ssl", "cert.pem", "key.pem"], "without TLS")


class TlsParameterTest(TlsFiles, Parameters):
    """What concerns TLS."""

    def test_time_limits_that_make_no_sense_are_refused(self):
        for name in ("handshake", "shutdown"):
            for value in ("-1", "nan", "inf", "-inf"):
                self.assert_refused(["--ssl", self.cert, self.key, f"--ssl-{name}-timeout", value],
                                    f"ssl_{name}_timeout")

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def read(self, path):
        with open(path, encoding="ascii") as file:
            return file.read()

    def test_certificates_that_cannot_be_used_are_refused_by_name(self):
        missing = os.path.join(self.folder.name, "missing.pem")
        empty = self.write("empty.pem", "")
        garbled = self.write("garbled.pem", self.read(self.cert).replace("M", "#"))
        other_cert, other_key = support.make_certificate(self.folder.name, "other")
        no_pem = self.write("text.pem", "Dear Sir or Madam\n" * 20)

        for bad in (missing, empty, garbled, no_pem, self.key):
            with self.subTest(certificate=bad):
                self.assert_refused(["--ssl", bad, self.key], re.escape(bad))
        for bad in (missing, empty, no_pem, self.cert):
            with self.subTest(key=bad):
                self.assert_refused(["--ssl", self.cert, bad], re.escape(bad))
        self.assert_refused(["--ssl", missing, self.key], "no such file")
        self.assert_refused(["--ssl", self.cert, missing], "no such file")
        self.assert_refused(["--ssl", self.cert, other_key], "match")
        self.assert_refused(["--ssl", other_cert, self.key], "match")
        self.assert_refused(["--ssl", self.folder.name, self.key], re.escape(self.folder.name))

    @posix_only
    @unittest.skipIf(hasattr(os, "geteuid") and os.geteuid() == 0, "root may read everything")
    def test_a_key_that_may_not_be_read_is_refused(self):
        path = self.write("locked.pem", self.read(self.key))
        os.chmod(path, 0)
        self.assert_refused(["--ssl", self.cert, path], re.escape(path), "permission denied")

    def test_with_ssl_all_sockets_speak_it(self):
        server = self.start("echo_server", "--host", "127.0.0.1", "--host", "127.0.0.2",
                            "--ssl", self.cert, self.key, sockets=2)
        for address in server.addresses:
            self.assert_echoes(self.dial_tls(address))

    def test_max_connections_counts_handshakes(self):
        server = self.start("echo_server", "--max-connections", "1", "--ssl", self.cert, self.key,
                            "--ssl-handshake-timeout", "1")
        silent = self.dial(server.address)
        self.assert_echoes(self.dial_tls(server.address))  # once the silent one was ended
        receive_all(silent)


class EndTest(PeerTest):
    """Signals."""

    @needs_signals
    def test_each_signal_ends_the_server_with_0_while_clients_are_connected(self):
        for number in support.END_SIGNALS:
            server = self.start("echo_server")
            socks = [self.dial(server.address) for _ in range(10)]
            for sock in socks:
                self.assert_echoes(sock)
            server.signal(number)
            for sock in socks:
                self.assertEqual(sock.recv(1), b"")  # an end, not a reset
            self.assertEqual(server.wait(), 0)
            self.assertEqual(server.errors(), "")

    @needs_signals
    def test_what_was_written_still_comes(self):
        server = self.start("echo_server")
        pump = support.Pump(self.dial(server.address))
        pump.fill(100000)
        self.assertEqual(len(pump.sock.recv(1)), 1)  # now more has been written
        server.signal()
        self.assertTrue(receive_all(pump.sock))
        self.assertEqual(server.wait(), 0)

    @needs_signals
    def test_a_client_that_never_reads_cannot_hold_the_server(self):
        server = self.start("echo_server")
        pump = support.Pump(self.dial(server.address))
        pump.fill(64 << 20)
        server.signal()
        self.assertEqual(server.wait(), 0)

    @needs_signals
    def test_a_second_signal_does_not_wait_for_them(self):
        server = self.start("echo_server")
        pump = support.Pump(self.dial(server.address))
        watch = self.dial(server.address)
        self.assert_echoes(watch)
        pump.fill(64 << 20)
        server.signal()
        self.assertEqual(receive_all(watch), b"")  # now it is closing
        server.signal()
        self.assertEqual(server.wait(), 0)

    @needs_signals
    def test_after_the_signal_nobody_is_let_in(self):
        server = self.start("echo_server")
        sock = self.dial(server.address)
        self.assert_echoes(sock)
        server.signal()
        self.assertEqual(receive_all(sock), b"")
        try:
            late = self.dial(server.address)
            late.sendall(b"hello")
            self.assertEqual(receive_all(late), b"")
        except ConnectionError:
            pass  # refused: as good
        self.assertEqual(server.wait(), 0)


class TlsEndTest(TlsFiles, PeerTest):
    """Signals, with TLS."""

    @needs_signals
    def test_each_signal_ends_the_clients_with_close_notify(self):
        for number in support.END_SIGNALS:
            server = self.start("echo_server", "--ssl", self.cert, self.key)
            context = self.client_context()
            socks = []
            for _ in range(10):
                plain = self.dial(server.address)
                # Without suppress_ragged_eofs, an end without close_notify raises.
                sock = context.wrap_socket(plain, server_hostname="localhost",
                                           suppress_ragged_eofs=False)
                self.addCleanup(sock.close)
                self.assert_echoes(sock)
                socks.append(sock)
            server.signal(number)
            for sock in socks:
                self.assertEqual(sock.recv(1), b"")
                sock.unwrap().close()
            self.assertEqual(server.wait(), 0)

    @needs_signals
    def test_clients_that_do_not_answer_close_notify_cannot_hold_the_server(self):
        server = self.start("echo_server", "--ssl", self.cert, self.key)
        silent = self.dial(server.address)
        stalled = self.dial_tls(server.address)
        self.assert_echoes(stalled)
        server.signal()
        self.assertEqual(server.wait(), 0)
        receive_all(silent)


if __name__ == "__main__":
    unittest.main()
