"""A stream whose data the broker has lost, ours or somebody else's: RabbitMQ 4 breaks who publishes to it."""

import logging
import time
import urllib.parse
from datetime import timedelta

import pytest

from router.broker.amqp import connections
from router.broker.session import Session
from router.broker.topology import EVENTS, HISTORY, base, queue_of, subscription
from router.broker.users.permissions import Role, User, definitions
from router.errors import Refused
from router.local_broker.private_broker import PrivateBroker
from tests.lines import Running
from tests.rabbit import RabbitAdmin, Tap
from tests.waiting import wait_for

_LOSE = (
    '{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{}">>)),'
    " #{{name := Name}} = amqqueue:get_type_state(Q),"
    " rabbit_stream_coordinator:process_command({{delete_stream, Name, #{{}}}})."
)
_FORCE = (
    'N = rabbit_misc:r(<<"/">>, queue, <<"{}">>), Q = try {{ok, X}} = rabbit_db_queue:get_durable(N), X catch _:_ -> N'
    ' end, rabbit_amqqueue:internal_delete(Q, <<"operator">>).'
)
_STREAM = {"x-queue-type": "stream"}


@pytest.fixture(autouse=True)
def release(rabbit_admin: RabbitAdmin) -> None:
    if rabbit_admin.call("GET", "overview")["rabbitmq_version"].startswith("3."):
        pytest.skip("RabbitMQ 3 breaks no connection over a lost stream")


def lose(broker: PrivateBroker, stream: str) -> None:
    """Have *broker* lose *stream*."""
    broker.ctl("eval", _LOSE.format(stream))


def delete(broker: PrivateBroker, stream: str) -> None:
    """Delete the lost *stream*, by force where *broker* refuses it otherwise, as router/broker/README.md says."""
    try:
        broker.ctl("delete_queue", stream)
    except Refused as error:
        assert "coordinator_unavailable" in str(error)  # noqa: PT017 - only this is expected
        broker.ctl("eval", _FORCE.format(stream))


def ids(prefix: str) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(50)]


def as_router(broker: PrivateBroker) -> str:
    """The address of *broker* for a user with a router's rights."""
    name = "clusterbus-router"
    wanted = definitions([User(name, Role.ROUTER, "secret")], vhost="/")
    (rights,) = [each for each in wanted["permissions"] if each["user"] == name]
    broker.ctl("add_user", name, "secret")
    broker.ctl("set_permissions", name, rights["configure"], rights["write"], rights["read"])
    for each in wanted["topic_permissions"]:
        broker.ctl("set_topic_permissions", name, each["exchange"], each["write"], each["read"])
    parts = urllib.parse.urlsplit(broker.url)
    return parts._replace(netloc=f"{name}:secret@{parts.hostname}:{parts.port}").geturl()


def setup(broker: PrivateBroker) -> None:
    """Do what `clusterbus broker setup` does, and what a consumer does."""
    with Session(broker.url, name="test") as session:
        session.declare(base() + subscription("audit", ["#"]))


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("rights", ["all", "router"])
def test_a_lost_history_is_left_out_and_all_else_goes_on_until_it_is_made_again(
    own_broker: PrivateBroker, monkeypatch: pytest.MonkeyPatch, rights: str
):
    monkeypatch.setattr(connections, "LEFT", timedelta(seconds=20))
    setup(own_broker)
    tap = Tap(own_broker.url)
    with Running(own_broker.url if rights == "all" else as_router(own_broker)) as line:
        line.declare(base())
        line.publish("before", exchange=EVENTS)
        line.wait_settled(1, 30)

        lose(own_broker, HISTORY)
        begun = time.monotonic()
        line.publish(*ids("m"), exchange=EVENTS)
        line.wait_settled(51, 30)
        print(f"until all had it: {time.monotonic() - begun:.1f} s")
        wait_for(lambda: line.rabbit.connection.down == (HISTORY,), 30, "it is named")

        delete(own_broker, HISTORY)
        setup(own_broker)
        wait_for(lambda: not line.rabbit.connection.down, 90, "it is taken up")
        line.publish(*ids("n"), exchange=EVENTS)
        line.wait_settled(101, 30)
        wait_for(lambda: tap.count(HISTORY) >= 50, 30, "it gets events again")
        line.assert_each_settled_once()
    assert {each.properties.message_id for each in tap.drain(queue_of("audit"))} == {"before", *ids("m"), *ids("n")}
    tap.close()


@pytest.mark.long
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

        lose(own_broker, "theirs")
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
