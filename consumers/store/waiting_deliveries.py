"""Deliveries that wait or are being handled, by subscription: how many, and since when the oldest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.engine import Connection

from .attempts import WAIT
from .schema import deliveries as table

NEWEST = 50_000
"""How many attempts are looked at: those that began last."""


@dataclass(frozen=True, slots=True)
class WaitingDeliveries:
    """The deliveries of a *subscription* that have no outcome: *waiting* and *running* ones, since the *oldest*.

    What waits for another attempt after a failure is not among them.
    """

    subscription: str
    waiting: int
    running: int
    oldest: datetime


def by_subscription(transaction: Connection) -> list[WaitingDeliveries]:
    """Return what waits among the newest attempts, the subscription with the oldest first."""
    columns = (table.c.subscription, table.c.outcome, table.c.started)
    newest = select(*columns).order_by(table.c.started.desc()).limit(NEWEST).subquery()
    waiting, oldest = func.count(newest.c.outcome), func.min(newest.c.started)
    query = (
        select(newest.c.subscription, waiting, func.count() - waiting, oldest)
        .where(or_(newest.c.outcome.is_(None), newest.c.outcome == WAIT))
        .group_by(newest.c.subscription)
        .order_by(oldest)
    )
    return [WaitingDeliveries(*row) for row in transaction.execute(query)]
