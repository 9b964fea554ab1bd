"""The JSON Schema of subscription files, with which editors complete and check them as `clusterbus check` does.

What a schema cannot say is left to `check`: whether names, contacts, variables, users and files exist; CEL and Jinja;
sums and comparisons, such as limits of durations; and secrets in texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.model.catalogue import Catalogues
from router.settings.json_schemas import document
from router.sources.event_selectors import ALERTS

from ..alerts import shipped_rules
from ..verbs.interface import installed
from ..verbs.verb_keys import conditions
from .models import File

_PATTERN = r"(?:[A-Za-z0-9_-]+|[*#])(?:\.(?:[A-Za-z0-9_-]+|[*#]))*"


def of_subscriptions(catalogues: Catalogues) -> dict[str, Any]:
    """Return the schema of subscription files, with the event types of *catalogues* and the installed verbs."""
    schema = document(File, "subscriptions")
    entry = schema["$defs"]["Subscription"]
    entry["properties"]["on"]["anyOf"] = _selectors(entry["properties"]["on"]["anyOf"][1], catalogues)
    for kind, model in installed().items():
        if any(each.is_required() for each in model.model_fields.values()):
            # `log:` without a value means `log: {}`; other verbs need options.
            options, _ = entry["properties"][kind]["anyOf"]
            entry["properties"][kind] = options
        entry["properties"][kind].pop("default", None)
    entry["oneOf"] = [{"required": [kind]} for kind in installed()]
    # A timer has events of its own.
    entry["required"] = [each for each in entry["required"] if each != "on"]
    entry["allOf"] = [
        *conditions(entry["properties"]),
        {"if": _given("every"), "then": {"not": {"required": ["on"]}}, "else": {"required": ["on"]}},
        {"if": _with_guard(_ABOUT_NODES), "then": {"anyOf": _ACTING_ON_NODES}},
        {"if": _with_guard(_given("first")), "then": {"properties": {"run": {"not": _given("steps")}}}},
    ]
    return _with_alerts(schema, catalogues)


def _with_alerts(schema: dict[str, Any], catalogues: Catalogues) -> dict[str, Any]:
    """Return *schema* with what rules of alerts need, unless they are shipped: then with what they must keep."""
    schema["required"] = [each for each in schema["required"] if each != "subscriptions"]
    schema["anyOf"] = [{"required": ["subscriptions"]}, {"required": ["alerts"]}]
    entry = schema["$defs"]["RuleEntry"]
    for name in ("opens", "closes"):
        entry["properties"][name]["anyOf"] = _selectors(entry["properties"][name]["anyOf"][1], catalogues)
    for name in shipped_rules.NULLABLE:
        given = entry["properties"][name]
        kept = {each: given.pop(each) for each in list(given) if each not in ("description", "title", "default")}
        entry["properties"][name] = given | {"anyOf": [*kept.pop("anyOf", ()), *([kept] if kept else ()), _NULL]}
    shipped = shipped_rules.fields()
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, fields in shipped.items():
        groups.setdefault(tuple(each for each in _CLOSING if each in fields), []).append(name)
    off = {"required": ["enabled"], "properties": {"enabled": {"const": False}}}
    own = {"properties": {"name": {"not": {"enum": [*shipped]}}}}
    needs: list[dict[str, Any]] = [
        {"if": own, "then": {"required": ["opens"], "anyOf": [_given(each) for each in _CLOSING]}},
        *(
            {
                "if": {"properties": {"name": {"enum": names}}},
                "then": {"anyOf": [_kept(each) if each in closing else _given(each) for each in _CLOSING]},
            }
            for closing, names in groups.items()
        ),
    ]
    entry |= {"if": {"not": off}, "then": {"allOf": needs}, "else": {"anyOf": [{"required": ["opens"]}, {"not": own}]}}
    return schema


_NULL = {"type": "null"}
_CLOSING = ("closes", "closes_when", "closes_after")
"""The fields of a rule that say what closes its alerts."""


def _kept(name: str) -> dict[str, Any]:
    """Return the schema of an object in which *name* is not null."""
    return {"properties": {name: {"not": {"type": "null"}}}}


def _given(name: str) -> dict[str, Any]:
    """Return the schema of an object that has *name*, not null."""
    return {"type": "object", "required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _with_guard(guard: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": ["guard"], "properties": {"guard": guard}}


def _steps_on_nodes(name: str) -> dict[str, Any]:
    steps = {"type": "array", "contains": _given("nodes")}
    return {"type": "object", "required": [name], "properties": {name: steps}}


_PER_NODE = {"type": "object", "required": ["per"], "properties": {"per": {"const": "node"}}}
_AT_MOST = {"anyOf": [_PER_NODE, {"type": "array", "contains": _PER_NODE}]}
_ABOUT_NODES = {
    "anyOf": [
        _given("blast_radius"),
        _given("first"),
        {"type": "object", "required": ["at_most"], "properties": {"at_most": _AT_MOST}},
    ]
}
"""A guard whose limits are about nodes."""

_RUN = {"anyOf": [_given("nodes"), _steps_on_nodes("steps"), _steps_on_nodes("always")]}
_ACTING_ON_NODES = [
    {"required": ["action"]},
    {"required": ["run"], "properties": {"run": _RUN}},
    _with_guard({**_given("acts_on"), "not": _given("first")}),
]
"""Subscriptions that such limits can apply to."""


def _selectors(several: Mapping[str, Any], catalogues: Catalogues) -> list[Mapping[str, Any]]:
    """Return the forms of `on`: one selector, or *several*."""
    names = [*dict.fromkeys(each.name for each in catalogues.all()), *catalogues.categories, ALERTS]
    pattern = {"type": "string", "pattern": rf"^(?=[\s\S]*[.#*])(?:{_PATTERN})$", "maxLength": 255}
    one = {"anyOf": [{"enum": list(dict.fromkeys(names))}, pattern]}
    return [one, {**several, "items": one}]
