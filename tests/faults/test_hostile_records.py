"""One node publishes records that no relay writes, under its own user: nobody waits, and nobody is silenced."""

import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.dead_letters.keeper import letter_of
from consumers.dead_letters.replay import message_of
from router.broker.interface import Arrival
from router.broker.topology import INGRESS, REJECTED, base, of_node, shard_of
from router.model.bounds import KEY, REJECTED_BODIES, REJECTED_BODY
from router.model.ids import derived_id, id_of_record, is_id
from router.model.records import written
from router.pipeline.deduplication import TOGETHER
from tests.nodes import Node, Sent
from tests.rabbit import RabbitAdmin, Taken
from tests.routing import PATIENCE, Site
from tests.waiting import SLACK, wait_for

_PROMPTLY = 10.0
"""Seconds for all that one test sends, on an idle machine."""


def honest(site: Site, count: int) -> list[Sent]:
    node = site.node("honest")
    return [node.record("mount", "--fsName", f"fs{number}", at=datetime.now(UTC)) for number in range(count)]


def test_rejected_records_whose_headers_fill_a_frame_delay_nobody(site: Site) -> None:
    evil = site.node("evil")
    endless = {"v": 1, "epoch": "e" * 130_900, "sequence": 1}
    bad = [evil.record("mount").saying(v=2).but(headers=endless) for _ in range(60)]
    good = honest(site, 45)
    begun = time.monotonic()

    site.send_many(bad)
    site.send_many(good)
    events = site.wait_for_events(45)
    kept = site.wait_for_rejected(60)

    assert time.monotonic() - begun < _PROMPTLY * SLACK
    assert {each.id for each in events} == {each.id for each in good}
    assert {each.properties.message_id for each in kept} == {each.id for each in bad}
    assert all("epoch" not in each.headers for each in kept)
    assert site.left() == 0


def test_ids_and_keys_that_escaping_makes_longer_delay_nobody_and_do_not_fill_the_log(site: Site) -> None:
    evil = site.node("evil")
    bad = [evil.record("mount").saying(v=2).but(id=b"\xff" * 255) for _ in range(600)]
    good = honest(site, 45)
    begun = time.monotonic()

    site.send_many(bad)
    site.send_many(good)
    site.wait_for_events(45)
    kept = site.wait_for_rejected(REJECTED_BODIES)

    assert time.monotonic() - begun < _PROMPTLY * SLACK
    assert site.left() == 0
    assert len(kept) + site.tap.count(REJECTED) == REJECTED_BODIES
    assert all(is_id(each.properties.message_id) and len(each.key.encode()) <= KEY for each in kept)
    assert len(site.router.words()) < 100_000


def test_headers_with_names_that_are_not_text_delay_nobody(site: Site) -> None:
    evil = site.node("evil")
    names = {b"\xff": 1, b"ce-\xff": b"\xff", "ce-specversion": "1.0"}
    bad = [evil.record("mount").saying(v=2).but(headers=names) for _ in range(3)]
    good = honest(site, 3)

    site.send(*bad, *good)
    events = site.wait_for_events(3)

    assert {each.id for each in events} == {each.id for each in good}
    assert {each.properties.message_id for each in site.wait_for_rejected(3)} == {each.id for each in bad}
    assert site.left() == 0


def test_empty_records_with_long_headers_cannot_fill_the_broker(site: Site) -> None:
    evil = site.node("evil")
    shard = shard_of(evil.name)
    good = next(node for node in map(site.node, "abcdefghijklmnopqrstuvwxyz") if shard_of(node.name) != shard)
    site.router.kill()
    for node in (evil, good):
        each = of_node(node.name, shard_of(node.name))
        site.tap.channel.queue_bind(each.queue, each.exchange, each.key)
    (limit,) = (each.arguments["x-max-length"] for each in base().queues if each.name == shard)
    assert isinstance(limit, int)
    # RabbitMQ counts no header as an octet of the queue.
    empty = evil.record("mount").but(body=b"", headers={"v": 1, "epoch": "e" * 2000, "sequence": 1})

    site.send_unconfirmed(empty, limit + 500)

    # The limit is a soft one: RabbitMQ notices a little later that it is reached.
    wait_for(lambda: site.is_refused(empty), PATIENCE, "the shard refuses more")
    assert limit <= site.tap.count(shard) < limit + 2000
    site.send(good.record("mount"))


