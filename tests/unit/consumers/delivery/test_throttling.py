"""Storms, guards, order and breakers, over a broker in memory on a clock that the test moves."""

import json
import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from consumers.deliveries import FOLDED, Delivery, Report
from consumers.delivery.threads import workers
from consumers.errors import Rejected
from consumers.expressions.filters import Filter
from consumers.policies.guards import Ask, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Gathered, Limit, OncePer
from consumers.store import approvals, audit, breakers, silences
from consumers.store.schema import deliveries
from consumers.store.schema import events as audited
from consumers.store.silences import Silence
from consumers.subscriptions.models import Subscriptions
from router.broker.interface import Message
from router.broker.topology import DEAD, OWN_EVENTS, RETURN, queue_of
from router.model.events import Event
from router.model.ids import new_id
from router.settings.models import Settings
from tests.consuming import make_event, make_subscription
from tests.engines import START, Recorded, TellVerb, events, outcomes, subscription

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


# fold


def told(bench, seen):
    def handler(delivery):
        seen.append(delivery.fold)
        return Report()

    bench.handler = handler


def test_events_that_belong_together_are_told_as_one_after_the_wait(bench):
    seen = []
    told(bench, seen)
    bench.start(subscription(fold=Folding(by=("data.fsName",), wait=30 * SECOND)))

    bench.publish_at_once([*events(400, fsName="gpfs1"), *events(3, fsName="gpfs2")])
    assert bench.calls == []
    bench.broker.advance(29 * SECOND)
    assert bench.calls == []
    bench.broker.advance(5 * SECOND)

    assert sorted((each.count, each.nodes) for each in seen) == [(3, "n[001-003]"), (400, "n[001-400]")]
    assert {tuple(each.values["fsName"]) for each in seen} == {("gpfs1",), ("gpfs2",)}
    assert outcomes(bench).count(FOLDED) == 403
    assert outcomes(bench).count("done") == 2
    assert bench.waiting(queue_of("tell")) == 0


@pytest.mark.long
@pytest.mark.thorough
def test_a_storm_of_ten_thousand_events_is_a_handful_of_messages_and_all_are_in_the_store(bench):
    seen = []
    told(bench, seen)
    fold = Folding(by=("data.fsName",), wait=30 * SECOND, repeat=HOUR)
    bench.start(subscription(fold=fold), make_subscription("audit"))

    for number in range(10):
        bench.publish_at_once(make_event(fsName="gpfs1", blockUsage=each) for each in range(1000))
        bench.broker.advance(20 * SECOND if number % 2 else 5 * SECOND)
    bench.broker.advance(2 * HOUR)

    assert len(seen) <= 3
    assert sum(each.count for each in seen) == 10_000
    with bench.store.reading() as transaction:
        assert transaction.execute(select(func.count()).select_from(audited)).scalar_one() == 10_000
        folded = select(func.count()).select_from(deliveries).where(deliveries.c.outcome == FOLDED)
        assert transaction.execute(folded).scalar_one() == 10_000


def test_what_comes_after_a_fold_was_told_is_told_again_only_after_repeat(bench):
    seen = []
    told(bench, seen)
    bench.start(subscription(fold=Folding(wait=30 * SECOND, repeat=4 * HOUR)))
    bench.publish(*events(2))
    bench.broker.advance(MINUTE)

    bench.publish(*events(5))
    bench.broker.advance(3 * HOUR)
    assert [each.count for each in seen] == [2]
    bench.broker.advance(2 * HOUR)

    assert [each.count for each in seen] == [2, 5]


