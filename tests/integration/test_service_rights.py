"""What a service may do with its credentials, and that the worst of it harms nobody else."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, StreamLostError

from router.broker import topology as names
from router.broker.service_topology import GIVEN_UP, LOST, REPLAYS, dead_queue, lost_queue, missed_queue, service_queue
from router.broker.users.permissions import SERVICE_CHANNELS, SERVICE_CONNECTIONS
from tests.consuming import make_event, publish
from tests.service_site import ServiceSite
from tests.waiting import wait_for

LASTING = pika.BasicProperties(delivery_mode=2, headers={"service": "tickets"})
OWN, OTHER = service_queue("tickets"), service_queue("other")
TOPIC = "gpfs.prod.disk.diskFailure.gpfs1.nsd01"


@pytest.fixture
def served(service_site: ServiceSite) -> ServiceSite:
    """Two services, and one that may read the history."""
    service_site.define(
        {"name": "tickets", "on": "disk", "max_bytes": "4MiB"},
        {"name": "other", "on": "disk", "max_bytes": "64MiB"},
        {"name": "historian", "on": "disk", "history": True},
    )
    service_site.run("apply")
    return service_site


def disk_events(count: int, text: str = "") -> list[Any]:
    return [make_event(type="gpfs.diskFailure", category="disk", reason=text) for _ in range(count)]


REFUSED: dict[str, Callable[[Any], object]] = {
    "publish-events": lambda channel: channel.basic_publish(names.EVENTS, TOPIC, b"{}"),
    "publish-own-events": lambda channel: channel.basic_publish(names.OWN_EVENTS, TOPIC, b"{}"),
    "publish-ingress": lambda channel: channel.basic_publish(names.INGRESS, "gpfs.prod.mount.nsd01", b"{}"),
    "publish-return": lambda channel: channel.basic_publish(names.RETURN, "", b"{}"),
    "publish-retry": lambda channel: channel.basic_publish(names.RETRY, "1s", b"{}"),
    "publish-dead": lambda channel: channel.basic_publish(names.DEAD, "", b"{}"),
    "publish-replay": lambda channel: channel.basic_publish(REPLAYS, "other", b"{}"),
    "publish-given-up": lambda channel: channel.basic_publish(GIVEN_UP, "", b"{}"),
    "publish-lost": lambda channel: channel.basic_publish(LOST, lost_queue("other"), b"{}"),
    "publish-own-queue": lambda channel: channel.basic_publish("", OWN, b"{}"),
    "publish-another-queue": lambda channel: channel.basic_publish("", OTHER, b"{}"),
    "declare-queue": lambda channel: channel.queue_declare("clusterbus.svc.mine", durable=True),
    "declare-private-queue": lambda channel: channel.queue_declare("", exclusive=True),
    "declare-exchange": lambda channel: channel.exchange_declare("clusterbus.mine", "fanout"),
    "declare-events": lambda channel: channel.exchange_declare(names.EVENTS, "topic", durable=True),
    "declare-own-queue": lambda channel: channel.queue_declare(OWN, durable=True, arguments={"x-queue-type": "quorum"}),
    "bind-more": lambda channel: channel.queue_bind(OWN, names.EVENTS, "#"),
    "unbind": lambda channel: channel.queue_unbind(OWN, names.EVENTS, "gpfs.*.disk.*.*.*"),
    "bind-another": lambda channel: channel.queue_bind(OTHER, names.EVENTS, "#"),
    "bind-exchanges": lambda channel: channel.exchange_bind(names.INGRESS, names.EVENTS, "#"),
    "delete-own-queue": lambda channel: channel.queue_delete(OWN),
    "delete-another-queue": lambda channel: channel.queue_delete(OTHER),
    "delete-exchange": lambda channel: channel.exchange_delete(names.EVENTS),
    "purge-another": lambda channel: channel.queue_purge(OTHER),
    "purge-missed": lambda channel: channel.queue_purge(missed_queue("tickets")),
    "purge-dead-letters": lambda channel: channel.queue_purge(names.DEAD),
    "get-another": lambda channel: channel.basic_get(OTHER),
    "consume-another": lambda channel: channel.basic_consume(OTHER, lambda *_: None),
    "get-dead-of-another": lambda channel: channel.basic_get(dead_queue("other")),
    "get-missed": lambda channel: channel.basic_get(missed_queue("tickets")),
    "get-lost": lambda channel: channel.basic_get(lost_queue("tickets")),
    "get-ingress": lambda channel: channel.basic_get(names.INGRESS),
    "get-unrouted": lambda channel: channel.basic_get(names.UNROUTED),
    "read-history": lambda channel: next(channel.consume(names.HISTORY)),
}


def test_what_it_has_no_right_to_is_refused(served: ServiceSite):
    publish(served.url, disk_events(3))
    before = served.definitions()
    answers = {}

    for what, attempt in REFUSED.items():
        with served.channel("tickets") as channel:
            channel.confirm_delivery()
            channel.basic_qos(prefetch_count=1)
            try:
                attempt(channel)
            except ChannelClosedByBroker as error:
                answers[what] = error.reply_code

    assert answers == dict.fromkeys(REFUSED, 403)
    assert served.definitions() == before
    assert [served.tap.count(each) for each in (OWN, OTHER)] == [3, 3]


def test_it_reads_rejects_and_purges_its_own_queue_and_nobody_elses(served: ServiceSite):
    events = disk_events(3)
    publish(served.url, events)

    with served.channel("tickets") as channel:
        channel.basic_ack(channel.basic_get(OWN)[0].delivery_tag)
        channel.basic_reject(channel.basic_get(OWN)[0].delivery_tag, requeue=False)
        wait_for(lambda: served.tap.count(dead_queue("tickets")) == 1, 10, "what it rejected")
        rejected = channel.basic_get(dead_queue("tickets"), auto_ack=True)[1]
        channel.queue_purge(OWN)

    assert rejected.message_id == events[1].id
    assert [served.tap.count(each) for each in (OWN, OTHER, missed_queue("tickets"))] == [0, 3, 0]


def test_what_is_delivered_too_often_is_given_up_and_not_missed(served: ServiceSite):
    publish(served.url, disk_events(1))

    with served.channel("tickets") as channel:
        for _ in range(21):
            wait_for(lambda: served.tap.count(OWN) == 1, 10, "the event again")
            channel.basic_reject(channel.basic_get(OWN)[0].delivery_tag, requeue=True)

    wait_for(lambda: served.tap.count(dead_queue("tickets")) == 1, 10, "the dead letter")
    assert served.tap.count(missed_queue("tickets")) == 0


def test_the_history_is_read_by_those_who_may(served: ServiceSite):
    (event,) = events = disk_events(1)
    publish(served.url, events)

    with served.channel("historian") as channel:
        channel.basic_qos(prefetch_count=1)
        offset = {"x-stream-offset": "first"}
        _, properties, _ = next(channel.consume(names.HISTORY, arguments=offset, inactivity_timeout=30))
        assert properties.message_id == event.id
        with pytest.raises(ConnectionClosedByBroker, match="not supported by stream queues"):
            channel.connection.channel().queue_purge(names.HISTORY)


def test_it_opens_only_so_many_connections_and_channels(served: ServiceSite):
    with ExitStack() as stack:
        opened = [stack.enter_context(served.channel("tickets")) for _ in range(SERVICE_CONNECTIONS)]
        with pytest.raises((AMQPError, StreamLostError)), served.channel("tickets"):
            pass
        first = opened[0].connection
        for _ in range(SERVICE_CHANNELS - SERVICE_CONNECTIONS):
            first.channel()
        with pytest.raises((ConnectionClosedByBroker, ChannelClosedByBroker)):
            first.channel()
        with served.channel("other") as channel:
            assert channel.basic_get(OTHER)[0] is None


def test_a_flood_of_refused_requests_holds_up_nobody(served: ServiceSite):
    until = time.monotonic() + 2
    refused = 0
    with ExitStack() as stack:
        connection = stack.enter_context(served.channel("tickets")).connection
        while time.monotonic() < until:
            with suppress(ChannelClosedByBroker):
                channel = connection.channel()
                for _ in range(20):
                    channel.basic_publish(names.EVENTS, TOPIC, b"x" * 1000)
                channel.queue_declare(OTHER, passive=True)
            refused += 1
        publish(served.url, disk_events(20))

    assert refused > 10
    assert served.tap.count(OTHER) == 20


@pytest.mark.long
def test_one_that_never_reads_loses_its_oldest_events_and_others_lose_none(served: ServiceSite):
    events = disk_events(800, "x" * 10_000)

    publish(served.url, events)

    assert served.tap.count(OTHER) == 800
    wait_for(lambda: served.tap.count(OWN) + served.tap.count(missed_queue("tickets")) == 800, 30, "what was dropped")
    left = [each.properties.message_id for each in served.tap.drain(OWN)]
    assert 200 < len(left) < 500
    assert left == [each.id for each in events[-len(left) :]]


@pytest.mark.long
def test_one_that_holds_100_000_events_holds_up_nobody(service_site: ServiceSite):
    service_site.define({"name": "tickets", "on": "disk"}, {"name": "other", "on": "disk"})
    service_site.run("apply")
    held = [0]

    def hold(*_: object) -> None:
        held[0] += 1

    with service_site.channel("tickets") as channel:
        # Without a prefetch, a quorum queue gives a consumer 2,000; a prefetch has 16 bits.
        for consumer in (channel, channel.connection.channel()):
            consumer.basic_qos(prefetch_count=50_000)
            consumer.basic_consume(OWN, hold)
        connection = pika.BlockingConnection(pika.URLParameters(service_site.url))
        publisher = connection.channel()
        for wanted in range(5_000, 105_000, 5_000):
            for _ in range(5_000):
                publisher.basic_publish(REPLAYS, TOPIC, b"{}", LASTING)
            wait_for(partial(_gets, channel.connection, held, wanted), 60, f"{wanted} events")

        began = time.monotonic()
        publish(service_site.url, disk_events(200))
        took = time.monotonic() - began
        connection.close()

    assert (held[0], service_site.tap.count(OTHER)) == (100_000, 200)
    assert took < 30
    wait_for(lambda: service_site.tap.count(OWN) == 100_200, 60, "what comes back when it goes")


def _gets(connection: Any, held: list[int], wanted: int) -> bool:
    connection.process_data_events(0.1)
    return held[0] >= wanted
