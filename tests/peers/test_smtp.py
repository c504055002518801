# SPDX-License-Identifier: MIT
"""smtp_server and smtp_client: STARTTLS with each other, with Python's smtplib and a server in
Python, with the tools of OpenSSL and GnuTLS, and with those who put words behind it.
"""

import re
import smtplib
import socket
import ssl
import subprocess
import threading
import unittest

import support
from support import PATIENCE, PeerTest, TlsFiles, needs_openssl, receive_all
from test_tls_peers import needs

LETTER = "Subject: hello\r\n\r\nFirst line\r\n.second, with a dot\r\n..\r\n\r\nlast line\r\n"


class ServerTest(TlsFiles, PeerTest):
    """Clients of others."""

    def setUp(self):
        super().setUp()
        self.server = self.start("smtp_server", "--ssl", self.cert, self.key)

    def connect(self, server=None):
        client = smtplib.SMTP(*(server or self.server).address, timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def start_tls(self, client):
        code, _ = client.starttls(context=self.client_context())
        self.assertEqual(code, 220)

    def assert_letter(self, server, how, recipients=1):
        """The letter is what the server prints next."""
        server.lines.find(f"^---- a letter, {how}, to {recipients}:$")
        printed = []
        while (line := server.lines.next()) != "---- its end":
            printed.append(line)
        self.assertEqual(printed, LETTER.split("\r\n")[:-1])

    def smtplib_context(self, client):
        client._host = "localhost"  # the name that smtplib checks; the address was connected to

    def test_a_letter_by_tls(self):
        client = self.connect()
        self.assertIn(b"STARTTLS", client.ehlo("here")[1])
        self.smtplib_context(client)
        self.start_tls(client)
        self.assertNotIn(b"STARTTLS", client.ehlo("here")[1])
        client.sendmail("a@here", ["b@there", "c@there"], LETTER)
        self.assert_letter(self.server, "by TLS", 2)
        client.sendmail("a@here", "b@there", LETTER)
        self.assert_letter(self.server, "by TLS")
        self.assertEqual(client.quit()[0], 221)

    def test_a_letter_in_the_clear_where_that_is_allowed(self):
        client = self.connect()
        client.sendmail("a@here", "b@there", LETTER)
        self.assert_letter(self.server, "in the clear")

        server = self.start("smtp_server", "--ssl", self.cert, self.key, "--require-tls")
        client = self.connect(server)
        with self.assertRaises(smtplib.SMTPSenderRefused) as refusal:
            client.sendmail("a@here", "b@there", LETTER)
        self.assertEqual(refusal.exception.smtp_code, 530)
        self.smtplib_context(client)
        self.start_tls(client)
        client.sendmail("a@here", "b@there", LETTER)
        self.assert_letter(server, "by TLS")

    def test_without_a_certificate_there_is_no_starttls(self):
        server = self.start("smtp_server")
        client = self.connect(server)
        self.assertNotIn(b"STARTTLS", client.ehlo("here")[1])
        self.assertEqual(client.docmd("STARTTLS")[0], 502)
        client.sendmail("a@here", "b@there", LETTER)
        self.assert_letter(server, "in the clear")

    def test_what_was_said_before_tls_counts_no_more(self):
        client = self.connect()
        client.ehlo("here")
        self.assertEqual(client.docmd("MAIL FROM:<a@here>")[0], 250)
        self.assertEqual(client.docmd("RCPT TO:<b@there>")[0], 250)
        self.smtplib_context(client)
        self.start_tls(client)
        for command in ("DATA", "RCPT TO:<b@there>", "MAIL FROM:<a@here>"):
            self.assertEqual(client.docmd(command)[0], 503)
        self.assertEqual(client.docmd("STARTTLS")[0], 502)

    # ---- What must not be taken for words inside of TLS ----

    def speak(self, *parts):
        """Says it in the clear, each part when the one before was answered: the last answer."""
        sock = self.dial(self.server.address)
        answers = sock.makefile("rb")
        self.addCleanup(answers.close)
        self.assertTrue(answers.readline().startswith(b"220 "))
        for part in parts[:-1]:
            sock.sendall(part)
            answers.readline()
        sock.sendall(parts[-1])
        return answers.read()

    def test_words_behind_starttls_are_refused(self):
        for behind in (b"EHLO evil\r\n", b"E", b"\x16\x03\x01"):
            self.assertEqual(self.speak(b"HELO here\r\n", b"STARTTLS\r\n" + behind),
                             b"554 nothing may follow STARTTLS before the answer\r\n")

    def test_words_in_the_place_of_a_handshake_are_no_words(self):
        answer = self.speak(b"HELO here\r\n", b"STARTTLS\r\n", b"MAIL FROM:<evil>\r\n")
        self.assertNotIn(b"250", answer)
        self.test_a_letter_by_tls()  # and the server goes on
        self.server.says("^smtp_server: STARTTLS: ")

    # ---- Lines ----

    def test_lines_that_are_none(self):
        for line in (b"HELO here\n", b"HELO\rhere\r\n", b"HELO \0here\r\n"):
            self.assertEqual(self.speak(line), b"500 lines end in CR LF\r\n")
        self.assertEqual(self.speak(b"HELO " + b"x" * 1000), b"500 the line is too long\r\n")

    def test_a_dot_between_other_line_ends_ends_no_letter(self):
        answer = self.speak(b"HELO here\r\n", b"MAIL FROM:<a>\r\n", b"RCPT TO:<b>\r\n", b"DATA\r\n",
                            b"text\n.\r\nMAIL FROM:<smuggled>\r\n")
        self.assertEqual(answer, b"500 lines end in CR LF\r\n")

    # ---- Tools ----

    def say_quit(self, *command):
        """Says QUIT, whose line end the tool turns into CR LF: what it printed."""
        done = subprocess.run(command, input=b"QUIT\n", capture_output=True, timeout=PATIENCE,
                              check=False)
        return done.stdout.decode(errors="replace")

    @needs_openssl
    def test_openssl_s_client(self):
        for version in ("-tls1_2", "-tls1_3"):
            said = self.say_quit("openssl", "s_client", "-starttls", "smtp", version, "-connect",
                                 "%s:%d" % self.server.address, "-CAfile", self.cert,
                                 "-verify_return_error", "-crlf", "-ign_eof")
            self.assertIn("Verify return code: 0 (ok)", said)
            self.assertIn("221 goodbye", said)

    @needs("gnutls-cli")
    def test_gnutls_cli(self):
        said = self.say_quit("gnutls-cli", "--starttls-proto=smtp", "--port",
                             str(self.server.port), "--x509cafile", self.cert, "--crlf",
                             "localhost")
        self.assertIn("- Status: The certificate is trusted.", said)


class Script:
    """A server that says what a test has written, on one connection: a text is sent, a compiled
    regular expression is what the next line must match, a function is given the script.
    """

    def __init__(self, test, *steps, host="localhost"):
        self.test = test
        self.steps = steps
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.error = None
        self.rest = b""
        self.listener = socket.create_server((host, 0))
        self.listener.settimeout(PATIENCE)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        test.addCleanup(self.listener.close)

    def _run(self):
        try:
            self.sock, _ = self.listener.accept()
            self.sock.settimeout(PATIENCE)
            self.file = self.sock.makefile("rb")
            for step in self.steps:
                self._do(step)
            self.rest = receive_all(self.sock)
        except (OSError, AssertionError) as error:
            self.error = error

    def _do(self, step):
        if callable(step):
            step(self)
        elif isinstance(step, str):
            self.sock.sendall(step.encode())
        else:
            line = self.file.readline().decode()
            self.test.assertRegex(line, step)

    def start_tls(self):
        self.file.close()
        self.sock = self.context.wrap_socket(self.sock, server_side=True)
        self.file = self.sock.makefile("rb")

    def finish(self):
        self.thread.join(PATIENCE)
        self.file.close()
        self.sock.close()
        if self.error is not None:
            raise self.error


def expect(line):
    return re.compile(rf"^{line}\r\n$")


class ClientTest(TlsFiles, PeerTest):
    """smtp_client."""

    OFFER = (expect("EHLO localhost"), "250-here\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
             expect("STARTTLS"))

    def send(self, port, *flags, host="localhost"):
        """(exit code, what it says on stderr)"""
        done = subprocess.run(
            support.program("smtp_client") + ["--host", host, "--port", str(port), "--from",
                                              "a@here", "--to", "b@there", *flags],
            input=LETTER.replace("\r\n", "\n").encode(), capture_output=True, timeout=PATIENCE,
            check=False)
        return done.returncode, done.stderr.decode().replace("\r\n", "\n")

    def serve(self, *steps, **options):
        script = Script(self, *steps, **options)
        script.context.load_cert_chain(self.cert, self.key)
        return script

    def letter(self):
        """From the sender to the end."""
        return (expect("MAIL FROM:<a@here>"), "250 ok\r\n", expect("RCPT TO:<b@there>"),
                "250 ok\r\n", expect("DATA"), "354 go on\r\n",
                *(expect(re.escape(("." if line.startswith(".") else "") + line))
                  for line in LETTER.split("\r\n")[:-1]),
                expect(r"\."), "250 taken\r\n", expect("QUIT"), "221 goodbye\r\n")

    def test_a_letter_by_tls(self):
        script = self.serve("220 here\r\n", *self.OFFER, "220 ready\r\n", Script.start_tls,
                            expect("EHLO localhost"), "250-here\r\n250 8BITMIME\r\n",
                            *self.letter())
        self.assertEqual(self.send(script.port, "--cacert", self.cert), (0, ""))
        script.finish()

    def test_a_letter_from_our_client_to_our_server(self):
        server = self.start("smtp_server", "--ssl", self.cert, self.key, "--require-tls")
        self.assertEqual(self.send(server.port, "--to", "c@there", "--cacert", self.cert), (0, ""))
        ServerTest.assert_letter(self, server, "by TLS", 2)

    def test_a_server_without_starttls(self):
        steps = ("220-one\r\n220 two\r\n", expect("EHLO localhost"), "250 here\r\n")
        script = self.serve(*steps)
        code, said = self.send(script.port)
        self.assertEqual(code, 1)
        self.assertRegex(said, "^smtp_client: the server has no STARTTLS, .*--plain")
        script.finish()
        self.assertEqual(script.rest, b"")  # it was not told a word

        script = self.serve(*steps, *self.letter())
        self.assertEqual(self.send(script.port, "--plain"), (0, ""))
        script.finish()

    def test_words_behind_ready_are_refused(self):
        for behind in ("250 here\r\n", "2"):
            script = self.serve("220 here\r\n", *self.OFFER, "220 ready\r\n" + behind)
            self.assertEqual(self.send(script.port), (1, "smtp_client: the server, or somebody on "
                                                      "the way, has said more than that TLS may "
                                                      "begin\n"))
            script.finish()
            self.assertEqual(script.rest, b"")

    def test_a_server_that_does_not_prove_who_it_is(self):
        for flags, host in (((), "localhost"), (("--cacert", self.cert), "127.0.0.2")):
            script = self.serve("220 here\r\n", *self.OFFER, "220 ready\r\n", Script.start_tls,
                                host=host)
            code, said = self.send(script.port, *flags, host=host)
            self.assertEqual(code, 1)
            self.assertRegex(said, "^smtp_client: .*certificate")
            with self.assertRaises(ssl.SSLError):
                script.finish()

    def test_a_server_that_refuses(self):
        for steps, answer in (
                (("554 go away\r\n",), "554 go away"),
                (("220 here\r\n", *self.OFFER, "454 not now\r\n"), "454 not now")):
            script = self.serve(*steps)
            self.assertEqual(self.send(script.port),
                             (1, f"smtp_client: the server answers: {answer}\n"))
            script.finish()

    def test_what_is_no_server_of_mail(self):
        for words in ("HTTP/1.1 400 Bad Request\r\n", "22\r\n", "220\x1b here\r\n", "x" * 2000):
            script = self.serve(words)
            self.assertEqual(self.send(script.port),
                             (1, "smtp_client: that is no server of mail\n"))
            script.finish()

    def test_a_server_that_says_nothing(self):
        script = self.serve()
        self.assertEqual(self.send(script.port, "--timeout", "0.3"),
                         (1, "smtp_client: it takes too long\n"))
        script.finish()
        script = self.serve("220 here\r\n", *self.OFFER, "220 ready\r\n")
        self.assertEqual(self.send(script.port, "--timeout", "0.5"),
                         (1, "smtp_client: it takes too long\n"))
        script.finish()


class CommandLineTest(unittest.TestCase):
    def test_mistakes(self):
        from_to = ("--from", "a@here", "--to", "b@there")
        for arguments, sentence in (
                ((), "--from is missing"),
                (("--from", "a@here"), "--to is missing"),
                (("--from", "a@here>\r\nDATA"), "--from needs an address"),
                (("--from", ""), "--from needs an address"),
                ((*from_to, "--port", "0"), "--port needs a number, .*"),
                ((*from_to, "--fast"), "--fast is unknown"),
                ((*from_to, "--cacert"), "--cacert needs a value")):
            with self.subTest(arguments=arguments):
                code, said = support.run("smtp_client", *arguments)
                self.assertEqual(code, 2)
                self.assertRegex(said.splitlines()[0], f"^smtp_client: {sentence}$")
        code, said = support.run("smtp_server", "--require-tls")
        self.assertEqual(code, 2)
        self.assertIn("--require-tls needs --ssl", said)


if __name__ == "__main__":
    unittest.main()
