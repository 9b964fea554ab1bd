"""Executes a plan step by step, and finds out which events this GPFS release lacks.

A family that GPFS refuses as a group is registered event by event.  Events that are already captured stay captured: the
old registration remains if the new one cannot be registered completely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ....model.catalogue import Catalogue
from ...gpfs.commands import Commands
from ...gpfs.errors import CommandFailed
from .installed import Registered
from .plan import Step, addition, deletion, free_identifier, is_ours
from .refusals import Remembered
from .wanted import Registration

Tell = Callable[[Step], object]
"""Called with each step before its command runs."""


class PlanExecution:
    """The execution of one plan: the steps *done*, what GPFS *refused*, and which events are *split* or *lacking*."""

    def __init__(self, commands: Commands, tell: Tell, catalogue: Catalogue, registered: Sequence[Registered]) -> None:
        """Run *commands*, calling *tell* before each; *registered* are the callbacks that exist now."""
        self._commands, self._tell, self._catalogue = commands, tell, catalogue
        self._taken = {each.identifier for each in registered}
        self._captured = {name.lower() for each in registered if is_ours(each.identifier) for name in each.events}
        self.done: list[Step] = []
        self.refused: dict[str, str] = {}
        self.split: set[str] = set()
        self.lacking: dict[str, str] = {}

    def do(self, step: Step) -> None:
        """Execute *step*; skip a deletion whose replacement was refused."""
        if step.adds is None:
            # The events that could not be added may be those of this callback.
            if step.place not in self.refused and (step.place or not self.refused):
                self._try(step)
            return
        error = self._try(step)
        if error is not None:
            self._one_by_one(step, step.adds, error)

    def learnt(self, known: Remembered) -> Remembered:
        """Return *known* with the refusals of this execution added."""
        return known.model_copy(
            update={"split": known.split | self.split, "lacking": {**known.lacking, **self.lacking}}
        )

    def _one_by_one(self, step: Step, wanted: Registration, failed: CommandFailed) -> None:
        """Register each event of *wanted* alone, and find out which events do not exist."""
        several = len(wanted.events) > 1
        refused: dict[str, CommandFailed] = {}
        added: list[Step] = []
        # A command that did not finish in time says nothing about its events.
        for single in (wanted.singles() if several else [wanted]) if failed.code is not None else ():
            name, found = single.events[0], failed
            # IBM's pages and other products spell some events differently, and GPFS may be strict.
            for spelling in (*((name,) if several else ()), *self._catalogue.event(name).aliases):
                identifier = free_identifier(single, self._taken)
                one = addition(replace(single, events=(spelling,)), identifier, f"GPFS refused {step.identifier}")
                error = self._try(one)
                if error is None:
                    added.append(one)
                    break
                found = error
            else:
                refused[name] = found
        if failed.code is not None and all(self._is_lacking(*each, some=bool(added)) for each in refused.items()):
            self.split |= {wanted.identifier} if several else set()
            self.lacking |= {name: error.reason.partition("\n")[0] for name, error in refused.items()}
            return
        # The old registration stays, so the events added just now would be captured twice: delete them.
        self.refused[step.place] = "; ".join(dict.fromkeys(each.reason for each in (failed, *refused.values())))
        for each in added:
            self._try(deletion(each.identifier, f"{step.identifier} could not be registered completely"))

    def _is_lacking(self, event: str, error: CommandFailed, *, some: bool) -> bool:
        """Return whether this release lacks *event*, according to *error*.

        False if the event is already captured, or if the message does not name it.  With *some*, other events of the
        family were accepted, so the message need not name it.
        """
        about = some or event.lower() in error.message.replace(error.words[1], "").lower()
        return about and error.code is not None and event.lower() not in self._captured

    def _try(self, step: Step) -> CommandFailed | None:
        """Execute *step*; return its failure, or None."""
        self._tell(step)
        try:
            self._commands.change(*step.words)
        except CommandFailed as error:
            if step.adds is None:
                self.refused[step.identifier] = error.reason
            return error
        self.done.append(step)
        self._taken.add(step.identifier)
        return None
