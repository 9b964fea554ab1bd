"""The engine of alerts over a broker in memory: what is told, and when."""

from datetime import datetime, timedelta

import pytest

from consumers.errors import AlertIsClosed
from router.cluster.facts.assemble import assemble
from router.cluster.facts.parts import Reading
from router.model.catalogue import Catalogues
from tests.alerting import DAY, HOUR, MINUTE, NODE_DOWN, SECOND, AlertBench, active, make_event


@pytest.fixture
def bench(database):
    """A function that makes an engine with these rules and settings."""
    made = []

    def start(*rules, **settings):
        made.append(AlertBench(database(f"store{len(made)}"), *rules, **settings))
        return made[-1]

    yield start
    for each in made:
        each.store.close()


def test_an_alert_opens_and_closes_and_each_is_told_once(bench):
    site = bench()

    opening = site.see("nodeLeave", node="n1")
    site.advance(5 * MINUTE)
    closing = site.see("nodeJoin", node="n1")
    site.advance(MINUTE)

    opened, closed = site.told
    assert [each.name for each in site.told] == ["alertOpened", "alertClosed"]
    assert (opened.category, opened.cluster, opened.data["state"]) == ("alert", "prod", "open")
    assert (opened.data["openedBy"], opened.data["lastEvent"]) == (opening.id, opening.id)
    assert (closed.data["openedBy"], closed.data["lastEvent"]) == (opening.id, closing.id)
    assert opened.data["alert"] == closed.data["alert"]
    assert opened.severity == closed.severity
    (alert,) = site.alerts()
    assert (alert.state, alert.until - alert.since) == ("closed", 5 * MINUTE)
    assert [each.published is not None for each in site.history(alert)] == [True, True]


def test_a_bounce_within_one_batch_is_told_as_opened_and_closed(bench):
    site = bench()

    site.send(make_event("nodeLeave", node="n1"), make_event("nodeJoin", site.now + SECOND, node="n1"))

    assert site.names == ["alertOpened", "alertClosed"]


def test_repetitions_count_and_are_told_at_powers_of_two(bench):
    site = bench()

    for _ in range(9):
        site.see("nodeLeave", node="n1")
        site.advance(SECOND)

    assert site.names == ["alertOpened", *["alertRepeated"] * 3]
    assert [each.data["openings"] for each in site.told] == [1, 2, 4, 8]
    assert [each.openings for each in site.alerts()] == [9]


def test_copies_of_an_event_count_once(bench):
    site = bench()
    event = make_event("nodeLeave", node="n1")

    site.send(event, event)
    site.send(event)

    assert site.names == ["alertOpened"]
    assert [each.openings for each in site.alerts()] == [1]


def test_an_alert_that_gets_worse_is_told_again(bench):
    site = bench(NODE_DOWN | {"severity_if": {"critical": "data.clusterManager == 'bad'"}, "severity": "warning"})

    for manager in ("good", "good", "bad"):
        site.see("nodeLeave", node="n1", clusterManager=manager)
        site.advance(SECOND)

    assert [(each.name, each.severity) for each in site.told][-1] == ("alertRepeated", "critical")


def test_a_closing_that_arrives_late_splits_the_alert(bench):
    site = bench()
    late = make_event("nodeJoin", site.now + 2 * MINUTE, node="n1")

    site.see("nodeLeave", node="n1")
    site.advance(3 * MINUTE)
    site.see("nodeLeave", node="n1")
    site.send(late)

    assert [each.state for each in site.alerts()] == ["closed", "open"]
    assert site.names == ["alertOpened", "alertRepeated", "alertClosed", "alertOpened"]


def test_a_closing_that_arrives_before_its_opening_closes_it(bench):
    site = bench()
    early = make_event("nodeLeave", site.now, node="n1")
    site.advance(MINUTE)

    site.see("nodeJoin", node="n1")
    site.send(early)

    (alert,) = site.alerts()
    assert (alert.state, alert.told) == ("closed", False)
    assert site.names == []
    assert [each.why for each in site.history(alert)] == ["over before it was known"]