def test_records_that_are_too_large_are_rejected_and_only_their_beginning_is_kept(site: Site) -> None:
    evil = site.node("evil")
    bad = evil.record("mount").but(body=b'{"v":1,"x":"' + b"x" * 3_000_000)

    site.send(bad, *honest(site, 1))
    site.wait_for_events(1)

    (kept,) = site.wait_for_rejected(1)
    assert kept.body == bad.body[:REJECTED_BODY]
    assert kept.headers["cut"] == len(bad.body)


@pytest.mark.long
def test_planted_occurrences_silence_no_honest_node(site: Site) -> None:
    evil, nodes = site.node("evil"), [site.node(f"n{number}") for number in range(6)]
    now = datetime.now(UTC)

    def leave(node: Node, at: datetime) -> Sent:
        return node.record("nodeLeave", "--eventNode", "n9", at=now).saying(captured_at=written(at))

    planted = [leave(evil, now + timedelta(seconds=10 * number)) for number in range(16)]
    planted.append(leave(evil, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
    site.send(*planted)
    # Sooner, the event that was planted first is as good as theirs.
    for _ in range(4):
        time.sleep((TOGETHER.total_seconds() + 2) / 4)
        planted.append(leave(evil, datetime.now(UTC) + timedelta(seconds=200)))
        site.send(planted[-1])
    told = {each.id: each for each in site.wait_for_events(len(planted))}

    site.send(*(leave(node, datetime.now(UTC)) for node in nodes))
    events = site.wait_for_events(len(planted) + 1)

    (new,) = {each.id: each for each in events if each.id not in told}.values()
    assert new.node.startswith("n")
    assert all(each.moment <= datetime.now(UTC) for each in told.values())
    assert [each.malformed for each in told.values()].count("time") == 1


def test_a_second_content_under_a_known_id_is_rejected(site: Site) -> None:
    evil = site.node("evil")
    first = evil.record("mount", "--fsName", "gpfs1")
    site.send(first)
    site.wait_for_events(1)

    site.send(evil.record("mount", "--fsName", "other", id_=first.id), first)

    (kept,) = site.wait_for_rejected(1)
    assert kept.headers["reason"] == f"record id {first.id} belongs to a record with other content"
    assert {each.data["fsName"] for each in site.events()} == {"gpfs1"}
    assert site.left() == 0


def test_an_id_that_will_follow_from_a_record_is_nobodys_to_claim(site: Site) -> None:
    evil = site.node("evil")
    first = evil.record("mount", "--fsName", "gpfs1")
    foreseen = derived_id(first.id, "alert/somebody's")

    site.send(evil.record("mount", "--fsName", "other", id_=foreseen), evil.record("mount", id_=foreseen), first)

    (kept,) = site.wait_for_rejected(1)
    assert "belongs to a record with other content" in kept.headers["reason"]
    claimed, _ = site.wait_for_events(2)
    assert claimed.id == id_of_record(foreseen) != foreseen
    assert site.left() == 0


def test_invented_spools_become_a_few_events(site: Site) -> None:
    evil = site.node("evil")
    invented = [evil.record("mount").but(headers={"epoch": Node("x").epoch, "sequence": 1}) for _ in range(300)]

    site.send_many(invented)
    site.wait_for_events(300)

    assert 0 < len({each.id for each in site.events("clusterbus") if each.name == "epochStarted"}) <= 6


def arrival_of(taken: Taken, user: str | None) -> Arrival:
    properties = taken.properties
    return Arrival(REJECTED, REJECTED, taken.key, taken.body, properties.message_id, user, taken.headers, False, None)


def test_a_replay_by_a_trusted_user_gives_a_forged_record_no_rights(
    tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    operator = urllib.parse.urlsplit(vhost_url).username or ""
    environment = {"CLUSTERBUS_ROUTER_TRUSTED_USERS": operator}
    with Site(tmp_path, vhost_url, rabbit_admin, environment=environment) as site:
        evil, victim = site.node("evil"), site.node("victim")
        forged = victim.record("mount").but(user=evil.name)
        site.send(forged)
        (kept,) = site.wait_for_rejected(1)
        letter = letter_of(arrival_of(kept, "router"), datetime.now(UTC))
        message = message_of(letter, "nonce", "operator")
        again = Sent(message.key, message.body, message.id, operator, dict(message.headers))

        site.tap.publish(INGRESS, again.key, again.body, again.properties)
        (rejected,) = site.wait_for_rejected(1)

        assert rejected.headers["reason"] == f"user {evil.name!r} published as node {victim.name!r}"
        assert rejected.headers["origin-user"] == evil.name
        assert site.events() == []
