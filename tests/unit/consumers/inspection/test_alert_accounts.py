"""What an event did to alerts, as `clusterbus why` tells it."""

from datetime import timedelta
from functools import partial

import pytest

from consumers.deliveries import Done
from consumers.store import attempts as table
from consumers.store import audit
from consumers.store.attempts import Attempt
from tests.alerting import NODE_DOWN, AlertBench
from tests.consuming import make_delivery
from tests.operating import invoke, json_lines

FILE = "version: 1\nsubscriptions:\n  - {name: all, on: '#', log: {}}\n"
SECOND = timedelta(seconds=1)
CHILD = {"name": "deadlock", "opens": "deadlockDetected", "closes_after": "1h", "by": "data.myNode"}


@pytest.fixture
def bench(database):
    """An engine with the rules that are shipped for nodes and deadlocks."""
    return AlertBench(database("store"), {**NODE_DOWN, "suppresses": ["deadlock"]}, CHILD)


@pytest.fixture
def why(bench, database, tmp_path):
    """A function that tells what became of an event, which the audit has; returns what is said."""
    file = tmp_path / "subscriptions.yaml"
    file.write_text(FILE)
    settings = {"CLUSTERBUS_CONSUMERS_STORE": database("store"), "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file)}
    call = partial(invoke, settings, "why", "--offline")

    def told(event, *words):
        kept(bench.store, event, "all")
        _, said = call(event.id, *words)
        return said

    return told


def kept(store, event, subscription):
    """Keep that *subscription* got the event."""
    with store.writing() as transaction:
        delivery = make_delivery(event, subscription)
        begun = event.moment
        table.claim(transaction, [(Attempt(delivery, "me", "digest", begun), "")])
        table.record(transaction, [Attempt(delivery, "me", "digest", begun, begun + SECOND, Done())])
        audit.append(transaction, [delivery])


def alerts(said):
    return [each["alert"] for each in json_lines(said) if "alert" in each]


@pytest.mark.thorough
def test_an_event_that_opened_an_alert_names_it_and_who_got_the_change(bench, why):
    event = bench.see("nodeLeave", node="n1")
    (change,) = bench.told
    kept(bench.store, change, "all")

    (found,) = alerts(why(event, "--json"))
    said = why(event)

    (alert,) = bench.alerts()
    assert (found["rule"], found["alert"], found["state"]) == ("node-down", alert.id, "open")
    assert [(each["name"], each["outcomes"]) for each in found["changes"]] == [("alertOpened", {"all": "done"})]
    assert f"▲ node-down  alert {alert.id}, now open" in said
    assert f"→ clusterbus alerts history {alert.id}" in said


def test_an_event_that_closed_an_alert_says_so(bench, why):
    bench.see("nodeLeave", node="n1")
    bench.advance(10 * SECOND)

    (found,) = alerts(why(bench.see("nodeJoin", node="n1"), "--json"))

    assert (found["opens"], found["state"]) == (False, "closed")
    assert [each["name"] for each in found["changes"]] == ["alertClosed"]


def test_an_end_that_one_node_alone_reports_says_what_it_waits_for(bench, why):
    """It once said that the event changed nothing that was known, and nobody was shown why the alert stays open."""
    by_others = bench.see("nodeLeave", node="n1", reporter="n2")
    bench.advance(10 * SECOND)
    claim = bench.see("nodeJoin", node="n1", reporter="n3")
    waits = "only n3 reports the end: it closes when a second node does, at the latest at 2026-11-20 13:00:10"

    (waiting,) = alerts(why(claim, "--json"))
    (beginning,) = alerts(why(by_others, "--json"))
    (alert,) = bench.alerts()
    shown = partial(invoke, {"CLUSTERBUS_CONSUMERS_STORE": bench.store_url, "TZ": "UTC"}, "alerts", "show", alert.id)

    assert (waiting["state"], waiting["changes"], waiting["because"]) == ("open", [], f"{waits} UTC")
    assert beginning["because"] == "alertOpened"
    assert f"{waits} UTC" in shown()[1]
    (facts,) = json_lines(shown("--json")[1])
    assert (facts["end_claimed_by"], facts["end_claim_due"][:19]) == ("n3", "2026-11-20 13:00:10")

    bench.see("nodeJoin", node="n1", reporter="n4")

    assert "reports the end" not in shown()[1]
    (facts,) = json_lines(shown("--json")[1])
    assert (facts["end_claimed_by"], facts["end_claim_due"]) == (None, None)


def test_what_changed_nothing_says_why(bench, why):
    nothing = bench.see("nodeJoin", node="n1")
    for _ in range(3):
        bench.advance(10 * SECOND)
        third = bench.see("nodeLeave", node="n2")
    unseen = third.model_copy(update={"id": nothing.id[:-1] + ("0" if nothing.id[-1] != "0" else "1")})

    (closing,) = alerts(why(nothing, "--json"))
    (again,) = alerts(why(third, "--json"))
    (not_seen,) = alerts(why(unseen, "--json"))

    assert (closing["because"], closing["alert"]) == ("nothing was open to close", None)
    assert again["because"] == "opened again what was open, 3 times by now; reported at 2, 4, 8, ... openings"
    assert not_seen["because"] == "no engine of alerts has seen the event, or the rule has changed since"


def test_what_is_suppressed_names_what_suppresses_it(bench, why):
    bench.see("nodeLeave", node="nsd01")
    (parent,) = bench.alerts()
    bench.advance(10 * SECOND)
    (found,) = alerts(why(bench.see("deadlockDetected", myNode="nsd01"), "--json"))

    assert found["suppressed_by"] == parent.id


def test_the_id_of_an_alert_leads_to_its_history(bench, database):
    bench.see("nodeLeave", node="n1")
    (alert,) = bench.alerts()

    code, said = invoke({"CLUSTERBUS_CONSUMERS_STORE": database("store")}, "why", alert.id, "--offline")

    assert code == 2
    assert f"{alert.id} is an alert, not an event: clusterbus alerts history {alert.id}" in said
