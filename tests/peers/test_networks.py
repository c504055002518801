# SPDX-License-Identifier: MIT
"""The programs of docs/networks.md in a network that changes: a namespace that ip(8) makes what the
test wants. What ip itself lists is what the library has to list.
"""

import json
import os
import shutil
import subprocess
import unittest

import support
from support import PATIENCE, Deadline, Lines, linux_only

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
ODD_NAME = 'odd"$`é'
needs_ip = unittest.skipUnless(shutil.which("ip") and shutil.which("unshare") and
                               shutil.which("nsenter"), "there is no ip, unshare or nsenter")


def setUpModule():
    support.BIN = os.environ["PORTICO_DOCUMENTATION"]


class Namespace:
    """A network of its own, for as long as a process in it lives."""

    def __init__(self):
        users = [] if ROOT else ["--user", "--map-root-user"]
        self.holder = subprocess.Popen(["unshare", "--net", *users, "cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.holder.stdin.write("there\n")
        try:
            self.holder.stdin.flush()
        except BrokenPipeError:
            pass
        there = self.holder.stdout.readline() == "there\n"
        self.why = None if there else self.holder.stderr.read()

    def inside(self, command):
        users = [] if ROOT else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.holder.pid), "--net", *users, "--", *command]

    def run(self, *command, **options):
        return subprocess.run(self.inside(command), check=True, capture_output=True,
                              timeout=PATIENCE, **options).stdout

    def ip(self, *lines):
        self.run("ip", "-batch", "-", input="\n".join(lines).encode())

    def listed(self):
        """What ip lists, as the program prints it: by the number of each interface."""
        listed = {}
        for each in json.loads(self.run("ip", "-json", "addr")):
            flags = each["flags"]
            traits = [trait for trait, there in [
                ("up", "UP" in flags and "NO-CARRIER" not in flags),
                ("multicast", "MULTICAST" in flags),
                ("loopback", "LOOPBACK" in flags)] if there]
            name = each["ifname"]
            lines = [f"{each['ifindex']}: {' '.join([name, *traits])}"]
            for address in each["addr_info"]:
                scope = f"%{name}" if address["scope"] == "link" else ""
                lines.append(f"    {address['local']}{scope}/{address['prefixlen']}")
            listed[each["ifindex"]] = lines
        return listed

    def end(self):
        self.holder.stdin.close()
        self.holder.wait(PATIENCE)
        self.holder.stdout.close()
        self.holder.stderr.close()


class NetworkTest(unittest.TestCase):
    def setUp(self):
        try:
            support.program("networks_the_interfaces_of_this_machine")
        except FileNotFoundError:
            self.skipTest("the programs of docs/networks.md were not built")
        self.network = Namespace()
        self.addCleanup(self.network.end)
        if self.network.why is not None:
            self.skipTest(f"no network namespace: {self.network.why.strip()}")


@linux_only
@needs_ip
class Interfaces(NetworkTest):
    def printed(self):
        """The same of the program."""
        command = support.program("networks_the_interfaces_of_this_machine")
        printed, number = {}, None
        for line in self.network.run(*command).decode().splitlines():
            if not line.startswith(" "):
                number = int(line.split(":")[0])
                printed[number] = []
            printed[number].append(line)
        return printed

    def assert_the_same(self):
        """Links come up by themselves: asks ip before and after, until it says the same."""
        deadline = Deadline("ip says the same twice")
        while True:
            before = self.network.listed()
            printed = self.printed()
            if self.network.listed() == before:
                break
            deadline.check()
        self.assertEqual(printed, before)

    def test_a_machine_without_a_network(self):
        self.assert_the_same()

    def test_up_and_down_with_and_without_a_link(self):
        self.network.ip("link set lo up",
                        "link add portico0 type veth peer name portico1",
                        "link set portico0 up",
                        "link add portico2 type veth peer name portico3",
                        "link set portico2 up",
                        "link set portico3 up",
                        "link set portico3 multicast off")
        self.assert_the_same()

    def test_an_odd_name_and_no_hardware_address(self):
        self.network.ip("link set lo up")
        self.network.run("ip", "tuntap", "add", "mode", "tun", "name", ODD_NAME)
        self.network.run("ip", "addr", "add", "192.0.2.1", "peer", "192.0.2.2/31", "dev", ODD_NAME)
        self.network.run("ip", "link", "set", ODD_NAME, "up")
        self.assert_the_same()

    def test_many_addresses_of_all_kinds(self):
        lines = ["link set lo up", "link add portico0 type veth peer name portico1",
                 "link set portico0 up", "link set portico1 up",
                 "addr add 192.0.2.1/24 dev portico0",
                 "addr add 192.0.2.2/32 dev portico0 label portico0:office",
                 "addr add 192.0.2.3/0 dev portico1",
                 "addr add 192.0.2.4 peer 198.51.100.1/30 dev portico1"]
        lines += [f"addr add 10.0.{i // 256}.{i % 256}/{8 + i % 25} dev lo" for i in range(1, 400)]
        if os.path.exists("/proc/net/if_inet6"):
            lines += ["addr add fe80::1234/64 dev portico0 nodad",
                      "addr add fe80::1234/64 dev portico1 nodad"]
            lines += [f"addr add 2001:db8::{i:x}/{i % 129} dev portico0 nodad"
                      for i in range(1, 400)]
        self.network.ip(*lines)
        self.assert_the_same()


@linux_only
@needs_ip
class StayingConnected(NetworkTest):
    def begin(self, command):
        process = subprocess.Popen(self.network.inside(command), stdout=subprocess.PIPE, text=True)
        lines = Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        return lines

    def test_what_the_page_says(self):
        self.network.ip("link set lo up", "addr add 192.0.2.1/32 dev lo")
        examples = os.environ["PORTICO_BIN"]
        server = self.begin([os.path.join(examples, "echo_server"), "--host", "0.0.0.0",
                             "--port", "0"])
        port = server.find(r"listening on .*:(\d+)$")[1]
        self.network.ip("addr del 192.0.2.1/32 dev lo")

        client = self.begin([*support.program("networks_staying_connected"), "192.0.2.1", port])
        client.find("no connection: .*192.0.2.1")
        self.network.ip("addr add 192.0.2.1/32 dev lo")
        client.find("the network has changed")
        client.find("trying again at once")
        client.find("connected$")
        self.network.ip("addr del 192.0.2.1/32 dev lo")
        client.find("the connection is dead, its address has gone: 192.0.2.1")
        client.find("connection lost: given up")
        self.network.ip("addr add 192.0.2.1/32 dev lo")
        client.find("trying again at once")
        client.find("connected$")


if __name__ == "__main__":
    unittest.main()
