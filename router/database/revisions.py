"""Revisions of tables: each opening checks the version of a database, and upgrades an older one with Alembic.

Each owner of tables has a folder of Alembic revisions, numbered "1", "2" and so on, and a version table of its own, so
that several owners can share a database.  A database without that table is new, or older than the table itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, MetaData, String, Table, inspect, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ..errors import NotUpgraded, VersionError
from .engines import READS, for_upgrade, lock
from .time_limits import LIMIT, connected
from .urls import reason

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Revisions:
    """The revisions of one owner's tables.

    *folder* holds the revision files.  *latest* is the revision that this release reads and writes.  *table* is the
    owner's version table.  A database without it that has the table *first_sign* is of revision "1".  *lock_number* is
    the PostgreSQL advisory lock that an upgrade holds.  *command* is the command that upgrades the database.
    """

    folder: Path
    latest: str
    table: str
    first_sign: str
    lock_number: int
    command: str

    def found(self, transaction: Connection) -> tuple[str | None, bool]:
        """Return the revision of the tables, None if there are none, and whether the database has a version table."""
        tables = inspect(transaction)
        if tables.has_table(self.table):
            number = Column("version_num", String(32))
            return transaction.scalar(select(Table(self.table, MetaData(), number).c.version_num)), True
        return ("1" if tables.has_table(self.first_sign) else None), False


def bring_up(engine: Engine, revisions: Revisions, name: str, *, upgrade: bool = True) -> None:
    """Create the tables of *revisions*, or upgrade older ones in place; *name* is the database in messages.

    A database of the latest revision is only read: its disk may be full, or the user may not write it.  An upgrade is
    one transaction, and other programs that open the database meanwhile wait for it.  Raises VersionError if the tables
    are of a later release, NotUpgraded if they are older and *upgrade* is False or fails, and SQLAlchemyError if the
    database cannot be used.  The database is unchanged then.
    """
    with connected(engine, LIMIT) as connection:
        found, _ = revisions.found(connection.execution_options(**{READS: True}))
    if found == revisions.latest:
        return
    _refuse_later(found, revisions, name)
    if not upgrade:
        raise NotUpgraded(_difference(found, revisions, name), f"`{revisions.command}` upgrades it")
    try:
        before = _upgrade(engine, revisions, name)
    except SQLAlchemyError as error:
        if found is None:
            raise
        why = reason(getattr(error, "orig", None) or error, engine.url)
        problem = f"{_difference(found, revisions, name)} and cannot upgrade it: {why}"
        raise NotUpgraded(problem, "run it as a user who may write to the database") from error
    if before not in {None, revisions.latest}:
        log.info("database upgraded", extra={"database": name, "from": before, "to": revisions.latest})


def _upgrade(engine: Engine, revisions: Revisions, name: str) -> str | None:
    """Apply the missing revisions, and return the revision of before."""
    # Before the transaction, because other programs wait for that one.
    from . import migration  # noqa: PLC0415

    with for_upgrade(engine) as transaction:
        lock(transaction, revisions.lock_number)
        before, is_recorded = revisions.found(transaction)
        _refuse_later(before, revisions, name)
        if before != revisions.latest:
            unrecorded = None if is_recorded else before
            migration.upgrade(transaction, revisions.folder, revisions.table, revisions.latest, unrecorded=unrecorded)
    return before


def _refuse_later(found: str | None, revisions: Revisions, name: str) -> None:
    if found is None or (found.isdigit() and int(found) <= int(revisions.latest)):
        return
    way_out = "use the release that made it or a newer one, or another database"
    raise VersionError(_difference(found, revisions, name), way_out)


def _difference(found: str | None, revisions: Revisions, name: str) -> str:
    state = f"is of version {found}" if found else "has no tables yet"
    return f"{name} {state}, this release reads version {revisions.latest}"
