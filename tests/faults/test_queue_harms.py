"""What strangers do to one queue while it is consumed, and what one queue does to its broker: the others go on."""

from contextlib import suppress
from datetime import timedelta

import pika.exceptions
import pytest

from router.broker.amqp import connections
from router.broker.topology import Queue, Topology
from router.local_broker.private_broker import PrivateBroker
from tests.lines import Running, bus
from tests.rabbit import Tap
from tests.waiting import wait_for

SOON = timedelta(seconds=3)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again, and leave a queue, so shortly that a test can wait for it."""
    monkeypatch.setattr(connections, "_LOOK_AGAIN", timedelta(seconds=1))
    monkeypatch.setattr(connections, "LEFT", timedelta(seconds=10))


def test_a_queue_that_becomes_a_stream_under_its_consumer_is_left_and_taken_up_once_it_is_none(
    vhost_url: str, tap: Tap
):
    with Running(vhost_url) as line:
        line.declare(bus("q", "taken"))
        for queue in ("q", "taken"):
            line.consume(queue)
        line.publish("before")
        wait_for(lambda: len(line.arrivals) == 2, 15, "both are served")

        def replaced() -> bool:
            # Our own declaration may come first.
            tap.channel.queue_delete("taken")
            with suppress(pika.exceptions.ChannelClosedByBroker):
                tap.channel.queue_declare("taken", durable=True, arguments={"x-queue-type": "stream"})
                return True
            tap.channel = tap.channel.connection.channel()
            return False

        wait_for(replaced, 15, "a stream")
        wait_for(lambda: line.rabbit.connection.unlike, 15, "it is named")
        line.publish("meanwhile")
        wait_for(lambda: len(line.arrivals) == 3, 15, "the other one goes on")
        assert tap.consumers("taken") == 0

        tap.channel.queue_delete("taken")
        wait_for(lambda: tap.exists("taken") and tap.consumers("taken") == 1, 30, "it is taken up")
        line.publish("after")
        wait_for(lambda: len(line.arrivals) == 5, 15, "both are served")
        assert not line.rabbit.connection.unlike


def test_a_queue_that_a_stranger_reads_alone_is_named_and_read_once_he_has_gone(vhost_url: str, tap: Tap):
    # Of a quorum queue, RabbitMQ gives a second consumer its share all the same.
    tap.channel.queue_declare("taken", durable=True)
    with Running(vhost_url) as line:
        line.declare(bus("q", "taken"))
        tag = tap.channel.basic_consume("taken", lambda *_: None, exclusive=True)
        for queue in ("q", "taken"):
            line.consume(queue)
        line.publish("m")
        wait_for(lambda: len(line.arrivals) == 1, 15, "the other one goes on")
        wait_for(lambda: line.rabbit.connection.unread == ("taken",), 15, "it is named")

        tap.channel.basic_cancel(tag)
        wait_for(lambda: not line.rabbit.connection.unread and tap.consumers("taken") == 1, 30, "it is taken up")


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_queue_that_answers_no_declaration_is_left_and_all_else_goes_on(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    tap = Tap(own_broker.url)
    tap.channel.queue_declare("still", durable=True)
    own_broker.ctl("eval", _PROCESS.format("suspend"))
    with Running(own_broker.url, progress_limit=SOON) as line:
        line.do(lambda: line.rabbit.declare(bus("q") + Topology(queues=(Queue("still"),))))
        line.consume("q")
        line.publish("m")
        wait_for(lambda: line.arrivals, 30, "the other one goes on")
        assert line.rabbit.connection.down == ("still",)

        own_broker.ctl("eval", _PROCESS.format("resume"))
        wait_for(lambda: not line.rabbit.connection.down, 60, "it is there again")
        line.publish("after")
        wait_for(lambda: len(line.arrivals) == 2, 15, "and all goes on")
        line.assert_each_settled_once()
    left = [each for each in caplog.records if "breaks or stops the connection" in each.message]
    assert {each.__dict__["queue"] for each in left} == {"still"}
    tap.close()


_PROCESS = (
    '{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"still">>)), sys:{}(amqqueue:get_pid(Q)).'
)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_stream_that_cannot_be_made_now_is_left_and_all_else_goes_on(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    tap = Tap(own_broker.url)
    # Starts what keeps streams.
    tap.channel.queue_declare("first", durable=True, arguments={"x-queue-type": "stream"})
    own_broker.ctl("eval", "sys:suspend(whereis(rabbit_stream_coordinator)).")
    with Running(own_broker.url, progress_limit=SOON) as line:
        line.do(lambda: line.rabbit.declare(bus("q") + Topology(queues=(Queue("new", {"x-queue-type": "stream"}),))))
        line.consume("q")
        line.publish("m")
        wait_for(lambda: line.arrivals, 60, "the other one goes on")
        assert line.rabbit.connection.down == ("new",)

        own_broker.ctl("eval", "sys:resume(whereis(rabbit_stream_coordinator)).")
        wait_for(lambda: not line.rabbit.connection.down, 90, "it is made")
        assert tap.exists("new")
    left = [each for each in caplog.records if "breaks or stops the connection" in each.message]
    assert {each.__dict__["queue"] for each in left} == {"new"}
    tap.close()
