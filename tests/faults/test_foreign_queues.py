"""A queue of somebody else, or one of ours, refuses events: nothing is lost, and the others get theirs."""

import statistics
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from router.broker.client import Rabbit
from router.broker.interface import Message, Settlement
from router.broker.outgoing.foreign_queues import QUIET
from router.broker.topology import EVENTS, HISTORY, OWN_EVENTS, RETRY, base, queue_of, subscription
from router.broker.users.permissions import Role, User, definitions
from router.model.events import Event
from router.model.ids import new_id
from tests.nodes import Node, Sent
from tests.operating import invoke, json_lines
from tests.rabbit import RabbitAdmin, SharedBroker, Tap
from tests.routing import PATIENCE, Site, declare
from tests.waiting import wait_for

_EVENTS = 600
_FIRST = 32
"""How many events are under way after a while without any: these are sent twice, because nobody knows who refused."""

_REFUSES = {"x-max-length": 1, "x-overflow": "reject-publish"}


@pytest.fixture
def site(tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Site]:
    with Site(tmp_path, vhost_url, rabbit_admin) as site:
        declare(site.tap, subscription("audit", ["#"]))
        wait_for(site.consumers, PATIENCE, "the router consumes")
        yield site


@pytest.fixture
def doctor(tmp_path: Path, site: Site, vhost_url: str, broker: SharedBroker) -> Callable[..., list[dict[str, Any]]]:
    """What `clusterbus doctor --part publishing` finds wrong, with or without an administrator's rights."""
    password = tmp_path / "password"
    parts = urllib.parse.urlsplit(broker.http_url)
    password.write_text(parts.password or "")
    password.chmod(0o600)
    password.chmod(0o600)
    management = f"{parts.scheme}://{parts.username}@{parts.hostname}:{parts.port}"

    def wrong(*, as_administrator: bool = True) -> list[dict[str, Any]]:
        settings = {"CLUSTERBUS_BROKER": vhost_url, "CLUSTERBUS_ROUTER_STATE": site.state}
        settings["CLUSTERBUS_BROKER_CONTROL"] = "/nowhere/rabbitmqctl"
        if as_administrator:
            settings |= {
                "CLUSTERBUS_BROKER_MANAGEMENT": management,
                "CLUSTERBUS_BROKER_MANAGEMENT_PASSWORD_FILE": str(password),
            }
        code, output = invoke(settings, "doctor", "--part", "publishing", "--json")
        found = [each for each in json_lines(output) if each["verdict"] != "ok" and "max_message" not in each["advice"]]
        assert code == int(any(each["verdict"] == "error" for each in found)), output
        return found

    return wrong


@pytest.fixture
def other(vhost_url: str) -> Iterator[Tap]:
    """Somebody else at the broker."""
    tap = Tap(vhost_url)
    yield tap
    tap.close()


def refusing_queue(tap: Tap, name: str = "theirs", exchange: str = EVENTS) -> None:
    """Have a queue that gets everything from *exchange*, and is full."""
    tap.channel.queue_declare(name, durable=True, arguments=_REFUSES)
    tap.publish("", name, b"{}")
    tap.channel.queue_bind(name, exchange, "#")


def mounts(node: Node, count: int) -> list[Sent]:
    return [node.record("mount", "--fsName", f"fs{number}", at=datetime.now(UTC)) for number in range(count)]


def copies(bodies: list[bytes], sent: list[Sent]) -> Counter[str]:
    """Count the copies of the event of each of *sent*."""
    wanted = {each.id for each in sent}
    return Counter(id_ for each in bodies if (id_ := Event.from_json(each).id) in wanted)


def queued(tap: Tap, queue: str) -> list[bytes]:
    """Take what is in *queue*."""
    return [each.body for each in tap.drain(queue)]


def queued_until(tap: Tap, queue: str, last: Sent) -> list[bytes]:
    """Take what comes into *queue* until the event of *last* does: what its node sent before comes before it."""
    found: list[bytes] = []

    def is_there() -> bool:
        found.extend(queued(tap, queue))
        return bool(copies(found, [last]))

    wait_for(is_there, PATIENCE, f"the last event in {queue}")
    return found


def history(tap: Tap, url: str) -> list[bytes]:
    """Return what the history has."""
    last = new_id().encode()
    tap.publish(OWN_EVENTS, "a.b.c.d.e.f", last)
    found = []
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=500)
    for method, _, body in channel.consume(HISTORY, arguments={"x-stream-offset": "first"}, inactivity_timeout=60):
        assert method is not None, "the end of the history"
        channel.basic_ack(method.delivery_tag)
        if body == last:
            break
        found += [body] if body.startswith(b"{") else []
    with suppress(pika.exceptions.AMQPError):
        connection.close()  # RabbitMQ 3.10 ends it with an error where messages of a stream are under way
    return found