@pytest.mark.thorough
def test_of_a_backlog_what_is_over_is_not_told_and_what_is_open_is_told_once(bench):
    site = bench()
    yesterday = site.now - DAY
    both = (("nodeLeave", yesterday), ("nodeJoin", yesterday + SECOND))
    over = [make_event(name, at, node=f"n{number}") for number in range(9) for name, at in both]

    site.send(*over, make_event("nodeLeave", yesterday, node="n99"))
    assert site.names == []
    site.advance(5 * SECOND)

    assert [(each.name, each.data["nodes"]) for each in site.told] == [("alertOpened", "n99")]
    assert len(site.alerts()) == 10
    site.advance(20 * MINUTE)
    assert site.names == ["alertOpened"]


@pytest.mark.thorough
def test_an_engine_that_starts_tells_nothing_of_the_backlog_that_another_one_reads(bench):
    site = bench()
    site.see("nodeLeave", node="n1", ago=DAY)
    site.others = [site.another().line]
    for number in range(100):
        site.see("nodeJoin", node=f"other{number}", ago=HOUR)
        site.advance(SECOND / 2)
    site.see("nodeJoin", node="n1", ago=HOUR)
    site.advance(5 * SECOND)

    assert site.names == []


def test_what_was_held_back_before_a_kill_is_told_by_the_next_engine(bench):
    site = bench()
    site.see("nodeLeave", node="n1", ago=DAY)
    site.engine.stop()
    site.engine.line.stop()
    site.engine = site.another()
    site.advance(MINUTE)

    assert site.names == ["alertOpened"]


@pytest.mark.long
@pytest.mark.thorough
def test_a_backlog_that_never_ends_is_told_in_the_end(bench):
    site = bench()
    site.see("nodeLeave", node="n1", ago=HOUR)
    for number in range(20 * 60):
        site.see("nodeLeave", node="n2", ago=HOUR - timedelta(seconds=number))
        # Before the backlog counts as read, which is after a second without an old event.
        site.advance(SECOND * 9 / 10)
        if site.names:
            break

    assert site.names[0] == "alertOpened"
    assert site.broker.now <= 16 * MINUTE


@pytest.mark.thorough
def test_an_alert_closes_by_itself_when_it_is_quiet(bench):
    site = bench({"name": "space", "opens": "lowDiskSpace", "closes_after": "20m", "by": "data.fsName"})

    site.see("lowDiskSpace", fsName="gpfs1")
    site.advance(10 * MINUTE)
    site.see("lowDiskSpace", fsName="gpfs1")
    site.advance(19 * MINUTE)
    assert site.names == ["alertOpened", "alertRepeated"]
    site.advance(2 * MINUTE)

    assert site.names[2:] == ["alertClosed"]
    assert site.told[-1].data["cause"] == "quiet"
    (alert,) = site.alerts()
    assert alert.until - alert.since == 30 * MINUTE


@pytest.mark.thorough
def test_what_bounces_is_flapping_once_and_closes_when_it_is_calm(bench):
    site = bench(NODE_DOWN | {"flapping": {"openings": 3, "within": "30m", "quiet": "30m"}})

    for _ in range(8):
        site.see("nodeLeave", node="n1")
        site.advance(MINUTE)
        site.see("nodeJoin", node="n1")
        site.advance(MINUTE)

    assert site.names == ["alertOpened", "alertClosed"] * 2 + ["alertOpened", "alertFlapping", *["alertRepeated"] * 2]
    site.advance(31 * MINUTE)
    assert site.names[-1] == "alertClosed"
    assert [each.flapping for each in site.alerts()] == [False, False, True]


