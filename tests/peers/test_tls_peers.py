# SPDX-License-Identifier: MIT
"""TLS with programs of others at the other end: OpenSSL's, GnuTLS's, nginx, stunnel.

https_get, and the proxy with --tls, are our clients; echo_server and hello_http are our servers.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import unittest

import support
from authority import Authority
from support import PATIENCE, Lines, PeerTest, pattern, posix_only

SBIN = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name, path=SBIN)]
    return unittest.skipIf(missing, f"not on this machine: {' '.join(missing)}")


@posix_only
class TlsPeerTest(PeerTest):
    """Has certificates of "localhost" and 127.0.0.1, by an authority, for the life of the class."""

    @classmethod
    def setUpClass(cls):
        if not support.HAS_TLS:
            raise unittest.SkipTest("the library was built without TLS")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.authority = Authority(cls.folder)
        cls.ca = cls.authority.cert
        cls.cert, cls.key = cls.authority.issue("server", "DNS:localhost", "IP:127.0.0.1")

    def run_peer(self, *command, **options):
        """A program of others that runs until the test ends."""
        process = subprocess.Popen([shutil.which(command[0], path=SBIN), *command[1:]],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, **options)
        lines = Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        return process, lines

    def wait_until_it_listens(self, process, port):
        deadline = support.Deadline(f"{process.args[0]} listens")
        while True:
            deadline.check()
            self.assertIsNone(process.poll(), f"{process.args[0]} has ended")
            try:
                return socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            except ConnectionRefusedError:
                pass

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def assert_gets(self, body, url, *flags):
        """Trusting the authority; and nobody gets anything who does not."""
        for arguments, expected in (((*flags, "--cacert", self.ca, url), (0, body)),
                                    ((*flags, url), (60, b""))):
            with tempfile.TemporaryFile() as stdout:
                done = subprocess.run(support.program("https_get") + list(arguments),
                                      stdin=subprocess.DEVNULL, stdout=stdout,
                                      stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
                stdout.seek(0)
                self.assertEqual((done.returncode, stdout.read()), expected, done.stderr)


class OurClientsTest(TlsPeerTest):
    """https_get, and the proxy's connections to its server."""

    @needs("openssl")
    def test_openssl_s_server(self):
        self.write("file", pattern(3 << 20))
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version=version):
                _, lines = self.run_peer("openssl", "s_server", "-WWW", version, "-accept",
                                         "127.0.0.1:0", "-cert", self.cert, "-key", self.key,
                                         cwd=self.folder)
                port = lines.find(r"^ACCEPT 127\.0\.0\.1:(\d+)$")[1]
                for host in ("localhost", "127.0.0.1"):
                    self.assert_gets(pattern(3 << 20), f"https://{host}:{port}/file")

    @needs("gnutls-serv")
    def test_gnutls_serv(self):
        page = self.write("page", pattern(20000))
        for version in ("1.2", "1.3"):
            with self.subTest(version=version):
                port = support.free_port()
                process, _ = self.run_peer("gnutls-serv", "--quiet", "--http", "--httpdata", page,
                                           "--x509certfile", self.cert, "--x509keyfile", self.key,
                                           "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
                                           "--port", str(port))
                self.wait_until_it_listens(process, port)
                self.assert_gets(pattern(20000), f"https://localhost:{port}/")

    def start_nginx(self, more=""):
        port = support.free_port()
        folder = tempfile.mkdtemp(dir=self.folder)
        places = "".join(f"{name}_temp_path {folder}/{name};\n" for name in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.write("nginx.conf", f"""
            daemon off; master_process off; pid {folder}/pid; error_log stderr;
            events {{}}
            http {{
                access_log off; root {self.folder}; {places}
                server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {self.cert}; ssl_certificate_key {self.key}; {more}
                    location /old {{ return 301 /file; }}
                }}
            }}""".encode("ascii"))
        process, _ = self.run_peer("nginx", "-c", config, "-p", folder, "-e", "stderr")
        self.wait_until_it_listens(process, port)
        return port

    @needs("nginx")
    def test_nginx(self):
        self.write("file", pattern(5 << 20))
        for version in ("TLSv1.2", "TLSv1.3"):
            with self.subTest(version=version):
                port = self.start_nginx(f"ssl_protocols {version};")
                self.assert_gets(pattern(5 << 20), f"https://localhost:{port}/old")

    def start_stunnel(self, accept, connect, *options):
        config = self.write("stunnel.conf", "\n".join((
            "foreground = yes", f"pid = {self.folder}/stunnel.pid", "[service]",
            f"accept = 127.0.0.1:{accept}", f"connect = 127.0.0.1:{connect}", *options,
            "")).encode("ascii"))
        process, _ = self.run_peer("stunnel", config)
        self.wait_until_it_listens(process, accept)

    @needs("stunnel")
    def test_stunnel_in_front_of_a_server(self):
        port = support.free_port()
        self.start_stunnel(port, self.start("hello_http").port, f"cert = {self.cert}",
                           f"key = {self.key}")
        page = self.write("hello", b"")
        code, said = support.run("https_get", "--cacert", self.ca, "-o", page,
                                 f"https://localhost:{port}/")
        self.assertEqual((code, said), (0, ""))
        with open(page, "rb") as file:
            self.assertIn(b"<h1>Hello, and come in.</h1>", file.read())

    @needs("stunnel")
    def test_stunnel_behind_a_server(self):
        """Plain, TLS by us, TLS ended by stunnel, plain: both ends are passed on."""
        port = support.free_port()
        self.start_stunnel(port, self.start("echo_server").port, f"cert = {self.cert}",
                           f"key = {self.key}")
        proxy = self.start("proxy", "--to", "localhost", str(port), "--tls", "--cacert", self.ca)
        sock = self.dial(proxy.address)
        self.assert_echoes(sock, pattern(1 << 20))
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(sock.recv(1), b"")

    @needs("stunnel")
    def test_stunnel_in_front_of_a_client(self):
        """Plain, TLS by stunnel, which verifies, TLS ended by us."""
        port = support.free_port()
        server = self.start("echo_server", "--ssl", self.cert, self.key)
        self.start_stunnel(port, server.port, "client = yes", "verifyChain = yes",
                           f"CAfile = {self.ca}", "checkHost = localhost", "sni = localhost")
        sock = self.dial(("127.0.0.1", port))
        self.assert_echoes(sock, pattern(1 << 20))


class OurServersTest(TlsPeerTest):
    """Clients of others; those of OpenSSL and Python, and curl, are elsewhere."""

    @needs("gnutls-cli")
    def test_gnutls_cli(self):
        server = self.start("echo_server", "--ssl", self.cert, self.key)
        for version in ("1.2", "1.3"):
            with self.subTest(version=version):
                done = self.gnutls_cli(server.port, "--priority",
                                       f"NORMAL:-VERS-ALL:+VERS-TLS{version}")
                self.assertIn("- Status: The certificate is trusted.", done)
                self.assertRegex(done, rf"- Description: \(TLS{version}")

    @needs("gnutls-cli")
    def test_gnutls_cli_resumes(self):
        server = self.start("echo_server", "--ssl", self.cert, self.key)
        done = self.gnutls_cli(server.port, "--resume", "--priority",
                               "NORMAL:-VERS-ALL:+VERS-TLS1.2")
        self.assertIn("*** This is a resumed session", done)

    def gnutls_cli(self, port, *flags):
        """What gnutls-cli says in a conversation with an echo server."""
        client = subprocess.Popen(["gnutls-cli", "--x509cafile", self.ca, "--port", str(port),
                                   *flags, "localhost"], text=True, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = Lines(client.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(client.kill)
        said = []
        with client.stdin:
            client.stdin.write("hello, gnutls\n")
            client.stdin.flush()
            while (line := lines.next()) != "hello, gnutls":
                self.assertIsNotNone(line, "\n".join(said))
                said.append(line)
        self.assertEqual(client.wait(PATIENCE), 0)
        return "\n".join(said)


if __name__ == "__main__":
    unittest.main()
