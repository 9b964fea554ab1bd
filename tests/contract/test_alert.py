"""What other systems get of alerts: strict stand-ins of PagerDuty and Opsgenie, and webhooks."""

import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from consumers.deliveries import DeadLetter, Done, Retry, Waiting
from consumers.errors import Rejected
from consumers.policies.retry import RetryPolicy, attempt
from consumers.verbs.alert.verb import AlertVerb
from consumers.verbs.interface import Surroundings
from router.settings.models import Settings
from tests.alerts import ALERT, change
from tests.consuming import make_delivery
from tests.paging_services import GENIE_KEY, ROUTING_KEY, TOKEN, opsgenie, pagerduty
from tests.webhooks import webhook

NEXT = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RD"
SETTINGS = Settings.model_validate({"consumers": {"alert_link": "https://bus.example.com/alerts/{alert}"}})
HOSTILE = '"}; $(id) {{ node }}\r\n\x1b[31m<script>' + "x" * 5000


@pytest.fixture
def duty():
    with pagerduty() as service:
        yield service


@pytest.fixture
def genie():
    with opsgenie() as service:
        yield service


@pytest.fixture
def make(monkeypatch):
    """A function that returns what sends changes; the store says that *last* is the last change."""
    for name, value in {"KEY": ROUTING_KEY, "TOKEN": TOKEN, "GENIE": GENIE_KEY}.items():
        monkeypatch.setenv(name, value)
    handlers = []

    def make_handler(**fields):
        known = {}
        around = Surroundings("a", threading.Event(), SETTINGS, changes=known.get)
        handler = AlertVerb.model_validate(fields).handler(around)
        handlers.append(handler)
        handler.known = known
        return handler

    yield make_handler
    for handler in handlers:
        handler.close()


def send(handler, event, *, looks=30, **fields):
    """Deliver *event* until there is an outcome, as the engine would."""
    delivery = make_delivery(event, **fields)
    for _ in range(looks):
        outcome = attempt(delivery, handler, RetryPolicy())
        if not isinstance(outcome, Waiting):
            return outcome
        delivery = replace(delivery, earlier=outcome.result)
    return outcome


def pager(make, duty, **fields):
    options = {"key": "env:KEY", "url": duty.url, "api": duty.url, "token": "env:TOKEN"}
    return make(pagerduty=options, follow="1m", **fields)


def on_opsgenie(make, genie, **fields):
    return make(opsgenie={"key": "env:GENIE", "url": genie.url, **fields})


def test_an_alert_is_one_incident_of_pagerduty_from_its_opening_to_its_end(make, duty):
    handler = pager(make, duty)
    names = ["alertOpened", "alertRepeated", "alertEscalated", "alertAcknowledged", "alertReminded", "alertClosed"]

    outcomes = [send(handler, change(each, severity="notice")) for each in names]

    assert all(isinstance(each, Done) for each in outcomes)
    actions = ["trigger", "trigger", "trigger", "acknowledge", "trigger", "resolve"]
    assert duty.actions == [(each, ALERT) for each in actions]
    assert [(each.status, each.severity) for each in duty.incidents] == [("resolved", "info")]
    assert duty.notified == [ALERT]
    event = json.loads(duty.server.received[0].body)
    assert event["links"][0]["href"] == f"https://bus.example.com/alerts/{ALERT}"
    assert event["payload"]["custom_details"]["fsName"] == "gpfs1"


def test_the_next_life_of_an_alert_is_an_incident_of_its_own_that_notifies(make, duty):
    handler = pager(make, duty)

    for name, alert in [("alertOpened", ALERT), ("alertClosed", ALERT), ("alertOpened", NEXT)]:
        send(handler, change(name, alert=alert))
    # The end of the first life comes once more, replayed by hand.
    send(handler, change("alertClosed", alert=ALERT), replay="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")

    assert duty.notified == [ALERT, NEXT]
    assert duty.open(NEXT) is not None