class Disk:
    """The facts of the disk nsd3 of gpfs1, read just before they are asked for; it counts how often."""

    def __init__(self, site, availability):
        self.site, self.availability, self.asked, self.began = site, availability, 0, None

    def begin(self):
        """Do nothing."""

    def of(self, cluster):
        """Return what is known now."""
        self.asked += 1
        parts = {"file_systems": {"gpfs1": {}}, "disks/gpfs1": {"nsd3": {"availability": self.availability}}}
        moment = self.began or self.site.now
        readings = [Reading(part, content, moment, moment) for part, content in parts.items()]
        return assemble(cluster, readings, 5 * MINUTE).at(moment)


@pytest.mark.parametrize(("ask_every", "wait"), [(None, MINUTE), ("5s", 5 * SECOND)])
def test_facts_are_asked_every_minute_or_as_often_as_the_rule_says(bench, ask_every, wait):
    when = "facts.file_systems[data.fsName].disks[data.diskName[0]].availability == 'up'"
    rule = {"name": "disk-down", "opens": "diskFailure", "closes_when": when, "by": "data.diskName"}
    site = bench()
    disk = Disk(site, "down")
    site.engine.reload(active(rule | {"ask_every": ask_every}, facts=disk), Catalogues.shipped())

    site.see("diskFailure", fsName="gpfs1", diskName="nsd3")
    site.advance(2 * SECOND)
    disk.availability, disk.asked = "up", 0
    site.advance(wait - 3 * SECOND)
    assert (site.names, disk.asked) == (["alertOpened"], 0)
    site.advance(4 * SECOND)
    assert site.names == ["alertOpened", "alertClosed"]
    assert site.told[-1].data["cause"] == "fact"


def test_what_facts_close_ended_when_they_were_known_and_an_opening_while_they_were_read_opens_again(bench):
    when = "facts.file_systems[data.fsName].disks[data.diskName[0]].availability == 'up'"
    rule = {"name": "disk-down", "opens": "diskFailure", "closes_when": when, "by": "data.diskName", "ask_every": "10s"}
    site = bench()
    disk = Disk(site, "down")
    site.engine.reload(active(rule, facts=disk), Catalogues.shipped())
    site.see("diskFailure", fsName="gpfs1", diskName="nsd3")
    site.advance(SECOND)

    # Reading begins now; what it says is known only when the engine asks the next time.
    disk.availability, disk.began = "up", site.now
    site.advance(20 * SECOND)
    (closed,) = site.alerts()
    site.see("diskFailure", ago=site.now - disk.began - SECOND, fsName="gpfs1", diskName="nsd3")
    site.advance(SECOND)

    assert disk.began + 5 * SECOND < closed.until < site.now
    assert datetime.fromisoformat(site.told[1].data["until"]) == closed.until
    assert site.names == ["alertOpened", "alertClosed", "alertOpened"]


@pytest.mark.thorough
def test_it_is_reminded_of_until_somebody_acknowledges_it(bench):
    site = bench(NODE_DOWN | {"remind": "4m"})

    site.see("nodeLeave", node="n1")
    site.advance(9 * MINUTE)
    assert site.names == ["alertOpened", "alertReminded", "alertReminded"]
    site.act(site.alerts()[0], "ack", comment="on it")
    site.advance(HOUR / 3)
    assert site.names[3:] == ["alertAcknowledged"]
    said = site.told[-1].data
    assert (said["state"], said["by"], said["comment"], said["cause"]) == ("acknowledged", "anna", "on it", "person")
    site.act(site.alerts()[0], "unack")
    site.advance(5 * MINUTE)
    assert site.names[4:] == ["alertAcknowledged", "alertReminded"]


