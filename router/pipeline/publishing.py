"""Publishes events and rejected records; acknowledges each record only after the broker confirmed its result."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from ..broker.interface import Arrival, Broker, Settlement
from ..broker.topology import REJECTED
from ..model.events import Event, Wire
from .messages import message_of, rejection_of, stand_in_of
from .metrics.measures import Measures
from .reports.rejection_reports import Rejected

__all__ = ["PAUSE", "Publisher", "message_of"]

log = logging.getLogger(__name__)

PAUSE = timedelta(seconds=5)
"""The wait before publishing a message again that no queue accepted."""


class Publisher:
    """Publishes events and rejected records, and acknowledges their records once the broker confirms."""

    def __init__(
        self,
        broker: Broker,
        refused: Callable[[str, Arrival], None],
        *,
        settled: Callable[[], None],
        measures: Measures | None = None,
        wire: Wire = "structured",
    ) -> None:
        """Publish over *broker*; calls *refused* for each record whose event the broker will never accept.

        It gets the id of the event and the record, which is not settled yet.  *settled* is called after each event of
        records that is settled.  *measures* counts what is confirmed.  Events are published in the
        content mode *wire*.
        """
        self._broker, self._refused, self._settled, self._measures = broker, refused, settled, measures
        self._message_of = partial(message_of, wire=wire)
        self._unacked: dict[str, list[Arrival]] = {}
        self._own: dict[str, bool] = {}
        self.taken = 0
        """How many events of records the broker has confirmed."""

    @property
    def unsettled(self) -> int:
        """How many events of records are not settled yet."""
        return len(self._unacked)

    @property
    def sent(self) -> list[str]:
        """The ids of own events that the broker confirmed: they may leave the outbox."""
        return [id_ for id_, confirmed in self._own.items() if confirmed]

    def forget(self, sent: Iterable[str]) -> None:
        """Forget own events that have left the outbox."""
        for each in sent:
            self._own.pop(each, None)

    def event(self, event: Event, arrival: Arrival, received: float) -> None:
        """Publish *event*, then acknowledge *arrival*; an event that is not yet confirmed is not sent twice.

        *received* is when the router took the record, as its measures say.
        """
        unacked = self._unacked.setdefault(event.id, [])
        unacked.append(arrival)
        if len(unacked) == 1:
            self._publish(event, received)

    def _publish(self, event: Event, received: float) -> None:
        message = self._message_of(event, self._measures.stamp) if self._measures else self._message_of(event)
        self._broker.publish(message, partial(self._event_settled, event, received))

    def _event_settled(self, event: Event, received: float, settlement: Settlement) -> None:
        if settlement is Settlement.UNROUTED:
            # The alternate exchange has no queue either: no queue holds the event, so the router keeps it.
            self._not_taken(event.topic, partial(self._publish, event, received))
            return
        self.taken += settlement is Settlement.CONFIRMED
        if self._measures and settlement is Settlement.CONFIRMED:
            self._measures.published(received)
        for arrival in self._unacked.pop(event.id):
            if settlement is Settlement.CONFIRMED:
                self._broker.ack(arrival)
            else:
                self._refused(event.id, arrival)
        self._settled()

    def reject(self, rejected: Rejected, arrival: Arrival) -> None:
        """Publish *arrival* to `clusterbus.rejected` with the reason, if it is to be kept, then acknowledge it."""
        if not rejected.is_kept:
            self._broker.ack(arrival)
            return
        self._broker.publish(rejection_of(rejected, arrival), partial(self._reject_settled, rejected, arrival))

    def _reject_settled(self, rejected: Rejected, arrival: Arrival, settlement: Settlement) -> None:
        match settlement:
            case Settlement.CONFIRMED:
                self._broker.ack(arrival)
            case Settlement.UNROUTED:
                self._not_taken(REJECTED, partial(self.reject, rejected, arrival))
            case Settlement.REFUSED:
                log.error("broker refused a rejected record, only its facts are kept", extra={"key": rejected.key})
                self._stand_in(rejected, arrival)

    def _stand_in(self, rejected: Rejected, arrival: Arrival) -> None:
        self._broker.publish(stand_in_of(rejected, arrival), partial(self._stand_in_settled, rejected, arrival))

    def _stand_in_settled(self, rejected: Rejected, arrival: Arrival, settlement: Settlement) -> None:
        if settlement is Settlement.UNROUTED:
            self._not_taken(REJECTED, partial(self._stand_in, rejected, arrival))
            return
        if settlement is Settlement.REFUSED:
            # Trying again would refuse it again, and delay all others.
            facts = {"key": rejected.key, "user": rejected.user, "reason": rejected.reason}
            log.error("broker refused the facts of a rejected record too, it is lost", extra=facts)
        self._broker.ack(arrival)

    def own(self, events: Iterable[Event]) -> None:
        """Publish *events* of the router itself from the outbox, unless they wait for a confirm already."""
        for event in events:
            if event.id not in self._own:
                self._own[event.id] = False
                self._publish_own(event)

    def _publish_own(self, event: Event) -> None:
        self._broker.publish(self._message_of(event), partial(self._own_settled, event))

    def _own_settled(self, event: Event, settlement: Settlement) -> None:
        if settlement is Settlement.CONFIRMED:
            self._own[event.id] = True
        else:
            self._not_taken(event.topic, partial(self._publish_own, event))

    def _not_taken(self, where: str, again: Callable[[], None]) -> None:
        facts = {"topic": where, "pause": PAUSE.total_seconds()}
        log.error("no queue accepts a message; run: clusterbus broker setup", extra=facts)
        self._broker.later(PAUSE, again)
