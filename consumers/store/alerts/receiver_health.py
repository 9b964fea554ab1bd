"""The table of alert receivers: whether the systems that alerts are kept in answer, and since when one does not.

All consumers that serve a subscription write the same rows: what one of them reaches has been reached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from router.database.column_types import inserting
from router.database.many_rows import delete_rows

from ..database import key_text
from ..schema.alert_tables import receivers as table

Purpose = Literal["send", "follow"]
"""What is done at an address regularly: sending open alerts again, or reading what people did there."""

_SHORTEST = timedelta(minutes=1)
"""A success is written once a minute, so no interval counts as shorter."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What *subscription* did at *address*, and does again after *every*: how it ended *at* a time.

    *error* says why it failed; it is empty if it succeeded.  *address* has no secrets.
    """

    subscription: str
    purpose: Purpose
    address: str
    every: timedelta
    at: datetime
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReceiverHealth:
    """How an address answers: when it was *tried* last, when that *succeeded* last, and since when it fails."""

    subscription: str
    purpose: Purpose
    address: str
    every: timedelta
    tried: datetime
    succeeded: datetime | None
    failing_since: datetime | None
    error: str

    def has_failed_for_long(self, now: datetime) -> bool:
        """Return whether at *now* it has failed for longer than twice its interval, or two minutes.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> health = ReceiverHealth("a", "send", "https://am", timedelta(minutes=5), noon, None, noon, "timeout")
        >>> [health.has_failed_for_long(noon + timedelta(minutes=each)) for each in (10, 11)]
        [False, True]
        """
        return self.failing_since is not None and now - self.failing_since > 2 * max(self.every, _SHORTEST)

    def is_out_of_date(self, now: datetime) -> bool:
        """Return whether no consumer has tried it of late, so that nobody knows whether it answers."""
        return now - self.tried > 4 * max(self.every, 2 * _SHORTEST)


def record(transaction: Connection, attempts: Iterable[Attempt]) -> None:
    """Write how *attempts* ended.  A failure counts since the first one after the last success."""
    for each in attempts:
        failed = bool(each.error)
        row = {
            "subscription": each.subscription,
            "purpose": each.purpose,
            "address": key_text(each.address),
            "every": round(each.every.total_seconds()),
            "tried": each.at,
            "error": each.error,
            "succeeded": None if failed else each.at,
            "failing_since": each.at if failed else None,
        }
        statement = inserting(transaction.dialect.name, table).values(row)
        new = statement.excluded
        changed: dict[str, Any] = {name: new[name] for name in ("every", "tried", "error")}
        if failed:
            changed["failing_since"] = func.coalesce(table.c.failing_since, new.failing_since)
        else:
            changed |= {"succeeded": new.succeeded, "failing_since": None}
        keys = [*table.primary_key.columns]
        transaction.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def keep_only(transaction: Connection, wanted: Mapping[str, Collection[tuple[Purpose, str]]]) -> None:
    """Delete what the subscriptions in *wanted* no longer do: each has purposes and addresses that it still has."""
    keys = (table.c.subscription, table.c.purpose, table.c.address)
    known = [row for row in transaction.execute(select(*keys)).mappings() if row["subscription"] in wanted]
    kept = {(name, purpose, key_text(address)) for name, places in wanted.items() for purpose, address in places}
    delete_rows(transaction, table, [each for each in known if tuple(each.values()) not in kept])


def find(transaction: Connection, limit: int) -> list[ReceiverHealth]:
    """Return up to *limit* of the addresses, those first that fail, the longest first; then by subscription."""
    order = (table.c.failing_since.is_(None), table.c.failing_since, *table.primary_key.columns)
    rows = transaction.execute(select(table).order_by(*order).limit(limit)).mappings()
    return [ReceiverHealth(**{**row, "every": timedelta(seconds=row["every"])}) for row in rows]
