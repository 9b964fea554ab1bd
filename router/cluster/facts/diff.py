"""The differences between two contents of a part, value by value.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .parts import Content

_NAMES = ("name", "full_name")


class Difference(NamedTuple):
    """One value that changed from *before* to *after*; None stands for no value."""

    place: str
    before: Any
    after: Any


def differences(before: Content | None, after: Content | None) -> list[Difference]:
    """Return the differences, sorted by place; an entry that has a name appears under that name.

    >>> differences({"nodes": {"3": {"name": "nsd03", "state": "active"}}}, {"nodes": {"3": {"name": "nsd03"}}})
    [Difference(place='nodes.nsd03.state', before='active', after=None)]
    """
    old, new = dict(_values(before or {}, "")), dict(_values(after or {}, ""))
    places = sorted({*old, *new})
    return [Difference(each, old.get(each), new.get(each)) for each in places if old.get(each) != new.get(each)]


def _values(value: object, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _values(each, _below(place, _label(each, str(name))))
    elif (
        isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(each, Mapping) for each in value)
    ):
        for at, each in enumerate(value):
            yield from _values(each, _below(place, _label(each, str(at))))
    else:
        yield place, list(value) if isinstance(value, tuple) else value


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _label(value: object, name: str) -> str:
    own = next((value[each] for each in _NAMES if value.get(each)), name) if isinstance(value, Mapping) else name
    return str(own)
