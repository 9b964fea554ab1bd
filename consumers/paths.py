"""The paths by which an expression reads facts, and no more of them handed over than that.  Pure.

A cluster has thousands of nodes, and CEL copies what it is given, again at each look: 0.3 s for 5,000 nodes, 70 s to
walk over them.  So `facts.nodes[node].quorum` is given one value of one node, what would be given all of them is
refused, and the rest is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.events import Event
from router.facts import DiskFacts, Facts, FilesetFacts, FileSystemFacts, NodeFacts, QuorumFacts
from router.facts.views import Named

from .errors import did_you_mean

FACTS: Final = "facts"

MOST = 300
"""Disks, filesets and the like that an expression is given at the most."""

MOST_LOOKS = 100_000
"""Values that are handed over in one evaluation, again at each look, at the most: 0.1 s as measured."""

_MANY = frozenset(("nodes", "names"))
Token = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A key that the event has at *words*: `node`, or `data` and the variable."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnyKey:
    """Any key; where it *names_only*, the keys are read and nothing below them."""

    names_only: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """The way to what is read: a key, where a key is found, or any key; the key found may be in the facts as well."""

    steps: tuple[str | Place | AnyKey | Path, ...]


def of_tokens(tokens: Sequence[Token], bound: Collection[str], macros: Collection[str]) -> tuple[Path, ...]:
    """Return the paths by which an expression of CEL reads facts; *bound* are the names that its *macros* bind."""
    reader = _Reader(tokens, frozenset(bound), frozenset(macros))
    here = (at for at, token in enumerate(tokens) if token == ("name", FACTS) and not reader.is_below(at))
    return tuple(dict.fromkeys(reader.path(at) for at in here))


class _Reader:
    def __init__(self, tokens: Sequence[Token], bound: frozenset[str], macros: frozenset[str]) -> None:
        self._tokens = (*tokens, ("", ""), ("", ""), ("", ""))
        self._bound, self._macros = bound, macros

    def is_below(self, at: int) -> bool:
        return at > 0 and self._tokens[at - 1][1] == "."

    def path(self, at: int) -> Path:
        """Return the path that begins at `facts`, with the key that is looked for where `in` stands before it."""
        steps, _ = self._steps(at + 1)
        if not steps and [each[1] for each in self._tokens[at + 1 : at + 3]] in (["==", "null"], ["!=", "null"]):
            return Path((AnyKey(names_only=True),))
        if at > 1 and [each[1] for each in self._tokens[at - 2 : at]] == ["size", "("]:
            return Path((*steps, AnyKey(names_only=True)))
        if at > 0 and self._tokens[at - 1] == ("name", "in") and not (steps and isinstance(steps[-1], AnyKey)):
            return Path((*steps, self._before(at - 1)))
        return Path(steps)

    def _steps(self, at: int) -> tuple[tuple[str | Place | AnyKey | Path, ...], int]:
        steps: list[str | Place | AnyKey | Path] = []
        while True:
            (_, sign), (kind, name), (_, third) = self._tokens[at : at + 3]
            if sign == "." and kind == "name" and third == "(":
                # Macros walk over the keys.
                return (*steps, AnyKey(names_only=True)) if name in self._macros else tuple(steps), at
            if sign == "." and kind == "name":
                steps.append(name)
                at += 2
            elif sign == "[" and (end := self._closing(at)) is not None:
                step = self._key(at + 1, end)
                if step is None:
                    return tuple(steps), at
                steps.append(step)
                at = end + 1
            else:
                return tuple(steps), at

    def _closing(self, at: int) -> int | None:
        depth = 0
        for end in range(at, len(self._tokens)):
            depth += {"[": 1, "]": -1}.get(self._tokens[end][1], 0) if self._tokens[end][0] == "sign" else 0
            if not depth:
                return end
        return None

    def _key(self, start: int, end: int) -> str | Place | AnyKey | Path | None:
        """Return what stands in brackets; None where it is the number of an item."""
        inner = self._tokens[start:end]
        if len(inner) == 1 and inner[0][0] == "number":
            return None
        if inner and inner[0] == ("name", FACTS):
            steps, stop = self._steps(start + 1)
            return Path(steps) if stop == end else AnyKey()
        return _simple(inner, self._bound) or AnyKey()

    def _before(self, at: int) -> str | Place | AnyKey | Path:
        """Return the key that stands before `in`: the longest that is simple, or the names of all."""
        for length in (4, 3, 1):
            inner = self._tokens[max(0, at - length) : at]
            follows = at - length - 1
            joined = follows >= 0 and self._tokens[follows][1] in {".", "]", "+", "-", "*", "/", "%", "["}
            if len(inner) == length and not joined and (found := _simple(inner, self._bound)):
                return found
        return AnyKey(names_only=True)


def _simple(tokens: Sequence[Token], bound: Collection[str]) -> str | Place | None:
    """Return the key that *tokens* are: a plain text, an attribute of the event, or a variable of its data."""
    kinds, texts = [each[0] for each in tokens], [each[1] for each in tokens]
    if kinds == ["text"]:
        return _plain(texts[0])
    if kinds == ["name"] and texts[0] in Event.model_fields and texts[0] not in bound:
        return Place((texts[0],))
    if texts[:1] == ["data"] and "data" not in bound:
        if texts[1:2] == ["."] and kinds[2:] == ["name"]:
            return Place(("data", texts[2]))
        if texts[1:2] == ["["] and texts[3:] == ["]"] and kinds[2] == "text" and (name := _plain(texts[2])):
            return Place(("data", name))
    return None


def _plain(text: str) -> str | None:
    return text[1:-1] if text[0] in "\"'" and "\\" not in text and text[:3] not in ('"""', "'''") else None