def latencies(site: Site, node: Node, count: int) -> list[float]:
    """Return how long each of *count* records takes, one after the other, until its event is there."""
    found = []
    for sent in mounts(node, count):
        begun = time.monotonic()
        site.send(sent)
        wait_for(lambda wanted=sent.id: wanted in site.seen(), PATIENCE, "the event")
        found.append(time.monotonic() - begun)
    return found


@pytest.mark.long
def test_a_queue_of_others_that_refuses_harms_nobody_and_is_named(
    site: Site, vhost_url: str, other: Tap, doctor: Callable[..., list[dict[str, Any]]]
) -> None:
    node = site.node("n1")
    other.channel.queue_declare("honest", durable=True)
    other.channel.queue_bind("honest", EVENTS, "gpfs.#")
    alone = latencies(site, node, 30)
    queued(other, "honest")
    assert doctor() == doctor(as_administrator=False) == []
    refusing_queue(other)
    time.sleep(1.1)  # nothing is under way for a while: then less is
    sent = mounts(node, _EVENTS)

    begun = time.monotonic()
    site.send_many(sent)
    site.wait_for_events(_EVENTS + len(alone))
    print(f"{_EVENTS} events when it begins: {time.monotonic() - begun:.1f} s")

    (last,) = mounts(node, 1)
    site.send(last)
    for name, found in (
        ("a subscription", copies(queued_until(site.tap, queue_of("audit"), last), sent)),
        ("the history", copies(history(site.tap, vhost_url), sent)),
        ("another queue", copies(queued_until(other, "honest", last), sent)),
    ):
        print(f"{name}: {found.total()} copies of {_EVENTS} events")
        assert found.keys() == {each.id for each in sent}
        # What was under way comes twice, and one of them each time that it was tried.
        assert all(each <= 2 for each in sorted(found.values())[:-1])
        assert found.total() <= _EVENTS + 2 * _FIRST, name
    beside = latencies(site, node, 30)
    print(f"median latency {statistics.median(alone):.3f} s alone, {statistics.median(beside):.3f} s beside it")

    (told,) = site.wait_for_events(1, "clusterbus", "queueRefusing")
    assert (told.severity, told.data["exchange"]) == ("error", EVENTS)
    named = wait_for(lambda: [each for each in doctor() if "'theirs'" in each["seen"]], PATIENCE, "its name")[0]
    assert named["verdict"] == "error"
    assert "queue 'theirs', which is not ours" in named["seen"]
    assert "refuses them: it is full (1 messages, reject-publish, by its arguments)" in named["seen"]
    (unnamed,) = doctor(as_administrator=False)
    assert "queues that are not ours have refused" in unnamed["seen"]
    assert "set broker.management" in unnamed["advice"]

    other.channel.queue_delete("theirs")
    other.channel.queue_delete("honest")
    time.sleep(QUIET.total_seconds())
    latencies(site, node, 1)
    site.wait_for_events(1, "clusterbus", "queueRefusingEnded")
    assert doctor() == doctor(as_administrator=False) == []
    queued(site.tap, queue_of("audit"))
    more = mounts(node, 50)
    site.send_many(more)
    site.wait_for_events(_EVENTS + 112)
    assert set(copies(queued(site.tap, queue_of("audit")), more).values()) == {1}


@pytest.mark.long
def test_a_queue_of_ours_that_refuses_loses_nothing_and_is_named(
    site: Site, vhost: str, vhost_url: str, rabbit_admin: RabbitAdmin, doctor: Callable[..., list[dict[str, Any]]]
) -> None:
    node = site.node("n1")
    policy = {"pattern": "^clusterbus.sub.audit$", "apply-to": "queues"}
    definition = {"max-length": 5, "overflow": "reject-publish"}
    rabbit_admin.call("PUT", "policies", vhost, "site", body={**policy, "definition": definition})
    sent = mounts(node, 100)

    site.send_many(sent)
    wait_for(lambda: site.router.words().count("sending them again") >= 4, PATIENCE, "the router tries again")
    # The counts of the management API are some seconds old; until then, doctor's own probe may be all that it reports.
    errors = wait_for(
        lambda: [each for each in doctor() if each["verdict"] == "error" and "our queue" in each["seen"]],
        PATIENCE,
        "an error that names a queue of ours",
    )
    named = errors[0]
    rabbit_admin.call("DELETE", "policies", vhost, "site")

    assert "our queue 'clusterbus.sub.audit'" in named["seen"]
    assert "refuses them: it is full (5 messages, reject-publish, by policy 'site')" in named["seen"]
    assert "nothing is lost, but all events wait" in named["advice"]
    site.wait_for_events(100)
    (last,) = mounts(node, 1)
    site.send(last)
    found = copies(queued_until(site.tap, queue_of("audit"), last), sent)
    assert found.keys() == {each.id for each in sent}
    kept = copies(history(site.tap, vhost_url), sent)
    assert kept.keys() == found.keys()
    # To all queues, to ours alone, and again when it was over; but one of them each time that it was tried.
    assert all(each <= 3 for each in sorted(kept.values())[:-1])


