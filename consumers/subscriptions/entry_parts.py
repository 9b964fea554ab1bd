"""Validates one entry of a subscription file as far as it goes: a mistake in one part hides none in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from router.settings.yaml_documents import Place

from .mistake_texts import message
from .models import Entry, EntryWithVerb

_PASSES = 5
"""How often an entry is validated without the mistakes found before."""

_NAMELESS: Mapping[str, Any] = {"name": "x", "on": "#"}
"""What stands for an invalid name and invalid events while the rest of an entry is validated."""


def validated(raw: Mapping[str, Any], context: str | None) -> tuple[Entry | None, list[tuple[Place, str]]]:
    """Return the entry *raw*, or what is left of it without its mistakes, and all structural mistakes in it.

    In the *context* ON_THIS_MACHINE users must exist.
    """
    found: dict[Place, str] = {}
    left: Mapping[str, Any] = raw
    for _ in range(_PASSES):
        try:
            return EntryWithVerb.model_validate(left, context=context), list(found.items())
        except ValidationError as error:
            for each in error.errors(include_url=False):
                place = each["loc"]
                # What was taken away is missing now, and its list has too few items.
                is_result = each["type"] in {"missing", "too_short"}
                if not is_result or not any(place == known[: len(place)] for known in found):
                    found.setdefault(place, message(EntryWithVerb, each))
                left = {**_NAMELESS, **_without(left, place)}
    return None, list(found.items())


def _without(raw: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return *raw* without the value at *place*, or without the nearest mapping around it that is no list's item."""
    name, *rest = place or (None,)
    left = {key: value for key, value in raw.items() if key != name}
    inner = raw.get(str(name))
    if isinstance(inner, dict) and rest and rest[0] in inner:
        left[str(name)] = _without(inner, tuple(rest))
    return left
