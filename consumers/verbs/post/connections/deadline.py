"""Connections with a deadline for the whole call, even if the server sends slowly.

httpx2 limits each wait separately, so a server that sends one octet per second keeps a call open forever.  Here each
wait is limited to the remaining time of the call; each thread sets the deadline of its own call.
"""

from __future__ import annotations

import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpcore2
import httpx2
from httpcore2 import SOCKET_OPTION

from ..urls import host_and_port
from .proxies import login

_LEAVE = 2.0
"""Seconds that a call may still take when the consumer stops."""

_SLICE = 0.2
_CHUNK = 65536


class TimedConnections(httpcore2.NetworkBackend):
    """Opens connections on which every wait respects the deadline of the call."""

    def __init__(self, stopping: threading.Event) -> None:
        """Shorten deadlines once *stopping* is set."""
        self._stopping = stopping
        self._call = threading.local()

    @contextmanager
    def within(self, limit: timedelta) -> Iterator[None]:
        """Limit the calls of this thread inside the block to *limit*."""
        self._call.deadline = time.monotonic() + limit.total_seconds()
        try:
            yield
        finally:
            del self._call.deadline

    def left(self) -> float:
        """Return the remaining seconds of the call; raises TimeoutError if none remain."""
        deadline: float = getattr(self._call, "deadline", 0.0)
        now = time.monotonic()
        if self._stopping.is_set():
            self._call.deadline = deadline = min(deadline, now + _LEAVE)
        if deadline <= now:
            raise TimeoutError("the timeout of the call has passed")
        return deadline - now

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the remaining time is used
        local_address: str | None = None,  # noqa: ARG002 - never passed
        socket_options: Iterable[SOCKET_OPTION] | None = None,  # noqa: ARG002 - as above
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of *host* that answers."""
        with _translated(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            addresses = self._addresses(host, port)
            for at, (family, address) in enumerate(addresses):
                opened = socket.socket(family, socket.SOCK_STREAM)
                try:
                    # Divide the time, so that an address without an answer leaves time for the others.
                    opened.settimeout(self.left() / (len(addresses) - at))
                    opened.connect(address)
                    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    opened.close()
                    if at == len(addresses) - 1:
                        raise
                else:
                    return _TimedConnection(opened, self)
            raise OSError(f"{host} has no address")

    def _addresses(self, host: str, port: int) -> list[tuple[int, Any]]:
        """Return the addresses of *host*, resolved in a separate thread, since the resolver has no timeout."""
        answers: queue.SimpleQueue[list[tuple[int, Any]] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answers.put([(family, address) for family, _, _, _, address in found])
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for the answer
                answers.put(OSError(f"{host} cannot be resolved: {error}"))

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            answer = answers.get(timeout=self.left())
        except queue.Empty:
            raise TimeoutError(f"{host} was not resolved within the timeout") from None
        if isinstance(answer, OSError):
            raise answer
        return answer


class _TimedConnection(httpcore2.NetworkStream):
    """One connection."""

    def __init__(self, opened: socket.socket, connections: TimedConnections) -> None:
        self._socket, self._connections = opened, connections

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the remaining time is used
        with _translated(httpcore2.ReadTimeout, httpcore2.ReadError):
            while True:
                self._socket.settimeout(min(self._connections.left(), _SLICE))
                try:
                    return self._socket.recv(max_bytes)
                except TimeoutError:
                    # A stop may have shortened the remaining time.
                    continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        rest = memoryview(buffer)
        with _translated(httpcore2.WriteTimeout, httpcore2.WriteError):
            while rest:
                self._socket.settimeout(self._connections.left())
                rest = rest[self._socket.send(rest[:_CHUNK]) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - as above
    ) -> httpcore2.NetworkStream:
        try:
            with _translated(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                self._socket.settimeout(self._connections.left())
                return _TimedConnection(
                    ssl_context.wrap_socket(self._socket, server_hostname=server_hostname), self._connections
                )
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore2's
        match info:
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "socket":
                return self._socket
            case "is_readable":
                return self._is_readable()
            case _:
                return None

    def _is_readable(self) -> bool:
        """Return whether an idle connection is readable, which means that it was closed and must not be reused."""
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True


class Transport(httpx2.HTTPTransport):
    """The transport of an httpx2 client."""

    def __init__(self, connections: TimedConnections, context: ssl.SSLContext, proxy: str = "") -> None:
        """Use *connections*, and TLS with *context*, through *proxy* if it is given."""
        super().__init__(verify=context, trust_env=False)
        self._pool.close()
        # httpx2 has no parameter for the network backend, but httpcore2 below it does.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            keepalive_expiry=15.0,
            network_backend=connections,
            proxy=httpcore2.Proxy(f"http://{host_and_port(proxy)}", login(proxy)) if proxy else None,
        )


@contextmanager
def _translated(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Translate socket errors to those of httpcore2."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except (OSError, ValueError) as error:
        raise failed(str(error)) from error
