# SPDX-License-Identifier: MIT
"""cases.py: what is measured: the cases, the programs, and the goals that Portico has set itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    role: str = "server"  # which end of the conversation is measured, or the proxy between
    mode: str = "echo"  # of the load generator
    size: int = 64
    connections: int = 50
    flight: int = 1
    tls: bool = False
    resume: bool = False
    together: bool = False  # client and server on one core
    warmup: int = 2000
    calls: int = 5000  # messages under strace
    instructions: tuple = (2000, 12000)  # messages of the two lives under valgrind; (): not


# A single connection across two cores measures how fast the machine wakes the other one up, and
# nothing else: both sides are on one core then. Every turn of the loop brings one message there, so
# that what a turn costs is not shared.
CASES = [
    Case("echo-1", "64 B, 1 connection", connections=1, together=True),
    Case("echo-50", "64 B, 50 connections"),
    Case("echo-1000", "64 B, 1,000 connections", connections=1000, instructions=()),
    Case("flight", "64 B, 50 connections, 16 in flight", flight=16, instructions=(16000, 96000)),
    Case("echo-16k", "16 KiB, 50 connections", size=16384, calls=2000, instructions=(1000, 4000)),
    Case(
        "stream",
        "streaming, 64 KiB writes, 4 connections",
        mode="stream",
        size=65536,
        connections=4,
        warmup=200,
        calls=1000,
        instructions=(),
    ),
    Case("connect", "connect, 64 B, close", mode="connect", warmup=200, calls=2000,
         instructions=(500, 2500)),
    Case("tls-echo", "TLS, 64 B, 50 connections", tls=True, instructions=(1000, 4000)),
    Case("tls-echo-16k", "TLS, 16 KiB, 50 connections", size=16384, tls=True, calls=2000,
         instructions=(500, 1500)),
    Case(
        "tls-stream",
        "TLS, streaming, 64 KiB writes, 4 connections",
        mode="stream",
        size=65536,
        connections=4,
        tls=True,
        warmup=200,
        calls=1000,
        instructions=(),
    ),
    Case("tls-full", "TLS, full handshake, 64 B, close", mode="connect", connections=16, tls=True,
         warmup=64, calls=300, instructions=(100, 300)),
    Case("tls-resumed", "TLS, resumed handshake, 64 B, close", mode="connect", connections=16,
         tls=True, resume=True, warmup=64, calls=300, instructions=(100, 300)),
    Case("client-echo-1", "client: 64 B, 1 connection", role="client", connections=1,
         together=True),
    Case("client-echo", "client: 64 B, 50 connections", role="client"),
    Case("client-connect", "client: connect, 64 B, close", role="client", mode="connect",
         warmup=200, calls=2000, instructions=(500, 2500)),
    Case("client-tls-echo", "client: TLS, 64 B, 50 connections", role="client", tls=True,
         instructions=(1000, 4000)),
    Case("client-tls-echo-16k", "client: TLS, 16 KiB, 50 connections", role="client", size=16384,
         tls=True, calls=2000, instructions=(500, 1500)),
    Case("client-tls-stream", "client: TLS, 64 KiB, 4 connections", role="client", size=65536,
         connections=4, tls=True, warmup=200, calls=1000, instructions=()),
    Case("client-tls-full", "client: TLS, full handshake, 64 B, close", role="client",
         mode="connect", connections=16, tls=True, warmup=64, calls=300, instructions=(100, 300)),
    Case("client-tls-resumed", "client: TLS, resumed handshake, 64 B, close", role="client",
         mode="connect", connections=16, tls=True, resume=True, warmup=64, calls=300,
         instructions=(100, 300)),
    Case("proxy-echo", "proxy: 64 B, 50 connections", role="proxy"),
    Case(
        "proxy-stream",
        "proxy: streaming, 64 KiB writes, 4 connections",
        role="proxy",
        mode="stream",
        size=65536,
        connections=4,
        warmup=200,
        calls=1000,
        instructions=(),
    ),
]

MEMORY_CASES = [
    Case("idle", "private bytes per idle connection"),
    Case("tls-idle", "private bytes per idle TLS connection", tls=True, calls=2000),
]

# How many connections the server holds while others are accepted and closed.
CROWDS = (100, 1000, 9000)
GROWTH_SIZES = (100, 1000, 10000, 100000, 1000000)

# The limit, to which the others are compared. Nobody has written a proxy by hand here.
BASELINES = {"server": "handwritten", "client": "handwritten", "proxy": "portico"}

# Where each server is: (plain, TLS); None: it cannot. {bench} is the folder of the programs that
# were built, {source} that of this file.
SERVERS = {
    "handwritten": (["{bench}/server_handwritten_epoll"], ["{bench}/server_handwritten_tls"]),
    "portico": (["{bench}/server_portico"], ["{bench}/server_portico"]),
    "libuv": (["{bench}/server_libuv"], None),
    "asio": (["{bench}/server_asio"], ["{bench}/server_asio"]),
    "libevent": (["{bench}/server_libevent"], ["{bench}/server_libevent"]),
    "asyncio": (
        ["/usr/bin/python3", "{source}/servers/asyncio_server.py"],
        ["/usr/bin/python3", "{source}/servers/asyncio_server.py"],
    ),
}

# What the clients and the proxies talk to: plain, and with TLS.
ECHO = ("{bench}/server_handwritten_epoll", "{bench}/server_handwritten_tls")

# As SERVERS.
CLIENTS = {
    "handwritten": (["{bench}/client_handwritten"], ["{bench}/client_handwritten_tls"]),
    "portico": (["{bench}/client_portico"], ["{bench}/client_portico"]),
    "libuv": (["{bench}/client_libuv"], None),
    "asio": (["{bench}/client_asio"], ["{bench}/client_asio_tls"]),
    "libevent": (["{bench}/client_libevent"], ["{bench}/client_libevent"]),
}

# {port} is where a proxy listens, {behind} where the echo server does; {config} is a file with its
# second half. All is at its default, but that each has one thread, and room for 4,096 connections.
NGINX = """
load_module modules/ngx_stream_module.so;
daemon off; master_process off; pid {config}.pid; error_log stderr;
events {{ worker_connections 8192; }}
stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{behind}; }} }}
"""
HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
listen echo
    bind 127.0.0.1:{port}
    server behind 127.0.0.1:{behind}
"""
PROXIES = {
    "portico": (["{bench}/proxy", "--port", "{port}", "--to", "127.0.0.1", "{behind}"], ""),
    "nginx": (
        ["/usr/sbin/nginx", "-c", "{config}", "-p", "/usr/lib/nginx", "-e", "stderr"],
        NGINX,
    ),
    "haproxy": (["/usr/sbin/haproxy", "-db", "-f", "{config}"], HAPROXY),
    "haproxy splice": (
        ["/usr/sbin/haproxy", "-db", "-f", "{config}"],
        HAPROXY + "    option splice-auto\n",
    ),
}

