"""Deleting what is old of alerts: closed ones with their changes, and keys that nothing was observed of for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from ..schema.alert_tables import alerts, changes, keys, observations


def forget(transaction: Connection, before: datetime, unheard: datetime, limit: int) -> tuple[int, int]:
    """Delete up to *limit* alerts closed before *before*, and keys without observations since *unheard*; return both.

    What is open stays, however old.  Events that arrive later than a key is kept are taken for the first of theirs.
    """
    published = ~select(changes.c.id).where(changes.c.alert == alerts.c.id, changes.c.published.is_(None)).exists()
    over = (alerts.c.until < before, alerts.c.state == "closed", published)
    ended = [*transaction.scalars(select(alerts.c.id).where(*over).order_by(alerts.c.until).limit(limit))]
    if ended:
        transaction.execute(delete(changes).where(changes.c.alert.in_(ended)))
        transaction.execute(delete(alerts).where(alerts.c.id.in_(ended)))
    is_open = select(alerts.c.id).where(alerts.c.key == keys.c.key, alerts.c.state != "closed").exists()
    query = select(keys.c.key).where(keys.c.latest < unheard, ~is_open).order_by(keys.c.latest).limit(limit)
    quiet = [*transaction.scalars(query)]
    if quiet:
        transaction.execute(delete(observations).where(observations.c.key.in_(quiet)))
        transaction.execute(delete(keys).where(keys.c.key.in_(quiet)))
    return len(ended), len(quiet)
