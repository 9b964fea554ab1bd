"""The table of places: what deliveries under way are counted at, each with the lease of the consumer that has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select, union_all, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ...deliveries import Key
from ...policies.places import Place
from ..database import batched
from ..schema import places as table

LEASE = timedelta(minutes=2)
"""How long a place stays taken if its consumer does not renew it."""

RENEWAL = timedelta(seconds=30)
"""How often a consumer renews its places."""

UNATTENDED = timedelta(days=1)
"""How long a delivery keeps its places that is overdue in the broker, such as one whose job outlives its consumer."""


@dataclass(frozen=True, slots=True)
class Holders:
    """Who has a place: the deliveries *now*, and those that had it and whose lease has run out (*lost*)."""

    now: set[Key]
    lost: set[Key]


def holders(transaction: Connection, wanted: Collection[Place], now: datetime) -> Mapping[Place, Holders]:
    """Return who has each of the places *wanted* at *now*."""
    found: dict[Place, Holders] = {each: Holders(set(), set()) for each in wanted}
    keys: dict[str, list[str]] = defaultdict(list)
    for each in found:
        keys[each.rule].append(each.key)
    # By rule: SQLite reads the whole table to find pairs.
    for rule, every in keys.items():
        for portion in batched(every):
            here = (table.c.rule == rule, table.c.key.in_(portion), table.c.ended.is_(None))
            for key, *delivery, until in transaction.execute(select(table.c.key, *_KEY, table.c.until).where(*here)):
                who = found[Place(rule, key)]
                (who.now if until > now else who.lost).add(Key(*delivery))
    return found


def take(transaction: Connection, taken: Iterable[tuple[Key, Place]], owner: str, now: datetime) -> None:
    """Write that the consumer *owner* has these places from *now*, for these deliveries, until its lease runs out."""
    rows = [
        {**_delivery(key), "rule": place.rule, "key": place.key, "owner": owner, "since": now, "until": now + LEASE}
        for key, place in taken
    ]
    if rows:
        statement = inserting(transaction.dialect.name, table)
        held = {name: statement.excluded[name] for name in ("owner", "until")}
        upsert = statement.on_conflict_do_update(
            index_elements=table.primary_key.columns, set_={**held, "ended": statement.excluded["ended"]}
        )
        transaction.execute(upsert, rows)


def renew(transaction: Connection, owner: str, now: datetime) -> None:
    """Prolong the leases of all places that the consumer *owner* has."""
    transaction.execute(update(table).where(table.c.owner == owner).values(until=now + LEASE))


def keep(transaction: Connection, waiting: Iterable[tuple[Key, datetime]]) -> None:
    """Keep the places of deliveries that come back at the given time, such as those whose job runs."""
    rows = [{**_own(key), "its_until": again + UNATTENDED} for key, again in waiting]
    if rows:
        kept = update(table).where(*_HERE, table.c.ended.is_(None))
        transaction.execute(kept.values(owner="", until=bindparam("its_until")), rows)


def leave(transaction: Connection, keys: Collection[Key], now: datetime) -> None:
    """Free the places of the deliveries *keys*; nodes on which they acted are remembered with the time."""
    if rows := [_own(key) for key in keys]:
        transaction.execute(delete(table).where(*_HERE, ~_IS_ACTED), rows)
    leave_nodes(transaction, keys, now)


def leave_nodes(transaction: Connection, keys: Collection[Key], now: datetime) -> None:
    """Write that the actions of the deliveries *keys* on nodes ended *now*; their other places stay taken."""
    if rows := [_own(key) for key in keys]:
        ended = update(table).where(*_HERE, _IS_ACTED, table.c.ended.is_(None))
        transaction.execute(ended.values(owner="", until=now, ended=now), rows)


def acted(transaction: Connection, rule: str, since: datetime, now: datetime) -> dict[str, datetime | None]:
    """Return the nodes that *rule*, which begins with `ACTED`, counts after *since*: when actions on them ended.

    That is None while one is under way; where its consumer was killed and nobody went on, it ended with the lease.
    """
    of_rule = select(table.c.key, table.c.until, table.c.ended).where(table.c.rule == rule)
    # Two queries, each of which reads an index alone: with one, SQLite would read all places of the rule.
    both = union_all(of_rule.where(table.c.ended.is_(None)), of_rule.where(table.c.ended > since))
    found: dict[str, datetime | None] = {}
    for node, until, ended in transaction.execute(both):
        end = ended or (None if until > now else until)
        if end is not None and end <= since:
            continue
        known = found.get(node, end)
        found[node] = None if known is None or end is None else max(known, end)
    return found


ACTED = "acted "
"""How the rules begin whose places are nodes, and are remembered after the end of the delivery."""

_IS_ACTED = table.c.rule.startswith(ACTED)
_KEY = (table.c.event_id, table.c.subscription, table.c.replay)
_HERE = tuple(each == bindparam(f"its_{each.name}", type_=each.type) for each in _KEY)


def _delivery(key: Key) -> dict[str, object]:
    return {"event_id": key.event_id, "subscription": key.subscription, "replay": key.replay, "ended": None}


def _own(key: Key) -> dict[str, object]:
    return {f"its_{name}": value for name, value in key._asdict().items()}
