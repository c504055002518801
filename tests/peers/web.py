# SPDX-License-Identifier: MIT
"""A web site whose answers are bytes that a test has written, right or wrong ones, over TLS or not.
"""

import socket
import threading

from support import PATIENCE


def answer(body=b"", status="200 OK", *fields, version="1.1"):
    """An answer as it should be."""
    head = [f"HTTP/{version} {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def redirect(location, status="302 Found"):
    return answer(b"not here", status, f"Location: {location}")


class Site:
    """Answers each request, one on each connection, with what `pages` has for its target: bytes, or
    a function that is given the socket. If `pages` is itself such a function it has the
    conversation instead. `requests` are the heads that came.
    """

    def __init__(self, test, pages, context=None, polite=True, instead=None):
        self.pages = pages
        self.context = context
        self.polite = polite  # ends TLS by a close_notify
        self.instead = instead  # what is done with a connection instead
        self.requests = []
        self.names = []  # that TLS clients have asked for
        self.errors = []  # what ended connections, but for the answer
        self.sessions = []  # whether each TLS connection has resumed one
        if context is not None:
            context.sni_callback = lambda tls, name, _: self.names.append(name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        test.addCleanup(self.stop)

    def url(self, path="/", host="127.0.0.1"):
        return f"http{'s' if self.context else ''}://{host}:{self.port}{path}"

    def targets(self):
        return [request.split(" ")[1] for request in self.requests]

    def fields(self, number=-1):
        """The fields of a request's head, by their names in small letters."""
        lines = self.requests[number].split("\r\n")[1:]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def stop(self):
        """Ends the thread, when the conversation that it is in has ended: by one without a word."""
        if self.pages is None:
            return
        self.pages = None
        socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
        self.thread.join(PATIENCE)
        self.listener.close()

    def _serve(self):
        while self.pages is not None:
            sock, _ = self.listener.accept()
            sock.settimeout(PATIENCE)
            with sock:
                try:
                    self._converse(sock)
                except (OSError, EOFError) as error:  # the client has gone, and has its reasons
                    self.errors.append(error)

    def _converse(self, sock):
        if self.instead is not None:
            self.instead(sock)
        elif self.context is not None:
            with self.context.wrap_socket(sock, server_side=True) as tls:
                self.sessions.append(tls.session_reused)
                self._answer(tls)
                if self.polite:
                    tls.unwrap()
        else:
            self._answer(sock)

    def _answer(self, sock):
        if callable(self.pages):
            self.pages(sock)
            return
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)
            if not piece:
                raise EOFError
            head += piece
        request = head.decode("ascii").rstrip("\r\n")
        self.requests.append(request)
        page = self.pages.get(request.split(" ")[1], answer(b"no such page", "404 Not Found"))
        if callable(page):
            page(sock)
        else:
            sock.sendall(page)


def byte_by_byte(data):
    """A page that comes in the smallest of pieces."""

    def page(sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            sock.sendall(data[i:i + 1])

    return page
