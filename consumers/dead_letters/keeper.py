"""The keeper: moves failed deliveries, rejected records and unroutable messages from the broker into the store.

They are letters there, until a person replays or drops them: `kept_letters` finds them, `replay` publishes them again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from router.broker.interface import Arrival, Broker
from router.broker.topology import DEAD, EVENTS, INGRESS, OWN_EVENTS, REJECTED, UNROUTED, queue_of
from router.errors import InvalidEvent, InvalidTopic
from router.model.events import Event
from router.model.topics import IngressKey
from router.pipeline.messages import CUT, DIGEST

from ..deliveries import LONGEST_REASON, Key, bounded
from ..delivery.batching import BatchQueue
from ..delivery.messages import topic_of
from ..store import attempts as deliveries
from ..store import letters as table
from ..store.database import Store
from ..store.letters import Kind, Letter
from ..store.limits import taken_places
from . import letter_bounds

log = logging.getLogger(__name__)

_KINDS: Mapping[str, Kind] = {DEAD: "delivery", REJECTED: "record", UNROUTED: "unrouted"}
_PREFETCH = 100
_PAUSE = timedelta(minutes=5)
"""The wait before the broker delivers a letter again that cannot be kept."""

ORIGIN = "origin-user"
"""The header that names the user who published a record: the router's word, and in replays that of a trusted user."""

_SUBSCRIPTIONS = queue_of("")


class Keeper:
    """Moves parked messages from the broker into the store: first writes them, then acknowledges them."""

    def __init__(self, broker: Broker, store: Store, clock: Callable[[], datetime]) -> None:
        """Move the messages that *broker* has parked into *store*; *clock* gives the time of each."""
        self._broker, self._store, self._clock = broker, store, clock
        self._batches = BatchQueue(broker, self._keep, self._not_kept)
        self.kept = dict.fromkeys(_KINDS.values(), 0)
        """How many letters were written, by kind."""

    def start(self) -> None:
        """Begin when the broker runs; the caller declares the topology."""
        for queue in _KINDS:
            self._broker.consume(queue, self._batches.add, prefetch=_PREFETCH)

    def stop(self) -> None:
        """Receive no more messages; those not yet written stay on the broker."""
        for queue in _KINDS:
            self._broker.cancel(queue)

    def _keep(self, arrivals: list[Arrival]) -> None:
        now = self._clock()
        with self._store.writing() as transaction:
            # PostgreSQL refuses a statement that contains the same letter twice.
            letters = {letter.id: letter for letter in (letter_of(arrival, now) for arrival in arrivals)}
            table.keep(transaction, letters.values())
            for letter in letters.values():
                if letter.kind == "delivery" and letter.subscription:
                    # The broker parks a message that it delivered too often. Its attempt ended without a record.
                    key = Key(letter.event_id, letter.subscription, _text(letter.headers, "replay"))
                    deliveries.give_up(transaction, key, letter.attempt, letter.reason, now)
                    taken_places.leave(transaction, [key], now)
        for letter in letters.values():
            self.kept[letter.kind] += 1
        log.info("letters kept", extra={"letters": len(letters)})
        for arrival in arrivals:
            self._broker.ack(arrival)

    def _not_kept(self, arrival: Arrival, error: Exception) -> None:
        """Leave *arrival* to the broker, whatever is wrong with it: the others are kept, and this one is not lost."""
        facts = {"queue": arrival.queue, "id": arrival.id[:LONGEST_REASON], "reason": bounded(str(error))}
        log.error("a letter cannot be kept, will try again", extra=facts | {"pause": str(_PAUSE)})
        self._broker.later(_PAUSE, partial(self._broker.requeue, arrival))


