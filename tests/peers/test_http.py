# SPDX-License-Identifier: MIT
"""hello_http against curl, Python's http.client, and requests that no good client would send."""

import http.client
import re
import subprocess
import unittest

import support
from support import PATIENCE, PeerTest, TlsFiles, needs_curl, receive_all

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def responses(data):
    """Cuts what was received into responses: (status, fields, body)."""
    found = []
    begin = 0
    while begin < len(data):
        body = data.index(b"\r\n\r\n", begin) + 4
        lines = data[begin:body - 4].decode("ascii").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) [\w ]+", lines[0])[1])
        fields = dict(re.fullmatch("([^:]+): (.*)", line).groups() for line in lines[1:])
        fields = {name.lower(): value for name, value in fields.items()}
        begin = body + int(fields["content-length"])
        assert begin <= len(data), "the body is cut off"
        found.append((status, fields, data[body:begin]))
    return found


class Http:
    """What holds over HTTP and HTTPS."""

    def setUp(self):
        super().setUp()
        self.server = self.start("hello_http", *self.server_flags())

    def ask(self, request):
        """Sends the bytes, and reads the responses until the server closes."""
        sock = self.connect()
        sock.sendall(request)
        return responses(receive_all(sock))

    def statuses(self, request):
        return [status for status, _, _ in self.ask(request)]

    # ---- curl ----

    def curl(self, *arguments):
        done = subprocess.run(["curl", "--silent", "--show-error", "--max-time", str(PATIENCE),
                               *self.curl_flags(), *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=2 * PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @needs_curl
    def test_curl_loads_the_page(self):
        for version in ("--http1.0", "--http1.1"):
            self.assertIn("<h1>Hello, and come in.</h1>", self.curl(version, self.url))

    @needs_curl
    def test_curl_loads_several_pages_over_one_connection(self):
        count = self.curl(*["--write-out", "%{num_connects}\n", *["--output", "/dev/null"] * 5],
                          *[self.url] * 5)
        self.assertEqual(count.split(), ["1", "0", "0", "0", "0"])

    @needs_curl
    def test_curl_asks_for_the_head_only(self):
        answer = self.curl("--head", self.url)
        self.assertRegex(answer, r"^HTTP/1\.1 200 OK\r?\n")
        self.assertRegex(answer, r"(?m)^Content-Type: text/html; charset=utf-8\r?$")
        self.assertNotIn("<html", answer)

    @needs_curl
    def test_curl_sends_a_form(self):
        status = self.curl("--data", "a=b", "--output", "/dev/null",
                           "--write-out", "%{http_code}", self.url)
        self.assertEqual(status, "405")

    # ---- http.client ----

    def test_python_keeps_a_connection_alive(self):
        client = http.client.HTTPConnection("localhost")
        client.sock = self.connect()
        self.addCleanup(client.close)
        for path, status in (("/", 200), ("/?a=b", 200), ("/nothing", 404), ("/", 200)):
            for method in ("GET", "HEAD"):
                client.request(method, path)
                response = client.getresponse()
                body = response.read()
                self.assertEqual(response.status, status)
                self.assertEqual(body == b"", method == "HEAD")
                self.assertGreater(int(response.headers["Content-Length"]), 0)
                self.assertIsNotNone(response.headers["Date"])

    # ---- Keep-alive, by the letter of RFC 9112, section 9.3 ----

    def test_1_1_is_kept_alive_until_it_says_close(self):
        answers = self.ask(GET + GET + LAST + GET)  # after close, nothing is answered
        self.assertEqual([fields["connection"] for _, fields, _ in answers],
                         ["keep-alive", "keep-alive", "close"])

    def test_1_0_is_closed_unless_it_says_keep_alive(self):
        once = b"GET / HTTP/1.0\r\n\r\n"
        keep = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
        self.assertEqual(self.statuses(once + once), [200])
        self.assertEqual(self.statuses(keep + keep + once), [200, 200, 200])

    def test_a_list_of_connection_options(self):
        request = GET.replace(b"\r\n\r\n", b"\r\nCONNECTION: upgrade ,\tClose\r\n\r\n")
        self.assertEqual(self.statuses(request + GET), [200])

    # ---- Pipelining ----

    def test_pipelined_requests_are_answered_in_order(self):
        other = GET.replace(b"GET /", b"GET /x")
        self.assertEqual(self.statuses((GET + other) * 500 + LAST), [200, 404] * 500 + [200])

    def test_a_client_that_pipelines_and_never_reads_loses_nothing(self):
        sock = self.connect()
        unit = GET * 1000
        pump = support.Pump(sock)
        pump.unit = memoryview(unit)
        pump.CHUNK = len(unit)
        sent = pump.fill(100 * len(unit))
        self.assertGreater(sent, 0)

        rest = unit[sent % len(unit):]
        answers = responses(self.finish_pipeline(sock, rest + LAST))
        self.assertEqual(len(answers), (sent + len(rest)) // len(GET) + 1)
        self.assertEqual({status for status, _, _ in answers}, {200})

    def finish_pipeline(self, sock, rest):
        """Sends the rest of a pipeline while reading the answers, then the end."""
        received = []
        sock.setblocking(False)
        deadline = support.Deadline("the pipeline is answered")
        while True:
            deadline.check()
            try:
                while rest:
                    rest = rest[sock.send(rest):]
            except support.Pump.WOULD_BLOCK:
                pass
            try:
                data = sock.recv(1 << 16)
                if not data:
                    return b"".join(received)
                received.append(data)
            except support.Pump.WOULD_BLOCK:
                support.select.select([sock], [sock] if rest else [], [], 1)

    def test_requests_in_one_byte_segments(self):
        sock = self.connect()
        for byte in GET + LAST:
            sock.send(bytes([byte]))
        self.assertEqual([status for status, _, _ in responses(receive_all(sock))], [200, 200])

    # ---- Requests that are refused ----

    def test_what_cannot_be_understood_is_400_and_closed(self):
        for request in (b"nonsense\r\n\r\n",
                        b"GET /\r\n\r\n",
                        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
                        b"GET / HTTP/1.1\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
                        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
                        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
                        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                        b"Content-Length: 2\r\n\r\n"):
            with self.subTest(request=request):
                self.assertEqual(self.statuses(request + GET), [400])

    def test_other_versions_are_505(self):
        self.assertEqual(self.statuses(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n" + GET), [505])

    def test_a_head_that_is_too_long_is_431(self):
        for head in (b"GET /" + b"x" * 10000 + b" HTTP/1.1\r\n",
                     b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000,
                     b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 5000):
            self.assertEqual(self.statuses(head), [431])

    def test_other_methods_are_405_and_say_what_is_allowed(self):
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"BREW"):
            status, fields, _ = self.ask(LAST.replace(b"GET", method))[0]
            self.assertEqual((status, fields["allow"]), (405, "GET, HEAD"))

    # ---- Bodies ----

    def test_a_body_is_skipped_and_the_next_request_answered(self):
        for length in (0, 1, 1000, 65536):
            post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
            self.assertEqual(self.statuses(post + GET[:1] * length + LAST), [405, 200])

    def test_a_body_that_is_too_large_is_413(self):
        for length in (65537, 10**6, 10**40):
            post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
            self.assertEqual(self.statuses(post + b"x" * 100000), [413])

    def test_a_body_of_unknown_length_is_411(self):
        post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        self.assertEqual(self.statuses(post + GET), [411])

    # ---- The target ----

    def test_an_absolute_target_is_as_good_as_a_path(self):
        for target, status in ((b"http://localhost/", 200), (b"http://localhost", 200),
                               (b"https://localhost/x", 404), (b"http://localhost/?q=/", 200)):
            request = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target
            self.assertEqual(self.statuses(request), [status])


class PlainHttpTest(Http, PeerTest):
    """HTTP."""

    def server_flags(self):
        return ()

    def connect(self):
        return self.dial(self.server.address)

    @property
    def url(self):
        return "http://%s:%d/" % self.server.address

    def curl_flags(self):
        return ()


class TlsHttpTest(Http, TlsFiles, PeerTest):
    """HTTPS."""

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def connect(self):
        return self.dial_tls(self.server.address)

    @property
    def url(self):
        return "https://%s:%d/" % self.server.address

    def curl_flags(self):
        return ("--cacert", self.cert)

    def test_alpn_is_http_1_1(self):
        sock = self.dial_tls(self.server.address, alpn=["h2", "http/1.1"])
        self.assertEqual(sock.selected_alpn_protocol(), "http/1.1")


class TimeoutTest(PeerTest):
    """Clients that take too long."""

    def test_clients_that_are_idle_or_slow_are_closed(self):
        server = self.start("hello_http", "--timeout", "1")
        silent = self.dial(server.address)
        slow = self.dial(server.address)
        slow.sendall(GET[:-1])
        kept = self.dial(server.address)
        kept.sendall(GET)
        self.assertEqual(receive_all(silent), b"")
        self.assertEqual(receive_all(slow), b"")
        self.assertEqual(len(responses(receive_all(kept))), 1)

    def test_each_request_has_the_whole_time(self):
        server = self.start("hello_http", "--timeout", "1")
        watch = self.dial(server.address)
        kept = self.dial(server.address)
        # Requests go on until another connection was closed for its idleness.
        watch.setblocking(False)
        deadline = support.Deadline("the idle connection is closed")
        while True:
            deadline.check()
            self.load(kept)
            try:
                self.assertEqual(watch.recv(1), b"")
                break
            except BlockingIOError:
                pass
        self.load(kept)

    def load(self, sock):
        sock.sendall(GET)
        answer = b""
        while not answer.endswith(b"</html>\n"):
            data = sock.recv(65536)
            self.assertTrue(data)
            answer += data

    def test_a_time_limit_that_is_none_is_refused(self):
        for time in ("-1", "nan", "soon"):
            code, sentence = support.run("hello_http", "--timeout", time)
            self.assertEqual(code, 1)
            self.assertTrue(sentence)


if __name__ == "__main__":
    unittest.main()