def looks_of(tokens: Sequence[Token], macros: Collection[str]) -> tuple[tuple[str, int], ...]:
    """Return each look at facts: the name right below them, and how many walks, by one of *macros*, repeat it."""
    found, ends, brackets = [], list[int](), 0
    after = [each[1] for each in (*tokens[1:], ("", ""), ("", ""))]
    for at, token in enumerate(tokens):
        if token[1] in {"(", "[", "{"} and token[0] == "sign":
            brackets += 1
            if at > 1 and tokens[at - 1][1] in macros and tokens[at - 2][1] == ".":
                ends.append(brackets)
        elif token[1] in {")", "]", "}"} and token[0] == "sign":
            if ends and ends[-1] == brackets:
                ends.pop()
            brackets -= 1
        elif token == ("name", FACTS) and not (at and tokens[at - 1][1] == "."):
            found.append((after[at + 1].strip("\"'") if after[at] in {".", "["} else "", len(ends)))
    return tuple(found)


def bound(looks: Sequence[tuple[str, int]], given: Mapping[str, Any], event: Event) -> None:
    """Raise TooMany where what is *given* for *event* takes too long to hand over, again at each of *looks*."""
    sizes = {name: _size(each) for name, each in given.items()}
    longest = max(
        1, *(each for _, each in sizes.values()), *(len(each) for each in event.data.values() if isinstance(each, list))
    )
    whole = sum(size for size, _ in sizes.values())
    values = sum((sizes[name][0] if name in sizes else whole) * longest**depth for name, depth in looks)
    if values > MOST_LOOKS:
        raise TooMany(f"it would be given up to {values} values of the facts, {MOST_LOOKS} at the most: name one")


def _size(value: object) -> tuple[int, int]:
    """Return how many values there are in *value*, and the length of its longest group."""
    if not isinstance(value, (dict, list, tuple)):
        return 1, 0
    below = [_size(each) for each in (value.values() if isinstance(value, dict) else value)]
    return max(1, sum(each for each, _ in below)), max(len(value), *(each for _, each in below), 0)