@pytest.mark.parametrize("fate", ["silenced", "guarded", "dead"])
def test_a_fold_that_nobody_received_does_not_put_off_the_next(bench, fate, tmp_path):
    seen = []
    told(bench, seen)
    condition = tmp_path / "condition"
    guard = Guard(only_if=("/bin/ls", str(condition))) if fate == "guarded" else None
    bench.start(subscription(fold=Folding(wait=30 * SECOND, repeat=4 * HOUR), guard=guard))
    if fate == "dead":
        bench.handler = lambda _delivery: (_ for _ in ()).throw(Rejected("no such address"))
    bench.publish(*events(2))
    if fate == "silenced":
        silence(bench, "true", START + 5 * MINUTE)
    bench.broker.advance(6 * MINUTE)
    assert fate in outcomes(bench)

    condition.touch()
    told(bench, seen)
    bench.publish(*events(3))
    bench.broker.advance(MINUTE)
    assert [each.count for each in seen] == [3]
    bench.publish(*events(4))
    bench.broker.advance(3 * HOUR)
    assert [each.count for each in seen] == [3]


def test_a_fold_that_cannot_be_told_is_retried_and_dead_lettered_as_a_whole(bench):
    seen = []

    def handler(delivery):
        seen.append((delivery.attempt, delivery.fold.count))
        return Report("notify", "nobody answers")

    bench.handler = handler
    bench.start(subscription(fold=Folding(wait=SECOND), retry=RetryPolicy(attempts=2, first=SECOND)))
    bench.publish(*events(7))
    bench.broker.advance(MINUTE)

    assert seen == [(1, 7), (2, 7)]
    assert len(bench.broker.model.queue(DEAD).ready) == 1


def test_what_was_gathered_is_told_by_the_consumer_that_comes_after(bench):
    seen = []
    told(bench, seen)
    bench.start(subscription(fold=Folding(wait=30 * SECOND)))
    bench.publish(*events(2))
    bench.engine.stop()
    bench.broker.run()

    bench.broker = bench.broker.another(user="consumer")
    bench.start(subscription(fold=Folding(wait=30 * SECOND)))
    bench.publish(*events(1))
    bench.broker.advance(MINUTE)

    assert [each.count for each in seen] == [3]


def test_a_store_that_fails_in_between_gathers_no_event_twice(bench):
    seen = []
    told(bench, seen)
    bench.start(subscription(fold=Folding(wait=SECOND)))
    bench.store.failures = 2
    bench.publish(*events(5))
    bench.broker.advance(MINUTE)

    assert [each.count for each in seen] == [5]


# once_per and limit


def test_once_per_delivers_the_first_and_records_the_others(bench):
    bench.start(subscription(once_per=OncePer(by=("data.fsName",), interval=HOUR)))
    bench.publish(*events(3, fsName="gpfs1"), make_event(fsName="gpfs2"))

    assert len(bench.calls) == 2
    assert sorted(outcomes(bench)) == ["done", "done", "repeated", "repeated"]

    bench.broker.advance(61 * MINUTE)
    bench.publish(make_event(fsName="gpfs1"))
    assert len(bench.calls) == 3


def test_no_silence_follows_a_delivery_that_came_to_nothing(bench):
    bench.handler = lambda _delivery: (_ for _ in ()).throw(Rejected("no such address"))
    bench.start(subscription(once_per=OncePer(interval=HOUR)))
    bench.publish(make_event())
    bench.handler = lambda _delivery: Report()
    bench.publish(make_event())

    assert outcomes(bench) == ["dead", "done"]


def test_a_delivery_over_the_limit_or_without_its_condition_does_not_suppress_the_next_of_its_kind(bench, tmp_path):
    condition = tmp_path / "condition"
    guard = Guard(only_if=("/bin/ls", str(condition)))
    once_per, limit = OncePer(by=("node",), interval=24 * HOUR), Limit(most=1, per=MINUTE, rest="skip")
    bench.start(subscription(once_per=once_per, limit=limit, guard=guard))
    bench.publish_at_once([make_event(node="n1"), make_event(node="n2")])
    condition.touch()
    for _ in range(3):
        for node in ("n1", "n2"):
            bench.broker.advance(2 * MINUTE)
            bench.publish(make_event(node=node))

    assert sorted(outcomes(bench)) == ["done", "done", "guarded", "limited", *["repeated"] * 4]


