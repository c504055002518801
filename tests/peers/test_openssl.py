# SPDX-License-Identifier: MIT
"""OpenSSL's own client, openssl s_client, as the peer of the echo server."""

import os
import subprocess
import unittest

import support
from support import PATIENCE, Lines, PeerTest, TlsFiles


class Client:
    """An s_client that runs. Its output, stderr included, is read line by line."""

    def __init__(self, test, *arguments):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", "%s:%d" % test.server.address,
             "-CAfile", test.cert, "-verify_return_error", "-servername", "localhost",
             *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        test.addCleanup(self.end)
        self.lines = Lines(self.process.stdout)

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def leave(self):
        """Ends the input, upon which s_client closes the connection: its exit code."""
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        self.lines.close()


class Conversation(TlsFiles):
    """An echo server, and s_client talking to it."""

    def setUp(self):
        super().setUp()
        self.server = self.start("echo_server", "--ssl", self.cert, self.key)

    def converse(self, *arguments, lines=("hello", "and again")):
        client = Client(self, *arguments)
        for line in lines:
            client.say(line)
            client.lines.find(f"^{line}$")
        return client


class ConversationTest(Conversation, PeerTest):
    """What s_client can do; none of it disturbs another connection."""

    def setUp(self):
        super().setUp()
        self.good = self.dial_tls(self.server.address)

    def tearDown(self):
        self.assert_echoes(self.good)
        super().tearDown()

    def test_a_conversation(self):
        for version in ("-tls1_2", "-tls1_3"):
            client = self.converse(version)
            self.assertEqual(client.leave(), 0)

    def test_what_was_agreed_on(self):
        for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            client = Client(self, "-brief", version)
            client.lines.find("^CONNECTION ESTABLISHED$")
            self.assertEqual(client.lines.find("^Protocol version: (.*)$")[1], name)
            client.lines.find("^Verification: OK$")
            self.assertEqual(client.leave(), 0)

    def test_no_version_is_older_than_1_2(self):
        client = Client(self, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        client.lines.find("(?i)alert protocol version|no protocols available")
        self.assertNotEqual(client.process.wait(PATIENCE), 0)

    def test_every_cipher_suite_of_1_3(self):
        for suite in ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
                      "TLS_AES_128_GCM_SHA256"):
            client = Client(self, "-brief", "-ciphersuites", suite)
            client.lines.find(f"^Ciphersuite: {suite}$")
            client.say("hello")
            client.lines.find("^hello$")
            self.assertEqual(client.leave(), 0)

    def test_sessions_are_resumed(self):
        for version in ("-tls1_2", "-tls1_3"):
            file = os.path.join(self.folder.name, f"session{version}")
            client = self.converse(version, "-sess_out", file)
            self.assertEqual(client.leave(), 0)
            client = Client(self, version, "-sess_in", file)
            client.lines.find("^Reused, TLSv1")
            client.say("hello again")
            client.lines.find("^hello again$")
            self.assertEqual(client.leave(), 0)

    def test_five_reconnections_resume(self):
        client = Client(self, "-tls1_2", "-reconnect")
        client.lines.find("^New, TLSv1.2")
        for _ in range(5):
            client.lines.find("^Reused, TLSv1.2")
        client.say("after all that")
        client.lines.find("^after all that$")
        self.assertEqual(client.leave(), 0)

    def test_key_updates(self):
        client = self.converse("-tls1_3")
        for command in ("k", "K", "K"):  # ours only; ours and a request for the server's
            client.say(command)
            client.lines.find("^KEYUPDATE$")
            client.say("with new keys")
            client.lines.find("^with new keys$")
        self.assertEqual(client.leave(), 0)

    def test_renegotiation_is_refused(self):
        for _ in range(3):
            client = self.converse("-tls1_2")
            client.say("R")
            client.lines.find("^RENEGOTIATING$")
            # Either the client gives up, or it goes on with what was negotiated at first.
            try:
                client.say("no news")
            except BrokenPipeError:
                pass
            client.lines.find("(?i)no.renegotiation|^no news$")
            self.assert_echoes(self.good)
            client.end()

    def test_small_records_and_fragments(self):
        client = self.converse("-max_send_frag", "512", "-split_send_frag", "512",
                               lines=("x" * 4000, "y"))
        self.assertEqual(client.leave(), 0)


class EndTest(Conversation, PeerTest):
    """What s_client makes of the server's end."""

    @support.needs_signals
    def test_the_servers_end_is_a_clean_end(self):
        client = self.converse("-quiet")
        self.server.signal()
        self.assertEqual(client.process.wait(PATIENCE), 0)
        self.assertEqual(self.server.wait(), 0)


if __name__ == "__main__":
    unittest.main()
