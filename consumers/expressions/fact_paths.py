"""Find which facts an expression reads, so that only those are passed to it.  Pure.

A cluster has thousands of nodes, and CEL copies its input at each access: this takes 0.3 s for 5,000 nodes, and 70 s to
iterate over them.  So `facts.nodes[node].quorum` receives one value of one node.  An expression that needs all nodes is
refused, and the rest is limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, cast

from router.cluster.facts.models import DiskFacts, Facts, FilesetFacts, FileSystemFacts, NodeFacts, QuorumFacts
from router.cluster.facts.views import Named
from router.errors import did_you_mean
from router.model.events import Event

FACTS: Final = "facts"

MOST = 300
"""Most items of one kind, such as disks or filesets, that an expression receives."""

MOST_LOOKS = 100_000
"""Most values passed in one evaluation, counted again for each access; measured to take 0.1 s."""

_MANY = frozenset(("nodes", "names"))


@dataclass(frozen=True, slots=True)
class Place:
    """A key that is read from the event at *words*: `node`, or `data` and a variable; of a list, each item is a key."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnyKey:
    """Any key; with *names_only* only the keys are read, not their values."""

    names_only: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """The steps to a fact: a fixed key, a place or another path that supplies the key, or any key."""

    steps: tuple[str | Place | AnyKey | Path, ...]


def bound(looks: Sequence[tuple[str, int]], given: Mapping[str, Any], event: Event) -> None:
    """Raise TooMany if passing the *given* facts for *event* at each of *looks* takes too long."""
    sizes = {name: _size(each) for name, each in given.items()}
    longest = max(
        1, *(each for _, each in sizes.values()), *(len(each) for each in event.data.values() if isinstance(each, list))
    )
    whole = sum(size for size, _ in sizes.values())
    values = sum((sizes[name][0] if name in sizes else whole) * longest**depth for name, depth in looks)
    if values > MOST_LOOKS:
        raise TooMany(f"it reads up to {values} values of facts, and the limit is {MOST_LOOKS}: read facts by name")


def _size(value: object) -> tuple[int, int]:
    """Return the number of values in *value*, and the length of its longest group."""
    if not isinstance(value, (dict, list, tuple)):
        return 1, 0
    below = [_size(each) for each in (value.values() if isinstance(value, dict) else value)]
    return max(1, sum(each for each, _ in below)), max(len(value), *(each for _, each in below), 0)


class TooMany(Exception):
    """An expression would read more facts than it can in time."""


def too_wide(path: Path) -> str:
    """Return an error message if *path* would read all nodes, else an empty text.

    >>> too_wide(Path(("nodes", AnyKey())))
    'read facts.nodes by name, as in facts.nodes[node]: iterating over thousands takes minutes'
    """
    first, second = (*path.steps, None, None)[:2]
    if first is None or (not isinstance(first, str) and first != AnyKey(names_only=True)):
        return "read facts by name, as in facts.quorum.reached"
    if first in _MANY and (second is None or second == AnyKey()):
        return f"read {FACTS}.{first} by name, as in {FACTS}.{first}[node]: iterating over thousands takes minutes"
    return next((wrong for each in path.steps if isinstance(each, Path) and (wrong := too_wide(each))), "")


def narrowed(paths: Sequence[Path], facts: Mapping[str, Any], event: Event) -> Mapping[str, Any]:
    """Return the part of *facts* that *paths* read for *event*; nodes have the names that the event uses."""
    found: dict[str, Any] = {}
    for path in paths:
        if not path.steps:
            return facts
        _take(found, facts, path.steps, facts, event)
    return found


def _take(into: dict[str, Any], value: Mapping[str, Any], steps: Sequence[Any], facts: Any, event: Event) -> None:  # noqa: ANN401 - plain values
    step, rest = steps[0], steps[1:]
    if isinstance(step, AnyKey) and step.names_only:
        for name in value:
            into.setdefault(name, None)
        return
    if isinstance(step, AnyKey) and len(value) > MOST:
        raise TooMany(f"it reads {len(value)} facts at once, and the limit is {MOST}: read facts by name")
    for name in _keys(step, value, facts, event):
        below = _found(value, name)
        if below is None and name not in value:
            continue
        there = into.get(name)
        if not (rest and isinstance(below, Mapping)):
            into[name] = below
        elif there is not below:
            # A partial copy, to which later paths add.
            partial = into[name] = there if isinstance(there, dict) else {}
            _take(partial, below, rest, facts, event)


