"""What a service missed: recorded by the broker, shown, and given to it again, and to nobody else."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from router.broker.client import Rabbit
from router.broker.service_topology import dead_queue, missed_queue, service_queue
from router.errors import Refused
from router.model.events import Event
from router.model.ids import new_id
from router.services import replay as replays
from tests.consuming import make_event, publish
from tests.service_site import ServiceSite
from tests.waiting import wait_for

TICKETS = {"name": "tickets", "on": "disk", "max_bytes": "4MiB"}


def disk_events(count: int, text: str = "") -> list[Event]:
    return [make_event(type="gpfs.diskFailure", category="disk", reason=text) for _ in range(count)]


@pytest.fixture
def behind(service_site: ServiceSite) -> tuple[ServiceSite, list[str]]:
    """A service that was away while 800 events came, twice as many as its queue holds; and their ids."""
    service_site.define(TICKETS, {"name": "other", "on": "disk"})
    service_site.run("apply")
    events = disk_events(800, "x" * 10_000)
    publish(service_site.url, events)
    both = [service_queue("tickets"), missed_queue("tickets")]
    wait_for(lambda: sum(map(service_site.tap.count, both)) == 800, 30, "all events in one of both")
    return service_site, [each.id for each in events]


@contextmanager
def reading(site: ServiceSite, service: str) -> Iterator[list[Any]]:
    """The service reads and acknowledges all that comes, as its own program would."""
    got: list[Any] = []
    stop = threading.Event()

    def work() -> None:
        with site.channel(service) as channel:
            for method, properties, _ in channel.consume(service_queue(service), inactivity_timeout=0.2):
                if method is not None:
                    got.append((method.routing_key, properties))
                    channel.basic_ack(method.delivery_tag)
                if stop.is_set():
                    return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield got
    finally:
        stop.set()
        thread.join()


def ids_of(got: list[Any]) -> list[str]:
    return [properties.message_id for _, properties in got]


@pytest.mark.long
def test_a_service_that_was_away_knows_what_it_missed_and_gets_it(behind: tuple[ServiceSite, list[str]]):
    site, ids = behind
    with reading(site, "tickets") as first:
        wait_for(lambda: len(first) + site.tap.count(missed_queue("tickets")) == 800, 30, "what had waited is read")
    left = ids_of(first)

    shown = [each["id"] for each in site.run("missed", "tickets")]
    wait_for(lambda: site.tap.count(missed_queue("tickets")) == 800 - len(left), 30, "what was looked at is back")
    with reading(site, "tickets") as second:
        (told,) = site.run("replay", "tickets", "--missed", "--apply")
        wait_for(lambda: len(second) == len(shown), 30, "what it missed is read")

    assert left == ids[len(shown) :]
    assert shown == sorted(ids[: len(shown)])
    assert sorted(ids_of(second)) == sorted(shown)
    assert told == {"service": "tickets", "replayed": len(shown)}
    key, properties = second[0]
    assert key == make_event(type="gpfs.diskFailure", category="disk").topic
    assert (properties.headers["service"], properties.type) == ("tickets", "gpfs.diskFailure")
    assert not [name for name in properties.headers if name.startswith("x-") and "death" in name]
    assert site.tap.count(missed_queue("tickets")) == 0
    assert site.tap.count(service_queue("other")) == 800


def test_a_replay_to_one_that_does_not_read_stops_before_its_queue_is_full(
    behind: tuple[ServiceSite, list[str]], monkeypatch: pytest.MonkeyPatch
):
    site, _ = behind
    monkeypatch.setattr(replays, "_PATIENCE", replays._LOOK)
    site.tap.channel.queue_purge(service_queue("tickets"))
    missed = site.tap.count(missed_queue("tickets"))

    with pytest.raises(Refused, match="tickets does not read, and its queue is half full"):
        site.run("replay", "tickets", "--missed", "--apply")

    waiting = [service_queue("tickets"), missed_queue("tickets")]
    wait_for(lambda: sum(map(site.tap.count, waiting)) == missed, 30, "each is in one of both")
    assert 100 <= site.tap.count(service_queue("tickets")) <= 300


def test_a_replay_that_is_killed_loses_nothing(behind: tuple[ServiceSite, list[str]], monkeypatch: pytest.MonkeyPatch):
    site, ids = behind
    with reading(site, "tickets") as got:
        acked = []

        def ack(rabbit: Rabbit, arrival: Any, real: Any = Rabbit.ack) -> None:
            acked.append(arrival.id)
            if len(acked) == 50:
                raise RuntimeError("killed")
            real(rabbit, arrival)

        with monkeypatch.context() as patch:
            patch.setattr(Rabbit, "ack", ack)
            with pytest.raises(RuntimeError, match="killed"):
                site.run("replay", "tickets", "--missed", "--apply")
        site.run("replay", "tickets", "--missed", "--apply")
        wait_for(lambda: {*ids_of(got)} == {*ids}, 30, "all events")


@pytest.mark.long
def test_events_are_replayed_from_the_history_by_id_and_by_time(service_site: ServiceSite):
    service_site.define(TICKETS, {"name": "other", "on": "disk"})
    service_site.run("apply")
    events = disk_events(30)
    publish(service_site.url, [*events, make_event()])
    for each in ("tickets", "other"):
        service_site.tap.channel.queue_purge(service_queue(each))

    found = service_site.run("replay", "tickets", "--since", "1h ago")
    wanted = [events[3].id, events[7].id]
    service_site.run("replay", "tickets", "--ids", wanted[0], "--ids", wanted[1], "--apply")
    by_id = [each.properties.message_id for each in service_site.tap.drain(service_queue("tickets"))]
    service_site.run("replay", "tickets", "--since", "1h ago", "--rate", "100/s", "--apply")
    by_time = [each.properties.message_id for each in service_site.tap.drain(service_queue("tickets"))]

    assert found == [{"service": "tickets", "found": 30}]
    assert by_id == wanted
    assert by_time == [each.id for each in events]
    assert service_site.tap.count(service_queue("other")) == 0


def test_a_long_history_is_replayed_in_portions(service_site: ServiceSite, monkeypatch: pytest.MonkeyPatch):
    service_site.define(TICKETS)
    service_site.run("apply")
    events = disk_events(25)
    publish(service_site.url, events)
    service_site.tap.channel.queue_purge(service_queue("tickets"))
    monkeypatch.setattr(replays, "PORTION", 10)

    service_site.run("replay", "tickets", "--since", "1h ago", "--apply")

    got = [each.properties.message_id for each in service_site.tap.drain(service_queue("tickets"))]
    assert got == [each.id for each in events]


def test_ids_that_the_history_does_not_have_for_it_are_named(service_site: ServiceSite):
    service_site.define(TICKETS)
    service_site.run("apply")
    others, absent = make_event(), new_id()
    publish(service_site.url, [others])

    service_site.run("replay", "tickets", "--ids", others.id, "--ids", absent, "--apply", code=1)

    assert service_site.tap.count(service_queue("tickets")) == 0
    service_site.run("replay", "tickets", "--ids", "x", code=2)
    service_site.run("replay", "tickets", code=2)
    service_site.run("replay", "tickets", "--since", "1h ago", "--rate", "fast", code=2)


def test_what_a_service_rejected_is_not_missed(service_site: ServiceSite):
    service_site.define(TICKETS)
    service_site.run("apply")
    publish(service_site.url, disk_events(1))
    with service_site.channel("tickets") as channel:
        channel.basic_reject(channel.basic_get(service_queue("tickets"))[0].delivery_tag, requeue=False)
    wait_for(lambda: service_site.tap.count(dead_queue("tickets")) == 1, 10, "the dead letter")

    (shown,) = service_site.run("list")

    assert (shown["given_up"], shown["missed"]) == (1, 0)
    assert service_site.run("missed", "tickets") == []
    assert re.fullmatch(r"tickets: 0 events missed\n", service_site.text("replay", "tickets", "--missed"))
