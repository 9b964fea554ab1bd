"""What events say of alerts, by rules that are in force."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.alerts.active_rules import ActiveRules
from consumers.alerts.rules import Rule
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from router.cluster.facts.assemble import assemble
from router.cluster.facts.parts import Reading
from router.cluster.facts.views import Known
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.model.events import Event

CATALOGUES = Catalogues.shipped()
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DISK = "data.diskName.all(name, facts.file_systems[data.fsName].disks[name].availability == 'up')"


def event(name: str, moment: datetime = NOW, **data: Any) -> Event:
    event_type = named(name, CATALOGUES)
    return synthetic_event(event_type, data, Registrations(CATALOGUES), moment=moment, node="nsd01", cluster="prod")


class Facts:
    """The disks of gpfs1, as they were read at one moment."""

    def __init__(self, moment: datetime, **availability: str) -> None:
        rows = {name: {"status": "ready", "availability": each} for name, each in availability.items()}
        parts = {"file_systems": {"gpfs1": {}}, "disks/gpfs1": rows}
        readings = [Reading(part, content, moment, moment) for part, content in parts.items()]
        # Another part is older, and says nothing of disks.
        readings.append(Reading("managers", {}, moment - timedelta(days=1), moment - timedelta(days=1)))
        self._facts = assemble("prod", readings, timedelta(minutes=5))
        self._moment = moment

    def begin(self) -> None:
        pass

    def of(self, cluster: str) -> Known:
        return self._facts.at(self._moment)


def active(facts: Facts | None = None, **fields: Any) -> ActiveRules:
    return ActiveRules([Rule.model_validate({"name": "it", "closes_after": "1h", **fields})], CATALOGUES, facts)


def test_an_event_opens_and_another_closes_the_alert_of_the_same_values():
    rules = active(opens="softQuotaExceeded", closes="usageUnderSoftQuota", by=["data.fsName", "data.quotaID"])

    (opening,) = rules.seen(event("softQuotaExceeded", fsName="gpfs1", quotaID="7", blockUsage="5"))
    (closing,) = rules.seen(event("usageUnderSoftQuota", fsName="gpfs1", quotaID="7", blockUsage="1"))

    assert opening.opens
    assert not closing.opens
    assert opening.about == closing.about == (("fsName", "gpfs1"), ("quotaID", 7))
    assert opening.cluster == "prod"
    assert rules.seen(event("nodeJoin", eventNode="n1")) == []


def test_each_node_of_a_list_has_an_alert_of_its_own():
    rules = active(
        opens="nodeLeave", closes="nodeJoin", by="data.eventNode", summary="{{ data.eventNode | first }} left"
    )

    left = rules.seen(event("nodeLeave", eventNode="n1.example.org,N2.example.org,n1.example.org"))
    (back,) = rules.seen(event("nodeJoin", eventNode="N2.example.org"))

    assert [(each.about, each.node, each.summary) for each in left] == [
        ((("eventNode", "n1.example.org"),), "n1", "n1.example.org left"),
        ((("eventNode", "N2.example.org"),), "n2", "N2.example.org left"),
    ]
    assert back.about == left[1].about


@pytest.mark.parametrize(("by", "node"), [("data.fsName", ""), ("node", "nsd01"), (["data.fsName", "node"], "nsd01")])
def test_an_alert_that_is_about_no_node_has_none(by, node):
    (sighting,) = active(opens="lowDiskSpace", by=by).seen(event("lowDiskSpace", fsName="gpfs1"))

    assert sighting.node == node


@pytest.mark.parametrize(("used", "severity"), [("91", "warning"), ("96", "error"), ("100", "critical")])
def test_the_most_severe_expression_that_is_true_decides(used, severity):
    rules = active(
        opens="softQuotaExceeded",
        severity="warning",
        severity_if={
            "error": "data.blockUsage * 100 >= data.blockLimit * 95",
            "critical": "data.blockUsage * 100 >= data.blockLimit * 99",
        },
    )

    (sighting,) = rules.seen(event("softQuotaExceeded", blockUsage=used, blockLimit="100"))

    assert sighting.severity == severity


def test_conditions_choose_among_events_of_one_type():
    rules = active(opens="qube.*.job.#", opens_if="type == 'qube.failedJob'", closes="job", by="data.id")

    assert [each.opens for each in rules.seen(event("failedJob", id="1"))] == [True]
    assert [each.opens for each in rules.seen(event("completeJob", id="1"))] == [False]


def test_a_pattern_opens_alerts_of_events_that_no_catalogue_has():
    rules = active(opens="gpfs.*.unknown.#")
    unknown = event("nodeJoin", eventNode="n1").model_copy(update={"type": "gpfs.newEvent", "category": "unknown"})

    assert len(rules.seen(unknown)) == 1


def test_without_a_summary_the_meaning_of_the_type_and_the_values_are_it():
    (sighting,) = active(opens="lowDiskSpace", by="data.fsName").seen(event("lowDiskSpace", fsName="gpfs1"))

    assert sighting.summary.endswith(": fsName gpfs1")


def test_a_summary_that_cannot_be_filled_in_does_not_keep_the_alert_from_opening():
    (sighting,) = active(opens="lowDiskSpace", summary="{{ data.reason }}").seen(event("lowDiskSpace", fsName="gpfs1"))

    assert sighting.summary


def test_what_is_switched_off_is_bound_to_nothing():
    rules = active(opens="lowDiskSpace", enabled=False)

    assert rules.patterns == ()
    assert not rules.rules


def test_the_bindings_are_those_of_what_opens_and_closes():
    opens, closes = "gpfs.*.node.nodeLeave.*.*", "gpfs.*.node.nodeJoin.*.*"

    assert set(active(opens="nodeJoin", closes="nodeLeave").patterns) == {opens, closes}
    confirmed = "clusterbus.*.router.reportConfirmed.*.*"
    assert set(active(opens="nodeLeave", closes="nodeJoin").patterns) == {opens, closes, confirmed}


def test_facts_that_were_read_after_the_opening_close_the_alert_of_each_disk():
    moment = NOW + timedelta(minutes=1)
    rules = active(
        Facts(moment, d1="up", d2="down"), opens="diskFailure", closes_when=DISK, by=["data.fsName", "data.diskName"]
    )
    opening = event("diskFailure", fsName="gpfs1", diskName="d1,d2")
    first, second = (each.about for each in rules.seen(opening))

    assert rules.fact_says_closed("it", opening, first) == moment
    assert rules.fact_says_closed("it", opening, second) is None


def test_facts_from_before_the_opening_close_nothing():
    facts = Facts(NOW - timedelta(seconds=1), d1="up")
    rules = active(facts, opens="diskFailure", closes_when=DISK, by=["data.fsName", "data.diskName"])
    opening = event("diskFailure", fsName="gpfs1", diskName="d1")

    (sighting,) = rules.seen(opening)

    assert rules.fact_says_closed("it", opening, sighting.about) is None


def test_facts_that_are_not_known_close_nothing():
    rules = active(Facts(NOW + timedelta(hours=1)), opens="diskFailure", closes_when=DISK, by="data.diskName")
    opening = event("diskFailure", fsName="gpfs2", diskName="d1")

    assert rules.fact_says_closed("it", opening, (("diskName", "d1"),)) is None
    assert rules.fact_says_closed("other", opening, ()) is None
