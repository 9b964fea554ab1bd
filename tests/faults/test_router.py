"""The router is killed, cut off, lied to and left without a disk: nothing is lost, and no event has two ids."""

import os
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pika
import pytest

from router.broker.topology import INGRESS
from tests.conftest import missing
from tests.nodes import Node, Sent
from tests.proxy import Mode, Proxy
from tests.rabbit import RabbitAdmin
from tests.routing import PATIENCE, Site
from tests.waiting import wait_for

MakeProxy = Callable[[str], Proxy]


@pytest.fixture
def between(vhost_url: str, proxy: MakeProxy) -> Proxy:
    """The proxy between the broker and the router of `far_site`."""
    return proxy(vhost_url)


@pytest.fixture
def far_site(tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin, between: Proxy) -> Iterator[Site]:
    with Site(tmp_path, vhost_url, rabbit_admin, router_url=between.url) as site:
        yield site


def mounts(node: Node, count: int) -> list[Sent]:
    return [node.record("mount", "--fsName", f"fs{number}") for number in range(count)]


def ids(sent: Sequence[Sent]) -> set[str]:
    return {each.id for each in sent}


@contextmanager
def state_held(site: Site) -> Iterator[None]:
    """Hold the router's state, as another program that writes to the file would: the router has to wait."""
    with closing(sqlite3.connect(site.state.removeprefix("sqlite:///"), isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def wait_until_taken(site: Site) -> None:
    """Return when the router has all records that are there, and has acknowledged none."""
    wait_for(lambda: site.waiting() == 0, PATIENCE, f"the records are with the router; {site.router.words()}")


def wait_until_quiet(between: Proxy) -> None:
    """Return when nothing is on its way to the router any more: what the broker has sent, it has got."""
    passed = [-1] * 20  # looks in a row, a fifth of a second

    def quiet() -> bool:
        passed.append(between.passed_in)
        return len(set(passed[-20:])) == 1

    wait_for(quiet, PATIENCE, "nothing is on its way to the router")


def test_a_router_killed_before_its_commit_routes_again_after_it(site: Site) -> None:
    sent = mounts(site.node("n1"), 20)
    wait_for(site.consumers, PATIENCE, "the router consumes")
    with state_held(site):
        site.send(*sent)
        wait_until_taken(site)
        site.router.kill()
    assert site.facts().records == 0

    site.router.start()

    assert ids(sent) == {each.id for each in site.wait_for_events(20)}
    assert site.left() == 0


def test_a_router_killed_between_commit_and_publishing_publishes_the_same_ids(far_site: Site, between: Proxy) -> None:
    sent = mounts(far_site.node("n1"), 20)
    far_site.send(sent[0])
    far_site.wait_for_events(1)
    between.mode = Mode.SWALLOW_OUT
    far_site.send(*sent[1:])
    wait_for(lambda: far_site.known([each.id for each in sent]), PATIENCE, "all fates are written")
    assert len(far_site.events()) == 1
    far_site.router.kill()
    between.mode = Mode.PASS
    between.reset()

    far_site.router.start()

    assert ids(sent) == {each.id for each in far_site.wait_for_events(20)}
    assert far_site.left() == 0
    assert far_site.facts().events == 20


@pytest.mark.parametrize("killed", [pytest.param(True, id="killed"), pytest.param(False, id="running on")])
def test_confirms_that_are_lost_make_duplicates_by_id_and_nothing_else(
    far_site: Site, between: Proxy, killed: bool
) -> None:
    node = far_site.node("n1")
    sent = mounts(node, 20)
    far_site.send(sent[0])
    far_site.wait_for_events(1)
    with state_held(far_site):
        far_site.send(*sent[1:])
        wait_until_taken(far_site)
        wait_until_quiet(between)
        # The broker hears the router from here on, but the router does not hear the broker.
        between.mode = Mode.SWALLOW_IN
    far_site.wait_for_events(20)
    connected = between.connections
    if killed:
        far_site.router.kill()
    else:
        wait_for(lambda: between.connections > connected, PATIENCE, "the router tries another connection")
    between.mode = Mode.REFUSE
    between.reset()
    wait_for(lambda: not far_site.consumers(), PATIENCE, "the broker has taken the records back")
    between.mode = Mode.PASS
    last = mounts(node, 1)
    far_site.send(*last)
    if killed:
        far_site.router.start()

    # What was taken back stands before it in its node's queue: who has come so far has met all of it again.
    far_site.wait_for_events(21)

    assert far_site.left() == 0
    events = far_site.events()
    assert len(events) > 21
    assert {each.id for each in events} == ids([*sent, *last])
    assert len({each.to_json() for each in events}) == 21


def test_a_router_that_is_killed_again_and_again_under_load_loses_nothing(site: Site) -> None:
    one, other = site.node("n1"), site.node("n2")
    sent = mounts(one, 1500)
    shared = [
        node.record("nodeLeave", "--eventNode", f"x{number}", at=datetime.now(UTC))
        for number in range(50)
        for node in (one, other)
    ]
    site.send_many(sent)
    site.send_many([each for each in shared if each.user == one.name])
    site.send_many([each for each in shared if each.user == other.name])

    for count in (100, 500, 900, 1300):
        site.wait_for_events(count)
        site.router.kill()
        site.router.start()

    events = site.wait_for_events(1550)
    assert site.left() == 0
    events = site.events()
    assert ids(sent) == {each.id for each in events if each.name == "mount"}
    leaves = {each.id: each.data["eventNode"] for each in events if each.name == "nodeLeave"}
    assert len(leaves) == len({str(about) for about in leaves.values()}) == 50
    assert site.facts().records == 1600


def test_connections_that_break_again_and_again_lose_nothing(far_site: Site, between: Proxy) -> None:
    node = far_site.node("n1")
    sent = mounts(node, 1000)
    far_site.send_many(sent)

    for count in (1, 200, 400, 600, 800):
        far_site.wait_for_events(count)
        between.reset()
    (last,) = mounts(node, 1)
    far_site.send(last)
    # What the broker delivers again stands before it.
    wait_for(lambda: ids([last]) <= {each.id for each in far_site.events()}, PATIENCE, "the last event")

    assert far_site.left() == 0
    assert ids([*sent, last]) == {each.id for each in far_site.events()}


def test_copies_find_their_event_over_restarts_and_late_and_twice_is_two(site: Site) -> None:
    nodes = [site.node(f"n{number}") for number in range(3)]
    start = datetime.now(UTC) - timedelta(hours=1)

    def leaves(node: Node, seconds: int) -> Sent:
        return node.record(
            "nodeLeave", "--eventNode", "n9", "--myNode", node.name, at=start + timedelta(seconds=seconds)
        )

    site.send(leaves(nodes[0], 0), leaves(nodes[0], 60))
    site.wait_for_events(2)
    site.router.kill()
    site.router.start()
    site.send(leaves(nodes[1], 1), leaves(nodes[1], 61))
    # The third was cut off for an hour: its records were captured then, and come now.
    site.send(leaves(nodes[2], 2), leaves(nodes[2], 62))
    site.send(nodes[2].record("mount"))

    site.wait_for_events(1, name="mount")

    assert site.left() == 0
    assert len({each.id for each in site.events() if each.name == "nodeLeave"}) == 2
    assert site.facts().copies == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    assert os.statvfs(folder).f_bavail == 0
    return filler


def test_a_full_disk_under_the_state_acknowledges_nothing_and_recovers_by_itself(
    tmp_path: Path, small_disk: Path, vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    state = f"sqlite:///{small_disk}/router.db"
    with Site(tmp_path, vhost_url, rabbit_admin, state=state) as site:
        node = site.node("n1")
        site.send(node.record("mount"))
        site.wait_for_events(1)
        filler = fill(small_disk)
        sent = [node.record("mount", "--fsName", "x" * 2000) for _ in range(300)]
        site.send_many(sent)
        wait_for(lambda: "disk is full" in site.router.words(), PATIENCE, f"a clear error; {site.router.words()}")
        acknowledged = {each.id for each in site.events()}

        # What is kept although the disk is full went into room that the file had.
        site.router.kill()
        wait_for(lambda: not site.consumers(), PATIENCE, "the router is gone")
        assert site.waiting() >= len(sent) + 1 - len(acknowledged)
        site.router.start()
        wait_for(lambda: site.router.words().count("disk is full") > 1, PATIENCE, "the error again")
        filler.unlink()

        assert ids(sent) <= {each.id for each in site.wait_for_events(301)}
        assert site.left() == 0
        assert site.facts().records == 301


def test_a_node_that_speaks_for_another_is_not_believed(site: Site) -> None:
    liar, victim = site.node("liar"), site.node("victim")
    in_key = victim.record("nodeLeave").but(user=liar.name)
    in_body = liar.record("nodeLeave").saying(node=victim.name)
    in_copy = liar.record("mount")
    in_copy = in_copy.but(headers=in_copy.headers | {"CC": [f"gpfs.prod.mount.{victim.name}"]})
    good = victim.record("mount", "--fsName", "gpfs1")

    site.send(in_key, in_body, in_copy)
    site._taps[liar.name].publish(
        INGRESS, victim.record("mount").key, good.body, pika.BasicProperties(message_id=good.id, delivery_mode=2)
    )
    site.send(good)

    (event,) = site.wait_for_events(1)
    assert (event.id, event.node) == (good.id, victim.name)
    rejected = site.wait_for_rejected(4)
    reasons = sorted(each.headers["reason"] for each in rejected)
    assert reasons[0].startswith("a CC or BCC header")
    assert reasons[1].startswith("no validated user")
    assert reasons[2] == f"the body says node {victim.name!r}, the key {liar.name!r}"
    assert reasons[3] == f"user {liar.name!r} published as node {victim.name!r}"
    assert {each.headers.get("origin-user") for each in rejected} == {liar.name, None}
    assert {each.properties.message_id for each in rejected} >= {in_key.id, in_body.id, in_copy.id}
    told = site.wait_for_events(2, "clusterbus", "recordRejected")
    assert {each.node for each in told} == {liar.name, "-"}


def test_random_bytes_are_kept_with_a_reason_and_the_flow_goes_on(site: Site) -> None:
    node, chance = site.node("n1"), random.Random(20261120)
    garbage = [node.record("mount").but(body=chance.randbytes(chance.randrange(200))) for _ in range(100)]
    cut = [node.record("mount") for _ in range(100)]
    cut = [each.but(body=each.body[: chance.randrange(len(each.body) - 1)]) for each in cut]
    good = node.record("mount", "--fsName", "gpfs1")

    site.send_many([*garbage, *cut])
    site.send(good)

    assert [each.id for each in site.wait_for_events(1)] == [good.id]
    rejected = site.wait_for_rejected(200)
    assert {each.body for each in rejected} == {each.body for each in (*garbage, *cut)}
    assert all(each.headers["reason"] for each in rejected)
    site.wait_for_events(1, "clusterbus", "recordRejected")
    assert site.left() == 0