@pytest.mark.parametrize("text", [HOSTILE, "", "\0"])
def test_services_take_whatever_an_event_says(make, duty, genie, text):
    event = change("alertOpened", summary=text, about=[f"path={text}", "=", "x"], comment=text, by=text, owner=text)

    first = send(pager(make, duty), event)
    second = send(on_opsgenie(make, genie, responders=["team:storage"], tags=["x"]), event)

    assert (type(first), type(second)) == (Done, Done)
    assert duty.notified == genie.notified == [ALERT]


def test_what_pagerduty_refuses_is_a_dead_letter_and_what_it_cannot_take_now_is_retried(make, duty, monkeypatch):
    handler = pager(make, duty)
    duty.refusals = [(429, "slow down"), (500, "later")]

    first, second = send(handler, change("alertOpened")), send(handler, change("alertOpened"))
    monkeypatch.setenv("KEY", "too-short")
    third = send(handler, change("alertOpened"))

    assert (type(first), type(second), type(third)) == (Retry, Retry, DeadLetter)
    assert "routing_key" in third.reason
    assert "too-short" not in third.reason


def test_what_is_over_by_now_calls_nobody_and_its_end_is_still_sent(make, duty):
    handler = pager(make, duty)
    opened, closed = change("alertOpened"), change("alertClosed", change=2)
    handler.known[ALERT] = (opened, closed)

    late, end = send(handler, opened), send(handler, closed)

    assert late.result["not_sent"] == "the alert was closed before this could be sent"
    assert isinstance(end, Done)
    assert duty.actions == [("resolve", ALERT)]
    assert duty.notified == []


def test_what_the_events_api_cannot_say_is_not_sent(make, duty):
    handler = pager(make, duty)

    noted = send(handler, change("alertNoted"))
    unacknowledged = send(handler, change("alertAcknowledged", state="open"))

    assert "no notes" in noted.result["not_sent"]
    assert "back" in unacknowledged.result["not_sent"]
    assert duty.actions == []


def test_acts_of_people_are_read_from_pagerduty_and_those_of_programs_are_not(make, duty):
    handler = pager(make, duty)
    for alert in (ALERT, NEXT):
        send(handler, change("alertOpened", alert=alert))
    duty.person(ALERT, "acknowledged", "Anna\r\n")
    duty.person(NEXT, "resolved", "auto-resolve", kind="service_reference")

    found = list(handler.states([ALERT, NEXT, "01KAG2V0M3Y8ZT6Q4XJ5W9E7RF"]))

    assert [(each.alert, each.state, each.by) for each in found] == [(ALERT, "acknowledged", "Anna")]
    assert TOKEN not in str(duty.server.received[-1].path)


def test_a_round_asks_about_a_bounded_number_of_alerts_and_the_next_about_others(make, duty):
    handler = pager(make, duty)
    alerts = [f"01KAG2V0M3Y8ZT6Q4XJ5W{at:05d}" for at in range(50)]

    for expected in (20, 40, 60):
        list(handler.states(alerts))
        assert len(duty.asked) == expected

    asked = {each.path.partition("incident_key=")[2][:26] for each in duty.server.received}
    assert asked == set(alerts)


def test_an_alert_is_one_alert_of_opsgenie_and_each_change_waits_for_the_one_before(make, genie):
    handler = on_opsgenie(make, genie, priorities={"warning": "P2"})
    names = ["alertOpened", "alertAcknowledged", "alertNoted", "alertClosed"]

    outcomes = [send(handler, change(each, by="anna", comment="on my way")) for each in names]

    assert [type(each) for each in outcomes] == [Done] * 4
    assert genie.actions == [(each, ALERT) for each in ("create", "acknowledge", "notes", "close")]
    (alert,) = genie.incidents
    assert (alert.status, alert.severity, alert.by) == ("closed", "P2", {"summary": "anna"})
    assert alert.notes == ["on my way"] * 3


