# SPDX-License-Identifier: MIT
"""Ten thousand connections at once, each of which echoes correctly; and a thousand with TLS.

Wine, whose server has a share in every call, gets a fifth of them.
"""

import os
import subprocess
import sys
import unittest

import support
from support import PATIENCE, PeerTest, TlsFiles


class Many:
    """What holds for plain and for TLS connections."""

    @support.needs_signals
    def test_many_connections_at_once_echo_correctly(self):
        support.needs_descriptors(self.count + 100)
        hosts = [f"127.0.0.{i}" for i in (1, 2, 3, 4)]
        flags = [flag for host in hosts for flag in ("--host", host)]
        server = self.start("echo_server", *flags, "--backlog", "1000", *self.server_flags(),
                            sockets=len(hosts), preexec_fn=support.raise_limit)
        clients = os.path.join(os.path.dirname(os.path.abspath(__file__)), "many_clients.py")
        done = subprocess.run([sys.executable, "-B", clients, str(self.count), self.client_cert(),
                               *(f"{host}:{port}" for host, port in server.addresses)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=2 * PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.assertEqual(done.stdout, f"{self.count} connections, all right\n")
        self.assert_echoes(self.connect(server.address))


class PlainManyTest(Many, PeerTest):
    """Plain TCP."""

    count = 2000 if support.RUN else 10000

    def server_flags(self):
        return ()

    def client_cert(self):
        return ""

    def connect(self, address):
        return self.dial(address)


class TlsManyTest(Many, TlsFiles, PeerTest):
    """TLS."""

    count = 500 if support.RUN else 1000

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def client_cert(self):
        return self.cert

    def connect(self, address):
        return self.dial_tls(address)


if __name__ == "__main__":
    unittest.main()
