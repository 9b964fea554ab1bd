"""Engines: SQLite that survives kills and serves several writers, PostgreSQL through psycopg."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from ..errors import SettingsError

READS = "clusterbus_reads"
"""The execution option of a transaction that only reads: it does not wait for writers."""

PATIENCE = timedelta(seconds=5)
"""How long to wait for another writer, and for a server's answer.

It is less than a heartbeat of the broker, because the thread that serves the broker may wait here.
"""

_UPGRADE = timedelta(minutes=5)
"""How long to wait for another program that upgrades the tables: longer than an index on a million rows takes."""


def lock(transaction: Connection, number: int) -> None:
    """Hold the PostgreSQL advisory lock *number* until the transaction ends; SQLite allows only one writer anyway."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def engine(url: URL, *, pragmas: Sequence[str] = (), isolation: str | None = None) -> Engine:
    """Return the engine for *url*.  It connects only when it is used.

    On SQLite, *pragmas* apply to each connection in addition to ours, and each transaction without the option READS
    begins as a writer.  On PostgreSQL, transactions have the *isolation* level, or the server's default.
    Raises SettingsError if the driver for PostgreSQL is not installed.
    """
    if url.get_backend_name() == "postgresql":
        patience = {} if "connect_timeout" in url.query else {"connect_timeout": int(PATIENCE.total_seconds())}
        options: dict[str, Any] = {} if isolation is None else {"isolation_level": isolation}
        driven = url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
        try:
            return create_engine(driven, pool_pre_ping=True, connect_args=patience, **options)
        except ModuleNotFoundError as error:
            raise SettingsError(f"PostgreSQL needs {error.name}: pip install 'clusterbus[postgresql]'") from error
    made = create_engine(url, connect_args={"timeout": PATIENCE.total_seconds()})

    # Python's sqlite3 begins a transaction only before its first write.  Two writers that both read first would then
    # fail each other.  So we begin transactions ourselves.
    @event.listens_for(made, "connect")
    def _connected(connection, _record) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the driver's own
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in ("synchronous=FULL", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(made, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return made


@contextmanager
def for_upgrade(engine: Engine) -> Iterator[Connection]:
    """Give a transaction that writes, and waits as long as another program may need to upgrade the same tables."""
    if engine.dialect.name == "postgresql":
        # A stricter level would hide tables that another program has made while this one waited for the lock.
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.detach()  # the pool must not give the longer wait to others
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={_UPGRADE // timedelta(milliseconds=1)}")
        with connection.begin():
            yield connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn the file to WAL.  Raises OperationalError."""
    until = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            # SQLite itself does not wait here: where several connections turn a new file at once, some fail at once.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)
