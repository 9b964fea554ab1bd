"""`stop_after`: a subscription that fails too often stops, says so, and goes on when a person lets it."""

from datetime import timedelta

import pytest

from consumers.deliveries import Report
from consumers.delivery.gates.limits.stop_reports import StopReports
from consumers.policies.guards import Guard, StopAfter
from consumers.policies.retry import RetryPolicy
from consumers.store.limits import stops
from router.broker.interface import Settlement
from router.settings.models import Settings
from router.settings.sections.router_section import RouterSettings
from tests.engines import events, outcomes, subscription

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ONCE = RetryPolicy(attempts=1)


class Failing:
    """A handler that fails until it is *repaired*."""

    def __init__(self, bench):
        self.repaired = False
        bench.handler = lambda _delivery: Report() if self.repaired else Report("exit:1", "exit code 1")


def stopping(retry=ONCE, **fields):
    return subscription(guard=Guard(stop_after=StopAfter(**{"failures": 3, "within": HOUR, **fields})), retry=retry)


def published(bench, name):
    return [each for each in bench.broker.published if each.type == f"clusterbus.{name}"]


def resumed(bench):
    with bench.store.writing() as transaction:
        return stops.resume(transaction, "tell", "anna", "repaired", bench.clock())


def test_a_number_is_that_of_the_failures():
    assert Guard(stop_after=5).stop_after == StopAfter(failures=5, within=HOUR)


def test_after_so_many_failures_nothing_is_called_until_a_person_lets_it_go_on(bench):
    failing = Failing(bench)
    bench.start(stopping())
    bench.publish(*events(5))
    bench.broker.advance(MINUTE)
    assert len(bench.calls) == 3
    assert outcomes(bench) == ["dead"] * 3 + ["wait"] * 2
    assert bench.rows()[-1].reason == (
        "stopped on 2026-11-20 12:00:00 UTC: 3 failures within 1h, the last: exit code 1"
        "; to go on: clusterbus subscriptions resume tell"
    )
    failing.repaired = True
    assert resumed(bench)
    bench.broker.advance(MINUTE)

    assert outcomes(bench) == ["dead"] * 3 + ["done"] * 2
    assert not resumed(bench)


def test_a_stop_and_its_end_are_told_once_as_events(bench):
    Failing(bench)
    bench.start(stopping())
    bench.publish(*events(5))
    bench.broker.advance(MINUTE)
    resumed(bench)
    bench.broker.advance(MINUTE)

    (stopped,), (gone_on,) = published(bench, "actionStopped"), published(bench, "actionResumed")
    assert b'"subscription":"tell"' in stopped.body
    assert b"3 failures within 1h, the last: exit code 1" in stopped.body
    assert b'"by":"anna","reason":"repaired"' in gone_on.body
    assert stopped.id != gone_on.id


def test_a_stop_is_told_in_the_content_mode_of_the_settings(bench):
    Failing(bench)
    bench.settings = Settings(router=RouterSettings(wire="binary"))
    bench.start(stopping())
    bench.publish(*events(3))
    bench.broker.advance(MINUTE)

    (stopped,) = published(bench, "actionStopped")
    assert stopped.content_type == "application/json"
    assert stopped.headers["ce-type"] == "clusterbus.actionStopped"


def test_a_report_that_the_broker_did_not_take_is_published_again_with_its_id(bench, monkeypatch):
    Failing(bench)
    bench.start(stopping())
    bench.publish(*events(3))
    settled = StopReports._settled
    with monkeypatch.context() as patched:
        refused = lambda self, stop_id, column, _: settled(self, stop_id, column, Settlement.REFUSED)  # noqa: E731
        patched.setattr(StopReports, "_settled", refused)
        bench.broker.advance(11 * SECOND)
    bench.broker.advance(MINUTE)

    ids = [each.id for each in published(bench, "actionStopped")]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_the_rest_is_skipped_where_the_file_says_so_and_retries_wait(bench):
    Failing(bench)
    bench.start(stopping(RetryPolicy(attempts=2, first=5 * SECOND), failures=1, rest="skip"))
    bench.publish(*events(3))
    bench.broker.advance(MINUTE)

    assert len(bench.calls) == 1
    assert sorted(outcomes(bench)) == ["retry", "stopped", "stopped", "wait"]


def test_failures_count_as_long_as_the_time_says_and_not_from_before_it_went_on(bench):
    Failing(bench)
    bench.start(stopping(within=10 * MINUTE))
    for _ in range(6):
        bench.publish(*events(1))
        bench.broker.advance(6 * MINUTE)
    assert outcomes(bench) == ["dead"] * 6
    bench.publish(*events(4))
    resumed(bench)
    bench.broker.advance(MINUTE)
    bench.publish(*events(3))

    assert outcomes(bench).count("dead") == 6 + 2 + 3
    assert outcomes(bench).count("wait") == 2


def test_what_is_handed_to_threads_and_has_not_begun_waits_too(bench):
    Failing(bench)
    bench.start(stopping(failures=1))
    bench.pool.held = True
    bench.publish(*events(5))
    first = bench.pool.waiting.pop(0)
    first.run()
    bench.broker.run()
    bench.pool.release()
    bench.broker.run()

    assert len(bench.calls) == 1
    assert sorted(outcomes(bench)) == ["dead", "wait", "wait", "wait", "wait"]


@pytest.mark.parametrize("again", [None, SECOND])
def test_a_job_that_runs_goes_on_and_its_failure_counts_once(bench, again):
    answers = iter([Report(again=SECOND, result={"job": "j"}), Report("exit:1", "exit code 1")])
    bench.handler = lambda _delivery: next(answers, Report())
    bench.start(stopping(failures=1))
    bench.publish(*events(1))
    with bench.store.writing() as transaction:
        assert stops.failed(transaction, "tell", bench.clock() - HOUR) == 0
    bench.broker.advance(MINUTE)

    with bench.store.reading() as transaction:
        assert stops.failed(transaction, "tell", bench.clock() - HOUR) == 1
        assert stops.latest(transaction, "tell").resumed is None
