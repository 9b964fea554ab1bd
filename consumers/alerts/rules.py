"""Rules of alerts, as written below `alerts:` in a subscriptions file."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from router.model.events import Severity
from router.settings.field_types import ONE_OR_SEVERAL

from ..config.field_types import Closed, Duration, Name, Words, no_longer_than
from ..policies.group_keys import Places

_Wait = Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))]
_Events = Annotated[Words, Field(min_length=1, max_length=100), ONE_OR_SEVERAL]


class Escalation(Closed):
    """Whom to notify if nobody acknowledges the alert in time."""

    after: _Wait
    """The time since it opened."""
    to: str
    """A contact of the settings; `owner` for the owner of what the alert is about."""


class Flapping(Closed):
    """An alert that opens *openings* times *within* a period stays open until it was closed for *quiet*."""

    openings: int = Field(default=4, ge=2, le=100)
    within: _Wait = timedelta(minutes=30)
    quiet: _Wait = timedelta(minutes=30)


class Grouping(Closed):
    """Once *over* alerts of the rule are open in one cluster, one alert stands for all of them.

    It closes when all of them are closed and none has opened for *quiet*.
    """

    over: int = Field(default=3, ge=1, le=1000)
    """The most alerts that stand for themselves."""
    quiet: _Wait = timedelta(minutes=10)


class Rule(Closed):
    """What opens one kind of alert, what closes it, and who is to know."""

    name: Name
    """The name of the rule: that of a shipped one changes the fields that are written, and leaves the others."""
    opens: _Events = ()
    """Event types, categories or patterns of topics, as in `on`."""
    opens_if: str | None = None
    """A filter in CEL over the event that opens, such as `severity >= error`."""
    closes: _Events = ()
    """Event types, categories or patterns of topics."""
    closes_if: str | None = None
    """A filter in CEL over the event that closes."""
    closes_when: str | None = None
    """An expression in CEL over the event that opened and the facts of its cluster; once true, the alert is closed."""
    ask_every: _Wait | None = None
    """How often facts are asked for `closes_when` while the alert is open; by default every minute."""
    closes_after: _Wait | None = None
    """Closes the alert once it did not open again for so long."""
    by: Places = ()
    """What the alert is about, with its cluster: events with the same values are about the same alert."""
    severity: Severity | None = None
    """By default that of the event that opened it."""
    severity_if: dict[Severity, str] = Field(default={})
    """Expressions in CEL by severity, tried from the most severe: the first that is true of the last opening holds."""
    summary: str | None = None
    """A template over the event that opened; by default the meaning of its type, and what it is about."""
    remind: _Wait | None = None
    """Say again that it is open, so often, until somebody acknowledges it."""
    escalate: Escalation | None = None
    suppresses: Annotated[Words, ONE_OR_SEVERAL] = ()
    """Rules whose alerts of the same node (or cluster, where there is no node) notify nobody while this one is open."""
    flapping: Flapping | None = Flapping()
    group: Grouping | None = None
    owner: str | None = None
    """A contact; by default the `owners` of the settings say it."""
    enabled: bool = True
    """`false` switches a shipped rule off."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.enabled and not self.opens:
            raise ValueError("says nothing that opens it: add `opens`")
        if self.enabled and not (self.closes or self.closes_when or self.closes_after):
            raise ValueError("says nothing that closes it: add `closes`, `closes_when` or `closes_after`")
        return self
