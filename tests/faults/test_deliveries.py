"""Deliveries that take long, and that are handed over, while consumers are killed."""

import time
from datetime import timedelta

import pika
import pytest

from consumers.letters import find
from consumers.retries import RetryPolicy
from router.broker.topology import DEAD, queue_of
from tests.consuming import make_event, make_subscription, making, publish, python
from tests.operating import Consumer
from tests.waiting import wait_for

SECOND = timedelta(seconds=1)
HASTY = {"entrusted after": 0.5, "entrusted for": 1}


def effect(path, more="pass"):
    """Return the command that leaves a line in *path*: the event, the attempt."""
    line = "os.environ['CLUSTERBUS_EVENT_ID']+' '+os.environ['CLUSTERBUS_ATTEMPT']+'\\n'"
    return python(f"import os,sys,time\nopen({str(path)!r},'a').write({line})\n{more}")


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


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
    wait_for(lambda: tap.count(queue_of("restart-disk")) == 0 == tap.count(queue_of("page-oncall")), 20, "empty queues")
    letters = wait_for(lambda: tap.count(DEAD) == 0 and find(consumer.store), 20, "the letter")
    assert consumer.stop() == 0

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
        wait_for(lambda: tap.count("clusterbus.retry.1s") == 1, 20, "it waits on a rung")
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


def test_a_kill_during_a_long_delivery_brings_it_again_from_the_wait_queue(consume, vhost_url, tmp_path, tap):
    consumer = consume(make_subscription("act", effect(tmp_path / "done", until(tmp_path / "go"))))
    consumer.waits = HASTY
    event = make_event()
    consumer.start().wait_ready()
    publish(vhost_url, [event])
    wait_for(lambda: tap.count("clusterbus.retry.1s") == 1, 20, "it waits on a rung")

    consumer.kill()
    unsettled = tap.count(queue_of("act"))
    consumer.start().wait_ready()
    wait_for(lambda: len(lines(tmp_path / "done")) == 2, 20, "it is begun again")
    (tmp_path / "go").touch()
    rows = consumer.wait_outcomes(1)
    assert consumer.stop() == 0

    assert unsettled == 0
    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert lines(tmp_path / "done") == [f"{event.id} 1"] * 2
    assert tap.count(queue_of("act")) == 0


@pytest.mark.timeout(180)
def test_the_brokers_limit_for_what_is_unsettled_is_never_reached(consume, own_broker, tmp_path):
    own_broker.ctl(
        "eval",
        "application:set_env(rabbit, consumer_timeout, 3000), application:set_env(rabbit, channel_tick_interval, 500).",
    )
    consumer = consume(make_subscription("act", effect(tmp_path / "done", "time.sleep(7)")), url=own_broker.url)
    consumer.waits = HASTY
    event = make_event()
    consumer.start().wait_ready()
    publish(own_broker.url, [event])

    is_closed = was_closed(own_broker.url)
    rows = consumer.wait_outcomes(1)
    assert consumer.stop() == 0

    assert is_closed, "the broker's limit holds: who keeps a message for so long loses the channel"
    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert lines(tmp_path / "done") == [f"{event.id} 1"]
    assert consumer.words().count("connected to the broker") == 2
    assert "connection lost" not in consumer.words()


def was_closed(url):
    """Say whether a channel that keeps a message is closed by the broker within ten seconds."""
    parameters = pika.URLParameters(url)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare("plain", durable=True)
    channel.basic_publish("", "plain", b"")
    channel.basic_consume("plain", lambda *_: None)
    deadline = time.monotonic() + 10
    while channel.is_open and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    is_closed = channel.is_closed
    connection.close()
    return is_closed
