"""What a subscription adds to its deliveries: values from the facts of the cluster, and words of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from router.settings.field_types import Checked, matching

from ..deliveries import Delivery, Outcome
from ..errors import FilterError
from ..expressions.filters import Filter

META = "meta"
"""Where the result of an attempt has the words of its subscription."""

_NAME = matching("[A-Za-z_][A-Za-z0-9_]{0,62}", "is not a name of letters, digits and _")


def _expression(text: str) -> str:
    try:
        Filter(text)
    except FilterError as error:
        raise ValueError(str(error)) from error
    return text


FactValues = Annotated[
    dict[Annotated[str, _NAME], Annotated[str, Checked(_expression, {"minLength": 1})]], Field(max_length=50)
]
"""Expressions over the event and the facts of its cluster, by the names of their values."""

Meta = Annotated[dict[Annotated[str, _NAME], Annotated[str, Field(max_length=1000)]], Field(max_length=50)]


def enriched(delivery: Delivery, wanted: Mapping[str, str], meta: Mapping[str, str]) -> Delivery:
    """Return *delivery* with the facts *wanted*, of those that are known, and with *meta*.

    What is not known is null, and `missing` says why; `stale` says that some facts are too old.
    """
    if meta:
        delivery = replace(delivery, meta=meta)
    if not wanted:
        return delivery
    known = delivery.known
    values, missing = {}, {}
    for name, text in wanted.items():
        try:
            values[name] = _compiled(text).value_of(delivery.event, known)
        except FilterError as error:
            values[name] = None
            missing[name] = str(error)
    about = known.values if known and known.values else {}
    found = {"values": values, "stale": about.get("stale", True), "age": about.get("age"), "missing": missing}
    return replace(delivery, facts=found)


def with_meta(outcome: Outcome, meta: Mapping[str, str]) -> Outcome:
    """Return *outcome* with the words of its subscription in its result."""
    return replace(outcome, result={**outcome.result, META: dict(meta)}) if meta else outcome


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Filter:
    return Filter(text)
