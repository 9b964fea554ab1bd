"""What one node says is over: it ends what that node alone reported, and of others only what one node reports."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.alerts import shipped_rules
from consumers.alerts.life.lifecycle import UNCONFIRMED, fold
from consumers.alerts.life.observations import Observation
from consumers.alerts.life.policy import Policy
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from router.model.event_words import named
from router.model.ids import new_id
from router.pipeline.reports.confirmations import confirmation
from tests.alerting import CATALOGUES, MINUTE, SECOND, START, AlertBench

RULES = ("quorum-lost", "node-down", "soft-quota")
USER = {"fsName": "gpfs1", "filesetName": "root", "quotaType": "USR", "quotaID": 7}
ALONE = "only liar reports the end"


@pytest.fixture
def site(database):
    made = AlertBench(database("store"), *(shipped_rules.completed({"name": each}) for each in RULES))
    yield made
    made.store.close()


def confirmed(first, by, at):
    copy = first.model_copy(update={"id": new_id(at), "node": by, "source": f"/gpfs/prod/{by}"})
    return confirmation(first.id, copy, CATALOGUES, at)


def see_by_all(site, name, reporters=("n1", "n2"), **data):
    """Publish what the router makes of the reports of several nodes."""
    first, second = reporters
    event = site.see(name, reporter=first, **data)
    site.send(confirmed(event, second, site.now))


def changes(site):
    return [(each.name, each.data["comment"]) for each in site.told if each.data["state"] != "acknowledged"]


@pytest.mark.thorough
def test_a_node_that_says_that_another_is_back_ends_nothing_that_others_reported(site):
    see_by_all(site, "nodeLeave", node="victim")

    site.see("nodeJoin", node="victim", reporter="liar")
    site.see("nodeJoin", node="victim", reporter="liar")
    site.advance(UNCONFIRMED - MINUTE)
    assert [each.state for each in site.alerts()] == ["open"]

    see_by_all(site, "nodeJoin", node="victim")
    assert changes(site) == [("alertOpened", None), ("alertClosed", None)]
    (row,) = site.alerts()
    assert row.until == site.now


def test_an_end_that_every_node_reports_holds_at_once(site):
    see_by_all(site, "nodeLeave", node="n3")
    site.advance(MINUTE)

    end = site.see("nodeJoin", node="n3", reporter="n2")
    site.advance(MINUTE)
    site.send(confirmed(end, "n1", site.now))

    (row,) = site.alerts()
    assert (row.state, row.until) == ("closed", end.moment)
    assert (site.told[-1].data["lastEvent"], site.told[-1].data["comment"]) == (end.id, None)


@pytest.mark.thorough
def test_an_end_that_only_one_node_reports_holds_after_a_time_and_names_the_node(site):
    """The others may have lost their reports: an alert that nobody closes is no better."""
    see_by_all(site, "nodeLeave", node="victim")
    end = site.see("nodeJoin", node="victim", reporter="liar")

    site.advance(UNCONFIRMED + MINUTE)

    assert changes(site) == [("alertOpened", None), ("alertClosed", ALONE)]
    (row,) = site.alerts()
    assert (row.until, row.comment, site.told[-1].data["lastEvent"]) == (end.moment, ALONE, end.id)


@pytest.mark.parametrize("reporter", ["n1", "victim"])
def test_a_node_ends_what_it_alone_reported_and_what_is_about_itself(site, reporter):
    site.see("nodeLeave", node="victim", reporter="n1")
    site.see("nodeJoin", node="victim", reporter=reporter)

    assert changes(site) == [("alertOpened", None), ("alertClosed", None)]


def test_who_is_the_first_to_report_cannot_end_what_others_confirm_afterwards(site):
    left = site.see("nodeLeave", node="victim", reporter="liar")
    site.see("nodeJoin", node="victim", reporter="liar", ago=-SECOND)
    assert site.names == ["alertOpened", "alertClosed"]

    site.send(confirmed(left, "n1", site.now + 2 * SECOND))
    site.advance(2 * MINUTE)

    assert site.names == ["alertOpened", "alertClosed", "alertOpened"]
    assert {(each.state, each.confirmed_by) for each in site.alerts()} == {("closed", ""), ("open", "n1")}


@pytest.mark.long
@pytest.mark.thorough
def test_copies_that_are_late_open_nothing_again(site):
    """After an outage the router has all that one node reported before it has what another one did."""
    left = site.see("nodeLeave", node="n3", reporter="n1")
    back = site.see("nodeJoin", node="n3", reporter="n1", ago=-SECOND)
    for late in (confirmed(left, "n2", site.now + 2 * SECOND), confirmed(back, "n2", site.now + 3 * SECOND)):
        site.send(late)
    site.advance(2 * UNCONFIRMED)

    assert site.names == ["alertOpened", "alertClosed"]
    assert {each.state for each in site.alerts()} == {"closed"}


def test_what_others_report_after_the_claim_of_one_node_is_another_alert_at_once(site):
    see_by_all(site, "nodeLeave", node="victim")
    site.see("nodeJoin", node="victim", reporter="liar")
    site.advance(MINUTE)

    site.see("nodeLeave", node="victim", reporter="n1")

    assert changes(site) == [("alertOpened", None), ("alertClosed", ALONE), ("alertOpened", None)]
    site.see("nodeJoin", node="victim", reporter="liar")
    assert site.names[3:] == []


def test_a_node_that_takes_back_that_something_is_over_has_not_ended_it(site):
    see_by_all(site, "nodeLeave", node="victim")
    for name in ("nodeJoin", "nodeLeave", "nodeJoin"):
        site.see(name, node="victim", reporter="liar")
        site.advance(SECOND)

    assert [each.state for each in site.alerts()] == ["open"]


@pytest.mark.parametrize(
    ("opens", "closes", "data"),
    [("quorumLoss", "quorumReached", {}), ("softQuotaExceeded", "usageUnderSoftQuota", USER)],
)
def test_an_end_that_only_one_node_can_report_holds_and_names_the_node(site, opens, closes, data):
    """The manager may be another one by then."""
    see_by_all(site, opens, **data)
    site.see(closes, reporter="liar", **data)

    assert changes(site) == [("alertOpened", None), ("alertClosed", ALONE)]


def test_an_end_that_an_earlier_release_kept_without_its_reporter_holds():
    opening = Observation(id="1", at=START, kind="opens", event_type="gpfs.nodeLeave", event_node="n1")
    end = Observation(id="2", at=START + SECOND, kind="closes", event_type="gpfs.nodeJoin")

    assert fold([opening, end], Policy()).open is None


# Whatever one node says

LIAR, NODES = "liar", ["n1", "n2", "n3"]
statements = st.lists(
    st.tuples(st.sampled_from([LIAR, *NODES]), st.sampled_from(["nodeLeave", "nodeJoin"]), st.booleans()),
    min_size=3,
    max_size=16,
)
_clusters = itertools.count()


@pytest.mark.thorough
def test_whatever_one_node_says_what_others_say_is_open_is_open(site):
    @settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
    @given(statements)
    def holds(said):
        cluster, is_down, events = f"c{next(_clusters)}", False, []
        for number, (reporter, name, is_confirmed) in enumerate(said):
            at = site.now + number * timedelta(milliseconds=10)
            event = synthetic_event(
                named(name, CATALOGUES),
                {"eventNode": "victim"},
                Registrations(CATALOGUES),
                moment=at,
                node=reporter,
                cluster=cluster,
            )
            events.append(event)
            # All honest nodes report what happens, some before the others.
            if reporter != LIAR or is_confirmed:
                others = [each for each in NODES if each != reporter]
                events.append(confirmed(event, others[0], at + timedelta(milliseconds=1)))
                is_down = name == "nodeLeave"
        site.send(*events)

        is_open = bool(site.alerts(("open",), cluster=cluster))
        assert is_open == is_down or (is_open and LIAR in {reporter for reporter, _, _ in said})

    holds()
