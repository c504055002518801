# SPDX-License-Identifier: MIT
"""https_get against sites whose answers are right, wrong, slow, cut off, or lead elsewhere."""

import os
import re
import select
import socket
import ssl
import subprocess
import tempfile
import unittest
import unittest.mock
import warnings

import support
from authority import Authority
from support import PATIENCE, linux_only, needs_signals, pattern, posix_only, reset
from web import Site, answer, byte_by_byte, redirect

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class GetTest(unittest.TestCase):
    """Runs https_get."""

    def get(self, *arguments):
        """(exit code, body, what it says on stderr)"""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile("w+") as stderr:
            done = subprocess.run(support.program("https_get") + list(arguments),
                                  stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                  timeout=PATIENCE, check=False)
            stdout.seek(0)
            stderr.seek(0)
            return done.returncode, stdout.read(), stderr.read()

    def assert_gets(self, body, *arguments):
        code, got, said = self.get(*arguments)
        self.assertEqual((code, said), (0, ""))
        self.assertEqual(got, body)

    def assert_fails(self, code, sentence, *arguments):
        """The sentence is a regular expression; returns what was written nevertheless."""
        found, body, said = self.get(*arguments)
        self.assertRegex(said, rf"\Ahttps_get: \({code}\) {sentence}\n\Z")
        self.assertEqual(found, code)
        return body


