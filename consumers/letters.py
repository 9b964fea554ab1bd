"""Letters: what was given up, rejected or brought to nobody, kept until somebody replays or drops it.

The keeper brings them from the broker's parking queues into the store; `replays` brings them back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from router.broker import Arrival, Broker
from router.broker.topology import DEAD, REJECTED, UNROUTED, queue_of
from router.errors import InvalidEvent, InvalidTopic
from router.events import Event
from router.topics import IngressKey

from .arrivals import clean, topic_of
from .batches import Batches
from .deliveries import Key, bounded
from .errors import LetterError
from .store import Store, attempts, deliveries
from .store import letters as table
from .store.letters import Kind, Letter

log = logging.getLogger(__name__)

_KINDS: Mapping[str, Kind] = {DEAD: "delivery", REJECTED: "record", UNROUTED: "unrouted"}
_PREFETCH = 100
_SUBSCRIPTIONS = queue_of("")


class Keeper:
    """Moves what is parked on the broker into the store: written first, acknowledged then."""

    def __init__(self, broker: Broker, store: Store, clock: Callable[[], datetime]) -> None:
        """Keep in *store* what *broker* has parked."""
        self._broker, self._store, self._clock = broker, store, clock
        self._batches = Batches(broker, self._keep)

    def start(self) -> None:
        """Begin as soon as the broker runs; its topology is declared by who shares it with us."""
        for queue in _KINDS:
            self._broker.consume(queue, self._batches.add, prefetch=_PREFETCH)

    def stop(self) -> None:
        """Take nothing more; what is not written stays on the broker."""
        for queue in _KINDS:
            self._broker.cancel(queue)

    def _keep(self, arrivals: list[Arrival]) -> None:
        now = self._clock()
        with self._store.writing() as transaction:
            # Copies of one message would meet in one statement, which PostgreSQL refuses.
            letters = {letter.id: letter for letter in (letter_of(arrival, now) for arrival in arrivals)}
            table.keep(transaction, letters.values())
            for letter in letters.values():
                if letter.kind == "delivery" and letter.subscription:
                    # The broker gives up what it delivered too often: its attempt has ended, though nobody has said so.
                    key = Key(letter.event_id, letter.subscription, _text(letter.headers, "replay"))
                    deliveries.give_up(transaction, key, letter.attempt, letter.reason, now)
        log.info("letters kept", extra={"letters": len(letters)})
        for arrival in arrivals:
            self._broker.ack(arrival)


def letter_of(arrival: Arrival, now: datetime) -> Letter:
    """Return the letter that keeps *arrival*, parked on one of our queues; never raises, whatever is in it."""
    kind = _KINDS[arrival.queue]
    headers = arrival.headers
    subscription = _text(headers, "subscription") or _subscription(headers) if kind == "delivery" else ""
    attempt = headers.get("attempt", 1)
    attempt = int(attempt) if isinstance(attempt, int) and 0 < attempt < 2**31 else 1
    event_id, event = _event(kind, arrival)
    facts = (kind, arrival.id, subscription, _text(headers, "replay"), attempt, arrival.exchange, arrival.key)
    return Letter(
        id=table.identity(*facts, body=arrival.body),
        kind=kind,
        event_id=event_id,
        event=event,
        subscription=subscription,
        attempt=attempt,
        exchange=arrival.exchange,
        topic=_topic(kind, arrival),
        reason=bounded(_text(headers, "reason") or _reason(kind, arrival)),
        body=arrival.body,
        headers=_plain(headers),
        kept_at=now,
    )


def _text(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) else ""


def _topic(kind: Kind, arrival: Arrival) -> str:
    if kind == "record":
        return _text(arrival.headers, "claimed-key") or arrival.key
    return topic_of(arrival) if kind == "delivery" else arrival.key


def _event(kind: Kind, arrival: Arrival) -> tuple[str, str]:
    """Return the id and the type of the event, as far as they can be made out."""
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
    """Return what the broker says of why it parked the message, the latest first."""
    deaths = headers.get("x-death")
    return [each for each in deaths if isinstance(each, Mapping)] if isinstance(deaths, list) else []


def _subscription(headers: Mapping[str, object]) -> str:
    queues = (each.get("queue") for each in _deaths(headers))
    names = (each for each in queues if isinstance(each, str) and each.startswith(_SUBSCRIPTIONS))
    return next(names, "").removeprefix(_SUBSCRIPTIONS)


def _reason(kind: Kind, arrival: Arrival) -> str:
    if kind == "unrouted":
        return f"no queue is bound for it to {arrival.exchange or 'the default exchange'}"
    deaths = _deaths(arrival.headers)
    if not deaths:
        return "no reason was given"
    why, queue = deaths[0].get("reason"), deaths[0].get("queue")
    if why == "delivery_limit":
        return f"given up by the broker: delivered from {queue} again and again, and never settled"
    return f"given up by the broker: {why} in {queue}"


def _plain(headers: Mapping[str, object]) -> Mapping[str, object]:
    try:
        kept: Mapping[str, object] = json.loads(json.dumps(headers, default=str))
    except (ValueError, TypeError, RecursionError):
        return clean(headers)
    return kept


def show(store: Store, letter_id: str) -> tuple[Letter, list[attempts.Row]]:
    """Return a letter, and the attempts that led to it, oldest first.  Raises LetterError, StoreError."""
    with store.reading() as transaction:
        letter = table.get(transaction, letter_id)
        if letter is None:
            raise LetterError(f"there is no letter {letter_id!r}: `clusterbus dead list` shows those that are kept")
        if letter.kind != "delivery":
            return letter, []
        found = attempts.find(transaction, event_id=letter.event_id, subscription=letter.subscription, limit=1000)
    nonce = _text(letter.headers, "replay")
    return letter, sorted((row for row in found if row.replay == nonce), key=lambda row: row.attempt)


def find(store: Store, **filters: object) -> list[Letter]:
    """Return the letters that fit *filters*, which are those of `store.letters.find`.  Raises StoreError."""
    with store.reading() as transaction:
        return table.find(transaction, **filters)  # type: ignore[arg-type]  # checked there


def all_kept(store: Store, letter_ids: Sequence[str]) -> list[Letter]:
    """Return these letters, which all have to be kept.  Raises LetterError with the first that is not, StoreError."""
    with store.reading() as transaction:
        found = table.get_all(transaction, letter_ids)
    for letter_id in letter_ids:
        letter = found.get(letter_id)
        if letter is None:
            raise LetterError(f"there is no letter {letter_id!r}: `clusterbus dead list` shows those that are kept")
        if letter.state != "kept":
            raise LetterError(f"letter {letter_id} was {letter.state} by {letter.by} at {letter.settled_at}")
    return [found[each] for each in dict.fromkeys(letter_ids)]


def drop(store: Store, letter_ids: Sequence[str], *, by: str, clock: Callable[[], datetime]) -> list[Letter]:
    """Mark these letters as dropped; they stay in the table, with who and when.  Raises LetterError, StoreError."""
    letters = all_kept(store, letter_ids)
    with store.writing() as transaction:
        for each in letters:
            table.settle(transaction, each.id, "dropped", by, clock())
    return letters
