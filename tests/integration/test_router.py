"""The router on a real broker: records in as relays publish them, events out and in history."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pika
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event

from router.broker.topology import HISTORY
from tests.rabbit import RabbitAdmin
from tests.routing import PATIENCE, SEEN, Site
from tests.waiting import wait_for


def history(url: str, count: int) -> list[tuple[str, str | None]]:
    """Return topic and message id of the first *count* events in the stream."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=100)
        found: list[tuple[str, str | None]] = []
        for method, properties, _ in channel.consume(
            HISTORY, arguments={"x-stream-offset": "first"}, inactivity_timeout=20
        ):
            assert method is not None, f"{len(found)} of {count} events in history"
            found.append((method.routing_key, properties.message_id))
            channel.basic_ack(method.delivery_tag)
            if len(found) == count:
                return found
        raise AssertionError("the stream ended")


def test_an_entry_of_the_catalogue_file_that_this_release_has_is_named_in_the_log(
    tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text("version: 1\ngpfs:\n  events:\n    diskFailure: {category: node, meaning: mine}\n")
    with Site(tmp_path, vhost_url, rabbit_admin, environment={"CLUSTERBUS_ROUTER_CATALOGUE": str(file)}) as site:
        wait_for(site.consumers, PATIENCE, "the router consumes")
        logged = site.router.log.read_text()

    assert "an entry of the catalogue file is already in this release; the entry is ignored" in logged
    assert f"{file}:4: gpfs.events.diskFailure: this release knows it and ignores this: remove it, or write" in logged


def test_records_become_events_on_the_exchange_and_in_history(site: Site, vhost_url: str) -> None:
    node = site.node("nsd01")
    sent = [
        node.record("softQuotaExceeded", "--fsName", "gpfs1", "--filesetName", "projects", "--blockUsage", "1048576"),
        node.record("brandNew", "--fsName", "gpfs1"),
    ]

    site.send(*sent)

    quota, new = site.wait_for_events(2)
    assert (quota.id, quota.subject, quota.data["blockUsage"]) == (sent[0].id, "gpfs1/projects", 1048576)
    assert (quota.epoch, quota.sequence) == (node.epoch, "000000000001")
    assert (new.id, new.category) == (sent[1].id, "unknown")
    site.wait_for_events(1, "clusterbus", "epochStarted")
    assert {
        (f"gpfs.prod.quota.softQuotaExceeded.gpfs1.{node.name}", sent[0].id),
        (f"gpfs.prod.unknown.brandNew.-.{node.name}", sent[1].id),
    } <= set(history(vhost_url, 3))
    assert site.left() == 0


def test_a_router_in_binary_mode_publishes_what_the_official_binding_reads(
    tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    served = "https://hub.example.com/schemas"
    environment = {"CLUSTERBUS_ROUTER_WIRE": "binary", "CLUSTERBUS_ROUTER_SCHEMAS": f"{served}/"}
    with Site(tmp_path, vhost_url, rabbit_admin, environment=environment, watched=("gpfs.#",)) as site:
        sent = site.node("nsd01").record("mount", "--fsName", "gpfs1")
        site.send(sent)
        (taken,) = wait_for(lambda: site.tap.drain(SEEN), PATIENCE, "the event")

    found = from_rabbitmq_event(RabbitMQMessage(taken.headers, taken.properties.content_type, taken.body))
    attributes = found.get_attributes()
    assert taken.properties.content_type == "application/json"
    assert (attributes["id"], attributes["type"]) == (sent.id, "gpfs.mount")
    assert attributes["dataschema"] == f"{served}/gpfs.mount/1.json"
    assert found.get_data() == {"eventName": "mount", "fsName": "gpfs1"}


def test_a_global_event_that_every_node_reports_is_one_event(site: Site) -> None:
    nodes = [site.node(f"n{number}") for number in range(4)]
    now = datetime.now(UTC)

    site.send(*(node.record("nodeLeave", "--eventNode", "n9", "--myNode", node.name, at=now) for node in nodes))
    site.send(nodes[0].record("mount"))

    site.wait_for_events(2)
    assert site.left() == 0
    assert [each.name for each in site.events()] == ["nodeLeave", "mount"]
    assert site.facts().copies == 3


def test_a_thousand_records_of_one_node_stay_in_order(site: Site) -> None:
    node = site.node("n1")

    site.send_many([node.record("mount", "--fsName", f"fs{number}") for number in range(1000)])

    events = site.wait_for_events(1000)
    assert [each.data["fsName"] for each in events] == [f"fs{number}" for number in range(1000)]


def test_a_standby_takes_over_from_a_router_that_was_killed(
    site: Site, tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    folder = tmp_path / "standby"
    folder.mkdir()
    with Site(folder, vhost_url, rabbit_admin, state=site.state):
        one, other = site.node("n1"), site.node("n2")
        now = datetime.now(UTC)
        site.send(one.record("quorumLoss", at=now))
        site.wait_for_events(1)

        site.router.kill()
        site.send(other.record("quorumLoss", at=now + timedelta(seconds=1)), other.record("mount"))

        events = site.wait_for_events(2)
        assert len({each.id for each in events}) == 2
        assert {each.name for each in events} == {"quorumLoss", "mount"}


def test_the_router_ends_in_good_order_when_it_is_told_to(site: Site) -> None:
    site.send(site.node("n1").record("mount"))
    site.wait_for_events(1)

    assert site.router.stop() == 0
