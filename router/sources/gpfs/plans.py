"""From what is registered to what is wanted: the commands, in their order.  Pure.

There is no command that changes a callback.  So the new one is added first, under an identifier that is free, and the
old one deleted then: no event falls between.  `clusterbus-disk` and `clusterbus-disk-2` take turns.  For the moment
that both are there an event may be captured twice.  Wherever a change is broken off, what is left is a plan again.

Only identifiers that begin with `clusterbus-` are ever deleted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...catalogue import Catalogue
from .membership import Member, same_nodes
from .registered import Registered
from .registrations import ACTIONS, PREFIX, Registration

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
    """What is to be done, how what is wanted stands, what is ours and *unwanted*, and how many are others'.

    *registered* and *cluster* are what it was made from.
    """

    steps: tuple[Step, ...]
    standings: tuple[Standing, ...] = ()
    unwanted: tuple[str, ...] = ()
    foreign: int = 0
    registered: tuple[Registered, ...] = ()
    cluster: tuple[Member, ...] = ()
    notes: ClassVar[tuple[str, ...]] = ()
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
    steps += [deletion(each.identifier, "it is not wanted any more") for each in unwanted]
    return Plan(
        steps=tuple(steps),
        standings=tuple(standings),
        unwanted=tuple(each.identifier for each in unwanted),
        foreign=len(registered) - len(ours),
        registered=tuple(registered),
        cluster=tuple(cluster),
        lacking=dict(lacking or {}),
    )


def removal(registered: Sequence[Registered]) -> Plan:
    """Return how to take away all that is ours."""
    ours = [each.identifier for each in registered if is_ours(each.identifier)]
    steps = tuple(deletion(each, "all of ours are to go") for each in ours)
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


def deletion(identifier: str, why: str, place: str = "") -> Step:
    """Return the step that deletes *identifier*, to be done unless what is to come in its *place* is refused."""
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
    differing = {each.identifier: differences(wanted.registered(), each, cluster, catalogue) for each in there}
    good = [identifier for identifier, found in differing.items() if not found]
    if good:
        # Left by a change that was interrupted between its two commands.
        spare = [
            deletion(each, f"{good[0]} is in its place", wanted.identifier) for each in differing if each != good[0]
        ]
        return Standing(wanted, "differs" if spare else "good", tuple(differing)), spare
    if not there:
        return Standing(wanted, "missing"), [addition(wanted, wanted.identifier, "it is not registered")]
    found = tuple(dict.fromkeys(text for each in differing.values() for text in each))
    new = free_identifier(wanted, differing)
    steps = [
        addition(wanted, new, "; ".join(found)),
        *(deletion(each, f"{new} takes its place", wanted.identifier) for each in differing),
    ]
    return Standing(wanted, "differs", tuple(differing), found), steps


def differences(
    wanted: Registered, there: Registered, cluster: Sequence[Member], catalogue: Catalogue
) -> tuple[str, ...]:
    """Return in what *there* is another than *wanted*, a sentence a field; GPFS may show one in another way."""
    return tuple(
        f"{name} is {_shown(is_now)}, wanted {_shown(is_wanted)}"
        for name, is_now, is_wanted in _fields(wanted, there, cluster, catalogue)
        if is_now != is_wanted
    )


def _fields(
    wanted: Registered, there: Registered, cluster: Sequence[Member], catalogue: Catalogue
) -> Iterator[tuple[str, object, object]]:
    yield "command", there.command, wanted.command
    yield "event", _events(there.events, catalogue), _events(wanted.events, catalogue)
    yield "priority", _shown(there.priority), _shown(wanted.priority)
    yield "sync", there.sync, wanted.sync
    if wanted.sync and there.sync and wanted.timeout is not None:
        # Where none is wanted, GPFS may show a default of its own.
        yield "timeout", there.timeout, wanted.timeout
    yield "onerror", _action(there.onerror), _action(wanted.onerror)
    if not same_nodes(cluster, there.nodes, wanted.nodes):
        yield "node", there.nodes, wanted.nodes
    yield "parms", " ".join(there.parms.split()), " ".join(wanted.parms.split())


def _action(text: str | None) -> str:
    # GPFS's own messages write quorumloss.
    return next((each for each in ACTIONS if text and each.lower() == text.lower()), text or ACTIONS[0])


def _events(names: Sequence[str], catalogue: Catalogue) -> tuple[str, ...]:
    return tuple(sorted({found.name if (found := catalogue.get(each)) else each for each in names}))


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
