"""The folders and databases of the settings: which are not on a local disk, and which cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from router import database_urls, network_folders
from router.settings.models import Settings


def warnings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting whose folder or file is on a file system of the network, with what is wrong with that."""
    for name, paths in _folders(settings).items():
        for path in paths:
            if message := network_folders.warning(path):
                yield name, message


def mistakes(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting of a database that cannot be opened, with the reason.

    Where nobody has set it, its folder may be on another machine, such as the one that consumers run on.
    """
    for section, field in (("router", "state"), ("facts", "store"), ("consumers", "store")):
        below = getattr(settings, section)
        url = getattr(below, field)
        if field in below.model_fields_set and (found := database_urls.mistake(url) or database_urls.obstacle(url)):
            yield f"{section}.{field}", found


def _folders(settings: Settings) -> Mapping[str, tuple[Path, ...]]:
    consumers = settings.consumers
    return {
        "shim.spool": (settings.shim.spool,),
        "router.state": _file(settings.router.state),
        "facts.store": _file(settings.facts.store),
        "consumers.store": _file(consumers.store),
        "consumers.subscriptions": (consumers.subscriptions,),
        "consumers.callbacks": (consumers.callbacks,),
        "consumers.jobs": (consumers.jobs,),
        "consumers.handlers": consumers.handlers,
    }


def _file(url: str) -> tuple[Path, ...]:
    found = database_urls.file(url)
    return (found,) if found else ()
