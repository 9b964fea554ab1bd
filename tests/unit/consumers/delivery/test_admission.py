"""Properties of what admits deliveries: folds, rates, breakers, lanes, and the engine over a store that fails."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as hooks
from sqlalchemy import select

from consumers.deliveries import Delivery, Report, Skipped, Waiting
from consumers.delivery.admission import Admission
from consumers.delivery.in_flight import AllInFlight, BrokerMessages, InFlight
from consumers.delivery.outcome_events import OutcomeEvents
from consumers.delivery.states import Arrived
from consumers.policies.circuit_breaker import LONGEST, PATIENCE, Breaker
from consumers.policies.group_keys import key_of
from consumers.policies.guards import Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Gathered, Limit, Rate
from consumers.store import breakers
from consumers.store.schema import deliveries, folds
from router.broker.interface import Message
from router.broker.topology import EVENTS, RETRY_STEPS, queue_of
from router.model.ids import new_id
from tests.consuming import make_delivery, make_event, make_subscription
from tests.engines import START, Bench, TellVerb, events, subscription

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
FIRST = datetime.fromtimestamp(10**9, UTC)
QUICK = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
seconds = st.integers(0, 90).map(lambda each: timedelta(seconds=each))


# decisions


@given(gaps=st.lists(seconds, max_size=60), most=st.integers(1, 5), waits=st.booleans())
def test_never_more_than_the_most_pass_in_any_window(gaps, most, waits):
    rate = Rate("limited", (), most, MINUTE, waits)
    now, passed = START, []
    for gap in gaps:
        now += gap
        outcome = rate.decide(passed, now)
        if outcome is None:
            passed.append(now)
        else:
            assert isinstance(outcome, Waiting if waits else Skipped)
        if isinstance(outcome, Waiting):
            assert timedelta() < outcome.delay <= MINUTE
            assert rate.decide(passed, now + outcome.delay) is None
    for at in passed:
        assert sum(at <= each < at + MINUTE for each in passed) <= most


@given(st.lists(st.sampled_from(["failed", "worked", "lost"]), max_size=80))
def test_a_breaker_always_lets_something_through_in_the_end(ends):
    breaker, now, in_a_row = Breaker("a"), START, 0
    for end in ends:
        wait = breaker.wait(now)
        assert wait is None or timedelta() < wait <= LONGEST
        assert in_a_row >= PATIENCE or wait is None
        now += wait or timedelta()
        assert breaker.wait(now) is None
        breaker = breaker.probed(now)
        if end == "failed":
            in_a_row += 1
            breaker = breaker.after_failure(now, "refused")
        elif end == "worked":
            in_a_row, breaker = 0, Breaker("a")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.sampled_from([None, 1, "x" * 300])), max_size=60)
)
def test_what_is_gathered_counts_every_event_and_names_every_node(told):
    gathered = Gathered("head", START)
    for node, number, value in told:
        gathered = gathered.with_event(make_event(node=f"n{node}", number=number, value=value))
    fold = gathered.fold
    assert fold.count == len(told)
    assert set(gathered.nodes) == {f"n{node}" for node, _, _ in told}
    assert all(len(values) <= 20 for values in fold.values.values())


def in_lane(lane):
    """A delivery that has arrived, and keeps the order of *lane*."""
    delivery = Delivery(make_event(), "s", "t", b"")
    messages = BrokerMessages(SimpleNamespace(), START)
    return InFlight(delivery.key, SimpleNamespace(name="s"), messages, Arrived(delivery), lane)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=40))
def test_in_a_lane_one_is_ahead_and_all_are_once_in_the_order_that_they_came(steps):
    everything, inside, ahead = AllInFlight(), defaultdict(list), []
    for lane, enters in steps:
        if enters or not inside[lane]:
            in_flight = in_lane(lane)
            everything.add(in_flight)
            assert everything.is_ahead(in_flight) is (not inside[lane])
            assert everything.is_ahead(in_flight) is (not inside[lane])
            inside[lane].append(in_flight)
        else:
            following = everything.remove(inside[lane].pop(0))
            assert following is (inside[lane][0] if inside[lane] else None)
            ahead.append(following)
            if len(inside[lane]) > 1:
                assert everything.remove(inside[lane].pop()) is None


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_keys_are_short_and_differ_where_values_do(one, other):
    keys = [key_of(make_event(note=each), ("data.note",)) for each in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)
    assert all(len(key) <= 300 for key in keys)


# the engine, whatever happens in between


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 4)),
        st.tuples(st.just("advance"), st.integers(1, 50)),
        st.tuples(st.just("fail"), st.integers(1, 3)),
        st.tuples(st.just("drop"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("again"), st.just(0)),
    ),
    max_size=7,
)


def play(bench, served, todo):
    """Do all of *todo*; return the events that were published."""
    published = []
    bench.start(served)
    for what, number in todo:
        match what:
            case "publish":
                # As from a node's clock: what came later has a later id.
                ids = [new_id(FIRST + (len(published) + each) * SECOND) for each in range(number)]
                new = [make_event(each) for each in ids]
                published += new
                bench.publish_at_once(new)
            case "again" if published:
                bench.publish(published[-1])
            case "advance":
                bench.broker.advance(number * SECOND)
            case "fail":
                bench.store.failures += number
            case "drop":
                bench.broker.drop()
                bench.broker.run()
            case "restart":
                bench.store.failures = 0  # a consumer whose store fails when it starts does not start
                bench.engine.stop()
                bench.broker.run()
                bench.broker = bench.broker.another(user="consumer")
                bench.start(served)
    bench.broker.advance(HOUR)
    return published


@pytest.mark.thorough
@QUICK
@given(todo=steps)
def test_every_event_is_told_once_in_some_fold_whatever_happens(database, todo):
    bench, counts = Bench(database(new_id())), []
    try:
        bench.handler = lambda delivery: counts.append(delivery.fold.count) or Report()
        published = play(bench, subscription(fold=Folding(wait=20 * SECOND, repeat=MINUTE)), todo)
        assert sum(counts) == len(published)
        assert bench.waiting(queue_of("tell")) == 0
    finally:
        bench.store.close()


@pytest.mark.thorough
@QUICK
@given(todo=steps)
def test_no_more_than_the_limit_are_called_and_all_are_in_the_end_whatever_happens(database, todo):
    bench, at = Bench(database(new_id())), []
    try:
        bench.handler = lambda _delivery: at.append(bench.clock()) or Report()
        published = play(bench, subscription(limit=Limit(most=2, per=5 * SECOND)), todo)
        assert len(at) == len(published)
        assert all(sum(each <= other < each + 5 * SECOND for other in at) <= 2 for each in at)
    finally:
        bench.store.close()


@pytest.mark.thorough
@QUICK
@example(todo=[("fail", 1), ("publish", 1), ("publish", 1), ("restart", 0)], failing=0)
@example(todo=[("publish", 3), ("publish", 1)], failing=1)
@given(todo=steps, failing=st.integers(0, 2))
def test_a_lane_keeps_its_order_whatever_happens(database, todo, failing):
    bench, done, left = Bench(database(new_id())), [], defaultdict(lambda: failing)

    def handler(delivery):
        left[delivery.event.id] -= 1
        if left[delivery.event.id] >= 0:
            return Report("exit:1", result={"left": 1})
        done.append(delivery.event.id)
        return Report()

    try:
        bench.handler = handler
        served = subscription(order_by=("data.fsName",), concurrency=3, retry=RetryPolicy(first=SECOND))
        published = play(bench, served, todo)
        assert done == [each.id for each in published]
    finally:
        bench.store.close()


# what it costs


def test_a_batch_without_gates_costs_as_many_statements_as_ever(database):
    bench = Bench(database("store"))
    statements = []
    hooks.listen(bench.store._engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    bench.depends_on = ()
    bench.start(make_subscription("audit"))
    statements.clear()
    bench.publish_at_once(events(100))
    bench.store.close()

    assert 0 < len(statements) <= 8


def test_a_batch_with_all_gates_costs_the_same_for_one_as_for_many(database):
    def cost(count, name):
        bench = Bench(database(name))
        bench.depends_on = ("a",)
        statements = []
        hooks.listen(bench.store._engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        bench.start(subscription(limit=Limit(most=200, per=MINUTE), guard={"at_most": 200, "ask": {}}))
        statements.clear()
        bench.publish_at_once(events(count))
        bench.store.close()
        return sum(each.startswith(("SELECT", "UPDATE")) for each in statements)

    assert cost(60, "many") == cost(1, "one")


# two consumers on one store


@pytest.mark.parametrize("fields", [{"fold": Folding(wait=SECOND)}, {"guard": Guard(at_most=1)}, {}])
def test_of_two_consumers_that_look_at_the_same_moment_one_has_it(database, monkeypatch, fields):
    bench, seen = Bench(database("store")), []
    bench.handler = lambda delivery: seen.append(delivery.fold.count) or Report()
    bench.start(subscription(**fields))
    event = make_event()
    between = []
    look_up = Admission._look_up

    def late(admission, arrived):
        found = look_up(admission, arrived)
        if between:
            between.pop()()
        return found

    # Both have looked before either writes: the copies of one event came to two consumers at once.
    other = Admission(bench.store, OutcomeEvents(None, bench.clock))
    other._owner = "x:1:2"

    def meanwhile():
        active = next(iter(bench.engine._registry))
        delivery = make_delivery(event, "tell")
        arrival = SimpleNamespace(redelivered=True)
        in_flight = InFlight(delivery.key, active, BrokerMessages(arrival, START), Arrived(delivery))
        admitted = in_flight.state.admit("", {}, is_begun=False, lane="")
        written = other.write({in_flight: admitted}, {})
        assert not written.elsewhere
        recorded = written.recorded.get(in_flight)
        outcome_of.append((written.admitted, recorded and recorded.outcome))

    outcome_of = []
    between.append(meanwhile)
    monkeypatch.setattr(Admission, "_look_up", late)
    bench.send(Message(EVENTS, event.topic, event.to_json(), event.id, event.type, headers={}))
    if between:  # nobody looked: it is seen in writing
        between.pop()
        bench.store.close()
        return
    [(won, outcome)] = outcome_of
    rows = bench.rows()
    assert len(rows) == 1
    assert rows[0].outcome == (None if won else "folded")
    with bench.store.reading() as transaction:
        owner = transaction.execute(select(deliveries.c.owner)).scalar_one()
        assert not fields.get("fold") or transaction.execute(select(folds.c.events)).scalar_one() == 1
    assert owner == "x:1:2"
    assert bool(outcome) is not bool(won)
    bench.store.close()


def test_copies_of_what_waits_become_no_more(database):
    bench = Bench(database("store"))
    bench.depends_on = ("a",)
    with bench.store.writing() as transaction:
        breakers.write(transaction, [Breaker("a", 9, START + 10 * MINUTE, START, "refused")], START)
    bench.start(subscription())
    event = make_event()
    for _ in range(5):
        bench.publish(event)
        bench.broker.advance(20 * SECOND)
    waits = sum(len(bench.broker.model.queue(f"clusterbus.retry.{step}").ready) for step in RETRY_STEPS)
    assert waits <= 5
    bench.broker.advance(HOUR)

    assert len(bench.calls) == 1
    assert bench.waiting(queue_of("tell")) == 0
    assert sum(len(bench.broker.model.queue(f"clusterbus.retry.{step}").ready) for step in RETRY_STEPS) == 0
    bench.store.close()


def test_an_old_copy_of_what_failed_tells_of_no_success(database):
    class Reported(TellVerb):
        reports = ("runFinished", "runFailed")

    bench = Bench(database("store"))
    bench.handler = lambda _delivery: Report("exit:1", "exit code 1")
    retry = RetryPolicy(attempts=3, first=SECOND, growth=1)
    bench.start(make_subscription("act", Reported(), patterns=("gpfs.#",), retry=retry))
    event = make_event()
    for _ in range(8):
        bench.publish(event)
        bench.broker.advance(SECOND / 2)
    told = [each.key.split(".")[3] for each in bench.broker.published if each.exchange == EVENTS]
    bench.store.close()

    assert set(told) == {"runFailed", "deliveryDead"}
    assert len(bench.calls) == 3
