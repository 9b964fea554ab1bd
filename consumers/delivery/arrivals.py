"""Messages as they arrive: read, filtered, and added to what is in flight; whatever is wrong with one is its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from router.broker import topology
from router.broker.interface import Arrival, Broker
from router.errors import InvalidEvent

from ..config.python_files import error_text
from ..deliveries import bounded
from . import messages, settlement
from .active_subscription import ActiveSubscription
from .batching import BatchQueue
from .in_flight import AllInFlight, BrokerMessages, InFlight
from .states import Arrived, Ended, Recorded, Running

_LONG = timedelta(minutes=10)
"""Until a delivery is deferred, to a wait queue: RabbitMQ closes channels that leave one unsettled for 30 minutes."""

_MEANWHILE = timedelta(minutes=15)


class Arrivals:
    """Receives messages until *is_stopping*; *parking* counts those on their way to the dead letters."""

    def __init__(
        self,
        broker: Broker,
        clock: Callable[[], datetime],
        in_flight: AllInFlight,
        batch: BatchQueue[InFlight],
        parked: Callable[[], None],
    ) -> None:
        """Add deliveries to *in_flight* and *batch*; call *parked* when the dead letters have what is no delivery."""
        self._broker, self._clock, self._in_flight, self._batch = broker, clock, in_flight, batch
        self._parked_one = parked
        self.is_stopping = False
        self.parking = 0

    def receive(self, subscription: ActiveSubscription, arrival: Arrival) -> None:
        """Take *arrival*, which came to the queue of *subscription*.  Never raises."""
        if self.is_stopping:
            # Not settled: the broker gives it to another consumer when this one is gone.
            return
        try:
            delivery = messages.read(arrival, subscription.name)
            # What comes back has passed the filter when it first came: a delivery that is owed stays owed.
            if arrival.exchange != topology.RETURN and not subscription.lets_pass(delivery.event):
                self._broker.ack(arrival)
                return
            state, lane = Arrived(subscription.with_facts(delivery)), subscription.lane_of(delivery.event)
        except Exception as error:  # noqa: BLE001 - whatever it is, only this message is at fault
            reason = str(error) if isinstance(error, InvalidEvent) else f"cannot be read: {error_text(error)}"
            self._park(subscription, arrival, bounded(reason))
            return
        if in_flight := self._in_flight.get(key := delivery.key):
            subscription.counts.duplicates += 1
            in_flight.messages.add(arrival, is_same_attempt=in_flight.delivery.attempt == delivery.attempt)
            return
        in_flight = InFlight(key, subscription, BrokerMessages(arrival, self._clock()), state, lane)
        self._in_flight.add(in_flight)
        self._batch.add(in_flight)
        if messages.is_to_be_renewed(arrival):
            taken = in_flight.messages.take_arrivals()
            settlement.renew(self._broker, in_flight, partial(self.ack_all, taken))

    def defer_regularly(self, end_unstarted: Callable[[InFlight, Running], bool]) -> None:
        """Defer what is here for long, from now on; *end_unstarted* is asked first, and may end it instead."""
        self._broker.later(_LONG / 10, partial(self._defer, end_unstarted))

    def _defer(self, end_unstarted: Callable[[InFlight, Running], bool]) -> None:
        """Have the broker keep, in a wait queue, copies of what is here for long; a copy that comes back joins it."""
        now = self._clock()
        for each in self._in_flight:
            theirs = each.messages
            if isinstance(each.state, Ended | Recorded) or theirs.since >= now - _LONG or not theirs.arrivals:
                continue
            theirs.since = now
            # It may have waited for a thread all the time.
            if isinstance(each.state, Running) and end_unstarted(each, each.state):
                continue
            settlement.defer(self._broker, each, _MEANWHILE, partial(self.ack_all, theirs.take_arrivals()))
        self.defer_regularly(end_unstarted)

    def ack_all(self, arrivals: list[Arrival]) -> None:
        """Acknowledge *arrivals*."""
        for each in arrivals:
            self._broker.ack(each)

    def _park(self, subscription: ActiveSubscription, arrival: Arrival, reason: str) -> None:
        subscription.counts.unreadable += 1
        self.parking += 1
        settlement.park(self._broker, arrival, subscription.name, reason, partial(self._parked, arrival))

    def _parked(self, arrival: Arrival) -> None:
        self._broker.ack(arrival)
        self.parking -= 1
        self._parked_one()
