"""Writes the lines of one `log` subscription in a thread of its own: a disk that hangs holds up nothing else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from router.broker.interface import Broker

from ...deliveries import Done, Outcome
from ...policies.retry import raised
from ..active_subscription import Logged
from ..in_flight import InFlight
from ..states import Admitted, Ended, Running
from ..thread_pool import Ticket

log = logging.getLogger(__name__)

_Item = tuple[InFlight, Admitted]


class LogWriter:
    """Writes what it is given in batches: all that came while one was written is the next, with one sync.

    All methods run in the broker's thread, and so do the functions that it calls.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Callable[[], datetime],
        ended: Callable[[InFlight, Ended], None],
        unwritable: Callable[[InFlight, Running], None],
    ) -> None:
        """Call *ended* for each delivery with an outcome, *unwritable* for each whose file cannot be written now."""
        self._broker, self._clock, self._ended, self._unwritable = broker, clock, ended, unwritable
        self._lock = threading.Lock()
        self._waiting: dict[Logged, list[tuple[Ticket, _Item]]] = {}

    def submit(self, due: Mapping[InFlight, Admitted]) -> None:
        """Write the lines of *due* soon; what only the store has to write is done with its outcome."""
        now, ways = self._clock(), set[Logged]()
        for each, state in due.items():
            way = each.subscription.way
            assert isinstance(way, Logged)  # noqa: S101 - for the reader: others are called
            if not way.has_lines:
                each.state = state.log(now)
                continue
            ticket = Ticket(_nothing)
            each.state = state.run(ticket, now)
            with self._lock:
                self._waiting.setdefault(way, []).append((ticket, (each, state)))
            ways.add(way)
        for way in ways:
            way.pool.submit(partial(self._write, way))

    def _write(self, way: Logged) -> None:
        """Write all that waits, in the thread of *way*."""
        with self._lock:
            waiting = self._waiting.pop(way, [])
        taken = [item for ticket, item in waiting if ticket.cancel()]
        if not taken:
            return
        started = self._clock()
        outcomes = _written(way, taken)
        self._broker.call(partial(self._collect, outcomes, started, self._clock()))

    def _collect(self, outcomes: Mapping[InFlight, Outcome | OSError], started: datetime, ended: datetime) -> None:
        problems: dict[str, list[OSError]] = {}
        for each, outcome in outcomes.items():
            running = each.state
            assert isinstance(running, Running)  # noqa: S101 - for the reader: what has begun cannot be taken back
            if isinstance(outcome, OSError):
                problems.setdefault(each.subscription.name, []).append(outcome)
                self._unwritable(each, running)
            else:
                self._ended(each, running.end(outcome, started, ended))
        for name, errors in problems.items():
            context = {"subscription": name, "reason": str(errors[0]), "deliveries": len(errors)}
            log.error("cannot write to the log file or syslog, will try again", extra=context)


def _nothing() -> None:
    """Do nothing: the ticket only says whether a line may still be taken back."""


def _written(way: Logged, items: list[_Item]) -> dict[InFlight, Outcome | OSError]:
    """Write the lines of *items* at once, or where one cannot be made each by itself; return what became of each."""
    try:
        way.handler.write([state.delivery for _, state in items])
    except OSError as error:
        return {each: error for each, _ in items}
    except Exception as error:  # noqa: BLE001 - whatever it is, only one delivery is at fault
        if len(items) > 1:
            return {each: outcome for item in items for each, outcome in _written(way, [item]).items()}
        ((each, state),) = items
        return {each: raised(state.delivery, error, each.subscription.definition.retry)}
    return {each: Done() for each, _ in items}
