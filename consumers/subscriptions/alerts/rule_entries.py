"""Rules of alerts as written in a file, with their tests: events on a clock, and what becomes of the alert.

tests:
  - steps:
      - {event: lowDiskSpace, data: {fsName: gpfs1}, expect: opened}
      - {after: 30m, event: lowDiskSpace, data: {fsName: gpfs1}, expect: repeated}
      - {after: 2h, expect: closed}
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from router.model import durations
from router.model.events import Severity
from router.settings.field_types import ONE_OR_SEVERAL

from ...alerts.rules import Rule
from ...config.field_types import Closed, Duration
from ...config.synthetic_events import CLUSTER, NODE
from ..test_cases import LONGEST, Data, Facts

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

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum((each.after for each in self.steps if each.after), timedelta()) > LONGEST:
            raise ValueError(f"takes longer than {durations.text(LONGEST)}, the maximum")
        return self


class RuleEntry(Rule):
    """What opens one kind of alert, what closes it, and who is to know; shipped rules are changed by their name."""

    tests: Annotated[tuple[AlertTest, ...], Field(strict=False, max_length=1000)] = ()
    """What happens and what is expected of it, which `check` tries."""

    @property
    def rule(self) -> Rule:
        """The rule without its tests, which do not change its meaning."""
        return Rule.model_construct(**{name: getattr(self, name) for name in Rule.model_fields})
