"""The table of bindings: every pattern with which a subscription's queue was ever bound.

Rows are never deleted.  Unbinding a pattern twice does no harm, but if a pattern were deleted before the broker
removes its binding, its events would arrive forever.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from .database import lock
from .schema import bindings as table


def remember(transaction: Connection, subscription: str, patterns: Iterable[str]) -> set[str]:
    """Write that *subscription* is bound with *patterns*; return its earlier patterns that are not among them."""
    lock(transaction)
    wanted = set(patterns)
    known = set(transaction.scalars(select(table.c.pattern).where(table.c.subscription == subscription)))
    if new := wanted - known:
        transaction.execute(insert(table), [{"subscription": subscription, "pattern": each} for each in sorted(new)])
    return known - wanted


def names(transaction: Connection) -> set[str]:
    """Return the names of all subscriptions that ever had a binding."""
    return set(transaction.scalars(select(table.c.subscription).distinct()))


def of(transaction: Connection, subscription: str) -> set[str]:
    """Return all patterns with which the queue of *subscription* was ever bound."""
    return set(transaction.scalars(select(table.c.pattern).where(table.c.subscription == subscription)))
