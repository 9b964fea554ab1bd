"""A queue or exchange that is not as we declare it holds up nothing but itself, is named, and is taken up again."""

import json
import logging
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from router.broker.amqp import connections
from router.broker.session import Session
from router.broker.topology import (
    ALERTS,
    HISTORY,
    RETRY,
    SHARD_QUEUES,
    Binding,
    Exchange,
    Queue,
    Topology,
    base,
    queue_of,
    subscription,
)
from tests.consuming import Consumer, make_event, make_subscription, publish
from tests.faults.test_foreign_queues import mounts
from tests.flow import CLUSTERBUS
from tests.lines import QUORUM, Running, bus
from tests.operating import invoke, json_lines
from tests.processes import environment
from tests.rabbit import RabbitAdmin, Tap
from tests.routing import Site
from tests.waiting import wait_for

UNLIKE = "it exists, but not as this version declares it"
AGAIN = "it is as this version declares it again"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again so often that a test can wait for it."""
    monkeypatch.setattr(connections, "_LOOK_AGAIN", timedelta(seconds=1))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the line said of things that are unlike ours."""
    return [str(each.__dict__["reason"]) for each in caplog.records if each.message == UNLIKE]


@pytest.mark.parametrize(
    ("there", "durable", "difference"),
    [
        ({}, True, "x-queue-type"),
        ({}, False, "durable is false, wanted true"),
        ({**QUORUM, "x-delivery-limit": 3}, True, "x-delivery-limit is 3, wanted 20"),
        ({**QUORUM, "x-max-length": 7, "x-message-ttl": 3_600_000}, True, "x-max-length is 7, wanted none"),
        ({**QUORUM, "x-single-active-consumer": True}, True, "x-single-active-consumer is true, wanted none"),
    ],
    ids=["classic", "transient", "limit", "two", "single"],
)
def test_a_queue_with_other_arguments_is_used_as_it_is_and_named_until_it_is_as_wanted(
    vhost_url: str, tap: Tap, caplog: pytest.LogCaptureFixture, there: dict[str, object], durable: bool, difference: str
):
    caplog.set_level(logging.INFO, "router")
    tap.channel.queue_declare("unlike", durable=durable, arguments=there)
    tap.publish("", "unlike", b"held")
    with Running(vhost_url) as line:
        line.declare(bus("q", "unlike"))
        for queue in ("q", "unlike"):
            line.consume(queue)
        line.publish("m")
        wait_for(lambda: len(line.arrivals) == 3, 15, "both queues get it, and what was held arrives")
        (unlike,) = line.rabbit.connection.differing
        assert "queue unlike exists, but differs" in unlike
        assert difference in unlike

        tap.channel.queue_delete("unlike")
        wait_for(lambda: not line.rabbit.connection.differing, 30, "it is there again, as wanted")
        wait_for(lambda: tap.consumers("unlike") == 1, 30, "and its consumer")
        line.publish("after")
        wait_for(lambda: len(line.arrivals) == 5, 15, "both queues get it")
        line.assert_each_settled_once()
    assert said(caplog) == [unlike]
    assert caplog.messages.count(AGAIN) == 1
    tap.channel.queue_declare("unlike", durable=True, arguments=QUORUM)


@pytest.mark.parametrize(
    ("there", "auto_delete"),
    [({"x-queue-type": "stream"}, False), ({}, True)],
    ids=["stream", "auto-delete"],
)
def test_a_queue_that_would_lose_what_it_holds_is_left_out_and_all_else_goes_on(
    vhost_url: str, tap: Tap, caplog: pytest.LogCaptureFixture, there: dict[str, object], auto_delete: bool
):
    tap.channel.queue_declare("unlike", durable=True, auto_delete=auto_delete, arguments=there)
    with Running(vhost_url) as line:
        line.declare(bus("q", "unlike"))
        for queue in ("q", "unlike"):
            line.consume(queue)
        line.publish("m")
        wait_for(lambda: line.arrivals, 15, "the other one goes on")
        wait_for(lambda: line.rabbit.connection.is_settled, 15, "nothing is awaited")
        (unlike,) = line.rabbit.connection.unlike
        assert "queue unlike exists, but differs from what this version declares, and cannot be used" in unlike
        # RabbitMQ does not count who reads a stream.
        tap.publish("", "unlike", b"held")
        line.publish("meanwhile")
        wait_for(lambda: "meanwhile" in line.ids, 15, "the other one goes on")
        assert {each.queue for each in line.arrivals} == {"q"}
        assert tap.consumers("unlike") == 0

        tap.channel.queue_delete("unlike")
        wait_for(lambda: tap.exists("unlike") and tap.consumers("unlike") == 1, 30, "it is taken up")
        line.publish("after")
        wait_for(lambda: [each.queue for each in line.arrivals].count("unlike") == 1, 15, "and served")
        assert line.rabbit.connection.unlike == ()
    assert said(caplog) == [unlike]


