"""The tables of rate limits and grouping: which deliveries a rate let pass, and which events form a group."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, insert, select, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..deliveries import FOLDED, UNHEARD
from ..folds import FoldedAlert
from ..policies.throttling import Gathered
from .attempts import DEAD
from .schema import deliveries, folds, passes


def passed(
    transaction: Connection, subscription: str, rule: str, keys: Collection[str], since: datetime
) -> Mapping[str, list[tuple[datetime, str]]]:
    """Return what *rule* has let pass after *since*, by key: (moment, event id), oldest first."""
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
    """Return which of these *rule* has let pass at any time: (key, event id)."""
    query = select(passes.c.key, passes.c.event_id).where(
        passes.c.subscription == subscription,
        passes.c.rule == rule,
        passes.c.key.in_([*keys]),
        passes.c.event_id.in_([*event_ids]),
    )
    return {(key, event_id) for key, event_id in transaction.execute(query)}


def let_pass(transaction: Connection, rows: Iterable[Mapping[str, object]]) -> None:
    """Write what passes: subscription, rule, key, event_id, at.  An earlier pass gets the new time."""
    if new := list(rows):
        statement = inserting(transaction.dialect.name, passes)
        upsert = statement.on_conflict_do_update(
            index_elements=passes.primary_key.columns, set_={"at": statement.excluded["at"]}
        )
        transaction.execute(upsert, new)


def take_back(transaction: Connection, subscription: str, event_ids: Collection[str], rule: str | None = None) -> None:
    """Delete these passes, of every rule or one: nobody gets their deliveries, so the next of their kind may pass."""
    query = delete(passes).where(passes.c.subscription == subscription, passes.c.event_id.in_([*event_ids]))
    transaction.execute(query if rule is None else query.where(passes.c.rule == rule))


def gathering(transaction: Connection, subscription: str, keys: Collection[str]) -> dict[str, Gathered]:
    """Return the open groups of *subscription*, by key."""
    mine = folds.c.subscription == subscription
    # In the index alone: SQLite would read all groups of the subscription to find the open ones with their facts.
    heads = select(folds.c.head).where(mine, folds.c.key.in_([*keys]), folds.c.told.is_(None))
    query = select(folds).where(mine, folds.c.head.in_(heads))
    return {row.key: _gathered(row) for row in transaction.execute(query)}


def last_delivered(
    transaction: Connection, subscription: str, keys: Collection[str], since: datetime
) -> dict[str, datetime]:
    """Return when a group of each of *keys* was last delivered after *since*; not what nobody received in the end."""
    same = (deliveries.c.event_id == folds.c.head, deliveries.c.subscription == folds.c.subscription)
    unheard = exists().where(*same, deliveries.c.replay == FOLDED, deliveries.c.outcome.in_([*UNHEARD, DEAD]))
    query = (
        select(folds.c.key, folds.c.told)
        .where(folds.c.subscription == subscription, folds.c.key.in_([*keys]), folds.c.told > since, ~unheard)
        .order_by(folds.c.told)
    )
    return {row.key: row.told for row in transaction.execute(query)}


def by_head(transaction: Connection, subscription: str, heads: Collection[str]) -> dict[str, Gathered]:
    """Return the groups with these first events *heads*, delivered or not."""
    query = select(folds).where(folds.c.subscription == subscription, folds.c.head.in_([*heads]))
    return {row.head: _gathered(row) for row in transaction.execute(query)}


def gather(transaction: Connection, subscription: str, key: str, gathered: Gathered) -> None:
    """Write the current state of the open group of *key*."""
    values = {"events": gathered.count, "facts": _facts(gathered)}
    here = (folds.c.subscription == subscription) & (folds.c.head == gathered.head)
    if not transaction.execute(update(folds).where(here).values(values)).rowcount:
        own = {"subscription": subscription, "head": gathered.head, "key": key, "due": gathered.due}
        transaction.execute(insert(folds).values(own | values))


def mark_delivered(transaction: Connection, subscription: str, heads: Collection[str], at: datetime) -> None:
    """Write that the groups of *heads* are delivered: later events begin new groups."""
    here = (folds.c.subscription == subscription) & folds.c.head.in_([*heads]) & folds.c.told.is_(None)
    transaction.execute(update(folds).where(here).values(told=at))


def mark_moved(transaction: Connection, subscription: str, head: str, at: datetime) -> None:
    """Write that the events of the group of *head* moved to another group, which leaves it empty."""
    here = (folds.c.subscription == subscription) & (folds.c.head == head)
    transaction.execute(update(folds).where(here).values(told=at, events=0))


def _facts(gathered: Gathered) -> str:
    facts = asdict(gathered)
    of_alerts = {name: facts[name] for name in ("alerts", "unlisted", "unlisted_contacts") if facts[name]}
    return json.dumps({name: facts[name] for name in ("nodes", "first", "last", "values")} | of_alerts)


def _gathered(row: Any) -> Gathered:  # noqa: ANN401 - a row of any query
    facts = json.loads(row.facts)
    nodes = tuple(facts["nodes"])
    alerts = tuple(FoldedAlert(**each) for each in facts.get("alerts", ()))
    times = facts["first"], facts["last"]
    unlisted = facts.get("unlisted", 0), facts.get("unlisted_contacts", ())
    return Gathered(row.head, row.due, row.events, nodes, *times, facts["values"], alerts, *unlisted)
