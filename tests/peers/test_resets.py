# SPDX-License-Identifier: MIT
"""Clients that reset before, while and after they are accepted: the listener stays healthy.

A storm is so many resets in a row, made by several clients at once: PORTICO_RESETS of them, 5,000
unless the environment says otherwise.
"""

import os
import socket
import threading
import unittest

import support
from support import PATIENCE, PeerTest, TlsFiles, receive, reset

RESETS = int(os.environ.get("PORTICO_RESETS", "5000"))
CLIENTS = 8


def before(sock):
    """Most are gone before the server knows of them."""
    reset(sock)


def during(sock):
    """The server has something to read of a connection that is gone."""
    sock.sendall(b"never mind")
    reset(sock)


def after(sock):
    """Accepted for certain; or, by a server with TLS, told off."""
    sock.sendall(b"hello")
    receive(sock, 1)
    reset(sock)


class Resets:
    """What holds for plain and for TLS connections."""

    def setUp(self):
        super().setUp()
        self.server = self.start("echo_server", "--backlog", "1000", *self.server_flags())

    def storm(self, end, count):
        """So many clients, each of which ends in this way; several at a time."""
        failures = []

        def client():
            try:
                for _ in range(count // CLIENTS):
                    try:
                        with socket.create_connection(self.server.address, PATIENCE) as sock:
                            end(sock)
                    except ConnectionResetError:
                        pass  # the server was faster
            except OSError as error:
                failures.append(error)

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def assert_survives(self, end, count):
        good = self.connect()
        self.storm(end, count)
        self.assert_echoes(good)
        for _ in range(20):
            self.assert_echoes(self.connect())

    def test_resets_before_they_are_accepted_disturb_nobody(self):
        self.assert_survives(before, RESETS)

    def test_resets_with_data_on_the_way_disturb_nobody(self):
        self.assert_survives(during, RESETS)

    def test_resets_of_established_connections_disturb_nobody(self):
        self.assert_survives(after, RESETS // 5)


class PlainResetsTest(Resets, PeerTest):
    """Plain TCP."""

    def server_flags(self):
        return ()

    def connect(self):
        return self.dial(self.server.address)


class TlsResetsTest(Resets, TlsFiles, PeerTest):
    """TLS."""

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def connect(self):
        return self.dial_tls(self.server.address)


if __name__ == "__main__":
    unittest.main()
