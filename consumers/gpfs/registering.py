"""Callbacks that run a program: what is registered with GPFS is brought to what is wanted, and stands a kill.

There is no command that changes a callback, and its identifier has to stay.  So `<id>.next` is added as it is to be,
`<id>` deleted, added, and `<id>.next` deleted: no event falls between, and for the moment that both are there an event
may run the program twice.  Wherever that was interrupted, `<id>.next` says what was wanted, and the next call of
create, change or delete goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from router.catalogue import Catalogue
from router.sources.gpfs.commands import Commands
from router.sources.gpfs.errors import CommandFailed
from router.sources.gpfs.membership import Member, covered, members
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
            self._commands.change(ADD, *words(wanted))
        elif found := self._differences(wanted, there):
            who = wanted.identifier
            raise AlreadyThere(f"{who} is there already, with another {', '.join(found)}: use change(), or delete() it")

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
        self._commands.change(ADD, *words(replace(wanted, identifier=f"{wanted.identifier}{NEXT}")))
        self._take_over(wanted, there)

    def _finish(self, identifier: str) -> Registered | None:
        """Go on with a change of *identifier* that was interrupted, if there is one; return what is there then."""
        there, coming = self._both(identifier)
        if coming is None:
            return there
        wanted = replace(coming, identifier=identifier)
        if there == wanted:
            self._commands.change(DELETE, coming.identifier)
        else:
            self._take_over(wanted, there)
        return wanted

    def _take_over(self, wanted: Registered, there: Registered | None) -> None:
        coming = f"{wanted.identifier}{NEXT}"
        try:
            if there is not None:
                self._commands.change(DELETE, there.identifier)
            self._commands.change(ADD, *words(wanted))
        except CommandFailed as error:
            message = f"{error}; {coming} is in force as it is wanted: call again, and the change is finished"
            raise NotDone(message) from error
        self._commands.change(DELETE, coming)

    def _both(self, identifier: str) -> tuple[Registered | None, Registered | None]:
        there = {each.identifier: each for each in read(self._commands)}
        return there.get(identifier), there.get(f"{identifier}{NEXT}")

    def _differences(self, wanted: Registered, there: Registered) -> list[str]:
        """Return the fields in which *there* is another than *wanted*; GPFS may show them in another way."""
        one, other = (self._comparable(each) for each in (wanted, there))
        found = [name for name in one if one[name] != other[name]]
        if "nodes" in found and self._same_nodes(wanted.nodes, there.nodes):
            found.remove("nodes")
        # GPFS may show a default of its own for what is not set.
        return [each for each in found if each != "timeout" or wanted.timeout is not None]

    def _comparable(self, each: Registered) -> dict[str, object]:
        events = [found.name if (found := self._catalogue.get(name)) else name for name in each.events]
        return {
            "command": each.command,
            "events": sorted(events),
            "parms": each.parms.split(),
            "nodes": sorted(each.nodes),
            "priority": each.priority,
            "sync": each.sync,
            "timeout": each.timeout if each.sync else None,
            "onError": each.onerror or "continue",
        }

    def _same_nodes(self, one: Sequence[str], other: Sequence[str]) -> bool:
        if not one or not other:
            return not one and not other
        cluster: tuple[Member, ...] = members(self._commands)
        sets = covered(cluster, one), covered(cluster, other)
        return None not in sets and sets[0] == sets[1]


def words(wanted: Registered) -> list[str]:
    """Return the words of mmaddcallback for *wanted*.

    >>> words(Registered("test1", "/tmp/myscript.sh", ("startup",)))
    ['test1', '--command', '/tmp/myscript.sh', '--event', 'startup']
    """
    found = [wanted.identifier, "--command", wanted.command, "--event", ",".join(wanted.events)]
    found += ["--priority", f"{wanted.priority:g}"] if wanted.priority is not None else []
    found += ["--sync"] if wanted.sync else []
    found += ["--timeout", str(wanted.timeout)] if wanted.sync and wanted.timeout is not None else []
    found += ["--onerror", wanted.onerror] if wanted.sync and wanted.onerror is not None else []
    found += ["-N", ",".join(wanted.nodes)] if wanted.nodes else []
    return [*found, *(["--parms", wanted.parms] if wanted.parms else [])]
