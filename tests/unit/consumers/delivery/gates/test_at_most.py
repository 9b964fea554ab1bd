"""`at_most`: what waits or is skipped while so many run, at which place; and folds that grow while they wait."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from consumers.deliveries import FOLDED, Report
from consumers.policies.guards import Ask, AtMost, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.store import approvals
from tests.consuming import make_event
from tests.engines import Recorded, events, outcomes, subscription

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SKIP = AtMost(count=1, rest="skip")


def called(bench):
    return [event_id for _, event_id, _ in bench.calls]


def test_a_number_is_a_count():
    by_file_system = {"count": 2, "by": "data.fsName", "rest": "skip"}
    meant = AtMost(count=2, by=("data.fsName",), rest="skip")

    assert Guard(at_most=2).at_most == (AtMost(count=2),)
    assert Guard.model_validate({"at_most": by_file_system}).at_most == (meant,)
    assert Guard.model_validate({"at_most": [3, by_file_system]}).at_most == (AtMost(count=3), meant)


@pytest.mark.parametrize("per", ["nodes", "fileset", "", "data.", "data.fsName +", "unknown.name"])
def test_what_is_nothing_that_is_counted_is_refused(per):
    with pytest.raises(ValidationError):
        AtMost(count=1, per=per)


@pytest.mark.parametrize("value", [0, 1001, True, "2", 1.5, {"rest": "skip"}, {"count": 1, "rest": "drop"}, []])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ValidationError):
        Guard.model_validate({"at_most": value})


def test_what_comes_while_one_runs_is_skipped_with_the_reason_and_the_next_runs(bench):
    bench.start(subscription(guard=Guard(at_most=SKIP), concurrency=4))
    first, *others = events(4)
    bench.pool.held = "begun"
    bench.publish(first)
    bench.publish(*others)
    bench.pool.release()
    bench.broker.run()
    bench.publish(last := make_event())
    bench.broker.advance(HOUR)

    assert called(bench) == [first.id, last.id]
    assert outcomes(bench).count("busy") == 3
    skipped = next(row for row in bench.rows() if row.outcome == "busy")
    assert skipped.reason == "at_most: 1 of tell are running"


def test_of_a_batch_as_many_run_as_may_and_the_rest_is_skipped(bench):
    bench.pool.held = "begun"
    bench.start(subscription(guard=Guard(at_most=AtMost(count=2, rest="skip")), concurrency=4))
    bench.publish_at_once(events(5))
    bench.pool.release()
    bench.broker.advance(HOUR)

    assert (len(bench.calls), outcomes(bench).count("busy")) == (2, 3)


def test_a_retry_and_a_replay_wait_for_the_place_instead_of_being_skipped(bench):
    answers = iter([Report("exit:1"), Report()])
    bench.handler = lambda _delivery: next(answers, Report())
    bench.start(subscription(guard=Guard(at_most=SKIP), retry=RetryPolicy(first=5 * SECOND)))
    failing, running = events(2)
    bench.publish(failing)
    bench.pool.held = "begun"
    bench.publish(running)
    bench.broker.advance(MINUTE)
    assert called(bench) == [failing.id]
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert sorted(outcomes(bench)) == ["done", "done", "retry"]


def test_what_a_person_approved_waits_for_the_place_instead_of_being_skipped(bench):
    bench.start(subscription(guard=Guard(at_most=SKIP, ask=Ask(within=HOUR)), concurrency=4))
    bench.publish(*events(2))
    bench.pool.held = "begun"
    with bench.store.writing() as transaction:
        for asked in approvals.pending(transaction, bench.clock()):
            assert approvals.answer(transaction, asked.id, "approved", "anna", bench.clock())
    bench.broker.advance(MINUTE)
    assert sorted(outcomes(bench), key=str) == [None, "wait"]
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert outcomes(bench) == ["done", "done"]


def test_what_a_limit_had_wait_waits_for_the_place_instead_of_being_skipped(bench):
    bench.start(subscription(guard=Guard(at_most=SKIP), limit=Limit(most=1, per=MINUTE), concurrency=4))
    bench.publish(*events(4))
    assert outcomes(bench).count("wait") == 3
    bench.pool.held = "begun"
    bench.broker.advance(2 * MINUTE)
    bench.pool.release()
    bench.broker.advance(HOUR)

    assert outcomes(bench) == ["done"] * 4


@pytest.mark.parametrize(
    "fields",
    [
        {"once_per": OncePer(by=("node",), interval=24 * HOUR)},
        {"limit": Limit(most=1, per=24 * HOUR, by=("node",), rest="skip")},
    ],
)
def test_a_delivery_that_was_busy_does_not_suppress_the_next_of_its_kind(bench, fields):
    bench.start(subscription(guard=Guard(at_most=SKIP), concurrency=4, **fields))
    running, busy, later, repeated = (make_event(node=each) for each in ("n1", "n2", "n2", "n2"))
    bench.pool.held = "begun"
    bench.publish(running)
    bench.publish(busy)
    bench.pool.release()
    bench.broker.advance(HOUR)
    bench.publish(later)
    bench.publish(repeated)
    bench.broker.advance(HOUR)

    assert called(bench) == [running.id, later.id]
    assert next(row.outcome for row in bench.rows() if row.event_id == repeated.id) in ("repeated", "limited")


def test_each_place_has_its_own_count(bench):
    guard = Guard(at_most=AtMost(count=1, by=("data.fsName", "node")))
    bench.pool.held = "begun"
    bench.start(subscription(guard=guard, concurrency=8))
    one, other, elsewhere = make_event(fsName="gpfs1"), make_event(fsName="gpfs2"), make_event(fsName=None)
    same = make_event(fsName="gpfs1")
    bench.publish(one, other, elsewhere, same)
    begun = {row.event_id for row in bench.rows() if row.outcome is None}
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert begun == {one.id, other.id, elsewhere.id}
    assert outcomes(bench) == ["done"] * 4


class Acts(Recorded):
    """A handler that acts on the node of the event, as the action `restart`."""

    action, action_class = "restart", "change"

    def nodes(self, delivery):
        return [delivery.event.node]

    def targets(self, delivery):
        return [f"run restart on {delivery.event.node}"]


PER = [
    ("node", {"node": "n1"}, {"node": "n2"}),
    ("target", {"node": "n1"}, {"node": "n2"}),
    ("file_system", {"fsName": "gpfs1"}, {"fsName": "gpfs2"}),
    ("file_system", {"fsName": "gpfs1"}, {"fsName": "gpfs1", "cluster": "lab"}),
    ('data.fsName + "/" + node', {"fsName": "gpfs1", "node": "n1"}, {"fsName": "gpfs1", "node": "n2"}),
]


@pytest.mark.parametrize(("per", "same", "other"), PER)
def test_what_two_subscriptions_limit_is_counted_together_and_apart_from_the_rest(bench, per, same, other):
    bench.make = Acts
    bench.pool.held = "begun"
    guard = Guard(at_most=AtMost(count=1, per=per))
    bench.start(subscription("one", guard=guard, concurrency=4), subscription("two", guard=guard, concurrency=4))
    bench.publish(make_event(**same))
    bench.publish(make_event(**same))
    bench.publish(elsewhere := make_event(**other))
    begun = [row.event_id for row in bench.rows() if row.outcome is None]
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert len(begun) == 2
    assert begun.count(elsewhere.id) == 1
    assert [outcomes(bench, name) for name in ("one", "two")] == [["done"] * 3] * 2


@pytest.mark.parametrize("per", ["action", "class"])
def test_an_action_and_a_class_are_counted_over_all_subscriptions(bench, per):
    bench.make = Acts
    bench.pool.held = "begun"
    limit = AtMost(count=4, per=per)
    names = ("one", "two", "three")
    bench.start(*(subscription(name, guard=Guard(at_most=limit), concurrency=20) for name in names))
    bench.publish(*events(20))
    begun = [row for row in bench.rows() if row.outcome is None]
    reasons = {row.reason for row in bench.rows() if row.outcome == "wait"}
    bench.pool.release()
    bench.broker.advance(HOUR)

    assert len(begun) == 4
    assert reasons == {f"at_most: 4 of the same {per} are running; waits until one ends"}
    assert [len(outcomes(bench, name)) for name in names] == [20] * 3


def test_of_several_limits_each_holds(bench):
    bench.pool.held = "begun"
    limits = (AtMost(count=3), AtMost(count=1, per="file_system", rest="skip"))
    bench.start(subscription(guard=Guard(at_most=limits), concurrency=20))
    bench.publish(*(make_event(fsName=name) for name in ("a", "a", "b", "c", "d")))

    assert sorted(map(str, outcomes(bench))) == ["None", "None", "None", "busy", "wait"]


def test_an_expression_that_cannot_be_evaluated_is_a_failed_attempt(bench):
    guard = Guard(at_most=AtMost(count=1, per="data.missing"))
    bench.start(subscription(guard=guard, retry=RetryPolicy(attempts=1)))
    bench.publish(make_event())

    (row,) = bench.rows()
    assert (row.outcome, row.reason) == ("dead", "FilterError: the event has no data.missing")


def test_a_job_that_runs_keeps_its_place_and_frees_it_at_its_end(bench):
    answers = iter([Report(again=5 * SECOND, result={"job": "j"})] * 3)
    bench.handler = lambda _delivery: next(answers, Report())
    bench.start(subscription(guard=Guard(at_most=SKIP)))
    job, busy, after = events(3)
    bench.publish(job)
    bench.publish(busy)
    bench.broker.advance(MINUTE)
    bench.publish(after)

    assert next(row.outcome for row in bench.rows() if row.event_id == busy.id) == "busy"
    assert outcomes(bench).count("done") == 2


def test_a_long_call_keeps_its_place_while_its_consumer_lives(bench):
    bench.pool.held = "begun"
    bench.start(subscription(guard=Guard(at_most=SKIP)))
    bench.publish(make_event())
    bench.broker.advance(9 * MINUTE)
    bench.publish(make_event())

    assert outcomes(bench).count("busy") == 1


def test_what_lost_its_place_with_its_consumer_waits_for_a_free_one(bench):
    guarded = subscription(guard=Guard(at_most=1))
    bench.pool.held = "begun"
    bench.start(guarded)
    lost, meanwhile = events(2)
    bench.publish(lost)
    bench.lose_owner()
    bench.broker.advance(9 * MINUTE)
    bench.publish(meanwhile)
    assert outcomes(bench).count(None) == 2
    bench.lose_connection("tell")
    bench.start(guarded)

    assert [row.outcome for row in bench.rows() if row.event_id == lost.id] == ["wait"]


def test_a_delivery_of_a_consumer_that_was_killed_keeps_its_place_until_it_is_done_and_then_frees_it(bench):
    guarded = subscription(guard=Guard(at_most=SKIP))
    bench.pool.held = "begun"
    bench.start(guarded)
    lost, meanwhile, after = events(3)
    bench.publish(lost)
    bench.lose_owner()
    bench.lose_connection("tell")
    bench.start(guarded)
    bench.publish(meanwhile)
    bench.pool.release()
    bench.broker.run()
    bench.publish(after)

    assert called(bench) == [lost.id, after.id]
    assert outcomes(bench).count("busy") == 1


# folds


def waiting_fold(bench, **fields):
    """Start a fold whose delivery waits behind another one that runs; return what the handler saw."""
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(by=("data.fsName",), wait=10 * SECOND), **fields))
    bench.pool.held = "begun"
    bench.publish(make_event(fsName="before"))
    bench.broker.advance(MINUTE)
    return seen


@pytest.mark.thorough
def test_a_fold_takes_events_until_it_begins(bench):
    seen = waiting_fold(bench, guard=Guard(at_most=1), concurrency=4)
    for _ in range(30):
        bench.publish(make_event(fsName="gpfs1"))
        bench.broker.advance(MINUTE)
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert seen == [1, 30]
    assert outcomes(bench).count(FOLDED) == 31
    assert outcomes(bench).count("done") == 2


def test_what_comes_after_a_fold_began_is_the_next_one_and_none_is_lost(bench):
    seen = waiting_fold(bench, guard=Guard(at_most=1), concurrency=4)
    bench.publish(*(make_event(fsName="gpfs1") for _ in range(3)))
    bench.broker.advance(MINUTE)
    bench.pool.release()
    bench.broker.advance(5 * SECOND)
    bench.publish(*(make_event(fsName="gpfs1") for _ in range(2)))
    bench.broker.advance(MINUTE)

    assert seen == [1, 3, 2]


def test_what_comes_in_one_batch_with_a_fold_that_begins_belongs_to_it(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=10 * SECOND)))
    bench.publish(*events(2))
    bench.broker.advance(5 * SECOND)
    bench.publish_at_once(events(3))
    bench.broker.advance(HOUR)

    assert sum(seen) == 5


@pytest.mark.parametrize("wait", [5 * SECOND, 10 * SECOND])
def test_a_fold_waits_for_its_place_and_is_not_skipped(bench, wait):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    guard = Guard(at_most=SKIP)
    bench.start(subscription(fold=Folding(by=("data.fsName",), wait=wait, repeat=4 * HOUR), guard=guard, concurrency=4))
    bench.pool.held = "begun"
    bench.publish(make_event(fsName="before"))
    bench.broker.advance(MINUTE)
    bench.publish(make_event(fsName="gpfs1"))
    bench.broker.advance(MINUTE)
    bench.publish(make_event(fsName="gpfs1"))
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert seen == [1, 2]


def test_a_fold_takes_events_while_a_limit_holds_it_up(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=10 * SECOND), limit=Limit(most=1, per=HOUR)))
    bench.publish(*events(2))
    bench.broker.advance(MINUTE)
    for _ in range(5):
        bench.publish(make_event())
        bench.broker.advance(9 * MINUTE)
    bench.broker.advance(HOUR)

    assert seen == [2, 5]


def test_a_fold_that_waits_for_an_approval_is_done_as_it_was_approved(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=10 * SECOND), guard=Guard(ask=Ask(within=HOUR))))
    bench.publish(*events(2))
    bench.broker.advance(MINUTE)
    bench.publish(*events(3))
    with bench.store.writing() as transaction:
        (asked,) = approvals.pending(transaction, bench.clock())
        assert approvals.answer(transaction, asked.id, "approved", "anna", bench.clock())
    bench.broker.advance(15 * SECOND)

    assert seen == [2]
