"""What people do in PagerDuty and Opsgenie is taken over here: the engine's own alerts, strict stand-ins of both."""

import pytest

from consumers.errors import StoreError
from consumers.inspection.doctor import databases as doctor
from consumers.store.alerts import receiver_health
from consumers.subscriptions.models import Subscriptions
from consumers.verbs.alert.verb import AlertVerb
from tests.alerting import MINUTE, AlertBench
from tests.kept_alerts import keeping
from tests.paging_services import GENIE_KEY, ROUTING_KEY, TOKEN, opsgenie, pagerduty
from tests.waiting import wait_for
from tests.webhooks import silent, webhook


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
        service.asked.clear()
        kept.after(60)

    assert (acknowledged.state, acknowledged.by) == ("acknowledged", "pagerduty:Anna")
    assert (closed.state, closed.by) == ("closed", "pagerduty:Bob")
    assert bench.names == ["alertOpened", "alertAcknowledged", "alertClosed"]
    assert alert not in service.asked  # what is closed is not asked about


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

        # Who follows asks about something all the same, so that a token that is wrong is known before an alert opens.
        assert service.asked == ["clusterbus-nothing-is-open"]


def health(bench):
    with bench.store.reading() as transaction:
        return receiver_health.find(transaction, 100)


def test_a_poll_that_is_refused_is_known_to_the_doctor_also_while_no_alert_is_open(bench, monkeypatch):
    monkeypatch.setenv("TOKEN", "u+another-secret-token")
    with pagerduty() as service, keeping(bench.store, pager(service), clock=bench.clock) as kept:
        for _ in range(5):
            kept.after(60)
            bench.advance(MINUTE)
        (refused,) = health(bench)
        (finding,) = doctor.alert_receivers(health(bench), bench.clock())
        monkeypatch.setenv("TOKEN", TOKEN)
        kept.after(60)
        (answered,) = health(bench)
        (fine,) = doctor.alert_receivers(health(bench), bench.clock())

    assert (refused.subscription, refused.purpose, refused.address) == ("a", "follow", service.url)
    assert (refused.succeeded, refused.every.total_seconds()) == (None, 60)
    assert "401" in refused.error
    assert (finding.verdict, finding.part) == ("warning", "alert-receivers")
    assert service.url in finding.seen
    assert "secret" not in refused.error + finding.seen
    assert (answered.failing_since, answered.error, fine.verdict) == (None, "", "ok")


@pytest.mark.parametrize(
    ("address", "says"), [("http://no-such-host.invalid", "no connection"), ("http://127.0.0.1:1", "no connection")]
)
def test_a_poll_without_a_connection_is_known_with_its_reason(bench, address, says):
    options = {"key": "env:KEY", "url": address, "api": address, "token": "env:TOKEN"}
    verb = AlertVerb.model_validate({"pagerduty": options, "follow": "1m", "proxy": "none", "timeout": "20s"})
    with keeping(bench.store, verb, clock=bench.clock) as kept:
        kept.after(60)

    (found,) = health(bench)
    assert says in found.error
    assert found.address == address


def test_a_poll_that_times_out_or_whose_secret_is_gone_is_known(bench, monkeypatch):
    with webhook() as server, keeping(bench.store, genie(server, timeout="1s"), clock=bench.clock) as kept:
        server.behave = silent
        kept.after(60)
        (late,) = health(bench)
        monkeypatch.delenv("GENIE")
        kept.after(60)
        (gone,) = health(bench)

    assert "no complete response within 1s" in late.error
    assert "GENIE" in gone.error


def genie(server, **fields):
    options = {"key": "env:GENIE", "url": f"http://{server.address}"}
    return AlertVerb.model_validate({"opsgenie": options, "follow": "1m", "proxy": "none", **fields})


def test_a_store_that_cannot_be_written_stops_no_poll(bench, monkeypatch, caplog):
    with pagerduty() as service, keeping(bench.store, pager(service), clock=bench.clock) as kept:

        def refuse(*_, **__):
            raise StoreError("the disk is full")

        monkeypatch.setattr(receiver_health, "record", refuse)
        for _ in range(3):
            kept.after(60)
        monkeypatch.undo()
        monkeypatch.setenv("TOKEN", TOKEN)
        kept.after(60)

    assert len(service.asked) == 4
    assert len([each for each in caplog.records if "does not learn" in each.message]) == 1
    assert len(health(bench)) == 1


def test_what_a_subscription_no_longer_follows_is_no_longer_known(bench):
    with pagerduty() as service, keeping(bench.store, pager(service), clock=bench.clock) as kept:
        kept.after(60)
        kept.receivers.follow(Subscriptions(subscriptions=(kept.active.definition,)))
        kept.after(1)
        before = len(health(bench))

        kept.active.is_leaving = True
        kept.receivers.follow(Subscriptions())
        kept.after(1)

    assert (before, health(bench)) == (1, [])


def test_while_it_works_it_asks_and_forgets_by_itself(bench):
    with (
        pagerduty() as service,
        keeping(bench.store, pager(service), clock=bench.clock) as kept,
        kept.receivers.working(),
    ):
        wait_for(lambda: health(bench), 60, "the first answer")
        kept.active.is_leaving = True
        kept.receivers.follow(Subscriptions(subscriptions=(kept.active.definition,)))
        wait_for(lambda: not health(bench), 60, "that it is forgotten")

    assert service.asked == ["clusterbus-nothing-is-open"]
