"""How much each statement reads in a store that has been used for long, and what makes one look so."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Table, event, insert, text

from consumers.policies.group_keys import key_of
from consumers.policies.places import short
from consumers.policies.throttling import rates
from consumers.store import schema
from consumers.store.alerts import alert_rows
from consumers.store.database import Store
from consumers.store.limits.taken_places import ACTED
from consumers.store.schema import alert_tables
from consumers.subscriptions.models import Subscription
from router import database
from router.model.events import Event
from router.model.ids import new_id
from tests.alerts import alert_row
from tests.engines import START

_PORTION = 1000
_LONGEST = timedelta(minutes=5)
_OLD = timedelta(days=8)
"""Older than what the subscriptions of a test look back on, younger than what is deleted."""


def fill(
    store: Store, count: int, subscriptions: tuple[Subscription, ...], event_: Event, start: datetime = START
) -> None:
    """Write *count* finished and as many waiting deliveries of *subscriptions*, with all that is left of the former.

    They are of events like *event_*: with the same keys, lanes and nodes.  Those that wait are in another lane, since
    just before *start*; the others are eight days older, and more.
    """
    # Those of another start are other rows, which follow.
    first = 0 if start == START else count
    chosen = ((number, subscriptions[number % len(subscriptions)]) for number in range(first, first + count))
    write(store, (row for number, each in chosen for row in _left_by(number, each, event_, start)))


def write(store: Store, wanted: Iterable[tuple[Table, dict[str, Any]]]) -> None:
    """Write the rows *wanted*, each with its table."""
    rows: dict[Table, list[dict[str, Any]]] = {}
    for table, row in wanted:
        rows.setdefault(table, []).append(row)
    # It waits for nobody: on a busy machine it may take longer than a command.
    with database.within(_LONGEST), store.writing() as transaction:
        for table, every in rows.items():
            for at in range(0, len(every), _PORTION):
                transaction.execute(insert(table), every[at : at + _PORTION])
        if transaction.dialect.name == "postgresql":
            # As its own process does after so many rows.
            transaction.execute(text("ANALYZE"))


def _left_by(
    number: int, subscription: Subscription, event_: Event, start: datetime
) -> Iterator[tuple[Table, dict[str, Any]]]:
    name, at = subscription.name, start - _OLD - number * timedelta(seconds=20)
    id_, ended = new_id(at), at + timedelta(seconds=1)
    attempt = {"event_id": id_, "subscription": name, "replay": "", "attempt": 1, "event": event_.type}
    attempt |= {"topic": event_.topic, "node": event_.node, "started": at, "ended": ended, "digest": "d", "owner": ""}
    lane = key_of(event_, subscription.order_by) if subscription.order_by else None
    yield schema.deliveries, attempt | {"outcome": "done", "lane": lane}
    waiting = {"event_id": new_id(at), "outcome": "wait", "delay": 60, "started": start - timedelta(minutes=1)}
    yield schema.deliveries, attempt | waiting | {"ended": start, "lane": lane and f"{lane} of others"}
    for rate in rates(subscription.once_per, subscription.limit):
        passed = {"subscription": name, "rule": rate.word, "key": key_of(event_, rate.by), "event_id": id_, "at": at}
        yield schema.passes, passed
    if subscription.fold:
        group = {"subscription": name, "head": id_, "key": key_of(event_, subscription.fold.by), "due": at}
        yield schema.folds, group | {"told": ended, "events": 3, "facts": "{}"}
    if subscription.guard and subscription.guard.blast_radius:
        place = {"rule": short(f"{ACTED}{event_.cluster} subscription {name}"), "key": f"n{number % 100 + 1:03d}"}
        place |= {"event_id": id_, "subscription": name, "replay": "", "owner": "", "since": at}
        yield schema.places, place | {"until": ended, "ended": ended}
    yield schema.failures, {"subscription": name, "at": at, "mark": id_}
    yield schema.stops, _stop(id_, name, at)
    yield schema.approvals, _approval(number, id_, name, event_, at)
    yield schema.events, _audited(number, id_, event_, at)
    yield from _letters(number, id_, name, at)
    silence = {"id": id_, "subscription": "", "where": "true", "author": "a", "comment": "", "made": at}
    yield schema.silences, silence | {"until": ended}
    yield schema.breakers, {"target": f"target {number}", "failed": 1, "reason": "refused", "latest": at}
    receiver = {"subscription": name, "purpose": "send", "address": f"https://{number}", "every": 300, "tried": at}
    yield alert_tables.receivers, receiver | {"error": ""}
    yield from _alert(number, id_, at)


def _stop(id_: str, name: str, at: datetime) -> dict[str, Any]:
    row = {"id": id_, "subscription": name, "cluster": "prod", "node": "n1", "event": "gpfs.x", "event_id": id_}
    row |= {"at": at, "reason": "9 failures", "reported": at, "by": "a", "comment": ""}
    return row | {"resumed": at, "resume_reported": at}


def _approval(number: int, id_: str, name: str, event_: Event, at: datetime) -> dict[str, Any]:
    row = {"id": f"{number:012x}", "event_id": id_, "subscription": name, "event": event_.type, "plan": "{}"}
    return row | {"asked": at, "until": at, "state": "refused", "by": "a"}


def _audited(number: int, id_: str, event_: Event, at: datetime) -> dict[str, Any]:
    row = {"sequence": number + 1, "id": id_, "event": event_.type, "topic": event_.topic}
    return row | {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "body": event_.to_json(), "chain": b"c" * 32}


def _letters(number: int, id_: str, name: str, at: datetime) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield a letter that was edited and replayed, and one that waits for a decision."""
    letter = {"kind": "delivery", "event_id": id_, "event": "gpfs.x", "subscription": name, "attempt": 1}
    letter |= {"exchange": "", "topic": "t", "reason": "no", "body": b"{}", "headers": "{}", "kept_at": at, "by": ""}
    replayed = f"{2 * number:016x}"
    yield schema.letters, letter | {"id": replayed, "state": "replayed", "replay": id_, "settled_at": at}
    yield schema.letters, letter | {"id": f"{2 * number + 1:016x}", "state": "kept", "replay": "", "settled_at": None}
    edit = {"letter": replayed, "number": 1, "by": "a", "at": at, "changes": "[]", "body": b"{}"}
    yield schema.amendments, edit


