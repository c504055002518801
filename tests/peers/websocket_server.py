# SPDX-License-Identifier: MIT
"""A WebSocket server by the library websockets, run as a process: the interpreter that has the
library need not be the one that runs the tests.

    websocket_server.py [CERT KEY]

Says "listening on 127.0.0.1:PORT". What it does with a connection is said by the path.
"""

import asyncio
import ssl
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def pieces(socket):
    """Each message comes back in fragments, with a ping between it and the next."""
    async for message in socket:
        await socket.send(message[i:i + 7] for i in range(0, len(message), 7))
        await asyncio.wait_for(await socket.ping(), 60)


async def feed(socket):
    """Says five things, and goodbye."""
    for i in range(5):
        await socket.send(f"news {i}" if i != 3 else b"\0" * 1000)


async def large(socket):
    await socket.send("x" * (17 << 20))
    await socket.wait_closed()


async def leave(socket):
    await socket.close(1011, "sorry")


async def serve(socket, path):
    await {"/": echo, "/pieces": pieces, "/feed": feed, "/large": large, "/leave": leave}[path](
        socket)


async def main(files):
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    server = await websockets.serve(serve, "127.0.0.1", 0, ssl=context, max_size=None)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Future()


asyncio.run(main(sys.argv[1:]))
