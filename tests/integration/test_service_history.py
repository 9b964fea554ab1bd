"""`since=`: the history, then the queue, without a hole and without a repetition."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pika
import pytest

from clusterbus import Refused, events
from clusterbus.client import history
from clusterbus.client.stream import Stream
from router.broker.amqp.consumption import OFFSET
from router.broker.client import Rabbit
from router.broker.history import queue_ages
from router.broker.history.queue_ages import Held
from router.broker.topology import EVENTS
from router.model.ids import new_id
from tests.consuming import make_event
from tests.operating import invoke, json_lines
from tests.rabbit import RabbitAdmin, Tap
from tests.service_queue import Service, service_in


@pytest.fixture
def service(vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Service]:
    """The service `tickets`, which may read the history."""
    with service_in(vhost_url, rabbit_admin) as service:
        service.allow(history=True)
        yield service


def numbers(stream: Stream, last: int) -> list[object]:
    """Handle events up to the one with the number *last*, and return all numbers."""
    found: list[object] = []
    with stream:
        for event in stream:
            found.append(event.data["number"])
            if event.data["number"] == last:
                stream.ack()
                break
    return found


def test_past_events_come_first_and_then_new_ones(service: Service) -> None:
    service.publish_numbered(3)
    assert numbers(events(service="tickets", url=service.url), 2) == [0, 1, 2]
    service.publish_numbered(2, first=3)
    seen = []

    with events("#", service="tickets", url=service.url, since="1h") as stream:
        for event in stream:
            seen.append(event.data["number"])
            if len(seen) == 5:
                service.publish_numbered(1, first=5)
            if len(seen) == 6:
                stream.stop()

    assert seen == [0, 1, 2, 3, 4, 5]
    assert service.left() == []


def test_after_an_event_come_those_that_were_published_after_it(service: Service) -> None:
    # One was captured long before it was published, on a node that was cut off.
    first = service.publish_numbered(3)
    late = make_event(number=3)
    service.publish(late)
    assert numbers(events(service="tickets", url=service.url), 3) == [0, 1, 2, 3]

    assert numbers(events("#", service="tickets", url=service.url, since=first[1].id), 3) == [2, 3]


def test_an_event_that_the_history_no_longer_has_is_an_error(service: Service) -> None:
    service.publish_numbered(3)

    with pytest.raises(Refused, match=r"no event \w{26} \(any more\): give since= a time instead.*finished$"):
        next(iter(events("#", service="tickets", url=service.url, since=new_id())))


def test_a_history_without_events_is_no_reason_to_wait(service: Service) -> None:
    stream = events("#", service="tickets", url=service.url, since=timedelta(hours=1))

    with stream:
        started = iter(stream)
        threading.Timer(1, lambda: service_publishes(service)).start()
        assert next(started).data["number"] == 7


def service_publishes(service: Service) -> None:
    service.publish_numbered(1, first=7)


def test_only_the_wanted_events_of_the_history_come(service: Service) -> None:
    service.publish(make_event(number=1), make_event(number=2, type="gpfs.diskFailure", category="disk"))

    assert numbers(events("disk", service="tickets", url=service.url, since="1h"), 2) == [2]


STRANGE = [
    {"headers": {OFFSET: 2**62}},
    {"headers": {OFFSET: -1}},
    {"headers": {OFFSET: "last"}},
    {"headers": {"x-death": [{"count": "many"}], "ce-specversion": "1.0"}, "content_type": "application/json"},
    {"content_type": "text/\u202e", "content_encoding": "gzip", "expiration": "0", "priority": 255},
]
"""Properties of messages that a stranger published to all, without a body that could be read."""


def test_what_strangers_published_hides_no_event_of_the_history(service: Service, vhost_url: str) -> None:
    first, last = service.publish_numbered(2), []
    for properties in STRANGE:
        service.tap.publish(EVENTS, first[0].topic, b"{", pika.BasicProperties(delivery_mode=2, **properties))
        last = service.publish_numbered(1, first=len(first))
        first += last
    settings = {"CLUSTERBUS_BROKER": vhost_url}
    wanted = {"first": Held(["#"], len(first) + len(STRANGE)), "last": Held(["#"], 1)}

    read = numbers(events("#", service="tickets", url=service.url, since="1h"), len(first) - 1)
    shown = json_lines(invoke(settings, "tail", "--since", "1h", "--no-follow", "--json")[1])
    found, problem = queue_ages.read(lambda: Rabbit(vhost_url, name="test", give_up=timedelta(seconds=30)), wanted)

    assert read == [*range(len(first))]
    assert [each["id"] for each in shown if "unreadable" not in each] == [each.id for each in first]
    assert len(shown) == len(first) + len(STRANGE)
    assert (problem, [each.is_older for each in found.values()]) == ("", [False, False])


@pytest.mark.long
@pytest.mark.parametrize("ahead", [5, 500])
def test_nothing_is_missing_or_repeated_while_the_router_goes_on(
    service: Service, vhost_url: str, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(history, "_AHEAD", ahead)
    before, after = 600, 600
    service.publish_numbered(before)
    other = Service(vhost_url, service.admin, Tap(vhost_url))
    meanwhile = threading.Thread(target=lambda: other.publish_numbered(after, first=before))
    seen = []

    with events("#", service="tickets", url=service.url, since="1h") as stream:
        meanwhile.start()
        for event in stream:
            seen.append(event.data["number"])
            if len(seen) == before + after:
                # What is in both comes again from the queue before this one, and must be passed over.
                service.publish_numbered(1, first=before + after)
            if len(seen) > before + after:
                stream.stop()
    meanwhile.join()
    other.tap.close()

    assert seen == [*range(before + after + 1)]
    assert service.left() == []


@pytest.mark.long
def test_with_a_store_a_second_run_repeats_nothing_of_the_history(service: Service, tmp_path: Path) -> None:
    service.publish_numbered(9)
    store = tmp_path / "finished.db"
    seen: list[object] = []
    with suppress(ZeroDivisionError):
        for event in events("#", service="tickets", url=service.url, since="1h", store=store):
            if len(seen) == 4:
                raise ZeroDivisionError
            seen.append(event.data["number"])

    seen += numbers(events("#", service="tickets", url=service.url, since="1h", store=store), 8)
    service.publish_numbered(1, first=9)
    seen += numbers(events(service="tickets", url=service.url, store=store), 9)

    assert seen == [*range(10)]
    assert service.left() == []
