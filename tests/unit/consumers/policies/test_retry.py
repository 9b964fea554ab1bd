"""Retry policies and the steps of the broker."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.policies.retry import LONGEST, RetryPolicy, step_for
from router.broker.topology import RETRY_STEPS

SECONDS = st.integers(1, int(LONGEST.total_seconds())).map(lambda each: timedelta(seconds=each))


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    first, longest = sorted((draw(SECONDS), draw(SECONDS)))
    return RetryPolicy(attempts=draw(st.integers(1, 100)), first=first, longest=longest, growth=draw(st.floats(1, 10)))


@given(policies())
def test_delays_never_shrink_and_stay_between_first_and_longest(policy: RetryPolicy) -> None:
    delays = [each for at in range(1, policy.attempts) if (each := policy.delay_after(at))]

    assert len(delays) == policy.attempts - 1
    assert delays == sorted(delays)
    assert all(policy.first <= each <= policy.longest for each in delays)


@given(policies())
def test_no_policy_attempts_more_often_than_it_says(policy: RetryPolicy) -> None:
    assert policy.delay_after(policy.attempts) is None
    assert policy.delay_after(policy.attempts + 1) is None
    assert len(policy.schedule()) == policy.attempts - 1


@given(SECONDS)
def test_a_delivery_never_waits_shorter_than_asked_nor_on_a_longer_step_than_needed(delay: timedelta) -> None:
    chosen = RETRY_STEPS[step_for(delay)]

    assert chosen >= delay
    assert not [each for each in RETRY_STEPS.values() if delay <= each < chosen]


def test_a_delay_past_the_last_step_waits_on_that() -> None:
    assert step_for(LONGEST + timedelta(seconds=1)) == "6h"


def test_the_policy_without_settings_goes_up_the_steps() -> None:
    assert RetryPolicy().schedule() == ("5s", "15s", "1m", "5m", "15m", "1h", "1h")


@pytest.mark.parametrize(
    ("named", "failure", "gives_up"),
    [
        ("exit:64", "exit:64", True),
        ("exit:64", "exit:6", False),
        ("exit", "exit:64", True),
        ("signal", "signal:9", True),
        ("signal:9", "signal:15", False),
        ("timeout", "timeout", True),
        ("OSError", "OSError", True),
        ("OSError", "TimeoutError", False),
    ],
)
def test_a_failure_that_no_attempt_would_mend_is_given_up_at_once(named: str, failure: str, gives_up: bool) -> None:
    policy = RetryPolicy(never_for=(named,))

    assert (policy.delay_after(1, failure) is None) == gives_up


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attempts": 0}, "greater than or equal to 1"),
        ({"attempts": 101}, "less than or equal to 100"),
        ({"attempts": True}, "valid integer"),
        ({"first": 5}, "5 is not a duration: write a number and a unit"),
        ({"first": "5"}, "'5' is not a duration: write a number and a unit"),
        ({"first": "0s"}, "longer than 0s"),
        ({"longest": "1d"}, "the broker's longest wait is 6h"),
        ({"first": "5m", "longest": "1m"}, "longest (1m) is shorter than first (5m)"),
        ({"growth": 0.5}, "greater than or equal to 1"),
        ({"growth": float("nan")}, "less than or equal to 10"),
        ({"never_for": ["exit:256"]}, "'exit:256' is not a failure"),
        ({"frist": "5s"}, "not permitted"),
    ],
)
def test_nonsense_is_refused_with_what_to_write_instead(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RetryPolicy.model_validate(fields)

    assert said in str(refused.value)
