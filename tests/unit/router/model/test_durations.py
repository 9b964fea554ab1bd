"""Durations: what is read is what was written."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.durations import parse, text


@given(st.integers(min_value=0, max_value=10**9))
def test_a_written_duration_is_read_back_as_it_was(milliseconds: int) -> None:
    duration = timedelta(seconds=milliseconds // 1000, milliseconds=milliseconds % 1000)

    assert abs(parse(text(duration)) - duration) < timedelta(milliseconds=1)


@pytest.mark.parametrize("wrong", ["", "5", "s", "5 s", "-5s", "5S", "1h 30m", "5sec", "١s", "1e3s", "999999999d9"])
def test_a_text_without_number_and_unit_is_refused_with_what_to_write(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and a unit"):
        parse(wrong)


def test_a_duration_that_no_clock_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse("999999999d999999999d")
