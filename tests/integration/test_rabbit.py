"""The line to a real RabbitMQ where its stand-in has no say: sessions, denials, strange messages, logs."""

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pytest

from router.broker import topology as names
from router.broker.amqp.requests import Facts
from router.broker.client import Rabbit
from router.broker.interface import Message, Settlement
from router.broker.session import Session
from router.broker.topology import Binding, Topology
from router.errors import BrokerError, Refused, SettingsError, Unreachable
from tests.lines import Running, bus
from tests.processes import bound
from tests.rabbit import RabbitAdmin, SharedBroker, Tap
from tests.waiting import wait_for

SHORT = timedelta(seconds=3)


@pytest.fixture
def dead_url() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def poor_url(broker: SharedBroker, rabbit_admin: RabbitAdmin, vhost: str) -> Any:
    """The address of `vhost` for somebody who may only look at it and write to `bus`."""
    name = f"poor-{vhost}"
    rabbit_admin.call("PUT", "users", name, body={"password": "pass-word", "tags": ""})
    rabbit_admin.call("PUT", "permissions", vhost, name, body={"configure": "^$", "write": "^bus$", "read": "^q$"})
    scheme, _, rest = broker.vhost_url(vhost).partition("://")
    yield f"{scheme}://{name}:pass-word@{rest.rpartition('@')[2]}"
    rabbit_admin.delete_user(name)


def test_a_session_does_one_thing_after_the_other(vhost_url: str, tap: Tap):
    with Session(vhost_url, name="test") as session:
        session.declare(bus("q"))
        settlements = session.publish([Message("bus", f"k{number}", b"", f"id{number}") for number in range(500)])

        assert set(settlements) == {Settlement.CONFIRMED}
        assert len(settlements) == 500
        assert tap.count("q") == 500
        assert session.queue_facts("q") == Facts(messages=500, consumers=0)
        assert session.queue_facts("nowhere") is None
        assert session.delete("q") == 500
        assert session.queue_facts("q") is None
        assert session.publish([]) == []
        assert session.publish([Message("bus", "k", b"", "id")]) == [Settlement.UNROUTED]


def test_a_session_that_reaches_nobody_says_so_in_time(dead_url: str):
    with pytest.raises(Unreachable, match="Connection refused"), Session(dead_url, name="test", limit=SHORT / 3):
        pytest.fail("there is nobody")


def test_a_session_with_a_broker_that_says_nothing_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/"
        with (
            pytest.raises(Unreachable, match="the broker has not answered yet"),
            Session(url, name="test", limit=SHORT / 3),
        ):
            pytest.fail("nobody answers")


def test_a_session_with_a_wrong_password_is_refused_at_once(vhost_url: str):
    scheme, _, rest = vhost_url.partition("://")
    url = f"{scheme}://guest:wrong@{rest.rpartition('@')[2]}"

    with pytest.raises(Refused, match=r"refuses us.*user, password") as caught, Session(url, name="test"):
        pytest.fail("that is not the password")

    assert "wrong" not in str(caught.value)


def test_a_session_says_what_is_there_with_other_arguments(vhost_url: str):
    with Session(vhost_url, name="test") as session:
        session.declare(bus("q"))

        with pytest.raises(Refused, match=r"queue q exists, but.*x-delivery-limit.*delete"):
            session.declare(bus("q", delivery_limit=3))
        with pytest.raises(BrokerError):
            session.queue_facts("q")


def test_the_whole_topology_is_declared_and_declared_again(vhost_url: str):
    whole = names.base() + names.subscription("audit", ["#"])
    for _ in range(2):
        with Session(vhost_url, name="test") as session:
            session.declare(whole)

            assert all(session.queue_facts(queue.name) == Facts(0, 0) for queue in whole.queues)


def test_a_queue_that_an_earlier_release_declared_without_limits_stays_as_it_is_with_a_warning(
    vhost_url: str, caplog: pytest.LogCaptureFixture
):
    whole = names.base()
    limited = [queue.name for queue in whole.queues if queue.may_lack]
    with Session(vhost_url, name="test") as session:
        session.declare(replace(whole, queues=tuple(queue.of_earlier_release() for queue in whole.queues)))
    caplog.clear()

    with Session(vhost_url, name="test") as session:
        for _ in range(2):
            session.declare(whole)

    warned = [each.queue for each in caplog.records if "lacks limits" in each.message]
    assert warned == limited
    assert {names.INGRESS, names.QUARANTINE, *names.SHARD_QUEUES} == set(limited)


