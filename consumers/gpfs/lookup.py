"""Find installed callbacks, and derive identifiers for callbacks without one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from router.cluster.callbacks.gpfs import risks
from router.cluster.callbacks.gpfs.installed import Registered

from .draft import Draft
from .errors import NotThere
from .function_callbacks import Subscribing
from .functions.kept_function import Kept
from .functions.storage import Stored
from .program_callbacks import Registering
from .site import Site

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_TAKEN = ("gpfs", "mm", "clusterbus-", "-")


def every(here: Site) -> list[Draft]:
    """Return all installed callbacks: programs, then functions.  Raises GpfsError and NotDone."""
    programs = [_of_registered(here, each) for each in Registering(here.commands, here.catalogue).all()]
    return [*programs, *(_of_stored(here, each) for each in Subscribing(here).all())]


def found(here: Site, identifier: str) -> Draft:
    """Return the installed callback *identifier*.  Raises NotThere, NotDone and GpfsError."""
    stored = Subscribing(here).get(identifier)
    if stored is not None:
        return _of_stored(here, stored)
    programs = Registering(here.commands, here.catalogue)
    registered = programs.get(identifier)
    if registered is None:
        known = [str(each.identifier) for each in every(here)]
        raise NotThere("callback", identifier, known)
    return _of_registered(here, registered)


def _of_stored(here: Site, stored: Stored) -> Draft:
    return Draft(
        identifier=stored.identifier,
        command=Kept(stored.reference, stored.digest, here.settings.consumers.handlers),
        events=stored.events,
        nodes=stored.nodes,
        parms=stored.parms,
        accept=(*stored.accept, *_risky(here, stored.events)),
        file_system=stored.file_system,
        fileset=stored.fileset,
    )


def _of_registered(here: Site, found: Registered) -> Draft:
    manner = risks.of_manner(sync=found.sync, onerror=found.onerror)
    return Draft(
        identifier=found.identifier,
        command=found.command,
        events=found.events,
        nodes=found.nodes,
        parms=tuple(found.parms.split()),
        priority=found.priority,
        sync=found.sync,
        timeout=found.timeout,
        onerror=found.onerror,
        # The dangers of an installed callback were accepted before.
        accept=(*manner, *_risky(here, found.events)),
    )


def _risky(here: Site, events: Iterable[str]) -> list[str]:
    types = [found for each in events if (found := here.catalogue.get(each))]
    return [each.name for each in types if risks.of_event(each)]


def identified(draft: Draft) -> Draft:
    """Return *draft* with an identifier, which is derived from its definition if it has none."""
    if draft.identifier or draft.command is None:
        return draft
    own = getattr(draft.command, "__qualname__", None) or str(draft.command)
    base = getattr(draft.command, "__name__", None) or Path(str(draft.command)).stem
    about = [own, getattr(draft.command, "__module__", ""), *map(list, (draft.events, draft.nodes, draft.words))]
    # Without a fileset, as releases before derived it: the same call must give the same identifier.
    scope = [draft.file_system, *([draft.fileset] if draft.fileset else [])]
    text = json.dumps([*about, *scope], default=str)
    words = (base, *map(str, draft.events[:1]), hashlib.sha256(text.encode()).hexdigest()[:8])
    identifier = _NOT_IN_NAMES.sub("-", "-".join(words))
    return replace(draft, identifier=f"on-{identifier}" if identifier.startswith(_TAKEN) else identifier)
