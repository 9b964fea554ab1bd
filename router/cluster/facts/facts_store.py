"""The store of the facts: a row for each content that a part ever had, in SQLite or PostgreSQL.

Reading a part that has not changed only updates *confirmed* of its row.  So the content of a part at a moment is in its
latest row that begins by then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ... import database
from ...database.many_rows import delete_rows
from . import schema
from .errors import FactStoreError
from .parts import Answer, Content, Reading
from .schema import LOCK, REVISIONS, contents, failures

_LONGEST_REASON = 2000

_PORTION = 1000
"""The largest number of old rows of a table that one call deletes: writers wait for it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A part changed from *before* to *content* at *moment*, or could not be read, for *reason*.

    A content of None means that the part did not exist.  *until* is when the part was last seen in this state.
    """

    cluster: str
    part: str
    moment: datetime
    until: datetime
    content: Content | None = None
    before: Content | None = None
    reason: str = ""


class FactStore(database.Opened):
    """The open store; several processes and threads may use it.

    Each failure raises FactStoreError, and nothing of its transaction is written.
    """

    setting = "facts.store"
    failure = FactStoreError

    def __init__(self, url: str) -> None:
        """Open the store at *url*, and create or upgrade its tables.  Raises SettingsError if *url* cannot be used."""
        parsed = database.parsed(url, self.setting)
        super().__init__(database.engine(parsed, setting=self.setting), parsed, REVISIONS)

    @classmethod
    def if_there(cls, url: str) -> FactStore | None:
        """Return the store at *url*, or None if its file does not exist; does not create one."""
        return cls(url) if database.exists(database.parsed(url, cls.setting)) else None

    def write(self, cluster: str, answers: Mapping[str, Answer], now: datetime) -> None:
        """Write the *answers* about parts of *cluster* at *now*; parts without an answer stay as they are."""
        at = schema.text(now)
        with self._writing_alone() as transaction:
            latest = _latest(transaction, cluster)
            # PostgreSQL refuses a longer name, and the whole transaction with it.  No file system has one.
            for part, answer in ((database.plain_text(name), each) for name, each in answers.items()):
                if len(part) > schema.LONGEST_PART:
                    continue
                if answer.content is not None or not answer.reason:
                    _confirm(transaction, cluster, part, latest.get(part), answer.content, at)
                if answer.reason:
                    _fail(transaction, cluster, part, answer.reason, at)

    def forget(self, before: datetime) -> int:
        """Delete a limited number of rows of what changed or ended *before* a moment; return how many.

        The last known content of a part stays.
        """
        at = schema.text(before)
        newer = contents.alias()
        later = (newer.c.cluster == contents.c.cluster) & (newer.c.part == contents.c.part)
        is_old = select(newer.c.since).where(later, newer.c.since > contents.c.since, newer.c.since <= at).exists()
        is_gone = contents.c.content.is_(None) & (contents.c.confirmed < at)
        deleted = 0
        with self._writing_alone() as transaction:
            for table, is_over in ((contents, is_old | is_gone), (failures, failures.c.latest < at)):
                query = select(*table.primary_key).where(is_over).limit(_PORTION)
                found = transaction.execute(query).mappings().all()
                delete_rows(transaction, table, found)
                deleted += len(found)
        return deleted

    def clusters(self) -> list[str]:
        """Return the names of the clusters that have facts."""
        with self.reading() as transaction:
            return sorted(transaction.scalars(select(contents.c.cluster).distinct()))

    def newest(self) -> str:
        """Return a text that changes with each write."""
        with self.reading() as transaction:
            row = transaction.execute(select(func.max(contents.c.confirmed), func.count())).one()
            failed = transaction.scalar(select(func.max(failures.c.latest)))
        return f"{row[0]} {row[1]} {failed}"

    def known(self, cluster: str, at: datetime | None = None) -> list[Reading]:
        """Return the last reading of each part of *cluster*, now or *at* a moment."""
        moment = None if at is None else schema.text(at)
        with self.reading() as transaction:
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
        """Return the latest *limit* changes and failures of *part*, or of all parts, oldest first."""
        with self.reading() as transaction:
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
        return sorted(
            (each for each in found if since is None or each.until >= since), key=lambda each: (each.moment, each.part)
        )[-limit:]

    @contextmanager
    def _writing_alone(self) -> Iterator[Connection]:
        with self.writing() as transaction:
            database.lock(transaction, LOCK)
            yield transaction


def _latest(transaction: Connection, cluster: str, moment: str | None = None) -> dict[str, Mapping[str, Any]]:
    """Return the latest row of each part, now or at *moment*."""
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
    transaction: Connection, cluster: str, part: str, row: Mapping[str, Any] | None, content: Content | None, at: str
) -> None:
    written = None if content is None else json.dumps(content, sort_keys=True)
    if row is None and written is None:
        return
    if row is not None and at <= row["confirmed"]:
        # Another program has read it later.
        return
    if row is not None and row["content"] == written:
        here = (contents.c.cluster == cluster) & (contents.c.part == part) & (contents.c.since == row["since"])
        transaction.execute(update(contents).where(here).values(confirmed=at))
        return
    values = {"cluster": cluster, "part": part, "since": at, "confirmed": at, "content": written}
    transaction.execute(insert(contents).values(values))


def _fail(transaction: Connection, cluster: str, part: str, reason: str, at: str) -> None:
    """Extend the last failure of the part, or begin a new one if the part was read in between."""
    here = (failures.c.cluster == cluster) & (failures.c.part == part)
    since = transaction.scalar(select(func.max(failures.c.since)).where(here))
    of_part = (contents.c.cluster == cluster) & (contents.c.part == part)
    read = transaction.scalar(select(func.max(contents.c.confirmed)).where(of_part))
    reason = database.plain_text(reason[:_LONGEST_REASON])
    if since is not None and (read is None or read <= since or read == at):
        latest = update(failures).where(here, failures.c.since == since, failures.c.latest <= at)
        transaction.execute(latest.values(latest=at, reason=reason))
        return
    values = {"cluster": cluster, "part": part, "since": at, "latest": at, "reason": reason}
    transaction.execute(insert(failures).values(values))
