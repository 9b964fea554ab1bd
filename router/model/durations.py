"""Durations as people write them: `30s`, `1m30s`, `7d`.  A unit is required.  Only text and timedelta."""

import re
from datetime import timedelta

_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
_NUMBER, _UNIT = r"[0-9]{1,9}(?:\.[0-9]{1,6})?", "ms|[dhms]"
_PART = re.compile(f"({_NUMBER})({_UNIT})")
PATTERN = f"(?:{_NUMBER}(?:{_UNIT}))+"
"""The texts that `parse` reads, as a regular expression for JSON Schemas."""

_PACE = re.compile(r"([1-9]\d{0,5})/([smh])")
_HOW = "write a number and a unit (ms, s, m, h, d), such as 30s or 1h30m"


def parse(text: str) -> timedelta:
    """Return the duration that *text* says.  Raises ValueError, which says what to write instead.

    >>> parse("1m30s"), parse("200ms")
    (datetime.timedelta(seconds=90), datetime.timedelta(microseconds=200000))
    >>> parse("90")
    Traceback (most recent call last):
    ValueError: '90' is not a duration: write a number and a unit (ms, s, m, h, d), such as 30s or 1h30m
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: {_HOW}")
    units = _UNITS | {"ms": timedelta(milliseconds=1)}
    try:
        return sum((float(number) * units[unit] for number, unit in parts), timedelta())
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long: a duration has at most 999999999 days") from error


def text(duration: timedelta) -> str:
    """Return *duration* in the form that `parse` reads.

    >>> text(timedelta(seconds=90)), text(timedelta(hours=6)), text(timedelta(milliseconds=1500))
    ('1m30s', '6h', '1.5s')
    """
    rest, written = duration, []
    for unit in ("d", "h", "m"):
        whole, rest = divmod(rest, _UNITS[unit])
        if whole:
            written.append(f"{whole}{unit}")
    if rest or not written:
        written.append(f"{rest.total_seconds():g}s")
    return "".join(written)


def rough(seconds: int) -> str:
    """Return how long *seconds* are for people: in whole minutes from one minute on.

    >>> rough(59), rough(3725)
    ('59s', '1h2m')
    """
    return text(timedelta(seconds=seconds // 60 * 60 or seconds))


def pace(text: str) -> timedelta:
    """Return the time between two things at the rate *text*; raises ValueError.

    >>> pace("10/s"), pace("6/m")
    (datetime.timedelta(microseconds=100000), datetime.timedelta(seconds=10))
    """
    found = _PACE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a rate: write 10/s, 60/m or 5/h")
    return _UNITS[found[2]] / int(found[1])
