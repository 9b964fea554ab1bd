"""The schemas that clusterbus publishes: of events, of their data, and of what commands print about them in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from router.file_modes import write_shared_file
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.schemas.envelope import of_event
from router.sources.event_schemas import DRAFT, of_data

from ...store.letters import Letter
from ...store.queries import Row

_FINGERPRINT = {"type": "string", "description": "What failures of the same kind have in common; empty without one."}


def of_outcome() -> dict[str, Any]:
    """Return the schema of an attempt and its outcome, a line of `clusterbus deliveries --json`."""
    found = _of(Row, "outcome", "An attempt of a delivery, and how it ended.")
    del found["properties"]["delay"]
    again = {"type": ["string", "null"], "format": "date-time", "description": "The earliest time of the next attempt."}
    return _closing(found, {"again": again, "failure": _FINGERPRINT})


def of_letter() -> dict[str, Any]:
    """Return the schema of a letter, as `clusterbus dead show --json` prints it."""
    found = _of(Letter, "letter", "A message that was given up, kept with its reason, and what was done with it.")
    attempts = {"type": "array", "items": {"type": "object"}, "description": "The attempts of its delivery."}
    edits = {"type": "array", "items": {"type": "object"}, "description": "How its event was edited before a replay."}
    found["properties"]["body"] = {"type": "string", "description": "The message as text; other octets are escaped."}
    return _closing(found, {"failure": _FINGERPRINT, "attempts": attempts, "edits": edits})


DOCUMENTS: Mapping[str, Callable[[], dict[str, Any]]] = {"event": of_event, "outcome": of_outcome, "letter": of_letter}
"""Each by the name of its folder; that of alerts will stand beside them."""


def of_type(text: str, catalogues: Catalogues) -> dict[str, Any]:
    """Return the schema of the data of the event type *text*; raises UnknownEvent."""
    event_type = named(text, catalogues)
    return of_data(event_type, catalogues[event_type.source])


def everything(catalogues: Catalogues) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path of each file that a site serves, and its schema."""
    base = next(iter(catalogues.values())).schemas
    for name, make in DOCUMENTS.items():
        address = f"{name}/1.json"
        yield address, make() | ({"$id": f"{base}/{address}"} if base else {})
    for catalogue in catalogues.values():
        for event_type in catalogue.events.values():
            yield f"{event_type.type}/{catalogue.version}.json", of_data(event_type, catalogue)


def write(folder: Path, catalogues: Catalogues) -> int:
    """Write all schemas below *folder*, for any web server to serve; return how many.  Raises OSError."""
    found = [*everything(catalogues)]
    for name, schema in found:
        text = f"{json.dumps(schema, indent=2, ensure_ascii=False)}\n"
        # Replaced at once: a server may be reading it.
        write_shared_file(folder / name, text.encode(), replace=True)
    return len(found)


def _of(kind: type, name: str, description: str) -> dict[str, Any]:
    found = TypeAdapter(kind).json_schema(mode="serialization")
    for each in found["properties"].values():
        each.pop("title", None)
        each.pop("default", None)
    return {"$schema": DRAFT, "$id": f"urn:clusterbus:schema:{name}:1", **found, "description": description}


def _closing(schema: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema["properties"] | more
    return schema | {"properties": properties, "required": [*properties], "additionalProperties": True}
