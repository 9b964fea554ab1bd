"""Deliveries are handed to their subscriptions' threads, and what they come to is handed back to the broker's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from threading import Event as Flag

from router.broker import Broker

from .calling import call
from .deliveries import Outcome
from .flights import Flight
from .servings import Called, Serving


class Dispatch:
    """Calls handlers; all its methods but the calls themselves run in the broker's thread."""

    def __init__(
        self,
        broker: Broker,
        clock: Callable[[], datetime],
        stopping: Flag,
        *,
        through: Callable[[Flight], None],
        broken_off: Callable[[Flight], None],
        paced: Callable[[Serving], None],
    ) -> None:
        """Give each flight to *through* with its outcome, or to *broken_off* without.

        *paced* is told of a serving that is to have another prefetch from now on.
        """
        self._broker, self._clock, self._stopping = broker, clock, stopping
        self._through, self._broken_off, self._paced = through, broken_off, paced
        self._called: deque[tuple[Flight, datetime, datetime, Outcome | None]] = deque()
        self._is_collecting = False

    def submit(self, flight: Flight) -> None:
        """Have the handler of *flight* called, as soon as one of its threads is free."""
        way = flight.serving.way
        if isinstance(way, Called):
            flight.called = self._clock()
            flight.ticket = way.pool.submit(partial(self._call, flight, way))

    def _call(self, flight: Flight, way: Called) -> None:
        """Call the handler, in a thread of its subscription's; what it comes to goes to the broker's thread."""
        started = self._clock()
        outcome = call(
            flight.serving.informed(flight.delivery), way.handler, flight.serving.subscription, self._stopping
        )
        self._called.append((flight, started, self._clock(), outcome))
        if not self._is_collecting:
            # Once for many: each call of the broker's thread is a word to the kernel.
            self._is_collecting = True
            self._broker.call(self._collect)

    def _collect(self) -> None:
        # First: what is appended from here on is either seen below, or asks for another call.
        self._is_collecting = False
        while self._called:
            flight, started, ended, outcome = self._called.popleft()
            if outcome is None:
                self._broken_off(flight)
                continue
            flight.started, flight.ended, flight.outcome = started, ended, outcome
            self._through(flight)
            way = flight.serving.way
            if isinstance(way, Called) and way.note(ended - started):
                self._paced(flight.serving)
