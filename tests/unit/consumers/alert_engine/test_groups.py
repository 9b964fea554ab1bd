"""Many alerts at once: groups, suppression, and what is kept of each."""

import pytest

from router.broker.topology import PUBLISHED_AT
from router.model.catalogue import Catalogues
from tests.alerting import HOUR, MINUTE, NODE_DOWN, SECOND, AlertBench, active, make_event

GROUPED = NODE_DOWN | {"group": {"over": 3, "quiet": "10m"}, "suppresses": ["waiters"]}
WAITERS = {"name": "waiters", "opens": "deadlockDetected", "closes_after": "1h", "by": "data.myNode"}


@pytest.fixture
def site(database):
    made = AlertBench(database("store"), GROUPED, WAITERS)
    yield made
    made.store.close()


def loud(site):
    """The changes that people get: those of alerts that nothing suppresses."""
    return [(each.name, each.data["nodes"]) for each in site.told if each.data["suppressedBy"] is None]


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.parametrize(("number", "at_once"), [(40, 1), (400, 8), (400, 400)])
def test_a_rolling_restart_is_a_handful_of_messages(site, number, at_once):
    nodes = [f"n{each:03d}" for each in range(1, number + 1)]

    for at in range(0, len(nodes), at_once):
        site.send(
            *(make_event("nodeLeave", site.now, node=each, reporter="nsd01") for each in nodes[at : at + at_once])
        )
        site.advance(SECOND * 20)
        site.send(*(make_event("nodeJoin", site.now, node=each) for each in nodes[at : at + at_once]))
        site.advance(SECOND)
    site.advance(15 * MINUTE)

    told = loud(site)
    assert len(told) <= 16
    (group,) = [each for each in site.alerts() if each.is_group]
    assert (group.nodes, group.openings, group.state) == (f"n[001-{number:03d}]", number, "closed")
    assert told[-1] == ("alertClosed", group.nodes)
    assert [each for each in site.alerts() if each.state != "closed"] == []
    members = [each for each in site.alerts() if not each.is_group]
    assert sorted(each.node for each in members) == nodes
    assert [each.suppressed_by for each in members].count(group.id) == number - 3
    assert group.suppressed == number - 3


def test_a_person_who_closes_a_group_closes_what_it_stands_for(site):
    site.send(*(make_event("nodeLeave", site.now, node=f"n{number}") for number in range(9)))
    site.advance(MINUTE)
    (group,) = [each for each in site.alerts() if each.is_group]

    site.act(group, "close", comment="planned")
    site.advance(5 * MINUTE)

    assert [each.state for each in site.alerts()] == ["closed"] * 10
    assert {each.by for each in site.alerts()} == {"anna"}


def test_a_group_covers_the_nodes_of_its_members_for_what_the_rule_suppresses(site):
    site.send(*(make_event("nodeLeave", site.now, node=f"n{number}") for number in range(9)))
    site.see("deadlockDetected", myNode="n7")
    site.see("deadlockDetected", myNode="n77")

    assert [each.data["suppressedBy"] is None for each in site.told[-2:]] == [False, True]


@pytest.mark.long
@pytest.mark.thorough
def test_a_group_whose_members_are_still_down_stays_open(site):
    site.send(*(make_event("nodeLeave", site.now, node=f"n{number}") for number in range(9)))
    site.advance(HOUR)
    site.send(*(make_event("nodeJoin", site.now, node=f"n{number}") for number in range(8)))
    site.advance(HOUR)
    assert [each.node for each in site.alerts(("open",)) if not each.is_group] == ["n8"]
    assert sum(each.is_group for each in site.alerts(("open",))) == 1

    site.see("nodeJoin", node="n8")
    site.advance(9 * MINUTE)
    assert len(site.alerts(("open",))) == 1
    site.advance(2 * MINUTE)
    assert site.alerts(("open",)) == []


