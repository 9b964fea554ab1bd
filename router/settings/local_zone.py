"""The time zone of this machine, with its rules for summer time."""

import os
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from ..model import time_zones

_LOCALTIME = Path("/etc/localtime")
_FOLDER = "/zoneinfo/"


def local_zone() -> tzinfo:
    """Return the zone in `TZ`, else that of /etc/localtime, else UTC."""
    if name := os.environ.get("TZ", "").removeprefix(":"):
        try:
            return time_zones.named(name)
        except ValueError:
            # Also a file or a rule of POSIX, such as CET-1CEST: those are left to the machine's own zone.
            pass
    try:
        _, _, name = str(_LOCALTIME.resolve()).partition(_FOLDER)
        if name:
            return ZoneInfo(name)
        with _LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
