"""The table of bindings: every pattern that a subscription's queue was ever bound by.

It only grows: unbinding what is not bound does no harm, but a pattern forgotten before the broker has unbound it would
bring its events for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from .schema import bindings as table


def remember(transaction: Connection, subscription: str, patterns: Iterable[str]) -> set[str]:
    """Write that *subscription* is bound by *patterns*; return those that it was bound by and is no more."""
    wanted = set(patterns)
    known = set(transaction.scalars(select(table.c.pattern).where(table.c.subscription == subscription)))
    if new := wanted - known:
        transaction.execute(insert(table), [{"subscription": subscription, "pattern": each} for each in sorted(new)])
    return known - wanted


def names(transaction: Connection) -> set[str]:
    """Return the names of all subscriptions that were ever bound."""
    return set(transaction.scalars(select(table.c.subscription).distinct()))


def of(transaction: Connection, subscription: str) -> set[str]:
    """Return the patterns that the queue of *subscription* was ever bound by."""
    return set(transaction.scalars(select(table.c.pattern).where(table.c.subscription == subscription)))
