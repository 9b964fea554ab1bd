"""Moments as people write them: `18:00`, `tomorrow 06:00`, `monday 07:00`, `2h`, `2026-11-20T18:00Z`.

The time zone may follow: `18:00 UTC`, `18:00+01:00`, `18:00 Europe/Berlin`; without one it is that of the machine.  A
clock time or a weekday without a date is the next one, or the latest one in the past, as the option wants.  A clock
time that occurs twice, because clocks are set back, is the first of them that fits; one that clocks skip is as much
later.  The clock is passed in.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from . import bounds, durations, time_zones

HOW = "write a duration, such as 2h, or a time, such as 18:00, tomorrow 06:00, monday 07:00 or 2026-11-20T18:00"

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_WEEK = 7
_WORDS = "|".join((*_DAYS, *_WEEKDAYS, *(each[:3] for each in _WEEKDAYS)))
_TIME = re.compile(
    rf"""(?:(?P<date>\d{{4}}-\d\d-\d\d) | (?P<day>{_WORDS})\b)?
    (?:\s*,?\s+(?:at\s+)? | T)?
    (?P<clock>\d{{1,2}}:\d\d(?::\d\d(?:\.\d{{1,9}})?)?)?
    \s*(?P<zone>Z|[+-]\d\d:?\d\d|[A-Za-z][A-Za-z0-9_+/-]*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_UNIT = re.compile(r"(?<=\d)\s*(weeks?|days?|hours?|hrs?|minutes?|mins?|seconds?|secs?)\b\s*", re.IGNORECASE)
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Reading:
    """The *moment* that a text means, in its zone; *note* says which day was assumed, if that is not obvious."""

    moment: datetime
    note: str = ""


def read(text: str, now: datetime, zone: tzinfo, *, ahead: bool) -> Reading:
    """Return what *text* means at *now*, which is aware; *zone* is used if the text has none.

    With *ahead*, a duration counts from now and a clock time is the next one; otherwise they are in the past.  A time
    with a date may be on either side.  Raises ValueError, which says what to write instead.

    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> str(read("06:00", noon, UTC, ahead=True).moment), str(read("2h ago", noon, UTC, ahead=False).moment)
    ('2026-11-21 06:00:00+00:00', '2026-11-20 10:00:00+00:00')
    """
    words = " ".join(text.split())
    try:
        found = _read(words, now, zone, ahead=ahead)
    except OverflowError as error:
        raise ValueError(f"{_shortened(text)} is too far away: {HOW}") from error
    try:
        bounds.checked(found.moment)
    except ValueError as error:
        raise ValueError(f"{_shortened(text)} is too far away: a time {error}") from error
    return found


def _read(words: str, now: datetime, zone: tzinfo, *, ahead: bool) -> Reading:
    if words.lower() == "now":
        return Reading(now.astimezone(zone))
    if duration := _duration(words, ahead=ahead):
        return Reading((now.astimezone(UTC) + duration).astimezone(zone))
    return _time(words, now.astimezone(UTC), zone, ahead=ahead)


def shown(moment: datetime) -> str:
    """Return an aware *moment* in full, with its zone.

    >>> shown(datetime(2026, 11, 20, 18, tzinfo=time_zones.named("Europe/Berlin")))
    'Fri 2026-11-20 18:00 CET (UTC+01:00)'
    """
    written = f"{moment:%a %Y-%m-%d %H:%M:%S}".removesuffix(":00")
    name, offset = moment.tzname() or "", f"{moment:%z}"
    return f"{written} {name}" if name.startswith("UTC") else f"{written} {name} (UTC{offset[:3]}:{offset[3:5]})"


def _duration(words: str, *, ahead: bool) -> timedelta | None:
    """Return the time from now that *words* say, or None if they are no duration."""
    text, backwards = words, not ahead
    if text.lower().endswith(" ago"):
        text, backwards = text[: -len(" ago")], True
    elif text.lower().startswith("in "):
        text, backwards = text[len("in ") :], False
    text = _UNIT.sub(lambda match: match[1][0].lower(), text)
    weeks = re.fullmatch(r"(\d{1,6})w(.*)", text, re.ASCII)
    if weeks:
        text = f"{int(weeks[1]) * _WEEK}d{weeks[2]}"
    try:
        duration = durations.parse(text)
    except ValueError:
        return None
    return -duration if backwards else duration


def _time(words: str, now: datetime, zone: tzinfo, *, ahead: bool) -> Reading:
    match = _TIME.fullmatch(words)
    if match is None or not any(match.group("date", "day", "clock")):
        return _iso(words, now, zone, ahead=ahead)
    own = time_zones.named(match["zone"]) if match["zone"] else zone
    clock = _clock(match["clock"], words)
    today = now.astimezone(own).date()
    days = [_date(match["date"], words)] if match["date"] else _days(match["day"], today, ahead=ahead)
    found = [(day, moment) for day in days for moment in _occurrences(day, clock, own)]
    fitting = [each for each in found if (each[1] > now if ahead else each[1] <= now)]
    day, moment = (fitting or found[-1:])[0]
    what = f"{match['day'] or ''} {match['clock'] or ''}".strip()
    return Reading(moment.astimezone(own), "" if day == days[0] else _rolled(what, day, today, ahead=ahead))


def _iso(words: str, now: datetime, zone: tzinfo, *, ahead: bool) -> Reading:
    """Read the other forms of ISO 8601, such as `20261120T1800Z`."""
    try:
        moment = datetime.fromisoformat(words)
    except ValueError as error:
        raise ValueError(f"{_shortened(words)} is not a time: {HOW}") from error
    if moment.tzinfo:
        return Reading(moment)
    found = [*_occurrences(moment.date(), moment.time(), zone)]
    fitting = [each for each in found if (each > now) is ahead]
    return Reading((fitting or found[-1:])[0].astimezone(zone))


def _clock(text: str | None, words: str) -> time:
    hours, colon, rest = (text or "00:00").partition(":")
    try:
        return time.fromisoformat(f"{hours:0>2}{colon}{rest}")
    except ValueError as error:
        raise ValueError(f"{_shortened(words)} has no valid clock time: write it as in 18:00") from error


def _date(text: str, words: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{_shortened(words)} has no valid date: write it as in 2026-11-20") from error


def _days(word: str | None, today: date, *, ahead: bool) -> Sequence[date]:
    """Return the dates that a *word* may mean, the nearest first; without a word, those of a clock time alone."""
    if word and word.lower() in _DAYS:
        return [today + timedelta(days=_DAYS[word.lower()])]
    step = timedelta(days=(_WEEK if word else 1) * (1 if ahead else -1))
    first = today
    if word:
        weekday = next(at for at, each in enumerate(_WEEKDAYS) if each.startswith(word.lower()))
        away = (weekday - today.weekday()) % _WEEK
        first += timedelta(days=away if ahead or not away else away - _WEEK)
    return [first, first + step]


def _occurrences(day: date, clock: time, zone: tzinfo) -> Iterator[datetime]:
    """Yield the moments, in UTC, at which clocks in *zone* show *clock* on *day*: usually one, two if set back."""
    wall = datetime.combine(day, clock)
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    yield first
    is_skipped = first.astimezone(zone).replace(tzinfo=None, fold=0) != wall
    if second != first and not is_skipped:
        yield second


def _rolled(what: str, day: date, today: date, *, ahead: bool) -> str:
    near = {1: "tomorrow", -1: "yesterday"}.get((day - today).days, f"{day:%A %Y-%m-%d}")
    return f"{what} {'has passed' if ahead else 'is still to come'}: taken as {near}"


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
