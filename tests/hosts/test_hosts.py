# SPDX-License-Identifier: MIT
"""The programs of examples/hosts do with their windows what they say, while the network goes on.

The server sends the second half of its answer once the test has seen what it wanted to see of the
first one: so it is certain what was going on, and nothing depends on time.
"""

import unittest

import display
from display import HostTest, needs_user
from support import free_port


def setUpModule():
    display.set_up_module()


class Tests:
    """What every host does. `name` and `title` are its program's."""

    def test_downloads_what_the_command_line_says(self):
        source = self.start_source()
        program = self.start_program(source.address)
        program.says("half")
        source.send_rest()
        program.says(f"done: {source.done}")
        program.ends()

    def test_downloads_much(self):
        source = self.start_source(lines=500000)
        program = self.start_program(source.address)
        source.send_rest()
        program.says("half")
        program.says(f"done: {source.done}")
        program.ends()

    @needs_user
    def test_downloads_what_the_user_types(self):
        source = self.start_source()
        program = self.start_program()
        self.take_window(self.title)
        empty = self.picture("empty")
        self.write(source.address)
        self.keys("Return")
        program.says("half")
        half = self.picture_other_than(empty, "half")
        source.send_rest()
        program.says(f"done: {source.done}")
        self.picture_other_than(half, "done")

    @needs_user
    def test_cancels_when_the_user_presses_the_button(self):
        source = self.start_source()
        program = self.start_program("--stay", source.address)
        program.says("half")
        self.take_window(self.title)
        self.keys("Tab", "space")
        program.says(f"done: 200: canceled after {len(source.body) // 2} bytes")
        self.picture("canceled")

    def test_says_why_there_is_no_answer(self):
        port = free_port()
        program = self.start_program(f"127.0.0.1:{port}")
        program.says(f"done: connect to 127.0.0.1 port {port}: connection refused")
        program.ends()


class Modal:
    def test_downloads_behind_a_modal_box(self):
        source = self.start_source()
        program = self.start_program("--modal", source.address)
        self.says_in_any_order(program, "modal", "half")
        self.look_at_box("^Modal$", "modal")
        source.send_rest()
        program.says(f"done in modal: {source.done}")
        program.ends()

    def says_in_any_order(self, program, *lines):
        self.assertCountEqual([program.lines.next() for _ in lines], lines)


class Gtk(Tests, HostTest):
    name = "host_gtk"
    title = "Portico in GTK"


class Qt(Tests, Modal, HostTest):
    name = "host_qt"
    title = "Portico in Qt"


class Win32(Tests, Modal, HostTest):
    name = "host_win32"
    title = "Portico in Win32"

    def test_downloads_while_the_window_is_dragged(self):
        source = self.start_source()
        program = self.start_program("--drag", source.address)
        self.says_in_any_order(program, "modal", "half")
        source.send_rest()
        program.says(f"done in modal: {source.done}")
        program.ends()


class Cocoa(Tests, Modal, HostTest):
    name = "host_cocoa"
    title = "Portico in Cocoa"


def load_tests(loader, tests, pattern):
    """Those whose program was built for this system, of which there is one at least."""
    del tests, pattern
    suite = unittest.TestSuite()
    for case in (Gtk, Qt, Win32, Cocoa):
        try:
            display.support.program(case.name)
        except FileNotFoundError:
            continue
        suite.addTests(loader.loadTestsFromTestCase(case))
    if suite.countTestCases() == 0:
        raise FileNotFoundError("PORTICO_BIN has no program of examples/hosts")
    return suite
