"""When facts were read: the parts that an expression reads, and when the oldest of them was last confirmed.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from router.cluster.facts.parts import (
    CLUSTER,
    DISKS,
    FILE_SYSTEMS,
    FILESETS,
    MANAGERS,
    NODE_CLASSES,
    POOLS,
    QUOTAS,
    STATES,
)
from router.cluster.facts.views import Known
from router.model.events import Event

from ..expressions.fact_paths import Path, Place, texts

_OF_FILE_SYSTEMS = {"disks": DISKS, "down": DISKS, "filesets": FILESETS, "pools": POOLS, "quotas": QUOTAS}
_WHOLE = {
    "nodes": (CLUSTER, STATES),
    "names": (CLUSTER, STATES),
    "down": (STATES,),
    "quorum": (CLUSTER, STATES),
    "manager": (MANAGERS,),
    "file_systems": (FILE_SYSTEMS,),
    "node_classes": (NODE_CLASSES,),
}


def confirmed(paths: Iterable[Path], known: Known, event: Event) -> datetime | None:
    """Return when the oldest part of the *known* facts that *paths* read for *event* was last confirmed.

    None if one of them is not known, or *paths* is empty.
    """
    moments = [known.confirmed.get(part) for path in paths for part in _parts(path.steps, known, event)]
    found = [each for each in moments if each is not None]
    return min(found) if found and len(found) == len(moments) else None


def _parts(steps: Sequence[object], known: Known, event: Event) -> Iterator[str]:
    for each in steps:
        if isinstance(each, Path):
            yield from _parts(each.steps, known, event)
    match steps:
        case ("file_systems", key, str(kind), *_) if kind in _OF_FILE_SYSTEMS:
            yield from (f"{_OF_FILE_SYSTEMS[kind]}{name}" for name in _names(key, known, event))
        case (str(first), *_) if first in _WHOLE:
            yield from _WHOLE[first]
        case _:
            yield from known.confirmed


def _names(key: object, known: Known, event: Event) -> Iterable[str]:
    """Return the file systems that *key* of a path names; all if only the evaluation knows."""
    match key:
        case str():
            return (key,)
        case Place(("data", name)):
            return texts(event.data.get(name))
        case Place((name,)):
            return texts(getattr(event, name))
        case _:
            return ((known.values or {}).get("file_systems") or {}).keys()
