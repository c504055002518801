# SPDX-License-Identifier: MIT
"""The echo server against good and bad peers, the same ones with and without TLS.

Behaviour is written once, in Echo; PlainEcho and TlsEcho say how one connects. In every test a
good connection is open from the beginning, and must still echo at the end: no peer, however bad,
disturbs another one.
"""

import socket
import ssl
import threading
import unittest

import support
from support import PATIENCE, PeerTest, Pump, TlsFiles, pattern, receive, receive_all, reset

MEBI = 1 << 20


class Echo:
    """What holds for plain and for TLS connections alike."""

    flags = ()

    def setUp(self):
        super().setUp()
        self.server = self.start("echo_server", *self.server_flags())
        self.good = self.connect()
        self.assert_echoes(self.good)

    def tearDown(self):
        self.assert_echoes(self.good)
        super().tearDown()

    # ---- Good peers ----

    def test_a_message_comes_back(self):
        sock = self.connect()
        for message in (b"hello", b"\0", b"x" * 1000, bytes(range(256))):
            self.assert_echoes(sock, message)

    def test_eight_mebibytes_come_back_whole(self):
        Pump(self.connect()).finish(8 * MEBI)

    def test_several_connections_transfer_side_by_side(self):
        pumps = [Pump(self.connect()) for _ in range(8)]
        threads = [threading.Thread(target=pump.finish, args=(MEBI,)) for pump in pumps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual([pump.received for pump in pumps], [MEBI] * 8)

    def test_connections_one_after_the_other(self):
        for i in range(200):
            with self.connect() as sock:
                self.assert_echoes(sock, b"number %d" % i)

    # ---- Peers that end in a bad way ----

    def test_a_reset_after_any_number_of_bytes_disturbs_nobody(self):
        for length in [*range(0, 20), 1000, 16384, 16385, 70000, 300000]:
            sock = self.connect()
            sock.sendall(b"x" * length)
            reset(sock)
        self.assert_echoes(self.connect())

    def test_a_reset_in_the_middle_of_the_answer_disturbs_nobody(self):
        for length in (1, 5, 1000, 100000):
            sock = self.connect()
            sock.sendall(pattern(200000))
            receive(sock, length)
            reset(sock)
        self.assert_echoes(self.connect())

    def test_port_scanners_disturb_nobody(self):
        for _ in range(100):
            socket.create_connection(self.server.address, PATIENCE).close()
            reset(socket.create_connection(self.server.address, PATIENCE))
        self.assert_echoes(self.connect())

    # ---- Peers that do not read ----

    def test_a_peer_that_never_reads_costs_bounded_memory_and_loses_nothing(self):
        # TCP's own buffers hold some megabytes; 128 MiB would not fit without flow control.
        limit = 128 * MEBI
        pump = Pump(self.connect())
        before = self.memory()
        self.assertLess(pump.fill(limit), limit)
        self.assertLess(self.memory() - before, 32 * MEBI)
        self.assert_echoes(self.good)

        # Now it reads: everything comes, in order, and the connection is as good as ever.
        pump.finish()
        self.assert_echoes(pump.sock)

    def test_peers_that_never_read_can_vanish(self):
        for vanish in (reset, socket.socket.close, reset, socket.socket.close):
            sock = self.connect()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            Pump(sock).fill(4 * MEBI)
            self.assert_echoes(self.good)
            vanish(sock)

    def memory(self):
        """0 where the system does not tell: the test then still shows that nothing is lost."""
        return self.server.memory() if support.ON_LINUX else 0


class PlainEchoTest(Echo, PeerTest):
    """Plain TCP."""

    def server_flags(self):
        return ()

    def connect(self):
        return self.dial(self.server.address)

    def test_one_byte_segments_come_back(self):
        sock = self.connect()
        data = pattern(500)
        for i in range(len(data)):
            sock.send(data[i:i + 1])
        self.assertEqual(receive(sock, len(data)), data)

    def test_after_the_peers_half_close_everything_still_comes_back(self):
        for length in (0, 1, 100000, 4 * MEBI):
            sock = self.connect()
            data = pattern(length)

            def send():
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            echo = receive_all(sock)
            sender.join(PATIENCE)
            self.assertTrue(echo == data, length)


class RawTls:
    """A TLS client whose records pass through our hands: `wire` is what should be sent next."""

    def __init__(self, context, sock):
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sent = 0
        self.limit = None
        self.segment = 1 << 20

    def flush(self):
        """Sends what TLS wants to send, in segments; at `limit` bytes in all, no more."""
        wire = self.outgoing.read()
        if self.limit is not None:
            wire = wire[:max(0, self.limit - self.sent)]
        for i in range(0, len(wire), self.segment):
            self.sock.sendall(wire[i:i + self.segment])
        self.sent += len(wire)

    def step(self, call, *arguments):
        """Runs one operation of the TLS object to its end."""
        while True:
            try:
                result = call(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                if self.limit is not None and self.sent >= self.limit:
                    raise EOFError("the limit is reached") from None
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def handshake(self):
        self.step(self.tls.do_handshake)

    def write(self, data):
        self.step(self.tls.write, data)

    def read(self, length):
        data = b""
        while len(data) < length:
            part = self.step(self.tls.read, length - len(data))
            if not part:
                break
            data += part
        return data

    def records(self, data):
        """The records of `data`, without sending them."""
        self.tls.write(data)
        return self.outgoing.read()

    def close_notify(self):
        """The records of a close_notify, without sending them."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


class TlsEcho(Echo, TlsFiles):
    """What holds for each version of TLS."""

    version = None

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def connect(self):
        return self.dial_tls(self.server.address, version=self.version)

    def connect_raw(self, **options):
        context = self.client_context(version=self.version, **options)
        return RawTls(context, self.dial(self.server.address))

    # ---- Good peers ----

    def test_the_version_is_the_one_asked_for(self):
        names = {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}
        self.assertEqual(self.connect().version(), names[self.version])

    def test_one_byte_segments_come_back(self):
        raw = self.connect_raw()
        raw.segment = 1
        raw.handshake()
        raw.write(b"in very small pieces")
        self.assertEqual(raw.read(20), b"in very small pieces")

    def test_close_notify_is_answered_by_close_notify(self):
        sock = self.connect()
        self.assert_echoes(sock)
        plain = sock.unwrap()  # raises if the server ends without a close_notify
        self.addCleanup(plain.close)
        self.assertEqual(plain.recv(1), b"")

    def test_what_came_before_close_notify_still_comes_back(self):
        for length in (1, 1000, 60000):
            raw = self.connect_raw()
            raw.handshake()
            data = pattern(length)
            raw.sock.sendall(raw.records(data) + raw.close_notify())
            self.assertEqual(raw.read(length), data)
            raw.step(raw.tls.unwrap)  # raises if no close_notify comes
            self.assertEqual(receive_all(raw.sock), b"")

    def test_without_alpn_on_the_server_none_is_agreed_on(self):
        for offer in (["h2", "http/1.1"], None):
            sock = self.dial_tls(self.server.address, version=self.version, alpn=offer)
            self.assertIsNone(sock.selected_alpn_protocol())
            self.assert_echoes(sock)

    # ---- Peers that end in a bad way ----

    def test_a_stream_without_close_notify_is_closed(self):
        raw = self.connect_raw()
        raw.handshake()
        raw.write(b"and then nothing")
        self.assertEqual(raw.read(16), b"and then nothing")
        raw.sock.shutdown(socket.SHUT_WR)
        receive_all(raw.sock)

    def test_a_record_that_is_cut_off_is_closed(self):
        raw = self.connect_raw()
        raw.handshake()
        raw.sock.sendall(raw.records(b"x" * 1000)[:500])
        raw.sock.shutdown(socket.SHUT_WR)
        receive_all(raw.sock)

    def test_data_after_close_notify_does_no_harm(self):
        for garbage in (b"x", b"\x17\x03\x03\x00\x20" + b"x" * 32, pattern(200000), None):
            raw = self.connect_raw()
            raw.handshake()
            record = raw.records(b"before")
            raw.sock.sendall(record + raw.close_notify() + (garbage or record))
            self.assertEqual(raw.read(6), b"before")
            raw.step(raw.tls.unwrap)  # raises if no close_notify comes
            receive_all(raw.sock)

    def test_a_reset_at_any_byte_of_the_conversation_disturbs_nobody(self):
        whole = self.connect_raw()
        whole.handshake()
        whole.write(b"hello")
        for limit in (*range(0, whole.sent - 60, 7), *range(whole.sent - 60, whole.sent)):
            raw = self.connect_raw()
            raw.limit = limit
            try:
                raw.handshake()
                raw.write(b"hello")
            except EOFError:
                pass
            reset(raw.sock)
        self.assert_echoes(self.connect())

    def test_an_end_at_any_byte_of_the_handshake_disturbs_nobody(self):
        whole = self.connect_raw()
        whole.handshake()
        for limit in range(0, whole.sent, 23):
            raw = self.connect_raw()
            raw.limit = limit
            with self.assertRaises(EOFError):
                raw.handshake()
                raw.step(raw.tls.read, 1)
            raw.sock.shutdown(socket.SHUT_WR)
            receive_all(raw.sock)
        self.assert_echoes(self.connect())

    def test_a_record_that_was_tampered_with_ends_the_connection_with_an_alert(self):
        raw = self.connect_raw()
        raw.handshake()
        raw.write(b"hello")
        self.assertEqual(raw.read(5), b"hello")
        record = bytearray(raw.records(b"hello"))
        record[-1] ^= 1
        raw.sock.sendall(record)
        with self.assertRaisesRegex(ssl.SSLError, "(?i)alert.bad.record.mac"):
            raw.read(5)


class Tls12EchoTest(TlsEcho, PeerTest):
    """TLS 1.2."""

    version = ssl.TLSVersion.TLSv1_2


class Tls13EchoTest(TlsEcho, PeerTest):
    """TLS 1.3."""

    version = ssl.TLSVersion.TLSv1_3


class HandshakeTest(TlsFiles, PeerTest):
    """Peers that never become a TLS connection."""

    def setUp(self):
        super().setUp()
        self.server = self.start("echo_server", "--ssl", self.cert, self.key,
                                 "--ssl-handshake-timeout", "1")
        self.good = self.dial_tls(self.server.address)

    def tearDown(self):
        self.assert_echoes(self.good)
        super().tearDown()

    def hello(self):
        """A ClientHello."""
        raw = RawTls(self.client_context(), None)
        with self.assertRaises(ssl.SSLWantReadError):
            raw.tls.do_handshake()
        return raw.outgoing.read()

    def test_a_handshake_that_never_begins_is_ended(self):
        silent = [self.dial(self.server.address) for _ in range(20)]
        for sock in silent:
            receive_all(sock)

    def test_a_handshake_that_never_ends_is_ended(self):
        hello = self.hello()
        socks = []
        for length in (1, 5, 6, 50, len(hello) - 1, len(hello)):
            sock = self.dial(self.server.address)
            sock.sendall(hello[:length])
            socks.append(sock)
        for sock in socks:
            receive_all(sock)

    def test_a_handshake_that_comes_in_drops_is_ended_too(self):
        # Each byte is progress, and none of them is worth more time.
        sock = self.dial(self.server.address)
        sock.settimeout(0.1)
        deadline = support.Deadline("the server ends a slow handshake")
        drops = iter(self.hello()[:-1])
        ended = False
        while not ended:
            deadline.check()
            try:
                sock.send(bytes([next(drops)]))
                ended = sock.recv(100) == b""
            except socket.timeout:
                pass
            except ConnectionError:
                ended = True

    def test_after_the_handshake_its_time_limit_does_not_count(self):
        silent = self.dial(self.server.address)
        receive_all(silent)  # the limit has passed for this one, and so for the good one
        self.assert_echoes(self.good)

    def test_garbage_is_answered_with_an_alert_and_closed(self):
        garbage = b"\x16\x03\x01\x00\x20" + bytes(range(32, 64))
        sock = self.dial(self.server.address)
        sock.sendall(garbage)
        answer = receive_all(sock)
        self.assertEqual(answer[:2], b"\x15\x03", answer)  # a record of the type alert

    def test_other_protocols_are_closed(self):
        for greeting in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 100,
                         b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff" * 70000, pattern(5000),
                         b"\x80\x2e\x01\x00\x02" + b"\0" * 41):
            sock = self.dial(self.server.address)
            try:
                sock.sendall(greeting)
            except ConnectionError:
                continue
            receive_all(sock)

    def test_a_version_that_is_too_old_is_refused_with_an_alert(self):
        # A ClientHello of TLS 1.1, and of nothing newer: no supported_versions in it.
        body = b"\x03\x02" + b"r" * 32 + b"\0" + b"\x00\x02\x00\x2f" + b"\x01\x00"
        hello = b"\x01" + len(body).to_bytes(3, "big") + body
        sock = self.dial(self.server.address)
        sock.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
        answer = receive_all(sock)
        self.assertEqual((answer[:1], answer[5:7]), (b"\x15", b"\x02\x46"))  # protocol_version

    def test_a_client_that_does_not_trust_us_disturbs_nobody(self):
        for _ in range(20):
            with self.assertRaises(ssl.SSLCertVerificationError):
                ssl.create_default_context().wrap_socket(self.dial(self.server.address),
                                                         server_hostname="localhost")


if __name__ == "__main__":
    unittest.main()
