"""What the doctor says of a broker's state, true and false; tests/integration has the same on real brokers."""

import pytest

from consumers.inspection.doctor import gpfs_cluster
from consumers.inspection.doctor.broker_cluster import examine, unacknowledged
from consumers.inspection.doctor.machine import machine_roles
from consumers.inspection.status import overview
from router.broker.users.broker_state import BrokerNode, BrokerState, Client, QueueDetails, clients_of, queues_of
from router.cluster.nodes.node_status import Finding as NodeFinding
from router.settings.models import Settings

ONE = (BrokerNode("rabbit@mq1"),)
THREE = tuple(BrokerNode(f"rabbit@mq{number}") for number in (1, 2, 3))


def queue(name="clusterbus.ingress", kind="quorum", replicas=3, online=3, consumers=1):
    return QueueDetails(name, kind, 7, 5, consumers, replicas, online)


def router(host, process, state="db1:5432/bus"):
    facts = {"connection_name": "clusterbus-router", "host": host, "process": process, "state": state}
    return Client("router", "running", facts)


def said(nodes=THREE, queues=(), clients=(), names=(), unknown=""):
    found = examine(BrokerState(tuple(nodes), tuple(queues), tuple(clients), unknown), names)
    return [(each.part, each.verdict, each.seen) for each in found if each.verdict != "ok" or each.part == "router"]


def test_what_is_well_is_called_well():
    found = list(examine(BrokerState(THREE, (queue(), queue("theirs", replicas=1, online=1)), ()), ()))

    assert [each.seen for each in found] == [
        "3 nodes run, without alarms and partitions",
        "each of our queues has its 3 replicas",
    ]


@pytest.mark.parametrize(
    ("node", "seen"),
    [
        (BrokerNode("rabbit@mq3", is_running=False), "rabbit@mq3 is not running"),
        (
            BrokerNode("rabbit@mq3", alarms=("disk",)),
            "rabbit@mq3 is low on disk: the whole cluster blocks whoever publishes",
        ),
        (BrokerNode("rabbit@mq3", cut_off=("a", "b")), "rabbit@mq3 is cut off from a, b"),
    ],
)
def test_what_is_wrong_with_a_node_is_an_error(node, seen):
    assert said([*THREE[:2], node]) == [("broker", "error", seen)]


@pytest.mark.parametrize(
    ("replicas", "online", "verdict", "seen"),
    [
        (1, 1, "error", "queues with fewer replicas than 3, on a cluster of 3: clusterbus.ingress (1 of 1)"),
        (3, 2, "warning", "queues with replicas that are down: clusterbus.ingress (2 of 3)"),
        (
            3,
            1,
            "error",
            "queues without a majority of their replicas take and give nothing: clusterbus.ingress (1 of 3)",
        ),
    ],
)
def test_queues_that_would_not_survive_a_loss_or_did_not_are_named(replicas, online, verdict, seen):
    assert said(queues=[queue(replicas=replicas, online=online)]) == [("broker", verdict, seen)]


def test_queues_of_others_that_answer_nothing_are_named():
    theirs = queue("tickets", replicas=3, online=1)

    seen = "queues that are not ours have no majority of their replicas, and answer nothing: tickets (1 of 3)"
    assert said(queues=[queue(), theirs]) == [("broker", "error", seen)]
    assert said(queues=[queue(), queue("tickets", replicas=3, online=2), queue("classic", replicas=0)]) == []


def test_a_stream_grows_by_another_command_than_queues():
    (found,) = (
        each
        for each in examine(BrokerState(THREE, (queue("clusterbus.history", "stream", 1, 1),), ()), ())
        if each.verdict == "error"
    )

    assert "rabbitmq-streams add_replica clusterbus.history NODE --vhost VHOST`" in found.advice
    assert "rabbitmq-queues grow" not in found.advice


def test_one_node_needs_no_more_than_one_replica():
    assert said(ONE, [queue(replicas=1, online=1)]) == []