def _found(value: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - plain values
    return value.find(name) if isinstance(value, Named) else value.get(name)


def _keys(step: object, value: Mapping[str, Any], facts: Any, event: Event) -> Iterator[str]:  # noqa: ANN401 - plain values
    match step:
        case str():
            yield step
        case Place(("data", name)):
            yield from texts(event.data.get(name))
        case Place((name,)):
            yield from texts(getattr(event, name))
        case Path(steps):
            reached = facts
            for each in steps:
                key = next(_keys(each, reached, facts, event), None) if isinstance(reached, Mapping) else None
                reached = None if key is None else _found(reached, key)
            yield from texts(reached)
        case _:
            yield from value


def texts(value: object) -> Iterator[str]:
    """Yield the texts that *value* is or lists."""
    yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))


def nulled(path: Path, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *facts* in which what *path* leads to is null; where a key is not fixed or not there, that of every key.

    >>> nulled(Path(("nodes", AnyKey(), "state")), {"nodes": {"n1": {"name": "n1", "state": "active"}}})
    {'nodes': {'n1': {'name': 'n1', 'state': None}}}
    """
    return _nulled(facts, path.steps)


def _nulled(value: Mapping[str, Any], steps: Sequence[Any]) -> Mapping[str, Any]:
    # A copy is of the same class, and so it finds nodes by any spelling, too.
    changed = cast("dict[str, Any]", copy(value))
    for name in (steps[0],) if isinstance(steps[0], str) and steps[0] in value else value:
        below = value[name]
        changed[name] = _nulled(below, steps[1:]) if steps[1:] and isinstance(below, Mapping) else None
    return changed


def longest(paths: Sequence[Path]) -> list[Path]:
    """Return *paths* without those that another of them continues."""
    return [each for each in paths if not any(each != to and to.steps[: len(each.steps)] == each.steps for to in paths)]


def written(path: Path) -> str:
    """Return *path* as it is written, with `[...]` for keys that are not fixed.

    >>> written(Path(("nodes", AnyKey(), "state")))
    'facts.nodes[...].state'
    """
    names = (each if isinstance(each, str) else "" for each in path.steps)
    return FACTS + "".join(
        (f".{each}" if each.isidentifier() else f"[{each!r}]") if each else "[...]" for each in names
    )


_DISKS, _FILESETS = {"*": dict.fromkeys(DiskFacts.model_fields)}, {"*": dict.fromkeys(FilesetFacts.model_fields)}
_TREE: Mapping[str, Any] = {
    **dict.fromkeys(name for name in Facts.model_fields if name != "limit"),
    **dict.fromkeys(("age", "stale", "taken_at")),
    "nodes": {"*": dict.fromkeys(NodeFacts.model_fields)},
    "quorum": dict.fromkeys(QuorumFacts.model_fields),
    "file_systems": {"*": {**dict.fromkeys(FileSystemFacts.model_fields), "disks": _DISKS, "filesets": _FILESETS}},
    "parts": {"*": dict.fromkeys(("age", "stale", "reason"))},
}
"""The names of all facts; `*` is any name."""


def is_list(path: Path) -> bool:
    """Return whether *path* leads to a list of names, each of which can be a key in turn."""
    return path.steps[-1:] in {("down",), ("roles",)} or path.steps[:-1] == ("node_classes",)


def mistake(path: Path) -> str:
    """Return an error message if *path* has an unknown name, else an empty text.

    >>> mistake(Path(("quorum", "reachd")))
    'there is no facts.quorum.reachd; did you mean reached?'
    """
    tree: Any = _TREE
    path_text = FACTS
    for step in path.steps:
        if isinstance(step, Path) and (wrong := mistake(step)):
            return wrong
        if not isinstance(tree, Mapping):
            return ""
        if "*" in tree:
            tree, path_text = tree["*"], f"{path_text}[...]"
        elif not isinstance(step, str):
            return ""
        elif step not in tree:
            near = did_you_mean(step, tree) or f"; known names are {', '.join(sorted(tree))}"
            return f"there is no {path_text}.{step}{near}"
        else:
            tree, path_text = tree[step], f"{path_text}.{step}"
    return ""


def names() -> list[str]:
    """Return the names of all facts, without those below them."""
    return sorted(_TREE)