def test_a_step_of_retries_that_would_lose_what_comes_to_it_is_bound_no_longer_and_what_comes_is_kept(
    vhost_url: str, tap: Tap
):
    step = f"{RETRY}.1s"
    tap.channel.queue_declare(step, durable=True)
    tap.channel.exchange_declare(RETRY, "direct", durable=True, arguments={"alternate-exchange": "clusterbus.unrouted"})
    tap.channel.queue_bind(step, RETRY, "1s")
    with Running(vhost_url) as line:
        line.declare(base() + subscription("audit", ["#"]))
        (unlike,) = line.rabbit.connection.unlike
        assert f"queue {step} exists" in unlike

        line.publish("lost?", exchange=RETRY, key="1s")
        wait_for(lambda: tap.count("clusterbus.unrouted") == 1, 15, "it is kept")
        tap.channel.queue_delete(step)
        wait_for(lambda: not line.rabbit.connection.unlike, 30, "it is as wanted")

        def comes_back() -> bool:
            # Its binding is made a moment after it.
            line.publish(f"back{len(line.settlements)}", exchange=RETRY, key="1s", headers={"subscription": "audit"})
            return tap.count(queue_of("audit")) > 0

        wait_for(comes_back, 15, "it came back")


@pytest.mark.long
@pytest.mark.parametrize("wanted", ["broker", "vhost"])
def test_a_queue_that_may_not_be_made_holds_up_nothing_else(
    vhost_url: str, vhost: str, rabbit_admin: RabbitAdmin, tap: Tap, wanted: str
):
    if wanted == "vhost":
        tap.channel.queue_declare("other")
        rabbit_admin.call("PUT", "vhost-limits", vhost, "max-queues", body={"value": 2})
    else:
        # Somebody's own: it goes with its connection.
        tap.channel.queue_declare("unlike", exclusive=True)
    with Running(vhost_url) as line:
        line.declare(bus("q", "unlike"))
        line.consume("q")
        line.publish("m")
        wait_for(lambda: line.arrivals, 30, "the other one goes on")
        named = (*line.rabbit.connection.unlike, *line.rabbit.connection.down)
        assert any("unlike" in each for each in named)

        tap.channel.queue_delete("other" if wanted == "vhost" else "unlike")
        wait_for(lambda: tap.exists("unlike"), 60, "it is made")
        wait_for(lambda: not line.rabbit.connection.unlike + line.rabbit.connection.down, 30, "nothing is wrong")


def test_an_exchange_of_another_type_is_waited_for_and_loses_nothing(
    vhost_url: str, tap: Tap, caplog: pytest.LogCaptureFixture
):
    tap.channel.exchange_declare("bus", "direct", durable=True)
    with Running(vhost_url) as line:
        line.do(lambda: line.rabbit.declare(bus("q")))
        line.publish("m")
        wait_for(lambda: "type is direct, wanted topic" in line.rabbit.connection.problem, 15, "it is named")
        assert line.settled == 0

        tap.channel.exchange_delete("bus")
        line.wait_settled(1, 30)
        line.assert_each_settled_once()
        assert line.rabbit.connection.unlike == ()
    assert len(said(caplog)) == 1


def test_an_exchange_with_other_arguments_is_used_as_it_is(vhost_url: str, tap: Tap):
    tap.channel.exchange_declare("bus", "topic", durable=True)
    topology = Topology(
        exchanges=(Exchange("bus", "topic", {"alternate-exchange": "else"}),),
        queues=(Queue("q", QUORUM),),
        bindings=(Binding("bus", "q", "#"),),
    )
    with Running(vhost_url) as line:
        line.declare(topology)
        line.publish("m")
        line.wait_settled(1)

        (unlike,) = line.rabbit.connection.differing
        assert "exchange bus exists, but differs" in unlike
        assert "alternate-exchange is missing, wanted else" in unlike


@pytest.mark.long
def test_a_missing_queue_that_we_may_not_declare_holds_up_nothing_else(
    vhost_url: str, vhost: str, rabbit_admin: RabbitAdmin, tap: Tap
):
    """As the history is to a router, which may declare nothing."""
    for queue in ("q", "gone"):
        tap.channel.queue_declare(queue, durable=True, arguments=QUORUM)
    tap.channel.exchange_declare("bus", "topic", durable=True)
    tap.channel.queue_bind("q", "bus", "#")
    tap.channel.queue_delete("gone")
    user = f"least-{vhost}"
    rabbit_admin.add_user(user, "word", vhost)
    rabbit_admin.call("PUT", "permissions", vhost, user, body={"configure": "^$", "write": ".*", "read": ".*"})
    scheme, _, rest = vhost_url.partition("://")
    try:
        with Running(f"{scheme}://{user}:word@{rest.rpartition('@')[2]}") as line:
            line.do(lambda: line.rabbit.declare(bus("q", "gone")))
            line.consume("q")
            line.publish("m")
            wait_for(lambda: line.arrivals, 60, "the other one goes on")
            wait_for(lambda: line.rabbit.connection.down == ("gone",), 60, "it is named")

            tap.channel.queue_declare("gone", durable=True, arguments=QUORUM)
            wait_for(lambda: not line.rabbit.connection.down, 60, "it is there")
            line.publish("after")
            wait_for(lambda: tap.count("gone") == 1, 30, "and bound")
    finally:
        rabbit_admin.delete_user(user)


