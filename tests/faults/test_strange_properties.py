"""A node publishes records with properties that no relay sets, with its own rights: only its own records suffer.

`broker=3.10`, `4.0` and `4.3` differ in what they refuse; what reaches others is the same: nothing.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker

from router.broker.topology import INGRESS, INGRESS_QUEUES, REJECTED, SHARDS, UNROUTED, shard_of
from router.broker.users.drift import Grants
from router.broker.users.permissions import Role, User
from tests.nodes import Node, Sent
from tests.rabbit import RabbitAdmin, Tap
from tests.routing import PATIENCE, Site
from tests.waiting import wait_for

PASSWORD = "secret"
CONNECTIONS = 2
"""How often a router connects that nothing disconnects: to read and to publish."""


class Confined(Site):
    """A site whose nodes have the rights that `clusterbus broker users --apply` gives them."""

    vhost = ""

    def node(self, name: str) -> Node:
        """Return a node with a user that may publish its own records of cluster `prod`, and nothing else."""
        node = super().node(name)
        users = (User(node.name, Role.NODE, PASSWORD),)
        for step in Grants(users, self.vhost, "prod").steps({"vhosts": [{"name": self.vhost}]}):
            self._admin.call("POST", "definitions", body=step)
        self._taps[node.name].close()
        self._taps[node.name] = Tap(self.url_of(node))
        return node

    def publish(self, sent: Sent, **properties: Any) -> int:
        """Publish *sent* with more *properties*; return the code with which the broker refuses it, or 0."""
        facts = {"message_id": sent.id, "user_id": sent.user, "delivery_mode": 2} | properties
        facts["headers"] = sent.headers | properties.get("headers", {})
        connection = pika.BlockingConnection(pika.URLParameters(self._url_of(sent)))
        usual = sys.getrecursionlimit()
        try:
            # For pika, which writes tables in one another by calls in one another.
            sys.setrecursionlimit(100_000)
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(INGRESS, sent.key, sent.body, pika.BasicProperties(**facts))
        except ChannelClosedByBroker as error:
            return error.reply_code
        except AMQPError:
            return 1
        finally:
            sys.setrecursionlimit(usual)
            if connection.is_open:
                connection.close()
        return 0

    def is_served(self, node: Node, count: int) -> set[str]:
        """Fail unless *count* new records of *node* become events and nothing is left; return their ids."""
        sent = [node.record("mount", at=datetime.now(UTC)) for _ in range(count)]
        self.send(*sent)
        ids = {each.id for each in sent}
        wait_for(lambda: ids <= {each.id for each in self.events()}, PATIENCE, "the honest records are events")
        wait_for(lambda: self.waiting() == 0, PATIENCE, "no record is left")
        return ids

    def _url_of(self, sent: Sent) -> str:
        assert sent.user is not None
        return self.url_of(Node(sent.user))


@pytest.fixture
def confined(tmp_path: Path, vhost_url: str, vhost: str, rabbit_admin: RabbitAdmin) -> Iterator[Confined]:
    site = Confined(tmp_path, vhost_url, rabbit_admin)
    site.vhost = vhost
    with site:
        yield site


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"end": 1}
    for _ in range(levels):
        value = {"in": value}
    return value


PROPERTIES: dict[str, dict[str, Any]] = {
    "priority": {"priority": 255},
    "app_id": {"app_id": "clusterbus-router", "type": "nodeSilent", "content_type": "x", "content_encoding": "gzip"},
    "reply_to": {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": "x"},
    "timestamp": {"timestamp": 253_402_300_799},
    "far": {"timestamp": 2**63 - 1},
    "moment": {"headers": {"at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}},
    "delay": {"headers": {"x-delay": 2**31 - 1, "x-stream-offset": "first", "x-max-length": 1}},
    "amqp1": {"headers": {"x-opt-deliver-by": 1, "x-opt-rabbitmq-received-time": "x", "x-basic-key": "y"}},
    "deaths": {
        "headers": {"x-death": [{"queue": "q", "count": 2**62}], "x-delivery-count": 2**31, "x-acquired-count": 9}
    },
    "deep": {"headers": nested(60)},
    "deeper": {"headers": nested(1000)},
    "ours": {"headers": {"origin-user": "clusterbus-router", "only-for": "others", "marker": 1, "subscription": "act"}},
    "transient": {"delivery_mode": 1},
}
REFUSED = {"reply_to"}
"""What every release refuses."""


@pytest.mark.parametrize("strange", PROPERTIES)
def test_a_record_with_strange_properties_is_an_event_of_its_node_or_refused_or_rejected(
    confined: Confined, strange: str
) -> None:
    evil, good = confined.node("evil"), confined.node("good")
    bad = evil.record("mount", at=datetime.now(UTC))

    code = confined.publish(bad, **PROPERTIES[strange])
    honest = confined.is_served(good, 3)

    found = {each.id: each.node for each in confined.events()}
    assert found.keys() - {bad.id} == honest
    assert found.get(bad.id, evil.name) == evil.name
    assert (bad.id in found) + confined.tap.count(REJECTED) == (0 if code else 1)
    assert confined.tap.count(UNROUTED) == 0
    assert strange not in REFUSED or code
    assert confined.router.words().count("connected to the broker") == CONNECTIONS


def foreign(kind: str, mine: Node, other: Node) -> str:
    """Return a key beside that of a record of *mine*: of another node or cluster, or of another event of its own."""
    return {
        "node": f"gpfs.prod.mount.{other.name}",
        "cluster": f"gpfs.other.mount.{mine.name}",
        "unknown": "gpfs.prod.mount.nobody",
        "own": f"gpfs.prod.unmount.{mine.name}",
        "odd": "x",
    }[kind]


@pytest.mark.parametrize("header", ["CC", "BCC"])
@pytest.mark.parametrize("kind", ["node", "cluster", "unknown", "own", "odd"])
def test_no_copy_of_a_record_counts_for_another_key(
    confined: Confined, rabbit_admin: RabbitAdmin, header: str, kind: str
) -> None:
    evil, good = confined.node("evil"), confined.node("good")
    bad = evil.record("mount", at=datetime.now(UTC))
    release = tuple(int(each) for each in rabbit_admin.call("GET", "overview")["rabbitmq_version"].split(".")[:2])

    code = confined.publish(bad, headers={header: [foreign(kind, evil, good)]})
    honest = confined.is_served(good, 3)

    # RabbitMQ removes BCC before the router sees it: then it is the node's own record, from its own or another queue.
    assert code == (403 if release >= (4, 0) and kind != "own" else 0)
    found = {each.id: (each.node, each.cluster) for each in confined.events()}
    own = {bad.id: (evil.name, "prod")} if header == "BCC" and not code else {}
    assert found == dict.fromkeys(honest, (good.name, "prod")) | own
    rejected = [each.headers["reason"] for each in confined.tap.drain(REJECTED)]
    assert rejected == ["a CC or BCC header: a record has one key"] * len(rejected)
    assert bool(rejected) == (header == "CC" and not code)


def test_a_record_in_two_queues_is_one_event(confined: Confined) -> None:
    """As on RabbitMQ 3, where a node can have copies of its record in the queues of other nodes."""
    evil = confined.node("evil")
    known = confined.is_served(evil, 1)
    other = next(each for each in INGRESS_QUEUES if each not in (shard_of(evil.name), INGRESS))
    confined.tap.channel.queue_bind(other, SHARDS, f"*.*.*.{evil.name}")
    twice = evil.record("mount", at=datetime.now(UTC))

    confined.send(twice, twice)
    confined.is_served(evil, 3)

    found = [each for each in confined.events() if each.id not in known]
    assert {each.id: each for each in found}[twice.id].node == evil.name
    assert len({each.id for each in found}) == 1 + 3
    assert len({each.to_json() for each in found}) == 1 + 3


def test_a_record_that_expires_is_parked_and_none_of_others(confined: Confined) -> None:
    evil, good = confined.node("evil"), confined.node("good")
    confined.is_served(evil, 1)
    confined.is_served(good, 1)
    confined.router.kill()
    bad = evil.record("mount", at=datetime.now(UTC))

    assert confined.publish(bad, expiration="1") == 0
    honest = [good.record("mount", at=datetime.now(UTC)) for _ in range(3)]
    confined.send(*honest)
    wait_for(lambda: confined.tap.count(REJECTED) == 1, PATIENCE, "the record has expired")
    confined.router.start()

    events = confined.wait_for_events(5)
    assert {each.id for each in honest} <= {each.id for each in events}
    assert bad.id not in {each.id for each in events}
    (parked,) = confined.tap.drain(REJECTED)
    assert parked.properties.message_id == bad.id
    assert parked.headers["x-death"][0]["reason"] == "expired"
