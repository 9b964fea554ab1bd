"""A stream whose data the broker has lost, ours or somebody else's: RabbitMQ 4 breaks who publishes to it."""

import logging
import time
from datetime import timedelta

import pytest

from router.broker.amqp import connections
from router.broker.topology import EVENTS, HISTORY, base, queue_of, subscription
from router.local_broker.private_broker import PrivateBroker
from tests.lines import Running
from tests.rabbit import Tap
from tests.waiting import wait_for

_LOSE = (
    '{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{}">>)),'
    " #{{name := Name}} = amqqueue:get_type_state(Q),"
    " rabbit_stream_coordinator:process_command({{delete_stream, Name, #{{}}}})."
)
_STREAM = {"x-queue-type": "stream"}


def breaks(broker: PrivateBroker, stream: str) -> bool:
    """Have *broker* lose *stream*; say whether that breaks who publishes to it."""
    if broker.ctl("version").strip().startswith("3."):
        pytest.skip("RabbitMQ 3 breaks no connection over a lost stream")
    broker.ctl("eval", _LOSE.format(stream))
    return True


def ids(prefix: str) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(50)]


@pytest.mark.timeout(240)
def test_a_lost_history_is_left_out_and_all_else_goes_on_until_it_is_made_again(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "LEFT", timedelta(seconds=20))
    tap = Tap(own_broker.url)
    with Running(own_broker.url) as line:
        line.declare(base() + subscription("audit", ["#"]))
        line.publish("before", exchange=EVENTS)
        line.wait_settled(1, 30)

        breaks(own_broker, HISTORY)
        begun = time.monotonic()
        line.publish(*ids("m"), exchange=EVENTS)
        line.wait_settled(51, 30)
        print(f"until all had it: {time.monotonic() - begun:.1f} s")
        assert line.rabbit.connection.down == (HISTORY,)

        own_broker.ctl("delete_queue", HISTORY)
        wait_for(lambda: not line.rabbit.connection.down, 90, "it is made again")
        line.publish(*ids("n"), exchange=EVENTS)
        line.wait_settled(101, 30)
        wait_for(lambda: tap.count(HISTORY) >= 50, 30, "it gets events again")
        line.assert_each_settled_once()
    assert {each.properties.message_id for each in tap.drain(queue_of("audit"))} == {"before", *ids("m"), *ids("n")}
    tap.close()


@pytest.mark.timeout(240)
def test_a_lost_stream_of_somebody_else_holds_nothing_of_ours_up_for_long(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "router")
    tap = Tap(own_broker.url)
    with Running(own_broker.url) as line:
        line.declare(base() + subscription("audit", ["#"]))
        tap.channel.queue_declare("theirs", durable=True, arguments=_STREAM)
        tap.channel.queue_bind("theirs", EVENTS, "#")
        line.publish("before", exchange=EVENTS)
        line.wait_settled(1, 30)

        breaks(own_broker, "theirs")
        begun = time.monotonic()
        line.publish(*ids("m"), exchange=EVENTS)
        line.wait_settled(51, 30)
        print(f"until all had it: {time.monotonic() - begun:.1f} s")
        wait_for(lambda: line.rabbit.refusals, 30, "it is noticed")
        line.publish(*ids("n"), exchange=EVENTS)
        line.wait_settled(101, 30)
        line.assert_each_settled_once()
    found = [each for each in caplog.records if "stream of another service is lost" in each.message]
    assert [each.__dict__["queue"] for each in found] == ["theirs"]
    assert {each.properties.message_id for each in tap.drain(queue_of("audit"))} == {"before", *ids("m"), *ids("n")}
    tap.close()
