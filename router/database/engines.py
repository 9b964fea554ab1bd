"""Engines: SQLite that survives kills and serves several writers, PostgreSQL through psycopg."""

from __future__ import annotations

import json
import select
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from .. import trust
from ..errors import SettingsError
from .server_logins import reference, use_reference
from .time_limits import limited

READS = "clusterbus_reads"
"""The execution option of a transaction that only reads: it does not wait for writers."""

PATIENCE = timedelta(seconds=5)
"""How long to wait for another writer, and for a server that is to be connected to."""

_LIBPQ = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 15000}
"""A connection whose other end is gone is noticed within 20 s, also an idle one; the last is in milliseconds."""

_SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "15s",
}
"""What the server does with a session of ours.

It must soon end a transaction whose client was cut off: its locks hold up all others.
"""

_SET = (
    "SELECT set_config(name, wanted.value, false) FROM json_each_text(%s) AS wanted"
    " JOIN pg_settings ON name = wanted.key WHERE source IN ('default', 'configuration file')"
)
"""Sets only what this server knows, and what neither the URL nor the role nor the database sets."""

_UPGRADE = timedelta(minutes=5)
"""How long to wait for another program that upgrades the tables: longer than an index on a million rows takes."""


def lock(transaction: Connection, number: int) -> None:
    """Hold the PostgreSQL advisory lock *number* until the transaction ends; SQLite allows only one writer anyway."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def engine(
    url: URL, *, setting: str = "the database", pragmas: Sequence[str] = (), isolation: str | None = None
) -> Engine:
    """Return the engine for *url*.  It connects only when it is used.

    On SQLite, *pragmas* apply to each connection in addition to ours, and each transaction without the option READS
    begins as a writer.  On PostgreSQL, transactions have the *isolation* level, or the server's default.
    Raises SettingsError if the driver for PostgreSQL is not installed, the password that the URL of *setting* refers
    to cannot be read, or its certificates and key are not to be trusted.
    """
    if url.get_backend_name() == "postgresql":
        _judge_tls_files(url, setting)
        made = _postgresql(url, {} if isolation is None else {"isolation_level": isolation})
        if name := reference(url):
            use_reference(made, name, setting)
        return made
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


def _judge_tls_files(url: URL, setting: str) -> None:
    files = (url.query.get(name) for name in ("sslrootcert", "sslcert", "sslkey"))
    authority, certificate, key = (each if isinstance(each, str) else None for each in files)
    if found := trust.problem_of_tls_files(authority, certificate, key):
        raise SettingsError(f"{setting}: {found}")


def _postgresql(url: URL, options: dict[str, Any]) -> Engine:
    wanted = {"connect_timeout": int(PATIENCE.total_seconds()), **_LIBPQ}
    unset = {name: value for name, value in wanted.items() if name not in url.query}
    driven = url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
    try:
        made = create_engine(driven, connect_args=unset, **options)
    except ModuleNotFoundError as error:
        raise SettingsError(f"PostgreSQL needs {error.name}: pip install 'clusterbus[postgresql]'") from error

    @event.listens_for(made, "connect")
    def _connected(raw, _record) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the driver's own
        with limited(raw, PATIENCE), raw.cursor() as cursor:
            cursor.execute(_SET, (json.dumps(_SESSION),))
            raw.commit()

    @event.listens_for(made, "checkout")
    def _checked(raw, _record, _proxy) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as above
        # A connection has nothing to say while nobody asks, except that the server has closed it.
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        if poll.poll(0):
            raise DisconnectionError

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
            if engine.dialect.name == "postgresql":
                wait = _UPGRADE // timedelta(milliseconds=1)
                connection.execute(text(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {wait}"))
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
