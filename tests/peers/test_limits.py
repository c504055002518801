# SPDX-License-Identifier: MIT
"""Out of descriptors: the server turns away who comes too much, stays idle, and recovers."""

import select
import socket
import unittest

import support
from support import PeerTest, TlsFiles, linux_only, receive_all

LIMIT = 40


def few_descriptors():
    """Runs in the server's process, before the server does."""
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


class Limits:
    """What holds for plain and for TLS connections."""

    def setUp(self):
        super().setUp()
        self.server = self.start("echo_server", "--host", "127.0.0.1", "--host", "127.0.0.2",
                                 *self.server_flags(), sockets=2, preexec_fn=few_descriptors)

    def try_to_connect(self):
        """A connection that echoes; None if the server turned us away."""
        try:
            sock = self.connect(self.server.address)
            sock.sendall(b"anybody there?")
            return sock if support.receive(sock, 14) == b"anybody there?" else None
        except socket.timeout:
            raise
        except OSError:
            return None

    def fill(self):
        """Connects until the server has no descriptor left: the connections."""
        socks = []
        while len(socks) <= LIMIT:
            sock = self.try_to_connect()
            if sock is None:
                break
            socks.append(sock)
        self.assertLess(len(socks), LIMIT)
        self.assertGreater(len(socks), LIMIT // 2)
        return socks

    def wait_for_room(self):
        deadline = support.Deadline("the server accepts again")
        while True:
            deadline.check()
            sock = self.try_to_connect()
            if sock is not None:
                return sock

    @linux_only
    def test_without_descriptors_the_server_is_idle_and_its_clients_are_served(self):
        socks = self.fill()
        turned_away = [self.dial(self.server.addresses[i % 2]) for i in range(100)]
        for sock in turned_away:
            self.assertEqual(receive_all(sock), b"")

        before = self.server.cpu_seconds()
        self.assertEqual(select.select(socks, [], [], 2)[0], [])  # nothing happens for 2 seconds
        self.assertLess(self.server.cpu_seconds() - before, 0.5)
        for sock in socks:
            self.assert_echoes(sock)

    @linux_only
    def test_clients_who_wait_in_the_backlog_make_no_work(self):
        socks = self.fill()
        waiting = [self.dial(self.server.addresses[i % 2]) for i in range(50)]
        before = self.server.cpu_seconds()
        select.select(socks, [], [], 2)
        self.assertLess(self.server.cpu_seconds() - before, 0.5)
        for sock in waiting:
            sock.close()
        for sock in socks:
            self.assert_echoes(sock)

    def test_when_descriptors_are_free_the_server_accepts_again(self):
        for _ in range(3):
            socks = self.fill()
            for sock in socks[1:]:
                sock.close()
            self.assert_echoes(self.wait_for_room())
            self.assert_echoes(socks[0])
            socks[0].close()

    def test_one_descriptor_is_enough_to_go_on(self):
        socks = self.fill()
        socks.pop().close()
        self.assert_echoes(self.wait_for_room())
        for sock in socks:
            self.assert_echoes(sock)

    def test_all_of_them_leave_at_once(self):
        for sock in self.fill():
            support.reset(sock)
        self.assert_echoes(self.wait_for_room())


@support.posix_only
class PlainLimitsTest(Limits, PeerTest):
    """Plain TCP."""

    def server_flags(self):
        return ()

    def connect(self, address):
        return self.dial(address)


@support.posix_only
class TlsLimitsTest(Limits, TlsFiles, PeerTest):
    """TLS."""

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def connect(self, address):
        return self.dial_tls(address)


if __name__ == "__main__":
    unittest.main()
