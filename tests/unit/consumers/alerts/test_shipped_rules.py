"""The shipped rules: every event that begins something has one, and what closes it is about the same."""

import pytest

from consumers.alerts import shipped_rules
from consumers.alerts.active_rules import ActiveRules
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import sample
from consumers.subscriptions import validation
from router.model.catalogue import Catalogues
from router.sources.event_selectors import select
from tests.consuming import make_event

CATALOGUES = Catalogues.shipped()
REGISTRATIONS = Registrations(CATALOGUES)
RULES = shipped_rules.rules()
ACTIVE = ActiveRules([*RULES.values()], CATALOGUES)

# What is a warning or worse, and begins nothing that anybody would wait for the end of.
NO_STATE = {
    "gpfs.afmCmdRequeued": "the gateway tries again by itself",
    "gpfs.sendRequestToNodes": "GPFS collects debug data",
    "gpfs.tiebreakerCheck": "GPFS asks before it decides",
    "clusterbus.runFailed": "deliveryDead says which failures are final",
}


def kinds(*texts: str):
    return [kind for text in texts for kind in select(text, CATALOGUES).types]


def test_every_event_that_is_wrong_opens_an_alert_or_says_why_not():
    wrong = {each.type for each in CATALOGUES.all() if each.severity in ("warning", "error", "critical")}
    opened = {kind.type for rule in RULES.values() for kind in kinds(*rule.opens)}
    changes = {each.type for each in CATALOGUES.all() if each.category == "alert"}
    of_jobs = {each.type for each in CATALOGUES.all() if each.source == "qube"}

    assert wrong - opened - changes - of_jobs == NO_STATE.keys()


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.closes])
def test_what_closes_an_alert_is_about_the_same(name):
    rule = RULES[name]
    opened = {each.about for kind in kinds(*rule.opens) for each in seen(kind, name) if each.opens}
    closed = {each.about for kind in kinds(*rule.closes) for each in seen(kind, name) if not each.opens}

    assert opened
    assert opened & closed


def seen(kind, name):
    return [each for each in ACTIVE.seen(sample(kind, REGISTRATIONS)) if each.rule == name]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_summary_in_one_line(name):
    for kind in kinds(*RULES[name].opens):
        for each in seen(kind, name):
            assert each.summary
            assert "\n" not in each.summary
            assert not each.summary.endswith(".")


@pytest.mark.parametrize("group", ["_ALL_", "rg1"])
def test_what_is_about_all_recovery_groups_closes_the_alert_of_none(group):
    """GPFS reports each group by its name afterwards, with the error of that one."""
    (ended,) = ACTIVE.seen(
        make_event(
            type="gpfs.postRGTakeover",
            category="raid",
            data={"myNode": "n1", "rgName": group, "rgErr": 0, "rgCount": 2, "rgReason": None},
        )
    )

    assert (ended.opens, ended.about) == (False, (("rgName", group),))


def test_the_checker_finds_no_mistake_in_them():
    report = validation.check(shipped_rules.FILE, CATALOGUES, here=False)

    assert report.mistakes == ()
    assert [each.entry for each in report.warnings] == ["fileset-limit"]  # not registered by default


def test_what_a_site_does_not_write_is_as_shipped():
    assert shipped_rules.completed({"name": "deadlock", "remind": "1h"})["opens"] == "deadlockDetected"
    assert shipped_rules.completed({"name": "mine"}) == {"name": "mine"}
    assert shipped_rules.completed({"name": 5}) == {"name": 5}


def test_what_the_router_sees_of_a_node_is_not_suppressed_by_what_nodes_report():
    suppressing = [each.name for each in RULES.values() if "node-flooding" in each.suppresses]

    # A node reports with its own credentials: one that floods could report first that it left.
    assert suppressing == []
