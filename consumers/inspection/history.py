"""Search the history, the stream of all events, for an event; its id contains the time to start from."""

from __future__ import annotations

from datetime import datetime, timedelta

from router.broker.client import Rabbit
from router.broker.interface import Arrival, history_offset
from router.broker.stream_end import StreamEnd
from router.broker.topology import HISTORY
from router.errors import InvalidEvent
from router.model.events import Event
from router.model.ids import moment_of

_LIMIT = timedelta(seconds=15)
"""How long the broker may be silent."""

_MARGIN = timedelta(minutes=5)
"""Clocks of nodes differ.  Starting earlier in the stream costs only time."""


def look_up(broker: Rabbit, event_id: str, now: datetime, limit: timedelta = timedelta(seconds=60)) -> Event | None:
    """Return the event of this id from the history, or None if the history does not contain it (any more).

    Runs *broker*, and stops it when the event is found, when the newest event is read, or after *limit*.  Raises
    BrokerError; ValueError for an id of a moment after the year 9999.
    """
    back = max(timedelta(), now - moment_of(event_id)) + _MARGIN
    found: list[Event] = []
    end = StreamEnd(broker, HISTORY, broker.stop, limit=_LIMIT)

    def receive(arrival: Arrival) -> None:
        end.again()
        if arrival.id == event_id and not found:
            try:
                found.append(Event.from_json(arrival.body))
            except InvalidEvent:
                return
            broker.stop()

    broker.later(limit, broker.stop)
    broker.consume(HISTORY, receive, prefetch=1000, offset=history_offset(back))
    broker.run()
    return found[0] if found else None
