"""Callbacks that run a program: what is registered with GPFS is brought to what is wanted, and stands a kill.

There is no command that changes a callback, and its identifier has to stay.  So `<id>.next` is added as it is to be,
`<id>` deleted, added, and `<id>.next` deleted: no event falls between, and for the moment that both are there an event
may run the program twice.  Wherever that was interrupted, `<id>.next` says what was wanted, and the next call of
create, change or delete goes on from there.
"""

from __future__ import annotations

from dataclasses import replace

from router.catalogue import Catalogue
from router.sources.gpfs.commands import Commands
from router.sources.gpfs.errors import CommandFailed
from router.sources.gpfs.membership import members
from router.sources.gpfs.plans import differences
from router.sources.gpfs.registered import Registered, read

from .errors import AlreadyThere, NotDone, NotThere
from .rules import NEXT

ADD, DELETE = "mmaddcallback", "mmdelcallback"


class Registering:
    """What GPFS has registered, changed one callback at a time."""

    def __init__(self, commands: Commands, catalogue: Catalogue) -> None:
        """Use *commands*."""
        self._commands, self._catalogue = commands, catalogue

    def all(self) -> list[Registered]:
        """Return all callbacks of users; one whose change was interrupted as it was wanted.  Raises GpfsError."""
        there = {each.identifier: each for each in read(self._commands)}
        found = {}
        for identifier, each in there.items():
            own = identifier.removesuffix(NEXT)
            latest = there.get(f"{own}{NEXT}", each)
            found[own] = replace(latest, identifier=own)
        return list(found.values())

    def get(self, identifier: str) -> Registered | None:
        """Return the callback *identifier*, None where there is none.  Raises GpfsError."""
        return next((each for each in self.all() if each.identifier == identifier), None)

    def create(self, wanted: Registered) -> None:
        """Register *wanted*, unless it is.  Raises AlreadyThere where another has its identifier, and GpfsError."""
        there = self._finish(wanted.identifier)
        if there is None:
            self._commands.change(ADD, *wanted.arguments())
        elif found := self._differences(wanted, there):
            message = f"{wanted.identifier} is there already, and another: {'; '.join(found)}"
            raise AlreadyThere(f"{message}: use change(), or delete() it")

    def delete(self, identifier: str) -> None:
        """Delete it, and what an interrupted change left.  Raises NotThere and GpfsError."""
        found = [each.identifier for each in self._both(identifier) if each]
        if not found:
            raise NotThere("callback", identifier, [each.identifier for each in self.all()])
        for each in found:
            self._commands.change(DELETE, each)

    def change(self, wanted: Registered) -> None:
        """Have *wanted* in the place of what has its identifier.  Raises NotThere, NotDone and GpfsError."""
        there = self._finish(wanted.identifier)
        if there is None:
            raise NotThere("callback", wanted.identifier, [each.identifier for each in self.all()])
        if not self._differences(wanted, there):
            return
        self._commands.change(ADD, *replace(wanted, identifier=f"{wanted.identifier}{NEXT}").arguments())
        self._take_over(wanted, there)

    def _finish(self, identifier: str) -> Registered | None:
        """Go on with a change of *identifier* that was interrupted, if there is one; return what is there then."""
        there, coming = self._both(identifier)
        if coming is None:
            return there
        wanted = replace(coming, identifier=identifier)
        if there is not None and not self._differences(wanted, there):
            self._commands.change(DELETE, coming.identifier)
        else:
            self._take_over(wanted, there)
        return wanted

    def _take_over(self, wanted: Registered, there: Registered | None) -> None:
        coming = f"{wanted.identifier}{NEXT}"
        try:
            if there is not None:
                self._commands.change(DELETE, there.identifier)
            self._commands.change(ADD, *wanted.arguments())
        except CommandFailed as error:
            message = f"{error}; {coming} is in force as it is wanted: call again, and the change is finished"
            raise NotDone(message) from error
        self._commands.change(DELETE, coming)

    def _both(self, identifier: str) -> tuple[Registered | None, Registered | None]:
        there = {each.identifier: each for each in read(self._commands)}
        return there.get(identifier), there.get(f"{identifier}{NEXT}")

    def _differences(self, wanted: Registered, there: Registered) -> tuple[str, ...]:
        cluster = () if wanted.nodes == there.nodes else members(self._commands)
        return differences(wanted, there, cluster, self._catalogue)
