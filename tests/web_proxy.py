"""A web proxy on loopback: it opens tunnels (CONNECT), forwards plain requests, and asks for a password if told to."""

from __future__ import annotations

import base64
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class WebProxy(socketserver.ThreadingTCPServer):
    """A proxy; *targets* lists what it was asked for, *login* is what it wants, *status* refuses everything."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.targets: list[str] = []
        self.login = ""
        self.status = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is part of the tests."""


class _Session(socketserver.StreamRequestHandler):
    server: WebProxy
    rbufsize = 0  # so that nothing is read ahead that belongs to the server

    def handle(self) -> None:
        head = [self.rfile.readline()]
        while head[-1] not in (b"\r\n", b""):
            head.append(self.rfile.readline())
        method, target, _ = head[0].decode().split()
        self.server.targets.append(f"{method} {target}")
        wanted = f"Basic {base64.b64encode(self.server.login.encode()).decode()}"
        given = [each.split(b":", 1)[1].strip().decode() for each in head if each.lower().startswith(b"proxy-auth")]
        if self.server.status or (self.server.login and given != [wanted]):
            status = self.server.status or "407 Proxy Authentication Required"
            self.wfile.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=20) as server:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                rest = [each for each in head[1:-1] if not each.lower().startswith((b"proxy-", b"connection"))]
                server.sendall(f"{method} {parts.path} HTTP/1.1\r\nConnection: close\r\n".encode())
                server.sendall(b"".join(rest) + b"\r\n")
            self._relay(server)

    def _relay(self, server: socket.socket) -> None:
        while True:
            for each in select.select([self.connection, server], [], [], 20)[0]:
                octets = each.recv(65536)
                if not octets:
                    return
                (server if each is self.connection else self.connection).sendall(octets)


@contextmanager
def web_proxy() -> Iterator[WebProxy]:
    """Yield a proxy that is there."""
    with WebProxy() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(120)
