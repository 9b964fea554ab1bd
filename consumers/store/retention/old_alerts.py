"""Deleting what is old of alerts: closed ones with their changes, and keys that nothing was observed of for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.engine import Connection

from router.database.many_rows import delete_rows

from ..alerts.alert_rows import OPEN
from ..schema.alert_tables import alerts, changes, keys, observations
from .old_rows import OldRows, delete_with, first_of

_KEYS = 20
"""The largest number of keys that one transaction deletes: each may have 200 observations."""


def old_alerts() -> OldRows:
    """Return the alerts that were closed long ago, for `delete_alerts`; nothing else has an end."""
    unpublished = select(changes.c.id).where(changes.c.alert == alerts.c.id, changes.c.published.is_(None))
    return OldRows(alerts.c.until, alerts.c.change, first_of(unpublished).label("unpublished"))


def delete_alerts(transaction: Connection, old: OldRows, before: datetime, limit: int) -> int:
    """Delete alerts closed before *before* with up to *limit* changes, all of which are published; return how many.

    Of an alert with more changes it deletes the oldest ones; the alert goes with the last of them.
    """
    gone: list[str] = []
    # The number of its last change is how many an alert has, unless some are deleted already.
    room = limit
    for each in old.portion(transaction, before, limit):
        if each["unpublished"]:
            continue
        is_large = each["change"] > limit
        if each["change"] > room and (gone or (is_large and _delete_oldest(transaction, each["id"], limit) == limit)):
            old.go_on_with(each)
            break
        room -= each["change"]
        gone.append(each["id"])
    delete_with(transaction, changes.c.alert, gone)
    delete_with(transaction, alerts.c.id, gone)
    return len(gone)


def _delete_oldest(transaction: Connection, alert: str, limit: int) -> int:
    """Delete up to *limit* changes of *alert*; return how many."""
    oldest = select(changes.c.id).where(changes.c.alert == alert).order_by(changes.c.number).limit(limit)
    found = transaction.execute(oldest).mappings().all()
    delete_rows(transaction, changes, found)
    return len(found)


def old_keys() -> OldRows:
    """Return the keys that nothing was observed of for long, for `delete_keys`."""
    open_ = select(alerts.c.id).where(alerts.c.key == keys.c.key, alerts.c.state.in_(OPEN))
    return OldRows(keys.c.latest, first_of(open_).label("open"))


def delete_keys(transaction: Connection, old: OldRows, before: datetime, limit: int) -> int:
    """Delete those of some keys without observations since *before* that have no open alert; return how many.

    What is open stays, however old.  Events that arrive later than a key is kept are taken for the first of theirs.
    """
    found = old.portion(transaction, before, min(limit, _KEYS))
    quiet = [each["key"] for each in found if not each["open"]]
    delete_with(transaction, observations.c.key, quiet)
    delete_with(transaction, keys.c.key, quiet)
    return len(quiet)
