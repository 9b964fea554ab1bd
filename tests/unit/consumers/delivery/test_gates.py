"""What stands between deliveries and handlers, where something goes wrong: kills, waits, silences, bad handlers."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from consumers.deliveries import FOLDED, Report
from consumers.policies.guards import Ask, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.store import approvals, silences
from consumers.store.schema import deliveries
from consumers.store.silences import Silence
from consumers.subscriptions.models import Subscriptions
from router.broker.topology import DEAD, queue_of
from router.model.ids import new_id
from tests import engines
from tests.consuming import make_event, make_subscription
from tests.engines import START, events, outcomes, subscription

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def silence(bench, where="true", until=START + HOUR):
    with bench.store.writing() as transaction:
        silences.add(transaction, Silence(new_id(), "", where, "anna", "maintenance", START, until))


def killed(bench, *subscriptions):
    """Have the consumer killed, and another take its place."""
    bench.broker.drop()
    bench.broker.cancel(queue_of(subscriptions[0].name))
    bench.broker = bench.broker.another(user="consumer")
    bench.start(*subscriptions)


def age(bench, by, where):
    """Have the attempts *where* be so much older."""
    with bench.store.writing() as transaction:
        for row in transaction.execute(select(deliveries).where(where)).all():
            moments = {"started": row.started - by, "ended": row.ended and row.ended - by}
            transaction.execute(update(deliveries).where(deliveries.c.event_id == row.event_id, where).values(moments))


# folds


def test_a_fold_whose_telling_was_silenced_does_not_silence_those_that_come_after(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=30 * SECOND)))
    bench.publish(*events(2))
    silence(bench, until=START + 5 * MINUTE)
    bench.broker.advance(10 * MINUTE)
    assert seen == []
    assert "silenced" in outcomes(bench)

    bench.publish(*events(3))
    bench.broker.advance(10 * MINUTE)
    assert seen == [3]


def test_a_fold_is_told_whole_where_folding_was_taken_away_meanwhile(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=30 * SECOND)))
    bench.publish(*events(4))
    bench.engine.reload(Subscriptions(subscriptions=(subscription(),)))
    bench.broker.run()
    bench.broker.advance(10 * MINUTE)
    assert seen == [4]

    bench.engine.reload(Subscriptions(subscriptions=(subscription(fold=Folding(wait=30 * SECOND)),)))
    bench.broker.run()
    bench.publish(*events(2))
    bench.broker.advance(10 * MINUTE)
    assert seen == [4, 2]


def test_a_fold_whose_timer_is_lost_is_told_with_the_next_event(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=30 * SECOND)))
    bench.publish(*events(4))
    bench.broker.model.queue("clusterbus.retry.15s").ready.clear()
    bench.broker.advance(HOUR)
    assert seen == []

    bench.publish(*events(1))
    bench.broker.advance(10 * MINUTE)
    assert seen == [5]


def test_a_timer_that_comes_after_its_fold_was_told_with_another_is_only_recorded(bench):
    seen = []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(fold=Folding(wait=30 * SECOND)))
    bench.publish(*events(4))
    late = bench.broker.model.queue("clusterbus.retry.15s").ready.popleft()
    bench.broker.advance(HOUR)
    bench.publish(*events(1))
    bench.broker.advance(10 * MINUTE)
    late.since = bench.broker.now
    bench.broker.model.queue("clusterbus.retry.15s").ready.append(late)
    bench.broker.advance(10 * MINUTE)

    assert seen == [5]
    assert outcomes(bench).count(FOLDED) == 6
    assert bench.waiting(queue_of("tell")) == 0


# rates


def test_what_passed_a_rate_and_then_waited_longer_than_the_rate_does_not_stop_the_consumer(bench):
    up = [False]

    def handler(_delivery):
        return Report() if up[0] else Report("connect", "connection refused", blamed=("a",))

    bench.handler, bench.depends_on = handler, ("a",)
    bench.start(subscription(limit=Limit(most=100, per=SECOND), retry=RetryPolicy(attempts=20)))
    bench.publish(*events(8))
    bench.broker.advance(20 * MINUTE)
    up[0] = True
    bench.broker.advance(3 * HOUR)

    assert outcomes(bench).count("done") == 8


def test_an_attempt_that_was_begun_by_one_that_died_is_repeated_though_its_rate_is_over(bench):
    limited = subscription(limit=Limit(most=1, per=SECOND))
    bench.pool.held = True
    bench.start(limited)
    bench.publish(make_event())
    bench.broker.advance(MINUTE)
    bench.pool.waiting.clear()
    killed(bench, limited)
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert outcomes(bench) == ["done"]


@pytest.mark.thorough
def test_no_more_than_the_limit_are_called_in_any_window_also_after_a_breaker_was_open(bench):
    at = []

    def handler(_delivery):
        at.append(bench.broker.now)
        return Report() if bench.broker.now > HOUR else Report("connect", "refused", blamed=("a",))

    bench.handler, bench.depends_on = handler, ("a",)
    bench.start(subscription(limit=Limit(most=5, per=MINUTE), concurrency=4, retry=RetryPolicy(attempts=20)))
    for _ in range(10):
        bench.publish(*events(3))
        bench.broker.advance(6 * MINUTE)
    before = len(at)
    bench.broker.advance(2 * HOUR)

    firsts = [each for each, (_, _, attempt) in zip(at[before:], bench.calls[before:], strict=True) if attempt == 1]
    assert all(sum(each <= other < each + MINUTE for other in firsts) <= 5 for each in firsts)
    assert outcomes(bench).count("done") == 30


def test_what_is_handed_over_is_silenced_as_well(bench):
    def handler(delivery):
        return Report("exit:1") if delivery.subscription == "act" else Report()

    bench.handler = handler
    act = make_subscription("act", ["/bin/true"], patterns=("gpfs.#",), retry=RetryPolicy(attempts=1, then="tell"))
    bench.start(act, subscription(where="false"))
    silence(bench)
    bench.publish(make_event())

    assert outcomes(bench) == ["silenced"]


def test_a_silence_that_this_release_cannot_read_stops_nobody(bench):
    bench.start(subscription())
    silence(bench, "no( cel")
    bench.publish(make_event())

    assert outcomes(bench) == ["done"]


# handlers that raise where they should not


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x"), SystemExit(3), RecursionError()])
def test_what_targets_raise_concerns_their_delivery_only(bench, monkeypatch, error):
    def targets(_handler, delivery):
        if delivery.event.node == "bad":
            raise error
        return ()

    monkeypatch.setattr(engines.Recorded, "targets", targets)
    bench.start(subscription())
    bench.publish_at_once([make_event(), make_event(node="bad"), make_event()])

    assert outcomes(bench) == ["done"] * 3  # the call itself has the last word


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x"), SystemExit(3), RecursionError()])
@pytest.mark.parametrize("fields", [{"mode": "shadow"}, {"guard": Guard(ask=Ask())}])
def test_what_a_plan_raises_concerns_its_delivery_only(bench, monkeypatch, error, fields):
    def plan(_handler, delivery):
        if delivery.event.node == "bad":
            raise error
        return {}

    monkeypatch.setattr(engines.Recorded, "plan", plan)
    bench.start(subscription(retry=RetryPolicy(attempts=2, first=SECOND), **fields))
    bad = make_event(node="bad")
    bench.publish_at_once([make_event(), bad, make_event()])
    bench.broker.advance(10 * SECOND)

    others = [row.outcome for row in bench.rows() if row.event_id != bad.id]
    assert others in (["shadow"] * 2, ["wait"] * 2)
    assert [row.outcome for row in bench.rows() if row.event_id == bad.id] == ["retry", "dead"]


@pytest.mark.parametrize("plan", [{("a", "b"): 1}, [1], None, {"a": object()}])
def test_a_plan_that_is_none_does_not_stop_the_consumer(bench, monkeypatch, plan):
    monkeypatch.setattr(engines.Recorded, "plan", lambda *_: plan)
    bench.start(
        subscription("asks", guard=Guard(ask=Ask()), retry=RetryPolicy(attempts=1)), subscription("b", mode="shadow")
    )
    bench.publish(make_event())
    bench.publish(make_event())

    assert {row.outcome for row in bench.rows()} <= {"wait", "dead", "shadow", "retry"}
    assert all(row.outcome for row in bench.rows())


class Nasty(Exception):
    """Has no text."""

    def __str__(self):
        raise ValueError("no text either")


def _loop():
    found = {}
    found["self"] = found
    return found


def _raise(error):
    raise error


@pytest.mark.thorough
@pytest.mark.parametrize(
    "handler",
    [
        lambda _: {"a": 1},
        lambda _: True,
        lambda _: Report(result={("a", 1): 2}),
        lambda _: Report(result=_loop()),
        lambda _: Report(result=["a"]),
        lambda _: Report("exit:1", result=["a"]),
        lambda _: Report("exit:1", after=timedelta.max),
        lambda _: Report("exit:1", after="5s"),
        lambda _: Report("exit:1", blamed=None),
        lambda _: Report(7, "x"),
        lambda _: Report("exit:1", 7),
        lambda _: Report("exit:1", "\ud800\0"),
        lambda _: _raise(Nasty()),
        lambda _: _raise(SystemExit()),
    ],
)
def test_whatever_a_handler_returns_or_raises_its_delivery_ends_and_others_go_on(bench, handler):
    good = make_event(node="good")
    bench.handler = lambda delivery: Report() if delivery.event.node == "good" else handler(delivery)
    bench.depends_on = ("a",)
    bench.start(subscription(retry=RetryPolicy(attempts=2, first=SECOND)))
    bench.publish_at_once([make_event(), good])
    bench.broker.advance(24 * HOUR)

    assert all(row.outcome for row in bench.rows())
    assert [row.outcome for row in bench.rows() if row.event_id == good.id] == ["done"]
    assert bench.waiting(queue_of("tell")) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("again", [timedelta.max, -HOUR, timedelta()])
def test_whenever_a_handler_wants_to_be_called_again_it_is(bench, again):
    bench.handler = lambda _: Report(again=again) if len(bench.calls) < 2 else Report()
    bench.start(subscription())
    bench.publish(make_event())
    bench.broker.advance(7 * HOUR)

    assert outcomes(bench) == ["done"]


# what handlers know of the attempt before


def test_a_retry_knows_what_was_done_also_when_it_had_to_wait_at_a_gate(bench):
    seen = []

    def handler(delivery):
        seen.append((delivery.attempt, dict(delivery.earlier)))
        return Report("exit:1", result={"done": ["n1"]}, blamed=("a",)) if delivery.attempt == 1 else Report()

    bench.handler, bench.depends_on = handler, ("a",)
    bench.start(subscription(retry=RetryPolicy(attempts=3, first=SECOND), concurrency=8))
    bench.publish_at_once(events(6))
    bench.broker.advance(2 * HOUR)

    assert {attempt for attempt, _ in seen} == {1, 2}
    assert all(earlier == {"done": ["n1"]} for attempt, earlier in seen if attempt == 2)


def test_a_retry_knows_what_was_done_also_when_its_consumer_was_killed(bench):
    seen = []

    def handler(delivery):
        seen.append((delivery.attempt, dict(delivery.earlier)))
        return Report("exit:1", result={"done": ["n1"]}) if delivery.attempt == 1 else Report()

    bench.handler = handler
    bench.start(subscription(retry=RetryPolicy(attempts=3, first=SECOND)))
    bench.publish(make_event())
    bench.pool.held = True
    bench.broker.advance(10 * SECOND)
    assert len(bench.pool.waiting) == 1
    bench.pool.waiting.clear()
    killed(bench, subscription(retry=RetryPolicy(attempts=3, first=SECOND)))
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert seen == [(1, {}), (2, {"done": ["n1"]})]


# jobs, which are asked after now and then


def test_a_job_that_runs_on_counts_among_those_that_run_at_once(bench):
    left = {}

    def handler(delivery):
        left[delivery.event.id] = left.get(delivery.event.id, 8) - 1
        begun.add(delivery.event.id)
        running = {each for each in begun if left[each] > 0}
        most.append(len(running))
        return Report(again=5 * SECOND, result={"job": "j"}) if left[delivery.event.id] else Report()

    begun, most = set(), []
    bench.handler = handler
    bench.start(subscription(guard=Guard(at_most=1), concurrency=4))
    bench.publish_at_once(events(3))
    bench.broker.advance(10 * MINUTE)

    assert outcomes(bench) == ["done"] * 3
    assert max(most) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": Limit(most=1, per=MINUTE, rest="skip")},
        {"once_per": OncePer(interval=MINUTE)},
        {"fold": Folding(wait=SECOND)},
        {"order_by": ("data.fsName",)},
    ],
)
def test_a_job_that_runs_is_asked_after_whatever_the_gates_say(bench, fields):
    left = [30]

    def handler(_delivery):
        left[0] -= 1
        return Report(again=15 * SECOND, result={"job": "j"}) if left[0] else Report()

    bench.handler = handler
    bench.start(subscription(**fields))
    bench.publish(make_event())
    bench.broker.advance(5 * SECOND)
    silence(bench, until=START + 24 * HOUR)
    bench.broker.advance(HOUR)

    assert outcomes(bench)[-1] == "done"
    assert left[0] == 0


# approvals


def test_what_waits_for_a_word_holds_up_neither_slots_nor_limits_nor_probes(bench):
    bench.depends_on = ("a",)
    guard = Guard(at_most=1, ask=Ask(within=24 * HOUR))
    bench.start(subscription(guard=guard, limit=Limit(most=2, per=HOUR)))
    asked = events(6)
    bench.publish_at_once(asked)
    bench.broker.advance(MINUTE)
    with bench.store.writing() as transaction:
        found = {each.event_id: each.id for each in approvals.pending(transaction, bench.clock())}
        assert set(found) == {each.id for each in asked}
        assert approvals.answer(transaction, found[asked[-1].id], "approved", "anna", bench.clock())
    bench.broker.advance(MINUTE)

    assert [event_id for _, event_id, _ in bench.calls] == [asked[-1].id]


# order, and what is gone


def test_a_lane_goes_on_when_what_it_waits_for_has_been_gone_for_long(bench):
    bench.handler = lambda delivery: Report("exit:1") if delivery.event.data["note"] == "first" else Report()
    bench.start(subscription(order_by=("data.fsName",), retry=RetryPolicy(first=MINUTE)))
    bench.publish(make_event(note="first"))
    bench.broker.model.queue("clusterbus.retry.1m").ready.clear()
    bench.publish(make_event(note="second"))
    bench.broker.advance(HOUR)
    assert len(bench.calls) == 1
    assert len(bench.broker.published) < 200  # it looks the less often, the longer it waits
    age(bench, 25 * HOUR, deliveries.c.outcome == "retry")
    bench.broker.advance(2 * MINUTE)

    assert len(bench.calls) == 2


def test_a_slot_is_free_again_when_who_had_it_has_been_gone_for_long(bench):
    limited = subscription(guard=Guard(at_most=1))
    bench.pool.held = True
    bench.start(limited)
    lost, other = events(2)
    bench.publish(lost)
    bench.pool.waiting.clear()
    with bench.store.writing() as transaction:
        transaction.exec_driver_sql("UPDATE deliveries SET owner = 'x:1:2'")
        transaction.exec_driver_sql("UPDATE places SET owner = 'x:1:2'")
    bench.broker.model.queue(queue_of("tell")).subscribers[0].unsettled.clear()
    killed(bench, limited)
    bench.pool.release()
    bench.publish(other)
    bench.broker.advance(MINUTE)
    assert bench.calls == []
    bench.broker.advance(2 * MINUTE)

    assert [event_id for _, event_id, _ in bench.calls] == [other.id]


def test_what_came_meanwhile_for_a_subscription_that_was_read_anew_goes_to_the_new_one(bench):
    first = subscription(retry=RetryPolicy(attempts=3, first=SECOND))
    bench.pool.held = True
    bench.start(first)
    event = make_event()
    bench.publish(event)
    [in_flight] = bench.engine.in_flight
    closed = []
    in_flight.subscription.close = lambda: closed.append(True)
    # Another attempt of the same delivery, as a copy that was published twice would bring it.
    bench.publish(event)
    messages = in_flight.messages
    messages.others, messages.arrivals[1:] = messages.arrivals[1:], []
    bench.engine.reload(Subscriptions(subscriptions=(subscription(where="true"),)))
    bench.broker.run()
    bench.pool.release()
    bench.broker.advance(MINUTE)

    assert closed == [True]
    assert len(bench.calls) == 1
    assert bench.waiting(queue_of("tell")) == 0
    assert all(each.subscription is not in_flight.subscription for each in bench.engine.in_flight)
    assert not bench.broker.model.queue(DEAD).ready
