"""The keywords of a callback, in all spellings of the ArcaPix API.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.cluster.fleet.errors import InvalidNodeSet
from router.cluster.gpfs.node_lists import node_list

from .errors import Invalid, UnknownKeyword

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "identifier": ("callbackId", "callback_id", "id", "name", "identifier"),
    "command": ("command", "script", "function", "handler"),
    "events": ("event", "events"),
    "nodes": ("node", "nodes"),
    "parms": ("parms", "parm", "params", "param", "parameters"),
    "priority": ("priority",),
    "sync": ("sync",),
    "timeout": ("timeout",),
    "onerror": ("onerror", "onError", "on_error"),
    "accept": ("accept",),
    "force": ("force",),
}
CHANGEABLE = ("nodes", "events", "parms", "sync", "timeout", "onerror", "priority", "accept", "force")
MEMBERS = ("events", "nodes", "accept", "force")

_FIELDS = {spelling.lower(): field for field, spellings in SPELLINGS.items() for spelling in spellings}
_LISTS = ("events", "nodes", "parms", "accept")


def given(keywords: Mapping[str, Any], fields: Iterable[str] = SPELLINGS) -> dict[str, Any]:
    """Return *keywords* by field, with a tuple for each field that may have several values; only *fields* are allowed.

    Raises UnknownKeyword, and Invalid if a keyword is given in two spellings.

    >>> given({"parm": "%eventNode", "onError": "continue"})
    {'parms': ('%eventNode',), 'onerror': 'continue'}
    """
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    allowed = tuple(fields)
    for name, value in keywords.items():
        field = _FIELDS.get(name.lower())
        if field not in allowed:
            raise UnknownKeyword(name, [SPELLINGS[each][0] for each in allowed])
        if field in found:
            raise Invalid(str(found.get("identifier", "")), [f"{spelled[field]} and {name} are the same: remove one"])
        spelled[field] = name
        found[field] = _several(field, value)
    return found


def _several(field: str, value: Any) -> Any:  # noqa: ANN401 - any value; checked later
    if field not in _LISTS:
        return value
    words = listed(value)
    if field == "parms":
        return words
    if field == "nodes":
        return _nodes(words)
    # As in mmaddcallback: "mount,unmount".
    return tuple(part for each in words for part in (each.split(",") if isinstance(each, str) else (each,)) if part)


def _nodes(words: Iterable[Any]) -> tuple[Any, ...]:
    """Return the nodes that *words* name, with node sets expanded; what is none stays, for the checks to refuse."""
    found: list[Any] = []
    for each in words:
        try:
            found += node_list([each]) if isinstance(each, str) else [each]
        except InvalidNodeSet:
            found.append(each)
    return tuple(dict.fromkeys(found)) if all(isinstance(each, str) for each in found) else tuple(found)


def listed(value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any value; checked later
    """Return one, several or no values as a tuple; a `Node` becomes its name."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return (_named(value),)
    return tuple(_named(each) for each in value)


def _named(value: Any) -> Any:  # noqa: ANN401 - as above
    name = getattr(value, "node_name", None)
    return name if isinstance(name, str) else value
