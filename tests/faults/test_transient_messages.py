"""What a publisher calls transient survives a restart of the broker once it is confirmed: in every queue of ours."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pika
import pytest

from router.broker.service_topology import service, service_exchanges
from router.broker.topology import HISTORY, INGRESS, Topology, base, subscription
from router.local_broker.private_broker import PrivateBroker
from tests.rabbit import RabbitAdmin, SharedBroker, Tap, new_broker
from tests.routing import PATIENCE, SEEN, Site, declare
from tests.waiting import wait_for

TRANSIENT = pika.BasicProperties(delivery_mode=1)
CLASSIC = "a-queue-of-others"
LONG = 300_000
"""Milliseconds: what expires sooner moves on while the broker starts."""


@pytest.fixture
def own_broker(broker: SharedBroker) -> Iterator[PrivateBroker]:
    with new_broker(broker, plugins=["rabbitmq_management"]) as own:
        yield own


def everything() -> Topology:
    """Return all kinds of queues that our programs declare."""
    ours = base() + subscription("any", ["gpfs.#"]) + subscription("in-order", ["gpfs.#"], ordered=True)
    return ours + service_exchanges() + service("tickets", ["gpfs.#"], 2**30)


def first_of(tap: Tap, queue: str) -> bytes | None:
    """Return the body of the first message of *queue*, if it has one; some are only given to consumers."""
    channel = tap.channel.connection.channel()
    channel.basic_qos(prefetch_count=10)
    arguments = {"x-stream-offset": "first"} if queue == HISTORY else None
    _, _, body = next(channel.consume(queue, arguments=arguments, inactivity_timeout=10))
    channel.close()
    return body


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("end", [PrivateBroker.stop, PrivateBroker.kill], ids=["stopped", "killed"])
def test_every_queue_of_ours_keeps_confirmed_transient_messages_over_a_restart(
    own_broker: PrivateBroker, end: Callable[[PrivateBroker], None]
) -> None:
    wanted = everything()
    kept = {each.name for each in wanted.queues if int(each.arguments.get("x-message-ttl", LONG)) >= LONG}
    assert len(kept) > len(wanted.queues) - 5
    with closing(Tap(own_broker.url)) as tap:
        declare(tap, wanted)
    # Only an orderly stop has the broker write where its streams are.
    own_broker.stop()
    own_broker.start()
    with closing(Tap(own_broker.url)) as tap:
        wait_for(lambda: all(map(tap.exists, kept)), PATIENCE, "the queues are there")
        tap.channel.queue_declare(CLASSIC, durable=True, arguments={"x-queue-type": "classic"})
        for each in [*kept, CLASSIC]:
            tap.publish("", each, each.encode(), TRANSIENT)

    end(own_broker)
    own_broker.start()

    with closing(Tap(own_broker.url)) as tap:
        wait_for(lambda: all(map(tap.exists, kept)), PATIENCE, "the queues are there again")
        found = {each: first_of(tap, each) for each in kept}
        if end is PrivateBroker.kill:
            # What an orderly stop writes to disk, a kill does not.
            assert first_of(tap, CLASSIC) is None
    assert found == {each: each.encode() for each in kept}


def restart(site: Site, broker: PrivateBroker) -> None:
    """Kill *broker* while nobody is connected, and start it again."""
    for each in (site.tap, *site._taps.values()):
        each.close()
    broker.kill()
    broker.start()
    site.tap = Tap(broker.url)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_transient_record_of_a_node_becomes_an_event_that_queues_of_others_keep(
    tmp_path: Path, own_broker: PrivateBroker
) -> None:
    with Site(tmp_path, own_broker.url, RabbitAdmin(own_broker.http_url)) as site:
        node = site.node("nsd01")
        site.router.kill()
        sent = [node.record("mount") for _ in range(20)]
        with closing(Tap(site.url_of(node))) as of_node:
            for each in sent:
                properties = each.properties
                properties.delivery_mode = 1
                of_node.publish(INGRESS, each.key, each.body, properties)
        restart(site, own_broker)
        site.router.start()

        # A queue as others make it: a classic one, which loses what is transient when the broker is killed.
        wait_for(lambda: site.tap.count(SEEN) >= len(sent), PATIENCE, "the events")
        site.router.kill()
        restart(site, own_broker)
        found = {each.properties.message_id for each in site.tap.drain(SEEN)}

    assert {each.id for each in sent} <= found
