"""From what is registered to what is wanted: the commands, in their order.  Pure.

There is no command that changes a callback.  So the new one is added first, under an identifier that is free, and the
old one deleted then: no event falls between.  `clusterbus-disk` and `clusterbus-disk-2` take turns.  For the moment
that both are there an event may be captured twice.  Wherever a change is broken off, what is left is a plan again.

Only identifiers that begin with `clusterbus-` are ever deleted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from ...catalogue import Catalogue
from .membership import Member, covered
from .registered import Registered
from .registrations import PREFIX, Registration

_GENERATION = re.compile(r"(?P<base>.+)-[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and why it is in the plan; *adds* is what it registers, *identifier* under which name.

    *place* is the identifier of the wanted registration that it is about, empty where none is.
    """

    words: tuple[str, ...]
    why: str
    identifier: str
    place: str = ""
    adds: Registration | None = None

    @property
    def command(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.words)

    def describe(self) -> str:
        """Return it for people."""
        return f"{self.command}\n    since {self.why}"

    def as_dict(self) -> dict[str, object]:
        """Return it for programs."""
        kind: Literal["add", "delete"] = "add" if self.adds else "delete"
        return {"step": kind, "identifier": self.identifier, "command": list(self.words), "why": self.why}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one wanted registration stands: `good`, `missing`, `differs`; and under which identifiers it is there."""

    wanted: Registration
    verdict: Literal["good", "missing", "differs"]
    identifiers: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, how what is wanted stands, what is ours and *unwanted*, and how many are others'."""

    steps: tuple[Step, ...]
    standings: tuple[Standing, ...] = ()
    unwanted: tuple[str, ...] = ()
    foreign: int = 0
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Events that GPFS refused when they were tried, and with what words."""


def plan(
    wanted: Sequence[Registration],
    registered: Sequence[Registered],
    cluster: Sequence[Member],
    catalogue: Catalogue,
    lacking: Mapping[str, str] | None = None,
) -> Plan:
    """Return how to come from what is *registered* on *cluster* to what is *wanted*."""
    ours = [each for each in registered if is_ours(each.identifier)]
    steps: list[Step] = []
    standings: list[Standing] = []
    claimed: set[str] = set()
    for each in wanted:
        there = [other for other in ours if _base(other.identifier, each) is not None]
        claimed |= {other.identifier for other in there}
        found, own = _one(each, there, cluster, catalogue)
        standings.append(found)
        steps += own
    unwanted = [each for each in ours if each.identifier not in claimed]
    steps += [_delete(each.identifier, "it is not wanted any more") for each in unwanted]
    return Plan(
        steps=tuple(steps),
        standings=tuple(standings),
        unwanted=tuple(each.identifier for each in unwanted),
        foreign=len(registered) - len(ours),
        lacking=dict(lacking or {}),
    )


def removal(registered: Sequence[Registered]) -> Plan:
    """Return how to take away all that is ours."""
    ours = [each.identifier for each in registered if is_ours(each.identifier)]
    steps = tuple(_delete(each, "all of ours are to go") for each in ours)
    return Plan(steps, unwanted=tuple(ours), foreign=len(registered) - len(ours))


def is_ours(identifier: str) -> bool:
    """Say whether *identifier* is one of clusterbus; no other is ever touched."""
    return identifier.startswith(PREFIX)


def free_identifier(wanted: Registration, taken: Collection[str]) -> str:
    """Return an identifier for *wanted* that is not *taken*.

    >>> free_identifier(Registration("clusterbus-disk", ("diskFailure",), ""), {"clusterbus-disk"})
    'clusterbus-disk-2'
    """
    names = (
        wanted.identifier if number == 1 else f"{wanted.identifier}-{number}" for number in range(1, len(taken) + 2)
    )
    return next(each for each in names if each not in taken)


def addition(wanted: Registration, identifier: str, why: str) -> Step:
    """Return the step that registers *wanted* as *identifier*."""
    return Step(("mmaddcallback", *wanted.arguments(identifier)), why, identifier, wanted.identifier, wanted)


def _delete(identifier: str, why: str, place: str = "") -> Step:
    return Step(("mmdelcallback", identifier), why, identifier, place)


def _base(identifier: str, wanted: Registration) -> str | None:
    """Return *identifier* without its turn where it is *wanted*'s, None where it is another's."""
    match = _GENERATION.fullmatch(identifier)
    for base in (identifier, match["base"] if match else None):
        if base == wanted.identifier:
            return base
    return None


def _one(
    wanted: Registration, there: Sequence[Registered], cluster: Sequence[Member], catalogue: Catalogue
) -> tuple[Standing, list[Step]]:
    differing = {each.identifier: differences(wanted, each, cluster, catalogue) for each in there}
    good = [identifier for identifier, found in differing.items() if not found]
    if good:
        # Left by a change that was interrupted between its two commands.
        spare = [
            _delete(each, f"{good[0]} is in its place", wanted.identifier) for each in differing if each != good[0]
        ]
        return Standing(wanted, "differs" if spare else "good", tuple(differing)), spare
    if not there:
        return Standing(wanted, "missing"), [addition(wanted, wanted.identifier, "it is not registered")]
    found = tuple(dict.fromkeys(text for each in differing.values() for text in each))
    new = free_identifier(wanted, differing)
    steps = [
        addition(wanted, new, "; ".join(found)),
        *(_delete(each, f"{new} takes its place", wanted.identifier) for each in differing),
    ]
    return Standing(wanted, "differs", tuple(differing), found), steps


def differences(
    wanted: Registration, there: Registered, cluster: Sequence[Member], catalogue: Catalogue
) -> tuple[str, ...]:
    """Return in what *there* is another than *wanted*, a sentence a field."""
    return tuple(
        f"{name} is {_shown(is_now)}, wanted {_shown(is_wanted)}"
        for name, is_now, is_wanted, same in _fields(wanted, there, cluster, catalogue)
        if not same(is_now, is_wanted)
    )


_Field = tuple[str, object, object, Callable[[object, object], bool]]


def _fields(
    wanted: Registration, there: Registered, cluster: Sequence[Member], catalogue: Catalogue
) -> Iterator[_Field]:
    def equal(one: object, other: object) -> bool:
        return one == other

    def covers(one: object, other: object) -> bool:
        # How GPFS stores a class, and which of its names a node has in the list, is not known.
        if one == other:
            return True
        sets = covered(cluster, there.nodes), covered(cluster, wanted.nodes)
        return None not in sets and sets[0] == sets[1] and bool(there.nodes) == bool(wanted.nodes)

    seconds = None if wanted.timeout is None else ceil(wanted.timeout.total_seconds())
    yield "command", there.command, wanted.command, equal
    yield "event", _events(there.events, catalogue), _events(wanted.events, catalogue), equal
    yield "priority", there.priority, wanted.priority, equal
    yield "sync", there.sync, wanted.sync, equal
    if wanted.sync and there.sync:
        # GPFS may show a default of its own for what is not set.
        yield "timeout", there.timeout, seconds, lambda one, other: other is None or one == other
    yield "onerror", there.onerror or "continue", wanted.onerror or "continue", equal
    yield "node", tuple(sorted(there.nodes)), tuple(sorted(wanted.nodes)), covers
    yield "parms", " ".join(there.parms.split()), wanted.parms, equal


def _events(names: Sequence[str], catalogue: Catalogue) -> tuple[str, ...]:
    return tuple(sorted(found.name if (found := catalogue.get(each)) else each for each in names))


def _shown(value: object) -> str:
    match value:
        case tuple():
            return ",".join(map(str, value)) or "all"
        case None | "":
            return "not set"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
