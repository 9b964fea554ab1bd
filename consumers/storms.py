"""How many of many events are told: folded into one, once in a while, at a rate.  No clock, no store: only decisions.

What is not told is recorded with the word and the reason; nothing is dropped without a trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Literal

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from pydantic import AfterValidator, Field

from router import durations
from router.events import Event, Value

from .deliveries import Fold, Outcome, Skipped, Waiting
from .fields import Closed
from .groupings import Places
from .retries import Duration, no_longer_than

MOST_VALUES = 20
"""Different values of a variable that a fold names."""

_LONGEST_VALUE = 200


Interval = Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))]


class Folding(Closed):
    """Events that agree in *by* are told as one, *wait* after the first of them; more of them *repeat* after that.

    Without *repeat* what comes after a fold was told begins the next.
    """

    by: Places = ()
    wait: Interval = timedelta(seconds=30)
    repeat: Interval | None = None

    def due(self, now: datetime, told: datetime | None) -> datetime:
        """Return when a fold that begins *now* is told, where the one before was at *told*.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> str(Folding(repeat=timedelta(hours=4)).due(noon, noon - timedelta(hours=1)))
        '2026-11-20 15:00:00'
        """
        first = now + self.wait
        return max(first, told + self.repeat) if told and self.repeat else first


class OncePer(Closed):
    """Of events that agree in *by* one in *interval* is delivered, the others are skipped."""

    by: Places = ()
    interval: Interval


class Limit(Closed):
    """Of events that agree in *by* at most *most* are delivered in any *per*; the *rest* waits in the broker or not."""

    most: int = Field(ge=1, le=100_000)
    per: Interval
    by: Places = ()
    rest: Literal["wait", "skip"] = "wait"


@dataclass(frozen=True, slots=True)
class Rate:
    """A rule of so many in so long: *word* is what its skipped deliveries are recorded as."""

    word: str
    by: tuple[str, ...]
    most: int
    per: timedelta
    waits: bool

    def decide(self, passed: Sequence[datetime], now: datetime) -> Outcome | None:
        """Return what becomes of one more, where others have *passed* (sorted) in *per*; None: it passes."""
        inside = [each for each in passed if each > now - self.per]
        if len(inside) < self.most:
            return None
        free = inside[-self.most] + self.per
        said = f"{self.most} in {durations.text(self.per)}"
        if self.waits:
            return Waiting(free - now, f"limit of {said} is reached until {free:%H:%M:%S}")
        return Skipped(self.word, f"{said}: not before {free:%Y-%m-%d %H:%M:%S}")


def rates(once_per: OncePer | None, limit: Limit | None) -> list[Rate]:
    """Return the rules that a subscription has, in the order that they are asked."""
    found = [Rate("repeated", once_per.by, 1, once_per.interval, waits=False)] if once_per else []
    return [*found, Rate("limited", limit.by, limit.most, limit.per, limit.rest == "wait")] if limit else found


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came for one fold so far; *head* is the event that began it, and that it is told with."""

    head: str
    due: datetime
    count: int = 0
    nodes: tuple[str, ...] = ()
    first: str = ""
    last: str = ""
    values: Mapping[str, Sequence[Value]] = field(default_factory=dict)

    def with_event(self, event: Event) -> Gathered:
        """Return it with *event* gathered as well."""
        values = {name: list(known) for name, known in self.values.items()}
        for name, value in event.data.items():
            known = values.setdefault(name, [])
            small = value[:_LONGEST_VALUE] if isinstance(value, str) else value
            if value is not None and small not in known and len(known) < MOST_VALUES:
                known.append(small)
        return replace(
            self,
            count=self.count + 1,
            nodes=self.nodes if event.node in self.nodes else (*self.nodes, event.node),
            first=min(self.first or event.time, event.time),
            last=max(self.last, event.time),
            values={name: known for name, known in values.items() if known},
        )

    @property
    def fold(self) -> Fold:
        """Return what it is told as."""
        return Fold(self.count, folded(self.nodes), self.first, self.last, self.values)


def folded(nodes: Sequence[str]) -> str:
    """Return the names of *nodes* folded; what is no node set stays a list.

    >>> folded(["n1", "n2", "n3", "gw"])
    'gw,n[1-3]'
    """
    try:
        # Never resolved: a name from an event could be a group, whose members a command would be run to find.
        return str(NodeSet.fromlist(list(nodes), resolver=RESOLVER_NOGROUP))
    except NodeSetException:
        return ",".join(sorted(nodes))
