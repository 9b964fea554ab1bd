"""Delays before the first attempt, over a broker in memory on a clock that the test moves."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, insert

from consumers.deliveries import Report
from consumers.inspection.dry_run import rules
from consumers.policies.schedules.delays import Delay, WrittenDelay
from consumers.policies.throttling import Folding, Limit
from consumers.store.schema import alert_tables
from router.broker.topology import queue_of
from tests.alerts import ALERT, alert_row, change, keep
from tests.consuming import make_event
from tests.engines import START, outcomes, subscription

MINUTE = timedelta(minutes=1)
SOON = timedelta(seconds=10)
WRITTEN = TypeAdapter(WrittenDelay)
TEN = Delay(wait=10 * MINUTE)
UNLESS = Delay(wait=10 * MINUTE, unless=("closed",))
OF_ALERTS = {"on": ("alert",), "patterns": ("clusterbus.*.alert.#",)}


def test_a_delivery_waits_in_the_broker_before_its_first_attempt_and_not_before_the_next(bench):
    bench.handler = lambda delivery: Report(None if delivery.attempt == 2 else "exit", "no")
    bench.start(subscription(delay=TEN))

    bench.publish(make_event())
    bench.broker.advance(10 * MINUTE - SOON)
    assert bench.calls == []
    assert bench.rows()[0].reason == "delayed until 2026-11-20 12:10:00 UTC"
    bench.broker.advance(MINUTE)

    assert [attempt for _, _, attempt in bench.calls] == [1, 2]
    assert outcomes(bench)[-1] == "done"


def test_a_consumer_that_is_killed_does_not_cut_the_delay_short_or_make_it_longer(bench):
    delayed = subscription(delay=TEN)
    bench.start(delayed)
    event = make_event()
    bench.publish(event)
    bench.broker.advance(4 * MINUTE)
    # The broker had not taken the copy that waits, and brings the delivery again.
    bench.lose_connection("tell")
    bench.start(delayed)
    bench.publish(event)
    bench.broker.advance(4 * MINUTE)
    assert bench.calls == []
    bench.broker.advance(3 * MINUTE)

    assert len(bench.calls) == 1


def test_a_limit_that_makes_it_wait_afterwards_does_not_begin_the_delay_anew(bench):
    bench.start(subscription(delay=TEN, limit=Limit(most=1, per=15 * MINUTE)))

    bench.publish(make_event(), make_event())
    bench.broker.advance(11 * MINUTE)
    assert len(bench.calls) == 1
    bench.broker.advance(16 * MINUTE)

    assert len(bench.calls) == 2


def test_a_fold_gathers_what_was_delayed(bench):
    bench.start(subscription(delay=TEN, fold=Folding(wait=MINUTE)))

    bench.publish(make_event(), make_event())
    bench.broker.advance(10 * MINUTE + SOON)
    assert bench.calls == []
    bench.broker.advance(2 * MINUTE)

    assert len(bench.calls) == 1


@pytest.fixture
def alerts(bench):
    """A bench with a subscription that wants to hear of what is still open after ten minutes, and a way to set it."""

    def become(state, **fields):
        with bench.store.writing() as transaction:
            for table in (alert_tables.alerts, alert_tables.changes, alert_tables.keys):
                transaction.execute(delete(table))
            keep(transaction, replace(alert_row(since=START), state=state, **fields))

    bench.become = become
    return bench.start(subscription(delay=UNLESS, **OF_ALERTS))


OPENED = change("alertOpened", f"{ALERT[:-1]}Z", since=f"{START:%Y-%m-%dT%H:%M:%S}Z")
ENDED = change("alertClosed", change=2)


def test_nobody_is_told_of_an_alert_that_is_over_when_the_delay_is_nor_of_its_end(alerts):
    alerts.become("open")
    alerts.publish(OPENED)
    alerts.broker.advance(5 * MINUTE)
    alerts.become("closed")
    alerts.publish(ENDED)
    alerts.broker.advance(6 * MINUTE)

    assert alerts.calls == []
    assert outcomes(alerts) == ["recovered", "recovered"]
    assert {row.reason for row in alerts.rows()} == {
        "the alert was closed within 10m",
        "it goes on with an alert that nobody was notified of",
    }
    assert alerts.waiting(queue_of("tell")) == 0


def test_the_end_of_an_alert_is_told_at_once_to_those_who_were_told_that_it_opened(alerts):
    alerts.become("open")
    alerts.publish(OPENED)
    alerts.broker.advance(11 * MINUTE)
    assert len(alerts.calls) == 1
    alerts.become("closed")
    alerts.publish(ENDED)

    assert len(alerts.calls) == 2


def note(transaction, count):
    """Write so many changes of the alert, beside its opening and its end, that nobody got."""
    at, names = START, ("alert", "name", "cause", "by", "comment", "why")
    same = dict(zip(names, (ALERT, "alertNoted", "person", "", "", ""), strict=True))
    rows = [{**same, "id": f"{each:026d}", "number": each, "at": at, "published": at} for each in range(3, count + 3)]
    for first in range(0, count, 1000):
        transaction.execute(insert(alert_tables.changes), rows[first : first + 1000])


@pytest.mark.thorough
@pytest.mark.parametrize("count", [33_000, 66_000], ids=["sqlite's limit", "postgresql's limit"])
def test_the_end_of_an_alert_with_more_changes_than_a_statement_may_name_is_told(alerts, count):
    alerts.become("closed")
    with alerts.store.writing() as transaction:
        note(transaction, count)
    alerts.publish(ENDED)

    assert outcomes(alerts) == ["done"]


def test_of_a_few_hundred_changes_it_is_known_whether_somebody_was_told(alerts):
    alerts.become("closed")
    with alerts.store.writing() as transaction:
        note(transaction, 500)
    alerts.publish(ENDED)

    assert outcomes(alerts) == ["recovered"]


def test_the_end_of_an_alert_is_told_that_is_older_than_deliveries_are_kept_for_certain(alerts):
    alerts.become("closed", since=START - timedelta(days=8))
    alerts.publish(ENDED)

    assert outcomes(alerts) == ["done"]


def test_an_alert_that_is_acknowledged_is_told_where_only_closed_ones_are_not(alerts):
    alerts.become("acknowledged")
    alerts.publish(OPENED)
    alerts.broker.advance(11 * MINUTE)

    assert outcomes(alerts) == ["done"]


def test_a_reminder_of_what_is_open_for_long_waits_no_more(alerts):
    alerts.become("open")
    alerts.publish(change("alertReminded", since="2026-11-20T08:00:00Z"))

    assert outcomes(alerts) == ["done"]


def test_an_alert_that_the_store_does_not_have_is_told(alerts):
    alerts.publish(OPENED)
    alerts.broker.advance(11 * MINUTE)

    assert outcomes(alerts) == ["done"]


def test_it_may_be_written_as_a_duration_alone():
    assert WRITTEN.validate_python("10m") == TEN
    assert WRITTEN.validate_python({"wait": "10m", "unless": "closed"}) == UNLESS
    for wrong in ("10", "32d", {"wait": "1m", "unless": "gone"}):
        with pytest.raises(ValidationError):
            WRITTEN.validate_python(wrong)


def test_route_says_what_it_waits_for():
    assert [*rules(subscription(delay=UNLESS))] == [
        "waits 10m before the first attempt; skipped if the alert is closed by then"
    ]


def test_no_number_of_returns_from_the_broker_makes_the_delay_shorter(bench):
    event = make_event()
    bench.start(subscription(delay=Delay(wait=timedelta(seconds=12))))
    bench.publish(event)
    for _ in range(5):
        bench.broker.advance(timedelta(seconds=0.1))
        bench.publish(event)
    bench.broker.advance(timedelta(seconds=11))
    assert bench.calls == []
    bench.broker.advance(timedelta(seconds=10))

    assert len(bench.calls) == 1
