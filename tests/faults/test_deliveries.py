"""Deliveries that take long, and that are handed over, while consumers are killed."""

import time
from datetime import timedelta

import pika
import pytest

from consumers.dead_letters.kept_letters import find
from consumers.policies.retry import RetryPolicy
from router.broker.topology import DEAD, queue_of
from tests.consuming import effect, lines, make_event, make_subscription, making, publish, stop_for_good
from tests.operating import Consumer
from tests.rabbit import new_broker
from tests.waiting import wait_for

SECOND = timedelta(seconds=1)
HASTY = {"deferred after": 0.5, "deferred for": 1}


def until(path):
    """Return the code that waits for *path*."""
    return f"while not os.path.exists({str(path)!r}): time.sleep(0.02)"


@pytest.fixture
def consume(vhost_url, tmp_path):
    """A function that returns a consumer of these subscriptions, to be started and killed."""
    with making(vhost_url, tmp_path, Consumer) as make:
        yield make


@pytest.mark.parametrize("moment", ["before it is handed over", "after it is handed over", "before the ack"])
def test_what_is_given_up_is_taken_over_once_and_kept_once(consume, vhost_url, tmp_path, tap, moment):
    once = RetryPolicy(attempts=1, then="page-oncall")
    consumer = consume(
        make_subscription("restart-disk", effect(tmp_path / "restarted", "sys.exit(3)"), retry=once),
        make_subscription("page-oncall", effect(tmp_path / "paged"), on=("none",), patterns=("none.#",)),
    )
    event = make_event()
    consumer.start(moment).wait_ready()
    publish(vhost_url, [event])
    consumer.wait_killed()

    consumer.start().wait_ready()
    rows = consumer.wait_outcomes(1, subscription="page-oncall")
    letters = wait_for(lambda: tap.count(DEAD) == 0 and find(consumer.store), 20, "the letter")
    stop_for_good(consumer, tap, "restart-disk", "page-oncall")

    assert lines(tmp_path / "restarted") == [f"{event.id} 1"]
    assert lines(tmp_path / "paged") == [f"{event.id} 1"]
    assert [(row.outcome, row.replay) for row in rows] == [("done", ">restart-disk")]
    assert [(each.subscription, each.event_id) for each in letters] == [("restart-disk", event.id)]
    assert tap.count(queue_of("page-oncall")) == 0


def test_a_long_delivery_is_with_the_broker_and_is_called_once(consume, vhost_url, tmp_path, tap, rabbit_admin, vhost):
    consumer = consume(make_subscription("act", effect(tmp_path / "done", until(tmp_path / "go"))))
    consumer.waits = HASTY
    event = make_event()
    consumer.start().wait_ready()

    publish(vhost_url, [event])
    # Twice, so it has come back meanwhile, and was given away again.
    for _ in range(2):
        wait_for(lambda: tap.count("clusterbus.retry.1s") == 1, 20, "it waits for its retry")
        wait_for(lambda: tap.count("clusterbus.retry.1s") == 0, 20, "it comes back")
    before = [row.outcome for row in consumer.attempts()]
    (tmp_path / "go").touch()
    rows = consumer.wait_outcomes(1)
    wait_for(lambda: tap.count("clusterbus.retry.1s") == 0 == tap.count(queue_of("act")), 20, "nothing waits")
    assert consumer.stop() == 0
    # A copy that was just coming back is given back by the stop: whoever comes next finds that it is done.
    consumer.start().wait_ready()
    wait_for(lambda: tap.count("clusterbus.retry.1s") == 0 == tap.count(queue_of("act")), 20, "no copy is left")

    assert before == [None]
    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert lines(tmp_path / "done") == [f"{event.id} 1"]