def test_a_queue_of_ours_that_is_bound_as_by_an_earlier_release_is_named(
    site: Site, vhost_url: str, doctor: Callable[..., list[dict[str, Any]]]
) -> None:
    queue = queue_of("audit")
    site.tap.channel.queue_bind(queue, EVENTS, "#")
    (both,) = doctor()
    site.tap.channel.queue_unbind(queue, OWN_EVENTS, "#")
    (lone,) = doctor()

    assert (both["verdict"], lone["verdict"]) == ("warning", "error")
    assert f"they lose events that they refuse: {queue!r}" in lone["seen"]
    assert "restart the consumers" in lone["advice"]
    with publishing(vhost_url) as consumer:
        consumer.call(lambda: consumer.declare(subscription("audit", ["#"])))
        wait_for(lambda: doctor() == [], PATIENCE, "a consumer of this release moves it")


@contextmanager
def publishing(url: str) -> Iterator[Rabbit]:
    """Have a client at *url*."""
    client = Rabbit(url, name="a consumer")
    thread = threading.Thread(target=client.run, daemon=True)
    thread.start()
    yield client
    client.call(client.stop)
    thread.join()


@pytest.fixture
def as_consumer(vhost: str, vhost_url: str, rabbit_admin: RabbitAdmin, tap: Tap) -> Iterator[str]:
    """The broker's address for a user with a consumer's rights."""
    declare(tap, base())
    name = f"{vhost}-consumer"
    rabbit_admin.call("POST", "definitions", body=definitions([User(name, Role.CONSUMER, "secret")], vhost=vhost))
    parts = urllib.parse.urlsplit(vhost_url)
    yield parts._replace(netloc=f"{name}:secret@{parts.hostname}:{parts.port}").geturl()
    rabbit_admin.delete_user(name)


def results(count: int) -> list[Message]:
    return [
        Message(EVENTS, f"clusterbus.prod.action.runFinished.s{number}.n1", b"{}", new_id()) for number in range(count)
    ]


def test_results_and_retries_of_consumers_pass_a_queue_of_others_that_refuses(
    as_consumer: str, tap: Tap, other: Tap
) -> None:
    declare(tap, subscription("audit", ["#"]))
    refusing_queue(other)

    settled: list[Settlement] = []
    with publishing(as_consumer) as client:
        for each in [*results(100), Message(RETRY, "1h", b"{}", new_id())]:
            client.call(lambda each=each: client.publish(each, settled.append))
        wait_for(lambda: len(settled) == 101, PATIENCE, "all are settled")

    assert set(settled) == {Settlement.CONFIRMED}
    assert 100 <= tap.count(queue_of("audit")) <= 100 + 2 * _FIRST
    assert tap.count(f"{RETRY}.1h") == 1


def test_without_the_rights_of_this_release_what_is_refused_waits_and_nothing_is_lost(
    as_consumer: str, vhost: str, rabbit_admin: RabbitAdmin, tap: Tap, other: Tap, caplog: pytest.LogCaptureFixture
) -> None:
    declare(tap, subscription("audit", ["#"]))
    rights = {"configure": "^$", "write": "^clusterbus.(events|retry)$", "read": "^clusterbus.events$"}
    rabbit_admin.call("PUT", "permissions", vhost, f"{vhost}-consumer", body=rights)
    refusing_queue(other)

    settled: list[Settlement] = []
    with publishing(as_consumer) as client:
        for each in results(20):
            client.call(lambda each=each: client.publish(each, settled.append))
        wait_for(lambda: "clusterbus broker users --apply" in caplog.text, PATIENCE, "the way out is in the log")
        wait_for(lambda: caplog.text.count("sending them again") > 1, PATIENCE, "it is tried again")
        assert settled == []
        other.channel.queue_delete("theirs")
        wait_for(lambda: len(settled) == 20, PATIENCE, "all are settled")

    assert {each.key.split(".")[4] for each in tap.drain(queue_of("audit"))} == {f"s{at}" for at in range(20)}
