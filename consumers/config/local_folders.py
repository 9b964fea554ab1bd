"""The folders, databases and brokers of the settings: not on a local disk, or with a password that others can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from router import database_urls, network_folders
from router.broker import addresses
from router.settings.models import Settings

_DATABASES = (("router", "state"), ("facts", "store"), ("consumers", "store"))

_IN_THE_URL = (
    "holds its password, which everybody who may read the settings sees: write the password into a file that only the"
    " program's user may read, and ?password=file:/PATH at the end of the URL"
)


def warnings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting to change: a folder or file on a file system of the network, a readable password; and why."""
    for name, paths in _folders(settings).items():
        for path in paths:
            if message := network_folders.warning(path):
                yield name, message
    for section, field in _DATABASES:
        if database_urls.holds_password(getattr(getattr(settings, section), field)):
            yield f"{section}.{field}", _IN_THE_URL
    yield from (("broker.url", f"{each} {addresses.READABLE}") for each in addresses.readable(settings.broker.url))


def mistakes(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting of a database that cannot be opened, with the reason."""
    for section, field in _DATABASES:
        if found := mistake(settings, f"{section}.{field}"):
            yield f"{section}.{field}", found


def mistake(settings: Settings, setting: str) -> str:
    """Return why the database of *setting* cannot be opened, or an empty text.

    Where nobody has set it, its folder may be on another machine, such as the one that consumers run on.
    """
    section, _, field = setting.partition(".")
    below = getattr(settings, section)
    url = getattr(below, field)
    return (field in below.model_fields_set and (database_urls.mistake(url) or database_urls.obstacle(url))) or ""


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
        "consumers.actions": consumers.actions,
    }


def _file(url: str) -> tuple[Path, ...]:
    found = database_urls.file(url)
    return (found,) if found else ()
