"""How many octets of values a filter processes for one event: texts that it joins or searches repeatedly multiply.

Nothing here evaluates an expression.  The sizes of the event's values are followed through the tree, from below, and
each operation counts the octets that it reads or makes.  What cannot be known counts as the most that it can be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from router.model.events import Event

from ..cel_syntax.tree import Binary, Call, Conditional, Constant, Index, ListOf, Macro, MapOf, Name, Node, Select
from ..fact_paths import FACTS, MOST, TooMany
from ..values.alert_values import ALERT

MOST_OCTETS = 300_000_000
"""Most octets that one evaluation may process; measured to take 0.5 s at worst."""

SMALL = 4096
"""Most octets of an event that is small: for most expressions, no such event needs to be looked at."""

_SCALAR = 32
"""Octets that a number, a moment, or true or false counts."""

_COMPILED = 2000
"""A regular expression is compiled at each call; each state of it takes as long as so many octets of a text."""

_MOST_COMPILED = 14_000
"""States after which the compiler gives up, measured with the slowest to compile."""

_MOST_STATES = 200_000
"""The most states of a regular expression, as the library limits its memory."""

_REPEATS = 20_000
"""States for each octet of a regular expression that is not written in the filter."""

_WIDE = re.compile(r"\\[wWpPbB]")
_STATES = {r"\d": 20, r"\D": 20, r"\s": 10, r"\S": 10, ".": 4}
"""Classes of Unicode have many ranges; `\\w` and `\\p` the most."""

_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?P<least>\d+)(?:,(?P<most>\d*))?\}|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Extent:
    """The most that a value can be: its *octets* in all, how many *items*, and the octets of the largest *item*."""

    octets: int
    items: int
    item: int


_FACT = Extent(0, MOST, 0)
"""Facts are short and no node chooses them; how many values of them are read has a limit of its own."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The extents of the values of an event: its attributes and variables by name; *whole* is all of its data.

    *other* is the extent of any other name.
    """

    attributes: Mapping[str, Extent]
    variables: Mapping[str, Extent]
    whole: Extent
    other: Extent


def total(event: Event) -> int:
    """Return about how many octets the data of *event* have; no loop over them repeats more often."""
    return sum(_extent(value).octets for value in event.data.values())


def is_light(tree: Node) -> bool:
    """Return whether the expression *tree* stays below the limit for every event of at most `SMALL` octets."""
    return _work(tree, Sizes({}, {}, whole=_any(SMALL), other=_any(SMALL)), {})[0] <= MOST_OCTETS


def check(tree: Node, event: Event) -> None:
    """Raise TooMany if evaluating the expression *tree* for *event* processes too many octets."""
    sizes = _sizes(event)
    octets, _ = _work(tree, sizes, {})
    if octets > MOST_OCTETS:
        largest = max(sizes.variables, key=lambda name: sizes.variables[name].octets, default="")
        about = f": data.{largest} has {sizes.variables[largest].octets} octets" if largest else ""
        raise TooMany(
            f"it would process up to {octets} octets of values, and the limit is {MOST_OCTETS}{about};"
            " read long values less often"
        )


def states(pattern: str) -> int:
    """Return about how many states the regular expression *pattern* has: a repeated part counts each time.

    >>> states("ab[0-9]{1,3}"), states("(ab){10}"), states("((ab){10}){10}")
    (14, 20, 200)
    """
    groups, last = [0], 0
    for each in _ATOM.finditer(pattern):
        match each[0]:
            case "(":
                groups.append(0)
                last = 0
            case ")" if len(groups) > 1:
                last = groups.pop()
                groups[-1] += last
            case _ if each["least"]:
                repeated = last * max(int(each["most"] or each["least"]), 1)
                groups[-1] += repeated - last
                last = repeated
            case atom:
                last = 120 if _WIDE.search(atom) else _STATES.get(atom, 4 if atom[0] == "[" else 1)
                groups[-1] += last
    # Without case, each letter is a class too.
    return max(sum(groups), 1) * (4 if "(?i" in pattern else 1)


def _any(octets: int) -> Extent:
    """Return the extent of a value of which only *octets* are known."""
    return Extent(octets, octets, octets)


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _extent(value: object) -> Extent:
    match value:
        case str():
            return _any(_octets(value))
        case list() | tuple():
            # An empty text counts too, so that there are never more items than octets.
            lengths = [_octets(each) + 1 if isinstance(each, str) else _SCALAR for each in value]
            return Extent(sum(lengths), len(lengths), max(lengths, default=0))
    return _any(_SCALAR)


def _sizes(event: Event) -> Sizes:
    variables = {name: _extent(value) for name, value in event.data.items()}
    octets = sum(len(name) + each.octets for name, each in variables.items())
    attributes = {name: _extent(getattr(event, name)) for name in Event.model_fields if name != "data"}
    longest = max((each.items for each in variables.values()), default=0)
    return Sizes(attributes, variables, Extent(octets, max(longest, len(variables)), octets), other=_any(0))


_Scope = Mapping[str, Extent]
_Worked = tuple[int, Extent]
"""The octets that a part of an expression processes, and the extent of its value."""


def _work(node: Node, sizes: Sizes, scope: _Scope) -> _Worked:
    match node:
        case Constant() | Name():
            return 0, _leaf(node, sizes, scope)
        case Select(Name("data"), name, tests):
            found = sizes.variables.get(name, sizes.other)
            return (_SCALAR, _any(_SCALAR)) if tests else (found.octets, found)
        case Select() | Index() if _is_fact(node):
            return 0, _FACT
        case Macro():
            return _loop(node, sizes, scope)
        case Call(name, target, arguments):
            return _called(name, target, arguments, sizes, scope)
    parts = [_work(each, sizes, scope) for each in node.children]
    return _joined(node, sum(work for work, _ in parts), [extent for _, extent in parts])


def _leaf(node: Constant | Name, sizes: Sizes, scope: _Scope) -> Extent:
    if isinstance(node, Constant):
        return _extent(node.value)
    if node.name in scope:
        return scope[node.name]
    if node.name == FACTS:
        return _FACT
    return sizes.whole if node.name in {"data", ALERT} else sizes.attributes.get(node.name, sizes.other)


def _is_fact(node: Node) -> bool:
    while isinstance(node, Select | Index):
        node = node.of
    return node == Name(FACTS)


def _joined(node: Node, work: int, extents: list[Extent]) -> _Worked:
    """Return the same for *node*, whose parts take *work* and have the *extents*."""
    octets = sum(each.octets for each in extents)
    largest = Extent(*(max((getattr(each, of) for each in extents), default=0) for of in ("octets", "items", "item")))
    match node:
        case Binary("+"):
            return work + octets, Extent(octets, sum(each.items for each in extents), largest.item)
        case ListOf() | MapOf():
            return work + octets, Extent(octets, len(extents), largest.octets)
        case Conditional():
            return work, largest
        case Select():
            return work + octets, extents[0]
        case Index():
            of = extents[0]
            return work + of.octets, Extent(of.item, min(of.items, of.item), of.item)
    return work + octets, _any(_SCALAR)


def _called(name: str, target: Node | None, arguments: tuple[Node, ...], sizes: Sizes, scope: _Scope) -> _Worked:
    given = arguments if target is None else (target, *arguments)
    parts = [_work(each, sizes, scope) for each in given]
    work, octets = sum(work for work, _ in parts), sum(extent.octets for _, extent in parts)
    if name == "matches":
        text, pattern = parts[0][1], given[-1]
        several = parts[-1][1].octets * _REPEATS
        if isinstance(pattern, Constant):
            several = states(str(pattern.value))
        several = min(several, _MOST_STATES)
        return work + several * text.octets + min(several, _MOST_COMPILED) * _COMPILED, _any(_SCALAR)
    if name in {"string", "bytes", "dyn"}:
        return work + octets, parts[0][1] if parts else _any(_SCALAR)
    return work + octets, _any(_SCALAR)


def _loop(macro: Macro, sizes: Sizes, scope: _Scope) -> _Worked:
    work, over = _work(macro.over, sizes, scope)
    inside = {**scope, macro.name: _any(over.item)}
    bodies = [_work(each, sizes, inside) for each in macro.bodies]
    work += over.octets + over.items * sum(each for each, _ in bodies)
    if macro.macro not in {"map", "filter"}:
        return work, _any(_SCALAR)
    made = bodies[-1][1].octets if macro.macro == "map" else over.item
    # The list is copied for each item that is added.
    return work + made * over.items**2 // 2, Extent(made * over.items, over.items, made)
