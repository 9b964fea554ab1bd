"""Limits that hold on a busy machine: what the tests wait with, and what pytest and hypothesis are told."""

import time

import pytest
from hypothesis import HealthCheck, settings

from tests.waiting import SLACK, wait_for


@pytest.mark.thorough
def test_what_is_waited_for_may_take_four_times_as_long_as_on_a_quiet_machine():
    began = time.monotonic()

    assert wait_for(lambda: time.monotonic() - began > 0.3, 0.1, "it takes three times as long")


@pytest.mark.thorough
def test_what_never_happens_fails_with_the_limit_that_was_waited():
    with pytest.raises(AssertionError, match=r"^not within 0.4 s: a miracle \(last seen: 0\)$"):
        wait_for(lambda: 0, 0.1, "a miracle")


def test_no_example_of_hypothesis_has_a_deadline():
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check


@pytest.mark.timeout(7)
def test_the_limit_of_a_test_is_extended_too(request):
    assert request.node.get_closest_marker("timeout").args == (7 * SLACK,)


def test_a_test_without_a_limit_of_its_own_has_the_extended_default(request):
    assert request.node.get_closest_marker("timeout").args == (float(request.config.getini("timeout")) * SLACK,)