@pytest.mark.thorough
@pytest.mark.parametrize(("answer", "then"), [("refused", "repeated"), (None, "wait")])
def test_what_nobody_answered_does_not_suppress_the_next_question_and_what_was_refused_does(bench, answer, then):
    bench.start(subscription(once_per=OncePer(interval=24 * HOUR), guard=Guard(ask=Ask(within=HOUR))))
    bench.publish(make_event())
    with bench.store.writing() as transaction:
        (asked,) = approvals.pending(transaction, bench.clock())
        if answer:
            assert approvals.answer(transaction, asked.id, answer, "anna", bench.clock())
    bench.broker.advance(2 * HOUR)
    bench.publish(make_event())

    assert sorted(outcomes(bench)) == sorted([answer or "unanswered", then])


def test_a_replay_that_nobody_received_does_not_take_back_what_the_first_delivery_counted(bench, tmp_path):
    condition = tmp_path / "condition"
    condition.touch()
    guard = Guard(only_if=("/bin/ls", str(condition)))
    bench.start(subscription(once_per=OncePer(interval=24 * HOUR), guard=guard))
    bench.publish(event := make_event())
    condition.unlink()
    headers = {"subscription": "tell", "topic": event.topic, "replay": new_id(), "attempt": 1}
    bench.send(Message(RETURN, event.topic, event.to_json(), event.id, event.type, headers=headers))
    condition.touch()
    bench.publish(make_event())

    assert sorted(outcomes(bench)) == ["done", "guarded", "repeated"]


def test_the_rest_of_a_limit_waits_in_the_broker_and_uses_no_attempt(bench):
    bench.start(subscription(limit=Limit(most=2, per=MINUTE)))
    bench.publish(*events(5))
    assert len(bench.calls) == 2
    bench.broker.advance(MINUTE + 10 * SECOND)
    assert len(bench.calls) == 4
    bench.broker.advance(2 * MINUTE)

    assert len(bench.calls) == 5
    assert {attempt for _, _, attempt in bench.calls} == {1}
    assert outcomes(bench) == ["done"] * 5


def test_the_rest_of_a_limit_is_skipped_where_it_says_so(bench):
    bench.start(subscription(limit=Limit(most=2, per=MINUTE, rest="skip")))
    bench.publish(*events(5))
    bench.broker.advance(HOUR)

    assert len(bench.calls) == 2
    assert outcomes(bench).count("limited") == 3
    assert bench.waiting(queue_of("tell")) == 0


# silences


def silence(bench, where, until, name=""):
    with bench.store.writing() as transaction:
        silences.add(transaction, Silence(new_id(), name, where, "anna", "maintenance", START, until))


def test_a_silence_keeps_people_from_being_told_until_it_is_over_and_each_delivery_is_recorded(bench):
    bench.start(subscription(), make_subscription("act", ["/bin/true"]))
    silence(bench, 'data.fsName == "gpfs1"', START + HOUR)
    bench.publish(make_event(fsName="gpfs1"), make_event(fsName="gpfs2"))

    assert sorted(outcomes(bench)) == ["done", "silenced"]
    assert "anna" in next(row.reason for row in bench.rows() if row.outcome == "silenced")
    assert outcomes(bench, "act") == ["done", "done"]  # an action is no notification

    bench.broker.advance(HOUR)
    bench.publish(make_event(fsName="gpfs1"))
    assert outcomes(bench).count("done") == 2


def test_a_silence_of_one_subscription_leaves_the_others(bench):
    bench.start(subscription("a"), subscription("b"))
    silence(bench, "true", START + HOUR, name="a")
    bench.publish(make_event())

    assert (outcomes(bench, "a"), outcomes(bench, "b")) == (["silenced"], ["done"])


# order