@pytest.mark.long
def test_a_kill_during_a_long_delivery_brings_it_again_from_the_wait_queue(consume, vhost_url, tmp_path, tap):
    long = make_subscription("act", effect(tmp_path / "done", until(tmp_path / "go")), patterns=("gpfs.*.quota.#",))
    consumer = consume(long, make_subscription("next", effect(tmp_path / "next"), patterns=("gpfs.*.disk.#",)))
    # It waits long enough to be there still after the kill.
    consumer.waits = {"deferred after": 0.5, "deferred for": 15}
    event = make_event()
    consumer.start().wait_ready()
    publish(vhost_url, [event])
    wait_for(lambda: tap.count("clusterbus.retry.15s") == 1, 20, "it waits for its retry")
    # What arrives after the copy was confirmed is acknowledged after the original.
    publish(vhost_url, [make_event(type="gpfs.diskFailure", category="disk")])
    consumer.wait_outcomes(1, subscription="next")

    consumer.kill()
    unsettled = tap.count(queue_of("act"))
    consumer.start().wait_ready()
    wait_for(lambda: len(lines(tmp_path / "done")) == 2, 40, "it is begun again")
    (tmp_path / "go").touch()
    rows = consumer.wait_outcomes(1)
    assert consumer.stop() == 0
    # As above: on a slow machine the next copy may come back just at the stop.
    consumer.start().wait_ready()
    wait_for(lambda: tap.count(queue_of("act")) == 0, 20, "no copy is left")
    assert consumer.stop() == 0

    assert unsettled == 0
    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert lines(tmp_path / "done") == [f"{event.id} 1"] * 2


@pytest.fixture(scope="module")
def hasty_broker(broker):
    """A broker whose limit for what is unsettled is three seconds, and not thirty minutes; it is never stopped."""
    limits = {"consumer_timeout": 3000, "channel_tick_interval": 500}
    with new_broker(broker) as own:
        for name, limit in limits.items():
            own.ctl("eval", f"application:set_env(rabbit, {name}, {limit}).")
        yield own


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_brokers_limit_for_what_is_unsettled_is_never_reached(consume, hasty_broker, tmp_path):
    consumer = consume(make_subscription("act", effect(tmp_path / "done", "time.sleep(7)")), url=hasty_broker.url)
    consumer.waits = HASTY
    event = make_event()
    consumer.start().wait_ready()
    publish(hasty_broker.url, [event])

    is_limited = loses_its_message(hasty_broker.url)
    rows = consumer.wait_outcomes(1)
    assert consumer.stop() == 0

    assert is_limited, "the broker's limit holds: who keeps a message for so long loses it"
    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert lines(tmp_path / "done") == [f"{event.id} 1"]
    assert consumer.words().count("connected to the broker") == 2
    assert "lost the connection to the broker" not in consumer.words()
    assert not any(word in consumer.words() for word in LIMITED)


@pytest.mark.long
# A queue with `order_by` has one active consumer, whose place another has to take.
@pytest.mark.parametrize("order", [(), ("node",)], ids=["any order", "in order"])
@pytest.mark.timeout(180)
def test_where_the_brokers_limit_is_reached_all_goes_on_and_nothing_is_called_twice(
    consume, hasty_broker, tmp_path, order
):
    slow = effect(tmp_path / "done", until(tmp_path / "go"))
    name = "in-order" if order else "in-any-order"
    consumer = consume(make_subscription(name, slow, order_by=order), url=hasty_broker.url)
    events = [make_event(), make_event()]
    consumer.start().wait_ready()

    publish(hasty_broker.url, events[:1])
    wait_for(lambda: any(word in consumer.words() for word in LIMITED), 60, "the broker takes it back")
    (tmp_path / "go").touch()
    consumer.wait_outcomes(1)
    publish(hasty_broker.url, events[1:])
    rows = consumer.wait_outcomes(2)
    assert consumer.stop() == 0

    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")] * 2
    assert lines(tmp_path / "done") == [f"{event.id} 1" for event in events]


LIMITED = ("the broker closed a consuming channel", "the broker cancelled a consumer")
"""What a consumer says of the limit: before RabbitMQ 4.3, and since."""


def loses_its_message(url):
    """Say whether who keeps a message of a quorum queue loses it in four minutes: by its channel, or its consumer."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare("plain", durable=True, arguments={"x-queue-type": "quorum"})
    channel.basic_publish("", "plain", b"")
    channel.basic_consume("plain", lambda *_: None)
    deadline = time.monotonic() + 240
    while channel.is_open and channel.consumer_tags and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    is_lost = channel.is_closed or not channel.consumer_tags
    connection.close()
    return is_lost