def letter_of(arrival: Arrival, now: datetime) -> Letter:
    """Return the letter for *arrival*, a message from one of our parking queues; never raises, whatever it contains.

    Its headers and body are within the bounds of `letter_bounds`; its id is that of the whole body.
    """
    kind = _KINDS[arrival.queue]
    whole = arrival.body
    body, cut = letter_bounds.body_of(arrival)
    kept = letter_bounds.headers_of(arrival.headers)
    if not _is_of_router(kind, arrival):
        kept = {name: value for name, value in kept.items() if name not in (CUT, DIGEST)}
    headers = {**kept, **_origin(kind, arrival), **cut}
    # An event that was published in two parts goes to all queues in a replay.
    exchange = EVENTS if arrival.exchange == OWN_EVENTS else arrival.exchange
    arrival = replace(arrival, exchange=exchange, body=body, headers=headers)
    subscription = _text(headers, "subscription") or _subscription(headers) if kind == "delivery" else ""
    attempt = headers.get("attempt", 1)
    attempt = int(attempt) if isinstance(attempt, int) and 0 < attempt < 2**31 else 1
    event_id, event = _event(kind, arrival)
    facts = (kind, arrival.id, subscription, _text(headers, "replay"), attempt, exchange, arrival.key)
    return Letter(
        id=table.identity(*facts, body=whole),
        kind=kind,
        event_id=event_id,
        event=event,
        subscription=subscription,
        attempt=attempt,
        exchange=exchange,
        topic=_topic(kind, arrival),
        reason=_bounded_reason(kind, arrival),
        body=body,
        headers=headers,
        kept_at=now,
        publisher=_text(headers, ORIGIN) or "-" if kind == "record" or _origin(kind, arrival) else None,
    )


def whole_octets(headers: Mapping[str, object]) -> int | None:
    """Return the octets of the whole body of a letter if only its beginning is kept, else None.

    >>> whole_octets({"cut": 70000}), whole_octets({})
    (70000, None)
    """
    octets = headers.get(CUT)
    return int(octets) if isinstance(octets, int) and not isinstance(octets, bool) else None


def _bounded_reason(kind: Kind, arrival: Arrival) -> str:
    reason = _text(arrival.headers, "reason") or _reason(kind, arrival)
    octets = whole_octets(arrival.headers)
    if octets is None:
        return bounded(reason)
    note = f" (cut: {len(arrival.body)} of {octets} octets are kept)"
    return bounded(reason)[: LONGEST_REASON - len(note)] + note


def _origin(kind: Kind, arrival: Arrival) -> Mapping[str, object]:
    """Return the header that names the user who published a record, by whom a replay of it is judged.

    The router's header is used only where the router published the message.  What the broker moved has the headers of
    whoever published the record, and its validated user.
    """
    if _is_of_router(kind, arrival):
        return {ORIGIN: _text(arrival.headers, ORIGIN)}
    if kind == "record" or (kind == "unrouted" and arrival.exchange == INGRESS):
        return {ORIGIN: arrival.user or ""}
    return {}


def _is_of_router(kind: Kind, arrival: Arrival) -> bool:
    return kind == "record" and "x-death" not in arrival.headers


def _text(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) else ""


def _topic(kind: Kind, arrival: Arrival) -> str:
    if kind == "record":
        return _text(arrival.headers, "claimed-key") or arrival.key
    return topic_of(arrival) if kind == "delivery" else arrival.key


def _event(kind: Kind, arrival: Arrival) -> tuple[str, str]:
    """Return the id and the type of the event, as far as they can be read."""
    if kind != "record":
        try:
            event = Event.from_json(arrival.body)
        except InvalidEvent:
            return arrival.id, ""
        return event.id, event.type
    try:
        key = IngressKey.parse(_topic(kind, arrival))
    except InvalidTopic:
        return arrival.id, ""
    return arrival.id, f"{key.source}.{key.event}"


def _deaths(headers: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the broker's reasons for parking the message, latest first."""
    deaths = headers.get("x-death")
    return [each for each in deaths if isinstance(each, Mapping)] if isinstance(deaths, list) else []


def _subscription(headers: Mapping[str, object]) -> str:
    queues = (each.get("queue") for each in _deaths(headers))
    names = (each for each in queues if isinstance(each, str) and each.startswith(_SUBSCRIPTIONS))
    return next(names, "").removeprefix(_SUBSCRIPTIONS)


def _reason(kind: Kind, arrival: Arrival) -> str:
    if kind == "unrouted":
        return f"no queue on {arrival.exchange or 'the default exchange'} is bound to its topic"
    deaths = _deaths(arrival.headers)
    if not deaths:
        return "no reason given"
    why, queue = deaths[0].get("reason"), deaths[0].get("queue")
    if why == "delivery_limit":
        return f"parked by the broker: delivered from {queue} too often without an acknowledgement"
    return f"parked by the broker: {why} in {queue}"