def test_deliveries_of_a_lane_wait_for_one_that_is_to_be_retried_while_others_go_on(bench):
    done = []

    def handler(delivery):
        if delivery.event.data["note"] == "first" and delivery.attempt < 3:
            return Report("exit:1", "not yet")
        done.append((delivery.event.data["fsName"], delivery.event.data["note"]))
        return Report()

    bench.handler = handler
    bench.start(subscription(order_by=("data.fsName",), concurrency=4, retry=RetryPolicy(first=5 * SECOND)))
    for note in ("first", "second", "third"):
        bench.publish(make_event(fsName="a", note=note), make_event(fsName="b", note=f"{note} of b"))
    bench.broker.advance(5 * MINUTE)

    assert [note for name, note in done if name == "a"] == ["first", "second", "third"]
    assert done[:3] == [("b", "first of b"), ("b", "second of b"), ("b", "third of b")]
    assert {each.attempt for each in bench.rows() if each.outcome == "done"} == {1, 3}


def test_a_lane_goes_on_when_its_first_is_given_up(bench):
    def handler(delivery):
        if delivery.event.data["note"] == "first":
            raise Rejected("never")
        return Report()

    bench.handler = handler
    bench.start(subscription(order_by=("data.fsName",)))
    bench.publish(make_event(note="first"), make_event(note="second"))

    assert sorted(outcomes(bench)) == ["dead", "done"]


def test_within_a_consumer_one_of_a_lane_is_called_at_a_time(bench):
    bench.pool.held = True
    bench.start(subscription(order_by=("data.fsName",), concurrency=4))
    bench.publish(make_event(fsName="a"), make_event(fsName="a"), make_event(fsName="b"))

    assert len(bench.pool.waiting) == 2
    bench.pool.release()
    bench.broker.run()
    assert len(bench.calls) == 3


def test_an_ordered_queue_has_one_active_consumer(bench):
    declared = []
    bench.broker.declare = declared.append
    bench.start(subscription(order_by=("data.fsName",)), subscription("other"))

    arguments = {each.name: each.arguments for each in declared[0].queues}
    assert arguments[queue_of("tell")]["x-single-active-consumer"] is True
    assert "x-single-active-consumer" not in arguments[queue_of("other")]


# guards


def test_no_more_than_so_many_run_at_once_over_all_consumers(bench):
    bench.pool.held = True
    bench.start(subscription(guard=Guard(at_most=2), concurrency=8))
    bench.publish(*events(4))
    assert len(bench.pool.waiting) == 2
    bench.pool.release()
    bench.broker.run()
    bench.broker.advance(10 * SECOND)

    assert len(bench.calls) == 4
    assert {attempt for _, _, attempt in bench.calls} == {1}


@pytest.mark.thorough
def test_an_action_waits_for_somebodys_word(bench):
    bench.start(subscription(guard=Guard(ask=Ask(within=HOUR))))
    yes, no, never = events(3)
    bench.publish(yes, no, never)
    assert bench.calls == []
    with bench.store.writing() as transaction:
        asked = {each.event_id: each.id for each in approvals.pending(transaction, bench.clock())}
        assert set(asked) == {yes.id, no.id, never.id}
        assert approvals.answer(transaction, asked[yes.id], "approved", "anna", bench.clock())
        assert approvals.answer(transaction, asked[no.id], "refused", "anna", bench.clock())
        assert not approvals.answer(transaction, asked[no.id], "approved", "eve", bench.clock())
    bench.broker.advance(30 * SECOND)
    assert [event_id for _, event_id, _ in bench.calls] == [yes.id]
    bench.broker.advance(HOUR + MINUTE)

    found = {row.event_id: (row.outcome, row.reason) for row in bench.rows()}
    assert found[yes.id][0] == "done"
    assert found[no.id] == ("refused", "refused by anna")
    assert found[never.id][0] == "unanswered"


class Planned(Recorded):
    """A handler whose command the test changes, as facts or an edited file do; its *age* is another each time."""

    nodes, age = "n1", 0

    def plan(self, delivery):
        Planned.age += 1
        return {"command": ["stop", self.nodes], "age": self.age, "id": delivery.event.id}


