"""When timers are due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from consumers.policies.schedules.timers import WrittenEvery

WRITTEN = TypeAdapter(WrittenEvery)
BERLIN, GMT = {"zone": "Europe/Berlin"}, {"zone": "UTC"}
TIMERS = ({"interval": "7m"}, {"at": ["02:30", "23:59"], **BERLIN}, {"at": "00:00", "month_days": [31], **GMT})


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_day_of_the_month_that_is_seldom_that_day_of_the_week_is_found():
    timer = WRITTEN.validate_python({"at": "00:00", "month_days": [31], "weekdays": ["monday"], "zone": "UTC"})
    moments = [datetime(2026, 1, 1, tzinfo=UTC)]
    while moments[-1] < datetime(2060, 1, 1, tzinfo=UTC):
        following = timer.next(moments[-1])
        assert following is not None
        moments.append(following)

    assert all((each.day, each.weekday()) == (31, 0) for each in moments[1:])
    assert [timer.latest(each - timedelta(seconds=1)) for each in moments[2:]] == moments[1:-1]


@pytest.mark.parametrize(
    ("every", "now", "latest", "following"),
    [
        ({"interval": "1h"}, "2026-11-20T12:30", "2026-11-20T12:00", "2026-11-20T13:00"),
        ({"interval": "1h"}, "2026-11-20T12:00", "2026-11-20T12:00", "2026-11-20T13:00"),
        ({"at": "06:00", **BERLIN}, "2026-11-20T04:59", "2026-11-19T05:00", "2026-11-20T05:00"),
        ({"at": ["06:00", "18:00"], **BERLIN}, "2026-11-20T12:00", "2026-11-20T05:00", "2026-11-20T17:00"),
        ({"at": "06:00", "weekdays": "monday", **BERLIN}, "2026-11-20T12:00", "2026-11-16T05:00", "2026-11-23T05:00"),
        (
            {"at": "06:00", "month_days": [31], **GMT},
            "2026-11-20T12:00",
            "2026-10-31T06:00",
            "2026-12-31T06:00",
        ),
        ({"at": "23:30", "zone": "+14:00"}, "2026-11-20T12:00", "2026-11-20T09:30", "2026-11-21T09:30"),
        # The clocks are set forward from 02:00 to 03:00, and back from 03:00 to 02:00.
        ({"at": "02:30", **BERLIN}, "2026-03-29T12:00", "2026-03-29T01:30", "2026-03-30T00:30"),
        ({"at": "02:30", **BERLIN}, "2026-10-25T12:00", "2026-10-25T00:30", "2026-10-26T01:30"),
    ],
)
def test_the_latest_and_the_next_moment(every, now, latest, following):
    timer = WRITTEN.validate_python(every)

    assert (timer.latest(at(now)), timer.next(at(now))) == (at(latest), at(following))


@given(
    st.sampled_from(TIMERS),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - they get one
)
def test_between_the_latest_and_the_next_moment_it_is_never_due(every, now):
    timer = WRITTEN.validate_python(every)
    latest, following = timer.latest(now), timer.next(now)

    assert latest <= now < following
    assert timer.next(latest) == following
    assert timer.latest(following) == following
    assert timer.latest(following - timedelta(microseconds=1)) == latest


@pytest.mark.parametrize(
    ("every", "said"),
    [
        ({}, "write either an interval"),
        ({"interval": "1h", "at": "06:00"}, "write either an interval"),
        ({"interval": "1h", "zone": "UTC"}, "are for `at`"),
        ("5s", "must be at least 10s"),
        ("32d", "longer than 31d"),
        ({"at": "24:00"}, "is no clock time"),
        ({"at": "06:00", "zone": "Europe/Nowhere"}, "Nowhere"),
        ({"at": "06:00", "weekdays": "mon"}, "monday"),
    ],
)
def test_what_cannot_be_meant_is_refused(every, said):
    with pytest.raises(ValidationError, match=said):
        WRITTEN.validate_python(every)


def test_it_is_said_in_words():
    assert WRITTEN.validate_python("90m").text == "every 1h30m"
    assert WRITTEN.validate_python({"at": "06:00", "weekdays": ["monday"], **BERLIN}).text == (
        "at 06:00 Europe/Berlin on monday"
    )
