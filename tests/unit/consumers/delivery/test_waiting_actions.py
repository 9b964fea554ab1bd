"""Actions that wait for their next nodes or their next attempt are listed, and cancelled once and for all."""

import json
import threading
from collections import Counter

import pytest
from sqlalchemy import update

from consumers.deliveries import Key
from consumers.delivery.admission import Admission
from consumers.delivery.in_flight import BrokerMessages, InFlight
from consumers.delivery.outcome_events import OutcomeEvents
from consumers.delivery.states import Arrived
from consumers.manual_runs import waiting_actions
from consumers.manual_runs.waiting_actions import NotWaiting, UnknownAction
from consumers.policies.guards import AtMost, First, Guard
from consumers.policies.retry import RetryPolicy
from consumers.store import approvals, audit
from consumers.store.schema import deliveries, places
from consumers.verbs.action.verb import BoundAction
from router.broker.interface import Arrival
from router.broker.topology import DEAD, EVENTS, RETRY, RETRY_STEPS
from tests.consuming import make_delivery, make_subscription
from tests.unit.consumers.delivery.gates.test_blast_radius import HOUR, MINUTE, Acting, about

RESTART = {"name": "restart", "purpose": "Restart.", "class": "change", "run": {"command": ["/bin/true"]}}


@pytest.fixture
def acting(bench):
    return Acting(bench)


def start(bench, wait=10 * MINUTE, **fields):
    """Serve an action that acts on one node first, one delivery at a time; it is attempted twice."""
    verb = BoundAction.model_validate({"name": "restart", "definition": RESTART})
    guard = Guard(first=First(nodes=1, wait=wait), at_most=AtMost(count=1))
    retry = RetryPolicy(attempts=2, first=5 * MINUTE)
    bench.start(make_subscription("act", verb, guard=guard, retry=retry, concurrency=4, **fields))


def id_of(event):
    return approvals.identity(Key(event.id, "act", ""))


def cancel(bench, event, by="root"):
    with bench.store.writing() as transaction:
        return waiting_actions.cancel(transaction, id_of(event), by, bench.clock())


def found(bench):
    with bench.store.reading() as transaction:
        return waiting_actions.found(transaction, bench.clock())


def test_between_two_portions_it_is_listed_and_cancelled_and_keeps_what_was_done(bench, acting):
    start(bench)
    event = about(1, 2, 3)
    bench.publish(event)
    (shown,) = found(bench)
    action, is_new = cancel(bench, event)
    with bench.store.reading() as transaction:
        taken = transaction.execute(places.select().where(places.c.ended.is_(None))).all()
    again, is_new_again = cancel(bench, event, "other")
    bench.broker.advance(HOUR)

    assert (shown.id, shown.left, shown.until) == (id_of(event), "n[002-003]", bench.clock() - HOUR + 10 * MINUTE)
    assert (action.row.reason, is_new) == ("succeeded on n001, left: n[002-003]", True)
    assert (again.row.reason, is_new_again) == (f"cancelled by root (job {id_of(event)})", False)
    assert not taken
    assert acting.nodes == ["n001"]
    (row,) = bench.rows()
    assert (row.outcome, row.attempt, row.reason) == ("dead", 1, f"cancelled by root (job {id_of(event)})")
    assert row.result["nodes"] == {"succeeded": "n001", "failed": "n[002-003]"}
    assert row.result["not_begun"] == "n[002-003]"
    assert "left" not in row.result
    assert_is_dead(bench)
    assert found(bench) == []


def test_before_its_next_attempt_it_is_cancelled_and_never_called_again(bench, acting):
    acting.failing = {"n001"}
    start(bench)
    event = about(1)
    bench.publish(event)
    (shown,) = found(bench)
    assert cancel(bench, event)[1]
    assert [each.row.reason for each in found(bench)] == [f"cancelled by root (job {id_of(event)})"]
    assert found(bench)[0].until == shown.until
    assert not cancel(bench, event)[1]
    bench.broker.advance(HOUR)

    assert (shown.left, shown.row.reason) == ("n001", "exit code 1 on n001")
    assert acting.nodes == ["n001"]
    assert [(row.attempt, row.outcome) for row in bench.rows()] == [(1, "retry"), (2, "dead")]
    row = bench.rows()[-1]
    assert row.reason == f"cancelled by root (job {id_of(event)})"
    assert row.result["nodes"] == {"succeeded": "", "failed": "n001"}
    assert_is_dead(bench)


def assert_is_dead(bench):
    """Check that all came of the one delivery that comes of a dead letter."""
    counts = bench.engine.counts["act"]
    assert (counts.dead, counts.repeated) == (1, 0)
    assert bench.waiting(DEAD) == 1
    with bench.store.reading() as transaction:
        reports = [json.loads(each.body) for each in audit.find(transaction)]
    assert (reports[0]["type"], reports[0]["data"]["final"]) == ("clusterbus.runFailed", "yes")
    assert reports[0]["data"]["reason"].startswith("cancelled by root (job ")
    told = [each.key.split(".")[3] for each in bench.broker.published if each.exchange == EVENTS]
    assert Counter(told)["deliveryDead"] == 1
    assert told[-2:] == ["runFailed", "deliveryDead"]


def test_a_place_is_free_at_once_for_the_next(bench, acting):
    start(bench, wait=HOUR)
    one, two = about(1, 2), about(3)
    bench.publish(one)
    bench.publish(two)
    bench.broker.advance(MINUTE)
    before = acting.nodes
    cancel(bench, one)
    bench.broker.advance(2 * MINUTE)

    assert (before, acting.nodes) == (["n001"], ["n001", "n003"])


