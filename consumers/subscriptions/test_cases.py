"""Tests inside subscriptions: given these events, expect this result.  `inspection.test_runner` runs them.

tests:
  - given: {event: diskFailure, data: {fsName: gpfs1, diskName: nsd3}, node: nsd01}
    expect: runs
  - given: {event: lowDiskSpace, times: 10, every: 1s}
    expect: {deliveries: 1}

Tests of a rule of alerts are steps on a clock:

tests:
  - steps:
      - {event: lowDiskSpace, data: {fsName: gpfs1}, expect: opened}
      - {after: 2h, expect: closed}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from router.cluster.facts.models import unknown
from router.cluster.facts.views import Known
from router.model import bounds, durations
from router.model.events import Severity, Value
from router.settings.field_types import ONE_OR_SEVERAL, Checked, ShortForm, whole

from ..config.field_types import Closed, Duration
from ..config.synthetic_events import CLUSTER, NODE
from ..expressions.fact_paths import Path, mistake, names

MOST = 20_000
"""The largest number of events in one test."""

LONGEST = timedelta(days=3650)
"""How long the events of one test may take."""


_MOMENT = (
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
    r"(?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return bounds.checked(value)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and re.fullmatch(_MOMENT, value) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is not a time: write it as 2026-11-20T12:00:00Z, with the time zone")
    return bounds.checked(moment).astimezone(UTC)


def _known_facts(facts: dict[str, Any]) -> dict[str, Any]:
    for name in facts:
        if wrong := mistake(Path((name,))):
            raise ValueError(wrong)
    return facts


def _several(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f"must be a mapping: write {{event: {value}}}")  # noqa: TRY004 - pydantic needs a ValueError
    return (value,) if isinstance(value, dict) else value


def _worded(value: object) -> object:
    return {"word": value} if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", **whole(_MOMENT)})]
Data = dict[str, Value]
Facts = Annotated[dict[str, Any], Checked(_known_facts, {"propertyNames": {"enum": names()}})]
"""Facts of a test, in the form of `clusterbus facts show --json`."""


def as_known(facts: Mapping[str, Any], confirmed: Mapping[str, datetime] | None = None) -> Known:
    """Return the *facts* of a test as they are known; those it leaves out are null.

    *confirmed* says when each part was read.
    """
    nothing = unknown("")
    values = dict.fromkeys(nothing.nulls) | {"quorum": nothing.nulls["quorum"], "age": 0, "stale": False}
    return Known(values | dict(facts), "", nothing.nulls, confirmed or {})


class Given(Closed):
    """An event that happens *times* times, each *every* after the one before.

    Without *data*, it has all variables of its type, with the catalogue's examples.  Without *at*, it happens at the
    current time of the test's clock.
    """

    event: str
    """The event type, such as diskFailure."""
    data: Data = Field(default={})
    node: str = NODE
    """The node that reports it."""
    cluster: str = CLUSTER
    """The cluster that it happens in."""
    at: Moment | None = None
    times: int = Field(default=1, ge=1, le=MOST)
    every: Duration | None = None


_SOMETHING = [
    {"properties": {name: {"not": {"type": "null"}}}, "required": [name]} for name in ("word", "deliveries", "effect")
]


class Expected(Closed):
    """The expected result: a *word*, the number of *deliveries*, and part of the *effect* of the first delivery."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _SOMETHING})  # type: ignore[dict-item]  # it is JSON

    word: str | None = None
    deliveries: int | None = Field(default=None, ge=0)
    effect: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.word is None and self.deliveries is None and self.effect is None:
            raise ValueError("expects nothing: write a word such as runs, or set deliveries or effect")
        return self


class Expectation(Closed):
    """One test of a subscription; *facts* has the form of `clusterbus facts show --json`."""

    given: Annotated[tuple[Given, ...], Field(strict=False, min_length=1, max_length=1000), ShortForm(_several)]
    expect: Annotated[Expected, ShortForm(_worded, {"type": "string"})]
    facts: Facts | None = None

    @property
    def known(self) -> Known:
        """The facts of this test; those it leaves out are null."""
        return unknown("the test gives no facts") if self.facts is None else as_known(self.facts)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(each.times for each in self.given) > MOST:
            raise ValueError(f"gives more than {MOST} events")
        seconds = sum(each.times * each.every.total_seconds() for each in self.given if each.every)
        if seconds > LONGEST.total_seconds():
            raise ValueError(f"takes longer than {durations.text(LONGEST)}, the maximum")
        return self


ChangeWord = Literal[
    "opened", "repeated", "acknowledged", "reminded", "escalated", "flapping", "noted", "closed", "nothing"
]
"""A change as a test names it: the event type without `alert`; `nothing` is none at all."""

AlertState = Literal["open", "acknowledged", "closed"]


class Step(Closed):
    """What happens at one moment of a test: an event, what a person does, or only that time has passed."""

    after: Duration | None = None
    """The time since the step before; without it, none."""
    event: str | None = None
    """The event type, such as diskFailure."""
    data: Data = Field(default={})
    """The variables of the event; without any, the examples of the catalogue."""
    node: str = NODE
    """The node that reports it."""
    cluster: str = CLUSTER
    """The cluster that it happens in."""
    facts: Facts | None = None
    """What is known of the cluster from now on, in the form of `clusterbus facts show --json`."""
    act: Literal["ack", "unack", "close"] | None = None
    """What a person does with the alert."""
    expect: Annotated[tuple[ChangeWord, ...], Field(strict=False, min_length=1, max_length=100), ONE_OR_SEVERAL] | (
        None
    ) = None
    """The changes since the step before, in their order."""
    state: AlertState | None = None
    """The state of the alert that was opened last."""
    severity: Severity | None = None
    """Its severity."""


class AlertTest(Closed):
    """One test of a rule: what happens, and what is expected of it."""

    steps: Annotated[tuple[Step, ...], Field(strict=False, min_length=1, max_length=1000)]
    """What happens, one after another."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum((each.after for each in self.steps if each.after), timedelta()) > LONGEST:
            raise ValueError(f"takes longer than {durations.text(LONGEST)}, the maximum")
        return self
