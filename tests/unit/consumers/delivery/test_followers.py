"""What follows a delivery that is put off is put off with it, many in one transaction, and keeps its order."""

from collections import defaultdict
from contextlib import closing
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as hooks

from consumers.deliveries import Report
from consumers.policies.retry import RetryPolicy
from router.model.ids import new_id
from tests.consuming import make_event
from tests.engines import START, Bench, subscription

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
IN_ORDER = {"order_by": ("data.lane",)}
FEW = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Ticking(Bench):
    """An engine whose clock goes on by a millisecond with each look at it."""

    looks = 0

    def clock(self):
        self.looks += 1
        return START + self.broker.now + self.looks * timedelta(milliseconds=1)


@pytest.fixture
def bench(database):
    bench = Ticking(database("store"))
    yield bench
    bench.store.close()


def in_lane(count, lane="L", **more):
    return [make_event(lane=lane, **more) for _ in range(count)]


def failing_first(delivery):
    return Report("exit:1") if delivery.event.data.get("note") == "first" else Report()


def test_a_hundred_arrivals_of_a_long_lane_cost_a_few_statements(bench):
    bench.handler = failing_first
    bench.start(subscription(retry=RetryPolicy(first=SECOND), **IN_ORDER))
    bench.publish(*in_lane(1, note="first"))
    bench.publish_at_once(in_lane(200))
    statements = []

    hooks.listen(bench.store._engine, "before_cursor_execute", lambda *found: statements.append(found[2]))
    bench.publish_at_once(in_lane(400))

    rows = bench.rows()
    assert [row.outcome for row in rows] == ["retry"] + ["wait"] * 600
    # A prefetch is a hundred: one of them is asked about alone, the others together.
    assert len(statements) < 4 * 40
    # A tenth of a second for each that is before it.
    assert [row.delay.seconds for row in rows[101:]] == [number // 10 for number in range(100, 600)]


def test_what_has_come_together_keeps_the_order_of_its_arrival_whatever_its_ids(bench):
    bench.handler = lambda delivery: Report() if delivery.attempt > 1 else failing_first(delivery)
    bench.start(subscription(retry=RetryPolicy(first=5 * SECOND, longest=5 * SECOND), **IN_ORDER))
    ids = sorted((new_id() for _ in range(120)), reverse=True)
    bench.publish(*in_lane(1, note="first"))

    bench.publish_at_once([make_event(id_, lane="L") for id_ in ids])
    bench.broker.advance(HOUR)

    assert [id_ for _, id_, attempt in bench.calls if id_ in ids] == ids


def test_what_follows_is_not_asked_what_it_would_do(bench):
    bench.handler, bench.depends_on = failing_first, ("host",)
    asked = []
    bench.start(subscription(retry=RetryPolicy(first=HOUR), **IN_ORDER))
    [served] = bench.engine._registry
    served.way.handler.targets = lambda delivery: asked.append(delivery) or ()

    bench.publish_at_once([*in_lane(1, note="first"), *in_lane(50)])

    assert len(bench.rows()) == 51
    assert [each.event.data["note"] for each in asked] == ["first"]


def test_what_is_put_off_holds_up_no_other_lane(bench):
    bench.handler = failing_first
    bench.start(subscription(retry=RetryPolicy(first=HOUR), **IN_ORDER))
    bench.publish(*in_lane(1, note="first"))

    others = in_lane(5, "M")
    bench.publish_at_once([*in_lane(40), *others, *in_lane(40)])

    assert [id_ for _, id_, _ in bench.calls][1:] == [each.id for each in others]


moves = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 30), st.sampled_from("LM")),
        st.tuples(st.just("advance"), st.integers(1, 90), st.just("")),
        st.tuples(st.just("fail"), st.integers(1, 3), st.sampled_from("LM")),
    ),
    max_size=12,
)


@pytest.mark.thorough
@FEW
@given(moves=moves, seed=st.randoms(use_true_random=False))
def test_each_lane_is_done_in_the_order_of_its_arrival_whatever_fails_meanwhile(database, moves, seed):
    with closing((bench := Ticking(database(new_id()))).store):
        failures, done, sent = defaultdict(int), defaultdict(list), defaultdict(list)

        def handler(delivery):
            lane = delivery.event.data["lane"]
            if failures[lane]:
                failures[lane] -= 1
                return Report("exit:1")
            done[lane].append(delivery.event.id)
            return Report()

        bench.handler = handler
        policy = RetryPolicy(attempts=50, first=5 * SECOND, longest=60 * SECOND)
        bench.start(subscription(retry=policy, **IN_ORDER))
        for move, number, lane in moves:
            if move == "publish":
                events = [make_event(new_id(), lane=lane) for _ in range(number)]
                seed.shuffle(events)
                sent[lane] += [each.id for each in events]
                bench.publish_at_once(events)
            elif move == "advance":
                bench.broker.advance(number * SECOND)
            else:
                failures[lane] += number
        bench.broker.advance(2 * HOUR)

    assert done == sent
    assert not bench.engine.in_flight
    assert bench.engine.in_flight._lanes == {}