def test_a_service_keeps_trying_with_a_wrong_password_and_never_shows_it(
    broker: SharedBroker, rabbit_admin: RabbitAdmin, vhost: str, caplog: pytest.LogCaptureFixture
):
    scheme, _, rest = broker.vhost_url(vhost).partition("://")
    name = f"late-{vhost}"
    caplog.set_level(logging.INFO, "router")
    with Running(f"{scheme}://{name}:pass-word@{rest.rpartition('@')[2]}") as line:
        wait_for(lambda: "the broker refuses our credentials" in caplog.messages, 10, "the refusal")
        rabbit_admin.add_user(name, "pass-word", vhost)
        wait_for(lambda: "connected to the broker" in caplog.messages, 10, "the connection")
        assert not line.ended
    rabbit_admin.delete_user(name)

    shown = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("router"))
    assert name in shown
    assert "pass-word" not in shown


def test_who_may_declare_nothing_works_with_what_is_there(vhost_url: str, poor_url: str, tap: Tap):
    with Session(vhost_url, name="test") as session:
        session.declare(bus("q"))

    with Running(poor_url) as line:
        line.declare(bus("q"))
        line.consume("q")
        line.publish("m")
        line.wait_settled(1)
        wait_for(lambda: line.ids == ["m"], 10, "arrival")

    assert line.failure is None


def test_who_may_not_publish_waits_until_somebody_mends_it(
    poor_url: str, vhost: str, vhost_url: str, rabbit_admin: RabbitAdmin, caplog: pytest.LogCaptureFixture
):
    user = f"poor-{vhost}"
    with Session(vhost_url, name="test") as session:
        session.declare(bus("q"))
    rabbit_admin.call("PUT", "permissions", vhost, user, body={"configure": "^$", "write": "^$", "read": "^$"})

    with Running(poor_url) as line:
        line.publish("a", "b")
        wait_for(lambda: caplog.messages.count("the broker closed the publishing channel") > 1, 10, "two refusals")
        assert line.settled == 0
        rabbit_admin.call("PUT", "permissions", vhost, user, body={"configure": "^$", "write": "^bus$", "read": "^$"})
        line.wait_settled(2, 20)

        line.assert_each_settled_once()


def test_who_may_not_publish_is_told_so_where_nobody_waits(poor_url: str, tap: Tap):
    tap.channel.exchange_declare("other", "topic", durable=True)

    with Session(poor_url, name="test") as session:
        assert session.publish([Message("other", "k", b"", "id")]) == [Settlement.REFUSED]
        assert session.publish([Message("nowhere", "k", b"", "id")]) == [Settlement.REFUSED]


@pytest.mark.parametrize(
    "strange",
    [
        {"key": "k" * 256},
        {"headers": {"ratio": 0.5}},
        {"headers": {"big": 2**80}},
        {"headers": {"n" * 256: 1}},
        {"key": "lone \udc80 surrogate"},
        {"headers": {"endless": "e" * 140_000}},
        {"headers": {f"h{number}": "\N{SNOWMAN}" * 100 for number in range(300)}},
    ],
    ids=lambda strange: next(iter(strange)),
)
def test_a_message_that_no_frame_can_hold_is_refused_alone(
    vhost_url: str, strange: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.publish("before")
        line.publish("strange", **strange)
        line.publish("after")
        line.wait_settled(3)

        assert line.settlements.pop("strange") == [Settlement.REFUSED]
        line.assert_each_settled_once()
    assert not [each for each in caplog.messages if "connection" in each and "lost" in each]


def nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"t": table}
    return table


@pytest.mark.parametrize("what", ["timestamp past all years", "tables a thousand deep"])
def test_properties_that_cannot_be_read_cut_nobody_off(
    vhost_url: str, tap: Tap, monkeypatch: pytest.MonkeyPatch, what: str
):
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        headers = {"when": datetime.now(UTC)} if what.startswith("timestamp") else nested(1500)
        with monkeypatch.context() as patch:
            # pika would not send such a thing by itself; anybody else's client may.
            patch.setattr("pika.data.calendar.timegm", lambda _: 2**62)
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(20_000)
            tap.publish("bus", "k", b"body", pika.BasicProperties(headers=headers, message_id="evil", user_id=None))
            sys.setrecursionlimit(limit)
        line.consume("q", prefetch=1)
        line.publish("good")
        wait_for(lambda: len(line.arrivals) == 2, 10, "both arrivals")

    evil, good = line.arrivals
    assert (evil.key, evil.body, evil.id, evil.user) == ("k", b"body", "", None)
    assert "undecodable" in evil.headers
    assert (good.id, good.redelivered) == ("good", False)


