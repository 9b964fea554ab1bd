"""A TCP proxy that a test puts before a broker, and that then misbehaves on demand."""

import selectors
import socket
import struct
import threading
import urllib.parse
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

_CHUNK = 65536
# With this much unsent one side is not read further, as any network would do.
_HELD = 4 * 1024 * 1024


class Mode(Enum):
    """What the proxy does with what it gets."""

    PASS = "pass"
    STALL = "stall"  # neither direction moves; all arrives later, when it passes again
    STALL_OUT = "stall client to broker"
    STALL_IN = "stall broker to client"
    SWALLOW_IN = "swallow broker to client"  # confirms are lost, publishes arrive
    SWALLOW_OUT = "swallow client to broker"
    BLACK_HOLE = "black hole"  # new connections are accepted, and nothing is ever answered; old ones stall
    REFUSE = "refuse"  # new connections are reset at once; old ones go on


@dataclass(eq=False)
class _End:
    """One side of a connection: its socket, and what is still to be written to it."""

    socket: socket.socket
    outward: bool  # whether what is read here goes to the broker
    peer: "_End | None" = None
    pending: bytearray = field(default_factory=bytearray)
    finished: bool = False  # it sends no more
    shut: bool = False  # it was told that no more comes


class Proxy:
    """Passes every connection on to the broker of a URL, until told otherwise; runs in a thread of its own.

    Changes take hold at once and for all connections.  `passed_in` and `passed_out` count the bytes that reached the
    client and the broker.
    """

    def __init__(self, url: str) -> None:
        """Stand before the broker of *url*; `url` is then the address to give to clients."""
        parts = urllib.parse.urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}").geturl()
        self.connections = 0
        self.passed_in = self.passed_out = 0
        self._swallow_in_from: int | None = None
        self._mode = Mode.PASS
        self._ends: set[_End] = set()
        self._lock = threading.RLock()
        self._poller = selectors.DefaultSelector()
        self._wake_up, self._woken = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.port}", daemon=True)
        self._poller.register(self._listener, selectors.EVENT_READ)
        self._poller.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    @property
    def mode(self) -> Mode:
        """What it does now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._lock:
            self._mode = mode
            self._swallow_in_from = None
            if mode is not Mode.BLACK_HOLE:
                # Nobody ever listened to who came into the black hole: what they said is gone.
                for end in [end for end in self._ends if end.peer is None]:
                    self._forget(end, reset=True)
            self._renew()

    def swallow_in_after(self, count: int) -> None:
        """Pass *count* more bytes to the clients, then swallow all that the broker says: its confirms are lost."""
        with self._lock:
            self._mode = Mode.PASS
            self._swallow_in_from = self.passed_in + count
            self._renew()

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        with self._lock:
            return sum(end.outward for end in self._ends)

    def cut(self) -> None:
        """Close all connections in order (FIN): what was held back is gone."""
        with self._lock:
            self._drop(reset=False)

    def reset(self) -> None:
        """Break all connections at once (RST)."""
        with self._lock:
            self._drop(reset=True)

    def close(self) -> None:
        """End it and all its connections; returns when its thread has ended."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._wake()
        self._thread.join(120)
        self._drop(reset=False)
        self._poller.close()
        for one in (self._listener, self._wake_up, self._woken):
            one.close()

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # Below: the thread's own, under the lock.

    def _run(self) -> None:
        while not self._closing:
            ready = self._poller.select()
            with self._lock:
                for key, events in ready:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._woken:
                        self._woken.recv(_CHUNK)
                    elif key.data in self._ends:
                        self._serve(key.data, events)
                self._renew()

    def _wake(self) -> None:
        self._wake_up.send(b"x")

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        self.connections += 1
        if self._mode is Mode.REFUSE:
            _close(near, reset=True)
            return
        client = _End(near, outward=True)
        near.setblocking(False)
        self._ends.add(client)
        if self._mode is Mode.BLACK_HOLE:
            return
        try:
            far = socket.create_connection(self._target, timeout=30)
        except OSError:
            self._ends.discard(client)
            _close(near, reset=True)
            return
        far.setblocking(False)
        broker = _End(far, outward=False, peer=client)
        client.peer = broker
        self._ends.add(broker)

    def _serve(self, end: _End, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and end.pending:
                sent = end.socket.send(end.pending)
                del end.pending[:sent]
                if end.outward:
                    self.passed_in += sent
                else:
                    self.passed_out += sent
            if events & selectors.EVENT_READ and self._reads(end):
                self._take(end)
        except BlockingIOError:
            return
        except OSError:
            self._forget(end, reset=True)

    def _take(self, end: _End) -> None:
        part = end.socket.recv(_CHUNK)
        if not part:
            end.finished = True
        elif end.peer is not None:
            end.peer.pending += self._let_through(end, part)

    def _let_through(self, end: _End, part: bytes) -> bytes:
        if end.outward:
            return b"" if self._mode is Mode.SWALLOW_OUT else part
        if self._mode is Mode.SWALLOW_IN:
            return b""
        if self._swallow_in_from is None or end.peer is None:
            return part
        waiting = sum(len(one.pending) for one in self._ends if one.outward)
        return part[: max(0, self._swallow_in_from - self.passed_in - waiting)]

    def _reads(self, end: _End) -> bool:
        """Say whether anything is to be read from *end* now."""
        stalled = (Mode.STALL, Mode.BLACK_HOLE, Mode.STALL_OUT if end.outward else Mode.STALL_IN)
        if end.finished or end.peer is None or self._mode in stalled:
            return False
        return len(end.peer.pending) < _HELD

    def _writes(self, end: _End) -> bool:
        stalled = (Mode.STALL, Mode.BLACK_HOLE, Mode.STALL_IN if end.outward else Mode.STALL_OUT)
        return bool(end.pending) and self._mode not in stalled

    def _renew(self) -> None:
        """Ask the kernel for exactly what is wanted now, so that a stalled proxy sleeps."""
        for end in list(self._ends):
            peer = end.peer
            if end not in self._ends:
                continue  # gone with its peer, a moment ago
            if peer is not None and peer.finished and not end.pending and not end.shut:
                end.shut = True
                try:
                    end.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    self._forget(end, reset=True)
                    continue
                if end.finished:
                    self._forget(end, reset=False)
                    continue
            events = (selectors.EVENT_READ if self._reads(end) else 0) | (
                selectors.EVENT_WRITE if self._writes(end) else 0
            )
            self._register(end, events)
        if threading.current_thread() is not self._thread and not self._closing:
            self._wake()

    def _register(self, end: _End, events: int) -> None:
        known = end.socket in self._poller.get_map()
        if not events and known:
            self._poller.unregister(end.socket)
        elif events and known:
            self._poller.modify(end.socket, events, end)
        elif events:
            self._poller.register(end.socket, events, end)

    def _forget(self, end: _End, *, reset: bool) -> None:
        for one in (end, end.peer):
            if one is not None and one in self._ends:
                self._ends.discard(one)
                self._register(one, 0)
                _close(one.socket, reset=reset)

    def _drop(self, *, reset: bool) -> None:
        for end in list(self._ends):
            if end in self._ends:
                self._forget(end, reset=reset)


def _close(one: socket.socket, *, reset: bool) -> None:
    if reset:
        # Linger of zero seconds: the kernel sends RST in place of FIN.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
