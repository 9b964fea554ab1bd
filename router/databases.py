"""How our databases are opened: SQLite so that it stands kills and several writers, PostgreSQL through psycopg."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from .errors import SettingsError

READS = "clusterbus_reads"
"""The execution option of a transaction that only looks: it waits for no writer."""

PATIENCE = timedelta(seconds=5)
"""How long another writer is waited for, and a server to answer: less than a heartbeat, since who waits may be the
broker's thread.
"""


class Opened:
    """What has a database open until `close`, or the end of a `with`."""

    _engine: Engine

    def __enter__(self) -> Self:
        """Return itself: it is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def parsed(url: str, setting: str) -> URL:
    """Return *url*, which *setting* gives; raises SettingsError where it is none of ours, without its password."""
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise SettingsError(f"{setting} is no database URL: sqlite:////var/lib/clusterbus/NAME.db is one") from error
    if found.get_backend_name() not in {"sqlite", "postgresql"}:
        shown = found.render_as_string(hide_password=True)
        raise SettingsError(f"{setting} {shown}: there are sqlite:///PATH and postgresql://HOST/NAME")
    return found


def is_there(url: URL) -> bool:
    """Say whether there is anything at *url*: a file may not be made yet, a server is asked."""
    return url.get_backend_name() != "sqlite" or bool(url.database and Path(url.database).exists())


def engine(url: URL, *, pragmas: Sequence[str] = (), isolation: str | None = None) -> Engine:
    """Return what connects to *url*.

    SQLite is set up by *pragmas* besides ours, and every transaction but those that only look begins as a writer's.
    PostgreSQL's have the *isolation* level that is given, else the server's own.
    """
    if url.get_backend_name() == "postgresql":
        patience = {} if "connect_timeout" in url.query else {"connect_timeout": int(PATIENCE.total_seconds())}
        options: dict[str, Any] = {} if isolation is None else {"isolation_level": isolation}
        driven = url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
        return create_engine(driven, pool_pre_ping=True, connect_args=patience, **options)
    made = create_engine(url, connect_args={"timeout": PATIENCE.total_seconds()})

    # sqlite3 begins transactions when it thinks best, which is after the first read: two writers that both read first
    # would then fail each other.  So we begin them ourselves.
    @event.listens_for(made, "connect")
    def _connected(connection, _record) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the driver's own
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(made, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return made
