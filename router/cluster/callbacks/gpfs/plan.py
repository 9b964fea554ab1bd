"""The plan from the registered callbacks to the wanted ones: the commands, in order.  Pure.

GPFS has no command that changes a callback.  So the plan first adds the new callback under a free identifier and then
deletes the old one, and no event is missed.  `clusterbus-disk` and `clusterbus-disk-2` take turns.  While both exist,
an event may be captured twice.  After an interruption, the next plan contains the remaining steps.

Only callbacks whose identifier begins with `clusterbus-` are ever deleted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from ....model.catalogue import Catalogue
from ...gpfs.cluster_nodes import Member, same_nodes
from .installed import Registered
from .wanted import ACTIONS, PREFIX, Registration

_GENERATION = re.compile(r"(?P<base>.+)-[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and why it is in the plan; *adds* is what it registers, and *identifier* the name of the callback.

    *place* is the identifier of the wanted registration that the step belongs to, or empty.
    """

    words: tuple[str, ...]
    why: str
    identifier: str
    place: str = ""
    adds: Registration | None = None

    @property
    def command(self) -> str:
        """The command as a person would type it."""
        return shlex.join(self.words)

    def describe(self) -> str:
        """Return the step as text for people."""
        return f"{self.command}\n    because {self.why}"

    def as_dict(self) -> dict[str, object]:
        """Return the step as a JSON object."""
        kind: Literal["add", "delete"] = "add" if self.adds else "delete"
        return {"step": kind, "identifier": self.identifier, "command": list(self.words), "why": self.why}


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one wanted registration, `good`, `missing` or `differs`, and the identifiers it is found under."""

    wanted: Registration
    verdict: Literal["good", "missing", "differs"]
    identifiers: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to do, the state of each wanted registration, and our *unwanted* callbacks.

    *foreign* counts other people's callbacks.  The plan was made from *registered* and *cluster*.
    """

    steps: tuple[Step, ...]
    standings: tuple[Standing, ...] = ()
    unwanted: tuple[str, ...] = ()
    foreign: int = 0
    registered: tuple[Registered, ...] = ()
    cluster: tuple[Member, ...] = ()
    notes: ClassVar[tuple[str, ...]] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)
    """The events that GPFS refused earlier, with its message for each."""


def plan(
    wanted: Sequence[Registration],
    registered: Sequence[Registered],
    cluster: Sequence[Member],
    catalogue: Catalogue,
    lacking: Mapping[str, str] | None = None,
) -> Plan:
    """Return the plan that changes the callbacks *registered* on *cluster* to those *wanted*."""
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
    steps += [deletion(each.identifier, "it is no longer wanted") for each in unwanted]
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
    """Return the plan that removes all our callbacks."""
    ours = [each.identifier for each in registered if is_ours(each.identifier)]
    steps = tuple(deletion(each, "all clusterbus callbacks are being removed") for each in ours)
    return Plan(steps, unwanted=tuple(ours), foreign=len(registered) - len(ours))


def is_ours(identifier: str) -> bool:
    """Return whether *identifier* belongs to clusterbus; other callbacks are never touched."""
    return identifier.startswith(PREFIX)


def free_identifier(wanted: Registration, taken: Collection[str]) -> str:
    """Return an identifier for *wanted* that is not *taken*.

    >>> free_identifier(Registration("clusterbus-disk", "capture-gpfs", ("diskFailure",)), {"clusterbus-disk"})
    'clusterbus-disk-2'
    """
    names = (
        wanted.identifier if number == 1 else f"{wanted.identifier}-{number}" for number in range(1, len(taken) + 2)
    )
    return next(each for each in names if each not in taken)


def addition(wanted: Registration, identifier: str, why: str) -> Step:
    """Return the step that registers *wanted* as *identifier*."""
    return Step(
        ("mmaddcallback", *replace(wanted, identifier=identifier).arguments()),
        why,
        identifier,
        wanted.identifier,
        wanted,
    )


def deletion(identifier: str, why: str, place: str = "") -> Step:
    """Return the step that deletes *identifier*; it is skipped if the replacement in its *place* was refused."""
    return Step(("mmdelcallback", identifier), why, identifier, place)


def _base(identifier: str, wanted: Registration) -> str | None:
    """Return *identifier* without its number if it belongs to *wanted*, otherwise None."""
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
        # An earlier change was interrupted between its two commands.
        spare = [deletion(each, f"{good[0]} replaces it", wanted.identifier) for each in differing if each != good[0]]
        return Standing(wanted, "differs" if spare else "good", tuple(differing)), spare
    if not there:
        return Standing(wanted, "missing"), [addition(wanted, wanted.identifier, "it is not registered")]
    found = tuple(dict.fromkeys(text for each in differing.values() for text in each))
    new = free_identifier(wanted, differing)
    steps = [
        addition(wanted, new, "; ".join(found)),
        *(deletion(each, f"{new} replaces it", wanted.identifier) for each in differing),
    ]
    return Standing(wanted, "differs", tuple(differing), found), steps


def differences(
    wanted: Registered, there: Registered, cluster: Sequence[Member], catalogue: Catalogue
) -> tuple[str, ...]:
    """Return the differences of *there* from *wanted*, a sentence for each field; other spellings are equal."""
    return tuple(
        f"{name} is {_shown(is_now)}, but should be {_shown(is_wanted)}"
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
        # If no timeout is wanted, GPFS may list its own default.
        yield "timeout", there.timeout, wanted.timeout
    yield "onerror", _action(there.onerror), _action(wanted.onerror)
    if not same_nodes(cluster, there.nodes, wanted.nodes):
        yield "node", there.nodes, wanted.nodes
    yield "parms", " ".join(there.parms.split()), " ".join(wanted.parms.split())


def _action(text: str | None) -> str:
    # Messages of GPFS spell it quorumloss.
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
