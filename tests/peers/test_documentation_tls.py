# SPDX-License-Identifier: MIT
"""The programs of the chapters about TLS do what these chapters say of them.

The environment is that of test_documentation.py.
"""

import os
import socket
import ssl
import subprocess
import tempfile
import unittest

import support
from authority import Authority
from support import PATIENCE, linux_only
from web import Site


def setUpModule():
    support.BIN = os.environ["PORTICO_DOCUMENTATION"]
    if not support.HAS_TLS:
        raise unittest.SkipTest("the library was built without TLS")


class DocumentationTest(unittest.TestCase):
    """Has an authority, and a certificate of "localhost" and 127.0.0.1."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.authority = Authority(cls.folder)
        cls.good = cls.authority.issue("good", "DNS:localhost", "IP:127.0.0.1")

    def context(self, certificate=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(certificate or self.good))
        return context

    def run_program(self, name, *arguments, **environment):
        """(exit code, what it said on stdout, on stderr)"""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            done = subprocess.run(support.program(name) + list(arguments),
                                  stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                  timeout=PATIENCE, check=False,
                                  env={**os.environ, **environment})
            stdout.seek(0)
            stderr.seek(0)
            return done.returncode, stdout.read(), stderr.read()


class OneWord(DocumentationTest):
    """tls_clients.md"""

    NAME = "tls_clients_one_word"

    def greet(self, sock):
        self.assertEqual(sock.recv(6), b"hello\n")
        sock.sendall(b"good day")

    def serve(self, certificate=None):
        return Site(self, self.greet, self.context(certificate))

    @linux_only  # elsewhere the system decides whom it trusts
    def test_it_says_hello_to_a_server_that_the_system_trusts(self):
        site = self.serve()
        for host in ("localhost", "127.0.0.1"):
            code, said, errors = self.run_program(self.NAME, host, str(site.port),
                                                  SSL_CERT_FILE=self.authority.cert)
            self.assertEqual((code, errors), (0, ""))
            self.assertRegex(said, r"^TLSv1\.3, TLS_\w+\ngood day$")
        self.assertEqual(site.names, ["localhost", None])

    def test_it_says_nothing_to_others(self):
        site = self.serve()
        code, said, errors = self.run_program(self.NAME, "localhost", str(site.port))
        self.assertEqual((code, said), (3, ""))
        self.assertRegex(errors, "certificate")

    @linux_only
    def test_the_sentence_of_what_a_server_may_do_wrong(self):
        site = self.serve(self.authority.issue("old", "DNS:localhost", start="20200101000000Z",
                                               end="20200201000000Z"))
        code, said, errors = self.run_program(self.NAME, "localhost", str(site.port),
                                              SSL_CERT_FILE=self.authority.cert)
        self.assertEqual((code, said), (3, ""))
        self.assertEqual(errors, f"connect to localhost port {site.port}: 127.0.0.1:{site.port}: "
                                 "TLS handshake: certificate verify failed: certificate has "
                                 "expired\n")


    @linux_only
    def test_what_servers_hear_of_what_they_do_wrong(self):
        issue = self.authority.issue
        other = Authority(self.folder, "another")
        for certificate, alert in (
                (issue("expired", "DNS:localhost", start="20200101000000Z",
                       end="20200201000000Z"), "CERTIFICATE_EXPIRED"),
                (issue("early", "DNS:localhost", start="20400101000000Z",
                       end="20400201000000Z"), "BAD_CERTIFICATE"),
                (issue("elsewhere", "DNS:example.com"), "BAD_CERTIFICATE"),
                (issue("localhost"), "BAD_CERTIFICATE"),  # a common name does not count
                (other.issue("stranger", "DNS:localhost"), "UNKNOWN_CA"),
                (support.make_certificate(self.folder, "self"), "UNKNOWN_CA"),
                (issue("client", "DNS:localhost", extensions=("extendedKeyUsage = clientAuth",)),
                 "UNSUPPORTED_CERTIFICATE")):
            with self.subTest(certificate=certificate):
                context = self.context(certificate)
                context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the handshake hears of it
                site = Site(self, self.greet, context)
                code, _, _ = self.run_program(self.NAME, "localhost", str(site.port),
                                              SSL_CERT_FILE=self.authority.cert)
                self.assertEqual(code, 3)
                site.stop()
                self.assertRegex(str(site.errors[0]), alert)

    def test_a_server_that_is_none(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            code, _, errors = self.run_program(self.NAME, "127.0.0.1",
                                               str(unused.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertRegex(errors, "connection refused")


class AnAuthority(DocumentationTest):
    """tls_clients.md"""

    NAME = "tls_clients_an_authority_of_your_own"

    def look(self, context):
        site = Site(self, lambda sock: sock.recv(1), context)
        return self.run_program(self.NAME, "localhost", str(site.port), self.authority.cert)

    def test_it_agrees_on_a_protocol(self):
        context = self.context()
        self.assertEqual(self.look(context), (0, "TLSv1.3, no protocol agreed on\n", ""))
        context.set_alpn_protocols(["http/1.1"])
        self.assertEqual(self.look(context), (0, "TLSv1.3, http/1.1\n", ""))

    def test_it_trusts_nobody_else_and_speaks_no_older_version(self):
        other = Authority(self.folder, "other").issue("stranger", "DNS:localhost")
        for context, why in ((self.context(other), "certificate"), (self.context(), "version")):
            if why == "version":
                context.maximum_version = ssl.TLSVersion.TLSv1_2
            _, said, errors = self.look(context)
            self.assertEqual(said, "")
            self.assertRegex(errors, why)

    def test_an_authority_that_is_not_there(self):
        code, _, errors = self.run_program(self.NAME, "localhost", "1", "/no/such/file")
        self.assertEqual(code, 1)
        self.assertRegex(errors, "/no/such/file")


if __name__ == "__main__":
    unittest.main()