def test_what_opened_under_another_key_of_its_rule_is_closed_by_the_same_event(database):
    """The rule was edited while a node was down: the alert would stay open until a person closes it."""
    site = AlertBench(database("store"), NODE_DOWN)
    site.see("nodeLeave", node="n1")
    site.see("nodeLeave", node="n2")

    site.engine.reload(active(NODE_DOWN | {"by": ["data.eventNode", "cluster"]}), Catalogues.shipped())
    site.see("nodeJoin", node="n1")
    site.see("nodeJoin", node="n3")
    site.see("nodeLeave", node="n4")
    site.see("nodeJoin", node="n4")

    assert {each.node: each.state for each in site.alerts()} == {"n1": "closed", "n2": "open", "n4": "closed"}
    assert site.names == ["alertOpened", "alertOpened", "alertClosed", "alertOpened", "alertClosed"]
    site.another()
    site.see("nodeJoin", node="n2")
    assert {each.state for each in site.alerts()} == {"closed"}
    site.store.close()


def test_of_two_rules_that_one_event_opens_the_one_that_suppresses_the_other_is_heard(database):
    """As on the page of alerts: a rule of a site for one file system, beside the shipped one for all."""
    space = {"opens": "lowDiskSpace", "closes_after": "1h", "by": ["data.fsName", "data.storagePool"]}
    own = {"name": "scratch-full", "opens_if": "data.fsName == 'scratch'", "suppresses": ["space"]}
    site = AlertBench(database("store"), {"name": "space", **space}, {**space, **own})

    for file_system in ("scratch", "gpfs1"):
        site.see("lowDiskSpace", fsName=file_system, storagePool="system")

    assert loud(site) == [("alertOpened", None)] * 2
    heard = [each.data["rule"] for each in site.told if each.data["suppressedBy"] is None]
    assert heard == ["scratch-full", "space"]
    site.store.close()


AFM = {"opens": "afmHomeDisconnected", "closes_after": "1d", "by": ["data.fsName", "data.filesetName"]}


@pytest.mark.parametrize(
    ("by", "is_suppressed"),
    [
        (["data.fsName", "data.filesetName"], [True, False, False]),
        (["data.fsName"], [True, True, False]),
        ([], [True, True, True]),
    ],
)
def test_an_alert_suppresses_what_is_about_the_same_where_both_rules_name_it(database, by, is_suppressed):
    """One fileset that is unmounted says nothing of the homes of others, nor one file system of another."""
    unmounted = {"name": "gone", "opens": "afmFilesetUnmounted", "closes_after": "1d", "by": by, "suppresses": ["home"]}
    site = AlertBench(database("store"), unmounted, AFM | {"name": "home"})

    site.see("afmFilesetUnmounted", fsName="gpfs1", filesetName="cache")
    for file_system, fileset in (("gpfs1", "cache"), ("gpfs1", "work"), ("gpfs2", "cache")):
        site.see("afmHomeDisconnected", fsName=file_system, filesetName=fileset)

    assert [each.data["suppressedBy"] is not None for each in site.told[1:]] == is_suppressed
    site.store.close()


def test_names_of_one_node_are_one_node_where_both_rules_name_it(database):
    quorum = {"name": "quorum", "opens": "quorumNodeLeave", "closes_after": "1h", "by": "data.eventNode"}
    site = AlertBench(database("store"), NODE_DOWN | {"suppresses": ["quorum"]}, quorum)

    site.see("nodeLeave", eventNode="n1.example.com")
    site.see("quorumNodeLeave", eventNode="N1")

    assert [each.data["suppressedBy"] is not None for each in site.told] == [False, True]
    site.store.close()


@pytest.mark.long
@pytest.mark.thorough
def test_a_change_says_when_it_was_published_since_its_id_has_the_time_of_the_opening(site):
    site.see("nodeLeave", node="n1")
    site.advance(3 * HOUR)
    site.see("nodeJoin", node="n1")

    stamps = [int(str(each.headers[PUBLISHED_AT])) / 1_000_000 for each in site.engine.line.published]
    assert stamps[-1] - stamps[0] == pytest.approx(3 * 3600, abs=60)
