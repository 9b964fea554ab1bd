"""The consumers' store, opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy.engine import Connection

from router import database
from router.database import many_rows
from router.database.column_types import plain_text
from router.errors import SettingsError

from ..errors import StoreError
from .schema import LOCK, REVISIONS

Item = TypeVar("Item")

PORTION = 200
"""The largest number of letters that one transaction changes, so that consumers need not wait."""

LONGEST_KEY = 300
"""The longest text in a key, in characters: PostgreSQL refuses keys of more than about 2,700 bytes."""


class Store(database.Opened):
    """A pool of connections to the store's database; several processes and threads may use one store.

    If the database cannot be read or written, the store raises StoreError, and nothing else.
    """

    setting = "consumers.store"
    failure = StoreError

    def __init__(self, url: str, *, upgrade: bool = True) -> None:
        """Open the store at *url* (`sqlite:///PATH` or `postgresql://...`), and create or upgrade its tables.

        Without *upgrade*, the database is not changed.  A store with other tables than this release's raises StoreError
        then, whose cause is a NotUpgraded.
        """
        try:
            parsed = database.parsed(url, self.setting)
            engine = database.engine(parsed, setting=self.setting, pragmas=("foreign_keys=ON",))
        except SettingsError as error:
            raise StoreError(str(error)) from error
        super().__init__(engine, parsed, REVISIONS, upgrade=upgrade)


def lock(transaction: Connection) -> None:
    """Keep other consumers from reading what this transaction is about to change, until it ends."""
    database.lock(transaction, LOCK)


def batched(every: Sequence[Item], size: int | None = None) -> Iterator[Sequence[Item]]:
    """Yield *every* in portions of *size*, by default `PORTION`."""
    return many_rows.batched(every, PORTION if size is None else size)


def key_text(text: str) -> str:
    """Return *text* as it is stored in a key: short ones unchanged, long ones shortened with a hash.

    >>> key_text("post hub:443"), len(key_text("x" * 1000))
    ('post hub:443', 300)
    """
    plain = plain_text(text)
    if len(plain) <= LONGEST_KEY:
        return plain
    digest = hashlib.sha256(plain.encode()).hexdigest()
    return f"{plain[: LONGEST_KEY - len(digest) - 3]}...{digest}"
