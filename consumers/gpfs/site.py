"""What Python callbacks work on: the mm commands, the settings, who registers capture.  One for the program.

The one deliberate piece of module state: the seed's API has no argument to pass it by.  It is made when it is first
needed, from the settings of this machine; `use` puts another in its place.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol

from router import settings as of_this_machine
from router.catalogue import Catalogue, Catalogues
from router.nodes import lacking
from router.sections import Settings
from router.sources.gpfs.commands import Commands, of_settings
from router.sources.gpfs.membership import Member, members
from router.sources.gpfs.registrar import Applied, Registrar

from .folder import Folder
from .importables import Importables
from .rules import Rules


class Asker(Protocol):
    """Who has capture registered for events, once on a node whoever asks."""

    def ask_for(self, identifier: str, events: Iterable[str]) -> Applied:
        """Have *events* captured too, for the callback *identifier*, until it lets go."""

    def let_go(self, identifier: str, events: Iterable[str] = ()) -> Applied:
        """Register no more for the callback *identifier*, which had *events* captured, than others want."""


@dataclass(frozen=True)
class Site:
    """What callbacks work on."""

    commands: Commands
    settings: Settings
    asker: Asker
    catalogues: Catalogues
    host: str = field(default_factory=socket.gethostname)

    @property
    def catalogue(self) -> Catalogue:
        """What GPFS can say."""
        return self.catalogues["gpfs"]

    @cached_property
    def rules(self) -> Rules:
        """What a callback is checked by."""
        return Rules(self.catalogue)

    @property
    def folder(self) -> Folder:
        """Where functions are kept, and the subscriptions that call them."""
        return Folder(self.settings.consumers.callbacks)

    @property
    def importables(self) -> Importables:
        """What a consumer can import."""
        return Importables(self.settings.consumers.handlers)

    def members(self) -> tuple[Member, ...]:
        """Return the nodes of the cluster.  Raises GpfsError."""
        return members(self.commands)


_sites: list[Site] = []


def site() -> Site:
    """Return what callbacks work on; raises SettingsError where the settings of this machine can't be used."""
    if not _sites:
        use()
    return _sites[0]


def use(
    commands: Commands | None = None,
    settings: Settings | None = None,
    *,
    asker: Asker | None = None,
    host: str | None = None,
) -> None:
    """Work on these from now on; what is not given is this machine's own.

    *asker* is who registers capture, by default on nodes that have the shim only; *host* what this machine is called.
    """
    wanted = settings or of_this_machine.load().settings
    catalogues = Catalogues.shipped()
    run = commands or of_settings(wanted.gpfs)
    registrar = asker or Registrar(run, wanted.gpfs, catalogues["gpfs"], partial(lacking, wanted.nodes))
    _sites[:] = [Site(run, wanted, registrar, catalogues, host or socket.gethostname())]


def set_dry_run(on: bool = True) -> None:  # noqa: FBT001, FBT002 - the seed's API
    """Run only commands that look, from now on; those that would change something are recorded, from none."""
    commands = site().commands
    if on and not commands.dry_run:
        commands.recorded.clear()
    commands.dry_run = on


def get_cmd_cache() -> list[str]:
    """Return the commands that would have changed, or did change, something: as text, in their order."""
    return list(site().commands.recorded)
