"""The tables of storms: which deliveries a rate let pass, and which events were gathered to be told as one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from ..storms import Gathered
from .schema import folds, passes

_KEPT = 20_000
"""Rows that one call forgets at the most."""


def passed(
    transaction: Connection, subscription: str, rule: str, keys: Collection[str], since: datetime
) -> Mapping[str, list[tuple[datetime, str]]]:
    """Return what *rule* has let pass *since*, by key: (moment, event id), oldest first."""
    found: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    rows = transaction.execute(_PASSED, {"subscription": subscription, "rule": rule, "keys": [*keys], "since": since})
    for key, at, event_id in rows:
        found[key].append((at, event_id))
    return found


_PASSED = (
    select(passes.c.key, passes.c.at, passes.c.event_id)
    .where(
        passes.c.subscription == bindparam("subscription"),
        passes.c.rule == bindparam("rule"),
        passes.c.key.in_(bindparam("keys", expanding=True)),
        passes.c.at > bindparam("since"),
    )
    .order_by(passes.c.at)
)


def have_passed(
    transaction: Connection, subscription: str, rule: str, keys: Collection[str], event_ids: Collection[str]
) -> set[tuple[str, str]]:
    """Return which of these *rule* has let pass, whenever that was: (key, event id)."""
    query = select(passes.c.key, passes.c.event_id).where(
        passes.c.subscription == subscription,
        passes.c.rule == rule,
        passes.c.key.in_([*keys]),
        passes.c.event_id.in_([*event_ids]),
    )
    return {(key, event_id) for key, event_id in transaction.execute(query)}


def let_pass(transaction: Connection, rows: Iterable[Mapping[str, object]]) -> None:
    """Write what passes: subscription, rule, key, event_id, at.  What has passed before passes anew."""
    if new := list(rows):
        dialect = sqlite if transaction.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(passes)
        anew = statement.on_conflict_do_update(
            index_elements=passes.primary_key.columns, set_={"at": statement.excluded["at"]}
        )
        transaction.execute(anew, new)


def take_back(transaction: Connection, subscription: str, event_ids: Collection[str]) -> None:
    """Forget that these passed: they came to nothing, so the next of their kind has to."""
    transaction.execute(
        delete(passes).where(passes.c.subscription == subscription, passes.c.event_id.in_([*event_ids]))
    )


def forget(transaction: Connection, before: datetime) -> None:
    """Forget what passed, and what was told, *before*: a portion of it at a time."""
    old = select(passes.c.event_id).where(passes.c.at < before).limit(_KEPT)
    transaction.execute(delete(passes).where(passes.c.at < before, passes.c.event_id.in_(old)))
    gone = select(folds.c.head).where(folds.c.told < before).limit(_KEPT)
    transaction.execute(delete(folds).where(folds.c.told < before, folds.c.head.in_(gone)))


def gathering(transaction: Connection, subscription: str, keys: Collection[str]) -> dict[str, Gathered]:
    """Return what is being gathered for *subscription*, by key."""
    query = select(folds).where(folds.c.subscription == subscription, folds.c.key.in_([*keys]), folds.c.told.is_(None))
    return {row.key: _gathered(row) for row in transaction.execute(query)}


def told(transaction: Connection, subscription: str, keys: Collection[str]) -> dict[str, datetime]:
    """Return when what was gathered by each of *keys* was last told."""
    query = (
        select(folds.c.key, folds.c.told)
        .where(folds.c.subscription == subscription, folds.c.key.in_([*keys]), folds.c.told.is_not(None))
        .order_by(folds.c.told)
    )
    return {row.key: row.told for row in transaction.execute(query)}


def by_head(transaction: Connection, subscription: str, heads: Collection[str]) -> dict[str, Gathered]:
    """Return what was gathered under each of *heads*, told or not."""
    query = select(folds).where(folds.c.subscription == subscription, folds.c.head.in_([*heads]))
    return {row.head: _gathered(row) for row in transaction.execute(query)}


def gather(transaction: Connection, subscription: str, key: str, gathered: Gathered) -> None:
    """Write what is gathered now by *key*."""
    values = {"events": gathered.count, "facts": _facts(gathered)}
    here = (folds.c.subscription == subscription) & (folds.c.head == gathered.head)
    if not transaction.execute(update(folds).where(here).values(values)).rowcount:
        own = {"subscription": subscription, "head": gathered.head, "key": key, "due": gathered.due}
        transaction.execute(insert(folds).values(own | values))


def tell(transaction: Connection, subscription: str, heads: Collection[str], at: datetime) -> None:
    """Write that what was gathered under *heads* is told: what comes from now on begins anew."""
    here = (folds.c.subscription == subscription) & folds.c.head.in_([*heads]) & folds.c.told.is_(None)
    transaction.execute(update(folds).where(here).values(told=at))


def hand_on(transaction: Connection, subscription: str, head: str, at: datetime) -> None:
    """Write that what was gathered under *head* is told by another: it has nothing to tell any more."""
    here = (folds.c.subscription == subscription) & (folds.c.head == head)
    transaction.execute(update(folds).where(here).values(told=at, events=0))


def _facts(gathered: Gathered) -> str:
    facts = asdict(gathered)
    return json.dumps({name: facts[name] for name in ("nodes", "first", "last", "values")})


def _gathered(row: Any) -> Gathered:  # noqa: ANN401 - a row of any query
    facts = json.loads(row.facts)
    nodes = tuple(facts["nodes"])
    return Gathered(row.head, row.due, row.events, nodes, facts["first"], facts["last"], facts["values"])
