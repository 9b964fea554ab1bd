"""Times as people write them: each is read in its zone, also where clocks are changed, and shown in full."""

import contextlib
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import time_zones
from router.model.moments import read, shown

BERLIN = time_zones.named("Europe/Berlin")
NOON = datetime(2026, 11, 20, 12, tzinfo=BERLIN)
"""A Friday."""

ZONES = st.sampled_from(
    ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "-03:30"]
)
MOMENTS = st.integers(800_000_000, 2_000_000_000).map(lambda each: datetime.fromtimestamp(each, UTC))
CLOCKS = st.times().map(lambda each: each.replace(second=0, microsecond=0))


def until(text, now=NOON, zone=BERLIN):
    return read(text, now, zone, ahead=True)


def since(text, now=NOON, zone=BERLIN):
    return read(text, now, zone, ahead=False)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("18:00", "2026-11-20T18:00:00+01:00"),
        ("6:05", "2026-11-21T06:05:00+01:00"),
        ("12:00", "2026-11-21T12:00:00+01:00"),
        ("18:00 UTC", "2026-11-20T18:00:00+00:00"),
        ("18:00Z", "2026-11-20T18:00:00+00:00"),
        ("18:00 America/New_York", "2026-11-20T18:00:00-05:00"),
        ("18:00-05:00", "2026-11-20T18:00:00-05:00"),
        ("tomorrow 06:00", "2026-11-21T06:00:00+01:00"),
        ("Tomorrow at 6:00", "2026-11-21T06:00:00+01:00"),
        ("tomorrow", "2026-11-21T00:00:00+01:00"),
        ("today 23:59:30", "2026-11-20T23:59:30+01:00"),
        ("monday 07:00", "2026-11-23T07:00:00+01:00"),
        ("Mon 07:00", "2026-11-23T07:00:00+01:00"),
        ("friday 13:00", "2026-11-20T13:00:00+01:00"),
        ("friday 11:00", "2026-11-27T11:00:00+01:00"),
        ("friday", "2026-11-27T00:00:00+01:00"),
        ("2h", "2026-11-20T14:00:00+01:00"),
        ("90m", "2026-11-20T13:30:00+01:00"),
        ("in 90 minutes", "2026-11-20T13:30:00+01:00"),
        ("1 day 2 hours", "2026-11-21T14:00:00+01:00"),
        ("2 weeks", "2026-12-04T12:00:00+01:00"),
        ("1w", "2026-11-27T12:00:00+01:00"),
        ("2026-11-20", "2026-11-20T00:00:00+01:00"),
        ("2026-12-01", "2026-12-01T00:00:00+01:00"),
        ("2026-12-01 18:00", "2026-12-01T18:00:00+01:00"),
        ("2026-12-01T18:00:00Z", "2026-12-01T18:00:00+00:00"),
        ("2026-07-01T18:00", "2026-07-01T18:00:00+02:00"),
        ("2026-12-01 18:00 Europe/London", "2026-12-01T18:00:00+00:00"),
        ("20261201T1800", "2026-12-01T18:00:00+01:00"),
        ("now", "2026-11-20T12:00:00+01:00"),
    ],
)
def test_a_time_to_come_is_read_as_people_mean_it(text, moment):
    assert until(text).moment.isoformat() == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("18:00", "2026-11-19T18:00:00+01:00"),
        ("06:00", "2026-11-20T06:00:00+01:00"),
        ("12:00", "2026-11-20T12:00:00+01:00"),
        ("2h", "2026-11-20T10:00:00+01:00"),
        ("2h ago", "2026-11-20T10:00:00+01:00"),
        ("yesterday 18:00", "2026-11-19T18:00:00+01:00"),
        ("monday 07:00", "2026-11-16T07:00:00+01:00"),
        ("friday 13:00", "2026-11-13T13:00:00+01:00"),
        ("friday", "2026-11-20T00:00:00+01:00"),
        ("3 days", "2026-11-17T12:00:00+01:00"),
    ],
)
def test_a_time_in_the_past_is_read_as_people_mean_it(text, moment):
    assert since(text).moment.isoformat() == moment


