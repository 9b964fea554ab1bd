"""A stranger publishes what is no event, and events with properties that no message of ours has: nobody waits."""

import time

import pika
import pytest

from consumers.dead_letters.kept_letters import find
from consumers.policies.retry import RetryPolicy
from consumers.store.database import Store
from router.broker.topology import EVENTS, queue_of
from tests.consuming import make_event, make_subscription, making, publish
from tests.waiting import SLACK, wait_for

PROPERTIES = {
    "id": {"message_id": b"\xff" * 255},
    "headers": {"headers": {f"h{at}": "x" * 10_000 for at in range(12)}},
    "both": {"message_id": b"\xff" * 255, "headers": {"reason": "\x1b" * 100_000, "x-first-death-queue": "y" * 20_000}},
    "names": {"headers": {b"\xff": 1, "x-death": [{b"\xff": b"\xff"}]}},
    "binary": {"headers": {"ce-specversion": "1.0", b"ce-\xff": b"\xff"}, "content_type": b"\xfe"},
    "type": {"type": b"\xfe" * 255, "content_type": b"\xfe" * 255, "correlation_id": b"\xfe" * 255},
}


@pytest.fixture
def consume(vhost_url, tmp_path):
    """A function that returns a consumer of these subscriptions, to be started and killed."""
    with making(vhost_url, tmp_path) as make:
        yield make


@pytest.mark.parametrize("strange", PROPERTIES)
def test_messages_of_a_stranger_become_dead_letters_at_once_and_delay_nobody(consume, vhost_url, tap, strange):
    retry = RetryPolicy(attempts=2, first="1s", growth=1)
    command = ["sh", "-c", 'test "$1" = gpfs1', "sh", "{{ data.fsName }}"]
    consumer = consume(make_subscription("act", command, retry=retry)).start()
    consumer.wait_ready()
    connections = consumer.words().count("connected to the broker")
    event, failing = make_event(), make_event(fsName="none", text="x" * 300)
    begun = time.monotonic()
    for body in (b"{", b"\xff" * 500, failing.to_json()):
        # The key, too, is four times as long as text.
        key = b"gpfs." + b"\xff" * 240
        tap.publish(EVENTS, key, body, pika.BasicProperties(delivery_mode=2, **PROPERTIES[strange]))

    publish(vhost_url, [event])
    wait_for(lambda: consumer.count(outcome="done") == 1, 10, "the honest event")
    wait_for(lambda: tap.count(queue_of("act")) == 0, 10, "an empty queue")
    with Store(consumer.store_url) as store:
        wait_for(lambda: len(find(store)) == 3, 10, "the dead letters")

    assert time.monotonic() - begun < 15 * SLACK
    assert consumer.words().count("connected to the broker") == connections
    assert "the broker will never accept this message" not in consumer.words()