def test_keys_and_ids_that_are_not_text_arrive_as_text(vhost_url: str, tap: Tap):
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.consume("q")
        tap.publish("bus", b"k\xff", b"", pika.BasicProperties(message_id=b"id\xfe"))  # type: ignore[arg-type]
        wait_for(lambda: line.arrivals, 10, "arrival")

    assert (line.arrivals[0].key, line.arrivals[0].id) == ("k\\xff", "id\\xfe")


def test_names_and_kinds_that_are_not_text_arrive_as_text_and_cut_nobody_off(vhost_url: str, tap: Tap):
    strange = pika.BasicProperties(
        content_type=b"\xfe",  # type: ignore[arg-type]
        headers={b"n\xff": 1, "ce-specversion": "1.0"},
    )
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.consume("q", prefetch=1)
        tap.publish("bus", "k", b"{}", strange)
        line.publish("good")
        wait_for(lambda: len(line.arrivals) == 2, 10, "both arrivals")

    evil, good = line.arrivals
    assert evil.headers == {"n\\xff": 1, "ce-specversion": "1.0"}
    assert (good.id, good.redelivered) == ("good", False)


def test_a_queue_that_is_missing_is_waited_for(vhost_url: str, tap: Tap):
    with Running(vhost_url) as line:
        line.consume("q")
        tap.channel.exchange_declare("bus", "topic", durable=True)
        tap.channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        tap.channel.queue_bind("q", "bus", "#")
        line.publish("m")
        wait_for(lambda: line.ids == ["m"], 15, "arrival")


def test_an_acknowledgement_in_the_turn_in_which_a_cancelled_queue_is_left_reaches_the_broker(vhost_url: str, tap: Tap):
    def acknowledge_just_before_the_answer() -> None:
        # Both wait for the loop then, and it calls this function before it reads the broker's answer to the cancel.
        line.rabbit.call(lambda: (line.rabbit.ack(line.arrivals[0]), acknowledged.set()))
        time.sleep(0.5)

    def after(turns: int, function: Callable[[], None]) -> None:
        line.rabbit.later(timedelta(), (lambda: after(turns - 1, function)) if turns else function)

    acknowledged = threading.Event()

    def cancel() -> None:
        line.rabbit.cancel("q")
        # Two turns later: in the first the loop sends the cancel, in the second epoll takes note that nothing came yet.
        after(2, acknowledge_just_before_the_answer)

    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.consume("q", ack=False)
        line.publish("m")
        wait_for(lambda: line.arrivals, 15, "arrival")

        line.do(cancel)
        assert acknowledged.wait(15)

    assert tap.count("q") == 0


def test_a_stream_that_is_left_before_the_broker_has_answered_costs_no_connection(
    vhost_url: str, tap: Tap, caplog: pytest.LogCaptureFixture
):
    tap.channel.queue_declare("s", durable=True, arguments={"x-queue-type": "stream"})
    left = threading.Event()

    def leave_once_asked() -> None:
        # The channel is open, and the broker has not answered how much it may send.
        consumption = line.rabbit._consumer._consumptions["s"]
        if consumption.lease is None:
            line.rabbit.later(timedelta(), leave_once_asked)
        else:
            assert not consumption.tag
            line.rabbit.cancel("s")
            left.set()

    with Running(vhost_url) as line, caplog.at_level(logging.WARNING):
        line.declare(bus("q"))
        line.do(lambda: line.rabbit.consume("s", lambda _: None, prefetch=1, offset="first"))
        line.do(leave_once_asked)
        assert left.wait(60)
        line.consume("q")
        line.publish("m")
        wait_for(lambda: line.arrivals, 15, "arrival")

    assert [each.message for each in caplog.records] == []


def test_a_binding_to_what_is_missing_is_tried_again(vhost_url: str, tap: Tap, caplog: pytest.LogCaptureFixture):
    with Running(vhost_url) as line:
        line.do(lambda: line.rabbit.declare(Topology(bindings=(Binding("bus", "q", "#"),))))
        line.publish("m")
        wait_for(lambda: "topology not declared" in caplog.messages, 10, "the failure")
        tap.channel.queue_declare("q", durable=True)
        tap.channel.exchange_declare("bus", "topic", durable=True)
        line.wait_settled(1)

        line.assert_each_settled_once()


