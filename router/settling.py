"""What is owed to the broker: each record is acknowledged once the broker has what came of it, never before."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from .broker import Arrival, Broker, HeaderValue, Message, Settlement
from .broker.topology import EVENTS, REJECTED
from .events import Event
from .records import derived_id
from .rejections import Rejected
from .sources import escaped

log = logging.getLogger(__name__)

PAUSE = timedelta(seconds=5)
"""How long until something is published again that no queue took."""

_LONGEST_REASON = 2000


@dataclass(slots=True)
class Counters:
    """What was done since the start; each only ever grows."""

    records: int = 0
    events: int = 0
    copies: int = 0
    repeats: int = 0
    duplicates: int = 0
    rejected: int = 0
    heartbeats: int = 0
    findings: int = 0
    batches: int = 0
    state_failures: int = 0
    unrouted: int = 0
    refused: int = 0


class Settler:
    """Publishes events and rejected records, and acknowledges what they came of when the broker has them."""

    def __init__(self, broker: Broker, counters: Counters, refused: Callable[[Rejected], None]) -> None:
        """Publish over *broker*; *refused* is told of records whose event the broker will never take."""
        self._broker, self._counters, self._refused = broker, counters, refused
        self._owed: dict[str, list[Arrival]] = {}
        self._own: dict[str, bool] = {}

    @property
    def sent(self) -> list[str]:
        """The ids of own events that the broker has: they may leave the outbox."""
        return [id_ for id_, confirmed in self._own.items() if confirmed]

    def forget(self, sent: Iterable[str]) -> None:
        """Forget own events that have left the outbox."""
        for each in sent:
            self._own.pop(each, None)

    def event(self, event: Event, arrival: Arrival) -> None:
        """Publish *event*, then acknowledge *arrival*; an event that is on its way already is not sent twice."""
        owed = self._owed.setdefault(event.id, [])
        owed.append(arrival)
        if len(owed) == 1:
            self._publish(event)

    def _publish(self, event: Event) -> None:
        self._broker.publish(message_of(event), partial(self._event_settled, event))

    def _event_settled(self, event: Event, settlement: Settlement) -> None:
        if settlement is Settlement.UNROUTED:
            # Not even the alternate exchange has a queue: nobody has the event, so we still do.
            self._not_taken(event.topic, partial(self._publish, event))
            return
        for arrival in self._owed.pop(event.id):
            if settlement is Settlement.CONFIRMED:
                self._counters.events += 1
                self._broker.ack(arrival)
            else:
                self._counters.refused += 1
                rejected = Rejected(event.id, arrival.key, arrival.user, "the broker will never take its event")
                self._refused(rejected)
                self.reject(rejected, arrival)

    def reject(self, rejected: Rejected, arrival: Arrival) -> None:
        """Keep *arrival* as it came in `clusterbus.rejected`, with the reason, then acknowledge it."""
        self._broker.publish(_as_it_came(rejected, arrival), partial(self._reject_settled, rejected, arrival))

    def _reject_settled(self, rejected: Rejected, arrival: Arrival, settlement: Settlement) -> None:
        match settlement:
            case Settlement.CONFIRMED:
                self._counters.rejected += 1
                self._broker.ack(arrival)
            case Settlement.UNROUTED:
                self._not_taken(REJECTED, partial(self.reject, rejected, arrival))
            case Settlement.REFUSED:
                # The broker moves it there by itself, after as many deliveries as the queue allows.
                log.error("rejected record not taken by the broker", extra={"key": arrival.key})
                self._broker.later(PAUSE, partial(self._broker.requeue, arrival))

    def own(self, events: Iterable[Event]) -> None:
        """Publish *events* of the router's own, which are in the outbox, unless they are on their way already."""
        for event in events:
            if event.id not in self._own:
                self._own[event.id] = False
                self._publish_own(event)

    def _publish_own(self, event: Event) -> None:
        self._broker.publish(message_of(event), partial(self._own_settled, event))

    def _own_settled(self, event: Event, settlement: Settlement) -> None:
        if settlement is Settlement.CONFIRMED:
            self._counters.findings += 1
            self._own[event.id] = True
        else:
            self._not_taken(event.topic, partial(self._publish_own, event))

    def _not_taken(self, where: str, again: Callable[[], None]) -> None:
        self._counters.unrouted += 1
        facts = {"topic": where, "pause": PAUSE.total_seconds()}
        log.error("no queue takes what is published; run: clusterbus broker setup", extra=facts)
        self._broker.later(PAUSE, again)


def message_of(event: Event) -> Message:
    """Return *event* as it is published."""
    headers = {"traceparent": event.traceparent} if event.traceparent else {}
    return Message(EVENTS, event.topic, event.to_json(), event.id, event.type, headers=headers)


def _as_it_came(rejected: Rejected, arrival: Arrival) -> Message:
    headers: dict[str, HeaderValue] = {
        "reason": escaped(rejected.reason)[:_LONGEST_REASON],
        "claimed-key": arrival.key,
    }
    if arrival.user:
        headers["origin-user"] = arrival.user
    for name in ("epoch", "sequence"):
        value = arrival.headers.get(name)
        # A number past 64 bits, which only a forger sends, could not be written again.
        if isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**63):
            headers[name] = value
    id_ = arrival.id or derived_id("0" * 10 + arrival.key, arrival.body.hex()[:4096])
    return Message(REJECTED, arrival.key, arrival.body, id_, "rejected", "application/json", headers)
