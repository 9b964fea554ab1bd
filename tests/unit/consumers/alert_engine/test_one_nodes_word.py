"""What one node says of others: it is shown, and hides nothing that others say."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.alerts import shipped_rules
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from consumers.store.database import batched
from router.model.event_words import named
from router.model.ids import new_id
from router.pipeline.mapping import own_event
from router.pipeline.reports.confirmations import confirmation
from tests.alerting import CATALOGUES, MINUTE, SECOND, START, AlertBench, make_event

RULES = ("quorum-lost", "quorum-node-down", "node-down", "daemon-down", "deadlock", "overload", "node-silent")
OVER = 3
"""How many alerts of `node-down` stand for themselves."""


@pytest.fixture
def site(database):
    made = AlertBench(database("store"), *(shipped_rules.completed({"name": each}) for each in RULES))
    yield made
    made.store.close()


def silent(node, at=START, cluster="prod"):
    data = {"node": node, "lastSeen": "2026-11-20T11:00:00.000000Z", "silence": 180.0}
    return own_event("nodeSilent", data, CATALOGUES, cluster=cluster, node=node, id_=new_id(at), moment=at)


def confirmed(first, by, at):
    copy = first.model_copy(update={"id": new_id(at), "node": by, "source": f"/gpfs/prod/{by}"})
    return confirmation(first.id, copy, CATALOGUES, at)


def heard(site):
    """The rules of the alerts that people were told of, in their order."""
    return [each.data["rule"] for each in site.told if each.name == "alertOpened" and not each.data["suppressedBy"]]


def test_a_node_that_says_that_another_left_hides_nothing_that_others_say_of_it(site):
    site.see("nodeLeave", node="victim", reporter="liar")
    site.see("quorumLoss", reporter="liar")

    site.see("deadlockDetected", myNode="victim", reporter="victim")
    site.see("shutdown", reporter="victim")
    site.see("deadlockOverload", nodeName="victim", reporter="third")

    assert heard(site) == ["node-down", "quorum-lost", "deadlock", "daemon-down", "overload"]


def test_what_one_node_reports_hides_what_the_same_node_reports(site):
    """In a cluster of two nodes only one is left to report, and usually the cluster manager is the first."""
    site.see("quorumNodeLeave", node="n2", reporter="n1")
    site.see("nodeLeave", node="n2", reporter="n1")
    site.see("deadlockOverload", nodeName="n2", reporter="n1")

    assert heard(site) == ["quorum-node-down"]


def test_the_silence_that_the_router_sees_is_explained_by_what_one_node_reports(site):
    site.see("nodeLeave", node="n2", reporter="n1")
    site.send(silent("n2", site.now))

    assert heard(site) == ["node-down"]


def test_no_loss_of_quorum_that_one_node_reports_hides_that_a_node_is_silent(site):
    site.see("quorumLoss", reporter="liar")
    site.send(silent("n2", site.now))

    assert heard(site) == ["quorum-lost", "node-silent"]


@pytest.mark.parametrize("is_copy", [True, False])
def test_what_a_second_node_confirms_hides_what_follows_from_it(site, is_copy):
    left = site.see("nodeLeave", node="n3", reporter="n1")
    if is_copy:
        site.send(confirmed(left, "n2", site.now))
    else:
        site.see("nodeLeave", node="n3", reporter="n2")
    site.see("deadlockOverload", nodeName="n3", reporter="n4")

    assert heard(site) == ["node-down"]
    assert [(each.openings, each.confirmed_by) for each in site.alerts(rule="node-down")] == [(1 + (not is_copy), "n2")]


def test_a_confirmation_may_come_before_what_it_confirms_and_again(site):
    left = make_event("nodeLeave", site.now, node="n3", reporter="n1")
    late = confirmed(left, "n2", site.now + SECOND)
    site.send(late, left, late)
    site.see("deadlockOverload", nodeName="n3", reporter="n4")

    assert heard(site) == ["node-down"]


def test_a_node_does_not_confirm_itself(site):
    left = site.see("nodeLeave", node="n3", reporter="liar")
    site.send(confirmed(left, "liar", site.now))
    site.see("nodeLeave", node="n3", reporter="liar", ago=-MINUTE)
    site.see("deadlockOverload", nodeName="n3", reporter="n4")

    assert heard(site) == ["node-down", "overload"]


def test_an_alert_that_its_reporter_hid_is_told_once_another_node_says_it(site):
    site.see("quorumNodeLeave", node="n2", reporter="liar")
    left = site.see("nodeLeave", node="n2", reporter="liar")
    assert heard(site) == ["quorum-node-down"]

    site.send(confirmed(left, "n3", site.now))

    assert heard(site) == ["quorum-node-down", "node-down"]
    assert [each.suppressed_by for each in site.alerts(rule="node-down")] == [None]


def test_alerts_that_one_node_makes_up_are_a_group_and_hide_none_of_others(site):
    site.send(*(make_event("nodeLeave", site.now, node=f"x{each}", reporter="liar") for each in range(20)))
    site.send(*(make_event("nodeLeave", site.now, node=f"n{each}", reporter="n9") for each in range(OVER)))
    assert heard(site) == ["node-down"] * (OVER + 1 + OVER)

    site.see("nodeLeave", node="n7", reporter="n9")
    site.see("nodeLeave", node="n8", reporter="n6")

    # By now more than three are down, whoever lies.
    assert len(heard(site)) == OVER + 1 + OVER
    (group,) = [each for each in site.alerts() if each.is_group]
    assert group.sole_reporter == ""


def test_a_node_that_reports_many_alerts_about_itself_is_a_group_and_hides_none_of_others(database):
    grouped = {"name": "disk-io-hang", "group": {"over": OVER, "quiet": "10m"}}
    site = AlertBench(database("store"), shipped_rules.completed(grouped))

    def hang(node, disks):
        site.send(*(make_event("diskIOHang", site.now, reporter=node, diskName=f"d{each}") for each in range(disks)))

    hang("liar", 20)
    assert heard(site) == ["disk-io-hang"] * (OVER + 1)
    for node in ("n1", "n2"):
        hang(node, 1)
    assert len(heard(site)) == OVER + 1 + 2
    hang("n3", 1)

    # By now more than three nodes have disks that hang, and nobody knows which of them lies.
    assert len(heard(site)) == OVER + 1 + 2
    (group,) = [each for each in site.alerts() if each.is_group]
    assert group.sole_reporter == ""
    site.store.close()


def test_a_rack_that_goes_down_is_a_group_whoever_reports_each_node_first(site):
    reporters = itertools.cycle([f"up{each}" for each in range(20)])
    site.send(*(make_event("nodeLeave", site.now, node=f"n{each}", reporter=next(reporters)) for each in range(40)))

    assert len(heard(site)) <= 2 * OVER + 2


def test_what_was_kept_before_reporters_were_is_the_word_of_one_node(site):
    site.see("nodeLeave", node="n3", reporter="n1")
    site.see("nodeLeave", node="n3", reporter="n2")
    (row,) = site.alerts()

    assert (row.event_node, row.confirmed_by, row.sole_reporter) == ("n1", "n2", "")
    assert [each.node for each in site.told] == ["n1", "n1"]


# Whatever one node says

LIAR, NODES = "liar", ["n1", "n2", "n3", "n4", "n5", "n6"]
ABOUT = {"quorumNodeLeave": "node", "nodeLeave": "node", "deadlockDetected": "myNode", "deadlockOverload": "nodeName"}
RULE_OF = {
    "quorumLoss": "quorum-lost",
    "quorumNodeLeave": "quorum-node-down",
    "nodeLeave": "node-down",
    "shutdown": "daemon-down",
    "deadlockDetected": "deadlock",
    "deadlockOverload": "overload",
    "nodeSilent": "node-silent",
}
GLOBAL = ("quorumLoss", "quorumNodeLeave", "nodeLeave")
names = st.sampled_from([*RULE_OF])
statements = st.lists(
    st.tuples(st.one_of(st.just(LIAR), st.sampled_from(NODES)), names, st.sampled_from(NODES), st.booleans()),
    min_size=4,
    max_size=24,
)
_clusters = itertools.count()


def event_in(cluster, reporter, name, about, at):
    if name == "nodeSilent":
        return silent(about, at, cluster)
    data = {{"node": "eventNode"}.get(ABOUT[name], ABOUT[name]): about} if name in ABOUT else {}
    return synthetic_event(
        named(name, CATALOGUES), data, Registrations(CATALOGUES), moment=at, node=reporter, cluster=cluster
    )


@pytest.mark.long
@pytest.mark.thorough
def test_whatever_one_node_says_only_what_others_say_hides_what_others_say(site):
    @settings(max_examples=40, deadline=None, suppress_health_check=[*HealthCheck])
    @given(statements)
    def holds(said):
        cluster = f"c{next(_clusters)}"
        first, honest, events = {}, set(), []
        for number, (reporter, name, node, is_copy) in enumerate(said):
            at = site.now + number * timedelta(milliseconds=10)
            about = reporter if name == "shutdown" else "" if name == "quorumLoss" else node
            event = event_in(cluster, reporter, name, about, at)
            key = RULE_OF[name], about
            begun = first.setdefault(key, event)
            if name in GLOBAL and is_copy and begun is not event:
                event = confirmation(begun.id, event, CATALOGUES, at)
            # A node is believed about itself.
            if reporter != LIAR or about == LIAR or name == "nodeSilent":
                honest.add(key)
            events.append(event)
        for few in batched(events, 4):
            site.send(*few)

        alerts = {each.id: each for each in site.alerts(cluster=cluster)}
        for each in alerts.values():
            if each.suppressed_by and (each.rule, each.node) in honest and each.rule != "node-silent":
                parent = alerts[each.suppressed_by]
                said_by_others = sum(rule == parent.rule for rule, _ in honest)
                is_many = parent.is_group and said_by_others > OVER
                assert is_many or (parent.rule, parent.node) in honest
        # And it is no less than what people were told of before.
        assert {(each.rule, each.node) for each in alerts.values() if not each.is_group} == {*first}

    holds()
