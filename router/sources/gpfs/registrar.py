"""Brings what is registered with GPFS to what is wanted, by exact commands, and stands a kill at any moment.

Nothing is kept of what was begun: each time it is looked at anew.  A family that GPFS does not take as a group is
registered event by event, which shows what this release lacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ...catalogue import Catalogue
from ...sections import GpfsSettings
from . import listing
from .applying import Applying, Tell
from .commands import Commands
from .errors import CommandFailed, NotReady
from .membership import Member, covered, members
from .memory import Memory, Remembered
from .plans import Plan, Standing, Step, plan, removal
from .registered import Registered, read
from .registrations import PREFIX, Registration, registrations

_SHOWN = 8

Lacks = Callable[[Sequence[str]], Mapping[str, str]]
"""Says which of these nodes, by their admin names, are not ready to have a callback run on them, and why."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a plan: the commands *done*, those *refused* with GPFS's words, and what is *left* to do."""

    done: tuple[Step, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    left: tuple[Step, ...] = ()
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def good(self) -> bool:
        """Whether all is as it is wanted."""
        return not self.refused and not self.left

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as it should be, and what this release lacks, a sentence each."""
        refused = (f"{identifier}: GPFS refused: {said}" for identifier, said in self.refused.items())
        lacking = (f"{event}: this release lacks it: {said}" for event, said in self.lacking.items())
        left = "; ".join(each.command for each in self.left) if not self.refused else ""
        other = [f"GPFS lists other than what was asked of it; still to be done: {left}"] if left else []
        return (*refused, *lacking, *other)


class Registrar:
    """Registers capture with GPFS, by the settings and by what Python callbacks ask for."""

    def __init__(
        self, commands: Commands, settings: GpfsSettings, catalogue: Catalogue, lacks: Lacks | None = None
    ) -> None:
        """Use *commands*; with *lacks* nothing is registered on nodes that it names."""
        self._commands, self._settings, self._catalogue, self._lacks = commands, settings, catalogue, lacks
        self._memory = Memory(settings.memory)
        self._anew = False

    def registered(self) -> list[Registered]:
        """Return all callbacks of users, ours and others'.  Raises GpfsError."""
        return read(self._commands)

    def standings(self) -> list[listing.Standing]:
        """Return how what is wanted stands.  Raises as `plan`."""
        return list(listing.standings(self.plan()))

    def facts(self, *, everybody: bool = False) -> list[dict[str, object]]:
        """Return what is registered, of others too for *everybody*.  Raises GpfsError and StateError."""
        return list(listing.facts(self.registered(), self._memory.read().asked, everybody=everybody))

    def plan(self) -> Plan:
        """Return what is to be done.  Raises GpfsError, StateError, and SettingsError where the settings can't be."""
        return self._plan(self._known(self._memory.read()))

    def removal(self) -> Plan:
        """Return how to take away all that is ours.  Raises GpfsError."""
        return removal(self.registered())

    def apply(self, wanted: Plan | None = None, tell: Tell = lambda _: None) -> Applied:
        """Do what *wanted* says, or what is to be done now; each command is told before it is run.

        Raises NotReady where a node is not ready or things are no more as *wanted* was made for, and as `plan`.
        """
        with self._memory.locked():
            now = self._plan(self._known(self._memory.read()))
            if wanted is not None and wanted.steps != now.steps:
                raise NotReady("what is registered, or wanted, has changed since the plan was made: look at a new one")
            if any(step.adds for step in now.steps):
                self._check_nodes(now)
            return self._apply(now, tell)

    def remove(self, wanted: Plan, tell: Tell = lambda _: None) -> Applied:
        """Take away what *wanted*, a removal, says; forget what Python callbacks asked for.  Raises as `apply`."""
        with self._memory.locked():
            done, refused = [], {}
            for step in wanted.steps:
                tell(step)
                try:
                    self._commands.change(*step.words)
                except CommandFailed as error:
                    refused[step.identifier] = error.said.strip() or str(error)
                else:
                    done.append(step)
            if not self._commands.dry_run:
                self._memory.change(lambda known: known.model_copy(update={"asked": {}}))
            return Applied(tuple(done), refused)

    def try_again(self) -> None:
        """Plan from now on as if GPFS had refused nothing, after an update of it; remembered when it is applied."""
        self._anew = True

    def ask_for(self, identifier: str, events: Iterable[str], tell: Tell = lambda _: None) -> Applied:
        """Have *events* registered too, for the callback *identifier*, until it lets go.  Raises as `apply`."""
        names = tuple(dict.fromkeys(self._catalogue.event(each).name for each in events))
        return self._asked(lambda asked: {**asked, identifier: names}, names, tell)

    def let_go(self, identifier: str, events: Iterable[str] = (), tell: Tell = lambda _: None) -> Applied:
        """Register no more for the callback *identifier* than others want.  Raises as `apply`.

        Its *events* are looked after even where it is remembered no more: when it let go before, and was killed.
        """
        return self._asked(
            lambda asked: {each: names for each, names in asked.items() if each != identifier}, events, tell
        )

    def _asked(
        self,
        how: Callable[[Mapping[str, tuple[str, ...]]], Mapping[str, tuple[str, ...]]],
        about: Iterable[str],
        tell: Tell,
    ) -> Applied:
        with self._memory.locked():
            before = self._memory.read()
            after = before.model_copy(update={"asked": how(before.asked)})
            # What else is to be done is not this callback's.
            events = {*about, *(event for each in (before, after) for names in each.asked.values() for event in names)}
            now = _only(self._plan(after), {self._catalogue.event(each).category for each in events})
            if any(step.adds for step in now.steps):
                self._check_nodes(now)
            if not self._commands.dry_run:
                self._memory.change(lambda _: after)
            applied = self._apply(now, tell)
            return replace(
                applied,
                left=tuple(each for each in applied.left if each.place in {s.place for s in now.steps}),
                # What was refused before is not tried again, and not there all the same.
                lacking={**now.lacking, **applied.lacking},
            )

    def _known(self, remembered: Remembered) -> Remembered:
        return remembered.model_copy(update={"split": frozenset(), "lacking": {}}) if self._anew else remembered

    def _plan(self, known: Remembered) -> Plan:
        asked = [each for events in known.asked.values() for each in events]
        wanted = registrations(self._catalogue, self._settings, asked)
        parts = [part for each in wanted for part in _parts(each, known)]
        lacking = {event: said for each in wanted for event in each.events if (said := known.lacking.get(event))}
        return plan(parts, self.registered(), members(self._commands), self._catalogue, lacking)

    def _check_nodes(self, now: Plan) -> None:
        """Raise NotReady that names the nodes on which a callback would find no capture, or another one."""
        if self._lacks is None:
            return
        found = self._lacks(_where(now.standings, now.cluster))
        if found:
            reasons: dict[str, list[str]] = {}
            for node, reason in found.items():
                reasons.setdefault(reason, []).append(node)
            lines = [f"{_some(nodes)}: {why}" for why, nodes in reasons.items()]
            raise NotReady("\n".join([f"{len(found)} nodes are not ready for callbacks:", *lines]))

    def _apply(self, now: Plan, tell: Tell) -> Applied:
        work = Applying(self._commands, tell, self._catalogue, now.registered)
        for step in now.steps:
            work.do(step)
        if self._commands.dry_run:
            return Applied(tuple(work.done))
        known = self._memory.change(lambda remembered: work.learnt(self._known(remembered)))
        self._anew = False
        return Applied(tuple(work.done), work.refused, work.lacking, self._plan(known).steps)


def _some(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:_SHOWN]) + (", ..." if len(nodes) > _SHOWN else "")


def _parts(wanted: Registration, known: Remembered) -> list[Registration]:
    """Return as what *wanted* is registered: as a group, or event by event, less those that are lacking."""
    there = [each for each in wanted.events if each not in known.lacking]
    if there and wanted.identifier not in known.split:
        return [wanted]
    return [each for each in wanted.singles() if each.events[0] in there]


def _only(found: Plan, families: Collection[str]) -> Plan:
    """Return what *found* says of *families*."""

    def concerns(identifier: str) -> bool:
        return any(re.match(rf"{PREFIX}{each}(-|\Z)", identifier) for each in families)

    return replace(
        found,
        steps=tuple(each for each in found.steps if concerns(each.identifier)),
        standings=tuple(each for each in found.standings if concerns(each.wanted.identifier)),
    )


def _where(standings: Sequence[Standing], cluster: Sequence[Member]) -> list[str]:
    """Return the nodes on which what is wanted may run, by the names that those who administer them use."""
    found: set[str] = set()
    for each in standings:
        names = covered(cluster, each.wanted.nodes)
        found |= {member.name for member in cluster} if names is None else names
    return [member.admin_name for member in cluster if member.name in found]
