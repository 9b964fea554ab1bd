"""What people do in PagerDuty and Opsgenie is taken over here: the engine's own alerts, strict stand-ins of both."""

import pytest

from consumers.verbs.alert.verb import AlertVerb
from tests.alerting import MINUTE, AlertBench
from tests.kept_alerts import keeping
from tests.paging_services import GENIE_KEY, ROUTING_KEY, TOKEN, opsgenie, pagerduty


@pytest.fixture
def bench(tmp_path):
    return AlertBench(f"sqlite:///{tmp_path / 'store.db'}")


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    for name, value in {"KEY": ROUTING_KEY, "TOKEN": TOKEN, "GENIE": GENIE_KEY}.items():
        monkeypatch.setenv(name, value)


def pager(service, **fields):
    options = {"key": "env:KEY", "url": service.url, "api": service.url, "token": "env:TOKEN"}
    return AlertVerb.model_validate({"pagerduty": options, "follow": "1m", "proxy": "none", **fields})


def last(bench):
    bench.advance(MINUTE)
    (found,) = bench.alerts()
    return found


def test_an_incident_that_a_person_acknowledges_and_resolves_is_acknowledged_and_closed_here(bench):
    with pagerduty() as service, keeping(bench.store, pager(service), clock=bench.clock) as kept:
        bench.see("nodeLeave", node="n1")
        (opened,) = bench.told
        kept.attempt(opened)
        alert = opened.data["alert"]
        kept.after(60)
        assert last(bench).state == "open"

        service.person(alert, "acknowledged", "Anna")
        kept.after(60)
        acknowledged = last(bench)
        service.person(alert, "resolved", "Bob")
        kept.after(60)
        closed = last(bench)
        asked = service.asked
        kept.after(60)

    assert (acknowledged.state, acknowledged.by) == ("acknowledged", "pagerduty:Anna")
    assert (closed.state, closed.by) == ("closed", "pagerduty:Bob")
    assert bench.names == ["alertOpened", "alertAcknowledged", "alertClosed"]
    assert service.asked == asked  # what is closed is not asked about


def test_what_came_from_there_changes_nothing_when_it_is_sent_back(bench):
    with pagerduty() as service, keeping(bench.store, pager(service), clock=bench.clock) as kept:
        bench.see("nodeLeave", node="n1")
        kept.attempt(bench.told[0])
        service.person(bench.told[0].data["alert"], "acknowledged", "Anna")
        for _ in range(3):
            kept.after(60)
            bench.advance(MINUTE)
            kept.attempt(bench.told[-1])

    assert bench.names == ["alertOpened", "alertAcknowledged"]
    assert len(service.notified) == 1


def test_two_consumers_that_take_over_the_same_act_make_one_change(bench):
    with (
        pagerduty() as service,
        keeping(bench.store, pager(service), clock=bench.clock) as one,
        keeping(bench.store, pager(service), clock=bench.clock) as other,
    ):
        bench.see("nodeLeave", node="n1")
        one.attempt(bench.told[0])
        service.person(bench.told[0].data["alert"], "resolved", "Anna")
        one.after(60)
        other.after(60)
        assert last(bench).state == "closed"

    assert bench.names == ["alertOpened", "alertClosed"]


def test_a_service_that_is_away_is_logged_once_and_asked_again(bench, caplog):
    caplog.set_level("INFO")
    with pagerduty() as service, keeping(bench.store, pager(service), clock=bench.clock) as kept:
        bench.see("nodeLeave", node="n1")
        kept.attempt(bench.told[0])
        service.refusals = [(500, "later"), (503, "later"), (200, "no incidents")]
        for _ in range(4):
            kept.after(60)

    logged = [each.message for each in caplog.records if each.name.startswith("consumers.alert_receivers")]
    assert logged == [
        "another system cannot be asked what people did to alerts; trying again",
        "another system answers about alerts again",
    ]


def test_an_alert_that_a_person_closes_in_opsgenie_is_closed_here(bench):
    with opsgenie() as service:
        verb = AlertVerb.model_validate({"opsgenie": {"key": "env:GENIE", "url": service.url}, "follow": "1m"})
        with keeping(bench.store, verb, clock=bench.clock) as kept:
            bench.see("nodeLeave", node="n1")
            kept.attempt(bench.told[0])
            kept.after(60)  # it is not there yet
            service.incidents = []
            service._process("create", {"alias": bench.told[0].data["alert"], "priority": "P3", "message": "x"})
            service.incidents[0].status, service.incidents[0].by = "closed", {"summary": "Carol"}
            kept.after(60)

    assert (last(bench).state, last(bench).by) == ("closed", "opsgenie:Carol")


def test_what_the_subscription_does_not_select_and_shadows_are_not_asked_about(bench):
    with pagerduty() as service:
        others = {"where": 'severity == "info"'}, {"mode": "shadow"}
        for fields in others:
            with keeping(bench.store, pager(service), clock=bench.clock, **fields) as kept:
                bench.see("nodeLeave", node="n1")
                kept.after(60)

        assert service.asked == 0
