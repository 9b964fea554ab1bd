"""Deliveries that are made one after another, while others go on: what waits in this consumer behind which."""

from __future__ import annotations

from collections import deque

from .flights import Flight


class Lanes:
    """The lanes of all subscriptions: in each, one flight is ahead, and the others are behind it in their order."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lanes: dict[tuple[str, str], deque[Flight]] = {}

    def enter(self, flight: Flight) -> bool:
        """Put *flight* at the end of its lane, unless it is in it; say whether it is ahead."""
        lane = self._lanes.setdefault((flight.serving.name, flight.lane), deque())
        if flight not in lane:
            lane.append(flight)
        return lane[0] is flight

    def leave(self, flight: Flight) -> Flight | None:
        """Take *flight* out; return the one that is ahead now, where it was not before."""
        key = (flight.serving.name, flight.lane)
        lane = self._lanes.get(key)
        if lane is None or flight not in lane:
            return None
        was_ahead = lane[0] is flight
        lane.remove(flight)
        if not lane:
            del self._lanes[key]
            return None
        return lane[0] if was_ahead else None