@pytest.mark.parametrize(
    ("reading", "note"),
    [
        (until("06:00"), "06:00 has passed: taken as tomorrow"),
        (since("18:00"), "18:00 is still to come: taken as yesterday"),
        (until("friday 11:00"), "friday 11:00 has passed: taken as Friday 2026-11-27"),
        (until("18:00"), ""),
        (since("06:00"), ""),
        (until("monday 07:00"), ""),
    ],
)
def test_the_note_says_which_day_was_assumed(reading, note):
    assert reading.note == note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not a time: write a duration, such as 2h, or a time, such as 18:00"),
        ("soon", "'soon' is not a time"),
        ("25:00", "'25:00' has no valid clock time"),
        ("2026-13-01", "'2026-13-01' has no valid date"),
        ("18:00 Europe/Berln", "there is no time zone 'Europe/Berln'; did you mean Europe/Berlin"),
        ("18:00 europe/berlin", "did you mean Europe/Berlin"),
        ("18:00 ../../etc/passwd", "is not a time"),
        ("18", "'18' is not a time"),
        ("2", "'2' is not a time"),
        ("999999999d", "is too far away"),
        ("0001-01-01T00:00:00+14:00", "is too far away"),
        ("1969-12-31T00:00:00Z", "is too far away: a time must be in the years 1970 to 8999"),
        ("9999-12-31T23:59:59Z", "is too far away: a time must be in the years 1970 to 8999"),
        ("x" * 10_000, "is not a time"),
        ("\u0661\u0668:\u0660\u0660", "is not a time"),
        ("-2h", "is not a time"),
    ],
)
def test_what_is_no_time_is_refused_with_what_to_write(text, said):
    with pytest.raises(ValueError, match=r"time|date|far") as refused:
        until(text)

    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_clock_time_that_is_skipped_is_as_much_later_and_one_that_occurs_twice_is_the_first_that_fits():
    spring, autumn = datetime(2026, 3, 28, 12, tzinfo=BERLIN), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    assert until("02:30", spring).moment.isoformat() == "2026-03-29T03:30:00+02:00"
    assert until("02:30", autumn - timedelta(hours=2)).moment.isoformat() == "2026-10-25T02:30:00+02:00"
    assert until("02:30", autumn).moment.isoformat() == "2026-10-25T02:30:00+01:00"
    assert since("02:30", autumn).moment.isoformat() == "2026-10-25T02:30:00+02:00"
    assert until("2026-10-25 02:30", autumn).moment.isoformat() == "2026-10-25T02:30:00+01:00"


def test_a_duration_is_exact_over_a_change_of_clocks():
    evening = datetime(2026, 3, 28, 20, tzinfo=BERLIN)

    assert until("12h", evening).moment.isoformat() == "2026-03-29T09:00:00+02:00"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "Fri 2026-11-20 12:00 CET (UTC+01:00)"),
        (NOON.replace(month=7, second=5), "Mon 2026-07-20 12:00:05 CEST (UTC+02:00)"),
        (NOON.astimezone(UTC), "Fri 2026-11-20 11:00 UTC"),
        (NOON.astimezone(time_zones.named("-03:30")), "Fri 2026-11-20 07:30 UTC-03:30"),
    ],
)
def test_a_moment_is_shown_in_full_with_its_zone(moment, text):
    assert shown(moment) == text


@given(MOMENTS, CLOCKS, ZONES)
def test_a_clock_time_is_the_nearest_one_on_its_side(now, clock, name):
    zone = time_zones.named(name)
    days = [now.astimezone(zone).date() + timedelta(days=each) for each in range(-3, 4)]
    every = sorted(
        {datetime.combine(day, clock, zone).replace(fold=fold).astimezone(UTC) for day in days for fold in (0, 1)}
    )
    really = [each for each in every if each.astimezone(zone).time() == clock]

    ahead, back = read(f"{clock:%H:%M}", now, zone, ahead=True), read(f"{clock:%H:%M} {name}", now, UTC, ahead=False)

    assert back.moment <= now < ahead.moment
    # Where clocks skip it, it is read as later; that is nearer than another day.
    assert ahead.moment <= min(each for each in really if each > now)
    assert back.moment >= max(each for each in really if each <= now)
    for each in (ahead.moment, back.moment):
        local = each.astimezone(zone)
        assert local.time() == clock or local.replace(tzinfo=None) > datetime.combine(local.date(), clock)


@given(MOMENTS, MOMENTS, ZONES, st.booleans())
def test_an_iso_time_with_its_offset_is_that_moment(now, moment, name, ahead):
    written = moment.astimezone(time_zones.named(name)).isoformat()

    assert read(written, now, BERLIN, ahead=ahead).moment == moment


@given(st.text(max_size=30), MOMENTS, st.booleans())
def test_any_text_is_read_or_refused(text, now, ahead):
    with contextlib.suppress(ValueError):
        assert read(text, now, BERLIN, ahead=ahead).moment.tzinfo


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)), st.times(), ZONES)
def test_the_first_and_the_last_days_that_are_known_are_read_or_refused(day, clock, name):
    with contextlib.suppress(ValueError):
        read(f"{day} {time(clock.hour, clock.minute)} {name}", datetime(9999, 12, 31, 23, tzinfo=UTC), UTC, ahead=True)