def test_another_command_than_was_approved_is_asked_about_again(bench, monkeypatch):
    def approve():
        with bench.store.writing() as transaction:
            (asked,) = approvals.pending(transaction, bench.clock())
            assert approvals.answer(transaction, asked.id, "approved", "anna", bench.clock())
        return json.loads(asked.plan)["command"]

    bench.make = Planned
    bench.start(subscription(guard=Guard(ask=Ask(within=HOUR))))
    bench.publish(make_event())
    first = approve()
    monkeypatch.setattr(Planned, "nodes", "n[1-9]")
    bench.broker.advance(16 * SECOND)
    assert bench.calls == []
    (row,) = bench.rows()
    assert row.reason.startswith("its command has changed since anna approved it; waits for approval until ")
    second = approve()
    bench.broker.advance(30 * SECOND)

    assert (first, second) == (["stop", "n1"], ["stop", "n[1-9]"])
    assert outcomes(bench) == ["done"]


@pytest.mark.parametrize(("program", "called"), [("/bin/true", 1), ("/bin/false", 0)])
def test_an_action_is_skipped_where_its_check_says_no(bench, program, called):
    bench.start(subscription(guard=Guard(only_if=(program, "{{ data.fsName }}"))))
    bench.publish(make_event())

    assert len(bench.calls) == called
    assert outcomes(bench) == ["done" if called else "guarded"]


def test_a_check_that_a_stop_ends_decides_nothing():
    checked = subscription(guard=Guard(only_if=("/bin/sleep", "600")))
    called, stopping = [], threading.Event()
    stopping.set()
    delivery = Delivery(make_event(), checked.name, "t", b"")

    assert workers.call(delivery, Recorded(called.append), checked, stopping) is None
    assert called == []


def test_in_shadow_all_but_the_effect_happens(bench):
    bench.start(subscription(mode="shadow"))
    event = make_event()
    bench.publish(event)

    assert bench.calls == []
    assert [(row.outcome, row.result) for row in bench.rows()] == [("shadow", {"would": {"call": event.id}})]


# the breaker of a target


@pytest.mark.long
@pytest.mark.thorough
def test_a_target_that_is_down_for_an_hour_is_called_a_few_times_and_gets_everything_afterwards(bench):
    called_at = []

    def handler(delivery):
        called_at.append(bench.broker.now)
        if bench.broker.now < HOUR:
            return Report("connect", "connection refused", blamed=("post hooks:443",))
        return Report()

    bench.handler, bench.depends_on = handler, ("post hooks:443",)
    bench.start(subscription(concurrency=4, retry=RetryPolicy(attempts=8)))
    bench.publish(*events(200))
    for _ in range(30):
        bench.broker.advance(2 * MINUTE)
        bench.publish(make_event())
    during = len(called_at)
    bench.broker.advance(2 * HOUR)

    assert outcomes(bench).count("dead") == 0
    assert outcomes(bench).count("done") == 230
    assert during <= 5 + 100 + 20  # what was called before the breaker opened, and then its probes
    assert len(called_at) - during <= 235
    with bench.store.reading() as transaction:
        assert breakers.find(transaction) == {}


def test_an_open_breaker_uses_no_attempt_and_says_why(bench):
    bench.handler = lambda _delivery: Report("timeout", "timeout", blamed=("a",))
    bench.depends_on = ("a",)
    bench.start(subscription(retry=RetryPolicy(attempts=2, first=HOUR)))
    for event in events(5):
        bench.publish(event)
    waiting = make_event()
    bench.publish(waiting)

    row = next(row for row in bench.rows() if row.event_id == waiting.id)
    assert (row.attempt, row.outcome) == (1, "wait")
    assert "breaker of a is open" in row.reason