class BodyTest(GetTest):
    """Where a body ends, and what comes before it does."""

    def setUp(self):
        self.pages = {}
        self.site = Site(self, self.pages)

    def serve(self, page):
        self.pages["/"] = page
        return self.site.url()

    def test_a_body_with_its_length(self):
        body = pattern(3 << 20)
        self.assert_gets(body, self.serve(answer(body)))

    def test_an_empty_body(self):
        self.assert_gets(b"", self.serve(answer()))
        self.assert_gets(b"", self.serve(b"HTTP/1.1 204 No Content\r\n\r\n"))
        self.assert_gets(b"", self.serve(CHUNKED + b"0\r\n\r\n"))

    def test_a_body_up_to_the_end_of_the_connection(self):
        body = pattern(1 << 20)
        for version in (b"1.0", b"1.1"):
            self.assert_gets(body, self.serve(b"HTTP/%s 200\r\n\r\n%s" % (version, body)))

    def test_a_chunked_body(self):
        self.assert_gets(b"hello, world", self.serve(
            CHUNKED + b"5\r\nhello\r\n7;name=value\r\n, world\r\n0\r\nTrailer: yes\r\n\r\n"))

    def test_a_large_chunked_body(self):
        body = pattern(1 << 20)
        pieces = (body[i:i + 0xabc] for i in range(0, len(body), 0xabc))
        chunks = b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        self.assert_gets(body, self.serve(CHUNKED + chunks + b"000\r\n\r\n"))

    def test_an_answer_that_comes_byte_by_byte(self):
        self.assert_gets(b"hello, world", self.serve(byte_by_byte(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
            CHUNKED + b"C\r\nhello, world\r\n0\r\n\r\n")))

    def test_what_follows_the_answer_is_none_of_it(self):
        self.assert_gets(b"all", self.serve(answer(b"all") + b"HTTP/1.1 200 OK\r\n\r\nmore"))
        self.assert_gets(b"all", self.serve(CHUNKED + b"3\r\nall\r\n0\r\n\r\nmore"))

    def test_a_server_that_keeps_the_connection_open_is_not_waited_for(self):
        def page(sock):
            sock.sendall(answer(b"all"))
            sock.recv(1)

        self.assert_gets(b"all", self.serve(page))

    def test_a_body_that_is_cut_short(self):
        for page in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
                     CHUNKED + b"A\r\nhello", CHUNKED + b"5\r\nhello\r\n",
                     CHUNKED + b"5\r\nhello\r\n0\r\n"):
            self.assertEqual(self.assert_fails(18, "the body is cut short after 5 bytes",
                                               self.serve(page)), b"hello")

    @posix_only  # Wine tells a reset behind data as an end
    def test_a_reset_is_an_error_also_where_the_end_would_be_none(self):
        def page(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
            reset(sock)

        self.assert_fails(56, ".*: connection reset by peer", self.serve(page))

    def test_no_answer_or_half_a_one(self):
        self.assert_fails(52, "the server has ended the connection and said nothing",
                          self.serve(b""))
        for page in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5",
                     b"HTTP"):
            self.assert_fails(56, "the answer ends in the middle of its head", self.serve(page))

    def test_answers_that_are_not_for_certain(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        for page, why in (
                (b"SSH-2.0-OpenSSH_9.2\r\n", "does not begin as HTTP"),
                (b"HTTP/2 200 OK\r\n", "does not begin as HTTP"),
                (b"HTTP/1.1 20 OK\r\n", "does not begin as HTTP"),
                (b"HTTP/1.1 2000 OK\r\n", "does not begin as HTTP"),
                (b"HTTP/1.1 099 OK\r\n", "does not begin as HTTP"),
                (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "changes to a protocol"),
                (ok + b"Name : value\r\n", "no field"),
                (ok + b": value\r\n", "no field"),
                (ok + b"Name\r\n", "no field"),
                (ok + b"Name: value\r\n folded\r\n", "no field"),
                (ok + b"Name: a\rb\r\n", "control character"),
                (ok + b"Name: a\0b\r\n", "control character"),
                (ok + b"Content-Length: 5\r\nContent-Length: 6\r\n", "two different"),
                (ok + b"Content-Length: 5, 6\r\n", "no number"),
                (ok + b"Content-Length: -5\r\n", "no number"),
                (ok + b"Content-Length:\r\n", "no number"),
                (ok + b"Content-Length: 99999999999999999999\r\n", "too large"),
                (ok + b"Transfer-Encoding: gzip, chunked\r\n", "other than chunked"),
                (ok + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                 "other than chunked"),
                (ok + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "should not be"),
                (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "should not be"),
                (CHUNKED + b"x\r\n", "without a size"),
                (CHUNKED + b"-5\r\n", "without a size"),
                (CHUNKED + b"5 5\r\n", "no number"),
                (CHUNKED + b"fffffffffffffffff\r\n", "too large"),
                (CHUNKED + b"3\r\nabcd\r\n", "longer than it said"),
                (ok + b"Name: " + b"x" * 8200 + b"\r\n", "too long"),
                (ok + b"x" * 10000, "too long"),
                (ok + (b"Name: " + b"x" * 1000 + b"\r\n") * 70, "too long"),
                (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, "too long"),
                (ok + b"Location: /a\r\nLocation: /b\r\n", "more than one Location")):
            with self.subTest(page=page[:60]):
                self.assert_fails(8, f"the answer cannot be read: .*{why}.*", self.serve(page))

    def test_the_same_length_twice_is_one(self):
        self.assert_gets(b"hello", self.serve(
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nCONTENT-LENGTH:5 \r\n\r\nhello"))

    def test_lines_may_end_in_a_line_feed_alone(self):
        self.assert_gets(b"hello", self.serve(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"))

    # ---- Statuses ----

    def test_an_error_page_is_a_page_unless_told_otherwise(self):
        url = self.serve(answer(b"so sorry", "500 Internal Server Error"))
        self.assert_gets(b"so sorry", url)
        for flag in ("-f", "--fail"):
            self.assertEqual(self.assert_fails(22, "the server answers with 500", flag, url), b"")

    # ---- Where it goes ----

    def test_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "page")
            body = pattern(1 << 20)
            self.assert_gets(b"", self.serve(answer(body)), "-o", name)
            with open(name, "rb") as file:
                self.assertEqual(file.read(), body)

            self.assert_gets(b"", "--output", name, self.serve(answer(b"new")))
            with open(name, "rb") as file:
                self.assertEqual(file.read(), b"new")

            self.pages["/"] = answer(b"sorry", "404 Not Found")
            self.assert_fails(22, ".*", "-f", "-o", name, self.site.url())
            with open(name, "rb") as file:
                self.assertEqual(file.read(), b"new")
            self.assert_fails(23, ".*missing.page cannot be written",
                              "-o", os.path.join(folder, "missing", "page"),
                              self.serve(answer(b"new")))

    @linux_only
    def test_a_file_that_has_no_room(self):
        for size in (10, 1 << 20):
            self.assert_fails(23, "the body cannot be written", "-o", "/dev/full",
                              self.serve(answer(pattern(size))))

    @posix_only
    def test_a_reader_of_stdout_that_has_gone(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(support.program("https_get") + [self.serve(answer(pattern(1 << 20)))],
                              stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE,
                              timeout=PATIENCE, check=False)
        os.close(writer)
        self.assertEqual((done.returncode, done.stderr),
                         (23, b"https_get: (23) the body cannot be written\n"))

    @posix_only
    def test_on_a_terminal_it_says_how_far_it_is(self):
        with tempfile.TemporaryDirectory() as folder:
            for page, expected in ((answer(pattern(1 << 20)), r"100% #{30} 1\.0 MiB of 1\.0 MiB, "),
                                   (answer(), r"100% #{30} 0 B of 0 B, "),
                                   (b"HTTP/1.0 200 OK\r\n\r\nhello", r"\r5 B, ")):
                said = self.on_terminal("-o", os.path.join(folder, "page"), self.serve(page))
                self.assertRegex(said, expected)
                self.assertTrue(said.endswith("\r\n"))

    def on_terminal(self, *arguments):
        """What it says where stderr is a terminal."""
        ours, terminal = os.openpty()
        with open(ours, "rb", buffering=0) as stream:
            try:
                process = subprocess.Popen(support.program("https_get") + list(arguments),
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                           stderr=terminal)
            finally:
                os.close(terminal)
            self.addCleanup(process.kill)
            said = b""
            deadline = support.Deadline("it ends")
            try:
                while True:
                    deadline.check()
                    if select.select([stream], [], [], 1)[0]:
                        piece = os.read(stream.fileno(), 4096)
                        if not piece:
                            break
                        said += piece
            except OSError:  # nobody has the terminal open any more
                pass
            self.assertEqual(process.wait(PATIENCE), 0)
            return said.decode("ascii")

    # ---- What is asked ----

    def test_the_request(self):
        self.pages["/a%20b?c=d"] = answer(b"page")
        self.assert_gets(b"page", self.site.url("/a%20b?c=d#part"))
        self.assertTrue(self.site.requests[0].startswith("GET /a%20b?c=d HTTP/1.1\r\n"))
        self.assertEqual(self.site.fields(), {
            "host": f"127.0.0.1:{self.site.port}", "user-agent": "https_get", "accept": "*/*",
            "connection": "close"})

    def test_fields_of_the_users(self):
        self.assert_gets(b"page", "-H", "X-One: 1", "--header", "accept: text/plain",
                         self.serve(answer(b"page")))
        self.assertEqual(self.site.fields()["x-one"], "1")
        self.assertEqual(self.site.fields()["accept"], "text/plain")
        self.assertNotIn("Accept:", self.site.requests[0])

    def test_a_user_with_a_password(self):
        for user, expected in (("me:secret", "bWU6c2VjcmV0"), ("a", "YQ=="), ("ab", "YWI="),
                               ("m%40e:s%3Aecr@t", "bUBlOnM6ZWNyQHQ=")):
            self.assert_gets(b"page", self.serve(answer(b"page")).replace("//", f"//{user}@"))
            self.assertEqual(self.site.fields()["authorization"], f"Basic {expected}")


class RedirectTest(GetTest):
    """Where an answer leads, and where it must not."""

    def setUp(self):
        self.pages = {"/end": answer(b"the end")}
        self.site = Site(self, self.pages)

    def test_every_kind_of_reference(self):
        for reference, target in (
                ("/end", "/end"), ("end", "/a/b/end"), ("./end", "/a/b/end"), ("../end", "/a/end"),
                ("../../end", "/end"), ("../../../../end", "/end"), ("x/../end", "/a/b/end"),
                (".", "/a/b/"), ("..", "/a/"), ("/a/./b/../end?x=../y", "/a/end?x=../y"),
                ("?new", "/a/b/c?new"), ("/end#part", "/end"), ("/a b", "/a%20b"),
                ("/%C3%BC", "/%C3%BC"), ("//127.0.0.1:PORT/end", "/end"),
                ("http://127.0.0.1:PORT", "/"), ("HTTP://127.0.0.1:PORT?q", "/?q")):
            with self.subTest(reference=reference):
                site = self.site
                self.pages.clear()
                self.pages["/a/b/c?d"] = redirect(reference.replace("PORT", str(site.port)))
                self.pages[target] = answer(b"the end")
                self.assert_gets(b"the end", site.url("/a/b/c?d"))
                self.assertEqual(site.targets()[-1], target)

    def test_every_status_that_is_a_redirect(self):
        for status in ("301 Moved Permanently", "302 Found", "303 See Other",
                       "307 Temporary Redirect", "308 Permanent Redirect"):
            self.pages["/"] = redirect("/end", status)
            self.assert_gets(b"the end", self.site.url())
        self.pages["/"] = redirect("/end", "300 Multiple Choices")
        self.assert_gets(b"not here", self.site.url())
        self.pages["/"] = answer(b"where?", "302 Found")
        self.assert_gets(b"where?", self.site.url())

    def test_their_number_is_limited(self):
        for i in range(11):
            self.pages[f"/{i}"] = redirect(f"/{i + 1}")
        self.pages["/11"] = answer(b"the end")
        self.assert_gets(b"the end", self.site.url("/1"))
        self.assert_fails(47, "more than 10 redirects", self.site.url("/0"))
        self.assert_gets(b"the end", "--max-redirs", "11", self.site.url("/0"))
        self.assert_fails(47, "more than 0 redirects", "--max-redirs", "0", self.site.url("/0"))
        self.pages["/loop"] = redirect("/loop")
        self.assert_fails(47, "more than 10 redirects", self.site.url("/loop"))

    def test_redirects_to_nowhere(self):
        for location, code, why in (
                ("ftp://127.0.0.1/", 1, "only http and https are known"),
                ("http://", 3, "there is no host"), ("http:///x", 3, "there is no host"),
                ("//", 3, "there is no host"),
                ("http://a:b/", 3, "the port is no number from 1 to 65535"),
                ("http://[::1/", 3, r"an IPv6 address ends in \]"),
                ("x" * 8180, 3, "it is too long")):
            with self.subTest(location=location[:60]):
                long = "/" + "y" * 100 + "/"
                self.pages[long] = redirect(location)
                self.assert_fails(code, f"redirect to {re.escape(location[:200])}: {why}",
                                  self.site.url(long))

    def test_a_body_that_comes_with_a_redirect_is_not_waited_for(self):
        self.pages["/"] = (b"HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 100\r\n\r\n"
                           b"not all")
        self.assert_gets(b"the end", self.site.url())

    def test_what_was_meant_for_one_site_is_not_told_another(self):
        other = Site(self, {"/": redirect(self.site.url("/end"))})
        self.pages["/"] = redirect("/again")
        self.pages["/again"] = redirect(other.url("/").replace("//", "//you:too@"))
        self.assert_gets(b"the end", "-H", "Cookie: mine",
                         self.site.url().replace("//", "//me:secret@"))
        for number in (0, 1, 2):  # the last of them comes from the other site, back to us
            self.assertEqual(self.site.fields(number)["cookie"], "mine")
            self.assertEqual(self.site.fields(number)["authorization"], "Basic bWU6c2VjcmV0")
        self.assertEqual(set(other.fields()), {"host", "user-agent", "accept", "connection"})


class ConnectTest(GetTest):
    """What may go wrong before there is an answer, and how long all of it may take."""

    def test_a_name_that_does_not_resolve(self):
        self.assert_fails(6, "resolve nosuch.invalid: .*", "http://nosuch.invalid/")

    def test_a_port_on_which_nobody_listens(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            self.assert_fails(7, f"connect to 127.0.0.1 port {port}: connection refused",
                              f"http://127.0.0.1:{port}/")

    @linux_only
    def test_a_host_that_says_nothing(self):
        port = support.never_answering(self)
        self.assert_fails(28, f"connect to 127.0.0.1 port {port}: timed out.*",
                          "--connect-timeout", "0.3", f"http://127.0.0.1:{port}/")
        self.assert_fails(28, r"it was not there after 0\.3 seconds",
                          "-m", "0.3", f"http://127.0.0.1:{port}/")

    def test_a_site_that_begins_and_says_no_more(self):
        def page(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
            sock.recv(1)

        site = Site(self, {"/": page})
        self.assertEqual(self.assert_fails(28, r"it was not there after 0\.5 seconds",
                                           "--max-time", "0.5", site.url()), b"hello")

    @needs_signals
    def test_a_name_with_several_addresses(self):
        site = Site(self, {"/": answer(b"page")})  # at ::1 nobody listens
        self.assert_gets(b"page", site.url(host="localhost"))
        self.assertEqual(site.fields()["host"], f"localhost:{site.port}")

    def test_timing_tells_the_parts_of_each_request(self):
        site = Site(self, {"/": redirect("/end"), "/end": answer(b"the end")})
        code, body, said = self.get("--timing", site.url())
        self.assertEqual((code, body), (0, b"the end"))
        part = r"\d+\.\d ms"
        expected = [rf"{site.url(path)}: name {part}, connect {part}, first byte {part}, "
                    rf"total {part}" for path in ("/", "/end")]
        for line, regex in zip(said.splitlines(), expected, strict=True):
            self.assertRegex(line, rf"^{regex}$")


class TlsTest(GetTest):
    """Servers that are to be trusted, and others."""

    @classmethod
    def setUpClass(cls):
        if not support.HAS_TLS:
            raise unittest.SkipTest("the library was built without TLS")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.authority = Authority(folder.name)
        cls.good = cls.authority.issue("good", "DNS:localhost", "IP:127.0.0.1")
        cls.trusting = ("--cacert", cls.authority.cert)

    def serve(self, certificate, pages, version=None, **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return Site(self, pages, context, **options)

    # ---- Whom it trusts ----

    def test_a_server_that_is_trusted(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            body = pattern(1 << 20)
            site = self.serve(self.good, {"/": answer(body)}, version)
            for host in ("localhost", "127.0.0.1"):
                self.assert_gets(body, *self.trusting, site.url(host=host))
            self.assertEqual(site.names, ["localhost", None])

    @linux_only  # elsewhere the system decides
    def test_the_systems_authorities_are_those_that_the_environment_names(self):
        site = self.serve(self.good, {"/": answer(b"page")})
        self.assert_fails(60, ".*unable to get local issuer certificate.*", site.url())
        with unittest.mock.patch.dict(os.environ, {"SSL_CERT_FILE": self.authority.cert}):
            self.assert_gets(b"page", site.url())

    def test_certificates_that_are_not_good_enough(self):
        other = Authority(self.authority.folder, "other")
        for certificate, why in (
                (self.authority.issue("elsewhere", "DNS:example.com"), "mismatch"),
                (self.authority.issue("localhost"), "mismatch"),  # the common name does not count
                (self.authority.issue("expired", "DNS:localhost", start="20200101000000Z",
                                      end="20200201000000Z"), "expired"),
                (self.authority.issue("early", "DNS:localhost", start="20400101000000Z",
                                      end="20400201000000Z"), "not yet valid"),
                (self.authority.issue("client", "DNS:localhost",
                                      extensions=("extendedKeyUsage = clientAuth",)), "purpose"),
                (other.issue("stranger", "DNS:localhost"), "local issuer"),
                (support.make_certificate(self.authority.folder, "self"), "self.signed")):
            with self.subTest(why=why, certificate=certificate):
                site = self.serve(certificate, {"/": answer(b"page")})
                self.assertEqual(self.assert_fails(60, f".*(?i:{why}).*", *self.trusting,
                                                   site.url(host="localhost")), b"")
                self.assertEqual(site.requests, [])
                for flag in ("-k", "--insecure"):
                    self.assert_gets(b"page", flag, site.url(host="localhost"))
                    self.assert_gets(b"page", *self.trusting, flag, site.url(host="localhost"))

    def test_a_certificate_file_that_cannot_be_read(self):
        for name in ("/no/such/file", self.authority.key):
            self.assert_fails(77, f".*{re.escape(name)}.*", "--cacert", name, "https://localhost/")

    # ---- What servers do instead of a handshake ----

    def test_servers_that_do_not_speak_tls(self):
        def speak_plainly(sock):
            sock.sendall(b"220 mail.example ESMTP\r\n")
            sock.recv(1 << 16)

        def hang_up(sock):
            sock.recv(1 << 16)

        def break_off(sock):
            sock.recv(1)
            reset(sock)

        for misbehave in (speak_plainly, hang_up, break_off):
            with self.subTest(misbehave=misbehave):
                site = Site(self, {}, instead=misbehave)
                self.assert_fails(35, ".*", site.url().replace("http:", "https:"))

    def test_a_server_that_never_answers_the_handshake(self):
        site = Site(self, {}, instead=lambda sock: sock.recv(1 << 16) and sock.recv(1 << 16))
        self.assert_fails(28, ".*", "--connect-timeout", "0.5",
                          site.url().replace("http:", "https:"))

    def test_a_server_that_speaks_versions_of_yesterday_only(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.good)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        site = Site(self, {}, context)
        self.assert_fails(35, ".*version.*", *self.trusting, site.url())

    # ---- Where the connection ends ----

    def test_a_body_up_to_the_end_of_the_connection_needs_an_end_that_is_announced(self):
        pages = {"/": b"HTTP/1.0 200 OK\r\n\r\nhello"}
        self.assert_gets(b"hello", *self.trusting, self.serve(self.good, pages).url())
        site = self.serve(self.good, pages, polite=False)
        said = self.assert_fails(18, "the body is cut short after 5 bytes: .* close_notify",
                                 *self.trusting, site.url())
        self.assertEqual(said, b"hello")

    def test_a_body_whose_length_is_known_does_not(self):
        for page in (answer(b"hello"), CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"):
            site = self.serve(self.good, {"/": page}, polite=False)
            self.assert_gets(b"hello", *self.trusting, site.url())

    def test_timing_tells_what_tls_took(self):
        site = self.serve(self.good, {"/": answer(b"page")})
        code, body, said = self.get("--timing", *self.trusting, site.url())
        part = r"\d+\.\d ms"
        self.assertRegex(said, rf"^{site.url()}: name {part}, connect {part}, TLS {part}, "
                               rf"first byte {part}, total {part}\n$")
        self.assertEqual((code, body), (0, b"page"))

    # ---- Sessions ----

    def resume(self, file, site, host="localhost", *trusting):
        """Whether the connection has resumed a session, as both ends see it."""
        before = len(site.sessions)
        code, body, said = self.get("--resume", file, "--timing", *(trusting or self.trusting),
                                    site.url(host=host))
        self.assertEqual((code, body), (0, b"page"), said)
        (resumed,) = site.sessions[before:]
        self.assertEqual("TLS resumed" in said, resumed)
        return resumed

    def test_a_session_in_a_file(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with tempfile.TemporaryDirectory() as folder:
                file = os.path.join(folder, "session")
                site = self.serve(self.good, {"/": answer(b"page")}, version)
                self.assertFalse(self.resume(file, site))
                self.assertTrue(self.resume(file, site))
                self.assertTrue(self.resume(file, site))
                if support.ON_POSIX:
                    self.assertEqual(os.stat(file).st_mode & 0o777, 0o600)

                # Of another host, garbled, and of another server: a full handshake, and no noise.
                self.assertFalse(self.resume(file, site, "127.0.0.1"))
                self.assertTrue(self.resume(file, site, "127.0.0.1"))
                self.assertFalse(self.resume(file, site))
                with open(file, "wb") as garbled:
                    garbled.write(b"no session")
                self.assertFalse(self.resume(file, site))
                other = self.serve(self.good, {"/": answer(b"page")}, version)
                self.assertFalse(self.resume(file, other))

    def test_a_session_that_cannot_be_kept(self):
        site = self.serve(self.good, {"/": answer(b"page")})
        file = os.path.join(self.authority.folder, "missing", "session")
        code, body, said = self.get("--resume", file, *self.trusting, site.url())
        self.assertEqual((code, body, said),
                         (0, b"page", f"https_get: {file} cannot be written\n"))

    # ---- Redirects ----

    def test_redirects_between_http_and_https(self):
        pages = {"/": answer(b"the end")}
        plain, secure = Site(self, pages), self.serve(self.good, pages)
        plain.pages = {"/": redirect(secure.url())}
        self.assert_gets(b"the end", *self.trusting, plain.url())

        plain.pages, secure.pages = pages, {"/": redirect(plain.url())}
        self.assert_fails(1, "a redirect leads from https to http; --plain-redirects allows that",
                          *self.trusting, secure.url())
        self.assertEqual(len(plain.requests), 1)
        self.assert_gets(b"the end", "--plain-redirects", *self.trusting, secure.url())


@unittest.skipIf(support.HAS_TLS, "the library was built with TLS")
class WithoutTlsTest(GetTest):
    def test_https_is_unknown(self):
        self.assert_fails(1, ".*without TLS.*", "https://127.0.0.1/")


class CommandLineTest(GetTest):
    def test_help(self):
        for flag in ("-h", "--help"):
            code, said, errors = self.get(flag)
            self.assertEqual((code, errors), (0, ""))
            self.assertTrue(said.startswith(b"usage: https_get [flag]... URL"))

    def test_mistakes(self):
        for arguments, sentence in (
                ((), "URL is missing"),
                (("http://a", "http://b"), "URL is there twice"),
                (("--fast", "http://a"), "--fast is unknown"),
                (("http://a", "-o"), "-o is unknown, or lacks its value"),
                (("http://a", "--max-redirs", "-1"), "--max-redirs needs a number, .*"),
                (("http://a", "-m", "nan"), "-m needs a number, .*"),
                (("http://a", "-m", "1s"), "-m needs a number, .*"),
                (("http://a", "-k", "--resume", "x"), "--resume and --insecure .*"),
                (("http://a", "-H", "no field"), '--header needs a field .*'),
                (("http://a", "-H", ": value"), '--header needs a field .*'),
                (("http://a", "-H", "A: b\r\nHost: c"), '--header needs a field .*')):
            with self.subTest(arguments=arguments):
                self.assert_fails(2, f"{sentence}; --help tells more", *arguments)

    def test_urls_that_are_none(self):
        for url, code, why in (
                ("http://", 3, "there is no host"),
                ("http://a b/", 3, "the host has a character that no host has"),
                ("http://a%62/", 3, "the host has a character that no host has"),
                ("http://" + "a" * 300, 3, "the host is too long"),
                ("http://a:0/", 3, "the port is no number from 1 to 65535"),
                ("http://a:65536/", 3, "the port is no number from 1 to 65535"),
                ("http://a:999999999999999999999/", 3, "the port is no number from 1 to 65535"),
                ("http://[::1]x/", 3, r"an IPv6 address ends in \]"),
                ("http://u%:p@a/", 3, "the user has a % that escapes nothing"),
                ("http://u%00@a/", 3, "the user has a % that escapes nothing"),
                ("http://" + "u" * 300 + "@a/", 3, "the user is too long"),
                ("http://a/\n", 3, "there is a control character in it"),
                ("http://a/" + "x" * 9000, 3, "it is too long"),
                ("gopher://a/", 1, "only http and https are known")):
            with self.subTest(url=url):
                self.assert_fails(code, f"{re.escape(url)}: {why}", url)

    @posix_only  # Windows hands it over in the code page of its user
    def test_a_host_that_is_not_in_ascii(self):
        url = "http://m\u00fcnchen.example/"
        self.assert_fails(3, f"{url}: the host has a character that no host has", url)


if __name__ == "__main__":
    unittest.main()
