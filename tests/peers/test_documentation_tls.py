# SPDX-License-Identifier: MIT
"""The programs of the chapters about TLS do what these chapters say of them.

The environment is that of test_documentation.py.
"""

import hashlib
import os
import select
import shutil
import signal
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
                                 "expired: 'old' was valid until 2020-02-01 00:00:00 UTC\n")


    @linux_only
    def test_what_servers_hear_of_what_they_do_wrong(self):
        issue = self.authority.issue
        other = Authority(self.folder, "another")
        for certificate, alert in (
                (issue("expired", "DNS:localhost", start="20200101000000Z",
                       end="20200201000000Z"), "CERTIFICATE_EXPIRED"),
                (issue("early", "DNS:localhost", start="20400101000000Z",
                       end="20400201000000Z"), "CERTIFICATE_EXPIRED"),
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


class ServerTest(DocumentationTest):
    """Runs a program that serves with the files of a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = folder.name
        self.put(self.good, "server")

    def put(self, certificate, name):
        """A certificate and its key, where a program looks for them."""
        for path, kind in zip(certificate, ("pem", "key")):
            shutil.copy(path, os.path.join(self.place, f"{name}.{kind}"))

    def serve(self, name):
        server = support.Server(name, cwd=self.place)
        self.addCleanup(server.stderr.close)
        self.addCleanup(server.stop)
        return server

    def client_context(self):
        return ssl.create_default_context(cafile=self.authority.cert)

    def dial(self, server, name="localhost", context=None):
        sock = socket.create_connection(server.address, PATIENCE)
        self.addCleanup(sock.close)
        return (context or self.client_context()).wrap_socket(sock, server_hostname=name)

    def shown(self, server, name):
        """The common name of the certificate that is shown to who asks for a name."""
        with self.dial(server, name) as sock:
            return dict(pair for names in sock.getpeercert()["subject"] for pair in names)[
                "commonName"]


class SeveralNames(ServerTest):
    """certificates.md"""

    @support.posix_only
    def test_each_name_has_its_own_and_new_ones_without_a_restart(self):
        self.put(self.authority.issue("other", "DNS:*.other.example"), "other")
        server = self.serve("certificates_several_names_and_new_certificates")
        self.assertEqual(self.shown(server, "localhost"), "good")
        self.assertEqual(self.shown(server, "a.other.example"), "other")
        with self.dial(server) as before:
            self.put(self.authority.issue("newer", "DNS:localhost"), "server")
            server.signal(signal.SIGHUP)
            deadline = support.Deadline("the new certificate is shown")
            while self.shown(server, "localhost") != "newer":
                deadline.check()
            before.sendall(b"still here\n")
            self.assertEqual(support.receive(before, 11), b"still here\n")

        self.put((self.good[0], self.authority.key), "server")  # which do not match
        server.signal(signal.SIGHUP)
        deadline = support.Deadline("the server says what is wrong")
        while "server.key" not in server.errors():
            deadline.check()
            self.assertEqual(self.shown(server, "localhost"), "newer")


class AskedFor(ServerTest):
    """certificates.md"""

    def test_names_are_served_by_their_files(self):
        server = self.serve("certificates_a_certificate_when_it_is_asked_for")
        for name in ("a.example", "b.example"):
            self.put(self.authority.issue(name, f"DNS:{name}"), name)
        for name in ("a.example", "b.example", "a.example"):
            self.assertEqual(self.shown(server, name), name)

        context = self.client_context()
        context.check_hostname = False
        with self.dial(server, None, context) as sock:  # no name: the server's own
            sock.sendall(b"hello")
            self.assertEqual(support.receive(sock, 5), b"hello")
        for name in ("c.example", "a_b.example"):
            with self.assertRaisesRegex(ssl.SSLError, "UNRECOGNIZED_NAME"):
                self.dial(server, name, context)


class ClientCertificates(ServerTest):
    """certificates.md"""

    def test_clients_are_greeted_by_name_unless_they_are_revoked(self):
        clients = Authority(self.place, "clients")
        ann = clients.issue("Ann", "email:ann@example.com", "DNS:ann.example")
        bob = clients.issue("Bob")
        clients.revoke(bob[0])
        shutil.copy(clients.cert, os.path.join(self.place, "clients.pem"))
        shutil.copy(clients.revocations(), os.path.join(self.place, "revoked.pem"))
        server = self.serve("certificates_client_certificates")

        self.assertEqual(self.greeting(server, ann), b"good day, CN=Ann, ann@example.com\n")
        refused = ((bob, "revoked"), (None, "certificate"), (self.good, "self-signed"))
        for before, (certificate, why) in enumerate(refused):
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.greeting(server, certificate)
            server.says(rf"\A(.*\n){{{before},}}.*{why}")

    def greeting(self, server, certificate):
        context = self.client_context()
        if certificate is not None:
            context.load_cert_chain(*certificate)
        with self.dial(server, context=context) as sock:
            return support.receive(sock, 1000)


class Pinning(DocumentationTest):
    """certificates.md"""

    def pin(self, path):
        with open(path, encoding="ascii") as file:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()

    @linux_only
    def test_only_the_pinned_one_is_told_anything(self):
        told = []
        site = Site(self, lambda sock: told.append(sock.recv(6)), self.context())
        for path, expected in ((self.good[0], 0), (self.authority.cert, 0),
                               (self.authority.issue("same", "DNS:localhost")[0], 1)):
            code, _, errors = self.run_program("certificates_pinning", "localhost", str(site.port),
                                               self.pin(path), SSL_CERT_FILE=self.authority.cert)
            self.assertEqual(code, expected)
            self.assertEqual(errors, "that is another certificate\n" if code else "")
        site.stop()
        self.assertEqual([words for words in told if words], [b"hello\n"] * 2)


class StartTls(ServerTest):
    """start_tls.md"""

    SERVER, CLIENT = "start_tls_the_server", "start_tls_the_client"

    def test_the_server_begins_tls_when_it_is_asked_to(self):
        server = self.serve(self.SERVER)
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.sendall(b"hello\n")
            self.assertEqual(support.receive(sock, 21), b"STARTTLS comes first\n")
            sock.sendall(b"START")
            sock.sendall(b"TLS\n")
            self.assertEqual(support.receive(sock, 6), b"ready\n")
            with self.client_context().wrap_socket(sock, server_hostname="localhost") as tls:
                tls.sendall(b"a secret\n")
                self.assertEqual(support.receive(tls, 9), b"a secret\n")

    def test_words_behind_starttls_end_the_connection(self):
        server = self.serve(self.SERVER)
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.sendall(b"STARTTLS\nhello\n")
            self.assertEqual(support.receive_all(sock), b"")

    def test_a_client_that_says_something_else_than_a_hello(self):
        server = self.serve(self.SERVER)
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.sendall(b"STARTTLS\n")
            self.assertEqual(support.receive(sock, 6), b"ready\n")
            sock.sendall(b"hello\n" * 10)
            self.assertNotIn(b"hello", support.receive_all(sock))

    @linux_only
    def test_the_client_and_the_server_with_each_other(self):
        server = self.serve(self.SERVER)
        self.assertEqual(self.run_program(self.CLIENT, "localhost", str(server.port),
                                          SSL_CERT_FILE=self.authority.cert),
                         (0, "a secret\n", ""))
        code, said, errors = self.run_program(self.CLIENT, "localhost", str(server.port))
        self.assertEqual((code, said), (1, ""))
        self.assertRegex(errors, "certificate")

    def test_the_client_tells_nobody_in_the_clear(self):
        told = []

        def answer(words):
            def page(sock):
                told.append(sock.recv(9))
                sock.sendall(words)
                told.append(support.receive_all(sock))
            return page

        for words in (b"ready\nnews\n", b"no\n", b"x" * 100):
            site = Site(self, {}, instead=answer(words))
            code, said, errors = self.run_program(self.CLIENT, "localhost", str(site.port))
            self.assertEqual((code, said), (1, ""))
            self.assertRegex(errors, "somebody on the way")
            site.stop()
        self.assertEqual([words for words in told if words], [b"STARTTLS\n"] * 3)


class TlsInTls(DocumentationTest):
    """start_tls.md: through a proxy in Python that is spoken to by TLS, to a server in Python."""

    NAME = "start_tls_tls_in_tls"

    def relay(self, tls):
        """What a proxy of HTTP does with CONNECT."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += tls.recv(1)
        self.asked.append(head.split(b"\r\n")[0].decode())
        if self.refuses:
            tls.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as behind:
            tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.pass_on(tls, behind)

    @staticmethod
    def pass_on(tls, behind):
        """Both ways, until one of them ends."""
        while True:
            if not tls.pending():
                ready, _, _ = select.select([tls, behind], [], [], PATIENCE)
            for source, sink in ((tls, behind), (behind, tls)):
                if source in ready or (source is tls and tls.pending()):
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    sink.sendall(data)

    def setUp(self):
        self.asked, self.refuses = [], False

    def through(self, page, behind=None):
        site = Site(self, page, self.context(behind))
        self.port = site.port
        proxy = Site(self, self.relay, self.context())
        return self.run_program(self.NAME, "localhost", str(proxy.port), "localhost",
                                str(site.port), SSL_CERT_FILE=self.authority.cert)

    @linux_only
    def test_hello_through_a_proxy(self):
        def greet(sock):
            self.assertEqual(sock.recv(6), b"hello\n")
            sock.sendall(pattern)

        pattern = b"good day\n" * 100000
        code, said, errors = self.through(greet)
        self.assertEqual((code, errors), (0, ""))
        self.assertTrue(said == pattern.decode())
        self.assertEqual(self.asked, [f"CONNECT localhost:{self.port} HTTP/1.1"])

    @linux_only
    def test_a_server_behind_that_does_not_prove_who_it_is(self):
        other = Authority(self.folder, "behind")
        told = []
        code, said, errors = self.through(lambda sock: told.append(sock.recv(6)),
                                          other.issue("behind", "DNS:localhost"))
        self.assertEqual((code, said), (1, ""))
        self.assertRegex(errors, "certificate")
        self.assertNotIn(b"hello\n", told)

    @linux_only
    def test_a_proxy_that_refuses(self):
        self.refuses = True
        self.assertEqual(self.through(lambda sock: None), (1, "", "the proxy refuses\n"))


if __name__ == "__main__":
    unittest.main()
