from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.deliveries import DeadLetter, Delivery, Done, Report, Retry, bounded, judge
from consumers.errors import Rejected
from consumers.policies.retry import RetryPolicy, attempt, decide
from tests.consuming import make_delivery, make_event

POLICY = RetryPolicy(attempts=3, first=timedelta(seconds=5), never_for=("exit:64",))
RETRY = Retry(timedelta(seconds=1), "exit code 1")
OUTCOMES = st.one_of(st.none(), st.just(Done()), st.just(RETRY), st.just(DeadLetter("no")))


@pytest.fixture
def delivery():
    return make_delivery(subscription="audit")


def raising(error):
    def handler(_delivery):
        raise error

    return handler


def test_a_handler_that_returns_a_good_report_is_done(delivery):
    outcome = attempt(delivery, lambda _: Report(result={"exit": 0}), POLICY)

    assert outcome == Done({"exit": 0})


@pytest.mark.parametrize("error", [OSError("disk on fire"), SystemExit(3), KeyboardInterrupt("no"), GeneratorExit("x")])
def test_whatever_a_handler_raises_is_an_outcome(delivery, error):
    outcome = attempt(delivery, raising(error), POLICY)

    assert outcome == Retry(timedelta(seconds=5), f"{type(error).__name__}: {error}")


def test_what_a_handler_rejects_is_dead_at_once(delivery):
    outcome = attempt(delivery, raising(Rejected("no such disk")), POLICY)

    assert outcome == DeadLetter("no such disk")


def test_the_last_attempt_is_dead_lettered(delivery):
    outcome = decide(3, Report("exit:1", "exit code 1", {"exit": 1}), POLICY)

    assert outcome == DeadLetter("exit code 1", {"exit": 1})


def test_a_failure_that_the_policy_never_retries_is_dead_lettered_at_once():
    outcome = decide(1, Report("exit:64", "exit code 64"), POLICY)

    assert outcome == DeadLetter("exit code 64")


def test_an_attempt_that_was_broken_off_has_no_outcome(delivery):
    assert attempt(delivery, lambda _: None, POLICY) is None


@given(st.integers(1, 6), st.dictionaries(st.integers(1, 6), OUTCOMES))
def test_a_handler_is_due_only_where_nothing_of_it_or_after_it_has_ended(number, recorded):
    verdict = judge(number, recorded)

    is_done = any(isinstance(each, Done) for each in recorded.values())
    is_behind = any(each > number for each in recorded)
    assert (verdict is None) == (not is_done and not is_behind and recorded.get(number) is None)


@given(st.integers(1, 6), st.dictionaries(st.integers(1, 6), OUTCOMES))
def test_a_delivery_that_is_done_is_done_in_every_copy(number, recorded):
    assert isinstance(judge(number, recorded | {3: Done()}), Done)


@given(st.text(st.characters(), max_size=5000))
def test_a_reason_always_fits_a_header(text):
    reason = bounded(text)

    assert len(reason.encode()) <= 2048
    assert "\0" not in reason


def test_no_two_attempts_have_one_mark(delivery):
    event = delivery.event
    others = [
        Delivery(event, "audit", "t", b"", attempt=2),
        Delivery(event, "audit", "t", b"", replay="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"),
        Delivery(event, "other", "t", b""),
        Delivery(make_event(), "audit", "t", b""),
    ]

    assert len({each.mark for each in [delivery, *others]}) == 5
