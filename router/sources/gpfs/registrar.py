"""Brings what is registered with GPFS to what is wanted, by exact commands, and stands a kill at any moment.

Nothing is kept of what was begun: each time it is looked at anew.  A family that GPFS does not take as a group is
registered event by event, which shows what this release lacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...catalogue import Catalogue
from ...sections import GpfsSettings
from . import listing
from .commands import Commands
from .errors import CommandFailed, NotReady
from .membership import Member, covered, members
from .memory import Memory, Remembered
from .plans import Plan, Standing, Step, addition, free_identifier, plan, removal
from .registered import Registered, read
from .registrations import PREFIX, Registration, registrations

_SHOWN = 8

Tell = Callable[[Step], object]
"""Is told each command before it is run."""

Lacks = Callable[[Sequence[str]], Mapping[str, str]]
"""Says which of these nodes, by their admin names, are not ready to have a callback run on them, and why."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a plan: the commands *done*, those *refused* with GPFS's words, and what is *left* to do."""

    done: tuple[Step, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    left: tuple[Step, ...] = ()

    @property
    def good(self) -> bool:
        """Whether all is as it is wanted."""
        return not self.refused and not self.left

    def problems(self) -> Iterator[str]:
        """Yield what is not as it should be, and what this release lacks, a sentence each."""
        for identifier, said in self.refused.items():
            yield f"{identifier}: GPFS refused: {said}"
        for event, said in self.lacking.items():
            yield f"{event}: this release lacks it: {said}"
        if self.left and not self.refused:
            left = "; ".join(each.command for each in self.left)
            yield f"GPFS lists other than what was asked of it; still to be done: {left}"


class Registrar:
    """Registers capture with GPFS, by the settings and by what Python callbacks ask for."""

    def __init__(
        self, commands: Commands, settings: GpfsSettings, catalogue: Catalogue, lacks: Lacks | None = None
    ) -> None:
        """Use *commands*; with *lacks* nothing is registered on nodes that it names."""
        self._commands, self._settings, self._catalogue, self._lacks = commands, settings, catalogue, lacks
        self._memory = Memory(settings.memory)

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
        return self._plan(self._memory.read())

    def removal(self) -> Plan:
        """Return how to take away all that is ours.  Raises GpfsError."""
        return removal(self.registered())

    def apply(self, wanted: Plan | None = None, tell: Tell = lambda _: None) -> Applied:
        """Do what *wanted* says, or what is to be done now; each command is told before it is run.

        Raises NotReady where a node is not ready or things are no more as *wanted* was made for, and as `plan`.
        """
        with self._memory.locked():
            now = self._plan(self._memory.read())
            if wanted is not None and wanted.steps != now.steps:
                raise NotReady("what is registered, or wanted, has changed since the plan was made: look at a new one")
            if any(step.adds for step in now.steps):
                self._check_nodes(now.standings)
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
        """Forget what GPFS refused, after an update of it.  Raises StateError."""
        with self._memory.locked():
            self._memory.change(lambda known: known.model_copy(update={"split": frozenset(), "lacking": {}}))

    def ask_for(self, identifier: str, events: Iterable[str], tell: Tell = lambda _: None) -> Applied:
        """Have *events* registered too, for the callback *identifier*, until it lets go.  Raises as `apply`."""
        names = tuple(dict.fromkeys(self._catalogue.event(each).name for each in events))
        return self._asked(lambda asked: {**asked, identifier: names}, tell)

    def let_go(self, identifier: str, tell: Tell = lambda _: None) -> Applied:
        """Register no more for the callback *identifier* than others want.  Raises as `apply`."""
        return self._asked(lambda asked: {each: names for each, names in asked.items() if each != identifier}, tell)

    def _asked(
        self, how: Callable[[Mapping[str, tuple[str, ...]]], Mapping[str, tuple[str, ...]]], tell: Tell
    ) -> Applied:
        with self._memory.locked():
            before = self._memory.read()
            after = before.model_copy(update={"asked": how(before.asked)})
            # What else is to be done is not this callback's.
            families = {event for each in (before, after) for names in each.asked.values() for event in names}
            now = _only(self._plan(after), {self._catalogue.event(each).category for each in families})
            if any(step.adds for step in now.steps):
                self._check_nodes(now.standings)
            if not self._commands.dry_run:
                self._memory.change(lambda _: after)
            applied = self._apply(now, tell)
            return replace(
                applied, left=tuple(each for each in applied.left if each.place in {s.place for s in now.steps})
            )

    def _plan(self, known: Remembered) -> Plan:
        asked = [each for events in known.asked.values() for each in events]
        wanted = registrations(self._catalogue, self._settings, asked)
        parts = [part for each in wanted for part in _parts(each, known)]
        lacking = {event: said for each in wanted for event in each.events if (said := known.lacking.get(event))}
        return plan(parts, self.registered(), members(self._commands), self._catalogue, lacking)

    def _check_nodes(self, standings: Sequence[Standing]) -> None:
        """Raise NotReady that names the nodes on which a callback would find no capture, or another one."""
        if self._lacks is None:
            return
        cluster = members(self._commands)
        found = self._lacks(_where(standings, cluster))
        if found:
            reasons: dict[str, list[str]] = {}
            for node, reason in found.items():
                reasons.setdefault(reason, []).append(node)
            lines = [f"{_some(nodes)}: {why}" for why, nodes in reasons.items()]
            raise NotReady("\n".join([f"{len(found)} nodes are not ready for callbacks:", *lines]))

    def _apply(self, now: Plan, tell: Tell) -> Applied:
        work = _Work(self._commands, tell, self._catalogue, {each.identifier for each in self.registered()})
        for step in now.steps:
            work.do(step)
        if self._commands.dry_run:
            return Applied(tuple(work.done))
        known = self._memory.change(
            lambda known: known.model_copy(
                update={"split": known.split | work.split, "lacking": {**known.lacking, **work.lacking}}
            )
        )
        return Applied(tuple(work.done), work.refused, work.lacking, self._plan(known).steps)


class _Work:
    """One plan being done."""

    def __init__(self, commands: Commands, tell: Tell, catalogue: Catalogue, taken: set[str]) -> None:
        self._commands, self._tell, self._catalogue, self._taken = commands, tell, catalogue, taken
        self.done: list[Step] = []
        self.refused: dict[str, str] = {}
        self.split: set[str] = set()
        self.lacking: dict[str, str] = {}

    def do(self, step: Step) -> None:
        """Do *step*, unless what should come in its place could not be had."""
        if step.adds is None:
            # Another's events may be what could not be added.
            if step.place not in self.refused and (step.place or not self.refused):
                self._try(step)
            return
        said = self._try(step)
        if said is not None:
            self._one_by_one(step, step.adds, said)

    def _one_by_one(self, step: Step, wanted: Registration, said: str) -> None:
        """Register the events of *wanted* each by itself; where none is taken, it was not about the events."""
        refused: dict[str, str] = {}
        singles = wanted.singles() if len(wanted.events) > 1 else []
        for single in singles:
            name = single.events[0]
            found: str | None = said
            # IBM's pages and other products spell some in another way, and GPFS may be strict.
            for spelling in (name, *self._catalogue.event(name).aliases):
                if found is not None:
                    found = self._one(replace(single, events=(spelling,)), f"GPFS refused {step.identifier}")
            if found is not None:
                refused[name] = _first(found)
        if len(refused) == len(singles):
            self.refused[step.place] = said
            return
        self.split.add(wanted.identifier)
        self.lacking |= refused

    def _one(self, single: Registration, why: str) -> str | None:
        return self._try(addition(single, free_identifier(single, self._taken), why))

    def _try(self, step: Step) -> str | None:
        """Do *step*; return what GPFS said where it refused."""
        self._tell(step)
        try:
            self._commands.change(*step.words)
        except CommandFailed as error:
            if step.adds is None:
                self.refused[step.identifier] = error.said.strip() or str(error)
            return error.said.strip() or str(error)
        self.done.append(step)
        self._taken.add(step.identifier)
        return None


def _some(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:_SHOWN]) + (", ..." if len(nodes) > _SHOWN else "")


def _first(text: str) -> str:
    return text.partition("\n")[0]


def _parts(wanted: Registration, known: Remembered) -> list[Registration]:
    """Return as what *wanted* is registered: as a group, or event by event, less those that are lacking."""
    if wanted.identifier not in known.split:
        return [wanted]
    return [each for each in wanted.singles() if each.events[0] not in known.lacking]


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
