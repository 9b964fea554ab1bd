"""The HTTP clients of one webhook: one for each proxy, with connections that several threads share.

Certificates that were renewed are used from the next call on; what is under way ends with the old ones.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from .certificates import Files
from .deadline import TimedConnections, Transport
from .proxies import proxy_for

_MOST = 4
"""Clients that are kept: more come only when the address of the proxy changes."""


@dataclass(eq=False, slots=True)
class _Shared:
    """A client, and how many calls use it now."""

    client: httpx2.Client
    calls: int = 0
    is_old: bool = False


class Clients:
    """Hands out clients; several threads may ask at once."""

    def __init__(self, connections: TimedConnections, files: Files, proxy: str) -> None:
        """Open *connections* with the certificates in *files*, through *proxy*.  Raises Unusable."""
        self._connections, self._files, self._proxy = connections, files, proxy
        self._state, self._context = files.state(), files.context()
        self._lock = threading.Lock()
        self._shared: dict[str, _Shared] = {}

    @contextmanager
    def use(self, url: str) -> Iterator[tuple[httpx2.Client, str]]:
        """Lend the client for *url*, with the address of its proxy, empty if it has none.

        Raises Unusable, Rejected and SecretError.
        """
        proxy = proxy_for(self._proxy, url)
        with self._lock:
            self._renew()
            shared = self._shared.get(proxy)
            if shared is None:
                if len(self._shared) >= _MOST:
                    self._retire()
                shared = self._shared[proxy] = _Shared(_client(self._connections, self._context, proxy))
            shared.calls += 1
        try:
            yield shared.client, proxy
        finally:
            with self._lock:
                shared.calls -= 1
                if shared.is_old and not shared.calls:
                    shared.client.close()

    def close(self) -> None:
        """Close all connections; no call is under way."""
        with self._lock:
            self._retire()

    def _renew(self) -> None:
        state = self._files.state()
        if state != self._state:
            self._context = self._files.context()
            self._state = state
            self._retire()

    def _retire(self) -> None:
        for each in self._shared.values():
            each.is_old = True
            if not each.calls:
                each.client.close()
        self._shared.clear()


def received(client: httpx2.Client, request: httpx2.Request, most: int) -> tuple[httpx2.Response, bytes]:
    """Send *request*; return the response, closed, and its body as it came, until it has more than *most* octets."""
    response, octets = client.send(request, stream=True), b""
    try:
        for chunk in response.iter_raw():
            octets += chunk
            if len(octets) > most:
                break
    finally:
        response.close()
    return response, octets


def _client(connections: TimedConnections, context: ssl.SSLContext, proxy: str) -> httpx2.Client:
    return httpx2.Client(
        transport=Transport(connections, context, proxy),
        timeout=None,  # TimedConnections limits the whole call
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
