"""What was known, and when: a row for each content that a part ever had, in SQLite or PostgreSQL.

A part that is read and has not changed only moves its row's *confirmed* on.  So what was known at a moment is, for
each part, the row that began last before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, inspect, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from .. import databases
from . import schema
from .errors import FactsError
from .readings import Answer, Content, Reading
from .schema import VERSION, contents, failures

_LOCK = 0x6661637473
"""The advisory lock of PostgreSQL that writers take."""

_LONGEST_REASON = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """A part became *content* at some moment, *before* that it was another; None: not there.  Or why it was not read.

    *until* is when it was last seen so.
    """

    cluster: str
    part: str
    moment: datetime
    until: datetime
    content: Content | None = None
    before: Content | None = None
    reason: str = ""


class FactStore(databases.Opened):
    """The store; from any thread and process.  Raises FactsError, and then nothing of a transaction has happened."""

    def __init__(self, url: str) -> None:
        """Open the store at *url*, making its tables where they are not; raises SettingsError where that is no URL."""
        parsed = databases.parsed(url, "facts.store")
        self.name = parsed.render_as_string(hide_password=True)
        self._engine = databases.engine(parsed)
        try:
            self._open()
        except FactsError:
            self.close()
            raise

    @classmethod
    def if_there(cls, url: str) -> FactStore | None:
        """Return the store at *url*, None where it is a file that is not there: to look makes none."""
        return cls(url) if databases.is_there(databases.parsed(url, "facts.store")) else None

    def write(self, cluster: str, answers: Mapping[str, Answer], now: datetime) -> None:
        """Write what came of asking for parts of *cluster* at *now*; parts without an answer stay as they are."""
        at = schema.text(now)
        with self._transaction() as transaction:
            latest = _latest(transaction, cluster)
            # PostgreSQL refuses longer names, and all that is written with them; no file system has one.
            for part, answer in ((part, each) for part, each in answers.items() if len(part) <= schema.LONGEST_PART):
                if answer.content is not None or not answer.reason:
                    _confirm(transaction, cluster, part, latest.get(part), answer.content, at)
                if answer.reason:
                    _fail(transaction, cluster, part, answer.reason, at)

    def forget(self, before: datetime) -> int:
        """Forget what was no more so *before* a moment; what was last known stays.  Return how many rows."""
        at = schema.text(before)
        newer = contents.alias()
        later = (newer.c.cluster == contents.c.cluster) & (newer.c.part == contents.c.part)
        is_old = select(newer.c.since).where(later, newer.c.since > contents.c.since, newer.c.since <= at).exists()
        is_gone = contents.c.content.is_(None) & (contents.c.confirmed < at)
        with self._transaction() as transaction:
            rows = transaction.execute(delete(contents).where(is_old | is_gone)).rowcount
            return rows + transaction.execute(delete(failures).where(failures.c.latest < at)).rowcount

    def clusters(self) -> list[str]:
        """Return the clusters that anything is known of."""
        with self._transaction(reads=True) as transaction:
            return list(transaction.scalars(select(contents.c.cluster).distinct().order_by(contents.c.cluster)))

    def newest(self) -> str:
        """Return a text that is another one when something was written."""
        with self._transaction(reads=True) as transaction:
            row = transaction.execute(select(func.max(contents.c.confirmed), func.count())).one()
            failed = transaction.scalar(select(func.max(failures.c.latest)))
        return f"{row[0]} {row[1]} {failed}"

    def known(self, cluster: str, at: datetime | None = None) -> list[Reading]:
        """Return what is known of each part of *cluster*, or was *at* a moment."""
        moment = None if at is None else schema.text(at)
        with self._transaction(reads=True) as transaction:
            rows = _latest(transaction, cluster, moment)
            failed = _failed(transaction, cluster, moment)
        found = []
        for part in sorted({*rows, *failed}):
            row, failure = rows.get(part), failed.get(part)
            confirmed = str(min(row["confirmed"], moment or row["confirmed"])) if row else None
            is_failing = failure and (confirmed is None or failure["latest"] >= confirmed)
            reason = failure["reason"] if failure and is_failing else ""
            if row is None or row["content"] is None:
                if reason:
                    found.append(Reading(part, reason=reason))
                continue
            since = datetime.fromisoformat(row["since"])
            found.append(
                Reading(part, json.loads(row["content"]), since, datetime.fromisoformat(str(confirmed)), reason)
            )
        return found

    def history(
        self, cluster: str, part: str | None = None, since: datetime | None = None, limit: int = 1000
    ) -> list[Change]:
        """Return the latest *limit* changes of *part*, or of all, and failures, the oldest first."""
        with self._transaction(reads=True) as transaction:
            rows = _rows(transaction, contents, cluster, part)
            failed = _rows(transaction, failures, cluster, part)
        found, before = [], dict[str, Content | None]()
        for row in rows:
            content = None if row["content"] is None else json.loads(row["content"])
            moments = datetime.fromisoformat(row["since"]), datetime.fromisoformat(row["confirmed"])
            found.append(Change(cluster, row["part"], *moments, content, before.get(row["part"])))
            before[row["part"]] = content
        for row in failed:
            moments = datetime.fromisoformat(row["since"]), datetime.fromisoformat(row["latest"])
            found.append(Change(cluster, row["part"], *moments, reason=row["reason"]))
        return sorted((each for each in found if since is None or each.until >= since), key=_when)[-limit:]

    @contextmanager
    def _transaction(self, *, reads: bool = False) -> Iterator[Connection]:
        try:
            with self._engine.connect().execution_options(**{databases.READS: reads}) as connection, connection.begin():
                if not reads and connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                yield connection
        except SQLAlchemyError as error:
            raise FactsError(f"facts.store {self.name}: {getattr(error, 'orig', None) or error}") from error

    def _open(self) -> None:
        with self._transaction(reads=True) as transaction:
            found = _version(transaction)
        if found is None:
            with self._transaction() as transaction:
                # Another may have been quicker.
                if _version(transaction) is None:
                    schema.metadata.create_all(transaction)
                    transaction.execute(insert(schema.versions).values(version=VERSION))
                found = _version(transaction)
        if found != VERSION:
            raise FactsError(
                f"facts.store {self.name} is of version {found}, this release reads version {VERSION}: "
                "use the release that made it, or another store, which `clusterbus facts read` fills"
            )


def _when(change: Change) -> tuple[datetime, str]:
    return change.moment, change.part


def _version(transaction: Connection) -> int | None:
    if not inspect(transaction).has_table(schema.versions.name):
        return None
    found: int | None = transaction.scalar(select(schema.versions.c.version))
    return found


def _latest(transaction: Connection, cluster: str, moment: str | None = None) -> dict[str, Mapping[str, Any]]:
    """Return the latest row of each part, or that of a moment."""
    wanted = [contents.c.cluster == cluster, *([contents.c.since <= moment] if moment else [])]
    last = select(contents.c.part, func.max(contents.c.since).label("since")).where(*wanted).group_by(contents.c.part)
    found = last.subquery()
    joined = (contents.c.part == found.c.part) & (contents.c.since == found.c.since)
    query = select(contents).join(found, joined).where(contents.c.cluster == cluster)
    return {row["part"]: dict(row) for row in transaction.execute(query).mappings()}


def _failed(transaction: Connection, cluster: str, moment: str | None) -> dict[str, Mapping[str, Any]]:
    wanted = [failures.c.cluster == cluster, *([failures.c.since <= moment] if moment else [])]
    query = select(failures).where(*wanted).order_by(failures.c.since)
    return {row["part"]: dict(row) for row in transaction.execute(query).mappings()}


def _rows(transaction: Connection, table: Any, cluster: str, part: str | None) -> list[Mapping[str, Any]]:  # noqa: ANN401 - either table
    wanted = [table.c.cluster == cluster, *([table.c.part == part] if part else [])]
    query = select(table).where(*wanted).order_by(table.c.since)
    return [dict(row) for row in transaction.execute(query).mappings()]


def _confirm(
    transaction: Connection,
    cluster: str,
    part: str,
    row: Mapping[str, Any] | None,
    content: Content | None,
    at: str,
) -> None:
    written = None if content is None else json.dumps(content, sort_keys=True)
    if row is None and written is None:
        return
    if row is not None and at <= row["confirmed"]:
        # Another has read it later than we did.
        return
    if row is not None and row["content"] == written:
        here = (contents.c.cluster == cluster) & (contents.c.part == part) & (contents.c.since == row["since"])
        transaction.execute(update(contents).where(here).values(confirmed=at))
        return
    values = {"cluster": cluster, "part": part, "since": at, "confirmed": at, "content": written}
    transaction.execute(insert(contents).values(values))


def _fail(transaction: Connection, cluster: str, part: str, reason: str, at: str) -> None:
    """Go on with the failure that is there, unless the part was read since it."""
    here = (failures.c.cluster == cluster) & (failures.c.part == part)
    since = transaction.scalar(select(func.max(failures.c.since)).where(here))
    of_part = (contents.c.cluster == cluster) & (contents.c.part == part)
    read = transaction.scalar(select(func.max(contents.c.confirmed)).where(of_part))
    reason = reason[:_LONGEST_REASON].replace("\0", " ").encode("utf-8", "replace").decode()
    if since is not None and (read is None or read <= since or read == at):
        latest = update(failures).where(here, failures.c.since == since, failures.c.latest <= at)
        transaction.execute(latest.values(latest=at, reason=reason))
        return
    values = {"cluster": cluster, "part": part, "since": at, "latest": at, "reason": reason}
    transaction.execute(insert(failures).values(values))