# Portico's goals: what is measured, in which case, and the most that it may be.
GOALS = [
    ("instructions", "echo-1", 250),
    ("instructions", "echo-50", 250),
    ("ratio", "echo-50", 1.03),
    ("ratio", "echo-1000", 1.03),
    ("ratio", "flight", 1.0),
    ("ratio", "echo-16k", 1.0),
    ("ratio", "stream", 1.0),
    ("ratio", "connect", 1.0),
    ("calls", "echo-50", 2.02),
    ("instructions", "connect", 1200),
    ("calls", "connect", 7),
    ("instructions", "tls-echo", 13000),
    ("ratio", "tls-echo", 0.95),
    ("ratio", "tls-echo-16k", 0.97),
    ("ratio", "tls-stream", 0.90),
    ("ratio", "tls-full", 0.98),
    ("ratio", "tls-resumed", 0.95),
    ("ratio", "client-echo-1", 1.03),
    ("ratio", "client-echo", 1.03),
    ("ratio", "client-connect", 1.05),
    ("ratio", "client-tls-echo", 1.0),
    ("ratio", "client-tls-echo-16k", 1.0),
    ("ratio", "client-tls-stream", 1.0),
    ("ratio", "client-tls-full", 1.0),
    ("ratio", "client-tls-resumed", 1.0),
    ("memory", "idle", 400),
    ("memory", "tls-idle", 14700),
]
