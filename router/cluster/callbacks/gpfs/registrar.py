"""Changes the callbacks registered with GPFS to the wanted ones, by exact commands; safe to kill at any moment.

No progress is stored: each run lists the callbacks again and makes a new plan.  A family that GPFS refuses as a group
is registered event by event, which shows which events this release lacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ....model.catalogue import Catalogue
from ....settings.models import GpfsSettings
from ....terminal_text import counted
from ...gpfs.cluster_nodes import Member, covered, members
from ...gpfs.commands import Commands
from ...gpfs.errors import CommandFailed, NotReady
from . import registration_status
from .apply import PlanExecution, Tell
from .installed import Registered, read
from .plan import Plan, Standing, Step, plan, removal
from .refusals import Memory, Remembered
from .wanted import PREFIX, registrations

_SHOWN = 8

Lacks = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns which of these nodes, given by admin name, cannot run a callback yet, and why."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of a plan: the steps *done*, those *refused* with GPFS's message, and the steps *left* to do."""

    done: tuple[Step, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    left: tuple[Step, ...] = ()
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def good(self) -> bool:
        """Whether all callbacks are registered as wanted."""
        return not self.refused and not self.left

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong and which events this release lacks, one sentence each."""
        refused = (f"{identifier}: GPFS refused: {message}" for identifier, message in self.refused.items())
        lacking = (f"{event}: this GPFS release lacks it: {message}" for event, message in self.lacking.items())
        left = "; ".join(each.command for each in self.left) if not self.refused else ""
        other = [f"GPFS does not list what was registered; still to do: {left}"] if left else []
        return (*refused, *lacking, *other)


class Registrar:
    """Registers capture with GPFS, for the events of the settings and those that Python callbacks ask for."""

    def __init__(
        self, commands: Commands, settings: GpfsSettings, catalogue: Catalogue, lacks: Lacks | None = None
    ) -> None:
        """Run *commands*; nothing is registered on nodes that *lacks* returns."""
        self._commands, self._settings, self._catalogue, self._lacks = commands, settings, catalogue, lacks
        self._memory = Memory(settings.memory)
        self._forget_refusals = False

    def registered(self) -> list[Registered]:
        """Return all user callbacks, ours and other people's.  Raises GpfsError."""
        return read(self._commands)

    def standings(self) -> list[registration_status.Standing]:
        """Return the status of the wanted registrations.  Raises as `plan`."""
        return list(registration_status.standings(self.plan()))

    def facts(self, *, everybody: bool = False) -> list[dict[str, object]]:
        """Return our callbacks; with *everybody*, other people's too.  Raises GpfsError and StateError."""
        return list(registration_status.facts(self.registered(), self._memory.read().asked, everybody=everybody))

    def plan(self) -> Plan:
        """Return the steps to do.  Raises GpfsError, StateError, and SettingsError if the settings are invalid."""
        return self._plan(self._known(self._memory.read()))

    def removal(self) -> Plan:
        """Return the plan that removes all our callbacks.  Raises GpfsError."""
        return removal(self.registered())

    def apply(self, wanted: Plan | None = None, tell: Tell = lambda _: None) -> Applied:
        """Execute *wanted*, or the plan of this moment; *tell* is called with each step before it runs.

        Raises NotReady if a node is not ready or the situation changed since *wanted* was made, and as `plan`.
        """
        with self._memory.locked():
            now = self._plan(self._known(self._memory.read()))
            if wanted is not None and wanted.steps != now.steps:
                raise NotReady(
                    "the callbacks or the settings have changed since the plan was made:"
                    " run `clusterbus callbacks plan` again"
                )
            if any(step.adds for step in now.steps):
                self._check_nodes(now)
            return self._apply(now, tell)

    def remove(self, wanted: Plan, tell: Tell = lambda _: None) -> Applied:
        """Execute the removal *wanted*, and forget what Python callbacks asked for.  Raises as `apply`."""
        with self._memory.locked():
            done, refused = [], {}
            for step in wanted.steps:
                tell(step)
                try:
                    self._commands.change(*step.words)
                except CommandFailed as error:
                    refused[step.identifier] = error.reason
                else:
                    done.append(step)
            if not self._commands.dry_run:
                self._memory.change(lambda known: known.model_copy(update={"asked": {}}))
            return Applied(tuple(done), refused)

    def try_again(self) -> None:
        """Plan as if GPFS had never refused anything, for use after its update; `apply` stores the new refusals."""
        self._forget_refusals = True

    def ask_for(self, identifier: str, events: Iterable[str], tell: Tell = lambda _: None) -> Applied:
        """Register *events* for the callback *identifier* until it calls `withdraw`.  Raises as `apply`."""
        names = tuple(dict.fromkeys(self._catalogue.event(each).name for each in events))
        return self._asked(lambda asked: {**asked, identifier: names}, names, tell)

    def withdraw(self, identifier: str, events: Iterable[str] = (), tell: Tell = lambda _: None) -> Applied:
        """Remove the registrations that only the callback *identifier* needs.  Raises as `apply`.

        Pass its *events*, so that a call after an interrupted one finishes the work.
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
            # Leave out the steps of the plan that do not concern this callback.
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
                # Events that GPFS refused earlier are not tried again, but are still missing.
                lacking={**now.lacking, **applied.lacking},
            )

    def _known(self, remembered: Remembered) -> Remembered:
        return (
            remembered.model_copy(update={"split": frozenset(), "lacking": {}}) if self._forget_refusals else remembered
        )

    def _plan(self, known: Remembered) -> Plan:
        asked = [each for events in known.asked.values() for each in events]
        wanted = registrations(self._catalogue, self._settings, asked)
        parts = [part for each in wanted for part in known.parts(each)]
        lacking = {event: message for each in wanted for event in each.events if (message := known.lacking.get(event))}
        return plan(parts, self.registered(), members(self._commands), self._catalogue, lacking)

    def _check_nodes(self, now: Plan) -> None:
        """Raise NotReady, naming the nodes on which capture is missing or different."""
        if self._lacks is None:
            return
        found = self._lacks(_where(now.standings, now.cluster))
        if found:
            reasons: dict[str, list[str]] = {}
            for node, reason in found.items():
                reasons.setdefault(reason, []).append(node)
            lines = [f"{_some(nodes)}: {why}" for why, nodes in reasons.items()]
            nodes_are = f"{counted(len(found), 'node')} {'is' if len(found) == 1 else 'are'}"
            heading = f"{nodes_are} not ready for callbacks; run `clusterbus nodes deploy` there:"
            raise NotReady("\n".join([heading, *lines]))

    def _apply(self, now: Plan, tell: Tell) -> Applied:
        work = PlanExecution(self._commands, tell, self._catalogue, now.registered)
        for step in now.steps:
            work.do(step)
        if self._commands.dry_run:
            return Applied(tuple(work.done))
        known = self._memory.change(lambda remembered: work.learnt(self._known(remembered)))
        self._forget_refusals = False
        return Applied(tuple(work.done), work.refused, work.lacking, self._plan(known).steps)


def _some(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:_SHOWN]) + (", ..." if len(nodes) > _SHOWN else "")


def _only(found: Plan, families: Collection[str]) -> Plan:
    """Return the part of *found* that concerns *families*."""

    def concerns(identifier: str) -> bool:
        return any(re.match(rf"{PREFIX}{each}(-|\Z)", identifier) for each in families)

    return replace(
        found,
        steps=tuple(each for each in found.steps if concerns(each.identifier)),
        standings=tuple(each for each in found.standings if concerns(each.wanted.identifier)),
    )


def _where(standings: Sequence[Standing], cluster: Sequence[Member]) -> list[str]:
    """Return the admin names of the nodes on which the wanted callbacks may run."""
    found: set[str] = set()
    for each in standings:
        names = covered(cluster, each.wanted.nodes)
        found |= {member.name for member in cluster} if names is None else names
    return [member.admin_name for member in cluster if member.name in found]