@pytest.mark.thorough
def test_a_second_portion_that_a_gate_lets_wait_is_still_cancelled(bench, acting):
    start(bench, wait=24 * HOUR)
    event = about(1, 2)
    bench.publish(event)
    bench.broker.advance(7 * HOUR)
    (shown,) = found(bench)
    cancel(bench, event)
    bench.broker.advance(24 * HOUR)

    assert shown.until == bench.clock() - 31 * HOUR + 24 * HOUR
    assert acting.nodes == ["n001"]
    assert [row.outcome for row in bench.rows()] == ["dead"]
    assert bench.waiting(DEAD) == 1


def test_what_runs_has_ended_or_is_unknown_is_not_cancelled(bench, acting):
    start(bench)
    event, unknown = about(1), about(2)
    bench.pool.held = "begun"
    bench.publish(event)
    with pytest.raises(NotWaiting, match=f"{id_of(event)} runs"):
        cancel(bench, event)
    bench.pool.release()
    bench.broker.run()
    with pytest.raises(NotWaiting, match=f"{id_of(event)} has already ended: done"):
        cancel(bench, event)
    with pytest.raises(UnknownAction, match="is no delivery of the last week"):
        cancel(bench, unknown)

    assert [row.outcome for row in bench.rows()] == ["done"]


def test_a_job_that_goes_on_is_no_action_that_waits(bench, acting):
    start(bench)
    event = about(1, 2)
    bench.publish(event)
    with bench.store.writing() as transaction:
        transaction.execute(update(deliveries).values(result='{"job": "act-1", "nodes": {"succeeded": "n001"}}'))

    assert found(bench) == []
    with pytest.raises(NotWaiting, match="runs"):
        cancel(bench, event)


@pytest.mark.parametrize("kind", ["portion", "retry"])
def test_a_consumer_that_looked_before_does_not_begin_what_is_cancelled_meanwhile(bench, acting, kind):
    event, in_flight, admission = waiting_for(bench, acting, kind)
    due = admission.look_up({in_flight: in_flight.state}).admitted
    assert due
    cancel(bench, event)
    written = admission.write(due, {})
    assert (written.admitted, written.elsewhere) == ({}, [in_flight])

    looked = admission.look_up({in_flight: in_flight.state})
    assert (looked.admitted, [*looked.ended]) == ({}, [in_flight])
    assert admission.write({}, looked.ended).recorded[in_flight].outcome.reason.startswith("cancelled by root (job ")


@pytest.mark.parametrize("kind", ["portion", "retry"])
def test_what_a_consumer_has_begun_meanwhile_is_not_cancelled(bench, acting, kind, monkeypatch):
    event, in_flight, admission = waiting_for(bench, acting, kind)
    seen = found(bench)
    assert admission.write(admission.look_up({in_flight: in_flight.state}).admitted, {}).admitted
    monkeypatch.setattr(waiting_actions, "found", lambda *_: seen)
    with pytest.raises(NotWaiting, match="has just gone on"):
        cancel(bench, event)


@pytest.mark.parametrize("kind", ["portion", "retry"])
def test_of_a_consumer_and_a_person_at_the_same_time_one_wins(bench, acting, kind):
    for _ in range(5):
        event, in_flight, admission = waiting_for(bench, acting, kind)
        together, won = threading.Barrier(2), []

        def begin(in_flight=in_flight, admission=admission, together=together, won=won):
            together.wait(20)
            found = admission.look_up({in_flight: in_flight.state})
            won.extend("begun" for _ in admission.write(found.admitted, found.ended).admitted)

        thread = threading.Thread(target=begin)
        thread.start()
        together.wait(20)
        try:
            cancel(bench, event)
            won.append("cancelled")
        except NotWaiting:
            pass
        thread.join(20)
        assert won in (["begun"], ["cancelled"])
        bench.lose_connection("act")
        with bench.store.writing() as transaction:
            transaction.execute(deliveries.delete())
            transaction.execute(places.delete())


def waiting_for(bench, acting, kind):
    """Return an event whose action waits, as a consumer gets it back, and the admission of that consumer."""
    acting.failing = {"n001"} if kind == "retry" else set()
    start(bench)
    event = about(1, 2)
    bench.publish(event)
    active = next(iter(bench.engine._registry))
    owed = make_delivery(event, "act", attempt=2 if kind == "retry" else 1)
    arrival = Arrival("", "", owed.topic, owed.body, event.id, None, {}, redelivered=True, tag=None)
    in_flight = InFlight(owed.key, active, BrokerMessages(arrival, bench.clock()), Arrived(active.with_facts(owed)))
    return event, in_flight, Admission(bench.store, OutcomeEvents(None, lambda: bench.clock() + HOUR))


def test_a_message_of_the_attempt_before_still_brings_the_cancelled_one(bench, acting):
    """Its consumer was killed after it had written that the attempt failed, before it published the next."""
    acting.failing = {"n001"}
    start(bench)
    event = about(1)
    bench.publish(event)
    cancel(bench, event)
    for step in RETRY_STEPS:
        bench.broker.model.queue(f"{RETRY}.{step}").ready.clear()
    bench.publish(event)
    bench.broker.advance(HOUR)

    assert [row.outcome for row in bench.rows()] == ["retry", "dead"]
    assert bench.waiting(DEAD) == 1


def test_nodes_that_are_done_stay_done_where_all_handlers_are_busy(bench, acting):
    start(bench)
    event = about(1, 2, 3)
    bench.publish(event)
    bench.pool.held = "waiting"  # the second portion comes, and no thread is free

    bench.broker.advance(30 * MINUTE)
    (busy,) = bench.rows()
    bench.pool.release()
    bench.broker.advance(HOUR)

    assert busy.reason == "all handlers of act are busy"
    assert busy.result["nodes"]["succeeded"] == "n001"
    assert acting.nodes == ["n001", "n002", "n003"]
