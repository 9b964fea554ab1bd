"""Grouping and rate limits: fold events into one, deliver one per interval, limit the rate.  Only decisions.

This module uses no clock and no store.  An event that is not delivered is recorded with a word and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from router.model import durations
from router.model.events import Event, Value

from ..config.field_types import Closed, Duration, no_longer_than
from ..deliveries import Outcome, Skipped, Waiting
from ..folds import Fold, FoldedAlert
from .folded_alerts import Contacts, with_change, with_contacts
from .group_keys import Places

MOST_VALUES = 20
"""Most distinct values of a variable in a fold."""

_LONGEST_VALUE = 200
_MOST_NAMES = 50
"""Most variables in a fold."""

_LARGEST = 65_536
"""Most octets of all values in a fold, about: each event writes them again."""

_MOST_NODES = 20_000
"""More than any cluster has."""


Interval = Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))]


class Folding(Closed):
    """Events with the same values in *by* are delivered as one fold, *wait* after the first event.

    Later events form the next fold, which is delivered *repeat* after the last one at the earliest.
    """

    by: Places = ()
    wait: Interval = timedelta(seconds=30)
    repeat: Interval | None = None

    def due(self, now: datetime, last: datetime | None) -> datetime:
        """Return when to deliver a fold that begins *now*, if the last one was delivered at *last*.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> str(Folding(repeat=timedelta(hours=4)).due(noon, noon - timedelta(hours=1)))
        '2026-11-20 15:00:00'
        """
        first = now + self.wait
        return max(first, last + self.repeat) if last and self.repeat else first


class OncePer(Closed):
    """Of the events with the same values in *by*, one per *interval* is delivered; the others are skipped."""

    by: Places = ()
    interval: Interval


class Limit(Closed):
    """At most *most* events with the same values in *by* are delivered within *per*; the *rest* waits or is skipped."""

    most: int = Field(ge=1, le=100_000)
    per: Interval
    by: Places = ()
    rest: Literal["wait", "skip"] = "wait"


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of *most* deliveries within *per*; skipped deliveries are recorded as *word*."""

    word: str
    by: tuple[str, ...]
    most: int
    per: timedelta
    waits: bool

    def decide(self, passed: Sequence[datetime], now: datetime) -> Outcome | None:
        """Return the outcome of one more delivery after others *passed* (sorted times); None: it passes."""
        inside = [each for each in passed if each > now - self.per]
        if len(inside) < self.most:
            return None
        free = inside[-self.most] + self.per
        rule = f"{self.most} in {durations.text(self.per)}"
        if self.waits:
            return Waiting(free - now, f"the limit of {rule} is reached until {free:%H:%M:%S}")
        return Skipped(self.word, f"the limit of {rule} is reached until {free:%Y-%m-%d %H:%M:%S}")


def rates(once_per: OncePer | None, limit: Limit | None) -> list[Rate]:
    """Return the rate rules of a subscription, in the order in which they are checked."""
    found = [Rate("repeated", once_per.by, 1, once_per.interval, waits=False)] if once_per else []
    return [*found, Rate("limited", limit.by, limit.most, limit.per, limit.rest == "wait")] if limit else found


@dataclass(frozen=True, slots=True)
class Gathered:
    """The events of one fold so far; *head* is its first event, with which it is delivered."""

    head: str
    due: datetime
    count: int = 0
    nodes: tuple[str, ...] = ()
    first: str = ""
    last: str = ""
    values: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    alerts: Sequence[FoldedAlert] = ()
    unlisted: int = 0
    unlisted_contacts: Contacts = ()

    def with_event(self, event: Event) -> Gathered:
        """Return a copy that includes *event*, and as many of its values as fit."""
        alerts, unlisted = with_change(self.alerts, event)
        values = {name: list(known) for name, known in self.values.items()}
        room = _LARGEST - sum(_size(each) for known in values.values() for each in known)
        for name, value in event.data.items():
            if value is None or (name not in values and len(values) >= _MOST_NAMES):
                continue
            small = _cut(value)
            known = values.get(name, [])
            if small in known or len(known) >= MOST_VALUES or (size := _size(small)) > room:
                continue
            values.setdefault(name, known).append(small)
            room -= size
        is_known = event.node in self.nodes or len(self.nodes) >= _MOST_NODES
        return replace(
            self,
            count=self.count + 1,
            nodes=self.nodes if is_known else (*self.nodes, event.node),
            first=min(self.first or event.time, event.time),
            last=max(self.last, event.time),
            values=values,
            alerts=alerts,
            unlisted=self.unlisted + unlisted,
            unlisted_contacts=with_contacts(self.unlisted_contacts, event) if unlisted else self.unlisted_contacts,
        )

    @property
    def fold(self) -> Fold:
        """Return the fold to deliver."""
        nodes = folded(self.nodes)
        unlisted = self.unlisted, self.unlisted_contacts
        return Fold(self.count, nodes, self.first, self.last, self.values, self.alerts, *unlisted)


def _cut(value: Value) -> Value:
    """Return *value* as a fold keeps it: the beginning of a long text, and of a list with its texts."""
    if isinstance(value, str):
        return value[:_LONGEST_VALUE]
    return [each[:_LONGEST_VALUE] for each in value[:MOST_VALUES]] if isinstance(value, list) else value


def _size(value: Value) -> int:
    """Return how many octets *value* takes in a row, at most."""
    if isinstance(value, list):
        return 2 + sum(_size(each) for each in value)
    # In JSON each character that is not ASCII has six or twelve.
    return 4 + len(json.dumps(value))


def folded(nodes: Sequence[str]) -> str:
    """Return the names of *nodes* as a node set, or as a list separated by commas if they do not form one.

    >>> folded(["n1", "n2", "n3", "gw"])
    'gw,n[1-3]'
    """
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException  # noqa: PLC0415 - only groups need it

    try:
        # Never resolve groups: a name in an event could be a group, and a command would run to find its members.
        return str(NodeSet.fromlist(list(nodes), resolver=RESOLVER_NOGROUP))
    except NodeSetException:
        return ",".join(sorted(nodes))
