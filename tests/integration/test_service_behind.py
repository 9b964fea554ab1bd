"""A service whose queue drops events is reported, once for each stretch."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from router.broker.client import Rabbit
from router.broker.service_topology import missed_queue
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.pipeline.reports.service_watch import ServiceWatch
from router.pipeline.state import State, Transaction
from router.services.misses import QUIET, Misses
from tests.consuming import make_event, publish
from tests.service_site import ServiceSite
from tests.waiting import wait_for


class Clock:
    """The time of the test."""

    def __init__(self) -> None:
        self.now = datetime(2026, 12, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watched(service_site: ServiceSite, database: Callable[[str], str]) -> Callable[[Clock], list[Event]]:
    """A function that looks several times, as two routers would, and returns what is to be published."""
    service_site.define({"name": "tickets", "on": "disk", "max_bytes": "4MiB"}, {"name": "other", "on": "disk"})
    service_site.run("apply")

    names = ["tickets", "other", "absent"]

    def look(clock: Clock) -> list[Event]:
        with State(database("state")) as state:
            for _ in range(2):
                broker = Rabbit(service_site.url, name="test", give_up=timedelta(seconds=30))
                watch = ServiceWatch(
                    broker, state, Catalogues.shipped(), lambda: names, clock=clock, period=timedelta(milliseconds=50)
                )
                watch.start()
                broker.later(timedelta(seconds=1), broker.stop)
                broker.run()
            with state.transaction() as transaction:
                return transaction.waiting()

    return look


def overflow(site: ServiceSite, count: int) -> Event:
    """Publish *count* events, so that the oldest are dropped; return the first."""
    missed = site.tap.count(missed_queue("tickets"))
    events = [make_event(type="gpfs.diskFailure", category="disk", reason="x" * 20_000) for _ in range(count)]
    publish(site.url, events)
    wait_for(lambda: site.tap.count(missed_queue("tickets")) > missed, 30, "what was dropped")
    return events[0]


@pytest.mark.long
def test_a_service_that_misses_events_is_reported_once_for_each_stretch(
    service_site: ServiceSite, watched: Callable[[Clock], list[Event]]
):
    clock = Clock()
    assert watched(clock) == []

    clock.now += timedelta(minutes=1)
    first = overflow(service_site, 300)
    (behind,) = watched(clock)
    overflow(service_site, 20)
    assert watched(clock) == [behind]
    clock.now += QUIET
    _, ended = watched(clock)
    back = lambda: service_site.tap.count(missed_queue("tickets")) == ended.data["count"]  # noqa: E731 - used once
    wait_for(back, 30, "what was looked at is back, and each is counted once")
    overflow(service_site, 20)
    again = watched(clock)

    assert (behind.type, behind.subject, behind.severity) == ("clusterbus.serviceBehind", "tickets", "error")
    assert behind.data["command"] == "clusterbus services replay tickets --missed --apply"
    assert (behind.data["firstEventId"], behind.data["firstEventTime"]) == (first.id, first.time)
    assert behind.data["emptiedAt"] == "2026-12-01T12:00:00.000000000Z"
    assert ended.type == "clusterbus.serviceBehindEnded"
    assert ended.data["firstEventId"] == first.id
    assert ended.data["lastMissedAt"] == "2026-12-01T12:01:00.000000000Z"
    assert [each.type for each in again[2:]] == ["clusterbus.serviceBehind"]


@pytest.mark.long
def test_who_looks_at_what_was_missed_causes_no_report(
    service_site: ServiceSite, watched: Callable[[Clock], list[Event]]
):
    clock = Clock()
    watched(clock)
    overflow(service_site, 300)
    watched(clock)
    clock.now += QUIET
    reported = watched(clock)
    count = service_site.tap.count(missed_queue("tickets"))

    # As `services missed` does: all are out for some seconds.
    channel = service_site.tap.channel
    channel.basic_qos(prefetch_count=1000)
    tag = channel.basic_consume(missed_queue("tickets"), lambda *_: None)
    wait_for(lambda: service_site.tap.count(missed_queue("tickets")) == 0, 30, "all are out")
    during = watched(clock)
    channel.basic_cancel(tag)
    channel.basic_recover(requeue=True)
    wait_for(lambda: service_site.tap.count(missed_queue("tickets")) == count, 30, "all are back")

    assert during == watched(clock) == reported


def test_a_look_that_finds_nothing_new_asks_no_database(
    watched: Callable[[Clock], list[Event]], monkeypatch: pytest.MonkeyPatch
):
    asked: list[None] = []
    ask = Transaction.misses

    def counted(transaction: Transaction) -> dict[str, Misses]:
        asked.append(None)
        return ask(transaction)

    monkeypatch.setattr(Transaction, "misses", counted)

    watched(Clock())

    assert len(asked) == 4, "two services, by two routers"
