"""Does a plan step by step, and learns which events GPFS does not have.

A family that GPFS does not take as a group is registered event by event.  What is captured already is never given up
for that: its old registration stays where the new one can't be had whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...catalogue import Catalogue
from .commands import Commands
from .errors import CommandFailed
from .memory import Remembered
from .plans import Step, addition, deletion, free_identifier, is_ours
from .registered import Registered
from .registrations import Registration

Tell = Callable[[Step], object]
"""Is told each command before it is run."""


class Applying:
    """One plan being done: what was *done*, what GPFS *refused*, and what was learnt of its events."""

    def __init__(self, commands: Commands, tell: Tell, catalogue: Catalogue, registered: Sequence[Registered]) -> None:
        """Run *commands*, each told before, where these are *registered*."""
        self._commands, self._tell, self._catalogue = commands, tell, catalogue
        self._taken = {each.identifier for each in registered}
        self._captured = {name.lower() for each in registered if is_ours(each.identifier) for name in each.events}
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
        error = self._try(step)
        if error is not None:
            self._one_by_one(step, step.adds, error)

    def learnt(self, known: Remembered) -> Remembered:
        """Return what is *known*, and what GPFS refused now."""
        return known.model_copy(
            update={"split": known.split | self.split, "lacking": {**known.lacking, **self.lacking}}
        )

    def _one_by_one(self, step: Step, wanted: Registration, said: CommandFailed) -> None:
        """Register the events of *wanted* each by itself, and learn which there are not."""
        several = len(wanted.events) > 1
        refused: dict[str, CommandFailed] = {}
        added: list[Step] = []
        # Where a command was not through in time, nothing is known of the events.
        for single in (wanted.singles() if several else [wanted]) if said.code is not None else ():
            name, found = single.events[0], said
            # IBM's pages and other products spell some in another way, and GPFS may be strict.
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
        if said.code is not None and all(self._is_lacking(*each, some=bool(added)) for each in refused.items()):
            self.split |= {wanted.identifier} if several else set()
            self.lacking |= {name: _first(_said(error)) for name, error in refused.items()}
            return
        # The old one stays, so what is there twice now goes.
        self.refused[step.place] = "; ".join(dict.fromkeys(map(_said, (said, *refused.values()))))
        for each in added:
            self._try(deletion(each.identifier, f"not all of {step.identifier} could be had"))

    def _is_lacking(self, event: str, error: CommandFailed, *, some: bool) -> bool:
        """Say whether GPFS has no such *event*: for sure not where it is captured already, or it says nothing of it.

        With *some* others were taken just so, and its words need not be understood.
        """
        about = some or event.lower() in error.said.replace(error.words[1], "").lower()
        return about and error.code is not None and event.lower() not in self._captured

    def _try(self, step: Step) -> CommandFailed | None:
        """Do *step*; return how it failed."""
        self._tell(step)
        try:
            self._commands.change(*step.words)
        except CommandFailed as error:
            if step.adds is None:
                self.refused[step.identifier] = _said(error)
            return error
        self.done.append(step)
        self._taken.add(step.identifier)
        return None


def _said(error: CommandFailed) -> str:
    return error.said.strip() or str(error)


def _first(text: str) -> str:
    return text.partition("\n")[0]
