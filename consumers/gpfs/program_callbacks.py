"""Callbacks that run a program: change their registration in GPFS; safe to interrupt.

GPFS has no command to change a callback, and its identifier must stay the same.  So the new version is added as
`<id>.next`, `<id>` is deleted and added, and `<id>.next` is deleted.  No event is missed, but an event may run the
program twice while both exist.  After an interruption, `<id>.next` has the wanted version, and the next call of
create, change or delete completes the change.
"""

from __future__ import annotations

from dataclasses import replace

from router.cluster.callbacks.gpfs.installed import Registered, read
from router.cluster.callbacks.gpfs.plan import differences
from router.cluster.gpfs.cluster_nodes import members
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed
from router.model.catalogue import Catalogue

from .callback_rules import NEXT
from .errors import AlreadyThere, NotDone, NotThere

ADD, DELETE = "mmaddcallback", "mmdelcallback"


class Registering:
    """Creates, changes and deletes callbacks that are registered with GPFS."""

    def __init__(self, commands: Commands, catalogue: Catalogue) -> None:
        """Run GPFS through *commands*."""
        self._commands, self._catalogue = commands, catalogue

    def all(self) -> list[Registered]:
        """Return all callbacks of users, with the new version after an interrupted change.  Raises GpfsError."""
        there = {each.identifier: each for each in read(self._commands)}
        found = {}
        for identifier, each in there.items():
            own = identifier.removesuffix(NEXT)
            latest = there.get(f"{own}{NEXT}", each)
            found[own] = replace(latest, identifier=own)
        return list(found.values())

    def get(self, identifier: str) -> Registered | None:
        """Return the callback *identifier*, or None if it does not exist.  Raises GpfsError."""
        return next((each for each in self.all() if each.identifier == identifier), None)

    def create(self, wanted: Registered) -> None:
        """Register *wanted*, unless it is registered.  Raises AlreadyThere if a different one exists, and GpfsError."""
        there = self._finish(wanted.identifier)
        if there is None:
            self._commands.change(ADD, *wanted.arguments())
        elif found := self._differences(wanted, there):
            message = f"{wanted.identifier} already exists and is different: {'; '.join(found)}"
            raise AlreadyThere(f"{message}: use change(), or delete() it")

    def delete(self, identifier: str) -> None:
        """Delete the callback and the remains of an interrupted change.  Raises NotThere and GpfsError."""
        found = [each.identifier for each in self._both(identifier) if each]
        if not found:
            raise NotThere("callback", identifier, [each.identifier for each in self.all()])
        for each in found:
            self._commands.change(DELETE, each)

    def change(self, wanted: Registered) -> None:
        """Replace the callback with the same identifier by *wanted*.  Raises NotThere, NotDone and GpfsError."""
        there = self._finish(wanted.identifier)
        if there is None:
            raise NotThere("callback", wanted.identifier, [each.identifier for each in self.all()])
        if not self._differences(wanted, there):
            return
        self._commands.change(ADD, *replace(wanted, identifier=f"{wanted.identifier}{NEXT}").arguments())
        self._take_over(wanted, there)

    def _finish(self, identifier: str) -> Registered | None:
        """Complete an interrupted change of *identifier*, if there is one; return the registered callback."""
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
            message = f"{error}; the new version runs as {coming}: repeat the call to complete the change"
            raise NotDone(message) from error
        self._commands.change(DELETE, coming)

    def _both(self, identifier: str) -> tuple[Registered | None, Registered | None]:
        there = {each.identifier: each for each in read(self._commands)}
        return there.get(identifier), there.get(f"{identifier}{NEXT}")

    def _differences(self, wanted: Registered, there: Registered) -> tuple[str, ...]:
        cluster = () if wanted.nodes == there.nodes else members(self._commands)
        return differences(wanted, there, cluster, self._catalogue)
