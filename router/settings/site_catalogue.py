"""The catalogues of this site: those of the program, and what the file `router.catalogue` adds to them.

A newer GPFS need not wait for a newer clusterbus: events and variables that the program does not know are written
there, and from then on they are registered, decoded with types, checked and completed like any other.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ..errors import SettingsError
from ..model.catalogue import Catalogues
from .models import Settings
from .sections.router_section import RouterSettings

log = logging.getLogger(__name__)


def catalogues(settings: Settings) -> Catalogues:
    """Return the catalogues of this site; raises SettingsError with a line for each mistake in its file."""
    return read(settings.router.catalogue, settings.router.schemas)[0]


def read_again(settings: Settings, previous: Catalogues) -> Catalogues:
    """Return the catalogues as they are now, for a program that reloads; *previous* ones while they cannot be read."""
    try:
        return catalogues(settings)
    except SettingsError as error:
        log.error("cannot read the site's catalogue; keeping the previous one", extra={"reason": str(error)})  # noqa: TRY400 - the reason is complete
        return previous


def read(path: Path, schemas: str = "") -> tuple[Catalogues, tuple[str, ...]]:
    """Return the catalogues with what *path* adds, and the places of what this release knows and so ignores there.

    *schemas* is the URL below which the site serves the schemas of events.

    After an update the program knows more: the file must not stop it, nor change what the release says.  The default
    file may be absent.  Raises SettingsError as `catalogues`.
    """
    shipped = Catalogues(replace(each, schemas=schemas.rstrip("/")) for each in Catalogues.shipped().values())
    if path == RouterSettings().catalogue and not path.exists():
        return shipped, ()
    from . import catalogue_file  # noqa: PLC0415 - its models take longer to make than the catalogues to read

    return catalogue_file.added(path, shipped)