def _alert(number: int, id_: str, at: datetime) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield an alert of the rule `node-down` that is over, and what is kept of it."""
    key, closed = f"{number:064x}", {"state": "closed", "change": 2, "told": True, "depth": 0}
    fields = {"rule": "node-down", "node": f"n{number % 100 + 1:03d}", "since": at, "until": at + timedelta(minutes=1)}
    row = alert_row(id_, key=key, **fields, **closed)
    yield alert_tables.alerts, alert_rows.values(row)
    subject = {"key": key, "rule": "node-down", "cluster": "prod", "about": "[]", "policy": "{}", "base": "{}"}
    yield alert_tables.keys, subject | {"latest": at}
    seen = {"key": key, "id": id_, "at": at, "kind": "opens", "facts": "{}", "alert": id_, "body": None}
    yield alert_tables.observations, seen
    for change in (1, 2):
        told = {"id": new_id(at), "alert": id_, "number": change, "name": "alertOpened", "at": at, "cause": "event"}
        yield alert_tables.changes, told | {"by": "", "comment": "", "why": "", "body": b"{}", "published": at}


_PARAMETER = r"(?:\?|%\(\w+\)s(?:::\w+)?)"
_LISTS = re.compile(rf"\({_PARAMETER}(?:, {_PARAMETER})*\)")


class Reads(dict[str, int]):
    """What each statement has read at most, by statement: steps of SQLite's machine, rows and pages of PostgreSQL."""

    def __init__(self) -> None:
        """Begin without statements."""
        super().__init__()
        self.current = ""
        self.steps = 0
        self.among = 1

    def end(self) -> None:
        """Note what the current statement has read."""
        if self.current:
            self.add({_LISTS.sub("(...)", self.current): self.steps // self.among})
        self.current, self.steps, self.among = "", 0, 1

    def add(self, others: Mapping[str, int]) -> None:
        """Note what *others* have read, too."""
        for statement, count in others.items():
            self[statement] = max(self.get(statement, 0), count)

    def step(self) -> int:
        """Count one step; the answer is that SQLite goes on."""
        self.steps += 1
        return 0


@contextmanager
def counted() -> Iterator[Reads]:
    """Count what all statements read meanwhile, whatever the database: on PostgreSQL each is executed twice."""
    reads = Reads()

    def begin(connection, cursor, statement, parameters, _context, many) -> None:  # type: ignore[no-untyped-def]
        reads.end()
        if statement.split(None, 1)[0] not in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE") or "pg_" in statement:
            return
        reads.current, reads.among = statement, len(parameters) if many else 1
        if connection.dialect.name == "sqlite":
            cursor.connection.set_progress_handler(reads.step, 1)
            return
        asking = cursor.connection.cursor()
        asking.execute("SAVEPOINT asking")
        first = parameters[0] if many else parameters
        (plan,) = asking.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", first).fetchone()
        asking.execute("ROLLBACK TO SAVEPOINT asking")
        reads.among, reads.steps = 1, _read((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])

    event.listen(Engine, "before_cursor_execute", begin)
    try:
        yield reads
    finally:
        event.remove(Engine, "before_cursor_execute", begin)
        reads.end()


def _read(node: dict[str, Any]) -> int:
    """Return the rows and entries of indexes that a *node* of a plan and those below it read, about.

    Entries of an index that fit none of its conditions are not said, but the pages are: each has a hundred, about.
    """
    pages = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
    return max(_rows(node), 100 * pages if node["Node Type"] != "ModifyTable" else 0)


def _rows(node: dict[str, Any]) -> int:
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return int(own) + sum(_rows(each) for each in node.get("Plans", ()))