def test_a_target_that_is_gone_gets_nothing_until_a_person_closes_its_breaker_and_that_is_reported_once(bench):
    answers = []

    def handler(_delivery):
        answers.append(bench.broker.now)
        if len(answers) <= 3:
            raise Rejected("a answered 410 Gone", {"gone": "a"})
        return Report()

    bench.handler, bench.depends_on = handler, ("a",)
    bench.start(subscription(concurrency=3, retry=RetryPolicy(attempts=2)))
    bench.pool.held = "begun"
    bench.publish(*events(3))
    bench.pool.release()
    bench.publish(*events(5))
    bench.broker.advance(HOUR)

    assert outcomes(bench).count("dead") == 3
    assert outcomes(bench).count("wait") == 5
    assert len(answers) == 3
    (told,) = [each for each in bench.broker.published if each.type == "clusterbus.targetGone"]
    assert json.loads(told.body)["data"]["target"] == "a"
    waiting = next(row for row in bench.rows() if row.outcome == "wait")
    assert "clusterbus breakers close 'a'" in waiting.reason

    with bench.store.writing() as transaction:
        assert breakers.close(transaction, ["a"]) == 1
    bench.broker.advance(HOUR)

    assert outcomes(bench).count("done") == 5


def test_what_was_under_way_when_its_target_said_it_is_gone_does_not_open_it_again(bench):
    delivered = []

    def handler(delivery):
        delivered.append(delivery.event.id)
        if len(delivered) == 1:
            raise Rejected("a answered 410 Gone", {"gone": "a"})
        return Report()

    bench.handler, bench.depends_on = handler, ("a",)
    bench.start(subscription(concurrency=2))
    bench.pool.held = "begun"
    bench.publish(*events(2))
    bench.pool.release()
    bench.publish(make_event())

    assert [each for each in outcomes(bench) if each == "wait"] == ["wait"]
    with bench.store.reading() as transaction:
        assert breakers.find(transaction)["a"].is_gone


# what follows


def test_what_is_given_up_goes_to_the_subscription_that_comes_then(bench):
    def handler(delivery):
        if delivery.subscription == "act":
            return Report("exit:1", "exit code 1")
        return Report()

    bench.handler = handler
    retry = RetryPolicy(attempts=2, first=SECOND, then="page")
    bench.start(subscription("act", retry=retry), subscription("page", where="false"))
    event = make_event()
    bench.publish(event)
    bench.broker.advance(10 * SECOND)

    assert [each for each in bench.calls if each[0] == "page"] == [("page", event.id, 1)]
    assert len(bench.broker.model.queue(DEAD).ready) == 1


class ReportedVerb(TellVerb):
    """Tells of its outcomes on the bus."""

    reports = ("runFinished", "runFailed")


def test_outcomes_are_events_that_others_can_react_to_and_a_circle_of_them_has_an_end(bench):
    bench.start(
        make_subscription("act", ReportedVerb(), patterns=("#",)),
        make_subscription("react", ReportedVerb(), patterns=("clusterbus.#",)),
        make_subscription("audit", patterns=("#",)),
    )
    bench.publish(make_event())

    told_of = [row for row in bench.rows() if row.subscription == "audit" and row.event == "clusterbus.runFinished"]
    assert len(told_of) == 5  # each is on the other's outcomes; neither is brought its own
    assert len(bench.calls) == 6


def test_a_failed_attempt_says_whether_it_is_the_last(bench):
    said = []

    def handler(delivery):
        if delivery.subscription == "act":
            return Report("exit:1", "exit code 1", {"nodes": {"succeeded": "n1", "failed": "n2"}})
        said.append(delivery.event.data)
        return Report()

    bench.handler = handler
    bench.start(
        make_subscription("act", ReportedVerb(), patterns=("gpfs.#",), retry=RetryPolicy(attempts=2)),
        subscription("hear", patterns=("clusterbus.*.action.runFailed.#",)),
    )
    bench.publish(make_event())
    bench.broker.advance(MINUTE)

    assert [(each["attempt"], each["final"], each["nodes"]) for each in said] == [
        (1, "no", "n1,n2"),
        (2, "yes", "n1,n2"),
    ]


def reported(bench, name):
    """Return the events *name* of clusterbus that the audit has, oldest first."""
    with bench.store.reading() as transaction:
        found = [Event.model_validate_json(each.body) for each in audit.find(transaction)][::-1]
    return [each for each in found if each.type == f"clusterbus.{name}"]


