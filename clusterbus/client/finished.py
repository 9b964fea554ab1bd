"""Which events are finished, by id: in memory, in a SQLite file, or whatever has `in` and `add`, such as a set."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from router.errors import SettingsError

_REMEMBERED = 20_000
_BUSY = 30.0
_SWEEP_EVERY = 1000


class Finished(Protocol):
    """The ids of events whose blocks are over; a set is one."""

    def __contains__(self, event_id: str, /) -> bool:
        """Say whether the event is finished: then its block is not run again."""

    def add(self, event_id: str, /) -> None:
        """Note that the event is finished, before it is acknowledged."""


class Nothing:
    """Remembers nothing: an event that comes again is handled again."""

    def __contains__(self, event_id: str, /) -> bool:
        """Return False."""
        return False

    def add(self, event_id: str, /) -> None:
        """Do nothing."""


class Memory:
    """The last events that this process has finished; all of them with the limit None."""

    def __init__(self, limit: int | None = _REMEMBERED) -> None:
        """Remember the last *limit* events."""
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, event_id: str, /) -> bool:
        """Say whether the event was finished."""
        return event_id in self._ids

    def add(self, event_id: str, /) -> None:
        """Note that the event is finished."""
        self._ids[event_id] = None
        if self._limit is not None and len(self._ids) > self._limit:
            self._ids.popitem(last=False)


class Store:
    """The finished events in a SQLite file, which survives a kill of the program and a power cut.

    What a block writes to tables of its own through `database` is committed together with the event's id, and undone if
    the block fails: that effect happens exactly once.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: timedelta = timedelta(days=30)) -> None:
        """Open the file at *path*, or make it; ids are forgotten after *keep*.  Raises SettingsError."""
        self._keep, self._added = keep, 0
        try:
            self.database = sqlite3.connect(path, timeout=_BUSY, check_same_thread=False)
            self._prepare()
        except sqlite3.Error as error:
            raise SettingsError(
                f"store {os.fspath(path)}: {error}; give the path of a file that this program may write, in a folder"
                " that exists"
            ) from error

    def _prepare(self) -> None:
        self.database.execute("PRAGMA journal_mode=WAL")
        # Every commit reaches the disk: a power cut must not undo what is acknowledged by then.
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS finished (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID"
        )
        self.database.execute("CREATE INDEX IF NOT EXISTS finished_at ON finished (at)")
        self.database.commit()

    def __contains__(self, event_id: str, /) -> bool:
        """Say whether the event is finished."""
        return self.database.execute("SELECT 1 FROM finished WHERE id = ?", (event_id,)).fetchone() is not None

    def add(self, event_id: str, /) -> None:
        """Commit that the event is finished, with all that its block wrote through `database`."""
        now = time.time()
        if self._added % _SWEEP_EVERY == 0:
            self.database.execute("DELETE FROM finished WHERE at < ?", (now - self._keep.total_seconds(),))
        self._added += 1
        self.database.execute("INSERT OR IGNORE INTO finished VALUES (?, ?)", (event_id, now))
        self.database.commit()

    def undo(self) -> None:
        """Undo what the block wrote through `database` since the last `add`."""
        self.database.rollback()

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def __enter__(self) -> Self:
        """Use it in a `with` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def finished(store: str | os.PathLike[str] | Finished | None, *, dedupe: bool, unbounded: bool) -> Finished:
    """Return where finished events are remembered; in memory all of them if *unbounded*."""
    if not dedupe:
        return Nothing()
    if store is None:
        return Memory(None) if unbounded else Memory()
    return Store(store) if isinstance(store, str | os.PathLike) else store


def undo(store: Finished) -> None:
    """Undo what an unfinished block has written, where *store* can."""
    if isinstance(store, Store):
        # A block that closed its own store has nothing to undo.
        with suppress(sqlite3.ProgrammingError):
            store.undo()
