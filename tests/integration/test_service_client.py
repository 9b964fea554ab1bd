"""`from clusterbus import events` over a real broker, with the rights of a service and no others."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from clusterbus import Event, Refused, Rejected, Unreachable, events
from clusterbus.client.stream import Stream
from router.broker.amqp import pika_connection
from tests.consuming import make_event
from tests.proxy import Mode, Proxy
from tests.rabbit import RabbitAdmin
from tests.service_queue import PASSWORD, Service, service_in
from tests.waiting import wait_for

BRIEFLY = timedelta(milliseconds=1)


@pytest.fixture
def service(vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Service]:
    """The service `tickets`."""
    with service_in(vhost_url, rabbit_admin) as service:
        yield service


def reconnected(between: Proxy, before: int) -> bool:
    return between.connections > before


def handled(stream: Stream, count: int) -> list[object]:
    """Handle *count* events, and return their numbers."""
    found: list[object] = []
    with stream:
        for event in stream:
            found.append(event.data["number"])
            if len(found) == count:
                stream.ack()
                break
    return found


def test_each_event_is_acknowledged_when_its_block_is_over(service: Service) -> None:
    _first, _second, third = service.publish_numbered(3)

    with events(service="tickets", url=service.url) as stream:
        for event in stream:
            if event == third:
                break

    assert service.left() == [third.id]
    assert (event.type, event.data["number"]) == ("gpfs.softQuotaExceeded", 2)


@pytest.mark.parametrize("ends", ["raises", "breaks"])
def test_an_event_whose_block_raises_or_breaks_off_comes_again(service: Service, ends: str) -> None:
    _first, second = service.publish_numbered(2)

    with suppress(ZeroDivisionError):
        for event in events(service="tickets", url=service.url):
            if event == second and ends == "raises":
                raise ZeroDivisionError
            if event == second:
                break

    assert service.left() == [second.id]
    assert handled(events(service="tickets", url=service.url), 1) == [1]
    assert service.left() == []


def test_a_handler_is_called_again_and_then_the_event_is_a_dead_letter(service: Service) -> None:
    bad, _good = service.publish_numbered(2)
    calls = []

    @events.handler(service="tickets", url=service.url, attempts=3, pause=BRIEFLY)
    def ticket(event: Event) -> None:
        calls.append(event.data["number"])
        if event == bad:
            raise ZeroDivisionError
        os.kill(os.getpid(), signal.SIGTERM)

    ticket.run()

    assert calls == [0, 0, 0, 1]
    assert service.left() == []
    wait_for(lambda: service.tap.count(service.dead) == 1, 30, "the dead letter")
    (dead,) = service.tap.drain(service.dead)
    assert (dead.properties.message_id, dead.headers["x-first-death-reason"]) == (bad.id, "rejected")


def test_what_a_handler_rejects_is_a_dead_letter_at_once(service: Service) -> None:
    service.publish_numbered(1)
    calls = []

    @events.handler(service="tickets", url=service.url, attempts=3, pause=BRIEFLY)
    def ticket(event: Event) -> None:
        calls.append(event)
        os.kill(os.getpid(), signal.SIGTERM)
        raise Rejected("no such file system")

    ticket.run()

    assert len(calls) == 1
    wait_for(lambda: service.tap.count(service.dead) == 1, 30, "the dead letter")
    assert len(service.tap.drain(service.dead)) == 1


def test_a_handler_that_is_stopped_between_attempts_returns_the_event(service: Service) -> None:
    (event,) = service.publish_numbered(1)

    @events.handler(service="tickets", url=service.url, attempts=3, pause=timedelta(hours=1))
    def ticket(event: Event) -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        raise ZeroDivisionError

    ticket.run()

    assert service.left() == [event.id]
    assert service.tap.count(service.dead) == 0


def test_a_message_that_is_no_event_is_a_dead_letter(service: Service) -> None:
    service.tap.publish("", service.queue, b"not JSON")
    service.publish_numbered(1)

    assert handled(events(service="tickets", url=service.url), 1) == [0]

    wait_for(lambda: service.tap.count(service.dead) == 1, 30, "the dead letter")
    assert [each.body for each in service.tap.drain(service.dead)] == [b"not JSON"]


def test_an_event_that_ends_the_program_each_time_takes_no_others_with_it(
    vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    with service_in(vhost_url, rabbit_admin, limit=2) as service:
        bad, *others = service.publish_numbered(5)
        for _ in range(3):
            with suppress(ZeroDivisionError):
                for event in events(service="tickets", url=service.url):
                    if event == bad:
                        raise ZeroDivisionError

        wait_for(lambda: service.tap.count(service.dead), 20, "its deliveries are used up")
        assert [each.properties.message_id for each in service.tap.drain(service.dead)] == [bad.id]
        assert service.left() == [each.id for each in others]


def test_a_lost_connection_repeats_nothing_and_loses_nothing(service: Service, proxy: Callable[[str], Proxy]) -> None:
    between = proxy(service.url)
    published = service.publish_numbered(300)
    seen = []

    with events(service="tickets", url=["amqp://nobody:nothing@127.0.0.1:1", between.url]) as stream:
        for event in stream:
            if event.data["number"] in (50, 51, 150):
                # Its acknowledgement cannot arrive: the broker delivers it again, and others that were under way.
                before = between.connections
                between.reset()
                wait_for(partial(reconnected, between, before), 60, "it connects again")
            seen.append(event.id)
            if len(seen) == len(published):
                stream.ack()
                break

    assert sorted(seen) == sorted(each.id for each in published)
    wait_for(lambda: service.left() == [], 20, "all are acknowledged")


@pytest.mark.long
def test_heartbeats_go_on_while_a_block_runs(
    service: Service, proxy: Callable[[str], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pika_connection, "_HEARTBEAT", 3)
    between = proxy(service.url)
    service.publish_numbered(1)

    with events(service="tickets", url=between.url) as stream:
        for _ in stream:
            # The broker drops a client that was silent for twice its heartbeat, which is what the block lasts twice.
            time.sleep(13)
            stream.stop()

    assert between.connections == 1
    assert service.left() == []


def test_an_event_that_comes_twice_is_handled_once(service: Service) -> None:
    event, other = make_event(number=1), make_event(number=2)
    service.publish(event, event, other)

    assert handled(events(service="tickets", url=service.url), 2) == [1, 2]

    service.publish(event, event)
    assert handled(events(service="tickets", url=service.url, dedupe=False), 2) == [1, 1]


@pytest.mark.parametrize("kind", ["path", "store", "set"])
def test_a_store_remembers_what_an_earlier_program_has_finished(service: Service, tmp_path: Path, kind: str) -> None:
    places = {"path": str(tmp_path / "finished.db"), "store": events.Store(tmp_path / "finished.db"), "set": set()}
    event, other = make_event(number=1), make_event(number=2)
    service.publish(event)
    assert handled(events(service="tickets", url=service.url, store=places[kind]), 1) == [1]

    service.publish(event, other)

    assert handled(events(service="tickets", url=service.url, store=places[kind]), 1) == [2]
    assert service.left() == []


def test_the_pattern_of_the_program_passes_over_other_events(service: Service) -> None:
    service.publish(make_event(number=1), make_event(number=2, type="gpfs.diskFailure", category="disk"))

    assert handled(events("gpfs.*.disk.#", service="tickets", url=service.url), 1) == [2]

    assert service.left() == []


def test_events_come_to_an_asyncio_program_too(service: Service) -> None:
    service.publish_numbered(3)

    async def program() -> list[object]:
        found: list[object] = []
        stream = events(service="tickets", url=service.url)
        async for event in stream:
            found.append(event.data["number"])
            if len(found) == 3:
                stream.stop()
        return found

    assert asyncio.run(program()) == [0, 1, 2]
    assert service.left() == []


def test_a_password_that_is_replaced_while_the_program_runs_is_read_again(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    service.publish_numbered(2)
    seen = []

    with events(service="tickets", url=service.url_without_password, password_file=file) as stream:
        for event in stream:
            seen.append(event.data["number"])
            if len(seen) == 1:
                service.admin.call("PUT", "users", service.user, body={"password": "another", "tags": ""})
                file.write_text("another\n")
                wait_for(
                    lambda: service.admin.close_connections(service.vhost, service.user),
                    60,
                    "the broker lists the connection",
                )
            if len(seen) == 2:
                stream.stop()

    assert seen == [0, 1]


def test_a_queue_that_is_made_again_is_read_again(
    service: Service, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    service.publish_numbered(1)
    seen = []

    with events(service="tickets", url=service.url) as stream:
        for event in stream:
            seen.append(event.data["number"])
            if len(seen) == 1:
                service.tap.channel.queue_delete(service.queue)
                # Before that, the broker takes the queue for the one that is gone, and loses what it gets.
                wait_for(lambda: "the broker cancelled a consumer" in caplog.text, 30, "the program knows")
                service.declare(vhost_url)
                service.publish_numbered(1, first=1)
            if len(seen) == 2:
                stream.stop()

    assert seen == [0, 1]


class TestErrors:
    """What only a person can put right is said at once, with the way out."""

    def test_wrong_password(self, service: Service) -> None:
        stream = events(service="tickets", url=service.url.replace(PASSWORD, "wrong"))

        with pytest.raises(Refused, match=r"ACCESS_REFUSED.*clusterbus services rotate tickets") as raised:
            next(iter(stream))

        assert "wrong" not in str(raised.value)

    def test_no_such_queue(self, service: Service) -> None:
        service.tap.channel.queue_delete(service.queue)

        with pytest.raises(Refused, match=r"clusterbus\.svc\.tickets.*NOT_FOUND.*clusterbus services add tickets"):
            next(iter(events(service="tickets", url=service.url)))

    def test_no_right(self, service: Service) -> None:
        service.allow(queues=False)

        with pytest.raises(Refused, match=r"ACCESS_REFUSED.*clusterbus services show tickets"):
            next(iter(events(service="tickets", url=service.url)))

    def test_no_right_to_the_history(self, service: Service) -> None:
        with pytest.raises(Refused, match=r"ACCESS_REFUSED.*history: true.*service tickets"):
            next(iter(events("#", service="tickets", url=service.url, since="1h")))

    def test_broker_away(self, proxy: Callable[[str], Proxy], service: Service) -> None:
        between = proxy(service.url)
        between.mode = Mode.REFUSE
        urls = [between.url, "amqp://nobody:secret@127.0.0.1:1"]

        with pytest.raises(Unreachable, match=r"no broker answers within 1 s: .*127\.0\.0\.1:1") as raised:
            next(iter(events(service="tickets", url=urls, patience=timedelta(seconds=1))))

        assert "secret" not in str(raised.value)

    def test_broker_that_answers_nothing(self, proxy: Callable[[str], Proxy], service: Service) -> None:
        between = proxy(service.url)
        between.mode = Mode.BLACK_HOLE

        with pytest.raises(Unreachable, match=r"no broker answers within 1 s: .*: the first attempt still waits"):
            next(iter(events(service="tickets", url=between.url, patience=timedelta(seconds=1))))
