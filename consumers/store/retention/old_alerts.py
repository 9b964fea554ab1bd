"""Deleting what is old of alerts: closed ones with their changes, and keys that nothing was observed of for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.engine import Connection

from ..schema.alert_tables import alerts, changes, keys, observations
from .old_rows import OldRows, delete_rows, delete_with

_KEYS = 20
"""The largest number of keys that one transaction deletes: each may have 200 observations."""


def delete_alerts(transaction: Connection, before: datetime, limit: int) -> int:
    """Delete alerts closed before *before* with up to *limit* changes; return *limit* if there may be more.

    Of an alert with more changes it deletes the oldest ones; the alert goes with the last of them.
    """
    published = ~select(changes.c.id).where(changes.c.alert == alerts.c.id, changes.c.published.is_(None)).exists()
    over = (alerts.c.until < before, alerts.c.state == "closed", published)
    ended = select(alerts.c.id, alerts.c.change).where(*over).order_by(alerts.c.until).limit(limit)
    gone: list[str] = []
    # The number of its last change is how many an alert has, unless some are deleted already.
    room = limit
    for alert, count in transaction.execute(ended):
        if count > limit and not gone and _delete_oldest(transaction, alert, limit) == limit:
            return limit
        room -= count
        if gone and room < 0:
            break
        gone.append(alert)
    delete_with(transaction, changes.c.alert, gone)
    delete_with(transaction, alerts.c.id, gone)
    return limit if room < 0 else len(gone)


def _delete_oldest(transaction: Connection, alert: str, limit: int) -> int:
    """Delete up to *limit* changes of *alert*; return how many."""
    oldest = select(changes.c.id).where(changes.c.alert == alert).order_by(changes.c.number).limit(limit)
    found = transaction.execute(oldest).mappings().all()
    delete_rows(transaction, changes, found)
    return len(found)


def old_keys() -> OldRows:
    """Return the keys that nothing was observed of for long, for `delete_keys`."""
    is_open = select(alerts.c.id).where(alerts.c.key == keys.c.key, alerts.c.state != "closed").exists()
    return OldRows(keys.c.latest, is_open.label("is_open"))


def delete_keys(transaction: Connection, old: OldRows, before: datetime, limit: int) -> int:
    """Delete those of some keys without observations since *before* that have no open alert; return how many.

    What is open stays, however old.  Events that arrive later than a key is kept are taken for the first of theirs.
    """
    found = old.portion(transaction, before, min(limit, _KEYS))
    quiet = [each["key"] for each in found if not each["is_open"]]
    delete_with(transaction, observations.c.key, quiet)
    delete_with(transaction, keys.c.key, quiet)
    return len(quiet)
