"""Latencies of deliveries: which are measured, and from when to when."""

from datetime import timedelta

import pytest

from consumers.deliveries import Report
from consumers.delivery.metrics.latencies import Latencies, oldest
from consumers.subscriptions.models import Subscriptions
from router.broker.interface import Message
from router.broker.topology import EVENTS, PUBLISHED_AT, RETURN
from tests.consuming import make_event, make_subscription
from tests.engines import START

SECOND = timedelta(seconds=1)
RUN = ["/bin/true"]
NOW = int(START.timestamp() * 1_000_000)


@pytest.fixture
def latencies(bench):
    bench.latencies = Latencies()
    return bench.latencies


def message(sent, exchange=EVENTS, **headers):
    event = make_event()
    stamp = {} if sent is None else {PUBLISHED_AT: str(sent) if type(sent) is int else sent}
    return Message(exchange, event.topic, event.to_json(), event.id, event.type, headers=stamp | headers)


def waited(latencies, name="act"):
    histogram = latencies.published_to_begun[name]
    return histogram.buckets()[-1][1], histogram.total


def test_a_delivery_is_measured_from_the_header_to_its_call_and_from_there_to_its_outcome(bench, latencies):
    bench.start(make_subscription("act", RUN))

    bench.send(message(NOW - 2_500_000))

    assert waited(latencies) == (1, 2.5)
    assert latencies.begun_to_recorded["act"].buckets()[-1][1] == 1


def test_what_is_logged_is_measured_too(bench, latencies):
    bench.start(make_subscription("audit"))

    bench.send(message(NOW - 1_000_000))

    assert waited(latencies, "audit") == (1, 1.0)


@pytest.mark.parametrize("sent", [None, True, -5, 0, 10**16, 1, "", "x", "١" * 16, "1.5", "9" * 5000])
def test_a_header_that_is_no_moment_is_ignored(bench, latencies, sent):
    bench.start(make_subscription("act", RUN))

    bench.send(message(sent))

    assert waited(latencies) == (0, 0)
    assert latencies.begun_to_recorded["act"].buckets()[-1][1] == 1


def test_a_retry_is_measured_only_from_its_call(bench, latencies):
    bench.handler = lambda delivery: Report("exit:1", "no") if delivery.attempt == 1 else Report()
    bench.start(make_subscription("act", RUN))

    bench.send(message(NOW - 1_000_000))
    bench.broker.advance(10 * SECOND)

    assert waited(latencies) == (1, 1.0)
    assert latencies.begun_to_recorded["act"].buckets()[-1][1] == 2


def test_a_header_from_the_future_counts_as_skew(bench, latencies):
    bench.start(make_subscription("act", RUN))

    bench.send(message(NOW + 60_000_000))

    assert waited(latencies) == (1, 0)
    assert latencies.published_to_begun["act"].negative == 1


def test_the_oldest_is_the_one_that_was_sent_first_and_what_came_back_does_not_count(bench):
    bench.start(make_subscription("act", RUN))
    bench.pool.held = "waiting"
    old = make_event()

    bench.send(message(NOW - 5_000_000))
    bench.send(message(NOW - 9_000_000))
    headers = {"subscription": "act", "topic": old.topic, "attempt": 2, PUBLISHED_AT: str(NOW - 99_000_000)}
    bench.send(Message(RETURN, old.topic, old.to_json(), old.id, headers=headers))

    assert oldest(bench.engine.in_flight) == {"act": (START - 9 * SECOND).timestamp()}
    bench.pool.release()
    bench.broker.run()
    assert oldest(bench.engine.in_flight) == {}


def test_a_subscription_that_is_removed_is_forgotten_and_a_changed_one_keeps_its_counts(bench, latencies):
    bench.start(make_subscription("act", RUN), make_subscription("other", RUN))
    bench.send(message(NOW))
    counts = bench.engine.counts["act"]

    bench.engine.reload(Subscriptions(subscriptions=(make_subscription("act", ["/bin/false"]),)))
    latencies.keep(bench.engine.counts)

    assert bench.engine.counts["act"] is counts
    assert counts.done == 1
    assert latencies.begun_to_recorded.keys() == {"act"}