@pytest.mark.thorough
def test_it_escalates_once_unless_it_is_acknowledged(bench):
    site = bench(NODE_DOWN | {"escalate": {"after": "15m", "to": "on-call"}})

    site.see("nodeLeave", node="n1")
    site.see("nodeLeave", node="n2")
    (theirs,) = [each for each in site.alerts() if each.node == "n2"]
    site.act(theirs, "ack")
    site.advance(40 * MINUTE)

    (escalated,) = [each for each in site.told if each.name == "alertEscalated"]
    assert (escalated.data["nodes"], escalated.data["escalatedTo"]) == ("n1", "on-call")
    site.see("nodeJoin", node="n1")
    assert (site.told[-1].name, site.told[-1].data["escalatedTo"]) == ("alertClosed", "on-call"), "it hears the end"


def test_an_acknowledgement_survives_repetitions_and_ends_with_the_alert(bench):
    site = bench()

    site.see("nodeLeave", node="n1")
    site.act(site.alerts()[0], "ack")
    site.see("nodeLeave", node="n1")
    assert site.alerts()[0].state == "acknowledged"
    site.advance(SECOND)
    site.see("nodeJoin", node="n1")
    site.advance(SECOND)
    site.see("nodeLeave", node="n1")

    assert [each.state for each in site.alerts()] == ["closed", "open"]


def test_a_person_closes_an_alert_and_what_was_captured_before_does_not_open_it_again(bench):
    site = bench()
    site.see("nodeLeave", node="n1")
    site.advance(MINUTE)

    site.act(site.alerts()[0], "close", comment="false alarm")
    site.see("nodeLeave", node="n1", ago=30 * SECOND)
    site.advance(MINUTE)

    (alert,) = site.alerts()
    assert (alert.state, alert.by, alert.comment) == ("closed", "anna", "false alarm")
    assert site.names == ["alertOpened", "alertClosed"]
    with pytest.raises(AlertIsClosed):
        site.act(alert, "ack")
    site.act(alert, "note", comment="it was the switch")
    site.advance(5 * SECOND)
    assert site.names[2:] == ["alertNoted"]


def test_acts_are_kept_while_no_engine_runs_and_published_by_the_next(bench):
    site = bench()
    site.see("nodeLeave", node="n1")
    site.engine.stop()
    site.others = [site.engine.line]

    site.act(site.alerts()[0], "ack")
    site.advance(MINUTE)
    assert site.names == ["alertOpened"]
    site.engine = site.another()
    site.advance(MINUTE)

    assert sorted(site.names) == ["alertAcknowledged", "alertOpened"]
    assert site.alerts()[0].state == "acknowledged"


@pytest.mark.thorough
@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_clock_that_jumps_escalates_and_reminds_of_nothing(bench, jump):
    site = bench(
        NODE_DOWN | {"escalate": {"after": "15m", "to": "on-call"}, "remind": "1h"},
        {"name": "space", "opens": "lowDiskSpace", "closes_after": "2h", "by": "data.fsName"},
    )
    site.see("nodeLeave", node="n1")
    site.see("lowDiskSpace", fsName="gpfs1")
    site.advance(MINUTE)

    site.jump = jump
    site.advance(10 * MINUTE)
    assert site.names == ["alertOpened", "alertOpened"]
    site.engine.stop()
    site.others = [site.engine.line]
    # Another host, whose steady clock is another, takes over: less than a minute is counted.
    site.engine = site.another()
    site.advance(2 * MINUTE)
    assert sorted(site.names) == ["alertOpened", "alertOpened"]

    site.see("nodeLeave", node="n2")
    site.advance(10 * MINUTE)
    assert sorted(site.names) == ["alertEscalated", "alertOpened", "alertOpened", "alertOpened"]


def test_an_alert_of_the_same_node_is_suppressed_and_told_once_its_parent_is_over(bench):
    site = bench(
        NODE_DOWN | {"suppresses": ["waiters"]},
        {"name": "waiters", "opens": "deadlockDetected", "closes_after": "1h", "by": "data.myNode"},
    )

    site.see("nodeLeave", node="n1")
    site.see("deadlockDetected", myNode="n1")
    site.see("deadlockDetected", myNode="n2")
    parent, child, other = site.told
    assert (child.data["suppressedBy"], other.data["suppressedBy"]) == (parent.data["alert"], None)
    site.see("nodeJoin", node="n1")
    site.advance(2 * MINUTE)

    again = site.told[-1]
    assert site.told[3].data["suppressed"] == 1
    assert (again.name, again.data["alert"], again.data["suppressedBy"]) == ("alertOpened", child.data["alert"], None)
    assert again.data["cause"] == "group"


