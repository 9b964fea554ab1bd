"""Moments, times and sizes as people write them.  Pure: the time zone is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_THOUSAND: Final = 1024
_MANY: Final = 100


def span(time: timedelta) -> str:
    """Return *time* in its two largest units.

    >>> span(timedelta(hours=2, minutes=5, seconds=9)), span(timedelta(days=3)), span(timedelta(seconds=0.4))
    ('2 h 5 min', '3 d', '0 s')
    """
    rest, parts = max(0, round(time.total_seconds())), list[str]()
    for at, (unit, seconds) in enumerate(_UNITS):
        whole, rest = divmod(rest, seconds)
        if whole:
            parts.append(f"{whole} {unit}")
            if at + 1 < len(_UNITS) and (more := rest // _UNITS[at + 1][1]):
                parts.append(f"{more} {_UNITS[at + 1][0]}")
            break
    return " ".join(parts) or "0 s"


def moment(text: str, zone: tzinfo) -> str:
    """Return the moment *text*, as events write it, in *zone*; a text that is no moment is returned as it is.

    >>> from zoneinfo import ZoneInfo
    >>> moment("2026-11-20T15:22:07.980656123Z", ZoneInfo("Europe/Berlin")), moment("soon", UTC)
    ('2026-11-20 16:22 CET', 'soon')
    """
    found = parsed(text)
    return f"{found.astimezone(zone):%Y-%m-%d %H:%M %Z}" if found else text


def parsed(text: object) -> datetime | None:
    """Return the moment that *text* says, aware; None where it says none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def size(number: float, unit: str = "B") -> str:
    """Return *number* of *unit* (`B`, `KiB`, ...) in the unit that people would choose.  Raises ValueError.

    >>> size(1048576, "KiB"), size(1536), size(0), size(123456789)
    ('1 GiB', '1.5 KiB', '0 B', '118 MiB')
    """
    if unit not in _SIZES:
        raise ValueError(f"size: unknown unit {unit!r}: use one of {', '.join(_SIZES)}")
    at, rest = _SIZES.index(unit), float(number)
    while abs(rest) >= _THOUSAND and at + 1 < len(_SIZES):
        at, rest = at + 1, rest / _THOUSAND
    if not rest:
        return "0 B"
    return f"{rest:.0f} {_SIZES[at]}" if abs(rest) >= _MANY else f"{rest:.3g} {_SIZES[at]}"
