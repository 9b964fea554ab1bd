"""Nobody feels retention: a portion reads and deletes no more the more the store holds, and all that is over goes."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, select

from consumers.deliveries import FOLDED
from consumers.policies.circuit_breaker import FOR_GOOD
from consumers.store import audit, schema
from consumers.store.alerts import alert_rows
from consumers.store.database import Store
from consumers.store.retention import schedule
from consumers.store.retention.schedule import Retention
from consumers.store.schema import alert_tables
from router.model.ids import new_id
from router.settings.models import ConsumersSettings
from tests.alerts import alert_row
from tests.engines import START
from tests.query_reads import Reads, counted, fill, write
from tests.unit.consumers.delivery.gates.test_blast_radius import about
from tests.unit.consumers.store.test_delivery_reads import SUBSCRIPTIONS, growing

FEW, MANY = 250, 2000
"""How many rows of each table are over, how many are kept because they are young, and how many although they are old.
"""

NOW = START + timedelta(days=500)
EVENT = about(1, fsName="gpfs1")

SMALL = {
    "bindings": "one for each pattern that a subscription ever had: as many as people write",
    "alert_clock": "one row",
    "audit_cuts": "one row",
    "deleted_records": "one for each user of whom rejected records were deleted within a day",
}
"""Tables of which retention deletes nothing, each with why it stays small."""


def kept_although_old(number: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield rows that are older than all ages of the settings, and not over."""
    at = START - timedelta(days=9, seconds=number)
    id_, key = new_id(at), f"open {number:059x}"
    yield alert_tables.alerts, alert_rows.values(alert_row(id_, key=key, rule="disk-down", since=at))
    subject = {"key": key, "rule": "disk-down", "cluster": "prod", "about": "[]", "policy": "{}", "base": "{}"}
    yield alert_tables.keys, subject | {"latest": at}
    group = {"subscription": "fold", "head": id_, "key": f"open {number}", "due": at, "told": None}
    yield schema.folds, group | {"events": 3, "facts": "{}"}
    met = {"event_id": id_, "subscription": "fold", "replay": FOLDED, "attempt": 1, "event": EVENT.type, "owner": ""}
    met |= {"topic": EVENT.topic, "node": EVENT.node, "digest": "d", "outcome": "wait", "delay": 60}
    yield schema.deliveries, met | {"started": NOW, "ended": NOW}
    gone = {"target": f"gone {number}", "failed": 1, "until": FOR_GOOD, "opened": at, "reason": "410", "latest": None}
    yield schema.breakers, gone
    silence = {"id": id_, "subscription": "", "where": "true", "author": "a", "comment": "", "made": at}
    yield schema.silences, silence | {"until": NOW + timedelta(days=1)}


def retention(store: Store, tmp_path: Any) -> Retention:
    return Retention(
        store, ConsumersSettings(jobs=tmp_path / "jobs", keep_audit_size=10**15), lambda: NOW, lambda *_: None
    )


def tidy(store: Store, tmp_path: Any, count: int) -> Reads:
    """Delete some of what is over from a store with so many rows of each kind; return what that reads."""
    fill(store, count, SUBSCRIPTIONS, EVENT)
    write(store, (row for number in range(count) for row in kept_although_old(number)))
    fill(store, count, SUBSCRIPTIONS, EVENT, NOW)
    with counted() as reads:
        made = retention(store, tmp_path)
        assert all(made.portion() for _ in range(8))
    return reads


@pytest.mark.long
@pytest.mark.thorough
def test_what_a_portion_reads_does_not_grow_with_what_is_kept_or_over(database, tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "PORTION", 50)
    # PostgreSQL reads all of a small table for a hundred of its rows.
    monkeypatch.setattr(audit, "_SAMPLE", 10)
    found = []
    for count in (FEW, MANY):
        with Store(database(f"store{count}")) as store:
            found.append(tidy(store, tmp_path, count))

    assert growing(*found) == {}


def sizes(store: Store) -> dict[str, int]:
    """Return the number of rows of each table that has some."""
    with store.reading() as transaction:
        counts = {
            each.name: transaction.scalar(select(func.count()).select_from(each))
            for each in schema.metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count}


def test_all_that_is_over_goes_from_every_table_but_those_that_stay_small(database, tmp_path):
    with Store(database("store")) as store:
        fill(store, FEW, SUBSCRIPTIONS, EVENT)
        assert sizes(store).keys() == {*schema.metadata.tables} - {*SMALL}
        made = retention(store, tmp_path)
        while made.portion():
            pass
        left = sizes(store)

    # Letters that wait for a decision, what is not a whole segment, and the latest stops.
    assert left == {"letters": FEW, "events": 50, "audit_cuts": 1, "stops": len(SUBSCRIPTIONS)}


def test_an_alert_with_many_changes_goes_in_portions_and_what_is_not_published_stays(database, tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "PORTION", 10)
    at = START - timedelta(days=1)
    rows, left = [], []
    for number, count in enumerate((25, 3, 8, 2)):
        id_ = new_id(at)
        closed = {"state": "closed", "since": at, "until": at + number * timedelta(minutes=1), "change": count}
        rows.append((alert_tables.alerts, alert_rows.values(alert_row(id_, **closed))))
        for each in range(1, count + 1):
            change = {"id": new_id(at), "alert": id_, "number": each, "name": "alertNoted", "at": at, "cause": "person"}
            change |= {"by": "", "comment": "", "why": "", "body": b"{}", "published": None if number == 3 else at}
            rows.append((alert_tables.changes, change))
    with Store(database("store")) as store:
        write(store, rows)
        made = retention(store, tmp_path)
        while made.portion():
            left.append((sizes(store)["alerts"], sizes(store)["alert_changes"]))
        left.append((sizes(store)["alerts"], sizes(store)["alert_changes"]))

    assert left == [(4, 28), (4, 18), (3, 13), (2, 10), (1, 2)]
