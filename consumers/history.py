"""Looking an event up in history, the stream of all events, from the moment on that its id tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from router.broker import Arrival, Broker
from router.broker.topology import HISTORY
from router.errors import InvalidEvent
from router.events import Event

_CROCKFORD = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_RANDOM = 80
"""Bits of an id after its milliseconds."""

_FIRST, _QUIET = timedelta(seconds=3), timedelta(seconds=1)
_MARGIN = timedelta(minutes=5)
"""Clocks of nodes differ; entering the stream earlier only means to skip more."""


def moment_of(event_id: str) -> datetime:
    """Return the moment that the id of an event tells; raises ValueError where it is none.

    >>> moment_of("01HF7YAT00CH9F3S5GQX0ZJ1YV").isoformat()
    '2023-11-14T22:13:20+00:00'
    """
    milliseconds = int(event_id.translate(_CROCKFORD), 32) >> _RANDOM
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def look_up(broker: Broker, event_id: str, now: datetime, limit: timedelta = timedelta(seconds=60)) -> Event | None:
    """Return the event of this id from history, None where it is not there, be it not there any more.

    Runs *broker*, and stops it: when it is found, when the newest was read, or after *limit*.  Raises BrokerError.
    """
    found: list[Event] = []
    forget: list[Callable[[], None]] = [broker.later(_FIRST, broker.stop)]

    def receive(arrival: Arrival) -> None:
        forget.pop()()
        forget.append(broker.later(_QUIET, broker.stop))
        if arrival.id == event_id and not found:
            try:
                found.append(Event.from_json(arrival.body))
            except InvalidEvent:
                return
            broker.stop()

    back = max(timedelta(), now - moment_of(event_id)) + _MARGIN
    broker.later(limit, broker.stop)
    broker.consume(HISTORY, receive, prefetch=1000, offset=f"{int(back.total_seconds())}s")
    broker.run()
    return found[0] if found else None
