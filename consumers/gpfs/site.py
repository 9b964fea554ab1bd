"""The site that Python callbacks work on: mm commands, settings, and the registrar of capture.  One per program.

This is deliberate module state, since the ArcaPix API has no argument for it.  It is created on first use from the
settings of this machine; `use` replaces it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol

from router.cluster.callbacks.gpfs.registrar import Applied, Registrar
from router.cluster.gpfs.cluster_nodes import Member, members
from router.cluster.gpfs.commands import Commands, of_settings
from router.cluster.nodes.survey import lacking
from router.model.catalogue import Catalogue, Catalogues
from router.settings import loading as of_this_machine
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from .callback_rules import Rules
from .functions.importable import Importables
from .functions.storage import Folder


class Asker(Protocol):
    """Registers capture for events, once for all callbacks that need them."""

    def ask_for(self, identifier: str, events: Iterable[str]) -> Applied:
        """Register capture for *events*, which the callback *identifier* needs, until `withdraw`."""

    def withdraw(self, identifier: str, events: Iterable[str] = ()) -> Applied:
        """Remove the registrations that only the callback *identifier* needed; *events* are those it had."""


@dataclass(frozen=True)
class Site:
    """The commands, settings and catalogue that callbacks work on."""

    commands: Commands
    settings: Settings
    asker: Asker
    catalogues: Catalogues
    host: str = field(default_factory=socket.gethostname)

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue of GPFS events."""
        return self.catalogues["gpfs"]

    @cached_property
    def rules(self) -> Rules:
        """The rules for callbacks."""
        return Rules(self.catalogue)

    @property
    def folder(self) -> Folder:
        """The folder of functions and of the subscriptions that call them."""
        return Folder(self.settings.consumers.callbacks)

    @property
    def importables(self) -> Importables:
        """The modules that a consumer can import."""
        return Importables(self.settings.consumers.handlers)

    def members(self) -> tuple[Member, ...]:
        """Return the nodes of the cluster.  Raises GpfsError."""
        return members(self.commands)


_sites: list[Site] = []


def site() -> Site:
    """Return the site; raises SettingsError if the settings of this machine are invalid."""
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
    """Use this site from now on; missing arguments default to those of this machine.

    *asker* registers capture, by default only on nodes that have the shim; *host* is the name of this machine.
    """
    wanted = settings or of_this_machine.load().settings
    known = catalogues(wanted)
    run = commands or of_settings(wanted.gpfs)
    registrar = asker or Registrar(run, wanted.gpfs, known["gpfs"], partial(lacking, wanted.nodes))
    _sites[:] = [Site(run, wanted, registrar, known, host or socket.gethostname())]


def set_dry_run(on: bool = True) -> None:  # noqa: FBT001, FBT002 - the ArcaPix API
    """Start or end a dry run: only reading commands run; others are recorded in an empty list."""
    commands = site().commands
    if on and not commands.dry_run:
        commands.recorded.clear()
    commands.dry_run = on


def get_cmd_cache() -> list[str]:
    """Return the recorded commands that changed something, or would have, as texts in order."""
    return list(site().commands.recorded)
