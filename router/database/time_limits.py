"""Time limits of transactions: a server that was paused or cut off never answers, and drivers wait for ever.

Limits that the server keeps do not help then.  One thread of the process watches all transactions, and breaks the
connection of one whose time is over: the thread that waits for it gets an error.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine

LIMIT = timedelta(seconds=10)
"""The longest transaction of a program that serves others.

The thread that serves the broker waits for it, and two of them must not take as long as the broker waits for a
heartbeat, which is 30 s.
"""

LIMIT_OF_COMMANDS = timedelta(seconds=30)

_LOOK = 0.2
"""Seconds between two looks of the thread, while there is a transaction."""

_thread = threading.local()


class TooSlow(Exception):
    """The database did not answer in time."""


class Limit:
    """The time limit of one connection's use; *is_over* once the connection was broken for it."""

    def __init__(self, raw: Any, seconds: float, over: Callable[[], None]) -> None:  # noqa: ANN401 - any driver's
        """Break the driver's connection *raw* in *seconds*, and call *over* in another thread."""
        self._raw, self.until, self._over = raw, time.monotonic() + seconds, over
        self.is_over = False

    def end(self) -> None:
        """Break the connection."""
        self.is_over = True
        with suppress(Exception):  # the connection may end by itself at this moment
            if hasattr(self._raw, "interrupt"):
                self._raw.interrupt()  # SQLite: ends a long query, but not a disk that hangs
            else:
                with socket.socket(fileno=os.dup(self._raw.fileno())) as copy:
                    copy.shutdown(socket.SHUT_RDWR)
        self._over()


class _Watch:
    """The thread, which starts with the first transaction."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: set[Limit] = set()
        self._wanted = threading.Event()
        self._is_started = False

    def add(self, limit: Limit) -> None:
        with self._lock:
            self._limits.add(limit)
            if not self._wanted.is_set():
                self._wanted.set()
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._run, name="database time limits", daemon=True).start()

    def remove(self, limit: Limit) -> None:
        # Under the lock: afterwards, the connection may be used for something else.
        with self._lock:
            self._limits.discard(limit)

    def _run(self) -> None:
        while self._wanted.wait():
            time.sleep(_LOOK)
            now = time.monotonic()
            with self._lock:
                over = {each for each in self._limits if each.until <= now}
                self._limits -= over
                for each in over:
                    each.end()
                if not self._limits:
                    self._wanted.clear()


_watch = _Watch()


@contextmanager
def within(limit: timedelta) -> Iterator[None]:
    """Let all transactions that this thread begins in the block take at most *limit*, together."""
    before = getattr(_thread, "budget", None)
    _thread.budget = (time.monotonic() + limit.total_seconds(), limit)
    try:
        yield
    finally:
        _thread.budget = before


@contextmanager
def connected(engine: Engine, limit: timedelta, over: Callable[[], None] = lambda: None) -> Iterator[Connection]:
    """Give a connection of *engine* for at most *limit*, or what is left of that of `within`; call *over* beyond it.

    Raises TooSlow instead of the error that the driver raises then, and what opening a connection raises.
    """
    begun = time.monotonic()
    until, limit = getattr(_thread, "budget", None) or (begun + limit.total_seconds(), limit)
    if until <= begun:
        raise TooSlow(_sentence(limit))
    with engine.connect() as connection:
        left = max(until - time.monotonic(), _LOOK)
        with limited(connection.connection.dbapi_connection, timedelta(seconds=left), over, limit):
            yield connection


@contextmanager
def limited(
    raw: Any,  # noqa: ANN401 - any driver's connection
    left: timedelta,
    over: Callable[[], None] = lambda: None,
    whole: timedelta | None = None,
) -> Iterator[None]:
    """Break the driver's connection *raw* and call *over* if the block lasts longer than *left* (of *whole*).

    Raises TooSlow for whatever error comes of that.
    """
    limit = Limit(raw, left.total_seconds(), over)
    _watch.add(limit)
    try:
        yield
    except Exception as error:
        if limit.is_over:
            raise TooSlow(_sentence(whole or left)) from error
        raise
    finally:
        _watch.remove(limit)


def _sentence(limit: timedelta) -> str:
    return f"no answer within {limit.total_seconds():.0f} s"
