"""The database under the store: opened, brought to its schema, and its errors told in our words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..errors import StoreError
from . import migrations
from .schema import VERSION

log = logging.getLogger(__name__)

_PATIENCE = 5
"""Seconds to wait for another writer: less than a heartbeat, since the broker's thread is waiting too."""

LOCK = 0x636C7573746572
"""The advisory lock of PostgreSQL that writers of the audit and makers of the schema take."""

_READS = "clusterbus_reads"


class Store:
    """One connection pool to the store's database; safe to use from several processes, and from several threads.

    A transaction that was left without an error is on disk.  Raises StoreError, and nothing else, when it can't be
    read or written: what a transaction was to write is then not there.
    """

    def __init__(self, url: str) -> None:
        """Open the store at *url* (`sqlite:///PATH` or `postgresql://...`) and create its tables where they are not."""
        self._url = _parsed(url)
        self._engine = _sqlite(self._url) if self.is_sqlite else _postgresql(self._url)
        try:
            self._open()
        except StoreError:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        """Say whether it is a file of this machine."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def name(self) -> str:
        """Return the URL without a password, for people."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that is written when the block ends, or not at all."""
        with self._translated(), self._engine.begin() as transaction:
            yield transaction

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction for looking only: it waits for no writer."""
        with self._translated(), self._engine.connect().execution_options(**{_READS: True}) as transaction:
            yield transaction

    def __enter__(self) -> Self:
        """Return itself: it is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"store {self.name}: {cause}") from error

    def _open(self) -> None:
        # A store that is there is only looked at: its disk may be full, or not ours to write.
        with self.reading() as transaction:
            found = migrations.version(transaction)
        if found == VERSION:
            return
        if (found and not found.isdigit()) or int(found or 0) > int(VERSION):
            raise StoreError(
                f"store {self.name} is of version {found}, this release reads version {VERSION}: "
                "use the release that made it or a newer one, or another store"
            )
        with self.writing() as transaction:
            # Another may be at it, or have been since we looked.
            lock(transaction)
            if migrations.version(transaction) != VERSION:
                migrations.upgrade(transaction)
                if found:
                    log.info("store is of this release now", extra={"store": self.name, "before": found})


def lock(transaction: Connection) -> None:
    """Be the only writer until the transaction ends; on SQLite, where every writer is, there is nothing to do."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("the store's URL is none: sqlite:////var/lib/clusterbus/store.db is one") from error
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise StoreError(f"store {parsed.render_as_string()}: there are sqlite:///PATH and postgresql://HOST/NAME")
    return parsed


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _PATIENCE})

    # sqlite3 begins transactions when it thinks best, which is after the first read: two writers that both read first
    # would then fail each other.  So we begin them ourselves.
    @event.listens_for(engine, "connect")
    def _connected(connection, _record) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the driver's own
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    return create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