def test_the_end_of_what_opsgenie_does_not_know_is_done_and_a_request_that_is_never_processed_is_retried(make):
    with opsgenie() as genie:
        assert isinstance(send(on_opsgenie(make, genie), change("alertClosed")), Done)
        assert [action for action, _ in genie.actions] == ["close"] * 2
    with opsgenie(delay=1000) as genie:
        outcome = send(on_opsgenie(make, genie), change("alertOpened"))

    assert isinstance(outcome, Retry)
    assert "has not processed" in outcome.reason
    assert "request" not in outcome.result  # so that the next attempt sends it again


def test_an_end_reaches_an_alert_that_opsgenie_has_only_after_it_was_asked(make):
    """It says that it has processed a request; that another one can find what it made is not promised."""
    with opsgenie() as genie:
        handler, closed = on_opsgenie(make, genie), make_delivery(change("alertClosed"))
        for _ in range(3):  # taken, looked for and not there
            waiting = attempt(closed, handler, RetryPolicy())
            closed = replace(closed, earlier=waiting.result)
        assert waiting.reason == "the alert is not there, perhaps not yet: waits to ask once more"

        assert isinstance(send(handler, change("alertOpened")), Done)
        assert isinstance(send(handler, closed.event, earlier=closed.earlier), Done)

        (alert,) = genie.incidents
        assert alert.status == "closed"


def test_opsgenie_is_asked_who_acknowledged_and_closed(make, genie):
    handler = make(opsgenie={"key": "env:GENIE", "url": genie.url}, follow="1m")
    send(handler, change("alertOpened"))

    opened = list(handler.states([ALERT, NEXT]))
    genie.incidents[0].status, genie.incidents[0].by = "closed", {"summary": "Bob"}
    closed = list(handler.states([ALERT, NEXT]))

    assert [(each.state, each.by) for each in (*opened, *closed)] == [("open", ""), ("closed", "Bob")]


def test_a_wrong_key_of_opsgenie_is_shown_nowhere(make, genie, monkeypatch):
    monkeypatch.setenv("GENIE", "wrong-key-7f3a91")

    outcome = send(on_opsgenie(make, genie), change("alertOpened"))

    assert isinstance(outcome, DeadLetter)
    assert "wrong-key-7f3a91" not in f"{outcome}"


def test_plans_show_everything_but_the_keys(make, duty, genie):
    delivery = make_delivery(change("alertOpened"))

    plans = [
        each.plan(delivery)
        for each in (
            pager(make, duty),
            on_opsgenie(make, genie),
            make(alertmanager=["https://a.example.com", "https://b.example.com"], labels={"team": "storage"}),
        )
    ]

    text = json.dumps(plans)
    assert '"routing_key": "env:KEY"' in text
    assert "https://b.example.com/api/v2/alerts" in text
    assert not any(secret in text for secret in (ROUTING_KEY, GENIE_KEY, TOKEN))
    assert duty.server.received == genie.server.received == []


def test_any_other_system_gets_the_body_that_the_subscription_writes(make):
    with webhook() as hook:
        handler = make(url=hook.url, body={"key": "{{ data.alert }}", "state": "{{ alert.state }}"})

        outcomes = [send(handler, change(each)) for each in ("alertOpened", "alertClosed")]

    assert [type(each) for each in outcomes] == [Done, Done]
    assert [json.loads(each.body) for each in hook.received] == [
        {"key": ALERT, "state": "open"},
        {"key": ALERT, "state": "closed"},
    ]


def test_an_event_that_is_no_change_of_an_alert_is_refused(make, duty):
    with pytest.raises(Rejected, match="not a change of an alert"):
        pager(make, duty)(make_delivery())


def test_an_hour_is_the_longest_interval(make):
    with pytest.raises(ValueError, match="longer than"):
        make(alertmanager="https://a.example.com", every=timedelta(hours=2))
