"""What `doctor` and the lists ask takes no longer on gigabytes than on kilobytes: no query reads a whole table.

`python -m tests.benchmarks.large_store FOLDER 5` makes a store of 5 GB to see it on.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from consumers.errors import AlertNotFound
from consumers.inspection import explain
from consumers.inspection.doctor import databases
from consumers.inspection.status import alert_listing
from consumers.inspection.status.alert_listing import AlertFilter
from consumers.store import audit, letters, queries
from consumers.store.alerts import alerts, outbox, subjects
from consumers.store.database import Store
from consumers.store.retention import old_alerts, old_rows
from router.model.ids import new_id
from tests.consuming import make_delivery

NOW = datetime(2026, 11, 20, tzinfo=UTC)
_LARGE = "events|deliveries|letters|amendments|passes|folds|alerts|alert_changes|alert_observations|alert_keys"

QUESTIONS: dict[str, Callable[[Connection], object]] = {
    "deliveries": queries.find,
    "deliveries --outcome dead": lambda transaction: queries.find(transaction, outcome="dead"),
    "deliveries --outcome open": lambda transaction: queries.find(transaction, outcome="open"),
    "deliveries --node": lambda transaction: queries.find(transaction, node="nsd01"),
    "deliveries --subscription": lambda transaction: queries.find(transaction, subscription="act"),
    "deliveries --failure": lambda transaction: queries.find(transaction, failure="01234567"),
    "deliveries --event-id": lambda transaction: queries.find(transaction, event_id=new_id()),
    "deliveries --summary --since": lambda transaction: queries.count(transaction, since=NOW),
    "jobs list": lambda transaction: queries.waiting(transaction, NOW, 1000),
    "dead list": letters.summaries,
    "dead list --subscription": lambda transaction: letters.summaries(transaction, subscription="act"),
    "dead list --group": lambda transaction: letters.summaries(transaction, limit=10**6),
    "the newest of the audit": audit.find,
    "rejected records that are too many": lambda transaction: old_rows.with_too_many(transaction, 200),
    "alerts list": lambda transaction: alert_listing.find(transaction, AlertFilter(), 100),
    "alerts list --rule --node": lambda transaction: alert_listing.find(
        transaction, AlertFilter(("closed",), "disk-down", "prod", "error", frozenset(("nsd01",)), NOW), 100
    ),
    "rules of alerts": lambda transaction: alerts.known(transaction, "rule"),
    "alerts of a rule": lambda transaction: alerts.select(
        transaction, states=("open", "acknowledged", "closed"), rule="disk-down", limit=1
    ),
    "what is due on alerts": lambda transaction: outbox.due_alerts(transaction, 1, 200),
    "when something is due next": outbox.next_due,
    "alerts that close by themselves": lambda transaction: outbox.quiet_keys(transaction, 1, 200),
    "alerts that were held back": lambda transaction: outbox.held_keys(transaction, 200),
    "alerts whose rule is gone": lambda transaction: outbox.keys_of_other_rules(transaction, ["a", "b"], 200),
    "changes that are not published": lambda transaction: outbox.unpublished(transaction, 500),
    "the oldest of these": outbox.oldest_unpublished,
    "open alerts, counted": alerts.count_open,
    "one alert": lambda transaction: alerts.find(transaction, new_id()),
    "alerts that are old": lambda transaction: old_alerts.delete_alerts(transaction, old_alerts.old_alerts(), NOW, 200),
    "what an event is about": lambda transaction: subjects.read(transaction, ["a", "b"]),
    "open members of a group": lambda transaction: subjects.has_open_members(transaction, "a", "prod"),
    "alerts show": lambda transaction: alert_listing.notified(transaction, new_id()),
}


@pytest.fixture
def asked(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """The queries that are asked of any database meanwhile; the store has one event."""
    with store.writing() as transaction:
        audit.append(transaction, [make_delivery()])
    seen: list[tuple[str, Any]] = []

    def note(_connection, _cursor, statement, parameters, _context, _many):
        if re.match(r"\s*(SELECT|WITH)\b", statement) and re.search(rf"\b({_LARGE})\b", statement):
            seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def slow_steps(transaction: Connection, statement: str, parameters: Any) -> list[str]:
    """Return the steps of the plan of *statement* that take longer the more the table holds."""
    if transaction.dialect.name == "sqlite":
        plan = [row[3] for row in transaction.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        # In the order of the rows, which is that of their numbers, reading ends with the limit.
        is_limited = "LIMIT" in statement and not any("TEMP B-TREE FOR ORDER" in step for step in plan)
        return [step for step in plan if re.fullmatch(rf"SCAN ({_LARGE})", step) and not is_limited]
    # On a small table PostgreSQL reads all of it whatever the indexes; this is what it does on a large one.
    transaction.execute(text("SET LOCAL enable_seqscan = off"))
    plan = [row[0] for row in transaction.exec_driver_sql(f"EXPLAIN {statement}", parameters)]
    return [step for step in plan if re.search(rf"Seq Scan on ({_LARGE})", step)]


def assert_quick(store: Store, asked: list[tuple[str, Any]]) -> None:
    found, asked[:] = [*asked], []
    assert found
    with store.writing() as transaction:
        assert {each[0]: slow for each in found if (slow := slow_steps(transaction, *each))} == {}


@pytest.mark.parametrize("question", QUESTIONS)
def test_lists_read_no_whole_table(store, asked, question) -> None:
    with store.reading() as transaction, suppress(AlertNotFound):
        QUESTIONS[question](transaction)

    assert_quick(store, asked)


def test_doctor_reads_no_whole_table(store, asked, database) -> None:
    assert [each.verdict for each in databases.store(database("store"))] == ["ok"]

    assert_quick(store, asked)


def test_why_reads_no_whole_table(store, asked) -> None:
    explain.trace(store, new_id())

    assert_quick(store, asked)


def test_a_query_that_reads_all_would_be_seen(store, asked) -> None:
    with store.reading() as transaction:
        transaction.execute(text("SELECT count(*) FROM deliveries WHERE node = 'nsd01'"))

    with pytest.raises(AssertionError, match="deliveries"):
        assert_quick(store, asked)
