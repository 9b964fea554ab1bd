"""Letters: what was given up, rejected or brought to nobody, kept until somebody replays or drops it.

The keeper brings them from the broker's parking queues into the store; the rest is what people do with them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from router.broker import Arrival, Broker, Message, Settlement
from router.broker.topology import DEAD, INGRESS, REJECTED, RETURN, UNROUTED, queue_of
from router.errors import InvalidEvent, InvalidTopic
from router.events import Event
from router.records import new_id
from router.topics import IngressKey

from .arrivals import clean, topic_of
from .batches import Batches
from .deliveries import bounded
from .errors import LetterError
from .store import Store
from .store import deliveries as attempts
from .store import letters as table
from .store.letters import Kind, Letter

log = logging.getLogger(__name__)

_KINDS: Mapping[str, Kind] = {DEAD: "delivery", REJECTED: "record", UNROUTED: "unrouted"}
_PREFETCH = 100
_SUBSCRIPTIONS = queue_of("")
_OF_REJECTION = ("reason", "claimed-key", "origin-user")


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


@dataclass(frozen=True, slots=True)
class Replay:
    """A letter, what is published to replay it, and what the broker said; None where it has said nothing yet."""

    letter: Letter
    message: Message
    settlement: Settlement | None = None


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


def plan(store: Store, letter_ids: Sequence[str], *, by: str) -> list[Replay]:
    """Return what replaying these letters would publish; nothing is written.

    Raises LetterError where one of them is not there, not kept any more, or cannot be replayed; StoreError.
    """
    letters = [_kept(store, each) for each in dict.fromkeys(letter_ids)]
    return [Replay(letter, message_of(letter, letter.replay or new_id(), by)) for letter in letters]


def _kept(store: Store, letter_id: str) -> Letter:
    letter, _ = show(store, letter_id)
    if letter.state != "kept":
        raise LetterError(f"letter {letter_id} was {letter.state} by {letter.by} at {letter.settled_at}")
    return letter


def message_of(letter: Letter, nonce: str, by: str) -> Message:
    """Return what replays *letter*: to its subscription alone, or to where it was going.  Raises LetterError."""
    if letter.kind == "delivery":
        if not letter.subscription:
            raise LetterError(f"letter {letter.id} names no subscription: it can't be replayed, only dropped")
        headers = clean(letter.headers)
        headers.pop("reason", None)
        headers |= {"subscription": letter.subscription, "topic": letter.topic, "replay": nonce, "attempt": 1}
        return Message(RETURN, letter.topic, letter.body, letter.event_id, letter.event, headers=headers)
    headers = {name: value for name, value in clean(letter.headers).items() if name not in _OF_REJECTION}
    headers["replayed-by"] = bounded(by)
    if letter.kind == "record":
        kind = letter.event.partition(".")[2]
        return Message(INGRESS, letter.topic, letter.body, letter.event_id, kind, "application/json", headers)
    if not letter.exchange:
        raise LetterError(f"letter {letter.id} was going to no exchange of ours: it can't be replayed, only dropped")
    return Message(letter.exchange, letter.topic, letter.body, letter.event_id, letter.event, headers=headers)


def replay(
    store: Store,
    broker: Broker,
    letter_ids: Sequence[str],
    *,
    by: str,
    clock: Callable[[], datetime],
    limit: timedelta = timedelta(seconds=30),
) -> list[Replay]:
    """Publish these letters again and mark as replayed those that the broker confirms within *limit*; return all.

    Runs *broker*, and stops it.  The nonce is written before it is used: a replay that was cut short is finished under
    the same one, and delivered once.  Raises LetterError, StoreError, BrokerError.
    """
    planned = plan(store, letter_ids, by=by)
    with store.writing() as transaction:
        for at, each in enumerate(planned):
            nonce = table.give_nonce(transaction, each.letter.id, str(each.message.headers.get("replay") or new_id()))
            planned[at] = Replay(each.letter, message_of(each.letter, nonce, by))
    settlements = _publish(broker, [each.message for each in planned], limit)
    ended = [Replay(each.letter, each.message, settlements.get(at)) for at, each in enumerate(planned)]
    with store.writing() as transaction:
        for each in ended:
            if each.settlement is Settlement.CONFIRMED:
                table.settle(transaction, each.letter.id, "replayed", by, clock())
    return ended


def _publish(broker: Broker, messages: Sequence[Message], limit: timedelta) -> dict[int, Settlement]:
    settlements: dict[int, Settlement] = {}

    def settled(at: int, settlement: Settlement) -> None:
        settlements[at] = settlement
        if len(settlements) == len(messages):
            broker.stop()

    for at, message in enumerate(messages):
        broker.publish(message, partial(settled, at))
    if messages:
        broker.later(limit, broker.stop)
        broker.run()
    return settlements


def drop(store: Store, letter_ids: Sequence[str], *, by: str, clock: Callable[[], datetime]) -> list[Letter]:
    """Mark these letters as dropped; they stay in the table, with who and when.  Raises LetterError, StoreError."""
    letters = [_kept(store, each) for each in dict.fromkeys(letter_ids)]
    with store.writing() as transaction:
        for each in letters:
            table.settle(transaction, each.id, "dropped", by, clock())
    return letters