class TooMany(Exception):
    """An expression would be given more facts than it has time for."""


def too_wide(path: Path) -> str:
    """Return that *path* would be given all nodes, or nothing.

    >>> too_wide(Path(("nodes", AnyKey())))
    'facts.nodes has to be read by name, as facts.nodes[node]: walking over thousands takes minutes'
    """
    first, second = (*path.steps, None, None)[:2]
    if first is None or (not isinstance(first, str) and first != AnyKey(names_only=True)):
        return "facts have to be read by name, as facts.quorum.reached"
    if first in _MANY and (second is None or second == AnyKey()):
        return f"{FACTS}.{first} has to be read by name, as {FACTS}.{first}[node]: walking over thousands takes minutes"
    return next((wrong for each in path.steps if isinstance(each, Path) and (wrong := too_wide(each))), "")


def narrowed(paths: Sequence[Path], facts: Mapping[str, Any], event: Event) -> Mapping[str, Any]:
    """Return what *paths* read of *facts* for *event*; the nodes by the names that they are asked for by."""
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
        raise TooMany(f"it would be given {len(value)} of the facts at once, {MOST} at the most: name one")
    for name in _keys(step, value, facts, event):
        below = _found(value, name)
        if below is None and name not in value:
            continue
        there = into.get(name)
        if not (rest and isinstance(below, Mapping)):
            into[name] = below
        elif there is not below:
            # A part of it, which is another object: more is put to it.
            partial = into[name] = there if isinstance(there, dict) else {}
            _take(partial, below, rest, facts, event)


def _found(value: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - plain values
    return value.find(name) if isinstance(value, Named) else value.get(name)


def _keys(step: object, value: Mapping[str, Any], facts: Any, event: Event) -> Iterator[str]:  # noqa: ANN401 - plain values
    match step:
        case str():
            yield step
        case Place(("data", name)):
            found = event.data.get(name)
            yield from [found] if isinstance(found, str) else []
        case Place((name,)):
            found = getattr(event, name)
            yield from [found] if isinstance(found, str) else []
        case Path(steps):
            reached = facts
            for each in steps:
                key = next(_keys(each, reached, facts, event), None) if isinstance(reached, Mapping) else None
                reached = None if key is None else _found(reached, key)
            yield from [reached] if isinstance(reached, str) else []
        case _:
            yield from value


_DISKS, _FILESETS = {"*": dict.fromkeys(DiskFacts.model_fields)}, {"*": dict.fromkeys(FilesetFacts.model_fields)}
_TREE: Mapping[str, Any] = {
    **dict.fromkeys(name for name in Facts.model_fields if name != "limit"),
    **dict.fromkeys(("age", "stale", "taken_at")),
    "nodes": {"*": dict.fromkeys(NodeFacts.model_fields)},
    "quorum": dict.fromkeys(QuorumFacts.model_fields),
    "file_systems": {"*": {**dict.fromkeys(FileSystemFacts.model_fields), "disks": _DISKS, "filesets": _FILESETS}},
    "parts": {"*": dict.fromkeys(("age", "stale", "reason"))},
}
"""What facts there are; `*` is any name."""


def mistake(path: Path) -> str:
    """Return what is wrong with the names of *path*, or nothing.

    >>> mistake(Path(("quorum", "reachd")))
    'there is no facts.quorum.reachd; did you mean reached?'
    """
    tree: Any = _TREE
    said = FACTS
    for step in path.steps:
        if isinstance(step, Path) and (wrong := mistake(step)):
            return wrong
        if not isinstance(tree, Mapping):
            return ""
        if "*" in tree:
            tree, said = tree["*"], f"{said}[...]"
        elif not isinstance(step, str):
            return ""
        elif step not in tree:
            near = did_you_mean(step, tree) or f"; there are {', '.join(sorted(tree))}"
            return f"there is no {said}.{step}{near}"
        else:
            tree, said = tree[step], f"{said}.{step}"
    return ""
