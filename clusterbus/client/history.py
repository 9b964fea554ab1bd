"""Reads the history from a position up to what was its newest event when the program began.

All later events are in the service's queue, which gets events whether its program runs or not.  So nothing is missed
between the two; what is in both is recognised by its id.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from router.broker.amqp.consumer import Consumer
from router.broker.amqp.consumption import OFFSET
from router.broker.interface import Arrival
from router.broker.stream_end import Reader, StreamEnd
from router.broker.topology import HISTORY
from router.errors import Refused

from .since import Position

_SILENCE = timedelta(seconds=30)
_LAST_CHUNK = timedelta(seconds=5)
"""How long the end is looked for in a history that never stops growing; its last chunk is read in far less."""

_AHEAD = 500
"""How many events are under way: blocks may take long, and the history may be large."""


class History:
    """Delivers events of the history, then calls a function; all in the thread of the connection."""

    def __init__(
        self,
        reader: Reader,
        consumer: Consumer,
        position: Position,
        deliver: Callable[[Arrival], None],
        then: Callable[[], None],
    ) -> None:
        """Let *deliver* have what follows *position*, then call *then*."""
        self._reader, self._consumer, self._position = reader, consumer, position
        self._deliver, self._then = deliver, then
        self._end: StreamEnd | None = None
        self._last: int | None = None
        self._has_end = False
        self._is_after = not position.after

    def begin(self) -> None:
        """Look for the end, then read."""
        self._consumer.consume(HISTORY, self._look, _AHEAD, "last")
        self._end = StreamEnd(self._reader, HISTORY, self._read, limit=_SILENCE)

    def _look(self, arrival: Arrival) -> None:
        if self._last is None:
            self._reader.later(_LAST_CHUNK, self._read)
        self._last = _offset(arrival)
        if self._end:
            self._end.again()

    def _read(self) -> None:
        if self._has_end:
            return
        self._has_end = True
        self._consumer.cancel(HISTORY)
        if self._last is None:
            self._finish()
        else:
            start = self._position.interval(datetime.now(UTC))
            self._consumer.consume(HISTORY, self._received, _AHEAD, start, settles=True)

    def _received(self, arrival: Arrival) -> None:
        assert self._last is not None  # noqa: S101 - always true: it was found before reading began
        if _offset(arrival) <= self._last:
            self._pass_on(arrival)
        if _offset(arrival) >= self._last:
            self._consumer.cancel(HISTORY)
            self._finish()

    def _pass_on(self, arrival: Arrival) -> None:
        if self._is_after:
            self._deliver(arrival)
            return
        self._is_after = arrival.id == self._position.after
        self._consumer.ack(arrival)

    def _finish(self) -> None:
        if not self._is_after:
            raise Refused(
                f"the history has no event {self._position.after} (any more): give since= a time instead, such as 7d,"
                " and a store, which passes over what is finished"
            )
        self._then()


def _offset(arrival: Arrival) -> int:
    offset = arrival.headers.get(OFFSET)
    return offset if isinstance(offset, int) else 0
