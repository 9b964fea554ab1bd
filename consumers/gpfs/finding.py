"""The callbacks that are there, as if they were wanted; and what one is called that nobody gave a name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from router.sources.gpfs import dangers
from router.sources.gpfs.registered import Registered

from .drafts import Draft
from .errors import NotThere
from .folder import Stored
from .kept import Kept
from .registering import Registering
from .site import Site
from .subscribing import Subscribing

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_TAKEN = ("gpfs", "mm", "clusterbus-", "-")


def every(here: Site) -> list[Draft]:
    """Return all callbacks that are there: programs, then functions.  Raises GpfsError and NotDone."""
    programs = [_of_registered(here, each) for each in Registering(here.commands, here.catalogue).all()]
    return [*programs, *(_of_stored(here, each) for each in Subscribing(here).all())]


def found(here: Site, identifier: str) -> Draft:
    """Return the callback *identifier* as it is there.  Raises NotThere, NotDone and GpfsError."""
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
    )


def _of_registered(here: Site, found: Registered) -> Draft:
    manner = dangers.of_manner(sync=found.sync, onerror=found.onerror)
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
        # What it is already was taken before.
        accept=(*manner, *_risky(here, found.events)),
    )


def _risky(here: Site, events: Iterable[str]) -> list[str]:
    types = [found for each in events if (found := here.catalogue.get(each))]
    return [each.name for each in types if dangers.of_event(each)]


def identified(draft: Draft) -> Draft:
    """Return *draft* with an identifier: the same for the same callback, and another for another."""
    if draft.identifier or draft.command is None:
        return draft
    own = getattr(draft.command, "__qualname__", None) or str(draft.command)
    base = getattr(draft.command, "__name__", None) or Path(str(draft.command)).stem
    about = [own, getattr(draft.command, "__module__", ""), *map(list, (draft.events, draft.nodes, draft.words))]
    text = json.dumps([*about, draft.file_system], default=str)
    words = (base, *map(str, draft.events[:1]), hashlib.sha256(text.encode()).hexdigest()[:8])
    identifier = _NOT_IN_NAMES.sub("-", "-".join(words))
    return replace(draft, identifier=f"on-{identifier}" if identifier.startswith(_TAKEN) else identifier)
