"""The JSON Schema of events as they are in messages: the attributes.  That of their data is in the catalogues."""

from __future__ import annotations

from typing import Any

from ..model.events import Event
from ..settings.json_schemas import document

ALWAYS = [name for name, field in Event.model_fields.items() if field.is_required() or field.default is not None]
"""The attributes that each event has."""


def of_event() -> dict[str, Any]:
    """Return the schema of an event of any type.  It is open: a newer release may have more attributes.

    >>> of_event()["properties"]["subject"]["type"]
    'string'
    """
    schema = document(Event, "event")
    properties = {name: _present(each) for name, each in schema["properties"].items()}
    return schema | {"properties": properties, "required": ALWAYS, "additionalProperties": True}


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what an attribute is where it is present: absent ones are left out of messages, not null."""
    schema.pop("default", None)
    kinds = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
    return {**kinds[0], **schema} if kinds else schema
