"""Event types and their variables: shown by `clusterbus catalogue`, completed by all commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..settings import loading
from .output import fail, rows

if TYPE_CHECKING:
    from ..model.catalogue import Catalogues, EventType


def event_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the event types that begin with *incomplete*, each with its meaning, and the sources that do."""
    known = _of_this_machine()
    word = incomplete.lower()
    written = [(name, each.meaning) for each in known.all() for name in ((each.type,) if "." in word else (each.name,))]
    return [each for each in written if each[0].lower().startswith(word)] + [
        (each, "") for each in known if each.startswith(incomplete)
    ]


def _of_this_machine() -> Catalogues:
    """Return the catalogues for completion, which does not run the command's root; those shipped if a file is wrong."""
    from ..model.catalogue import Catalogues  # noqa: PLC0415 - commands about letters complete names of events only
    from ..settings import site_catalogue  # noqa: PLC0415 - idem

    try:
        return site_catalogue.catalogues(loading.load().settings)
    except SettingsError:
        return Catalogues.shipped()


def sources(incomplete: str) -> list[str]:
    """Return the sources that begin with *incomplete*."""
    return [each for each in _of_this_machine() if each.startswith(incomplete)]


def show_types(catalogues: Catalogues, name: str | None, source: str | None, *, as_json: bool) -> None:
    """Print the event types with *name* and of *source*, by default all, and the variables of one."""
    if source is not None and source not in catalogues:
        fail(f"no source {source!r}: use {' or '.join(catalogues)}", 2)
    known = catalogues.all() if name is None else catalogues.find(name)
    found = [each for each in known if source in (None, each.source)]
    if name is not None and not found:
        fail(f"no event type {name!r}{(catalogues.of(source) if source else catalogues).did_you_mean(name)}")
    columns: dict[str, Callable[[EventType], object]] = {
        "event": lambda each: each.name,
        "category": lambda each: each.category,
        "scope": lambda each: each.scope,
        "severity": lambda each: each.severity,
    }
    if name is None:
        rows(found, columns | {"variables": lambda each: " ".join(each.variables)}, as_json=as_json)
        return
    rows(found, columns | {"meaning": lambda each: each.meaning}, as_json=as_json)
    if not as_json:
        _show_variables(catalogues, found)


def _show_variables(catalogues: Catalogues, found: list[EventType]) -> None:
    several = len(found) > 1
    rows(
        [(event_type, each) for event_type in found for each in catalogues.of(event_type.source).of(event_type)],
        ({"event": lambda each: each[0].type} if several else {})
        | {
            "variable": lambda each: each[1].name,
            "type": lambda each: each[1].type,
            "unit": lambda each: each[1].unit,
            "example": lambda each: each[1].example or "",
            "meaning": lambda each: each[1].meaning,
        },
    )
