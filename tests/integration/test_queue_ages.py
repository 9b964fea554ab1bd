"""The age of what waits is derived from the history, and counts as no delivery."""

import time
from datetime import UTC, datetime, timedelta

import pika
import pytest

from router.broker.client import Rabbit
from router.broker.history import queue_ages
from router.broker.history.queue_ages import Age, Held, read
from router.broker.service_topology import service_queue
from router.broker.topology import EVENTS, PUBLISHED_AT
from tests.consuming import make_event, publish
from tests.service_site import ServiceSite
from tests.waiting import wait_for

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def ages(site: ServiceSite, wanted: dict[str, Held]) -> dict[str, Age]:
    found, problem = read(lambda: Rabbit(site.url, name="test", give_up=timedelta(seconds=30)), wanted)
    assert not problem
    return dict(found)


def numbered(site: ServiceSite, count: int) -> None:
    """Publish events, one after each second after noon by the router's clock; the even ones are of disks."""
    for at in range(count):
        moment = NOON + timedelta(seconds=at)
        event = make_event(type="gpfs.diskFailure", category="disk") if at % 2 == 0 else make_event()
        headers = {PUBLISHED_AT: str(int(moment.timestamp() * 1_000_000))}
        site.tap.channel.basic_publish(
            EVENTS, event.topic, event.to_json(), pika.BasicProperties(message_id=event.id, headers=headers)
        )
    wait_for(lambda: [*ages(site, {"all": Held(["#"], count)}).values()] == [Age(NOON)], 30, "all are in the history")


def test_the_oldest_of_each_queue_is_found(service_site: ServiceSite, monkeypatch: pytest.MonkeyPatch):
    numbered(service_site, 20)
    monkeypatch.setattr(queue_ages, "_FIRST_PART", 2)

    found = ages(
        service_site, {"a": Held(["#"], 1), "b": Held(["*.*.disk.#"], 3), "c": Held(["#"], 21), "d": Held([], 0)}
    )

    assert found == {
        "a": Age(NOON + timedelta(seconds=19)),
        "b": Age(NOON + timedelta(seconds=14)),
        "c": Age(NOON, is_older=True),
    }


def test_what_is_beyond_the_limit_is_older(service_site: ServiceSite, monkeypatch: pytest.MonkeyPatch):
    numbered(service_site, 20)
    monkeypatch.setattr(queue_ages, "_FIRST_PART", 2)
    monkeypatch.setattr(queue_ages, "MOST", 5)

    assert ages(service_site, {"a": Held(["#"], 10)}) == {"a": Age(NOON + timedelta(seconds=14), is_older=True)}


def test_an_empty_history_says_nothing_and_does_not_hang(service_site: ServiceSite, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queue_ages, "LIMIT", timedelta(seconds=1))

    assert ages(service_site, {"a": Held(["#"], 1)}) == {}


@pytest.mark.long
def test_lists_show_it_and_deliver_nothing(service_site: ServiceSite):
    service_site.define({"name": "tickets", "on": "disk"})
    service_site.run("apply")
    begin = time.time()
    publish(service_site.url, [make_event(type="gpfs.diskFailure", category="disk") for _ in range(3)])

    for _ in range(25):
        (shown,) = service_site.run("list")

    assert begin - 1 <= datetime.fromisoformat(shown["oldest"]).timestamp() <= time.time()
    assert shown["is_older"] is False
    got = service_site.tap.channel.basic_get(service_queue("tickets"))[1]
    assert not (got.headers or {}).get("x-delivery-count")
