"""The database under the store: opened, brought to its schema, and its errors told in our words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from router import databases
from router.errors import SettingsError

from ..errors import StoreError
from . import migrations
from .schema import VERSION

log = logging.getLogger(__name__)

LOCK = 0x636C7573746572
"""The advisory lock of PostgreSQL that writers of the audit and makers of the schema take."""


class Store(databases.Opened):
    """One connection pool to the store's database; safe to use from several processes, and from several threads.

    A transaction that was left without an error is on disk.  Raises StoreError, and nothing else, when it can't be
    read or written: what a transaction was to write is then not there.
    """

    def __init__(self, url: str) -> None:
        """Open the store at *url* (`sqlite:///PATH` or `postgresql://...`) and create its tables where they are not."""
        try:
            self._url = databases.parsed(url, "store")
        except SettingsError as error:
            raise StoreError(str(error)) from error
        self._engine = databases.engine(self._url, pragmas=("foreign_keys=ON",))
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
        with self._translated(), self._engine.connect().execution_options(**{databases.READS: True}) as transaction:
            yield transaction

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
