"""Group keys: events belong together if they have the same values at named places, such as `data.fsName` or `node`."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated

from router.errors import did_you_mean
from router.model.events import Event
from router.settings.field_types import ONE_OR_SEVERAL, Checked, whole

from ..config.field_types import Words

_LONGEST = 200
_ATTRIBUTES = frozenset(Event.model_fields) - {"data", "id", "specversion"}
_PLACE = r"data\.[A-Za-z_][A-Za-z0-9_]*|" + "|".join(sorted(_ATTRIBUTES))


def _place(place: str) -> str:
    if not re.fullmatch(_PLACE, place):
        known = did_you_mean(place, _ATTRIBUTES) or "; write data.NAME for a variable, or an attribute such as node"
        raise ValueError(f"{place!r} is not an attribute or a variable of an event{known}")
    return place


def _places(places: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_place(each) for each in places)


Place = Annotated[str, Checked(_place, whole(_PLACE))]
"""A place in an event: an attribute, or `data.NAME`."""

Places = Annotated[Words, Checked(_places, {"items": {"type": "string", **whole(_PLACE)}}), ONE_OR_SEVERAL]
"""Places in an event; if empty, all events belong together."""


def place_of(name: str) -> str:
    """Return the place that has *name* without `data.`.

    >>> place_of("fsName"), place_of("node")
    ('data.fsName', 'node')
    """
    return name if name in _ATTRIBUTES else f"data.{name}"


def variables(places: tuple[str, ...]) -> list[str]:
    """Return the variables among *places*.

    >>> variables(("data.fsName", "node"))
    ['fsName']
    """
    return [each.removeprefix("data.") for each in places if each.startswith("data.")]


def key_of(event: Event, places: tuple[str, ...]) -> str:
    """Return the key that all events with the same values at *places* share; an absent value counts as null.

    The key is short even if the values are long, because databases refuse long keys.
    """
    values = [value_at(event, each) for each in places]
    key = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    if len(key) <= _LONGEST:
        return key
    return f"{key[:_LONGEST]}...{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def value_at(event: Event, place: str) -> object:
    """Return the value at *place* of *event*; an absent variable is None."""
    return event.data.get(place.removeprefix("data.")) if place.startswith("data.") else getattr(event, place)
