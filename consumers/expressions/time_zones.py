"""The functions of CEL over a moment in a time zone, such as `timestamp(time).getHours("Europe/Berlin")`.

The library knows them without a zone only.  It calls these functions where its own do not take the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from router.model import time_zones

from ..errors import FilterError
from .cel_syntax.tree import Call, Constant, Node, walk

_PARTS: Final[Mapping[str, Callable[[datetime], int]]] = {
    "getFullYear": lambda at: at.year,
    "getMonth": lambda at: at.month - 1,
    "getDate": lambda at: at.day,
    "getDayOfMonth": lambda at: at.day - 1,
    "getDayOfWeek": lambda at: at.isoweekday() % 7,
    "getDayOfYear": lambda at: at.timetuple().tm_yday - 1,
    "getHours": lambda at: at.hour,
    "getMinutes": lambda at: at.minute,
    "getSeconds": lambda at: at.second,
    "getMilliseconds": lambda at: at.microsecond // 1000,
}
PARTS: Final = frozenset(_PARTS)
"""The functions that take a part out of a moment; all but getDate count from 0, and a week begins on Sunday."""


def zone(name: str) -> tzinfo:
    """Return the time zone *name*, such as `Europe/Berlin` or `+02:00`.  Raises FilterError."""
    try:
        return time_zones.named(name)
    except ValueError as error:
        raise FilterError(str(error)) from error


def _of_zone(part: Callable[[datetime], int]) -> Callable[..., int]:
    def found(moment: object, name: object) -> int:
        if not isinstance(moment, datetime) or not isinstance(name, str):
            raise TypeError("only a timestamp has parts in a time zone, which is given by name")
        return part(moment.astimezone(zone(name)))

    return found


def _seconds(moment: object) -> int:
    if not isinstance(moment, datetime):
        raise TypeError("int() takes a number, a text or a timestamp")
    return int(moment.timestamp() // 1)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: _of_zone(part) for name, part in _PARTS.items()},
    "int": _seconds,
}


def used(tree: Node) -> dict[str, Callable[..., Any]]:
    """Return those of FUNCTIONS that *tree* calls, by name.  Raises FilterError for a time zone that does not exist."""
    calls = [node for node, _ in walk(tree) if isinstance(node, Call)]
    zoned = [each for each in calls if each.name in PARTS and each.arguments]
    for call in zoned:
        for given in call.arguments:
            if isinstance(given, Constant) and isinstance(given.value, str):
                zone(given.value)
    return {each.name: FUNCTIONS[each.name] for each in (*zoned, *(each for each in calls if each.name == "int"))}