def test_row_82_a_dead_letter_of_any_verb_is_an_event_and_none_of_a_dead_letter_goes_round(bench):
    def handler(delivery):
        raise Rejected(f"{delivery.subscription} is broken")

    bench.handler = handler
    bench.start(
        make_subscription("act", TellVerb(), patterns=("gpfs.#",)),
        make_subscription("hear", TellVerb(), patterns=("clusterbus.*.action.#",)),
        make_subscription("also", TellVerb(), patterns=("clusterbus.*.action.#",)),
        make_subscription("audit", patterns=("#",)),
    )
    event = make_event()
    bench.publish(event)

    audited = reported(bench, "deliveryDead")
    assert audited[0].data == {
        "subscription": "act",
        "verb": "test",
        "eventType": event.type,
        "eventId": event.id,
        "attempt": 1,
        "depth": 1,
        "reason": "act is broken",
    }
    # One of the first; then two tell each other of their own until the end of the chain.
    assert sorted(each.data["depth"] for each in audited) == [1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert {each.category for each in audited} == {"action"}


@pytest.mark.parametrize("has_done_events", [True, False])
def test_what_succeeded_is_an_event_if_the_settings_say_so(bench, has_done_events):
    bench.settings = Settings.model_validate({"consumers": {"done_events": has_done_events}})
    tell = make_subscription("tell", TellVerb(), patterns=("#",))
    bench.start(tell.model_copy(update={"kind": "post"}), make_subscription("audit", patterns=("#",)))
    event = make_event()
    bench.publish(event)

    told_of = reported(bench, "deliveryDone")
    assert [(each.data["subscription"], each.data["verb"], each.data["eventId"]) for each in told_of] == (
        [("tell", "post", event.id)] if has_done_events else []
    )


# long handlers, and reading anew


def test_a_long_handler_holds_nothing_unsettled_and_is_called_once(bench):
    bench.pool.held = "begun"
    bench.start(subscription())
    bench.publish(make_event())
    bench.broker.advance(HOUR)
    assert sum(len(each.unsettled) for each in bench.broker.model.queue(queue_of("tell")).subscribers) == 0

    bench.pool.release()
    bench.broker.run()
    bench.broker.advance(HOUR)
    assert len(bench.calls) == 1
    assert outcomes(bench) == ["done"]
    assert bench.waiting(queue_of("tell")) == 0


def test_again_calls_the_handler_for_the_same_attempt(bench):
    left = [3]

    def handler(_delivery):
        left[0] -= 1
        return Report(again=10 * SECOND, result={"job": "j1"}) if left[0] else Report(result={"exit": 0})

    bench.handler = handler
    bench.start(subscription())
    bench.publish(make_event())
    bench.broker.advance(MINUTE)

    assert [attempt for _, _, attempt in bench.calls] == [1, 1, 1]
    assert [(row.outcome, row.result) for row in bench.rows()] == [("done", {"exit": 0})]


def reread(bench, *subscriptions):
    change = bench.engine.reload(Subscriptions(subscriptions=subscriptions))
    bench.broker.run()
    return change


def test_reading_anew_changes_bindings_and_delivers_nothing_twice(bench):
    bench.start(subscription("a", patterns=("gpfs.*.quota.#",)), subscription("b"))
    before = make_event()
    bench.publish(before)
    change = reread(bench, subscription("a", patterns=("gpfs.*.disk.#",)), subscription("c"))
    after = make_event(type="gpfs.diskFailure", category="disk")
    bench.publish(after, make_event())

    assert ([each.name for each in change.added], [each.name for each in change.changed]) == (["c"], ["a"])
    assert change.removed == ("b",)
    assert [call for call in bench.calls if call[0] == "a"] == [("a", before.id, 1), ("a", after.id, 1)]
    assert [event_id for name, event_id, _ in bench.calls if name == "b"] == [before.id]
    assert bench.waiting(queue_of("b")) == 2  # kept until it is removed
    bound = {each.key for each in bench.broker.model.bindings(queue_of("a")) if each.exchange == OWN_EVENTS}
    assert bound == {"gpfs.*.disk.#"}


def test_what_is_under_way_while_reading_anew_ends_as_it_began(bench):
    bench.pool.held = True
    bench.start(subscription("a", retry=RetryPolicy(attempts=1)))
    bench.publish(make_event())
    reread(bench, subscription("a", where="true"))
    bench.pool.release()
    bench.broker.run()

    assert len(bench.calls) == 1
    rows = bench.rows()
    assert [row.outcome for row in rows] == ["done"]


def test_each_record_carries_the_digest_of_its_reading(bench):
    bench.start(subscription("a"))
    bench.publish(make_event())
    reread(bench, subscription("a", where="true"))
    bench.publish(make_event())

    first, second = (row.digest for row in bench.rows())
    assert first != second


@pytest.mark.parametrize("place", ["data.fs-Name", "date", "data.", "id"])
def test_a_place_that_no_event_has_is_refused(place):
    with pytest.raises(ValueError, match="is not an attribute or a variable of an event"):
        Folding(by=(place,))


def test_filters_of_silences_see_the_event():
    assert Filter('data.fsName == "gpfs1"').matches(make_event(fsName="gpfs1")).matched
    assert isinstance(make_event(), Event)


def test_a_target_that_is_down_does_not_hold_up_the_others_of_a_delivery(bench):
    called = []

    def handler(delivery):
        called.append(delivery.paused_targets)
        if "down" not in delivery.paused_targets:
            return Report("connect", "refused", blamed=("down",))
        return Report(again=MINUTE, result={"told": ["up"]})

    bench.handler, bench.depends_on = handler, ("up", "down")
    bench.start(subscription(retry=RetryPolicy(attempts=9, first=HOUR)))
    for event in events(5):
        bench.publish(event)
    assert called == [frozenset()] * 5

    bench.publish(make_event())

    assert called[5] == {"down"}
    assert outcomes(bench).count("wait") == 1


def test_what_waits_behind_a_long_one_in_its_lane_is_not_left_unsettled(bench):
    bench.pool.held = "begun"
    bench.start(subscription(order_by=("data.fsName",)))
    bench.publish(make_event(), make_event())
    bench.broker.advance(11 * MINUTE)

    held = bench.broker.model.queue(queue_of("tell"))
    assert sum(len(each.unsettled) for each in held.subscribers) == 0

    bench.pool.release()
    bench.broker.run()
    bench.broker.advance(HOUR)
    assert len(bench.calls) == 2
    assert outcomes(bench) == ["done", "done"]
    assert bench.waiting(queue_of("tell")) == 0


# order, whatever the clocks of nodes say


def test_a_lane_keeps_the_order_of_arrival_where_the_clock_of_a_node_is_ahead(bench):
    ids = [f"01KAG2V0M3Y8ZT6Q4XJ5W9E7R{each}" for each in "9517"]
    done, failed = [], []

    def handler(delivery):
        if delivery.event.id == ids[0] and len(failed) < 2:
            failed.append(delivery.attempt)
            return Report("exit:1", "not yet")
        done.append(delivery.event.id)
        return Report()

    bench.handler = handler
    bench.start(subscription(order_by=("data.fsName",), concurrency=4, retry=RetryPolicy(first=5 * SECOND)))
    for each in ids:
        bench.publish(make_event(each))
        bench.broker.advance(SECOND)
    bench.broker.advance(10 * MINUTE)

    assert failed == [1, 2]
    assert done == ids


# folds of large events


def test_a_fold_of_large_events_keeps_a_bounded_row():
    gathered = Gathered("head", START)
    for number in range(30):
        large = {f"v{number}_{each}": ["x" * 1000] * 1000 for each in range(20)}
        gathered = gathered.with_event(make_event(node=f"n{number}", text="ä" * 100_000, **large))

    assert gathered.count == 30
    assert len(gathered.values) <= 50
    assert len(json.dumps(dict(gathered.values))) < 80_000