def test_a_router_is_one_however_many_connections_it_has_and_states_are_compared():
    one = [router("hub1", "7"), router("hub1", "7")]

    assert said(clients=one) == [("router", "ok", "one router runs, on hub1; no other one stands by")]
    assert said(clients=[*one, router("hub2", "9")]) == [
        ("router", "ok", "2 routers run with one state, on hub1, hub2: one works, others stand by")
    ]
    ((_, verdict, seen),) = said(clients=[*one, router("hub2", "9", "hub2:/var/lib/clusterbus/router.db")])
    assert verdict == "error"
    assert seen == (
        "2 routers run with different states: db1:5432/bus (hub1), hub2:/var/lib/clusterbus/router.db (hub2)"
    )


def test_clients_that_the_broker_blocks_are_named():
    blocked = Client("nsd01", "blocked", {"connection_name": "clusterbus-relay nsd01"})

    assert said(clients=[blocked, Client("other", "running")]) == [
        ("publishing", "error", "blocked connections (1): clusterbus-relay nsd01")
    ]


def test_queues_of_subscriptions_that_nobody_reads_are_named_unless_the_files_have_them():
    left = queue("clusterbus.sub.left", consumers=0)

    assert said(queues=[left, queue("clusterbus.sub.read")]) == [
        (
            "subscriptions",
            "warning",
            (
                "nobody reads clusterbus.sub.left, which goes on filling; 7 deliveries wait,"
                " the age of the oldest is unknown"
            ),
        )
    ]
    assert said(queues=[left], names=["left"]) == []
    assert unacknowledged(BrokerState(THREE, (left,), ()), "clusterbus.sub.left") == 5


def test_a_broker_that_lists_nothing_is_not_called_good():
    found = said([*THREE[:2], BrokerNode("rabbit@mq3", is_running=False)], unknown="it did not finish within 15 s")

    assert [verdict for _, verdict, _ in found] == ["error", "warning"]
    assert found[1][2].endswith("routers and blocked connections: it did not finish within 15 s")


@pytest.mark.parametrize("rubbish", [{}, {"name": None, "members": 1, "messages_ready": "x"}, {"client_properties": 1}])
def test_rows_may_lack_anything(rubbish):
    (found,) = queues_of([rubbish])

    assert (found.ready, found.replicas) == (0, 0)
    assert clients_of([{**rubbish, "vhost": "/"}], "/")[0].facts == {}


def silent(name):
    return NodeFinding(name, good=False, reason="no answer", failed=True, unreachable=True)


@pytest.mark.parametrize(
    ("others", "verdict", "unknown"),
    [([NodeFinding("n1", good=True)], "warning", []), ([silent("n1")], "unknown", ["n[1-2]: no answer"])],
)
def test_one_node_that_is_off_does_not_make_the_site_unknown(monkeypatch, others, verdict, unknown):
    settings = Settings.model_validate({"nodes": {"relay": {"cluster": "prod"}}})
    found = {each.node: each for each in [*others, silent("n2")]}
    monkeypatch.setattr(gpfs_cluster, "members", lambda _: ())
    monkeypatch.setattr(gpfs_cluster, "survey", lambda *_: found)
    monkeypatch.setattr(overview, "examine", lambda *_: gpfs_cluster.nodes(settings))
    monkeypatch.setattr(machine_roles, "belonging", lambda _: ((), ()))

    asked = [*gpfs_cluster.nodes(settings)]
    seen = overview.read(settings, pytest.fail)

    # The doctor, which people ask about each part, exits with 3 either way.
    assert [each.verdict for each in asked if each.unreachable] == ["error"]
    assert (seen.verdict("error"), list(seen.unknown)) == (verdict, unknown)


def test_warnings_of_nodes_are_not_left_to_the_command_for_nodes(monkeypatch):
    settings = Settings.model_validate({"nodes": {"relay": {"cluster": "prod"}}})
    node = NodeFinding("n1", good=True, warnings=("the spool is on GPFS",))
    monkeypatch.setattr(gpfs_cluster, "members", lambda _: ())
    monkeypatch.setattr(gpfs_cluster, "survey", lambda *_: {"n1": node})

    found = list(gpfs_cluster.nodes(settings))

    assert [(each.verdict, each.seen) for each in found] == [
        ("warning", "n1: the spool is on GPFS"),
        ("ok", "n1 have the shim"),
    ]
