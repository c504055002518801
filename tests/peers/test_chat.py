# SPDX-License-Identifier: MIT
"""The chat room: who hears what, long lines, and guests who do not listen."""

import re
import unittest

import support
from support import PeerTest, TlsFiles, reset


class Guest:
    """A client of the room, line by line."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")
        self.number = int(re.fullmatch(r"\* welcome, you are guest (\d+)", self.hear())[1])

    def hear(self):
        return self.file.readline().decode().rstrip("\n")

    def say(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def leave(self):
        self.file.close()
        self.sock.close()


class Chat:
    """What holds with and without TLS."""

    def setUp(self):
        super().setUp()
        self.server = self.start("chat", *self.server_flags())

    def enter(self):
        guest = Guest(self.connect())
        self.addCleanup(guest.file.close)
        return guest

    def enter_all(self, count):
        """So many guests, each of whom has heard of all who came later."""
        guests = []
        for _ in range(count):
            guest = self.enter()
            for other in guests:
                self.assertEqual(other.hear(), f"* guest {guest.number} has come")
            guests.append(guest)
        return guests

    def test_everyone_hears_what_the_others_say(self):
        guests = self.enter_all(20)
        for speaker in guests:
            speaker.say(f"my number is {speaker.number}")
            for other in guests:
                if other is not speaker:
                    expected = f"guest {speaker.number}: my number is {speaker.number}"
                    self.assertEqual(other.hear(), expected)

    def test_who_leaves_is_announced_and_who_comes_has_a_new_number(self):
        one, two = self.enter_all(2)
        two.leave()
        self.assertRegex(one.hear(), rf"^\* guest {two.number} has gone")
        three = self.enter()
        self.assertEqual(one.hear(), f"* guest {three.number} has come")
        self.assertNotIn(three.number, (one.number, two.number))

    def test_a_guest_who_is_torn_away_is_announced(self):
        one, two = self.enter_all(2)
        two.file.close()
        reset(two.sock)
        self.assertEqual(one.hear(), f"* guest {two.number} has gone: connection reset by peer")

    def test_lines_in_pieces_and_several_in_one_piece(self):
        one, two = self.enter_all(2)
        for byte in b"bit by bit\r\n":
            one.sock.sendall(bytes([byte]))
        one.sock.sendall(b"first\nsecond\n\n\nthird\n")
        for line in ("bit by bit", "first", "second", "third"):
            self.assertEqual(two.hear(), f"guest {one.number}: {line}")

    def test_control_characters_are_taken_out(self):
        one, two = self.enter_all(2)
        one.say("a\x1b[2Jb\0c\x7fd \u00e9")
        self.assertEqual(two.hear(), f"guest {one.number}: a[2Jbcd \u00e9")

    def test_a_line_of_512_bytes_is_fine_and_a_longer_one_is_not(self):
        one, two = self.enter_all(2)
        one.say("x" * 512)
        self.assertEqual(two.hear(), f"guest {one.number}: " + "x" * 512)
        one.sock.sendall(b"y" * 513)
        self.assertEqual(one.hear(), "* that line was too long")
        self.assertEqual(one.hear(), "")
        one.leave()
        self.assertRegex(two.hear(), rf"^\* guest {one.number} has gone")

    def test_a_flood_without_a_line_end_hears_why_it_has_to_leave(self):
        one, two = self.enter_all(2)
        try:
            one.sock.sendall(b"y" * 1000000)
        except ConnectionError:
            self.skipTest("the connection was gone before all was sent")
        self.assertEqual(one.hear(), "* that line was too long")
        one.leave()
        self.assertRegex(two.hear(), rf"^\* guest {one.number} has gone")

    def test_who_does_not_listen_harms_nobody_and_hears_what_was_missed(self):
        speaker, listener, deaf = self.enter_all(3)
        line = "x" * 500
        count = 0

        # All that the deaf guest is told beyond the buffers of TCP and of the room is dropped.
        for _ in range(200):
            for _ in range(100):
                speaker.say(line)
            for _ in range(100):
                self.assertEqual(listener.hear(), f"guest {speaker.number}: {line}")
            count += 100
        heard, missed = 0, None
        while missed is None:
            text = deaf.hear()
            if text == f"guest {speaker.number}: {line}":
                heard += 1
            else:
                missed = int(re.fullmatch(r"\* you missed (\d+) lines", text)[1])
        self.assertEqual(heard + missed, count)

        speaker.say("hear me now")
        self.assertEqual(deaf.hear(), f"guest {speaker.number}: hear me now")

    @support.needs_signals
    def test_when_the_room_closes_everyone_hears_it(self):
        guests = self.enter_all(5)
        self.server.signal()
        for guest in guests:
            self.assertEqual(guest.hear(), "* the room closes")
            self.assertEqual(guest.hear(), "")
            guest.leave()
        self.assertEqual(self.server.wait(), 0)


class PlainChatTest(Chat, PeerTest):
    """Plain TCP."""

    def server_flags(self):
        return ()

    def connect(self):
        return self.dial(self.server.address)


class TlsChatTest(Chat, TlsFiles, PeerTest):
    """TLS."""

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def connect(self):
        return self.dial_tls(self.server.address)


if __name__ == "__main__":
    unittest.main()
