"""What makes events belong together: the values that they have at named places, such as `data.fsName` or `node`."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated

from pydantic import AfterValidator

from router.events import Event

from .errors import did_you_mean
from .fields import Listed

_LONGEST = 200
_PLACE = re.compile(r"data\.[A-Za-z_]\w*|[a-z]+")
_ATTRIBUTES = frozenset(Event.model_fields) - {"data", "id", "specversion"}


def _places(places: tuple[str, ...]) -> tuple[str, ...]:
    for each in places:
        if not _PLACE.fullmatch(each) or not (each.startswith("data.") or each in _ATTRIBUTES):
            known = did_you_mean(each, _ATTRIBUTES) or "; write data.NAME for a variable, or an attribute such as node"
            raise ValueError(f"{each!r} is no place in an event{known}")
    return places


Places = Annotated[Listed, AfterValidator(_places)]
"""Places in an event; none of them: all events belong together."""


def variables(places: tuple[str, ...]) -> list[str]:
    """Return the variables among *places*.

    >>> variables(("data.fsName", "node"))
    ['fsName']
    """
    return [each.removeprefix("data.") for each in places if each.startswith("data.")]


def key_of(event: Event, places: tuple[str, ...]) -> str:
    """Return what events that belong together by *places* have in common; what is absent counts as null.

    It is short, however long the values are: a database refuses long keys.
    """
    values = [
        event.data.get(each.removeprefix("data.")) if each.startswith("data.") else getattr(event, each)
        for each in places
    ]
    key = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    if len(key) <= _LONGEST:
        return key
    return f"{key[:_LONGEST]}...{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"
