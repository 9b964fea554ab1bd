"""The double of a service's queue, in memory, for tests of programs that read one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from router.broker.interface import Arrival
from router.broker.topology import DELIVERIES
from router.model.events import Event

from .source import Deliver


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event that was published while a double was used."""

    id: str
    type: str
    cluster: str
    data: Mapping[str, object]


class Double:
    """While its `with` block runs, `events(...)` reads *waiting*, and ends when nothing is left.

    `finished`, `rejected` and `returned` then say what became of each event, and `emitted` what was published.  A
    returned event waits again, as in a queue.
    """

    def __init__(self, given: Iterable[Event], use: Callable[[Double | None], Double | None]) -> None:
        """Begin with the events *given*; *use* says what is read from now on, and returns what was read until then."""
        self.waiting: deque[Event] = deque(given)
        self.finished: list[Event] = []
        self.rejected: list[Event] = []
        self.returned: list[Event] = []
        self.emitted: list[Emitted] = []
        self._use = use
        self._outer: Double | None = None

    def source(self) -> DoubleSource:
        """Return a source that reads what waits."""
        return DoubleSource(self)

    def __enter__(self) -> Self:
        """Use it from now on."""
        self._outer = self._use(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Use it no longer, but the one around it if there is one."""
        self._use(self._outer)


class DoubleSource:
    """Gives a stream one event after another."""

    def __init__(self, double: Double) -> None:
        """Read *double*."""
        self._double = double
        self._deliver: Deliver = lambda _item: None
        self._unsettled: Event | None = None

    def start(self, deliver: Deliver) -> None:
        """Deliver the first event."""
        self._deliver = deliver
        self._next()

    def holds(self, arrival: Arrival) -> bool:  # noqa: ARG002 - there is no connection to lose
        """Return True."""
        return True

    def ack(self, arrival: Arrival) -> None:
        """Count it as finished, and deliver the next."""
        self._settle(arrival, self._double.finished)
        self._next()

    def requeue(self, arrival: Arrival) -> None:
        """Put it back in front, to be delivered next; reject it once it was returned too often."""
        self._settle(arrival, self._double.returned)
        event = self._double.returned[-1]
        if self._double.returned.count(event) > DELIVERIES:
            self._double.rejected.append(event)
        else:
            self._double.waiting.appendleft(event)
        self._next()

    def dead_letter(self, arrival: Arrival) -> None:
        """Count it as rejected, and deliver the next."""
        self._settle(arrival, self._double.rejected)
        self._next()

    def close(self, returned: Arrival | None = None) -> None:
        """Deliver nothing more; what was delivered and not settled waits again."""
        if returned and self._unsettled:
            self._double.returned.append(self._unsettled)
        if self._unsettled:
            self._double.waiting.appendleft(self._unsettled)
            self._unsettled = None

    def _settle(self, arrival: Arrival, among: list[Event]) -> None:
        event: Event = arrival.tag  # type: ignore[assignment]  # only `_next` makes them
        among.append(event)
        self._unsettled = None

    def _next(self) -> None:
        waiting = self._double.waiting
        if not waiting:
            self._deliver(None)
            return
        event = self._unsettled = waiting.popleft()
        self._deliver(Arrival("double", "", event.topic, event.to_json(), event.id, None, {}, False, event))  # noqa: FBT003 - not redelivered
