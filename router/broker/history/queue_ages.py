"""How old the oldest event of a queue is, by the history: RabbitMQ does not say, and looking counts as a delivery.

The newest event that a queue of *n* events can begin with is the n-th last of those in the history that its bindings
match.  So its oldest event is at least as old: exactly so while its readers settle in order.  The history is read
backwards, in larger and larger parts, up to a number of events and a time; what lies beyond is "older than".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ...errors import BrokerError
from ...model import durations, ids, topics
from ..amqp.consumption import OFFSET
from ..amqp.requests import Facts
from ..client import Rabbit
from ..interface import Arrival
from ..topology import HISTORY, PUBLISHED_AT

MOST = 62_000
"""How many events are read at most."""

LIMIT = timedelta(seconds=5)
"""How long they are read at most."""

_FIRST_PART = 2_000
_PREFETCH = 1000
_DIGITS = 16
"""Digits of microseconds since 1970, until the year 2286."""


@dataclass(frozen=True, slots=True)
class Held:
    """A queue that is bound with *patterns* has *count* events."""

    patterns: Collection[str]
    count: int


@dataclass(frozen=True, slots=True)
class Age:
    """The oldest event of a queue is of the moment *since*; with *is_older*, of an earlier one that is not known."""

    since: datetime
    is_older: bool = False

    def text(self, now: datetime) -> str:
        """Return it as people read it.

        >>> noon = datetime(2026, 12, 1, 12)
        >>> Age(noon).text(noon + timedelta(days=1, hours=2, minutes=3)), Age(noon, is_older=True).text(noon)
        ('1d2h', '>0s')
        """
        passed = max(now - self.since, timedelta())
        unit = next((each for each in _UNITS if passed >= _ENOUGH * each), timedelta(seconds=1))
        return f"{'>' if self.is_older else ''}{durations.text(passed // unit * unit)}"


_UNITS = (timedelta(hours=1), timedelta(minutes=1))
_ENOUGH = 10
"""An age is shown in a unit from so many of it on."""


class Search:
    """Looks for the first events of queues in the events of the history, which it is given from the newest on."""

    def __init__(self, wanted: Mapping[str, Held]) -> None:
        """Look for those of the queues *wanted*, as far as they have events."""
        self._wanted = {name: each.patterns for name, each in wanted.items()}
        self._left = {name: each.count for name, each in wanted.items() if each.count > 0}
        self._found: dict[str, Age] = {}
        self._oldest: datetime | None = None
        self._queues = lru_cache(maxsize=MOST)(self._matching)

    @property
    def is_done(self) -> bool:
        """Whether all are found."""
        return not self._left

    def look(self, events: Iterable[tuple[str, datetime]]) -> None:
        """Take the topics and moments of the next *events*.

        >>> noon = datetime(2026, 12, 1, 12)
        >>> search = Search({"a": Held(["x.#"], 2), "b": Held(["#"], 9), "c": Held(["#"], 0)})
        >>> search.look([("x.1", noon), ("y.1", noon - timedelta(1)), ("x.2", noon - timedelta(2))])
        >>> {name: age.text(noon) for name, age in search.ages().items()}
        {'a': '2d', 'b': '>2d'}
        """
        for topic, moment in events:
            self._oldest = moment
            for name in self._queues(topic):
                if name not in self._left:
                    continue
                self._left[name] -= 1
                if not self._left[name]:
                    del self._left[name]
                    self._found[name] = Age(moment)

    def ages(self) -> Mapping[str, Age]:
        """Return the age of each queue that has events; of none if no event was looked at."""
        older = {name: Age(self._oldest, is_older=True) for name in self._left} if self._oldest else {}
        return self._found | older

    def _matching(self, topic: str) -> tuple[str, ...]:
        return tuple(
            name for name, patterns in self._wanted.items() if any(topics.matches(each, topic) for each in patterns)
        )


def read(connect: Callable[[], Rabbit], wanted: Mapping[str, Held]) -> tuple[Mapping[str, Age], str]:
    """Return how old the oldest events of the queues *wanted* are, or nothing and why; connects only if it has to."""
    search = Search(wanted)
    if search.is_done:
        return {}, ""
    try:
        broker = connect()
        _Reading(broker, search)
        broker.run()
    except BrokerError as error:
        return {}, f"the age of waiting events is unknown: {error}"
    return search.ages(), ""


class _Reading:
    """Reads parts of the history with *broker*, the newest first, and gives them to a search; stops *broker*."""

    def __init__(self, broker: Rabbit, search: Search) -> None:
        self._broker, self._search = broker, search
        self._begin = self._end = self._count = 0
        self._events: list[tuple[str, datetime]] = []
        broker.later(LIMIT, broker.stop)
        broker.consume(HISTORY, self._newest, prefetch=_PREFETCH, offset="last")

    def _newest(self, arrival: Arrival) -> None:
        """Take the messages of the last chunk: all of them have arrived when a question is answered."""
        if not self._end:
            self._broker.questions_of_consumer.inspect(HISTORY, self._answered)
        self._end = max(self._end, _offset(arrival) + 1)

    def _answered(self, _: Facts | BrokerError | None) -> None:
        self._broker.cancel(HISTORY)
        self._begin = self._end
        self._part(_FIRST_PART)

    def _part(self, size: int) -> None:
        if not self._begin or self._search.is_done or self._count >= MOST:
            self._broker.stop()
            return
        self._end, self._begin = self._begin, max(self._begin - size, 0)
        self._events = []
        self._broker.consume(HISTORY, self._take, prefetch=_PREFETCH, offset=self._begin)

    def _take(self, arrival: Arrival) -> None:
        at = _offset(arrival)
        if at < self._end:
            self._events.append((arrival.key, _moment(arrival)))
        if at < self._end - 1:
            return
        self._broker.cancel(HISTORY)
        self._search.look(reversed(self._events))
        self._count += len(self._events)
        if len(self._events) < self._end - self._begin:
            self._begin = 0  # the history has no earlier ones
        self._part(2 * (self._end - self._begin))


def _offset(arrival: Arrival) -> int:
    found = arrival.headers.get(OFFSET)
    return found if isinstance(found, int) else 0


def _moment(arrival: Arrival) -> datetime:
    """Return when the event of *arrival* was published, or where no router says so, when it was captured."""
    sent = arrival.headers.get(PUBLISHED_AT)
    if isinstance(sent, str) and sent.isdecimal() and len(sent) <= _DIGITS:
        return datetime.fromtimestamp(int(sent) / 1_000_000, UTC)
    return ids.moment_of(arrival.id) if ids.is_id(arrival.id) else datetime.now(UTC)