@pytest.mark.thorough
def test_nobody_is_reminded_of_an_alert_or_called_for_it_while_a_cause_that_opened_later_is_open(bench):
    site = bench(
        NODE_DOWN | {"suppresses": ["waiters"]},
        {
            "name": "waiters",
            "opens": "deadlockDetected",
            "closes_after": "1d",
            "by": "data.myNode",
            "remind": "10m",
            "escalate": {"after": "15m", "to": "on-call"},
        },
    )
    site.see("deadlockDetected", myNode="n1")
    site.advance(MINUTE)
    site.see("nodeLeave", node="n1")

    site.advance(16 * MINUTE)
    assert site.names == ["alertOpened", "alertOpened"]

    site.see("nodeJoin", node="n1")
    site.advance(11 * MINUTE)
    assert sorted(site.names[2:]) == ["alertClosed", "alertEscalated", "alertReminded"]


def test_of_alerts_that_suppress_one_another_in_a_circle_one_is_heard(bench):
    told = {"closes_after": "1d", "by": "data.myNode", "remind": "10m"}
    site = bench(
        {"name": "a", "opens": "deadlockDetected", "suppresses": ["b"], **told},
        {"name": "b", "opens": "deadlockOverload", "suppresses": ["c"], **told},
        {"name": "c", "opens": "nodeLeave", "suppresses": ["a"], **told, "by": "data.eventNode"},
    )
    site.see("deadlockDetected", myNode="n1")
    site.see("nodeLeave", node="n1")
    site.see("deadlockOverload", myNode="n1")

    site.advance(11 * MINUTE)

    assert [each.data["rule"] for each in site.told if each.name == "alertReminded"] == ["c"]


def test_changes_after_a_reload_are_made_by_the_catalogue_of_the_reload(bench):
    site = bench()
    site.see("nodeLeave", node="n1")
    changed = Catalogues.shipped()

    site.engine.reload(site.rules, changed)

    assert site.engine.catalogues is changed


def test_an_alert_whose_rule_is_gone_is_closed(bench):
    site = bench()
    site.see("nodeLeave", node="n1")
    site.advance(2 * MINUTE)

    other = bench({"name": "other", "opens": "quorumLoss", "closes": "quorumReached"})
    site.engine.reload(other.rules, Catalogues.shipped())
    site.advance(2 * MINUTE)

    assert site.names == ["alertOpened", "alertClosed"]
    assert site.told[-1].data["cause"] == "rule"


def test_what_a_store_refuses_for_a_while_is_written_once(bench):
    site = bench()

    site.store.failures = 3
    site.see("nodeLeave", node="n1")
    site.advance(MINUTE)

    assert site.names == ["alertOpened"]
    assert site.engine.counts.received == 1


@pytest.mark.thorough
def test_two_engines_share_the_work_and_one_counts_the_time(bench):
    site = bench(NODE_DOWN | {"remind": "10m"})
    second = site.another()
    site.others = [second.line]

    site.see("nodeLeave", node="n1")
    site.advance(25 * MINUTE)
    assert sorted(site.names) == ["alertOpened", "alertReminded", "alertReminded"]
    assert (site.engine.is_active, second.is_active) == (True, False)

    site.engine.stop()
    site.engine.line.stop()
    site.advance(10 * MINUTE)
    assert second.is_active
    site.see("nodeJoin", node="n1")
    site.advance(MINUTE)
    assert sorted(site.names) == ["alertClosed", "alertOpened", *["alertReminded"] * 3]
