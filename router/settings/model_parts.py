"""Validates what people wrote as far as it goes: a mistake in one part hides none in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .yaml_documents import Place

_PASSES = 5
"""How often a value is validated without the mistakes found before."""

Model = TypeVar("Model", bound=BaseModel)


def validated(
    model: type[Model], raw: object, instead: Mapping[str, Any], context: object = None
) -> tuple[Model | None, Mapping[Place, Any]]:
    """Return *raw* as a *model*, or what is left of it without its mistakes, and all structural mistakes by place.

    A mistake is pydantic's ErrorDetails.  *instead* has what stands for required values with mistakes.
    """
    found: dict[Place, Any] = {}
    left = raw
    for _ in range(_PASSES):
        try:
            return model.model_validate(left, context=context), found
        except ValidationError as error:
            known = left if isinstance(left, dict) else {}
            left = known
            for each in error.errors(include_url=False):
                place = tuple(part for part in each["loc"] if part != "[key]")
                # What was taken away is missing now, and its list has too few items.
                is_result = each["type"] in {"missing", "too_short"}
                if not is_result or not any(place == other[: len(place)] for other in found):
                    found.setdefault(place, each)
                left = _without(left, _reached(known, place))
            left = {**instead, **left}
    return None, found


def _reached(raw: object, place: Place) -> Place:
    """Return *place*, or the nearest place around it that is in mappings of *raw* only."""
    for at, name in enumerate(place):
        if not isinstance(raw, dict) or name not in raw:
            return place[:at]
        raw = raw[name]
    return place


def _without(raw: dict[Any, Any], place: Place) -> dict[Any, Any]:
    """Return *raw* without the value at *place*, if it is there."""
    name, *rest = place or (None,)
    if name not in raw:
        return raw
    if rest and isinstance(raw[name], dict):
        return {**raw, name: _without(raw[name], tuple(rest))}
    return {key: value for key, value in raw.items() if key != name}