def test_the_broker_is_told_who_we_are(vhost_url: str, vhost: str, rabbit_admin: RabbitAdmin):
    def known() -> set[str]:
        connections = rabbit_admin.call("GET", "vhosts", vhost, "connections")
        return {one.get("client_properties", {}).get("connection_name") for one in connections}

    with Running(vhost_url, name="clusterbus router on mq1"):
        wait_for(lambda: "clusterbus router on mq1" in known(), 15, "our name")


def test_a_message_carries_what_the_broker_can_vouch_for(vhost_url: str, tap: Tap):
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.publish("m")
        line.wait_settled(1)

    [taken] = tap.drain("q")
    assert taken.properties.user_id == pika.URLParameters(vhost_url).credentials.username
    assert taken.properties.delivery_mode == 2
    assert taken.properties.content_type == "application/cloudevents+json"
    assert abs(taken.properties.timestamp - datetime.now(UTC).timestamp()) < 60


_PROGRAM = """
import signal, sys
from router.broker.client import Rabbit

rabbit = Rabbit(sys.argv[1], name="signalled")
signal.signal(signal.SIGTERM, lambda *_: rabbit.call(rabbit.stop))
rabbit.questions.when_ready(lambda: print("ready", flush=True))
rabbit.run()
print("ended", flush=True)
"""


@pytest.mark.parametrize("reachable", [True, False])
def test_a_signal_ends_a_program_whether_it_is_connected_or_not(
    vhost_url: str, dead_url: str, reachable: bool, tmp_path: Path
):
    words = tmp_path / "words"
    command = bound([sys.executable, "-W", "error", "-c", _PROGRAM, vhost_url if reachable else dead_url])
    with words.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as program:
        try:
            sign = "ready" if reachable else "the broker is unreachable"
            wait_for(lambda: sign in words.read_text(), 15, sign)
            program.send_signal(signal.SIGTERM)
            program.wait(120)
        finally:
            program.kill()

    assert program.returncode == 0
    assert words.read_text().endswith("ended\n")


def test_ten_thousand_published_while_nobody_answers_all_arrive_later(
    vhost_url: str, proxy: Callable[..., Any], tap: Tap
):
    between = proxy(vhost_url)
    with Running(between.url) as line:
        line.declare(bus("q"))
        between.reset()
        line.publish(*(f"{number:05}" for number in range(10_000)))
        line.wait_settled(10_000, 30)

        line.assert_each_settled_once()
    assert tap.count("q") >= 10_000


def test_no_broker_at_all_is_a_mistake_of_the_settings():
    with pytest.raises(SettingsError, match="no broker is configured"):
        Rabbit([], name="test")


def test_a_queue_of_an_earlier_release_is_bound_anew_before_it_is_unbound(vhost_url: str, vhost: str, rabbit_admin):
    queue = names.queue_of("audit")
    before = Topology(bindings=(Binding(names.EVENTS, queue, "#"),))
    with Session(vhost_url, name="test") as session:
        session.declare(names.base() + names.subscription("audit", ["#"]) + before)
        assert bound_to(rabbit_admin, vhost, queue) == {names.EVENTS, names.OWN_EVENTS, names.RETURN}

        session.declare(names.subscription("audit", ["#"]))

        assert bound_to(rabbit_admin, vhost, queue) == {names.OWN_EVENTS, names.RETURN}


def test_where_the_rights_are_those_of_an_earlier_release_queues_are_bound_as_in_it(
    vhost_url: str, vhost: str, rabbit_admin
):
    with Session(vhost_url, name="test") as session:
        session.declare(names.base())
    rabbit_admin.add_user(f"{vhost}-old", "secret", vhost, read="^clusterbus.(events|return|sub.*|dead)$")
    url = vhost_url.replace(vhost_url.split("//")[1].split("@", maxsplit=1)[0], f"{vhost}-old:secret")
    queue = names.queue_of("audit")
    for _ in range(2):
        with Session(url, name="test") as session:
            session.declare(names.subscription("audit", ["#"]))
        assert bound_to(rabbit_admin, vhost, queue) == {names.EVENTS, names.RETURN}
    rabbit_admin.delete_user(f"{vhost}-old")


def bound_to(admin, vhost: str, queue: str) -> set[str]:
    found = admin.call("GET", "queues", vhost, queue, "bindings")
    return {each["source"] for each in found} - {""}
