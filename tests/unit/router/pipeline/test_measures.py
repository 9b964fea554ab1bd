"""What the router counts where its metrics are on, and that nothing differs where they are off."""

from datetime import timedelta

import pytest

from router.broker.topology import HISTORY, INGRESS, PUBLISHED_AT
from router.model.bounds import REJECTED_BODIES
from router.pipeline.metrics.measures import Measures
from tests.nodes import NOON, Node
from tests.unit.router.pipeline.test_router import Bench, beats, leave

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


@pytest.fixture
def bench(database):
    bench = Bench(database("router"))
    yield bench
    bench.state.close()


@pytest.fixture
def measures(bench):
    def monotonic():
        return bench.memory.now.total_seconds()

    measures = Measures(monotonic)
    bench.restart(measures=measures)
    return measures


def test_records_are_counted_by_what_became_of_them(bench, measures):
    one, two = Node("nsd01"), Node("nsd02")
    first = one.record("diskFailure", "--fsName", "gpfs1")

    bench.send(first, leave(one), leave(two), one.heartbeat(), one.record("x").but(user="someone"))
    bench.send(first)

    assert measures.records == {"event": 2, "copy": 1, "repeated": 1, "heartbeat": 1, "rejected": 1}


def test_latencies_are_from_capture_to_turn_and_from_there_to_the_confirm(bench, measures):
    bench.memory.advance(10 * SECOND)
    bench.line.blocked = True

    bench.send(Node("nsd01").record("diskFailure", at=NOON + 3 * SECOND))
    bench.memory.advance(MINUTE)
    bench.line.blocked = False
    bench.memory.run()

    assert (measures.captured_to_received.total, measures.captured_to_received.buckets()[-1][1]) == (7, 1)
    assert measures.received_to_published.total == pytest.approx(60, abs=1)


def test_a_clock_that_is_ahead_is_counted_and_shortens_no_other_latency(bench, measures):
    node = Node("nsd01")

    bench.send(node.record("diskFailure", at=NOON + MINUTE), node.record("diskFailure", at=NOON - MINUTE))

    assert (measures.captured_to_received.negative, measures.captured_to_received.total) == (1, 60)


def test_findings_are_counted_by_the_names_of_their_events(bench, measures):
    quiet, other = Node("nsd01"), Node("nsd02")

    beats(bench, 2, quiet, other)
    beats(bench, 6, other)
    other.skip(2)
    beats(bench, 3, other)

    found = {name: count for name, count in measures.findings.items() if count}
    assert found == {"epochStarted": 2, "nodeSilent": 1, "gapOpened": 1}
    assert found == {name: len(bench.told(name)) for name in found}
    assert bench.state.condition().silent == 1
    assert bench.state.condition().missing == 2


@pytest.mark.parametrize("is_on", [True, False])
def test_events_say_when_they_were_sent_only_where_metrics_are_on(bench, is_on):
    bench.restart(measures=Measures() if is_on else None)

    bench.send(Node("nsd01").record("diskFailure"))

    stamps = [each.headers.get(PUBLISHED_AT) for each in bench.stored(HISTORY) if each.headers]
    assert any(stamps) == is_on
    assert bench.stored(INGRESS) == []


@pytest.mark.thorough
@pytest.mark.long
def test_rejected_records_that_are_not_kept_are_counted_and_the_state_names_their_user(bench, measures):
    loud, other = Node("loud"), Node("other")
    bad = [loud.record("mount").but(body=b"garbage %d" % number) for number in range(REJECTED_BODIES + 7)]

    bench.send(*bad, other.record("mount").but(body=b"garbage"))
    bench.send(*(loud.record("mount").but(body=b"more %d" % number) for number in range(3)))

    assert measures.dismissed == 10
    (found,) = bench.state.facts().dismissed
    assert (found.user, found.count) == ("loud", 10)
    assert found.since <= found.latest <= bench.now()
    assert sum(each.data["dropped"] for each in bench.told("recordRejected")) <= 10

    bench.memory.advance(timedelta(days=2))
    bench.send(*(other.record("mount").but(body=b"again %d" % number) for number in range(REJECTED_BODIES + 1)))
    assert [(each.user, each.count) for each in bench.state.facts().dismissed] == [("other", 1)]
