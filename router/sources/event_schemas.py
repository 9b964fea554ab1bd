"""The JSON Schemas of the data of events, made from the catalogues; and whether data adheres to them.  Pure.

A schema says the type of each variable that the catalogue has for the event type.  It is open: other variables may come
with any event, and any variable may be absent, or null where it does not apply.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..model.catalogue import Catalogue, EventType, Kind, Variable
from ..model.events import Value
from .arguments import ARGUMENTS

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_SEVERAL = ("names", "nodes")
_TYPES: Mapping[Kind, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "names": (list,),
    "nodes": (list,),
}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_LEAST, _MOST = -(2**63), 2**63 - 1
_ARGUMENTS = {**_TEXTS, "description": "The arguments of the callback that belong to no variable."}


def of_data(event_type: EventType, catalogue: Catalogue) -> dict[str, Any]:
    """Return the schema of the data of events of *event_type*; its `$id` is their `dataschema`.

    >>> from ..model.catalogue import load
    >>> gpfs = load("gpfs")
    >>> of_data(gpfs.event("softQuotaExceeded"), gpfs)["properties"]["fsName"]["type"]
    ['string', 'null']
    """
    return {
        "$schema": DRAFT,
        "$id": catalogue.schema_of(event_type),
        "title": event_type.type,
        "description": event_type.meaning,
        "type": "object",
        "properties": {each.name: _of_variable(each) for each in catalogue.of(event_type)} | {ARGUMENTS: _ARGUMENTS},
        "additionalProperties": True,
    }


def adheres(data: Mapping[str, Value], malformed: Iterable[str], catalogue: Catalogue) -> bool:
    """Say whether *data* adheres to its schema, if only the values of *malformed* may not fit the catalogue.

    >>> from ..model.catalogue import load
    >>> adheres({"blockUsage": "lots"}, ["blockUsage"], load("gpfs"))
    False
    >>> adheres({"fsName": "a b"}, ["fsName"], load("gpfs"))
    True
    """
    for name in malformed:
        variable, value = catalogue.variables.get(name), data.get(name)
        if variable and value is not None and not isinstance(value, _TYPES.get(variable.type, (str,))):
            return False
    return True


def _of_variable(variable: Variable) -> dict[str, Any]:
    unit = f" In {variable.unit}." if variable.unit else ""
    # No enum: a newer release of the source may have more words.
    usual = f" Usually one of {', '.join(variable.values)}." if variable.values else ""
    return _type(variable.type) | {"description": f"{variable.meaning}{unit}{usual}", "examples": _examples(variable)}


def _type(kind: Kind) -> dict[str, Any]:
    if kind in _SEVERAL:
        return {**_TEXTS, "type": ["array", "null"]}
    if kind == "integer":
        return {"type": ["integer", "null"], "minimum": _LEAST, "maximum": _MOST}
    return {"type": ["number" if kind == "number" else "string", "null"]}


def _examples(variable: Variable) -> list[Value]:
    try:
        return [variable.value(variable.example)]
    except ValueError:
        return []
