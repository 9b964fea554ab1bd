"""Time zones by name, such as `Europe/Berlin`, `UTC` or `+02:00`."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from ..errors import did_you_mean

_OFFSET = re.compile(r"([+-]?)([01]?\d|2[0-3]):?([0-5]\d)\Z", re.ASCII)


def named(name: str) -> tzinfo:
    """Return the time zone *name*.  Raises ValueError, which names a similar zone.

    >>> named("-01:30").utcoffset(None)
    datetime.timedelta(days=-1, seconds=81000)
    """
    if offset := _OFFSET.match(name):
        sign, hours, minutes = offset.groups()
        ahead = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-ahead if sign == "-" else ahead)
    if name.upper() in ("Z", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        # The case of a name does not matter to people, but it does to files.
        hint = did_you_mean(name, available_timezones()) or "; zones are written as in Europe/Berlin"
        raise ValueError(f"there is no time zone {name[:100]!r}{hint}") from error