@pytest.fixture
def settings(vhost_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of commands that ask the broker, and know three subscriptions."""
    file = tmp_path / "subscriptions.yaml"
    file.write_text(
        "version: 1\nsubscriptions:\n" + "".join(f"- {{name: {name}, on: mount, log: {{}}}}\n" for name in "abc")
    )
    return {
        "CLUSTERBUS_BROKER": vhost_url,
        "CLUSTERBUS_BROKER_CONTROL": "/nowhere/rabbitmqctl",
        "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file),
        "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{tmp_path / 'store.db'}",
        "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{tmp_path / 'state.db'}",
    }


def test_a_consumer_serves_all_its_subscriptions_while_the_queue_of_one_is_not_as_wanted_and_doctor_says_what(
    vhost_url: str, tap: Tap, tmp_path: Path, settings: dict[str, str]
):
    unlike, age = queue_of("b"), "x-max-age"
    tap.channel.queue_declare(unlike, durable=True)
    tap.channel.queue_declare(HISTORY, durable=True, arguments={"x-queue-type": "stream", age: "1h"})
    subscriptions = [make_subscription(name) for name in ("a", "b", "c")]
    with Consumer(vhost_url, tmp_path, subscriptions) as consumer:
        consumer.wait_ready()
        publish(vhost_url, [make_event()])
        consumer.wait_outcomes(3)

        code, output = invoke(settings, "doctor", "--part", "broker", "--part", "subscriptions", "--json")
        found = [each for each in json_lines(output) if "differs" in each["seen"]]
        assert [(each["part"], each["verdict"]) for each in found] == [("broker", "warning"), ("b", "warning")]
        assert f"queue {HISTORY} exists, but differs" in found[0]["seen"]
        assert any(f"{age} is {each}, wanted 2592000s" in found[0]["seen"] for each in ("1h", "3600s"))
        assert "x-queue-type is classic, wanted quorum" in found[1]["seen"]
        assert all("delete it once it is empty" in each["advice"] for each in found)
        assert code in (0, 1)
        assert consumer.stop() == 0


def test_a_router_starts_and_routes_while_history_and_queues_of_records_are_not_as_wanted(
    vhost_url: str, tmp_path: Path, rabbit_admin: RabbitAdmin
):
    with Site(tmp_path, vhost_url, rabbit_admin) as site:
        wait_for(site.consumers, 30, "the router consumes")
        site.router.stop()
        for queue in (HISTORY, *SHARD_QUEUES):
            site.tap.channel.queue_delete(queue)
            site.tap.channel.queue_declare(queue, durable=True)
        site.router.start()

        site.send(*mounts(site.node("n1"), 3))
        site.wait_for_events(3)
        assert f"queue {SHARD_QUEUES[-1]} exists, but differs" in site.router.words()


def test_setup_declares_all_else_and_says_in_a_sentence_what_differs(
    vhost_url: str, tap: Tap, settings: dict[str, str]
):
    tap.channel.queue_declare(HISTORY, durable=True)
    tap.channel.queue_declare(ALERTS, durable=True, arguments=QUORUM)

    code, output = ended(settings, "broker", "setup")

    assert code == 1
    assert f"queue {HISTORY} exists, but differs from what this version declares, and cannot be used" in output
    assert f"queue {ALERTS} exists, but differs from what this version declares, and is used as it is" in output
    assert "router/broker/README.md" in output
    assert all(tap.exists(each.name) for each in base().queues)
    code, output = ended(settings, "tail", "--since", "1h", "--no-follow")
    assert (code, output.count("clusterbus.history' cannot be consumed")) == (1, 1)
    assert "Traceback" not in output


def test_a_list_of_subscriptions_shows_all_others_where_the_broker_cannot_reach_the_queue_of_one(
    vhost_url: str, tap: Tap, settings: dict[str, str]
):
    with Session(vhost_url, name="test") as session:
        for name in ("a", "c"):
            session.declare(base() + subscription(name, ["#"]))
    tap.channel.queue_declare(queue_of("b"), exclusive=True)

    code, output = invoke(settings, "subscriptions", "list", "--json")

    assert code == 0
    note, *rows = output.splitlines()
    assert note.endswith(f"the broker cannot reach {queue_of('b')}")
    assert [json.loads(each)["waiting"] for each in rows] == [0, None, 0]


def ended(settings: dict[str, str], *words: str) -> tuple[int, str]:
    """Return the exit code and the output of a command, as people see it."""
    done = subprocess.run(
        [CLUSTERBUS, *words], check=False, env=environment(**settings), capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr
