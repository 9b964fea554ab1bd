"""Stores a simulated cluster in one SQLite file, with a row for each node, callback, disk and so on.

A change writes only the rows that changed, and a reader that knows an earlier state reads only the rows changed since:
in a cluster of 5,000 nodes, a joining node costs one row.  Readers always see a complete state, never half a change.
Changes by several processes follow one another.  The next process undoes the unfinished change of a killed one.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .cluster_state import (
    CallbackState,
    DiskState,
    FilesetState,
    FormerState,
    NodeState,
    QuotaState,
    SnapshotState,
    State,
)
from .errors import StateUnusable

FILE = "cluster.db"

_EARLIER = "cluster.json"
_PATIENCE = 60.0
_VERSION = 2

# The file need not survive a power failure, so nothing is synced.  It does survive a kill.
_SCHEMA = f"""
CREATE TABLE rows (place INTEGER PRIMARY KEY, part TEXT NOT NULL, key TEXT NOT NULL, value TEXT, revision INTEGER);
CREATE INDEX rows_by_revision ON rows (revision);
CREATE UNIQUE INDEX rows_by_key ON rows (part, key) WHERE value IS NOT NULL;
PRAGMA user_version = {_VERSION};
"""

_CLUSTER = "cluster"
_PARTS: dict[str, TypeAdapter[Any]] = {
    "nodes": TypeAdapter(NodeState),
    "file_systems": TypeAdapter(str | None),
    "callbacks": TypeAdapter(CallbackState),
    "former": TypeAdapter(FormerState),
    "classes": TypeAdapter(tuple[str, ...]),
    "disks": TypeAdapter(DiskState),
    "filesets": TypeAdapter(FilesetState),
    "quotas": TypeAdapter(QuotaState),
    "snapshots": TypeAdapter(SnapshotState),
}

_Known = tuple[int, State]


class Store:
    """The state in a folder; may be used by several threads."""

    def __init__(self, folder: Path) -> None:
        """Use *folder*; nothing is read or written yet."""
        self.folder = folder
        self._known: _Known | None = None
        self._lock = threading.Lock()

    def create(self, state: State) -> None:
        """Create the folder and write the first *state*; raises StateUnusable if it already holds a cluster."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, _transaction(connection):
                if self._has_cluster(connection):
                    raise StateUnusable(f"{self.folder} holds a cluster already: use another folder, or remove it")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                _write(connection, 1, None, state)
        except (OSError, sqlite3.Error) as error:
            raise StateUnusable(f"cannot create a cluster in {self.folder}: {error}") from error

    def read(self) -> State:
        """Return the current state."""
        try:
            with self._opened() as connection, _transaction(connection, "DEFERRED"):
                return self._refreshed(connection)[1]
        except sqlite3.Error as error:
            raise StateUnusable(f"cannot read {self.folder / FILE}: {error}") from error

    def change(self, how: Callable[[State], State]) -> State:
        """Replace the state by the result of *how* and return it; nothing changes if *how* raises."""
        try:
            with self._opened() as connection, _transaction(connection):
                revision, state = self._refreshed(connection)
                changed = how(state)
                if changed is not state:
                    _write(connection, revision + 1, state, changed)
        except sqlite3.Error as error:
            raise StateUnusable(f"cannot change {self.folder / FILE}: {error}") from error
        return changed

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to our file; raises StateUnusable."""
        path = self.folder / FILE
        if not path.exists():
            if (self.folder / _EARLIER).exists():
                raise StateUnusable(
                    f"{self.folder / _EARLIER} is a cluster of version 1, which is no longer supported:"
                    " create a new one"
                )
            raise StateUnusable(f"{self.folder} holds no simulated cluster: create one with `create`")
        with closing(self._connect()) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                raise StateUnusable(f"{path} has version {version}, not {_VERSION}: create a new cluster")
            yield connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / FILE, timeout=_PATIENCE, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def _has_cluster(self, connection: sqlite3.Connection) -> bool:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version != 0 or (self.folder / _EARLIER).exists()

    def _refreshed(self, connection: sqlite3.Connection) -> _Known:
        """Return the state and its revision; only rows that are not known yet are read."""
        with self._lock:
            known = self._known
        revision = 0 if known is None else known[0]
        rows = connection.execute(
            "SELECT part, key, value, revision FROM rows WHERE revision > ? ORDER BY place", (revision,)
        ).fetchall()
        if rows or known is None:
            known = max(each[3] for each in rows) if rows else 0, self._read(rows, known)
            with self._lock:
                if self._known is None or self._known[0] < known[0]:
                    self._known = known
        return known

    def _read(self, rows: list[tuple[str, str, str | None, int]], known: _Known | None) -> State:
        touched = {each[0] for each in rows} & _PARTS.keys()
        parts: dict[str, dict[str, Any]] = {
            name: {} if known is None else dict(getattr(known[1], name)) for name in touched
        }
        cluster: dict[str, Any] = {}
        try:
            for part, key, value, _ in rows:
                if part == _CLUSTER:
                    cluster = _cluster(value or "")
                elif value is None:
                    parts[part].pop(key, None)
                else:
                    parts[part][key] = _PARTS[part].validate_json(value)
            if known is not None:
                return known[1].model_copy(update=cluster | parts)
            # Each row has been validated.  This checks that the row of the cluster exists.
            return State.model_validate({"nodes": {}, "file_systems": {}, **cluster}).model_copy(update=parts)
        except (ValidationError, KeyError) as error:
            raise StateUnusable(f"{self.folder / FILE} is damaged: {_first(error)}; create a new cluster") from error


def _cluster(value: str) -> dict[str, Any]:
    """Return the fields of the state in *value*, without its parts."""
    state = State.model_validate_json(value)
    return {name: getattr(state, name) for name in State.model_fields if name not in _PARTS}


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(each) for each in first['loc'])}: {first['msg']}"


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Run the body in a transaction: all of its changes take effect, or none."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _write(connection: sqlite3.Connection, revision: int, old: State | None, new: State) -> None:
    """Write the differences between *old* and *new*, as *revision*."""
    settings = _settings(new)
    if old is None or _settings(old) != settings:
        _put(connection, revision, _CLUSTER, "", settings, new=old is None)
    for part, adapter in _PARTS.items():
        before: dict[str, Any] = {} if old is None else getattr(old, part)
        after: dict[str, Any] = getattr(new, part)
        if after is before:
            continue
        for key in before.keys() - after.keys():
            _put(connection, revision, part, key, None, new=False)
        for key, value in after.items():
            if key not in before or (value is not before[key] and value != before[key]):
                text = adapter.dump_json(value).decode()
                _put(connection, revision, part, key, text, new=key not in before)


def _settings(state: State) -> str:
    """Return the state without its parts, as JSON."""
    return state.model_copy(update={part: {} for part in _PARTS}).model_dump_json()


def _put(connection: sqlite3.Connection, revision: int, part: str, key: str, value: str | None, *, new: bool) -> None:
    """Write one row; a deleted row stays as a marker for readers that know an earlier state."""
    if new:
        connection.execute(
            "INSERT INTO rows (part, key, value, revision) VALUES (?, ?, ?, ?)", (part, key, value, revision)
        )
    else:
        connection.execute(
            "UPDATE rows SET value = ?, revision = ? WHERE part = ? AND key = ? AND value IS NOT NULL",
            (value, revision, part, key),
        )
