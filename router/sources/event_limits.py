"""Keeps the values of an event within the bounds of `model.bounds`, and names those that were cut.  Pure.

Where all together are too large, the largest are cut, to one size: a node that sends one endless text keeps its others.
"""

from bisect import bisect_right
from collections.abc import Iterable

from pydantic_core import to_json

from ..model.bounds import EVENT, ITEMS, VARIABLES
from ..model.events import Value
from .arguments import ARGUMENTS, Decoded

_ATTRIBUTES = 192 * 2**10
"""Octets for all but the data: `malformed` with a thousand names, a subject of control characters, the rest."""

_OF_NAME = 4
"""Octets around a name in JSON."""

_LONGEST_SCALAR = 400
"""Octets of a number, true, false or null as JSON."""

_DEAREST = 6
"""Octets of a character as JSON, at most."""


def limited(decoded: Decoded) -> Decoded:
    """Return *decoded* with no more than an event may have; `malformed` names what was cut.

    Variables that were left out have no place there: `arguments` stands for them.
    """
    data, cut = dict(decoded.data), []
    if len(data) > VARIABLES:
        data = {name: data[name] for name in [*data][:VARIABLES]}
        cut.append(ARGUMENTS)
    for name, value in data.items():
        if isinstance(value, list) and len(value) > ITEMS:
            data[name] = value[:ITEMS]
            cut.append(name)
    cut += _fit(data, EVENT - _ATTRIBUTES)
    if not cut:
        return decoded
    named = [each for each in decoded.malformed if each in data or each == ARGUMENTS]
    return Decoded(data, tuple(dict.fromkeys((*named, *cut))))


def _fit(data: dict[str, Value], room: int) -> list[str]:
    """Cut values of *data* so that it fits *room*, and return their names."""
    if sum(map(_at_most, data.values())) + sum(len(name) + _OF_NAME for name in data) <= room:
        return []
    sizes = {name: len(to_json(value)) for name, value in data.items()}
    share = _share(sizes.values(), room - sum(len(name) + _OF_NAME for name in data))
    cut = [name for name, size in sizes.items() if size > share]
    for name in cut:
        data[name] = _cut(data[name], share)
    return cut


def _at_most(value: Value) -> int:
    """Return what *value* takes as JSON at most; quick."""
    if isinstance(value, str):
        return _DEAREST * len(value) + 2
    if isinstance(value, list):
        return sum(_DEAREST * len(each) + 3 for each in value) + 2
    return _LONGEST_SCALAR


def _share(sizes: Iterable[int], room: int) -> int:
    """Return the size to which the largest of *sizes* have to be cut for all to fit *room*."""
    rising = sorted(sizes)
    for number, size in enumerate(rising):
        if size * (len(rising) - number) > room:
            return room // (len(rising) - number)
        room -= size
    return rising[-1]


def _cut(value: Value, room: int) -> Value:
    if isinstance(value, str):
        return value[: _longest(value, room)]
    if isinstance(value, list):
        return value[: _longest(value, room)]
    return None


def _longest(value: str | list[str], room: int) -> int:
    """Return how many characters or items of *value* fit *room* octets of JSON."""
    return bisect_right(range(len(value) + 1), room, key=lambda length: len(to_json(value[:length]))) - 1
