"""The table of circuit breakers: targets that failed recently, and until when they are paused."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Connection

from ..policies.circuit_breaker import FOR_GOOD, Breaker
from .database import key_text, lock
from .schema import breakers as table

_COLUMNS = [table.c[each.name] for each in fields(Breaker)]


def find(transaction: Connection, targets: Collection[str] | None = None) -> dict[str, Breaker]:
    """Return the breakers of those *targets*, by default of all, that failed recently, by target."""
    if targets is None:
        rows = transaction.execute(select(*_COLUMNS)).mappings()
        return {each.target: each for each in sorted((Breaker(**row) for row in rows), key=lambda each: each.target)}
    names = {key_text(each): each for each in targets}
    query = select(*_COLUMNS).where(table.c.target.in_([*names]))
    found = (Breaker(**row) for row in transaction.execute(query).mappings())
    return {name: replace(each, target=name) for each in found for name in [names[each.target]]}


def open_now(transaction: Connection, now: datetime, limit: int) -> tuple[int, list[str]]:
    """Return how many breakers are open at *now*, and the targets of the first *limit* of them, in their order."""
    is_open = table.c.until > now
    count = transaction.execute(select(func.count()).select_from(table).where(is_open)).scalar_one()
    names = select(table.c.target).where(is_open).order_by(table.c.target).limit(limit)
    return count, [*transaction.scalars(names)]


def gone(transaction: Connection, limit: int) -> list[Breaker]:
    """Return the first *limit* breakers that only a person closes, by target."""
    query = select(*_COLUMNS).where(table.c.until == FOR_GOOD).order_by(table.c.target).limit(limit)
    return [Breaker(**row) for row in transaction.execute(query).mappings()]


def find_to_change(transaction: Connection, targets: Collection[str]) -> dict[str, Breaker]:
    """Return what `find` returns, and keep other consumers from changing any breaker until the transaction ends."""
    lock(transaction)
    return find(transaction, targets)


def write(transaction: Connection, breakers: Iterable[Breaker], now: datetime) -> None:
    """Write *breakers* as they are *now*, replacing the rows of their targets."""
    rows = [
        asdict(each) | {"target": key_text(each.target), "latest": None if each.is_gone else now} for each in breakers
    ]
    if rows:
        close(transaction, [each["target"] for each in rows])
        transaction.execute(insert(table), rows)


def close(transaction: Connection, targets: Collection[str]) -> int:
    """Delete the failures of *targets*; return how many targets had any."""
    names = [key_text(each) for each in targets]
    return transaction.execute(delete(table).where(table.c.target.in_(names))).rowcount
