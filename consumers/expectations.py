"""Tests inside subscriptions: given these events, this is to come of it.  Values only; `trials` tries them.

tests:
  - given: {event: diskFailure, data: {fsName: gpfs1, diskName: nsd3}, node: nsd01}
    expect: runs
  - given: {event: lowDiskSpace, times: 10, every: 1s}
    expect: {deliveries: 1}
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from router.events import Value
from router.facts import Known, unknown

from .fields import Closed
from .occasions import CLUSTER, NODE
from .paths import Path, mistake
from .retries import Duration

MOST = 20_000
"""Events of one test at the most."""


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is no moment: write it as 2026-11-20T12:00:00Z, with the zone")
    return moment.astimezone(UTC)


def _several(value: object) -> object:
    return (value,) if isinstance(value, dict) else value


def _worded(value: object) -> object:
    return {"word": value} if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Data = dict[str, Value]


class Given(Closed):
    """An event, *times* often, *every* so much after the one before.

    Without *data* it has all of its variables, with the catalogue's examples.  Without *at* it happens where the clock
    of the test stands.
    """

    event: str
    data: Data = Field(default={})
    node: str = NODE
    cluster: str = CLUSTER
    at: Moment | None = None
    times: int = Field(default=1, ge=1, le=MOST)
    every: Duration | None = None


class Expected(Closed):
    """What is to come: a *word*, the number of *deliveries*, what is to be among the *effect* of the first."""

    word: str | None = None
    deliveries: int | None = Field(default=None, ge=0)
    effect: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.word is None and self.deliveries is None and self.effect is None:
            raise ValueError("expects nothing: write a word such as runs, or deliveries or effect")
        return self


def _short_forms(schema: dict[str, Any]) -> None:
    """Add to the *schema* of an expectation the short forms that are read as well."""
    given, expect = schema["properties"]["given"], schema["properties"]["expect"]
    schema["properties"]["given"] = {"anyOf": [given["items"], given]}
    schema["properties"]["expect"] = {"anyOf": [{"type": "string"}, expect]}


class Expectation(Closed):
    """One test of a subscription; *facts* is what is known of the cluster, as `clusterbus facts show --json` has it."""

    model_config = ConfigDict(json_schema_extra=_short_forms)

    given: Annotated[tuple[Given, ...], Field(strict=False, min_length=1, max_length=1000), BeforeValidator(_several)]
    expect: Annotated[Expected, BeforeValidator(_worded)]
    facts: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _of_facts(self) -> Self:
        for name in self.facts or ():
            if wrong := mistake(Path((name,))):
                raise ValueError(wrong)
        return self

    @property
    def known(self) -> Known:
        """What is known in this test: what it does not say is null."""
        if self.facts is None:
            return unknown("the test gives no facts")
        nothing = unknown("")
        values = dict.fromkeys(nothing.nulls) | {"quorum": nothing.nulls["quorum"], "age": 0, "stale": False}
        return Known(values | self.facts, "", nothing.nulls)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(each.times for each in self.given) > MOST:
            raise ValueError(f"gives more than {MOST} events")
        return self
