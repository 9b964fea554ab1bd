"""A small HTTP server for metrics and health checks: one thread, and a bound for everything that a client may do.

| a client | we |
|---|---|
| sends its request slowly, or reads its answer slowly | close the connection 10 s after it was opened |
| opens many connections | keep 32, and close the oldest |
| sends a long request, or none | answer 431, or 400 |
| asks again and again | make each page once a second at most, and pause after each round of work |

Whoever reaches the address may read the pages: it belongs to this machine or to a network for monitoring.
"""

from __future__ import annotations

import errno
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from ..errors import SettingsError

log = logging.getLogger(__name__)

_CONNECTIONS, _ACCEPTED = 32, 16
"""Connections at once, and those that are accepted in one round."""

_REQUEST = 8192
_LIMIT = 10.0
_PAUSE = 0.02
"""Seconds after each round, so that no client gets more than a small part of the program's time."""

_REMEMBERED = 1.0
_REQUEST_LINE = re.compile(rb"(GET|HEAD) (/[!-~]{0,200}) HTTP/1\.[01]\r\n")


@dataclass(frozen=True, slots=True)
class Page:
    """What a path shows."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


class _Client:
    """One connection: the request so far, then the rest of the answer."""

    __slots__ = ("answer", "connection", "deadline", "request")

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection, self.deadline = connection, deadline
        self.request, self.answer = b"", memoryview(b"")


class WebServer:
    """Shows pages at one address until it is closed."""

    def __init__(self, setting: str, address: str, make: Callable[[str], Page | None]) -> None:
        """Listen at *address*, `HOST:PORT`, which *setting* has; *make* returns the page of a path, None for no page.

        *make* is called in the thread of the server.  Raises SettingsError where the address cannot be used.
        """
        self._make = make
        self._made: dict[str, tuple[float, Page]] = {}
        self._clients: dict[socket.socket, _Client] = {}
        self._listener = _listening(setting, address)
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens at."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections and stop listening."""
        self._waker.send(b"x")
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            ready = [key.fileobj for key, _ in self._selector.select(self._until_deadline())]
            if self._woken in ready:
                break
            for each in ready:
                if each is self._listener:
                    self._accept()
                elif client := self._clients.get(each):  # type: ignore[call-overload]  # only sockets are registered
                    self._serve(client)
            now = time.monotonic()
            for client in [each for each in self._clients.values() if each.deadline <= now]:
                self._drop(client)
            time.sleep(_PAUSE)
        for client in [*self._clients.values()]:
            self._drop(client)
        for each in (self._selector, self._listener, self._waker, self._woken):
            each.close()

    def _until_deadline(self) -> float | None:
        # The oldest is the first.
        first = next(iter(self._clients.values()), None)
        return None if first is None else max(0.0, first.deadline - time.monotonic())

    def _accept(self) -> None:
        for _ in range(_ACCEPTED):
            try:
                connection, _peer = self._listener.accept()
            except OSError:  # no more, or it is gone already, or there is no descriptor left
                return
            connection.setblocking(False)  # noqa: FBT003 - the socket's own interface
            if len(self._clients) >= _CONNECTIONS:
                self._drop(next(iter(self._clients.values())))
            client = self._clients[connection] = _Client(connection, time.monotonic() + _LIMIT)
            self._selector.register(connection, selectors.EVENT_READ)
            self._serve(client)

    def _serve(self, client: _Client) -> None:
        try:
            if not client.answer:
                received = client.connection.recv(_REQUEST)
                client.request += received
                if b"\r\n\r\n" not in client.request and len(client.request) < _REQUEST and received:
                    return
                client.answer = memoryview(self._answer(client.request))
                self._selector.modify(client.connection, selectors.EVENT_WRITE)
            client.answer = client.answer[client.connection.send(client.answer) :]
        except BlockingIOError:
            return
        except OSError:
            client.answer = memoryview(b"")
        if not client.answer:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection]
        self._selector.unregister(client.connection)
        with suppress(OSError):
            client.connection.shutdown(socket.SHUT_WR)
        client.connection.close()

    def _answer(self, request: bytes) -> bytes:
        found = _REQUEST_LINE.match(request)
        if len(request) >= _REQUEST:
            page = Page(b"the request is too long\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif found:
            page = self._page(found[2].decode().partition("?")[0])
        else:
            page = Page(b"only GET and HEAD of HTTP/1 are answered\n", HTTPStatus.BAD_REQUEST)
        head = (
            f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\nContent-Type: {page.content_type}\r\n"
            f"Content-Length: {len(page.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if found and found[1] == b"HEAD" else page.body)

    def _page(self, path: str) -> Page:
        made, now = self._made.get(path), time.monotonic()
        if made and now - made[0] < _REMEMBERED:
            return made[1]
        try:
            page = self._make(path)
        except Exception:
            log.exception("cannot make a page of metrics", extra={"path": path})
            page = Page(b"an error occurred, see the log\n", HTTPStatus.INTERNAL_SERVER_ERROR)
        if page is None:
            return Page(b"there are /metrics, /healthz and /readyz\n", HTTPStatus.NOT_FOUND)
        self._made[path] = (time.monotonic(), page)
        return page


_WAYS_OUT = {
    errno.EADDRINUSE: "another program listens there; stop it (`ss -ltnp` shows it), or set another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; set one that it has, such as 127.0.0.1",
    errno.EACCES: "ports below 1024 are reserved; set one from 1024 to 65535",
}


def _listening(setting: str, address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # So that a restart need not wait for the end of old connections.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(64)
            listener.setblocking(False)  # noqa: FBT003 - the socket's own interface
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        way_out = _WAYS_OUT.get(number or 0, "set an address of this machine, such as 127.0.0.1:9464")
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise SettingsError(f"{setting}: cannot listen at {address}: {reason}; {way_out}") from error
    return listener
